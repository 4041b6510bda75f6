"""What fails, fails where it belongs: an interval of a feature, a feature, a unit; and says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from builders import make_geopackage, make_request
from engines import LEFT, TOP, World, box, value_script
from swathe.engine.compute import Engine
from swathe.engine.values import Document, Stopped
from swathe.model.errors import BandMissing, LimitExceeded, RequestInvalid, ScriptError
from swathe.model.statistical import StatisticsRequest

RAMP = np.arange(1, 145, dtype=np.uint16).reshape(12, 12)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def three_days(world: World) -> World:
    for day in (1, 2, 3):
        world.scene(f"s{day}", f"2020-06-0{day}", {"B04": RAMP * day})
    world.parcels(box(0, 0, 2, 2), box(4, 4, 2, 2), box(8, 8, 2, 2))
    return world


# Scripts


def test_a_script_that_is_only_a_body_is_refused_in_words(three_days: World) -> None:
    with pytest.raises(ScriptError, match=r"neither setup\(\) nor evaluatePixel\(\), which the statistical services"):
        three_days.run(make_request("return [B04 / B08]"))


def test_a_script_that_throws_at_some_cells_fails_their_features_alone(three_days: World) -> None:
    body = "if (s.B04 == 53) throw new Error('no such crop'); return {v: [s.B04], dataMask: [1]}"
    found = three_days.run(make_request(value_script(body=body)))
    assert [found.response(f)["status"] for f in (1, 2, 3)] == ["OK", "PARTIAL", "OK"]
    first, *others = found.error(2)
    assert others == [None, None]
    assert first["type"] == "EXECUTION_ERROR"
    assert "no such crop" in first["message"]
    assert found.response(2)["data"][0].keys() == {"interval", "error"}
    assert found.means(2) == [None, 2 * np.mean([53, 54, 65, 66]), 3 * np.mean([53, 54, 65, 66])]
    assert found.means(1) == [np.mean([1, 2, 13, 14]) * day for day in (1, 2, 3)]
    assert (found.reports[0].done, found.reports[0].failed) == (3, 0)
    # nothing is charged for the interval that failed
    assert found.cost_pu == pytest.approx(0.01 / 3 * 8)


@pytest.mark.parametrize(("side", "told"), [(10, True), (0.0001, False)])
def test_metres_where_the_features_have_degrees_are_noted(world: World, side: float, told: bool) -> None:
    world.scene("s1", "2020-06-01", {"B04": RAMP})
    world.parcels(shapely.box(15.0, 46.0, 15.001, 46.001), epsg=4326)
    notes = world.run(make_request(value_script(), resx=side, resy=side)).analysis.notes
    assert any("10 degrees are some 1,11" in note and "EPSG:4326" in note for note in notes) == told


def test_a_script_that_throws_always_fails_every_feature(three_days: World) -> None:
    body = "throw new Error('never')"
    found = three_days.run(make_request(value_script(body=body)))
    for feature in (1, 2, 3):
        assert found.response(feature)["status"] == "FAILED"
        assert [error["type"] for error in found.error(feature)] == ["EXECUTION_ERROR"] * 3
    assert (found.reports[0].done, found.reports[0].failed, found.cost_pu) == (0, 3, 0)
    assert sorted(found.reports[0].failures) == [1, 2, 3]
    assert "never" in found.reports[0].failures[1]
    assert all(document.failure and "never" in document.failure for document in found.delivered)


def test_a_script_that_returns_nonsense_fails_the_interval(three_days: World) -> None:
    body = "return {v: [Symbol()], dataMask: [1]}"
    found = three_days.run(make_request(value_script(body=body), end="2020-06-02T00:00:00Z"))
    assert found.response()["status"] == "FAILED"
    assert found.error()[0]["type"] == "EXECUTION_ERROR"
    assert found.error()[0]["message"]


@pytest.mark.parametrize(
    ("body", "mean", "without"),
    [
        ("return {v: [s.B04]}", "NaN", 4),
        ("return {dataMask: [1]}", 0.0, 0),
        ("return null", "NaN", 4),
        ("return", "NaN", 4),
        ("return {v: [7, 2], dataMask: [1, 0]}", 7.0, 0),
        ("return {v: [], dataMask: [1]}", 0.0, 0),
        ("return {v: [null], dataMask: [true]}", 0.0, 0),
        ("return {v: [NaN], dataMask: [1]}", "NaN", 4),
        ("return {v: [1 / 0], dataMask: [1]}", "NaN", 4),
    ],
)
def test_what_a_script_leaves_out_is_zero(three_days: World, body: str, mean: Any, without: int) -> None:
    stats = three_days.run(make_request(value_script(body=body), end="2020-06-02T00:00:00Z")).stats()
    assert (stats["mean"], stats["noDataCount"], stats["sampleCount"]) == (mean, without, 4)


def test_a_script_that_never_ends_is_a_timeout(three_days: World) -> None:
    body = "while (s.B04 == 53); return {v: [s.B04], dataMask: [1]}"
    limits = {"script_setup_s": 0.5, "script_evaluate_s": 0.5, "script_s_per_million_cells": 0.5}
    found = three_days.run(make_request(value_script(body=body), end="2020-06-02T00:00:00Z"), **limits)
    assert [found.response(f)["status"] for f in (1, 2, 3)] == ["OK", "FAILED", "OK"]
    assert found.error(2)[0]["type"] == "TIMEOUT"


@pytest.mark.parametrize("script", ["not a script {", "function setup() { throw new Error('x') }", "x"])
def test_a_script_that_cannot_be_set_up_fails_the_analysis(three_days: World, script: str) -> None:
    with pytest.raises(ScriptError):
        three_days.run(make_request(script))


def test_too_many_bins_fail_the_features_whose_values_ask_for_them(world: World) -> None:
    values = RAMP.copy()
    values[4, 4] = 60_000
    world.scene("s", "2020-06-01", {"B04": values})
    world.parcels(box(0, 0), box(4, 4), box(8, 8))
    calculations: dict[str, Any] = {"v": {"histograms": {"B0": {"binWidth": 1, "lowEdge": 0}}}}
    found = world.run(make_request(value_script(), calculations=calculations), histogram_bins=1_000)
    assert [found.response(f)["status"] for f in (1, 2, 3)] == ["OK", "FAILED", "OK"]
    assert "60,000 bins; at most 1,000 are allowed" in found.error(2)[0]["message"]
    calculations["v"]["histograms"]["B0"]["binWidth"] = 1e-310
    found = world.run(make_request(value_script(), calculations=calculations), histogram_bins=1_000)
    assert "bins; at most 1,000 are allowed" in found.error(2)[0]["message"]


# Rasters


def test_a_raster_that_is_missing_fails_the_interval(three_days: World) -> None:
    (three_days.files / "s2/B04.tif").unlink()
    found = three_days.run(make_request(value_script()))
    for feature in (1, 2, 3):
        assert found.response(feature)["status"] == "PARTIAL"
        assert found.error(feature)[1]["type"] == "EXECUTION_ERROR"
        assert "s2/B04.tif" in found.error(feature)[1]["message"]
        assert found.means(feature)[1] is None
        assert found.means(feature)[2] == 3 * found.means(feature)[0]


@pytest.mark.parametrize("damage", ["head", "block", "short", "empty"])
def test_a_raster_that_is_corrupt_fails_the_interval(three_days: World, damage: str) -> None:
    path = three_days.files / "s2/B04.tif"
    content = bytearray(path.read_bytes())
    if damage == "head":
        content[:8] = b"GARBAGE!"
    elif damage == "block":
        at = content.index(b"\x78", 200) if b"\x78" in content[200:] else len(content) - 60
        content[at : at + 40] = b"\xff" * len(content[at : at + 40])
    elif damage == "short":
        content = content[: len(content) - 50]
    else:
        content = bytearray()
    path.write_bytes(content)
    found = three_days.run(make_request(value_script()))
    assert found.response()["status"] == "PARTIAL"
    assert found.error()[0] is None
    assert found.error()[1]["type"] == "EXECUTION_ERROR"
    assert "s2/B04.tif" in found.error()[1]["message"]


@pytest.mark.parametrize("mosaicking", ["SIMPLE", "ORBIT", "TILE"])
def test_a_broken_raster_fails_the_features_that_need_it_and_no_others(world: World, mosaicking: str) -> None:
    east = (LEFT + 120, TOP)
    world.scene("west", "2020-06-01", {"B04": 10})
    world.scene("east", "2020-06-01", {"B04": 20}, origin=east)
    (world.files / "east/B04.tif").write_bytes(b"nothing")
    world.parcels(box(2, 2), box(18, 2), box(11, 2), box(4, 4))
    body = (
        "return {v: [s.B04], dataMask: [s.dataMask]}"
        if mosaicking == "SIMPLE"
        else "return {v: [s[0].B04], dataMask: [1]}"
    )
    found = world.run(make_request(value_script(mosaicking=mosaicking, body=body)))
    assert len(found.analysis.units) == 1
    assert [found.response(f)["status"] for f in (1, 2, 3, 4)] == ["OK", "FAILED", "FAILED", "OK"]
    assert (found.means(1), found.means(4)) == ([10], [10])


def test_a_broken_raster_beneath_a_full_one_is_not_missed(world: World) -> None:
    """Nor is it by a feature whose neighbour in the unit does need it."""
    top = RAMP.copy()
    top[8:, 8:] = 0
    world.scene("top", "2020-06-01T11:00:00Z", {"B04": top})
    world.scene("below", "2020-06-01T10:00:00Z", {"B04": RAMP})
    (world.files / "below/B04.tif").unlink()
    world.parcels(box(0, 0), box(8, 8))
    found = world.run(make_request(value_script()))
    assert [found.response(f)["status"] for f in (1, 2)] == ["OK", "FAILED"]


def test_one_broken_raster_among_many_features_costs_little_more_reading(world: World) -> None:
    world.scene("west", "2020-06-01", {"B04": np.full((64, 64), 1)})
    world.scene("east", "2020-06-01", {"B04": np.full((64, 64), 1)}, origin=(LEFT + 640, TOP))
    (world.files / "east/B04.tif").unlink()
    good = [box(x, y) for y in range(0, 60, 6) for x in range(0, 60, 6)]
    bad = [box(x, y) for y in range(0, 60, 5) for x in range(66, 120, 4)]
    world.parcels(*good, *bad)
    found = world.run(make_request(value_script()), workers=1)
    assert [found.response(f)["status"] for f in range(1, 101)] == ["OK"] * 100
    assert {found.response(f)["status"] for f in range(101, 101 + len(bad))} == {"FAILED"}
    # of the 4 blocks of the good one some are read again, not for every feature
    assert found.counter("blocks") <= 4 * 3 * len(found.analysis.units)


def test_source_grid_where_the_first_scene_is_broken(three_days: World) -> None:
    (three_days.files / "s3/B04.tif").unlink()
    found = three_days.run(make_request(value_script(), sampling={"grid": "source"}))
    assert found.means() == [np.mean([1, 2, 13, 14]), 2 * np.mean([1, 2, 13, 14]), None]


def test_a_band_that_no_scene_has_fails_the_analysis(three_days: World) -> None:
    with pytest.raises(
        BandMissing, match="None of the 3 scenes of collection 'sentinel-2-l2a' in this time has the band B08"
    ):
        three_days.run(make_request(value_script(bands=["B04", "B08"])))
    with pytest.raises(BandMissing, match="has no band 'B99'; it has: "):
        three_days.run(make_request(value_script(bands=["B99"])))


def test_scenes_that_lack_a_band_are_left_out_and_counted(three_days: World) -> None:
    three_days.scene("s4", "2020-06-04", {"B08": 5})
    found = three_days.run(make_request(value_script()))
    assert found.days() == ["2020-06-01", "2020-06-02", "2020-06-03"]
    assert found.analysis.notes == ("1 of 4 scenes of 'sentinel-2-l2a' lack the band B04 and are left out",)


def test_no_scene_at_all_is_noted_and_gives_empty_answers(three_days: World) -> None:
    found = three_days.run(make_request(value_script(), start="2021-01-01T00:00:00Z", end="2021-02-01T00:00:00Z"))
    assert found.analysis.notes == ("Collection 'sentinel-2-l2a' has no scene over the features in this time",)
    assert [found.response(f) for f in (1, 2, 3)] == [{"data": [], "status": "OK"}] * 3
    assert found.cost_pu == found.analysis.cost_pu == 0
    found = three_days.run(
        make_request(
            value_script(), start="2021-01-01T00:00:00Z", end="2021-02-01T00:00:00Z", sampling={"grid": "source"}
        )
    )
    assert [found.response(f) for f in (1, 2, 3)] == [{"data": [], "status": "OK"}] * 3


def test_no_data_that_does_not_fit_the_raster(world: World) -> None:
    for name, nodata in (("nan", "nan"), ("far", -9999), ("inf", "inf")):
        item = world.scene(name, f"2020-06-0{len(name) + len(world.items)}", {"B04": RAMP})
        item["assets"]["B04"]["nodata"] = nodata
    world.parcels(box(0, 0))
    found = world.run(make_request(value_script()))
    assert found.means() == [np.mean([1, 2, 13, 14])] * 3


# Features


def test_bad_features_are_failed_documents_and_the_job_goes_on(three_days: World) -> None:
    bowtie = shapely.Polygon([(LEFT, TOP), (LEFT + 20, TOP - 20), (LEFT + 20, TOP), (LEFT, TOP - 20)])
    three_days.parcels(box(0, 0), bowtie, None, shapely.Polygon(), box(4, 4), identifiers=list("abcde"))
    found = three_days.run(make_request(value_script()))
    assert sorted(found.documents) == [1, 2, 3, 4, 5]
    for key, letter, reason in ((2, "b", "not valid: Self-intersection"), (3, "c", "NULL"), (4, "d", "is empty")):
        document = found.documents[key]
        assert (document["id"], document["identifier"]) == (key, letter)
        assert document["response"] == {"data": None, "status": "FAILED"}
        assert document["error"]["type"] == "BAD_REQUEST"
        assert reason in document["error"]["message"]
    assert found.means(1)[0] == np.mean([1, 2, 13, 14])
    assert (sum(r.done for r in found.reports), sum(r.failed for r in found.reports)) == (2, 3)


def test_only_bad_features_are_a_job_of_failed_documents(three_days: World) -> None:
    bowtie = shapely.Polygon([(LEFT, TOP), (LEFT + 20, TOP - 20), (LEFT + 20, TOP), (LEFT, TOP - 20)])
    three_days.parcels(bowtie, bowtie)
    found = three_days.run(make_request(value_script()))
    assert [found.response(f)["status"] for f in (1, 2)] == ["FAILED", "FAILED"]
    assert found.analysis.scenes == 0


@pytest.mark.parametrize("resolution", [1e-1, 1e-9, 1e-300])
def test_a_grid_over_the_limit_is_a_failed_document_with_both_numbers(three_days: World, resolution: float) -> None:
    small = shapely.box(LEFT, TOP - 1, LEFT + 1, TOP)
    three_days.parcels(box(0, 0, 10, 6), small)
    found = three_days.run(make_request(value_script(), resx=resolution, resy=resolution), side_cells=100)
    error = found.documents[1]["error"]
    assert error["type"] == "BAD_REQUEST"
    if resolution == 1e-1:
        assert "1,000 x 600 cells; at most 100 a side are allowed" in error["message"]
        assert found.response(2)["status"] == "OK"
    else:
        assert "at most 100 a side are allowed; use a larger resx and resy" in error["message"]
        assert found.response(2)["status"] == "FAILED"


def test_a_source_grid_over_the_limit(three_days: World) -> None:
    found = three_days.run(make_request(value_script(), sampling={"grid": "source"}), side_cells=1)
    assert "2 x 2 cells; at most 1 a side" in found.documents[1]["error"]["message"]


@pytest.mark.parametrize("sampling", [{"grid": "feature"}, {"grid": "source"}])
def test_features_beyond_the_earth_lie_outside_all_scenes(world: World, sampling: Any) -> None:
    world.scene("s", "2020-06-01", {"B04": RAMP})
    far = shapely.box(1e12, 1e12, 1e12 + 20, 1e12 + 20)
    size = {"resx": 10, "resy": 10} if sampling["grid"] == "feature" else {}
    world.parcels(far, box(0, 0))
    found = world.run(make_request(value_script(), sampling=sampling, **size))
    assert found.response(1) == {"data": [], "status": "OK"}
    assert found.means(2) == [np.mean([1, 2, 13, 14])]
    world.parcels(shapely.box(15, 95, 16, 100), shapely.box(400, 10, 401, 11), epsg=4326)
    size = {"resx": 0.01, "resy": 0.01} if sampling["grid"] == "feature" else {}
    found = world.run(make_request(value_script(), sampling=sampling, **size))
    assert [found.response(f) for f in (1, 2)] == [{"data": [], "status": "OK"}] * 2


def test_slivers_without_cells_have_no_samples(three_days: World) -> None:
    sliver = shapely.Polygon([(LEFT, TOP), (LEFT + 100, TOP - 100), (LEFT + 100, TOP - 99.99)])
    for cover in ("service", "centre", "all_touched", "coverage"):
        three_days.parcels(sliver, box(0, 0))
        found = three_days.run(make_request(value_script(), resx=10, resy=10, sampling={"cover": cover}))
        assert found.response(1)["status"] == "OK"
        assert found.stats(1)["sampleCount"] == 100
        assert found.means(2)[0] == np.mean([1, 2, 13, 14])
    three_days.parcels(sliver)
    found = three_days.run(make_request(value_script()))
    assert found.stats(1)["noDataCount"] == 100


def test_a_footprint_that_crosses_itself_is_no_obstacle(world: World) -> None:
    item = world.scene("s", "2020-06-01", {"B04": RAMP})
    west, south, east, north = item["bbox"]
    item["geometry"]["coordinates"] = [[[west, south], [east, north], [east, south], [west, north], [west, south]]]
    world.parcels(box(0, 4), box(5, 0))
    found = world.run(make_request(value_script()))
    assert [found.response(f)["status"] for f in (1, 2)] == ["OK", "OK"]


# Requests


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"end": "2019-01-01T00:00:00Z"}, "aggregation->timeRange", "swap the two"),
        ({"of": "PT1H"}, "aggregation->aggregationInterval->of", "shorter than a day"),
        ({"of": "P1Y"}, "aggregation->aggregationInterval", "No interval of P1Y fits into the time range"),
        ({"width": 12_001, "height": 1}, "aggregation->width", "width is 12,001; at most 12,000"),
        ({"end": "9999-01-01T00:00:00Z"}, "aggregation->timeRange", "more than 20,000 intervals"),
        (
            {"data": [{"type": "landsat"}]},
            "input->data[0]->type",
            "no collection of type 'landsat'; it has: sentinel-2-l2a",
        ),
        (
            {"data": [{"type": "sentinel-2-l2a", "id": "a"}, {"type": "sentinel-2-l2a", "id": "a"}]},
            "input->data",
            "Two data sources have the same id",
        ),
        (
            {"data": [{"type": "sentinel-2-l2a", "dataFilter": {"timeRange": {"from": "June"}}}]},
            "input->data[0]->dataFilter->timeRange->from",
            "'June' is no ISO 8601 time",
        ),
        (
            {"calculations": {"v": {"histograms": {"B0": {"nBins": 10_001}}}}},
            "calculations->v->histograms->B0",
            "has 10,001 bins; at most 10,000",
        ),
        (
            {"calculations": {"v": {"histograms": {"B0": {"binWidth": 0.001, "lowEdge": 0, "highEdge": 100}}}}},
            "calculations->v->histograms->B0",
            "has 100,000 bins; at most 10,000",
        ),
        (
            {"calculations": {"v": {"statistics": {"B0": {"percentiles": {"k": [50.0] * 1_001}}}}}},
            "calculations->v->statistics->B0",
            "1,001 percentiles; at most 1,000",
        ),
        (
            {"calculations": {"v": {"histograms": {"B0": {"binWidth": 1e-300, "lowEdge": -1e308, "highEdge": 1e308}}}}},
            "calculations->v->histograms->B0",
            "bins; at most 10,000",
        ),
        ({"script": "x" * 500_001}, "aggregation->evalscript", "500,001 characters; at most 500,000"),
    ],
)
def test_what_is_refused_before_any_work(three_days: World, changes: dict[str, Any], field: str, reason: str) -> None:
    request = StatisticsRequest.model_validate(make_request(changes.pop("script", value_script()), **changes))
    with Engine(three_days.settings()) as engine, pytest.raises(RequestInvalid) as told:
        engine.check(request)
    assert told.value.parameter == field
    assert reason in told.value.message


def test_more_features_than_allowed_fail_the_analysis(three_days: World) -> None:
    with pytest.raises(LimitExceeded, match="has 3 features; at most 2 are allowed"):
        three_days.run(make_request(value_script()), features=2)


# Stopping


def test_a_unit_that_is_told_to_stop_delivers_no_more(three_days: World) -> None:
    request = StatisticsRequest.model_validate(make_request(value_script()))
    with Engine(three_days.settings()) as engine:
        analysis = engine.analyse(request, three_days.geopackage)
        unit = engine.make_unit(request, analysis, three_days.geopackage, 0)
        for calls in (0, 1, 3):
            delivered: list[Document] = []
            asked = iter([False] * calls + [True] * 1_000)
            with pytest.raises(Stopped):
                engine.run(unit, deliver=delivered.extend, should_stop=lambda asked=asked: next(asked))
            assert delivered == []
        # and the same unit may run afterwards
        engine.run(unit, deliver=delivered.extend)
        assert sorted(document.feature_id for document in delivered) == [1, 2, 3]


def test_progress_grows_to_the_whole(three_days: World) -> None:
    request = StatisticsRequest.model_validate(make_request(value_script()))
    told: list[float] = []
    with Engine(three_days.settings()) as engine:
        analysis = engine.analyse(request, three_days.geopackage)
        unit = engine.make_unit(request, analysis, three_days.geopackage, 0)
        engine.run(unit, deliver=lambda documents: None, on_progress=told.append)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)
    assert all(0 <= fraction <= 1 + 1e-12 for fraction in told)


def test_a_failing_delivery_is_not_swallowed(three_days: World) -> None:
    request = StatisticsRequest.model_validate(make_request(value_script()))

    def full(documents: Any) -> None:
        raise OSError("disk full")

    with Engine(three_days.settings()) as engine:
        analysis = engine.analyse(request, three_days.geopackage)
        unit = engine.make_unit(request, analysis, three_days.geopackage, 0)
        with pytest.raises(OSError, match="disk full"):
            engine.run(unit, deliver=full)


def test_a_geopackage_that_changed_is_read_anew(three_days: World) -> None:
    request = StatisticsRequest.model_validate(make_request(value_script()))
    with Engine(three_days.settings()) as engine:
        assert engine.analyse(request, three_days.geopackage).features == 3
        make_geopackage(three_days.folder / "other.gpkg", [box(0, 0)] * 5)
        (three_days.folder / "other.gpkg").replace(three_days.geopackage)
        assert engine.analyse(request, three_days.geopackage).features == 5
