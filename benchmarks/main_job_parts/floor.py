"""The floor: every block that a job needs, read and decoded once, and nothing else. None of Swathe's code is used.

Offsets are known beforehand. Blocks are read with `preadv` and decoded by imagecodecs (libdeflate, libzstd, its own LZW)
into buffers that are used over and over; a compiled loop undoes the predictor. Nobody looks at the pixels.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import shapely
from numba import njit

from main_job_parts.scenes import Scene

_WIDTH, _HEIGHT, _COMPRESSION, _PREDICTOR = 256, 257, 259, 317
_TILE_WIDTH, _TILE_HEIGHT, _OFFSETS, _COUNTS = 322, 323, 324, 325
_SIZES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_DECODERS: dict[int, Callable[..., Any]] = {
    5: imagecodecs.lzw_decode,
    8: imagecodecs.deflate_decode,
    50000: imagecodecs.zstd_decode,
}


@dataclass(frozen=True)
class Blocks:
    """Where the full-resolution blocks of a file lie; a block is `side` x `side` pixels of 16 bits."""

    path: Path
    width: int
    height: int
    side: int
    compression: int
    predictor: int
    offsets: npt.NDArray[np.uint64]
    counts: npt.NDArray[np.uint64]

    @property
    def columns(self) -> int:
        return -(-self.width // self.side)

    @property
    def rows(self) -> int:
        return -(-self.height // self.side)


@dataclass(frozen=True)
class Needed:
    """What has to be read: files with the numbers of their blocks."""

    files: tuple[tuple[Blocks, npt.NDArray[np.intp]], ...]

    @property
    def blocks(self) -> int:
        return sum(len(numbers) for _, numbers in self.files)

    @property
    def stored_bytes(self) -> int:
        return sum(int(blocks.counts[numbers].sum()) for blocks, numbers in self.files)

    @property
    def decoded_bytes(self) -> int:
        return sum(2 * blocks.side**2 * len(numbers) for blocks, numbers in self.files)


def read_blocks(path: Path) -> Blocks:
    """The first directory of a little-endian TIFF or BigTIFF with 16-bit square tiles."""
    data = path.read_bytes()[: 2**20]
    big = struct.unpack_from("<2sH", data) == (b"II", 43)
    start = struct.unpack_from("<Q" if big else "<I", data, 8 if big else 4)[0]
    count = struct.unpack_from("<Q" if big else "<H", data, start)[0]
    tags: dict[int, npt.NDArray[Any]] = {}
    for at in range(
        start + (8 if big else 2), start + (8 if big else 2) + count * (20 if big else 12), 20 if big else 12
    ):
        tag, kind, values = struct.unpack_from("<HHQ" if big else "<HHI", data, at)
        if kind in _SIZES:
            form = np.dtype(f"<{_SIZES[kind]}")
            where, room = at + (12 if big else 8), 8 if big else 4
            if form.itemsize * values > room:
                where = struct.unpack_from("<Q" if big else "<I", data, where)[0]
            tags[tag] = np.frombuffer(data, form, values, where)
    one = {tag: int(values[0]) for tag, values in tags.items()}
    if one[_TILE_WIDTH] != one[_TILE_HEIGHT]:
        raise ValueError(f"{path} has blocks that are not square")
    return Blocks(
        path,
        one[_WIDTH],
        one[_HEIGHT],
        one[_TILE_WIDTH],
        one[_COMPRESSION],
        one.get(_PREDICTOR, 1),
        tags[_OFFSETS].astype(np.uint64),
        tags[_COUNTS].astype(np.uint64),
    )


def needed_blocks(scenes: list[Scene], parcels: npt.NDArray[np.object_]) -> Needed:
    """The blocks that a parcel lies in; of scenes of one day, only where no later one has data.

    Parcels are in the scenes' CRS. That a cell belongs though little of it is covered can add a block at its very edge,
    which is not counted here.
    """
    # All dates of a granule need the same blocks: what decides is which granules the day has.
    found: dict[tuple[Any, ...], npt.NDArray[np.intp]] = {}
    files = []
    for scene in scenes:
        same_day = [s for s in scenes if s.when.date() == scene.when.date()]
        later = tuple(sorted(s.granule.name for s in same_day if s.when > scene.when))
        for path in scene.paths.values():
            blocks = read_blocks(path)
            key = (scene.granule.name, later, blocks.width, blocks.side)
            if key not in found:
                shapely.prepare(scene.granule.footprint)
                wanted = parcels[shapely.intersects(parcels, scene.granule.footprint)]
                for other in same_day:
                    if other.granule.name in later:
                        wanted = shapely.difference(wanted, other.granule.footprint)
                found[key] = _touched(blocks, scene, wanted[~shapely.is_empty(wanted)])
            files.append((blocks, found[key]))
    return Needed(tuple(files))


def _touched(blocks: Blocks, scene: Scene, parcels: npt.NDArray[np.object_]) -> npt.NDArray[np.intp]:
    land = scene.granule.land
    side_m = blocks.side * (land.xmax - land.xmin) / blocks.width
    column, row = np.meshgrid(np.arange(blocks.columns), np.arange(blocks.rows))
    x, y = land.xmin + column.ravel() * side_m, land.ymax - row.ravel() * side_m
    boxes = shapely.box(x, y - side_m, np.minimum(x + side_m, land.xmax), y)
    inside, _ = shapely.STRtree(parcels).query(boxes, predicate="intersects")
    return np.unique(inside)


@njit(cache=True, nogil=True)
def _undo_predictor(values):  # type: ignore[no-untyped-def]
    """Running sums along the rows, four rows at a time: one row's additions wait for each other, four rows' do not."""
    rows, columns = values.shape
    for row in range(0, rows - rows % 4, 4):
        a, b, c, d = values[row, 0], values[row + 1, 0], values[row + 2, 0], values[row + 3, 0]
        for column in range(1, columns):
            a += values[row, column]
            b += values[row + 1, column]
            c += values[row + 2, column]
            d += values[row + 3, column]
            values[row, column] = a
            values[row + 1, column] = b
            values[row + 2, column] = c
            values[row + 3, column] = d


def run_floor(needed: Needed, threads: int) -> float:
    """Seconds to read and decode all of it with so many threads, opening the files included."""
    started = time.perf_counter()
    opened: list[int] = []
    try:
        work = _work(needed, opened)
        lock = threading.Lock()
        failures: list[BaseException] = []
        largest = max((int(blocks.counts.max()) for blocks, _ in needed.files), default=0)

        def run() -> None:
            try:
                _decode(work, lock, largest)
            except BaseException as failure:
                failures.append(failure)

        others = [threading.Thread(target=run) for _ in range(threads)]
        for thread in others:
            thread.start()
        for thread in others:
            thread.join()
        if failures:
            raise failures[0]
    finally:
        for file in opened:
            os.close(file)
    return time.perf_counter() - started


def _work(needed: Needed, opened: list[int]) -> Iterator[tuple[int, Blocks, int, int]]:
    for blocks, numbers in needed.files:
        file = os.open(blocks.path, os.O_RDONLY)
        opened.append(file)
        for number in numbers:
            yield file, blocks, int(blocks.offsets[number]), int(blocks.counts[number])


def _decode(work: Iterator[tuple[int, Blocks, int, int]], lock: Any, largest: int) -> None:
    packed = memoryview(bytearray(largest))
    pixels = np.empty(0, np.uint16)
    while True:
        with lock:
            item = next(work, None)
        if item is None:
            return
        file, blocks, offset, count = item
        if not count:
            continue  # a block that the file leaves out
        if pixels.size != blocks.side**2:
            pixels = np.empty((blocks.side, blocks.side), np.uint16)
        plain: Any = pixels.reshape(-1).view(np.uint8)
        data = packed[:count]
        if os.preadv(file, [data], offset) != count:
            raise OSError(f"{blocks.path} is cut short")
        _DECODERS[blocks.compression](data, out=plain)
        if blocks.predictor == 2:
            _undo_predictor(pixels)


def decode_block(blocks: Blocks, number: int) -> npt.NDArray[np.uint16]:
    """One block, decoded as the floor does it, to compare with another reader's."""
    pixels = np.empty((blocks.side, blocks.side), np.uint16)
    with blocks.path.open("rb") as file:
        file.seek(int(blocks.offsets[number]))
        data = file.read(int(blocks.counts[number]))
    _DECODERS[blocks.compression](data, out=pixels.reshape(-1).view(np.uint8))
    if blocks.predictor == 2:
        _undo_predictor(pixels)
    return pixels
