"""An object of a store as a file that Arrow can read."""

from __future__ import annotations

import io
from typing import Any

from swathe.client.locations import DocumentLocation

# What describes a Parquet file stands at its end: one request brings it, and the whole of a short file.
_TAIL_BYTES = 256 * 1024


class ObjectFile(io.RawIOBase):
    """Reads what is asked for, a request each; the end of the object is kept."""

    def __init__(self, location: DocumentLocation, key: str, size: int) -> None:
        super().__init__()
        self._location, self._key, self._size = location, key, size
        self._at = 0
        self._tail: tuple[int, bytes] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def size(self) -> int:
        """In bytes."""
        return self._size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence] + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        target = memoryview(buffer).cast("B")
        length = max(0, min(len(target), self._size - self._at))
        if length:
            target[:length] = self._range(self._at, self._at + length)
        self._at += length
        return length

    def _range(self, start: int, end: int) -> bytes:
        first = max(0, self._size - _TAIL_BYTES)
        if start < first:
            return self._location.read_range(self._key, start, end)
        if self._tail is None:
            self._tail = (first, self._location.read_range(self._key, first, self._size))
        return self._tail[1][start - first : end - first]
