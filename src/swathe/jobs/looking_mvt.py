"""Vector tiles as bytes (Mapbox Vector Tile specification 2.1): one layer, all geometries of one kind.

The numbers of all geometries are encoded at once; what is done feature by feature joins bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

LAYER = "features"
EXTENT = 4096
POINT, POLYGON = 1, 3
_KEYS = ("id", "name", "s", "v")
_STATES = 4
_MOVE, _CLOSE = 9, 15

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Attributes:
    """What is said of n features: ids, names in UTF-8, states of 0 to 3, and values, NaN where there is none."""

    ids: Ints
    names: Sequence[bytes]
    states: npt.NDArray[np.uint8]
    values: npt.NDArray[np.float32] | None = None


def encode_points(points: Ints, attributes: Attributes) -> bytes:
    """A tile of n points (n, 2)."""
    stream = np.empty((len(points), 3), np.int64)
    stream[:, 0] = _MOVE
    stream[:, 1:] = _zigzag(points)
    geometries = _varints(stream.ravel(), np.arange(0, 3 * len(points) + 1, 3))
    return _tile(POINT, geometries, attributes)


def encode_polygons(corners: Ints, ring_ends: Ints, feature_rings: Ints, attributes: Attributes) -> bytes:
    """A tile of n polygons.

    Args:
        corners: (c, 2), none repeated at the end of a ring; rings have three or more.
        ring_ends: (r) where the corners of each ring end.
        feature_rings: (n + 1) where the rings of each feature begin.
    """
    sizes = np.diff(ring_ends, prepend=0)
    steps = np.diff(corners, axis=0, prepend=np.zeros((1, 2), np.int64))
    first_rings = feature_rings[:-1]
    first_corners = (ring_ends - sizes)[first_rings]
    # each feature's cursor begins at the origin
    steps[first_corners] = corners[first_corners]
    lengths = 2 * sizes + 3
    begins = np.concatenate([[0], np.cumsum(lengths)])
    stream = np.empty(int(begins[-1]), np.int64)
    stream[begins[:-1]] = _MOVE
    stream[begins[:-1] + 3] = (sizes - 1) << 3 | 2
    stream[begins[1:] - 1] = _CLOSE
    place = np.arange(len(corners)) - np.repeat(ring_ends - sizes, sizes)
    at = np.repeat(begins[:-1], sizes) + np.where(place == 0, 1, 2 + 2 * place)
    told = _zigzag(steps)
    stream[at], stream[at + 1] = told[:, 0], told[:, 1]
    return _tile(POLYGON, _varints(stream, begins[feature_rings]), attributes)


def _zigzag(values: Ints) -> Ints:
    return (values << 1) ^ (values >> 63)


def _varints(numbers: Ints, cuts: Ints) -> list[bytes]:
    """Numbers below 2^35 as varints, cut at some of them."""
    wide = numbers.astype(np.uint64)
    sizes = np.ones(len(wide), np.int64)
    for bits in (7, 14, 21, 28):
        sizes += wide >= (1 << bits)
    ends = np.cumsum(sizes)
    begins = ends - sizes
    text = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
    for step in range(5):
        which = np.flatnonzero(sizes > step) if step else slice(None)
        more = (sizes[which] > step + 1).astype(np.uint64) << np.uint64(7)
        text[begins[which] + step] = (wide[which] >> np.uint64(7 * step) & np.uint64(127)) | more
    whole = text.tobytes()
    places = np.concatenate([begins, ends[-1:]])[cuts].tolist() if len(ends) else [0] * len(cuts)
    return [whole[begin:end] for begin, end in pairwise(places)]


def _tile(kind: int, geometries: Sequence[bytes], attributes: Attributes) -> bytes:
    said = _Values()
    for state in range(_STATES):
        said.add(b"\x28" + _varint(state))
    ids = attributes.ids.tolist()
    numbers = said.count
    for feature in ids:  # no feature twice, so no value either
        said.append(b"\x28" + _varint(feature) if feature >= 0 else b"\x20" + _varint(feature & (1 << 64) - 1))
    names = [said.add(b"\x0a" + _varint(len(name)) + name) for name in attributes.names]
    values = _places_of_values(said, attributes.values, len(ids))
    states = attributes.states.tolist()
    kinds = b"\x18" + bytes([kind])
    parts = []
    for at, (feature, name, state, value, geometry) in enumerate(
        zip(ids, names, states, values, geometries, strict=True)
    ):
        tags = b"\x00" + _varint(numbers + at) + b"\x01" + _varint(name) + b"\x02" + _varint(state)
        if value >= 0:
            tags += b"\x03" + _varint(value)
        # the id of a feature is unsigned, so a negative one stands in the attribute alone
        own = b"\x08" + _varint(feature) if feature >= 0 else b""
        body = b"%b\x12%b%b%b\x22%b%b" % (own, _varint(len(tags)), tags, kinds, _varint(len(geometry)), geometry)
        parts.append(b"\x12" + _varint(len(body)) + body)
    layer_name = LAYER.encode()
    layer = b"".join(
        [
            b"\x78\x02\x0a",
            _varint(len(layer_name)),
            layer_name,
            *parts,
            *(b"\x1a" + _varint(len(key)) + key.encode() for key in _KEYS),
            *(b"\x22" + _varint(len(text)) + text for text in said.told),
            b"\x28" + _varint(EXTENT),
        ]
    )
    return b"\x1a" + _varint(len(layer)) + layer


class _Values:
    """The values of a layer, each once."""

    def __init__(self) -> None:
        self.told: list[bytes] = []
        self._places: dict[bytes, int] = {}

    @property
    def count(self) -> int:
        return len(self.told)

    def append(self, value: bytes) -> None:
        self.told.append(value)

    def add(self, value: bytes) -> int:
        place = self._places.get(value)
        if place is None:
            place = self._places[value] = len(self.told)
            self.told.append(value)
        return place


def _places_of_values(said: _Values, values: npt.NDArray[np.float32] | None, count: int) -> list[int]:
    """Where each value stands; -1 for none."""
    if values is None:
        return [-1] * count
    there = np.isfinite(values)
    different, which = np.unique(values[there], return_inverse=True)
    first = said.count
    for value in different.tolist():
        said.append(b"\x15" + struct.pack("<f", value))
    places = np.full(count, -1, np.int64)
    places[there] = first + which
    return places.tolist()


def _varint(number: int) -> bytes:
    if number < 128:
        return _small(number)
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)


@cache
def _small(number: int) -> bytes:
    return bytes([number])
