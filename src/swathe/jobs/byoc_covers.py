"""The areas that users say their tiles have data in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import shapely

from swathe.model.crs import parse_epsg
from swathe.model.errors import RequestInvalid

_WHERE = "coverGeometry"


def read_cover(cover: Mapping[str, Any]) -> shapely.Geometry:
    """The polygon of a GeoJSON geometry, in its own coordinates.

    Raises:
        RequestInvalid: it is none that can be used.
    """
    crs = cover.get("crs")
    if crs is not None:
        properties = crs.get("properties") if isinstance(crs, Mapping) else None
        name = properties.get("name") if isinstance(properties, Mapping) else None
        if not isinstance(name, str):
            raise RequestInvalid(
                "must be an object with properties.name, like urn:ogc:def:crs:EPSG::32633", f"{_WHERE}->crs"
            )
        parse_epsg(name, f"{_WHERE}->crs")
    if cover.get("type") not in ("Polygon", "MultiPolygon"):
        raise RequestInvalid("must be a GeoJSON Polygon or MultiPolygon", _WHERE)
    try:
        polygon = shapely.force_2d(shapely.geometry.shape(cover))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, shapely.errors.ShapelyError):
        raise RequestInvalid("has coordinates that are none of a polygon", _WHERE) from None
    if polygon.is_empty or not all(map(math.isfinite, polygon.bounds)) or not polygon.area:
        raise RequestInvalid("has no area", _WHERE)
    if not polygon.is_valid:
        raise RequestInvalid(f"is not valid: {shapely.is_valid_reason(polygon)}", _WHERE)
    return polygon
