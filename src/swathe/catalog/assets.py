"""Files of a scene: what a STAC item says of an asset, its bands, its pixels, where it is. Reads nothing."""

from __future__ import annotations

import math
import os.path
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

from swathe.model.errors import SourceError
from swathe.rasters.source import SourceGrid, Transform

_DATA_TYPES = ("image/tiff", "image/vnd.stac.geotiff", "image/jp2", "image/x.geotiff")
_OTHER_ROLES = {"thumbnail", "overview", "visual", "metadata", "tiles"}
T = TypeVar("T")


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


def asset_to_json(asset: Asset) -> dict[str, Any]:
    """Plain values for a JSON document, from which `asset_from_json` makes the same asset."""
    grid = asset.grid
    bands = [[band.name, band.data_type, _plain(band.nodata), band.scale, band.offset] for band in asset.bands]
    return {
        "href": asset.href,
        "grid": None if grid is None else [grid.epsg, list(grid.transform), grid.width, grid.height],
        "bands": bands,
        "is_data": asset.is_data,
    }


def asset_from_json(values: Mapping[str, Any]) -> Asset:
    """The asset that `asset_to_json` wrote."""
    grid = None
    if values["grid"] is not None:
        epsg, transform, width, height = values["grid"]
        grid = SourceGrid(epsg, tuple(transform), width, height)
    bands = tuple(
        AssetBand(name, data_type, to_number(nodata), scale, offset)
        for name, data_type, nodata, scale, offset in values["bands"]
    )
    return Asset(values["href"], grid, bands, values["is_data"])


def _plain(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)


def to_number(value: Any) -> float | None:
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


def parse_asset(
    asset: Mapping[str, Any], properties: Mapping[str, Any], base: str, *, offset_applied: bool, alternate: str
) -> Asset:
    """An asset of an item that lies at `base` and has `properties`.

    With `offset_applied` the offset that is declared is in the numbers already. `alternate` is the name of the alternative
    address at which the file is read, where it has one.

    Raises:
        SourceError: a catalog from elsewhere names a file of this machine.
    """
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
        scale = to_number(_first(said, "raster:scale", "scale"))
        offset = to_number(_first(said, "raster:offset", "offset"))
        if offset is not None and scale is None:
            scale = 1.0
        name = _first(tables, "name")
        data_type = _first(said, "data_type")
        bands.append(
            AssetBand(
                name=str(name) if name is not None else "",
                data_type=str(data_type) if data_type is not None else None,
                nodata=to_number(_first(said, "nodata")),
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
    a, b, c, d, e, f = ((math.nan if (found := to_number(number)) is None else found) for number in value[:6])
    usable = all(map(math.isfinite, (a, b, c, d, e, f))) and a * e - b * d != 0
    return (a, b, c, d, e, f) if usable else None


def _parse_shape(value: Any) -> tuple[int, int] | None:
    """Height and width."""
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(side, int) and side > 0 for side in value):
        return None
    return value[0], value[1]
