"""Which scenes an image has, and at which of its cells each of them may be seen."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import shapely

from swathe.catalog.scene import Scene
from swathe.engine.inputs import SourceInput, with_reference
from swathe.engine.plan import lonlat_box
from swathe.engine.presence import reproject, scenes_over
from swathe.engine.timeline import SourceTimeline, make_timeline
from swathe.evalscript.script import Mosaicking
from swathe.grids.cover import cover
from swathe.grids.raster_grid import RasterGrid, Window
from swathe.model.common import DataSource, TimeRangeModel
from swathe.model.crs import WGS84
from swathe.model.errors import BandMissing
from swathe.model.statistical import Cover
from swathe.model.time import ALWAYS, TimeRange
from swathe.sampling.mosaic import Mask

_MARGIN = 0.01
_OUTLINE_PARTS = 64
_KEPT_OUTLINES = 1024
_SEARCH_DEG = 0.1

FindScenes = Callable[..., list[Scene]]


def find_scenes(
    sources: Sequence[SourceInput], data: Sequence[DataSource], grid: RasterGrid, find: FindScenes
) -> tuple[tuple[Scene, ...], ...]:
    """The scenes of each input around the image, in the time and with the clouds that its filter allows.

    Raises:
        RequestInvalid: a time range is none.
        BandMissing: none of the scenes found has one of the bands.
        SourceError: a catalog cannot be read.
    """
    box = _search_box(grid)
    found = []
    for source in sources:
        wanted, number = data[source.number], source.number
        span = ALWAYS if source.collection.timeless else time_range(wanted, number)
        scenes = (
            []
            if box is None
            else find(wanted, start=span.start, end=span.end, boxes=[box], where=f"input->data[{number}]")
        )
        found.append(tuple(complete_scenes(with_reference(source, scenes), scenes)))
    return tuple(found)


def _search_box(grid: RasterGrid) -> tuple[float, float, float, float] | None:
    """The image in longitude and latitude, and around it the margin of scenes of up to a thousand kilometres."""
    box = lonlat_box(np.array([grid.bounds]), grid.epsg)
    if box is None:
        return None
    west, south, east, north = box
    across = _SEARCH_DEG / max(math.cos(math.radians(min(89.0, max(abs(south), abs(north))))), _SEARCH_DEG)
    if west > east:  # across the antimeridian
        return west - across, south - _SEARCH_DEG, east + across, north + _SEARCH_DEG
    return max(west - across, -180.0), south - _SEARCH_DEG, min(east + across, 180.0), north + _SEARCH_DEG


def time_range(source: DataSource, number: int) -> TimeRange:
    """The time that a data source asks for; all of it where it says nothing."""
    return (source.data_filter.time_range or TimeRangeModel()).to_range(f"input->data[{number}]->dataFilter->timeRange")


def complete_scenes(source: SourceInput, scenes: Sequence[Scene]) -> list[Scene]:
    """The scenes that have every band.

    Raises:
        BandMissing: none has one of the bands.
    """
    for band in source.reads:
        if scenes and all(scene.asset_for(band.definition) is None for scene in scenes):
            raise BandMissing(
                f"None of the {len(scenes)} scenes of collection '{source.collection.type}' in this time has the band"
                f" {band.name}"
            )
    return [scene for scene in scenes if all(scene.asset_for(band.definition) is not None for band in source.reads)]


class SceneCells:
    """At which cells of an image scenes may be seen: within their footprints and a hundredth of their size around.

    What a raster holds further out is no part of the scene. That a footprint's edges are straight in longitude and
    latitude, and those of its raster in another CRS, is what the margin allows for. The rule knows nothing of the image, so
    a cell takes its value from the same scenes in each image that it is in. May be used by several threads.
    """

    def __init__(self, grid: RasterGrid, clip: shapely.Geometry | None) -> None:
        self._grid = grid
        self._outlines: dict[bytes, Outline | None] = {}
        self._lock = threading.Lock()
        self._clip = None if clip is None else Outline(grid, clip, Cover.SERVICE)
        self._area = shapely.box(*grid.bounds) if clip is None else clip

    def select(self, source: SourceInput, scenes: Sequence[Scene]) -> list[Scene]:
        """The scenes that belong to the image: under SIMPLE all that may be seen, else those that lie over it."""
        if source.mosaicking is Mosaicking.SIMPLE:
            return [scene for scene in scenes if (outline := self._outline(scene)) is None or outline.meets_grid]
        area = shapely.segmentize(self._area, self._grid.dx * self._grid.width / 32)
        over = scenes_over(np.array([area], object), self._grid.epsg, scenes)[0]
        return [scene for scene, present in zip(scenes, over, strict=True) if present]

    def wanted(self, scene: Scene, window: Window) -> Mask | None:
        """1 at the cells of a window that may take their values from a scene, None where it is all."""
        outline = self._outline(scene)
        mask = None if outline is None else outline.cells(window)
        clipped = self.clipped(window)
        if mask is None or clipped is None:
            return clipped if mask is None else mask
        return mask & clipped

    def clipped(self, window: Window) -> Mask | None:
        """1 at the cells of a window that belong to the geometry of the request, None where it is all."""
        return None if self._clip is None else self._clip.cells(window)

    def _outline(self, scene: Scene) -> Outline | None:
        key = scene.geometry_wkb
        if key is None:
            return None
        with self._lock:
            if key not in self._outlines:
                self._outlines[key] = _outline_of(scene, self._grid)
            return self._outlines[key]


class Outline:
    """A polygon in the CRS of an image, and the cells in it."""

    def __init__(self, grid: RasterGrid, polygon: shapely.Geometry, rule: Cover) -> None:
        self._grid = grid
        self._polygon = polygon
        self._rule = rule
        # not even questions to a prepared polygon may be asked side by side
        self._lock = threading.Lock()
        self._runs: npt.NDArray[np.int32] | None = None
        shapely.prepare(polygon)

    @property
    def meets_grid(self) -> bool:
        """Whether it shares a point with the image."""
        return bool(shapely.intersects(self._polygon, shapely.box(*self._grid.bounds)))

    def cells(self, window: Window) -> Mask | None:
        """1 at the cells of a window that are in the polygon, None where all are."""
        grid = self._grid
        box = shapely.box(
            grid.x0 + (window.first_column - 1) * grid.dx,
            grid.y0 - (window.last_row + 1) * grid.dy,
            grid.x0 + (window.last_column + 1) * grid.dx,
            grid.y0 - (window.first_row - 1) * grid.dy,
        )
        with self._lock:
            if shapely.contains_properly(self._polygon, box):
                return None
            mask = np.zeros((window.height, window.width), np.uint8)
            runs = self._all_runs() if shapely.intersects(self._polygon, box) else np.zeros((0, 3), np.int32)
        first, last = np.searchsorted(runs[:, 0], [window.first_row, window.last_row]).tolist()
        for row, begin, end in runs[first:last].tolist():
            left, right = max(begin, window.first_column), min(end, window.last_column)
            if left < right:
                mask[row - window.first_row, left - window.first_column : right - window.first_column] = 1
        return None if mask.all() else mask.reshape(-1)

    def _all_runs(self) -> npt.NDArray[np.int32]:
        if self._runs is None:
            self._runs = cover(np.array([self._polygon], object), self._grid.as_sample_grid, self._rule).runs
        return self._runs


def _outline_of(scene: Scene, grid: RasterGrid) -> Outline | None:
    """A scene's footprint with its margin; None where the image's CRS has no place for it, so that it hides nothing."""
    body = None if scene.geometry_wkb is None else _wider(scene.geometry_wkb, grid.epsg)
    # a polygon of its own for each outline: a prepared one may be asked by one thread at a time
    return None if body is None else Outline(grid, shapely.from_wkb(body), Cover.CENTRE)


@lru_cache(maxsize=_KEPT_OUTLINES)
def _wider(footprint_wkb: bytes, epsg: int) -> bytes | None:
    """A footprint with its margin in another CRS, kept for the next image."""
    footprint = shapely.from_wkb(footprint_wkb)
    if footprint is None or footprint.is_empty:
        return None
    parts = shapely.get_parts(footprint)
    outline = shapely.segmentize(parts, max(float(shapely.length(parts).max()) / _OUTLINE_PARTS, 1e-9))
    outline = shapely.union_all(shapely.make_valid(reproject(outline, WGS84, epsg)))
    west, south, east, north = outline.bounds
    if not np.isfinite([west, south, east, north]).all():
        return None
    margin = _MARGIN * max(east - west, north - south)
    body: bytes = shapely.to_wkb(outline.buffer(margin, join_style="mitre", mitre_limit=2.0))
    return body


def make_timelines(
    sources: Sequence[SourceInput], scenes: Sequence[Sequence[Scene]], cells: SceneCells, interval: TimeRange
) -> tuple[SourceTimeline, ...]:
    """The scenes of each input that belong to the image, all in one interval."""
    found = []
    for source, members in zip(sources, scenes, strict=True):
        chosen = cells.select(source, members)
        found.append(make_timeline(source, chosen, np.ones((1, len(chosen)), np.bool_), (interval,)))
    return tuple(found)
