"""STAC items and collections as the Catalog API shows them, made of scenes and collections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from shapely.geometry import mapping

from swathe.catalog.collections import Collection
from swathe.catalog.scene import Scene, unpack_item

STAC_VERSION = "1.0.0"
_VERSIONS = ("1.0.0", "1.0.1", "1.1.0")
_SAR = "sentinel-1-grd"
_EO = "https://stac-extensions.github.io/eo/v1.0.0/schema.json"
_RASTER = "https://stac-extensions.github.io/raster/v1.1.0/schema.json"
_PROJECTION = "https://stac-extensions.github.io/projection/v1.0.0/schema.json"
_DATA_TYPES = {"UINT8": "uint8", "UINT16": "uint16", "INT16": "int16", "FLOAT32": "float32"}
_POLARIZATIONS = {("VH", "VV"): "DV", ("HH", "HV"): "DH", ("VV",): "SV", ("HH",): "SH", ("VH",): "VH", ("HV",): "HV"}
_RESOLUTIONS = {"F": "FULL", "H": "HIGH", "M": "MEDIUM"}
_WORLD = (-180.0, -90.0, 180.0, 90.0)

_TEXT, _NUMBER = {"type": "string"}, {"type": "number"}
_COMMON: Mapping[str, Mapping[str, Any]] = {
    "id": _TEXT,
    "collection": _TEXT,
    "datetime": {"type": "string", "format": "date-time"},
}
_CLOUDS: Mapping[str, Mapping[str, Any]] = {"eo:cloud_cover": {**_NUMBER, "minimum": 0, "maximum": 100}}
_RADAR: Mapping[str, Mapping[str, Any]] = {
    "sar:instrument_mode": {**_TEXT, "enum": ["SM", "IW", "EW", "WV"]},
    "sat:orbit_state": {**_TEXT, "enum": ["ascending", "descending"]},
    "s1:polarization": {**_TEXT, "enum": sorted(_POLARIZATIONS.values())},
    "s1:resolution": {**_TEXT, "enum": ["HIGH", "MEDIUM", "FULL"]},
    "s1:timeliness": _TEXT,
}

Extent = tuple[tuple[float, float, float, float] | None, datetime | None, datetime | None]


@dataclass(frozen=True)
class Found:
    """A scene that was found, and the collection it was found in."""

    collection: str
    scene: Scene


def to_item(found: Found) -> dict[str, Any]:
    """The STAC item of a scene, without links.

    Addresses of files on the server's own disks are nobody's business, so those assets are left out; so are passwords
    and queries of other addresses, as these may hold signatures.
    """
    scene, said = found.scene, unpack_item(found.scene)
    own = said.get("properties") or scene.properties
    version = said.get("stac_version")
    extensions = said.get("stac_extensions")
    epsg = _epsg(own, scene)
    properties: dict[str, Any] = {**own, "datetime": to_text(scene.datetime)}
    if scene.cloud_cover is not None:
        properties["eo:cloud_cover"] = scene.cloud_cover
    if epsg is not None and "proj:code" not in own:
        properties["proj:epsg"] = epsg
    properties |= derived_properties(found.collection, own, scene)
    kept = [name for name in extensions if isinstance(name, str)] if isinstance(extensions, list) else []
    if not kept:
        used = ((_EO, "eo:cloud_cover"), (_PROJECTION, "proj:epsg"))
        kept = [extension for extension, name in used if name in properties]
    return {
        "stac_version": version if version in _VERSIONS else STAC_VERSION,
        "stac_extensions": kept,
        "id": scene.id,
        "type": "Feature",
        "geometry": mapping(scene.footprint) if scene.footprint is not None else None,
        "bbox": list(scene.bbox),
        "properties": properties,
        "assets": _assets(scene, said.get("assets")),
        "collection": found.collection,
    }


def derived_properties(collection: str, own: Mapping[str, Any], scene: Scene) -> dict[str, Any]:
    """What clients filter Sentinel-1 by and public catalogs do not say so: `s1:polarization` and `s1:resolution`.

    The resolution is what the item or the product's name says, else high, as that of all land products is.
    """
    if collection != _SAR:
        return {}
    derived: dict[str, Any] = {}
    polarizations = own.get("sar:polarizations")
    if "s1:polarization" not in own and isinstance(polarizations, list):
        named = _POLARIZATIONS.get(tuple(sorted(str(name).upper() for name in polarizations)))
        derived |= {"s1:polarization": named} if named is not None else {}
    told = own.get("s1:resolution")
    letter = scene.id.partition("_GRD")[2][:1]
    derived["s1:resolution"] = told.upper() if isinstance(told, str) else _RESOLUTIONS.get(letter, "HIGH")
    return derived


def to_collection(
    name: str, collection: Collection | None, extent: Extent, data_types: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A STAC collection, without links; `collection` is None where its bands cannot be told now.

    `data_types` are those of bands of which more is known than the collection says.
    """
    box, first, last = extent
    title = collection.title if collection is not None else name
    return {
        "stac_version": STAC_VERSION,
        "stac_extensions": [_EO, _RASTER],
        "type": "Collection",
        "id": name,
        "title": title,
        "description": title,
        "license": "proprietary",
        "extent": {
            "spatial": {"bbox": [list(box or _WORLD)]},
            "temporal": {"interval": [[None if moment is None else to_text(moment) for moment in (first, last)]]},
        },
        "summaries": _summaries(collection, data_types or {}) if collection is not None else {},
    }


