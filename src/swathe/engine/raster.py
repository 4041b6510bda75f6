"""Computes an image: an evalscript over the cells of a regular grid, in strips of rows and bounded memory.

Reading and mosaicking are those of the statistics: columns of cells, each needed block decoded once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from swathe.engine.cost import area_factor, band_factor
from swathe.engine.inputs import SourceInput
from swathe.engine.raster_run import RasterRun, RasterTools, Strip
from swathe.engine.raster_scenes import SceneCells, make_timelines, time_range
from swathe.engine.samples import preprocess, updated_script
from swathe.engine.timeline import Segment, SourceTimeline
from swathe.evalscript import driver
from swathe.evalscript.script import Evalscript, Mosaicking
from swathe.grids.raster_grid import RasterGrid
from swathe.model.common import DataSource
from swathe.model.time import TimeRange

if TYPE_CHECKING:
    import shapely

    from swathe.catalog.scene import Scene

__all__ = ["RasterOutputSpec", "RasterTools", "RenderedRaster", "Strip", "output_specs", "render"]


@dataclass(frozen=True)
class RasterOutputSpec:
    """One output of the script as an image: so many bands with names, NumPy's name of their type, what means no data."""

    id: str
    bands: int
    band_names: tuple[str, ...]
    sample_type: str
    nodata: float | None

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.sample_type)


@dataclass
class RenderedRaster:
    """An image on its way. `strips` come from top to bottom and can be gone through once.

    `user_data` is what updateOutputMetadata() left, None before the last strip was taken; `counters` is what was read and
    how long it took, filled by then too. `cost_pu` is known from the start.
    """

    grid: RasterGrid
    outputs: tuple[RasterOutputSpec, ...]
    strips: Iterator[Strip]
    cost_pu: float
    scenes: int
    user_data: object | None = None
    counters: Mapping[str, float] = field(default_factory=dict)

    def read(self) -> dict[str, npt.NDArray[Any]]:
        """All of it in memory: (bands, rows, columns) by output. For small images."""
        found = {
            output.id: np.empty((output.bands, self.grid.height, self.grid.width), output.dtype)
            for output in self.outputs
        }
        for strip in self.strips:
            for name, values in strip.arrays.items():
                found[name][:, strip.first_row : strip.first_row + values.shape[1]] = values
        return found


def render(
    data: Sequence[DataSource],
    script: Evalscript,
    sources: Sequence[SourceInput],
    scenes: Sequence[Sequence[Scene]],
    grid: RasterGrid,
    clip: shapely.Geometry | None,
    tools: RasterTools,
) -> RenderedRaster:
    """Begins an image. All scenes of a source are one interval: one mosaic under SIMPLE, else samples.

    Args:
        scenes: of each input, around the image or beyond.
        clip: cells outside it (in the grid's CRS) have no data: the script sees zeros and a dataMask of 0.

    Raises:
        ScriptError: what the script says of its scenes or outputs cannot be used.
        SourceError: a raster cannot be opened.
    """
    cells = SceneCells(grid, clip)
    dated = [source for source in sources if not source.collection.timeless] or sources
    spans = [time_range(data[source.number], source.number) for source in dated]
    interval = TimeRange(min(span.start for span in spans), max(span.end for span in spans))
    timelines = make_timelines(sources, scenes, cells, interval)
    host = tools.lanes.lanes[0].host
    every = tuple(timeline.samples(timeline.presence[0], 0) for timeline in timelines)
    segment = preprocess(Segment(0, 1, every), script, timelines, interval, host)
    script = updated_script(segment, script, timelines, interval, host)
    run = RasterRun(data, script, timelines, segment.samples, interval, grid, cells, tools)
    raster = RenderedRaster(
        grid, output_specs(script), iter(()), _cost(grid, timelines, segment), sum(len(t.scenes) for t in timelines)
    )
    raster.strips = _tell_end(run, raster)
    return raster


def output_specs(script: Evalscript) -> tuple[RasterOutputSpec, ...]:
    """The script's outputs as images."""
    return tuple(
        RasterOutputSpec(
            output.id,
            len(output.bands),
            output.bands,
            np.dtype(driver.DTYPES[output.sample_type]).name,
            output.nodata_value,
        )
        for output in script.outputs
    )


def _tell_end(run: RasterRun, raster: RenderedRaster) -> Iterator[Strip]:
    yield from run.strips()
    raster.user_data, raster.counters = run.user_data, run.counters


def _cost(grid: RasterGrid, timelines: Sequence[SourceTimeline], segment: Segment) -> float:
    """Processing units: by area, bands and samples, as of a feature with one interval."""
    charged = 0.0
    for timeline, samples in zip(timelines, segment.samples, strict=True):
        if timeline.source.mosaicking is Mosaicking.SIMPLE:
            count = float(bool(timeline.scenes))
        else:
            count = float(sum(len(sample.scenes) for sample in samples))
        charged += band_factor(timeline.source.charged_bands) * count
    return float(area_factor(np.array([grid.cells], np.int64))[0]) * charged
