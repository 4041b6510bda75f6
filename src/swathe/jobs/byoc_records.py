"""Tiles of users' own collections as values, and as rows of the job store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Row

from swathe.jobs.byoc_places import Bbox, Place
from swathe.jobs.records import clean, from_text, to_text
from swathe.model.byoc import ByocBand

NOWHERE: Mapping[str, Any] = dict.fromkeys(("west", "south", "east", "north", "level", "cell_x", "cell_y"))
"""The columns of a tile that is not ingested."""

STARTED, FINEST, COARSEST, COVERS_DATA = "started", "finest", "coarsest", "coversData"
"""Keys of a tile's body: when its ingestion began; the size of pixels in metres, and that in the coarsest overview;
whether its cover is to be found from the values of its files."""


class TileStatus(StrEnum):
    """How far a tile is."""

    WAITING = "WAITING"
    QUEUED = "QUEUED"
    INGESTING = "INGESTING"
    INGESTED = "INGESTED"
    FAILED = "FAILED"


@dataclass(frozen=True)
class ByocTile:
    """A tile. `body` holds `cover` (what the user gave), `COVERS_DATA` and, once it is ingested or failed, what was found out.

    That is `epsg`, `geometry` (the box in that CRS), `footprint` (in WGS84) and `files` (by their `source`: key, grid,
    dtype, bands, nodata); `warnings`; `cause` of a failure.
    """

    id: str
    collection_id: str
    path: str
    status: TileStatus
    created: datetime
    sensing_time: datetime | None
    body: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def sensed(self) -> datetime:
        """The time that searches go by."""
        return self.sensing_time or self.created


@dataclass(frozen=True)
class TilePage:
    """Some tiles, and the token of the page after them when there is one."""

    tiles: tuple[ByocTile, ...]
    next_token: str | None


@dataclass(frozen=True)
class Ingested:
    """What was found out about a tile: `bbox` in degrees, `bands` that its files have where none were known before."""

    bbox: Bbox
    body: Mapping[str, Any] = field(hash=False)
    bands: Mapping[str, ByocBand] = field(default_factory=dict, hash=False)


def asked(cover: Mapping[str, Any] | None, covers_data: bool) -> dict[str, Any]:
    """The body of a tile that waits: the cover that the user gave, or that it is to be found from the files' values."""
    return {"cover": cover, **({COVERS_DATA: True} if covers_data and cover is None else {})}


def asked_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """What of a body is the user's and not found out, and when its ingestion began."""
    return {"cover": body.get("cover"), **{key: body[key] for key in (COVERS_DATA, STARTED) if key in body}}


def to_tile(row: Row[Any]) -> ByocTile:
    """A row as a value."""
    return ByocTile(
        row.id,
        row.collection_id,
        row.path,
        TileStatus(row.status),
        from_text(row.created),
        None if row.sensing_time is None else from_text(row.sensing_time),
        json.loads(row.body),
    )


def tile_values(tile: ByocTile) -> dict[str, Any]:
    """The columns of a tile but for its place."""
    return {
        "id": tile.id,
        "collection_id": tile.collection_id,
        "path": clean(tile.path),
        "status": tile.status.value,
        "created": to_text(tile.created),
        "sensing_time": None if tile.sensing_time is None else to_text(tile.sensing_time),
        "sensed": to_text(tile.sensed),
        "body": json.dumps(tile.body),
    }


def place_values(place: Place) -> dict[str, Any]:
    """The columns of a place."""
    return {
        "west": place.west,
        "south": place.south,
        "east": place.east,
        "north": place.north,
        "level": place.level,
        "cell_x": place.cell_x,
        "cell_y": place.cell_y,
    }
