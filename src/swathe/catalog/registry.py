"""The collections of a deployment, by the names that requests use."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterable, Sequence
from datetime import datetime

from swathe.catalog.areas import Bbox
from swathe.catalog.collections import Collection, make_collection
from swathe.catalog.definitions import read_definitions
from swathe.catalog.items import Extent, joined_extent
from swathe.catalog.opening import SceneCatalog, open_catalog
from swathe.catalog.request_keys import SceneChoice, SourceKeys, check_keys
from swathe.catalog.scene import Scene
from swathe.model.common import DataSource
from swathe.model.errors import RequestInvalid
from swathe.settings import CatalogSettings, CollectionSettings
from swathe.storage import ObjectStores


class Catalog:
    """What `settings.collections` offers. Several entries of one type are several sources of it; the first names its
    bands. Nothing is read before it is asked for. With `keeps_items` the scenes hold their items. May be used by several
    threads.
    """

    def __init__(
        self,
        settings: Sequence[CollectionSettings],
        stores: ObjectStores,
        searching: CatalogSettings | None = None,
        *,
        keeps_items: bool = False,
    ) -> None:
        """`searching` is how sources elsewhere are searched."""
        self._settings = tuple(settings)
        self._searching = searching or CatalogSettings()
        self._stores = stores
        self._keeps_items = keeps_items
        self._sources: dict[int, SceneCatalog] = {}
        self._base: Catalog | None = None
        self._lock = threading.Lock()

    def __reduce__(
        self,
    ) -> tuple[type[Catalog], tuple[tuple[CollectionSettings, ...], ObjectStores, CatalogSettings]]:
        return type(self), (self._settings, self._stores, self._searching)

    def with_more(self, settings: Sequence[CollectionSettings]) -> Catalog:
        """One that has other collections besides, and shares what this one has opened and read."""
        other = Catalog((*self._settings, *settings), self._stores, self._searching, keeps_items=self._keeps_items)
        other._base = self
        return other

    @property
    def most_searches(self) -> int:
        """How many boxes a place that is looked for scenes in should be at most."""
        return self._searching.searches

    @property
    def types(self) -> list[str]:
        """The types that requests may name."""
        return list(dict.fromkeys(entry.type for entry in self._settings))

    def collection(self, type_name: str) -> Collection:
        """The collection of a type or one of its aliases, in any letter case. A custom one may have to be searched.

        Raises:
            RequestInvalid: this deployment has no such collection.
            SourceError: a custom collection's scenes cannot be read.
        """
        position = self._entries(type_name)[0]
        entry = self._settings[position]
        needs_scenes = entry.type.startswith("byoc-") and not entry.bands
        scenes = self._source(position).sample_scenes() if needs_scenes else ()
        return make_collection(entry, read_definitions(), scenes)

    def check_source(self, source: DataSource, where: str = "input->data") -> None:
        """Checks that requests may name this type and ask this of it, without reading anything; `where` is its place.

        Raises:
            RequestInvalid: this deployment has no such collection, or its files hold other numbers.
        """
        try:
            entries = self._entries(source.type)
        except RequestInvalid as error:
            raise RequestInvalid(error.message, f"{where}->type") from None
        check_keys(source, [self._keys(position) for position in entries], where)

    def find_scenes(
        self,
        type_name: str,
        *,
        start: datetime,
        end: datetime,
        bbox: Bbox | None = None,
        boxes: Sequence[Bbox] | None = None,
        max_cloud_cover: float | None = None,
    ) -> list[Scene]:
        """The scenes of all sources of a collection, as `SceneCatalog.find_scenes`, by time and id; `bbox` is one box."""
        places = [bbox] if boxes is None and bbox is not None else boxes
        found = [
            self._source(position).find_scenes(start=start, end=end, boxes=places, max_cloud_cover=max_cloud_cover)
            for position in self._entries(type_name)
        ]
        return list(heapq.merge(*found, key=lambda scene: (scene.datetime, scene.id)))

    def choose_scenes(
        self,
        source: DataSource,
        *,
        start: datetime,
        end: datetime,
        boxes: Sequence[Bbox] | None = None,
        where: str = "input->data",
        notes: list[str] | None = None,
    ) -> list[Scene]:
        """The scenes that a data source of a request asks for, by time and id; what is odd about them is told in `notes`.

        Raises:
            RequestInvalid: no scene here answers one of the keys of its `dataFilter`.
        """
        choice, found = SceneChoice(source.data_filter), []
        most = source.data_filter.max_cloud_coverage
        for position in self._entries(source.type):
            keys = self._keys(position)
            if keys.refused(source) is not None:  # another source holds what is asked for
                continue
            scenes = self._source(position).find_scenes(start=start, end=end, boxes=boxes, max_cloud_cover=most)
            found.append(choice.take(scenes, keys))
        choice.check(source.type, where, notes)
        return list(heapq.merge(*found, key=lambda scene: (scene.datetime, scene.id)))

    def newest_scenes(
        self,
        type_name: str,
        *,
        start: datetime,
        end: datetime,
        bbox: Bbox | None = None,
        ids: frozenset[str] | None = None,
    ) -> Iterable[Scene]:
        """The scenes of all sources of a collection, newest first, then by id, read as they are taken where that can be."""
        places = None if bbox is None else [bbox]
        found = [
            self._source(position).newest_scenes(start=start, end=end, boxes=places, ids=ids)
            for position in self._entries(type_name)
        ]
        return heapq.merge(*found, key=lambda scene: (-scene.datetime.timestamp(), scene.id))

    def extent(self, type_name: str) -> Extent:
        """Where and when a collection has scenes, as far as its sources tell."""
        return joined_extent([self._source(position).extent() for position in self._entries(type_name)])

    def _entries(self, type_name: str) -> list[int]:
        names = {type_name.casefold()}
        for definition in read_definitions():
            if definition.is_named(type_name):
                names |= {name.casefold() for name in (definition.type, *definition.aliases)}
        found = [position for position, entry in enumerate(self._settings) if entry.type.casefold() in names]
        if not found:
            known = ", ".join(self.types) or "none"
            raise RequestInvalid(
                f"This deployment has no collection of type '{type_name}'; it has: {known}", "input->data->type"
            )
        return found

    def _keys(self, position: int) -> SourceKeys:
        """What may be asked of an entry."""
        entry = self._settings[position]
        known = next((definition for definition in read_definitions() if definition.is_named(entry.type)), None)
        if known is None:
            return SourceKeys(entry.type, None, entry.holds)
        return SourceKeys(entry.type, known.keys, entry.holds.over(known.holds))

    def _source(self, position: int) -> SceneCatalog:
        if self._base is not None and position < len(self._base._settings):
            return self._base._source(position)
        with self._lock:
            if position not in self._sources:
                self._sources[position] = open_catalog(
                    self._settings[position], self._stores, self._searching, keeps_items=self._keeps_items
                )
            return self._sources[position]
