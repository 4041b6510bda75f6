"""How a raster's pixels become cells: nearest, or between them, by the sizes of both and what the request says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from swathe.catalog.collections import DN
from swathe.engine.inputs import BandInput
from swathe.engine.presence import metres_per_unit
from swathe.grids.sample_grid import SampleGrids
from swathe.model.common import Processing, Resampling
from swathe.rasters.source import SourceGrid

_ALIKE = 1e-3
"""Cells and pixels whose sizes differ by less than this part are of one size."""


def choose_method(cell_m: float, source: SourceGrid, processing: Processing) -> Resampling:
    """Upsampling where cells of `cell_m` metres are finer than the source's pixels or of their size, else downsampling."""
    chosen = processing.downsampling if cell_m > _limit_m(source) else processing.upsampling
    return chosen or Resampling.NEAREST


def choose_methods(grids: SampleGrids, source: SourceGrid, processing: Processing) -> npt.NDArray[np.object_]:
    """The method for each feature (features), by the true size of its cells: as of an image on the same grid."""
    metres = metres_per_unit(grids.epsg)
    cell_m = (np.minimum(grids.dx, grids.dy) if metres == 1.0 else grids.dy) * metres
    finer, coarser = (choice or Resampling.NEAREST for choice in (processing.upsampling, processing.downsampling))
    chosen = np.full(len(grids), finer, object)
    chosen[cell_m > _limit_m(source)] = coarser
    return chosen


def interpolates(processing: Processing) -> bool:
    """Whether any method but NEAREST is asked for."""
    return any(choice not in (None, Resampling.NEAREST) for choice in (processing.upsampling, processing.downsampling))


def is_continuous(bands: Sequence[BandInput]) -> bool:
    """Whether there is anything between the values of a file's bands: not with a mask (no bands), nor where any band's
    numbers are names of classes or bit fields rather than amounts."""
    return bool(bands) and not any(not band.definition.masks and set(band.definition.units) == {DN} for band in bands)


def interpolated_dtype(stored: str) -> type[np.float32 | np.float64]:
    """The type of values between pixels: float32 where it holds all of the stored type's numbers."""
    return np.float32 if np.dtype(stored).itemsize <= 2 or stored == "float32" else np.float64


def _limit_m(source: SourceGrid) -> float:
    return source.pixel_size[1] * metres_per_unit(source.epsg) * (1 + _ALIKE)
