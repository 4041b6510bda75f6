"""Users' own collections as data of requests: the tiles as STAC items in a file, and settings that name it.

Whoever computes sees a static catalog like any other, and needs no database. Requests say `byoc-<id>` or `batch-<id>`.
"""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError

from swathe.jobs.byoc import ByocCollection, ByocCollections
from swathe.jobs.byoc_places import Bbox
from swathe.jobs.byoc_records import ByocTile
from swathe.jobs.byoc_tiles import ByocTiles
from swathe.jobs.database import Database
from swathe.model.errors import NotFound, RequestInvalid, SwatheError
from swathe.model.time import format_time, parse_time
from swathe.settings import BandSettings, CollectionSettings, Settings, StorageSettings
from swathe.storage.doors import check_bucket

if TYPE_CHECKING:
    from swathe.jobs.prepare import Preparation

_OWN = re.compile(r"(?:byoc|batch)-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.IGNORECASE)
_NOWHERE = "own"
_TYPE = "input->data->type"
# Scenes are seen somewhat beyond their footprints, and looked for so far around: see `engine.raster_scenes`.
_MARGIN_DEG = 0.1


class StoreAway(SwatheError):
    """The job store, which knows the tiles, does not answer now."""

    retryable = True


@dataclass(frozen=True)
class Span:
    """Which tiles a request may need: those of `[start, end)`, of any time where None, that meet `bbox` (degrees)."""

    start: datetime | None = None
    end: datetime | None = None
    bbox: Bbox | None = None


def own_types(told: Iterable[str], settings: Settings) -> tuple[str, ...]:
    """Those of some types that are users' own collections and none of the deployment's, each once."""
    configured = {entry.type.casefold() for entry in settings.collections}
    found = {name.casefold(): name for name in told if _OWN.fullmatch(name) and name.casefold() not in configured}
    return tuple(found.values())


def told_types(request: Mapping[str, Any]) -> tuple[str, ...]:
    """The types that the body of a batch request of any kind names."""
    return tuple(str(source.get("type")) for source in _sources(request))


def list_types(settings: Settings, types: Sequence[str]) -> Settings:
    """The settings with entries for own collections, so that the types are known; their scenes are not."""
    entries = tuple(CollectionSettings(type=name, source=_NOWHERE) for name in types)
    return settings if not entries else with_entries(settings, entries)


def with_entries(settings: Settings, entries: Sequence[CollectionSettings]) -> Settings:
    """The settings with entries in place of those of the same types."""
    named = {entry.type.casefold() for entry in entries}
    kept = tuple(entry for entry in settings.collections if entry.type.casefold() not in named)
    return settings.model_copy(update={"collections": (*kept, *entries)})


def find_own(database: Database, types: Iterable[str], project_id: str) -> dict[str, ByocCollection]:
    """The collections by the types that name them.

    Raises:
        RequestInvalid: one is not there, or it is another project's.
        DatabaseUnavailable: the store does not answer.
    """
    store = ByocCollections(database)
    found = {}
    for name in types:
        match = _OWN.fullmatch(name)
        try:
            found[name] = store.get(str(uuid.UUID(match[1] if match else "")), project_id=project_id)
        except (NotFound, ValueError):
            raise RequestInvalid(f"There is no collection '{name}' in this project", _TYPE) from None
    return found


def write_own(
    database: Database, types: Iterable[str], project_id: str, folder: Path, span: Span, storage: StorageSettings
) -> tuple[CollectionSettings, ...]:
    """Entries for own collections, their tiles in files in `folder`.

    Raises:
        RequestInvalid: a collection is not there, or has no bands yet.
        DoorClosed: the deployment does not open its bucket to requests.
        DatabaseUnavailable: the store does not answer.
    """
    entries = []
    for name, collection in find_own(database, types, project_id).items():
        if not collection.bands:
            raise RequestInvalid(
                f"Collection '{name}' has no bands yet; add a tile, and wait until it is ingested", _TYPE
            )
        check_bucket(storage, collection.bucket, has_keys=False, takes_keys=False)
        path = folder / f"{collection.id}-{uuid.uuid4().hex[:8]}.geojson"
        _write(path, collection, _tiles(ByocTiles(database), collection.id, span))
        entries.append(entry_of(name, collection, path))
    return tuple(entries)


def entry_of(name: str, collection: ByocCollection, path: Path) -> CollectionSettings:
    """A collection as the settings have them, its tiles in a file."""
    bands = {
        band_name: BandSettings(asset=band.source or band_name, index=band.band_index, nodata=collection.nodata(band))
        for band_name, band in collection.bands.items()
    }
    return CollectionSettings(type=name, source=str(path), title=collection.name, bands=bands)


def supply(database: Database, preparation: Preparation) -> Preparation:
    """A preparation whose settings have the own collections of its request, with their tiles in its folder.

    And with the collection that its results are to become tiles of.

    Raises:
        RequestInvalid: a collection is not there, or has no bands yet.
        StoreAway: the store does not answer.
    """
    from swathe.jobs.byoc_results import target_of

    body = json.loads(preparation.request)
    listed = {entry.type for entry in preparation.settings.collections if entry.source == _NOWHERE}
    try:
        target = target_of(database, getattr(preparation.delivery, "output", None), preparation.project_id)
        preparation = replace(preparation, collection=target)
        if not listed:
            return preparation
        preparation.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        entries = write_own(
            database, listed, preparation.project_id, preparation.folder, span_of(body), preparation.settings.storage
        )
    except SQLAlchemyError:
        raise StoreAway("The job store does not answer") from None
    return replace(preparation, settings=with_entries(preparation.settings, entries))


def span_of(request: Mapping[str, Any], bbox: Bbox | None = None) -> Span:
    """The time that all data sources of a request ask for together; of statistics from when, as they may go on."""
    aggregation = request.get("aggregation")
    if isinstance(aggregation, Mapping):
        return Span(_moment((aggregation.get("timeRange") or {}).get("from")), None, bbox)
    ranges = [(source.get("dataFilter") or {}).get("timeRange") or {} for source in _sources(request)]
    starts = [_moment(told.get("from")) for told in ranges]
    ends = [_moment(told.get("to")) for told in ranges]
    start = min((moment for moment in starts if moment is not None), default=None)
    end = max((moment for moment in ends if moment is not None), default=None)
    return Span(None if None in starts else start, None if None in ends else end, bbox)


def to_item(collection: ByocCollection, tile: ByocTile) -> dict[str, Any]:
    """An ingested tile as a STAC item, of which no part is left out that a search or a reader needs."""
    west, south, east, north = tile.body["bbox"]
    assets = {}
    for source, file in tile.body["files"].items():
        epsg, transform, width, height = file["grid"]
        assets[source or "B"] = {
            "href": f"s3://{collection.bucket}/{file['key']}",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data"],
            "proj:code": f"EPSG:{epsg}",
            "proj:transform": transform,
            "proj:shape": [height, width],
        }
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": tile.id,
        "collection": f"byoc-{collection.id}",
        "geometry": tile.body["footprint"],
        "bbox": [west, south, east, north],
        "properties": {"datetime": format_time(tile.sensed), "proj:code": f"EPSG:{tile.body['epsg']}"},
        "assets": assets,
        "links": [],
    }


