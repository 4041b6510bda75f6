"""The images of a batch request as tiles of a collection, at the end of the job: known to be as they should, so at once.

The images were made here, so what an ingestion would find out of each is known from the manifest; of the first image its
header is read, for the kinds of its bands and its overviews. Images that an earlier job had left there (`skipExisting`) are
tiles that wait to be ingested. Doing it again leaves the same tiles.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection, update

from swathe.jobs import events
from swathe.jobs.byoc import (
    ByocCollection,
    ByocCollections,
    add_collection,
    read_collection,
    same_numbers,
    write_collection,
)
from swathe.jobs.byoc_records import ByocTile, Ingested, TileStatus
from swathe.jobs.byoc_tiles import ByocTiles
from swathe.jobs.database import Database
from swathe.jobs.ingestion_files import describe_tile, file_body, pixel_sizes
from swathe.jobs.publish import Publication
from swathe.jobs.records import NO_DATA, clean
from swathe.jobs.schema import jobs
from swathe.jobs.transitions import read_job
from swathe.model.byoc import BAND, FORMATS, ByocBand
from swathe.model.errors import NotFound, RequestInvalid
from swathe.model.process import BatchProcessRequest, read_batch_process
from swathe.model.process_checks import band_names
from swathe.model.process_output import RasterOutput, Response

if TYPE_CHECKING:
    from swathe.jobs.prepare import Preparation
    from swathe.jobs.process_manifest import ManifestTile

P = ParamSpec("P")
T = TypeVar("T")

_AT_ONCE = 500
_LISTED_AT_ONCE = 10_000
_WHERE = "output->collectionId"


class Caller(Protocol):
    """Runs a function in another process, as `Child` does."""

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function returns."""
        ...


@dataclass(frozen=True)
class _Delivered:
    """An image for each response of a tile: the path of their files, and what a tile's ingestion finds out."""

    path: str
    found: Ingested


def target_of(database: Database, output: object, project_id: str) -> ByocCollection | None:
    """The collection that a batch request names for its results; None where it names none.

    Raises:
        RequestInvalid: there is no such collection in the project, or its tiles lie in another bucket.
    """
    if not isinstance(output, RasterOutput) or output.collection_id is None:
        return None
    try:
        wanted = str(uuid.UUID(output.collection_id))
        collection = ByocCollections(database).get(wanted, project_id=project_id)
    except (ValueError, NotFound):
        raise RequestInvalid(f"There is no collection '{output.collection_id[:64]}' in this project", _WHERE) from None
    bucket = _split(output.root)[0]
    if collection.bucket != bucket:
        raise RequestInvalid(
            f"The tiles of collection {collection.id} lie in bucket {collection.bucket}; results that go to {bucket}"
            " cannot become tiles of it",
            _WHERE,
        )
    return collection


def check_bands(collection: ByocCollection, found: Mapping[str, ByocBand]) -> None:
    """That images with these bands can be tiles of a collection; one without bands takes any.

    Raises:
        RequestInvalid: they cannot.
    """
    if not collection.bands:
        return
    for name, band in collection.bands.items():
        if not any(same_numbers(band, other) for other in found.values()):
            raise RequestInvalid(
                f"Band '{name}' of the collection is band {band.band_index} of files '{band.source}', {band.dtype}; the"
                f" request makes {', '.join(f'{key} ({other.dtype})' for key, other in found.items())}",
                _WHERE,
            )


def make_bands(response: Response, dtype: str, count: int) -> dict[str, ByocBand]:
    """The bands of a response's files by their names in a collection."""
    depth, kind = FORMATS[dtype]
    return {
        name: ByocBand(source=response.identifier, band_index=number, bit_depth=depth, sample_format=kind)
        for number, name in enumerate(band_names(response, count), 1)
    }


