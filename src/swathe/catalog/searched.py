"""Scenes of sources that are asked rather than read whole: STAC APIs and the like. What they said is kept for a while."""

from __future__ import annotations

import bisect
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Protocol

from swathe.catalog.areas import Bbox, boxes_meet, month_after, month_before, plain_boxes, widened
from swathe.catalog.collections import BandDefinition, make_collection
from swathe.catalog.definitions import read_definitions
from swathe.catalog.item_cache import Item, ItemCache, Window
from swathe.catalog.items import Extent
from swathe.catalog.scene import Scene, parse_item
from swathe.catalog.search import newest_first
from swathe.model.errors import SettingsInvalid, SourceError
from swathe.settings import CatalogSettings, CollectionSettings

_SEARCHES_AT_ONCE = 4
_KEPT_SCENES, _KEPT_WINDOWS = 100_000, 256
_REELS, _REEL_S, _REEL_SCENES = 32, 120.0, 20_000
_EVER = Window(None, None, None)
_SAMPLE = 100


class ItemFinder(Protocol):
    """Finds STAC items in a source.

    Raises (all methods):
        SourceError: the source cannot be searched; `retryable` where it may be later.
    """

    base: str
    """The source's address, for errors, and what addresses of files are relative to."""
    knows_places: bool
    """Whether less is found in a box than everywhere."""

    @property
    def identity(self) -> str:
        """What answers depend on beside the window; it changes when the source is seen to."""
        ...

    def find(self, window: Window) -> Iterator[list[Item]]:
        """All items of a window, in pages; more may come."""
        ...

    def newest(self, window: Window, ids: frozenset[str] | None) -> Iterator[list[Item]] | None:
        """Items of a window, newest first where the source can, in pages that are asked for as they are taken; `ids` are
        all that is wanted. None where all items have to be known to tell the newest.
        """
        ...

    def extent(self) -> Extent:
        """Where and when there are items, as far as that is known."""
        ...


@dataclass
class _Kept:
    scenes: list[Scene]
    read_at: float


