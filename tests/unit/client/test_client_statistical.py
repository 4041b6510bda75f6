"""The payload builder, where it takes more than the published one does, and what it refuses."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from swathe.client import AnswerInvalid, SentinelHubBatchStatistical, SentinelHubStatistical, Session, SHConfig
from swathe.client.times import format_interval
from swathe.client.tokens import TokenSource

POLYGON = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}


@pytest.mark.parametrize(
    ("crs", "expected"),
    [
        (None, "http://www.opengis.net/def/crs/OGC/1.3/CRS84"),
        (32633, "http://www.opengis.net/def/crs/EPSG/0/32633"),
        ("EPSG:32633", "http://www.opengis.net/def/crs/EPSG/0/32633"),
        ("http://www.opengis.net/def/crs/EPSG/0/3857", "http://www.opengis.net/def/crs/EPSG/0/3857"),
    ],
)
def test_plain_numbers_take_a_crs_in_any_form(crs: Any, expected: str) -> None:
    bounds = SentinelHubStatistical.bounds(bbox=((1, 2), (3, 4)), crs=crs)
    assert bounds == {"properties": {"crs": expected}, "bbox": [1.0, 2.0, 3.0, 4.0]}


def test_a_geometry_may_be_any_object_with_a_geo_interface() -> None:
    class Shape:
        __geo_interface__ = POLYGON

    assert SentinelHubStatistical.bounds(geometry=Shape())["geometry"] == POLYGON


@pytest.mark.parametrize(
    ("area", "message"),
    [
        ({}, "give a bbox, a geometry or both"),
        ({"bbox": (1, 2, 3)}, "a bbox has four numbers"),
        ({"geometry": {"type": "Point", "coordinates": [0, 0]}}, "a GeoJSON Polygon or MultiPolygon"),
        ({"geometry": "POLYGON EMPTY"}, "a GeoJSON Polygon or MultiPolygon"),
    ],
)
def test_areas_that_are_none_are_refused(area: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SentinelHubStatistical.bounds(**area)


def test_bbox_and_geometry_must_share_their_crs() -> None:
    class Box(list[float]):
        crs = 32633

    with pytest.raises(ValueError, match="same CRS"):
        SentinelHubStatistical.bounds(bbox=Box([1, 2, 3, 4]), geometry=POLYGON, crs=4326)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"maxcc": 20}, "maxcc must lie between 0 and 1"),
        ({"mosaicking_order": "newest"}, "'newest' is none of mostRecent"),
        ({"upsampling": "lanczos"}, "'LANCZOS' is none of NEAREST"),
    ],
)
def test_input_data_refuses_values_the_service_does_not_know(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SentinelHubStatistical.input_data("sentinel-2-l2a", **arguments)


@pytest.mark.parametrize(
    "interval", [("2020-06-02", "2020-06-01"), ("2020-06-01",), ("a", "b"), ("2020-06-01T00:00:00+02:00", "2020-05-31")]
)
def test_intervals_that_are_none_are_refused(interval: Any) -> None:
    if interval[-1] == "2020-05-31":
        assert format_interval(interval) == ("2020-06-01T00:00:00+02:00", "2020-05-31T23:59:59Z")
    else:
        with pytest.raises(ValueError):
            format_interval(interval)


def make_session(answer: Any, seen: list[httpx.Request]) -> Session:
    def respond(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/token"):
            return httpx.Response(200, json={"access_token": "t", "expires_in": 600})
        seen.append(request)
        return httpx.Response(200, json=answer)

    config = SHConfig(use_defaults=True, sh_base_url="http://s", sh_auth_base_url="http://s")
    tokens = TokenSource("http://s/oauth/token", "me", "hush")
    return Session(config, tokens=tokens, transport=httpx.MockTransport(respond))


def test_get_data_gives_a_list_with_the_one_answer() -> None:
    seen: list[httpx.Request] = []
    aggregation = SentinelHubStatistical.aggregation("x", ("2020-06-01", "2020-06-02"), "P1D")
    request = SentinelHubStatistical(aggregation, [{"type": "sentinel-2-l2a"}], bbox=(0, 0, 1, 1))
    answer = {"status": "OK", "data": []}
    assert request.get_data(session=make_session(answer, seen)) == [answer]
    assert str(seen[0].url) == "http://s/api/v1/statistics"
    with pytest.raises(AnswerInvalid, match="no list 'data'"):
        request.get_data(session=make_session({"status": "OK"}, seen))


@pytest.mark.parametrize("batch_request", ["", {}, {"id": 3}, 3, None, {"secret": "hush"}])
def test_a_batch_request_without_an_id_is_refused_and_not_shown(batch_request: Any) -> None:
    client = SentinelHubBatchStatistical(SHConfig(use_defaults=True))
    with pytest.raises(ValueError, match="without one") as caught:
        client.get_status(batch_request)
    assert "hush" not in str(caught.value)


def test_an_id_stays_one_segment_of_the_path() -> None:
    seen: list[httpx.Request] = []
    client = SentinelHubBatchStatistical(SHConfig(use_defaults=True), session=make_session({}, seen))
    client.start_job("../a?b")
    assert seen[0].url.raw_path == b"/api/v1/statistics/batch/..%2Fa%3Fb/start"


@pytest.mark.parametrize(
    ("answer", "message"),
    [({"id": "a"}, "cannot be read"), ({"id": "a", "request": {}, "status": "ODD", "completionPercentage": 0}, "ODD")],
)
def test_an_answer_that_is_no_batch_request_is_told(answer: Any, message: str) -> None:
    client = SentinelHubBatchStatistical(SHConfig(use_defaults=True), session=make_session(answer, []))
    with pytest.raises(AnswerInvalid, match=message):
        client.get_request("a")


def test_a_service_that_repeats_its_page_token_is_not_asked_for_ever() -> None:
    entry = {"id": "a", "request": {}, "status": "DONE", "completionPercentage": 100}
    seen: list[httpx.Request] = []
    session = make_session({"data": [entry], "links": {"nextToken": "same"}}, seen)
    client = SentinelHubBatchStatistical(SHConfig(use_defaults=True), session=session)
    assert len(list(client.iter_requests())) == len(seen) == 2
    broken = SentinelHubBatchStatistical(SHConfig(use_defaults=True), session=make_session({"links": {}}, seen))
    with pytest.raises(AnswerInvalid, match="no list 'data'"):
        next(broken.iter_requests())
