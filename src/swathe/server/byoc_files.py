"""The files of a tile of one's own: their names, their sizes, and their bytes or a part of them.

Only what the tile was ingested from can be had, from a bucket that the deployment opens to users' collections.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from swathe.jobs.byoc import ByocCollections
from swathe.jobs.byoc_tiles import ByocTiles
from swathe.jobs.records import Client
from swathe.model.errors import NotFound, ObjectNotFound
from swathe.server.answers import JsonAnswer
from swathe.server.auth import CurrentClient
from swathe.server.batch_jobs import ERRORS
from swathe.server.byoc_answers import to_id
from swathe.storage import ObjectStores
from swathe.storage.doors import check_bucket

_AT_ONCE = 4 * 2**20
_TYPE = "application/octet-stream"
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")

router = APIRouter(tags=["byoc"], responses=ERRORS)


@dataclass(frozen=True)
class _File:
    """An object and its length in bytes."""

    stores: ObjectStores
    url: str
    size: int

    def part(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` to `end` (excluded), some megabytes at a time."""
        for at in range(start, end, _AT_ONCE):
            (data,) = self.stores.read_ranges(self.url, [(at, min(_AT_ONCE, end - at))])
            yield bytes(data)


@router.get("/collections/{collection_id}/tiles/{tile_id}/files", response_model=list[str])
async def list_files(request: Request, client: CurrentClient, collection_id: str, tile_id: str) -> Response:
    """The files that a tile was ingested from, as paths in the bucket."""
    _, keys = await run_in_threadpool(_keys, request, client, collection_id, tile_id)
    return JsonAnswer(keys)


@router.get(
    "/collections/{collection_id}/tiles/{tile_id}/files/{path:path}",
    response_class=Response,
    responses={
        200: {"content": {_TYPE: {}}, "description": "The file"},
        206: {"content": {_TYPE: {}}, "description": "The part of it that `Range` asks for"},
        416: {"description": "`Range` lies behind the end of the file"},
    },
)
async def get_file(request: Request, client: CurrentClient, collection_id: str, tile_id: str, path: str) -> Response:
    """A file of a tile, or the part of it that the header `Range` asks for."""
    file = await run_in_threadpool(_find, request, client, collection_id, tile_id, path)
    told = request.headers.get("range", "")
    span = _span(told, file.size)
    headers = {"Accept-Ranges": "bytes"}
    if span is None:
        headers |= {"Content-Length": str(file.size)}
        return StreamingResponse(file.part(0, file.size), media_type=_TYPE, headers=headers)
    start, end = span
    if start >= end:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{file.size}"})
    headers |= {"Content-Length": str(end - start), "Content-Range": f"bytes {start}-{end - 1}/{file.size}"}
    return StreamingResponse(file.part(start, end), status_code=206, media_type=_TYPE, headers=headers)


@router.head("/collections/{collection_id}/tiles/{tile_id}/files/{path:path}", response_class=Response)
async def head_file(request: Request, client: CurrentClient, collection_id: str, tile_id: str, path: str) -> Response:
    """The length of a file of a tile."""
    file = await run_in_threadpool(_find, request, client, collection_id, tile_id, path)
    return Response(headers={"Content-Length": str(file.size), "Accept-Ranges": "bytes"}, media_type=_TYPE)


def _keys(request: Request, client: Client, collection_id: str, tile_id: str) -> tuple[str, list[str]]:
    """The bucket and the keys of a tile's files; none before it is ingested."""
    collections: ByocCollections = request.app.state.byoc_collections
    tiles: ByocTiles = request.app.state.byoc_tiles
    collection = collections.get(to_id(collection_id), project_id=client.project_id)
    tile = tiles.get(collection.id, to_id(tile_id), project_id=client.project_id)
    return collection.bucket, sorted({file["key"] for file in tile.body.get("files", {}).values()})


def _find(request: Request, client: Client, collection_id: str, tile_id: str, path: str) -> _File:
    bucket, keys = _keys(request, client, collection_id, tile_id)
    if path not in keys:
        raise NotFound("The tile has no such file; ask for the list of its files")
    storage = request.app.state.settings.storage
    check_bucket(storage, bucket, has_keys=False)
    stores = ObjectStores(storage)
    url = f"s3://{bucket}/{path}"
    try:
        return _File(stores, url, stores.size(url))
    except ObjectNotFound:
        raise NotFound(f"The file {path} is not in the bucket any more") from None


def _span(told: str, size: int) -> tuple[int, int] | None:
    """The bytes that a `Range` asks for, the end excluded; None for all, as where it is not understood."""
    match = _RANGE.fullmatch(told.replace(" ", ""))
    if match is None or match[1] == match[2] == "":
        return None
    if not match[1]:
        return max(0, size - int(match[2])), size
    start = int(match[1])
    end = min(size, int(match[2]) + 1) if match[2] else size
    return None if match[2] and int(match[2]) < start else (start, end)
