"""Collections and tiles of one's own as answers show them."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from swathe.jobs.byoc import ByocCollection, SensingTimes
from swathe.jobs.byoc_records import COARSEST, COVERS_DATA, FINEST, STARTED, ByocTile, TileStatus
from swathe.jobs.records import from_text
from swathe.model.errors import NotFound
from swathe.model.time import format_time
from swathe.server.answers import Links

COVER = "coverGeometry"
NO_TIMES = SensingTimes("NO")


class CollectionAnswer(BaseModel):
    """A collection."""

    id: uuid.UUID
    accountId: str  # noqa: N815  wire names
    name: str
    s3Bucket: str  # noqa: N815
    isConfigured: bool  # noqa: N815
    created: datetime
    noData: float | None = None  # noqa: N815
    requiresMetadataUpdate: bool = False  # noqa: N815
    additionalData: dict[str, Any] = Field(default_factory=dict)  # noqa: N815


class TileAnswer(BaseModel):
    """A tile and how far its ingestion is."""

    id: uuid.UUID
    path: str
    status: TileStatus
    created: datetime
    sensingTime: datetime | None = None  # noqa: N815
    ingestionStart: datetime | None = None  # noqa: N815
    coverFromData: bool | None = None  # noqa: N815
    tileGeometry: dict[str, Any] | None = None  # noqa: N815
    coverGeometry: dict[str, Any] | None = None  # noqa: N815
    additionalData: dict[str, Any] | None = None  # noqa: N815


class OneCollection(BaseModel):
    """One collection."""

    data: CollectionAnswer


class SomeCollections(BaseModel):
    """A page of collections."""

    data: list[CollectionAnswer]
    links: Links


class OneTile(BaseModel):
    """One tile."""

    data: TileAnswer


class SomeTiles(BaseModel):
    """A page of tiles."""

    data: list[TileAnswer]
    links: Links


class WhereAnswer(BaseModel):
    """Where a collection is served from."""

    id: uuid.UUID
    location: str


class WhereAnswers(BaseModel):
    """Where some collections are served from."""

    data: list[WhereAnswer]


def collection_answer(collection: ByocCollection, sensing: SensingTimes = NO_TIMES) -> dict[str, Any]:
    """A collection as `BYOCCollection`."""
    more: dict[str, Any] = {}
    if collection.bands:
        more["bands"] = {
            name: band.model_dump(by_alias=True, exclude_none=True) for name, band in collection.bands.items()
        }
    if collection.extent is not None:
        west, south, east, north = collection.extent
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        more["extent"] = {"type": "Polygon", "coordinates": [ring]}
    if collection.max_metres_per_pixel is not None:
        more["maxMetersPerPixel"] = collection.max_metres_per_pixel
    more["hasSensingTimes"] = sensing.has
    if sensing.first is not None and sensing.last is not None:
        more |= {"fromSensingTime": format_time(sensing.first), "toSensingTime": format_time(sensing.last)}
    answer: dict[str, Any] = {
        "id": collection.id,
        "accountId": collection.project_id,
        "name": collection.name,
        "s3Bucket": collection.bucket,
        "isConfigured": bool(collection.bands),
        "created": format_time(collection.created),
        "requiresMetadataUpdate": False,
        "additionalData": more,
    }
    return answer if collection.no_data is None else answer | {"noData": collection.no_data}


def tile_answer(tile: ByocTile) -> dict[str, Any]:
    """A tile as `BYOCTile`: what has no value yet is left out."""
    body = tile.body
    answer: dict[str, Any] = {
        "id": tile.id,
        "path": tile.path,
        "status": tile.status.value,
        "created": format_time(tile.created),
    }
    if tile.sensing_time is not None:
        answer["sensingTime"] = format_time(tile.sensing_time)
    if "geometry" in body:
        crs = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{body['epsg']}"}}
        answer["tileGeometry"] = {**body["geometry"], "crs": crs}
        answer[COVER] = {**body["coverGeometry"], "crs": crs}
    elif body.get("cover") is not None:
        answer[COVER] = body["cover"]
    if COVERS_DATA in body:
        answer["coverFromData"] = True
    if STARTED in body:
        answer["ingestionStart"] = format_time(from_text(body[STARTED]))
    more = {
        "minMetersPerPixel": body.get(FINEST),
        "maxMetersPerPixel": body.get(COARSEST),
        "failedIngestionCause": body.get("cause"),
        "warnings": body.get("warnings"),
    }
    if any(more.values()):
        answer["additionalData"] = {name: value for name, value in more.items() if value}
    return answer


def to_id(text: str) -> str:
    """The id of a collection or tile out of an address.

    Raises:
        NotFound: it is none.
    """
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise NotFound(f"There is no {text[:64]!r}; ids are UUIDs") from None
