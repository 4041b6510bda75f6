"""Where an image's cells lie in a source, against every cell transformed on its own."""

from __future__ import annotations

import numpy as np
import pytest
from pyproj import Transformer

from swathe.grids.raster_grid import RasterGrid, Window
from swathe.rasters.source import SourceGrid
from swathe.sampling.places import find_places, nearest_blocks

ZONE_33 = SourceGrid(32633, (10.0, 0.0, 499_980.0, 0.0, -10.0, 5_100_000.0), 10_980, 10_980)
TURNED = SourceGrid(32633, (8.0, 6.0, 499_980.0, 6.0, -8.0, 5_100_000.0), 10_980, 10_980)
EUROPE = SourceGrid(3035, (100.0, 0.0, 2_500_000.0, 0.0, -100.0, 5_500_000.0), 50_000, 41_000)
MERCATOR = SourceGrid(3857, (1_000.0, 0.0, -20_000_000.0, 0.0, -1_000.0, 20_000_000.0), 40_000, 40_000)

CASES = {
    "same": (RasterGrid(32633, 503_004.0, 5_090_041.0, 10.0, 7.0, 150, 170), ZONE_33),
    "turned": (RasterGrid(32633, 503_004.0, 5_090_041.0, 10.0, 7.0, 150, 170), TURNED),
    "degrees": (RasterGrid(4326, 15.0371, 46.0123, 0.0001, 0.0001, 300, 200), ZONE_33),
    "next zone": (RasterGrid(32632, 970_010.0, 5_110_030.0, 10.0, 10.0, 300, 200), ZONE_33),
    "coarse": (RasterGrid(4326, -20.0, 70.0, 0.5, 0.5, 150, 90), EUROPE),
    "zone from Lambert": (RasterGrid(3035, 4_700_000.0, 2_600_000.0, 20.0, 20.0, 200, 150), ZONE_33),
}


def exactly(grid: RasterGrid, source: SourceGrid) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.meshgrid(
        grid.x0 + (np.arange(grid.width) + 0.5) * grid.dx, grid.y0 - (np.arange(grid.height) + 0.5) * grid.dy
    )
    if grid.epsg != source.epsg:
        x, y = Transformer.from_crs(grid.epsg, source.epsg, always_xy=True).transform(x, y)
    a, b, c, d, e, f = source.inverse
    with np.errstate(invalid="ignore"):
        return a * x + b * y + c, d * x + e * y + f


@pytest.mark.parametrize("name", CASES)
def test_places_are_those_of_the_cells_centres(name: str) -> None:
    grid, source = CASES[name]
    found = find_places(grid, grid.whole, source)
    columns, rows = exactly(grid, source)
    assert np.abs(found.columns - columns).max() < 2e-5
    assert np.abs(found.rows - rows).max() < 2e-5


@pytest.mark.parametrize("name", CASES)
def test_places_do_not_depend_on_window_or_image(name: str) -> None:
    grid, source = CASES[name]
    whole = find_places(grid, grid.whole, source)
    window = Window(31, 88, 17, 149)
    part = find_places(grid, window, source)
    np.testing.assert_array_equal(part.columns, whole.columns[window.slices])
    np.testing.assert_array_equal(part.rows, whole.rows[window.slices])
    shifted = RasterGrid(grid.epsg, grid.x0 + 17 * grid.dx, grid.y0 - 31 * grid.dy, grid.dx, grid.dy, 132, 57)
    other = find_places(shifted, shifted.whole, source)
    np.testing.assert_array_equal(other.columns, part.columns)
    np.testing.assert_array_equal(other.rows, part.rows)


def test_what_has_no_place_is_nowhere() -> None:
    grid = RasterGrid(4326, 10.0, 91.0, 0.05, 0.05, 70, 70)
    found = find_places(grid, grid.whole, MERCATOR)
    beyond = np.arange(70) < 20
    inside = (found.rows >= 0) & (found.rows < MERCATOR.height) & (found.columns >= 0)
    assert not inside[beyond].any()
    columns, rows = exactly(grid, MERCATOR)
    np.testing.assert_allclose(found.columns[25:], columns[25:], atol=2e-5)
    np.testing.assert_allclose(found.rows[25:], rows[25:], atol=2e-5)


def test_a_centre_on_a_border_belongs_to_the_pixel_to_the_right_or_below() -> None:
    source = SourceGrid(4326, (0.0001, 0.0, 14.0, 0.0, -0.0001, 46.0), 600, 600)
    for shift in range(40):
        grid = RasterGrid(4326, 14.0 + shift * 0.0002, 46.0 - shift * 0.0002, 0.0002, 0.0002, 200, 200)
        found = find_places(grid, grid.whole, source)
        want = 2 * (np.arange(200) + shift) + 1
        np.testing.assert_array_equal(np.floor(found.columns[0]), want)
        np.testing.assert_array_equal(np.floor(found.rows[:, 0]), want)


def test_blocks_of_cells_by_hand() -> None:
    source = SourceGrid(32633, (10.0, 0.0, 0.0, 0.0, -10.0, 0.0), 5, 3)
    grid = RasterGrid(32633, -10.0, 10.0, 10.0, 10.0, 7, 5)
    at = nearest_blocks(find_places(grid, grid.whole, source), source, 4, 2)
    assert at.blocks.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert at.inside is not None
    inside = np.zeros((5, 7), np.uint8)
    inside[1:4, 1:6] = 1
    np.testing.assert_array_equal(at.inside.reshape(5, 7), inside)
    # the first block's two rows of four, then the one column of the second
    assert at.offsets[:10].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0, 1]
