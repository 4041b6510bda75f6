"""What alpha and background make of a script's output: small images, cell by cell."""

from __future__ import annotations

import numpy as np
import pytest

from swathe.engine.raster import RasterOutputSpec, Strip
from swathe.jobs.pictures import Look
from swathe.jobs.pictures_now import Painter
from swathe.jobs.pictures_stack import lay_over, with_alpha
from swathe.model.errors import RequestInvalid

SEEN = np.array([[1, 0]], np.uint8)


def painted(bands: list[tuple[int, int]], media_type: str, look: Look, dtype: str = "uint8") -> list[list[int]]:
    """A picture of one row of two cells, of which the second has no data: its bands."""
    spec = RasterOutputSpec("default", len(bands), tuple(f"b{n}" for n in range(len(bands))), dtype, None)
    strip = Strip(0, {"default": np.array(bands, dtype)[:, None, :]}, SEEN)
    painter = Painter(spec, media_type, look)
    values = painter.paint(strip)
    assert (painter.spec.bands, len(painter.spec.band_names)) == (len(values), len(values))
    assert values.dtype == painter.spec.dtype == np.dtype(dtype)
    return values[:, 0].tolist()


GREY, RGB, RGBA = [(7, 8)], [(1, 2), (3, 4), (5, 6)], [(100, 2), (200, 4), (0, 6), (128, 255)]


@pytest.mark.parametrize(
    ("bands", "media_type", "look", "expected"),
    [
        (RGB, "image/png", Look(), [[1, 2], [3, 4], [5, 6]]),
        (RGB, "image/png", Look(transparent=True), [[1, 2], [3, 4], [5, 6], [255, 0]]),
        (GREY, "image/png", Look(transparent=True), [[7, 8], [255, 0]]),
        (RGBA, "image/png", Look(transparent=True), [list(band) for band in RGBA]),
        (RGB, "image/png", Look(transparent=True, background=(9, 9, 9)), [[1, 2], [3, 4], [5, 6], [255, 0]]),
        (RGB, "image/png", Look(background=(9, 10, 11)), [[1, 9], [3, 10], [5, 11]]),
        (RGBA, "image/png", Look(background=(9, 10, 11)), [[100, 9], [200, 10], [0, 11], [128, 255]]),
        (GREY, "image/jpeg", Look(background=(255, 0, 0)), [[7, 76]]),
        (RGB, "image/jpeg", Look(transparent=True), [[1, 2], [3, 4], [5, 6]]),
        # half of the colour, half of the white behind it; white alone where there is no data
        (RGBA, "image/jpeg", Look(), [[177, 255], [227, 255], [127, 255]]),
        (RGBA, "image/jpeg", Look(background=(0, 0, 0)), [[50, 0], [100, 0], [0, 0]]),
        (RGB, "image/tiff", Look(transparent=True), [[1, 2], [3, 4], [5, 6]]),
    ],
)
def test_cells_without_data(bands, media_type, look, expected):
    assert painted(bands, media_type, look) == expected


def test_alpha_is_full_in_the_type_of_the_output():
    assert painted(GREY, "image/png", Look(transparent=True), "uint16") == [[7, 8], [65535, 0]]


def test_a_background_goes_with_eight_bits():
    with pytest.raises(RequestInvalid) as error:
        painted(GREY, "image/tiff", Look(background=(1, 2, 3)), "float32")
    assert error.value.parameter == "BGCOLOR"


@pytest.mark.parametrize(
    ("below", "bands", "seen", "expected"),
    [
        ((10, 20, 30, 255), RGB, 1, (1, 3, 5, 255)),
        ((10, 20, 30, 255), RGB, 0, (10, 20, 30, 255)),
        ((10, 20, 30, 255), GREY, 1, (7, 7, 7, 255)),
        ((10, 20, 30, 255), [(7, 8), (0, 0)], 1, (10, 20, 30, 255)),
        ((0, 0, 0, 0), RGBA, 1, (100, 200, 0, 128)),
        ((0, 0, 0, 0), RGB, 0, (0, 0, 0, 0)),
        # 128/255 of the colour, the rest from below
        ((0, 100, 255, 255), RGBA, 1, (50, 150, 127, 255)),
        # half over half leaves a quarter see-through, and the upper one weighs twice as much
        ((0, 100, 255, 128), RGBA, 1, (67, 167, 85, 192)),
    ],
)
def test_layers_over_one_another(below, bands, seen, expected):
    mask = np.array([[seen]], np.uint8)
    values = np.array([[[band[0]]] for band in bands], np.uint8)
    laid = lay_over(np.array(below, np.uint8)[:, None, None], *with_alpha(values, mask))
    assert laid.dtype == np.uint8
    assert tuple(laid[:, 0, 0].tolist()) == expected
