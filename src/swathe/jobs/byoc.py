"""Users' own collections in the job store: each belongs to a project and has the tiles of one bucket."""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, Connection, Row, delete, func, insert, select, tuple_, update

from swathe.jobs.byoc_places import Bbox
from swathe.jobs.database import Database
from swathe.jobs.records import clean, from_text, to_text
from swathe.jobs.schema import byoc_collections, byoc_tiles
from swathe.model.byoc import ByocBand, ByocCollectionBody
from swathe.model.errors import NotFound, RequestInvalid

MAX_COUNT = 100
_BANDS = "additionalData->bands"


@dataclass(frozen=True)
class ByocCollection:
    """A collection; without `bands` it gets those of its first tile.

    Every band has its `source`. `extent` is the box of all tiles there have been: west, south, east, north in degrees;
    `coarsest` says how many of them had which size of pixels, in metres, in their coarsest overview.
    """

    id: str
    project_id: str
    name: str
    bucket: str
    created: datetime
    bands: Mapping[str, ByocBand] = field(default_factory=dict, hash=False)
    no_data: float | None = None
    extent: tuple[float, float, float, float] | None = None
    coarsest: Mapping[str, int] = field(default_factory=dict, hash=False)

    @property
    def max_metres_per_pixel(self) -> float | None:
        """Five times the median size of pixels in the tiles' coarsest overviews, as the hosted service defines it."""
        ordered = sorted((float(size), count) for size, count in self.coarsest.items())
        half = sum(count for _, count in ordered) / 2
        for size, count in ordered:
            half -= count
            if half <= 0:
                return 5.0 * size
        return None

    def with_tiles(self, boxes: Iterable[Bbox], coarsest: Iterable[float | None]) -> ByocCollection:
        """The collection with some more tiles, by their boxes and the size of pixels in their coarsest overviews."""
        known = dict(self.coarsest)
        for size in coarsest:
            if size is not None:
                text = f"{size:.3g}" if size < 100 else f"{size:.0f}"
                known[text] = known.get(text, 0) + 1
        return replace(self, extent=_around(self.extent, boxes), coarsest=known)

    def nodata(self, band: ByocBand) -> float | None:
        """The value that means no data in a band; None where only the file may know."""
        return self.no_data if band.no_data is None else band.no_data


@dataclass(frozen=True)
class SensingTimes:
    """Whether tiles have sensing times (`YES`, `PARTIALLY`, `NO`), and the first and the last of them."""

    has: str
    first: datetime | None = None
    last: datetime | None = None


@dataclass(frozen=True)
class CollectionPage:
    """Some collections, and the token of the page after them when there is one."""

    collections: tuple[ByocCollection, ...]
    next_token: str | None