def collect(database: Database, child: Caller, preparation: Preparation, publication: Publication) -> None:
    """Makes the images of a job that is over tiles of the collection that the request asks for, if it does.

    Raises:
        SwatheError: the collection does not take them, or an image cannot be read.
        SQLAlchemyError: the store does not answer.
    """
    output = getattr(publication.delivery, "output", None)
    if not isinstance(output, RasterOutput) or not output.makes_tiles_of_a_collection:
        return
    ids = _delivered_ids(publication)
    bands, sizes = child.call(read_first, publication, preparation.request, ids[0]) if ids else ({}, {})
    target = target_of(database, output, preparation.project_id)
    collection = _prepare(database, preparation, publication, target, bands)
    moment, sensed = datetime.now(UTC), _sensing_time(preparation)
    store = ByocTiles(database)
    for start in range(0, len(ids), _AT_ONCE):
        some = child.call(describe_delivered, publication, preparation.request, ids[start : start + _AT_ONCE])
        found = [replace(one.found, body={**one.found.body, **sizes}) for one in some]
        store.add_ingested(
            [(_tile(collection, one, moment, sensed), its) for one, its in zip(some, found, strict=True)]
        )
    waiting = _add_skipped(store, child, preparation, collection, sensed) if output.skip_existing else 0
    database.transact(lambda connection: _note(connection, publication.job_id, collection.id, len(ids), waiting))


def _add_skipped(
    store: ByocTiles, child: Caller, preparation: Preparation, collection: ByocCollection, sensed: datetime | None
) -> int:
    """Has the images that were there already looked at like any user's; how many there are."""
    start = 0
    while paths := child.call(list_skipped, preparation, start, _LISTED_AT_ONCE):
        store.add_waiting(collection.id, paths, sensed)
        start += len(paths)
    return start


def list_skipped(preparation: Preparation, start: int, count: int) -> list[str]:
    """The paths of some of the tiles that the analysis left alone, without the name of the band. In a process of its own."""
    from swathe.jobs.prepare import read_plan
    from swathe.jobs.process_kind import GEOPACKAGE_FILE
    from swathe.jobs.process_payload import ProcessPlan
    from swathe.jobs.process_tiles import TileSource

    wanted = ProcessPlan.from_bytes(read_plan(preparation.folder).payload).skipped[start : start + count]
    if not wanted:
        return []
    body = read_batch_process(json.loads(preparation.request))
    features = None if preparation.features is None else preparation.fetch(GEOPACKAGE_FILE)
    anyone = _images(body)[0].model_copy(update={"identifier": BAND})
    chosen, last = frozenset(wanted), max(wanted)
    tiles = TileSource(body, features, preparation.settings.limits)
    return [
        _split(preparation.delivery.address(tile.identifier, anyone))[1]
        for place, tile in enumerate(islice(tiles, last + 1))
        if place in chosen
    ]


def read_first(publication: Publication, request: str, tile_id: int) -> tuple[dict[str, ByocBand], dict[str, float]]:
    """The bands of the files of one tile, and the sizes of their pixels, by their headers. In a process of its own.

    Raises:
        SwatheError: one cannot be read.
    """
    from swathe.rasters.blocks import BlockReader
    from swathe.storage import ObjectStores

    body = read_batch_process(json.loads(request))
    (tile,) = _read_tiles(publication, body, [tile_id])
    reader = BlockReader(ObjectStores(_own_storage(publication)))
    found: dict[str, ByocBand] = {}
    infos = []
    try:
        for response in _images(body):
            info = reader.info(publication.delivery.address(tile.identifier, response))
            infos.append(info)
            found |= make_bands(response, info.dtype, info.band_count)
    finally:
        reader.close()
    return found, pixel_sizes(infos)


def describe_delivered(publication: Publication, request: str, ids: Sequence[int]) -> list[_Delivered]:
    """What there is to know of some tiles' files. In a process of its own."""
    from swathe.rasters.source import SourceGrid

    body = read_batch_process(json.loads(request))
    images = _images(body)
    described = []
    for tile in _read_tiles(publication, body, ids):
        grid = SourceGrid(tile.grid.epsg, tile.grid.transform, tile.grid.width, tile.grid.height)
        files = {
            response.identifier: file_body(_split(publication.delivery.address(tile.identifier, response))[1], grid)
            for response in images
        }
        anyone = images[0].model_copy(update={"identifier": BAND})
        bbox, about = describe_tile(files, [grid] * len(files))
        path = _split(publication.delivery.address(tile.identifier, anyone))[1]
        described.append(_Delivered(path, Ingested(bbox, about)))
    return described


