"""Several scenes laid over one another: at each cell the first scene, in mosaicking order, that has data there.

A scene has data in a cell where every band that masks has. Scenes after the first are read only in blocks where a cell is
still empty, and reading stops when none is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class SceneBand:
    """One band of one scene at the cells: stored values (cells), where they are data, and what they mean.

    What a script sees is `values * scale + offset`.
    """

    values: npt.NDArray[np.generic]
    has_data: Mask
    scale: float
    offset: float
    masks: bool


@dataclass(frozen=True)
class Mosaic:
    """Columns of a mosaic: per band values (cells) with scale and offset, and dataMask (cells) uint8.

    Where the mask is 0 the values are such that a script sees `fill`: 0, or NaN.
    """

    bands: Mapping[str, tuple[npt.NDArray[np.generic], float, float]]
    data_mask: Mask


Fetch = Callable[[int, Mask | None], Mapping[str, SceneBand]]
"""Reads a scene: its number, and which cells are wanted (all if None) -> every band asked for."""


def _everywhere(scene: int) -> Mask | None:
    return None


def mosaic(
    scenes: Sequence[int],
    fetch: Fetch,
    bands: Sequence[str],
    cells: int,
    *,
    fill_nan: bool,
    over: Callable[[int], Mask | None] = _everywhere,
) -> Mosaic:
    """Mosaics `scenes`, which are in mosaicking order; without any, nothing has data.

    Args:
        over: the cells (uint8) that may take their values from a scene, all if None: those of the features that it lies
            over. What its raster holds elsewhere is not read.
    """
    columns: dict[str, tuple[npt.NDArray[np.generic], float, float]] = {}
    filled = np.zeros(cells, np.uint8)
    for scene in scenes:
        if filled.all():  # also where there are no cells at all
            break
        wanted = over(scene)
        if columns:
            empty = (filled == 0).view(np.uint8)
            wanted = empty if wanted is None else wanted & empty
        if wanted is not None and not wanted.any():
            continue
        layer = fetch(scene, wanted)
        has_data = _data_mask(layer, cells)
        new = has_data if wanted is None else has_data & wanted
        if not columns:
            columns = {name: (layer[name].values, layer[name].scale, layer[name].offset) for name in bands}
        elif new.any():
            columns = {name: _overlay(columns[name], layer[name], new.view(np.bool_)) for name in bands}
        filled |= new
    if not columns:
        columns = {name: (np.zeros(cells, np.float64), 1.0, 0.0) for name in bands}
    hidden = filled == 0
    if hidden.any():
        columns = {name: _hide(column, hidden, fill_nan) for name, column in columns.items()}
    return Mosaic(columns, filled)


def _data_mask(layer: Mapping[str, SceneBand], cells: int) -> Mask:
    """Where every masking band has data; without masking bands, where all the others have."""
    masking = [band.has_data for band in layer.values() if band.masks]
    if not masking:
        masking = [band.has_data for band in layer.values()]
    mask = np.ones(cells, np.uint8)
    for has_data in masking:
        mask &= has_data
    return mask


def _overlay(
    column: tuple[npt.NDArray[np.generic], float, float], layer: SceneBand, new: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.generic], float, float]:
    values, scale, offset = column
    if (scale, offset) == (layer.scale, layer.offset) and values.dtype == layer.values.dtype:
        np.copyto(values, layer.values, where=new)
        return column
    # scenes of different meaning can only meet as what they mean
    merged = values.astype(np.float64) * scale + offset
    np.copyto(merged, layer.values.astype(np.float64) * layer.scale + layer.offset, where=new)
    return merged, 1.0, 0.0


def _hide(
    column: tuple[npt.NDArray[np.generic], float, float], hidden: npt.NDArray[np.bool_], fill_nan: bool
) -> tuple[npt.NDArray[np.generic], float, float]:
    values, scale, offset = column
    if offset == 0 and not fill_nan:
        values[hidden] = 0
        return column
    meant = values.astype(np.float64) * scale + offset
    meant[hidden] = np.nan if fill_nan else 0.0
    return meant, 1.0, 0.0
