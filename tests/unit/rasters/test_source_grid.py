"""Grids and levels as values."""

from __future__ import annotations

import pytest

from swathe.rasters.source import OverviewInfo, RasterInfo, SourceGrid

GRID = SourceGrid(32631, (10.0, 0.0, 501360.0, 0.0, -10.0, 5629680.0), 64, 48)
TURNED = SourceGrid(32631, (3.0, 0.5, 7.0, 0.25, -2.0, 9.0), 10, 20)


def test_whole_columns_and_rows_are_pixel_corners() -> None:
    assert GRID.to_crs(0, 0) == (501360.0, 5629680.0)
    assert GRID.to_crs(0.5, 0.5) == (501365.0, 5629675.0)
    assert GRID.bounds == (501360.0, 5629200.0, 502000.0, 5629680.0)


@pytest.mark.parametrize("grid", [GRID, TURNED])
def test_there_and_back_is_the_same_place(grid: SourceGrid) -> None:
    assert grid.to_pixel(*grid.to_crs(3.25, 7.5)) == pytest.approx((3.25, 7.5), abs=1e-9)


def test_a_turned_grid_is_not_north_up() -> None:
    assert GRID.is_north_up
    assert not TURNED.is_north_up
    assert GRID.pixel_size == (10.0, 10.0)


def test_a_grid_is_a_value() -> None:
    assert len({GRID, SourceGrid(32631, GRID.transform, 64, 48), TURNED}) == 2


def test_a_levels_grid_covers_the_same_extent_and_its_edge_blocks_are_cut() -> None:
    info = RasterInfo("x", GRID, "uint16", 1, 0.0, 32, 32, (1.0,), (0.0,), (OverviewInfo(32, 24, 20, 20),))
    assert info.level_grid(1).transform == (20.0, 0.0, 501360.0, 0.0, -20.0, 5629680.0)
    assert info.block_counts() == (2, 2)
    assert info.block_shape((1, 1)) == (16, 32)
    assert info.block_counts(1) == (2, 2)
    assert [info.block_shape(block, 1) for block in info.blocks(1)] == [(20, 20), (20, 12), (4, 20), (4, 12)]
