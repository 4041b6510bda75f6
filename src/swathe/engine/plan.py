"""Cuts a job into work units: features that share blocks go together, so that a block is decoded once.

Features are sorted by the source raster that they lie in and down its rows, and cut into strips across its whole width. A
strip ends in the middle of a row of blocks, so two strips share one row of blocks at most. A unit is bounded in cells, in
bytes of columns and in result rows, never by the job.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from swathe.catalog.scene import Scene
from swathe.engine.inputs import SourceInput
from swathe.engine.resampling import interpolates
from swathe.engine.values import UnitPlan
from swathe.evalscript.script import Mosaicking
from swathe.model.crs import WGS84
from swathe.model.time import TimeRange
from swathe.rasters.source import SourceGrid
from swathe.sampling.locate import transformer
from swathe.settings import LimitSettings

_UNKNOWN_VALUE_BYTES = 4
_INDEX_BYTES_PER_CELL = 16
# Besides, where values lie between pixels: where a cell lies, the numbers of its neighbours, where those lie.
_NEIGHBOUR_BYTES = 64
_SHARED_PART = 0.12
_SMALL_JOB_BYTES = 256 * 2**20
_LEAST_FEATURES = 24
_BOX_POINTS = 17


@dataclass(frozen=True)
class FeatureOutline:
    """What planning needs of every feature: keys (n) int64, boxes (n, 4) in the features' CRS, cells (n) estimated."""

    ids: npt.NDArray[np.int64]
    bounds: npt.NDArray[np.float64]
    cells: npt.NDArray[np.float64]


def lonlat_bounds(bounds: npt.NDArray[np.float64], epsg: int) -> npt.NDArray[np.float64]:
    """Boxes (n, 4) in longitude and latitude around boxes in another CRS, by their corners and edge middles."""
    if epsg == WGS84 or not len(bounds):
        return bounds
    change = transformer(epsg, WGS84)
    parts = np.array([0.0, 0.5, 1.0])
    x = bounds[:, 0, None] + (bounds[:, 2] - bounds[:, 0])[:, None] * parts
    y = bounds[:, 1, None] + (bounds[:, 3] - bounds[:, 1])[:, None] * parts
    xx = np.repeat(x, 3, axis=1)
    yy = np.tile(y, (1, 3))
    lon, lat = change.transform(xx, yy)
    return np.stack([lon.min(axis=1), lat.min(axis=1), lon.max(axis=1), lat.max(axis=1)], axis=1)


def lonlat_box(bounds: npt.NDArray[np.float64], epsg: int) -> tuple[float, float, float, float] | None:
    """One box in longitude and latitude around boxes (n, 4) in another CRS; None if none of them is finite."""
    finite = bounds[np.isfinite(bounds).all(axis=1)]
    if not len(finite):
        return None
    whole = np.concatenate([finite[:, :2].min(axis=0), finite[:, 2:].max(axis=0)])
    found = _around(whole, epsg)
    if not np.isfinite(found).all():  # a corner of it lies where the CRS is not defined
        found = lonlat_bounds(finite, epsg)
        found = found[np.isfinite(found).all(axis=1)]
        if not len(found):
            return None
        found = np.concatenate([found[:, :2].min(axis=0), found[:, 2:].max(axis=0)])
    west, south, east, north = found.tolist()
    return west, south, east, north


def _around(box: npt.NDArray[np.float64], epsg: int) -> npt.NDArray[np.float64]:
    """The box in longitude and latitude around another, by many points on it."""
    if epsg == WGS84:
        return box
    x, y = np.meshgrid(np.linspace(box[0], box[2], _BOX_POINTS), np.linspace(box[1], box[3], _BOX_POINTS))
    lon, lat = transformer(epsg, WGS84).transform(x, y)
    return np.array([lon.min(), lat.min(), lon.max(), lat.max()])


