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
_OUTLINE_PARTS = 64
_MARGIN = 1e-3


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


def scenes_over(polygons: npt.NDArray[np.object_], epsg: int, scenes: Sequence[Scene]) -> npt.NDArray[np.bool_]:
    """(features, scenes): whether the scene's footprint meets the polygon (in the CRS `epsg`), both taken to WGS84.

    A scene without a footprint is over every feature.
    """
    found = np.ones((len(polygons), len(scenes)), np.bool_)
    if not len(polygons):
        return found
    lonlat = np.full(len(polygons), None, object)
    known: dict[bytes, npt.NDArray[np.bool_]] = {}
    for number, scene in enumerate(scenes):
        key, footprint = scene.geometry_wkb, scene.footprint
        if key is None or footprint is None:
            continue
        if key not in known:
            present, unsure = _seen_from_afar(polygons, footprint, epsg)
            if len(unsure):
                new = unsure[shapely.is_missing(lonlat[unsure])]
                lonlat[new] = to_wgs84(polygons[new], epsg)
                shapely.prepare(footprint)
                present[unsure] = shapely.intersects(footprint, lonlat[unsure])
            known[key] = present
        found[:, number] = known[key]
    return found


def _seen_from_afar(
    polygons: npt.NDArray[np.object_], footprint: shapely.Geometry, epsg: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Which polygons lie so far inside a footprint (WGS84) that they need not be taken to WGS84 to know it, and the
    positions of those that lie neither so far inside nor so far outside.

    The footprint's edges are straight in WGS84, so in the polygons' CRS they get many vertices; what is left of their bow is
    far below the margin, a thousandth of the footprint's size.
    """
    everyone = np.arange(len(polygons))
    parts = shapely.get_parts(footprint)
    outline = shapely.segmentize(parts, shapely.length(parts).max() / _OUTLINE_PARTS)
    outline = (
        shapely.union_all(reproject(outline, WGS84, epsg)) if len(parts) > 1 else reproject(outline, WGS84, epsg)[0]
    )
    bounds = shapely.bounds(outline)
    if not np.isfinite(bounds).all() or not outline.is_valid:
        return np.zeros(len(polygons), np.bool_), everyone
    margin = _MARGIN * float(max(bounds[2] - bounds[0], bounds[3] - bounds[1]))
    inner = outline.buffer(-margin, quad_segs=1)
    shapely.prepare(inner)
    if shapely.contains_properly(inner, shapely.box(*shapely.total_bounds(polygons))):
        return np.ones(len(polygons), np.bool_), everyone[:0]
    inside = np.asarray(shapely.contains_properly(inner, polygons), np.bool_)
    rest = np.flatnonzero(~inside)
    outer = outline.buffer(margin, quad_segs=1)
    shapely.prepare(outer)
    return inside, rest[shapely.intersects(outer, polygons[rest])]
