"""Counts the blocks that a plan's units will decode, from boxes, grids and footprints alone: nothing is read.

Features whose boxes lie in the same blocks are one place, so that the count costs what blocks cost, not what features do.
Of a box over many blocks a polygon needs a part: a convex one of area A (in blocks) in a box of w x h blocks touches
A + w + h + 1 blocks on average, wherever it lies (the area of its Minkowski sum with a block), its box (w + 1)(h + 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from swathe.engine.presence import reproject
from swathe.model.crs import WGS84
from swathe.rasters.source import SourceGrid
from swathe.sampling.locate import transformer

Mask = npt.NDArray[np.bool_]
_FULL_MARGIN = 0.02
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Lattice:
    """The blocks of a raster's level: its grid cut into `block_height` rows and `block_width` columns."""

    grid: SourceGrid
    block_width: int
    block_height: int

    @property
    def counts(self) -> tuple[int, int]:
        """Rows and columns of blocks."""
        return -(-self.grid.height // self.block_height), -(-self.grid.width // self.block_width)


@dataclass(frozen=True)
class Outlines:
    """Features to count for: boxes (n, 4) in the CRS `epsg`, the part of its box that each fills, its unit, its cells."""

    bounds: npt.NDArray[np.float64]
    epsg: int
    share: npt.NDArray[np.float64]
    unit: npt.NDArray[np.int64]
    cells: npt.NDArray[np.float64]


@dataclass
class _Touched:
    """Of the features that touch a lattice: their positions, block ranges (n, 4: rows, columns, both ends included)."""

    which: npt.NDArray[np.int64]
    ranges: npt.NDArray[np.int64]
    inside: Mask
    spared: npt.NDArray[np.float64]
    """log(1 - p), p being the chance that a block of the range is needed."""


@dataclass
class _Pairs:
    """Blocks of places on a lattice: place and block of each pair, the number of its (unit, block), and log(1 - p)."""

    place: npt.NDArray[np.int64]
    block: npt.NDArray[np.int64]
    key: npt.NDArray[np.int64]
    keys: int
    spared: npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Footprint:
    """Which places a scene touches and which it covers whole; `blocks` that it touches, None for all."""

    touched: Mask
    covered: Mask
    blocks: Mask | None
    key: object = field(default=None)


class BlockCounter:
    """Counts for some features and lattices; answers are kept, since scenes mostly share their lattice."""

    def __init__(self, outlines: Outlines, lattices: Sequence[Lattice]) -> None:
        """`lattices`: all that will be asked for."""
        usable = np.flatnonzero(np.isfinite(outlines.bounds).all(axis=1))
        boxes = _Boxes(outlines.bounds[usable], outlines.epsg)
        touched = {lattice: _touch(boxes, outlines.share[usable], lattice) for lattice in lattices}
        first, place_of = _places(outlines.unit[usable], touched)
        self.cells = _sums(place_of, outlines.cells[usable], len(first))
        self.features = _sums(place_of, np.ones(len(usable)), len(first))
        units = outlines.unit[usable][first]
        self._pairs: dict[Lattice, _Pairs] = {}
        self._inside: dict[Lattice, Mask] = {}
        for lattice in lattices:
            found = touched.pop(lattice)
            self._pairs[lattice] = _expand(found, first, place_of, units, lattice)
            inside = np.zeros(len(first), np.bool_)
            inside[place_of[found.which[found.inside]]] = True
            self._inside[lattice] = inside
        self._footprints: dict[tuple[Lattice, bytes | None], _Footprint] = {}
        self._counted: dict[object, float] = {}

    @property
    def places(self) -> int:
        """How many groups of features there are."""
        return len(self.cells)

    def footprint(self, lattice: Lattice, geometry_wkb: bytes | None) -> _Footprint:
        """What a scene on a lattice lies over, by its footprint in WGS84 (None: all of its raster)."""
        key = (lattice, geometry_wkb)
        if key not in self._footprints:
            self._footprints[key] = self._look(lattice, geometry_wkb)
        return self._footprints[key]

    def count(self, lattice: Lattice, wanted: Mask, over: _Footprint) -> float:
        """How many blocks the units decode of a raster where places are `wanted`, each unit for itself."""
        key = (lattice, over.key, wanted.tobytes())
        if key not in self._counted:
            pairs = self._pairs[lattice]
            chosen = wanted[pairs.place]
            if over.blocks is not None:
                chosen &= over.blocks[pairs.block]
            spared = _sums(pairs.key[chosen], pairs.spared[chosen], pairs.keys)
            self._counted[key] = float((1.0 - np.exp(spared)).sum())
        return self._counted[key]

    def _look(self, lattice: Lattice, geometry_wkb: bytes | None) -> _Footprint:
        pairs = self._pairs[lattice]
        touched = np.zeros(self.places, np.bool_)
        blocks = None if geometry_wkb is None else _blocks_under(lattice, geometry_wkb)
        if blocks is None:
            touched[pairs.place] = True
            return _Footprint(touched, self._inside[lattice] & touched, None)
        meets, holds = blocks
        touched[pairs.place[meets[pairs.block]]] = True
        covered = self._inside[lattice] & touched
        covered[pairs.place[~holds[pairs.block]]] = False
        return _Footprint(touched, covered, meets, geometry_wkb)


class _Boxes:
    """Boxes of features in any CRS."""

    def __init__(self, bounds: npt.NDArray[np.float64], epsg: int) -> None:
        self._bounds, self._epsg = bounds, epsg
        self._known: dict[int, npt.NDArray[np.float64]] = {epsg: bounds}

    def __len__(self) -> int:
        return len(self._bounds)

    def within(self, epsg: int) -> npt.NDArray[np.float64]:
        """(n, 4) around the boxes' corners; not finite where the CRS does not reach."""
        if epsg not in self._known:
            change = transformer(self._epsg, epsg)
            west, south, east, north = self._bounds.T
            x, y = change.transform(np.stack([west, west, east, east]), np.stack([south, north, south, north]))
            self._known = {self._epsg: self._bounds, epsg: np.stack([x.min(0), y.min(0), x.max(0), y.max(0)], axis=1)}
        return self._known[epsg]


def _touch(boxes: _Boxes, share: npt.NDArray[np.float64], lattice: Lattice) -> _Touched:
    grid = lattice.grid
    west, south, east, north = boxes.within(grid.epsg).T
    a, b, c, d, e, f = grid.inverse
    with np.errstate(invalid="ignore"):
        corners = [
            (a * x + b * y + c, d * x + e * y + f)
            for x, y in ((west, south), (west, north), (east, south), (east, north))
        ]
        left, right = (
            np.stack([column for column, _ in corners]).min(0),
            np.stack([column for column, _ in corners]).max(0),
        )
        top, bottom = (np.stack([row for _, row in corners]).min(0), np.stack([row for _, row in corners]).max(0))
        # cells are sampled at their centres, which lie within the box
        middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
        left, right = np.minimum(left + 0.5, middle_x), np.maximum(right - 0.5, middle_x)
        top, bottom = np.minimum(top + 0.5, middle_y), np.maximum(bottom - 0.5, middle_y)
        meets = (right >= 0) & (left < grid.width) & (bottom >= 0) & (top < grid.height)
    which = np.flatnonzero(meets)
    left, right, top, bottom = left[which], right[which], top[which], bottom[which]
    inside = (left >= 0) & (right < grid.width) & (top >= 0) & (bottom < grid.height)
    width, height = lattice.block_width, lattice.block_height
    ranges = np.stack(
        [
            np.clip(top, 0, grid.height - 1) // height,
            np.clip(bottom, 0, grid.height - 1) // height,
            np.clip(left, 0, grid.width - 1) // width,
            np.clip(right, 0, grid.width - 1) // width,
        ],
        axis=1,
    ).astype(np.int64)
    across, down = (right - left) / width, (bottom - top) / height
    chance = (share[which] * across * down + across + down + 1) / ((across + 1) * (down + 1))
    chance = np.where((ranges[:, 0] == ranges[:, 1]) | (ranges[:, 2] == ranges[:, 3]), 1.0, np.clip(chance, 0.0, 1.0))
    with np.errstate(divide="ignore"):
        return _Touched(which, ranges, inside, np.log1p(-chance))


def _places(
    unit: npt.NDArray[np.int64], touched: Mapping[Lattice, _Touched]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The first feature of each place, and the place of each feature: those of a unit in the same blocks of everything."""
    with np.errstate(over="ignore"):
        mixed = _mix(unit.astype(np.uint64))
        for number, found in enumerate(touched.values()):
            here = np.full(len(found.which), number + 1, np.uint64)
            for column in found.ranges.T:
                here = _mix(here ^ column.astype(np.uint64))
            mixed[found.which] = _mix(mixed[found.which] ^ _mix(here ^ found.inside.astype(np.uint64)))
    _, first, place_of = np.unique(mixed, return_index=True, return_inverse=True)
    return first, place_of.ravel()


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    values = (values + _MIX) * np.uint64(0xBF58476D1CE4E5B9)
    return values ^ (values >> np.uint64(29))


def _expand(
    found: _Touched,
    first: npt.NDArray[np.int64],
    place_of: npt.NDArray[np.int64],
    units: npt.NDArray[np.int64],
    lattice: Lattice,
) -> _Pairs:
    rows, columns = lattice.counts
    spared = _sums(place_of[found.which], found.spared, len(first))
    is_first = np.zeros(len(place_of), np.bool_)
    is_first[first] = True
    own = np.flatnonzero(is_first[found.which])
    place = place_of[found.which[own]]
    top, bottom, left, right = found.ranges[own].T
    across = right - left + 1
    counts = (bottom - top + 1) * across
    of = np.repeat(np.arange(len(own)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    block = (top[of] + within // across[of]) * columns + left[of] + within % across[of]
    keys, key = np.unique(units[place[of]] * (rows * columns) + block, return_inverse=True)
    return _Pairs(place[of], block, key.ravel(), len(keys), spared[place[of]])


def _blocks_under(lattice: Lattice, geometry_wkb: bytes) -> tuple[Mask, Mask] | None:
    """The blocks that a footprint meets, and those that it holds; None where it is the whole raster's."""
    grid = lattice.grid
    footprint = np.array([shapely.from_wkb(geometry_wkb)], object)
    if grid.epsg != WGS84:
        size = shapely.bounds(footprint)[0]
        footprint = reproject(footprint, WGS84, grid.epsg, longest=np.array([max(size[2:] - size[:2]) / 32]))
    if not shapely.is_valid(footprint[0]) or not np.isfinite(shapely.bounds(footprint[0])).all():
        return None
    margin = _FULL_MARGIN * min(grid.width, grid.height)
    whole = _rectangles(grid, *np.array([[margin], [margin], [grid.width - margin], [grid.height - margin]]))
    shapely.prepare(footprint[0])
    if shapely.contains(footprint[0], whole[0]):
        return None
    blocks = _block_rectangles(lattice)
    return np.asarray(shapely.intersects(footprint[0], blocks)), np.asarray(shapely.contains(footprint[0], blocks))


@lru_cache(maxsize=64)
def _block_rectangles(lattice: Lattice) -> npt.NDArray[np.object_]:
    """The blocks as polygons in the grid's CRS, row by row."""
    rows, columns = lattice.counts
    grid, height, width = lattice.grid, lattice.block_height, lattice.block_width
    row, column = np.divmod(np.arange(rows * columns), columns)
    right = np.minimum((column + 1) * width, grid.width)
    return _rectangles(grid, column * width, row * height, right, np.minimum((row + 1) * height, grid.height))


def _rectangles(
    grid: SourceGrid,
    left: npt.NDArray[Any],
    top: npt.NDArray[Any],
    right: npt.NDArray[Any],
    bottom: npt.NDArray[Any],
) -> npt.NDArray[np.object_]:
    a, b, c, d, e, f = grid.transform
    columns, rows = np.stack([left, right, right, left], axis=1), np.stack([top, top, bottom, bottom], axis=1)
    corners = np.stack([a * columns + b * rows + c, d * columns + e * rows + f], axis=2)
    return np.asarray(shapely.polygons(corners), object)


def _sums(of: npt.NDArray[np.int64], values: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    return np.asarray(np.bincount(of, values, minlength=count), np.float64)
