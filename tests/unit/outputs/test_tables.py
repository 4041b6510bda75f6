"""Tables say what the documents say, a row for each feature, interval, output and band."""

from __future__ import annotations

import io
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outputs_cases import interval, unit_entries
from pyarrow import parquet

from swathe.model.statistical import Calculation, Cover, Sampling
from swathe.outputs import tables
from swathe.outputs.documents import BandResult, IntervalEntry
from swathe.outputs.rows import FeatureEntries
from swathe.outputs.tables import TableForm, write_table
from swathe.statistics.summary import Summary

ALL_PERCENTS = ("0.0", "1e-05", "5.0", "33.3", "50.0", "100.0")


def read(form: TableForm, *parts: FeatureEntries) -> pa.Table:
    return parquet.read_table(io.BytesIO(write_table(form, parts)))


def _or_none(value: float) -> float | None:
    return None if value != value else float(value)


def expected_rows(form: TableForm, features: int, entries: list[IntervalEntry], base: dict[str, Any]) -> Any:
    """The rows of each feature, one at a time."""
    nothing = dict.fromkeys(("interval_from", "interval_to", "output", "band", "min", "max", "mean", "st_dev"))
    nothing |= dict.fromkeys(("sample_count", "no_data_count", "error"))
    nothing |= {"weight_sum": None} if form.weighted else {}
    nothing |= {"percentiles": None} if form.percents else {}
    nothing |= {"histogram": None} if form.histograms else {}
    for feature in range(features):
        rows: list[dict[str, Any]] = []
        own = [entry for entry in entries if entry.first <= feature < entry.last]
        for entry in sorted(own, key=lambda entry: entry.interval):
            times = {"interval_from": entry.interval.start, "interval_to": entry.interval.end}
            if entry.error is not None:
                rows.append({**nothing, **times, "error": ": ".join(entry.error)})
            for output, bands in entry.bands.items():
                for band, result in bands.items():
                    named = {"output": output, "band": band}
                    rows.append({**nothing, **times, **named, **_band(form, result, feature - entry.first)})
        yield from ({**base[str(feature)], **row} for row in rows or [nothing])


def _band(form: TableForm, result: BandResult, at: int) -> dict[str, Any]:
    summary = result.summary
    row: dict[str, Any] = {
        "min": _or_none(summary.minimum[at]),
        "max": _or_none(summary.maximum[at]),
        "mean": _or_none(summary.mean[at]),
        "st_dev": _or_none(summary.deviation[at]),
        "sample_count": int(result.sample_count[at]),
        "no_data_count": int(result.sample_count[at] - summary.count[at]),
    }
    if form.weighted:
        row["weight_sum"] = _or_none(summary.weight[at])
    if form.percents:
        found = (
            {}
            if result.percentiles is None
            else dict(zip(map(str, result.percents), result.percentiles[at], strict=True))
        )
        values = {percent: _or_none(found.get(percent, np.nan)) for percent in form.percents}
        row["percentiles"] = values if any(value is not None for value in values.values()) else None
    if form.histograms:
        row["histogram"] = None
        if result.histograms is not None:
            edges, counts, under, over = result.histograms.of(at)
            bins = [
                {"low_edge": low, "high_edge": high, "count": count}
                for low, high, count in zip(edges, edges[1:], counts, strict=False)
            ]
            row["histogram"] = {"bins": bins, "overflow_count": over, "underflow_count": under}
    return row


@given(made=unit_entries(), data=st.data(), group_rows=st.integers(1, 9), group_bins=st.integers(1, 20))
@settings(max_examples=150, deadline=None)
def test_a_table_has_the_numbers_of_the_documents_by_id_and_interval(
    made: tuple[int, list[IntervalEntry]], data: st.DataObject, group_rows: int, group_bins: int
) -> None:
    features, entries = made
    ids = data.draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=features, max_size=features, unique=True))
    identifiers = [None if key % 3 == 0 else f"parcel {key}" for key in ids]
    bands = [band for entry in entries for own in entry.bands.values() for band in own.values()]
    form = TableForm(ALL_PERCENTS, True, any(band.weighted for band in bands))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_GROUP_ROWS", group_rows)
        patch.setattr(tables, "_GROUP_BINS", group_bins)
        table = read(form, FeatureEntries(np.array(ids, np.int64), identifiers, entries))
    base = {
        str(at): {"id": key, "identifier": name} for at, (key, name) in enumerate(zip(ids, identifiers, strict=True))
    }
    expected = sorted(expected_rows(form, features, entries, base), key=lambda row: int(row["id"]))
    assert table.to_pylist() == expected
    # in whatever order the results came
    parts = [
        FeatureEntries(np.array(ids, np.int64), identifiers, data.draw(st.permutations(entries))) for _ in range(2)
    ]
    assert write_table(form, parts[:1]) == write_table(form, parts[1:])


