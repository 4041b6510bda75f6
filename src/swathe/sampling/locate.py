"""Where the cells of features lie in a source: geometry only, once per source grid.

A cell takes the source pixel that its centre falls in (nearest neighbour); a centre on a border belongs to the pixel to
the right or below. Where features and source differ in CRS, a feature's 3 x 3 nodes are transformed exactly and cells lie
on the biquadratic through them; four further points check it, and a feature where it is off by more than a hundred
thousandth of a pixel has every cell transformed exactly.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit
from pyproj import Transformer

from swathe.grids.cover import Cells
from swathe.grids.sample_grid import SampleGrids
from swathe.rasters.source import SourceGrid

_MOST_ERROR_PX = 1e-5
_NODES = np.array([-1.0, 0.0, 1.0])
_PROBES = np.array([-0.5, 0.5])

AFFINE, QUADRATIC, EXACT = 0, 1, 2
"""How a feature's cells are taken to the source's CRS: not at all, by the polynomial, one by one."""


@dataclass(frozen=True)
class CellBlocks:
    """Which blocks of a source hold the cells, and where.

    `blocks` (blocks, 2) int32: row and column of each block that is needed, by row and column. Cells that follow one
    another in the unit and lie in one block are a segment: `segments` (segments + 1, 2) int32 has the first of its cells
    and where its `offsets` begin, the last row being an end; `starts` (blocks + 1) says where each block's segments
    begin. `offsets` uint32: positions in the flattened block, cell by cell (unsigned, so that compiled code need not ask
    whether they count from the end).

    Cells beyond the source are in no segment; `inside` (cells) uint8 is 0 for them, None if there are none.
    """

    blocks: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    segments: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.uint32]
    inside: npt.NDArray[np.uint8] | None

    def within(self, begin: int, end: int) -> CellBlocks:
        """The same for cells `begin` to `end` (excluded) alone, which count from 0 then."""
        needed, starts, segments, offsets = _clip(self.starts, self.segments, self.offsets, begin, end)
        inside = None if self.inside is None else self.inside[begin:end]
        return CellBlocks(self.blocks[needed], starts, segments, offsets, inside)


Runner = Callable[[Iterable[Callable[[], None]]], None]
"""Does pieces of work, perhaps side by side."""


def in_turn(work: Iterable[Callable[[], None]]) -> None:
    """Does pieces of work one after the other."""
    for piece in work:
        piece()


@lru_cache(maxsize=32)
def transformer(from_epsg: int, to_epsg: int) -> Transformer:
    """Between two CRSs, x first (longitude, easting)."""
    return Transformer.from_crs(from_epsg, to_epsg, always_xy=True)


def locate(
    cells: Cells,
    grids: SampleGrids,
    source: SourceGrid,
    block_width: int,
    block_height: int,
    *,
    run: Runner = in_turn,
    pieces: int = 1,
) -> CellBlocks:
    """The blocks of `source` that the cells need.

    Args:
        cells: of the features whose grids are `grids`, in the same order.
        block_width, block_height: of the source's blocks, in pixels; blocks at the right and lower edge are cut.
        run: does the work for each of `pieces` runs of features.
    """
    across = -(-source.width // block_width)
    down = -(-source.height // block_height)
    block_of = np.empty(cells.count, np.int32)
    offset_of = np.empty(cells.count, np.uint32)
    edges = np.linspace(0, len(grids), pieces + 1).astype(int).tolist()

    def place(first: int, last: int) -> None:
        _place_features(cells, grids, source, (block_width, block_height, across), first, last, block_of, offset_of)

    run(partial(place, first, last) for first, last in itertools.pairwise(edges))
    return sort_by_block(block_of, offset_of, across, down)


def sort_by_block(
    block_of: npt.NDArray[np.int32], offset_of: npt.NDArray[np.uint32], across: int, down: int
) -> CellBlocks:
    """Cells by the block they lie in, of a source of `down` rows of `across` blocks.

    Args:
        block_of: (cells) the block's number, row by row; -1 beyond the source.
        offset_of: (cells) the position in the flattened block.
    """
    counts, segment_counts = _count_by_block(block_of, across * down)
    needed = np.flatnonzero(counts)
    first_offset = np.cumsum(counts) - counts
    first_segment = np.cumsum(segment_counts) - segment_counts
    segments, offsets = _sort_by_block(
        block_of, offset_of, first_offset, first_segment, int(segment_counts.sum()), int(counts.sum())
    )
    starts = np.append(first_segment[needed], len(segments) - 1)
    blocks = np.stack([needed // across, needed % across], axis=1).astype(np.int32)
    inside = None if len(offsets) == len(block_of) else (block_of >= 0).view(np.uint8)
    return CellBlocks(blocks, starts, segments, offsets, inside)


def block_numbers(
    cells: Cells, grids: SampleGrids, source: SourceGrid, block_width: int, block_height: int
) -> npt.NDArray[np.int32]:
    """The block that each cell lies in, counted by row and column; -1 beyond the source."""
    across = -(-source.width // block_width)
    block_of = np.empty(cells.count, np.int32)
    offset_of = np.empty(cells.count, np.uint32)
    _place_features(cells, grids, source, (block_width, block_height, across), 0, len(grids), block_of, offset_of)
    return block_of


def _place_features(
    cells: Cells,
    grids: SampleGrids,
    source: SourceGrid,
    blocks: tuple[int, int, int],
    first: int,
    last: int,
    block_of: npt.NDArray[np.int32],
    offset_of: npt.NDArray[np.uint32],
) -> None:
    """Writes block and position within it of the cells of features `first` to `last`; `blocks`: width, height, across."""
    told = (*kernel_inputs(cells, grids, source, first, last), source.width, source.height)
    _place(*(*told, *blocks, block_of, offset_of))


def kernel_inputs(cells: Cells, grids: SampleGrids, source: SourceGrid, first: int, last: int) -> tuple[Any, ...]:
    """What compiled code needs to find the cells of features `first` to `last` in a source: all of `_place` up to the
    source's size."""
    a, b, c, d, e, f = source.transform
    determinant = a * e - b * d
    inverse = np.array([e / determinant, -b / determinant, -d / determinant, a / determinant, c, f])
    grids = grids.take(slice(first, last))
    polynomials = np.zeros((len(grids), 2, 9))
    exact = np.zeros((0, 2))
    exact_starts = np.zeros(len(grids), np.int64)
    mode = np.full(len(grids), AFFINE, np.int8)
    run_starts = cells.run_starts[first : last + 1]
    if grids.epsg != source.epsg and len(grids):
        polynomials, good = _fit(grids, source, inverse)
        mode[:] = np.where(good, QUADRATIC, EXACT)
        exact, exact_starts = _transform_cells(cells.runs, run_starts, grids, source.epsg, ~good)
    return (
        cells.runs, run_starts, cells.starts[first : last + 1],
        grids.x0, grids.y0, grids.dx, grids.dy, grids.width, grids.height,
        mode, polynomials, exact, exact_starts, inverse, b == 0 and d == 0, a, e,
    )  # fmt: skip


