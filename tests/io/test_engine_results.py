"""What the documents say, through the whole engine: counts, statistics, masks, grids, histograms, cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from pyproj import Transformer

from builders import make_request
from engines import LEFT, TOP, World, box, run, value_script
from swathe.model.errors import ScriptError

RAMP = np.arange(1, 145, dtype=np.uint16).reshape(12, 12)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def ramp(world: World) -> World:
    """One scene whose pixel in row r and column c is 12 r + c + 1."""
    world.scene("s", "2020-06-01", {"B04": RAMP})
    world.parcels(box(1, 1, 3, 2))
    return world


def test_a_document_is_shaped_as_published(ramp: World) -> None:
    ramp.parcels(box(1, 1, 3, 2), identifiers=["SI21.FOI.1"])
    calculations = {
        "default": {
            "statistics": {"default": {"percentiles": {"k": [33, 50, 75.5, 100]}}},
            "histograms": {"default": {"nBins": 2, "lowEdge": 10, "highEdge": 20}},
        }
    }
    found = ramp.run(make_request(value_script(), calculations=calculations))
    # the pixels are 14 15 16 and 26 27 28
    assert found.documents[1] == {
        "id": 1,
        "identifier": "SI21.FOI.1",
        "response": {
            "data": [
                {
                    "interval": {"from": "2020-06-01T00:00:00Z", "to": "2020-06-02T00:00:00Z"},
                    "outputs": {
                        "v": {
                            "bands": {
                                "B0": {
                                    "stats": {
                                        "min": 14.0,
                                        "max": 28.0,
                                        "mean": 21.0,
                                        "stDev": pytest.approx(np.std([14, 15, 16, 26, 27, 28])),
                                        "sampleCount": 6,
                                        "noDataCount": 0,
                                        "percentiles": {"33.0": 15.0, "50.0": 16.0, "75.5": 27.0, "100.0": 28.0},
                                    },
                                    "histogram": {
                                        "bins": [
                                            {"lowEdge": 10.0, "highEdge": 15.0, "count": 1},
                                            {"lowEdge": 15.0, "highEdge": 20.0, "count": 2},
                                        ],
                                        "overflowCount": 3,
                                        "underflowCount": 0,
                                    },
                                }
                            }
                        }
                    },
                }
            ],
            "status": "OK",
        },
    }


def test_an_identifier_is_left_out_where_there_is_none(ramp: World) -> None:
    assert list(ramp.run(make_request(value_script())).documents[1]) == ["id", "response"]


@pytest.mark.parametrize(
    ("sampling", "said"),
    [
        ({}, None),
        ({"grid": "feature", "cover": "service"}, None),
        ({"cover": "centre"}, {"grid": "feature", "cover": "centre"}),
        ({"grid": "source"}, {"grid": "source", "cover": "service"}),
    ],
)
def test_the_sampling_is_written_where_it_is_not_the_default(ramp: World, sampling: Any, said: Any) -> None:
    size = {} if sampling.get("grid") == "source" else {"resx": 10, "resy": 10}
    found = ramp.run(make_request(value_script(), sampling=sampling, **size))
    assert found.documents[1].get("sampling") == said
    assert found.means() == [21]
    ramp.parcels(
        shapely.Polygon([(LEFT, TOP), (LEFT + 10, TOP), (LEFT + 10, TOP - 10), (LEFT, TOP), (LEFT, TOP)]), None
    )
    failed = ramp.run(make_request(value_script(), sampling=sampling, **size)).documents[2]
    assert failed.get("sampling") == said


@pytest.mark.parametrize(
    ("size", "columns", "rows"),
    [
        ({"resx": 10, "resy": 10}, 3, 2),
        ({"resx": 5, "resy": 20}, 6, 1),
        ({"resx": 20, "resy": 9}, 2, 2),
        ({"resx": 1_000, "resy": 1_000}, 1, 1),
        ({"width": 7, "height": 5}, 7, 5),
        ({"sampling": {}}, 256, 256),
    ],
)
def test_the_sample_count_is_that_of_the_grid(ramp: World, size: dict[str, Any], columns: int, rows: int) -> None:
    found = ramp.run(make_request(value_script(), **size))
    assert found.stats()["sampleCount"] == columns * rows
    # nearest neighbour at the cells' centres: halves of pixels to the right and below
    x = 1 + (np.arange(columns) + 0.5) * 3 / columns
    y = 1 + (np.arange(rows) + 0.5) * 2 / rows
    seen = RAMP[np.ix_(y.astype(int), x.astype(int))]
    assert (found.stats()["min"], found.stats()["max"]) == (seen.min(), seen.max())
    assert found.stats()["mean"] == pytest.approx(seen.mean())


def test_cells_outside_the_polygon_are_counted_and_not_read(ramp: World) -> None:
    corner = shapely.Polygon([(LEFT, TOP), (LEFT + 40, TOP), (LEFT, TOP - 40)])
    ramp.parcels(corner)
    stats = ramp.run(make_request(value_script())).stats()
    # the diagonal cells are half covered and belong to it: 1 to 4, 13 to 15, 25, 26 and 37
    assert (stats["sampleCount"], stats["noDataCount"], stats["min"], stats["max"]) == (16, 6, 1, 37)
    assert stats["mean"] == np.mean([1, 2, 3, 4, 13, 14, 15, 25, 26, 37])


def test_pixels_without_data_are_no_samples(world: World) -> None:
    holed = RAMP.copy()
    holed[1, 1] = holed[2, 2] = 0
    world.scene("s", "2020-06-01", {"B04": holed})
    world.parcels(box(1, 1, 3, 2), box(1, 1, 1, 1), box(10, 10, 4, 4))
    found = world.run(make_request(value_script()))
    assert (found.stats()["noDataCount"], found.stats()["mean"]) == (2, np.mean([15, 16, 26, 28]))
    nothing = {"min": "NaN", "max": "NaN", "mean": "NaN", "stDev": "NaN", "sampleCount": 1, "noDataCount": 1}
    assert found.stats(2) == nothing
    # a feature that reaches beyond the raster
    assert (found.stats(3)["sampleCount"], found.stats(3)["noDataCount"]) == (16, 12)


def test_reflectance_follows_the_item(world: World) -> None:
    world.scene("old", "2020-06-01", {"B04": 3_000})
    world.scene("new", "2020-06-02", {"B04": 4_000}, offset=-0.1)
    world.parcels(box(1, 1))
    script = value_script().replace(', units: ["DN", "DN"]', "")
    assert world.run(make_request(script)).means() == pytest.approx([0.3, 0.3], rel=1e-7)
    assert world.run(make_request(value_script())).means() == [3_000, 3_000]


def test_bands_of_ten_and_twenty_metres(world: World) -> None:
    coarse = np.arange(1, 37, dtype=np.uint16).reshape(6, 6) * 1_000
    world.scene("s", "2020-06-01", {"B04": RAMP, "B11": coarse}, pixels={"B11": 20.0})
    world.parcels(box(1, 1, 2, 2))
    body = "return {v: [s.B04, s.B11, s.B11 + s.B04], dataMask: [s.dataMask]}"
    outputs = '{id: "v", bands: ["a", "b", "sum"], sampleType: TYPE}, {id: "dataMask", bands: 1}'
    script = value_script(bands=["B04", "B11"], body=body, outputs=outputs)
    for size in ({"resx": 10, "resy": 10}, {"sampling": {"grid": "source"}}):
        found = world.run(make_request(script, **size))
        assert found.stats(band="a")["mean"] == np.mean([14, 15, 26, 27])
        assert found.stats(band="b")["mean"] == np.mean([1_000, 2_000, 7_000, 8_000])
        assert found.stats(band="sum")["max"] == 8_027


# Masks


TWO = '{id: "v", bands: 1, sampleType: TYPE}, {id: "w", bands: 1, sampleType: TYPE}, {id: "dataMask", bands: MASK}'


@pytest.mark.parametrize(
    ("mask", "value", "counts"),
    [
        ("1", "[s.B04 > 20]", (3, 3)),
        ('["v", "w"]', "[s.B04 > 20, s.B04 > 26]", (3, 2)),
        ('["w"]', "[s.B04 > 20]", (6, 3)),
        ('["w", "other"]', "[s.B04 > 26, 0]", (6, 2)),
        ('["dataMask"]', "[s.B04 > 20]", (3, 3)),
        ('["mask"]', "[s.B04 > 20]", (3, 3)),
    ],
)
def test_data_mask_of_all_of_some_and_of_each_output(
    ramp: World, mask: str, value: str, counts: tuple[int, int]
) -> None:
    body = f"return {{v: [s.B04], w: [s.B04], dataMask: {value}}}"
    found = ramp.run(make_request(value_script(outputs=TWO.replace("MASK", mask), body=body)))
    valid = tuple(6 - found.stats(output=output)["noDataCount"] for output in ("v", "w"))
    assert valid == counts


@pytest.mark.parametrize(
    ("outputs", "reason"),
    [
        ('{id: "v", bands: 1}', "has no output 'dataMask'"),
        ('{id: "dataMask", bands: 1}', "has no output but dataMask"),
        ('{id: "v", bands: 1}, {id: "dataMask", bands: ["a", "b"]}', "name no output"),
    ],
)
def test_a_script_without_a_mask_or_outputs_is_refused(ramp: World, outputs: str, reason: str) -> None:
    with pytest.raises(ScriptError, match=reason):
        ramp.run(make_request(value_script(outputs=outputs)))


@pytest.mark.parametrize(
    ("calculations", "reason"),
    [
        ({"ndvi": {}}, r"names 'ndvi', but the script's outputs are v"),
        ({"dataMask": {}}, r"names 'dataMask', but the script's outputs are v"),
        ({"v": {"histograms": {"red": {"nBins": 2}}}}, r"names the band 'red', but that output has B0"),
        ({"v": {"statistics": {"B1": {}}}}, r"names the band 'B1', but that output has B0"),
    ],
)
def test_calculations_of_what_is_not_there_are_refused(ramp: World, calculations: Any, reason: str) -> None:
    with pytest.raises(ScriptError, match=reason):
        ramp.run(make_request(value_script(), calculations=calculations))


def test_which_calculation_serves_which_band(ramp: World) -> None:
    outputs = (
        '{id: "a", bands: ["x", "y"], sampleType: TYPE}, {id: "b", bands: ["x", "y"], sampleType: TYPE},'
        ' {id: "c", bands: ["x"], sampleType: TYPE}, {id: "dataMask", bands: 1}'
    )
    body = "return {a: [1, 2], b: [3, 4], c: [5], dataMask: [1]}"
    edges = {"bins": [0, 10]}
    calculations = {
        "default": {"histograms": {"default": edges}, "statistics": {"default": {"percentiles": {"k": [50]}}}},
        "a": {"histograms": {"x": edges}},
        "b": {"statistics": {"default": {"percentiles": {"k": [10]}}, "y": {"percentiles": {"k": [90]}}}},
    }
    found = ramp.run(make_request(value_script(outputs=outputs, body=body), calculations=calculations))
    seen = {}
    for output, bands in found.response()["data"][0]["outputs"].items():
        for band, result in bands["bands"].items():
            seen[output + band] = ("histogram" in result, list(result["stats"].get("percentiles", {})))
    assert seen == {
        "ax": (True, []),
        "ay": (False, []),
        "bx": (False, ["10.0"]),
        "by": (False, ["90.0"]),
        "cx": (True, ["50.0"]),
    }


# Histograms


def histogram(world: World, wanted: dict[str, Any], sample_type: str = "UINT8") -> dict[str, Any]:
    request = make_request(
        value_script(sample_type=sample_type), calculations={"v": {"histograms": {"default": wanted}}}
    )
    found: dict[str, Any] = world.run(request).response()["data"][0]["outputs"]["v"]["bands"]["B0"]["histogram"]
    return found


@pytest.mark.parametrize("sample_type", ["UINT8", "UINT16", "INT8", "INT16"])
def test_integer_edges_of_integer_samples_come_back_as_integers(ramp: World, sample_type: str) -> None:
    found = histogram(ramp, {"bins": [0, 15, 27, 30]}, sample_type)
    assert json.dumps(found["bins"]) == json.dumps(
        [
            {"lowEdge": 0, "highEdge": 15, "count": 1},
            {"lowEdge": 15, "highEdge": 27, "count": 3},
            {"lowEdge": 27, "highEdge": 30, "count": 2},
        ]
    )


@pytest.mark.parametrize(
    ("wanted", "sample_type", "edges"),
    [
        ({"bins": [0, 15.0, 30]}, "UINT8", "[0.0, 15.0, 30.0]"),
        ({"bins": [0, 15, 30]}, "FLOAT32", "[0.0, 15.0, 30.0]"),
        ({"nBins": 2, "lowEdge": 0, "highEdge": 30}, "UINT8", "[0, 15, 30]"),
        ({"nBins": 4, "lowEdge": 0, "highEdge": 30}, "UINT8", "[0.0, 7.5, 15.0, 22.5, 30.0]"),
        ({"nBins": 2}, "UINT8", "[14, 21, 28]"),
        ({"nBins": 2}, "FLOAT32", "[14.0, 21.0, 28.0]"),
        ({"binWidth": 10}, "UINT8", "[14, 24, 34]"),
        ({"binWidth": 10, "lowEdge": 0}, "UINT8", "[0, 10, 20, 30]"),
        ({"binWidth": 10, "highEdge": 20}, "UINT8", "[14, 20]"),
        ({"nBins": 2, "lowEdge": 100}, "UINT8", "[100, 100, 100]"),
        ({"nBins": 2, "highEdge": 10}, "UINT8", "[10, 10, 10]"),
    ],
)
def test_edges_of_histograms(ramp: World, wanted: dict[str, Any], sample_type: str, edges: str) -> None:
    found = histogram(ramp, wanted, sample_type)
    sides = [entry["lowEdge"] for entry in found["bins"]] + [found["bins"][-1]["highEdge"]]
    assert json.dumps(sides) == edges
    total = sum(entry["count"] for entry in found["bins"]) + found["underflowCount"] + found["overflowCount"]
    assert total == 6


def test_a_histogram_without_samples_has_counts_of_zero(world: World) -> None:
    world.scene("s", "2020-06-01", {"B04": 0})
    world.parcels(box(1, 1))
    found = histogram(world, {"bins": [0, 1, 2]})
    assert [entry["count"] for entry in found["bins"]] == [0, 0]
    assert (found["underflowCount"], found["overflowCount"]) == (0, 0)
    assert histogram(world, {"nBins": 3}) == {"bins": [], "overflowCount": 0, "underflowCount": 0}


# Cover and grids


def test_coverage_weighs_by_the_covered_part(ramp: World) -> None:
    # half of pixel (1, 1), all of (1, 2), a quarter of … in one row: 14, 15 and 16
    strip = shapely.box(LEFT + 15, TOP - 20, LEFT + 32.5, TOP - 10)
    ramp.parcels(strip)
    calculations = {
        "v": {
            "statistics": {"B0": {"percentiles": {"k": [25, 50, 90]}}},
            "histograms": {"B0": {"bins": [14, 15, 16, 17]}},
        }
    }
    sampling = {"grid": "source", "cover": "coverage"}
    found = ramp.run(make_request(value_script(), calculations=calculations, sampling=sampling))
    stats = found.stats()
    weights = np.array([0.5, 1, 0.25])
    values = np.array([14, 15, 16])
    mean = (weights * values).sum() / 1.75
    assert stats["weightSum"] == pytest.approx(1.75)
    assert stats["mean"] == pytest.approx(mean)
    assert stats["stDev"] == pytest.approx(np.sqrt((weights * (values - mean) ** 2).sum() / 1.75))
    assert (stats["min"], stats["max"], stats["sampleCount"], stats["noDataCount"]) == (14, 16, 3, 0)
    assert stats["percentiles"] == {"25.0": 14, "50.0": 15, "90.0": 16}
    bins = found.response()["data"][0]["outputs"]["v"]["bands"]["B0"]["histogram"]["bins"]
    assert [entry["count"] for entry in bins] == pytest.approx([0.5, 1, 0.25])


@pytest.mark.parametrize(("cover", "valid"), [("service", 6), ("centre", 4), ("all_touched", 6)])
def test_source_grids_are_windows_of_whole_pixels(ramp: World, cover: str, valid: int) -> None:
    ramp.parcels(shapely.box(LEFT + 18, TOP - 28, LEFT + 39, TOP - 12))
    stats = ramp.run(make_request(value_script(), sampling={"grid": "source", "cover": cover})).stats()
    assert stats["sampleCount"] == 6
    assert 6 - stats["noDataCount"] == valid


def lonlat(polygon: shapely.Polygon, epsg: int = 32633) -> shapely.Polygon:
    change = Transformer.from_crs(epsg, 4326, always_xy=True)
    return shapely.transform(polygon, lambda xy: np.stack(change.transform(xy[:, 0], xy[:, 1]), axis=1))


def test_source_grid_with_features_in_degrees(ramp: World) -> None:
    inside = shapely.box(LEFT + 11, TOP - 29, LEFT + 39, TOP - 11)
    ramp.parcels(lonlat(inside), epsg=4326)
    stats = ramp.run(make_request(value_script(), sampling={"grid": "source", "cover": "centre"})).stats()
    assert (stats["sampleCount"], stats["noDataCount"], stats["mean"]) == (6, 0, 21)
    coverage = ramp.run(make_request(value_script(), sampling={"grid": "source", "cover": "coverage"})).stats()
    assert coverage["weightSum"] == pytest.approx(28 * 18 / 100, abs=1e-4)


def zones(world: World) -> None:
    """A scene in zone 32 and one in zone 33, and a feature in degrees over each and over both."""
    west = Transformer.from_crs(4326, 32632, always_xy=True).transform(11.99, 46.0)
    east = Transformer.from_crs(4326, 32633, always_xy=True).transform(12.01, 46.0)
    big = np.full((200, 200), 1, np.uint16)
    world.scene("z32", "2020-06-01T09:00:00Z", {"B04": big}, epsg=32632, origin=(west[0] - 1_000, west[1] + 1_000))
    world.scene("z33", "2020-06-01T10:00:00Z", {"B04": big + 2}, epsg=32633, origin=(east[0] - 1_000, east[1] + 1_000))
    centres = [11.985, 12.015, 12.0]
    world.parcels(*[shapely.box(x - 0.0005, 45.9995, x + 0.0005, 46.0005) for x in centres], epsg=4326)


def test_source_grids_in_two_zones_in_one_file(world: World) -> None:
    zones(world)
    found = world.run(make_request(value_script(), sampling={"grid": "source", "cover": "coverage"}))
    area_m2 = 0.001 * 111_320 * np.cos(np.deg2rad(46)) * 0.001 * 111_150
    for feature, value in ((1, 1), (2, 3), (3, 3)):
        stats = found.stats(feature)
        assert (stats["min"], stats["max"]) == (value, value)
        assert stats["weightSum"] == pytest.approx(area_m2 / 100, rel=0.01)
    assert found.reports[0].failed == 0


def test_two_zones_over_features_in_a_third_crs(world: World) -> None:
    zones(world)
    change = Transformer.from_crs(4326, 3035, always_xy=True)
    shapes = [shapely.box(x - 0.0005, 45.9995, x + 0.0005, 46.0005) for x in (11.985, 12.015)]
    world.parcels(
        *[shapely.transform(s, lambda xy: np.stack(change.transform(xy[:, 0], xy[:, 1]), axis=1)) for s in shapes],
        epsg=3035,
    )
    found = world.run(make_request(value_script()))
    assert [found.means(1), found.means(2)] == [[1], [3]]


def test_source_grid_takes_the_finest_of_all_sources(world: World, tmp_path: Path) -> None:
    world.scene("coarse", "2020-06-01", {"B11": 5}, pixel=20.0)
    other = World(tmp_path / "other")
    other.scene("fine", "2020-06-01", {"B04": RAMP})
    script = """//VERSION=3
