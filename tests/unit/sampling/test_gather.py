"""Values of cells out of blocks, for every type that rasters have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from swathe.sampling.gather import blocks_with, data_mask, gather_block
from swathe.sampling.locate import CellBlocks

INTEGERS = ["uint8", "int8", "uint16", "int16", "uint32", "int32"]
FLOATS = ["float32", "float64"]

# Cells 0, 3 and 4 lie in block 0; cells 1 and 2 in block 1; cell 5 in none.
AT = CellBlocks(
    blocks=np.array([[0, 0], [2, 1]], np.int32),
    starts=np.array([0, 2, 3]),
    segments=np.array([[0, 0], [3, 1], [1, 3], [6, 5]], np.int32),
    offsets=np.array([0, 3, 2, 1, 2], np.uint32),
    inside=np.array([1, 1, 1, 1, 1, 0], np.uint8),
)


def gather(blocks: list[Any], dtype: str, nodata: float | None) -> tuple[list[Any], list[int]]:
    values = np.zeros(6, dtype)
    for index, block in enumerate(blocks):
        gather_block(np.array(block, dtype), AT, index, values)
    return values.tolist(), data_mask(values, AT, nodata).tolist()


BLOCKS = [[[1, 2], [3, 4]], [[5, 6], [0, 8]]]


@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
def test_every_cell_takes_its_pixel_and_cells_in_no_block_have_no_data(dtype: str) -> None:
    assert gather(BLOCKS, dtype, None) == ([1, 6, 0, 4, 3, 0], [1, 1, 1, 1, 1, 0])


@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
def test_no_data_is_marked_and_its_value_stays(dtype: str) -> None:
    assert gather(BLOCKS, dtype, 0) == ([1, 6, 0, 4, 3, 0], [1, 1, 0, 1, 1, 0])
    assert gather(BLOCKS, dtype, 4.0)[1] == [1, 1, 1, 0, 1, 0]


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("nodata", [float("nan"), float("inf"), -float("inf"), 2.0**40, -(2.0**40), 1e300, 4.5])
def test_no_data_that_an_integer_type_cannot_hold_marks_nothing(dtype: str, nodata: float) -> None:
    assert gather(BLOCKS, dtype, nodata)[1] == [1, 1, 1, 1, 1, 0]


@pytest.mark.parametrize(("dtype", "nodata"), [("uint8", -1), ("uint8", 256), ("int8", 128), ("uint16", -9999)])
def test_no_data_beyond_the_range_does_not_wrap_around(dtype: str, nodata: float) -> None:
    wrapped = np.array(int(nodata)).astype(dtype).item()
    assert gather([[[wrapped] * 2] * 2] * 2, dtype, nodata)[1] == [1, 1, 1, 1, 1, 0]


@pytest.mark.parametrize(("dtype", "extreme"), [(d, e) for d in INTEGERS for e in (np.iinfo(d).min, np.iinfo(d).max)])
def test_extreme_values_are_gathered_and_marked(dtype: str, extreme: int) -> None:
    block = [[extreme, extreme], [7, 7]]
    values, has_data = gather([block, block], dtype, float(extreme))
    assert values == [extreme, extreme, 7, 7, 7, 0]
    assert has_data == [0, 0, 1, 1, 1, 0]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("nodata", [None, float("nan"), -9999.0])
def test_nan_never_is_data(dtype: str, nodata: float | None) -> None:
    block = [[np.nan, 2.5], [-9999.0, np.inf]]
    _, has_data = gather([block, block], dtype, nodata)
    hidden = 0 if nodata == -9999.0 else 1
    assert has_data == [0, 1, hidden, 1, hidden, 0]


@pytest.mark.parametrize("nodata", [0.1, -3.4e38, -1.7976931348623157e308, float("inf")])
def test_no_data_is_compared_as_the_rasters_type_holds_it(nodata: float) -> None:
    with np.errstate(over="ignore"):
        stored = np.float32(nodata)
    block = [[stored, 1.0], [2.0, stored]]
    assert gather([block, block], "float32", nodata)[1] == [0, 1, 1, 0, 1, 0]


def test_blocks_cut_out_of_a_larger_array_are_read_by_row_and_column() -> None:
    whole = np.arange(16, dtype=np.int16).reshape(4, 4)
    values = np.zeros(6, np.int16)
    gather_block(whole[1:3, 1:3], AT, 0, values)
    assert values.tolist() == [5, 0, 0, 10, 9, 0]


def test_blocks_with_a_wanted_cell() -> None:
    def wanted(*cells: int) -> list[int]:
        return blocks_with(AT, np.isin(np.arange(6), cells).astype(np.uint8)).tolist()

    assert [wanted(), wanted(5), wanted(4), wanted(1), wanted(0, 2)] == [[], [], [0], [1], [0, 1]]