class SearchedSource:
    """The scenes of one finder. May be used by several threads; two that want the same search make it once.

    Raises (all methods):
        SourceError: the source cannot be searched, or an item is broken; the sentence names it.
    """

    def __init__(
        self, finder: ItemFinder, entry: CollectionSettings, settings: CatalogSettings, *, keeps_items: bool = False
    ) -> None:
        self.source = entry.source
        self._finder = finder
        self._entry = entry
        self._settings = settings
        self._keeps_items = keeps_items
        self._identity = ""
        self._bands = None if keeps_items else _bands(entry)
        self._kept: OrderedDict[Window, _Kept] = OrderedDict()
        self._reels: OrderedDict[object, _Reel] = OrderedDict()
        self._searching: dict[Window, threading.Lock] = {}
        self._lock = threading.Lock()

    def find_scenes(
        self,
        *,
        start: datetime,
        end: datetime,
        boxes: Sequence[Bbox] | None = None,
        max_cloud_cover: float | None = None,
    ) -> list[Scene]:
        """The scenes of `[start, end)` whose box meets one of `boxes`, by time and id, each once.

        With `max_cloud_cover` (percent), scenes whose cloud cover is unknown stay. Clouds are looked at here and not by
        the source, so that a search serves requests of any cloud cover.
        """
        self._look()
        first, last = month_before(start), month_after(end)
        windows: list[Window] = list(
            dict.fromkeys(
                [Window(widened(box), first, last) for box in plain_boxes(boxes)]
                if boxes is not None and self._finder.knows_places
                else [Window(None, first, last)]
            )
        )
        if len(windows) > 1:
            with ThreadPoolExecutor(_SEARCHES_AT_ONCE) as pool:
                found = list(pool.map(self._search, windows))
        else:
            found = [self._search(window) for window in windows]
        chosen: dict[tuple[str, datetime], Scene] = {}
        for scenes in found:
            at = bisect.bisect_left(scenes, start, key=lambda scene: scene.datetime)
            until = bisect.bisect_left(scenes, end, key=lambda scene: scene.datetime)
            for scene in scenes[at:until]:
                if boxes is not None and not any(boxes_meet(scene.bbox, box) for box in boxes):
                    continue
                if max_cloud_cover is None or scene.cloud_cover is None or scene.cloud_cover <= max_cloud_cover:
                    chosen.setdefault((scene.id, scene.datetime), scene)
        return sorted(chosen.values(), key=lambda scene: (scene.datetime, scene.id))

    def newest_scenes(
        self, *, start: datetime, end: datetime, boxes: Sequence[Bbox] | None, ids: frozenset[str] | None
    ) -> Iterable[Scene]:
        """The scenes of `[start, end)`, newest first, then by id; asked for page by page as they are taken."""
        if self._finder.newest(_EVER, ids) is None:
            found = self.find_scenes(start=start, end=end, boxes=boxes)
            return newest_first([scene for scene in found if ids is None or scene.id in ids])
        self._look()
        around = None if boxes is None or not self._finder.knows_places else tuple(plain_boxes(boxes))
        key = (start, end, around, ids)
        with self._lock:
            reel = self._reels.get(key)
            if reel is None or reel.failed or time.monotonic() - reel.begun > _REEL_S:
                reel = self._reels[key] = _Reel(self._in_order(start, end, around, ids))
            self._reels.move_to_end(key)
            while len(self._reels) > 1 and (
                len(self._reels) > _REELS or sum(len(known.scenes) for known in self._reels.values()) > _REEL_SCENES
            ):
                self._reels.popitem(last=False)
        return reel

    def sample_scenes(self) -> Sequence[Scene]:
        """Some scenes, of which the bands of a collection are taken."""
        kept = self._kept_of(_EVER)
        newest = self._finder.newest(_EVER, None)
        if kept is not None or newest is None:
            return self._search(_EVER) if kept is None else kept
        cache = self._cache("sample")
        known = cache.find(_EVER) if cache is not None else None
        pages = known[2] if known is not None else None
        if pages is None:
            asked = (page[:_SAMPLE] for page in _first(newest))
            pages = list(asked if cache is None else cache.keep(_EVER, asked))
        return self._sorted(pages)

    def extent(self) -> Extent:
        """Where and when there are scenes, as far as the source tells."""
        return self._finder.extent()

    def _look(self) -> None:
        """Forgets what is known of a source that has changed."""
        identity = self._finder.identity
        with self._lock:
            if identity != self._identity:
                self._identity = identity
                self._kept.clear()
                self._reels.clear()

    def _search(self, window: Window) -> list[Scene]:
        with self._lock:
            searching = self._searching.setdefault(window, threading.Lock())
        try:
            with searching:
                kept = self._kept_of(window)
                return self._ask(window) if kept is None else kept
        finally:
            with self._lock:
                if not searching.locked():
                    self._searching.pop(window, None)

    def _kept_of(self, wanted: Window) -> list[Scene] | None:
        with self._lock:
            for window, kept in self._kept.items():
                if window.holds(wanted) and 0 <= time.time() - kept.read_at < self._settings.cache_age_s:
                    self._kept.move_to_end(window)
                    return kept.scenes
        return None

    def _ask(self, window: Window) -> list[Scene]:
        cache = self._cache()
        known = cache.find(window) if cache is not None else None
        if known is not None:
            window, read_at, found = known
            scenes = self._sorted(found)
        else:
            read_at = time.time()
            pages = self._finder.find(window)
            scenes = self._sorted(pages if cache is None else cache.keep(window, pages))
        with self._lock:
            self._kept[window] = _Kept(scenes, read_at)
            self._kept.move_to_end(window)
            while len(self._kept) > 1 and (
                len(self._kept) > _KEPT_WINDOWS or sum(len(kept.scenes) for kept in self._kept.values()) > _KEPT_SCENES
            ):
                self._kept.popitem(last=False)
        return scenes

    def _cache(self, kind: str = "") -> ItemCache | None:
        settings = self._settings
        if settings.cache is None:
            return None
        identity = f"{kind}\n{self._finder.identity}"
        return ItemCache(settings.cache, identity, age_s=settings.cache_age_s, max_bytes=settings.cache_bytes)

    def _sorted(self, pages: Iterable[list[Item]]) -> list[Scene]:
        found: dict[tuple[str, datetime], Scene] = {}
        for page in pages:
            for item in page:
                scene = self._scene(item)
                found.setdefault((scene.id, scene.datetime), scene)
        return sorted(found.values(), key=lambda scene: (scene.datetime, scene.id))

    def _scene(self, item: Item) -> Scene:
        return parse_item(
            item if self._bands is None else _narrowed(item, *self._bands),
            self._finder.base,
            self._entry.type,
            keeps_item=self._keeps_items,
            alternate=self._entry.alternate or "",
        )

    def _in_order(
        self, start: datetime, end: datetime, boxes: Sequence[Bbox] | None, ids: frozenset[str] | None
    ) -> Iterator[Scene]:
        """Scenes newest first. Those of the last time of a page wait for the next one, which may have more of it."""
        first = None if start.year <= 1 else start
        last = None if end.year >= 9999 else end
        windows = [Window(box, first, last) for box in boxes] if boxes is not None else [Window(None, first, last)]
        pages = chain.from_iterable(self._finder.newest(window, ids) or () for window in windows)
        waiting: list[Scene] = []
        seen: set[bytes] = set()
        whole = len(windows) > 1
        for number, page in enumerate(pages):
            scenes = [scene for item in page if start <= (scene := self._scene(item)).datetime < end]
            scenes = [scene for scene in scenes if not _is_seen(scene, seen)]
            times = [scene.datetime for scene in scenes]
            if number == 0 and times != sorted(times, reverse=True):
                whole = True  # the source has an order of its own: all have to be known
            waiting += scenes
            if whole or not waiting:
                continue
            waiting.sort(key=_newest)
            oldest = waiting[-1].datetime
            yield from (scene for scene in waiting if scene.datetime > oldest)
            waiting = [scene for scene in waiting if scene.datetime <= oldest]
        yield from sorted(waiting, key=_newest)


