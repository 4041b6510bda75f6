"""Made-up results of a unit: what the writers of documents and tables are tried with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from swathe.model.time import TimeRange
from swathe.outputs.documents import BandResult, IntervalEntry
from swathe.statistics.distribution import Histograms
from swathe.statistics.summary import Summary

# Where the texts of floats are of another kind: exponents, signs, the ends of the range, no numbers.
_AWKWARD = [
    0.0,
    -0.0,
    1e16,
    -1e16,
    1e15,
    123456789012345680.0,
    1e-5,
    1e-7,
    5e-324,
    1.7976931348623157e308,
    0.1,
    1e22,
    1e21,
]
_FLOATS = st.sampled_from([*_AWKWARD, float("inf"), -float("inf"), float("nan")]) | st.floats()
_NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


def interval(day: int, days: int = 1) -> TimeRange:
    start = datetime(2020, 6, 1, tzinfo=UTC) + timedelta(days=day)
    return TimeRange(start, start + timedelta(days=days))


@st.composite
def unit_entries(draw: DrawFn) -> tuple[int, list[IntervalEntry]]:
    """How many features there are, and entries in any order; of an interval no two are of the same feature."""
    features = draw(st.integers(1, 12))
    weighted = draw(st.booleans())
    entries: list[IntervalEntry] = []
    for day in range(draw(st.integers(0, 4))):
        shape = draw(_shapes)
        first = 0
        while first < features:
            count = draw(st.integers(1, features - first))
            kind = draw(st.integers(0, 9))
            if kind == 0:
                pass  # nothing is said of them
            elif kind == 1:
                error = (draw(st.sampled_from(["TIMEOUT", "EXECUTION_ERROR"])), draw(_NAMES))
                entries.append(IntervalEntry(interval(day), first, count, error=error))
            else:
                shape = draw(_shapes) if kind == 2 else shape
                bands = {
                    output: {name: draw(bands_of(count, weighted, how)) for name, how in each} for output, each in shape
                }
                entries.append(IntervalEntry(interval(day), first, count, bands))
            first += count
    return features, draw(st.permutations(entries))


_percents = st.lists(st.sampled_from([0.0, 5.0, 33.3, 50.0, 1e-5, 100.0]), max_size=3).map(tuple)
_band_shapes = st.tuples(_percents, st.sampled_from(["none", "same", "own", "ragged", "near"]), st.booleans())
_shapes = st.lists(
    st.tuples(_NAMES, st.lists(st.tuples(_NAMES, _band_shapes), max_size=2, unique_by=lambda band: band[0])),
    max_size=2,
    unique_by=lambda output: output[0],
)


@st.composite
def bands_of(draw: DrawFn, features: int, weighted: bool, how: tuple[tuple[float, ...], str, bool]) -> BandResult:
    percents, kind, integer_edges = how
    floats = _array(_FLOATS)
    counts = np.array(draw(st.lists(st.integers(0, 3), min_size=features, max_size=features)), np.int64)
    summary = Summary(counts, *(draw(floats(features)) for _ in range(5)))
    return BandResult(
        summary,
        counts + draw(st.integers(0, 10**12)),
        percents,
        draw(floats(features * len(percents))).reshape(features, -1) if percents else None,
        draw(_histograms(features, kind, weighted)) if kind != "none" else None,
        integer_edges,
        weighted,
    )


@st.composite
def _histograms(draw: DrawFn, features: int, kind: str, weighted: bool) -> Histograms:
    whole = st.integers(-(2**40), 2**40).map(float)
    edge = draw(st.sampled_from([whole, whole | st.sampled_from([0.5, -0.0, 0.0, 1e300, 2.0**62])]))
    if kind == "same":
        row = draw(_array(edge)(draw(st.integers(1, 4))))
        rows = [row] * features
    elif kind == "near":  # the same as numbers, with other texts
        rows = [np.array([draw(st.sampled_from([0.0, -0.0])), 1.0]) for _ in range(features)]
    else:
        length = draw(st.integers(1, 4))
        rows = [draw(_array(edge)(draw(st.integers(1, 4)) if kind == "ragged" else length)) for _ in range(features)]
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    tally = st.floats(0, 1e6) if weighted else st.integers(0, 10**9).map(float)
    bins = int(starts[-1]) - features
    count = _array(tally)
    return Histograms(np.concatenate(rows), starts, draw(count(bins)), draw(count(features)), draw(count(features)))


def _array(numbers: st.SearchStrategy[float]) -> Any:
    def make(length: int) -> st.SearchStrategy[Any]:
        return st.lists(numbers, min_size=length, max_size=length).map(lambda found: np.array(found, np.float64))

    return make