def _read_tiles(publication: Publication, body: BatchProcessRequest, ids: Sequence[int]) -> list[ManifestTile]:
    from swathe.jobs.home import FEATURES_FILE
    from swathe.jobs.process_manifest import read_tiles
    from swathe.jobs.process_tiles import pixel_of

    return read_tiles(publication.folder / FEATURES_FILE, ids, pixel=pixel_of(body))


def _delivered_ids(publication: Publication) -> list[int]:
    """The tiles that have images, those without any data too."""
    failed = {failure.feature_id for failure in publication.failed if failure.reason != NO_DATA}
    found = []
    for _, ids, state in publication.units:
        if state == "DONE":
            numbers = (int.from_bytes(ids[at : at + 8], "little", signed=True) for at in range(0, len(ids), 8))
            found += [number for number in numbers if number not in failed]
    return sorted(found)


def _images(body: BatchProcessRequest) -> list[Response]:
    return [response for response in body.process_request.output.responses if not response.is_userdata]


def _own_storage(publication: Publication) -> Any:
    """The deployment's storage, with the request's keys in place of its own where it brought some."""
    from pydantic import SecretStr

    keys = publication.delivery.credentials
    storage = publication.delivery.storage
    if keys is None:
        return storage
    return storage.model_copy(
        update={
            "access_key": keys.access_key,
            "secret_access_key": SecretStr(keys.secret_access_key),
            "region": keys.region or storage.region,
        }
    )


def _prepare(
    database: Database,
    preparation: Preparation,
    publication: Publication,
    target: ByocCollection | None,
    bands: Mapping[str, ByocBand],
) -> ByocCollection:
    """The collection with its bands: the one that was named, else one of the job's own."""
    job_id = publication.job_id
    wanted = target.id if target is not None else str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:swathe:batch:{job_id}"))

    def work(connection: Connection) -> ByocCollection:
        try:
            known = read_collection(connection, wanted, project_id=preparation.project_id, lock=True)
        except NotFound:
            job = read_job(connection, job_id)
            known = ByocCollection(
                wanted,
                preparation.project_id,
                clean(job.description or f"Results of {job_id}")[:1000],
                _split(publication.delivery.folder)[0],
                datetime.now(UTC),
                bands,
            )
            add_collection(connection, known)
        if bands:
            check_bands(known, bands)
        if not known.bands:
            known = replace(known, bands=bands)
            write_collection(connection, known)
        return known

    return database.transact(work)


def _tile(collection: ByocCollection, one: _Delivered, moment: datetime, sensed: datetime | None) -> ByocTile:
    tile_id = str(uuid.uuid5(uuid.UUID(collection.id), one.path))
    return ByocTile(tile_id, collection.id, one.path, TileStatus.INGESTED, moment, sensed)


def _note(connection: Connection, job_id: str, collection_id: str, count: int, waiting: int) -> None:
    """Writes into the job which collection has its results."""
    job = read_job(connection, job_id)
    request = {**job.request, "output": {**job.request["output"], "collectionId": collection_id}}
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(request=json.dumps(request)))
    text = f"{count} tiles are in collection {collection_id}"
    if waiting:
        text += f"; {waiting} images that were there before are looked at, and join them if they fit"
    events.add_event(connection, job_id, datetime.now(UTC), text)


def _sensing_time(preparation: Preparation) -> datetime | None:
    """When the time that the request asks for begins; None where it asks for all."""
    from swathe.jobs.byoc_sources import span_of

    return span_of(json.loads(preparation.request)).start


def _split(url: str) -> tuple[str, str]:
    """Bucket and key."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key
