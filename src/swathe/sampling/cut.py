"""Cuts the cells of one large feature along the blocks of its sources, so that all cells of a block can be taken together.

Geometry only, and no memory for each cell: runs are cut where they pass from one block into the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from numba import njit

from swathe.grids.cover import Cells
from swathe.grids.sample_grid import SampleGrids
from swathe.rasters.source import SourceGrid
from swathe.sampling.locate import Runner, block_numbers, in_turn

Runs = npt.NDArray[np.int32]
Integers = npt.NDArray[np.int64]

# Blocks are found for so many rows and columns of cells at once; small, so that positions in another CRS lie on a polynomial.
_TILE_ROWS, _TILE_COLUMNS = 128, 1024


@dataclass(frozen=True)
class BlockGrid:
    """A raster's pixels and the size of its blocks."""

    grid: SourceGrid
    block_width: int
    block_height: int

    @property
    def across(self) -> int:
        """Blocks side by side."""
        return -(-self.grid.width // self.block_width)

    @property
    def count(self) -> int:
        """All blocks."""
        return self.across * -(-self.grid.height // self.block_height)


@dataclass(frozen=True)
class Pieces:
    """A feature's cells in pieces, each in one block, those of a block side by side and blocks by row and column.

    `runs` and `run_starts` (pieces + 1) are as in `Cells`; `starts` (pieces + 1) int64 are in cells. `block` and
    `block_row` (pieces) grow with the piece; equal numbers are one block, and one row of blocks.
    """

    runs: Runs
    run_starts: Integers
    starts: Integers
    block: Integers
    block_row: Integers

    def __len__(self) -> int:
        return len(self.block)

    def cells(self, first: int, last: int) -> Cells:
        """Pieces `first` to `last` (excluded) as if they were features, without weights."""
        begin, end = int(self.run_starts[first]), int(self.run_starts[last])
        return Cells(
            self.runs[begin:end],
            self.run_starts[first : last + 1] - begin,
            self.starts[first : last + 1] - self.starts[first],
            None,
        )


def cut_cells(
    runs: Runs, grid: SampleGrids, blocks: Sequence[BlockGrid], piece_cells: int, *, run: Runner = in_turn
) -> Pieces:
    """Pieces of about `piece_cells` cells at most.

    Args:
        runs: of the feature, by row; grid: the feature's alone.
        blocks: the rasters in whose blocks the cells are put; a cell belongs to the first that it lies in. Cells beyond
            all of them are put together by rows.
        run: does the work for some rows, and for others.
    """
    found: dict[int, list[_Fragments]] = {}

    def cut(number: int, tiles: Cells, grids: SampleGrids) -> None:
        found[number] = list(_cut_tiles(tiles, grids, grid, blocks))

    run(partial(cut, number, tiles, grids) for number, (tiles, grids) in enumerate(_tiles(runs, grid)))
    nothing = np.zeros((0, 3), np.int32), np.zeros(0, np.int64), np.zeros(0, np.int64)
    parts = [nothing, *(fragments for number in sorted(found) for fragments in found[number])]
    joined, key, row = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(key, kind="stable")
    return _pieces(joined[order], key[order], row[order], piece_cells)


_Fragments = tuple[Runs, Integers, Integers]


def _cut_tiles(
    tiles: Cells, grids: SampleGrids, grid: SampleGrids, blocks: Sequence[BlockGrid]
) -> Iterator[_Fragments]:
    """Runs of the feature, each in one block, with a number for the block and one for its row of blocks."""
    left = tiles
    before = rows_before = 0
    for source in blocks:
        numbers = block_numbers(left, grids, source.grid, source.block_width, source.block_height)
        parts, tile_of, number = _cut_runs(left.runs, left.run_starts, numbers)
        inside = number >= 0
        yield (
            _in_feature(parts[inside], tile_of[inside], grids, grid),
            before + number[inside],
            rows_before + number[inside] // source.across,
        )
        left = _of_tiles(parts[~inside], tile_of[~inside], len(grids))
        before += source.count
        rows_before += source.count // source.across
    beyond = _in_feature(left.runs, np.repeat(np.arange(len(grids)), np.diff(left.run_starts)), grids, grid)
    rows = beyond[:, 0].astype(np.int64) // _TILE_ROWS
    yield beyond, before + rows, rows_before + rows


def _pieces(runs: Runs, key: Integers, row: Integers, piece_cells: int) -> Pieces:
    upto = np.concatenate([[0], np.cumsum(runs[:, 2].astype(np.int64) - runs[:, 1])])
    first_of_block = (
        np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])) if len(key) else np.zeros(0, np.int64)
    )
    in_block = upto[:-1] - np.repeat(upto[first_of_block], np.diff(np.append(first_of_block, len(key))))
    number = in_block // piece_cells
    begins = np.ones(len(key), np.bool_)
    begins[1:] = (key[1:] != key[:-1]) | (number[1:] != number[:-1])
    first = np.flatnonzero(begins)
    run_starts = np.append(first, len(key)).astype(np.int64)
    return Pieces(runs, run_starts, upto[run_starts], key[first], row[first])


