"""Saved layers and the parameter TIME."""

from __future__ import annotations

from typing import Any

import pytest

from swathe.model.errors import RequestInvalid
from swathe.model.layer_time import parse_span
from swathe.model.layers import read_instance, read_layer

STYLE = {"name": "default", "evalScript": "x"}


def layer(**more: Any) -> dict[str, Any]:
    return {"id": "NDVI", "collectionType": "S2L2A", "styles": [STYLE], **more}


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2020", "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"),
        ("2020-02", "2020-02-01T00:00:00Z", "2020-03-01T00:00:00Z"),
        ("2020-02-29", "2020-02-29T00:00:00Z", "2020-03-01T00:00:00Z"),
        ("2020-06-01T10", "2020-06-01T10:00:00Z", "2020-06-01T11:00:00Z"),
        ("2020-06-01T10:20Z", "2020-06-01T10:20:00Z", "2020-06-01T10:21:00Z"),
        ("2020-06-01T10:20:30+02:00", "2020-06-01T08:20:30Z", "2020-06-01T08:20:31Z"),
        ("2020-06-01T10:20:30.125Z", "2020-06-01T10:20:30.125Z", "2020-06-01T10:20:30.126Z"),
        ("2020-06-01/2020-06-30", "2020-06-01T00:00:00Z", "2020-07-01T00:00:00Z"),
        ("2020-06/2020-07/P1D", "2020-06-01T00:00:00Z", "2020-08-01T00:00:00Z"),
        ("2020-06-01T10:00:00Z/2020-06-01T10:00:00Z", "2020-06-01T10:00:00Z", "2020-06-01T10:00:01Z"),
    ],
)
def test_a_time_is_all_that_its_precision_leaves_open(text: str, start: str, end: str) -> None:
    span = parse_span(text, "TIME")
    assert span is not None
    assert span.to_wire() == {"from": start, "to": end}


@pytest.mark.parametrize("text", ["", "latest", "current", "default"])
def test_nothing_and_its_names_are_the_newest(text: str) -> None:
    assert parse_span(text, "TIME") is None


@pytest.mark.parametrize(
    "text", ["x", "2020-13", "2020-06-31", "2020-06-03/2020-06-01", "2020-06-01,2020-06-02", "a/b/c/d", "2020-06-01/"]
)
def test_what_is_no_time_is_refused_by_name(text: str) -> None:
    with pytest.raises(RequestInvalid) as error:
        parse_span(text, "TIME")
    assert error.value.parameter == "TIME"


def test_the_last_day_of_the_calendar_has_an_end() -> None:
    span = parse_span("9999-12-31", "TIME")
    assert span is not None
    assert span.end > span.start


@pytest.mark.parametrize(
    ("more", "collection"),
    [
        ({}, "S2L2A"),
        ({"datasourceDefaults": {"type": "sentinel-2-l1c"}}, "sentinel-2-l1c"),
        ({"collectionType": "CUSTOM", "datasourceDefaults": {"collectionId": "abc"}}, "byoc-abc"),
        ({"datasourceDefaults": {"type": "BYOC", "collectionId": "byoc-abc"}}, "byoc-abc"),
        ({"datasourceDefaults": None}, "S2L2A"),
    ],
)
def test_the_collection_is_named_in_either_place(more: dict[str, Any], collection: str) -> None:
    assert read_layer(layer(**more)).collection == collection


def test_the_default_style_is_the_named_one_or_the_first() -> None:
    styles = [{"name": "a", "evalScript": "1"}, {"name": "b", "evalScript": "2"}]
    made = read_layer(layer(styles=styles))
    assert (made.style_name, made.style("").eval_script, made.style("default").eval_script) == ("a", "1", "1")
    made = read_layer(layer(styles=styles, defaultStyleName="b"))
    assert [style.name for style in made.shown_styles] == ["b", "a"]
    assert made.style("b").eval_script == "2"
    assert made.style("c") is None


def test_a_time_range_is_a_time() -> None:
    told = {"timeRange": {"from": "2020-06-01", "to": "2020-06-30"}}
    assert read_layer(layer(datasourceDefaults=told)).datasource_defaults.time == "2020-06-01/2020-06-30"


@pytest.mark.parametrize(
    ("more", "where", "told"),
    [
        ({"id": "a b"}, "id", "letters, digits"),
        ({"id": "x" * 101}, "id", "at most 100"),
        ({"styles": []}, "styles", "at least 1"),
        ({"styles": [STYLE, STYLE]}, "", "two styles are called 'default'"),
        ({"styles": [{"name": "a"}]}, "styles->0->evalScript", "is required"),
        ({"defaultStyleName": "x"}, "", "there are: default"),
        ({"collectionType": None}, "", "name the collection"),
        ({"title": "a\x00b"}, "title", "plain text"),
        ({"datasourceDefaults": {"time": "soon"}}, "datasourceDefaults->time", "is no time"),
        ({"datasourceDefaults": {"maxCloudCoverage": 101}}, "datasourceDefaults->maxCloudCoverage", "100"),
        ({"datasourceDefaults": {"mosaickingOrder": "best"}}, "datasourceDefaults->mosaickingOrder", "leastCC"),
    ],
)
def test_a_layer_that_cannot_be_used_is_refused_by_field(more: dict[str, Any], where: str, told: str) -> None:
    with pytest.raises(RequestInvalid) as error:
        read_layer(layer(**more))
    assert error.value.parameter == where
    assert told in error.value.message


def test_an_instance_needs_a_name() -> None:
    with pytest.raises(RequestInvalid) as error:
        read_instance({})
    assert error.value.parameter == "name"
