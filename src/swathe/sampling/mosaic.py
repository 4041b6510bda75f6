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


def mosaic(scenes: Sequence[int], fetch: Fetch, bands: Sequence[str], cells: int, *, fill_nan: bool) -> Mosaic:
    """Mosaics `scenes`, which are in mosaicking order; without any, nothing has data."""
    if not scenes:
        empty = np.zeros(cells, np.float64) if not fill_nan else np.full(cells, np.nan)
        return Mosaic(dict.fromkeys(bands, (empty, 1.0, 0.0)), np.zeros(cells, np.uint8))
    first = fetch(scenes[0], None)
    filled = _data_mask(first, cells)
    columns = {name: (first[name].values, first[name].scale, first[name].offset) for name in bands}
    for scene in scenes[1:]:
        if filled.all():
            break
        empty_cells = (filled == 0).view(np.uint8)
        layer = fetch(scene, empty_cells)
        new = (_data_mask(layer, cells) & empty_cells).view(np.bool_)
        if not new.any():
            continue
        for name in bands:
            columns[name] = _overlay(columns[name], layer[name], new)
        filled |= new.view(np.uint8)
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
