"""The area of a tile that has data, found from the values of its files: a polygon of few vertices that holds all of it.

Data is what any of the bands has. The pixels are counted into a mask of at most 512 cells to a side, a cell of which has data
if any of its pixels has; the mask's outline is widened by a tolerance and straightened by less, until it has at most 400
vertices. So a slanting edge becomes a line again, and nothing that has data is outside. Of rasters above 64 million pixels an
overview is read, and its pixels' neighbours count as data too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import shapely

from swathe.sampling.gather import is_data

if TYPE_CHECKING:
    from swathe.rasters.blocks import BlockReader
    from swathe.rasters.source import RasterInfo, SourceGrid

MOST_VERTICES = 400
_MOST_PX = 2**26
_MOST_CELLS = 512
# A mask that takes more to cover, being full of specks, is made coarser.
_MOST_BOXES = 5_000
_TOLERANCES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)

Cells = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Layer:
    """A band (`index` from 1) of a raster, with the value that means no data, None if every number is data."""

    info: RasterInfo
    index: int
    nodata: float | None


def find_data(reader: BlockReader, layers: Sequence[Layer], within: shapely.Polygon) -> shapely.Geometry | None:
    """The area in which any of some layers of one CRS has data, as far as it is `within`; None where there is none.

    Raises:
        SourceError: a raster cannot be read.
    """
    found: list[shapely.Geometry] = []
    for info in dict.fromkeys(layer.info for layer in layers):
        its = [layer for layer in layers if layer.info == info]
        if any(layer.nodata is None and np.dtype(info.dtype).kind != "f" for layer in its):
            return within
        mask, step, level = _mask_of(reader, info, its)
        found.append(_outline(mask, step, info.level_grid(level)))
    area = shapely.intersection(shapely.union_all(found), within)
    # the border itself is no area
    parts = [part for part in shapely.get_parts(area) if part.geom_type == "Polygon" and part.area > 0]
    return shapely.union_all(parts) if parts else None


def _mask_of(reader: BlockReader, info: RasterInfo, layers: Sequence[Layer]) -> tuple[Cells, int, int]:
    """Cells of `step` x `step` pixels of a level of a raster that have data, step and level."""
    levels = range(len(info.overviews) + 1)
    level = next((n for n in levels if info.level(n).width * info.level(n).height <= _MOST_PX), levels[-1])
    size = info.level(level)
    step = -(-max(size.width, size.height) // _MOST_CELLS)
    mask = np.zeros((-(-size.height // step), -(-size.width // step)), np.bool_)
    bands = tuple(layer.index for layer in layers)
    for (row, column), pixels in reader.read_blocks(info.href, bands, list(info.blocks(level)), level):
        has_data = np.zeros(pixels.shape[1:], np.bool_)
        for values, layer in zip(pixels, layers, strict=True):
            has_data |= is_data(values, layer.nodata).view(np.bool_)
        if not has_data.any():
            continue
        at_y = (row * size.block_height + np.arange(len(has_data))) // step
        at_x = (column * size.block_width + np.arange(len(has_data[0]))) // step
        down, across = np.flatnonzero(np.diff(at_y, prepend=-1)), np.flatnonzero(np.diff(at_x, prepend=-1))
        reduced = np.logical_or.reduceat(np.logical_or.reduceat(has_data, down, axis=0), across, axis=1)
        mask[at_y[0] : at_y[-1] + 1, at_x[0] : at_x[-1] + 1] |= reduced
    if level:  # where an overview has a pixel of no data there may be data between
        widened = np.pad(mask, 1)
        for y in range(3):
            for x in range(3):
                mask |= widened[y : y + mask.shape[0], x : x + mask.shape[1]]
    return mask, step, level


def _outline(mask: Cells, step: int, grid: SourceGrid) -> shapely.Geometry:
    """A polygon in the grid's CRS around all cells of a mask that are set, of few vertices."""
    while len(boxes := _boxes(mask)) > _MOST_BOXES:
        mask, step = _halved(mask), 2 * step
    if not len(boxes):
        return shapely.Polygon()
    area = shapely.union_all(shapely.box(*boxes.T))
    simple = area
    for tolerance in _TOLERANCES:
        if shapely.get_num_coordinates(simple) <= MOST_VERTICES:
            break
        wide = area.buffer(tolerance, join_style="mitre", mitre_limit=2.0)
        simple = shapely.make_valid(wide.simplify(tolerance * 0.9))
    else:
        simple = area.convex_hull
    a, b, c, d, e, f = grid.transform
    to_map = np.array([[a, d], [b, e]])
    limits = shapely.box(0, 0, grid.width / step, grid.height / step)
    return shapely.transform(shapely.intersection(simple, limits), lambda xy: xy * step @ to_map + [c, f])


def _halved(mask: Cells) -> Cells:
    """A mask of cells twice as wide and high."""
    padded = np.pad(mask, [(0, mask.shape[0] % 2), (0, mask.shape[1] % 2)])
    return np.asarray(padded[::2, ::2] | padded[1::2, ::2] | padded[::2, 1::2] | padded[1::2, 1::2])


def _boxes(mask: Cells) -> npt.NDArray[np.float64]:
    """Boxes (n, 4: left, top, right, bottom) that cover just the set cells: runs of a row, those alike below one another
    as one."""
    open_: dict[tuple[int, int], int] = {}
    found = []
    for row in range(len(mask) + 1):
        runs = set()
        if row < len(mask):
            changes = np.flatnonzero(np.diff(mask[row].astype(np.int8), prepend=0, append=0))
            runs = {(int(left), int(right)) for left, right in changes.reshape(-1, 2)}
        for run in [run for run in open_ if run not in runs]:
            found.append((run[0], open_.pop(run), run[1], row))
        for run in runs:
            open_.setdefault(run, row)
    return np.array(found, np.float64).reshape(-1, 4)
