"""Percentiles and histograms in passes over samples that are never held at once: the same numbers as of all together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from swathe.model.statistical import Histogram
from swathe.statistics import selection
from swathe.statistics.distribution import histograms, percentiles
from swathe.statistics.selection import select_histogram, select_percentiles

PERCENTS = (0.0, 0.01, 5.0, 25.0, 33.3, 50.0, 75.0, 95.0, 99.99, 100.0)
RANDOM = np.random.default_rng(8)
TINY = np.float64(5e-324)
SAMPLES: dict[str, np.ndarray] = {
    "even": RANDOM.uniform(-1, 1, 30_000).astype(np.float32),
    "bytes": RANDOM.integers(0, 256, 30_000, dtype=np.uint8),
    "signed": RANDOM.integers(-30_000, 30_000, 30_000, dtype=np.int16),
    "one value": np.full(30_000, 0.1, np.float32),
    "two values": np.where(RANDOM.random(30_000) < 0.5, 1.0, np.nextafter(1.0, 2.0)),
    "outliers": np.concatenate([RANDOM.uniform(0, 1, 30_000), [-1e30, 1e30]]),
    "all sizes": np.exp(RANDOM.uniform(-700, 700, 30_000)) * np.where(RANDOM.random(30_000) < 0.5, -1, 1),
    "as wide as numbers go": np.concatenate([RANDOM.uniform(0, 1, 9_000), [-1.7e308, 1.7e308]]),
    "as small as numbers go": TINY * RANDOM.integers(0, 50, 30_000),
    "single": np.array([7], np.uint16),
}


@pytest.fixture(params=[1_000_000, 300])
def most_sorted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """With and without room for all samples that are asked for, so that some are cut into buckets again and again."""
    monkeypatch.setattr(selection, "_MOST_SORTED", request.param)
    return int(request.param)


def samples(values: np.ndarray, weights: np.ndarray | None = None) -> Any:
    def read() -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        for begin in range(0, len(values), 999):
            some = slice(begin, begin + 999)
            yield values[some], None if weights is None else weights[some]

    return read


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_percentiles_are_those_of_all(name: str, most_sorted: int) -> None:
    values = SAMPLES[name]
    starts = np.array([0, len(values)], np.int64)
    expected = percentiles(values, np.ones(len(values), np.uint8), None, starts, PERCENTS)
    extent = float(values.min()), float(values.max())
    assert select_percentiles(samples(values), len(values), PERCENTS, extent).tolist() == expected.tolist()


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_weighted_percentiles_are_those_of_all(name: str, most_sorted: int) -> None:
    values = SAMPLES[name]
    starts = np.array([0, len(values)], np.int64)
    weights = RANDOM.integers(1, 1 << 20, len(values)) / (1 << 20)  # whose sums have no rounding
    expected = percentiles(values, np.ones(len(values), np.uint8), weights, starts, PERCENTS)
    found = select_percentiles(samples(values, weights), len(values), PERCENTS, None)
    assert found.tolist() == expected.tolist()


def test_many_percentiles_at_once(most_sorted: int) -> None:
    values = SAMPLES["even"]
    percents = tuple(np.linspace(0, 100, 997).tolist())
    expected = percentiles(values, np.ones(len(values), np.uint8), None, np.array([0, len(values)], np.int64), percents)
    assert select_percentiles(samples(values), len(values), percents, (-1.0, 1.0)).tolist() == expected.tolist()


def test_no_samples_have_no_percentiles() -> None:
    assert np.isnan(select_percentiles(samples(np.zeros(0)), 0, (5.0, 50.0), (np.nan, np.nan))).all()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("wanted", [{"nBins": 7}, {"binWidth": 0.25}, {"nBins": 4, "lowEdge": -0.5}])
def test_histograms_are_those_of_all(wanted: dict[str, Any], weighted: bool) -> None:
    values = SAMPLES["even"]
    weights = RANDOM.integers(1, 1 << 20, len(values)) / (1 << 20) if weighted else None
    asked = Histogram.model_validate(wanted)
    low, high = values.min(keepdims=True).astype(np.float64), values.max(keepdims=True).astype(np.float64)
    starts = np.array([0, len(values)], np.int64)
    whole = histograms(values, np.ones(len(values), np.uint8), weights, starts, asked, low, high, 100)
    found = select_histogram(samples(values, weights), asked, float(low[0]), float(high[0]), 100)
    for one, two in zip(whole.of(0), found.of(0), strict=True):
        assert np.array_equal(one, two)