function setup() {
  return {input: [{datasource: "a", bands: ["B11"], units: "DN"}, {datasource: "b", bands: ["B04", "dataMask"], units: "DN"}],
    output: [{id: "v", bands: 2, sampleType: "FLOAT32"}, {id: "dataMask", bands: 1}]}
}
function evaluatePixel(s) { return {v: [s.a[0].B11, s.b[0].B04], dataMask: [s.b[0].dataMask]} }
"""
    settings = world.settings()
    more = other.settings(type_="sentinel-2-l1c")
    settings = settings.model_copy(update={"collections": settings.collections + more.collections})
    world.parcels(box(1, 1, 3, 2))
    data = [{"type": "sentinel-2-l2a", "id": "a"}, {"type": "sentinel-2-l1c", "id": "b"}]
    found = run(settings, world.geopackage, make_request(script, data=data, sampling={"grid": "source"}))
    assert (found.stats()["sampleCount"], found.stats()["mean"], found.stats(band="B1")["mean"]) == (6, 5, 21)


def test_source_grid_of_a_raster_that_is_turned_is_refused(world: World) -> None:
    import rasterio

    item = world.scene("s", "2020-06-01", {"B04": RAMP})
    turned = rasterio.Affine(0, 10, LEFT, 10, 0, TOP - 120)
    with rasterio.open(world.files / "s/B04.tif", "r+") as file:
        file.transform = turned
    item["assets"]["B04"]["proj:transform"] = list(turned)[:6]
    world.parcels(box(1, 1))
    found = world.run(make_request(value_script(), sampling={"grid": "source"}))
    assert found.documents[1]["response"] == {"data": None, "status": "FAILED"}
    assert "use 'feature' with resx and resy" in found.documents[1]["error"]["message"]
    # the feature's own grid is sampled as ever: x is the raster's row, y runs up its columns
    assert world.run(make_request(value_script())).stats()["min"] == RAMP.T[::-1][1:3, 1:3].min()


# Cost


@pytest.mark.parametrize(
    ("mosaicking", "bands", "samples"),
    [
        ("SIMPLE", ["B04"], 2),
        ("SIMPLE", ["B04", "B08"], 2),
        ("ORBIT", ["B04"], 3),
        ("TILE", ["B04", "B08"], 3),
        ("SIMPLE", [], 2),
    ],
)
def test_processing_units(world: World, mosaicking: str, bands: Sequence[str], samples: int) -> None:
    for name, when in (("a", "2020-06-01T10:00:00Z"), ("b", "2020-06-01T10:00:05Z"), ("c", "2020-06-02T10:00:00Z")):
        world.scene(name, when, {"B04": 1, "B08": 2})
    world.parcels(box(1, 1), box(2, 2), box(100, 100))
    body = "return {v: [1], dataMask: [1]}"
    request = make_request(value_script(bands=bands, mosaicking=mosaicking, body=body), width=256, height=512)
    found = world.run(request)
    one = (256 * 512) / (512 * 512) * max(1, len(bands)) / 3 * samples
    assert found.cost_pu == pytest.approx(2 * one)


def test_small_features_cost_the_least_area(ramp: World) -> None:
    assert ramp.run(make_request(value_script())).cost_pu == pytest.approx(0.01 / 3)
    found = ramp.run(make_request(value_script(), width=200, height=100))
    assert found.cost_pu == pytest.approx(20_000 / 262_144 / 3)


def test_scenes_that_the_script_drops_cost_nothing(world: World) -> None:
    for day in (1, 2, 3):
        world.scene(f"s{day}", f"2020-06-0{day}", {"B04": day})
    world.parcels(box(1, 1))
    keep = "function preProcessScenes(c) { c.scenes.orbits = c.scenes.orbits.slice(0, 1); return c }"
    script = value_script(mosaicking="ORBIT", body="return {v: [s.length], dataMask: [1]}", more=keep)
    assert world.run(make_request(script, of="P10D")).cost_pu == pytest.approx(0.01 / 3)


def test_a_data_mask_alone_is_a_band(ramp: World) -> None:
    script = value_script(bands=[], body="return {v: [s.dataMask * 9], dataMask: [s.dataMask]}")
    found = ramp.run(make_request(script))
    assert (found.means(), found.cost_pu) == ([9], pytest.approx(0.01 / 3))
