"""The samples of an image's window: in memory, or in a temporary file where a block of many dates is too much for it.

A block is decoded once for all the rows of cells in it; the script wants all dates of a cell at once. Between the two
lies a file without a name, written sample by sample and read some rows of cells at a time.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from swathe.engine.spill import SpillFailed
from swathe.grids.raster_grid import Window
from swathe.sampling.mosaic import Mosaic

_CHUNK_CELLS, _LEAST_CHUNK_CELLS = 1_000_000, 20_000
_CHUNK_BYTES = 16 * 2**20

T = TypeVar("T")


@dataclass(frozen=True)
class StoredMosaic:
    """A mosaic's columns in the file: by band where they begin, their type, scale and offset; and where the mask does."""

    store: MosaicStore
    bands: dict[str, tuple[int, np.dtype[Any], float, float]]
    mask: int

    def part(self, first: int, last: int) -> Mosaic:
        """Cells `first` to `last` (excluded)."""
        read = self.store.read
        bands = {
            name: (read(place, dtype, first, last), scale, offset)
            for name, (place, dtype, scale, offset) in self.bands.items()
        }
        return Mosaic(bands, read(self.mask, np.dtype(np.uint8), first, last))


class MosaicStore:
    """The file. May be used by several threads.

    Raises (all methods):
        SpillFailed: the disk does not take it; trying again may help.
    """

    def __init__(self) -> None:
        self._open = ExitStack()
        self._lock = threading.Lock()
        self._end = 0
        file = _told(partial(tempfile.TemporaryFile, prefix="swathe-", buffering=0))
        self._file = self._open.enter_context(file).fileno()

    def __enter__(self) -> MosaicStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def keep(self, mosaic: Mosaic) -> StoredMosaic:
        """Writes a mosaic down."""
        bands = {
            name: (self._write(values), values.dtype, scale, offset)
            for name, (values, scale, offset) in mosaic.bands.items()
        }
        return StoredMosaic(self, bands, self._write(mosaic.data_mask))

    def read(self, place: int, dtype: np.dtype[Any], first: int, last: int) -> npt.NDArray[Any]:
        """Some values of a column that begins at `place`."""
        values = np.empty(last - first, dtype)
        data = memoryview(values.view(np.uint8).data)
        place += first * dtype.itemsize
        while data:
            got = _told(partial(os.preadv, self._file, [data], place))
            if not got:
                raise SpillFailed("The temporary file of an image's samples ends before its time")
            data, place = data[got:], place + got
        return values

    def _write(self, values: npt.NDArray[Any]) -> int:
        with self._lock:
            begin = self._end
            self._end += values.nbytes
        data, place = memoryview(np.ascontiguousarray(values).view(np.uint8).data), begin
        while data:
            written = _told(partial(os.pwrite, self._file, data, place))
            data, place = data[written:], place + written
        return begin


class Columns:
    """The samples of a window, in memory or in a file. May be used by several threads."""

    def __init__(self, window: Window, store: MosaicStore | None) -> None:
        self._window = window
        self._store = store
        self._found: dict[tuple[int, int], Mosaic | StoredMosaic] = {}
        self._cell_bytes = 0
        self._lock = threading.Lock()
        self.mask = np.zeros(window.cells, np.uint8)

    def __enter__(self) -> Columns:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._store is not None:
            self._store.__exit__(kind, error, trace)

    def put(self, source: int, number: int, sample: Mosaic) -> None:
        """Keeps a sample of a source."""
        kept = sample if self._store is None else self._store.keep(sample)
        with self._lock:
            self._found[source, number] = kept
            self._cell_bytes += 1 + sum(values.itemsize for values, _, _ in sample.bands.values())
            self.mask |= sample.data_mask

    def part(self, source: int, count: int, begin: int, end: int) -> tuple[list[Mosaic], int]:
        """The samples of a source with at least cells `begin` to `end`, and the first cell that they have."""
        found = [self._found[source, number] for number in range(count)]
        if self._store is None:
            return [sample for sample in found if isinstance(sample, Mosaic)], 0
        return [sample.part(begin, end) for sample in found if isinstance(sample, StoredMosaic)], begin

    @property
    def chunks(self) -> Iterator[tuple[int, int]]:
        """Rows that go through the script at once, so that all their samples stay within some megabytes."""
        most = min(_CHUNK_CELLS, max(_LEAST_CHUNK_CELLS, _CHUNK_BYTES // max(1, self._cell_bytes)))
        rows = max(1, most // self._window.width)
        for first in range(0, self._window.height, rows):
            yield first, min(self._window.height, first + rows)


def _told(work: Callable[[], T]) -> T:
    try:
        return work()
    except OSError as error:
        reason = error.strerror or str(error)
        raise SpillFailed(
            f"Samples of an image cannot be kept in {tempfile.gettempdir()}: {reason}; make room there, or set TMPDIR"
        ) from None
