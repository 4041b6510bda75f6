"""Where the cells of features lie in a source: geometry only, once per source grid.

A cell takes the source pixel that its centre falls in (nearest neighbour); a centre on a border belongs to the pixel to
the right or below. Where features and source differ in CRS, a feature's 3 x 3 nodes are transformed exactly and cells lie
on the biquadratic through them; four further points check it, and a feature where it is off by more than a hundred
thousandth of a pixel has every cell transformed exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

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

_AFFINE, _QUADRATIC, _EXACT = 0, 1, 2


@dataclass(frozen=True)
class CellBlocks:
    """Which blocks of a source hold the cells, and where.

    `blocks` (blocks, 2) int32: row and column of each block that is needed, by row and column; `starts` (blocks + 1) into
    the two others; `cells` int32: positions in the unit's cells; `offsets` int32: positions in the flattened block.
    Cells beyond the source are in none.
    """

    blocks: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    cells: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int32]


@lru_cache(maxsize=32)
def transformer(from_epsg: int, to_epsg: int) -> Transformer:
    """Between two CRSs, x first (longitude, easting)."""
    return Transformer.from_crs(from_epsg, to_epsg, always_xy=True)


def locate(cells: Cells, grids: SampleGrids, source: SourceGrid, block_width: int, block_height: int) -> CellBlocks:
    """The blocks of `source` that the cells need.

    Args:
        cells: of the features whose grids are `grids`, in the same order.
        block_width, block_height: of the source's blocks, in pixels; blocks at the right and lower edge are cut.
    """
    a, b, c, d, e, f = source.transform
    determinant = a * e - b * d
    inverse = np.array([e / determinant, -b / determinant, -d / determinant, a / determinant, c, f])
    polynomials = np.zeros((len(grids), 2, 9))
    exact = np.zeros((0, 2))
    exact_starts = np.zeros(len(grids), np.int64)
    mode = np.full(len(grids), _AFFINE, np.int8)
    if grids.epsg != source.epsg and len(grids):
        polynomials, good = _fit(grids, source, inverse)
        mode[:] = np.where(good, _QUADRATIC, _EXACT)
        exact, exact_starts = _transform_cells(cells, grids, source.epsg, ~good)
    across = -(-source.width // block_width)
    down = -(-source.height // block_height)
    block_of, offset_of, counts = _place(
        cells.runs, cells.run_starts, cells.starts,
        grids.x0, grids.y0, grids.dx, grids.dy, grids.width, grids.height,
        mode, polynomials, exact, exact_starts, inverse,
        b == 0 and d == 0, a, e, source.width, source.height, block_width, block_height, across, down,
    )  # fmt: skip
    needed = np.flatnonzero(counts)
    starts = np.concatenate([[0], np.cumsum(counts[needed])])
    where = np.zeros(len(counts), np.int64)
    where[needed] = starts[:-1]
    order, offsets = _sort_by_block(block_of, offset_of, where, int(starts[-1]))
    blocks = np.stack([needed // across, needed % across], axis=1).astype(np.int32)
    return CellBlocks(blocks, starts, order, offsets)


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
    cells: Cells, grids: SampleGrids, epsg: int, which: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """x, y (cells, 2) in the CRS `epsg` of every cell of some features, and where each feature's begin."""
    begin = np.zeros(len(grids), np.int64)
    parts = []
    total = 0
    change = transformer(grids.epsg, epsg)
    for feature in np.flatnonzero(which):
        runs = cells.runs[cells.run_starts[feature] : cells.run_starts[feature + 1]]
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
    north_up, pixel_width, pixel_height, source_width, source_height, block_width, block_height, across, down,
):  # fmt: skip
    """Block and position within it of every cell (-1 beyond the source), and how many cells each block has."""
    total = starts[-1]
    block_of = np.empty(total, np.int32)
    offset_of = np.empty(total, np.int32)
    counts = np.zeros(across * down, np.int64)
    for f in range(len(run_starts) - 1):
        cell = starts[f]
        k = exact_starts[f]
        p = polynomials[f]
        for r in range(run_starts[f], run_starts[f + 1]):
            row = runs[r, 0]
            y = y0[f] - (row + 0.5) * dy[f]
            v = 2.0 * (row + 0.5) / height[f] - 1.0
            if mode[f] == _QUADRATIC:
                ax = p[0, 0] + v * (p[0, 3] + v * p[0, 6])
                bx = p[0, 1] + v * (p[0, 4] + v * p[0, 7])
                cx = p[0, 2] + v * (p[0, 5] + v * p[0, 8])
                ay = p[1, 0] + v * (p[1, 3] + v * p[1, 6])
                by = p[1, 1] + v * (p[1, 4] + v * p[1, 7])
                cy = p[1, 2] + v * (p[1, 5] + v * p[1, 8])
            else:
                ax = bx = cx = ay = by = cy = 0.0
            for column in range(runs[r, 1], runs[r, 2]):
                if mode[f] == _AFFINE:
                    x = x0[f] + (column + 0.5) * dx[f]
                    yy = y
                elif mode[f] == _QUADRATIC:
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
                    counts[block] += 1
                else:
                    block_of[cell] = -1
                    offset_of[cell] = 0
                cell += 1
    return block_of, offset_of, counts


@njit(cache=True, nogil=True)
def _sort_by_block(block_of, offset_of, where, total):  # type: ignore[no-untyped-def]
    """Cells and their offsets side by side per block, in the order of the cells."""
    order = np.empty(total, np.int32)
    offsets = np.empty(total, np.int32)
    for cell in range(len(block_of)):
        block = block_of[cell]
        if block >= 0:
            at = where[block]
            order[at] = cell
            offsets[at] = offset_of[cell]
            where[block] = at + 1
    return order, offsets
