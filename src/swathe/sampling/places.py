"""Where the cells of an image's window lie in a source, in fractions of its pixels, whatever the two CRSs.

The answer for a cell depends on its place on the grid's lattice alone, not on the window or the image that it was asked
for, so that overlapping images agree to the bit. Between CRSs, patches of 64 x 64 cells of the lattice lie on biquadratics
through 3 x 3 exactly transformed nodes; four further points check each patch, and one that is off by more than a hundred
thousandth of a pixel has every cell transformed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from swathe.grids.raster_grid import Lattice, RasterGrid, Window
from swathe.rasters.source import SourceGrid
from swathe.sampling.locate import CellBlocks, sort_by_block, transformer

Floats = npt.NDArray[np.float64]

_PATCH = 64
_MOST_ERROR_PX = 1e-5
BORDER_PX = 1e-7
"""A place this near to a border of pixels is on it."""
_NOWHERE = -1e9


@dataclass(frozen=True)
class Places:
    """Columns and rows in a source's level of the cells of a window, both (rows, columns) or broadcast to it.

    Whole numbers are borders of pixels: the centre of the first pixel is at 0.5, 0.5. What has no place is far outside.
    """

    columns: Floats
    rows: Floats


def find_places(grid: RasterGrid, window: Window, source: SourceGrid) -> Places:
    """Where the centres of the window's cells lie in `source`."""
    lattice = grid.lattice
    columns = lattice.column + np.arange(window.first_column, window.last_column, dtype=np.float64)
    rows = lattice.row + np.arange(window.first_row, window.last_row, dtype=np.float64)
    shape = window.height, window.width
    if grid.epsg == source.epsg:
        x, y = lattice.x(columns + 0.5), lattice.y(rows + 0.5)
        a, b, c, d, e, f = source.transform
        if b == 0 and d == 0:
            return Places(
                np.broadcast_to(_on_border((x - c) / a)[None, :], shape),
                np.broadcast_to(_on_border((y - f) / e)[:, None], shape),
            )
        found = _to_pixels(source, np.broadcast_to(x[None, :], shape), np.broadcast_to(y[:, None], shape))
        return Places(*found)
    return _through_patches(lattice, int(columns[0]), int(rows[0]), shape, grid.epsg, source)


