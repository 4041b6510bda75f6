"""Statistics of a feature from those of its pieces: the same as of the whole."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from swathe.model.statistical import Histogram
from swathe.statistics.distribution import histograms
from swathe.statistics.merge import MismatchedPieces, merge, merge_histograms
from swathe.statistics.summary import Summary, summarise


def pieces(values: np.ndarray, valid: np.ndarray, weights: np.ndarray | None, cuts: list[int]) -> list[Summary]:
    """Summaries of the cells between cuts, two pieces in the first where there are some."""
    found = []
    for begin, end in itertools.pairwise(cuts):
        middle = (begin + end) // 2
        starts = np.array([0, middle - begin, end - begin], np.int64)
        some = slice(begin, end)
        found.append(summarise(values[some], valid[some], None if weights is None else weights[some], starts))
    return found


def test_the_example() -> None:
    ones = np.ones(3, np.uint8)
    found = merge([summarise(np.array([1, 2, 4], np.uint16), ones, None, np.array([0, 2, 3], np.int64))])
    assert found.count.tolist() == [3]
    assert (found.minimum.tolist(), found.maximum.tolist()) == ([1], [4])
    assert found.mean[0] == pytest.approx(7 / 3, rel=1e-15)
    assert found.deviation[0] == pytest.approx(1.247219128924647, rel=1e-14)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("level", [0.0, 100.0])
def test_pieces_say_what_the_whole_says(weighted: bool, level: float) -> None:
    random = np.random.default_rng(1)
    values = (level + random.normal(0, 1, 10_000)).astype(np.float32)
    valid = (random.random(10_000) < 0.7).view(np.uint8)
    valid[2_000:3_000] = 0
    weights = random.uniform(1e-7, 1, 10_000) if weighted else None
    whole = summarise(values, valid, weights, np.array([0, 10_000], np.int64))
    found = merge(pieces(values, valid, weights, [0, 1, 1_000, 2_000, 2_500, 3_000, 9_999, 10_000]))
    assert found.count.dtype == whole.count.dtype
    assert found.minimum.dtype == whole.minimum.dtype
    assert (found.count, found.minimum, found.maximum) == (whole.count, whole.minimum, whole.maximum)
    assert found.mean == pytest.approx(whole.mean, rel=1e-12, abs=1e-15)
    assert found.deviation == pytest.approx(whole.deviation, rel=1e-12)
    assert found.weight == pytest.approx(whole.weight, rel=1e-12)
    assert (found.weights is None) == (whole.weights is None)


def test_equal_values_have_no_deviation() -> None:
    values, valid = np.full(900, 0.1), np.ones(900, np.uint8)
    found = merge(pieces(values, valid, None, [0, 7, 300, 900]))
    assert found.mean[0] == pytest.approx(0.1, rel=1e-15)
    assert found.deviation[0] < 1e-15


def test_nothing_valid_is_nan() -> None:
    found = merge(pieces(np.ones(10), np.zeros(10, np.uint8), None, [0, 5, 10]))
    assert found.count[0] == 0
    assert np.isnan([found.minimum[0], found.maximum[0], found.mean[0], found.deviation[0]]).all()


def test_pieces_of_different_bands_are_not_merged() -> None:
    valid, starts = np.ones(2, np.uint8), np.array([0, 2], np.int64)
    small, wide = summarise(np.ones(2, np.uint8), valid, None, starts), summarise(np.ones(2), valid, None, starts)
    weighted = summarise(np.ones(2), valid, np.ones(2), starts)
    for parts in ([small, wide], [wide, weighted]):
        with pytest.raises(MismatchedPieces):
            merge(parts)


def test_histograms_are_summed() -> None:
    values, valid = np.arange(10, dtype=np.uint16), np.ones(10, np.uint8)
    none = np.zeros(2)
    wanted = Histogram.model_validate({"bins": [1, 3, 8]})
    parts = [
        histograms(values, valid, None, np.array(starts, np.int64), wanted, none, none, 100)
        for starts in ([0, 2, 7], [7, 10])
    ]
    edges, counts, under, over = merge_histograms(parts).of(0)
    assert edges.tolist() == [1, 3, 8]
    assert (counts.tolist(), under, over) == ([2, 6], 1, 1)
    other = Histogram.model_validate({"bins": [1, 4, 8]})
    parts[1] = histograms(values, valid, None, np.array([7, 10], np.int64), other, none, none, 100)
    with pytest.raises(MismatchedPieces):
        merge_histograms(parts)
