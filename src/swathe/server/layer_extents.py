"""Where and when the layers' collections have scenes, as far as that is cheap to know; and which time "the newest" is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from swathe.model.errors import NotFound, RequestInvalid, SettingsInvalid, SourceError
from swathe.model.layer_time import parse_span
from swathe.model.layers import LayerBody
from swathe.model.time import TimeRange, parse_time
from swathe.server.catalog_shelf import Shelf

NEWEST_DAYS = 30
"""A layer without a time of its own shows the scenes of so many days up to the newest one, that on top."""

WORLD = (-180.0, -90.0, 180.0, 90.0)
_MOST_KEPT = 1000


@dataclass(frozen=True)
class LayerExtent:
    """West, south, east, north in degrees; the times of the first and last scene, None where nobody can tell cheaply."""

    box: tuple[float, float, float, float] = WORLD
    first: datetime | None = None
    last: datetime | None = None


class LayerExtents:
    """The extents of collections, kept for some seconds. For any thread. Reads catalogs and the job store."""

    def __init__(self, shelf: Shelf, keep_s: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._shelf = shelf
        self._keep_s = keep_s
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], tuple[float, LayerExtent]] = {}

    def of(self, collection: str, project_id: str) -> LayerExtent:
        """The extent of a collection that a project may use; the world for one that cannot be read now."""
        key = collection.casefold(), project_id
        with self._lock:
            known = self._known.get(key)
        if known is not None and self._clock() < known[0]:
            return known[1]
        found = self._read(collection, project_id)
        with self._lock:
            if len(self._known) >= _MOST_KEPT:
                self._known.clear()
            self._known[key] = self._clock() + self._keep_s, found
        return found

    def default_span(self, layer: LayerBody, project_id: str, *, newest: bool = False) -> TimeRange:
        """The time of a request that names none: the layer's own, else the newest scenes'.

        Args:
            newest: whether the request asks for the newest in so many words.
        """
        told = layer.datasource_defaults.time
        span = parse_span(told, "time") if told and not newest else None
        if span is not None:
            return span
        return newest_span(self.of(layer.collection, project_id).last)

    def _read(self, collection: str, project_id: str) -> LayerExtent:
        try:
            view = self._shelf.of(project_id)
            told = view.describe(view.find(collection))["extent"]
        except (NotFound, RequestInvalid, SourceError, SettingsInvalid):
            return LayerExtent()
        west, south, east, north = told["spatial"]["bbox"][0]
        first, last = (None if text is None else parse_time(text, "") for text in told["temporal"]["interval"][0])
        if west >= east or south >= north:  # across the antimeridian
            west, east = -180.0, 180.0
        return LayerExtent((west, max(south, -90.0), east, min(north, 90.0)), first, last)


def newest_span(last: datetime | None) -> TimeRange:
    """The days up to the newest scene, or up to now where it is not known."""
    end = (last or datetime.now(UTC)).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return TimeRange(end - timedelta(days=NEWEST_DAYS), end)
