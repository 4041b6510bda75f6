"""Scenes: STAC items, reduced to what the engine needs. Understands STAC 1.0 (betas too) and 1.1. Reads nothing."""

from __future__ import annotations

import math
import os.path
import posixpath
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

import orjson
import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from swathe.model.errors import SourceError
from swathe.model.time import format_time
from swathe.rasters.source import SourceGrid, Transform

if TYPE_CHECKING:
    from swathe.catalog.collections import BandDefinition

_OFFSET_APPLIED = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
_KEPT = (
    *("platform", "constellation", "instruments", "grid:code", "s2:processing_baseline", "processing:version"),
    *("sat:orbit_state", "sat:relative_orbit", "sat:absolute_orbit", "sar:instrument_mode", "sar:polarizations"),
    *("view:sun_azimuth", "view:sun_elevation", "view:azimuth", "view:incidence_angle", *_OFFSET_APPLIED),
)
# ESA's products from baseline 04.00 on (25 January 2022) hold 10,000 * reflectance + 1,000. Some catalogs pass them on
# without a word about it (Planetary Computer).
_FIRST_BASELINE_WITH_OFFSET = 4.0
BASELINE_FACTORS = (0.0001, -0.1)
_DATA_TYPES = ("image/tiff", "image/vnd.stac.geotiff", "image/jp2", "image/x.geotiff")
T = TypeVar("T")
_OTHER_ROLES = {"thumbnail", "overview", "visual", "metadata", "tiles"}


