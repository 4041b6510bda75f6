"""Polygons from well-known binary."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import shapely

POLYGON, MULTIPOLYGON = 3, 6
"""What WKB and shapely call them."""


def checked_polygons(wkb: Sequence[bytes | None]) -> npt.NDArray[np.object_]:
    """Polygons (n) in two dimensions from WKB that was found valid before, None where there is none."""
    shapes = _from_wkb(wkb)
    tall = shapely.get_coordinate_dimension(shapes) > 2
    if tall.any():
        shapes[tall] = shapely.force_2d(shapes[tall])
    return shapes


def polygons_from_wkb(wkb: Sequence[bytes | None]) -> tuple[npt.NDArray[np.object_], dict[int, str]]:
    """Valid polygons (n) in two dimensions, None where there is none, and why.

    Self-crossing rings are not mended: what the author meant is not known.
    """
    shapes = _from_wkb(wkb)
    kinds = shapely.get_type_id(shapes)
    problems: dict[int, str] = {}
    polygonal = np.isin(kinds, (POLYGON, MULTIPOLYGON))
    tall = polygonal & (shapely.get_coordinate_dimension(shapes) > 2)
    if tall.any():
        shapes[tall] = shapely.force_2d(shapes[tall])
    good = polygonal.copy()
    good[polygonal] = ~shapely.is_empty(shapes[polygonal]) & shapely.is_valid(shapes[polygonal])
    for index in np.flatnonzero(~good).tolist():
        shape = shapes[index]
        if wkb[index] is None:
            reason = "The feature has no geometry (NULL); give it a polygon or remove the row"
        elif shape is None:
            reason = "The feature's geometry cannot be read; write it again with a current tool"
        elif not polygonal[index]:
            reason = f"The feature is a {shape.geom_type}; statistics need a Polygon or MultiPolygon"
        elif shape.is_empty:
            reason = "The feature's geometry is empty; give it a polygon or remove the row"
        else:
            reason = (
                f"The polygon is not valid: {shapely.is_valid_reason(shape)}; mend it, for example with ST_MakeValid"
            )
        problems[index] = reason
        shapes[index] = None
    return shapes, problems


def _from_wkb(wkb: Sequence[bytes | None]) -> npt.NDArray[np.object_]:
    """Geometries (n), None where there is none or none can be read."""
    texts = np.empty(len(wkb), dtype=object)
    texts[:] = wkb
    try:
        with np.errstate(invalid="ignore"):
            return np.asarray(shapely.from_wkb(texts, on_invalid="ignore"), dtype=object)
    except NotImplementedError:  # a curve somewhere, which shapely does not take
        if len(wkb) == 1:
            return np.array([None], dtype=object)
        middle = len(wkb) // 2
        return np.concatenate([_from_wkb(wkb[:middle]), _from_wkb(wkb[middle:])])
