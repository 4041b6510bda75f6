"""Finds scenes in static STAC: a folder, `catalog.json`, `collection.json`, `items.geojson`, or a single item.

Reads local files and stores. What was parsed is kept: a local file is read again when its size or time changes, one in
a store when it was read more than five minutes ago, so a server that runs for months sees new items.
"""

from __future__ import annotations

import bisect
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson

from swathe.catalog.areas import Bbox, boxes_meet
from swathe.catalog.failures import cannot_read
from swathe.catalog.items import Extent, extent_of
from swathe.catalog.scene import Scene, parse_item, resolve_href
from swathe.model.errors import ObjectNotFound, SourceError, StorageError
from swathe.storage import ObjectStores, SourceFiles
from swathe.storage.sources import local_path

_LIFETIME_S = 300.0
_LOOK_AGAIN_S, _LOOK_AGAIN_FACTOR = 2.0, 20.0
_LOCAL_THREADS, _REMOTE_THREADS = 4, 32
_MAX_DOCUMENTS = 2_000_000
_ROOTS = ("catalog.json", "collection.json", "items.geojson")
_BELOW = ("child", "item")


@dataclass(frozen=True)
class _Document:
    """A parsed file: the scenes in it, and the files it links to."""

    scenes: tuple[Scene, ...]
    links: tuple[str, ...]
    stamp: object
    read_at: float


