"""Work units: every feature in exactly one, each within its bounds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swathe.catalog.collections import BandDefinition, Collection
from swathe.catalog.scene import Asset, Scene
from swathe.engine.cost import area_factor, band_factor
from swathe.engine.evaluate import BandCalculation
from swathe.engine.inputs import BandInput, SourceInput
from swathe.engine.plan import FeatureOutline, lonlat_bounds, plan_units
from swathe.engine.timeline import make_timeline, plan_segments, signature_order
from swathe.engine.values import UnitPlan
from swathe.evalscript.script import InputSpec, Mosaicking
from swathe.model.common import MosaickingOrder
from swathe.model.statistical import Histogram
from swathe.model.time import TimeRange
from swathe.rasters.source import SourceGrid
from swathe.settings import LimitSettings

START = datetime(2020, 6, 1, tzinfo=UTC)
BAND = BandDefinition("B04", ("B04",))
DAYS = tuple(TimeRange(START + timedelta(days=n), START + timedelta(days=n + 1)) for n in range(30))


def source(
    mosaicking: Mosaicking = Mosaicking.SIMPLE, order: MosaickingOrder = MosaickingOrder.MOST_RECENT
) -> SourceInput:
    spec = InputSpec(None, ("B04",), (None,), (), mosaicking)
    collection = Collection("made-up", "Made up", {"B04": BAND})
    return SourceInput(spec, 0, collection, (BandInput("B04", BAND, "DN"),), None, order)


def scene(
    name: str, hours: float, *, left: float = 500_000, epsg: int = 32633, cloud_cover: float | None = None
) -> Scene:
    grid = SourceGrid(epsg, (10.0, 0.0, left, 0.0, -10.0, 5_100_000.0), 2_000, 2_000)
    return Scene(
        name, "made-up", START + timedelta(hours=hours), cloud_cover, (14, 45, 16, 47), None, {"B04": Asset(name, grid)}
    )


def outline(count: int, seed: int, cells: float = 50) -> FeatureOutline:
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(495_000, 545_000, count), rng.uniform(5_075_000, 5_105_000, count)
    bounds = np.stack([x, y, x + 100, y + 100], axis=1)
    bounds[rng.random(count) < 0.05] = np.nan
    return FeatureOutline(rng.permutation(count).astype(np.int64) + 1, bounds, rng.uniform(1, 2 * cells, count))


def plan(
    features: FeatureOutline, scenes: list[Scene], *, workers: int = 2, result_rows: float = 1, **limits: int
) -> tuple[UnitPlan, ...]:
    return plan_units(features, 32633, [source()], [scenes], DAYS, result_rows, LimitSettings(**limits), workers)


@settings(max_examples=150, deadline=None)
@given(
    count=st.integers(0, 400),
    seed=st.integers(0, 10_000),
    zones=st.integers(0, 3),
    unit_cells=st.sampled_from([1, 50, 1_000, 100_000]),
    unit_rows=st.sampled_from([1, 40, 100_000]),
    workers=st.integers(1, 9),
)
def test_every_feature_is_in_exactly_one_unit(
    count: int, seed: int, zones: int, unit_cells: int, unit_rows: int, workers: int
) -> None:
    features = outline(count, seed)
    scenes = [scene(f"s{n}", 24.0 * n, left=500_000 + 20_000 * n) for n in range(zones)]
    units = plan(features, scenes, workers=workers, unit_cells=unit_cells, unit_rows=unit_rows)
    assert [unit.index for unit in units] == list(range(len(units)))
    ids = [key for unit in units for key in unit.feature_ids.tolist()]
    assert sorted(ids) == list(range(1, count + 1))
    cells = dict(zip(features.ids.tolist(), features.cells.tolist(), strict=True))
    for unit in units:
        assert len(unit.feature_ids)
        total = sum(cells[key] for key in unit.feature_ids.tolist())
        assert len(unit.feature_ids) == 1 or total <= unit_cells * (1 + 1e-9)
        assert len(unit.feature_ids) <= max(1, unit_rows // max(1, zones))


def test_the_order_of_features_in_the_file_does_not_matter() -> None:
    features = outline(300, 5)
    shuffled = np.random.default_rng(1).permutation(300)
    other = FeatureOutline(features.ids[shuffled], features.bounds[shuffled], features.cells[shuffled])
    for zones in (0, 2):
        scenes = [scene(f"s{n}", 24.0 * n, left=500_000 + 20_000 * n) for n in range(zones)]
        one, two = plan(features, scenes), plan(other, scenes)
        assert [u.feature_ids.tolist() for u in one] == [u.feature_ids.tolist() for u in two]


def test_features_of_one_unit_lie_side_by_side_down_the_raster() -> None:
    x = np.full(200, 505_000.0)
    y = 5_099_000.0 - 90 * np.random.default_rng(3).permutation(200)
    features = FeatureOutline(np.arange(200), np.stack([x, y, x + 10, y + 10], axis=1), np.full(200, 10.0))
    units = plan(features, [scene("s", 0)], unit_cells=500)
    tops = [y[unit.feature_ids] for unit in units]
    assert all(one.min() > two.max() for one, two in pairwise(tops))


def test_many_results_make_smaller_units() -> None:
    features = outline(400, 2)
    scenes = [scene(f"s{n}", 24.0 * n) for n in range(10)]
    most = {
        n: max(len(u.feature_ids) for u in plan(features, scenes, result_rows=n, workers=1, unit_rows=1_000))
        for n in (1, 5, 20)
    }
    assert (most[1] <= 100, most[5], most[20]) == (True, 20, 5)


@pytest.mark.parametrize(
    ("percents", "histogram", "rows"),
    [
        ((), None, 1),
        ((5, 50, 95), None, 1.5),
        ((), {"nBins": 9}, 4),
        ((), {"bins": [1, 2, 3, 4]}, 2),
        ((), {"binWidth": 1, "lowEdge": 0, "highEdge": 30}, 11),
        ((), {"binWidth": 1}, 1 + 200 / 6),
    ],
)
def test_percentiles_and_bins_count_as_results(percents: tuple[float, ...], histogram: Any, rows: float) -> None:
    wanted = None if histogram is None else Histogram.model_validate(histogram)
    assert BandCalculation(percents, wanted).rows == rows


def test_boxes_in_degrees_lie_around_boxes_in_metres() -> None:
    [found] = lonlat_bounds(np.array([[500_000.0, 5_000_000.0, 600_000.0, 5_100_000.0]]), 32633)
    assert found.tolist() == pytest.approx([15.0, 45.146, 16.2925, 46.053], abs=2e-3)
    same = np.array([[1.0, 2.0, 3.0, 4.0]])
    assert lonlat_bounds(same, 4326).tolist() == same.tolist()


# Timelines


def samples(mosaicking: Mosaicking, order: MosaickingOrder = MosaickingOrder.MOST_RECENT) -> list[tuple[int, ...]]:
    scenes = [scene("a", 1, cloud_cover=9), scene("b", 2, cloud_cover=1), scene("c", 30, cloud_cover=5), scene("a", 31)]
    week = (TimeRange(START, START + timedelta(days=7)),)
    timeline = make_timeline(source(mosaicking, order), scenes, np.ones((1, 4), np.bool_), week)
    assert timeline.interval_of.tolist() == [0, 0, 0, 0]
    return [sample.scenes for sample in timeline.samples(timeline.presence[0], 0)]


def test_samples_by_mosaicking() -> None:
    assert samples(Mosaicking.SIMPLE) == [(3, 2, 1, 0)]
    assert samples(Mosaicking.TILE) == [(3,), (2,), (1,), (0,)]
    assert samples(Mosaicking.ORBIT) == [(3, 2), (1, 0)]
    assert samples(Mosaicking.ORBIT, MosaickingOrder.LEAST_RECENT) == [(0, 1), (2, 3)]
    assert samples(Mosaicking.TILE, MosaickingOrder.LEAST_CC) == [(1,), (2,), (0,), (3,)]


def test_scenes_lie_in_their_interval_or_in_none() -> None:
    scenes = [scene(str(hours), hours) for hours in (-1, 0, 23.99, 24, 29.5 * 24, 30 * 24)]
    timeline = make_timeline(source(), scenes, np.ones((1, 6), np.bool_), DAYS)
    assert timeline.interval_of.tolist() == [-1, 0, 0, 1, 29, -1]
    assert make_timeline(source(), [], np.ones((1, 0), np.bool_), DAYS).interval_of.tolist() == []


PRESENCE = np.array([[1, 1], [1, 1], [1, 0], [0, 0], [1, 0]], np.bool_)


@pytest.mark.parametrize(
    ("mosaicking", "expected"),
    [(Mosaicking.SIMPLE, [(0, 3), (4, 5)]), (Mosaicking.TILE, [(0, 2), (2, 3), (4, 5)])],
)
def test_segments_are_runs_of_features_with_the_same_samples(
    mosaicking: Mosaicking, expected: list[tuple[int, int]]
) -> None:
    timeline = make_timeline(source(mosaicking), [scene("a", 1), scene("b", 2)], PRESENCE, DAYS)
    assert [(s.first, s.last) for s in plan_segments([timeline], 0)] == expected
    assert list(plan_segments([timeline], 1)) == []


def test_a_segment_is_cut_to_a_range() -> None:
    timeline = make_timeline(source(), [scene("a", 1), scene("b", 2)], PRESENCE, DAYS)
    segment = next(iter(plan_segments([timeline], 0)))
    cut = [segment.within(a, b) for a, b in ((0, 9), (1, 2), (2, 9), (3, 9))]
    assert [None if s is None else (s.first, s.last) for s in cut] == [(0, 3), (1, 2), (2, 3), None]


def test_features_with_the_same_scenes_lie_side_by_side_otherwise_as_they_were() -> None:
    presence = np.array([[1, 0], [0, 1], [1, 0], [1, 1], [0, 1]], np.bool_)
    assert signature_order([presence]).tolist() == [0, 2, 1, 4, 3]
    assert signature_order([presence[:, :1], presence[:, 1:]]).tolist() == [0, 2, 1, 4, 3]
    assert signature_order([presence[:, :0]]).tolist() == [0, 1, 2, 3, 4]


# Cost


def test_the_tutorials_cost() -> None:
    """Published: 100 parcels, 3 bands of which dataMask is one, 9 intervals: 6.027410152775339 PU."""
    assert area_factor(np.array([1, 2_621, 2_622, 262_144])).tolist() == [0.01, 0.01, 2_622 / 262_144, 1.0]
    assert [band_factor(n) for n in (0, 1, 2, 3, 6)] == [1 / 3, 1 / 3, 2 / 3, 1.0, 2.0]