def _tiles(store: ByocTiles, collection_id: str, span: Span) -> Iterator[ByocTile]:
    if span.bbox is None:
        return store.stream(collection_id, start=span.start, end=span.end)
    west, south, east, north = span.bbox
    across = _MARGIN_DEG / max(math.cos(math.radians(min(89.0, max(abs(south), abs(north))))), 0.01)
    box = (west - across, south - _MARGIN_DEG, east + across, north + _MARGIN_DEG)
    return iter(store.find(collection_id, bbox=box, start=span.start, end=span.end))


def _write(path: Path, collection: ByocCollection, tiles: Iterable[ByocTile]) -> None:
    with path.open("w", encoding="ascii") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for number, tile in enumerate(tiles):
            file.write(",\n" if number else "\n")
            json.dump(to_item(collection, tile), file)
        file.write("\n]}\n")


def _sources(request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    rendered = request.get("processRequest")
    place: Any = rendered if isinstance(rendered, Mapping) else request
    inputs = place.get("input")
    data = inputs.get("data") if isinstance(inputs, Mapping) else None
    for source in data if isinstance(data, list) else []:
        if isinstance(source, Mapping):
            yield source


def _moment(text: Any) -> datetime | None:
    return parse_time(text, "timeRange") if isinstance(text, str) and text else None
