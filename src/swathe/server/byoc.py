"""Bring your own COG: collections and tiles, on the paths that clients use and on those of the newest description."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from swathe.jobs.byoc import MAX_COUNT, ByocCollection, ByocCollections
from swathe.jobs.byoc_covers import read_cover
from swathe.jobs.byoc_records import COVERS_DATA, ByocTile, TileStatus, asked
from swathe.jobs.byoc_tiles import ByocTiles
from swathe.jobs.records import Client
from swathe.model.byoc import read_byoc_collection, read_byoc_tile, read_byoc_tile_change
from swathe.model.errors import NotFound, RequestInvalid
from swathe.model.time import parse_time
from swathe.server import byoc_files
from swathe.server.answers import ErrorAnswer, JsonAnswer
from swathe.server.auth import CurrentClient
from swathe.server.batch_jobs import ERRORS
from swathe.server.bodies import described_body, read_json
from swathe.server.byoc_answers import (
    COVER,
    OneCollection,
    OneTile,
    SomeCollections,
    SomeTiles,
    WhereAnswers,
    collection_answer,
    tile_answer,
    to_id,
)
from swathe.server.checks import check_own_bucket

PATHS = ("/api/v1/byoc", "/byoc/v1")
_TAKEN: dict[int | str, dict[str, Any]] = {409: {"model": ErrorAnswer, "description": "There is one of this path"}}


router = APIRouter(tags=["byoc"], responses=ERRORS)
Count = Annotated[int, Query(ge=1, description=f"At most this many; {MAX_COUNT} at most")]


@router.post(
    "/collections",
    status_code=201,
    response_model=OneCollection,
    openapi_extra=described_body("BYOCCollection", form=False),
)
async def create_collection(request: Request, client: CurrentClient) -> Response:
    """Makes a collection of tiles that lie in a bucket."""
    body = read_byoc_collection(await read_json(request))
    check_own_bucket(request.app.state.settings, body.s3_bucket)
    made = await run_in_threadpool(_collections(request).create, client.project_id, body)
    return JsonAnswer({"data": collection_answer(made)}, status_code=201)


@router.get("/collections", response_model=SomeCollections)
async def list_collections(
    request: Request,
    client: CurrentClient,
    count: Count = MAX_COUNT,
    viewtoken: str | None = None,
    search: str | None = None,
) -> Response:
    """The project's collections, page by page."""
    page = await run_in_threadpool(
        _collections(request).page, client.project_id, count=count, token=viewtoken, search=search
    )
    found = await run_in_threadpool(_describe, _collections(request), page.collections)
    return JsonAnswer({"data": found, "links": _links(request, viewtoken, page.next_token)})


@router.get("/collections/{collection_id}", response_model=OneCollection)
async def get_collection(request: Request, client: CurrentClient, collection_id: str) -> Response:
    """One collection."""
    return JsonAnswer({"data": await run_in_threadpool(_get_collection, request, client, collection_id)})


def _get_collection(request: Request, client: Client, collection_id: str) -> dict[str, Any]:
    store = _collections(request)
    collection = store.get(to_id(collection_id), project_id=client.project_id)
    return collection_answer(collection, store.sensing(collection.id))


def _describe(store: ByocCollections, collections: Iterable[ByocCollection]) -> list[dict[str, Any]]:
    return [collection_answer(collection, store.sensing(collection.id)) for collection in collections]


@router.put(
    "/collections/{collection_id}", status_code=204, openapi_extra=described_body("BYOCCollectionUpdate", form=False)
)
async def update_collection(request: Request, client: CurrentClient, collection_id: str) -> Response:
    """Changes a collection; its bucket and the kinds of its bands stay once it has tiles."""
    body = read_byoc_collection(await read_json(request))
    check_own_bucket(request.app.state.settings, body.s3_bucket)
    await run_in_threadpool(_collections(request).update, to_id(collection_id), client.project_id, body)
    return Response(status_code=204)


@router.delete("/collections/{collection_id}", status_code=204)
async def delete_collection(request: Request, client: CurrentClient, collection_id: str) -> Response:
    """Deletes a collection and its tiles; the files in the bucket stay."""
    await run_in_threadpool(_collections(request).delete, to_id(collection_id), client.project_id)
    return Response(status_code=204)


@router.post("/collections/{collection_id}/copyTiles", status_code=204)
async def copy_tiles(
    request: Request,
    client: CurrentClient,
    collection_id: str,
    to: Annotated[str, Query(alias="toCollection")],
) -> Response:
    """Copies the ingested tiles whose path the other collection does not have."""
    await run_in_threadpool(_tiles(request).copy, to_id(collection_id), to_id(to), client.project_id)
    return Response(status_code=204)


@router.post(
    "/collections/{collection_id}/tiles",
    status_code=201,
    response_model=OneTile,
    responses=_TAKEN,
    openapi_extra=described_body("BYOCTile", form=False),
)
async def create_tile(request: Request, client: CurrentClient, collection_id: str) -> Response:
    """Makes a tile, which is ingested in a moment."""
    body = read_byoc_tile(await read_json(request))
    tile = await run_in_threadpool(
        _tiles(request).create,
        to_id(collection_id),
        client.project_id,
        body.path,
        sensing_time=_time(body.sensing_time),
        cover=_checked(body.cover_geometry),
        covers_data=bool(body.cover_from_data),
    )
    request.app.state.ingest()
    return JsonAnswer({"data": tile_answer(tile)}, status_code=201)


