"""Values of cells out of decoded blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from swathe.sampling.locate import CellBlocks


def gather_block(block: npt.NDArray[np.generic], at: CellBlocks, index: int, values: npt.NDArray[np.generic]) -> None:
    """Writes the values of the cells that lie in one block.

    Args:
        block: 2-D, as decoded; `index` is its place in `at.blocks`.
        values: (cells) in the block's dtype, written where a cell lies in this block.
    """
    flat = np.ascontiguousarray(block).reshape(-1)
    _gather(flat, at.segments, at.offsets, at.starts[index], at.starts[index + 1], values)


def data_mask(values: npt.NDArray[np.generic], at: CellBlocks, nodata: float | None) -> npt.NDArray[np.uint8]:
    """1 where a gathered value is data, (cells) uint8: as `is_data`, and not beyond the source."""
    mask = is_data(values, nodata)
    if at.inside is not None:
        mask &= at.inside
    return mask


def is_data(values: npt.NDArray[np.generic], nodata: float | None) -> npt.NDArray[np.uint8]:
    """1 where a value of a raster is data, uint8 of the same shape: not no-data, and not NaN.

    No-data is compared as the raster holds it: 0.1 in float32 is not 0.1. What an integer dtype cannot hold marks nothing.
    """
    dtype = values.dtype
    if dtype.kind == "f":
        found = values == values
        if nodata is not None:
            with np.errstate(over="ignore"):
                found &= values != dtype.type(nodata)
    elif nodata is not None and float(nodata).is_integer() and _fits(int(nodata), dtype):
        found = values != dtype.type(int(nodata))
    else:
        found = np.ones(values.shape, np.bool_)
    return np.asarray(found).view(np.uint8)


def blocks_with(at: CellBlocks, wanted: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Places in `at.blocks` of the blocks that hold at least one wanted cell; wanted is (cells) uint8."""
    return np.flatnonzero(_any_wanted(at.starts, at.segments, wanted))


def _fits(value: int, dtype: np.dtype[Any]) -> bool:
    limits = np.iinfo(dtype)
    return bool(limits.min <= value <= limits.max)


@njit(cache=True, nogil=True)
def _gather(flat, segments, offsets, start, end, values):  # type: ignore[no-untyped-def]
    for k in range(start, end):
        cell = segments[k, 0]
        first = segments[k, 1]
        count = segments[k + 1, 1] - first
        into = values[cell : cell + count]
        places = offsets[first : first + count]
        for i in range(count):
            into[i] = flat[places[i]]


@njit(cache=True, nogil=True)
def _any_wanted(starts, segments, wanted):  # type: ignore[no-untyped-def]
    found = np.zeros(len(starts) - 1, np.uint8)
    for block in range(len(starts) - 1):
        for k in range(starts[block], starts[block + 1]):
            cell = segments[k, 0]
            for i in range(segments[k + 1, 1] - segments[k, 1]):
                if wanted[cell + i]:
                    found[block] = 1
                    break
            if found[block]:
                break
    return found
