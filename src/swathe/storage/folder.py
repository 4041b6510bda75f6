"""Objects kept as files: a bucket is a folder. An object appears whole or not at all."""

from __future__ import annotations

import errno
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


def write_whole(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Writes a file that nobody ever sees a part of, and that outlives a power failure if `durable`.

    Where the system can, it has no name before it is complete, so a killed process leaves nothing behind. Only replacing
    a file by another content takes a second, hidden name, for a moment and for the complete content.
    """
    try:
        nameless = _open_nameless(path.parent)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        nameless = _open_nameless(path.parent)
    unfinished = path.parent / f"{UNFINISHED}{secrets.token_hex(8)}"
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
    descriptor = os.open(unfinished, flags, 0o666) if nameless is None else nameless
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(descriptor)
            if nameless is not None:
                try:
                    _name(descriptor, path)
                    return
                except FileExistsError:
                    if _holds(path, data):  # work that was done again
                        return
                    _name(descriptor, unfinished)
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        return False


def _name(descriptor: int, path: Path) -> None:
    """Gives a nameless file a name (open(2), O_TMPFILE). Only with a folder's descriptor does Python follow the link."""
    os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor, follow_symlinks=True)


def _open_nameless(folder: Path) -> int | None:
    """A new file in a folder that has no name yet; None where the file system or the kernel knows no such thing.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if hasattr(os, "O_TMPFILE"):
        try:
            return os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                raise
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
    return None


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
