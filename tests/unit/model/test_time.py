"""Times, durations and intervals as requests write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swathe.model.errors import RequestInvalid
from swathe.model.time import (
    Duration,
    LastInterval,
    TimeRange,
    format_time,
    parse_duration,
    parse_time,
    plan_intervals,
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def cut(start: str, end: str, of: str, last: LastInterval = LastInterval.SKIP) -> list[tuple[str, str]]:
    found = plan_intervals(TimeRange(at(start), at(end)), parse_duration(of, "of"), last)
    return [(format_time(i.start)[:10], format_time(i.end)[:10]) for i in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2020-06-01T10:20:30Z", "2020-06-01T10:20:30Z"),
        ("2020-06-01T10:20:30", "2020-06-01T10:20:30Z"),
        ("2020-06-01T10:20:30+02:00", "2020-06-01T08:20:30Z"),
        ("2020-01-01T01:00:00+02:00", "2019-12-31T23:00:00Z"),
        ("2020-06-01T10:20:30-0530", "2020-06-01T15:50:30Z"),
        ("2020-06-01T10:20:30.250Z", "2020-06-01T10:20:30.250Z"),
        (" 2020-06-01 ", "2020-06-01T00:00:00Z"),
    ],
)
def test_times_are_read_with_and_without_a_zone(text: str, expected: str) -> None:
    assert format_time(parse_time(text, "from")) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2020-13-01T00:00:00Z", "2020-02-30", "0001-01-01T00:00:00+14:00"])
def test_what_is_no_time_is_named(text: str) -> None:
    with pytest.raises(RequestInvalid) as told:
        parse_time(text, "aggregation->timeRange->from")
    assert told.value.parameter == "aggregation->timeRange->from"
    assert f"'{text}'" in told.value.message


def test_times_are_written_in_utc_with_a_fraction_only_where_there_is_one() -> None:
    zone = timezone(timedelta(hours=2))
    assert format_time(datetime(2020, 6, 1, 2, tzinfo=zone)) == "2020-06-01T00:00:00Z"
    assert format_time(datetime(2020, 6, 1, 2, 0, 0, 5_000, tzinfo=zone)) == "2020-06-01T00:00:00.005Z"


@pytest.mark.parametrize(
    ("text", "months", "seconds"),
    [
        ("P1D", 0, 86_400),
        ("P2W", 0, 14 * 86_400),
        ("P1M", 1, 0),
        ("P1Y", 12, 0),
        ("P1Y2M10D", 14, 864_000),
        ("PT24H", 0, 86_400),
        ("PT48H", 0, 172_800),
        ("PT1440M", 0, 86_400),
        ("PT23H60M", 0, 86_400),
    ],
)
def test_durations(text: str, months: int, seconds: int) -> None:
    assert parse_duration(text, "of") == Duration(months, seconds)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("PT12H", "shorter than a day"),
        ("PT23H59M59S", "shorter than a day"),
        ("P0D", "shorter than a day"),
        ("P", "shorter than a day"),
        ("PT", "shorter than a day"),
        ("P1DT12H", "mixes date and time"),
        ("P1D ", "no ISO 8601 duration"),
        ("P1D\n", "no ISO 8601 duration"),
        ("P-1D", "no ISO 8601 duration"),
        ("P1.5D", "no ISO 8601 duration"),
        ("1D", "no ISO 8601 duration"),
        ("", "no ISO 8601 duration"),
        ("P" + "9" * 5_000 + "D", "no ISO 8601 duration"),
    ],
)
def test_what_is_no_duration_of_a_day_says_why_and_how_to_write_one(text: str, reason: str) -> None:
    with pytest.raises(RequestInvalid) as told:
        parse_duration(text, "aggregation->aggregationInterval->of")
    assert reason in told.value.message
    assert "write it like P1D, P10D, P1M, P1Y or PT48H" in told.value.message
    assert told.value.parameter == "aggregation->aggregationInterval->of"
    assert len(told.value.message) < 300


WHOLE = [("2020-06-01", "2020-06-04"), ("2020-06-04", "2020-06-07"), ("2020-06-07", "2020-06-10")]


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (LastInterval.SKIP, WHOLE),
        (LastInterval.SHORTEN, [*WHOLE, ("2020-06-10", "2020-06-11")]),
        (LastInterval.EXTEND, [*WHOLE, ("2020-06-10", "2020-06-13")]),
    ],
)
def test_the_last_interval_is_skipped_shortened_or_extended(
    last: LastInterval, expected: list[tuple[str, str]]
) -> None:
    assert cut("2020-06-01", "2020-06-11", "P3D", last) == expected


@pytest.mark.parametrize("last", list(LastInterval))
def test_a_last_interval_that_fits_is_neither_cut_nor_followed(last: LastInterval) -> None:
    assert cut("2020-06-01", "2020-06-10", "P3D", last) == WHOLE


def test_a_range_shorter_than_its_interval() -> None:
    assert cut("2020-06-01", "2020-06-03", "P10D") == []
    assert cut("2020-06-01", "2020-06-03", "P10D", LastInterval.SHORTEN) == [("2020-06-01", "2020-06-03")]
    assert cut("2020-06-01", "2020-06-03", "P10D", LastInterval.EXTEND) == [("2020-06-01", "2020-06-11")]


def test_months_are_counted_from_the_start_so_the_31st_does_not_drift() -> None:
    ends = ["2020-01-31", "2020-02-29", "2020-03-31", "2020-04-30", "2020-05-31"]
    assert cut("2020-01-31", "2020-05-31", "P1M") == list(pairwise(ends))


def test_years_from_a_leap_day() -> None:
    ends = ["2020-02-29", "2021-02-28", "2022-02-28", "2023-02-28", "2024-02-29"]
    assert cut("2020-02-29", "2024-02-29", "P1Y") == list(pairwise(ends))


def test_months_over_the_turn_of_a_year_keep_days_beside_them() -> None:
    assert cut("2019-11-15", "2020-03-01", "P1M10D", LastInterval.SHORTEN) == [
        ("2019-11-15", "2019-12-25"),
        ("2019-12-25", "2020-02-04"),
        ("2020-02-04", "2020-03-01"),
    ]


@pytest.mark.parametrize("of", ["P9000Y", "P9999999D", "PT999999999H", "P999999999M"])
def test_an_interval_beyond_the_calendar_ends_with_it(of: str) -> None:
    found = list(
        plan_intervals(TimeRange(at("2020-01-01"), at("2021-01-01")), parse_duration(of, "of"), LastInterval.EXTEND)
    )
    assert [format_time(i.end) for i in found] == ["9999-12-31T23:59:59Z"]


def test_a_range_holds_its_start_and_not_its_end() -> None:
    june = TimeRange(at("2020-06-01"), at("2020-07-01"))
    assert at("2020-06-01") in june
    assert at("2020-07-01") not in june
    assert june.to_wire() == {"from": "2020-06-01T00:00:00Z", "to": "2020-07-01T00:00:00Z"}


@settings(max_examples=200, deadline=None)
@given(
    start=st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1)),
    days=st.integers(1, 900),
    of=st.sampled_from(["P1D", "P7D", "P1M", "P1M3D", "P1Y", "PT36H"]),
    last=st.sampled_from(LastInterval),
)
def test_intervals_lie_end_to_end_from_the_start(start: datetime, days: int, of: str, last: LastInterval) -> None:
    whole = TimeRange(start.replace(tzinfo=UTC), start.replace(tzinfo=UTC) + timedelta(days=days))
    found = list(plan_intervals(whole, parse_duration(of, "of"), last))
    edges = [whole.start] + [i.end for i in found]
    assert [i.start for i in found] == edges[:-1]
    assert all(i.start < i.end for i in found)
    if last is LastInterval.SHORTEN:
        assert edges[-1] == whole.end
    elif last is LastInterval.EXTEND:
        assert edges[-1] >= whole.end
    else:
        assert edges[-1] <= whole.end
