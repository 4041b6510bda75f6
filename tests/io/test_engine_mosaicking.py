"""SIMPLE, ORBIT and TILE through the whole engine, with real V8 and real files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import make_request
from engines import LEFT, TOP, Run, World, box, run, value_script

LIST = "return {v: [s.length, ...[0, 1, 2].map(i => i < s.length ? s[i].B04 : -1)], dataMask: [1]}"
LIST_OUTPUT = '{id: "v", bands: ["n", "first", "second", "third"], sampleType: TYPE}, {id: "dataMask", bands: 1}'


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def listing(mosaicking: str, more: str = "") -> str:
    """A script whose output says how many samples there are and what the first three hold."""
    return value_script(mosaicking=mosaicking, body=LIST, outputs=LIST_OUTPUT, more=more)


def samples(found: Run, feature: int = 1, interval: int = 0) -> list[Any]:
    """What `listing` saw, where all cells of the feature saw the same."""
    seen = []
    for band in ("n", "first", "second", "third"):
        stats = found.stats(feature, interval, band=band)
        assert stats["min"] == stats["max"]
        seen.append(stats["mean"])
    return seen[1 : 1 + int(seen[0])]


def half(value: int, *, left: bool) -> np.ndarray:
    """A scene with data in its left or right half only."""
    found = np.zeros((12, 12), np.uint16)
    found[:, :6] = value if left else 0
    found[:, 6:] = 0 if left else value
    return found


ORDERS = {"mostRecent": [30, 20, 10], "leastRecent": [10, 20, 30], "leastCC": [20, 30, 10]}


@pytest.fixture
def three_days(world: World) -> World:
    for day, value, clouds in ((1, 10, 50.0), (2, 20, 5.0), (3, 30, 20.0)):
        world.scene(f"s{day}", f"2020-06-0{day}", {"B04": value}, cloud_cover=clouds)
    world.parcels(box(1, 1))
    return world


@pytest.mark.parametrize("mosaicking", ["ORBIT", "TILE"])
@pytest.mark.parametrize("order", [None, "mostRecent", "leastRecent", "leastCC"])
def test_samples_come_in_mosaicking_order(three_days: World, mosaicking: str, order: str | None) -> None:
    data = [{"type": "sentinel-2-l2a", "dataFilter": {"mosaickingOrder": order} if order else {}}]
    found = three_days.run(make_request(listing(mosaicking), of="P10D", data=data))
    assert samples(found) == ORDERS[order or "mostRecent"]


@pytest.mark.parametrize("order", list(ORDERS))
def test_under_simple_the_first_in_order_is_seen(three_days: World, order: str) -> None:
    data = [{"type": "sentinel-2-l2a", "dataFilter": {"mosaickingOrder": order}}]
    found = three_days.run(make_request(value_script(), of="P10D", data=data))
    assert found.means() == [ORDERS[order][0]]
    # nothing is read of the scenes beneath
    assert found.counter("blocks") == 1


def test_under_simple_an_interval_without_scenes_is_absent(three_days: World) -> None:
    found = three_days.run(make_request(value_script(), end="2020-06-11T00:00:00Z"))
    assert found.days() == ["2020-06-01", "2020-06-02", "2020-06-03"]
    assert found.means() == [10, 20, 30]
    assert found.response()["status"] == "OK"


def test_two_scenes_of_a_day_are_one_orbit_and_two_tiles(world: World) -> None:
    world.scene("a", "2020-06-01T10:00:00Z", {"B04": half(10, left=True)})
    world.scene("b", "2020-06-01T10:00:05Z", {"B04": half(20, left=False)})
    world.scene("c", "2020-06-02T10:00:00Z", {"B04": 30})
    world.parcels(box(4, 0, 4, 1))
    request = make_request(value_script(), of="P1D", start="2020-06-01T00:00:00Z", end="2020-06-02T00:00:00Z")
    found = world.run(request)
    assert found.means() == [15]
    found = world.run(make_request(listing("ORBIT"), of="P10D"))
    stats = [found.stats(band=band) for band in ("n", "first", "second", "third")]
    assert [s["mean"] for s in stats] == [2, 30, 15, -1]
    found = world.run(make_request(listing("TILE"), of="P10D"))
    stats = [found.stats(band=band) for band in ("n", "first", "second", "third")]
    assert [s["mean"] for s in stats] == [3, 30, 10, 5]


def test_overlapping_scenes_of_a_day_show_the_one_on_top(world: World) -> None:
    world.scene("a", "2020-06-01T10:00:00Z", {"B04": 10}, cloud_cover=1.0)
    world.scene("b", "2020-06-01T10:00:05Z", {"B04": half(20, left=True)}, cloud_cover=9.0)
    world.parcels(box(0, 0, 12, 1))
    for order, mean in (("mostRecent", 15), ("leastRecent", 10), ("leastCC", 10)):
        data = [{"type": "sentinel-2-l2a", "dataFilter": {"mosaickingOrder": order}}]
        assert world.run(make_request(value_script(), data=data)).means() == [mean]


def neighbours(world: World) -> None:
    """Three scenes on three days: west, east, and both; features in the west, the east and across."""
    east = (LEFT + 120, TOP)
    world.scene("west", "2020-06-01", {"B04": 10})
    world.scene("east", "2020-06-02", {"B04": 20}, origin=east)
    world.scene("both", "2020-06-03", {"B04": np.full((12, 24), 30)})
    world.parcels(box(2, 2), box(18, 2), box(11, 2), box(100, 100))


def test_features_of_a_unit_see_just_the_scenes_over_them(world: World) -> None:
    neighbours(world)
    found = world.run(make_request(listing("ORBIT"), of="P10D"))
    assert len(found.analysis.units) == 1
    assert samples(found, 1) == [30, 10]
    assert samples(found, 2) == [30, 20]
    # the feature across both: each cell sees its scene, the other one has no data there
    assert found.stats(3, band="n")["mean"] == 3
    assert [found.stats(3, band=b)["mean"] for b in ("first", "second", "third")] == [30, 10, 5]


def test_a_feature_outside_all_scenes_has_an_empty_answer(world: World) -> None:
    neighbours(world)
    found = world.run(make_request(listing("ORBIT"), of="P10D"))
    assert found.documents[4] == {"id": 4, "response": {"data": [], "status": "OK"}}
    assert (found.reports[0].done, found.reports[0].failed) == (4, 0)


def test_intervals_without_scenes_are_absent_feature_by_feature(world: World) -> None:
    neighbours(world)
    for mosaicking in ("SIMPLE", "ORBIT", "TILE"):
        script = value_script() if mosaicking == "SIMPLE" else listing(mosaicking)
        found = world.run(make_request(script))
        assert found.days(1) == ["2020-06-01", "2020-06-03"]
        assert found.days(2) == ["2020-06-02", "2020-06-03"]
        assert found.days(3) == ["2020-06-01", "2020-06-02", "2020-06-03"]
        assert found.days(4) == []


def test_a_scene_beyond_its_footprint_is_not_seen(world: World) -> None:
    """What a feature gets depends on the scenes over it, not on its neighbours in the unit."""
    top = world.scene("top", "2020-06-01T11:00:00Z", {"B04": 10})
    world.scene("below", "2020-06-01T10:00:00Z", {"B04": 20})
    # the item's footprint is the left half, its raster has numbers everywhere
    west, south, east, north = top["bbox"]
    middle = (west + east) / 2
    top["geometry"]["coordinates"] = [[[west, south], [middle, south], [middle, north], [west, north], [west, south]]]
    top["bbox"] = [west, south, middle, north]
    for mosaicking in ("SIMPLE", "ORBIT"):
        body = "return {v: [s.B04], dataMask: [s.dataMask]}"
        if mosaicking == "ORBIT":
            body = "return {v: [s[0].B04], dataMask: [s[0].dataMask]}"
        request = make_request(value_script(mosaicking=mosaicking, body=body))
        world.parcels(box(1, 1), box(9, 1))
        together = world.run(request)
        assert (together.means(1), together.means(2)) == ([10], [20])
        world.parcels(box(9, 1), ids=[2])
        assert world.run(request).data[2] == together.data[2]


def test_scenes_of_the_same_name_are_different_scenes(world: World) -> None:
    world.scene("same", "2020-06-01T10:00:00Z", {"B04": 10})
    world.items[0]["assets"]["B04"]["href"] = "./first/B04.tif"
    (world.files / "same").rename(world.files / "first")
    world.scene("same", "2020-06-02T10:00:00Z", {"B04": 20})
    world.parcels(box(1, 1))
    assert samples(world.run(make_request(listing("TILE"), of="P10D"))) == [20, 10]
    assert samples(world.run(make_request(listing("ORBIT"), of="P10D"))) == [20, 10]
    assert world.run(make_request(value_script())).means() == [10, 20]


def test_cloudy_scenes_are_left_out(three_days: World) -> None:
    data = [{"type": "sentinel-2-l2a", "dataFilter": {"maxCloudCoverage": 20}}]
    found = three_days.run(make_request(value_script(), data=data))
    assert (found.days(), found.means()) == (["2020-06-02", "2020-06-03"], [20, 30])
    assert found.analysis.scenes == 2


def test_a_data_filters_own_time_range_narrows_the_scenes(three_days: World) -> None:
    own = {"from": "2020-06-02T00:00:00Z", "to": "2020-06-03T00:00:00Z"}
    data = [{"type": "sentinel-2-l2a", "dataFilter": {"timeRange": own}}]
    assert three_days.run(make_request(value_script(), data=data)).days() == ["2020-06-02"]


def test_scenes_on_the_edges_of_intervals(world: World) -> None:
    for name, when in (("a", "2020-06-01T00:00:00Z"), ("b", "2020-06-03T23:59:59Z"), ("c", "2020-06-04T00:00:00Z")):
        world.scene(name, when, {"B04": ord(name) - 96})
    world.parcels(box(1, 1))
    found = world.run(make_request(listing("TILE"), of="P3D", end="2020-06-07T00:00:00Z"))
    assert (found.days(), samples(found), samples(found, 1, 1)) == (["2020-06-01", "2020-06-04"], [2, 1], [3])
    found = world.run(make_request(listing("TILE"), of="P3D", end="2020-06-04T00:00:00Z"))
    assert found.days() == ["2020-06-01"]


@pytest.mark.parametrize(("behavior", "days"), [("SKIP", 1), ("SHORTEN", 2), ("EXTEND", 2)])
def test_the_last_interval_through_the_engine(three_days: World, behavior: str, days: int) -> None:
    interval = {"of": "P2D", "lastIntervalBehavior": behavior}
    body = make_request(value_script(), end="2020-06-03T12:00:00Z", resx=10, resy=10)
    body["aggregation"]["aggregationInterval"] = interval
    found = three_days.run(body)
    assert found.means() == [20, 30][:days]
    ends = [entry["interval"]["to"] for entry in found.response()["data"]]
    last = {"SHORTEN": "2020-06-03T12:00:00Z", "EXTEND": "2020-06-05T00:00:00Z"}.get(behavior)
    assert ends == ["2020-06-03T00:00:00Z", last][:days]


FUSION = """//VERSION=3
function setup() {
  return {
    input: [
      {datasource: "old", bands: ["B04", "dataMask"], units: "DN"},
      {datasource: "new", bands: ["B04", "B08", "dataMask"], units: "DN"}
    ],
    output: [{id: "v", bands: ["old", "new", "masks"], sampleType: "FLOAT32"}, {id: "dataMask", bands: 1}]
  }
}
function evaluatePixel(s) {
  const a = s.old[0], b = s.new[0]
  return {v: [a.B04, b.B04 + b.B08, a.dataMask * 10 + b.dataMask], dataMask: [1]}
}
"""


def test_two_collections_in_one_script(world: World, tmp_path: Path) -> None:
    world.scene("l2", "2020-06-01", {"B04": 10})
    world.scene("l2b", "2020-06-02", {"B04": 11})
    other = World(tmp_path / "other")
    other.scene("l1", "2020-06-01", {"B04": 100, "B08": 200})
    other.scene("l1b", "2020-06-03", {"B04": 101, "B08": 201})
    settings = world.settings()
    more = other.settings(type_="sentinel-2-l1c")
    settings = settings.model_copy(update={"collections": settings.collections + more.collections})
    world.parcels(box(1, 1))
    data = [{"type": "sentinel-2-l1c", "id": "new"}, {"type": "sentinel-2-l2a", "id": "old"}]
    found = run(settings, world.geopackage, make_request(FUSION, data=data))
    assert found.days() == ["2020-06-01", "2020-06-02", "2020-06-03"]
    assert found.means(band="old") == [10, 11, 0]
    assert found.means(band="new") == [300, 0, 302]
    assert found.means(band="masks") == [11, 10, 1]
    # 2 x 2 cells: the least area; 1 and 2 bands, in 2 of the intervals each
    assert found.cost_pu == pytest.approx(0.01 * (1 / 3 * 2 + 2 / 3 * 2))


ONLY_EARLY = """function preProcessScenes(c) {
  c.scenes.KIND = c.scenes.KIND.filter(s => (s.dateFrom || s.date) < '2020-06-02')
  return c
}"""


@pytest.mark.parametrize(("mosaicking", "kind"), [("ORBIT", "orbits"), ("TILE", "tiles")])
def test_scenes_that_the_script_drops_are_not_read(three_days: World, mosaicking: str, kind: str) -> None:
    for item in three_days.items[1:]:
        item["assets"]["B04"]["href"] = "./gone.tif"
    script = listing(mosaicking, ONLY_EARLY.replace("KIND", kind))
    found = three_days.run(make_request(script, of="P10D"))
    assert samples(found) == [10]
    assert found.counter("blocks") == 1


def test_a_pre_process_that_drops_all_leaves_an_empty_list(three_days: World) -> None:
    script = listing("ORBIT", "function preProcessScenes(c) { c.scenes.orbits = []; return c }")
    found = three_days.run(make_request(script, of="P10D"))
    assert samples(found) == []
    assert found.counter("blocks") == 0


def test_a_pre_process_that_throws_fails_the_intervals(three_days: World) -> None:
    script = listing("ORBIT", "function preProcessScenes(c) { throw new Error('no idea') }")
    found = three_days.run(make_request(script, of="P10D"))
    assert found.response()["status"] == "FAILED"
    assert found.error()[0]["type"] == "EXECUTION_ERROR"
    assert "no idea" in found.error()[0]["message"]


def test_scripts_are_told_their_scenes(three_days: World) -> None:
    body = "const o = scenes.orbits; return {v: [new Date(o[0].dateFrom).getUTCDate() * 100 + o.length], dataMask: [1]}"
    found = three_days.run(make_request(value_script(mosaicking="ORBIT", body=body), of="P10D"))
    assert found.means() == [303]
    body = "const t = scenes.tiles; return {v: [t.length * 100 + t[1].cloudCoverage], dataMask: [1]}"
    found = three_days.run(make_request(value_script(mosaicking="TILE", body=body), of="P10D"))
    assert found.means() == [305]


def test_scenes_in_two_zones_over_one_feature(world: World) -> None:
    """A feature in degrees at the border of two UTM zones takes each cell from the scene over it."""
    from pyproj import Transformer

    x33, y33 = Transformer.from_crs(4326, 32633, always_xy=True).transform(12.0, 46.0)
    x32, y32 = Transformer.from_crs(4326, 32632, always_xy=True).transform(12.0, 46.0)
    big = np.full((40, 40), 7, np.uint16)
    world.scene("z33", "2020-06-01T10:00:00Z", {"B04": big}, epsg=32633, origin=(x33 - 200, y33 + 200))
    world.scene("z32", "2020-06-01T09:00:00Z", {"B04": big + 2}, epsg=32632, origin=(x32 - 600, y32 + 200))
    import shapely

    world.parcels(shapely.box(11.9985, 45.9995, 12.0005, 46.0005), epsg=4326)
    found = world.run(make_request(value_script(), resx=0.0001, resy=0.0001))
    stats = found.stats()
    assert (stats["sampleCount"], stats["noDataCount"], stats["min"], stats["max"]) == (200, 0, 7, 7)
    world.items[0]["geometry"]["coordinates"] = [[[12, 45], [13, 45], [13, 47], [12, 47], [12, 45]]]
    found = world.run(make_request(value_script(), resx=0.0001, resy=0.0001))
    assert found.stats()["noDataCount"] == 0
