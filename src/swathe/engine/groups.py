"""Puts the features of a unit into groups whose grids share a CRS, those with the same scenes side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import shapely

from swathe.catalog.order import sort_scenes
from swathe.catalog.scene import Scene
from swathe.engine.inputs import BandInput
from swathe.engine.plan import cells_at_once
from swathe.engine.presence import metres_per_unit, reproject, scenes_over
from swathe.engine.reading import LEAST_OVERSAMPLING, place_of
from swathe.engine.task import Group, UnitTask, UnitTools
from swathe.engine.timeline import make_timeline, signature_order
from swathe.grids.sample_grid import SampleGrids, feature_grids, source_grids
from swathe.model.errors import SourceError
from swathe.model.statistical import Grid
from swathe.rasters.source import SourceGrid


def make_groups(
    task: UnitTask, polygons: npt.NDArray[np.object_], usable: npt.NDArray[np.int64], tools: UnitTools
) -> tuple[list[Group], dict[int, str]]:
    """Groups of the usable features (positions in the unit), and why some cannot be computed after all."""
    problems: dict[int, str] = {}
    if not len(usable):
        return [], problems
    presences = [scenes_over(polygons[usable], task.unit.epsg, scenes) for scenes in task.scenes]
    order = signature_order(presences)
    usable = usable[order]
    presences = [presence[order] for presence in presences]
    groups = []
    turned: list[int] = []
    for which, shapes, grids, cell_m in _grids(task, polygons[usable], presences, tools, turned):
        most = tools.limits.side_cells
        large = (grids.width > most) | (grids.height > most)
        for at in np.flatnonzero(large):
            problems[int(usable[which[at]])] = (
                f"The feature's grid would have {int(grids.width[at]):,} x {int(grids.height[at]):,} cells; at most"
                f" {most:,} a side are allowed; use a larger resx and resy, which are in units of the features' CRS, or"
                " cut the feature"
            )
        apart = ~large & (shapely.area(shapes) > room_for(task, tools) * grids.dx * grids.dy)
        parts = [(np.flatnonzero(~large & ~apart), False), *((at, True) for at in np.flatnonzero(apart)[:, None])]
        for keep, in_strips in parts:
            chosen = which[keep]
            timelines = tuple(
                make_timeline(source, scenes, presence[chosen], task.intervals)
                for source, scenes, presence in zip(task.sources, task.scenes, presences, strict=True)
            )
            charged = np.zeros(len(keep))
            groups.append(
                Group(usable[chosen], shapes[keep], grids.take(keep), timelines, cell_m, charged, in_strips=in_strips)
            )
    for position in turned:
        problems[int(usable[position])] = (
            "The rows of the source's pixels do not run from west to east, so sampling.grid 'source' is not possible; use"
            " 'feature' with resx and resy"
        )
    return groups, problems


def room_for(task: UnitTask, tools: UnitTools) -> int:
    """How many cells memory has room for at once; a feature with more is computed in strips."""
    return cells_at_once(task.sources, task.scenes, task.intervals, tools.limits, len(tools.lanes))


def _grids(
    task: UnitTask,
    polygons: npt.NDArray[np.object_],
    presences: Sequence[npt.NDArray[np.bool_]],
    tools: UnitTools,
    turned: list[int],
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.object_], SampleGrids, float]]:
    """Positions, polygons in the grids' CRS, grids and the cells' size, a CRS at a time.

    `turned` gets those whose source is not north up.
    """
    found: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.object_], SampleGrids, float]] = []
    aggregation = task.request.aggregation
    if aggregation.sampling.grid is Grid.FEATURE:
        resolution = (aggregation.resx, aggregation.resy)
        bounds = shapely.bounds(polygons)
        if resolution[0] is not None and resolution[1] is not None:
            grids = feature_grids(bounds, task.unit.epsg, resolution=(resolution[0], resolution[1]))
        else:
            size = (aggregation.width or 256, aggregation.height or 256)
            grids = feature_grids(bounds, task.unit.epsg, size=size)
        sizes = _cell_sizes(task, grids, has_resolution=resolution[0] is not None)
        for size in dict.fromkeys(sizes.tolist()):
            which = np.flatnonzero(sizes == size)
            found.append((which, polygons[which], grids.take(which), float(size)))
        return found
    finest = _finest_rasters(task, presences, tools)
    for grid in dict.fromkeys(finest):
        which = np.array([i for i, other in enumerate(finest) if other == grid], np.int64)
        if grid is not None and not SourceGrid(*grid, 1, 1).is_north_up:
            turned.extend(which.tolist())
            continue
        if grid is None:  # no scene at all: nothing is sampled, but the feature has its document
            shapes = polygons[which]
            grids = feature_grids(shapely.bounds(shapes), task.unit.epsg, size=(1, 1))
        else:
            epsg, transform = grid
            bounds = shapely.bounds(polygons[which])
            longest = np.maximum(bounds[:, 2] - bounds[:, 0], bounds[:, 3] - bounds[:, 1]) / 32
            shapes = reproject(polygons[which], task.unit.epsg, epsg, longest=longest)
            grids = source_grids(shapely.bounds(shapes), epsg, transform)
        found.append((which, shapes, grids, 0.0))
    return found


def _cell_sizes(task: UnitTask, grids: SampleGrids, *, has_resolution: bool) -> npt.NDArray[np.float64]:
    """About the size of each feature's cells in metres, in steps; 0 where no overview can come into question.

    That of the request, not that of the stretched cells, and none that depends on a feature's neighbours. In degrees it
    shrinks with latitude, in steps of a tenth; a grid of W x H cells counts as the next lower power of two.
    """
    metres = metres_per_unit(grids.epsg)
    aggregation = task.request.aggregation
    across = grids.dx if aggregation.resx is None else np.full(len(grids), aggregation.resx)
    down = grids.dy if aggregation.resy is None else np.full(len(grids), aggregation.resy)
    step = 0.0 if has_resolution else 2.0
    if metres != 1.0:
        latitude = np.radians(np.clip(grids.y0 - grids.dy * grids.height / 2, -89.0, 89.0))
        across = across * np.cos(latitude)
        step = step or 1.1
    sizes = np.minimum(across, down) * metres
    if step:
        sizes = step ** np.floor(np.log(sizes) / np.log(step) + 1e-9)
    finest = min((band.definition.resolution_m or 0.0 for source in task.sources for band in source.reads), default=0.0)
    return np.where(sizes < LEAST_OVERSAMPLING * 1.9 * finest, 0.0, sizes)


Pixels = tuple[int, tuple[float, float, float, float, float, float]]


def _finest_rasters(
    task: UnitTask, presences: Sequence[npt.NDArray[np.bool_]], tools: UnitTools
) -> list[Pixels | None]:
    """For each feature the finest pixels of its first scene in mosaicking order, over all sources."""
    known: dict[tuple[int, int], SourceGrid | None] = {}

    def grid_of(number: int, scene: int) -> SourceGrid | None:
        if (number, scene) not in known:
            known[number, scene] = _finest_grid(task.scenes[number][scene], task.sources[number].reads, tools)
        return known[number, scene]

    orders = []
    for source, scenes in zip(task.sources, task.scenes, strict=True):
        place = {id(scene): number for number, scene in enumerate(scenes)}
        orders.append(np.array([place[id(scene)] for scene in sort_scenes(scenes, source.order)], np.int64))
    found: list[Pixels | None] = []
    for feature in range(len(presences[0])):
        grids = []
        for number, (order, presence) in enumerate(zip(orders, presences, strict=True)):
            present = order[presence[feature][order]].tolist()
            grids.append(next((g for scene in present if (g := grid_of(number, scene)) is not None), None))
        finest = min((g for g in grids if g is not None), key=_pixel_m2, default=None)
        found.append(None if finest is None else (finest.epsg, finest.transform))
    return found


def _finest_grid(scene: Scene, bands: Sequence[BandInput], tools: UnitTools) -> SourceGrid | None:
    """The grid of a scene's finest band; None where a raster cannot be read, which its interval will tell."""
    try:
        grids = [tools.reader.info(place_of(scene, band).asset.href).grid for band in bands]
    except SourceError as error:
        if error.retryable:
            raise
        return None
    return min(grids, key=_pixel_m2)


def _pixel_m2(grid: SourceGrid) -> float:
    """About the area of a pixel, to tell finer from coarser."""
    width, height = grid.pixel_size
    return width * height * (metres_per_unit(grid.epsg) ** 2)
