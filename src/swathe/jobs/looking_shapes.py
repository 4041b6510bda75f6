"""The features of a job as a map needs them: flat arrays in files of their own, read where they lie.

Coordinates are those of Web Mercator (EPSG:3857) in steps of 2^-32 of the world's side, just under a centimetre, x to the
east and y to the south, as uint32: a tile of zoom z has 2^(32 - z) of them a side. Features are in the order of the
Morton codes of their boxes' centres, so those of a tile lie side by side; features without a polygon come last.

| file | (rows, …) dtype | |
|---|---|---|
| `ids` | (n) int64 | the features |
| `by_id` | (n) int32 | their places in the order of ids |
| `codes` | (m) uint64 | Morton codes of the m features with a polygon |
| `boxes` | (4, m) uint32 | west, north, east, south |
| `rings` | (m + 1) int64 | where each feature's rings begin |
| `corners` | (r + 1) int64 | where each ring's corners begin |
| `outer` | (r) bool | whether a ring is the outside of a polygon; holes follow theirs |
| `coordinates` | (c, 2) uint32 | corners, none repeated at a ring's end; outsides run clockwise as seen, holes the other way |
| `names`, `name_ends` | uint8, (n) int64 | identifiers in UTF-8, one behind the other |
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

WORLD_BITS = 32
WORLD = float(2**WORLD_BITS)
ARRAYS = ("ids", "by_id", "codes", "boxes", "rings", "corners", "outer", "coordinates", "names", "name_ends")
ABOUT = "about.json"
# Written with the arrays; another number means that they are made again.
FORM = 1

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shapes:
    """The features of a job, as the module says. `about` has `count`, `located`, `typical`, their median
    side, and `made`, when that was in seconds since 1970."""

    about: dict[str, Any]
    ids: npt.NDArray[np.int64]
    by_id: npt.NDArray[np.int32]
    codes: npt.NDArray[np.uint64]
    boxes: npt.NDArray[np.uint32]
    rings: npt.NDArray[np.int64]
    corners: npt.NDArray[np.int64]
    outer: npt.NDArray[np.bool_]
    coordinates: npt.NDArray[np.uint32]
    names: npt.NDArray[np.uint8]
    name_ends: npt.NDArray[np.int64]

    @property
    def count(self) -> int:
        """All features."""
        return len(self.ids)

    @property
    def located(self) -> int:
        """Those with a polygon."""
        return len(self.codes)

    @cached_property
    def squares(self) -> dict[int, int | None]:
        """What `looking_tiles` found about each zoom: see there."""
        return {}

    @cached_property
    def bounds(self) -> tuple[float, float, float, float] | None:
        """West, south, east and north of all polygons in degrees; None without any."""
        if not self.located:
            return None
        west, north = (int(self.boxes[side].min()) for side in (0, 1))
        east, south = (int(self.boxes[side].max()) for side in (2, 3))
        return self._degrees(west, south, east, north)

    @cached_property
    def centres(self) -> npt.NDArray[np.uint32]:
        """(m, 2): the centres of the boxes."""
        west, north, east, south = (side.astype(np.int64) for side in self.boxes)
        return np.stack([(west + east) // 2, (north + south) // 2], axis=1).astype(np.uint32)

    @cached_property
    def _sorted_ids(self) -> npt.NDArray[np.int64]:
        return np.asarray(self.ids)[self.by_id]

    def places(self, ids: npt.NDArray[np.int64]) -> Ints:
        """Where features are by their ids; -1 for one that is not there."""
        known = self._sorted_ids
        if not len(known):
            return np.full(len(ids), -1, np.int64)
        at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
        found: Ints = np.where(known[at] == ids, self.by_id[at], -1).astype(np.int64)
        return found

    def name(self, place: int) -> str:
        """A feature's identifier, empty where it has none."""
        begin = int(self.name_ends[place - 1]) if place else 0
        return bytes(self.names[begin : int(self.name_ends[place])]).decode("utf-8", "replace")

    def names_of(self, places: Ints) -> list[bytes]:
        """The identifiers of some features, in UTF-8."""
        ends = self.name_ends[places]
        begins = np.where(places > 0, self.name_ends[np.maximum(places - 1, 0)], 0)
        if not (ends > begins).any():
            return [b""] * len(places)
        taken = np.concatenate([[0], np.cumsum(ends - begins)])
        text = self.names[spans(begins, ends)].tobytes()
        cuts = taken.tolist()
        return [text[begin:end] for begin, end in pairwise(cuts)]

    def box_degrees(self, place: int) -> list[float] | None:
        """West, south, east, north of a feature; None without a polygon."""
        if place >= self.located:
            return None
        west, north, east, south = (int(side[place]) for side in self.boxes)
        return list(self._degrees(west, south, east, north))

    def geometry(self, place: int) -> dict[str, Any] | None:
        """A feature as GeoJSON in degrees, outsides counter-clockwise (RFC 7946); None without a polygon."""
        if place >= self.located:
            return None
        polygons: list[list[list[list[float]]]] = []
        for ring in range(int(self.rings[place]), int(self.rings[place + 1])):
            corners = self.coordinates[int(self.corners[ring]) : int(self.corners[ring + 1])][::-1]
            lon, lat = to_degrees(corners[:, 0], corners[:, 1])
            points = [[round(x, 8), round(y, 8)] for x, y in zip(lon.tolist(), lat.tolist(), strict=True)]
            points.append(points[0])
            if self.outer[ring] or not polygons:
                polygons.append([points])
            else:
                polygons[-1].append(points)
        if len(polygons) == 1:
            return {"type": "Polygon", "coordinates": polygons[0]}
        return {"type": "MultiPolygon", "coordinates": polygons}

    def find(self, text: str, most: int) -> list[int]:
        """Places of features with this id, then those whose identifier begins with it, in any letter case."""
        found: list[int] = []
        if text.lstrip("-").isdecimal() and len(text) < 19:
            found = [place for place in self.places(np.array([int(text)], np.int64)).tolist() if place >= 0]
        if text:
            import pyarrow as pa
            from pyarrow import compute

            begins = np.concatenate([[0], self.name_ends]).astype(np.int64)
            buffers = [None, pa.py_buffer(begins), pa.py_buffer(np.ascontiguousarray(self.names))]
            texts = pa.Array.from_buffers(pa.large_string(), self.count, buffers)
            matches = compute.starts_with(texts, text, ignore_case=True)
            where = np.flatnonzero(matches.to_numpy(zero_copy_only=False))
            # in the order of ids, as people list them
            where = where[np.argsort(self.ids[where], kind="stable")][: most + 1]
            found += [place for place in where.tolist() if place not in found]
        else:
            found = self.by_id[:most].tolist()
        return found[:most]

    @staticmethod
    def _degrees(west: int, south: int, east: int, north: int) -> tuple[float, float, float, float]:
        lon, lat = to_degrees(np.array([west, east]), np.array([south, north]))
        return (round(float(lon[0]), 7), round(float(lat[0]), 7), round(float(lon[1]), 7), round(float(lat[1]), 7))


