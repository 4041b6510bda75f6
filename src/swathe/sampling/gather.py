"""Values of cells out of decoded blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from swathe.sampling.locate import CellBlocks


def gather_block(
    block: npt.NDArray[np.generic],
    at: CellBlocks,
    index: int,
    values: npt.NDArray[np.generic],
    has_data: npt.NDArray[np.uint8],
    nodata: float | None,
) -> None:
    """Writes the values of the cells that lie in one block.

    Args:
        block: 2-D, as decoded; `index` is its place in `at.blocks`.
        values: (cells) in the block's dtype, written where a cell lies in this block.
        has_data: (cells) uint8, set to 1 there where the value is not no-data (NaN never is data).
    """
    start, end = at.starts[index], at.starts[index + 1]
    flat = np.ascontiguousarray(block).reshape(-1)
    if block.dtype.kind == "f":
        with np.errstate(over="ignore"):  # no-data is compared as the raster holds it: 0.1 in float32 is not 0.1
            marker = block.dtype.type(np.nan if nodata is None else nodata)
        _gather_float(flat, at.offsets, at.cells, start, end, values, has_data, marker)
    else:
        # a no-data value that the dtype cannot hold marks nothing
        marked = nodata is not None and float(nodata).is_integer() and _fits(int(nodata), block.dtype)
        whole = int(nodata) if marked and nodata is not None else 0
        _gather_integer(flat, at.offsets, at.cells, start, end, values, has_data, marked, whole)


def blocks_with(at: CellBlocks, wanted: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Places in `at.blocks` of the blocks that hold at least one wanted cell; wanted is (cells) uint8."""
    return np.flatnonzero(_any_wanted(at.starts, at.cells, wanted))


def _fits(value: int, dtype: np.dtype[Any]) -> bool:
    limits = np.iinfo(dtype)
    return bool(limits.min <= value <= limits.max)


@njit(cache=True, nogil=True)
def _gather_integer(flat, offsets, cells, start, end, values, has_data, marked, marker):  # type: ignore[no-untyped-def]
    for i in range(start, end):
        value = flat[offsets[i]]
        cell = cells[i]
        values[cell] = value
        has_data[cell] = 0 if marked and value == marker else 1


@njit(cache=True, nogil=True)
def _gather_float(flat, offsets, cells, start, end, values, has_data, nodata):  # type: ignore[no-untyped-def]
    for i in range(start, end):
        value = flat[offsets[i]]
        cell = cells[i]
        values[cell] = value
        has_data[cell] = 0 if value != value or value == nodata else 1


@njit(cache=True, nogil=True)
def _any_wanted(starts, cells, wanted):  # type: ignore[no-untyped-def]
    found = np.zeros(len(starts) - 1, np.uint8)
    for block in range(len(starts) - 1):
        for i in range(starts[block], starts[block + 1]):
            if wanted[cells[i]]:
                found[block] = 1
                break
    return found
