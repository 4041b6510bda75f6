"""The results of many features as rows: one for each feature, interval, output and band.

Rows lie by feature id, then by interval, then in the order of the outputs and bands. An interval that failed has one row
without output and band. A feature that could not be computed at all, or of which nothing is said, has one row that is
without an interval, too: none vanishes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from swathe.model.time import TimeRange
from swathe.outputs.documents import BandResult, IntervalEntry, percent_key
from swathe.outputs.numbers import NumberList
from swathe.statistics.summary import Summary

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_NONE = -1

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True)
class FeatureEntries:
    """Some features and what is said of them by position: entries, and why some could not be computed at all."""

    feature_ids: Integers
    identifiers: Sequence[str | None]
    entries: Sequence[IntervalEntry] = ()
    failures: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class HistogramRows:
    """Histograms of rows: edges and counts of all of them, and where a row's begin there.

    `bins` (rows) is how many a row has, -1 where it has no histogram.
    """

    edges: Floats
    counts: Floats
    first_edge: Integers
    first_count: Integers
    bins: Integers
    under: Floats
    over: Floats


@dataclass(frozen=True)
class ResultRows:
    """Columns of rows, not in their order: `order` (rows) says which row comes when.

    `feature`, `interval`, `output`, `band` and `error` (rows) are places in the lists of those names, -1 for none.
    Statistics that do not exist are NaN. `percentiles` is (rows, percents).
    """

    feature_ids: Integers
    identifiers: tuple[str | None, ...]
    intervals: tuple[TimeRange, ...]
    outputs: tuple[str, ...]
    bands: tuple[str, ...]
    errors: tuple[str, ...]
    feature: Integers
    interval: Integers
    output: Integers
    band: Integers
    error: Integers
    minimum: Floats
    maximum: Floats
    mean: Floats
    deviation: Floats
    weight: Floats
    valid_count: Integers
    sample_count: Integers
    percentiles: Floats
    histograms: HistogramRows
    order: Integers


def make_rows(parts: Sequence[FeatureEntries], percents: Sequence[str]) -> ResultRows:
    """The rows of some features; `percents` are the percentiles, by the names they have in documents."""
    slabs: list[_Slab] = []
    intervals, outputs, bands, errors = _Places[TimeRange](), _Places[str](), _Places[str](), _Places[str]()
    before = 0
    for part in parts:
        # whoever was ready first, equal results are equal bytes
        for entry in sorted(part.entries, key=lambda entry: (entry.interval, entry.first)):
            features = np.arange(before + entry.first, before + entry.last)
            interval = intervals.of(entry.interval)
            if entry.error is not None:
                slabs.append(_Slab(features, interval, error=errors.of(": ".join(entry.error))))
                continue
            found = [(output, band, result) for output, own in entry.bands.items() for band, result in own.items()]
            for slot, (output, band, result) in enumerate(found):
                slabs.append(_Slab(features, interval, outputs.of(output), bands.of(band), result=result, slot=slot))
        before += len(part.feature_ids)
    slabs.extend(_remaining(parts, slabs, errors))
    feature_ids = np.concatenate([part.feature_ids for part in parts])
    feature = np.concatenate([slab.features for slab in slabs])
    lengths = np.array([len(slab.features) for slab in slabs])

    def repeated(places: Iterable[int]) -> Integers:
        return np.repeat(np.fromiter(places, np.int64, len(slabs)), lengths)

    interval_of = repeated(slab.interval for slab in slabs)
    return ResultRows(
        feature_ids=feature_ids,
        identifiers=tuple(identifier for part in parts for identifier in part.identifiers),
        intervals=tuple(intervals.values),
        outputs=tuple(outputs.values),
        bands=tuple(bands.values),
        errors=tuple(errors.values),
        feature=feature,
        interval=interval_of,
        output=repeated(slab.output for slab in slabs),
        band=repeated(slab.band for slab in slabs),
        error=repeated(slab.error for slab in slabs),
        minimum=_measures(slabs, lambda summary: summary.minimum),
        maximum=_measures(slabs, lambda summary: summary.maximum),
        mean=_measures(slabs, lambda summary: summary.mean),
        deviation=_measures(slabs, lambda summary: summary.deviation),
        weight=_measures(slabs, lambda summary: summary.weight),
        valid_count=_counts(slabs, lambda result: result.summary.count),
        sample_count=_counts(slabs, lambda result: result.sample_count),
        percentiles=_percentiles(slabs, percents, len(feature)),
        histograms=_histograms(slabs),
        order=_order(feature_ids, feature, tuple(intervals.values), interval_of, repeated(slab.slot for slab in slabs)),
    )


class _Places(Generic[T]):
    """Different values, each at the place at which it was first seen."""

    def __init__(self) -> None:
        self.values: dict[T, int] = {}

    def of(self, value: T) -> int:
        return self.values.setdefault(value, len(self.values))


@dataclass(frozen=True)
class _Slab:
    """Rows that lie together before they are brought into order, one for each of some features."""

    features: Integers
    interval: int = _NONE
    output: int = _NONE
    band: int = _NONE
    error: int = _NONE
    result: BandResult | None = None
    slot: int = 0


def _remaining(parts: Sequence[FeatureEntries], slabs: Sequence[_Slab], errors: _Places[str]) -> Iterator[_Slab]:
    """Rows for the features that have none: they failed as a whole, or there is nothing to say of them."""
    has_rows = np.zeros(sum(len(part.feature_ids) for part in parts), np.bool_)
    for slab in slabs:
        has_rows[slab.features] = True
    before = 0
    for part in parts:
        for position, reason in sorted(part.failures.items()):
            has_rows[before + position] = True
            yield _Slab(np.array([before + position]), error=errors.of(reason))
        before += len(part.feature_ids)
    yield _Slab(np.flatnonzero(~has_rows))


def _measures(slabs: Sequence[_Slab], measure: Callable[[Summary], npt.NDArray[np.floating]]) -> Floats:
    """One of the statistics; NaN where there is no result."""
    return np.concatenate(
        [
            np.full(len(slab.features), np.nan) if slab.result is None else measure(slab.result.summary)
            for slab in slabs
        ],
        dtype=np.float64,
    )


def _counts(slabs: Sequence[_Slab], count: Callable[[BandResult], npt.NDArray[np.signedinteger]]) -> Integers:
    """Some count; 0 where there is no result."""
    return np.concatenate(
        [np.zeros(len(slab.features), np.int64) if slab.result is None else count(slab.result) for slab in slabs],
        dtype=np.int64,
    )


def _percentiles(slabs: Sequence[_Slab], percents: Sequence[str], rows: int) -> Floats:
    """Percentiles (rows, percents), NaN where they were not asked for or no sample is valid."""
    columns = {percent: column for column, percent in enumerate(percents)}
    values = np.full((len(percents), rows), np.nan)
    row = 0
    for slab in slabs:
        after = row + len(slab.features)
        if slab.result is not None and slab.result.percentiles is not None:
            for place, percent in enumerate(slab.result.percents):
                values[columns[percent_key(percent)], row:after] = slab.result.percentiles[:, place]
        row = after
    return values.T


def _histograms(slabs: Sequence[_Slab]) -> HistogramRows:
    edges, counts = NumberList(np.float64), NumberList(np.float64)
    firsts, first_counts, bins, under, over = (NumberList(kind) for kind in (np.int64,) * 3 + (np.float64,) * 2)
    for slab in slabs:
        found = None if slab.result is None else slab.result.histograms
        if found is None:
            nothing = np.full(len(slab.features), _NONE)
            for integers in (firsts, first_counts, bins):
                integers.add([nothing])
            for floats in (under, over):
                floats.add([np.zeros(len(slab.features))])
            continue
        firsts.add([found.starts[:-1] + edges.add([found.edges])])
        first_counts.add([found.starts[:-1] - np.arange(len(slab.features)) + counts.add([found.counts])])
        bins.add([np.maximum(np.diff(found.starts) - 1, 0)])
        under.add([found.under])
        over.add([found.over])
    return HistogramRows(*(numbers.joined() for numbers in (edges, counts, firsts, first_counts, bins, under, over)))


def _order(
    feature_ids: Integers, feature: Integers, intervals: Sequence[TimeRange], interval: Integers, slot: Integers
) -> Integers:
    """The rows by id, interval and slot."""
    id_rank = np.empty(len(feature_ids), np.int64)
    id_rank[np.argsort(feature_ids, kind="stable")] = np.arange(len(feature_ids))
    interval_rank = np.zeros(len(intervals) + 1, np.int64)  # the last one for none
    interval_rank[sorted(range(len(intervals)), key=lambda place: intervals[place])] = np.arange(len(intervals))
    slots = int(slot.max(initial=0)) + 1
    key = (id_rank[feature] * len(interval_rank) + interval_rank[interval]) * slots + slot
    return np.argsort(key, kind="stable")
