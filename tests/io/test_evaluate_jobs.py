"""In jobs as in `swathe.evaluate`: updateOutput, a mosaicking per source, sources named by the request alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import make_request
from engines import LEFT, TOP, Run, World, box, run, value_script
from swathe import SceneArrays, SourceArrays, evaluate
from swathe.model.errors import ScriptError

PER_SCENE = """//VERSION=3
function setup() {
  return {
    input: [{bands: ["B04", "dataMask"], units: "DN"}],
    mosaicking: "ORBIT",
    output: [{id: "v", bands: 0, sampleType: "FLOAT32"}, {id: "dataMask", bands: 1}]
  }
}
function updateOutput(output, collection) { output.v.bands = UPDATE }
function evaluatePixel(s) { return {v: s.map(x => x.B04), dataMask: [1]} }
"""
COUNT = PER_SCENE.replace("UPDATE", "collection.scenes.length")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Scenes in the west on the 1st, in the east on the 2nd, over both on the 3rd."""
    made = World(tmp_path)
    made.scene("west", "2020-06-01", {"B04": 10})
    made.scene("east", "2020-06-02", {"B04": 20}, origin=(LEFT + 120, TOP))
    made.scene("both", "2020-06-03", {"B04": np.full((12, 24), 30)})
    made.parcels(box(2, 2), box(11, 2), box(18, 2))
    return made


def bands(found: Run, feature: int, interval: int = 0) -> dict[str, Any]:
    """The mean of each band that an interval of a feature has."""
    made = found.response(feature)["data"][interval]["outputs"]["v"]["bands"]
    return {name: band["stats"]["mean"] for name, band in made.items()}


def test_update_output_sets_the_bands_feature_by_feature(world: World) -> None:
    found = world.run(make_request(COUNT, of="P10D"))
    assert len(found.analysis.units) == 1
    assert bands(found, 1) == {"B0": 30, "B1": 10}
    assert bands(found, 2) == {"B0": 30, "B1": 10, "B2": 5}
    assert bands(found, 3) == {"B0": 30, "B1": 20}


def test_update_output_and_the_synchronous_road_agree(world: World) -> None:
    found = world.run(make_request(COUNT, of="P10D"))
    arrays = [
        SceneArrays(f"2020-06-0{day}T10:00:00Z", {"B04": np.full((2, 2), value)}) for day, value in ((1, 10), (3, 30))
    ]
    made = evaluate(COUNT, [SourceArrays(None, arrays)]).outputs["v"]
    assert made[0, 0].tolist() == list(bands(found, 1).values())


def test_update_output_may_name_bands_that_calculations_speak_of(world: World) -> None:
    text = PER_SCENE.replace("UPDATE", "['newest', ...collection.scenes.slice(1).map((x, i) => 'older' + i)]")
    calculations = {"v": {"statistics": {"newest": {"percentiles": {"k": [50]}}}}}
    found = world.run(make_request(text, of="P10D", calculations=calculations))
    assert bands(found, 3) == {"newest": 30, "older0": 20}
    stats = found.stats(3, band="newest")
    assert stats["percentiles"] == {"50.0": 30}
    assert "percentiles" not in found.stats(3, band="older0")


def test_update_output_that_fails_fails_the_intervals(world: World) -> None:
    for wrong, message in (("nothing", "nothing is not defined"), ("-1", "at least one is needed")):
        found = world.run(make_request(PER_SCENE.replace("UPDATE", wrong), of="P10D"))
        assert [found.response(feature)["status"] for feature in (1, 2, 3)] == ["FAILED"] * 3
        assert message in found.error()[0]["message"]


FUSION = """//VERSION=3
function setup() {
  return {
    input: [
      {bands: ["B04"], units: "DN"},
      {bands: ["B04", "dataMask"], units: "DN", mosaicking: "TILE"}
    ],
    output: [{id: "v", bands: ["first", "tiles", "told"], sampleType: "FLOAT32"}, {id: "dataMask", bands: 1}]
  }
}
function evaluatePixel(s, scenes) {
  const tiles = s.many.map(x => x.B04).reduce((x, y) => x + y, 0);
  return {v: [s.one[0].B04, tiles, scenes.many.scenes.tiles.length], dataMask: [1]}
}
"""


def test_sources_have_a_mosaicking_each_and_the_requests_names(tmp_path: Path) -> None:
    one, many = World(tmp_path / "one"), World(tmp_path / "many")
    one.scene("a", "2020-06-01", {"B04": 1})
    one.scene("b", "2020-06-02", {"B04": 2})
    many.scene("c", "2020-06-01", {"B04": 100})
    many.scene("d", "2020-06-03", {"B04": 200})
    settings = one.settings()
    settings = settings.model_copy(
        update={"collections": settings.collections + many.settings(type_="sentinel-2-l1c").collections}
    )
    one.parcels(box(1, 1))
    data = [{"type": "sentinel-2-l2a", "id": "one"}, {"type": "sentinel-2-l1c", "id": "many"}]
    found = run(settings, one.geopackage, make_request(FUSION, of="P10D", data=data))
    assert bands(found, 1) == {"first": 2, "tiles": 300, "told": 2}


