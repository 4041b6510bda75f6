"""Summaries, percentiles and histograms, by literal values and by the published figures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swathe.model.errors import LimitExceeded
from swathe.model.statistical import Histogram
from swathe.statistics.distribution import bin_edges, histograms, percentiles
from swathe.statistics.summary import summarise, valid_cells

CLASSES = np.array([8] * 99 + [9] + [10] * 710, np.uint8)
ONE = np.array([0, 810])


def all_valid(values: np.ndarray) -> np.ndarray:
    return np.ones(len(values), np.uint8)


def test_published_deviation_is_the_populations() -> None:
    found = summarise(CLASSES, all_valid(CLASSES), None, ONE)
    assert found.mean[0] == 9.75432098765432
    assert found.deviation[0] == pytest.approx(0.6555648554361158, abs=1e-13)
    assert (found.minimum[0], found.maximum[0], found.count[0]) == (8, 10, 810)


def test_worked_example() -> None:
    values = np.array([1, 2, 4], np.float32)
    found = summarise(values, all_valid(values), None, np.array([0, 3]))
    assert found.mean[0] == pytest.approx(7 / 3)
    assert found.deviation[0] == pytest.approx(1.247219128924647)
    masked = summarise(values, valid_cells(values, np.array([1, 1, 0])), None, np.array([0, 3]))
    assert (masked.mean[0], masked.deviation[0], masked.count[0]) == (1.5, 0.5, 2)


def test_numbers_that_are_not_finite_are_no_samples() -> None:
    values = np.array([1, np.nan, np.inf, -np.inf, 3], np.float32)
    assert valid_cells(values, None).tolist() == [1, 0, 0, 0, 1]
    assert valid_cells(values, np.array([np.nan, 1, 1, 1, 1])).tolist() == [0, 0, 0, 0, 1]


def test_a_feature_without_valid_cells_is_nan() -> None:
    values = np.array([1, 2], np.float32)
    found = summarise(values, np.array([0, 1], np.uint8), None, np.array([0, 1, 2, 2]))
    assert found.count.tolist() == [0, 1, 0]
    assert np.isnan(found.mean).tolist() == [True, False, True]
    assert np.isnan(percentiles(values, np.zeros(2, np.uint8), None, np.array([0, 2]), (50.0,))).all()


def test_weights_are_frequencies_and_slivers_do_not_decide_a_minimum() -> None:
    values = np.array([10.0, 20.0, -5.0])
    weights = np.array([3.0, 1.0, 1e-7])
    found = summarise(values, all_valid(values), weights, np.array([0, 3]))
    assert found.mean[0] == pytest.approx(12.5, abs=1e-6)
    assert found.deviation[0] == pytest.approx(np.sqrt(18.75), abs=1e-5)
    assert (found.minimum[0], found.maximum[0]) == (10, 20)
    assert found.weight[0] == pytest.approx(4.0000001)


def test_percentiles_are_nearest_rank() -> None:
    values = np.array([4, 1, 3, 2], np.float32)
    found = percentiles(values, all_valid(values), None, np.array([0, 4]), (0, 25, 50, 51, 75, 76, 100))
    assert found.tolist() == [[1, 1, 2, 3, 3, 4, 4]]


def test_weighted_percentile_is_where_the_cumulated_weight_reaches_it() -> None:
    values = np.array([1.0, 2.0, 3.0])
    weights = np.array([1.0, 2.0, 1.0])
    found = percentiles(values, all_valid(values), weights, np.array([0, 3]), (0, 25, 26, 75, 76, 100))
    assert found.tolist() == [[1, 1, 2, 2, 3, 3]]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=60),
    st.sampled_from([0, 5, 10, 25, 33, 50, 75, 95, 100]),
)
def test_percentile_against_the_definition(sample: list[float], percent: int) -> None:
    values = np.array(sample, np.float32)
    found = percentiles(values, all_valid(values), None, np.array([0, len(values)]), (float(percent),))[0, 0]
    rank = max(1, -(-percent * len(values) // 100))
    assert found == np.sort(values)[rank - 1]


def test_published_edges_of_n_bins() -> None:
    edges = bin_edges(Histogram(n_bins=3, low_edge=0, high_edge=0.3), 0, 1, 100)
    assert edges.tolist() == [0.0, 0.09999999999999999, 0.19999999999999998, 0.3]


def test_published_bins_of_a_width() -> None:
    edges = bin_edges(Histogram(bin_width=0.05, low_edge=0.0), -1, 0.5338308215141296, 100)
    assert len(edges) == 12
    assert edges[-2:] == pytest.approx([0.5, 0.55])


def test_a_width_that_fits_makes_no_empty_bin_at_the_end() -> None:
    assert len(bin_edges(Histogram(bin_width=0.1, low_edge=0.0), 0, 0.3, 100)) == 4
    assert bin_edges(Histogram(bin_width=0.3, low_edge=0.0, high_edge=1.0), 0, 9, 100).tolist()[-1] == 1.0


def test_published_class_histogram() -> None:
    found = histograms(
        CLASSES, all_valid(CLASSES), None, ONE, Histogram(bins=tuple(range(12))), np.array([8.0]), np.array([10.0]), 100
    )
    edges, counts, under, over = found.of(0)
    assert edges.tolist() == list(range(12))
    assert counts.tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 99, 1, 710]
    assert (under, over) == (0, 0)


def test_bins_hold_their_lower_edge_and_the_last_one_both() -> None:
    values = np.array([-1, 0, 1, 2, 2.5], np.float32)
    wanted = Histogram(bins=(0, 1, 2))
    found = histograms(values, all_valid(values), None, np.array([0, 5]), wanted, np.zeros(1), np.zeros(1), 100)
    _, counts, under, over = found.of(0)
    assert (counts.tolist(), under, over) == ([1, 2], 1, 1)


def test_edges_default_to_each_features_own_range() -> None:
    values = np.array([0, 1, 10, 30, 20], np.float32)
    starts = np.array([0, 2, 5, 5])
    wanted = Histogram(n_bins=2)
    found = histograms(
        values, all_valid(values), None, starts, wanted, np.array([0, 10, np.nan]), np.array([1, 30, np.nan]), 100
    )
    assert found.of(0)[0].tolist() == [0, 0.5, 1]
    assert found.of(0)[1].tolist() == [1, 1]
    assert found.of(1)[0].tolist() == [10, 20, 30]
    assert found.of(1)[1].tolist() == [1, 2]
    assert found.of(2)[1].tolist() == []


def test_too_many_bins_is_an_error_with_both_numbers() -> None:
    with pytest.raises(LimitExceeded, match=r"1,000,000 bins; at most 100"):
        bin_edges(Histogram(bin_width=0.001, low_edge=0), 0, 1000, 100)
