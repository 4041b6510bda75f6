"""A raster as a value: its grid, its blocks, what its numbers are. Nothing here reads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

Transform = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class SourceGrid:
    """A raster's own pixels.

    `transform` is `(a, b, c, d, e, f)` with `x = a * column + b * row + c` and `y = d * column + e * row + f` in units
    of the CRS; whole columns and rows are pixel corners, so a pixel's centre is at `column + 0.5`, `row + 0.5`.
    """

    epsg: int
    transform: Transform
    width: int
    height: int

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.epsg, self.transform, self.width, self.height))

    def to_crs(self, column: float, row: float) -> tuple[float, float]:
        """The place of a column and row, which need not be whole."""
        a, b, c, d, e, f = self.transform
        return a * column + b * row + c, d * column + e * row + f

    def to_pixel(self, x: float, y: float) -> tuple[float, float]:
        """Column and row of a place, fractions kept."""
        a, b, c, d, e, f = self.inverse
        return a * x + b * y + c, d * x + e * y + f

    @cached_property
    def inverse(self) -> Transform:
        """The transform from the CRS to columns and rows."""
        a, b, c, d, e, f = self.transform
        if b == 0 and d == 0:  # north up: no rounding beyond that of one division
            return 1 / a, 0.0, -c / a, 0.0, 1 / e, -f / e
        determinant = a * e - b * d
        ra, rb, rd, re = e / determinant, -b / determinant, -d / determinant, a / determinant
        return ra, rb, -c * ra - f * rb, rd, re, -c * rd - f * re

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north in units of the CRS."""
        corners = [self.to_crs(column, row) for column in (0, self.width) for row in (0, self.height)]
        xs, ys = [x for x, _ in corners], [y for _, y in corners]
        return min(xs), min(ys), max(xs), max(ys)

    @property
    def is_north_up(self) -> bool:
        """Rows run along x, and y falls from row to row."""
        a, b, _, d, e, _ = self.transform
        return a > 0 and e < 0 and b == 0 and d == 0

    @cached_property
    def pixel_size(self) -> tuple[float, float]:
        """Width and height of a pixel in units of the CRS, both positive."""
        a, b, _, d, e, _ = self.transform
        return math.hypot(a, d), math.hypot(b, e)

    def reduced(self, width: int, height: int) -> SourceGrid:
        """The grid of an overview: the same extent in fewer pixels."""
        a, b, c, d, e, f = self.transform
        by_x, by_y = self.width / width, self.height / height
        return SourceGrid(self.epsg, (a * by_x, b * by_y, c, d * by_x, e * by_y, f), width, height)


@dataclass(frozen=True)
class OverviewInfo:
    """A reduced image of the whole raster, and its blocks."""

    width: int
    height: int
    block_width: int
    block_height: int


@dataclass(frozen=True)
class RasterInfo:
    """What a raster says of itself.

    `dtype` is NumPy's name, in the machine's byte order. `nodata` is the file's, None where it declares none; a value
    is `stored * scales[band] + offsets[band]` by the file's own metadata (1 and 0 where it says nothing).
    """

    href: str
    grid: SourceGrid
    dtype: str
    band_count: int
    nodata: float | None
    block_width: int
    block_height: int
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    overviews: tuple[OverviewInfo, ...] = ()

    def level(self, level: int) -> OverviewInfo:
        """Size and blocks of a level: 0 is the raster itself, n its nth overview."""
        return self._levels[level][0]

    def level_grid(self, level: int) -> SourceGrid:
        """The grid of a level's pixels."""
        return self._levels[level][1]

    @cached_property
    def _levels(self) -> tuple[tuple[OverviewInfo, SourceGrid], ...]:
        own = OverviewInfo(self.grid.width, self.grid.height, self.block_width, self.block_height)
        reduced = ((level, self.grid.reduced(level.width, level.height)) for level in self.overviews)
        return (own, self.grid), *reduced

    def block_counts(self, level: int = 0) -> tuple[int, int]:
        """How many rows and columns of blocks a level has."""
        of = self.level(level)
        return -(-of.height // of.block_height), -(-of.width // of.block_width)

    def blocks(self, level: int = 0) -> Iterator[tuple[int, int]]:
        """All blocks of a level, row by row."""
        rows, columns = self.block_counts(level)
        return ((row, column) for row in range(rows) for column in range(columns))

    def block_shape(self, block: tuple[int, int], level: int = 0) -> tuple[int, int]:
        """Height and width in pixels of a block, cut to the raster's true extent at its edges."""
        of = self.level(level)
        row, column = block
        height = min(of.block_height, of.height - row * of.block_height)
        return height, min(of.block_width, of.width - column * of.block_width)
