"""Searches a STAC API, or one collection of it: by box and time, page after page."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import orjson

from swathe.catalog.areas import Bbox
from swathe.catalog.definitions import read_definitions
from swathe.catalog.failures import SourceUnavailable, cannot_read
from swathe.catalog.item_cache import Item, ItemCache, Window
from swathe.catalog.items import Extent
from swathe.catalog.scene import resolve_href
from swathe.model.errors import AccessDenied, ObjectNotFound, SourceError, StorageError
from swathe.settings import CatalogSettings, CollectionSettings
from swathe.storage.urls import shown_url
from swathe.storage.web import WebService

_SORT = "#sort"
_MOST_IDS = 100
_ALL = Window(None, None, None)
_LEFT_OUT = ("links",)


@dataclass(frozen=True)
class ApiDescription:
    """What an API says of itself: where it is searched, how, and in which of its collections.

    `boxes` and `times` (ISO, None: open) are those of the collections. `is_api` is false where it is a static catalog.
    """

    is_api: bool
    search: str = ""
    by_post: bool = True
    sorts: bool = False
    collections: tuple[str, ...] = ()
    boxes: tuple[Bbox, ...] = ()
    times: tuple[tuple[str | None, str | None], ...] = ()


class StacApi:
    """An API that the deployment names. May be used by several threads. Raises what `ItemFinder` raises."""

    def __init__(self, entry: CollectionSettings, settings: CatalogSettings) -> None:
        self.base = shown_url(entry.source)
        self.knows_places = True
        self._entry = entry
        self._settings = settings
        self._headers = {name: value.get_secret_value() for name, value in entry.headers.items()}
        self._service = WebService(
            entry.source, timeout_s=settings.timeout_s, patience_s=settings.patience_s, headers=self._headers
        )
        self._described: tuple[float, ApiDescription] | None = None

    @property
    def identity(self) -> str:
        entry = self._entry
        secrets = hashlib.sha256(orjson.dumps(sorted(self._headers.items()))).hexdigest()
        asked = [entry.source, entry.type, entry.stac_collections, entry.query, entry.filter, secrets]
        return orjson.dumps(asked).decode()

    def describe(self) -> ApiDescription:
        """What the API says of itself, asked once in a while.

        Raises:
            SourceError: it is no STAC, or has none of the collections.
        """
        known = self._described
        if known is not None and time.time() - known[0] < max(self._settings.cache_age_s, 60.0):
            return known[1]
        cache = None
        if self._settings.cache is not None:
            cache = ItemCache(
                self._settings.cache,
                f"api\n{self.identity}",
                age_s=self._settings.cache_age_s,
                max_bytes=self._settings.cache_bytes,
            )
        found = cache.find(_ALL) if cache is not None else None
        if found is not None and found[2] and found[2][0]:
            description = _from_json(found[2][0][0])
            self._described = found[1], description
            return description
        description = self._ask_description()
        if cache is not None:
            for _ in cache.keep(_ALL, [[asdict(description)]]):
                pass
        self._described = time.time(), description
        return description

    def find(self, window: Window) -> Iterator[list[Item]]:
        """All items of a window, in pages."""
        return self._pages(window, {})

    def newest(self, window: Window, ids: frozenset[str] | None) -> Iterator[list[Item]]:
        """Items of a window, newest first if the API sorts."""
        return self._newest(window, ids)

    def _newest(self, window: Window, ids: frozenset[str] | None) -> Iterator[list[Item]]:
        more: dict[str, Any] = {}
        if self.describe().sorts:
            more["sortby"] = [{"field": "properties.datetime", "direction": "desc"}]
        if ids is None:
            yield from self._pages(window, more)
            return
        names = sorted(ids)
        for first in range(0, len(names), _MOST_IDS):
            yield from self._pages(window, {**more, "ids": names[first : first + _MOST_IDS]})

    def extent(self) -> Extent:
        """What the API says of its collections."""
        told = self.describe()
        box: Bbox | None = None
        if told.boxes:
            sides = list(zip(*told.boxes, strict=True))
            box = min(sides[0]), min(sides[1]), max(sides[2]), max(sides[3])
        starts, ends = ([_moment(span[place]) for span in told.times] for place in (0, 1))
        first = None if not starts or None in starts else min(moment for moment in starts if moment is not None)
        last = None if not ends or None in ends else max(moment for moment in ends if moment is not None)
        return box, first, last

    # Describing

    def _ask_description(self) -> ApiDescription:
        page = self._get(self._entry.source)
        links = _links(page)
        collection = page if page.get("type") == "Collection" and _find(links, "items") else None
        root = page
        if collection is not None and (address := _find(links, "root")) is not None:
            root = self._get(str(address["href"]))
            links = _links(root)
        searches = [link for link in links if link.get("rel") == "search"]
        conforms = [str(name) for name in root.get("conformsTo") or () if isinstance(name, str)]
        if not searches and not any("item-search" in name for name in conforms):
            if self._entry.kind == "stac-api":
                raise SourceError(f"{self.base} is no STAC API: it has no link to a search")
            return ApiDescription(is_api=False)
        posts = [link for link in searches if str(link.get("method", "GET")).upper() == "POST"]
        search = (posts or searches or [{"href": f"{_root_of(links, self.base)}/search"}])[0]
        documents = (
            [collection]
            if collection is not None and not self._entry.stac_collections
            else self._collections(_root_of(links, self.base))
        )
        boxes, times = [], []
        for document in documents:
            extent = document.get("extent") or {}
            boxes += [found for box in (extent.get("spatial") or {}).get("bbox") or () if (found := _box(box))][:1]
            spans = (extent.get("temporal") or {}).get("interval") or ()
            times += [(_text(span[0]), _text(span[1])) for span in spans if isinstance(span, list) and len(span) == 2][
                :1
            ]
        return ApiDescription(
            is_api=True,
            search=str(search["href"]),
            by_post=bool(posts),
            sorts=any("item-search" in name and name.endswith(_SORT) for name in conforms),
            collections=tuple(str(document.get("id")) for document in documents),
            boxes=tuple(boxes),
            times=tuple(times),
        )

    def _collections(self, root: str) -> list[dict[str, Any]]:
        """The documents of the collections that are searched: the configured ones, else the first of the type's names."""
        if self._entry.stac_collections:
            return [self._collection(root, name) for name in self._entry.stac_collections]
        definition = next((known for known in read_definitions() if known.is_named(self._entry.type)), None)
        names = (self._entry.type,) if definition is None else (definition.type, self._entry.type, *definition.aliases)
        for name in dict.fromkeys(names):
            try:
                return [self._collection(root, name)]
            except SourceError as error:
                if error.retryable or not isinstance(error.__cause__, ObjectNotFound):
                    raise
        raise SourceError(
            f"{self.base} has no collection {' or '.join(dict.fromkeys(names))}; set stac_collections of collection"
            f" '{self._entry.type}' to what it is called there"
        )

    def _collection(self, root: str, name: str) -> dict[str, Any]:
        try:
            return self._get(f"{root}/collections/{name}")
        except SourceError as error:
            if isinstance(error.__cause__, ObjectNotFound):
                raise SourceError(
                    f"{self.base} has no collection {name}; set stac_collections of collection"
                    f" '{self._entry.type}' to what it is called there"
                ) from error.__cause__
            raise

    def _get(self, url: str) -> dict[str, Any]:
        try:
            found = self._service.get(url)
        except StorageError as error:
            raise self._explain(error) from error
        if not isinstance(found, dict):
            raise SourceError(f"{shown_url(url)} is no STAC: it is no JSON object")
        return found

    # Searching

    def _pages(self, window: Window, more: Mapping[str, Any]) -> Iterator[list[Item]]:
        told = self.describe()
        body: dict[str, Any] = {"collections": list(told.collections), "limit": self._settings.page_items, **more}
        if window.box is not None:
            body["bbox"] = list(window.box)
        if window.start is not None or window.end is not None:
            body["datetime"] = f"{_rfc3339(window.start)}/{_rfc3339(window.end)}"
        if self._entry.query:
            body["query"] = self._entry.query
        if self._entry.filter:
            body |= {"filter": self._entry.filter, "filter-lang": "cql2-text"}
        method, url = ("POST" if told.by_post else "GET"), told.search
        headers: dict[str, str] = {}
        if not told.by_post:
            url, body = _with_query(url, body), {}
        count, began, asked = 0, time.monotonic(), set()
        while True:
            request = orjson.dumps([method, url, body], option=orjson.OPT_SORT_KEYS)
            if request in asked:
                raise SourceError(f"{self.base} leads from one page of items to the same again")
            asked.add(request)
            page = self._ask(method, url, body if method == "POST" else None, headers)
            items = page.get("features")
            if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                raise SourceError(f"{shown_url(url)} answers a search with something that is no list of items")
            count += len(items)
            if count > self._settings.items:
                raise SourceError(
                    f"{self.base} has more than {self._settings.items:,} items in a search; ask for a shorter time"
                    " or a smaller area, or raise catalog.items"
                )
            yield [_absolute(item, self._service.own(url)) for item in items]
            following = _find(_links(page), "next")
            if following is None:
                return
            if time.monotonic() - began > self._settings.search_s:
                raise SourceUnavailable(
                    f"{self.base} took longer than {self._settings.search_s:g} s for a search (catalog.search_s)"
                )
            method, url, body, headers = _next(following, url, body)

    def _ask(self, method: str, url: str, body: Any, headers: Mapping[str, str]) -> dict[str, Any]:
        try:
            page = self._service.ask(method, url, body, headers)
        except StorageError as error:
            raise self._explain(error) from error
        return page if isinstance(page, dict) else {}

    def _explain(self, error: StorageError) -> SourceError:
        remedy = "; set `headers` in the collection's configuration" if isinstance(error, AccessDenied) else ""
        return cannot_read(error, f"The catalog of collection '{self._entry.type}': {error.message}{remedy}")


