"""How images are cut into strips and windows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swathe.engine.raster_plan import BlockGrid, Needs, StripPlan, is_spilled, plan_strips, strips_at_once
from swathe.grids.raster_grid import RasterGrid
from swathe.rasters.source import SourceGrid

GRANULE = SourceGrid(32633, (10.0, 0.0, 499_980.0, 0.0, -10.0, 5_100_000.0), 10_980, 10_980)
UNIT_BYTES = 320 * 2**20


def covered_once(grid: RasterGrid, plans: tuple[StripPlan, ...]) -> bool:
    counts = np.zeros((grid.height, grid.width), np.int64)
    assert [plan.rows[0] for plan in plans] == [0, *(plan.rows[1] for plan in plans[:-1])]
    for plan in plans:
        for window in plan.windows:
            assert (window.first_row, window.last_row) == plan.rows
            counts[window.slices] += 1
    return bool((counts == 1).all())


def blocks_read(grid: RasterGrid, plans: tuple[StripPlan, ...], size: int) -> tuple[int, int]:
    """Blocks over all windows, and those that the image needs, of the granule."""

    def of(first: int, last: int, offset: float) -> range:
        return range(int((offset + first) // size), int((offset + last - 1) // size) + 1)

    left, top = (grid.x0 - GRANULE.transform[2]) / 10, (GRANULE.transform[5] - grid.y0) / 10
    windows = [w for plan in plans for w in plan.windows] + [grid.whole]
    counts = [
        len(list(itertools.product(of(w.first_row, w.last_row, top), of(w.first_column, w.last_column, left))))
        for w in windows
    ]
    return sum(counts[:-1]), counts[-1]


@pytest.mark.parametrize("size", [256, 512, 1024])
@pytest.mark.parametrize("lanes", [1, 2, 8])
def test_windows_end_where_blocks_end(size: int, lanes: int) -> None:
    grid = RasterGrid(32633, 503_000.0, 5_090_040.0, 10.0, 10.0, 3_500, 3_500)
    plans = plan_strips(
        grid, [BlockGrid(GRANULE, size, size)], Needs(12, 12, 5), most_bytes=UNIT_BYTES, lanes=lanes, readers=lanes
    )
    assert covered_once(grid, plans)
    read, needed = blocks_read(grid, plans, size)
    assert read == needed
    assert min(len(plan.windows) for plan in plans) >= min(lanes, 3)


def test_sixty_dates_of_eight_bands_stay_within_memory() -> None:
    grid = RasterGrid(32633, 503_000.0, 5_090_040.0, 10.0, 10.0, 3_500, 3_500)
    needs = Needs(60 * (8 * 2 + 1) + 40, 2 * 8 * 2 + 40, 8 * 4 + 1)
    for size in (256, 512, 1024):
        blocks = [BlockGrid(GRANULE, size, size)]
        plans = plan_strips(grid, blocks, needs, most_bytes=UNIT_BYTES, lanes=1, readers=2)
        assert covered_once(grid, plans)
        read, needed = blocks_read(grid, plans, size)
        assert read == needed
        for window in (window for plan in plans for window in plan.windows):
            spilled = is_spilled(window, needs, most_bytes=UNIT_BYTES, lanes=1)
            in_memory = 2 * needs.sample_bytes if spilled else needs.window_bytes
            assert window.cells * in_memory <= UNIT_BYTES / 2
        count = strips_at_once(plans, grid, needs, UNIT_BYTES)
        assert count == (1 if size == 1024 else 2)
        assert count * max(p.rows[1] - p.rows[0] for p in plans) * 3_500 * needs.strip_bytes <= UNIT_BYTES * 3 / 8


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 900),
    height=st.integers(1, 900),
    x=st.integers(-3_000, 3_000),
    cell=st.sampled_from([3.0, 10.0, 25.0]),
    block=st.sampled_from([(16, 16), (512, 512), (5490, 1), (64, 300)]),
    per_cell=st.sampled_from([5.0, 100.0, 3_000.0]),
    lanes=st.integers(1, 5),
    aligned=st.booleans(),
)
def test_every_cell_is_in_one_window(
    width: int, height: int, x: int, cell: float, block: tuple[int, int], per_cell: float, lanes: int, aligned: bool
) -> None:
    grid = RasterGrid(32633, 500_000.0 + x, 5_099_000.0 - x, cell, cell, width, height)
    blocks = [BlockGrid(GRANULE, *block)] if aligned else []
    needs = Needs(per_cell, min(per_cell, 30.0), 4)
    plans = plan_strips(grid, blocks, needs, most_bytes=16 * 2**20, lanes=lanes, readers=lanes)
    assert covered_once(grid, plans)
    most = max(w.cells for plan in plans for w in plan.windows)
    assert most <= max(16_384 + 16 * 900, 8 * 2**20 / lanes / needs.sample_bytes)
