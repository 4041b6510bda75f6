"""Bilinear and bicubic images through the whole engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.warp import reproject

from engines import World
from rasters import near, process_request, render, sampled, utm
from swathe.grids.raster_grid import RasterGrid

FLOATS = """//VERSION=3
function setup() {
  return {
    input: [{bands: ["B04", "dataMask"], units: "DN"}], output: {bands: 2, sampleType: "FLOAT32"}
  }
}
function evaluatePixel(s) { return [s.B04, s.dataMask] }
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def waves(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return (3000 + 900 * np.sin(columns / 5.0) + 800 * np.cos(rows / 7.0)).astype(np.uint16)


def warped(path: Path, grid: RasterGrid, method: Resampling) -> np.ndarray:
    values = np.zeros((grid.height, grid.width), np.float64)
    with rasterio.open(path) as file:
        source = file.read(1).astype(np.float64)
        reproject(
            source, values, src_transform=file.transform, src_crs=file.crs, dst_transform=Affine(*grid.transform),
            dst_crs=f"EPSG:{grid.epsg}", resampling=method, tolerance=0.0,
        )  # fmt: skip
    return values


@pytest.mark.parametrize(("name", "method"), [("BILINEAR", Resampling.bilinear), ("BICUBIC", Resampling.cubic)])
@pytest.mark.parametrize("grid", [utm(11, 13, 200, 170, cell=3.0), near(4326, 20, 20, 300, 200, cell=0.00004)])
def test_finer_cells_are_as_gdal_has_them(world: World, name: str, method: Resampling, grid: RasterGrid) -> None:
    world.scene("a", "2020-06-01", {"B04": waves(140, 160)})
    made = render(world.settings(unit_bytes=2**20), process_request(FLOATS, upsampling=name), grid)
    want = warped(world.files / "a" / "B04.tif", grid, method)
    assert (made.mask == 1).all()
    assert (want > 0).all()
    # between two systems GDAL itself is off by some thousandths of a pixel
    assert np.abs(made.arrays["default"][0] - want).max() < (0.02 if grid.epsg == 32633 else 0.5)
    # which is something else than the nearest pixel
    assert np.abs(made.arrays["default"][0] - sampled(world.files / "a" / "B04.tif", grid)[0]).mean() > 10


@pytest.mark.parametrize("name", ["BILINEAR", "BICUBIC"])
def test_on_the_pixels_themselves_nothing_changes(world: World, name: str) -> None:
    world.scene("a", "2020-06-01", {"B04": waves(90, 80)})
    made = render(world.settings(), process_request(FLOATS, upsampling=name, downsampling=name), utm(-5, -5, 90, 100))
    want = np.zeros((100, 90))
    want[5:95, 5:85] = waves(90, 80)
    np.testing.assert_array_equal(made.arrays["default"][0], want)


def test_bilinear_by_hand(world: World) -> None:
    world.scene("a", "2020-06-01", {"B04": [[10, 20], [30, 0]]})
    made = render(world.settings(), process_request(FLOATS, upsampling="BILINEAR"), utm(0, 0, 4, 4, cell=5.0))
    # quarters and three quarters between centres; the pixel without data takes no part, and its own cells have none
    third = (3 / 16 * 10 + 9 / 16 * 20 + 1 / 16 * 30) / (13 / 16)
    sixth = (3 / 16 * 10 + 1 / 16 * 20 + 9 / 16 * 30) / (13 / 16)
    inner = (9 / 16 * 10 + 3 / 16 * 20 + 3 / 16 * 30) / (15 / 16)
    want = [[10, 12.5, 17.5, 20], [15, inner, third, 20], [25, sixth, 0, 0], [30, 30, 0, 0]]
    np.testing.assert_allclose(made.arrays["default"][0], want, rtol=1e-6)
    np.testing.assert_array_equal(made.arrays["default"][1], np.array(want) > 0)


def test_each_direction_has_a_method_of_its_own(world: World) -> None:
    world.scene("a", "2020-06-01", {"B04": waves(120, 120)})
    path = world.files / "a" / "B04.tif"
    fine, coarse = utm(20, 20, 100, 100, cell=4.0), utm(10, 10, 50, 50, cell=14.0)
    for grid, given, nearest in (
        (fine, {"upsampling": "BILINEAR"}, False),
        (fine, {"downsampling": "BILINEAR"}, True),
        (coarse, {"upsampling": "BILINEAR"}, True),
        (coarse, {"downsampling": "BILINEAR"}, False),
    ):
        made = render(world.settings(), process_request(FLOATS, **given), grid, lanes=1)
        assert np.array_equal(made.arrays["default"][0], sampled(path, grid)[0]) is nearest


def test_there_is_nothing_between_classes(world: World) -> None:
    classes = (np.indices((80, 80)).sum(axis=0) % 12).astype(np.uint8)
    world.scene("a", "2020-06-01", {"B04": waves(80, 80), "SCL": classes}, nodata=None)
    script = FLOATS.replace('"B04",', '"B04", "SCL",').replace("s.dataMask]", "s.SCL]")
    grid = utm(3, 3, 150, 150, cell=4.0)
    made = render(world.settings(), process_request(script, upsampling="BICUBIC"), grid)
    np.testing.assert_array_equal(made.arrays["default"][1], sampled(world.files / "a" / "SCL.tif", grid)[0])
