"""The area of interest of a request, in longitude and latitude."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError

from swathe.model.errors import RequestInvalid

LONLAT = 4326
# A straight side stays straight: before it changes its system it gets points in between, this many at least and no
# further apart than this; the arc between two of them then strays by some millimetres, or by half a metre for degrees.
_PARTS = 64
_STEP_M = 500.0
_STEP_DEGREES = 0.05
# No system has coordinates beyond it, in degrees, metres or feet; sides that long would get points without end.
_FARTHEST = 2e8
_OUTSIDE = "the bounds lie outside what EPSG:{epsg} covers; look whether coordinates and crs belong together"

Geometry = Any


def make_aoi(
    bbox: Sequence[float] | None,
    geometry: Mapping[str, Any] | None,
    epsg: int,
    *,
    parameter: str = "processRequest->input->bounds",
) -> Geometry | None:
    """The area that `bounds` names: the box, the polygons, or what they share; None where it names none.

    Args:
        bbox: west, south, east, north in the CRS; corners in any order.
        geometry: GeoJSON Polygon or MultiPolygon in the CRS.
        epsg: of both; x is easting or longitude.

    Raises:
        RequestInvalid: it is no valid polygon, it is empty, or it lies outside what the CRS can tell.
    """
    areas = []
    if bbox is not None:
        x1, y1, x2, y2 = bbox
        areas.append(shapely.box(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)))
    if geometry is not None:
        areas.append(_polygons(geometry, f"{parameter}->geometry"))
    if not areas:
        return None
    if any(not abs(coordinate) <= _FARTHEST for area in areas for coordinate in area.bounds):
        raise RequestInvalid(_OUTSIDE.format(epsg=epsg), parameter)
    area = areas[0] if len(areas) == 1 else areas[0].intersection(areas[1])
    if area.is_empty or area.area == 0:
        raise RequestInvalid("the bounds hold no area; give a box or polygons with some extent", parameter)
    if epsg == LONLAT:
        return area
    try:
        moved = project(area, epsg, LONLAT)
    except (CRSError, ProjError):
        raise RequestInvalid(f"EPSG:{epsg} is no coordinate reference system this service knows", parameter) from None
    if not np.isfinite(shapely.get_coordinates(moved)).all():
        raise RequestInvalid(_OUTSIDE.format(epsg=epsg), parameter)
    return moved


def project(area: Geometry, epsg: int, other: int) -> Geometry:
    """An area in another CRS; its sides get points in between, so that they stay where they were."""
    west, south, east, north = area.bounds
    longest = _STEP_DEGREES if _is_geographic(epsg) else _STEP_M
    step = min(max(east - west, north - south) / _PARTS, longest)
    if step > 0:
        area = shapely.segmentize(area, step)
    transformer = _transformer(epsg, other)

    def move(places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.column_stack(transformer.transform(places[:, 0], places[:, 1]))

    return shapely.transform(area, move)


@cache
def _is_geographic(epsg: int) -> bool:
    return bool(CRS.from_epsg(epsg).is_geographic)


@cache
def _transformer(epsg: int, other: int) -> Transformer:
    return Transformer.from_crs(CRS.from_epsg(epsg), CRS.from_epsg(other), always_xy=True)


def _polygons(geometry: Mapping[str, Any], parameter: str) -> Geometry:
    try:
        shape = shapely.from_geojson(_as_text(geometry))
    except (shapely.errors.GEOSException, TypeError, ValueError):
        raise RequestInvalid("must be a GeoJSON Polygon or MultiPolygon with closed rings", parameter) from None
    if shape is None or shape.geom_type not in ("Polygon", "MultiPolygon"):
        raise RequestInvalid("must be a GeoJSON Polygon or MultiPolygon", parameter)
    if not shape.is_valid:
        reason = shapely.is_valid_reason(shape)
        raise RequestInvalid(f"is no valid polygon: {reason}; mend it, for example with ST_MakeValid", parameter)
    return shapely.force_2d(shape)


def _as_text(geometry: Mapping[str, Any]) -> str:
    return json.dumps({name: geometry.get(name) for name in ("type", "coordinates")})
