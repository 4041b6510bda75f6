"""Objects kept as files: a bucket is a folder. An object appears whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from swathe.model.errors import StorageError
from swathe.storage.unfinished import UNFINISHED, lock, sweep

_MOST_TRIES = 100
# Each is an open file for a moment; a process may have 1024.
_DURABLE_AT_ONCE = 256

Bytes = bytes | memoryview


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


def write_whole(path: Path, data: Bytes, *, durable: bool = True) -> None:
    """Writes a file that nobody ever sees a part of, and that outlives a power failure if `durable`.

    As `write_many_whole` for one file; a folder that is missing is made.
    """
    write_many_whole(path.parent, [(path.name, data)], durable=durable)


def write_many_whole(folder: Path, files: Iterable[tuple[str, Bytes]], *, durable: bool = False) -> int:
    """Writes files `(name, data)` into a folder, which is made where it is missing, and returns how many.

    Nobody ever sees a part of one. Where the system can, a file has no name before it is complete, so a killed process
    leaves nothing behind. Only replacing a file by another content takes a second name, in a hidden folder, for a moment
    and for the complete content; one that has its content already is left alone. What a killed process left in the hidden
    folder is removed first. If `durable`, all of them outlive a power failure once this has returned. What was written
    before a failure stays.

    Raises:
        OSError: the folder or the system does not take them.
    """
    count = 0
    waiting = iter(files)
    opened = _open_folder(folder, durable)
    try:
        with _Writer(opened) as writer:
            while durable and (batch := list(islice(waiting, _DURABLE_AT_ONCE))):
                writer.write_durably(batch)
                count += len(batch)
            for name, data in waiting:
                writer.write(name, data)
                count += 1
    finally:
        os.close(opened)
    return count


@contextmanager
def new_file(path: Path, *, durable: bool = True, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A file to write a long content into; it appears under its name, whole, when the block ends well.

    Raises:
        OSError: the folder or the system does not take it.
    """
    opened = _open_folder(path.parent, durable)
    try:
        with _Writer(opened, mode) as writer:
            descriptor, hidden = writer.start()
            try:
                with os.fdopen(descriptor, "wb", closefd=False) as file:
                    yield file
                if durable:
                    os.fsync(descriptor)
                writer.finish(descriptor, hidden, path.name)
            except BaseException:
                writer.remove(hidden)
                raise
            finally:
                os.close(descriptor)
        if durable:
            _sync_folder(opened)
    finally:
        os.close(opened)


def copy_whole(source: Path, path: Path) -> None:
    """Copies a file in pieces; the copy appears whole or not at all and outlives a power failure."""
    with source.open("rb") as file, new_file(path) as copy:
        shutil.copyfileobj(file, copy, 2**20)


def _open_folder(folder: Path, durable: bool) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        return os.open(folder, flags)
    except FileNotFoundError:
        above = [folder.parent]
        while not above[-1].exists() and above[-1] != above[-1].parent:
            above.append(above[-1].parent)
        folder.mkdir(parents=True, exist_ok=True)
    if durable:  # the names of the new folders too
        for outer in above:
            descriptor = os.open(outer, flags)
            try:
                _sync_folder(descriptor)
            finally:
                os.close(descriptor)
    return os.open(folder, flags)