def to_queryables(name: str | None, title: str, href: str) -> dict[str, Any]:
    """The JSON schema of what filters may name, of a collection or of all; other properties may be named too."""
    fitting = _RADAR if name == _SAR else _CLOUDS
    return {
        "$schema": "https://json-schema.org/draft/2019-09/schema",
        "$id": href,
        "type": "object",
        "title": title,
        "properties": {key: {"title": key, **schema} for key, schema in {**_COMMON, **fitting}.items()},
        "additionalProperties": True,
    }


def extent_of(scenes: Sequence[Scene]) -> Extent:
    """The box and the first and last time of scenes that are sorted by time."""
    if not scenes:
        return None, None, None
    boxes = [scene.bbox for scene in scenes]
    south, north = min(box[1] for box in boxes), max(box[3] for box in boxes)
    crosses = any(west > east for west, _, east, _ in boxes)
    west = -180.0 if crosses else min(box[0] for box in boxes)
    east = 180.0 if crosses else max(box[2] for box in boxes)
    return (west, south, east, north), scenes[0].datetime, scenes[-1].datetime


def joined_extent(extents: Sequence[Extent]) -> Extent:
    """One extent of several, those that know nothing left aside."""
    boxes = [box for box, _, _ in extents if box is not None]
    firsts = [first for _, first, _ in extents if first is not None]
    lasts = [last for _, _, last in extents if last is not None]
    box = None
    if boxes:
        crosses = any(one[0] > one[2] for one in boxes)
        west, east = (-180.0, 180.0) if crosses else (min(one[0] for one in boxes), max(one[2] for one in boxes))
        box = west, min(one[1] for one in boxes), east, max(one[3] for one in boxes)
    return box, min(firsts, default=None), max(lasts, default=None)


def to_text(moment: datetime) -> str:
    """A time with as many digits as it has, so that a search for it finds it."""
    spec = "microseconds" if moment.microsecond % 1000 else "milliseconds" if moment.microsecond else "seconds"
    return moment.astimezone(UTC).isoformat(timespec=spec).replace("+00:00", "Z")


def _summaries(collection: Collection, data_types: Mapping[str, str]) -> dict[str, Any]:
    bands = list(collection.bands.values())
    summaries: dict[str, Any] = {
        "eo:bands": [{"name": band.name} for band in bands],
        "raster:bands": [
            {"data_type": data_types.get(band.name) or _DATA_TYPES.get(band.sample_format, "other")} for band in bands
        ],
    }
    sizes = sorted({band.resolution_m for band in bands if band.resolution_m is not None})
    if sizes:
        summaries["gsd"] = [int(size) if size == int(size) else size for size in sizes]
    return {key: value for key, value in summaries.items() if value}


def _assets(scene: Scene, said: Any) -> dict[str, Any]:
    assets: dict[str, Any] = {}
    for key, asset in scene.assets.items():
        href = _shown(asset.href)
        if href is None:
            continue
        own = said.get(key) if isinstance(said, Mapping) else None
        told = {name: value for name, value in own.items() if name != "alternate"} if isinstance(own, Mapping) else {}
        assets[key] = {**told, "href": href}
    return assets


def _shown(href: str) -> str | None:
    if "://" not in href or href.startswith("file://"):
        return None
    try:
        parts = urlsplit(href)
        if parts.username is None and not parts.query:
            return href
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"
    except ValueError:
        return None


def _epsg(own: Mapping[str, Any], scene: Scene) -> int | None:
    told = own.get("proj:epsg")
    if isinstance(told, int):
        return told
    codes = {asset.grid.epsg for asset in scene.assets.values() if asset.grid is not None}
    return codes.pop() if len(codes) == 1 else None
