"""Opens the source of a collection as what it is: a static catalog, a STAC API, a stac-geoparquet file, or plain files."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

from swathe.catalog.areas import Bbox
from swathe.catalog.cog_files import CogFiles
from swathe.catalog.geoparquet import Geoparquet
from swathe.catalog.items import Extent
from swathe.catalog.scene import Scene
from swathe.catalog.search import CatalogSource
from swathe.catalog.searched import SearchedSource
from swathe.model.errors import SourceError
from swathe.settings import CatalogSettings, CollectionSettings
from swathe.storage import ObjectStores

_DOCUMENTS = (".json", ".geojson")
_TABLES = (".parquet", ".geoparquet")
_WEB = ("http://", "https://")


class SceneCatalog(Protocol):
    """The scenes of one source.

    Raises (all methods):
        SourceError: the source cannot be read; `retryable` where it may be later.
    """

    def find_scenes(
        self,
        *,
        start: datetime,
        end: datetime,
        boxes: Sequence[Bbox] | None = None,
        max_cloud_cover: float | None = None,
    ) -> list[Scene]:
        """The scenes of `[start, end)` whose box meets one of `boxes` (degrees), by time and id, each once."""
        ...

    def newest_scenes(
        self, *, start: datetime, end: datetime, boxes: Sequence[Bbox] | None, ids: frozenset[str] | None
    ) -> Iterable[Scene]:
        """The scenes of `[start, end)`, newest first; `boxes` and `ids` are hints, and more may come."""
        ...

    def sample_scenes(self) -> Sequence[Scene]:
        """All scenes, or some where there are many: of these the bands of a custom collection are taken."""
        ...

    def extent(self) -> Extent:
        """Where and when there are scenes, as far as that is known."""
        ...


def open_catalog(
    entry: CollectionSettings,
    stores: ObjectStores,
    settings: CatalogSettings | None = None,
    *,
    keeps_items: bool = False,
) -> SceneCatalog:
    """The scenes of a configured collection, with their items if asked; nothing is read before they are asked for."""
    told = settings or CatalogSettings()
    kind = entry.kind or _kind(entry)
    if kind == "static":
        return CatalogSource(
            entry.source, stores, collection=entry.type, keeps_items=keeps_items, alternate=entry.alternate or ""
        )
    if kind == "geoparquet":
        return SearchedSource(Geoparquet(entry.source, stores), entry, told, keeps_items=keeps_items)
    if kind == "files":
        # who shows items is the server, which opens no rasters itself
        files = CogFiles(entry.source, entry.pattern or "", stores, apart=keeps_items)
        return SearchedSource(files, entry, told, keeps_items=keeps_items)
    return _WebCatalog(entry, stores, told, keeps_items=keeps_items)


def _kind(entry: CollectionSettings) -> str:
    path = entry.source.split("?")[0].rstrip("/").lower()
    if entry.pattern is not None:
        return "files"
    if path.endswith(_TABLES):
        return "geoparquet"
    return "stac-api" if path.startswith(_WEB) and not path.endswith(_DOCUMENTS) else "static"


class _WebCatalog:
    """A catalog on the web: an API where it says that it is one, else a static catalog. Found out when it is asked."""

    def __init__(
        self, entry: CollectionSettings, stores: ObjectStores, settings: CatalogSettings, *, keeps_items: bool
    ) -> None:
        self.source = entry.source
        from swathe.catalog.stac_api import StacApi  # with a library that other sources do not need

        self._api = StacApi(entry, settings)
        self._searched = SearchedSource(self._api, entry, settings, keeps_items=keeps_items)
        self._static = CatalogSource(
            entry.source, stores, collection=entry.type, keeps_items=keeps_items, alternate=entry.alternate or ""
        )
        self._entry = entry
        self._found: SceneCatalog | None = None
        self._lock = threading.Lock()

    def find_scenes(
        self,
        *,
        start: datetime,
        end: datetime,
        boxes: Sequence[Bbox] | None = None,
        max_cloud_cover: float | None = None,
    ) -> list[Scene]:
        return self._opened().find_scenes(start=start, end=end, boxes=boxes, max_cloud_cover=max_cloud_cover)

    def newest_scenes(
        self, *, start: datetime, end: datetime, boxes: Sequence[Bbox] | None, ids: frozenset[str] | None
    ) -> Iterable[Scene]:
        return self._opened().newest_scenes(start=start, end=end, boxes=boxes, ids=ids)

    def sample_scenes(self) -> Sequence[Scene]:
        return self._opened().sample_scenes()

    def extent(self) -> Extent:
        return self._opened().extent()

    def _opened(self) -> SceneCatalog:
        with self._lock:
            if self._found is None:
                self._found = self._searched if self._is_api() else self._static
            return self._found

    def _is_api(self) -> bool:
        try:
            return self._api.describe().is_api
        except SourceError as error:
            # a folder on a web server has no page of its own, or one for people
            if error.retryable or self._entry.kind == "stac-api" or self._entry.stac_collections:
                raise
            try:
                self._static.extent()
            except SourceError:
                raise error from None
            return False