@dataclass(frozen=True, slots=True)
class AssetBand:
    """What an item says of one band of a file. `scale` and `offset` are None where it says nothing."""

    name: str = ""
    data_type: str | None = None
    nodata: float | None = None
    scale: float | None = None
    offset: float | None = None


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of a scene. `grid` is None where the item does not say where its pixels lie; the file knows."""

    href: str
    grid: SourceGrid | None = None
    bands: tuple[AssetBand, ...] = ()
    is_data: bool = True


@dataclass(frozen=True)
class BandSource:
    """Where a scene keeps a band: the file, the band in it (from 1), and what the item says of its numbers.

    `nodata` is the item's, else the definition's, else None: then the file's own counts. `scale` and `offset` are the
    item's, else what its processing baseline means, else None; an offset that the numbers already have is 0.
    """

    key: str
    asset: Asset
    index: int
    nodata: float | None
    scale: float | None
    offset: float | None


@dataclass(frozen=True)
class Scene:
    """One product at one time. `cloud_cover` is in percent; `bbox` is west, south, east, north in degrees.

    A `bbox` whose west is greater than its east crosses the antimeridian. `geometry_wkb` is the footprint in WGS84.
    `kept_item` is the item itself, for those who show it (`catalog.items` reads it); it does not travel in JSON.
    """

    id: str
    collection: str
    datetime: datetime
    cloud_cover: float | None
    bbox: tuple[float, float, float, float]
    geometry_wkb: bytes | None
    assets: Mapping[str, Asset] = field(hash=False)
    properties: Mapping[str, Any] = field(default_factory=dict, hash=False)
    kept_item: bytes | None = field(default=None, compare=False, repr=False)

    @property
    def footprint(self) -> BaseGeometry | None:
        """The footprint in WGS84, longitude first."""
        return None if self.geometry_wkb is None else shapely.from_wkb(self.geometry_wkb)

    def asset_for(self, band: BandDefinition) -> BandSource | None:
        """Where the band lies in this scene; None where the scene does not have it.

        First an asset of one of the definition's keys, then a file of several bands that names one so.
        """
        for key in band.assets:
            asset = self.assets.get(key)
            if asset is None:
                continue
            index = band.index
            if len(asset.bands) > 1 and band.index == 1:
                names = [found.name for found in asset.bands]
                index = names.index(band.name) + 1 if band.name in names else 1
            return self._band_source(key, asset, index, band)
        for key, asset in self.assets.items():
            names = [found.name for found in asset.bands]
            if asset.is_data and len(names) > 1 and band.name in names:
                return self._band_source(key, asset, names.index(band.name) + 1, band)
        return None

    def _band_source(self, key: str, asset: Asset, index: int, band: BandDefinition) -> BandSource:
        said = asset.bands[index - 1] if len(asset.bands) >= index else AssetBand()
        nodata = band.nodata if said.nodata is None else said.nodata
        scale, offset = said.scale, said.offset
        if scale is None and band.follows_baseline and self._has_baseline_offset:
            scale, offset = BASELINE_FACTORS
        return BandSource(key, asset, index, nodata, scale, offset)

    @property
    def _has_baseline_offset(self) -> bool:
        """Whether numbers of which the item says nothing have the offset of Sentinel-2's newer processing baselines."""
        baseline = _number(self.properties.get("s2:processing_baseline"))
        applied = any(self.properties.get(key) is True for key in _OFFSET_APPLIED)
        return baseline is not None and baseline >= _FIRST_BASELINE_WITH_OFFSET and not applied

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON document, from which `from_json` makes the same scene."""
        return {
            "id": self.id,
            "collection": self.collection,
            "datetime": format_time(self.datetime)
            if self.datetime.microsecond % 1000 == 0
            else self.datetime.isoformat(),
            "cloud_cover": self.cloud_cover,
            "bbox": list(self.bbox),
            "geometry": self.geometry_wkb.hex() if self.geometry_wkb is not None else None,
            "assets": {key: _asset_to_json(asset) for key, asset in self.assets.items()},
            "properties": dict(self.properties),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Scene:
        """The scene that `to_json` wrote."""
        west, south, east, north = values["bbox"]
        return cls(
            id=values["id"],
            collection=values["collection"],
            datetime=datetime.fromisoformat(values["datetime"]).astimezone(UTC),
            cloud_cover=values["cloud_cover"],
            bbox=(west, south, east, north),
            geometry_wkb=bytes.fromhex(values["geometry"]) if values["geometry"] is not None else None,
            assets={key: _asset_from_json(asset) for key, asset in values["assets"].items()},
            properties=values["properties"],
        )


def _asset_to_json(asset: Asset) -> dict[str, Any]:
    grid = asset.grid
    bands = [[band.name, band.data_type, _plain(band.nodata), band.scale, band.offset] for band in asset.bands]
    return {
        "href": asset.href,
        "grid": None if grid is None else [grid.epsg, list(grid.transform), grid.width, grid.height],
        "bands": bands,
        "is_data": asset.is_data,
    }


def _asset_from_json(values: Mapping[str, Any]) -> Asset:
    grid = None
    if values["grid"] is not None:
        epsg, transform, width, height = values["grid"]
        grid = SourceGrid(epsg, tuple(transform), width, height)
    bands = tuple(
        AssetBand(name, data_type, _number(nodata), scale, offset)
        for name, data_type, nodata, scale, offset in values["bands"]
    )
    return Asset(values["href"], grid, bands, values["is_data"])


def _plain(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)


def _number(value: Any) -> float | None:
    """A number, also as STAC writes those that JSON has none for: `"nan"`, `"inf"`, `"-inf"`."""
    if value is None or isinstance(value, bool):
        return None
    try:
        number = float(value)
        return math.nan if math.isnan(number) else number  # one NaN, so that scenes compare equal
    except (TypeError, ValueError):
        return None


def resolve_href(href: str, base: str) -> str:
    """An item's address of a file, relative to the address of the item.

    Raises:
        SourceError: a catalog from elsewhere names a file of this machine.
    """
    if "://" in href and not href.startswith("file://"):
        return href
    remote = "://" in base and not base.startswith("file://")
    if not remote:
        return os.path.normpath(os.path.join(os.path.dirname(_local(base)), _local(href)))
    if href[:5].lower() == "file:":
        raise SourceError(f"{base} names the file {href}; a catalog from elsewhere may not name files of this machine")
    if base.startswith("s3://"):
        bucket, _, key = base.removeprefix("s3://").partition("/")
        joined = posixpath.normpath(posixpath.join("/" + posixpath.dirname(key), href))
        return f"s3://{bucket}/{joined.lstrip('/')}"
    return urljoin(base, href)


def _local(href: str) -> str:
    return unquote(urlsplit(href).path) if href.startswith("file://") else href


def parse_item(
    item: Mapping[str, Any], base: str, collection: str = "", *, keeps_item: bool = False, alternate: str = ""
) -> Scene:
    """The scene of a STAC item that lies at `base`; with `keeps_item` it holds the item too, compressed.

    Assets that have an alternative address of the name `alternate` are read there.

    Raises:
        SourceError: it has no id, no usable geometry or no time.
    """
    name = item.get("id")
    if not isinstance(name, str) or not name:
        raise SourceError(f"{base} holds a STAC item without an id")
    properties = item.get("properties")
    if not isinstance(properties, Mapping):
        raise SourceError(f"STAC item {name} ({base}) has no properties")
    footprint = _parse_geometry(item, name, base)
    west, south, east, north = _parse_bbox(item.get("bbox"), footprint)
    applied = any(properties.get(key) is True for key in _OFFSET_APPLIED)
    assets = item.get("assets")
    cloud_cover = _number(properties.get("eo:cloud_cover", properties.get("cloud_cover")))
    return Scene(
        id=name,
        collection=collection or str(item.get("collection") or ""),
        datetime=_parse_datetime(properties, name, base),
        cloud_cover=cloud_cover if cloud_cover is None or math.isfinite(cloud_cover) else None,
        bbox=(west, south, east, north),
        geometry_wkb=shapely.to_wkb(footprint),
        assets={
            str(key): _parse_asset(asset, properties, base, offset_applied=applied, alternate=alternate)
            for key, asset in (assets.items() if isinstance(assets, Mapping) else ())
            if isinstance(asset, Mapping) and isinstance(asset.get("href"), str)
        },
        properties={key: properties[key] for key in _KEPT if key in properties},
        kept_item=_pack(item) if keeps_item else None,
    )


def unpack_item(scene: Scene) -> dict[str, Any]:
    """What the scene's item said, without geometry and links; nothing where the scene was made without it."""
    if scene.kept_item is None:
        return {}
    item: dict[str, Any] = orjson.loads(zlib.decompress(scene.kept_item))
    return item


