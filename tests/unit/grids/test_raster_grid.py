"""Regular grids and the lattice they lie on."""

from __future__ import annotations

import numpy as np

from swathe.grids.raster_grid import RasterGrid, Window


def test_a_grid_says_where_it_lies() -> None:
    grid = RasterGrid(32633, 500_000.0, 5_100_000.0, 10.0, 20.0, 3, 2)
    assert grid.transform == (10.0, 0.0, 500_000.0, 0.0, -20.0, 5_100_000.0)
    assert grid.bounds == (500_000.0, 5_099_960.0, 500_030.0, 5_100_000.0)
    assert grid.rows(1, 2) == RasterGrid(32633, 500_000.0, 5_099_980.0, 10.0, 20.0, 3, 1)
    assert grid.whole == Window(0, 2, 0, 3)
    assert len(grid.as_sample_grid) == 1


def test_the_lattice_gives_back_the_corner() -> None:
    for x0, y0, cell in ((499_980.0, 5_100_040.0, 10.0), (-3.7, -12.25, 0.3), (14.0001, 46.0, 0.0001)):
        lattice = RasterGrid(4326, x0, y0, cell, cell, 5, 5).lattice
        assert 0 <= lattice.phase_x < 1
        assert 0 <= lattice.phase_y < 1
        np.testing.assert_allclose(lattice.x(np.array([lattice.column], float)), x0, rtol=0, atol=1e-6 * cell)
        np.testing.assert_allclose(lattice.y(np.array([lattice.row], float)), y0, rtol=0, atol=1e-6 * cell)


def test_a_cell_has_one_centre_whatever_corner_its_grid_has() -> None:
    """1/3 degree is no binary number: from different corners the same centre comes out differently rounded."""
    cell = 1 / 3e4
    first = RasterGrid(4326, 14.2, 46.1, cell, cell, 500, 500)
    for shift in range(1, 300):
        other = RasterGrid(4326, 14.2 + shift * cell, 46.1 - shift * cell, cell, cell, 200, 200)
        one, two = first.lattice, other.lattice
        assert (two.column - one.column, two.row - one.row) == (shift, shift)
        assert (two.phase_x, two.phase_y) == (one.phase_x, one.phase_y)
