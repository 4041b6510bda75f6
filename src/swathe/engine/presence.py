"""Which scenes lie over which features."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import shapely

from swathe.catalog.scene import Scene
from swathe.model.crs import WGS84
from swathe.sampling.locate import transformer

_METRES_PER_DEGREE = 111_320.0


@lru_cache(maxsize=64)
def metres_per_unit(epsg: int) -> float:
    """About how long a unit of a CRS is: good enough to plan with and to tell finer from coarser."""
    from pyproj import CRS

    return _METRES_PER_DEGREE if CRS.from_epsg(epsg).is_geographic else 1.0


def to_wgs84(polygons: npt.NDArray[np.object_], epsg: int) -> npt.NDArray[np.object_]:
    """Polygons (n) with longitude and latitude, vertex by vertex."""
    return reproject(polygons, epsg, WGS84)


def reproject(
    polygons: npt.NDArray[np.object_], from_epsg: int, to_epsg: int, *, longest: npt.NDArray[np.float64] | None = None
) -> npt.NDArray[np.object_]:
    """Polygons (n) in another CRS; edges longer than `longest` (n, units of the first CRS) get vertices in between."""
    if from_epsg == to_epsg:
        return polygons
    if longest is not None:
        polygons = shapely.segmentize(polygons, longest)
    change = transformer(from_epsg, to_epsg)
    moved = shapely.transform(polygons, lambda xy: np.stack(change.transform(xy[:, 0], xy[:, 1]), axis=1))
    return np.asarray(moved, dtype=object)


def scenes_over(polygons: npt.NDArray[np.object_], scenes: Sequence[Scene]) -> npt.NDArray[np.bool_]:
    """(features, scenes): whether the scene's footprint meets the polygon, both in WGS84; without a footprint it does."""
    found = np.ones((len(polygons), len(scenes)), np.bool_)
    if not len(polygons):
        return found
    known: dict[bytes, npt.NDArray[np.bool_]] = {}
    whole = shapely.box(*shapely.total_bounds(polygons))
    for number, scene in enumerate(scenes):
        key, footprint = scene.geometry_wkb, scene.footprint
        if key is None or footprint is None:
            continue
        if key not in known:
            shapely.prepare(footprint)
            if shapely.contains_properly(footprint, whole):
                known[key] = np.ones(len(polygons), np.bool_)
            else:
                known[key] = np.asarray(shapely.intersects(footprint, polygons), np.bool_)
        found[:, number] = known[key]
    return found