def _pack(item: Mapping[str, Any]) -> bytes:
    kept = {key: item[key] for key in ("stac_version", "stac_extensions", "properties", "assets") if key in item}
    return zlib.compress(orjson.dumps(kept), 1)


def _parse_geometry(item: Mapping[str, Any], name: str, base: str) -> BaseGeometry:
    geometry = item.get("geometry")
    if not isinstance(geometry, Mapping):
        raise SourceError(f"STAC item {name} ({base}) has no geometry, so where it lies is not known")
    try:
        footprint = shape(geometry)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, shapely.errors.ShapelyError):
        footprint = None
    if footprint is None or footprint.is_empty or not all(map(math.isfinite, footprint.bounds)):
        raise SourceError(f"STAC item {name} ({base}) has a geometry that cannot be used")
    return shapely.force_2d(footprint)


def _parse_bbox(bbox: Any, footprint: BaseGeometry) -> tuple[float, float, float, float]:
    if isinstance(bbox, list) and len(bbox) in (4, 6):
        numbers = [_number(value) for value in (bbox[0], bbox[1], bbox[len(bbox) // 2], bbox[len(bbox) // 2 + 1])]
        west, south, east, north = (math.nan if number is None else number for number in numbers)
        if all(map(math.isfinite, (west, south, east, north))) and south <= north:
            return west, south, east, north
    west, south, east, north = footprint.bounds
    return west, south, east, north


def _parse_datetime(properties: Mapping[str, Any], name: str, base: str) -> datetime:
    text = properties.get("datetime") or properties.get("start_datetime")
    try:
        moment = datetime.fromisoformat(str(text).strip())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise SourceError(f"STAC item {name} ({base}) has no usable datetime: {text!r}") from None


def _parse_asset(
    asset: Mapping[str, Any], properties: Mapping[str, Any], base: str, *, offset_applied: bool, alternate: str
) -> Asset:
    roles = asset.get("roles")
    named = {str(role) for role in roles} if isinstance(roles, list) else set()
    media_type = str(asset.get("type") or "")
    is_image = media_type.startswith(_DATA_TYPES) or (not media_type and "data" in named)
    return Asset(
        href=resolve_href(_address(asset, alternate), base),
        grid=_shared(_parse_grid(asset, properties)),
        bands=_shared(_parse_bands(asset, offset_applied=offset_applied)),
        is_data=is_image and ("data" in named or not named & _OTHER_ROLES),
    )


@lru_cache(maxsize=16_384)
def _shared(value: T) -> T:
    """The same object for equal values: most scenes of a catalog have the same grids and bands."""
    return value


def _address(asset: Mapping[str, Any], alternate: str) -> str:
    others = asset.get("alternate") if alternate else None
    other = others.get(alternate) if isinstance(others, Mapping) else None
    told = other.get("href") if isinstance(other, Mapping) else None
    return told if isinstance(told, str) else str(asset["href"])


def _parse_bands(asset: Mapping[str, Any], *, offset_applied: bool) -> tuple[AssetBand, ...]:
    """Bands by STAC 1.1's `bands`, else by `raster:bands` beside `eo:bands`; what the asset says holds for each."""
    modern, raster, eo = (_tables(asset.get(key)) for key in ("bands", "raster:bands", "eo:bands"))
    count = max(len(modern), len(raster), len(eo), 1)
    bands = []
    for position in range(count):
        tables = [table[position] for table in (modern, raster, eo) if position < len(table)]
        said = [*tables, asset]
        scale = _number(_first(said, "raster:scale", "scale"))
        offset = _number(_first(said, "raster:offset", "offset"))
        if offset is not None and scale is None:
            scale = 1.0
        name = _first(tables, "name")
        data_type = _first(said, "data_type")
        bands.append(
            AssetBand(
                name=str(name) if name is not None else "",
                data_type=str(data_type) if data_type is not None else None,
                nodata=_number(_first(said, "nodata")),
                scale=scale,
                offset=0.0 if offset_applied and offset is not None else offset,
            )
        )
    return tuple(bands)


def _tables(value: Any) -> list[Mapping[str, Any]]:
    """A list of tables; items of some catalogs have numbers there, which refer to a list that says nothing more."""
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def _first(tables: list[Mapping[str, Any]], *keys: str) -> Any:
    return next((table[key] for table in tables for key in keys if table.get(key) is not None), None)


def _parse_grid(asset: Mapping[str, Any], properties: Mapping[str, Any]) -> SourceGrid | None:
    epsg = _parse_epsg(asset)
    if epsg is None:
        epsg = _parse_epsg(properties)
    places = (asset, properties)
    transform = next((found for place in places if (found := _parse_transform(place.get("proj:transform")))), None)
    size = next((pair for place in places if (pair := _parse_shape(place.get("proj:shape")))), None)
    if epsg is None or transform is None or size is None:
        return None
    return SourceGrid(epsg, transform, size[1], size[0])


def _parse_epsg(place: Mapping[str, Any]) -> int | None:
    code, number = place.get("proj:code"), place.get("proj:epsg")
    if isinstance(code, str) and code.upper().startswith("EPSG:") and code[5:].isdigit():
        return int(code[5:])
    return number if isinstance(number, int) and not isinstance(number, bool) and number > 0 else None


def _parse_transform(value: Any) -> Transform | None:
    if not isinstance(value, list) or len(value) not in (6, 9):
        return None
    a, b, c, d, e, f = ((math.nan if (found := _number(number)) is None else found) for number in value[:6])
    usable = all(map(math.isfinite, (a, b, c, d, e, f))) and a * e - b * d != 0
    return (a, b, c, d, e, f) if usable else None


def _parse_shape(value: Any) -> tuple[int, int] | None:
    """Height and width."""
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(side, int) and side > 0 for side in value):
        return None
    return value[0], value[1]