def plan_units(
    features: FeatureOutline,
    epsg: int,
    sources: Sequence[SourceInput],
    scenes: Sequence[Sequence[Scene]],
    intervals: Sequence[TimeRange],
    result_rows: float,
    limits: LimitSettings,
    workers: int,
    *,
    lanes: int = 1,
    value_bytes: int | None = None,
) -> tuple[UnitPlan, ...]:
    """Work units of a job, each feature in exactly one.

    Args:
        result_rows: what a feature's results of one interval take, in rows of basic statistics.
        lanes: how many intervals of a unit are computed side by side.
        value_bytes: what a stored value takes in the rasters; None if that is not known.
    """
    if not len(features.ids):
        return ()
    rasters = _rasters(sources, scenes)
    group, row = _positions(features, epsg, rasters)
    order = np.lexsort((features.ids, row, group))
    most_cells = min(limits.unit_cells, cells_at_once(sources, scenes, intervals, limits, lanes, value_bytes))
    most_features = _most_features(sources, scenes, intervals, result_rows, limits)
    # even where the limits ask for more units than wished
    least = max(math.ceil(features.cells.sum() / most_cells), math.ceil(len(order) / most_features))
    wished = max(least, _wished_units(features, rasters, group, sources, scenes, workers))
    return tuple(
        _unit(index, features.ids[order[begin:end]], float(features.cells[order[begin:end]].sum()))
        for index, (begin, end) in enumerate(_cut(features.cells[order], most_cells, most_features, wished))
    )


def _cut(cells: npt.NDArray[np.float64], most_cells: int, most_features: int, wished: int) -> Iterator[tuple[int, int]]:
    """Cuts features (begin, end) into units that are within the limits and about even."""
    count = len(cells)
    upto = np.cumsum(cells)
    # half of the work grows with cells, half with features; rounding must not leave a crumb behind
    share = np.cumsum(cells / cells.sum() + 1 / count) / 2 + 1e-9
    begin = index = 0
    while begin < count:
        before = float(upto[begin - 1]) if begin else 0.0
        full = min(int(np.searchsorted(upto, before + most_cells, side="right")), begin + most_features)
        even = max(begin + _LEAST_FEATURES, int(np.searchsorted(share, (index + 1) / wished)) + 1)
        end = min(max(begin + 1, min(full, even)), count)
        yield begin, end
        begin, index = end, index + 1


def _unit(index: int, ids: npt.NDArray[np.int64], cells: float) -> UnitPlan:
    return UnitPlan(index, ids.copy(), int(cells))


def _rasters(sources: Sequence[SourceInput], scenes: Sequence[Sequence[Scene]]) -> list[SourceGrid]:
    """The different pixel grids of the first source's finest band, as far as the catalog tells them."""
    found: dict[SourceGrid, None] = {}
    for source, members in zip(sources, scenes, strict=True):
        for scene in members:
            places = [scene.asset_for(band.definition) for band in source.reads]
            known = [place.asset.grid for place in places if place is not None and place.asset.grid is not None]
            if known:
                found.setdefault(min(known, key=lambda g: abs(g.transform[0] * g.transform[4])))
    return list(found)