def _tiles(runs: Runs, grid: SampleGrids) -> Iterator[tuple[Cells, SampleGrids]]:
    """The cells of some rows after the other, cut into tiles that have grids of their own."""
    width, height = int(grid.width[0]), int(grid.height[0])
    columns = np.arange(0, width, _TILE_COLUMNS)
    for top in range(0, height, _TILE_ROWS):
        begin, end = np.searchsorted(runs[:, 0], [top, top + _TILE_ROWS]).tolist()
        if begin == end:
            continue
        band = runs[begin:end] - np.array([top, 0, 0], np.int32)
        parts, tile_of = [], []
        for number, left in enumerate(columns.tolist()):
            clipped = np.clip(band[:, 1:] - left, 0, _TILE_COLUMNS)
            some = clipped[:, 0] < clipped[:, 1]
            parts.append(np.column_stack([band[some, 0], clipped[some]]).astype(np.int32))
            tile_of.append(np.full(len(parts[-1]), number))
        tiles = _of_tiles(np.concatenate(parts), np.concatenate(tile_of), len(columns))
        count = len(columns)
        yield (
            tiles,
            SampleGrids(
                grid.epsg,
                grid.x0[0] + columns * grid.dx[0],
                np.full(count, grid.y0[0] - top * grid.dy[0]),
                np.full(count, grid.dx[0]),
                np.full(count, grid.dy[0]),
                np.full(count, _TILE_COLUMNS, np.int64),
                np.full(count, _TILE_ROWS, np.int64),
            ),
        )


def _of_tiles(runs: Runs, tile_of: Integers, tiles: int) -> Cells:
    """Runs that lie by tile as cells."""
    run_starts = np.searchsorted(tile_of, np.arange(tiles + 1)).astype(np.int64)
    before = np.concatenate([[0], np.cumsum(runs[:, 2].astype(np.int64) - runs[:, 1])])
    return Cells(runs, run_starts, before[run_starts], None)


def _in_feature(runs: Runs, tile_of: Integers, tiles: SampleGrids, grid: SampleGrids) -> Runs:
    """Runs of tiles as runs of the feature."""
    left = np.round((tiles.x0 - grid.x0[0]) / grid.dx[0]).astype(np.int32)[tile_of]
    top = np.round((grid.y0[0] - tiles.y0) / grid.dy[0]).astype(np.int32)[tile_of]
    return np.asarray(runs + np.stack([top, left, left], axis=1))


def _cut_runs(runs: Runs, run_starts: Integers, numbers: npt.NDArray[np.int32]) -> tuple[Runs, Integers, Integers]:
    """Runs cut where the block changes; which feature (tile) and which block each is of."""
    parts, run_of, number = _cut(runs, numbers)
    return parts, np.searchsorted(run_starts, run_of, side="right") - 1, number


@njit(cache=True, nogil=True)
def _cut(runs, numbers):  # type: ignore[no-untyped-def]
    count = 0
    cell = 0
    for r in range(len(runs)):
        length = runs[r, 2] - runs[r, 1]
        count += 1
        for i in range(cell + 1, cell + length):
            if numbers[i] != numbers[i - 1]:
                count += 1
        cell += length
    parts = np.empty((count, 3), np.int32)
    run_of = np.empty(count, np.int64)
    number = np.empty(count, np.int64)
    k = 0
    cell = 0
    for r in range(len(runs)):
        begin = runs[r, 1]
        for column in range(runs[r, 1], runs[r, 2]):
            if column + 1 == runs[r, 2] or numbers[cell + 1] != numbers[cell]:
                parts[k, 0], parts[k, 1], parts[k, 2] = runs[r, 0], begin, column + 1
                run_of[k] = r
                number[k] = numbers[cell]
                begin = column + 1
                k += 1
            cell += 1
    return parts, run_of, number


def take_spans(runs: Runs, values: npt.NDArray[np.float64], wanted: Runs) -> npt.NDArray[np.float64]:
    """The values (cells) of some runs out of those of whole rows.

    Args:
        runs: by row and column, `values` has their cells side by side; wanted: parts of them, in any order.
    """
    key = (runs[:, 0].astype(np.int64) << 32) + runs[:, 1]
    at = np.searchsorted(key, (wanted[:, 0].astype(np.int64) << 32) + wanted[:, 1], side="right") - 1
    before = np.concatenate([[0], np.cumsum(runs[:, 2].astype(np.int64) - runs[:, 1])])
    begin = before[at] + wanted[:, 1] - runs[at, 1]
    lengths = wanted[:, 2].astype(np.int64) - wanted[:, 1]
    found = np.empty(int(lengths.sum()))
    _copy(values, begin, lengths, found)
    return found


@njit(cache=True, nogil=True)
def _copy(values, begin, lengths, found):  # type: ignore[no-untyped-def]
    at = 0
    for k in range(len(begin)):
        for i in range(begin[k], begin[k] + lengths[k]):
            found[at] = values[i]
            at += 1
