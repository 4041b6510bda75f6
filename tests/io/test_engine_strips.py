"""A feature with more cells than memory has room for: the same results, strip by strip, and each block read once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from pyproj import Transformer

from builders import make_request
from engines import LEFT, TOP, Run, World, run, value_script
from swathe.engine import strips
from swathe.engine.compute import Engine
from swathe.engine.values import Stopped
from swathe.model.statistical import StatisticsRequest

SIDE = 150
SUMS = "let n = 0, t = 0; for (const x of s) if (x.dataMask) { n++; t += x.B04 } return {v: [t, n], dataMask: [n > 0]}"
TWO = '{id: "v", bands: 2, sampleType: TYPE}, {id: "dataMask", bands: 1}'
SCRIPTS = {
    "SIMPLE": value_script(body="return {v: [s.B04 / 7, s.B04 % 5], dataMask: [s.dataMask]}", outputs=TWO),
    "ORBIT": value_script(mosaicking="ORBIT", body=SUMS, outputs=TWO),
    "TILE": value_script(mosaicking="TILE", body=SUMS, outputs=TWO, sample_type="UINT16"),
}
GIVEN = {"nBins": 7, "lowEdge": 100, "highEdge": 3_000}
CALCULATIONS: dict[str, Any] = {
    "nothing": None,
    "given": {"default": {"histograms": {"default": GIVEN}}},
    "all": {
        "default": {
            "statistics": {"default": {"percentiles": {"k": [0, 10, 33.3, 50, 99, 100]}}},
            "histograms": {"B0": {"nBins": 5}, "B1": {"bins": [0, 1, 2, 1_000]}, "default": GIVEN},
        }
    },
}
SAMPLINGS: list[dict[str, str]] = [
    {"cover": "service"},
    {"cover": "centre"},
    {"cover": "all_touched"},
    {"cover": "coverage"},
    {"grid": "source", "cover": "coverage"},
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Three days: two scenes that overlap, one with holes, and one whose raster is broken."""
    made = World(tmp_path_factory.mktemp("strips"))
    random = np.random.default_rng(3)

    def values() -> np.ndarray:
        some = random.integers(1, 4_000, (SIDE, SIDE), dtype=np.uint16)
        some[random.random((SIDE, SIDE)) < 0.1] = 0
        return some

    made.scene("a1", "2020-06-01T10:00:00Z", {"B04": values()})
    made.scene("b1", "2020-06-01T10:01:00Z", {"B04": values()}, origin=(LEFT + 1_010, TOP - 370))
    made.scene("a2", "2020-06-02T10:00:00Z", {"B04": values()})
    made.scene("a3", "2020-06-03T10:00:00Z", {"B04": values()})
    (made.files / "a3/B04.tif").write_bytes(b"broken")
    return made


def outline() -> shapely.Polygon:
    """Most of both granules, with a slanting edge, a hole and a corner beyond them."""
    corners = [(-60, 33), (700, -41), (2_520, 400), (1_900, 1_870), (910, 1_480), (21, 1_333)]
    hole = [(500, 500), (811, 520), (640, 777)]
    return shapely.Polygon([(LEFT + x, TOP - y) for x, y in corners], [[(LEFT + x, TOP - y) for x, y in hole]])


_engines: dict[tuple[Path, int | None, int], Engine] = {}


@pytest.fixture(scope="module", autouse=True)
def close_engines() -> Iterator[None]:
    yield
    while _engines:
        _engines.popitem()[1].close()


def compute(world: World, request: dict[str, Any], *, unit_bytes: int | None = None, lanes: int = 1) -> Run:
    settings = world.settings()
    if unit_bytes is not None:
        limits = settings.limits.model_copy(update={"unit_bytes": unit_bytes})
        settings = settings.model_copy(update={"limits": limits})
    key = world.folder, unit_bytes, lanes
    if key not in _engines:
        _engines[key] = Engine(settings, lanes=lanes)
    return run(settings, world.geopackage, request, engine=_engines[key])


