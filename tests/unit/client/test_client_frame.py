"""Documents as a table."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest

from swathe.client import to_dataframe

DAY_1 = {"from": "2020-06-01T00:00:00Z", "to": "2020-06-02T00:00:00Z"}
DAY_2 = {"from": "2020-06-02T00:00:00Z", "to": "2020-06-03T00:00:00Z"}


def stats(mean: Any, **more: Any) -> dict[str, Any]:
    return {"stats": {"min": mean, "max": mean, "mean": mean, "stDev": 0.0, "sampleCount": 4, "noDataCount": 1, **more}}


def document(feature_id: int, *intervals: dict[str, Any], status: str = "OK") -> dict[str, Any]:
    response = {"status": status, "data": list(intervals)}
    return {"id": feature_id, "identifier": f"parcel-{feature_id}", "response": response}


def interval(when: dict[str, str], **outputs: dict[str, Any]) -> dict[str, Any]:
    return {"interval": when, "outputs": {name: {"bands": bands} for name, bands in outputs.items()}}


def test_a_row_is_a_feature_an_interval_an_output_and_a_band() -> None:
    pd = pytest.importorskip("pandas")
    percentiles = {"percentiles": {"5.0": 0.1, "50.0": 0.5, "100.0": 0.9}}
    frame = to_dataframe(
        [
            document(2, interval(DAY_1, ndvi={"B0": stats(0.5, **percentiles)}, raw={"B0": stats(1), "B1": stats(2)})),
            document(1, interval(DAY_1, ndvi={"B0": stats(0.25)}), interval(DAY_2, ndvi={"B0": stats("NaN")})),
        ]
    )
    assert list(frame.columns) == [
        "feature_id", "identifier", "interval_from", "interval_to", "output", "band",
        "min", "max", "mean", "stDev", "sampleCount", "noDataCount", "p5.0", "p50.0", "p100.0", "error",
    ]  # fmt: skip
    assert frame["feature_id"].tolist() == [1, 1, 2, 2, 2]
    assert frame["identifier"].tolist() == ["parcel-1", "parcel-1", "parcel-2", "parcel-2", "parcel-2"]
    assert list(zip(frame["output"], frame["band"], strict=True))[2:] == [("ndvi", "B0"), ("raw", "B0"), ("raw", "B1")]
    assert frame["mean"].tolist()[2:] == [0.5, 1.0, 2.0]
    assert math.isnan(frame["mean"][1])
    assert frame["p50.0"][2] == 0.5
    assert math.isnan(frame["p50.0"][0])
    assert frame["interval_from"][1] == pd.Timestamp("2020-06-02", tz="UTC")
    assert str(frame["interval_to"].dt.tz) == "UTC"
    assert frame["sampleCount"].dtype == "Int64"
    assert frame["mean"].dtype == "float64"
    assert frame["error"].isna().all()


def test_histograms_have_a_column_only_if_there_are_any() -> None:
    pytest.importorskip("pandas")
    histogram = {"bins": [{"lowEdge": 0.0, "highEdge": "NaN", "count": 3}], "overflowCount": 0, "underflowCount": 0}
    banded = {**stats(1), "histogram": histogram}
    frame = to_dataframe([document(1, interval(DAY_1, a={"B0": banded, "B1": stats(1)}))])
    assert list(frame.columns)[-2:] == ["histogram", "error"]
    assert frame["histogram"][0]["bins"][0]["count"] == 3
    assert math.isnan(frame["histogram"][0]["bins"][0]["highEdge"])
    assert frame["histogram"][1] is None


def test_nothing_vanishes() -> None:
    pytest.importorskip("pandas")
    failed = {"interval": DAY_2, "error": {"type": "EXECUTION_ERROR", "message": "out of memory"}}
    frame = to_dataframe(
        [
            document(1, interval(DAY_1, a={"B0": stats(1)}), failed, status="PARTIAL"),
            {"id": 2, "identifier": "two", "error": {"type": "BAD_REQUEST", "message": "self-crossing"}},
            {"id": 3, "identifier": None, "response": {"status": "FAILED", "data": None}},
            document(4),
            {"id": 5, "identifier": "five", "error": "odd"},
            document(6, {"interval": DAY_1, "outputs": {}}),
        ]
    )
    assert frame["feature_id"].tolist() == [1, 1, 2, 3, 4, 5, 6]
    errors = [None if value != value else value for value in frame["error"]]
    assert errors == [
        None,
        "EXECUTION_ERROR: out of memory",
        "BAD_REQUEST: self-crossing",
        "FAILED",
        None,
        "odd",
        None,
    ]
    assert frame["interval_from"].isna().tolist() == [False, False, True, True, True, True, False]
    assert frame["sampleCount"].isna().tolist() == [False] + [True] * 6


def test_no_documents_give_an_empty_table_with_its_columns() -> None:
    pytest.importorskip("pandas")
    frame = to_dataframe([])
    assert len(frame) == 0
    assert "mean" in frame.columns


def test_answers_of_the_statistical_api_have_no_feature() -> None:
    pytest.importorskip("pandas")
    frame = to_dataframe([{"status": "OK", "data": [interval(DAY_1, a={"B0": stats(1)})]}])
    assert frame["mean"].tolist() == [1.0]
    assert frame["feature_id"].isna().all()


def test_without_pandas_the_error_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r'pip install "swathe\[dataframe\]"'):
        to_dataframe([])
