"""The grid of cells at which a feature is sampled.

The hosted service divides the feature's bounding box, in the request's CRS, into W x H equal cells whatever the source's
own grid is: `W = round((xmax - xmin) / resx)`, at least 1, halves rounded up; the cells are stretched to fill the box.
Our own `grid: source` takes the source's pixels instead: the smallest window of whole pixels around the polygon.

Example: a box 33.2 m wide at 10 m has 3 cells, each 11.07 m wide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# A window's border this close to a pixel's border, in pixels, is that border: rounding, not a further pixel.
_SNAP_PX = 1e-6
_MOST_CELLS = 2**31 - 1


@dataclass(frozen=True)
class SampleGrids:
    """Grids of a run of features, all in one CRS; every array has one entry per feature.

    `x0`, `y0` is the upper left corner, `dx`, `dy` the size of a cell in units of the CRS (both positive for a source
    with north up; the centre of cell (row, col) is `x0 + (col + 0.5) * dx`, `y0 - (row + 0.5) * dy`), `width` and
    `height` are counts of cells.
    """

    epsg: int
    x0: Floats
    y0: Floats
    dx: Floats
    dy: Floats
    width: Ints
    height: Ints

    def __len__(self) -> int:
        return len(self.width)

    def take(self, which: slice | Ints) -> SampleGrids:
        """The grids at some positions."""
        return SampleGrids(
            self.epsg, self.x0[which], self.y0[which], self.dx[which], self.dy[which], self.width[which], self.height[which]
        )  # fmt: skip

    @property
    def sample_count(self) -> Ints:
        """Cells of each box, those outside the polygon included."""
        return self.width * self.height


def box_size(extent: float, resolution: float) -> int:
    """Cells along one side of a box of `extent` at `resolution`, both in units of the CRS.

    >>> box_size(33.2, 10), box_size(35.0, 10), box_size(3.0, 10)
    (3, 4, 1)
    """
    return max(1, math.floor(min(extent / resolution + 0.5, _MOST_CELLS)))


def feature_grids(
    bounds: Floats,
    epsg: int,
    *,
    resolution: tuple[float, float] | None = None,
    size: tuple[int, int] | None = None,
) -> SampleGrids:
    """Grids of the hosted service for bounding boxes.

    Args:
        bounds: (n, 4) xmin, ymin, xmax, ymax in the CRS `epsg`.
        resolution: wished size of a cell (resx, resy), in units of the CRS.
        size: (width, height) in cells, in place of a resolution.
    """
    span_x = bounds[:, 2] - bounds[:, 0]
    span_y = bounds[:, 3] - bounds[:, 1]
    if resolution is not None:
        width = np.clip(np.floor(span_x / resolution[0] + 0.5), 1, _MOST_CELLS).astype(np.int64)
        height = np.clip(np.floor(span_y / resolution[1] + 0.5), 1, _MOST_CELLS).astype(np.int64)
    elif size is not None:
        width = np.full(len(bounds), size[0], np.int64)
        height = np.full(len(bounds), size[1], np.int64)
    else:
        raise TypeError("feature_grids needs a resolution or a size")
    return SampleGrids(epsg, bounds[:, 0].copy(), bounds[:, 3].copy(), span_x / width, span_y / height, width, height)


def source_grids(bounds: Floats, epsg: int, transform: tuple[float, float, float, float, float, float]) -> SampleGrids:
    """Windows of whole source pixels around bounding boxes.

    Args:
        bounds: (n, 4) xmin, ymin, xmax, ymax in the source's CRS `epsg`.
        transform: of the source, north up: x = a * col + c, y = e * row + f with e < 0.
    """
    a, _, c, _, e, f = transform
    left = _floor((bounds[:, 0] - c) / a)
    right = _ceil((bounds[:, 2] - c) / a)
    top = _floor((bounds[:, 3] - f) / e)
    bottom = _ceil((bounds[:, 1] - f) / e)
    count = len(bounds)
    return SampleGrids(
        epsg,
        c + a * left,
        f + e * top,
        np.full(count, a),
        np.full(count, -e),
        np.maximum(1, right - left).astype(np.int64),
        np.maximum(1, bottom - top).astype(np.int64),
    )


def _floor(values: Floats) -> Floats:
    nearest = np.round(values)
    return np.where(np.abs(values - nearest) < _SNAP_PX, nearest, np.floor(values))


def _ceil(values: Floats) -> Floats:
    nearest = np.round(values)
    return np.where(np.abs(values - nearest) < _SNAP_PX, nearest, np.ceil(values))
