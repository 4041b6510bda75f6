"""The parameter TIME of map services: an instant, an interval, or nothing for the newest.

Source: WMS 1.3.0, annex D. A time of reduced precision means all of it: `2020-06` is the month, and so `2020-06-01` as
the end of an interval includes that day. The step of `start/end/step` says nothing here.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from swathe.model.errors import RequestInvalid
from swathe.model.time import Duration, TimeRange, parse_time

NEWEST = ("", "latest", "current", "default", "newest")
"""What clients send for the newest scenes, besides leaving TIME out."""

_FORM = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ]+(\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?)?)?)?(Z|[+-]\d\d:?\d\d)?"
)
_REMEDY = "write it like 2020-06-01, 2020-06-01T10:00:00Z or 2020-06-01/2020-06-30"
_DAY_S = 86_400


def parse_span(text: str, parameter: str) -> TimeRange | None:
    """What TIME names, `[start, end)` in UTC; None for the newest.

    Raises:
        RequestInvalid: it is no time, a list of times, or an interval that ends before it starts.
    """
    text = text.strip()
    if text.lower() in NEWEST:
        return None
    if "," in text:
        raise RequestInvalid(f"'{text[:80]}' lists several times; ask for one, or for an interval", parameter)
    parts = [part.strip() for part in text.split("/")]
    if len(parts) > 3:
        raise RequestInvalid(f"'{text[:80]}' is no time; {_REMEDY}", parameter)
    first = _period(parts[0], parameter)
    last = _period(parts[1], parameter) if len(parts) > 1 else first
    if last.end <= first.start:
        raise RequestInvalid(f"'{text[:80]}' ends before it starts; swap the two", parameter)
    return TimeRange(first.start, last.end)


def _period(text: str, parameter: str) -> TimeRange:
    """A time and all that its precision leaves open."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise RequestInvalid(f"'{text[:40]}' is no time; {_REMEDY}", parameter)
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    moment = f"{year}-{month or '01'}-{day or '01'}T{hour or '00'}:{minute or '00'}:{second or '00'}"
    start = parse_time(f"{moment}{'.' + fraction[:6] if fraction else ''}{zone or ''}", parameter)
    if month is None:
        length = Duration(12, 0)
    elif day is None:
        length = Duration(1, 0)
    elif hour is None:
        length = Duration(0, _DAY_S)
    elif minute is None:
        length = Duration(0, 3600)
    else:
        length = Duration(0, 1 if second is not None else 60)
    if fraction:
        return TimeRange(
            start, _later(start, timedelta(milliseconds=1) if len(fraction) <= 3 else timedelta.resolution)
        )
    try:
        return TimeRange(start, length.times(1, start))
    except OverflowError:
        return TimeRange(start, datetime.max.replace(tzinfo=UTC))


def _later(start: datetime, step: timedelta) -> datetime:
    try:
        return start + step
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)
