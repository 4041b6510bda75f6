"""The values of one pixel of a map, in a process of the workshop: the script is run at that cell alone."""

from __future__ import annotations

import math
from contextlib import closing
from typing import Any

import numpy as np
import shapely

from swathe.catalog.order import sort_scenes
from swathe.engine.compute import Engine
from swathe.engine.presence import scenes_over
from swathe.engine.raster_analysis import PlannedScenes, footprints_of
from swathe.engine.values import Stopped
from swathe.grids.raster_grid import RasterGrid
from swathe.jobs.images_now import Watch
from swathe.jobs.pictures import PixelAnswer, SeenScene
from swathe.jobs.request_area import make_grid
from swathe.jobs.workshop import Deadline
from swathe.model.process import ProcessRequest


def read(
    engine: Engine, deadline: Deadline, request: ProcessRequest, column: int, row: int, most_scenes: int
) -> PixelAnswer:
    """All outputs at a pixel of the request's image, which has it, and up to so many of the scenes over it.

    A cell takes its value from the same scenes in each image that it is in, so these are the numbers of the whole image;
    but `preProcessScenes` and `updateOutput` see the scenes over the pixel alone.

    Raises:
        LimitExceeded: the image would have too many pixels a side; nothing was computed.
        TookTooLong: there was no time to end it.
        SwatheError: whatever makes it impossible.
    """
    whole, clip = make_grid(request.input.bounds, request.output, engine.settings.limits.image_px)
    grid = RasterGrid(
        whole.epsg, whole.x0 + column * whole.dx, whole.y0 - row * whole.dy, whole.dx, whole.dy, width=1, height=1
    )
    planned = PlannedScenes(engine.process_planner(request).analyse(footprints_of([grid])).payload)
    scenes = planned.near(grid)
    watch = Watch(deadline)
    try:
        raster = engine.process_strips(
            request, grid, scenes=scenes, collections=planned.collections, clip=clip, should_stop=watch
        )
        strips: Any = raster.strips
        with closing(strips):
            (strip,) = strips
    except Stopped:
        raise deadline.error() from None
    finally:
        watch.is_on = False
    values = {
        spec.id: dict(zip(spec.band_names, map(_number, strip.arrays[spec.id][:, 0, 0]), strict=True))
        for spec in raster.outputs
    }
    return PixelAnswer(values, bool(strip.data_mask[0, 0]), _seen(request, grid, planned, most_scenes), raster.cost_pu)


def _seen(request: ProcessRequest, grid: RasterGrid, planned: PlannedScenes, most: int) -> tuple[SeenScene, ...]:
    """The scenes whose footprints are over a grid, the one on top first; none of a collection that has no times."""
    if any(collection.timeless for collection in planned.collections.values()):
        return ()
    near = list({(scene.collection, scene.id): scene for scenes in planned.near(grid) for scene in scenes}.values())
    over = scenes_over(np.array([shapely.box(*grid.bounds)], object), grid.epsg, near)[0]
    lying = [scene for scene, is_over in zip(near, over, strict=True) if is_over]
    order = request.input.data[0].data_filter.mosaicking_order  # a layer has one collection
    return tuple(SeenScene(scene.id, scene.datetime, scene.cloud_cover) for scene in sort_scenes(lying, order)[:most])


def _number(value: Any) -> float | None:
    """A value with the digits that its own type has, not those of a double."""
    plain = float(str(value)) if isinstance(value, np.floating) else value.item()
    return plain if math.isfinite(plain) else None
