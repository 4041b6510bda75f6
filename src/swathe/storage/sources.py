"""What the deployment names as its sources: local files, `file://`, `http(s)://` and `s3://`.

Kept apart from `ObjectStores`: a request names `s3://` only, so nothing here may be given an address from a request. What
the items of a catalog name is read as `storage.doors` says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from swathe.model.errors import AccessDenied, StorageError
from swathe.storage import folder, transfer
from swathe.storage.doors import with_hosts
from swathe.storage.failures import explain_file
from swathe.storage.signing import SasTokens
from swathe.storage.sites import Sites
from swathe.storage.stores import ObjectStores
from swathe.storage.urls import parse_object_url, shown_url, to_file

T = TypeVar("T")


@lru_cache(maxsize=16_384)
def local_path(href: str) -> Path | None:
    """The file that a plain path or a `file://` address names; None for an address in a store or on a server."""
    if href.startswith("file://"):
        parts = urlsplit(href)
        return Path(unquote(parts.path))
    return None if "://" in href else Path(href)


class SourceFiles:
    """Reads the files a deployment names. Raises what `ObjectStores` raises. May be used by several threads."""

    def __init__(self, stores: ObjectStores, *sources: str) -> None:
        """`sources` are addresses of the deployment's own, whose hosts are read from besides those that it lists."""
        self.stores = stores
        self._sources = sources
        self._sites = Sites(with_hosts(stores.settings, sources))
        self._sas = SasTokens(stores.settings)
        self._elsewhere: dict[str, ObjectStores] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[SourceFiles], tuple[ObjectStores | str, ...]]:
        return type(self), (self.stores, *self._sources)

    def read(self, href: str) -> bytes:
        """The whole file."""
        if href.startswith("s3://"):
            return self._bucket(href).read(href)
        if (path := local_path(href)) is not None:
            return _on_file(path, Path.read_bytes)
        return self._on_site(href, self._sites.read)

    def is_local(self, href: str) -> bool:
        """Whether it lies on this machine: a file, or an object of a bucket that is mapped to a folder."""
        return local_path(href) is not None or (
            href.startswith("s3://") and self._bucket(href).settings.local_root is not None
        )

    def read_ranges(self, href: str, ranges: Sequence[tuple[int, int]]) -> Sequence[bytes | memoryview]:
        """The bytes of `(start, length)` ranges; one that reaches beyond the end is cut short there."""
        if href.startswith("s3://"):
            return self._bucket(href).read_ranges(href, ranges)
        if (path := local_path(href)) is not None:
            return _on_file(path, lambda file: folder.read_parts(file, ranges))
        return self._on_site(href, lambda address: self._sites.read_parts(address, ranges))

    def read_ranges_into(
        self, href: str, ranges: Sequence[tuple[int, int]], room: memoryview
    ) -> Sequence[bytes | memoryview]:
        """As `read_ranges`; what lies on this machine is put into `room`, which must be as long as all ranges."""
        path, name = local_path(href), href
        if path is not None:
            name = str(path)
        elif href.startswith("s3://") and (root := self._bucket(href).settings.local_root) is not None:
            path = to_file(root, parse_object_url(href))
        if path is None:
            return self.read_ranges(href, ranges)
        return _on_file(path, lambda file: transfer.read_parts_into(file, ranges, room), name)

    def size(self, href: str) -> int:
        """The file's length in bytes."""
        if href.startswith("s3://"):
            return self._bucket(href).size(href)
        if (path := local_path(href)) is not None:
            return _on_file(path, transfer.file_size)
        return self._on_site(href, self._sites.size)

    def list_files(self, href: str) -> Iterator[str]:
        """The addresses of all files below a folder or a prefix of a bucket; hidden ones are left aside.

        Raises:
            StorageError: it is a web server, which cannot be asked what it has.
        """
        if href.startswith("s3://"):
            yield from self._bucket(href).list_keys(href)
        elif (path := local_path(href)) is not None:
            for file in _on_file(path, lambda folder_: sorted(folder_.rglob("*"))):
                if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts):
                    yield str(file)
        else:
            raise StorageError(f"{shown_url(href)} cannot be listed: name a folder, or a bucket as s3://bucket/folder")

    def _on_site(self, href: str, action: Callable[[str], T]) -> T:
        """What `action` makes of an address, with a token where it needs one; a new one where one is not accepted."""
        token = self._sas.token(href)
        if token is None:
            return action(href)
        try:
            return action(_signed(href, token))
        except AccessDenied:
            self._sas.forget(href, token)
            other = self._sas.token(href)
            if other is None or other == token:
                raise
            return action(_signed(href, other))

    def _bucket(self, href: str) -> ObjectStores:
        """The stores in which a bucket lies: the deployment's, or those that `storage.sources` says."""
        bucket = href.removeprefix("s3://").partition("/")[0]
        told = self.stores.settings.sources.get(bucket)
        if told is None:
            return self.stores
        with self._lock:
            if bucket not in self._elsewhere:
                place = {**told.model_dump(), "local_root": None, "sources": {}}
                self._elsewhere[bucket] = ObjectStores(self.stores.settings.model_copy(update=place))
            return self._elsewhere[bucket]


def _signed(href: str, token: str) -> str:
    return f"{href}{'&' if '?' in href else '?'}{token}"


def _on_file(path: Path, action: Callable[[Path], T], name: str | None = None) -> T:
    try:
        return action(path)
    except OSError as error:
        raise explain_file(error, name or str(path), "read") from None
