"""Times and intervals. All times are aware and in UTC; ranges are `[from, to)`."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from swathe.model.errors import RequestInvalid

_DATE_DURATION = re.compile(r"P(?:(\d{1,9})Y)?(?:(\d{1,9})M)?(?:(\d{1,9})W)?(?:(\d{1,9})D)?")
_TIME_DURATION = re.compile(r"PT(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})S)?")
_DAY_S = 86_400


class LastInterval(StrEnum):
    """What becomes of a last interval that does not fit into the time range."""

    SKIP = "SKIP"
    SHORTEN = "SHORTEN"
    EXTEND = "EXTEND"


@dataclass(frozen=True, order=True)
class TimeRange:
    """`[start, end)` in UTC."""

    start: datetime
    end: datetime

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end

    def to_wire(self) -> dict[str, str]:
        """`{"from": …, "to": …}` as answers have it."""
        return {"from": format_time(self.start), "to": format_time(self.end)}


ALWAYS = TimeRange(datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


@dataclass(frozen=True)
class Duration:
    """An ISO 8601 duration: calendar months, and days or seconds beside them."""

    months: int
    seconds: int

    def times(self, count: int, start: datetime) -> datetime:
        """`start` moved by `count` durations; a month's end is kept within the month (31 January + P1M = 28 February).

        Raises:
            OverflowError: the result lies beyond the year 9999.
        """
        moment = start
        if self.months:
            month = start.month - 1 + self.months * count
            year, month = start.year + month // 12, month % 12 + 1
            if year > 9999:
                raise OverflowError("date value out of range")
            moment = start.replace(year=year, month=month, day=min(start.day, calendar.monthrange(year, month)[1]))
        return moment + timedelta(seconds=self.seconds * count)


def parse_time(text: str, parameter: str) -> datetime:
    """An ISO 8601 time as clients write it: with `Z`, an offset, fractions, or no zone at all (read as UTC).

    Raises:
        RequestInvalid: it is no time.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise RequestInvalid(f"'{text}' is no ISO 8601 time; write it like 2020-06-01T00:00:00Z", parameter) from None
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise RequestInvalid(f"'{text}' lies outside the years 1 to 9999", parameter) from None


def format_time(moment: datetime) -> str:
    """As answers have it: `2020-06-01T00:00:00Z`, with a fraction only where there is one."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds" if moment.microsecond else "seconds")
    return text.replace("+00:00", "Z")


def parse_duration(text: str, parameter: str) -> Duration:
    """An ISO 8601 duration of at least a day, of date or of time designators, not both.

    Raises:
        RequestInvalid: it is none, or shorter than a day.
    """
    way_out = "write it like P1D, P10D, P1M, P1Y or PT48H"
    shown = text if len(text) <= 40 else text[:39] + "…"
    if match := _DATE_DURATION.fullmatch(text):
        years, months, weeks, days = (int(part or 0) for part in match.groups())
        duration = Duration(months=12 * years + months, seconds=_DAY_S * (7 * weeks + days))
    elif match := _TIME_DURATION.fullmatch(text):
        hours, minutes, seconds = (int(part or 0) for part in match.groups())
        duration = Duration(months=0, seconds=3600 * hours + 60 * minutes + seconds)
    elif "T" in text and re.match(r"^P\d", text):
        raise RequestInvalid(f"'{shown}' mixes date and time designators, which is not possible; {way_out}", parameter)
    else:
        raise RequestInvalid(f"'{shown}' is no ISO 8601 duration; {way_out}", parameter)
    if not duration.months and duration.seconds < _DAY_S:
        raise RequestInvalid(f"'{shown}' is shorter than a day; {way_out}", parameter)
    return duration


def plan_intervals(time_range: TimeRange, of: Duration, last: LastInterval) -> Iterator[TimeRange]:
    """Intervals laid end to end from the start of the range.

    Months are counted from the start, not from the interval before, so that the 31st does not drift. `EXTEND` lets the
    last one reach beyond the range, `SHORTEN` cuts it, `SKIP` leaves it out.
    """
    count = 0
    start = time_range.start
    while start < time_range.end:
        count += 1
        try:
            end = of.times(count, time_range.start)
        except OverflowError:
            end = datetime.max.replace(tzinfo=UTC, microsecond=0)
        if end > time_range.end:
            if last is LastInterval.SHORTEN:
                yield TimeRange(start, time_range.end)
            elif last is LastInterval.EXTEND:
                yield TimeRange(start, end)
            return
        yield TimeRange(start, end)
        start = end