def open_shapes(folder: Path) -> Shapes | None:
    """The features that were written into a folder; None when they were not, or in another form."""
    try:
        about = json.loads((folder / ABOUT).read_text("utf-8"))
        if about.get("form") != FORM:
            return None
        arrays = {name: _open(folder / f"{name}.npy") for name in ARRAYS}
    except (OSError, ValueError):
        return None
    return Shapes(about, **arrays)


def to_degrees(
    x: npt.NDArray[Any] | Sequence[int], y: npt.NDArray[Any] | Sequence[int]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Longitudes and latitudes of world coordinates."""
    lon = np.asarray(x, np.float64) / WORLD * 360.0 - 180.0
    lat = np.degrees(np.arctan(np.sinh(np.pi * (1.0 - 2.0 * np.asarray(y, np.float64) / WORLD))))
    return lon, lat


def spans(begins: npt.NDArray[Any], ends: npt.NDArray[Any]) -> Ints:
    """All numbers of some half-open ranges, one behind the other."""
    sizes = (ends - begins).astype(np.int64)
    total = int(sizes.sum())
    if not total:
        return np.empty(0, np.int64)
    before = np.cumsum(sizes) - sizes
    numbers: Ints = np.arange(total, dtype=np.int64) + np.repeat(begins.astype(np.int64) - before, sizes)
    return numbers


def morton(x: npt.NDArray[np.uint32], y: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint64]:
    """The bits of two coordinates in turn; two leading bits for each zoom of a tile."""
    code: npt.NDArray[np.uint64] = (_spread(y) << np.uint64(1)) | _spread(x)
    return code


def _spread(values: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint64]:
    wide = values.astype(np.uint64)
    for shift, mask in (
        (16, 0x0000FFFF0000FFFF),
        (8, 0x00FF00FF00FF00FF),
        (4, 0x0F0F0F0F0F0F0F0F),
        (2, 0x3333333333333333),
        (1, 0x5555555555555555),
    ):
        wide = (wide | (wide << np.uint64(shift))) & np.uint64(mask)
    return wide


def _open(path: Path) -> npt.NDArray[Any]:
    with path.open("rb") as file:
        is_empty = 0 in _shape(file)
    # what is empty cannot be mapped
    array: npt.NDArray[Any] = np.load(path, mmap_mode=None if is_empty else "r")
    return array


def _shape(file: Any) -> tuple[int, ...]:
    np.lib.format.read_magic(file)
    return np.lib.format.read_array_header_1_0(file)[0]
