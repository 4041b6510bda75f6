"""Percentiles and histograms of one feature whose samples are too many to be held at once: they are gone through again and
again, some at a time, and memory does not grow with them.

The definitions are those of `distribution`. A percentile is the first sample, by value, at which the cumulated weight reaches
a goal. Samples are put into buckets of equal width; the bucket in which a goal lies is cut into buckets in its turn, from the
least to the greatest value in it, until all its samples are equal or few enough to be sorted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from swathe.model.statistical import Histogram
from swathe.statistics.distribution import Floats, Histograms, bin_edges, count_between

Samples = Callable[[], Iterable[tuple[npt.NDArray[np.generic], Floats | None]]]
"""The valid samples of a feature, some at a time and always in the same order: values and weights (None where all are 1)."""

# Few enough for what is counted in them to stay near the processor.
_BUCKETS = 4_096
_MOST_SORTED = 1_000_000


@dataclass(frozen=True)
class _Range:
    """Samples from `low` to `high`, whose goal is reached; `before` is the weight of those below, `count` how many it has."""

    low: float
    high: float
    before: float
    count: int


def select_percentiles(
    samples: Samples, count: int, percents: tuple[float, ...], extent: tuple[float, float] | None
) -> Floats:
    """Nearest-rank percentiles (1, percents) float64 of `count` samples, NaN if there are none.

    The same as `distribution.percentiles` of all samples, with weights but for rounding of their sums. `extent` is the least
    and the greatest value of samples that all weigh 1, None of those that have weights.
    """
    found = np.full((1, len(percents)), np.nan)
    if not count:
        return found
    if extent is None:
        least, greatest, total = _weighted_extent(samples)
        goals = np.array(percents, np.float64) / 100.0 * total * (1.0 - 1e-12)
    else:
        least, greatest = extent
        ranks = [math.ceil(percent * count / 100.0 - 1e-9) for percent in percents]
        goals = np.clip(np.array(ranks, np.float64), 1, count)
    open_ = {_Range(least, greatest, 0.0, count): np.arange(len(percents))}
    while open_:
        fine = _few(open_)
        for piece, values in _sorted(samples, fine):
            for k in open_.pop(piece):
                found[0, k] = _reached(values, piece.before, goals[k])
        further: dict[_Range, npt.NDArray[np.int64]] = {}
        for piece, which in _cut(samples, open_, goals):
            if piece.low == piece.high:
                found[0, which] = piece.low
            else:
                further[piece] = which
        open_ = further
    return found


def select_histogram(samples: Samples, wanted: Histogram, minimum: float, maximum: float, max_bins: int) -> Histograms:
    """The histogram of all samples; `minimum` and `maximum` stand in for edges that are not given.

    Raises:
        LimitExceeded: more bins than `max_bins`.
    """
    edges = bin_edges(wanted, minimum, maximum, max_bins)
    counts, under, over = np.zeros(max(0, len(edges) - 1)), np.zeros(1), np.zeros(1)
    for values, weights in samples():
        valid, starts = np.ones(len(values), np.uint8), np.array([0, len(values)], np.int64)
        found = count_between(values, valid, weights, starts, edges, even=wanted.bins is None)
        counts += found.counts
        under += found.under
        over += found.over
    return Histograms(edges, np.array([0, len(edges)], np.int64), counts, under, over)


def _weighted_extent(samples: Samples) -> tuple[float, float, float]:
    """Least and greatest value, and the sum of the weights."""
    least, greatest, total = math.inf, -math.inf, 0.0
    for values, weights in samples():
        least, greatest = min(least, float(values.min())), max(greatest, float(values.max()))
        total += len(values) if weights is None else float(weights.sum())
    return least, greatest, total


def _few(ranges: Iterable[_Range]) -> list[_Range]:
    """Those, by value, that together have few enough samples to be sorted."""
    chosen, room = [], _MOST_SORTED
    for piece in sorted(ranges, key=lambda piece: piece.count):
        room -= piece.count
        if room < 0:
            break
        chosen.append(piece)
    return sorted(chosen, key=lambda piece: piece.low)


def _sorted(samples: Samples, ranges: Sequence[_Range]) -> Iterable[tuple[_Range, tuple[Floats, Floats | None]]]:
    """The samples of some ranges, by value, with their weights."""
    if not ranges:
        return
    lows, highs = np.array([piece.low for piece in ranges]), np.array([piece.high for piece in ranges])
    values = np.empty(sum(piece.count for piece in ranges))
    weights = np.ones(len(values))
    filled = 0
    weighted = False
    for some, own in samples():
        weighted = own is not None
        filled = _collect(some, np.zeros(0) if own is None else own, lows, highs, values, weights, filled)
    order = np.argsort(values[:filled], kind="stable")
    values, weights = values[order], weights[order]
    begins = np.searchsorted(values, lows, side="left")
    ends = np.searchsorted(values, highs, side="right")
    for piece, begin, end in zip(ranges, begins.tolist(), ends.tolist(), strict=True):
        yield piece, (values[begin:end], weights[begin:end] if weighted else None)


def _reached(found: tuple[Floats, Floats | None], before: float, goal: float) -> float:
    """The first sample at which the goal is reached, the last one if it never is."""
    values, weights = found
    if weights is None:
        at = math.ceil(goal - before) - 1
    else:
        at = int(np.searchsorted(before + np.cumsum(weights), goal, side="left"))
    return float(values[min(max(at, 0), len(values) - 1)])


def _cut(
    samples: Samples, ranges: dict[_Range, npt.NDArray[np.int64]], goals: Floats
) -> list[tuple[_Range, npt.NDArray[np.int64]]]:
    """The buckets of some ranges in which a goal lies, and which goals do."""
    if not ranges:
        return []
    by_value = sorted(ranges, key=lambda piece: piece.low)
    lows, highs = np.array([piece.low for piece in by_value]), np.array([piece.high for piece in by_value])
    # of each bucket how many samples it has, their weight, the least and the greatest
    table = np.zeros((len(ranges), max(2, _BUCKETS // len(ranges)), 4))
    table[:, :, 2:] = np.inf, -np.inf
    for values, own in samples():
        _count(values, np.zeros(0) if own is None else own, lows, highs, table)
    found = []
    for number, piece in enumerate(by_value):
        filled = table[number][table[number, :, 0] > 0]
        upto = piece.before + np.cumsum(filled[:, 1])
        at = np.minimum(np.searchsorted(upto, goals[ranges[piece]], side="left"), len(filled) - 1)
        for place in np.unique(at).tolist():
            count, _, least, greatest = filled[place].tolist()
            part = _Range(least, greatest, float(upto[place - 1]) if place else piece.before, int(count))
            found.append((part, ranges[piece][at == place]))
    return found


@njit(cache=True, nogil=True)
def _steps(low, high, buckets):  # type: ignore[no-untyped-def]
    """What takes values from `low` to `high` to buckets: scale, width and buckets per unit (infinite for very small widths)."""
    scale = 1.0 if np.isfinite(high - low) else 0.5  # they may lie further apart than numbers go
    width = high * scale - low * scale
    return scale, width, buckets / width if width > 0.0 else 0.0


@njit(cache=True, nogil=True, inline="always")
def _bucket(x, low, scale, width, per_unit, buckets):  # type: ignore[no-untyped-def]
    """Grows with the value, which is all that is asked of it."""
    above = x * scale - low * scale
    place = above * per_unit if per_unit < np.inf else above / width * buckets
    return min(int(place), buckets - 1)


@njit(cache=True, nogil=True)
def _range_of(x, lows, highs):  # type: ignore[no-untyped-def]
    """The range that a value lies in, -1 for none; they do not overlap and lie by value."""
    a, b = 0, len(lows)
    while a < b:
        middle = (a + b) // 2
        if lows[middle] <= x:
            a = middle + 1
        else:
            b = middle
    return a - 1 if a > 0 and x <= highs[a - 1] else -1


@njit(cache=True, nogil=True)
def _near(lows, highs):  # type: ignore[no-untyped-def]
    """By bucket from the least to the greatest value whether any range reaches into it: most samples lie in no range."""
    low, high = lows[0], highs[-1]
    scale, width, per_unit = _steps(low, high, _BUCKETS)
    near = np.zeros(_BUCKETS, np.uint8)
    for r in range(len(lows)):
        first = _bucket(lows[r], low, scale, width, per_unit, _BUCKETS)
        last = _bucket(highs[r], low, scale, width, per_unit, _BUCKETS)
        near[first : last + 1] = 1
    return near


@njit(cache=True, nogil=True)
def _count(values, own, lows, highs, table):  # type: ignore[no-untyped-def]
    """Counts samples in the buckets of their ranges."""
    buckets = table.shape[1]
    weighted = len(own) > 0
    ranges = len(lows)
    steps = np.empty((ranges, 3))
    for r in range(ranges):
        steps[r, 0], steps[r, 1], steps[r, 2] = _steps(lows[r], highs[r], buckets)
    low, high = lows[0], highs[-1]
    scale, width, per_unit = _steps(low, high, _BUCKETS)
    near = _near(lows, highs)
    r = 0
    for i in range(len(values)):
        x = float(values[i])
        if x < low or x > high:
            continue
        if ranges > 1:
            if not near[_bucket(x, low, scale, width, per_unit, _BUCKETS)]:
                continue
            r = _range_of(x, lows, highs)
            if r < 0:
                continue
        k = _bucket(x, lows[r], steps[r, 0], steps[r, 1], steps[r, 2], buckets)
        table[r, k, 0] += 1.0
        table[r, k, 1] += own[i] if weighted else 1.0
        if x < table[r, k, 2]:
            table[r, k, 2] = x
        if x > table[r, k, 3]:
            table[r, k, 3] = x


@njit(cache=True, nogil=True)
def _collect(values, own, lows, highs, into, weights, filled):  # type: ignore[no-untyped-def]
    """Keeps the samples of some ranges; how many there are now."""
    low, high = lows[0], highs[-1]
    scale, width, per_unit = _steps(low, high, _BUCKETS)
    near = _near(lows, highs)
    for i in range(len(values)):
        x = float(values[i])
        if x < low or x > high or not near[_bucket(x, low, scale, width, per_unit, _BUCKETS)]:
            continue
        if _range_of(x, lows, highs) >= 0:
            into[filled] = x
            if len(own) > 0:
                weights[filled] = own[i]
            filled += 1
    return filled
