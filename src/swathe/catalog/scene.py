"""Scenes: STAC items, reduced to what the engine needs. Understands STAC 1.0 (betas too) and 1.1. Reads nothing."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from swathe.catalog.assets import (
    Asset,
    AssetBand,
    asset_from_json,
    asset_to_json,
    parse_asset,
    resolve_href,
    to_number,
)
from swathe.model.errors import SourceError
from swathe.model.time import format_time

if TYPE_CHECKING:
    from swathe.catalog.collections import BandDefinition

__all__ = ["BASELINE_FACTORS", "Asset", "AssetBand", "BandSource", "Scene", "parse_item", "resolve_href", "unpack_item"]

_OFFSET_APPLIED = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
_KEPT = (
    *("platform", "constellation", "instruments", "grid:code", "s2:processing_baseline", "processing:version"),
    *("sat:orbit_state", "sat:relative_orbit", "sat:absolute_orbit", "sar:instrument_mode", "sar:polarizations"),
    *("s1:resolution", "s1:timeliness", "s1:product_timeliness", "product:timeliness_category"),
    *("landsat:collection_category",),
    *("view:sun_azimuth", "view:sun_elevation", "view:azimuth", "view:incidence_angle", *_OFFSET_APPLIED),
)
# ESA's products from baseline 04.00 on (25 January 2022) hold 10,000 * reflectance + 1,000. Some catalogs pass them on
# without a word about it (Planetary Computer).
_FIRST_BASELINE_WITH_OFFSET = 4.0
BASELINE_FACTORS = (0.0001, -0.1)


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
        baseline = to_number(self.properties.get("s2:processing_baseline"))
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
            "assets": {key: asset_to_json(asset) for key, asset in self.assets.items()},
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
            assets={key: asset_from_json(asset) for key, asset in values["assets"].items()},
            properties=values["properties"],
        )


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
    cloud_cover = to_number(properties.get("eo:cloud_cover", properties.get("cloud_cover")))
    return Scene(
        id=name,
        collection=collection or str(item.get("collection") or ""),
        datetime=_parse_datetime(properties, name, base),
        cloud_cover=cloud_cover if cloud_cover is None or math.isfinite(cloud_cover) else None,
        bbox=(west, south, east, north),
        geometry_wkb=shapely.to_wkb(footprint),
        assets={
            str(key): parse_asset(asset, properties, base, offset_applied=applied, alternate=alternate)
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
        numbers = [to_number(value) for value in (bbox[0], bbox[1], bbox[len(bbox) // 2], bbox[len(bbox) // 2 + 1])]
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