def test_a_source_that_pre_process_empties_leaves_the_other(world: World) -> None:
    text = COUNT.replace("collection.scenes.length", "1").replace("s.map(x => x.B04)", "[s.length]")
    text += "function preProcessScenes(c) { c.scenes.orbits = []; return c }"
    found = world.run(make_request(text, of="P10D"))
    assert bands(found, 1) == {"B0": 0}
    assert found.counter("blocks") == 0


def test_calculations_are_checked_where_the_bands_are_known(world: World) -> None:
    text = COUNT.replace("bands: 0", "bands: 1").replace("function updateOutput", "function other")
    calculations = {"v": {"statistics": {"newest": {"percentiles": {"k": [50]}}}}}
    with pytest.raises(ScriptError, match="names the band 'newest'"):
        world.run(make_request(text, of="P10D", calculations=calculations))


def test_landsat_has_nan_where_there_is_no_data_and_bits_as_they_are(tmp_path: Path) -> None:
    world = World(tmp_path)
    red = np.full((12, 12), 20_000, np.uint16)
    red[:, 1] = 0
    world.scene("l8", "2020-06-01", {"red": red, "qa_pixel": np.full((12, 12), 21_824)}, scale=None, nodata=None)
    for asset in world.items[0]["assets"].values():
        asset.pop("nodata")
    text = """//VERSION=3
    function setup() {
      return {input: ["B04", "BQA", "dataMask"],
        output: [{id: "v", bands: ["red", "nan", "clear"], sampleType: "FLOAT32"}, {id: "dataMask", bands: 1}]}
    }
    function evaluatePixel(s) {
      return {v: [s.dataMask ? s.B04 : 0, isNaN(s.B04) + 10 * isNaN(s.BQA), decodeL8C2Qa(s.BQA).clear || 0], dataMask: [1]}
    }"""
    world.parcels(box(0, 0, 2, 1))
    found = world.run(make_request(text, data=[{"type": "LOTL2"}]), type_="landsat-ot-l2")
    made = found.response()["data"][0]["outputs"]["v"]["bands"]
    assert made["red"]["stats"]["max"] == pytest.approx(20_000 * 0.0000275 - 0.2, abs=1e-7)
    assert (made["nan"]["stats"]["min"], made["nan"]["stats"]["max"]) == (0, 11)
    assert made["clear"]["stats"]["max"] == 1


def test_sentinel_1_is_linear_power_as_the_source_has_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.scene("s1", "2020-06-01", {"vv": np.full((12, 12), 0.125)}, scale=None, dtype="float32")
    world.parcels(box(1, 1))
    text = value_script(bands=["VV"], body="return {v: [s.VV], dataMask: [s.dataMask]}").replace(
        '"DN"', '"LINEAR_POWER"'
    )
    found = world.run(make_request(text, data=[{"type": "S1GRD"}]), type_="sentinel-1-grd")
    assert found.means() == [0.125]


def test_level_1_reflectance_that_nobody_knows_fails_and_says_so(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.scene("l8", "2020-06-01", {"B4": 9000}, scale=None)
    world.parcels(box(1, 1))
    text = value_script().replace('"DN"', '"REFLECTANCE"')
    found = world.run(make_request(text, data=[{"type": "LOTL1"}]), type_="landsat-ot-l1")
    assert found.response()["status"] == "FAILED"
    assert "give the band `unit`, `scale` and `offset`" in found.error()[0]["message"]


@pytest.mark.parametrize(
    ("harmonize", "unit", "means"),
    [
        (None, "REFLECTANCE", [0.05, 0.05, 0]),
        (True, "DN", [500, 500, 0]),
        (False, "REFLECTANCE", [0.05, 0.05, -0.02]),
        (False, "DN", [500, 1500, 800]),
    ],
)
def test_harmonize_values_as_the_provider_says(
    tmp_path: Path, harmonize: bool | None, unit: str, means: list[float]
) -> None:
    """An old baseline, a new one whose offset is still to be applied, and a negative reflectance there."""
    world = World(tmp_path)
    world.scene("old", "2020-06-01", {"B04": 500})
    world.scene("new", "2020-06-02", {"B04": 1500}, offset=-0.1)
    world.scene("dark", "2020-06-03", {"B04": 800}, offset=-0.1)
    world.parcels(box(1, 1))
    data: dict[str, Any] = {"type": "sentinel-2-l2a"}
    if harmonize is not None:
        data["processing"] = {"harmonizeValues": harmonize}
    text = value_script(bands=["B04"]).replace('"DN"', f'"{unit}"')
    assert world.run(make_request(text, data=[data])).means() == pytest.approx(means, abs=1e-7)