class ByocCollections:
    """The collections of a database. For any thread; any method raises `DatabaseUnavailable`.

    Raises (all methods with `project_id`):
        NotFound: there is no such collection in this project.
    """

    def __init__(self, database: Database, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.database = database
        self._now = now

    def create(self, project_id: str, body: ByocCollectionBody) -> ByocCollection:
        """A new collection."""
        made = ByocCollection(
            str(uuid.uuid4()),
            project_id,
            clean(body.name),
            body.s3_bucket,
            from_text(to_text(self._now())),
            with_sources(body.bands or {}),
            body.no_data,
        )
        self.database.transact(lambda connection: add_collection(connection, made))
        return made

    def get(self, collection_id: str, *, project_id: str | None) -> ByocCollection:
        """One collection; without a project, which is not for users, whoever's it is."""
        with self.database.read() as connection:
            return read_collection(connection, collection_id, project_id=project_id)

    def page(
        self, project_id: str, *, count: int = MAX_COUNT, token: str | None = None, search: str | None = None
    ) -> CollectionPage:
        """Some of a project's collections, oldest first; `search` is a part of the name.

        Raises:
            RequestInvalid: `token` is none of ours.
        """
        table = byoc_collections.c
        query = select(byoc_collections).where(table.project_id == project_id)
        if search:
            query = query.where(table.name.icontains(clean(search), autoescape=True))
        query = after(query, token, (table.created, table.id)).order_by(table.created, table.id)
        count = min(count, MAX_COUNT)
        with self.database.read() as connection:
            rows = connection.execute(query.limit(count + 1)).all()
        more = write_token((rows[count - 1].created, rows[count - 1].id)) if len(rows) > count else None
        return CollectionPage(tuple(to_collection(row) for row in rows[:count]), more)

    def update(self, collection_id: str, project_id: str, body: ByocCollectionBody) -> None:
        """Changes a collection. Once it has tiles its bucket stays, and bands may be renamed or left out only.

        Raises:
            RequestInvalid: the change is not possible.
        """

        def work(connection: Connection) -> None:
            old = read_collection(connection, collection_id, project_id=project_id, lock=True)
            bands = old.bands if body.bands is None else with_sources(body.bands)
            if has_tiles(connection, collection_id):
                if body.s3_bucket != old.bucket:
                    raise RequestInvalid(
                        f"The bucket can only be changed of a collection without tiles; it is {old.bucket}", "s3Bucket"
                    )
                _check_bands(old.bands, bands)
            new = replace(old, name=clean(body.name), bucket=body.s3_bucket, bands=bands, no_data=body.no_data)
            write_collection(connection, new)

        self.database.transact(work)

    def delete(self, collection_id: str, project_id: str) -> None:
        """Deletes a collection with all its tiles; the files stay where they are."""

        def work(connection: Connection) -> None:
            read_collection(connection, collection_id, project_id=project_id, lock=True)
            connection.execute(delete(byoc_tiles).where(byoc_tiles.c.collection_id == collection_id))
            connection.execute(delete(byoc_collections).where(byoc_collections.c.id == collection_id))

        self.database.transact(work)

    def sensing(self, collection_id: str) -> SensingTimes:
        """What is known of the sensing times of a collection's tiles."""
        mine, when = byoc_tiles.c.collection_id == collection_id, byoc_tiles.c.sensing_time
        with self.database.read() as connection:
            first = connection.scalar(select(func.min(when)).where(mine))
            last = connection.scalar(select(func.max(when)).where(mine))
            lacks = connection.scalar(select(byoc_tiles.c.id).where(mine, when.is_(None)).limit(1)) is not None
        if first is None or last is None:
            return SensingTimes("NO")
        return SensingTimes("PARTIALLY" if lacks else "YES", from_text(first), from_text(last))

    def times(self, collection_id: str) -> tuple[datetime, datetime] | None:
        """When the first and the last tile were sensed; None without tiles."""
        mine = byoc_tiles.c.collection_id == collection_id
        with self.database.read() as connection:
            first = connection.scalar(select(func.min(byoc_tiles.c.sensed)).where(mine))
            last = connection.scalar(select(func.max(byoc_tiles.c.sensed)).where(mine))
        return None if first is None or last is None else (from_text(first), from_text(last))


def with_sources(bands: Mapping[str, ByocBand]) -> dict[str, ByocBand]:
    """The bands, each with the name of its file, which is its own where nothing else is said."""
    return {
        name: band if band.source is not None else band.model_copy(update={"source": name})
        for name, band in bands.items()
    }


def same_numbers(one: ByocBand, other: ByocBand) -> bool:
    """Whether two bands are the same but for their names and values of no data."""
    return (one.source, one.band_index, one.dtype) == (other.source, other.band_index, other.dtype)


def read_collection(
    connection: Connection, collection_id: str, *, project_id: str | None, lock: bool = False
) -> ByocCollection:
    """One collection; `lock` keeps it from changing until the transaction ends.

    Raises:
        NotFound: there is none in this project.
    """
    query = select(byoc_collections).where(byoc_collections.c.id == clean(collection_id))
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None or (project_id is not None and row.project_id != project_id):
        raise NotFound(f"There is no collection {collection_id[:64]}")
    return to_collection(row)


def add_collection(connection: Connection, made: ByocCollection) -> None:
    """Puts a new collection into the table."""
    connection.execute(insert(byoc_collections).values(id=made.id, created=to_text(made.created), **_values(made)))


def write_collection(connection: Connection, changed: ByocCollection) -> None:
    """Puts a changed collection into the table."""
    connection.execute(update(byoc_collections).where(byoc_collections.c.id == changed.id).values(**_values(changed)))


def to_collection(row: Row[Any]) -> ByocCollection:
    """A row as a value."""
    body = json.loads(row.body)
    extent = body.get("extent")
    return ByocCollection(
        row.id,
        row.project_id,
        row.name,
        row.s3_bucket,
        from_text(row.created),
        {name: ByocBand.model_validate(band) for name, band in body.get("bands", {}).items()},
        body.get("noData"),
        None if extent is None else tuple(extent),
        body.get("coarsest", {}),
    )


def after(query: Any, token: str | None, columns: Sequence[Column[Any]], *, descending: bool = False) -> Any:
    """The query, of rows behind the one that a page token holds the place of.

    Raises:
        RequestInvalid: it is no token of ours.
    """
    if not token:
        return query
    try:
        place = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, binascii.Error):
        place = None
    if not isinstance(place, list) or len(place) != len(columns) or not all(_is_text(part) for part in place):
        raise RequestInvalid("is no token of a page of this list; take nextToken of the answer before", "viewtoken")
    here, there = tuple_(*columns), tuple_(*place)
    return query.where(here < there if descending else here > there)


def write_token(place: Iterable[str]) -> str:
    """The place of a row as a page token."""
    return base64.urlsafe_b64encode(json.dumps(list(place)).encode("ascii")).decode("ascii").rstrip("=")


def _around(extent: Bbox | None, boxes: Iterable[Bbox]) -> Bbox | None:
    for west, south, east, north in boxes:
        east += 360.0 if east < west else 0.0
        known = extent or (west, south, east, north)
        extent = (min(known[0], west), min(known[1], south), max(known[2], east), max(known[3], north))
    return extent


def _is_text(part: object) -> bool:
    return isinstance(part, str) and clean(part) == part


def _values(collection: ByocCollection) -> dict[str, Any]:
    bands = {name: band.model_dump(by_alias=True, exclude_none=True) for name, band in collection.bands.items()}
    body = {
        "bands": bands,
        "noData": collection.no_data,
        "extent": collection.extent,
        "coarsest": dict(collection.coarsest),
    }
    return {
        "project_id": collection.project_id,
        "name": collection.name,
        "s3_bucket": collection.bucket,
        "body": json.dumps(body),
    }


def has_tiles(connection: Connection, collection_id: str) -> bool:
    """Whether a collection has any tile, ingested or not."""
    query = select(byoc_tiles.c.id).where(byoc_tiles.c.collection_id == collection_id).limit(1)
    return connection.scalar(query) is not None


def _check_bands(old: Mapping[str, ByocBand], new: Mapping[str, ByocBand]) -> None:
    if not old:
        return
    if not new:
        raise RequestInvalid("All bands can only be taken from a collection without tiles", _BANDS)
    for name, band in new.items():
        if not any(same_numbers(band, known) for known in old.values()):
            raise RequestInvalid(
                f"Band '{name}' is none of those that the collection's tiles have; once there are tiles, bands can be"
                " renamed (keep source, bandIndex, bitDepth and sampleFormat) or left out, not added or changed",
                _BANDS,
            )
