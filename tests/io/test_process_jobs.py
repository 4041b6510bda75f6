"""Batch Processing V2 jobs from the request to what lies in the buckets, with the real engine on made-up scenes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from pyproj import Transformer

from engines import World
from process_cases import RED, SECRET, TIFFS, ProcessJob, batch_body, write_areas
from rasters import LEFT, TOP, process_request, render, utm
from servers import free_port
from swathe.grids.raster_grid import RasterGrid
from swathe.grids.tiling import GRIDS, tiles_over
from swathe.jobs import prepare
from swathe.model.errors import FeaturesInvalid, LimitExceeded, RequestInvalid, ScriptError
from swathe.settings import StorageSettings

SIZE = 420
GRID_0 = {"type": "tiling-grid", "id": 0, "resolution": 60}
GEOPACKAGE = {"type": "geopackage", "defaults": {"resolution": 60.0}}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """One scene of 420 x 420 pixels of 60 m, values 1 to 3000, with some that are missing."""
    made = World(tmp_path)
    values = np.random.default_rng(1).integers(1, 3_000, (SIZE, SIZE)).astype(np.uint16)
    values[100:140, 50:300] = 0
    made.scene("a", "2020-06-03", {"B04": values}, pixel=60.0)
    return made


def area(column: float, row: float, width: float, height: float) -> Any:
    """A box in pixels of the scene."""
    left, top = LEFT + 60 * column, TOP - 60 * row
    return shapely.box(left, top - 60 * height, left + 60 * width, top)


def lonlat(box: Any) -> list[float]:
    change = Transformer.from_crs(32633, 4326, always_xy=True)
    return list(shapely.transform(box, lambda xy: np.stack(change.transform(xy[:, 0], xy[:, 1]), axis=1)).bounds)


def grid_over(box: Any, epsg: int = 32633, cell: float = 60.0) -> RasterGrid:
    west, south, east, north = box.bounds
    return RasterGrid(epsg, west, north, cell, cell, round((east - west) / cell), round((north - south) / cell))


def test_tiles_of_a_grid_are_the_images_of_their_areas(world: World) -> None:
    bbox = lonlat(area(200, 200, 200, 200))
    job = ProcessJob(world.folder, world.settings(), batch_body(bbox=bbox, input=GRID_0)).run_all()
    tiles = list(tiles_over(GRIDS[0], shapely.box(*bbox), 60.0))
    assert len(tiles) > 1
    assert job.names() == sorted(
        [f"7f1d/{tile.name}/{name}.tif" for tile in tiles for name in ("red", "mask")]
        + ["7f1d/execution-7f1d.sqlite", "7f1d/featureManifest-7f1d.gpkg", "7f1d/request-7f1d.json"]
    )
    for tile in tiles:
        want = render(world.settings(), process_request(RED), tile.grid)
        with rasterio.open(job.file(f"7f1d/{tile.name}/red.tif")) as file:
            assert (file.crs.to_epsg(), file.nodata) == (tile.epsg, 0)
            assert tuple(file.transform)[:6] == tile.grid.transform
            np.testing.assert_array_equal(file.read(), want.arrays["red"])
        np.testing.assert_array_equal(job.read(f"7f1d/{tile.name}/mask.tif"), want.arrays["mask"])
    rows = job.execution("7f1d/execution-7f1d.sqlite")
    assert sorted(row[1:] for row in rows) == sorted((tile.name, "DONE", None, 1) for tile in tiles)
    assert job.cost_pu == pytest.approx(len(tiles) * 334**2 / 512**2 / 3)
    assert job.plan is not None
    assert job.plan.estimated_pu == pytest.approx(job.cost_pu)


def test_the_manifest_says_what_will_be_where(world: World) -> None:
    bbox = lonlat(area(10, 10, 20, 20))
    job = ProcessJob(
        world.folder, world.settings(), batch_body(bbox=bbox, input={**GRID_0, "bufferX": 3, "bufferY": 5})
    )
    job.analyse()
    file = job.file("7f1d/featureManifest-7f1d.gpkg")
    (layer,) = pyogrio.list_layers(file)[:, 0]
    assert layer == "feature_32633"
    frame = gpd.read_file(file, layer=layer, fid_as_index=True)
    (tile,) = tiles_over(GRIDS[0], shapely.box(*bbox), 60.0, 3, 5)
    assert list(frame.columns) == ["outputId", "identifier", "path", "width", "height", "geometry"]
    assert list(frame.index) == [1, 2]
    assert frame.crs.to_epsg() == 32633
    assert frame.iloc[1].drop("geometry").to_dict() == {
        "outputId": "mask",
        "identifier": tile.name,
        "path": f"s3://out/run/7f1d/{tile.name}/mask.tif",
        "width": 340,
        "height": 344,
    }
    assert frame.geometry.iloc[0].equals(tile.footprint)
    kept = json.loads(job.file("7f1d/request-7f1d.json").read_text())
    assert kept == job.job.request
    for path in (job.buckets / "out").rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()


PICTURE = """//VERSION=3
function setup() {
  return {input: [{bands: ["B04", "dataMask"], units: "DN"}], output: [
    {id: "colours", bands: 4, sampleType: "UINT8"}, {id: "photo", bands: 3, sampleType: "UINT8"},
    {id: "red", bands: 1, sampleType: "UINT16"}]}
}
function evaluatePixel(s) {
  const v = s.B04 / 12
  return {colours: [v, 0, 255 - v, 255 * s.dataMask], photo: [v, v, v], red: [s.B04]}
}
function updateOutputMetadata(scenes, inputMetadata, outputMetadata) {
  outputMetadata.userData = {"text": "grün"}
}
"""


def test_features_in_several_systems_and_formats(world: World) -> None:
    triangle = shapely.Polygon([(LEFT + 600, TOP - 600), (LEFT + 6600, TOP - 600), (LEFT + 600, TOP - 6600)])
    degrees = shapely.box(15.02, 45.95, 15.06, 45.98)
    write_areas(
        world.folder / "buckets/in/areas.gpkg",
        {
            "metres": (32633, {"box": area(20, 30, 40, 50), "a/b": triangle}, {}),
            "lonlat": (4326, {"degrees": degrees}, {"width": [80], "height": [60]}),
        },
    )
    formats = {"colours": "image/png", "photo": "image/jpeg", "red": "image/tiff", "userdata": "application/json"}
    responses = [{"identifier": name, "format": {"type": form}} for name, form in formats.items()]
    body = batch_body(
        script=PICTURE, responses=responses, input=GEOPACKAGE, url="s3://out/run/<tileName>_<outputId>.<format>"
    )
    job = ProcessJob(world.folder, world.settings(), body).run_all()
    ends = ("colours.png", "photo.jpg", "red.tif", "userdata.json")
    assert not job.failures
    results = [name for name in job.names() if "7f1d" not in name]
    assert results == sorted(f"{name}_{end}" for name in ("box", "a%2Fb", "degrees") for end in ends)
    assert sorted(row[1] for row in job.execution("execution-7f1d.sqlite")) == ["a/b", "box", "degrees"]
    want = render(world.settings(), process_request(PICTURE), grid_over(area(20, 30, 40, 50)))
    for name, output in (("box_red.tif", "red"), ("box_colours.png", "colours")):
        np.testing.assert_array_equal(job.read(name), want.arrays[output])
    assert job.read("box_photo.jpg").shape == (3, 50, 40)
    assert json.loads(job.file("box_userdata.json").read_text("utf-8")) == {"text": "grün"}
    west, south, east, north = degrees.bounds
    grid = RasterGrid(4326, west, north, (east - west) / 80, (north - south) / 60, 80, 60)
    np.testing.assert_array_equal(
        job.read("degrees_red.tif"), render(world.settings(), process_request(PICTURE), grid).arrays["red"]
    )
    # outside of a feature's polygon there is no data, as where a request has a geometry
    grid = grid_over(triangle)
    clipped = render(world.settings(), process_request(PICTURE), grid, clip=triangle)
    np.testing.assert_array_equal(job.read("a%2Fb_red.tif"), clipped.arrays["red"])
    assert 0.4 < (job.read("a%2Fb_red.tif") > 0).mean() < 0.6


def test_cogs_are_as_asked_for(world: World) -> None:
    body = batch_body(
        bbox=lonlat(area(10, 10, 20, 20)),
        input=GRID_0,
        output={"cogOutput": True, "cogParameters": {"blockxsize": 128, "blockysize": 128, "overviewLevels": [2, 4]}},
    )
    job = ProcessJob(world.folder, world.settings(), body).run_all()
    (name,) = [name for name in job.names() if name.endswith("red.tif")]
    with rasterio.open(job.file(name)) as file:
        assert file.block_shapes[0] == (128, 128)
        assert file.overviews(1) == [2, 4]


def small_areas(world: World, count: int) -> dict[str, Any]:
    polygons = {f"area {number}": area(30 * number, 20, 20, 20) for number in range(count)}
    write_areas(world.folder / "buckets/in/areas.gpkg", {"areas": (32633, polygons, {})})
    return polygons


PLAIN = "s3://out/run/<tileName>/<outputId>.<format>"


def test_what_is_there_is_replaced_left_alone_or_an_error(world: World) -> None:
    small_areas(world, 3)
    first = ProcessJob(world.folder, world.settings(), batch_body(input=GEOPACKAGE, url=PLAIN)).run_all()
    before = {name: first.file(name).stat().st_mtime_ns for name in first.names() if name.endswith(".tif")}
    assert len(before) == 6

    def again(job_id: str, **output: bool) -> ProcessJob:
        body = batch_body(input=GEOPACKAGE, url=PLAIN, output=output)
        return ProcessJob(world.folder, world.settings(), body, job_id=job_id)

    with pytest.raises(RequestInvalid, match="replaced unless overwrite"):
        again("b").analyse()
    # all is there: nothing to do, which costs nothing
    plan = again("c", skipExisting=True).run_all().plan
    assert plan is not None
    assert (plan.features, plan.units, plan.estimated_pu) == (0, (), 0.0)
    first.file("area 1/mask.tif").unlink()
    with pytest.raises(RequestInvalid, match="some of the files"):
        again("d", skipExisting=True).analyse()
    both = again("e", skipExisting=True, overwrite=True).run_all()
    assert {name for name, when in before.items() if both.file(name).stat().st_mtime_ns != when} == {
        "area 1/mask.tif",
        "area 1/red.tif",
    }
    assert [row[1] for row in both.execution("execution-e.sqlite")] == ["area 1"]
    replaced = again("f", overwrite=True).run_all()
    assert not {replaced.file(name).stat().st_mtime_ns for name in before} & set(before.values())


def test_a_tile_that_fails_fails_alone(world: World) -> None:
    values = np.ones((SIZE, SIZE), np.uint16)
    values[25, 35] = 666
    world.items.clear()
    world.scene("a", "2020-06-03", {"B04": values}, pixel=60.0)
    small_areas(world, 4)
    script = RED.replace("{ return", "{ if (s.B04 == 666) throw new Error('the beast'); return")
    job = ProcessJob(world.folder, world.settings(), batch_body(script=script, input=GEOPACKAGE)).run_all()
    (key,) = job.failures
    assert "the beast" in job.failures[key]
    states = {row[1]: (row[0], row[2], row[3]) for row in job.execution("7f1d/execution-7f1d.sqlite")}
    assert states["area 1"] == (key, "FATAL", job.failures[key])
    assert [states[f"area {number}"][1] for number in (0, 2, 3)] == ["DONE"] * 3
    assert not [name for name in job.names() if "area 1" in name]
    assert job.cost_pu == pytest.approx(3 * 0.01 / 3)


def test_an_image_without_data_is_there_and_said_to_be_empty(world: World) -> None:
    polygons = {"full": area(0, 0, 10, 10), "empty": area(60, 105, 20, 20), "outside": area(-900, 0, 20, 20)}
    write_areas(world.folder / "buckets/in/areas.gpkg", {"areas": (32633, polygons, {})})
    job = ProcessJob(world.folder, world.settings(), batch_body(input=GEOPACKAGE)).run_all()
    said = {row[1]: row[2:] for row in job.execution("7f1d/execution-7f1d.sqlite")}
    assert said == {"full": ("DONE", None, 1), "empty": ("DONE", "No data", 1), "outside": ("DONE", "No data", 1)}
    assert not job.read("7f1d/outside/red.tif").any()
    assert [outcome.result.failed for outcome in job.outcomes.values() if outcome.result is not None] == [0] * 3


def test_what_fails_for_a_while_is_no_failure_of_a_tile(world: World) -> None:
    small_areas(world, 2)
    world.items[0]["assets"]["B04"]["href"] = f"http://127.0.0.1:{free_port()}/B04.tif"
    storage = StorageSettings(local_root=world.folder / "buckets", retries=0, timeout_s=2, hosts=("127.0.0.1",))
    job = ProcessJob(world.folder, world.settings(), batch_body(input=GEOPACKAGE), storage=storage)
    job.analyse()
    outcome = job.run(0)
    assert (outcome.result, outcome.retryable, outcome.at_delivery) == (None, True, False), outcome
    assert not [name for name in job.names() if name.endswith(".tif")]


def test_trouble_with_the_output_place_is_no_failure_of_a_tile(world: World) -> None:
    small_areas(world, 2)
    job = ProcessJob(world.folder, world.settings(), batch_body(input=GEOPACKAGE))
    job.analyse()
    shutil.rmtree(job.buckets / "out")
    (job.buckets / "out").write_text("in the way")
    outcome = job.run(0)
    assert (outcome.result, outcome.at_delivery) == (None, True)
    (job.buckets / "out").unlink()
    assert job.run(0).result is not None


def test_a_unit_that_is_given_up_has_no_images(world: World) -> None:
    small_areas(world, 2)
    job = ProcessJob(world.folder, world.settings(), batch_body(input=GEOPACKAGE))
    (key,) = np.frombuffer(job.analyse().units[0].feature_ids, "<i8").tolist()
    result = job.run(0, given_up="it kills its worker").result
    assert result is not None
    assert result.failures == {key: "it kills its worker"}
    for _ in range(2):
        job.publish()
        rows = {row[0]: row[2:] for row in job.execution("7f1d/execution-7f1d.sqlite")}
        assert rows.pop(key) == ("FATAL", "it kills its worker", 0)
        assert list(rows.values()) == [("PENDING", None, 0)]


def test_a_stopped_unit_leaves_no_image_and_no_file(world: World) -> None:
    small_areas(world, 1)
    job = ProcessJob(world.folder, world.settings(), batch_body(input=GEOPACKAGE))
    job.analyse()
    asked: list[int] = []
    outcome = job.run(0, is_cancelled=lambda: asked.append(1) is None and len(asked) > 3)
    assert outcome.stopped
    assert not [name for name in job.names() if name.endswith(".tif")]
    assert sorted(os.listdir(job.folder)) == ["areas.gpkg", "features.gpkg", "plan.pickle"]
    assert job.run(0).result is not None


def test_workers_elsewhere_get_all_that_they_need(world: World) -> None:
    small_areas(world, 3)
    body = batch_body(input=GEOPACKAGE)
    here = ProcessJob(world.folder, world.settings(), body, job_id="here").run_all()
    there = ProcessJob(world.folder, world.settings(), body, job_id="there").run_all(by_value=True)
    for number in range(3):
        name = f"area {number}/red.tif"
        assert here.file(f"here/{name}").read_bytes() == there.file(f"there/{name}").read_bytes()


def test_another_server_makes_the_same_manifest(world: World) -> None:
    small_areas(world, 3)
    first = ProcessJob(
        world.folder, world.settings(), batch_body(input=GEOPACKAGE, url=PLAIN), job_id="first"
    ).run_all()
    first.file("area 1/red.tif").unlink()
    first.file("area 1/mask.tif").unlink()
    body = batch_body(input=GEOPACKAGE, url=PLAIN, output={"skipExisting": True})
    job = ProcessJob(world.folder, world.settings(), body)
    plan = job.analyse()
    manifest = (job.folder / "features.gpkg").read_bytes()
    for name in os.listdir(job.folder):
        (job.folder / name).unlink()
    prepare.restore(job.preparation, plan.payload)
    assert (job.folder / "features.gpkg").read_bytes() == manifest
    result = job.run(0).result
    assert result is not None
    assert (result.done, result.failed) == (1, 0)
    small_areas(world, 4)
    (job.folder / "features.gpkg").unlink()
    with pytest.raises(FeaturesInvalid, match="not the one that was analysed"):
        prepare.restore(job.preparation, plan.payload)


def test_neighbouring_tiles_have_the_same_pixels_where_they_overlap(world: World) -> None:
    bbox = lonlat(area(200, 200, 200, 20))
    job = ProcessJob(world.folder, world.settings(), batch_body(bbox=bbox, input={**GRID_0, "bufferX": 20})).run_all()
    tiles = list(tiles_over(GRIDS[0], shapely.box(*bbox), 60.0, 20))
    compared = 0
    for one in tiles:
        for other in tiles:
            shift = round((other.grid.x0 - one.grid.x0) / 60)
            if one.grid.y0 == other.grid.y0 and 0 < shift < one.grid.width:
                left, right = (job.read(f"7f1d/{tile.name}/red.tif") for tile in (one, other))
                np.testing.assert_array_equal(left[:, :, shift:], right[:, :, : one.grid.width - shift])
                compared += 1
    assert compared


def test_many_small_tiles_share_units_and_a_large_one_is_alone(world: World) -> None:
    polygons = {f"small {n}": area(5 * n, 5, 4, 4) for n in range(40)} | {"large": area(0, 100, 300, 300)}
    write_areas(world.folder / "buckets/in/areas.gpkg", {"areas": (32633, polygons, {})})
    job = ProcessJob(world.folder, world.settings(unit_cells=10_000), batch_body(input=GEOPACKAGE), workers=1)
    units = job.analyse().units
    sizes = sorted(len(unit.feature_ids) // 8 for unit in units)
    assert sizes[0] == 1
    assert sum(sizes) == 41
    assert max(unit.cells for unit in units) == 90_000
    assert len(units) <= 4


OVER = {"bbox": (15, 45, 16, 46), "input": GRID_0}
LAEA = {"type": "tiling-grid", "id": 6, "resolution": 100}


def responses(name: str, form: str) -> dict[str, Any]:
    return {**OVER, "responses": ({"identifier": name, "format": {"type": form}},)}


@pytest.mark.parametrize(
    ("parts", "error", "match"),
    [
        ({**OVER, "input": {**GRID_0, "resolution": 25}}, RequestInvalid, "offers 10, 20, 30, 60"),
        ({**OVER, "bbox": (15, 45, 15, 46)}, RequestInvalid, "no area"),
        ({"bbox": (-70, 45, -69, 46), "input": LAEA}, RequestInvalid, "No tile"),
        ({**OVER, "script": "//VERSION=3\nfunction setup() {"}, ScriptError, "SyntaxError"),
        (responses("x", "image/tiff"), RequestInvalid, "no output of the evalscript"),
        (responses("red", "image/jpeg"), RequestInvalid, "UINT16"),
        ({**OVER, "bbox": (10, 40, 20, 50)}, LimitExceeded, "more than 100 tiles"),
    ],
)
def test_what_cannot_be_done_is_told_by_the_analysis(
    world: World, parts: dict[str, Any], error: type[Exception], match: str
) -> None:
    job = ProcessJob(world.folder, world.settings(features=100), batch_body(**parts))
    with pytest.raises(error, match=match):
        job.analyse()
    assert not [name for name in job.names() if name.endswith(".tif")]


def test_a_whole_tile_of_many_strips(world: World) -> None:
    grid = utm(0, 0, SIZE, SIZE, cell=60.0)
    write_areas(world.folder / "buckets/in/areas.gpkg", {"areas": (32633, {"all": shapely.box(*grid.bounds)}, {})})
    job = ProcessJob(world.folder, world.settings(unit_bytes=2**20), batch_body(input=GEOPACKAGE, responses=TIFFS[:1]))
    job.run_all()
    np.testing.assert_array_equal(
        job.read("7f1d/all/red.tif"), render(world.settings(), process_request(RED), grid).arrays["red"]
    )
