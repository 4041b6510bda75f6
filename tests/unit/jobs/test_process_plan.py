"""Units of tiles, and what the job store keeps of a plan."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from swathe.grids.raster_grid import RasterGrid
from swathe.jobs.process_payload import ProcessPlan
from swathe.jobs.process_units import plan_tile_units
from swathe.model.time import TimeRange
from swathe.outputs.zarr_metadata import describe
from swathe.outputs.zarr_plan import ArrayPlan, ZarrPlan


def squares(side: int) -> np.ndarray:
    """Centres of side x side tiles, row by row."""
    y, x = np.mgrid[0:side, 0:side]
    return np.stack([x.ravel(), -y.ravel()], axis=1).astype(float)


def test_a_unit_is_a_square_of_neighbours() -> None:
    units = plan_tile_units(np.arange(1, 65), np.full(64, 100), squares(8), unit_cells=1_600, workers=1)
    assert [unit.index for unit in units] == [0, 1, 2, 3]
    assert [unit.cells for unit in units] == [1_600] * 4
    for unit in units:
        rows, columns = np.divmod(unit.feature_ids - 1, 8)
        assert np.ptp(rows) == np.ptp(columns) == 3


def test_each_tile_is_in_one_unit_and_a_large_one_alone() -> None:
    random = np.random.default_rng(5)
    cells = random.integers(1, 3_000, 200)
    cells[7] = 50_000
    units = plan_tile_units(np.arange(200), cells, random.random((200, 2)), unit_cells=10_000, workers=2)
    ids = np.concatenate([unit.feature_ids for unit in units])
    assert sorted(ids.tolist()) == list(range(200))
    for unit in units:
        assert unit.cells == cells[unit.feature_ids].sum()
        assert unit.cells <= 10_000 or unit.feature_ids.tolist() == [7]
    assert len(units) < 60


def test_few_tiles_keep_all_workers_busy() -> None:
    units = plan_tile_units(np.arange(64), np.full(64, 100), squares(8), unit_cells=10**9, workers=4)
    assert len(units) == 16


def test_no_tiles_are_no_units() -> None:
    assert (
        plan_tile_units(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 2)), unit_cells=1, workers=1) == ()
    )


def test_tiles_at_one_place_are_cut_by_their_number() -> None:
    units = plan_tile_units(np.arange(1_200), np.ones(1_200, int), np.ones((1_200, 2)), unit_cells=10**6, workers=1)
    assert max(len(unit.feature_ids) for unit in units) <= 500


def test_a_plan_comes_back_from_the_job_store_as_it_was() -> None:
    moment = datetime(2020, 7, 1, 12, 30, 1, 5, tzinfo=UTC)
    zarr = ZarrPlan(
        url="s3://out/group",
        zarr_format=2,
        grid=RasterGrid(3035, 4_400_000.0, 2_600_000.0, 20.0, 20.0, 2_000, 1_000),
        tile_width=1_000,
        tile_height=1_000,
        times=(TimeRange(moment, moment),),
        modified=moment,
        arrays=(
            ArrayPlan("a", "<f4", 500, 500, math.nan, {"id": "blosc"}, ({"id": "delta"},), {"units": "m"}),
            ArrayPlan("b", "|u1", 500, 500, 7, None),
        ),
        bottom_up=True,
        attributes={"title": "x", "list": [1, 2.5, None]},
    )
    plan = ProcessPlan(b"\x00sources\xff", "digest", (0, 5, 6, 700_000), zarr)
    back = ProcessPlan.from_bytes(plan.to_bytes())
    assert (back.sources, back.digest, back.skipped) == (plan.sources, plan.digest, plan.skipped)
    assert back.zarr is not None
    assert math.isnan(back.zarr.arrays[0].fill_value)
    assert type(back.zarr.arrays[1].fill_value) is int
    assert describe(back.zarr) == describe(zarr)
    # NaN is equal to nothing, itself included
    numbers = [tuple(replace(array, fill_value=0) for array in plan.arrays) for plan in (back.zarr, zarr)]
    assert replace(back.zarr, arrays=numbers[0]) == replace(zarr, arrays=numbers[1])
