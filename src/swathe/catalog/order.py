"""Which scene lies on top, and which belong to one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date
from typing import Any

from swathe.catalog.scene import Scene
from swathe.model.common import MosaickingOrder

# Ties: the most recent first, then by id.
_KEYS: dict[MosaickingOrder, Callable[[Scene], Any]] = {
    MosaickingOrder.MOST_RECENT: lambda scene: (-scene.datetime.timestamp(), scene.id),
    MosaickingOrder.LEAST_RECENT: lambda scene: (scene.datetime.timestamp(), scene.id),
    MosaickingOrder.LEAST_CC: lambda scene: (
        scene.cloud_cover is None,
        scene.cloud_cover or 0.0,
        -scene.datetime.timestamp(),
        scene.id,
    ),
}


@dataclass(frozen=True)
class Orbit:
    """The scenes of one UTC day, the one on top first."""

    day: date
    scenes: tuple[Scene, ...]


def sort_scenes(scenes: Iterable[Scene], order: MosaickingOrder | None = None) -> list[Scene]:
    """The scenes with the one on top first; `mostRecent` where no order is given.

    `leastCC` puts scenes of unknown cloud cover last.
    """
    return sorted(scenes, key=_KEYS[order or MosaickingOrder.MOST_RECENT])


def group_orbits(scenes: Sequence[Scene]) -> list[Orbit]:
    """Scenes by UTC day. Both the days and the scenes of a day keep the order given."""
    days: dict[date, list[Scene]] = {}
    for scene in scenes:
        days.setdefault(scene.datetime.astimezone(UTC).date(), []).append(scene)
    return [Orbit(day, tuple(of_day)) for day, of_day in days.items()]
