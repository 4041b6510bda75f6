"""Images through the whole engine, with real V8 and real files, against whole rasters in NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.enums import Resampling

from builders import make_catalog
from engines import World
from rasters import JUNE, lonlat, mosaicked, near, process_request, render, render_with, sampled, utm
from swathe.engine.compute import Engine
from swathe.engine.raster_columns import MosaicStore
from swathe.engine.values import Stopped
from swathe.grids.raster_grid import RasterGrid
from swathe.model.errors import BandMissing, LimitExceeded, RequestInvalid, ScriptError, SourceError
from swathe.settings import CollectionSettings, DaskSettings, LimitSettings, Settings

NDVI = """//VERSION=3
function setup() {
  return {
    input: [{bands: ["B04", "B08", "dataMask"], units: "DN"}],
    output: [{id: "ndvi", bands: 1, sampleType: "FLOAT32"}, {id: "mask", bands: 1, sampleType: "UINT8"}]
  }
}
function evaluatePixel(s) {
  return {ndvi: [s.dataMask ? (s.B08 - s.B04) / (s.B08 + s.B04) : -1], mask: [s.dataMask]}
}
"""


def red_script(body: str, *, bands: Any = 1, sample: str = "UINT16", mosaicking: str = "SIMPLE", more: str = "") -> str:
    """A script over B04 as stored; `s` is the sample, or the list of samples."""
    return f"""//VERSION=3
function setup() {{
  return {{
    input: [{{bands: ["B04", "dataMask"], units: "DN"}}], mosaicking: "{mosaicking}",
    output: {{bands: {bands}, sampleType: "{sample}"}}
  }}
}}
{more}
function evaluatePixel(s, scenes, inputMetadata, customData, outputMetadata) {{ {body} }}
"""


AS_IT_IS = red_script("return [s.B04]")
BEST = red_script("return [s.reduce((best, x) => x.dataMask ? Math.max(best, x.B04) : best, 0)]", mosaicking="ORBIT")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def noise(seed: int, height: int, width: int, *, most: int = 5_000, empty: float = 0.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    values = random.integers(1, most, (height, width)).astype(np.uint16)
    values[random.random((height, width)) < empty] = 0
    return values


def paths(world: World, *scenes: str, bands: tuple[str, ...] = ("B04", "B08")) -> list[dict[str, Path]]:
    return [{band: world.files / scene / f"{band}.tif" for band in bands} for scene in scenes]


@pytest.fixture
def two_granules(world: World) -> World:
    """Two granules of two days with holes, which overlap by half."""
    for number, (name, day, left) in enumerate((("a", 1, 0), ("b", 2, 100))):
        bands = {band: noise(10 * number + k, 160, 200, empty=0.2) for k, band in enumerate(("B04", "B08"))}
        world.scene(
            name, f"2020-06-0{day}", bands, origin=(500_000.0 + 10 * left, 5_100_000.0), cloud_cover=10.0 * number
        )
    return world


GRIDS = {
    "aligned": utm(-10, -7, 330, 180),
    "between the pixels": utm(3.3, 4.7, 290, 150),
    "coarser": utm(-1, 2, 90, 70, cell=30.0),
    "finer": utm(20, 30, 300, 260, cell=4.0),
    "degrees": lonlat(-9, -9, 410, 170),
    "the next zone": near(32632, -9, -9, 320, 190),
    "Lambert": near(3035, -9, -9, 330, 200),
}


@pytest.mark.parametrize(
    ("name", "order", "scenes"),
    [*((name, "mostRecent", "ba") for name in GRIDS), ("aligned", "leastRecent", "ab"), ("degrees", "leastCC", "ab")],
)
def test_a_mosaic_is_that_of_whole_rasters(two_granules: World, name: str, order: str, scenes: str) -> None:
    grid = GRIDS[name]
    made = render(two_granules.settings(), process_request(NDVI, mosaickingOrder=order), grid)
    bands, filled = mosaicked(paths(two_granules, *scenes), grid)
    assert 0.1 < filled.mean() < 0.99
    with np.errstate(invalid="ignore"):
        ndvi = (bands["B08"] - bands["B04"]) / (bands["B08"] + bands["B04"])
    np.testing.assert_array_equal(made.mask, filled)
    np.testing.assert_array_equal(made.arrays["mask"][0], filled)
    np.testing.assert_array_equal(made.arrays["ndvi"][0], np.where(filled, ndvi, -1).astype(np.float32))


def test_in_little_memory_it_is_the_same_and_no_block_is_read_twice(two_granules: World) -> None:
    grid = utm(-10, -7, 330, 180)
    plenty = render(two_granules.settings(), process_request(NDVI), grid)
    little = render(two_granules.settings(unit_bytes=2**20), process_request(NDVI), grid)
    assert little.strips > plenty.strips
    for output in ("ndvi", "mask"):
        np.testing.assert_array_equal(little.arrays[output], plenty.arrays[output])
    # each of the two scenes' two bands has 5 x 7 blocks, the last ones of each are read by both
    assert plenty.raster.counters["blocks"] == 2 * 2 * 5 * 7
    assert little.raster.counters["blocks"] <= 1.15 * 2 * 2 * 5 * 7


def test_between_two_systems_blocks_on_the_border_of_windows_are_kept(two_granules: World) -> None:
    grid = lonlat(-9, -9, 410, 170)
    plenty = render(two_granules.settings(), process_request(NDVI), grid, lanes=1)
    little = render(two_granules.settings(unit_bytes=2 * 2**20), process_request(NDVI), grid, lanes=1)
    assert little.strips > 1
    np.testing.assert_array_equal(little.arrays["ndvi"], plenty.arrays["ndvi"])
    assert little.raster.counters["blocks"] <= 1.15 * plenty.raster.counters["blocks"]


def test_bands_of_different_pixels(world: World) -> None:
    red, swir = noise(1, 120, 120), noise(2, 60, 60)
    world.scene("a", "2020-06-01", {"B04": red, "B11": swir}, pixels={"B11": 20.0})
    script = red_script("return [s.B04, s.B11]", bands=2).replace('"B04",', '"B04", "B11",')
    for grid in (utm(0, 0, 120, 120), utm(11, 7, 40, 40, cell=20.0), lonlat(5, 5, 90, 90)):
        made = render(world.settings(), process_request(script), grid)
        for number, band in enumerate(("B04", "B11")):
            want, _ = sampled(world.files / "a" / f"{band}.tif", grid)
            np.testing.assert_array_equal(made.arrays["default"][number], want)


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("unit_bytes", [2**20, 2**28])
def test_the_best_of_many_days(world: World, lanes: int, unit_bytes: int) -> None:
    days = [noise(day, 100, 100, empty=0.5) for day in range(1, 13)]
    for day, values in enumerate(days, 1):
        world.scene(f"s{day}", f"2020-06-{day:02}", {"B04": values})
    made = render(world.settings(unit_bytes=unit_bytes), process_request(BEST), utm(-3, -3, 106, 106), lanes=lanes)
    want = np.zeros((106, 106), np.uint16)
    want[3:103, 3:103] = np.max(days, axis=0)
    np.testing.assert_array_equal(made.arrays["default"][0], want)
    np.testing.assert_array_equal(made.mask, want > 0)
    assert made.raster.scenes == 12


@pytest.mark.parametrize("lanes", [1, 2])
def test_samples_that_are_too_many_for_memory_wait_in_a_file(
    world: World, lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [noise(day, 200, 200, empty=0.5) for day in range(3)]
    for day, values in enumerate(days, 1):
        item = world.scene(f"s{day}", f"2020-06-{day:02}", {"B04": values})
        for number in range(20):
            when = f"2020-06-{day:02}T11:00:{number:02}Z"
            world.items.append(
                {**item, "id": f"s{day}-{number}", "properties": {**item["properties"], "datetime": when}}
            )
    script = red_script(
        "return [s.length, s.reduce((sum, x) => sum + x.B04, 0)]", bands=2, sample="FLOAT32", mosaicking="TILE"
    )
    kept = []
    keep = MosaicStore.keep
    monkeypatch.setattr(MosaicStore, "keep", lambda store, sample: kept.append(sample) or keep(store, sample))
    grid = lonlat(-5, -5, 200, 180)
    plenty = render(world.settings(), process_request(script), grid, lanes=lanes)
    assert not kept
    little = render(world.settings(unit_bytes=8 * 2**20), process_request(script), grid, lanes=lanes)
    assert kept
    np.testing.assert_array_equal(little.arrays["default"], plenty.arrays["default"])
    np.testing.assert_array_equal(little.mask, plenty.mask)
    want = sum(21 * sampled(path["B04"], grid)[0].astype(float) for path in paths(world, "s1", "s2", "s3"))
    np.testing.assert_array_equal(plenty.arrays["default"][1], want)
    assert (plenty.arrays["default"][0] == 63).all()


def test_tile_gives_a_sample_for_each_scene_over_the_image(two_granules: World) -> None:
    script = red_script("return [s.length, scenes.tiles.length]", bands=2, mosaicking="TILE")
    for grid, count in ((utm(120, 20, 50, 50), 2), (utm(10, 20, 50, 50), 1), (utm(400, 20, 50, 50), 0)):
        made = render(two_granules.settings(), process_request(script), grid)
        assert (made.arrays["default"] == count).all()
        assert made.raster.cost_pu == pytest.approx(0.01 / 3 * count)
    # of an image that is cut to a geometry, those over the geometry
    left = utm(10, 20, 5, 5).bounds
    made = render(two_granules.settings(), process_request(script), utm(10, 20, 150, 50), clip=shapely.box(*left))
    assert (made.arrays["default"] == 1).all()


@pytest.mark.parametrize(
    ("first", "second", "shift"),
    [
        (utm(3, 2, 150, 140), utm(40, 50, 150, 100), (37, 48)),
        (utm(3.25, 2, 150, 140), utm(40.25, 50, 150, 100), (37, 48)),
        (lonlat(3, 2, 150, 140), None, (37, 48)),
        (near(3035, 3, 2, 150, 140), None, (37, 48)),
    ],
    ids=["aligned", "quarter", "degrees", "Lambert"],
)
def test_a_cell_has_the_same_number_in_every_image(
    two_granules: World, first: RasterGrid, second: RasterGrid | None, shift: tuple[int, int]
) -> None:
    if second is None:  # as someone else may have worked out its corner
        x0, y0 = first.x0 + 37 * first.dx, first.y0 - 48 * first.dy
        second = RasterGrid(first.epsg, x0, y0, first.dx, first.dy, 150, 100)
    settings = two_granules.settings()
    for processing in ({}, {"upsampling": "BILINEAR", "downsampling": "BILINEAR"}):
        one, other = (
            render(settings, process_request(NDVI, **processing), grid).arrays["ndvi"][0] for grid in (first, second)
        )
        common = one[shift[1] :, shift[0] :]
        assert (common != -1).any()
        np.testing.assert_array_equal(common, other[: common.shape[0], : common.shape[1]])


def test_coarse_cells_read_overviews(world: World) -> None:
    values = noise(1, 512, 512)
    world.scene("a", "2020-06-01", {"B04": values})
    path = world.files / "a" / "B04.tif"
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4], Resampling.average)
    for cell, overview in ((10.0, None), (30.0, None), (40.0, 0), (100.0, 1)):
        grid = RasterGrid(32633, 500_000.0, 5_100_000.0, cell, cell, int(5120 // cell), int(5120 // cell))
        made = render(world.settings(), process_request(AS_IT_IS), grid)
        want, _ = sampled(path, grid, overview=overview)
        np.testing.assert_array_equal(made.arrays["default"][0], want)


def test_outside_the_geometry_there_is_no_data(world: World) -> None:
    world.scene("a", "2020-06-01", {"B04": noise(1, 100, 100)})
    script = red_script("return [s.B04, 7 + s.dataMask]", bands=2)
    grid = utm(0, 0, 100, 100)
    left, top = grid.x0, grid.y0
    triangle = shapely.Polygon([(left + 100, top - 100), (left + 900, top - 100), (left + 100, top - 900)])
    made = render(world.settings(unit_bytes=2**20), process_request(script), grid, clip=triangle)
    rows, columns = np.mgrid[:100, :100] + 0.5
    margin = columns + rows - 100
    inside = (columns > 10) & (rows > 10) & (margin < -0.99)
    outside = (columns < 10) | (rows < 10) | (margin > 0.99)
    values, mask = made.arrays["default"]
    np.testing.assert_array_equal(values[inside], noise(1, 100, 100)[inside])
    # the script runs there too, over zeros
    assert (values[outside] == 0).all()
    assert (mask[inside] == 8).all()
    assert (mask[outside] == 7).all()
    np.testing.assert_array_equal(made.mask, mask - 7)


@pytest.mark.parametrize(
    ("sample", "body", "want"),
    [
        ("AUTO", "return [s.B04 / 4 - 0.25]", [0, 0, 64, 128, 191, 255]),
        ("UINT8", "return [s.B04 * 100 - 50.5]", [0, 50, 150, 250, 255, 255]),
        ("UINT16", "return [s.B04 * 20000 - 20000.4]", [0, 0, 20000, 40000, 60000, 65535]),
        ("INT8", "return [s.B04 * -50 + 20]", [20, -30, -80, -128, -128, -128]),
        ("INT16", "return [s.B04 * -10000.6]", [0, -10001, -20001, -30002, -32768, -32768]),
        ("FLOAT32", "return [s.B04 / 3]", [0, 1 / 3, 2 / 3, 1, 4 / 3, 5 / 3]),
    ],
)
def test_numbers_are_rounded_and_kept_within_their_type(
    world: World, sample: str, body: str, want: list[float]
) -> None:
    world.scene("a", "2020-06-01", {"B04": [[0, 1, 2, 3, 4, 5]]})
    made = render(world.settings(), process_request(red_script(body, sample=sample)), utm(0, 0, 6, 1))
    dtype = {"AUTO": "uint8"}.get(sample, sample.lower())
    np.testing.assert_array_equal(made.arrays["default"][0, 0], np.array(want, dtype))


def test_outputs_say_their_bands_and_no_data(world: World) -> None:
    world.scene("a", "2020-06-01", {"B04": 5})
    script = red_script("return {one: [1, 2], two: [3]}").replace(
        'output: {bands: 1, sampleType: "UINT16"}',
        'output: [{id: "one", bands: ["x", "y"], sampleType: "INT16", nodataValue: -99}, {id: "two", bands: 1}]',
    )
    one, two = render(world.settings(), process_request(script), utm(0, 0, 4, 4)).raster.outputs
    assert (one.id, one.bands, one.band_names, one.sample_type, one.nodata) == ("one", 2, ("x", "y"), "int16", -99)
    assert (two.id, two.band_names, two.sample_type, two.nodata) == ("two", ("B0",), "uint8", None)


def test_scenes_that_the_script_leaves_out_are_not_read(world: World) -> None:
    for day in range(1, 7):
        world.scene(f"s{day}", f"2020-06-0{day}", {"B04": day})
    more = """
