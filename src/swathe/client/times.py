"""Times as users give them and as this wire has them.

`swathe.model.time` is the engine's view, always UTC; here a time keeps the offset and the fraction it came with, since
the published client sends them on as they are.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

RawTime = str | dt.date | None
RawTimeInterval = RawTime | Sequence[RawTime]

_DAY_END = dt.time(23, 59, 59)


def parse_datetime(moment: str | dt.date) -> dt.datetime:
    """A datetime from an ISO 8601 text, a date (its midnight) or a datetime (as it is)."""
    if isinstance(moment, dt.datetime):
        return moment
    if isinstance(moment, dt.date):
        return dt.datetime.combine(moment, dt.time())
    return dt.datetime.fromisoformat(moment)


def format_datetime(moment: dt.datetime) -> str:
    """ISO 8601 with a zone: `Z` for UTC and for times that have none, the offset for others."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return moment.isoformat().replace("+00:00", "Z")


def format_interval(interval: RawTimeInterval) -> tuple[str, str]:
    """Start and end of an interval in wire form.

    A day without a time of day lasts to 23:59:59; one day or time alone is both start and end; None and `".."` mean
    that a side is open and are written as `".."`.

    Raises:
        ValueError: it is no time, no pair of times, or ends before it starts.
    """
    if isinstance(interval, str | dt.date) or interval is None:
        sides: Sequence[RawTime] = (interval, interval)
    else:
        sides = interval
    if len(sides) != 2:
        raise ValueError(f"a time interval has a start and an end, not {len(sides)} times")
    start, end = _parse_side(sides[0], dt.time()), _parse_side(sides[1], _DAY_END)
    if start and end and _in_utc(start) > _in_utc(end):
        raise ValueError(f"the time interval starts at {start.isoformat()}, after its end {end.isoformat()}")
    return tuple(".." if side is None else format_datetime(side) for side in (start, end))  # type: ignore[return-value]


def _parse_side(side: RawTime, time_of_day: dt.time) -> dt.datetime | None:
    if side is None or side == "..":
        return None
    if isinstance(side, str) and len(side) <= len("2020-06-01"):
        side = dt.date.fromisoformat(side)
    if isinstance(side, dt.date) and not isinstance(side, dt.datetime):
        return dt.datetime.combine(side, time_of_day)
    return parse_datetime(side)


def _in_utc(moment: dt.datetime) -> dt.datetime:
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment
