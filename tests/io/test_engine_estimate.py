"""The plan before it runs, beside the counters of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from builders import make_request
from engines import LEFT, TOP, Run, World, box, value_script
from swathe.engine.compute import Engine
from swathe.model.statistical import StatisticsRequest

SIDE = 640
TWO_BANDS = value_script(bands=("B04", "B08"), body="return {v: [s.B04 / s.B08], dataMask: [s.dataMask]}")
MANY = "return {v: [Math.max(0, ...s.map(t => t.B04))], dataMask: [s.length ? 1 : 0]}"


def numbers(seed: int, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 4_000, (side, side), dtype=np.uint16)


def fields(count: int, size_m: float, seed: int = 3, right: float = 6_300, bottom: float = 6_300) -> list[Any]:
    corners = np.random.default_rng(seed).uniform(10, (right - size_m, bottom - size_m), (count, 2))
    return [
        shapely.Point(LEFT + x + size_m / 2, TOP - y - size_m / 2).buffer(size_m / 2, quad_segs=4) for x, y in corners
    ]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Four days: a scene each, and on the last a second one that overlaps it by half."""
    world = World(tmp_path_factory.mktemp("estimate"))
    for day in range(1, 5):
        world.scene(f"s{day}", f"2020-06-0{day}", {"B04": numbers(day), "B08": numbers(10 * day)})
    world.scene("east", "2020-06-04T10:01:00Z", {"B04": numbers(7), "B08": numbers(8)}, origin=(LEFT + 3_200, TOP))
    return world


def planned(run: Run) -> dict[str, float]:
    return dict(run.analysis.report)


def compute(world: World, script: str, *, period: str = "P1D", workers: int = 1, **request: Any) -> Run:
    return world.run(make_request(script, end="2020-06-05T00:00:00Z", of=period, **request), workers=workers)


@pytest.mark.parametrize(
    ("script", "period"),
    [
        (TWO_BANDS, "P1D"),
        (TWO_BANDS, "P4D"),
        (value_script(mosaicking="ORBIT", body=MANY), "P4D"),
        (value_script(mosaicking="TILE", body=MANY), "P4D"),
    ],
    ids=["daily", "one interval", "orbit", "tile"],
)
@pytest.mark.parametrize("workers", [1, 4])
def test_blocks_and_bytes_are_those_of_the_run(scenes: World, script: str, period: str, workers: int) -> None:
    scenes.parcels(*fields(300, 120))
    run = compute(scenes, script, period=period, workers=workers)
    plan = planned(run)
    assert plan["blocks"] == pytest.approx(run.counter("blocks"), rel=0.1)
    # blocks of two kilobytes are read with those between them; those of real scenes are not
    assert 0.3 * run.counter("bytes_read") < plan["bytesToRead"] < 1.1 * run.counter("bytes_read")
    assert (plan["features"], plan["scenes"], plan["units"]) == (300, 5, len(run.reports))
    assert plan["estimatedSeconds"] > 0


def test_few_fields_need_few_blocks(scenes: World) -> None:
    scenes.parcels(box(0, 0), box(3, 3), box(100, 100), box(31, 0), box(250, 10, 60, 2))
    run = compute(scenes, TWO_BANDS)
    # block 0, 0 twice over, block 3, 3, one more beside the first, and three along a row: in two bands on four days
    assert planned(run)["blocks"] == 6 * 2 * 4
    assert planned(run)["blocks"] == run.counter("blocks")


def test_large_polygons_need_a_part_of_their_box(scenes: World) -> None:
    slanted = shapely.Polygon(
        [(LEFT + 100, TOP - 100), (LEFT + 300, TOP - 100), (LEFT + 3_000, TOP - 6_200), (LEFT + 2_800, TOP - 6_200)]
    )
    scenes.parcels(slanted, shapely.Point(LEFT + 1_600, TOP - 3_000).buffer(1_500))
    run = compute(scenes, TWO_BANDS)
    assert planned(run)["blocks"] == pytest.approx(run.counter("blocks"), rel=0.2)


def test_fields_in_degrees(scenes: World) -> None:
    from pyproj import Transformer

    change = Transformer.from_crs(32633, 4326, always_xy=True)
    lonlat = [
        shapely.transform(one, lambda xy: np.stack(change.transform(xy[:, 0], xy[:, 1]), axis=1))
        for one in fields(150, 200)
    ]
    scenes.parcels(*lonlat, epsg=4326)
    run = compute(scenes, TWO_BANDS, resx=0.0001, resy=0.0001)
    assert planned(run)["blocks"] == pytest.approx(run.counter("blocks"), rel=0.1)


def test_a_footprint_that_leaves_half_of_the_raster_out(tmp_path: Path) -> None:
    world = World(tmp_path)
    item = world.scene("half", "2020-06-01", {"B04": numbers(1)})
    west, south, east, north = shapely.geometry.shape(item["geometry"]).bounds
    item["geometry"] = shapely.geometry.mapping(shapely.box(west, south, (west + east) / 2, north))
    world.parcels(*fields(400, 60))
    run = compute(world, value_script())
    whole = (SIDE // 32) ** 2
    assert planned(run)["blocks"] == pytest.approx(run.counter("blocks"), rel=0.1)
    assert planned(run)["blocks"] < 0.62 * whole


def test_items_that_do_not_say_where_their_pixels_lie(tmp_path: Path) -> None:
    world = World(tmp_path)
    for day in (1, 2):
        item = world.scene(f"s{day}", f"2020-06-0{day}", {"B04": numbers(day)})
        for asset in item["assets"].values():
            del asset["proj:shape"], asset["proj:transform"]
    world.parcels(*fields(50, 100))
    run = compute(world, value_script())
    assert planned(run)["blocks"] == pytest.approx(run.counter("blocks"), rel=0.1)


def test_bands_of_two_resolutions_and_two_bands_in_a_file(tmp_path: Path) -> None:
    world = World(tmp_path)
    bands = {"B04": numbers(1), "B11": numbers(2, SIDE // 2)}
    world.scene("mixed", "2020-06-01", bands, pixels={"B11": 20.0})
    world.parcels(*fields(80, 100))
    run = compute(world, value_script(bands=("B04", "B11")))
    assert planned(run)["blocks"] == pytest.approx(run.counter("blocks"), rel=0.1)


def test_without_a_raster_that_can_be_opened_the_blocks_are_not_known(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.scene("gone", "2020-06-01", {"B04": numbers(1, 64)})
    (world.files / "gone" / "B04.tif").unlink()
    world.parcels(box(0, 0), box(9, 9))
    with Engine(world.settings()) as engine:
        analysis = engine.analyse(StatisticsRequest.model_validate(make_request(value_script())), world.geopackage)
    assert set(analysis.report) == {"features", "scenes", "units", "estimatedPU"}


def test_without_scenes_nothing_is_to_be_read(scenes: World) -> None:
    scenes.parcels(box(0, 0))
    with Engine(scenes.settings()) as engine:
        body = make_request(value_script(), start="2021-06-01T00:00:00Z", end="2021-06-05T00:00:00Z")
        report = engine.analyse(StatisticsRequest.model_validate(body), scenes.geopackage).report
    assert (report["scenes"], report["blocks"], report["bytesToRead"]) == (0, 0, 0)


def test_an_unusable_feature_counts_nothing(scenes: World) -> None:
    scenes.parcels(box(0, 0), shapely.Polygon())
    run = compute(scenes, value_script())
    assert planned(run)["blocks"] == run.counter("blocks")
    assert planned(run)["features"] == 2
