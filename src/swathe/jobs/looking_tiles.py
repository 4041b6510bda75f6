"""Which features a tile of the map has and how they are drawn: as polygons where these can be seen, else as points.

Points are thinned: of those in one small square one is kept, a failed one if there is any, so nothing that went wrong is
hidden. Squares are those of the world and of one size at a zoom, so tiles look alike where they meet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from swathe.jobs.looking_mvt import EXTENT, Attributes, encode_points, encode_polygons
from swathe.jobs.looking_shapes import WORLD_BITS, Ints, Shapes, spans

MOST_ZOOM = 22
MOST_FEATURES = 20_000
FAILED = 2
# Of a tile that is drawn 512 pixels wide: so large half of the features have to be to be drawn as polygons.
_TILE_PX, _POLYGON_PX = 512, 3.0
_MOST_CORNERS = 2_000_000
_BUFFER = 64
# Renderers keep coordinates in 16 bits; what reaches further is cut.
_FAR = 2048
# In place of a polygon that is too small to have corners of its own.
_DOT = np.array([[0, 0], [2, 0], [2, 2], [0, 2]], np.int64)
_SQUARE_BITS = 11


@dataclass(frozen=True)
class TilePlace:
    """A tile: zoom, column from the west, row from the north."""

    z: int
    x: int
    y: int

    @property
    def is_one(self) -> bool:
        """Whether there is such a tile."""
        return 0 <= self.z <= MOST_ZOOM and 0 <= self.x < 1 << self.z and 0 <= self.y < 1 << self.z

    @property
    def side(self) -> int:
        """In steps of the world."""
        return 1 << (WORLD_BITS - self.z)


def make_tile(
    shapes: Shapes, place: TilePlace, states: npt.NDArray[np.uint8], values: npt.NDArray[np.float32] | None = None
) -> bytes | None:
    """A vector tile, None where nothing is.

    Args:
        states: (n) of the features, as `looking_state` has them.
        values: (n) float32, NaN for none.
    """
    if shapes.about["typical"] * _TILE_PX / place.side >= _POLYGON_PX:
        found = _in_box(shapes, place)
        if len(found) <= MOST_FEATURES and _corner_count(shapes, found) <= _MOST_CORNERS:
            return _polygons(shapes, place, found, states, values) if len(found) else None
    found = _thinned(shapes, place, states)
    if not len(found):
        return None
    points = _to_tile(shapes.centres[found].astype(np.int64), place)
    return encode_points(points, _attributes(shapes, found, states, values))


def _attributes(
    shapes: Shapes, found: Ints, states: npt.NDArray[np.uint8], values: npt.NDArray[np.float32] | None
) -> Attributes:
    chosen = None if values is None else np.asarray(values[found])
    return Attributes(np.asarray(shapes.ids[found]), shapes.names_of(found), states[found], chosen)


def _in_box(shapes: Shapes, place: TilePlace) -> Ints:
    """The features whose boxes meet a tile with its buffer."""
    margin = max(1, place.side * _BUFFER // EXTENT)
    west, north = place.x * place.side - margin, place.y * place.side - margin
    east, south = west + place.side + 2 * margin, north + place.side + 2 * margin
    most = (1 << WORLD_BITS) - 1
    boxes = shapes.boxes
    meets = boxes[0] <= np.uint32(min(east, most))
    meets &= boxes[2] >= np.uint32(max(west, 0))
    meets &= boxes[1] <= np.uint32(min(south, most))
    meets &= boxes[3] >= np.uint32(max(north, 0))
    return np.flatnonzero(meets)


def _corner_count(shapes: Shapes, found: Ints) -> int:
    return int((shapes.corners[shapes.rings[found + 1]] - shapes.corners[shapes.rings[found]]).sum())


def _thinned(shapes: Shapes, place: TilePlace, states: npt.NDArray[np.uint8]) -> Ints:
    """The features that stand for all whose centres lie in a tile."""
    first, last = _run(shapes, place)
    bits = _square_bits(shapes, place.z)
    if bits is None or first == last:
        return np.arange(first, last, dtype=np.int64)
    begins = _begins(shapes.codes[first:last] >> np.uint64(2 * (WORLD_BITS - bits)))
    # the first failed one of each square, else the first
    order = np.arange(last - first, 0, -1, dtype=np.int64)
    order[states[first:last] == FAILED] += last - first
    best = np.maximum.reduceat(order, begins)
    best[best > last - first] -= last - first
    return first + (last - first) - best


def _square_bits(shapes: Shapes, zoom: int) -> int | None:
    """How many bits of a coordinate tell squares apart: the most with which no tile of the zoom has too many; None for
    features as they are. Found once for a zoom."""
    if zoom not in shapes.squares:  # threads that ask at the same time find the same
        shapes.squares[zoom] = _find_square_bits(np.asarray(shapes.codes), zoom)
    return shapes.squares[zoom]


def _find_square_bits(codes: npt.NDArray[np.uint64], zoom: int) -> int | None:
    if _most_in_a_tile(codes >> np.uint64(2 * (WORLD_BITS - zoom))) <= MOST_FEATURES:
        return None
    for bits in range(min(WORLD_BITS, zoom + _SQUARE_BITS), zoom, -1):
        squares = codes >> np.uint64(2 * (WORLD_BITS - bits))
        if _most_in_a_tile(squares[_begins(squares)] >> np.uint64(2 * (bits - zoom))) <= MOST_FEATURES:
            return bits
    return zoom


def _most_in_a_tile(tiles: npt.NDArray[np.uint64]) -> int:
    """How often the most frequent of sorted numbers is there."""
    return int(np.diff(_begins(tiles), append=len(tiles)).max(initial=0))


def _begins(numbers: npt.NDArray[np.uint64]) -> Ints:
    """Where each run of equal numbers begins."""
    if not len(numbers):
        return np.zeros(0, np.int64)
    return np.flatnonzero(np.concatenate([[True], numbers[1:] != numbers[:-1]]))


def _run(shapes: Shapes, place: TilePlace) -> tuple[int, int]:
    """The features with their centres in a tile: they follow one another."""
    code = 0
    for bit in range(place.z):
        code |= (place.x >> bit & 1) << 2 * bit | (place.y >> bit & 1) << 2 * bit + 1
    shift = 2 * (WORLD_BITS - place.z)
    first = int(np.searchsorted(shapes.codes, np.uint64(code << shift)))
    end = (code + 1) << shift
    last = shapes.located if end >= 1 << 64 else int(np.searchsorted(shapes.codes, np.uint64(end)))
    return first, last


def _to_tile(world: Ints, place: TilePlace) -> Ints:
    """World coordinates as those of a tile."""
    origin = np.array([place.x, place.y], np.int64) * place.side
    scaled: Ints = np.floor((world - origin) * (EXTENT / place.side) + 0.5).astype(np.int64)
    return scaled


def _polygons(
    shapes: Shapes,
    place: TilePlace,
    found: Ints,
    states: npt.NDArray[np.uint8],
    values: npt.NDArray[np.float32] | None,
) -> bytes | None:
    rings = spans(shapes.rings[found], shapes.rings[found + 1])
    ring_of = np.repeat(np.arange(len(found)), (shapes.rings[found + 1] - shapes.rings[found]))
    begins, ends = np.asarray(shapes.corners[rings]), np.asarray(shapes.corners[rings + 1])
    corners = _to_tile(shapes.coordinates[spans(begins, ends)].astype(np.int64), place)
    sizes = ends - begins
    corners, sizes = _cut_far(corners, sizes)
    corners, sizes = _without_repeated(corners, sizes)
    kept = sizes >= 3
    corners, sizes, ring_of = corners[np.repeat(kept, sizes)], sizes[kept], ring_of[kept]
    missing = np.setdiff1d(np.arange(len(found)), ring_of)
    if len(missing):
        places = _to_tile(shapes.centres[found[missing]].astype(np.int64), place)
        near = np.all((places >= -_BUFFER) & (places <= EXTENT + _BUFFER), axis=1)
        corners, sizes, ring_of = _with_dots((corners, sizes, ring_of), missing[near], places[near])
        # what is neither seen nor has its middle here met the tile with an empty part of its box
        drawn = np.unique(ring_of)
        found, ring_of = found[drawn], np.searchsorted(drawn, ring_of)
    if not len(found):
        return None
    feature_rings = np.searchsorted(ring_of, np.arange(len(found) + 1))
    return encode_polygons(corners, np.cumsum(sizes), feature_rings, _attributes(shapes, found, states, values))


def _without_repeated(corners: Ints, sizes: Ints) -> tuple[Ints, Ints]:
    """Rings without corners that are where the one before is."""
    if not len(corners):
        return corners, sizes
    begins = np.cumsum(sizes) - sizes
    filled = sizes > 0
    before = np.arange(len(corners)) - 1
    before[begins[filled]] = (begins + sizes - 1)[filled]
    kept: npt.NDArray[np.bool_] = np.any(corners != corners[before], axis=1)
    left = np.zeros(len(sizes), np.int64)
    left[filled] = np.add.reduceat(kept.astype(np.int64), begins[filled])
    return corners[kept], left


def _with_dots(rings: tuple[Ints, Ints, Ints], missing: Ints, places: Ints) -> tuple[Ints, Ints, Ints]:
    """The rings with one more, at its place, for each of some features, in the order of the features."""
    corners, sizes, ring_of = rings
    dots = (places[:, None] + _DOT).reshape(-1, 2)
    all_sizes = np.concatenate([sizes, np.full(len(missing), len(_DOT), np.int64)])
    all_rings = np.concatenate([ring_of, missing])
    order = np.argsort(all_rings, kind="stable")
    ends = np.cumsum(all_sizes)
    moved = spans((ends - all_sizes)[order], ends[order])
    return np.concatenate([corners, dots])[moved], all_sizes[order], all_rings[order]


def _cut_far(corners: Ints, sizes: Ints) -> tuple[Ints, Ints]:
    """Rings that reach far beyond the tile, cut at its buffer."""
    if not len(corners):
        return corners, sizes
    far: npt.NDArray[np.bool_] = np.any((corners < -_FAR) | (corners > EXTENT + _FAR), axis=1)
    if not far.any():
        return corners, sizes
    ends = np.cumsum(sizes)
    parts = []
    for begin, end in zip((ends - sizes).tolist(), ends.tolist(), strict=True):
        ring = corners[begin:end]
        parts.append(_cut(ring) if far[begin:end].any() else ring)
    return np.concatenate(parts), np.array([len(part) for part in parts], np.int64)


def _cut(ring: Ints) -> Ints:
    """A ring within the tile and its buffer (Sutherland and Hodgman 1974)."""
    points = ring.astype(np.float64)
    for axis, limit, sign in ((0, -_BUFFER, 1), (0, EXTENT + _BUFFER, -1), (1, -_BUFFER, 1), (1, EXTENT + _BUFFER, -1)):
        if not len(points):
            break
        after = np.roll(points, -1, axis=0)
        inside, inside_after = (points[:, axis] - limit) * sign >= 0, (after[:, axis] - limit) * sign >= 0
        if inside.all():
            continue
        crosses = inside != inside_after
        span = after[:, axis] - points[:, axis]
        share = np.divide(limit - points[:, axis], span, out=np.zeros(len(points)), where=crosses)
        crossing = points + share[:, None] * (after - points)
        crossing[:, axis] = limit
        both = np.stack([points, crossing], axis=1).reshape(-1, 2)
        points = both[np.stack([inside, crosses], axis=1).ravel()]
    return np.rint(points).astype(np.int64)
