"""Boxes in longitude and latitude: whether they meet, and what a search around them covers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime

Bbox = tuple[float, float, float, float]
"""West, south, east, north in degrees; one whose west is greater than its east crosses the antimeridian."""

_STEPS_DEG = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
_STEPS_A_SIDE = 8


def boxes_meet(one: Bbox, other: Bbox) -> bool:
    """Whether two boxes share a point."""
    if one[1] > other[3] or other[1] > one[3]:
        return False
    return any(a[0] <= b[1] and b[0] <= a[1] for a in _longitudes(one) for b in _longitudes(other))


def _longitudes(box: Bbox) -> list[tuple[float, float]]:
    west, _, east, _ = box
    return [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]


def plain_boxes(boxes: Iterable[Bbox]) -> list[Bbox]:
    """The same places as boxes within -180 to 180 and -90 to 90 of which none crosses the antimeridian."""
    plain: list[Bbox] = []
    for west, south, east, north in boxes:
        south, north = max(south, -90.0), min(north, 90.0)
        if west > east:
            east += 360.0
        if east - west >= 360.0:
            plain.append((-180.0, south, 180.0, north))
            continue
        turns = 360.0 * math.floor((west + 180.0) / 360.0)
        west, east = west - turns, east - turns
        plain.append((west, south, min(east, 180.0), north))
        if east > 180.0:
            plain.append((-180.0, south, east - 360.0, north))
    return plain


def widened(box: Bbox) -> Bbox:
    """A somewhat larger box on whole steps of degrees, so that searches for neighbouring places are the same search."""
    west, south, east, north = box
    side = max(east - west, north - south)
    step = next((step for step in _STEPS_DEG if side <= _STEPS_A_SIDE * step), _STEPS_DEG[-1])

    def down(value: float) -> float:
        return math.floor(value / step) * step

    def up(value: float) -> float:
        return math.ceil(value / step) * step

    return max(down(west), -180.0), max(down(south), -90.0), min(up(east), 180.0), min(up(north), 90.0)


def month_before(moment: datetime) -> datetime | None:
    """The start of the month that a time lies in; None at the beginning of time."""
    return None if moment.year <= 1 else moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def month_after(moment: datetime) -> datetime | None:
    """The start of the next month, or the time itself where it is one; None at the end of time."""
    if moment.year >= 9999:
        return None
    start = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    if start == moment:
        return moment
    return start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
