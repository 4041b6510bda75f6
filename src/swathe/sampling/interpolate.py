"""Values of cells between a source's pixels: bilinear from 2 x 2, bicubic (a = -1/2, Keys 1981) from 4 x 4 of them.

A cell has data where the pixel that its centre falls in has. Pixels without data, and those beyond the source, take no
part: the bilinear weights of the others are scaled to 1, and a bicubic one that lacks any of its pixels is bilinear.

Example: between 10 and 20, a quarter of a pixel from the first, bilinear gives 12.5.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from swathe.model.common import Resampling
from swathe.sampling.places import Places

MARGIN_PX = {Resampling.NEAREST: 0, Resampling.BILINEAR: 1, Resampling.BICUBIC: 2}
"""How far from the pixel that a cell's centre falls in others are needed."""

Box = tuple[int, int, int, int]
"""Rows and columns of a source: first row, row behind the last, first column, column behind the last."""


def needed_box(
    places: Places, wanted: npt.NDArray[np.uint8] | None, height: int, width: int, margin_px: int
) -> Box | None:
    """The pixels of a source of `height` x `width` around the wanted cells; None where none lies in the source."""
    columns, rows = places.columns, places.rows
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    if wanted is not None:
        inside &= wanted.reshape(inside.shape) != 0
    if not inside.any():
        return None
    if inside.all():
        x0, x1, y0, y1 = columns.min(), columns.max(), rows.min(), rows.max()
    else:
        x0, x1 = columns.min(where=inside, initial=np.inf), columns.max(where=inside, initial=-np.inf)
        y0, y1 = rows.min(where=inside, initial=np.inf), rows.max(where=inside, initial=-np.inf)
    return (
        max(0, int(y0) - margin_px),
        min(height, int(y1) + 1 + margin_px),
        max(0, int(x0) - margin_px),
        min(width, int(x1) + 1 + margin_px),
    )


def interpolate(
    pixels: npt.NDArray[Any],
    has_data: npt.NDArray[np.uint8],
    box: Box,
    places: Places,
    method: Resampling,
    dtype: npt.DTypeLike,
) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
    """Values (cells) of `dtype` and where they are data, from the pixels of a box of the source.

    Numbers of whole-number sources stay within what their type can hold. Cells outside the box have no data.
    """
    values = np.zeros(places.columns.size, dtype)
    mask = np.zeros(places.columns.size, np.uint8)
    low, high = -np.inf, np.inf
    if pixels.dtype.kind in "iu":
        limits = np.iinfo(pixels.dtype)
        low, high = float(limits.min), float(limits.max)
    _interpolate(
        pixels, has_data, box[0], box[2], places.columns, places.rows, method is Resampling.BICUBIC, low, high,
        values, mask,
    )  # fmt: skip
    return values, mask


@njit(cache=True, nogil=True)
def cubic_weight(distance):  # type: ignore[no-untyped-def]
    t = abs(distance)
    if t < 1.0:
        return (1.5 * t - 2.5) * t * t + 1.0
    if t < 2.0:
        return ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0
    return 0.0


@njit(cache=True, nogil=True)
def _interpolate(pixels, has_data, top, left, columns, rows, cubic, low, high, values, mask):  # type: ignore[no-untyped-def]
    height, width = pixels.shape
    cell = -1
    for r in range(columns.shape[0]):
        for c in range(columns.shape[1]):
            cell += 1
            x = columns[r, c] - left
            y = rows[r, c] - top
            if not (x >= 0.0 and y >= 0.0 and x < width and y < height):
                continue
            if not has_data[int(y), int(x)]:
                continue
            x -= 0.5
            y -= 0.5
            ix = int(np.floor(x))
            iy = int(np.floor(y))
            fx = x - ix
            fy = y - iy
            mask[cell] = 1
            if cubic:
                total = 0.0
                whole = True
                for j in range(-1, 3):
                    for i in range(-1, 3):
                        weight = cubic_weight(fx - i) * cubic_weight(fy - j)
                        if weight == 0.0:
                            continue
                        if not (0 <= iy + j < height and 0 <= ix + i < width) or not has_data[iy + j, ix + i]:
                            whole = False
                        else:
                            total += weight * np.float64(pixels[iy + j, ix + i])
                if whole:
                    values[cell] = min(max(total, low), high)
                    continue
            total = 0.0
            weights = 0.0
            for j in range(2):
                for i in range(2):
                    if 0 <= iy + j < height and 0 <= ix + i < width and has_data[iy + j, ix + i]:
                        weight = (fx if i else 1.0 - fx) * (fy if j else 1.0 - fy)
                        if weight != 0.0:
                            total += weight * np.float64(pixels[iy + j, ix + i])
                            weights += weight
            values[cell] = total / weights
