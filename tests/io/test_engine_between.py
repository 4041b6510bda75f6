"""BILINEAR and BICUBIC in statistics: the numbers of the Process API's image over the same grid, whatever is cut how."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from pyproj import Transformer

from builders import make_request
from engines import LEFT, TOP, Run, World, run, value_script
from rasters import process_request, render_with
from swathe.engine import group_run
from swathe.engine.compute import Engine
from swathe.grids.cover import cover
from swathe.grids.raster_grid import RasterGrid
from swathe.grids.sample_grid import feature_grids
from swathe.model.common import Resampling
from swathe.model.statistical import Cover
from swathe.rasters.source import SourceGrid
from swathe.sampling import neighbours
from swathe.sampling.gather import gather_block, is_data
from swathe.sampling.interpolate import interpolate
from swathe.sampling.neighbours import find_neighbours
from swathe.sampling.places import Places

SIDE = 150
SCRIPT = value_script(body="return {v: [s.B04], dataMask: [s.dataMask]}")
ORBITS = value_script(
    mosaicking="ORBIT",
    body="let t = 0, n = 0; for (const x of s) if (x.dataMask) { n++; t += x.B04 } return {v: [t], dataMask: [n > 0]}",
)
METHODS = ["BILINEAR", "BICUBIC"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two scenes of one day that overlap, both with holes, and one of the next day."""
    made = World(tmp_path_factory.mktemp("between"))
    random = np.random.default_rng(5)

    def values() -> np.ndarray:
        some = random.integers(1, 4_000, (SIDE, SIDE), dtype=np.uint16)
        some[random.random((SIDE, SIDE)) < 0.05] = 0
        return some

    made.scene("a1", "2020-06-01T10:00:00Z", {"B04": values()})
    made.scene("b1", "2020-06-01T10:01:00Z", {"B04": values()}, origin=(LEFT + 1_010, TOP - 370))
    made.scene("a2", "2020-06-02T10:00:00Z", {"B04": values()})
    for path in made.files.rglob("B04.tif"):
        with rasterio.open(path, "r+") as file:
            file.build_overviews([2, 4], rasterio.enums.Resampling.average)
    return made


@pytest.fixture(scope="module")
def engines(world: World) -> Iterator[dict[int, Engine]]:
    made = {lanes: Engine(world.settings(), lanes=lanes) for lanes in (1, 3)}
    yield made
    for engine in made.values():
        engine.close()


def body(script: str = SCRIPT, *, end: str = "2020-06-03", **how: Any) -> dict[str, Any]:
    processing = {key: how.pop(key) for key in ("upsampling", "downsampling") if key in how}
    source = {"type": "sentinel-2-l2a", "processing": processing}
    if "width" not in how:
        how = {"resx": 4.0} | how
        how.setdefault("resy", how["resx"])
    return make_request(script, data=[source], end=f"{end}T00:00:00Z", **how)


