"""What the deployment names as its sources: local files, `file://`, `http(s)://` and `s3://`.

Kept apart from `ObjectStores`: a request names `s3://` only, so nothing here may be given an address from a request.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import HTTPStore

from swathe.model.errors import StorageError
from swathe.storage import folder, transfer
from swathe.storage.buckets import open_site
from swathe.storage.failures import explain, explain_file
from swathe.storage.stores import ObjectStores
from swathe.storage.urls import parse_object_url, to_file

T = TypeVar("T")


def local_path(href: str) -> Path | None:
    """The file that a plain path or a `file://` address names; None for an address in a store or on a server."""
    if href.startswith("file://"):
        parts = urlsplit(href)
        return Path(unquote(parts.path))
    return None if "://" in href else Path(href)


class SourceFiles:
    """Reads the files a deployment names. Raises what `ObjectStores` raises. May be used by several threads."""

    def __init__(self, stores: ObjectStores) -> None:
        self.stores = stores
        self._sites: dict[str, HTTPStore] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[SourceFiles], tuple[ObjectStores]]:
        return type(self), (self.stores,)

    def read(self, href: str) -> bytes:
        """The whole file."""
        if href.startswith("s3://"):
            return self.stores.read(href)
        if (path := local_path(href)) is not None:
            return _on_file(path, Path.read_bytes)
        return self._on_site(href, lambda site, key: bytes(obstore.get(site, key).bytes()))

    def is_local(self, href: str) -> bool:
        """Whether it lies on this machine: a file, or an object of a bucket that is mapped to a folder."""
        return local_path(href) is not None or (
            href.startswith("s3://") and self.stores.settings.local_root is not None
        )

    def read_ranges(self, href: str, ranges: Sequence[tuple[int, int]]) -> Sequence[bytes | memoryview]:
        """The bytes of `(start, length)` ranges; one that reaches beyond the end is cut short there."""
        if href.startswith("s3://"):
            return self.stores.read_ranges(href, ranges)
        if (path := local_path(href)) is not None:
            return _on_file(path, lambda file: folder.read_parts(file, ranges))
        return self._on_site(href, lambda site, key: transfer.get_parts(site, key, ranges))

    def read_ranges_into(
        self, href: str, ranges: Sequence[tuple[int, int]], room: memoryview
    ) -> Sequence[bytes | memoryview]:
        """As `read_ranges`; what lies on this machine is put into `room`, which must be as long as all ranges."""
        path, name = local_path(href), href
        root = self.stores.settings.local_root
        if path is not None:
            name = str(path)
        elif href.startswith("s3://") and root is not None:
            path = to_file(root, parse_object_url(href))
        if path is None:
            return self.read_ranges(href, ranges)
        return _on_file(path, lambda file: transfer.read_parts_into(file, ranges, room), name)

    def size(self, href: str) -> int:
        """The file's length in bytes."""
        if href.startswith("s3://"):
            return self.stores.size(href)
        if (path := local_path(href)) is not None:
            return _on_file(path, transfer.file_size)
        return self._on_site(href, lambda site, key: int(obstore.head(site, key)["size"]))

    def _on_site(self, href: str, action: Callable[[HTTPStore, str], T]) -> T:
        parts = urlsplit(href)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise StorageError(f"{href} cannot be read: sources are files, or http(s):// or s3:// addresses")
        if parts.query or parts.username:
            bare = f"{parts.scheme}://{parts.hostname}{parts.path}"
            raise StorageError(f"{bare} cannot be read: addresses with a query or a password are not supported")
        origin = f"{parts.scheme}://{parts.netloc}"
        with self._lock:
            if origin not in self._sites:
                self._sites[origin] = open_site(self.stores.settings, origin)
            site = self._sites[origin]
        try:
            return action(site, unquote(parts.path).lstrip("/"))
        except (BaseError, OSError, ValueError) as error:
            raise explain(error, href, "read") from None


def _on_file(path: Path, action: Callable[[Path], T], name: str | None = None) -> T:
    try:
        return action(path)
    except OSError as error:
        raise explain_file(error, name or str(path), "read") from None
