"""Where tiles lie, in numbers that an ordinary index can search: the same on every database.

A tile belongs to the level whose cells (squares of 360 / 2^level degrees) are the smallest that are not smaller than the
tile, and there to the cell of its south-west corner. So it lies in that cell and the next ones to the east and north, and
the tiles that meet a box are found in a few ranges of cells of each level.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, or_

from swathe.jobs.schema import byoc_tiles

_LEVELS = 22
_MOST_LISTED = 64
_WIDE_DEG = 90.0

Bbox = tuple[float, float, float, float]


@dataclass(frozen=True)
class Place:
    """A box in degrees and its cell; `east` is never less than `west`, and beyond 180 across the antimeridian."""

    west: float
    south: float
    east: float
    north: float
    level: int
    cell_x: int
    cell_y: int

    @classmethod
    def of(cls, bbox: Bbox) -> Place:
        """The place of a box; one whose west is greater than its east crosses the antimeridian."""
        west, south, east, north = bbox
        if east < west:
            east += 360.0
        side = max(east - west, north - south)
        level = _LEVELS - 1 if side <= 0 else max(0, min(_LEVELS - 1, math.floor(math.log2(360.0 / side))))
        while level and _size(level) < side:  # what the logarithm rounded up
            level -= 1
        size = _size(level)
        return cls(west, south, east, north, level, math.floor((west + 180) / size), math.floor((south + 90) / size))


def ranges(bbox: Bbox) -> Iterator[ColumnElement[bool]]:
    """Conditions on tiles, of which those whose box meets `bbox` fulfil one; each goes along the index by place."""
    west, south, east, north = bbox
    if east < west:
        east += 360.0
    for level in range(_LEVELS):
        size = _size(level)
        for shift in (-360.0, 0.0, 360.0):
            left, right = west + shift, east + shift
            if right < -180.0 or left - size >= 180.0:
                continue
            # an index of whole numbers has no place for those far outside
            first, last = math.floor(max(left - size, -360.0) / size + 180 / size), math.floor((right + 180) / size)
            yield and_(
                byoc_tiles.c.level == level,
                byoc_tiles.c.cell_x.in_(range(first, last + 1))
                if last - first < _MOST_LISTED
                else byoc_tiles.c.cell_x.between(first, last),
                byoc_tiles.c.cell_y.between(math.floor((south - size + 90) / size), math.floor((north + 90) / size)),
                _beside(left, right),
                byoc_tiles.c.south <= north,
                byoc_tiles.c.north >= south,
            )


def is_wide(bbox: Bbox) -> bool:
    """Whether a box is so large that most tiles may meet it, and an index by place is of no help."""
    return (bbox[2] - bbox[0]) % 360.0 >= _WIDE_DEG or bbox[2] - bbox[0] >= 360.0


def meets(bbox: Bbox) -> ColumnElement[bool]:
    """The condition that a tile's box meets a box."""
    west, south, east, north = bbox
    if east < west:
        east += 360.0
    across = or_(*(_beside(west + shift, east + shift) for shift in (-360.0, 0.0, 360.0)))
    return and_(across, byoc_tiles.c.south <= north, byoc_tiles.c.north >= south)


def _beside(west: float, east: float) -> ColumnElement[bool]:
    return and_(byoc_tiles.c.west <= east, byoc_tiles.c.east >= west)


def _size(level: int) -> float:
    return math.ldexp(360.0, -level)
