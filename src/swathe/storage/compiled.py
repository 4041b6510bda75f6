"""Small files written by compiled code, many in one go, without holding the interpreter meanwhile.

Each file is written as `folder.write_many_whole` does it, a nameless file that gets its name when it is complete, but a
thread that writes ten thousand of them does not stop the others forty thousand times. Linux only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit, types

from swathe.storage.folder import Bytes, write_many_whole
from swathe.storage.unfinished import sweep

_MOST_FILES = 2_000
_MOST_BYTES = 16 * 2**20
_NAMELESS = getattr(os, "O_TMPFILE", 0) | os.O_WRONLY | getattr(os, "O_CLOEXEC", 0)
_FOLLOW = 0x400  # AT_SYMLINK_FOLLOW
_HERE = -100  # AT_FDCWD
_PROC = np.frombuffer(b"/proc/self/fd/", np.uint8)
_DOT = np.frombuffer(b".\0", np.uint8)

# The C library's own functions.
_t: Any = types
_openat: Any = types.ExternalFunction("openat", _t.int32(_t.int32, _t.uintp, _t.int32, _t.int32))
_write: Any = types.ExternalFunction("write", _t.intp(_t.int32, _t.uintp, _t.uintp))
_linkat: Any = types.ExternalFunction("linkat", _t.int32(_t.int32, _t.uintp, _t.int32, _t.uintp, _t.int32))
_close: Any = types.ExternalFunction("close", _t.int32(_t.int32))


def write_many(folder: Path, files: Iterable[tuple[str, Bytes]]) -> int:
    """As `write_many_whole`, not durably; what compiled code cannot do in the plain way is left to that.

    Raises:
        OSError: the folder or the system does not take them.
    """
    if sys.platform != "linux" or not _NAMELESS & getattr(os, "O_TMPFILE", 0):
        return write_many_whole(folder, files)
    count = 0
    batch: list[tuple[str, Bytes]] = []
    size = 0
    for name, data in files:
        batch.append((name, data))
        size += len(data)
        if len(batch) >= _MOST_FILES or size >= _MOST_BYTES:
            count += _write_batch(folder, batch)
            batch, size = [], 0
    return count + (_write_batch(folder, batch) if batch else 0)


def _write_batch(folder: Path, files: list[tuple[str, Bytes]]) -> int:
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return write_many_whole(folder, files)
    try:
        sweep(opened)
        data, starts = _joined([data for _, data in files])
        names, name_starts = _joined([os.fsencode(name) + b"\0" for name, _ in files])
        done = int(_put_files(opened, data, starts, names, name_starts))
    finally:
        os.close(opened)
    if done < len(files):  # a file of that name is there, or something is wrong that is to be told
        write_many_whole(folder, files[done:])
    return len(files)


def _joined(pieces: list[bytes] | list[Bytes]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Pieces one behind the other, and where each begins and the last ends."""
    starts = np.zeros(len(pieces) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, pieces), np.int64, len(pieces)), out=starts[1:])
    return np.frombuffer(b"".join(pieces), np.uint8), starts


@njit(cache=True, nogil=True)
def _put_files(folder, data, starts, names, name_starts):  # type: ignore[no-untyped-def]
    """Writes files into an open folder and returns how many, up to the first that cannot be written in the plain way."""
    path = np.zeros(len(_PROC) + 12, np.uint8)
    path[: len(_PROC)] = _PROC
    here = _DOT.copy()
    for k in range(len(starts) - 1):
        descriptor = _openat(folder, here.ctypes.data, _NAMELESS, 0o666)
        if descriptor < 0:
            return k
        at, end = starts[k], starts[k + 1]
        while at < end:
            written = _write(descriptor, data.ctypes.data + at, end - at)
            if written <= 0:
                _close(descriptor)
                return k
            at += written
        digits = 1
        while 10**digits <= descriptor:
            digits += 1
        rest = descriptor
        for i in range(digits):
            path[len(_PROC) + digits - 1 - i] = 48 + rest % 10
            rest //= 10
        path[len(_PROC) + digits] = 0
        named = _linkat(_HERE, path.ctypes.data, folder, names.ctypes.data + name_starts[k], _FOLLOW)
        _close(descriptor)
        if named < 0:
            return k
    return len(starts) - 1
