"""Collections whose scenes have no time that matters: in every interval, and for any time that is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import make_request
from engines import World, box, run, value_script
from rasters import process_request, render, utm
from swathe.engine.compute import Engine
from swathe.engine.raster_analysis import footprints_of
from swathe.model.process import ProcessRequest
from swathe.settings import Settings

HEIGHTS = value_script(bands=["DEM"], body="return {v: [s.DEM], dataMask: [s.dataMask]}").replace('"DN"', '"METERS"', 1)
FUSION = """//VERSION=3
function setup() {
  return {
    input: [
      {datasource: "image", bands: ["B04", "dataMask"], units: "DN"},
      {datasource: "heights", bands: ["DEM"], mosaicking: "MOSAICKING"}
    ],
    output: [{id: "v", bands: ["image", "height"], sampleType: "FLOAT32"}, {id: "dataMask", bands: 1}]
  }
}
function evaluatePixel(s) {
  const heights = s.heights.map(x => x.DEM).filter(x => x);
  return {v: [s.image[0].B04, Math.max(0, ...heights)], dataMask: [s.image[0].dataMask]};
}
"""
JUNE_1_TO_4 = {"end": "2020-06-05T00:00:00Z"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two files of heights side by side, made years before."""
    made = World(tmp_path)
    west, east = np.full((12, 12), 100, np.float32), np.full((12, 12), 200, np.float32)
    made.scene("west", "2013-01-01", {"DEM": west}, scale=None, dtype="float32", nodata=None)
    made.scene(
        "east", "2014-01-01", {"DEM": east}, scale=None, dtype="float32", nodata=None, origin=(500_120.0, 5_100_000.0)
    )
    made.parcels(box(1, 1), box(11, 1))
    return made


def with_images(world: World, tmp_path: Path) -> Settings:
    images = World(tmp_path / "images")
    images.scene("a", "2020-06-02", {"B04": np.full((12, 24), 7)})
    images.scene("b", "2020-06-04", {"B04": np.full((12, 24), 9)})
    images.files.mkdir(exist_ok=True)
    heights = world.settings(type_="dem")
    return heights.model_copy(update={"collections": (*images.settings().collections, *heights.collections)})


def test_heights_are_there_in_each_interval(world: World) -> None:
    body = make_request(HEIGHTS, data=[{"type": "DEM", "dataFilter": {"timeRange": {"from": "2020-06-03T00:00:00Z"}}}])
    body["aggregation"]["timeRange"] = {"from": "2020-06-01T00:00:00Z", "to": "2020-06-05T00:00:00Z"}
    found = world.run(body, type_="dem")
    assert found.days() == ["2020-06-01", "2020-06-02", "2020-06-03", "2020-06-04"]
    assert found.means(1) == [100] * 4
    assert found.means(2) == [150] * 4
    assert found.analysis.cost_pu == pytest.approx(found.cost_pu)


@pytest.mark.parametrize("mosaicking", ["SIMPLE", "ORBIT", "TILE"])
def test_beside_images_heights_are_in_the_intervals_that_the_images_make(
    world: World, tmp_path: Path, mosaicking: str
) -> None:
    data = [{"type": "sentinel-2-l2a", "id": "image"}, {"type": "dem", "id": "heights"}]
    body = make_request(FUSION.replace("MOSAICKING", mosaicking), data=data, **JUNE_1_TO_4)
    found = run(with_images(world, tmp_path), world.geopackage, body)
    assert found.days() == ["2020-06-02", "2020-06-04"]
    assert (found.means(1, band="image"), found.means(1, band="height")) == ([7, 9], [100, 100])
    assert found.means(2, band="height") == [150, 150]
    if mosaicking == "SIMPLE":
        assert found.analysis.cost_pu == pytest.approx(found.cost_pu)


def test_other_collections_may_be_timeless_by_configuration_and_heights_may_not_be(world: World) -> None:
    def days(type_: str, script: str, timeless: bool | None) -> list[str]:
        settings = world.settings(type_=type_)
        entry = settings.collections[0].model_copy(update={"timeless": timeless})
        settings = settings.model_copy(update={"collections": (entry,)})
        return run(settings, world.geopackage, make_request(script, data=[{"type": type_}], **JUNE_1_TO_4)).days()

    own = HEIGHTS.replace("METERS", "DN")
    assert days("byoc-slope", own, None) == []
    assert len(days("byoc-slope", own, True)) == 4
    assert days("dem", HEIGHTS, False) == []


@pytest.mark.parametrize("told", [{}, {"dataFilter": {"timeRange": {"from": "2020-06-01T00:00:00Z"}}}])
def test_images_of_heights_do_not_ask_when(world: World, told: dict[str, Any]) -> None:
    request: ProcessRequest = process_request(HEIGHTS, data=[{"type": "DEM", **told}])
    settings = world.settings(type_="dem")
    grid = utm(0, 0, 24, 12)
    made = render(settings, request, grid).arrays["v"]
    np.testing.assert_array_equal(made[0, 6, [2, 20]], [100, 200])
    with Engine(settings) as engine:
        assert engine.process_planner(request).analyse(footprints_of([grid])).scenes == 2


def test_the_time_that_scripts_are_told_is_that_of_the_images(world: World, tmp_path: Path) -> None:
    june = {"from": "2020-06-01T00:00:00Z", "to": "2020-06-05T00:00:00Z"}
    data = [{"type": "S2L2A", "id": "image", "dataFilter": {"timeRange": june}}, {"type": "DEM", "id": "heights"}]
    script = (
        FUSION.replace("MOSAICKING", "TILE")
        + "function preProcessScenes(c) { throw new Error(c.image.from.toISOString()) }"
    )
    with pytest.raises(Exception, match="2020-06-01T00:00:00"):
        render(with_images(world, tmp_path), process_request(script, data=data), utm(0, 0, 24, 12))