def ask(script: str, calculations: str = "all", **how: Any) -> dict[str, Any]:
    if how.get("sampling", {}).get("grid") != "source":
        how = {"resx": 10, "resy": 10} | how
    how = {"end": "2020-06-05T00:00:00Z"} | how
    return make_request(SCRIPTS.get(script, script), calculations=CALCULATIONS[calculations], **how)


def assert_alike(whole: Run, cut: Run, *, weighted: bool = False) -> None:
    """Everything is the same but for the rounding of sums."""
    assert cut.cost_pu == pytest.approx(whole.cost_pu, rel=1e-12)
    assert list(whole.documents) == list(cut.documents)
    _assert_alike(whole.documents, cut.documents, weighted)


def _assert_alike(one: Any, two: Any, weighted: bool, name: str = "") -> None:
    assert type(one) is type(two), name
    if isinstance(one, dict):
        assert list(one) == list(two), name
        for key in one:
            _assert_alike(one[key], two[key], weighted, key)
    elif isinstance(one, list):
        assert len(one) == len(two), name
        for first, second in zip(one, two, strict=True):
            _assert_alike(first, second, weighted, name)
    elif isinstance(one, float) and (
        name in ("mean", "stDev") or (weighted and name in ("count", "weightSum", "overflowCount", "underflowCount"))
    ):
        assert two == pytest.approx(one, rel=1e-12), name
    elif name == "message":
        assert re.sub("over [0-9]+ cells", "", one) == re.sub("over [0-9]+ cells", "", two)
    else:
        assert one == two, name


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=lambda sampling: "-".join(sampling.values()))
@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_strips_say_what_the_whole_says(world: World, script: str, sampling: dict[str, str]) -> None:
    world.parcels(outline(), shapely.box(LEFT + 100, TOP - 200, LEFT + 190, TOP - 100))
    request = ask(script, sampling=sampling, of="P1D")
    whole, cut = compute(world, request), compute(world, request, unit_bytes=100_000)
    assert [entry.get("error", {}).get("type") for entry in whole.response(1)["data"]] == [
        None,
        None,
        "EXECUTION_ERROR",
    ]
    assert_alike(whole, cut, weighted=sampling["cover"] == "coverage")


@pytest.mark.parametrize("script", sorted(SCRIPTS))
@pytest.mark.parametrize("calculations", ["nothing", "given"])
def test_lanes_and_the_size_of_strips_do_not_change_a_byte(world: World, script: str, calculations: str) -> None:
    world.parcels(outline())
    request = ask(script, calculations, of="P2D")
    one = compute(world, request, unit_bytes=100_000)
    assert one.data == compute(world, request, unit_bytes=400_000).data
    assert one.data == compute(world, request, unit_bytes=100_000, lanes=2).data
    assert_alike(compute(world, request), one)


@pytest.mark.parametrize("cover", ["service", "coverage"])
def test_polygons_in_another_crs(world: World, cover: str) -> None:
    change = Transformer.from_crs(32633, 4326, always_xy=True)
    lonlat = shapely.transform(outline(), lambda xy: np.stack(change.transform(xy[:, 0], xy[:, 1]), axis=1))
    world.parcels(lonlat, epsg=4326)
    request = ask("ORBIT", resx=0.0001, resy=0.0001, sampling={"cover": cover}, of="P2D")
    assert_alike(compute(world, request), compute(world, request, unit_bytes=100_000), weighted=cover == "coverage")


