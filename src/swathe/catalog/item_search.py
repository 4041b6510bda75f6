"""Finds items for those who look for scenes: newest first, lazily, in an order that pages can count on."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any, Protocol

import shapely
from shapely.geometry.base import BaseGeometry

from swathe.catalog.areas import Bbox
from swathe.catalog.cql2 import Lookup, Operation, matches
from swathe.catalog.items import Found, derived_properties
from swathe.catalog.scene import Scene, unpack_item

_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_STEP = timedelta(microseconds=1)


@dataclass(frozen=True)
class ItemQuery:
    """What items are looked for. `start` and `end` are included, None is open; `area` is in WGS84, longitude first."""

    collections: tuple[str, ...]
    start: datetime | None = None
    end: datetime | None = None
    area: BaseGeometry | None = None
    ids: frozenset[str] | None = None
    condition: Operation | None = None


class SceneSource(Protocol):
    """Where scenes are found."""

    def newest_scenes(
        self,
        collection: str,
        *,
        start: datetime,
        end: datetime,
        bbox: Bbox | None = None,
        ids: frozenset[str] | None = None,
    ) -> Iterable[Scene]:
        """The scenes of `[start, end)`, newest first, then by id; `bbox` and `ids` are hints, and more may come.

        Raises:
            RequestInvalid: there is no such collection.
            SourceError: its scenes cannot be read.
        """
        ...


def find_items(source: SceneSource, query: ItemQuery) -> Iterator[Found]:
    """The items that fit, newest first, then by collection and id. Raises what the source raises."""
    found = [_of_collection(source, query, name) for name in dict.fromkeys(query.collections)]
    return heapq.merge(*found, key=_place)


def find_item(source: SceneSource, collection: str, item_id: str) -> Found | None:
    """One item by its id; the newest of those that share it. Raises what the source raises."""
    return next(find_items(source, ItemQuery((collection,), ids=frozenset((item_id,)))), None)


def find_dates(source: SceneSource, query: ItemQuery) -> list[date]:
    """The UTC days on which there are items that fit, oldest first. Raises what the source raises."""
    return sorted({found.scene.datetime.date() for found in find_items(source, query)})


def take_page(found: Iterable[Any], offset: int, limit: int) -> tuple[list[Any], bool]:
    """Up to `limit` of them from an offset on, and whether there are more."""
    page = list(islice(found, offset, offset + limit + 1))
    return page[:limit], len(page) > limit


def _place(found: Found) -> tuple[float, str, str]:
    return -found.scene.datetime.timestamp(), found.collection, found.scene.id


def _of_collection(source: SceneSource, query: ItemQuery, collection: str) -> Iterator[Found]:
    start, end = query.start or _FIRST, query.end or _LAST
    scenes = source.newest_scenes(
        collection,
        start=start,
        end=end + _STEP if end < _LAST else end,
        bbox=_bounds(query.area),
        ids=query.ids,
    )
    return _filter((Found(collection, scene) for scene in scenes), query)


def _bounds(area: BaseGeometry | None) -> Bbox | None:
    if area is None:
        return None
    west, south, east, north = area.bounds
    return west, south, east, north


def _filter(found: Iterable[Found], query: ItemQuery) -> Iterator[Found]:
    area = query.area
    if area is not None:
        shapely.prepare(area)
    for one in found:
        scene = one.scene
        if query.ids is not None and scene.id not in query.ids:
            continue
        if area is not None and not _meets(scene, area):
            continue
        if query.condition is None or matches(query.condition, lookup(one)):
            yield one


def _meets(scene: Scene, area: BaseGeometry) -> bool:
    west, south, east, north = scene.bbox
    left, bottom, right, top = area.bounds
    crosses = west > east
    if south > top or north < bottom or (not crosses and (west > right or east < left)):
        return False
    footprint = scene.footprint
    if footprint is None or (crosses and footprint.geom_type == "Polygon"):
        footprint = lonlat_box(scene.bbox)
    try:
        return bool(shapely.intersects(area, footprint))
    except shapely.errors.GEOSException:
        return bool(shapely.intersects(area, lonlat_box(scene.bbox)))


def lonlat_box(box: tuple[float, float, float, float]) -> BaseGeometry:
    """West, south, east, north as a polygon; as two where it crosses the antimeridian."""
    west, south, east, north = box
    if west <= east:
        return shapely.box(west, south, east, north)
    return shapely.union(shapely.box(west, south, 180.0, north), shapely.box(-180.0, south, east, north))


def lookup(found: Found) -> Lookup:
    """Properties by name. What the item said and the scene does not hold is unpacked when first asked for."""
    scene = found.scene
    known: dict[str, Any] = {
        "id": scene.id,
        "collection": found.collection,
        "datetime": scene.datetime,
        "eo:cloud_cover": scene.cloud_cover,
    }
    whole: dict[str, Any] | None = None

    def look(name: str) -> Any:
        nonlocal whole
        if name in known:
            return known[name]
        if name in scene.properties:
            return scene.properties[name]
        if whole is None:
            own = unpack_item(scene).get("properties") or scene.properties
            whole = {**own, **derived_properties(found.collection, own, scene)}
        return whole.get(name)

    return look
