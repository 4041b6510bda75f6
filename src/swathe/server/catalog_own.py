"""Users' own collections as the Catalog API shows them: each project has its own, read from the job store."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from swathe.catalog.areas import Bbox
from swathe.catalog.collections import Collection, make_collection
from swathe.catalog.items import to_collection
from swathe.catalog.scene import Scene, parse_item
from swathe.jobs.byoc import ByocCollection, ByocCollections
from swathe.jobs.byoc_records import ByocTile, TileStatus
from swathe.jobs.byoc_sources import entry_of, to_item
from swathe.jobs.byoc_tiles import ByocTiles
from swathe.model.errors import NotFound

PREFIX = "byoc-"
_NAMES = ("byoc-", "batch-")
_FIRST_BATCH, _MOST_AT_ONCE = 110, 5_000
_NO_FILE = Path("own")


class OwnCollections:
    """The collections of one project. Reads the store."""

    def __init__(self, collections: ByocCollections, tiles: ByocTiles, project_id: str) -> None:
        self._collections = collections
        self._tiles = tiles
        self._project_id = project_id

    def names(self) -> list[str]:
        """The ids of the first ones; a project may have more than a list should."""
        return [PREFIX + found.id for found in self._collections.page(self._project_id).collections]

    def get(self, told: str) -> ByocCollection | None:
        """The collection that is called so; None where there is none."""
        name = told.casefold()
        prefix = next((known for known in _NAMES if name.startswith(known)), None)
        if prefix is None:
            return None
        try:
            return self._collections.get(str(uuid.UUID(name.removeprefix(prefix))), project_id=self._project_id)
        except (NotFound, ValueError):
            return None

    def describe(self, found: ByocCollection) -> dict[str, Any]:
        """A STAC collection without links."""
        collection = Collection(type=PREFIX + found.id, title=found.name, bands={})
        if found.bands:
            collection = make_collection(entry_of(collection.type, found, _NO_FILE), ())
        first, last = self._collections.times(found.id) or (None, None)
        data_types = {name: band.dtype or "other" for name, band in found.bands.items()}
        return to_collection(collection.type, collection, (_box(found.extent), first, last), data_types)

    def newest_scenes(
        self,
        found: ByocCollection,
        *,
        start: datetime,
        end: datetime,
        bbox: Bbox | None = None,
        ids: frozenset[str] | None = None,
    ) -> Iterator[Scene]:
        """The scenes of its tiles, newest first; read as they are asked for, by the store's index of places."""
        if ids is not None:
            tiles = [tile for name in ids if (tile := self._tile(found, name)) is not None]
            tiles = [tile for tile in tiles if start <= tile.sensed < end]
            yield from (_scene(found, tile) for tile in sorted(tiles, key=lambda t: (-t.sensed.timestamp(), t.id)))
            return
        offset, limit = 0, _FIRST_BATCH
        while True:
            batch = self._tiles.find(
                found.id, bbox=bbox, start=start, end=end, limit=limit, offset=offset, newest_first=True
            )
            yield from (_scene(found, tile) for tile in batch)
            if len(batch) < limit:
                return
            offset, limit = offset + limit, min(2 * limit, _MOST_AT_ONCE)

    def _tile(self, found: ByocCollection, name: str) -> ByocTile | None:
        try:
            tile = self._tiles.get(found.id, name, project_id=self._project_id)
        except NotFound:
            return None
        return tile if tile.status is TileStatus.INGESTED else None


def _scene(collection: ByocCollection, tile: ByocTile) -> Scene:
    item = to_item(collection, tile)
    return parse_item(item, "", item["collection"], keeps_item=True)


def _box(extent: Bbox | None) -> Bbox | None:
    if extent is None or extent[2] <= 180.0:
        return extent
    west, south, east, north = extent
    return (-180.0, south, 180.0, north) if east - west >= 360.0 else (west, south, east - 360.0, north)
