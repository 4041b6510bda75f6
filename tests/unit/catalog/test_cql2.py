"""Filters of items: what text and JSON mean, what is refused, and the same answers as the reference library."""

from __future__ import annotations

from typing import Any

import cql2 as reference
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swathe.catalog.cql2 import Operation, Property, is_like, matches, parse_json
from swathe.catalog.cql2_text import parse_text
from swathe.model.errors import LimitExceeded, RequestInvalid

CLOUDS, MODE = Property("eo:cloud_cover"), Property("sar:instrument_mode")


def _finds(text: str, **properties: Any) -> bool:
    named = {name.replace("__", ":"): value for name, value in properties.items()}
    return matches(parse_text(text), named.get)


@pytest.mark.parametrize(
    "text",
    [
        "eo:cloud_cover<=40 AND sar:instrument_mode='IW'",
        "eo:cloud_cover <= 40 and sar:instrument_mode = 'IW'",
        "(eo:cloud_cover<=40.0)AND(sar:instrument_mode='IW')",
        "properties.eo:cloud_cover<=4e1\nAND \"sar:instrument_mode\"='IW'",
    ],
)
def test_a_text_is_read_with_blanks_and_without(text: str) -> None:
    comparisons = (Operation("<=", (CLOUDS, 40.0)), Operation("=", (MODE, "IW")))
    assert parse_text(text) == Operation("and", comparisons)


def test_and_binds_closer_than_or_and_not_closest() -> None:
    assert parse_text("not a=1 or b=2 and c=3") == Operation(
        "or",
        (
            Operation("not", (Operation("=", (Property("a"), 1.0)),)),
            Operation("and", (Operation("=", (Property("b"), 2.0)), Operation("=", (Property("c"), 3.0)))),
        ),
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("eo:cloud_cover < 20", True),
        ("20 > eo:cloud_cover", True),
        ("eo:cloud_cover >= 10.5", True),
        ("eo:cloud_cover > 10.5", False),
        ("eo:cloud_cover <> 10", True),
        ("eo:cloud_cover BETWEEN 10 AND 11 AND platform = 'b'", True),
        ("eo:cloud_cover NOT BETWEEN 10 AND 11", False),
        ("platform IN ('a', 'b')", True),
        ("platform not in ('a', 'c')", True),
        ("platform LIKE '_'", True),
        ("name = 'O''Hara'", True),
        ("name LIKE 'O%r_'", True),
        ("datetime > TIMESTAMP('2020-05-31T23:00:00-02:00')", False),
        ("datetime >= DATE('2020-06-01')", True),
        ("missing = 1", False),
        ("NOT missing = 1", False),
        ("missing IS NULL", True),
        ("platform IS NOT NULL", True),
        ("missing = 1 OR platform = 'b'", True),
        ("platform < 3", False),
        ("flag = TRUE", True),
    ],
)
def test_what_filters_find(text: str, found: bool) -> None:
    item = {
        "eo__cloud_cover": 10.5,
        "platform": "b",
        "name": "O'Hara",
        "datetime": "2020-06-01T00:00:00Z",
        "flag": True,
    }
    assert _finds(text, **item) is found


def test_json_of_one_argument_under_and_is_that_argument() -> None:
    wrapped = {"op": "and", "args": [{"op": "<", "args": [{"property": "eo:cloud_cover"}, 40]}]}
    assert matches(parse_json(wrapped), {"eo:cloud_cover": 39}.get)
    assert not matches(parse_json(wrapped), {"eo:cloud_cover": 40}.get)
    assert parse_json({"op": "between", "args": [{"property": "a"}, 1, 2]}) == Operation(
        "between", (Property("a"), 1, 2)
    )


