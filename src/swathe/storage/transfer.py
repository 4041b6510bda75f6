"""Moving bytes: ranges, whole files in pieces, many objects at once."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, TypeVar

import obstore
from obstore.store import S3Store

from swathe.model.errors import LimitExceeded, StorageError
from swathe.storage.folder import new_file

CHUNK_BYTES = 8 * 2**20

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")


def get_parts(store: S3Store, key: str, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
    """The bytes of `(start, length)` ranges, a request each, side by side; empty ranges cost none."""
    wanted = [(start, length) for start, length in ranges if length > 0]
    if len(wanted) == 1:
        start, length = wanted[0]
        answers = iter([obstore.get_range(store, key, start=start, length=length)])
    else:
        starts, lengths = [start for start, _ in wanted], [length for _, length in wanted]
        # Without coalescing: who asks has already merged what lies close together.
        answers = iter(obstore.get_ranges(store, key, starts=starts, lengths=lengths, coalesce=0) if wanted else [])
    return [memoryview(next(answers) if length > 0 else b"") for _, length in ranges]


def read_parts_into(path: Path, ranges: Sequence[tuple[int, int]], room: memoryview) -> list[memoryview]:
    """The bytes of `(start, length)` ranges of a file, one behind the other in `room`, which is long enough.

    A range that reaches beyond the end is cut short there.
    """
    parts = []
    at = 0
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for start, length in ranges:
            part = room[at : at + length]
            arrived = 0
            while arrived < length and (more := os.preadv(descriptor, [part[arrived:]], start + arrived)):
                arrived += more
            parts.append(part[:arrived])
            at += length
    finally:
        os.close(descriptor)
    return parts


def file_size(path: Path) -> int:
    """The length of a regular file.

    Raises:
        FileNotFoundError: there is none, or it is a folder.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError(f"{path.name} is no regular file")
    return status.st_size


def file_chunks(path: Path) -> Iterator[bytes]:
    """A file in pieces."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def keep(chunks: Iterable[bytes], size: int, path: Path, *, url: str, max_bytes: int) -> None:
    """Writes what arrives to a file that has its name when all of it is there.

    Raises:
        LimitExceeded: `size` is over `max_bytes`, or more arrives.
        StorageError: this machine cannot keep it, or it ended early.
    """
    _check_size(size, url, max_bytes)
    at_source: list[OSError] = []

    def arriving() -> Iterator[bytes]:
        try:
            yield from chunks
        except OSError as error:
            at_source.append(error)
            raise

    arrived = 0
    try:
        with new_file(path, durable=False, mode=0o600) as file:
            for chunk in arriving():
                arrived += len(chunk)
                _check_size(arrived, url, max_bytes)
                file.write(chunk)
            if arrived != size:
                raise StorageError(f"{url} cannot be read: {arrived} of its {size} bytes arrived")
    except OSError as error:
        if error in at_source:
            raise
        raise _cannot_keep(url, error) from None


def _cannot_keep(url: str, error: OSError) -> StorageError:
    return StorageError(f"{url} cannot be kept on this machine: {error.strerror}")


def _check_size(size: int, url: str, max_bytes: int) -> None:
    if size > max_bytes:
        raise LimitExceeded(f"{url} has {size} bytes, more than the {max_bytes} this deployment takes")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine to its end, also where this thread already has a loop of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def write_in_threads(write: Callable[[K, V], None], items: Iterable[tuple[K, V]], concurrency: int) -> int:
    """Calls `write` for each item in a few threads and returns how many there were; the first failure is raised."""
    count = 0
    under_way: set[Future[None]] = set()
    with ThreadPoolExecutor(max(1, min(concurrency, 16))) as pool:
        for url, data in items:
            if len(under_way) >= 2 * concurrency:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
            under_way.add(pool.submit(write, url, data))
            count += 1
        for future in under_way:
            future.result()
    return count
