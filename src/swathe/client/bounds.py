"""The area of a request, from plain numbers or from objects that know their own CRS."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from swathe.client.types import JsonDict
from swathe.model.crs import parse_epsg

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"


def make_bounds(bbox: Any = None, geometry: Any = None, crs: Any = None) -> JsonDict:
    """The `bounds` of a request.

    Args:
        bbox: four numbers or two corners, or an object that iterates as four numbers and has a `crs`.
        geometry: a GeoJSON dictionary, or an object with `get_geojson`, `geojson` or `__geo_interface__`.
        crs: of plain numbers: an EPSG code, a name such as `EPSG:32633`, a URL that is taken as it is, or an object
            with `opengis_string`; without it longitude and latitude. Objects that have a CRS keep theirs.

    Raises:
        ValueError: there is no area, the numbers are none, or bbox and geometry have different CRSs.
    """
    if bbox is None and geometry is None:
        raise ValueError("give a bbox, a geometry or both")
    names = {_crs_name(area, crs) for area in (bbox, geometry) if area is not None}
    if len(names) > 1:
        raise ValueError(f"bbox and geometry must be in the same CRS, not in {' and '.join(sorted(names))}")
    bounds: JsonDict = {"properties": {"crs": names.pop()}}
    if bbox is not None:
        bounds["bbox"] = _corners(bbox)
    if geometry is not None:
        bounds["geometry"] = _geojson(geometry)
    return bounds


def crs_url(crs: Any) -> str:
    """The URL by which the wire names a CRS."""
    if crs is None:
        return CRS84
    if hasattr(crs, "opengis_string"):
        return str(crs.opengis_string)
    name = f"EPSG:{crs}" if isinstance(crs, int) else str(crs)
    if name.startswith("http"):
        return name
    return f"http://www.opengis.net/def/crs/EPSG/0/{parse_epsg(name, 'crs')}"


def _crs_name(area: Any, crs: Any) -> str:
    own = getattr(area, "crs", None)
    return crs_url(crs if own is None else own)


def _corners(bbox: Any) -> list[float]:
    values = list(bbox)
    if len(values) == 2 and all(isinstance(corner, Iterable) for corner in values):
        values = [number for corner in values for number in corner]
    if len(values) != 4:
        raise ValueError(f"a bbox has four numbers (min x, min y, max x, max y), not {len(values)}")
    x1, y1, x2, y2 = (float(number) for number in values)
    return [min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]


def _geojson(geometry: Any) -> JsonDict:
    if hasattr(geometry, "get_geojson"):
        geojson = geometry.get_geojson(with_crs=False)
    elif hasattr(geometry, "geojson"):
        geojson = geometry.geojson
    elif hasattr(geometry, "__geo_interface__"):
        geojson = geometry.__geo_interface__
    else:
        geojson = geometry
    if not isinstance(geojson, dict) or geojson.get("type") not in ("Polygon", "MultiPolygon"):
        raise ValueError("a geometry is a GeoJSON Polygon or MultiPolygon, or an object that has one")
    return {name: value for name, value in geojson.items() if name != "crs"}