def _positions(
    features: FeatureOutline, epsg: int, rasters: Sequence[SourceGrid]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """For each feature the first raster that holds its centre (-1 for none) and the centre's row in it."""
    x = (features.bounds[:, 0] + features.bounds[:, 2]) / 2
    y = (features.bounds[:, 1] + features.bounds[:, 3]) / 2
    group = np.full(len(x), -1, np.int64)
    row = -y.copy()
    for number, raster in enumerate(rasters):
        open_ = np.flatnonzero(group < 0)
        if not len(open_):
            break
        at_x, at_y = transformer(epsg, raster.epsg).transform(x[open_], y[open_])
        a, b, c, d, e, f = raster.inverse
        with np.errstate(invalid="ignore"):
            column, line = a * at_x + b * at_y + c, d * at_x + e * at_y + f
            inside = (column >= 0) & (line >= 0) & (column < raster.width) & (line < raster.height)
        group[open_[inside]] = number
        row[open_[inside]] = line[inside]
    return group, row


def _samples_at_once(source: SourceInput, scenes: Sequence[Scene], intervals: Sequence[TimeRange]) -> int:
    """The most samples an interval has anywhere: one under SIMPLE, else days or scenes."""
    if source.mosaicking is Mosaicking.SIMPLE or not intervals:
        return 1
    if source.collection.timeless:
        return max(1, len(scenes))
    starts = np.array([interval.start.timestamp() for interval in intervals])
    if source.mosaicking is Mosaicking.ORBIT:
        times = np.array(
            sorted({scene.datetime.replace(hour=0, minute=0, second=0, microsecond=0).timestamp() for scene in scenes})
        )
    else:
        times = np.array([scene.datetime.timestamp() for scene in scenes])
    if not len(times):
        return 1
    at = np.clip(np.searchsorted(starts, times, side="right") - 1, 0, None)
    return int(np.bincount(at).max())


def cells_at_once(
    sources: Sequence[SourceInput],
    scenes: Sequence[Sequence[Scene]],
    intervals: Sequence[TimeRange],
    limits: LimitSettings,
    lanes: int,
    value_bytes: int | None = None,
) -> int:
    """How many cells `limits.unit_bytes` have room for, with the columns of all intervals that are computed side by side.

    `value_bytes` is what a stored value takes in the rasters; None if that is not known.
    """
    columns, index = 0, _INDEX_BYTES_PER_CELL
    for source, members in zip(sources, scenes, strict=True):
        # values and a mask for every sample, and for one scene at a time the mask of every band
        reads = len(source.reads)
        each = 1 + (value_bytes or _UNKNOWN_VALUE_BYTES) * reads
        columns += _samples_at_once(source, members, intervals) * each + reads
        index += _NEIGHBOUR_BYTES * interpolates(source.processing)
    if len(intervals) < 2 * lanes:  # few intervals are cut among the lanes
        lanes = 1
    return max(1, limits.unit_bytes // (index + lanes * columns))


def _most_features(
    sources: Sequence[SourceInput],
    scenes: Sequence[Sequence[Scene]],
    intervals: Sequence[TimeRange],
    result_rows: float,
    limits: LimitSettings,
) -> int:
    busy = min(len(intervals), sum(len(members) for members in scenes))
    if all(source.collection.timeless for source in sources):
        busy = len(intervals)
    return max(1, int(limits.unit_rows / max(1.0, busy * result_rows)))


def _wished_units(
    features: FeatureOutline,
    rasters: Sequence[SourceGrid],
    group: npt.NDArray[np.int64],
    sources: Sequence[SourceInput],
    scenes: Sequence[Sequence[Scene]],
    workers: int,
) -> int:
    """How many units keep the workers busy without decoding much twice.

    Each cut decodes about one row of blocks again; a row of 512 pixels is taken as usual. A small job may be cut more
    finely, so that it shows progress and stops soon.
    """
    occupied = [raster for number, raster in enumerate(rasters) if (group == number).any()]
    block_rows = sum(math.ceil(raster.height / 512) for raster in occupied)
    pixels = sum(raster.width * raster.height for raster in occupied) / max(1, len(rasters))
    read = pixels * 2 * sum(len(source.reads) * len(members) for source, members in zip(sources, scenes, strict=True))
    if workers == 1:  # nobody waits for a part of it, and what is needed is read once
        return max(1, len(occupied))
    without_waste = max(workers, len(occupied) + int(_SHARED_PART * block_rows))
    if read < _SMALL_JOB_BYTES:
        without_waste = 4 * workers
    return max(1, min(without_waste, max(4 * workers, math.ceil(len(features.ids) / 20_000))))
