"""The JSON of a feature: literal documents."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from swathe.model.statistical import Cover, Grid, Histogram, Sampling
from swathe.model.time import TimeRange
from swathe.outputs.documents import BandResult, IntervalEntry, failed_document
from swathe.outputs.writing import WrittenFeatures, write_documents
from swathe.statistics.distribution import histograms, percentiles
from swathe.statistics.summary import summarise

DAY = TimeRange(datetime(2020, 6, 1, tzinfo=UTC), datetime(2020, 6, 2, tzinfo=UTC))
DAY_BEFORE = TimeRange(datetime(2020, 5, 31, tzinfo=UTC), datetime(2020, 6, 1, tzinfo=UTC))
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


def write(entries: list[IntervalEntry], features: int, sampling: Sampling = Sampling()) -> WrittenFeatures:  # noqa: B008
    (written,) = write_documents(entries, np.arange(7, 7 + features), ["seven", *[None] * (features - 1)], sampling)
    return written


def response(entries: list[IntervalEntry], feature: int = 0, features: int = 1) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(write(entries, features).documents[feature])["response"]
    return answer


def wire(found: BandResult, feature: int = 0) -> dict[str, Any]:
    (content,) = response([IntervalEntry(DAY, 10, 2, {"v": {"B0": found}})], 10 + feature, 12)["data"]
    assert content["interval"] == {"from": "2020-06-01T00:00:00Z", "to": "2020-06-02T00:00:00Z"}
    inner: dict[str, Any] = content["outputs"]["v"]["bands"]["B0"]
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


OK = IntervalEntry(DAY, 0, 1)
BAD = IntervalEntry(DAY, 0, 1, error=("EXECUTION_ERROR", "no"))


@pytest.mark.parametrize(
    ("entries", "status"), [([], "OK"), ([OK], "OK"), ([OK, BAD], "PARTIAL"), ([BAD], "FAILED"), ([BAD, BAD], "FAILED")]
)
def test_the_status_of_a_response(entries: list[IntervalEntry], status: str) -> None:
    answer = response(entries)
    assert answer["status"] == status
    assert len(answer["data"]) == len(entries)


def test_a_failed_interval_has_an_error_in_place_of_outputs() -> None:
    late = IntervalEntry(DAY, 0, 5, error=("TIMEOUT", "It took too long"))
    early = IntervalEntry(DAY_BEFORE, 3, 1, error=("EXECUTION_ERROR", "no"))
    written = write([late, early], 6)
    assert written.failures == {
        0: "It took too long",
        1: "It took too long",
        2: "It took too long",
        3: "no",
        4: "It took too long",
    }
    assert response([late, early], 3, 6) == {
        "data": [
            {"interval": DAY_BEFORE.to_wire(), "error": {"type": "EXECUTION_ERROR", "message": "no"}},
            {"interval": DAY.to_wire(), "error": {"type": "TIMEOUT", "message": "It took too long"}},
        ],
        "status": "FAILED",
    }
    assert response([late, early], 5, 6) == {"data": [], "status": "OK"}


def test_documents() -> None:
    first, second = write([], 2).documents
    assert first == b'{"id":7,"identifier":"seven","response":{"data":[],"status":"OK"}}'
    assert second == b'{"id":8,"response":{"data":[],"status":"OK"}}'
    own = Sampling(grid=Grid.SOURCE, cover=Cover.COVERAGE)
    (written,) = write_documents([], np.array([-1]), ["ä\n"], own)
    assert written.documents == (
        '{"id":-1,"identifier":"ä\\n","response":{"data":[],"status":"OK"},'
        '"sampling":{"grid":"source","cover":"coverage"}}'.encode(),
    )
    assert failed_document(3, None, "BAD_REQUEST", "no", Sampling()) == (
        b'{"id":3,"response":{"data":null,"status":"FAILED"},"error":{"type":"BAD_REQUEST","message":"no"}}'
    )


def test_the_bytes_of_a_document() -> None:
    found = result([1, 2, 3, 4, NAN], percents=(50.0, 33.3), bins={"bins": [0, 2, 4.5]})
    assert write([IntervalEntry(DAY, 0, 2, {"v": {"B0": found}})], 2).documents[1] == (
        b'{"id":8,"response":{"data":[{"interval":{"from":"2020-06-01T00:00:00Z","to":"2020-06-02T00:00:00Z"},'
        b'"outputs":{"v":{"bands":{"B0":{"stats":{"min":4.0,"max":4.0,"mean":4.0,"stDev":0.0,"sampleCount":2,'
        b'"noDataCount":1,"percentiles":{"50.0":4.0,"33.3":4.0}},"histogram":{"bins":['
        b'{"lowEdge":0.0,"highEdge":2.0,"count":0},{"lowEdge":2.0,"highEdge":4.5,"count":1}],'
        b'"overflowCount":0,"underflowCount":0}}}}}}],"status":"OK"}}'
    )