function preProcessScenes(collections) {
  collections.scenes.orbits = collections.scenes.orbits.filter(o => [2, 5].includes(new Date(o.dateFrom).getUTCDate()));
  return collections;
}
function updateOutput(output, collection) { output.default.bands = collection.scenes.length; }
"""
    script = red_script("return s.map(x => x.B04)", mosaicking="ORBIT", more=more)
    made = render(world.settings(), process_request(script), utm(0, 0, 12, 12))
    assert made.raster.outputs[0].bands == 2
    assert (made.arrays["default"] == np.array([5, 2])[:, None, None]).all()
    assert made.raster.counters["blocks"] == 2


def test_user_data_speaks_of_all_pixels(world: World) -> None:
    world.scene("a", "2020-06-01", {"B04": noise(1, 300, 200)})
    more = """
var seen = 0, sum = 0;
function updateOutputMetadata(scenes, inputMetadata, outputMetadata) { outputMetadata.userData = {seen, sum}; }
"""
    script = red_script("seen++; sum += s.B04; return [s.B04]", more=more)
    made = render(world.settings(unit_bytes=2**20), process_request(script), utm(0, 0, 200, 300))
    assert made.strips > 1
    assert made.raster.user_data == {"seen": 60_000, "sum": int(noise(1, 300, 200).sum(dtype=np.int64))}


def test_a_script_without_scenes_sees_zeros(world: World) -> None:
    world.scene("a", "2020-06-01", {"B04": 9})
    request = process_request(red_script("return [s.B04, 3 + s.dataMask]", bands=2))
    for grid in (utm(500, 500, 20, 20), RasterGrid(4326, 179.9, -10.0, 0.01, 0.01, 20, 20)):
        made = render(world.settings(), request, grid)
        assert (made.arrays["default"] == np.array([0, 3])[:, None, None]).all()
        assert not made.mask.any()
        assert made.raster.cost_pu == 0


def test_filters_of_time_and_clouds(world: World) -> None:
    for day, clouds in ((1, 5.0), (10, 90.0), (20, 30.0)):
        world.scene(f"s{day}", f"2020-06-{day:02}", {"B04": day}, cloud_cover=clouds)
    for keys, want in (
        ({}, 20),
        ({"maxCloudCoverage": 20}, 1),
        ({"timeRange": {"from": "2020-06-05T00:00:00Z", "to": "2020-06-15T00:00:00Z"}}, 10),
        ({"timeRange": {"to": "2020-06-05T00:00:00Z"}}, 1),
        ({"timeRange": None}, 20),
        ({"mosaickingOrder": "leastCC"}, 1),
    ):
        made = render(world.settings(), process_request(AS_IT_IS, **keys), utm(0, 0, 5, 5), lanes=1)
        assert (made.arrays["default"] == want).all(), keys


def test_two_sources_each_with_a_time_of_its_own(tmp_path: Path) -> None:
    first, second = World(tmp_path / "one"), World(tmp_path / "two")
    first.scene("a", "2020-06-03", {"B04": 11})
    first.scene("late", "2020-06-20", {"B04": 12})
    second.scene("b", "2019-01-03", {"B04": [[1, 2], [3, 0]]})
    settings = Settings(
        collections=tuple(
            CollectionSettings(type=kind, source=str(make_catalog(world.files, world.items)))
            for kind, world in (("sentinel-2-l2a", first), ("sentinel-2-l1c", second))
        ),
        dask=DaskSettings(workers=1),
        limits=LimitSettings(),
    )
    script = """//VERSION=3