def image(engine: Engine, request: dict[str, Any], polygon: shapely.Polygon, width: int, height: int) -> Any:
    """The pixels of the Process API's image of the first day on the polygon's box, with their mask."""
    west, south, east, north = polygon.bounds
    grid = RasterGrid(32633, west, north, (east - west) / width, (north - south) / height, width, height)
    day = {"from": "2020-06-01T00:00:00Z", "to": "2020-06-02T00:00:00Z"}
    made = render_with(
        engine,
        process_request(
            request["aggregation"]["evalscript"], timeRange=day, **request["input"]["data"][0]["processing"]
        ),
        grid,
    )
    return made.arrays["v"][0], made.arrays["dataMask"][0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("script", [SCRIPT, ORBITS], ids=["SIMPLE", "ORBIT"])
@pytest.mark.parametrize("cell", [(4, 8), (16, 16), (64, 64)], ids=["finer", "coarser", "overview"])
def test_statistics_of_a_box_are_those_of_the_image_over_it(
    world: World, engines: dict[int, Engine], method: str, script: str, cell: tuple[int, int]
) -> None:
    # sizes by which corners can be divided exactly: an image's corner counts to a millionth of a cell
    polygon = shapely.box(LEFT + 801, TOP - 1_219, LEFT + 1_633, TOP - 515)
    how, size = {"resx": cell[0], "resy": cell[1]}, (832 // cell[0], 704 // cell[1])
    world.parcels(polygon)
    request = body(script, **how, upsampling=method, downsampling=method)
    values, mask = image(engines[1], request, polygon, *size)
    kept = values[mask != 0].astype(np.float64)
    stats = run(world.settings(), world.geopackage, request, engine=engines[1]).stats()
    assert stats["sampleCount"] - stats["noDataCount"] == len(kept) > 100
    assert (stats["min"], stats["max"]) == (kept.min(), kept.max())
    assert stats["mean"] == pytest.approx(kept.mean(), rel=1e-12)
    assert stats["stDev"] == pytest.approx(kept.std(), rel=1e-12)
    nearest = run(world.settings(), world.geopackage, body(script, **how), engine=engines[1])
    assert abs(nearest.stats()["stDev"] - stats["stDev"]) > 10


def outline() -> shapely.Polygon:
    """Most of both granules, with a slanting edge, a hole and a corner beyond them."""
    corners = [(-60, 33), (700, -41), (2_520, 400), (1_900, 1_870), (910, 1_480), (21, 1_333)]
    hole = [(500, 500), (811, 520), (640, 777)]
    return shapely.Polygon([(LEFT + x, TOP - y) for x, y in corners], [[(LEFT + x, TOP - y) for x, y in hole]])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("degrees", [False, True])
def test_neither_neighbours_nor_lanes_nor_strips_change_a_feature(
    world: World, engines: dict[int, Engine], method: str, degrees: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(2)
    polygons = [outline()] + [
        shapely.Point(LEFT + x, TOP - y).buffer(r)
        for x, y, r in zip(
            random.uniform(0, 2_500, 30), random.uniform(0, 1_900, 30), random.uniform(5, 90, 30), strict=True
        )
    ]
    how: dict[str, Any] = {"resx": 7.0}
    if degrees:
        change = Transformer.from_crs(32633, 4326, always_xy=True)
        polygons = [
            shapely.transform(one, lambda xy: np.stack(change.transform(xy[:, 0], xy[:, 1]), axis=1))
            for one in polygons
        ]
        how = {"resx": 0.00008}
    epsg = 4326 if degrees else 32633
    request = body(**how, upsampling=method, downsampling=method)

    def compute(lanes: int, *, unit_bytes: int | None = None) -> Run:
        if unit_bytes is None:
            return run(world.settings(), world.geopackage, request, engine=engines[lanes])
        with Engine(world.settings(unit_bytes=unit_bytes), lanes=lanes) as engine:
            return run(world.settings(unit_bytes=unit_bytes), world.geopackage, request, engine=engine)

    world.parcels(*polygons, epsg=epsg)
    whole = compute(1)
    assert whole.days(1) == ["2020-06-01", "2020-06-02"]
    # cut among lanes, and neighbours numbered some at a time
    monkeypatch.setattr(group_run, "_LEAST_CUT_CELLS", 100)
    monkeypatch.setattr(neighbours, "_NUMBERED_AT_ONCE", 300)
    assert compute(3).data == whole.data
    cut = compute(1, unit_bytes=2**20)
    assert len(cut.analysis.units) > 1
    for key, document in whole.documents.items():
        for entry, other in zip(document["response"]["data"], cut.documents[key]["response"]["data"], strict=True):
            for name, value in entry["outputs"]["v"]["bands"]["B0"]["stats"].items():
                assert other["outputs"]["v"]["bands"]["B0"]["stats"][name] == pytest.approx(value, rel=1e-12)
    world.parcels(polygons[7], ids=[8], epsg=epsg)
    assert compute(1).data[8] == whole.data[8]


def test_each_block_is_read_once(world: World, engines: dict[int, Engine]) -> None:
    world.parcels(*(shapely.box(LEFT + x, TOP - 900, LEFT + x + 90, TOP - 20) for x in range(20, 900, 100)))
    read = run(world.settings(), world.geopackage, body(upsampling="BICUBIC"), engine=engines[1]).counter("blocks")
    plain = run(world.settings(), world.geopackage, body(), engine=engines[1]).counter("blocks")
    # three rows and columns of blocks of 32 pixels, of two scenes
    assert read == plain == 2 * 3 * 3


def test_upsampling_and_downsampling_go_by_each_features_cells(world: World, engines: dict[int, Engine]) -> None:
    small, large = shapely.box(LEFT + 3, TOP - 97, LEFT + 103, TOP - 1), shapely.box(LEFT, TOP - 870, LEFT + 870, TOP)
    size: dict[str, Any] = {"width": 30, "height": 30}
    found = {}
    for name, how in {
        "none": {}, "up": {"upsampling": "BILINEAR"}, "down": {"downsampling": "BICUBIC"},
        "both": {"upsampling": "BILINEAR", "downsampling": "BICUBIC"},
    }.items():  # fmt: skip
        world.parcels(small, large)
        found[name] = run(world.settings(), world.geopackage, body(**size, **how), engine=engines[1]).data
    assert found["up"][1] == found["both"][1] != found["none"][1] == found["down"][1]
    assert found["down"][2] == found["both"][2] != found["none"][2] == found["up"][2]


def test_there_is_nothing_between_classes(tmp_path: Path, engines: dict[int, Engine]) -> None:
    world = World(tmp_path)
    random = np.random.default_rng(1)
    world.scene("a", "2020-06-01", {"SCL": random.integers(1, 11, (60, 60), dtype=np.uint8)})
    world.parcels(shapely.box(LEFT + 33, TOP - 500, LEFT + 487, TOP - 31))
    script = value_script(bands=["SCL"], body="return {v: [s.SCL], dataMask: [s.dataMask]}")
    whole = world.run(body(script, upsampling="BILINEAR"))
    assert whole.stats()["stDev"] == world.run(body(script)).stats()["stDev"]


@pytest.mark.parametrize("method", [Resampling.BILINEAR, Resampling.BICUBIC])
@pytest.mark.parametrize(("pixel", "at_once"), [(10.0, 10**6), (10.0, 40), (0.3, 10**6), (47.0, 40)])
def test_neighbours_give_what_a_whole_image_gives(
    method: Resampling, pixel: float, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells finer than pixels, coarser, and so coarse that they share none; also at the borders of the source."""
    monkeypatch.setattr(neighbours, "_NUMBERED_AT_ONCE", at_once)
    random = np.random.default_rng(9)
    pixels = random.integers(0, 200, (61, 53)).astype(np.uint8)
    source = SourceGrid(32633, (pixel, 0.0, 100.0, 0.0, -pixel, 900.0), 53, 61)
    west, south, east, north = source.bounds
    shapes = np.array(
        [
            shapely.box(west - pixel, south - pixel, east + pixel, north + pixel),
            shapely.Point(west, north).buffer(9 * pixel),
            shapely.Point(west - 99 * pixel, north).buffer(pixel),
            shapely.Point(west + 31.3 * pixel, north - 32 * pixel).buffer(14 * pixel),
        ],
        object,
    )
    grids = feature_grids(shapely.bounds(shapes), 32633, resolution=(7.0, 3.7))
    cells = cover(shapes, grids, Cover.CENTRE)
    methods = np.array([method, method, method, Resampling.NEAREST], object)
    found = find_neighbours(cells, grids, source, 16, 16, methods, pieces=2)
    gathered = np.zeros(found.count, np.uint8)
    for place, (row, column) in enumerate(found.blocks.blocks.tolist()):
        block = pixels[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16]
        gather_block(block, found.blocks, place, gathered)
    values, mask = found.interpolate(gathered, is_data(gathered, 0), np.float32)
    assert mask.any()
    for feature, how in enumerate(methods.tolist()):
        begin, end = int(cells.starts[feature]), int(cells.starts[feature + 1])
        columns, rows = found.columns[begin:end], found.rows[begin:end]
        if how is Resampling.NEAREST:
            want = pixels[rows.astype(int), columns.astype(int)].astype(np.float32)
            want_mask = (want != 0).astype(np.uint8)
        else:
            want, want_mask = interpolate(
                pixels, is_data(pixels, 0), (0, 61, 0, 53), Places(columns[None], rows[None]), how, np.float32
            )
        np.testing.assert_array_equal(mask[begin:end], want_mask)
        np.testing.assert_array_equal(values[begin:end][want_mask != 0], want[want_mask != 0])
        part = found.within(begin, end)
        own = gathered[int(found.own[feature]) : int(found.own[feature + 1])]
        np.testing.assert_array_equal(part.interpolate(own, is_data(own, 0), np.float32)[0], values[begin:end])