def nearest_blocks(places: Places, source: SourceGrid, block_width: int, block_height: int) -> CellBlocks:
    """The pixels that the cells' centres fall in; one on a border belongs to the pixel to the right or below."""
    across, down = -(-source.width // block_width), -(-source.height // block_height)
    block_of = np.empty(places.columns.size, np.int32)
    offset_of = np.empty(places.columns.size, np.uint32)
    _nearest(
        places.columns, places.rows, source.width, source.height, block_width, block_height, across, block_of, offset_of
    )
    return sort_by_block(block_of, offset_of, across, down)


def _on_border(places: Floats) -> Floats:
    nearest = np.round(places)
    return np.where(np.abs(places - nearest) < BORDER_PX, nearest, places)


def _to_pixels(source: SourceGrid, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    a, b, c, d, e, f = source.transform
    determinant = a * e - b * d
    with np.errstate(invalid="ignore"):
        columns = (e * (x - c) - b * (y - f)) / determinant
        rows = (a * (y - f) - d * (x - c)) / determinant
    finite = np.isfinite(columns) & np.isfinite(rows)
    return np.where(finite, _on_border(columns), _NOWHERE), np.where(finite, _on_border(rows), _NOWHERE)


def _through_patches(
    lattice: Lattice, column: int, row: int, shape: tuple[int, int], from_epsg: int, source: SourceGrid
) -> Places:
    """Places of `shape` cells from `column`, `row` of the lattice on, in another CRS."""
    height, width = shape
    first_x, first_y = column // _PATCH, row // _PATCH
    across = (column + width - 1) // _PATCH - first_x + 1
    down = (row + height - 1) // _PATCH - first_y + 1
    change = transformer(from_epsg, source.epsg)

    def exact(columns: Floats, rows: Floats) -> tuple[Floats, Floats]:
        """Pixels of all pairs of lattice columns and rows: (rows, columns) each."""
        x, y = np.meshgrid(lattice.x(columns), lattice.y(rows))
        moved = change.transform(x.ravel(), y.ravel())
        return _to_pixels(source, np.asarray(moved[0]).reshape(x.shape), np.asarray(moved[1]).reshape(x.shape))

    half = _PATCH / 2
    node_columns = first_x * _PATCH + half * np.arange(2 * across + 1, dtype=np.float64)
    node_rows = first_y * _PATCH + half * np.arange(2 * down + 1, dtype=np.float64)
    nodes = np.stack(exact(node_columns, node_rows))
    coefficients = _biquadratics(nodes, down, across)
    quarter = _PATCH / 4
    probe_columns = first_x * _PATCH + quarter + half * np.arange(2 * across, dtype=np.float64)
    probe_rows = first_y * _PATCH + quarter + half * np.arange(2 * down, dtype=np.float64)
    probes = np.stack(exact(probe_columns, probe_rows))
    error = np.zeros((down, across))
    for j, v in enumerate((-0.5, 0.5)):
        for i, u in enumerate((-0.5, 0.5)):
            basis = np.array([1.0, u, u * u, v, u * v, u * u * v, v * v, u * v * v, u * u * v * v])
            off = np.abs(np.einsum("dpqn,n->dpq", coefficients, basis) - probes[:, j::2, i::2])
            error = np.maximum(error, off.max(axis=0))
    columns, rows = np.empty(shape), np.empty(shape)
    _evaluate(coefficients, column - first_x * _PATCH, row - first_y * _PATCH, _PATCH, columns, rows)
    # a node that has no place spoils the polynomial, and shows as an enormous error or as one that is alike everywhere
    spoiled = (nodes == _NOWHERE).any(axis=0)
    for q, p in np.argwhere((error > _MOST_ERROR_PX) | _touched(spoiled, down, across)).tolist():
        left, top = (first_x + p) * _PATCH, (first_y + q) * _PATCH
        c0, c1 = max(left, column), min(left + _PATCH, column + width)
        r0, r1 = max(top, row), min(top + _PATCH, row + height)
        found = exact(np.arange(c0, c1, dtype=np.float64) + 0.5, np.arange(r0, r1, dtype=np.float64) + 0.5)
        part = slice(r0 - row, r1 - row), slice(c0 - column, c1 - column)
        columns[part], rows[part] = found
    return Places(columns, rows)


def _biquadratics(nodes: Floats, down: int, across: int) -> Floats:
    """Coefficients (2, down, across, 9) of u^i v^j, i fastest, over each patch, from nodes (2, 2 down + 1, 2 across + 1)."""
    patches = np.empty((2, down, across, 3, 3))
    for j in range(3):
        for i in range(3):
            patches[..., j, i] = nodes[:, j : j + 2 * down : 2, i : i + 2 * across : 2]
    by_rows = np.stack(_powers(patches[..., 0], patches[..., 1], patches[..., 2]), axis=-1)  # (..., v, power of u)
    by_both = np.stack(_powers(by_rows[..., 0, :], by_rows[..., 1, :], by_rows[..., 2, :]), axis=-2)
    return by_both.reshape(2, down, across, 9)


def _powers(left: Floats, middle: Floats, right: Floats) -> tuple[Floats, Floats, Floats]:
    """Coefficients of the parabola through values at -1, 0 and 1."""
    return middle, (right - left) * 0.5, (left + right) * 0.5 - middle


def _touched(spoiled: npt.NDArray[np.bool_], down: int, across: int) -> npt.NDArray[np.bool_]:
    found = np.zeros((down, across), np.bool_)
    for j in range(3):
        for i in range(3):
            found |= spoiled[j : j + 2 * down : 2, i : i + 2 * across : 2]
    return found


@njit(cache=True, nogil=True)
def _evaluate(coefficients, column, row, patch, columns, rows):  # type: ignore[no-untyped-def]
    """Places of cells; `column`, `row` are those of the first one within the first patch."""
    height, width = columns.shape
    for r in range(height):
        q = (row + r) // patch
        v = 2.0 * (row + r - q * patch + 0.5) / patch - 1.0
        c = 0
        while c < width:
            p = (column + c) // patch
            last = min(width, (p + 1) * patch - column)
            k = coefficients[0, q, p]
            ax = k[0] + v * (k[3] + v * k[6])
            bx = k[1] + v * (k[4] + v * k[7])
            cx = k[2] + v * (k[5] + v * k[8])
            k = coefficients[1, q, p]
            ay = k[0] + v * (k[3] + v * k[6])
            by = k[1] + v * (k[4] + v * k[7])
            cy = k[2] + v * (k[5] + v * k[8])
            while c < last:
                u = 2.0 * (column + c - p * patch + 0.5) / patch - 1.0
                columns[r, c] = ax + u * (bx + u * cx)
                rows[r, c] = ay + u * (by + u * cy)
                c += 1


@njit(cache=True, nogil=True)
def _nearest(  # type: ignore[no-untyped-def]
    columns, rows, source_width, source_height, block_width, block_height, across, block_of, offset_of
):
    height, width = columns.shape
    cell = 0
    for r in range(height):
        for c in range(width):
            px = columns[r, c]
            py = rows[r, c]
            if px >= 0.0 and py >= 0.0 and px < source_width and py < source_height:
                ix = int(px)
                iy = int(py)
                bx = ix // block_width
                by = iy // block_height
                true_width = min(block_width, source_width - bx * block_width)
                block_of[cell] = by * across + bx
                offset_of[cell] = (iy - by * block_height) * true_width + ix - bx * block_width
            else:
                block_of[cell] = -1
                offset_of[cell] = 0
            cell += 1
