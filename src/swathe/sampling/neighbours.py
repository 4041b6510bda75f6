"""The pixels around each cell, for values between them: found once per source grid, gathered from blocks like cells.

Cells of a feature share most of their neighbours, so these are numbered once for all of its cells, row by row, and gathered
into one flat array. A cell keeps where it lies and the number of its first neighbour in each row of 1, 2 or 4.
`interpolate` says what is made of them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from swathe.grids.cover import Cells
from swathe.grids.sample_grid import SampleGrids
from swathe.model.common import Resampling
from swathe.rasters.source import SourceGrid
from swathe.sampling.interpolate import cubic_weight
from swathe.sampling.locate import AFFINE, QUADRATIC, CellBlocks, Runner, in_turn, kernel_inputs, sort_by_block
from swathe.sampling.places import BORDER_PX

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.uint8]

# Pixels across that a cell takes part of.
_TAPS = {Resampling.NEAREST: 1, Resampling.BILINEAR: 2, Resampling.BICUBIC: 4}
# Cells whose neighbours are numbered together; a table of the pixels around them is made for it.
_NUMBERED_AT_ONCE = 262_144


@dataclass(frozen=True)
class CellNeighbours:
    """Where cells lie among a source's pixels, and which of these they need.

    `blocks` says where the neighbours lie, which number `count`, as if they were cells. `columns`, `rows` (cells) are
    places in fractions of pixels, -1 beyond the source. `taps` (features) is how many pixels across a cell takes: 1, 2, 4.
    `first` (cells, 1, 2 or 4) int32 has the number of the leftmost neighbour in each row from the upper one, negative where
    the source has no such row. `starts` (features + 1) are in cells, `own` (features + 1) in neighbours.
    """

    blocks: CellBlocks
    columns: Floats
    rows: Floats
    taps: Ints
    first: npt.NDArray[np.int32]
    starts: Ints
    own: Ints
    source_width: int

    @property
    def count(self) -> int:
        """How many neighbours there are."""
        return int(self.own[-1] - self.own[0])

    def within(self, begin: int, end: int) -> CellNeighbours:
        """The same for cells `begin` to `end` (excluded) alone, which are those of whole features."""
        a, b = (int(at) for at in np.searchsorted(self.starts, [begin, end]))
        before = int(self.own[a])
        return CellNeighbours(
            self.blocks.within(before, int(self.own[b])),
            self.columns[begin:end],
            self.rows[begin:end],
            self.taps[a:b],
            self.first[begin:end] - np.int32(before),
            self.starts[a : b + 1] - begin,
            self.own[a : b + 1] - before,
            self.source_width,
        )

    def needed_by(self, wanted: Mask) -> Mask:
        """(neighbours) uint8: 1 for those of a wanted cell; wanted is (cells) uint8."""
        found = np.zeros(self.count, np.uint8)
        _mark(self.columns, self.rows, self.taps, self.first, self.starts, self.source_width, wanted, found)
        return found

    def interpolate(
        self, pixels: npt.NDArray[Any], has_data: Mask, dtype: npt.DTypeLike
    ) -> tuple[npt.NDArray[Any], Mask]:
        """Values (cells) of `dtype` and where they are data, from the neighbours' values and where those are data.

        As `sampling.interpolate.interpolate` makes them of an image's box of pixels.
        """
        values = np.zeros(len(self.columns), dtype)
        mask = np.zeros(len(self.columns), np.uint8)
        low, high = -np.inf, np.inf
        if pixels.dtype.kind in "iu":
            limits = np.iinfo(pixels.dtype)
            low, high = float(limits.min), float(limits.max)
        _between(
            pixels, has_data, self.columns, self.rows, self.taps, self.first, self.starts, self.source_width, low, high,
            values, mask,
        )  # fmt: skip
        return values, mask


def find_neighbours(
    cells: Cells,
    grids: SampleGrids,
    source: SourceGrid,
    block_width: int,
    block_height: int,
    methods: npt.NDArray[np.object_],
    *,
    run: Runner = in_turn,
    pieces: int = 1,
) -> CellNeighbours:
    """The neighbours of the cells of features whose grids are `grids`, in the same order.

    Args:
        methods: of each feature, (features) `Resampling`.
        block_width, block_height: of the source's blocks, in pixels.
        run: does the work for each of `pieces` runs of features.
    """
    taps = np.array([_TAPS[method] for method in methods.tolist()], np.int64)
    columns, rows = np.full(cells.count, -1.0), np.full(cells.count, -1.0)
    first = np.full((cells.count, int(taps.max(initial=1))), -1, np.int32)
    blocks = block_width, block_height, -(-source.width // block_width)
    edges = np.linspace(0, len(grids), pieces + 1).astype(int).tolist()
    found: dict[int, tuple[Any, ...]] = {}

    def find(begin: int, end: int) -> None:
        told = kernel_inputs(cells, grids, source, begin, end)
        _find_places(*(*told, source.width, source.height, columns, rows))
        found[begin] = _number(
            cells.runs, cells.run_starts[begin : end + 1], cells.starts[begin : end + 1], columns, rows,
            taps[begin:end], source.width, source.height, *blocks, _NUMBERED_AT_ONCE, first,
        )  # fmt: skip

    run(partial(find, begin, end) for begin, end in itertools.pairwise(edges))
    own = np.zeros(len(grids) + 1, np.int64)
    parts = []
    before = 0
    for begin, end in itertools.pairwise(edges):
        if begin == end:
            continue
        block_of, offset_of, ends = found[begin]
        a, b = int(cells.starts[begin]), int(cells.starts[end])
        part = first[a:b]
        part[part >= 0] += before
        own[begin + 1 : end + 1] = before + ends
        before += len(block_of)
        parts.append((block_of, offset_of))
    block_of = np.concatenate([np.zeros(0, np.int32), *(part for part, _ in parts)])
    offset_of = np.concatenate([np.zeros(0, np.uint32), *(part for _, part in parts)])
    down = -(-source.height // block_height)
    placed = sort_by_block(block_of, offset_of, blocks[2], down)
    return CellNeighbours(placed, columns, rows, taps, first, cells.starts, own, source.width)


@njit(cache=True, nogil=True)
def _find_places(  # type: ignore[no-untyped-def]
    runs, run_starts, starts, x0, y0, dx, dy, width, height,
    mode, polynomials, exact, exact_starts, inverse, north_up, pixel_width, pixel_height,
    source_width, source_height, columns, rows,
):  # fmt: skip
    """Writes where every cell of some features lies, in fractions of pixels; those beyond the source are left alone."""
    for f in range(len(run_starts) - 1):
        cell = starts[f]
        k = exact_starts[f]
        p = polynomials[f]
        for r in range(run_starts[f], run_starts[f + 1]):
            y = y0[f] - (runs[r, 0] + 0.5) * dy[f]
            v = 2.0 * (runs[r, 0] + 0.5) / height[f] - 1.0
            for column in range(runs[r, 1], runs[r, 2]):
                if mode[f] == AFFINE:
                    x = x0[f] + (column + 0.5) * dx[f]
                    yy = y
                elif mode[f] == QUADRATIC:
                    u = 2.0 * (column + 0.5) / width[f] - 1.0
                    q = p[0]
                    x = q[0] + v * (q[3] + v * q[6]) + u * (
                        q[1] + v * (q[4] + v * q[7]) + u * (q[2] + v * (q[5] + v * q[8]))
                    )  # fmt: skip
                    q = p[1]
                    yy = q[0] + v * (q[3] + v * q[6]) + u * (
                        q[1] + v * (q[4] + v * q[7]) + u * (q[2] + v * (q[5] + v * q[8]))
                    )  # fmt: skip
                else:
                    x = exact[k, 0]
                    yy = exact[k, 1]
                    k += 1
                if north_up:
                    px = (x - inverse[4]) / pixel_width
                    py = (yy - inverse[5]) / pixel_height
                else:
                    px = inverse[0] * (x - inverse[4]) + inverse[1] * (yy - inverse[5])
                    py = inverse[2] * (x - inverse[4]) + inverse[3] * (yy - inverse[5])
                if abs(px - np.round(px)) < BORDER_PX:
                    px = np.round(px)
                if abs(py - np.round(py)) < BORDER_PX:
                    py = np.round(py)
                if px >= 0.0 and py >= 0.0 and px < source_width and py < source_height:
                    columns[cell] = px
                    rows[cell] = py
                cell += 1


@njit(cache=True, nogil=True, inline="always")
def _begin(place, taps):  # type: ignore[no-untyped-def]
    """The first pixel that a cell takes part of, which may lie before the source."""
    if taps == 1:
        return int(place)
    return int(np.floor(place - 0.5)) - (1 if taps == 4 else 0)


@njit(cache=True, nogil=True)
def _number(  # type: ignore[no-untyped-def]
    runs, run_starts, starts, columns, rows, taps,
    source_width, source_height, block_width, block_height, across, at_once, first,
):  # fmt: skip
    """Numbers the neighbours of some features' cells from 0 on; their blocks and offsets, and where each feature's end."""
    block_of = np.empty(1024, np.int32)
    offset_of = np.empty(1024, np.uint32)
    ends = np.zeros(len(taps), np.int64)
    count = 0
    for f in range(len(taps)):
        n = taps[f]
        r = run_starts[f]
        last = starts[f]
        while r < run_starts[f + 1]:
            begin = last
            while r < run_starts[f + 1] and (last == begin or last - begin + runs[r, 2] - runs[r, 1] <= at_once):
                last += runs[r, 2] - runs[r, 1]
                r += 1
            left = top = 2**62
            right = bottom = -1
            inside = 0
            for cell in range(begin, last):
                if columns[cell] < 0.0:
                    continue
                inside += 1
                x, y = _begin(columns[cell], n), _begin(rows[cell], n)
                left, right = min(left, x), max(right, x + n)
                top, bottom = min(top, y), max(bottom, y + n)
            if inside == 0:
                continue
            left, top = max(left, 0), max(top, 0)
            right, bottom = min(right, source_width), min(bottom, source_height)
            width = right - left
            most = inside * n * n
            while len(block_of) < count + most:
                block_of = np.append(block_of, np.empty(len(block_of), np.int32))
                offset_of = np.append(offset_of, np.empty(len(offset_of), np.uint32))
            # where cells are far apart, they share no neighbours, and a table of all between them would be large
            shared = (bottom - top) * width <= most
            table = np.zeros((bottom - top) * width if shared else 0, np.int32)
            for cell in range(begin, last):
                if columns[cell] < 0.0:
                    continue
                x, y = _begin(columns[cell], n), _begin(rows[cell], n)
                for j in range(n):
                    if not 0 <= y + j < source_height:
                        continue
                    if not shared:
                        first[cell, j] = count
                    for i in range(max(x, 0), min(x + n, source_width)):
                        if shared:
                            table[(y + j - top) * width + i - left] = 1
                        else:
                            bx, by = i // block_width, (y + j) // block_height
                            true_width = min(block_width, source_width - bx * block_width)
                            block_of[count] = by * across + bx
                            offset_of[count] = (y + j - by * block_height) * true_width + i - bx * block_width
                            count += 1
            if not shared:
                continue
            for at in range(len(table)):
                if table[at]:
                    x, y = left + at % width, top + at // width
                    bx, by = x // block_width, y // block_height
                    true_width = min(block_width, source_width - bx * block_width)
                    block_of[count] = by * across + bx
                    offset_of[count] = (y - by * block_height) * true_width + x - bx * block_width
                    table[at] = count
                    count += 1
            for cell in range(begin, last):
                if columns[cell] < 0.0:
                    continue
                x, y = _begin(columns[cell], n), _begin(rows[cell], n)
                for j in range(n):
                    if 0 <= y + j < source_height:
                        first[cell, j] = table[(y + j - top) * width + max(x, 0) - left]
        ends[f] = count
    return block_of[:count].copy(), offset_of[:count].copy(), ends


@njit(cache=True, nogil=True)
def _mark(columns, rows, taps, first, starts, source_width, wanted, found):  # type: ignore[no-untyped-def]
    for f in range(len(taps)):
        n = taps[f]
        for cell in range(starts[f], starts[f + 1]):
            if not wanted[cell] or columns[cell] < 0.0:
                continue
            x = _begin(columns[cell], n)
            span = min(x + n, source_width) - max(x, 0)
            for j in range(n):
                if first[cell, j] >= 0:
                    for i in range(span):
                        found[first[cell, j] + i] = 1


@njit(cache=True, nogil=True)
def _between(  # type: ignore[no-untyped-def]
    pixels, has_data, columns, rows, taps, first, starts, source_width, low, high, values, mask
):
    for f in range(len(taps)):
        n = taps[f]
        before = 1 if n == 4 else 0
        for cell in range(starts[f], starts[f + 1]):
            x = columns[cell]
            y = rows[cell]
            if x < 0.0:
                continue
            begin = max(_begin(x, n), 0)
            own = first[cell, int(y) - _begin(y, n)] + int(x) - begin
            if not has_data[own]:
                continue
            mask[cell] = 1
            if n == 1:
                values[cell] = pixels[own]
                continue
            x -= 0.5
            y -= 0.5
            ix = int(np.floor(x))
            fx = x - ix
            fy = y - np.floor(y)
            if n == 4:
                total = 0.0
                whole = True
                for j in range(-1, 3):
                    for i in range(-1, 3):
                        weight = cubic_weight(fx - i) * cubic_weight(fy - j)
                        if weight == 0.0:
                            continue
                        row = first[cell, j + 1]
                        if row < 0 or not 0 <= ix + i < source_width or not has_data[row + ix + i - begin]:
                            whole = False
                        else:
                            total += weight * np.float64(pixels[row + ix + i - begin])
                if whole:
                    values[cell] = min(max(total, low), high)
                    continue
            total = 0.0
            weights = 0.0
            for j in range(2):
                row = first[cell, j + before]
                for i in range(2):
                    if row >= 0 and 0 <= ix + i < source_width and has_data[row + ix + i - begin]:
                        weight = (fx if i else 1.0 - fx) * (fy if j else 1.0 - fy)
                        if weight != 0.0:
                            total += weight * np.float64(pixels[row + ix + i - begin])
                            weights += weight
            values[cell] = total / weights
