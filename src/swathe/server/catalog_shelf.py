"""The collections that the Catalog API shows, and what is read of them. Reads STAC only: neither GDAL nor V8."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any

from anyio import CapacityLimiter

from swathe.catalog.areas import Bbox
from swathe.catalog.collections import Collection
from swathe.catalog.definitions import read_definitions
from swathe.catalog.items import Extent, to_collection
from swathe.catalog.registry import Catalog
from swathe.catalog.scene import Scene
from swathe.jobs.byoc import ByocCollections
from swathe.jobs.byoc_tiles import ByocTiles
from swathe.model.errors import NotFound, RequestInvalid, SettingsInvalid, SourceError
from swathe.server.catalog_own import PREFIX, OwnCollections
from swathe.settings import Settings
from swathe.storage import ObjectStores
from swathe.storage.doors import storage_of

_READERS = 8


class Shelf:
    """The deployment's collections with whole items. Nothing is read before it is asked for; for any thread.

    `readers` bounds how many threads read at a time.
    """

    def __init__(
        self, settings: Settings, collections: ByocCollections | None = None, tiles: ByocTiles | None = None
    ) -> None:
        self.catalog = Catalog(
            settings.collections, ObjectStores(storage_of(settings)), settings.catalog, keeps_items=True
        )
        self.readers = CapacityLimiter(_READERS)
        self._own = None if collections is None or tiles is None else (collections, tiles)
        self._names: dict[str, str] = {}
        for told in self.catalog.types:
            definition = next((known for known in read_definitions() if known.is_named(told)), None)
            name = told if definition is None else definition.type
            for alias in (told, name, *(definition.aliases if definition is not None else ())):
                self._names.setdefault(alias.casefold(), name)

    @property
    def names(self) -> tuple[str, ...]:
        """The ids of the deployment's collections."""
        return tuple(dict.fromkeys(self._names.values()))

    def name(self, told: str) -> str | None:
        """The id of a collection of the deployment's by what it is called, in any letter case."""
        return self._names.get(told.casefold())

    def title(self, name: str) -> str:
        """What a collection of the deployment's is called; reads nothing."""
        definition = next((known for known in read_definitions() if known.type == name), None)
        return definition.title if definition is not None else name

    def describe(self, name: str) -> dict[str, Any]:
        """A STAC collection without links. What cannot be read now is left out, as one source must not hide the rest."""
        collection: Collection | None
        try:
            collection = self.catalog.collection(name)
        except (SourceError, SettingsInvalid):
            collection = None
        extent: Extent = (None, None, None)
        with suppress(SourceError):
            extent = self.catalog.extent(name)
        return to_collection(name, collection, extent)

    def of(self, project_id: str) -> View:
        """What the clients of a project see."""
        return View(self, None if self._own is None else OwnCollections(*self._own, project_id))


class View:
    """The deployment's collections, and a project's own. Its methods read."""

    def __init__(self, shelf: Shelf, own: OwnCollections | None) -> None:
        self._shelf = shelf
        self._own = own

    def names(self) -> tuple[str, ...]:
        """The ids of the collections; of very many of the project's own, the first."""
        own = self._own.names() if self._own is not None else []
        return tuple(dict.fromkeys((*self._shelf.names, *own)))

    def find(self, told: str) -> str:
        """The id of a collection by what it is called, in any letter case.

        Raises:
            NotFound: there is none.
        """
        name = self._shelf.name(told)
        if name is None and self._own is not None and (found := self._own.get(told)) is not None:
            name = PREFIX + found.id
        if name is None:
            known = ", ".join(self._shelf.names) or "none"
            raise NotFound(f"There is no collection {told[:80]!r}; there are: {known}, and those of your own")
        return name

    def find_to_search(self, told: str) -> str:
        """As `find`, for a collection that a search names.

        Raises:
            RequestInvalid: there is none.
        """
        try:
            return self.find(told)
        except NotFound as error:
            raise RequestInvalid(error.message, "collections") from None

    def describe(self, name: str) -> dict[str, Any]:
        """A STAC collection without links.

        Raises:
            NotFound: it is gone by now.
        """
        if self._shelf.name(name) is None and self._own is not None:
            found = self._own.get(name)
            if found is None:
                raise NotFound(f"There is no collection {name[:80]!r}")
            return self._own.describe(found)
        return self._shelf.describe(name)

    def newest_scenes(
        self,
        collection: str,
        *,
        start: datetime,
        end: datetime,
        bbox: Bbox | None = None,
        ids: frozenset[str] | None = None,
    ) -> Iterable[Scene]:
        """As `SceneSource` has it."""
        if self._shelf.name(collection) is None and self._own is not None:
            found = self._own.get(collection)
            return () if found is None else self._own.newest_scenes(found, start=start, end=end, bbox=bbox, ids=ids)
        return self._shelf.catalog.newest_scenes(collection, start=start, end=end, bbox=bbox, ids=ids)
