"""Makes the arrays of `looking_shapes` from a GeoPackage, a manifest of images or a GeoParquet file.

Runs in a process of its own: the files come from outside. Coordinates pass through a file, so memory is that of the
offsets and of some thousand polygons.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS, Transformer

from swathe.features.geopackage import open_features, read_features
from swathe.features.polygons import checked_polygons
from swathe.jobs.looking_shapes import ABOUT, FORM, WORLD, Ints, morton, spans
from swathe.model.errors import FeaturesInvalid

_HALF_M = 20037508.342789244
_MERCATOR = 3857
_ROWS = 20_000
_POLYGONS = (3, 6)
_GATHERED = 1_000_000


@dataclass(frozen=True)
class Batch:
    """Some features: ids (n), identifiers or None, shapely polygons or None (n), and their CRS."""

    ids: npt.NDArray[np.int64]
    names: Sequence[str | None]
    polygons: npt.NDArray[np.object_]
    crs: Any


def build_from_geopackage(path: Path, folder: Path, most: int) -> None:
    """Of the features of a statistical job.

    Raises:
        FeaturesInvalid: the file cannot be read.
    """
    build(_from_geopackage(path, most), folder)


def build_from_manifest(path: Path, folder: Path) -> None:
    """Of the images of a processing job: see `process_manifest`.

    Raises:
        FeaturesInvalid: the file cannot be read.
    """
    try:
        build(_from_manifest(path), folder)
    except sqlite3.Error as error:
        raise FeaturesInvalid(f"The manifest of the images cannot be read: {error}") from None


def build_from_parquet(path: Path, folder: Path) -> None:
    """Of the `geometry.parquet` of a statistical job: see `datasets`.

    Raises:
        FeaturesInvalid: the file cannot be read.
    """
    import pyarrow as pa

    try:
        build(_from_parquet(path), folder)
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise FeaturesInvalid(f"geometry.parquet cannot be read: {error}") from None


def build(batches: Iterable[Batch], folder: Path) -> None:
    """Writes the arrays into a folder, which appears whole or not at all."""
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700, parents=True)
    try:
        with (unfinished / "raw").open("wb") as file:
            gathered = _Gathered(file)
            for batch in batches:
                gathered.add(batch)
        gathered.write(unfinished)
        (unfinished / "raw").unlink()
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


class _Gathered:
    """What is known of all features, in the order in which they came."""

    def __init__(self, coordinates: BinaryIO) -> None:
        self._file = coordinates
        self._ids: list[Ints] = []
        self._names: list[bytes] = []
        self._name_sizes: list[Ints] = []
        self._ring_counts: list[Ints] = []
        self._corner_counts: list[Ints] = []
        self._outer: list[npt.NDArray[np.bool_]] = []
        self._boxes: list[npt.NDArray[np.uint32]] = []
        self._to_mercator: dict[Any, Callable[..., Any]] = {}

    def add(self, batch: Batch) -> None:
        """Takes some features in."""
        names = [(name or "").encode("utf-8", "replace") for name in batch.names]
        self._ids.append(np.asarray(batch.ids, np.int64))
        self._names.append(b"".join(names))
        self._name_sizes.append(np.fromiter(map(len, names), np.int64, len(names)))
        rings = _rings(batch.polygons, self._transform(batch.crs))
        self._file.write(rings.coordinates.tobytes())
        self._ring_counts.append(rings.of_feature)
        self._corner_counts.append(rings.corners)
        self._outer.append(rings.outer)
        self._boxes.append(rings.boxes)

    def write(self, folder: Path) -> None:
        """Writes all arrays in the order of Morton codes."""
        ids, ring_counts = _joined(self._ids, np.int64), _joined(self._ring_counts, np.int64)
        boxes = np.concatenate(self._boxes, axis=1) if self._boxes else np.empty((4, 0), np.uint32)
        centre = [((boxes[a].astype(np.int64) + boxes[a + 2]) // 2).astype(np.uint32) for a in (0, 1)]
        codes = morton(centre[0], centre[1])
        order = np.lexsort((ids, codes, ring_counts == 0))
        located = int(np.count_nonzero(ring_counts))
        placed = order[:located]

        def save(name: str, values: npt.NDArray[Any]) -> None:
            np.save(folder / f"{name}.npy", values)

        save("ids", ids[order])
        save("by_id", np.argsort(ids[order], kind="stable").astype(np.int32))
        save("codes", codes[placed])
        boxes = np.ascontiguousarray(boxes[:, placed])
        save("boxes", boxes)
        # names
        name_sizes = _joined(self._name_sizes, np.int64)
        name_ends = np.cumsum(name_sizes)
        text = np.frombuffer(b"".join(self._names), np.uint8)
        save("names", text[spans((name_ends - name_sizes)[order], name_ends[order])])
        save("name_ends", np.cumsum(name_sizes[order]))
        # rings, then the corners of rings
        ring_ends = np.cumsum(ring_counts)
        ring_order = spans((ring_ends - ring_counts)[placed], ring_ends[placed])
        save("rings", _begins(ring_counts[placed]))
        save("outer", _joined(self._outer, np.bool_)[ring_order])
        corner_counts = _joined(self._corner_counts, np.int64)
        corner_ends = np.cumsum(corner_counts)
        save("corners", _begins(corner_counts[ring_order]))
        _reorder(folder, (corner_ends - corner_counts)[ring_order], corner_ends[ring_order])
        sides = np.maximum(boxes[2] - boxes[0], boxes[3] - boxes[1])
        about = {
            "form": FORM,
            "count": len(ids),
            "located": located,
            "typical": float(np.median(sides)) if located else 0.0,
            "made": time.time(),
        }
        (folder / ABOUT).write_text(json.dumps(about), "utf-8")

    def _transform(self, crs: Any) -> Callable[..., Any]:
        found = self._to_mercator.get(crs)
        if found is None:
            found = self._to_mercator[crs] = Transformer.from_crs(crs, _MERCATOR, always_xy=True).transform
        return found


@dataclass(frozen=True)
class _Rings:
    """Rings of some features: how many each feature has, corners of each, and so on as in `looking_shapes`."""

    of_feature: Ints
    corners: Ints
    outer: npt.NDArray[np.bool_]
    coordinates: npt.NDArray[np.uint32]
    boxes: npt.NDArray[np.uint32]


def _rings(polygons: npt.NDArray[np.object_], to_mercator: Callable[..., Any]) -> _Rings:
    count = len(polygons)
    usable = np.isin(shapely.get_type_id(polygons), _POLYGONS) & ~shapely.is_empty(polygons)
    owners = np.flatnonzero(usable)
    parts, part_of = shapely.get_parts(polygons[owners], return_index=True)
    filled = ~shapely.is_empty(parts)
    parts, part_of = parts[filled], part_of[filled]
    rings, ring_part = shapely.get_rings(parts, return_index=True)
    points, ring_of = shapely.get_coordinates(rings, return_index=True)
    with np.errstate(all="ignore"):
        x, y = to_mercator(points[:, 0], points[:, 1])
    good = np.isfinite(x) & np.isfinite(y)
    feature_of_ring = owners[part_of[ring_part]]
    if not good.all():  # outside of where the projection is defined: the feature has no place on the map
        lost = np.unique(feature_of_ring[ring_of[~good]])
        kept = ~np.isin(feature_of_ring, lost)
        keep_points = kept[ring_of]
        x, y = x[keep_points], y[keep_points]
        ring_of = (np.cumsum(kept) - 1)[ring_of[keep_points]]
        feature_of_ring, ring_part = feature_of_ring[kept], ring_part[kept]
    wx = np.clip((x + _HALF_M) / (2 * _HALF_M) * WORLD, 0, WORLD - 1)
    wy = np.clip((_HALF_M - y) / (2 * _HALF_M) * WORLD, 0, WORLD - 1)
    coordinates = np.stack([wx, wy], axis=1).round().clip(0, WORLD - 1).astype(np.uint32)
    sizes = np.bincount(ring_of, minlength=len(feature_of_ring)).astype(np.int64)
    outer = np.ones(len(sizes), np.bool_)
    outer[1:] = ring_part[1:] != ring_part[:-1]
    ends = np.cumsum(sizes)
    boxes = np.zeros((4, count), np.uint32)
    if len(sizes):
        begins = ends - sizes
        first = np.flatnonzero(np.concatenate([[True], feature_of_ring[1:] != feature_of_ring[:-1]]))
        who = feature_of_ring[first]
        for side, (axis, extreme) in enumerate(((0, np.minimum), (1, np.minimum), (0, np.maximum), (1, np.maximum))):
            boxes[side, who] = extreme.reduceat(coordinates[:, axis], begins[first])
        coordinates = coordinates[_turned(coordinates, begins, sizes, outer)]
    of_feature = np.bincount(feature_of_ring, minlength=count).astype(np.int64)
    return _Rings(of_feature, np.maximum(sizes - 1, 0), outer, coordinates, boxes)


def _turned(coordinates: npt.NDArray[np.uint32], begins: Ints, sizes: Ints, outer: npt.NDArray[np.bool_]) -> Ints:
    """Where each corner comes from when outsides run clockwise and holes the other way, without the closing ones."""
    relative = coordinates.astype(np.float64) - np.repeat(coordinates[begins].astype(np.float64), sizes, axis=0)
    x, y = relative[:, 0], relative[:, 1]
    crossed = np.zeros(len(x))
    crossed[:-1] = x[:-1] * y[1:] - x[1:] * y[:-1]
    # the last of a ring is its first again, so what stands there is of two rings
    crossed[begins + sizes - 1] = 0.0
    clockwise = np.add.reduceat(crossed, begins) > 0  # y grows downwards
    flipped = clockwise != outer
    left = sizes - 1
    place = spans(np.zeros(len(left), np.int64), left)
    start, turned = np.repeat(begins, left), np.repeat(flipped, left)
    return np.where(turned, start + np.repeat(left, left) - 1 - place, start + place).astype(np.int64)


def _reorder(folder: Path, begins: Ints, ends: Ints) -> None:
    """Writes the coordinates in another order of rings, some at a time."""
    total = int((ends - begins).sum())
    target = np.lib.format.open_memmap(folder / "coordinates.npy", "w+", np.uint32, (total, 2)) if total else None
    if target is None:
        np.save(folder / "coordinates.npy", np.empty((0, 2), np.uint32))
        return
    raw = np.memmap(folder / "raw", np.uint32, "r").reshape(-1, 2)
    sizes = np.cumsum(ends - begins)
    first, written = 0, 0
    while first < len(begins):
        last = max(first + 1, int(np.searchsorted(sizes, written + _GATHERED, side="right")))
        rows = raw[spans(begins[first:last], ends[first:last])]
        target[written : written + len(rows)] = rows
        written += len(rows)
        first = last
    target.flush()


def _from_geopackage(path: Path, most: int) -> Iterator[Batch]:
    file = open_features(path, max_features=most)
    for batch in read_features(file):
        polygons = batch.polygons if batch.polygons is not None else checked_polygons(batch.wkb)
        missing = np.flatnonzero(shapely.is_missing(polygons))
        if len(missing):  # as they were drawn, though nothing was computed for them
            polygons = polygons.copy()
            polygons[missing] = checked_polygons([batch.wkb[at] for at in missing.tolist()])
        yield Batch(batch.ids, batch.identifiers, polygons, file.epsg)


def _from_manifest(path: Path) -> Iterator[Batch]:
    place = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(place, uri=True)) as database:
        layers = database.execute("SELECT table_name, srs_id FROM gpkg_geometry_columns ORDER BY table_name").fetchall()
        for table, epsg in layers:
            cursor = database.execute(
                f"SELECT min(fid), identifier, geometry FROM {table} GROUP BY identifier"  # noqa: S608  our own file
            )
            while rows := cursor.fetchmany(_ROWS):
                ids = np.array([row[0] for row in rows], np.int64)
                # the header of a manifest's geometry has no envelope
                yield Batch(ids, [row[1] for row in rows], checked_polygons([row[2][8:] for row in rows]), epsg)


def _from_parquet(path: Path) -> Iterator[Batch]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        about = json.loads((file.metadata.metadata or {})[b"geo"])
        crs = CRS.from_json_dict(about["columns"]["geometry"]["crs"])
        epsg = crs.to_epsg() or crs
        for batch in file.iter_batches(batch_size=_ROWS, columns=["id", "identifier", "geometry"]):
            names, bodies = batch.column("identifier").to_pylist(), batch.column("geometry").to_pylist()
            yield Batch(batch.column("id").to_numpy(zero_copy_only=False), names, checked_polygons(bodies), epsg)


def _joined(arrays: Sequence[npt.NDArray[Any]], dtype: Any) -> npt.NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.empty(0, dtype)


def _begins(sizes: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
