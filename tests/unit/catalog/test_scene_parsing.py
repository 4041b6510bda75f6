"""STAC items of every vintage, and where they keep a band."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from swathe.catalog.collections import Collection
from swathe.catalog.definitions import read_definitions
from swathe.catalog.scene import Scene, parse_item, resolve_href
from swathe.model.errors import SourceError
from swathe.rasters.source import SourceGrid

SQUARE = {"type": "Polygon", "coordinates": [[[3, 50], [4, 50], [4, 51], [3, 51], [3, 50]]]}


def _item(properties: dict[str, Any] | None = None, **assets: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": "one",
        "geometry": SQUARE,
        "bbox": [3, 50, 4, 51],
        "properties": {"datetime": "2020-06-01T10:00:00Z"} | (properties or {}),
        "assets": assets,
    }


def _l2a() -> Collection:
    return next(collection for collection in read_definitions() if collection.type == "sentinel-2-l2a")


def _tif(**more: Any) -> dict[str, Any]:
    return {"href": "./B04.tif", "type": "image/tiff; application=geotiff", "roles": ["data"]} | more


def _stac_items() -> list[Path]:
    for folder in Path(__file__).resolve().parents:
        found = folder.parent / "shared" / "data" / "other" / "stac-items"
        if found.is_dir():
            return sorted(found.glob("*.json"))
    return []


STAC_1_0 = _tif(**{"raster:bands": [{"nodata": 0, "scale": 0.0001, "offset": -0.1}], "eo:bands": [{"name": "red"}]})
STAC_1_1 = _tif(**{"bands": [{"name": "B04"}], "nodata": 0, "raster:scale": 0.0001, "raster:offset": -0.1})
BANDS_1_1 = _tif(bands=[{"name": "B04", "nodata": 0, "raster:scale": 0.0001, "raster:offset": -0.1}])
BETA = _tif(**{"eo:bands": [0]})


@pytest.mark.parametrize(
    ("asset", "said"),
    [
        (STAC_1_0, (0.0, 0.0001, -0.1)),
        (STAC_1_1, (0.0, 0.0001, -0.1)),
        (BANDS_1_1, (0.0, 0.0001, -0.1)),
        (BETA, (0, None, None)),
    ],
)
def test_scale_offset_and_no_data_of_each_version_of_stac(asset: dict[str, Any], said: tuple[Any, ...]) -> None:
    source = parse_item(_item(B04=asset), "/data/one.json").asset_for(_l2a().bands["B04"])
    assert source is not None
    assert (source.nodata, source.scale, source.offset) == said
    assert (source.index, source.asset.href) == (1, "/data/B04.tif")


@pytest.mark.parametrize(
    ("properties", "factors"),
    [
        ({}, (0.0001, -0.1)),
        ({"earthsearch:boa_offset_applied": False}, (0.0001, -0.1)),
        ({"earthsearch:boa_offset_applied": True}, (0.0001, 0.0)),
    ],
)
def test_an_offset_that_the_numbers_already_have_is_not_applied_again(properties: Any, factors: Any) -> None:
    scene = parse_item(_item(properties, red=STAC_1_0), "/data/one.json")
    band = _l2a().bands["B04"]
    source = scene.asset_for(band)
    assert band.factors("REFLECTANCE", source) == factors
    assert band.factors("DN", source) == (1.0, factors[1] * 10_000)
    assert replace(band, harmonized=False).factors("DN", source) == (1.0, 0.0)


def test_an_item_that_says_nothing_has_the_definitions_factors() -> None:
    band = _l2a().bands["B04"]
    source = parse_item(_item(B04=BETA), "/data/one.json").asset_for(band)
    assert band.factors("REFLECTANCE", source) == (0.0001, 0.0)


def test_a_band_is_found_by_any_of_its_names_and_inside_files_of_many_bands() -> None:
    band = _l2a().bands["B8A"]
    many = _tif(href="all.tif", bands=[{"name": "B05"}, {"name": "B8A", "raster:scale": 0.5}])
    for assets, key, index in (
        ({"nir08": STAC_1_0}, "nir08", 1),
        ({"B8A_20m": STAC_1_1, "nir08": STAC_1_0}, "B8A_20m", 1),
        ({"bands": many}, "bands", 2),
    ):
        source = parse_item(_item(**assets), "s3://b/x/one.json").asset_for(band)
        assert source is not None
        assert (source.key, source.index) == (key, index)
    assert parse_item(_item(B04=STAC_1_0), "/data/one.json").asset_for(band) is None


def test_where_pixels_lie_is_the_assets_word_before_the_items() -> None:
    properties = {"proj:code": "EPSG:32631", "proj:shape": [48, 64], "proj:transform": [10, 0, 5e5, 0, -10, 5e6]}
    own = {"proj:shape": [24, 32], "proj:transform": [20, 0, 5e5, 0, -20, 5e6, 0, 0, 1]}
    scene = parse_item(_item(properties, a=_tif(), b=_tif(**own), c=_tif(**{"proj:epsg": 32632})), "/d/one.json")
    assert scene.assets["a"].grid == SourceGrid(32631, (10, 0, 5e5, 0, -10, 5e6), 64, 48)
    assert scene.assets["b"].grid == SourceGrid(32631, (20, 0, 5e5, 0, -20, 5e6), 32, 24)
    assert scene.assets["c"].grid == SourceGrid(32632, (10, 0, 5e5, 0, -10, 5e6), 64, 48)
    without = parse_item(_item({"proj:epsg": None, "proj:shape": [0, 1]}, a=_tif()), "/d/one.json")
    assert without.assets["a"].grid is None


@pytest.mark.parametrize(
    ("href", "base", "found"),
    [
        ("./x.tif", "/data/a/one.json", "/data/a/x.tif"),
        ("../x.tif", "/data/a/one.json", "/data/x.tif"),
        ("x.tif", "file:///data/a%20b/one.json", "/data/a b/x.tif"),
        ("file:///data/a%20b/x.tif", "/data/one.json", "/data/a b/x.tif"),
        ("/other/x.tif", "/data/a/one.json", "/other/x.tif"),
        ("s3://b/x.tif", "/data/a/one.json", "s3://b/x.tif"),
        ("../x.tif", "s3://b/a/c/one.json", "s3://b/a/x.tif"),
        ("../../../x.tif", "s3://b/a/one.json", "s3://b/x.tif"),
        ("/x.tif", "s3://b/a/one.json", "s3://b/x.tif"),
        ("x y.tif", "s3://b/a/one.json", "s3://b/a/x y.tif"),
        ("../x.tif", "https://h/a/c/one.json", "https://h/a/x.tif"),
        ("https://h/x.tif", "s3://b/a/one.json", "https://h/x.tif"),
    ],
)
def test_a_files_address_is_relative_to_its_item(href: str, base: str, found: str) -> None:
    assert resolve_href(href, base) == found


def test_a_catalog_from_elsewhere_names_no_files_of_this_machine() -> None:
    for base in ("s3://b/one.json", "https://h/one.json"):
        with pytest.raises(SourceError, match="may not name files of this machine"):
            resolve_href("file:///etc/passwd", base)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": None}, "without an id"),
        ({"geometry": None}, "one .* has no geometry"),
        ({"geometry": {"type": "Polygon", "coordinates": "x"}}, "geometry that cannot be used"),
        ({"geometry": {"type": "Nonsense"}}, "geometry that cannot be used"),
        ({"geometry": {"type": "Polygon", "coordinates": []}}, "geometry that cannot be used"),
        ({"properties": None}, "has no properties"),
        ({"properties": {"datetime": None}}, "no usable datetime"),
        ({"properties": {"datetime": "yesterday"}}, "no usable datetime"),
    ],
)
def test_a_broken_item_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        parse_item(_item() | change, "/data/broken.json")
    assert "/data/broken.json" in caught.value.message


def test_an_item_may_lack_assets_box_and_cloud_cover() -> None:
    scene = parse_item({key: value for key, value in _item().items() if key not in ("assets", "bbox")}, "/d/one.json")
    assert (scene.assets, scene.cloud_cover, scene.bbox) == ({}, None, (3, 50, 4, 51))


def test_times_are_aware_and_a_range_counts_from_its_start() -> None:
    for properties, hour in (({"datetime": "2020-06-01T12:00:00+02:00"}, 10), ({"datetime": "2020-06-01T09:00:00"}, 9)):
        assert parse_item(_item(properties), "/d/x").datetime == datetime(2020, 6, 1, hour, tzinfo=UTC)
    properties = {"datetime": None, "start_datetime": "2020-05-01T00:00:00Z"}
    assert parse_item(_item(properties), "/d/x").datetime == datetime(2020, 5, 1, tzinfo=UTC)


def test_a_scene_survives_json_and_pickle() -> None:
    odd = _tif(**{"raster:bands": [{"nodata": "nan", "data_type": "float32"}, {"nodata": "-inf", "scale": 1 / 3}]})
    properties = {"datetime": "2020-06-01T10:00:00.123456Z", "eo:cloud_cover": 12.5, "platform": "sentinel-2a"}
    scene = parse_item(_item(properties, x=odd, B04=STAC_1_1), "/data/one.json", "byoc-1")
    assert Scene.from_json(json.loads(json.dumps(scene.to_json(), allow_nan=False))) == scene
    assert pickle.loads(pickle.dumps(scene)).to_json() == scene.to_json()
    footprint = scene.footprint
    assert footprint is not None
    assert footprint.area == 1.0


@pytest.mark.skipif(not _stac_items(), reason="the shared test data are not beside this checkout")
def test_items_of_well_known_catalogs_are_understood() -> None:
    red = _l2a().bands["B04"]
    factors = {}
    for path in _stac_items():
        item = json.loads(path.read_text())
        if item["type"] != "Feature":
            continue
        scene = parse_item(item, str(path))
        assert scene.datetime.tzinfo is UTC
        assert any(asset.is_data for asset in scene.assets.values()), path.name
        assert Scene.from_json(json.loads(json.dumps(scene.to_json(), allow_nan=False))) == scene
        if (source := scene.asset_for(red)) is not None:
            factors[path.stem] = (source.key, *red.factors("REFLECTANCE", source))
    named = [(*name.split("__"), found) for name, found in factors.items()]
    earth_search = {scene_id: found for catalog, scene_id, found in named if catalog == "earth-search-v1"}
    assert earth_search == {
        "S2A_12RWT_20240106_0_L2A": ("red", 0.0001, 0.0),
        "S2A_32TMS_20221207_0_L2A": ("red", 0.0001, 0.0),
        "S2A_33TWN_20161202_0_L2A": ("red", 0.0001, 0.0),
        "S2A_33TWN_20210629_0_L2A": ("red", 0.0001, 0.0),
        "S2A_33TWN_20220122_0_L2A": ("red", 0.0001, 0.0),
        "S2B_33TWN_20180806_0_L2A": ("red", 0.0001, 0.0),
        "S2B_33TWN_20220130_0_L2A": ("red", 0.0001, 0.0),
        "S2B_33TWN_20220226_0_L2A": ("red", 0.0001, -0.1),  # the one whose numbers lack the offset
    }
    by_catalog = {catalog: found for catalog, _, found in named}
    assert by_catalog["cdse-sentinel-2-l2a"] == ("B04_10m", 0.0001, -0.1)
    assert by_catalog["earth-search-v0"] == ("B04", 0.0001, 0.0)
    assert by_catalog["sinergise-s2-l2a-jp2"] == ("red", 0.0001, -0.1)
    assert by_catalog["usgs-landsat"][0] == "red"