@router.get("/collections/{collection_id}/tiles", response_model=SomeTiles)
async def list_tiles(
    request: Request,
    client: CurrentClient,
    collection_id: str,
    count: Count = MAX_COUNT,
    viewtoken: str | None = None,
    sort: str = "created:asc",
    path: str | None = None,
    status: str | None = None,
) -> Response:
    """The tiles of a collection, page by page."""
    page = await run_in_threadpool(
        _tiles(request).page,
        to_id(collection_id),
        project_id=client.project_id,
        count=count,
        token=viewtoken,
        sort=sort,
        path=path,
        status=None if status is None else _status(status),
    )
    found = [tile_answer(tile) for tile in page.tiles]
    return JsonAnswer({"data": found, "links": _links(request, viewtoken, page.next_token)})


@router.get("/collections/{collection_id}/tiles/{tile_id}", response_model=OneTile)
async def get_tile(request: Request, client: CurrentClient, collection_id: str, tile_id: str) -> Response:
    """One tile."""
    store = _tiles(request)
    tile = await run_in_threadpool(store.get, to_id(collection_id), to_id(tile_id), project_id=client.project_id)
    return JsonAnswer({"data": tile_answer(tile)})


@router.put(
    "/collections/{collection_id}/tiles/{tile_id}",
    status_code=204,
    responses=_TAKEN,
    openapi_extra=described_body("BYOCTileUpdate", form=False),
)
async def update_tile(request: Request, client: CurrentClient, collection_id: str, tile_id: str) -> Response:
    """Changes a tile's sensing time or cover; with another cover it is ingested anew. What is left out stays."""
    body = read_byoc_tile_change(await read_json(request))
    given = body.model_fields_set
    sensed, cover = _time(body.sensing_time), _checked(body.cover_geometry)

    def change(tile: ByocTile) -> ByocTile:
        if body.path is not None and body.path != tile.path:
            raise RequestInvalid(f"The path of a tile stays; it is '{tile.path}'. Make another tile", "path")
        if "sensing_time" in given:
            tile = replace(tile, sensing_time=sensed)
        if body.cover_from_data is not None and body.cover_from_data != (COVERS_DATA in tile.body):
            return replace(tile, status=TileStatus.WAITING, body=asked(cover, body.cover_from_data))
        if "cover_geometry" in given and cover not in (tile.body.get("cover"), tile_answer(tile).get(COVER)):
            tile = replace(tile, status=TileStatus.WAITING, body=asked(cover, covers_data=False))
        return tile

    await _change(request, client, collection_id, tile_id, change)
    return Response(status_code=204)


@router.post("/collections/{collection_id}/tiles/{tile_id}/reingest", status_code=204)
async def reingest_tile(request: Request, client: CurrentClient, collection_id: str, tile_id: str) -> Response:
    """Has a tile ingested anew, as when its files have changed."""

    def change(tile: ByocTile) -> ByocTile:
        return replace(tile, status=TileStatus.WAITING, body=asked(tile.body.get("cover"), COVERS_DATA in tile.body))

    await _change(request, client, collection_id, tile_id, change)
    return Response(status_code=204)


@router.delete("/collections/{collection_id}/tiles/{tile_id}", status_code=204)
async def delete_tile(request: Request, client: CurrentClient, collection_id: str, tile_id: str) -> Response:
    """Deletes a tile; its files stay."""
    await run_in_threadpool(_tiles(request).delete, to_id(collection_id), to_id(tile_id), client.project_id)
    return Response(status_code=204)


@router.get("/global", response_model=WhereAnswers)
async def where(request: Request, client: CurrentClient, ids: str) -> Response:
    """Where collections (their ids, by commas) are served from; all of them from here."""
    return JsonAnswer({"data": await run_in_threadpool(_where, request, client, ids)})


def _where(request: Request, client: Client, ids: str) -> list[dict[str, str]]:
    location = f"aws-{request.app.state.settings.storage.region}"
    found = []
    for name in list(dict.fromkeys(ids.split(",")))[:MAX_COUNT]:
        try:
            collection = _collections(request).get(to_id(name.strip()), project_id=client.project_id)
        except NotFound:
            continue
        found.append({"id": collection.id, "location": location})
    return found


async def _change(request: Request, client: Client, collection_id: str, tile_id: str, change: Any) -> None:
    await run_in_threadpool(_tiles(request).change, to_id(collection_id), to_id(tile_id), client.project_id, change)
    request.app.state.ingest()


router.include_router(byoc_files.router)


def _collections(request: Request) -> ByocCollections:
    store: ByocCollections = request.app.state.byoc_collections
    return store


def _tiles(request: Request) -> ByocTiles:
    store: ByocTiles = request.app.state.byoc_tiles
    return store


def _status(text: str) -> TileStatus:
    name = text.strip('"')  # described as a JSON text
    if name not in TileStatus.__members__:
        raise RequestInvalid(f"must be one of {', '.join(TileStatus)}", "status")
    return TileStatus(name)


def _time(text: str | None) -> datetime | None:
    return None if text is None else parse_time(text, "sensingTime")


def _checked(cover: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if cover is None:
        return None
    read_cover(cover)
    return dict(cover)


def _links(request: Request, token: str | None, next_token: str | None) -> dict[str, str]:
    base = (request.app.state.settings.server.public_url or str(request.base_url)).rstrip("/")
    here = base + request.url.path
    links = {"@id": here + (f"?{request.url.query}" if request.url.query else "")}
    if token:
        links["currentToken"] = token
    if next_token is not None:
        links["nextToken"] = next_token
        links["next"] = f"{here}?{urlencode({**request.query_params, 'viewtoken': next_token})}"
    return links
