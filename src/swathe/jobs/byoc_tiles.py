"""Tiles of users' own collections in the job store: their lists, their way to being ingested, and where they lie."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, and_, delete, or_, select, update

from swathe.jobs.byoc import (
    MAX_COUNT,
    ByocCollection,
    after,
    has_tiles,
    read_collection,
    same_numbers,
    write_collection,
    write_token,
)
from swathe.jobs.byoc_places import Bbox, Place
from swathe.jobs.byoc_records import (
    COARSEST,
    NOWHERE,
    STARTED,
    ByocTile,
    Ingested,
    TilePage,
    TileStatus,
    asked,
    asked_of,
    place_values,
    tile_values,
    to_tile,
)
from swathe.jobs.byoc_search import search_tiles
from swathe.jobs.database import Database
from swathe.jobs.records import clean, from_text, to_text
from swathe.jobs.schema import byoc_tiles
from swathe.model.errors import Conflict, NotFound, RequestInvalid

SORTS = {"created": False, "created:asc": False, "created:desc": True}
_BATCH = 1000


class ByocTiles:
    """The tiles of a database. For any thread; any method raises `DatabaseUnavailable`.

    Raises (all methods with `project_id`):
        NotFound: there is no such collection in this project, or no such tile in it.
    """

    def __init__(self, database: Database, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.database = database
        self._now = now

    def create(
        self,
        collection_id: str,
        project_id: str,
        path: str,
        *,
        sensing_time: datetime | None = None,
        cover: Mapping[str, Any] | None = None,
        covers_data: bool = False,
    ) -> ByocTile:
        """A new tile, which waits to be ingested. With `covers_data` its cover is found from its files' values.

        Raises:
            Conflict: the collection has a tile of this path.
        """
        moment = from_text(to_text(self._now()))
        tile = ByocTile(
            str(uuid.uuid4()), collection_id, path, TileStatus.WAITING, moment, sensing_time, asked(cover, covers_data)
        )
        insertion = self._insertion(tile_values(tile))

        def work(connection: Connection) -> None:
            read_collection(connection, collection_id, project_id=project_id)
            if connection.scalar(insertion) is None:
                raise Conflict(f"The collection has a tile of path '{path}' already; update or delete that one")

        self.database.transact(work)
        return tile

    def get(self, collection_id: str, tile_id: str, *, project_id: str) -> ByocTile:
        """One tile."""
        with self.database.read() as connection:
            read_collection(connection, collection_id, project_id=project_id)
            return _read(connection, collection_id, tile_id)

    def page(
        self,
        collection_id: str,
        *,
        project_id: str,
        count: int = MAX_COUNT,
        token: str | None = None,
        sort: str = "created:asc",
        path: str | None = None,
        status: TileStatus | None = None,
    ) -> TilePage:
        """Some tiles of a collection.

        Raises:
            RequestInvalid: `sort` or `token` is none of ours.
        """
        if sort not in SORTS:
            raise RequestInvalid(f"cannot sort by '{sort}'; possible are {', '.join(SORTS)}", "sort")
        table, descending = byoc_tiles.c, SORTS[sort]
        query = select(byoc_tiles).where(table.collection_id == collection_id)
        if path is not None:
            query = query.where(table.path == clean(path))
        if status is not None:
            query = query.where(table.status == status.value)
        order = (table.created, table.id)
        query = after(query, token, order, descending=descending)
        query = query.order_by(*(column.desc() if descending else column.asc() for column in order))
        count = min(count, MAX_COUNT)
        with self.database.read() as connection:
            read_collection(connection, collection_id, project_id=project_id)
            rows = connection.execute(query.limit(count + 1)).all()
        more = write_token((rows[count - 1].created, rows[count - 1].id)) if len(rows) > count else None
        return TilePage(tuple(to_tile(row) for row in rows[:count]), more)

    def change(self, collection_id: str, tile_id: str, project_id: str, new: Callable[[ByocTile], ByocTile]) -> None:
        """Puts what `new` makes of a tile in its place. It may give it another time or cover, or have it ingested anew."""

        def work(connection: Connection) -> None:
            read_collection(connection, collection_id, project_id=project_id)
            old = _read(connection, collection_id, tile_id, lock=True)
            changed = new(old)
            values = tile_values(changed)
            if changed.status is TileStatus.WAITING and old.status is not TileStatus.WAITING:
                values |= {"attempts": 0, "lease_until": 0.0, "lease_owner": None} | dict(NOWHERE)
            connection.execute(update(byoc_tiles).where(byoc_tiles.c.id == old.id).values(**values))

        self.database.transact(work)

    def delete(self, collection_id: str, tile_id: str, project_id: str) -> None:
        """Deletes a tile; its files stay where they are."""

        def work(connection: Connection) -> None:
            read_collection(connection, collection_id, project_id=project_id)
            _read(connection, collection_id, tile_id, lock=True)
            connection.execute(delete(byoc_tiles).where(byoc_tiles.c.id == tile_id))
            if not has_tiles(connection, collection_id):
                collection = read_collection(connection, collection_id, project_id=project_id, lock=True)
                write_collection(connection, replace(collection, extent=None, coarsest={}))

        self.database.transact(work)

    def copy(self, from_id: str, to_id: str, project_id: str) -> int:
        """Copies the ingested tiles of a collection whose path another does not have; how many were copied.

        Raises:
            RequestInvalid: the collections differ in their buckets or bands.
        """

        def check(connection: Connection) -> None:
            source = read_collection(connection, from_id, project_id=project_id)
            target = read_collection(connection, to_id, project_id=project_id, lock=True)
            if source.bucket != target.bucket:
                raise RequestInvalid(f"The collections have different buckets, {source.bucket} and {target.bucket}")
            if not target.bands:
                write_collection(connection, replace(target, bands=source.bands))
            elif {n: b.dtype for n, b in source.bands.items()} != {n: b.dtype for n, b in target.bands.items()}:
                raise RequestInvalid(
                    "The collections have different bands; tiles can be copied between equal ones only"
                )

        self.database.transact(check)
        copied = 0
        for tiles in self._batches(from_id):
            new = [replace(tile, id=str(uuid.uuid4()), collection_id=to_id, created=self._now()) for tile in tiles]
            copied += self.database.transact(partial(self._add_new, to_id, new))
        return copied

    def _insertion(self, values: Mapping[str, Any]) -> Any:
        """An INSERT that gives the tile's id, or nothing where its path is taken."""
        return self.database.insert(byoc_tiles).values(**values).on_conflict_do_nothing().returning(byoc_tiles.c.id)

    def _add_new(self, to_id: str, tiles: Sequence[ByocTile], connection: Connection) -> int:
        collection = read_collection(connection, to_id, project_id=None, lock=True)
        added = []
        for tile in tiles:
            values = {**tile_values(tile), **place_values(Place.of(tile.body["bbox"]))}
            if connection.scalar(self._insertion(values)) is not None:
                added.append(tile.body)
        changed = collection.with_tiles([body["bbox"] for body in added], [body.get(COARSEST) for body in added])
        write_collection(connection, changed)
        return len(added)

    # Ingestion

    def claim(self, owner: str, *, now_s: float, lease_s: float, limit: int) -> list[tuple[ByocTile, ByocCollection]]:
        """Some tiles that wait, or whose ingestion nobody has finished, as INGESTING by `owner`; with their collections."""
        table = byoc_tiles.c
        waits = table.status.in_([TileStatus.WAITING.value, TileStatus.QUEUED.value])
        left = and_(table.status == TileStatus.INGESTING.value, table.lease_until < now_s)
        query = select(byoc_tiles).where(or_(waits, left)).order_by(table.created).limit(limit)
        with self.database.read() as connection:
            if connection.execute(query.limit(1)).first() is None:
                return []

        def work(connection: Connection) -> list[tuple[ByocTile, ByocCollection]]:
            tiles = [to_tile(row) for row in connection.execute(query.with_for_update(skip_locked=True))]
            started = to_text(self._now())
            for tile in tiles:
                change = update(byoc_tiles).where(table.id == tile.id)
                connection.execute(change.values(body=json.dumps({**tile.body, STARTED: started})))
            connection.execute(
                update(byoc_tiles)
                .where(table.id.in_([tile.id for tile in tiles]))
                .values(
                    status=TileStatus.INGESTING.value,
                    lease_owner=owner,
                    lease_until=now_s + lease_s,
                    attempts=table.attempts + 1,
                )
            )
            known = {
                collection_id: read_collection(connection, collection_id, project_id=None)
                for collection_id in {tile.collection_id for tile in tiles}
            }
            return [(tile, known[tile.collection_id]) for tile in tiles]

        return self.database.transact(work)

    def finish(self, tile: ByocTile, owner: str, outcome: Ingested | str) -> None:
        """Writes down how an ingestion ended: with what was found, or the cause of its failure.

        A tile that was changed, deleted or taken over meanwhile is left as it is.
        """

        def work(connection: Connection) -> None:
            query = select(byoc_tiles).where(byoc_tiles.c.id == tile.id).with_for_update()
            row = connection.execute(query).one_or_none()
            if row is None or row.status != TileStatus.INGESTING.value or row.lease_owner != owner:
                return
            kept = asked_of(json.loads(row.body))
            ended: Ingested | str = outcome
            if isinstance(ended, Ingested):
                collection = read_collection(connection, tile.collection_id, project_id=None, lock=True)
                ended = _fit(connection, collection, ended)
            if isinstance(ended, str):
                values = {"status": "FAILED", "body": json.dumps({**kept, "cause": clean(ended)})} | dict(NOWHERE)
            else:
                body = {**ended.body, **kept, "bbox": ended.bbox}
                values = {"status": "INGESTED", "body": json.dumps(body), **place_values(Place.of(ended.bbox))}
            change = update(byoc_tiles).where(byoc_tiles.c.id == tile.id)
            connection.execute(change.values(lease_owner=None, lease_until=0.0, **values))

        self.database.transact(work)

    def give_back(self, owner: str) -> None:
        """Lets others ingest what `owner` has not finished."""
        mine = and_(byoc_tiles.c.status == TileStatus.INGESTING.value, byoc_tiles.c.lease_owner == owner)
        change = update(byoc_tiles).where(mine).values(status=TileStatus.WAITING.value, lease_owner=None)
        self.database.transact(lambda connection: connection.execute(change))

    def add_ingested(self, tiles: Sequence[tuple[ByocTile, Ingested]]) -> None:
        """Puts tiles that are known to be as they should into their collection; one of the same path is replaced."""

        def work(connection: Connection) -> None:
            for tile, found in tiles:
                body = {**found.body, "cover": None, "bbox": found.bbox}
                values = tile_values(replace(tile, status=TileStatus.INGESTED, body=body))
                values |= place_values(Place.of(found.bbox))
                same = and_(byoc_tiles.c.collection_id == tile.collection_id, byoc_tiles.c.path == tile.path)
                connection.execute(delete(byoc_tiles).where(same))
                connection.execute(self.database.insert(byoc_tiles).values(**values))
            for collection_id in {tile.collection_id for tile, _ in tiles}:
                collection = read_collection(connection, collection_id, project_id=None, lock=True)
                its = [found for tile, found in tiles if tile.collection_id == collection_id]
                changed = collection.with_tiles([one.bbox for one in its], [one.body.get(COARSEST) for one in its])
                write_collection(connection, changed)

        self.database.transact(work)

    def add_waiting(self, collection_id: str, paths: Iterable[str], sensing_time: datetime | None) -> None:
        """Makes tiles that wait to be ingested; those whose path the collection has are left as they are."""
        moment, body = from_text(to_text(self._now())), asked(None, covers_data=False)

        def work(connection: Connection) -> None:
            for path in paths:
                tile = ByocTile(str(uuid.uuid4()), collection_id, path, TileStatus.WAITING, moment, sensing_time, body)
                connection.execute(self._insertion(tile_values(tile)))

        self.database.transact(work)

    # Searching

    def find(
        self,
        collection_id: str,
        *,
        bbox: Bbox | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int | None = None,
        offset: int = 0,
        newest_first: bool = False,
    ) -> list[ByocTile]:
        """The ingested tiles of `[start, end)` whose box meets `bbox` (degrees), by time and id.

        A box whose west is greater than its east crosses the antimeridian.
        """
        with self.database.read() as connection:
            query = search_tiles(collection_id, bbox, start, end)
            if newest_first:
                query = query.order_by(None).order_by(byoc_tiles.c.sensed.desc(), byoc_tiles.c.id)
            found = connection.execute(query.limit(limit).offset(offset)).all()
        return [to_tile(row) for row in found]

    def _batches(
        self, collection_id: str, start: datetime | None = None, end: datetime | None = None
    ) -> Iterator[list[ByocTile]]:
        place: tuple[str, str] | None = None
        while True:
            query = search_tiles(collection_id, None, start, end)
            query = after(query, write_token(place) if place else None, (byoc_tiles.c.sensed, byoc_tiles.c.id))
            with self.database.read() as connection:
                rows = connection.execute(query.limit(_BATCH)).all()
            if not rows:
                return
            yield [to_tile(row) for row in rows]
            place = (rows[-1].sensed, rows[-1].id)

    def stream(
        self, collection_id: str, *, start: datetime | None = None, end: datetime | None = None
    ) -> Iterator[ByocTile]:
        """All ingested tiles of `[start, end)` by time and id, read some at a time."""
        for tiles in self._batches(collection_id, start, end):
            yield from tiles


def _read(connection: Connection, collection_id: str, tile_id: str, *, lock: bool = False) -> ByocTile:
    mine = and_(byoc_tiles.c.id == clean(tile_id), byoc_tiles.c.collection_id == collection_id)
    query = select(byoc_tiles).where(mine)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise NotFound(f"There is no tile {tile_id[:64]} in collection {collection_id[:64]}")
    return to_tile(row)


def _fit(connection: Connection, collection: ByocCollection, found: Ingested) -> Ingested | str:
    """What was found, if it fits the collection as it is now; a collection without bands gets those found."""
    bands = collection.bands
    if not bands:
        bands = found.bands
    elif found.bands and not all(any(same_numbers(b, other) for other in found.bands.values()) for b in bands.values()):
        return f"The files have the bands {', '.join(found.bands)}; the collection's are {', '.join(bands)}"
    changed = replace(collection, bands=bands).with_tiles([found.bbox], [found.body.get(COARSEST)])
    write_collection(connection, changed)
    return found