function setup() {
  return {
    input: [{datasource: "new", bands: ["B04"], units: "DN"}, {datasource: "old", bands: ["B04", "dataMask"], units: "DN"}],
    output: {bands: 3, sampleType: "UINT8"}
  }
}
function evaluatePixel(s) { return [s.new[0].B04, s.old[0].B04, s.old[0].dataMask] }
"""
    data = [
        {"type": "sentinel-2-l2a", "id": "new", "dataFilter": {"timeRange": JUNE, "mosaickingOrder": "leastRecent"}},
        {
            "type": "S2L1C",
            "id": "old",
            "dataFilter": {"timeRange": {"from": "2019-01-01T00:00:00Z", "to": "2019-02-01T00:00:00Z"}},
        },
    ]
    made = render(settings, process_request(script, data=data), utm(0, 0, 2, 2))
    np.testing.assert_array_equal(made.arrays["default"], [[[11, 11], [11, 11]], [[1, 2], [3, 0]], [[1, 1], [1, 0]]])


def test_a_script_of_one_line(world: World) -> None:
    world.scene("a", "2020-06-01", {"B04": 2_500, "B08": 5_000})
    made = render(world.settings(), process_request("return [B04 * 2, B08]"), utm(0, 0, 3, 3))
    np.testing.assert_array_equal(made.arrays["default"][:, 0, 0], [128, 128])


def test_data_beyond_a_footprint_are_no_part_of_the_scene(world: World) -> None:
    item = world.scene("a", "2020-06-01", {"B04": noise(1, 400, 400)})
    west, south, east, north = item["bbox"]
    item["geometry"] = shapely.geometry.mapping(shapely.box(west, south, (west + east) / 2, north))
    made = render(world.settings(), process_request(AS_IT_IS), utm(0, 0, 400, 400))
    mask = made.mask.astype(bool)
    # the footprint, and a hundredth of its height around it
    assert mask[:, :203].all()
    assert not mask[:, 206:].any()


def test_where_a_scene_ends_every_image_knows(world: World) -> None:
    """Of an image beside the footprint, and of one that reaches into it, a cell just outside has the same number."""
    item = world.scene("a", "2020-06-01", {"B04": noise(1, 400, 400)})
    west, south, east, north = item["bbox"]
    item["bbox"][2] = (west + east) / 2
    item["geometry"] = shapely.geometry.mapping(shapely.box(west, south, item["bbox"][2], north))
    outside, across = utm(202, 100, 40, 40), utm(150, 100, 92, 40)
    one, other = (
        render(world.settings(), process_request(AS_IT_IS), grid).arrays["default"][0] for grid in (outside, across)
    )
    assert 0 < (one > 0).mean() < 0.5
    np.testing.assert_array_equal(one, other[:, 52:])


def test_a_raster_that_cannot_be_read_fails_the_image(two_granules: World) -> None:
    path = two_granules.files / "b" / "B08.tif"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(SourceError) as caught:
        render(two_granules.settings(), process_request(NDVI), utm(0, 0, 300, 160))
    assert "B08.tif" in caught.value.message


def test_a_failing_script_fails_the_image(world: World) -> None:
    world.scene("a", "2020-06-01", {"B04": noise(1, 200, 200)})
    with Engine(world.settings(unit_bytes=2**20), lanes=2) as engine:
        for body in ("throw new Error('no such luck')", "return undefinedName"):
            with pytest.raises(ScriptError):
                render_with(engine, process_request(red_script(body)), utm(0, 0, 200, 200))
        with pytest.raises(BandMissing):
            engine.process_strips(process_request(AS_IT_IS.replace("B04", "B02")), utm(0, 0, 9, 9))
        # the engine is as good as new
        made = render_with(engine, process_request(AS_IT_IS), utm(0, 0, 200, 200))
        np.testing.assert_array_equal(made.arrays["default"][0], noise(1, 200, 200))


def test_an_image_can_be_stopped_and_given_up(world: World) -> None:
    world.scene("a", "2020-06-01", {"B04": noise(1, 1500, 60)})
    with Engine(world.settings(unit_bytes=2**20), lanes=2) as engine:
        wanted = True
        raster = engine.process_strips(process_request(AS_IT_IS), utm(0, 0, 60, 1500), should_stop=lambda: not wanted)
        next(raster.strips)
        wanted = False
        with pytest.raises(Stopped):
            list(raster.strips)
        raster = engine.process_strips(process_request(AS_IT_IS), utm(0, 0, 60, 1500))
        next(raster.strips)
        raster.strips.close()  # type: ignore[attr-defined]
        made = render_with(engine, process_request(AS_IT_IS), utm(0, 0, 60, 1500))
        np.testing.assert_array_equal(made.arrays["default"][0], noise(1, 1500, 60))


def test_what_needs_no_scene_is_checked_at_once(world: World) -> None:
    world.scene("a", "2020-06-01", {"B04": 1})
    with Engine(world.settings(script_chars=1000)) as engine:
        engine.check_process(process_request(AS_IT_IS))
        with pytest.raises(RequestInvalid, match="no collection of type 'modis'"):
            engine.check_process(process_request(AS_IT_IS, data=[{"type": "modis"}]))
        with pytest.raises(RequestInvalid, match="before it starts"):
            engine.check_process(process_request(AS_IT_IS, timeRange={"from": JUNE["to"], "to": JUNE["from"]}))
        twice = [{"type": "sentinel-2-l2a", "id": "x"}] * 2
        with pytest.raises(RequestInvalid, match="same id"):
            engine.check_process(process_request(AS_IT_IS, data=twice))
        with pytest.raises(LimitExceeded, match="at most 1,000"):
            engine.check_process(process_request(AS_IT_IS + " " * 1000))
