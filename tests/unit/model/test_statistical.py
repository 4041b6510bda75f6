"""A request that cannot be used says which field and what to do."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from builders import make_request
from swathe.model.common import TimeRangeModel
from swathe.model.errors import RequestInvalid
from swathe.model.statistical import BatchStatisticsRequest, Cover, Grid, StatisticsRequest
from swathe.model.validation import explain_validation

S3 = {"s3": {"url": "s3://bucket/parcels.gpkg", "accessKey": "a", "secretAccessKey": "b"}}


def refused(body: Any, model: type[StatisticsRequest] = StatisticsRequest) -> RequestInvalid:
    with pytest.raises(ValidationError) as told:
        model.model_validate(body)
    return explain_validation(told.value)


def batch(**changes: Any) -> dict[str, Any]:
    body = make_request()
    body["input"]["features"] = S3
    body["output"] = {"s3": {"url": "s3://bucket/results/"}}
    return body | changes


@pytest.mark.parametrize(
    ("aggregation", "field", "remedy"),
    [
        ({"resx": 0, "resy": 10}, "aggregation->resx", "must be greater than 0"),
        ({"resx": 10, "resy": -1}, "aggregation->resy", "must be greater than 0"),
        ({"resx": math.nan, "resy": 10}, "aggregation->resx", "must be a finite number"),
        ({"resx": math.inf, "resy": 10}, "aggregation->resx", "must be a finite number"),
        ({"resx": "wide", "resy": 10}, "aggregation->resx", "must be a valid number"),
        ({"resx": 10}, "aggregation", "resx and resy belong together; give both"),
        ({"width": 10}, "aggregation", "width and height belong together; give both"),
        ({"width": 0, "height": 10}, "aggregation->width", "must be greater than 0"),
        ({"width": 1.5, "height": 10}, "aggregation->width", "must be a valid integer"),
        (
            {"resx": 10, "resy": 10, "width": 5, "height": 5},
            "aggregation",
            "give either resx and resy, or width and height, not both",
        ),
        (
            {"resx": 10, "resy": 10, "sampling": {"grid": "source"}},
            "aggregation",
            "with sampling.grid 'source' leave out resx, resy, width and height",
        ),
        ({"width": 9, "height": 9, "sampling": {"grid": "source"}}, "aggregation", "leave out resx"),
        ({"sampling": {"grid": "hexagons"}}, "aggregation->sampling->grid", "must be one of 'feature' or 'source'"),
        ({"sampling": {"cover": "some"}}, "aggregation->sampling->cover", "must be one of 'service'"),
        ({"timeRange": None, "resx": 1, "resy": 1}, "aggregation->timeRange", "must be an object"),
        (
            {"aggregationInterval": {"of": "P1D", "lastIntervalBehavior": "DROP"}, "resx": 1, "resy": 1},
            "aggregation->aggregationInterval->lastIntervalBehavior",
            "must be one of 'SKIP', 'SHORTEN' or 'EXTEND'",
        ),
        ({"evalscript": "", "resx": 1, "resy": 1}, "aggregation->evalscript", "at least 1 character"),
        (
            {"evalscript": None, "evalscriptReference": {"s3": {}}, "resx": 1, "resy": 1},
            "aggregation",
            "put the script itself into evalscript",
        ),
    ],
)
def test_aggregation_that_cannot_be_used(aggregation: dict[str, Any], field: str, remedy: str) -> None:
    error = refused(make_request(**aggregation))
    assert error.parameter == field
    assert remedy in error.message
    assert error.message.startswith(field)


@pytest.mark.parametrize(
    ("key", "field"),
    [
        ("timeRange", "aggregation->timeRange"),
        ("aggregationInterval", "aggregation->aggregationInterval"),
        ("evalscript", "aggregation->evalscript"),
    ],
)
def test_what_is_missing_is_named(key: str, field: str) -> None:
    body = make_request()
    del body["aggregation"][key]
    assert refused(body).message == f"{field}: is required"


@pytest.mark.parametrize("body", [None, [], "text", 3, {}, {"input": 3, "aggregation": "x"}])
def test_a_body_of_another_kind_is_an_error_and_no_crash(body: Any) -> None:
    assert refused(body).message


def test_at_most_five_data_sources() -> None:
    error = refused(make_request(data=[{"type": "sentinel-2-l2a"}] * 6))
    assert error.parameter == "input->data"
    assert error.message == "input->data: must have at most 5 elements, it has 6"


def test_at_least_one_data_source_with_a_type() -> None:
    assert refused(make_request(data=[])).message == "input->data: must have at least 1 element"
    assert refused(make_request(data=[{"id": "a"}])).message == "input->data->0->type: is required"


@pytest.mark.parametrize("percent", [-1, 101, math.nan])
def test_cloud_cover_is_a_percentage(percent: float) -> None:
    error = refused(make_request(data=[{"type": "s", "dataFilter": {"maxCloudCoverage": percent}}]))
    assert error.parameter == "input->data->0->dataFilter->maxCloudCoverage"


def test_an_unknown_mosaicking_order_lists_the_known_ones() -> None:
    error = refused(make_request(data=[{"type": "s", "dataFilter": {"mosaickingOrder": "best"}}]))
    assert error.message == (
        "input->data->0->dataFilter->mosaickingOrder: must be one of 'mostRecent', 'leastRecent' or 'leastCC'"
    )


@pytest.mark.parametrize(
    ("histogram", "remedy"),
    [
        ({}, "a histogram needs exactly one of nBins, binWidth and bins"),
        ({"nBins": 3, "binWidth": 1}, "a histogram needs exactly one of nBins, binWidth and bins"),
        ({"nBins": 0}, "must be greater than 0"),
        ({"binWidth": 0}, "binWidth must be greater than 0"),
        ({"binWidth": -0.5}, "binWidth must be greater than 0"),
        ({"binWidth": math.nan}, "must be a finite number"),
        ({"binWidth": True}, "must be a number"),
        ({"binWidth": "1"}, "must be a number"),
        ({"bins": [1]}, "bins needs at least two edges"),
        ({"bins": [1, 2, 2]}, "the edges in bins must grow"),
        ({"bins": [3, 2, 1]}, "the edges in bins must grow"),
        ({"bins": [0, math.inf]}, "must be a finite number"),
        ({"bins": [0, 10**400]}, "must be a finite number"),
        ({"nBins": 3, "lowEdge": 1, "highEdge": 1}, "highEdge must be greater than lowEdge"),
        ({"nBins": 3, "lowEdge": 2, "highEdge": 1}, "highEdge must be greater than lowEdge"),
    ],
)
def test_histograms_that_cannot_be_used(histogram: dict[str, Any], remedy: str) -> None:
    error = refused(make_request(calculations={"ndvi": {"histograms": {"value": histogram}}}))
    assert error.parameter.startswith("calculations->ndvi->histograms->value")
    assert remedy in error.message


@pytest.mark.parametrize("percent", [-0.1, 100.1, math.nan, "many"])
def test_percentiles_are_percents(percent: Any) -> None:
    statistics = {"value": {"percentiles": {"k": [50, percent]}}}
    error = refused(make_request(calculations={"ndvi": {"statistics": statistics}}))
    assert error.parameter == "calculations->ndvi->statistics->value->percentiles->k->1"


def test_numbers_keep_the_type_they_have_in_the_json() -> None:
    histograms = {"default": {"binWidth": 1, "lowEdge": 0.0, "highEdge": 10}}
    request = StatisticsRequest.model_validate(make_request(calculations={"default": {"histograms": histograms}}))
    histogram = (request.calculations["default"].histograms or {})["default"]
    kinds = [type(v) for v in (histogram.bin_width, histogram.low_edge, histogram.high_edge)]
    assert kinds == [int, float, int]
    again = StatisticsRequest.model_validate_json(request.model_dump_json(by_alias=True, exclude_none=True))
    assert again == request
    histogram = (again.calculations["default"].histograms or {})["default"]
    assert [type(v) for v in (histogram.bin_width, histogram.low_edge, histogram.high_edge)] == kinds


def test_defaults_are_the_hosted_services_rules() -> None:
    request = StatisticsRequest.model_validate(make_request(sampling={}) | {"calculations": None})
    assert (request.aggregation.sampling.grid, request.aggregation.sampling.cover) == (Grid.FEATURE, Cover.SERVICE)
    assert request.aggregation.sampling.is_default
    assert request.calculations == {}


@pytest.mark.parametrize(
    ("time_range", "field", "remedy"),
    [
        ({"from": "2020-07-01T00:00:00Z", "to": "2020-06-01T00:00:00Z"}, "aggregation->timeRange", "swap the two"),
        ({"from": "2020-07-01T00:00:00Z", "to": "2020-07-01T00:00:00Z"}, "aggregation->timeRange", "swap the two"),
        ({"to": "2020-06-01T00:00:00Z"}, "aggregation->timeRange->from", "timeRange needs 'from'"),
        ({"from": "2020-06-01T00:00:00Z"}, "aggregation->timeRange->to", "timeRange needs 'to'"),
        ({"from": "June", "to": "2020-06-01T00:00:00Z"}, "aggregation->timeRange->from", "'June' is no ISO 8601 time"),
    ],
)
def test_time_ranges_that_cannot_be_used(time_range: dict[str, str], field: str, remedy: str) -> None:
    request = StatisticsRequest.model_validate(make_request(timeRange=time_range, resx=1, resy=1))
    with pytest.raises(RequestInvalid) as told:
        request.aggregation.to_range()
    assert told.value.parameter == field
    assert remedy in told.value.message


def test_a_data_filters_time_range_may_be_open_but_not_reversed() -> None:
    source = {"type": "s", "dataFilter": {"timeRange": {"to": "2020-06-01T00:00:00+02:00"}}}
    data = StatisticsRequest.model_validate(make_request(data=[source])).input.data[0]
    assert data.data_filter.time_range is not None
    found = data.data_filter.time_range.to_range("here")
    assert (found.start.year, found.end.isoformat()) == (1, "2020-05-31T22:00:00+00:00")
    at = "2020-07-01T09:15:00Z"
    found = TimeRangeModel.model_validate({"from": at, "to": at}).to_range("here")
    assert (found.start.isoformat(), found.end.isoformat()) == (
        "2020-07-01T09:15:00+00:00",
        "2020-07-01T09:15:01+00:00",
    )
    source["dataFilter"] = {"timeRange": {"from": "2020-07-01T00:00:00Z", "to": "2020-06-01T00:00:00Z"}}
    data = StatisticsRequest.model_validate(make_request(data=[source])).input.data[0]
    assert data.data_filter.time_range is not None
    with pytest.raises(RequestInvalid, match="swap the two") as told:
        data.data_filter.time_range.to_range("here")
    assert told.value.parameter == "here"


@pytest.mark.parametrize(
    ("place", "remedy"),
    [
        ({"s3": {"url": "s3://b/k", "iamRoleARN": "arn:aws:iam::1:role/x"}}, "iamRoleARN is not supported"),
        ({"s3": {"url": "s3://b/k", "accessKey": "a"}}, "give both or neither"),
        ({"s3": {"url": "s3://b/k", "secretAccessKey": "a"}}, "give both or neither"),
        ({"s3": {"url": "https://b/k"}}, "must be an address like s3://bucket/folder"),
        ({"s3": {}}, "is required"),
        ({}, "is required"),
        (None, "must be"),
    ],
)
def test_storage_places_that_cannot_be_used(place: Any, remedy: str) -> None:
    for key in ("output", "features"):
        body = batch()
        (body["input"] if key == "features" else body)[key] = place
        error = refused(body, BatchStatisticsRequest)
        assert error.parameter.startswith("input->features" if key == "features" else "output")
        assert remedy in error.message
        assert ("file.gpkg" in error.message) == ("s3://bucket" in remedy and key == "features")


def test_secrets_are_not_shown() -> None:
    request = BatchStatisticsRequest.model_validate(batch(description="mine"))
    assert request.input.features.s3.secret_access_key is not None
    assert "'b'" not in repr(request)
    assert '"b"' not in request.model_dump_json()
    error = refused(batch(output={"s3": {"url": "s3://b/k", "secretAccessKey": "hush"}}), BatchStatisticsRequest)
    assert "hush" not in error.message


def test_many_problems_are_told_at_once_the_first_named() -> None:
    error = refused(make_request(resx=0, resy=0))
    assert error.message == "aggregation->resx: must be greater than 0; aggregation->resy: must be greater than 0"
    bins = {f"band{n}": {} for n in range(20)}
    error = refused(make_request(calculations={"ndvi": {"histograms": bins}}))
    assert error.message.endswith("; and 10 more")
