"""Percentiles and histograms of every feature.

Percentiles are nearest rank, so a percentile is always a value that occurs: of n sorted valid samples the k-th percent is
the one of rank `ceil(k n / 100)`, at least the first. With weights it is the first sample at which the cumulated weight
reaches `k / 100` of the whole. Example: of 1, 2, 3, 4 the 50th is 2, the 51st is 3, the 0th 1 and the 100th 4.

Histogram edges are `low + i * width` in float64. A bin holds `low <= v < high`, the last one also its upper edge. What lies
under or over is counted apart. Example: nBins 3 on [0, 0.3] has the edges 0.0, 0.09999999999999999, 0.19999999999999998, 0.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from swathe.model.errors import LimitExceeded
from swathe.model.statistical import Histogram

Floats = npt.NDArray[np.float64]

_COUNTABLE = 2.0**53
_BUCKETS = 256
_MOST_INSERTED = 24


def percentiles(
    values: npt.NDArray[np.generic],
    valid: npt.NDArray[np.uint8],
    weights: Floats | None,
    starts: npt.NDArray[np.int64],
    percents: tuple[float, ...],
) -> Floats:
    """Nearest-rank percentiles (features, percents) float64, NaN where a feature has no valid cell."""
    wanted = np.array(percents, np.float64)
    if weights is None:
        return np.asarray(_percentiles(values, valid, starts, wanted))
    return np.asarray(_weighted_percentiles(values, valid, weights, starts, wanted))


@njit(cache=True, nogil=True)
def _percentiles(values, valid, starts, percents):  # type: ignore[no-untyped-def]
    """By buckets of equal width between the least and the greatest value: only those with a wanted rank are sorted."""
    features = len(starts) - 1
    out = np.full((features, len(percents)), np.nan)
    begins = np.empty(_BUCKETS + 2, np.int64)
    room = 0
    for f in range(features):
        room = max(room, starts[f + 1] - starts[f])
    sample = np.empty(room, values.dtype)
    ordered = np.empty(room, values.dtype)
    bucket_of = np.empty(room, np.uint16)
    for f in range(features):
        n = 0
        low = np.inf
        high = -np.inf
        for i in range(starts[f], starts[f + 1]):
            if valid[i]:
                value = values[i]
                sample[n] = value
                n += 1
                low = min(low, float(value))
                high = max(high, float(value))
        if n == 0:
            continue
        buckets = min(n, _BUCKETS)
        width = high - low
        scale = buckets / width if width > 0.0 else 0.0
        if not np.isfinite(scale) or not np.isfinite(width):  # as good as all alike, or as wide as numbers go
            scale = 0.0
        begins[: buckets + 2] = 0
        for i in range(n):
            # grows with the value, which is all that is asked of it
            bucket = min(int((float(sample[i]) - low) * scale), buckets - 1)
            bucket_of[i] = bucket
            begins[bucket + 2] += 1
        for bucket in range(2, buckets + 2):
            begins[bucket] += begins[bucket - 1]
        for i in range(n):
            bucket = bucket_of[i]
            ordered[begins[bucket + 1]] = sample[i]
            begins[bucket + 1] += 1
        # begins[b] is where bucket b begins now
        done = -1
        for k in range(len(percents)):
            rank = int(np.ceil(percents[k] * n / 100.0 - 1e-9))
            place = min(max(rank, 1), n) - 1
            bucket = int(np.searchsorted(begins[: buckets + 1], place, side="right")) - 1
            if bucket != done:
                _sort(ordered, begins[bucket], begins[bucket + 1])
                done = bucket
            out[f, k] = ordered[place]
    return out


@njit(cache=True, nogil=True)
def _sort(values, begin, end):  # type: ignore[no-untyped-def]
    """Sorts a run of values in place."""
    if end - begin > _MOST_INSERTED:
        values[begin:end] = np.sort(values[begin:end])
        return
    for i in range(begin + 1, end):
        value = values[i]
        j = i
        while j > begin and values[j - 1] > value:
            values[j] = values[j - 1]
            j -= 1
        values[j] = value


@njit(cache=True, nogil=True)
def _weighted_percentiles(values, valid, weights, starts, percents):  # type: ignore[no-untyped-def]
    features = len(starts) - 1
    out = np.full((features, len(percents)), np.nan)
    for f in range(features):
        begin, end = starts[f], starts[f + 1]
        sample = np.empty(end - begin, np.float64)
        weight = np.empty(end - begin, np.float64)
        n = 0
        for i in range(begin, end):
            if valid[i]:
                sample[n] = values[i]
                weight[n] = weights[i]
                n += 1
        if n == 0:
            continue
        order = np.argsort(sample[:n], kind="mergesort")
        cumulated = np.cumsum(weight[:n][order])
        for k in range(len(percents)):
            goal = percents[k] / 100.0 * cumulated[n - 1]
            at = 0
            while at < n - 1 and cumulated[at] < goal * (1.0 - 1e-12):
                at += 1
            out[f, k] = sample[order[at]]
    return out


@dataclass(frozen=True)
class Histograms:
    """Histograms of features: `edges` and `counts` side by side, `starts` (features + 1) into edges.

    A feature with m edges has m - 1 counts, at `starts[f] - f`. Counts are float64: whole numbers unless weighted.
    """

    edges: Floats
    starts: npt.NDArray[np.int64]
    counts: Floats
    under: Floats
    over: Floats

    def of(self, feature: int) -> tuple[Floats, Floats, float, float]:
        """Edges, counts, underflow and overflow of one feature."""
        a, b = self.starts[feature], self.starts[feature + 1]
        counts = self.counts[a - feature : max(a, b - 1) - feature]
        return self.edges[a:b], counts, float(self.under[feature]), float(self.over[feature])


def histograms(
    values: npt.NDArray[np.generic],
    valid: npt.NDArray[np.uint8],
    weights: Floats | None,
    starts: npt.NDArray[np.int64],
    wanted: Histogram,
    minimum: Floats,
    maximum: Floats,
    max_bins: int,
) -> Histograms:
    """Histograms of features; `minimum` and `maximum` (features) stand in for edges that are not given.

    Raises:
        LimitExceeded: more bins than `max_bins`.
    """
    features = len(starts) - 1
    if has_given_edges(wanted):
        edges = bin_edges(wanted, math.nan, math.nan, max_bins)
        return count_between(values, valid, weights, starts, edges, even=wanted.bins is None)
    each = [bin_edges(wanted, float(minimum[f]), float(maximum[f]), max_bins) for f in range(features)]
    flat = np.concatenate(each) if each else np.zeros(0)
    edge_starts = np.concatenate([[0], np.cumsum([len(e) for e in each], dtype=np.int64)]).astype(np.int64)
    counts, under, over = _count(
        values, valid, np.zeros(0) if weights is None else weights, starts, flat, edge_starts, wanted.bins is None
    )
    return Histograms(flat, edge_starts, counts, under, over)


def has_given_edges(wanted: Histogram) -> bool:
    """Whether the edges do not depend on the samples."""
    return wanted.bins is not None or (wanted.low_edge is not None and wanted.high_edge is not None)


def count_between(
    values: npt.NDArray[np.generic],
    valid: npt.NDArray[np.uint8],
    weights: Floats | None,
    starts: npt.NDArray[np.int64],
    edges: Floats,
    *,
    even: bool,
) -> Histograms:
    """Histograms of features with edges that are known, the same for all; `even` if all bins are about as wide."""
    features = len(starts) - 1
    flat, edge_starts = np.tile(edges, features), np.arange(features + 1, dtype=np.int64) * len(edges)
    counts, under, over = _count(
        values, valid, np.zeros(0) if weights is None else weights, starts, flat, edge_starts, even
    )
    return Histograms(flat, edge_starts, counts, under, over)


def bin_edges(wanted: Histogram, minimum: float, maximum: float, max_bins: int) -> Floats:
    """Edges of one histogram, float64; a single one (no bin) where an edge is not given and there is no valid sample.

    Raises:
        LimitExceeded: more bins than `max_bins`.
    """
    if wanted.bins is not None:
        _check_bins(len(wanted.bins) - 1, max_bins)
        return np.array(wanted.bins, np.float64)
    low = minimum if wanted.low_edge is None else float(wanted.low_edge)
    high = maximum if wanted.high_edge is None else float(wanted.high_edge)
    if math.isnan(low) or math.isnan(high):
        return np.zeros(1)
    # an edge that is given may lie beyond all samples
    if wanted.high_edge is None:
        high = max(low, high)
    elif wanted.low_edge is None:
        low = min(low, high)
    if wanted.n_bins is not None:
        _check_bins(wanted.n_bins, max_bins)
        width = (high - low) / wanted.n_bins
        edges: Floats = low + np.arange(wanted.n_bins + 1, dtype=np.float64) * width
        edges[-1] = high
        return edges
    width = float(wanted.bin_width or 1)
    parts = max(0.0, (high - low) / width)
    parts = min(parts, _COUNTABLE)
    count = max(1, math.ceil(parts - 1e-9 * max(1.0, parts)))
    _check_bins(count, max_bins)
    edges = low + np.arange(count + 1, dtype=np.float64) * width
    if wanted.high_edge is not None and edges[-1] > high + 1e-9 * width:
        edges[-1] = high
    elif wanted.high_edge is None:
        edges[-1] = max(edges[-1], high)
    return edges


def _check_bins(count: int, most: int) -> None:
    if count > most:
        raise LimitExceeded(f"A histogram would have {count:,} bins; at most {most:,} are allowed", "calculations")


@njit(cache=True, nogil=True)
def _count(values, valid, weights, starts, edges, edge_starts, even):  # type: ignore[no-untyped-def]
    """Counts values between edges; where these are about even, a bin is guessed and then found beside the guess."""
    features = len(starts) - 1
    counts = np.zeros(max(0, len(edges) - features))
    under = np.zeros(features)
    over = np.zeros(features)
    weighted = len(weights) > 0
    for f in range(features):
        first, last = edge_starts[f], edge_starts[f + 1] - 1
        per_unit = 0.0
        if even and last > first and edges[last] > edges[first]:
            per_unit = (last - first) / (edges[last] - edges[first])
            if not np.isfinite(per_unit):
                per_unit = 0.0
        for i in range(starts[f], starts[f + 1]):
            if not valid[i]:
                continue
            x = float(values[i])
            w = weights[i] if weighted else 1.0
            if last <= first:
                over[f] += w
            elif x < edges[first]:
                under[f] += w
            elif x > edges[last]:
                over[f] += w
            elif per_unit > 0.0:
                a = min(first + int((x - edges[first]) * per_unit), last - 1)
                while x < edges[a]:
                    a -= 1
                while a < last - 1 and x >= edges[a + 1]:
                    a += 1
                counts[a - f] += w
            else:
                a, b = first, last
                while b - a > 1:
                    middle = (a + b) // 2
                    if x < edges[middle]:
                        b = middle
                    else:
                        a = middle
                counts[a - f] += w
    return counts, under, over
