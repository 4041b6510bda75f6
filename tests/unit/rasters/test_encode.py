"""Images in strips of rows, read back with rasterio, tifffile and the validator of cloud-optimised GeoTIFFs."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from rasterio.errors import NotGeoreferencedWarning
from rio_cogeo import cog_validate

from swathe.grids.raster_grid import RasterGrid
from swathe.model.errors import RequestInvalid
from swathe.model.process_output import JPEG, PNG, TIFF, CogParameters
from swathe.rasters.encode import CogOptions, EncodeOptions, check_image, open_writer
from swathe.rasters.encode_options import overview_levels


@dataclass(frozen=True)
class Spec:
    bands: int
    dtype: np.dtype[Any]
    nodata: float | None = None
    id: str = "default"

    @property
    def band_names(self) -> tuple[str, ...]:
        return tuple(f"name {number}" for number in range(self.bands))


def spec(bands: int, dtype: str, nodata: float | None = None) -> Spec:
    return Spec(bands, np.dtype(dtype), nodata)


def image(of: Spec, height: int, width: int) -> np.ndarray:
    random = np.random.default_rng(of.bands)
    values = random.integers(0, 100, (of.bands, height, width)) + np.arange(width) // 8
    return (values / 7 if of.dtype.kind == "f" else values % 120).astype(of.dtype)


def grid(height: int, width: int, epsg: int = 32633) -> RasterGrid:
    return RasterGrid(epsg, 500_000.0, 5_100_000.0, 10.0, 20.0, width, height)


def write(
    path: Path, media_type: str, of: Spec, values: np.ndarray, step: int, options: EncodeOptions | None = None
) -> Path:
    height, width = values.shape[1:]
    with open_writer(media_type, path, grid(height, width), of, options) as writer:
        for row in range(0, height, step):
            writer.write(values[:, row : row + step], row)
    return path


def read(path: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            return np.asarray(file.read())


@pytest.mark.parametrize(
    ("bands", "dtype", "size", "step"),
    [
        (1, "uint8", (300, 400), 7),
        (2, "int8", (300, 400), 256),
        (3, "uint8", (700, 300), 700),
        (4, "uint16", (513, 511), 300),
        (1, "int16", (20, 30), 3),
        (9, "float32", (600, 257), 511),
        (1, "uint32", (256, 256), 100),
        (1, "int32", (1, 1), 1),
    ],
)
def test_a_tiff_holds_what_was_written(
    tmp_path: Path, bands: int, dtype: str, size: tuple[int, int], step: int
) -> None:
    of = spec(bands, dtype)
    values = image(of, *size)
    path = write(tmp_path / "a.tif", TIFF, of, values, step)
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(), values)
        assert file.dtypes[0] == dtype
        assert file.crs.to_epsg() == 32633
        assert tuple(file.transform)[:6] == (10.0, 0.0, 500_000.0, 0.0, -20.0, 5_100_000.0)
        assert file.descriptions == of.band_names
        assert file.nodata is None
        assert file.profile["compress"] == "deflate"
        assert "alpha" not in {colour.name for colour in file.colorinterp}
    # as existing clients read it: one page, pixel by pixel, a single band in two dimensions
    np.testing.assert_array_equal(tifffile.imread(path), values[0] if bands == 1 else np.moveaxis(values, 0, -1))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize(
    ("dtype", "nodata", "kept"),
    [("uint8", 255.0, 255.0), ("uint8", -1.0, None), ("int16", 0.5, None), ("float32", -9999.0, -9999.0)],
)
def test_no_data_is_declared_where_the_type_can_hold_it(
    tmp_path: Path, dtype: str, nodata: float, kept: float | None
) -> None:
    of = spec(1, dtype, nodata)
    path = write(tmp_path / "a.tif", TIFF, of, image(of, 30, 30), 30)
    with rasterio.open(path) as file:
        assert file.nodata == kept


def test_no_data_may_be_no_number(tmp_path: Path) -> None:
    of = spec(1, "float32", float("nan"))
    with rasterio.open(write(tmp_path / "a.tif", TIFF, of, image(of, 30, 30), 30)) as file:
        assert np.isnan(file.nodata)


@pytest.mark.parametrize(
    ("cog", "bands", "dtype", "levels", "blocks", "predictor"),
    [
        (CogOptions(), 1, "float32", [2, 4, 8], (256, 256), 3),
        (CogOptions(block_width=512, block_height=256), 2, "uint8", [2, 4, 8], (256, 512), 2),
        (CogOptions(overview_levels=(2, 8)), 4, "uint8", [2, 8], (256, 256), 2),
        (CogOptions(overview_min_size=700), 1, "int16", [2], (256, 256), 2),
        (CogOptions(block_width=1024, block_height=1024, use_predictor=False), 1, "uint16", [2], (1024, 1024), 1),
    ],
)
def test_a_cog_is_valid_and_as_the_request_says(
    tmp_path: Path,
    cog: CogOptions,
    bands: int,
    dtype: str,
    levels: list[int],
    blocks: tuple[int, int],
    predictor: int,
) -> None:
    of = spec(bands, dtype, 0)
    values = image(of, 1100, 1030)
    path = write(tmp_path / "a.tif", TIFF, of, values, 333, EncodeOptions(cog=cog))
    assert cog_validate(path, strict=True, quiet=True) == (True, [], [])
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(), values)
        assert file.overviews(1) == levels
        assert file.block_shapes[0] == blocks
        assert file.tags(ns="IMAGE_STRUCTURE").get("PREDICTOR", "1") == str(predictor)
        assert file.descriptions == of.band_names
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize(
    "algorithm", ["nearest", "average", "gauss", "cubic", "cubicspline", "lanczos", "average_magphase", "mode"]
)
def test_overviews_by_every_algorithm(tmp_path: Path, algorithm: str) -> None:
    of = spec(1, "uint16")
    values = np.kron(np.arange(1, 301 * 301 + 1, dtype=np.uint16).reshape(1, 301, 301), np.ones((1, 2, 2), np.uint16))
    cog = CogOptions(resampling=algorithm, overview_levels=(2,))
    path = write(tmp_path / "a.tif", TIFF, of, values, 100, EncodeOptions(cog=cog))
    assert cog_validate(path, strict=True, quiet=True)[0]
    with rasterio.open(path, overview_level=0) as file:
        reduced = file.read(1)
    if algorithm in ("nearest", "average", "average_magphase", "mode"):
        np.testing.assert_array_equal(reduced, values[0, ::2, ::2])
    else:
        # within half a pixel of the image; a row further is 301 more
        assert np.abs(reduced[5:50, 5:50].astype(float) - values[0, 10:100:2, 10:100:2]).max() < 150


def test_averages_leave_no_data_aside(tmp_path: Path) -> None:
    of = spec(1, "uint8", 0)
    values = np.zeros((1, 600, 600), np.uint8)
    values[0, ::2] = 100
    path = write(tmp_path / "a.tif", TIFF, of, values, 600, EncodeOptions(cog=CogOptions()))
    with rasterio.open(path, overview_level=0) as file:
        assert (file.read(1) == 100).all()


@pytest.mark.parametrize(
    ("bands", "dtype"), [(1, "uint8"), (2, "uint8"), (3, "uint8"), (4, "uint8"), (4, "uint16"), (1, "uint16")]
)
def test_a_png_holds_what_was_written(tmp_path: Path, bands: int, dtype: str) -> None:
    of = spec(bands, dtype)
    values = image(of, 130, 90)
    path = write(tmp_path / "a.png", PNG, of, values, 40)
    np.testing.assert_array_equal(read(path), values)
    assert path.read_bytes()[:4] == b"\x89PNG"
    # the colour type of PNG: grey, grey and alpha, colours, colours and alpha
    assert path.read_bytes()[25] == {1: 0, 2: 4, 3: 2, 4: 6}[bands]
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_the_quality_of_a_jpeg(tmp_path: Path) -> None:
    of = spec(3, "uint8")
    values = np.broadcast_to((np.arange(200) / 2 + np.arange(200)[:, None] / 3), (3, 200, 200)).astype(np.uint8)
    sizes = [
        len(write(tmp_path / f"{quality}.jpg", JPEG, of, values, 64, EncodeOptions(quality=quality)).read_bytes())
        for quality in (0, 30, 90)
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2] / 2
    assert np.abs(read(tmp_path / "90.jpg").astype(float) - values).mean() < 2
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    ("media_type", "of", "options", "words"),
    [
        (PNG, spec(1, "float32"), None, "sampleType to UINT8 or UINT16"),
        (PNG, spec(5, "uint8"), None, "1, 2, 3 or 4"),
        (JPEG, spec(4, "uint8"), None, "1 or 3"),
        (JPEG, spec(3, "uint16"), None, "UINT16"),
        ("image/bmp", spec(3, "uint8"), None, "image/tiff, image/png, image/jpeg"),
        (TIFF, spec(1, "int8"), EncodeOptions(cog=CogOptions()), "INT8"),
        (PNG, spec(1, "uint8"), EncodeOptions(cog=CogOptions()), "cogOutput"),
        (TIFF, spec(1, "uint8"), EncodeOptions(cog=CogOptions(block_width=100)), "multiple of 16"),
        (TIFF, spec(1, "uint8"), EncodeOptions(cog=CogOptions(resampling="max")), "average_magphase"),
        (TIFF, spec(1, "uint8"), EncodeOptions(cog=CogOptions(overview_levels=(1,))), "overviewLevels"),
        (TIFF, spec(1, "uint8"), EncodeOptions(cog=CogOptions(overview_min_size=0)), "overviewMinSize"),
    ],
)
def test_what_a_format_does_not_take_is_said_beforehand(
    tmp_path: Path, media_type: str, of: Spec, options: EncodeOptions | None, words: str
) -> None:
    with pytest.raises(RequestInvalid) as caught:
        check_image(media_type, of, options)
    assert words in caught.value.message
    with pytest.raises(RequestInvalid):
        open_writer(media_type, tmp_path / "a", grid(9, 9), of, options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("media_type", "options"), [(TIFF, None), (TIFF, EncodeOptions(cog=CogOptions())), (PNG, None)]
)
def test_an_image_given_up_leaves_nothing(tmp_path: Path, media_type: str, options: EncodeOptions | None) -> None:
    of = spec(1, "uint8")

    def give_up() -> None:
        with open_writer(media_type, tmp_path / "a", grid(500, 500), of, options) as writer:
            writer.write(image(of, 300, 500), 0)
            raise KeyError("given up")

    with pytest.raises(KeyError):
        give_up()
    assert not list(tmp_path.iterdir())


def test_missing_rows_are_no_image(tmp_path: Path) -> None:
    of = spec(1, "uint8")
    writer = open_writer(TIFF, tmp_path / "a.tif", grid(500, 500), of)
    writer.write(image(of, 300, 500), 0)
    with pytest.raises(ValueError, match="does not follow"):
        writer.write(image(of, 10, 500), 301)
    with pytest.raises(ValueError, match="300 of 500 rows"):
        writer.close()
    assert not list(tmp_path.iterdir())


def test_overviews_double_until_the_image_is_no_larger_than_a_block() -> None:
    assert overview_levels(2004, 2004, CogOptions()) == [2, 4, 8]
    assert overview_levels(256, 256, CogOptions()) == []
    assert overview_levels(257, 10, CogOptions()) == [2]
    assert overview_levels(2004, 2004, CogOptions(block_width=1024, block_height=512)) == [2, 4]
    assert overview_levels(100, 100, CogOptions(overview_levels=(4, 2, 200))) == [2, 4]


def test_what_a_request_says_of_its_cogs() -> None:
    assert CogOptions.of(CogParameters()) == CogOptions()
    said = CogParameters.model_validate(
        {"overviewLevels": [2, 4], "resamplingAlgorithm": "mode", "blockxsize": 512, "usePredictor": False}
    )
    assert CogOptions.of(said) == CogOptions((2, 4), None, "mode", 512, 256, False)
