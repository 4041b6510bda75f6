"""Objects kept as files: a bucket is a folder. An object appears whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from swathe.model.errors import StorageError

UNFINISHED = ".swathe-unfinished-"


def read_parts(path: Path, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """The bytes of `(start, length)` ranges; a range that reaches beyond the end is cut short there."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return [_read_part(descriptor, start, length) for start, length in ranges]
    finally:
        os.close(descriptor)


def _read_part(descriptor: int, start: int, length: int) -> bytes:
    data = os.pread(descriptor, length, start)
    while len(data) < length:
        more = os.pread(descriptor, length - len(data), start + len(data))
        if not more:
            break
        data += more
    return data


def write_whole(path: Path, data: bytes) -> None:
    """Writes under another name, makes it durable, and renames: nobody ever sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.parent / f"{UNFINISHED}{secrets.token_hex(8)}"
    try:
        with unfinished.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def list_files(folder: Path) -> Iterator[Path]:
    """Every finished file below `folder`, in the order of the names; none where there is no such folder.

    Symbolic links to folders are not followed, so the walk ends and stays inside.
    """
    for where, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if not name.startswith(UNFINISHED):
                yield Path(where, name)


def check_writable(folder: Path, url: str) -> None:
    """Writes and removes a hidden file where objects of `url` would lie.

    Raises:
        OSError: the file system does not allow it.
        StorageError: a file lies where a folder is needed.
    """
    above = folder
    while not above.exists() and above != above.parent:
        above = above.parent
    if not above.is_dir():
        raise StorageError(f"{url} cannot be written to: an object lies where a folder is needed")
    probe = above / f"{UNFINISHED}{secrets.token_hex(8)}"
    try:
        probe.touch(exist_ok=False)
    finally:
        probe.unlink(missing_ok=True)


def delete(path: Path) -> None:
    """Removes a file; one that is not there is as good as removed, as in S3."""
    path.unlink(missing_ok=True)