def test_the_columns_follow_from_the_request_alone() -> None:
    calculations = {
        "default": Calculation.model_validate({"statistics": {"default": {"percentiles": {"k": [50, 5]}}}}),
        "v": Calculation.model_validate(
            {"histograms": {"B0": {"nBins": 3}}, "statistics": {"B0": {"percentiles": {"k": [99.5]}}}}
        ),
    }
    assert TableForm.of({}, Sampling()) == TableForm()
    form = TableForm.of(calculations, Sampling(cover=Cover.COVERAGE))
    assert form == TableForm(("5.0", "50.0", "99.5"), True, True)
    failed = FeatureEntries(np.array([3]), ["three"], failures={0: "BAD_REQUEST: no polygon"})
    table = read(form, failed)
    assert table.column_names == [
        "id", "identifier", "interval_from", "interval_to", "output", "band", "min", "max", "mean", "st_dev", "sample_count",
        "no_data_count", "weight_sum", "percentiles", "histogram", "error",
    ]  # fmt: skip
    ones = np.ones(1)
    result = BandResult(Summary(np.ones(1, np.int64), *[ones] * 5), np.ones(1, np.int64), weighted=True)
    entry = IntervalEntry(interval(0), 0, 1, {"v": {"B0": result}})
    assert read(form, FeatureEntries(np.array([3]), ["three"], [entry])).schema == table.schema
    assert [str(table.schema.field(name).type) for name in ("id", "identifier", "interval_from", "band", "error")] == [
        "int64",
        "string",
        "timestamp[us, tz=UTC]",
        "dictionary<values=string, indices=int32, ordered=0>",
        "string",
    ]


def test_no_feature_vanishes() -> None:
    failed = FeatureEntries(np.array([9, 2]), ["nine", None], failures={0: "BAD_REQUEST: no", 1: "BAD_REQUEST: empty"})
    without_scenes = FeatureEntries(np.array([5]), ["five"])
    timeout = IntervalEntry(interval(1), 0, 1, error=("TIMEOUT", "too long"))
    rows = read(TableForm(), failed, without_scenes, FeatureEntries(np.array([1]), [None], [timeout])).to_pylist()
    assert [(row["id"], row["identifier"], row["interval_from"], row["error"], row["mean"]) for row in rows] == [
        (1, None, interval(1).start, "TIMEOUT: too long", None),
        (2, None, None, "BAD_REQUEST: empty", None),
        (5, "five", None, None, None),
        (9, "nine", None, "BAD_REQUEST: no", None),
    ]


def test_one_features_rows_are_found_without_reading_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_GROUP_ROWS", 100)
    features = 200
    statistics = Summary(np.ones(features, np.int64), *[np.arange(features) / 2] * 5)
    result = BandResult(statistics, np.ones(features, np.int64))
    entries = [IntervalEntry(interval(day), 0, features, {"v": {"B0": result}}) for day in (2, 0, 1)]
    ids = np.random.default_rng(1).permutation(features)
    data = write_table(TableForm(), [FeatureEntries(ids, [None] * features, entries)])
    groups = parquet.ParquetFile(io.BytesIO(data)).metadata
    ranges = [groups.row_group(number).column(0).statistics for number in range(groups.num_row_groups)]
    assert len(ranges) == 6
    assert all(before.max <= after.min for before, after in pairwise(ranges))
    series = parquet.read_table(io.BytesIO(data), filters=[("id", "=", int(ids[7]))])
    assert series["mean"].to_pylist() == [3.5, 3.5, 3.5]
    assert series["interval_from"].to_pylist() == [interval(day).start for day in (0, 1, 2)]
