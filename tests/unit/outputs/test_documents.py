"""The JSON of a feature: literal documents."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from swathe.model.statistical import Cover, Grid, Histogram, Sampling
from swathe.model.time import TimeRange
from swathe.outputs.documents import BandResult, IntervalEntry, document, failed_document, response
from swathe.statistics.distribution import histograms, percentiles
from swathe.statistics.summary import summarise

DAY = TimeRange(datetime(2020, 6, 1, tzinfo=UTC), datetime(2020, 6, 2, tzinfo=UTC))
STARTS = np.array([0, 3, 5])


def result(values: list[float], *, weights: list[float] | None = None, bins: Any = None, **how: Any) -> BandResult:
    """Two features: the first three cells and the last two."""
    cells = np.array(values, np.float32)
    valid = (cells == cells).astype(np.uint8)
    weight = None if weights is None else np.array(weights)
    summary = summarise(cells, valid, weight, STARTS)
    found = None
    if bins is not None:
        wanted = Histogram.model_validate(bins)
        found = histograms(cells, valid, weight, STARTS, wanted, summary.minimum, summary.maximum, 100)
    percents = how.pop("percents", ())
    return BandResult(
        summary,
        np.array([4, 2]),
        percents,
        percentiles(cells, valid, weight, STARTS, percents) if percents else None,
        found,
        weighted=weights is not None,
        **how,
    )


def wire(found: BandResult, feature: int = 0) -> dict[str, Any]:
    entry = IntervalEntry(DAY, 10, 2, {"v": {"B0": found}})
    content: dict[str, Any] = entry.to_wire(10 + feature)
    assert content["interval"] == {"from": "2020-06-01T00:00:00Z", "to": "2020-06-02T00:00:00Z"}
    # it is JSON
    inner: dict[str, Any] = json.loads(json.dumps(content))["outputs"]["v"]["bands"]["B0"]
    return inner


NAN = float("nan")


def test_each_feature_has_its_own_statistics() -> None:
    found = result([1, 2, 3, 10, NAN], percents=(0.0, 33.0, 99.5))
    assert wire(found, 0)["stats"] == {
        "min": 1.0,
        "max": 3.0,
        "mean": 2.0,
        "stDev": pytest.approx(0.816496580927726),
        "sampleCount": 4,
        "noDataCount": 1,
        "percentiles": {"0.0": 1.0, "33.0": 1.0, "99.5": 3.0},
    }
    assert wire(found, 1)["stats"]["noDataCount"] == 1
    assert wire(found, 1)["stats"]["percentiles"] == {"0.0": 10.0, "33.0": 10.0, "99.5": 10.0}


def test_without_samples_there_are_nan_and_no_percentiles() -> None:
    found = result([1, 2, 3, NAN, NAN], percents=(50.0,), bins={"bins": [0, 1, 2]}, integer_edges=True)
    assert wire(found, 1) == {
        "stats": {"min": "NaN", "max": "NaN", "mean": "NaN", "stDev": "NaN", "sampleCount": 2, "noDataCount": 2},
        "histogram": {
            "bins": [{"lowEdge": 0, "highEdge": 1, "count": 0}, {"lowEdge": 1, "highEdge": 2, "count": 0}],
            "overflowCount": 0,
            "underflowCount": 0,
        },
    }


def test_weighted_counts_are_sums_of_weights() -> None:
    found = result([1, 2, 3, 4, 5], weights=[0.5, 0.25, 1, 1, 1], bins={"bins": [1.5, 2.5]})
    assert wire(found)["stats"]["weightSum"] == 1.75
    assert wire(found)["histogram"] == {
        "bins": [{"lowEdge": 1.5, "highEdge": 2.5, "count": 0.25}],
        "overflowCount": 1.0,
        "underflowCount": 0.5,
    }


def test_integer_edges_stay_floats_where_a_computed_one_is_none() -> None:
    found = result([1, 2, 3, 4, 5], bins={"nBins": 2, "lowEdge": 0, "highEdge": 5}, integer_edges=True)
    assert json.dumps([b["lowEdge"] for b in wire(found)["histogram"]["bins"]]) == "[0.0, 2.5]"


def test_float32_samples_are_written_as_the_float64_they_are() -> None:
    stats = wire(result([0.1, 0.1, 0.1, 1, 1]))["stats"]
    assert (stats["min"], stats["mean"]) == (0.10000000149011612, 0.10000000149011612)


OK = {"interval": {}, "outputs": {}}
BAD = {"interval": {}, "error": {}}


@pytest.mark.parametrize(
    ("entries", "status"), [([], "OK"), ([OK], "OK"), ([OK, BAD], "PARTIAL"), ([BAD], "FAILED"), ([BAD, BAD], "FAILED")]
)
def test_the_status_of_a_response(entries: list[dict[str, Any]], status: str) -> None:
    assert response(entries) == {"data": entries, "status": status}


def test_a_failed_interval_has_an_error_in_place_of_outputs() -> None:
    entry = IntervalEntry(DAY, 0, 5, error=("TIMEOUT", "It took too long"))
    assert entry.to_wire(3) == {"interval": DAY.to_wire(), "error": {"type": "TIMEOUT", "message": "It took too long"}}


def test_documents() -> None:
    answer = response([])
    assert (
        document(7, "seven", answer, Sampling())
        == b'{"id":7,"identifier":"seven","response":{"data":[],"status":"OK"}}'
    )
    assert document(7, None, answer, Sampling()) == b'{"id":7,"response":{"data":[],"status":"OK"}}'
    assert json.loads(document(-1, "ä\n", answer, Sampling(grid=Grid.SOURCE, cover=Cover.COVERAGE))) == {
        "id": -1,
        "identifier": "ä\n",
        "response": {"data": [], "status": "OK"},
        "sampling": {"grid": "source", "cover": "coverage"},
    }
    assert failed_document(3, None, "BAD_REQUEST", "no", Sampling()) == (
        b'{"id":3,"response":{"data":null,"status":"FAILED"},"error":{"type":"BAD_REQUEST","message":"no"}}'
    )