def _fit(
    grids: SampleGrids, source: SourceGrid, inverse: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Coefficients (features, 2, 9) of x and y in the source's CRS over (u, v) in [-1, 1], and which are good enough."""
    nodes_x, nodes_y = _transform_nodes(grids, source.epsg, _NODES)
    polynomials = np.stack([_biquadratic(nodes_x), _biquadratic(nodes_y)], axis=1)
    probes_x, probes_y = _transform_nodes(grids, source.epsg, _PROBES)
    error = np.zeros(len(grids))
    with np.errstate(invalid="ignore"):
        for j, v in enumerate(_PROBES):
            for i, u in enumerate(_PROBES):
                basis = np.array([1.0, u, u * u, v, u * v, u * u * v, v * v, u * v * v, u * u * v * v])
                off_x = polynomials[:, 0] @ basis - probes_x[:, j, i]
                off_y = polynomials[:, 1] @ basis - probes_y[:, j, i]
                off_column = np.abs(inverse[0] * off_x + inverse[1] * off_y)
                off_row = np.abs(inverse[2] * off_x + inverse[3] * off_y)
                error = np.fmax(error, np.fmax(off_column, off_row))
        finite = np.isfinite(polynomials).all(axis=(1, 2)) & np.isfinite(probes_x).all(axis=(1, 2))
    return np.nan_to_num(polynomials, posinf=0.0, neginf=0.0), finite & (error <= _MOST_ERROR_PX)


def _transform_nodes(
    grids: SampleGrids, epsg: int, at: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """x and y (features, v, u) in the CRS `epsg` of the points `at` of each box, -1 left or top and 1 right or bottom."""
    span_x, span_y = grids.dx * grids.width, grids.dy * grids.height
    x = grids.x0[:, None, None] + span_x[:, None, None] * (at[None, None, :] + 1) / 2
    y = grids.y0[:, None, None] - span_y[:, None, None] * (at[None, :, None] + 1) / 2
    x, y = np.broadcast_arrays(x, y)
    to_x, to_y = transformer(grids.epsg, epsg).transform(x.ravel(), y.ravel())
    return np.asarray(to_x).reshape(x.shape), np.asarray(to_y).reshape(x.shape)


def _biquadratic(nodes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Coefficients (n, 9) of u^i v^j, i fastest, through values (n, v, u) at -1, 0, 1."""
    to_powers = np.array([[0.0, 1.0, 0.0], [-0.5, 0.0, 0.5], [0.5, -1.0, 0.5]])
    with np.errstate(invalid="ignore"):
        return np.asarray(np.einsum("pv,nvu,qu->npq", to_powers, nodes, to_powers)).reshape(len(nodes), 9)


def _transform_cells(
    all_runs: npt.NDArray[np.int32],
    run_starts: npt.NDArray[np.int64],
    grids: SampleGrids,
    epsg: int,
    which: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """x, y (cells, 2) in the CRS `epsg` of every cell of some features, and where each feature's begin."""
    begin = np.zeros(len(grids), np.int64)
    parts = []
    total = 0
    change = transformer(grids.epsg, epsg)
    for feature in np.flatnonzero(which):
        runs = all_runs[run_starts[feature] : run_starts[feature + 1]]
        lengths = runs[:, 2] - runs[:, 1]
        rows = np.repeat(runs[:, 0], lengths)
        columns = np.concatenate([np.arange(run[1], run[2]) for run in runs]) if len(runs) else np.zeros(0)
        x, y = change.transform(
            grids.x0[feature] + (columns + 0.5) * grids.dx[feature],
            grids.y0[feature] - (rows + 0.5) * grids.dy[feature],
        )
        parts.append(np.stack([x, y], axis=1))
        begin[feature] = total
        total += len(columns)
    return (np.concatenate(parts) if parts else np.zeros((0, 2))), begin


@njit(cache=True, nogil=True)
def _place(  # type: ignore[no-untyped-def]
    runs, run_starts, starts, x0, y0, dx, dy, width, height,
    mode, polynomials, exact, exact_starts, inverse,
    north_up, pixel_width, pixel_height, source_width, source_height, block_width, block_height, across,
    block_of, offset_of,
):  # fmt: skip
    """Writes block and position within it of every cell of some features; block -1 for those beyond the source."""
    for f in range(len(run_starts) - 1):
        cell = starts[f]
        k = exact_starts[f]
        p = polynomials[f]
        for r in range(run_starts[f], run_starts[f + 1]):
            row = runs[r, 0]
            y = y0[f] - (row + 0.5) * dy[f]
            v = 2.0 * (row + 0.5) / height[f] - 1.0
            if mode[f] == QUADRATIC:
                ax = p[0, 0] + v * (p[0, 3] + v * p[0, 6])
                bx = p[0, 1] + v * (p[0, 4] + v * p[0, 7])
                cx = p[0, 2] + v * (p[0, 5] + v * p[0, 8])
                ay = p[1, 0] + v * (p[1, 3] + v * p[1, 6])
                by = p[1, 1] + v * (p[1, 4] + v * p[1, 7])
                cy = p[1, 2] + v * (p[1, 5] + v * p[1, 8])
            else:
                ax = bx = cx = ay = by = cy = 0.0
            for column in range(runs[r, 1], runs[r, 2]):
                if mode[f] == AFFINE:
                    x = x0[f] + (column + 0.5) * dx[f]
                    yy = y
                elif mode[f] == QUADRATIC:
                    u = 2.0 * (column + 0.5) / width[f] - 1.0
                    x = ax + u * (bx + u * cx)
                    yy = ay + u * (by + u * cy)
                else:
                    x = exact[k, 0]
                    yy = exact[k, 1]
                    k += 1
                if north_up:  # one division, so that a centre on a border is exactly there
                    px = (x - inverse[4]) / pixel_width
                    py = (yy - inverse[5]) / pixel_height
                else:
                    px = inverse[0] * (x - inverse[4]) + inverse[1] * (yy - inverse[5])
                    py = inverse[2] * (x - inverse[4]) + inverse[3] * (yy - inverse[5])
                if px >= 0.0 and py >= 0.0 and px < source_width and py < source_height:
                    ix = int(px)
                    iy = int(py)
                    bx_i = ix // block_width
                    by_i = iy // block_height
                    true_width = min(block_width, source_width - bx_i * block_width)
                    block = by_i * across + bx_i
                    block_of[cell] = block
                    offset_of[cell] = (iy - by_i * block_height) * true_width + ix - bx_i * block_width
                else:
                    block_of[cell] = -1
                    offset_of[cell] = 0
                cell += 1


@njit(cache=True, nogil=True)
def _count_by_block(block_of, blocks):  # type: ignore[no-untyped-def]
    """How many cells and segments each block has."""
    counts = np.zeros(blocks, np.int64)
    segments = np.zeros(blocks, np.int64)
    before = -1
    begin = 0
    for cell in range(len(block_of)):
        block = block_of[cell]
        if block != before:
            if before >= 0:
                counts[before] += cell - begin
            if block >= 0:
                segments[block] += 1
            before = block
            begin = cell
    if before >= 0:
        counts[before] += len(block_of) - begin
    return counts, segments


@njit(cache=True, nogil=True)
def _clip(starts, segments, offsets, begin, end):  # type: ignore[no-untyped-def]
    """Segments and offsets of cells `begin` to `end` alone: which blocks still have any, and theirs as in CellBlocks."""
    blocks = len(starts) - 1
    needed = np.empty(blocks, np.int64)
    new_starts = np.zeros(blocks + 1, np.int64)
    new_segments = np.empty((len(segments), 2), np.int32)
    total = 0
    for k in range(len(segments) - 1):
        cell, count = segments[k, 0], segments[k + 1, 1] - segments[k, 1]
        total += max(0, min(end, cell + count) - max(begin, cell))
    new_offsets = np.empty(total, np.uint32)
    n = 0
    at = 0
    found = 0
    for block in range(blocks):
        before = n
        for k in range(starts[block], starts[block + 1]):
            cell = segments[k, 0]
            first = max(begin, cell)
            last = min(end, cell + segments[k + 1, 1] - segments[k, 1])
            if first >= last:
                continue
            new_segments[n, 0] = first - begin
            new_segments[n, 1] = at
            n += 1
            source = segments[k, 1] + first - cell
            new_offsets[at : at + last - first] = offsets[source : source + last - first]
            at += last - first
        if n > before:
            needed[found] = block
            found += 1
            new_starts[found] = n
    new_segments[n, 0] = end - begin
    new_segments[n, 1] = at
    return needed[:found].copy(), new_starts[: found + 1].copy(), new_segments[: n + 1].copy(), new_offsets


@njit(cache=True, nogil=True)
def _sort_by_block(block_of, offset_of, first_offset, first_segment, count, total):  # type: ignore[no-untyped-def]
    """Segments and offsets side by side per block, in the order of the cells."""
    next_offset = first_offset.copy()
    next_segment = first_segment.copy()
    cells = len(block_of)
    segments = np.empty((count + 1, 2), np.int32)
    offsets = np.empty(total, np.uint32)
    cell = 0
    while cell < cells:
        block = block_of[cell]
        if block < 0:
            cell += 1
            continue
        at = next_offset[block]
        k = next_segment[block]
        segments[k, 0] = cell
        segments[k, 1] = at
        next_segment[block] = k + 1
        while cell < cells and block_of[cell] == block:
            offsets[at] = offset_of[cell]
            at += 1
            cell += 1
        next_offset[block] = at
    segments[count, 0] = cells
    segments[count, 1] = total
    return segments, offsets
