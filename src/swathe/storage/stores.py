"""The object stores of a deployment: what requests and jobs read from and deliver to."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypedDict, TypeVar

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from swathe.model.errors import ObjectNotFound, StorageError
from swathe.settings import StorageSettings
from swathe.storage import folder, passing, transfer
from swathe.storage.buckets import open_bucket
from swathe.storage.credentials import Credentials
from swathe.storage.failures import explain, explain_file
from swathe.storage.urls import ObjectUrl, parse_object_url, to_file

_OPEN_BUCKETS = 64
# Their product is how many files are open at a time.
_FILES_AT_ONCE = 128
_FOLDERS_AT_ONCE = 4
# What is no longer goes in one request, which leaves nothing behind when it is cut short; the parts of a long object must
# each be sent within `timeout_s`.
_WHOLE_BYTES = 32 * 2**20
_PIECE_BYTES = 8 * 2**20
_PIECES_AT_ONCE = 4
_STORE_ERRORS = (BaseError, OSError, ValueError)

T = TypeVar("T")


class ObjectStores:
    """Reads and writes `s3://bucket/key` at the deployment's endpoint, or in files under `local_root`.

    Keys are those given with a call, else the deployment's; with neither, requests are unsigned. Cheap to build and to
    pickle: only the settings travel, connections are made anew in each process. May be used by several threads.

    All methods raise `ObjectNotFound`, `AccessDenied`, `StoreUnavailable` (retryable) or another `StorageError`, with
    a sentence that names the address and never a secret.

    With `local_root` the endpoint and all keys are left aside; a bucket is a folder there and is made when first
    written to.
    """

    def __init__(self, settings: StorageSettings) -> None:
        self.settings = settings
        secret = settings.secret_access_key
        self._own = (
            Credentials(settings.access_key, secret.get_secret_value(), settings.region)
            if settings.access_key is not None and secret is not None
            else None
        )
        self._open: OrderedDict[tuple[str, Credentials | None], S3Store] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[ObjectStores], tuple[StorageSettings]]:
        return type(self), (self.settings,)

    # Reading

    def read(self, url: str, *, credentials: Credentials | None = None) -> bytes:
        """The whole object."""
        place = parse_object_url(url)
        if self.settings.local_root is not None:
            return self._on_file(place, "read", Path.read_bytes)
        return self._on_bucket(place, "read", credentials, lambda s: bytes(obstore.get(s, place.key).bytes()))

    def read_ranges(
        self, url: str, ranges: Sequence[tuple[int, int]], *, credentials: Credentials | None = None
    ) -> Sequence[bytes | memoryview]:
        """The bytes of `(start, length)` ranges, one request each, side by side.

        A range that reaches beyond the end of the object is cut short there; one that starts beyond it is an error of
        the store.
        """
        place = parse_object_url(url)
        if self.settings.local_root is not None:
            return self._on_file(place, "read", lambda path: folder.read_parts(path, ranges))

        def fetch(store: S3Store) -> Sequence[bytes | memoryview]:
            return transfer.get_parts(store, place.key, ranges)

        return self._on_bucket(place, "read", credentials, fetch)

    def size(self, url: str, *, credentials: Credentials | None = None) -> int:
        """The object's length in bytes."""
        place = parse_object_url(url)
        if self.settings.local_root is not None:
            return self._on_file(place, "read", transfer.file_size)
        return self._on_bucket(place, "read", credentials, lambda s: int(obstore.head(s, place.key)["size"]))

    def exists(self, url: str, *, credentials: Credentials | None = None) -> bool:
        """Whether there is such an object. A refusal is an error, not an absence."""
        try:
            self.size(url, credentials=credentials)
        except ObjectNotFound:
            return False
        return True

    def download(self, url: str, path: Path, max_bytes: int, *, credentials: Credentials | None = None) -> None:
        """Copies an object to a local file, which appears whole or not at all. Memory stays at a few megabytes.

        Raises:
            LimitExceeded: the object is longer than `max_bytes`; nothing is fetched then.
        """
        place = parse_object_url(url)
        if self.settings.local_root is not None:

            def copy(source: Path) -> None:
                size = transfer.file_size(source)
                transfer.keep(transfer.file_chunks(source), size, path, url=str(place), max_bytes=max_bytes)

            self._on_file(place, "read", copy)
            return

        def fetch(store: S3Store) -> None:
            answer = obstore.get(store, place.key)
            chunks = (bytes(chunk) for chunk in answer.stream(min_chunk_size=transfer.CHUNK_BYTES))
            transfer.keep(chunks, int(answer.meta["size"]), path, url=str(place), max_bytes=max_bytes)

        self._on_bucket(place, "read", credentials, fetch)

    def list_keys(self, url_prefix: str, *, credentials: Credentials | None = None) -> Iterator[str]:
        """The addresses of all objects below a folder (`s3://bucket/folder/` or a whole bucket), depth first.

        The prefix is a folder: `s3://b/run` does not list `s3://b/run2/x`. Unfinished objects are not listed.
        """
        place = parse_object_url(url_prefix, folder=True)
        if self.settings.local_root is not None:
            base = self._on_file(place, "listed", lambda path: path)
            for file in folder.list_files(base):
                relative = file.relative_to(base).as_posix()
                yield str(ObjectUrl(place.bucket, f"{place.key}/{relative}" if place.key else relative))
            return
        batches = self._on_bucket(place, "listed", credentials, lambda s: obstore.list(s, place.key or None))
        while True:
            batch = self._on_bucket(place, "listed", credentials, lambda _: next(batches, None))
            if batch is None:
                return
            for entry in batch:
                yield str(ObjectUrl(place.bucket, str(entry["path"])))

    # Writing

    # What passes is waited out for `patience_s`: an object that is put twice is the same object.

    def write(self, url: str, data: folder.Bytes, *, credentials: Credentials | None = None) -> None:
        """Puts an object, replacing one of that name. It appears whole or not at all."""
        place = parse_object_url(url)
        if self.settings.local_root is not None:
            self._on_file(place, "written", lambda path: folder.write_whole(path, data))
            return
        put = partial(_put, key=place.key, content=_octets(data), size=len(data))
        passing.retry(lambda: self._on_bucket(place, "written", credentials, put), self.settings.patience_s)

    def upload(self, url: str, file: Path, *, credentials: Credentials | None = None) -> None:
        """Puts a file of this machine, which may be long: memory stays at a few dozen megabytes.

        A long object is sent in parts. A process that is killed meanwhile leaves these where nobody sees them; the
        store removes them after some days if it is told so (a life cycle rule for incomplete uploads).
        """
        place = parse_object_url(url)
        if self.settings.local_root is not None:
            self._on_file(place, "written", lambda path: folder.copy_whole(file, path))
            return
        put = partial(_put, key=place.key, content=file, size=transfer.file_size(file))
        passing.retry(lambda: self._on_bucket(place, "written", credentials, put), self.settings.patience_s)

    def write_many(
        self,
        items: Iterable[tuple[str, folder.Bytes]],
        concurrency: int = 32,
        *,
        credentials: Credentials | None = None,
    ) -> int:
        """Puts many objects, `concurrency` at a time, and returns how many.

        `items` is taken as it is needed, so it may be long. The first failure is raised after the puts under way have
        ended; those done by then stay.
        """
        if self.settings.local_root is not None:
            return self._write_files(items, concurrency)
        return transfer.run(self._write_concurrently(items, max(1, concurrency), credentials))

    def _write_files(self, items: Iterable[tuple[str, folder.Bytes]], concurrency: int) -> int:
        """Puts objects into files, those of a folder some at a time: the disk is waited for once for many."""
        count = 0

        def parts() -> Iterator[tuple[ObjectUrl, list[tuple[str, folder.Bytes]]]]:
            nonlocal count
            waiting = iter(items)
            while batch := [(parse_object_url(url), data) for url, data in islice(waiting, _FILES_AT_ONCE)]:
                folders: dict[Path, tuple[ObjectUrl, list[tuple[str, folder.Bytes]]]] = {}
                for place, data in batch:
                    path = self._on_file(place, "written", lambda path: path)
                    folders.setdefault(path.parent, (place, []))[1].append((path.name, data))
                yield from folders.values()
                count += len(batch)

        def write(place: ObjectUrl, files: list[tuple[str, folder.Bytes]]) -> None:
            self._on_file(place, "written", lambda path: folder.write_many_whole(path.parent, files, durable=True))

        transfer.write_in_threads(write, parts(), min(concurrency, _FOLDERS_AT_ONCE))
        return count

    async def _write_concurrently(
        self, items: Iterable[tuple[str, folder.Bytes]], concurrency: int, credentials: Credentials | None
    ) -> int:
        async def put_once(place: ObjectUrl, data: folder.Bytes) -> None:
            try:
                await obstore.put_async(
                    self._bucket(place.bucket, credentials), place.key, _octets(data), **_manner(len(data))
                )
            except _STORE_ERRORS as error:
                raise explain(error, str(place), "written") from None

        async def put(place: ObjectUrl, data: folder.Bytes) -> None:
            await passing.retry_async(lambda: put_once(place, data), self.settings.patience_s)

        count = 0
        under_way: set[asyncio.Task[None]] = set()
        try:
            for url, data in items:
                if len(under_way) >= concurrency:
                    done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
                under_way.add(asyncio.create_task(put(parse_object_url(url), data)))
                count += 1
            for task in list(under_way):
                await task
        finally:
            await asyncio.gather(*under_way, return_exceptions=True)
        return count

    def check_writable(self, url_prefix: str, *, credentials: Credentials | None = None) -> None:
        """Finds out before the work whether objects can be put below a folder, by putting and removing a hidden one."""
        place = parse_object_url(url_prefix, folder=True)
        if self.settings.local_root is not None:
            self._on_file(place, "written to", lambda path: folder.check_writable(path, str(place)))
            return
        # of one name, so that the next check removes what a killed one left
        name = ".swathe-write-check"
        key = f"{place.key}/{name}" if place.key else name

        def probe(store: S3Store) -> None:
            obstore.put(store, key, b"")
            obstore.delete(store, key)

        self._on_bucket(place, "written to", credentials, probe)

    def delete(self, url: str, *, credentials: Credentials | None = None) -> None:
        """Removes an object; one that is not there is as good as removed."""
        place = parse_object_url(url)
        if self.settings.local_root is not None:
            self._on_file(place, "deleted", folder.delete)
            return
        self._on_bucket(place, "deleted", credentials, lambda s: obstore.delete(s, place.key))

    # The two kinds of place

    def _bucket(self, bucket: str, credentials: Credentials | None) -> S3Store:
        keys = credentials or self._own
        with self._lock:
            store = self._open.get((bucket, keys))
            if store is None:
                store = self._open[bucket, keys] = open_bucket(self.settings, bucket, keys)
            self._open.move_to_end((bucket, keys))
            while len(self._open) > _OPEN_BUCKETS:
                self._open.popitem(last=False)
            return store

    def _on_bucket(
        self, place: ObjectUrl, doing: str, credentials: Credentials | None, action: Callable[[S3Store], T]
    ) -> T:
        try:
            return action(self._bucket(place.bucket, credentials))
        except _STORE_ERRORS as error:
            raise explain(error, str(place), doing) from None

    def _on_file(self, place: ObjectUrl, doing: str, action: Callable[[Path], T]) -> T:
        root = self.settings.local_root
        if root is None:
            raise StorageError(f"{place} is kept in no folder by this deployment")
        try:
            return action(to_file(root, place))
        except OSError as error:
            raise explain_file(error, str(place), doing) from None


class _Manner(TypedDict):
    use_multipart: bool
    chunk_size: int
    max_concurrency: int


def _manner(size: int) -> _Manner:
    """How an object of some size is put."""
    return {"use_multipart": size > _WHOLE_BYTES, "chunk_size": _PIECE_BYTES, "max_concurrency": _PIECES_AT_ONCE}


def _octets(data: folder.Bytes) -> folder.Bytes:
    """Bytes as the store library takes them: not those that Arrow calls signed."""
    return data.cast("B") if isinstance(data, memoryview) else data


def _put(store: S3Store, *, key: str, content: folder.Bytes | Path, size: int) -> None:
    obstore.put(store, key, content, **_manner(size))
