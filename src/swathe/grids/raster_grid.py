"""The cells of an image: a regular grid in any CRS, its windows, and the lattice that neighbouring grids share.

A cell's centre is worked out from its number on the lattice of the whole CRS, not from the grid's own corner. Two grids
of one cell size that overlap therefore have the very same numbers for a cell that is in both, whatever their corners.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from swathe.grids.sample_grid import SampleGrids

_QUANTUM = 2.0**20
"""Parts of a cell to which a corner counts: what is finer is rounding of whoever wrote the corner down."""


@dataclass(frozen=True)
class Window:
    """Rows and columns of a grid: the first, and the one behind the last."""

    first_row: int
    last_row: int
    first_column: int
    last_column: int

    @property
    def height(self) -> int:
        return self.last_row - self.first_row

    @property
    def width(self) -> int:
        return self.last_column - self.first_column

    @property
    def cells(self) -> int:
        return self.height * self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to cut an image of the whole grid."""
        return slice(self.first_row, self.last_row), slice(self.first_column, self.last_column)


@dataclass(frozen=True)
class RasterGrid:
    """`width` x `height` cells of `dx` x `dy` units of the CRS, north up; `x0`, `y0` is the upper left corner."""

    epsg: int
    x0: float
    y0: float
    dx: float
    dy: float
    width: int
    height: int

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        """`(a, b, c, d, e, f)` with `x = a * column + b * row + c` and `y = d * column + e * row + f`."""
        return self.dx, 0.0, self.x0, 0.0, -self.dy, self.y0

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north in units of the CRS."""
        return self.x0, self.y0 - self.dy * self.height, self.x0 + self.dx * self.width, self.y0

    @property
    def cells(self) -> int:
        return self.width * self.height

    @property
    def whole(self) -> Window:
        """All rows and columns."""
        return Window(0, self.height, 0, self.width)

    def rows(self, first: int, last: int) -> RasterGrid:
        """Its rows `first` to `last` (excluded)."""
        return replace(self, y0=self.y0 - first * self.dy, height=last - first)

    @property
    def as_sample_grid(self) -> SampleGrids:
        """The grid as that of a single feature."""
        x0, y0, dx, dy = (np.array([value], np.float64) for value in (self.x0, self.y0, self.dx, self.dy))
        return SampleGrids(self.epsg, x0, y0, dx, dy, np.array([self.width]), np.array([self.height]))

    @property
    def lattice(self) -> Lattice:
        """The grid's place on the lattice of its CRS."""
        column, phase_x = _split(self.x0 / self.dx)
        row, phase_y = _split(-self.y0 / self.dy)
        return Lattice(self.dx, self.dy, column, row, phase_x, phase_y)


@dataclass(frozen=True)
class Lattice:
    """Numbers of a grid's first column and row, counted from the CRS's origin to the right and down.

    The left border of column `n` is at `(n + phase_x) * dx`, the upper border of row `n` at `-(n + phase_y) * dy`.
    """

    dx: float
    dy: float
    column: int
    row: int
    phase_x: float
    phase_y: float

    def x(self, columns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """x of places in columns of the lattice, fractions included."""
        return np.asarray((columns + self.phase_x) * self.dx)

    def y(self, rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """y of places in rows of the lattice."""
        return np.asarray(-(rows + self.phase_y) * self.dy)


def _split(place: float) -> tuple[int, float]:
    rounded = math.floor(place * _QUANTUM + 0.5) / _QUANTUM
    whole = math.floor(rounded)
    return whole, rounded - whole