def _bands(entry: CollectionSettings) -> tuple[tuple[BandDefinition, ...], str | None] | None:
    """The bands of a collection and its mask's asset; None where its scenes tell its bands."""
    if entry.type.startswith("byoc-") and not entry.bands:
        return None
    try:
        collection = make_collection(entry, read_definitions())
    except SettingsInvalid:  # who asks for the collection is told
        return None
    return tuple(collection.bands.values()), collection.mask_asset


def _narrowed(item: Item, bands: tuple[BandDefinition, ...], mask: str | None) -> Item:
    """The item with those files alone that bands are read from: catalogs list each band several times, and much besides.

    Understanding and keeping them all would take several times as long and as much memory.
    """
    assets = item.get("assets")
    if not isinstance(assets, Mapping):
        return item
    usable = {key for key, asset in assets.items() if isinstance(asset, Mapping) and isinstance(asset.get("href"), str)}
    keys = {next((key for key in band.assets if key in usable), None) for band in bands} | {mask}
    kept = {key: asset for key, asset in assets.items() if key in keys or _has_several_bands(asset)}
    return {**item, "assets": kept}


def _has_several_bands(asset: object) -> bool:
    return isinstance(asset, Mapping) and any(
        isinstance(listed := asset.get(name), list) and len(listed) > 1
        for name in ("bands", "eo:bands", "raster:bands")
    )


class _Reel:
    """Scenes that were taken from an iterator so far, and those that will be. For any thread."""

    def __init__(self, source: Iterator[Scene]) -> None:
        self.scenes: list[Scene] = []
        self.begun = time.monotonic()
        self.failed = False
        self._source = source
        self._is_over = False
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Scene]:
        at = 0
        while True:
            with self._lock:
                if at >= len(self.scenes):
                    if self._is_over:
                        return
                    if len(self.scenes) >= _REEL_SCENES:
                        raise SourceError(
                            f"At most {_REEL_SCENES:,} items of a catalog elsewhere are gone through; search a smaller"
                            " area or a shorter time"
                        )
                    try:
                        self.scenes.append(next(self._source))
                    except StopIteration:
                        self._is_over = True
                        return
                    except BaseException:
                        # a generator that raised is over, which must not look like the end of the scenes
                        self.failed = True
                        self._source = _failed()
                        raise
                scene = self.scenes[at]
            yield scene
            at += 1


def _failed() -> Iterator[Scene]:
    raise RuntimeError("the search failed before")
    yield


def _first(pages: Iterator[list[Item]]) -> Iterator[list[Item]]:
    page = next(pages, None)
    if page is not None:
        yield page


def _newest(scene: Scene) -> tuple[float, str]:
    return -scene.datetime.astimezone(UTC).timestamp(), scene.id


def _is_seen(scene: Scene, seen: set[bytes]) -> bool:
    key = hashlib.blake2b(f"{scene.id}\n{scene.datetime.isoformat()}".encode(), digest_size=12).digest()
    if key in seen:
        return True
    seen.add(key)
    return False
