"""Several lanes in one unit, and overviews: the same numbers, each block read once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.enums import Resampling

from builders import make_request
from engines import LEFT, TOP, Run, World, box, run, value_script
from swathe.engine.compute import Engine
from swathe.engine.lanes import Lane, Lanes
from swathe.engine.phases import Phases

SIDE = 600
SCRIPTS = {
    "SIMPLE": value_script(bands=("B04", "B08"), body="return {v: [s.B04 / s.B08], dataMask: [s.dataMask]}"),
    "ORBIT": value_script(
        mosaicking="ORBIT", body="return {v: [Math.max(0, ...s.map(t => t.B04))], dataMask: [s.length ? 1 : 0]}"
    ),
}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Five days of 600 x 600 pixels, two scenes side by side with an overlap on the last, and 900 fields."""
    world = World(tmp_path_factory.mktemp("lanes"))
    random = np.random.default_rng(5)
    for day in range(1, 6):
        bands = {name: random.integers(0, 4_000, (SIDE, SIDE), dtype=np.uint16) for name in ("B04", "B08")}
        world.scene(f"s{day}", f"2020-06-0{day}", bands)
    bands = {name: random.integers(0, 4_000, (SIDE, SIDE), dtype=np.uint16) for name in ("B04", "B08")}
    world.scene("east", "2020-06-05T10:01:00Z", bands, origin=(LEFT + 3_000, TOP))
    corners = [(LEFT + x, TOP - y) for x in range(20, 5_800, 195) for y in range(20, 5_800, 195)]
    world.parcels(*[shapely.Point(x + 90, y - 90).buffer(85, quad_segs=3) for x, y in corners])
    return world


def compute(world: World, script: str, lanes: int, period: str = "P1D", **request: Any) -> Run:
    with Engine(world.settings(), lanes=lanes) as engine:
        body = make_request(script, end="2020-06-06T00:00:00Z", of=period, **request)
        return run(world.settings(), world.geopackage, body, engine=engine)


@pytest.mark.parametrize("period", ["P1D", "P5D"])
@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_lanes_do_not_change_a_byte(large: World, script: str, period: str) -> None:
    one, two, three = (compute(large, SCRIPTS[script], lanes, period) for lanes in (1, 2, 3))
    assert len(one.data) == 900
    assert one.data == two.data == three.data
    assert one.cost_pu == pytest.approx(two.cost_pu, rel=1e-12)


def test_blocks_are_read_once_and_hardly_more_by_several_lanes(large: World) -> None:
    one, two = (compute(large, SCRIPTS["SIMPLE"], lanes) for lanes in (1, 2))
    assert len(one.reports) == len(two.reports) == 1
    # 19 x 19 blocks a band of a scene; the eastern scene only where the other has no data
    assert one.counter("blocks") <= 12 * 19 * 19
    assert two.counter("blocks") <= 1.15 * one.counter("blocks")


def test_the_seconds_of_every_phase_are_counted(large: World) -> None:
    counters = compute(large, SCRIPTS["SIMPLE"], 2).reports[0].counters
    for name in ("cells", "read", "script", "statistics", "deliver"):
        assert counters[f"{name}_seconds"] > 0
    assert counters["requests"] > 0
    assert counters["bytes_decoded"] >= counters["blocks"] * 24 * 24 * 2


def test_a_failure_in_any_lane_is_raised_and_ends_the_others() -> None:
    begun: list[int] = []

    def piece(number: int) -> Any:
        def work(lane: Lane) -> None:
            begun.append(number)
            if number == 3:
                raise ValueError("three")

        return work

    lanes = Lanes([Lane(number, None, Phases()) for number in range(3)], lambda name: _Nothing())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="three"):
        lanes.run(map(piece, range(1_000)))
    assert len(begun) < 1_000
    lanes.run(map(piece, range(3)))


class _Nothing:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


# Overviews


@pytest.fixture
def pyramid(tmp_path: Path) -> World:
    """A scene of 10 and 110 in turn, with overviews that hold their mean, 60."""
    world = World(tmp_path)
    values = np.where((np.arange(64)[:, None] + np.arange(64)) % 2 == 0, 10, 110).astype(np.uint16)
    item = world.scene("s", "2020-06-01", {"B04": values})
    path = world.files / item["assets"]["B04"]["href"] if "B04" in item["assets"] else None
    files = [path] if path is not None and path.exists() else sorted(world.files.rglob("*.tif"))
    for file in files:
        with rasterio.open(file, "r+") as raster:
            raster.build_overviews([2, 4], Resampling.average)
    world.parcels(box(0, 0, 64, 64), box(8, 8, 17, 33))
    return world


def values_at(world: World, **size: float) -> set[float]:
    found = world.run(make_request(value_script(), **size))
    return {found.stats(feature)[name] for feature in (1, 2) for name in ("min", "max")}


def test_a_resolution_near_the_sources_own_reads_the_source(pyramid: World) -> None:
    assert values_at(pyramid, resx=10, resy=10) == {10, 110}
    assert values_at(pyramid, resx=30, resy=30) <= {10, 110}


@pytest.mark.parametrize("size", [{"resx": 40, "resy": 40}, {"resx": 80, "resy": 100}, {"resx": 160, "resy": 160}])
def test_a_coarse_resolution_reads_an_overview(pyramid: World, size: dict[str, float]) -> None:
    assert values_at(pyramid, **size) == {60}


def test_an_overview_takes_fewer_blocks(pyramid: World) -> None:
    fine = pyramid.run(make_request(value_script(), resx=10, resy=10)).counter("blocks")
    coarse = pyramid.run(make_request(value_script(), resx=160, resy=160)).counter("blocks")
    assert (fine, coarse) == (4, 1)


def test_both_sides_of_a_cell_count(pyramid: World) -> None:
    assert values_at(pyramid, resx=10, resy=160) == {10, 110}


def test_a_grid_of_a_given_size_reads_what_its_cells_ask_for(pyramid: World) -> None:
    found = pyramid.run(make_request(value_script(), width=8, height=8))
    assert {found.stats(1)[name] for name in ("min", "max")} == {60}  # cells of 80 m
    assert {found.stats(2)[name] for name in ("min", "max")} <= {10, 110}  # cells of 21 x 41 m


def test_the_mask_takes_no_room_among_a_units_rows(large: World) -> None:
    body = make_request(SCRIPTS["SIMPLE"], end="2020-06-06T00:00:00Z")
    rows = 900 * 5  # features x days; the scenes of the last day are of one interval
    assert [len(large.run(body, unit_rows=most).reports) for most in (rows, rows - 1)] == [1, 2]
