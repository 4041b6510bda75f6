"""How an image is cut into strips of rows, and those into windows that go through the script side by side."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from swathe.grids.raster_grid import RasterGrid, Window
from swathe.rasters.source import SourceGrid

_USUAL_CELLS = 1_500_000
_LEAST_ROWS, _MOST_ROWS = 256, 1_024
_LEAST_CELLS = 16_384
_LEAST_SIDE = 16
_STRIP_PART = 3 / 8
# In a file these take a gigabyte of many samples.
_SPILLED_CELLS = 1_250_000


@dataclass(frozen=True)
class BlockGrid:
    """The blocks of one level of a raster whose CRS is the image's."""

    source: SourceGrid
    block_width: int
    block_height: int


@dataclass(frozen=True)
class Needs:
    """What a cell takes in memory, in bytes: of a window while it is computed, with all its samples or with one of them
    where the others are kept elsewhere; of a strip until it is handed on."""

    window_bytes: float
    sample_bytes: float
    strip_bytes: float


@dataclass(frozen=True)
class StripPlan:
    """Rows that are handed on together, and the windows they are made of."""

    rows: tuple[int, int]
    windows: tuple[Window, ...]


def plan_strips(
    grid: RasterGrid, blocks: Sequence[BlockGrid], needs: Needs, *, most_bytes: int, lanes: int, readers: int
) -> tuple[StripPlan, ...]:
    """Strips of the image from top to bottom.

    Half of `most_bytes` is for the windows that are computed at a time, three eighths for strips. Windows are cut along the
    largest of the `blocks`, so that no block is in two; without any they are as large as may be. One that has too many
    samples for memory `is_spilled`.

    Args:
        lanes: how many windows are computed side by side.
        readers: how many samples are read side by side.
    """
    half = most_bytes / 2
    most_cells = max(_LEAST_CELLS, int(half / lanes / needs.window_bytes))
    spilled_cells = min(_SPILLED_CELLS, int(half / readers / needs.sample_bytes))
    most_rows = max(_LEAST_SIDE, int(most_bytes * _STRIP_PART / (grid.width * needs.strip_bytes)))
    usual_rows = max(_LEAST_SIDE, most_rows // 2)
    if blocks:
        chosen = max(blocks, key=lambda of: _cells_of(grid, of))
        row_edges = _borders(grid, chosen, rows=True)
        column_edges = _borders(grid, chosen, rows=False)
        block_rows, block_columns = _largest_step(row_edges), _largest_step(column_edges)
        rows_at_once = min(max(min(_LEAST_ROWS, usual_rows), block_rows), most_rows)
        usual = max(block_rows * block_columns, _USUAL_CELLS)
        if most_cells < block_columns * rows_at_once <= spilled_cells:
            most_cells = usual = block_columns * rows_at_once
        if block_columns * rows_at_once > most_cells:  # a block is too large: a part of its rows at a time
            rows_at_once = max(_LEAST_SIDE, most_cells // block_columns)
    else:
        row_edges, column_edges = [0, grid.height], [0, grid.width]
        if most_cells < _USUAL_CELLS:
            most_cells = max(most_cells, spilled_cells)
        block_columns, usual = 1, most_cells
        even = lanes * most_cells // grid.width
        rows_at_once = min(max(even, math.isqrt(most_cells)), usual_rows, _MOST_ROWS)
    columns_at_once = max(1, min(most_cells, usual) // min(rows_at_once, grid.height))
    columns_at_once = min(columns_at_once, max(block_columns, math.ceil(grid.width / lanes)))
    rows = _cut(row_edges, rows_at_once)
    columns = _cut(column_edges, columns_at_once)
    return tuple(
        StripPlan((top, bottom), tuple(Window(top, bottom, left, right) for left, right in _pairs(columns)))
        for top, bottom in _pairs(rows)
    )


def is_spilled(window: Window, needs: Needs, *, most_bytes: int, lanes: int) -> bool:
    """Whether all samples of a window are too much for memory."""
    return window.cells > _LEAST_CELLS and window.cells * needs.window_bytes > most_bytes / 2 / lanes


def strips_at_once(plans: Sequence[StripPlan], grid: RasterGrid, needs: Needs, most_bytes: int) -> int:
    """How many strips there may be: the next one is computed while one is looked at, where there is room for both."""
    rows = max(last - first for first, last in (plan.rows for plan in plans))
    return 2 if 2 * rows * grid.width * needs.strip_bytes <= most_bytes * _STRIP_PART else 1


def _cells_of(grid: RasterGrid, blocks: BlockGrid) -> float:
    width, height = blocks.source.pixel_size
    return blocks.block_width * width / grid.dx * blocks.block_height * height / grid.dy


def _borders(grid: RasterGrid, blocks: BlockGrid, *, rows: bool) -> list[int]:
    """The first cell of each block of rows or columns, 0 and the number of cells included."""
    a, _, c, _, e, f = blocks.source.transform
    if rows:
        step, start, count = -e * blocks.block_height / grid.dy, (grid.y0 - f) / grid.dy, grid.height
        most = -(-blocks.source.height // blocks.block_height)
    else:
        step, start, count = a * blocks.block_width / grid.dx, (c - grid.x0) / grid.dx, grid.width
        most = -(-blocks.source.width // blocks.block_width)
    first = max(0, math.floor(-start / step))
    last = min(most, math.ceil((count - start) / step))
    # a cell belongs to the block that its centre lies in, one on the border to the block behind it
    found = {math.ceil(round(start + number * step - 0.5, 6)) for number in range(first, last + 1)}
    return [0, *sorted(edge for edge in found if 0 < edge < count), count]


def _largest_step(edges: Sequence[int]) -> int:
    return max(after - before for before, after in _pairs(edges))


def _cut(edges: Sequence[int], most: int) -> list[int]:
    """Some of the edges, between which at most `most` lie; where two neighbours are further apart, more even ones."""
    found = [edges[0]]
    for before, after in _pairs(edges):
        if after - found[-1] > most and before > found[-1]:
            found.append(before)
        if after - found[-1] > most:
            pieces = math.ceil((after - found[-1]) / most)
            start = found[-1]
            found.extend(start + (after - start) * piece // pieces for piece in range(1, pieces))
    found.append(edges[-1])
    return found


def _pairs(edges: Sequence[int]) -> list[tuple[int, int]]:
    return list(itertools.pairwise(edges))