def _next(
    link: Mapping[str, Any], url: str, body: Mapping[str, Any]
) -> tuple[str, str, dict[str, Any], dict[str, str]]:
    """Method, address, body and headers of the page that a link leads to."""
    method = "POST" if str(link.get("method", "GET")).upper() == "POST" else "GET"
    headers = {str(k): str(v) for k, v in (link.get("headers") or {}).items() if isinstance(v, str)}
    if method == "GET":
        return method, str(link["href"]), {}, headers
    told = link.get("body")
    told = told if isinstance(told, dict) else {}
    return method, str(link["href"]), {**body, **told} if link.get("merge") or not told else told, headers


def _with_query(url: str, body: Mapping[str, Any]) -> str:
    """An address whose query says what the body of a POST would."""
    values = {}
    for name, value in body.items():
        if name == "sortby":
            values[name] = ",".join(f"{'-' if key['direction'] == 'desc' else '+'}{key['field']}" for key in value)
        elif isinstance(value, list):
            values[name] = ",".join(map(str, value))
        elif isinstance(value, dict):
            values[name] = orjson.dumps(value).decode()
        else:
            values[name] = str(value)
    return f"{url}{'&' if '?' in url else '?'}{urlencode(values)}"


def _absolute(item: Mapping[str, Any], searched: str) -> Item:
    """An item without its links, its files' addresses whole: relative ones are so to the item's own."""
    own = _find(_links(item), "self")
    base = str(own["href"]) if own is not None and "://" in str(own["href"]) else searched
    assets = item.get("assets")
    whole = {}
    for key, asset in assets.items() if isinstance(assets, Mapping) else ():
        if isinstance(asset, Mapping) and isinstance(asset.get("href"), str):
            whole[key] = {**asset, "href": resolve_href(asset["href"], base)}
    return {**{key: value for key, value in item.items() if key not in _LEFT_OUT}, "assets": whole}


def _links(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    links = document.get("links")
    return [
        link
        for link in (links if isinstance(links, Sequence) else ())
        if isinstance(link, Mapping) and isinstance(link.get("href"), str)
    ]


def _find(links: Sequence[Mapping[str, Any]], rel: str) -> Mapping[str, Any] | None:
    return next((link for link in links if link.get("rel") == rel), None)


def _root_of(links: Sequence[Mapping[str, Any]], default: str) -> str:
    link = _find(links, "root") or _find(links, "self")
    return str(link["href"] if link is not None else default).split("?")[0].rstrip("/")


def _rfc3339(moment: datetime | None) -> str:
    return ".." if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _moment(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text or "")
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except ValueError:
        return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _box(value: Any) -> Bbox | None:
    try:
        half = len(value) // 2
        return float(value[0]), float(value[1]), float(value[half]), float(value[half + 1])
    except (TypeError, ValueError, IndexError):
        return None


def _from_json(values: Mapping[str, Any]) -> ApiDescription:
    told = dict(values)
    for name in ("collections", "boxes", "times"):
        told[name] = tuple(tuple(one) if isinstance(one, list) else one for one in told.get(name) or ())
    return ApiDescription(**told)