@pytest.mark.parametrize(
    "text",
    [
        *("", "  ", "a", "a =", "= 1", "a = 1 b = 2", "a = 'open", "a = 1)", "(a = 1", "a LIKE 3", "a IN (1", "a IN 1"),
        *("a BETWEEN 1", "S_INTERSECTS(a, POINT(1 1))", "a = TIMESTAMP('never')", "a ; b", "NOT", "a = 1 AND", "a + 1"),
    ],
)
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        parse_text(text)
    assert caught.value.parameter == "filter"


@pytest.mark.parametrize(
    "value",
    [
        *(1, None, [], {"property": "a"}, {"op": "xor", "args": []}, {"op": "=", "args": [1]}, {"op": "=", "args": 1}),
        *({"op": "and", "args": []}, {"op": "not", "args": [1]}, {"op": "in", "args": [{"property": "a"}, 1]}),
        *({"op": "=", "args": [{"op": "=", "args": [1, 1]}, True]}, {"op": "like", "args": [{"property": "a"}, 2]}),
        {"op": "=", "args": [{"property": "a"}, {"timestamp": 5}]},
    ],
)
def test_json_that_is_no_filter_is_refused(value: Any) -> None:
    with pytest.raises(RequestInvalid):
        parse_json(value)


def test_what_is_nested_without_end_is_refused() -> None:
    with pytest.raises(LimitExceeded, match="nested"):
        parse_text("(" * 5_000 + "a=1" + ")" * 5_000)
    with pytest.raises(LimitExceeded, match="nested"):
        parse_text("not " * 4_000 + "a=1")
    with pytest.raises(LimitExceeded, match="parts"):
        parse_text(" or ".join(["a=1"] * 1_500))
    with pytest.raises(LimitExceeded, match="characters"):
        parse_text("(" * 30_000)
    deep: Any = {"op": "=", "args": [1, 1]}
    for _ in range(500):
        deep = {"op": "not", "args": [deep]}
    with pytest.raises(LimitExceeded, match="nested"):
        parse_json(deep)


def test_a_pattern_of_many_runs_does_not_take_for_ever() -> None:
    assert not is_like("a" * 3_000, "%a" * 1_000 + "b")
    assert is_like("50%", r"50\%")
    assert not is_like("500", r"50\%")


NAMES = st.sampled_from(["eo:cloud_cover", "platform", "gsd", "gone"])
NUMBERS = st.integers(-5, 5)
TEXTS = st.sampled_from(["a", "b", "ab"])
CONDITIONS = st.recursive(
    st.one_of(
        st.builds("{} {} {}".format, NAMES, st.sampled_from(["=", "<>", "<", "<=", ">", ">="]), NUMBERS),
        st.builds("platform {} '{}'".format, st.sampled_from(["=", "<>", "<"]), TEXTS),
        st.builds("platform in ('{}', '{}')".format, TEXTS, TEXTS),
        st.builds("gsd between {} and {}".format, NUMBERS, NUMBERS),
    ),
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("not ({})".format, inner),
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(text=CONDITIONS)
def test_text_and_json_mean_the_same(text: str) -> None:
    """The reference library's JSON of a text, read by us, is what we read from the text."""
    item = {"eo:cloud_cover": 2, "platform": "ab", "gsd": 0}
    told = reference.parse_text(text).to_json()
    assert matches(parse_json(told), item.get) is matches(parse_text(text), item.get)


@settings(max_examples=300, deadline=None)
@given(text=CONDITIONS, clouds=NUMBERS, size=NUMBERS, platform=TEXTS)
def test_filters_find_what_the_reference_library_finds(text: str, clouds: int, size: int, platform: str) -> None:
    """Where an item has what is asked for, in the kind that is asked for."""
    if "gone" in text or any(
        f"platform {sign} {n}" in text for sign in ("=", "<>", "<", "<=", ">", ">=") for n in range(-5, 6)
    ):
        return
    item = {"eo:cloud_cover": clouds, "gsd": size, "platform": platform}
    assert matches(parse_text(text), item.get) is reference.parse_text(text).matches(item)