class CatalogSource:
    """The scenes of one source. May be used by several threads.

    Raises (all methods):
        SourceError: the source is missing or no STAC, or an item is broken; the sentence names it.
        SourceUnavailable: its store does not answer now (retryable).
    """

    def __init__(
        self,
        source: str,
        stores: ObjectStores,
        *,
        collection: str = "",
        keeps_items: bool = False,
        alternate: str = "",
    ) -> None:
        """`alternate` is the name of the alternative addresses at which assets are read, where they have one."""
        self.source = source
        self._alternate = alternate
        self._collection = collection
        self._keeps_items = keeps_items
        self._files = SourceFiles(stores, source)
        self._documents: dict[str, _Document] = {}
        self._scenes: list[Scene] = []
        self._look_again_at = float("-inf")
        self._lock = threading.Lock()

    def find_scenes(
        self,
        *,
        start: datetime,
        end: datetime,
        boxes: Sequence[Bbox] | None = None,
        max_cloud_cover: float | None = None,
    ) -> list[Scene]:
        """The scenes of `[start, end)` whose box meets one of `boxes` (degrees), by time and id.

        With `max_cloud_cover` (percent), scenes whose cloud cover is unknown stay.
        """
        scenes = self.all_scenes()
        first = bisect.bisect_left(scenes, start, key=lambda scene: scene.datetime)
        last = bisect.bisect_left(scenes, end, key=lambda scene: scene.datetime)
        return [
            scene
            for scene in scenes[first:last]
            if (boxes is None or any(boxes_meet(scene.bbox, box) for box in boxes))
            and (max_cloud_cover is None or scene.cloud_cover is None or scene.cloud_cover <= max_cloud_cover)
        ]

    def newest_scenes(
        self, *, start: datetime, end: datetime, boxes: Sequence[Bbox] | None, ids: frozenset[str] | None
    ) -> Iterable[Scene]:
        """The scenes of `[start, end)` whose box meets one of `boxes`, newest first, then by id."""
        return newest_first(self.find_scenes(start=start, end=end, boxes=boxes))

    def sample_scenes(self) -> Sequence[Scene]:
        """Every scene."""
        return self.all_scenes()

    def extent(self) -> Extent:
        """The box and the times of all scenes."""
        return extent_of(self.all_scenes())

    def all_scenes(self) -> list[Scene]:
        """Every scene, by time and id. The list is the source's own: not to be changed."""
        with self._lock:
            started = time.monotonic()
            if started > self._look_again_at:
                self._scenes = sorted(self._walk(), key=lambda scene: (scene.datetime, scene.id))
                took = time.monotonic() - started
                self._look_again_at = started + took + max(_LOOK_AGAIN_S, _LOOK_AGAIN_FACTOR * took)
            return self._scenes

    def _walk(self) -> list[Scene]:
        seen: dict[str, _Document] = {}
        remote = local_path(self.source) is None
        with ThreadPoolExecutor(_REMOTE_THREADS if remote else _LOCAL_THREADS) as pool:
            waiting: dict[Future[_Document], str] = {}

            def ask(href: str) -> None:
                if len(seen) + len(waiting) >= _MAX_DOCUMENTS:
                    raise SourceError(f"{self.source} links to more than {_MAX_DOCUMENTS} files")
                waiting[pool.submit(self._document, href)] = href

            known = {self._root()}
            for href in known:
                ask(href)
            try:
                while waiting:
                    done, _ = wait(waiting, return_when="FIRST_COMPLETED")
                    for future in done:
                        document = future.result()
                        seen[waiting.pop(future)] = document
                        for link in document.links:
                            if link not in known:
                                known.add(link)
                                ask(link)
            finally:
                for future in waiting:
                    future.cancel()
        self._documents = seen
        return [scene for document in seen.values() for scene in document.scenes]

    def _root(self) -> str:
        path = local_path(self.source)
        if path is not None:
            if not path.exists():
                raise SourceError(
                    f"{path} cannot be read: there is no such file or folder; see the collection's source"
                )
            if not path.is_dir():
                return str(path)
            candidates = [str(path / name) for name in _ROOTS]
        elif self.source.endswith((".json", ".geojson")):
            return self.source
        else:
            candidates = [f"{self.source.rstrip('/')}/{name}" for name in _ROOTS]
        for href in candidates:
            try:
                self._files.size(href)
            except ObjectNotFound:
                continue
            except StorageError as error:
                raise cannot_read(error) from None
            return href
        raise SourceError(
            f"{self.source} holds no STAC: there is no {', '.join(_ROOTS)} in it; rasters without STAC need a `pattern`"
            " in the configuration, which says how their names tell band and date"
        )

    def _document(self, href: str) -> _Document:
        known = self._documents.get(href)
        path = local_path(href)
        stamp = _stamp(path) if path is not None else None
        if known is not None and (
            stamp == known.stamp if path is not None else time.monotonic() - known.read_at < _LIFETIME_S
        ):
            return known
        read_at = time.monotonic()
        try:
            data = self._files.read(href)
        except StorageError as error:
            raise cannot_read(error) from None
        try:
            content = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise SourceError(f"{href} is no JSON ({error}); mend it, or take its link out of the catalog") from None
        scenes, links = self._parse(content, href)
        return _Document(scenes, links, stamp, read_at)

    def _parse(self, content: Any, href: str) -> tuple[tuple[Scene, ...], tuple[str, ...]]:
        kind = content.get("type") if isinstance(content, dict) else None
        if kind == "Feature":
            return (self._scene(content, href),), ()
        if kind == "FeatureCollection":
            items = content.get("features")
            if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                raise SourceError(f"{href} is a FeatureCollection without a list of features")
            return tuple(self._scene(item, href) for item in items), ()
        # Before STAC 1.0 a catalog had no `type`.
        if kind in ("Catalog", "Collection") or (isinstance(content, dict) and "stac_version" in content):
            return (), tuple(_links(content, href))
        raise SourceError(f"{href} is no STAC catalog, collection, item or list of items")

    def _scene(self, item: Mapping[str, Any], href: str) -> Scene:
        return parse_item(item, href, self._collection, keeps_item=self._keeps_items, alternate=self._alternate)


def newest_first(scenes: Sequence[Scene]) -> Iterator[Scene]:
    """Scenes by time and id, the newest first, then by id."""
    for _, alike in groupby(reversed(scenes), key=lambda scene: scene.datetime):
        yield from reversed(list(alike))


def _links(content: Mapping[str, Any], href: str) -> Iterator[str]:
    links = content.get("links")
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and link.get("rel") in _BELOW and isinstance(link.get("href"), str):
            yield resolve_href(link["href"], href)


def _stamp(path: Path) -> object:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
