"""What files that are read by ranges have in common."""

from __future__ import annotations

import io


class SeekableFile(io.RawIOBase):
    """A file of known size (bytes) with a place at which it is read; `read` or `readinto` is what a kind of file adds."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at