class _Writer:
    """Writes files into an open folder, by names relative to it."""

    def __init__(self, folder: int, mode: int = 0o666) -> None:
        self._folder = folder
        self._mode = mode
        self._nameless = hasattr(os, "O_TMPFILE")
        # Whether to look first: a nameless file learns from its naming that work is being done again, one with a hidden
        # name never would.
        self._look_first = not self._nameless
        self._opened = -1
        self._hidden = -1

    def __enter__(self) -> _Writer:
        sweep(self._folder)
        if self._nameless:
            try:
                self._opened = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                self._nameless, self._look_first = False, True
        return self

    def __exit__(self, *_: object) -> None:
        if self._opened >= 0:
            os.close(self._opened)
        if self._hidden >= 0:
            os.close(self._hidden)
            with suppress(OSError):  # another writer's file is in it
                os.rmdir(UNFINISHED, dir_fd=self._folder)

    def write(self, name: str, data: Bytes) -> None:
        """One file, not durably."""
        if self._look_first and self._holds(name, data):
            return
        descriptor, hidden = self.start()
        try:
            _write_all(descriptor, data)
            self.finish(descriptor, hidden, name, data)
        except BaseException:
            self.remove(hidden)
            raise
        finally:
            os.close(descriptor)

    def write_durably(self, files: Sequence[tuple[str, Bytes]]) -> None:
        """Some files, durably: all contents first, then all names.

        A content must be on the disk before its name is, or a power failure could leave a name without it. Writing back
        begins for all of them before the first is waited for; a journalling file system then commits once for the
        contents and once for the names.
        """
        begun: list[tuple[int, str | None, str, Bytes]] = []
        try:
            for name, data in files:
                if self._holds(name, data, durable=True):
                    continue
                descriptor, hidden = self.start()
                begun.append((descriptor, hidden, name, data))
                _write_all(descriptor, data)
                _begin_writing_back(descriptor)
            for descriptor, *_ in begun:
                os.fsync(descriptor)
            for descriptor, hidden, name, data in begun:
                self.finish(descriptor, hidden, name, data)
            _sync_folder(self._folder)
        except BaseException:
            for _, hidden, *_ in begun:
                self.remove(hidden)
            raise
        finally:
            for descriptor, *_ in begun:
                os.close(descriptor)

    def start(self) -> tuple[int, str | None]:
        """A new file that has no name yet, or a hidden one where the file system or the kernel knows no such thing."""
        if self._nameless:
            try:
                return os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, self._mode, dir_fd=self._folder), None
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                    raise
                self._nameless, self._look_first = False, True
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        for _ in range(_MOST_TRIES):
            name = secrets.token_hex(8)
            try:
                descriptor = os.open(name, flags, self._mode, dir_fd=self._hidden_folder())
            except FileNotFoundError:  # another writer found the hidden folder empty and removed it
                self._forget_hidden_folder()
                continue
            lock(descriptor)
            if os.fstat(descriptor).st_nlink:
                return descriptor, name
            os.close(descriptor)  # it was taken for a dead process's before it was locked
        raise OSError(errno.EAGAIN, "others remove what is being written")

    def finish(self, descriptor: int, hidden: str | None, name: str, data: Bytes | None = None) -> None:
        """Gives a complete file its name; with `data`, a file that has this content already is left alone."""
        if hidden is None:
            try:
                self._name(descriptor, name, self._folder)
                return
            except FileExistsError:
                self._look_first = True
                if data is not None and self._holds(name, data):
                    return
            hidden = self._hide(descriptor)
        try:
            os.replace(hidden, name, src_dir_fd=self._hidden_folder(), dst_dir_fd=self._folder)
        except BaseException:
            self.remove(hidden)
            raise

    def _hide(self, descriptor: int) -> str:
        """Gives a nameless file a hidden name."""
        lock(descriptor)
        for _ in range(_MOST_TRIES):
            hidden = secrets.token_hex(8)
            try:
                self._name(descriptor, hidden, self._hidden_folder())
                return hidden
            except FileNotFoundError:
                self._forget_hidden_folder()
        raise OSError(errno.EAGAIN, "others remove what is being written")

    def _name(self, descriptor: int, name: str, folder: int) -> None:
        """Gives a nameless file a name (open(2), O_TMPFILE). Only with a folder's descriptor does Python follow the link."""
        os.link(str(descriptor), name, src_dir_fd=self._opened, dst_dir_fd=folder, follow_symlinks=True)

    def _hidden_folder(self) -> int:
        for _ in range(_MOST_TRIES):
            if self._hidden >= 0:
                return self._hidden
            with suppress(FileExistsError):
                os.mkdir(UNFINISHED, 0o777, dir_fd=self._folder)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            with suppress(FileNotFoundError):
                self._hidden = os.open(UNFINISHED, flags, dir_fd=self._folder)
        raise OSError(errno.EAGAIN, "others remove the folder of what is being written")

    def _forget_hidden_folder(self) -> None:
        os.close(self._hidden)
        self._hidden = -1

    def remove(self, hidden: str | None) -> None:
        """Removes a file that has only a hidden name."""
        if hidden is not None and self._hidden >= 0:
            with suppress(FileNotFoundError):
                os.unlink(hidden, dir_fd=self._hidden)

    def _holds(self, name: str, data: Bytes, *, durable: bool = False) -> bool:
        """Whether a file has a content already; if `durable`, then also on the disk."""
        try:
            # without waiting for whoever writes into a pipe of that name
            descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._folder)
        except OSError:
            return False
        try:
            status = os.fstat(descriptor)
            size = len(data)
            if not stat.S_ISREG(status.st_mode) or status.st_size != size or _read_part(descriptor, 0, size) != data:
                return False
            if durable:
                os.fsync(descriptor)
            return True
        except OSError:
            return False
        finally:
            os.close(descriptor)


def _write_all(descriptor: int, data: Bytes) -> None:
    written = os.write(descriptor, data)
    if written < len(data):  # a signal, or more than the kernel takes at once
        left = memoryview(data)[written:]
        while left:
            left = left[os.write(descriptor, left) :]


def _sync_folder(descriptor: int) -> None:
    """Brings the names in a folder to the disk, on file systems where that is a thing to ask for."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise


def _begin_writing_back(descriptor: int) -> None:
    """Where the system can, starts to write a file to the disk without waiting: what the advice does to dirty pages."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def list_files(folder: Path) -> Iterator[Path]:
    """Every finished file below `folder`, in the order of the names; none where there is no such folder.

    Symbolic links to folders are not followed, so the walk ends and stays inside.
    """
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(UNFINISHED))
        for name in sorted(files):
            if not name.startswith(UNFINISHED):
                yield Path(where, name)


def check_writable(folder: Path, url: str) -> None:
    """Begins a file where objects of `url` would lie, and drops it.

    Raises:
        OSError: the file system does not allow it.
        StorageError: a file lies where a folder is needed.
    """
    above = folder
    while not above.exists() and above != above.parent:
        above = above.parent
    if not above.is_dir():
        raise StorageError(f"{url} cannot be written to: an object lies where a folder is needed")
    opened = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with _Writer(opened) as writer:
            descriptor, hidden = writer.start()
            writer.remove(hidden)
            os.close(descriptor)
    finally:
        os.close(opened)


def delete(path: Path) -> None:
    """Removes a file; one that is not there is as good as removed, as in S3."""
    path.unlink(missing_ok=True)
