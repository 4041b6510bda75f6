"""Samples of a large feature in a temporary file, until all of them are there and can be gone through again and again."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from swathe.model.errors import SwatheError

_READ_AT_ONCE = 250_000


T = TypeVar("T")


class SpillFailed(SwatheError):
    """The temporary file cannot be written: its disk is full, mostly."""

    retryable = True


@dataclass(frozen=True)
class _Column:
    """Where the samples of one name lie: `place` in the file, and how many each piece has (pieces)."""

    place: int
    dtype: np.dtype[Any]
    weighted: bool
    counts: npt.NDArray[np.int64]


class Spill:
    """Columns of samples by name, written in pieces in any order and read in the order of the pieces.

    `starts` (pieces + 1) says where the cells of each piece begin; a piece has at most as many samples. The file has no name
    and vanishes with the process. May be used by several threads.
    """

    def __init__(self, starts: npt.NDArray[np.int64]) -> None:
        self._starts = starts
        self._columns: dict[Hashable, _Column] = {}
        self._end = 0
        self._lock = threading.Lock()
        self._open = ExitStack()
        self._file = -1

    def __enter__(self) -> Spill:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
        self._file = -1

    def clear(self) -> None:
        """Forgets all columns."""
        self._columns.clear()
        self._end = 0
        if self._file >= 0:
            _refused(partial(os.truncate, self._file, 0))

    def write(
        self,
        name: Hashable,
        first: int,
        values: npt.NDArray[np.generic],
        weights: npt.NDArray[np.float64] | None,
        ends: npt.NDArray[np.int64],
    ) -> None:
        """Writes the samples of pieces `first` and following; `ends` (pieces) says where each one's end in `values`."""
        column = self._column(name, values.dtype, weights is not None)
        begin = 0
        for piece, end in enumerate(ends.tolist(), first):
            at = int(self._starts[piece])
            self._put(column.place + at * values.itemsize, values[begin:end])
            if weights is not None:
                self._put(self._weights_of(column) + at * 8, weights[begin:end])
            column.counts[piece] = end - begin
            begin = end

    def read(self, name: Hashable) -> Iterator[tuple[npt.NDArray[np.generic], npt.NDArray[np.float64] | None]]:
        """All samples of a column, values and weights, some pieces at a time."""
        column = self._columns[name]
        first, pieces = 0, len(column.counts)
        while first < pieces:
            upto = self._starts[first] + _READ_AT_ONCE
            last = max(first + 1, int(np.searchsorted(self._starts, upto, side="right")) - 1)
            values = self._take(column.place, column.dtype, column.counts, first, last)
            weights = None
            if column.weighted:
                weights = self._take(self._weights_of(column), np.dtype(np.float64), column.counts, first, last)
            if len(values):
                yield values, weights
            first = last

    def count(self, name: Hashable) -> int:
        """How many samples a column has."""
        return int(self._columns[name].counts.sum()) if name in self._columns else 0

    def _column(self, name: Hashable, dtype: np.dtype[Any], weighted: bool) -> _Column:
        with self._lock:
            if name not in self._columns:
                if self._file < 0:
                    file = _refused(partial(tempfile.TemporaryFile, prefix="swathe-", buffering=0))
                    self._file = self._open.enter_context(file).fileno()
                pieces = len(self._starts) - 1
                self._columns[name] = _Column(self._end, dtype, weighted, np.zeros(pieces, np.int64))
                self._end += int(self._starts[-1]) * (dtype.itemsize + (8 if weighted else 0))
            return self._columns[name]

    def _weights_of(self, column: _Column) -> int:
        return column.place + int(self._starts[-1]) * column.dtype.itemsize

    def _put(self, place: int, values: npt.NDArray[Any]) -> None:
        data = memoryview(np.ascontiguousarray(values).view(np.uint8).data)
        while data:
            written = _refused(partial(os.pwrite, self._file, data, place))
            data, place = data[written:], place + written

    def _take(
        self, place: int, dtype: np.dtype[Any], counts: npt.NDArray[np.int64], first: int, last: int
    ) -> npt.NDArray[Any]:
        """The samples of pieces `first` to `last` (excluded): read with the gaps between them, which are closed."""
        begin = int(self._starts[first])
        room = np.zeros(int(self._starts[last]) - begin, dtype)
        data = room.view(np.uint8).data
        place += begin * dtype.itemsize
        # what lies behind the end of the file was not written
        while data and (got := os.preadv(self._file, [data], place)):
            data, place = data[got:], place + got
        places = (self._starts[first:last] - begin).tolist()
        return np.concatenate(
            [room[at : at + count] for at, count in zip(places, counts[first:last].tolist(), strict=True)]
        )


def _refused(work: Callable[[], T]) -> T:
    try:
        return work()
    except OSError as error:
        reason = error.strerror or str(error)
        raise SpillFailed(
            f"Samples of a large feature cannot be kept in {tempfile.gettempdir()}: {reason}; make room there, or set TMPDIR"
        ) from None