def count_blocks(world: World, request: dict[str, Any], unit_bytes: int) -> tuple[float, float]:
    """Blocks read without and with strips."""
    return compute(world, request).counter("blocks"), compute(world, request, unit_bytes=unit_bytes).counter("blocks")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Three days of one granule of 13 x 13 blocks at 10 m, with a band of 20 m."""
    made = World(tmp_path_factory.mktemp("large"))
    random = np.random.default_rng(4)
    for day in range(1, 4):
        bands = {
            "B04": random.integers(1, 4_000, (400, 400), dtype=np.uint16),
            "B11": random.integers(1, 4_000, (200, 200), dtype=np.uint16),
        }
        made.scene(f"s{day}", f"2020-06-0{day}", bands, pixels={"B11": 20.0})
    return made


BOTH = {"bands": ("B04", "B11"), "body": "return {v: [s.B04 - s.B11], dataMask: [s.dataMask]}"}
ALL = "const f = x => x.B04 - x.B11; return {v: [Math.max(...s.map(f))], dataMask: [1]}"


@pytest.mark.parametrize("degrees", [False, True])
@pytest.mark.parametrize("mosaicking", ["SIMPLE", "ORBIT"])
def test_hardly_a_block_is_read_twice(large: World, mosaicking: str, degrees: bool) -> None:
    polygon = shapely.box(LEFT, TOP - 4_000, LEFT + 4_000, TOP)
    how: dict[str, Any] = {"resx": 10, "resy": 10}
    if degrees:
        change = Transformer.from_crs(32633, 4326, always_xy=True)
        polygon = shapely.transform(polygon, lambda xy: np.stack(change.transform(xy[:, 0], xy[:, 1]), axis=1))
        how = {"resx": 0.00013, "resy": 0.00009}
    large.parcels(polygon, epsg=4326 if degrees else 32633)
    script = (
        value_script(**BOTH) if mosaicking == "SIMPLE" else value_script(**BOTH | {"body": ALL}, mosaicking="ORBIT")
    )
    request = ask(script, "nothing", of="P3D" if mosaicking == "ORBIT" else "P1D", **how)
    # a row of blocks of both bands is 400 x 64 cells; the second size has no room for it
    for unit_bytes in (1_200_000, 300_000):
        once, read = count_blocks(large, request, unit_bytes)
        assert once >= 3 * (13 * 13 + 7 * 7) * 0.99
        assert read <= 1.15 * once


def test_a_script_that_fails_at_some_cells_fails_the_interval_and_the_feature_alone(world: World) -> None:
    world.parcels(outline(), shapely.box(LEFT + 100, TOP - 200, LEFT + 190, TOP - 100))
    fails = "if (s.B04 === 3333) throw new Error('bad ' + s.B04); return {v: [s.B04], dataMask: [s.dataMask]}"
    request = ask(value_script(body=fails), "all")
    calculations = {"default": CALCULATIONS["all"]["default"] | {"histograms": {"default": {"nBins": 5}}}}
    request["calculations"] = calculations
    whole, cut = compute(world, request), compute(world, request, unit_bytes=100_000, lanes=2)
    assert "bad 3333" in whole.error(1)[0]["message"]
    assert whole.error(2)[0] is None
    assert_alike(whole, cut)


def test_too_many_bins_fail_the_interval(world: World) -> None:
    world.parcels(outline())
    for histogram in ({"binWidth": 1e-3}, {"binWidth": 1e-3, "lowEdge": 0}):
        request = ask("SIMPLE", "nothing")
        request["calculations"] = {"default": {"histograms": {"default": histogram}}}
        whole, cut = compute(world, request), compute(world, request, unit_bytes=100_000)
        assert "are allowed" in whole.error(1)[0]["message"]
        assert_alike(whole, cut)


def test_a_job_is_stopped_between_strips(world: World) -> None:
    world.parcels(outline())
    settings = world.settings()
    limits = settings.limits.model_copy(update={"unit_bytes": 50_000})
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 4

    with Engine(settings.model_copy(update={"limits": limits})) as engine:
        request = StatisticsRequest.model_validate(ask("SIMPLE"))
        analysis = engine.analyse(request, world.geopackage)
        unit = engine.make_unit(request, analysis, world.geopackage, 0)
        told: list[float] = []
        with pytest.raises(Stopped):
            engine.run(unit, deliver=lambda documents: None, should_stop=should_stop, on_progress=told.append)
        assert told == sorted(told)
        assert told[-1] < 0.5
        told.clear()
        engine.run(unit, deliver=lambda documents: None, on_progress=told.append)
        assert told == sorted(told)
        assert len(set(told)) > 10 * len(analysis.units)  # three intervals, in strips
        assert told[-1] == 1.0


def test_intervals_wait_for_room_in_the_temporary_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.parcels(outline())
    at_once = compute(world, ask("SIMPLE"), unit_bytes=100_000)
    monkeypatch.setattr(strips, "_SPILL_BYTES", 1)
    assert compute(world, ask("SIMPLE"), unit_bytes=100_000).data == at_once.data
