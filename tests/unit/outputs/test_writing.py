"""Documents written from columns are, byte for byte, those that a feature at a time would be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outputs_cases import interval, unit_entries

from swathe.model.statistical import Cover, Grid, Sampling
from swathe.outputs import writing
from swathe.outputs.documents import BandResult, IntervalEntry
from swathe.outputs.numbers import number_texts
from swathe.outputs.writing import write_documents
from swathe.statistics.distribution import Histograms
from swathe.statistics.summary import Summary


def reference(
    entries: Sequence[IntervalEntry], ids: Sequence[int], identifiers: Sequence[str | None], sampling: Sampling
) -> Iterator[tuple[bytes, str | None]]:
    """The document of each feature from objects, and why it failed."""
    for at, (key, identifier) in enumerate(zip(ids, identifiers, strict=True)):
        own = sorted((e for e in entries if e.first <= at < e.first + e.count), key=lambda e: e.interval)
        data = [_entry(entry, at) for entry in own]
        failed = [entry.error[1] for entry in own if entry.error is not None]
        status = "OK" if not failed else "FAILED" if len(failed) == len(data) else "PARTIAL"
        document: dict[str, Any] = {"id": key}
        if identifier is not None:
            document["identifier"] = identifier
        document["response"] = {"data": data, "status": status}
        if not sampling.is_default:
            document["sampling"] = {"grid": sampling.grid.value, "cover": sampling.cover.value}
        yield orjson.dumps(document), failed[0] if status == "FAILED" else None


def _entry(entry: IntervalEntry, feature: int) -> dict[str, Any]:
    times = entry.interval.to_wire()
    if entry.error is not None:
        kind, message = entry.error
        return {"interval": times, "error": {"type": kind, "message": message}}
    at = feature - entry.first
    outputs = {
        output: {"bands": {name: _band(result, at) for name, result in bands.items()}}
        for output, bands in entry.bands.items()
    }
    return {"interval": times, "outputs": outputs}


def _number(value: float) -> float | str:
    return "NaN" if value != value else value


def _band(result: BandResult, at: int) -> dict[str, Any]:
    summary = result.summary
    count = int(summary.count[at])
    samples = int(result.sample_count[at])
    stats: dict[str, Any] = {
        "min": _number(float(summary.minimum[at])),
        "max": _number(float(summary.maximum[at])),
        "mean": _number(float(summary.mean[at])),
        "stDev": _number(float(summary.deviation[at])),
        "sampleCount": samples,
        "noDataCount": samples - count,
    }
    if result.weighted:
        stats["weightSum"] = float(summary.weight[at])
    if result.percentiles is not None and count:
        stats["percentiles"] = {
            str(float(percent)): float(value)
            for percent, value in zip(result.percents, result.percentiles[at], strict=True)
        }
    wire: dict[str, Any] = {"stats": stats}
    if result.histograms is not None:
        wire["histogram"] = _histogram(result.histograms, at, result.integer_edges, result.weighted)
    return wire


def _histogram(histograms: Histograms, at: int, integer_edges: bool, weighted: bool) -> dict[str, Any]:
    edges, counts, under, over = histograms.of(at)
    whole = integer_edges and bool(np.all((edges == np.floor(edges)) & (abs(edges) < 2.0**63)))
    sides = [int(edge) for edge in edges] if whole else [float(edge) for edge in edges]
    tally = [float(n) for n in counts] if weighted else [int(n) for n in counts]
    return {
        "bins": [
            {"lowEdge": low, "highEdge": high, "count": n}
            for low, high, n in zip(sides, sides[1:], tally, strict=False)
        ],
        "overflowCount": over if weighted else int(over),
        "underflowCount": under if weighted else int(under),
    }


_IDENTIFIERS = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@pytest.mark.parametrize("at_once", [1, 5, 1000])
@given(
    made=unit_entries(),
    data=st.data(),
    sampling=st.sampled_from([Sampling(), Sampling(grid=Grid.SOURCE, cover=Cover.COVERAGE)]),
)
@settings(max_examples=60, deadline=None)
def test_documents_from_columns_are_the_bytes_of_documents_from_objects(
    at_once: int, made: tuple[int, list[IntervalEntry]], data: st.DataObject, sampling: Sampling
) -> None:
    features, entries = made
    whole = st.integers(-(2**63), 2**63 - 1)
    ids = data.draw(st.lists(whole, min_size=features, max_size=features))
    identifiers = data.draw(st.lists(_IDENTIFIERS, min_size=features, max_size=features))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "_MOST_FEATURES", at_once)
        written = list(write_documents(entries, np.array(ids, np.int64), identifiers, sampling))
    expected = list(reference(entries, ids, identifiers, sampling))
    assert [document for part in written for document in part.documents] == [document for document, _ in expected]
    failures = {at: reason for part in written for at, reason in part.failures.items()}
    assert failures == {at: reason for at, (_, reason) in enumerate(expected) if reason is not None}


@given(st.lists(st.floats(width=64) | st.floats(width=32), max_size=50))
def test_the_text_of_a_number_is_that_of_the_number_alone(values: list[float]) -> None:
    text, starts = number_texts(np.array(values, np.float64))
    found = [bytes(text[a : b - 1]) for a, b in pairwise(starts)]
    assert found == [orjson.dumps(value) for value in values]


def test_features_with_much_to_say_are_written_a_few_at_a_time() -> None:
    features, bins = 6, 200_000
    starts = np.arange(features + 1) * (bins + 1)
    edges = np.tile(np.arange(bins + 1.0), features)
    histograms = Histograms(edges, starts, np.ones(features * bins), np.zeros(features), np.zeros(features))
    ones = np.ones(features)
    summary = Summary(np.full(features, bins), ones, ones, ones, ones, ones)
    result = BandResult(summary, np.full(features, bins), histograms=histograms)
    entry = IntervalEntry(interval(0), 0, features, {"v": {"B0": result}})
    written = list(write_documents([entry], np.arange(features), [None] * features, Sampling()))
    assert [part.first for part in written] == list(range(features))
    last = orjson.loads(written[-1].documents[0])["response"]["data"][0]["outputs"]["v"]["bands"]["B0"]["histogram"]
    assert last["bins"][-1] == {"lowEdge": 199_999.0, "highEdge": 200_000.0, "count": 1}
