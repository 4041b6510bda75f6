"""The collections that ship: every documented band in its units, as catalogs list them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from builders import SHARED_DATA
from swathe.catalog.collections import (
    BandDefinition,
    Collection,
    make_collection,
    parse_definition,
    resolve_band,
)
from swathe.catalog.definitions import read_definitions
from swathe.catalog.scene import Asset, AssetBand, BandSource, Scene, parse_item
from swathe.model.errors import BandMissing, RequestInvalid, SourceError
from swathe.settings import BandSettings, CollectionSettings

ITEMS = SHARED_DATA / "other" / "stac-items"


def find(name: str) -> Collection:
    (found,) = [collection for collection in read_definitions() if collection.is_named(name)]
    return found


def published() -> dict[str, dict[str, tuple[str, ...]]]:
    """Units of every band, by collection, as the published package has them; its default unit first."""
    data_collections = pytest.importorskip("sentinelhub").DataCollection
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for collection in data_collections.get_available_collections():
        definition = collection.value
        if definition.api_id is None or not (definition.bands or definition.metabands):
            continue
        bands = found.setdefault(definition.api_id, {})
        for band in (*(definition.bands or ()), *(definition.metabands or ())):
            if band.name != "dataMask":
                bands[band.name] = tuple(unit.value for unit in band.units)
    return found


def test_every_band_of_the_published_package_is_there_with_its_units() -> None:
    known = published()
    assert len(known) == 16
    for type_, bands in known.items():
        collection = find(type_)
        assert collection.type == type_
        for name, units in bands.items():
            band = collection.bands[name]
            assert band.default_unit == units[0], (type_, name)
            assert set(units) <= set(band.units), (type_, name)


def test_units_beyond_the_published_ones_are_few_and_known() -> None:
    extra = {
        (type_, name): tuple(set(find(type_).bands[name].units) - set(units))
        for type_, bands in published().items()
        for name, units in bands.items()
        if set(find(type_).bands[name].units) > set(units)
    }
    assert extra == {
        ("sentinel-2-l2a", "CLD"): ("DN",),
        ("sentinel-2-l2a", "SNW"): ("DN",),
        **{("sentinel-5p-l2", name): ("MOL_M2",) for name in ("CO", "HCHO", "NO2", "O3", "SO2")},
    }


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("S1GRD", "sentinel-1-grd"),
        ("S2L1C", "sentinel-2-l1c"),
        ("S2L2A", "sentinel-2-l2a"),
        ("S3OLCI", "sentinel-3-olci"),
        ("S3SLSTR", "sentinel-3-slstr"),
        ("S5PL2", "sentinel-5p-l2"),
        ("DEM", "dem"),
        ("MODIS", "modis"),
        ("HLS", "hls"),
        ("L8L1C", "landsat-ot-l1"),
        ("LOTL1", "landsat-ot-l1"),
        ("LOTL2", "landsat-ot-l2"),
        ("LTML1", "landsat-tm-l1"),
        ("LTML2", "landsat-tm-l2"),
        ("LETML1", "landsat-etm-l1"),
        ("LETML2", "landsat-etm-l2"),
        ("LMSSL1", "landsat-mss-l1"),
        ("Sentinel-5P-L2", "sentinel-5p-l2"),
    ],
)
def test_names_that_requests_use(name: str, type_: str) -> None:
    assert find(name).type == type_


def test_no_name_means_two_collections() -> None:
    names = [name.casefold() for known in read_definitions() for name in {known.type, *known.aliases}]
    assert len(names) == len(set(names))


def test_no_key_of_a_collection_means_two_bands() -> None:
    for collection in read_definitions():
        keys = [(key, band.index) for band in collection.bands.values() for key in band.assets]
        assert len(keys) == len(set(keys)), collection.type


def test_landsat_has_nan_where_there_is_no_data_and_the_others_zero() -> None:
    assert {known.type for known in read_definitions() if known.nodata_is_nan} == {
        known.type for known in read_definitions() if known.type.startswith("landsat-")
    }


@pytest.mark.parametrize(
    ("type_", "band", "unit", "factors"),
    [
        ("landsat-ot-l2", "B04", None, (0.0000275, -0.2)),
        ("landsat-ot-l2", "B10", None, (0.00341802, 149.0)),
        ("landsat-tm-l2", "B06", "surface_temperature", (0.00341802, 149.0)),
        ("landsat-etm-l2", "SR_ATMOS_OPACITY", None, (0.001, 0.0)),
        ("landsat-ot-l2", "ST_EMIS", None, (0.0001, 0.0)),
        ("landsat-ot-l1", "SZA", None, (0.01, 0.0)),
        ("landsat-ot-l1", "BQA", None, (1.0, 0.0)),
        ("hls", "Red", None, (0.0001, 0.0)),
        ("hls", "Red", "DN", (1.0, 0.0)),
        ("hls", "ThermalInfrared1", None, (0.01, 273.15)),
        ("modis", "B07", None, (0.0001, 0.0)),
        ("dem", "DEM", None, (1.0, 0.0)),
        ("sentinel-1-grd", "VV", "LINEAR_POWER", (1.0, 0.0)),
        ("sentinel-2-l1c", "B8A", None, (0.0001, 0.0)),
        ("sentinel-2-l2a", "AOT", None, (0.001, 0.0)),
    ],
)
def test_factors(type_: str, band: str, unit: str | None, factors: tuple[float, float]) -> None:
    definition, wanted = resolve_band(find(type_), band, unit)
    assert definition.factors(wanted) == factors


def source(scale: float | None, offset: float | None = None) -> BandSource:
    return BandSource("B04", Asset("B04.tif", bands=(AssetBand(scale=scale, offset=offset),)), 1, 0, scale, offset)


def test_what_an_item_declares_goes_first_for_reflectance() -> None:
    band = find("landsat-ot-l2").bands["B04"]
    assert band.factors("REFLECTANCE", source(0.5, 0.25)) == (0.5, 0.25)
    assert band.factors("REFLECTANCE", source(None)) == (0.0000275, -0.2)
    temperature = find("landsat-ot-l2").bands["B10"]
    assert temperature.factors("SURFACE_TEMPERATURE", source(0.5, 0.25)) == (0.00341802, 149.0)


def test_level_1_reflectance_is_the_items_or_the_configurations() -> None:
    band = find("landsat-ot-l1").bands["B04"]
    assert band.factors("REFLECTANCE", source(0.00002, -0.1)) == (0.00002, -0.1)
    with pytest.raises(SourceError, match="band B04 to REFLECTANCE; give the band `unit`, `scale` and `offset`"):
        band.factors("REFLECTANCE", source(None))
    settings = CollectionSettings(
        type="LOTL1", source="x", bands={"B04": BandSettings(scale=0.00002, offset=-0.1, unit="REFLECTANCE")}
    )
    own = make_collection(settings, read_definitions()).bands["B04"]
    assert own.factors("REFLECTANCE", source(3.0)) == (0.00002, -0.1)
    # catalogs declare radiance for MSS, which is no reflectance
    with pytest.raises(SourceError):
        find("landsat-mss-l1").bands["B01"].factors("REFLECTANCE", source(0.88504, 1.51496))


def test_a_definition_may_leave_most_things_out() -> None:
    found = parse_definition(
        {
            "type": "x",
            "title": "X",
            "bands": {"a": {}, "b": {"units": "power", "nodata": 0}},
            "units": {"power": {"W": {"scale": 2}, "DN": {"scale": 1}}},
        }
    )
    assert found.bands["a"] == BandDefinition("a", ("a",))
    assert (found.bands["b"].default_unit, found.bands["b"].factors("W")) == ("W", (2.0, 0.0))
    assert found.bands["b"].item_units == ()


def test_a_missing_band_and_a_wrong_unit_are_named() -> None:
    with pytest.raises(BandMissing, match="Collection sentinel-1-grd has no band 'B04'; it has: VV, VH"):
        resolve_band(find("S1GRD"), "B04")
    with pytest.raises(
        RequestInvalid, match="Band 'VV' of collection sentinel-1-grd has no unit 'DN'; it has: LINEAR_POWER"
    ):
        resolve_band(find("S1GRD"), "VV", "DN")


def read_item(prefix: str) -> Scene:
    if not ITEMS.is_dir():
        pytest.skip("the folder with catalogs' real items is not here")
    (path,) = sorted(ITEMS.glob(f"{prefix}*.json"))[:1]
    item: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return parse_item(item, "https://example.org/items/item.json")


OPTICAL = ("B01", "B02", "B03", "B04", "B05", "B06", "B07")


@pytest.mark.parametrize(
    ("prefix", "type_", "bands"),
    [
        ("planetary-computer__LC09", "landsat-ot-l2", "*"),
        ("usgs-landsat__LC08", "landsat-ot-l2", (*OPTICAL, "BQA", "QA_RADSAT", "SR_QA_AEROSOL")),
        ("usgs-landsat-beta__LC08", "landsat-ot-l2", (*OPTICAL, "BQA", "QA_RADSAT", "SR_QA_AEROSOL")),
        (
            "usgs-landsat__LE07",
            "landsat-etm-l2",
            ("B01", "B02", "B03", "B04", "B05", "B07", "BQA", "QA_RADSAT", "SR_ATMOS_OPACITY", "SR_CLOUD_QA"),
        ),
        ("planetary-computer__LM05", "landsat-mss-l1", "*"),
        ("cdse-sentinel-1-grd", "sentinel-1-grd", ("VV", "VH")),
        ("earth-search-v1-sentinel-1-grd", "sentinel-1-grd", ("VV", "VH")),
        ("planetary-computer__S1A", "sentinel-1-grd", ("VV", "VH")),
        ("planetary-computer-sentinel-1-grd__S1C_EW", "sentinel-1-grd", ("HH", "HV")),
        ("planetary-computer__Copernicus_DSM", "dem", "*"),
        ("cdse-sentinel-2-l2a__S2B", "sentinel-2-l2a", ("B01", "B04", "B8A", "B12", "SCL", "AOT")),
        ("earth-search-v1__S2A_12RWT", "sentinel-2-l2a", ("B01", "B04", "B8A", "B12", "SCL")),
        ("earth-search-v0__", "sentinel-2-l2a", ("B01", "B04", "B8A", "B12", "SCL")),
        ("planetary-computer__S2B", "sentinel-2-l2a", ("B01", "B04", "B8A", "B12", "SCL")),
        ("stactools-safe__S2A_T46RER", "sentinel-2-l1c", ("B01", "B04", "B8A", "B10", "B12")),
    ],
)
def test_bands_are_found_in_items_of_real_catalogs(prefix: str, type_: str, bands: Any) -> None:
    scene, collection = read_item(prefix), find(type_)
    wanted = list(collection.bands) if bands == "*" else bands
    lacking = [name for name in wanted if scene.asset_for(collection.bands[name]) is None]
    assert lacking == []


def test_factors_of_a_real_item_are_those_of_the_definition() -> None:
    scene, collection = read_item("planetary-computer__LC09"), find("landsat-ot-l2")
    for name, band in collection.bands.items():
        place = scene.asset_for(band)
        assert place is not None
        if place.scale is not None:
            assert band.factors(band.default_unit) == (place.scale, place.offset or 0.0), name
        if place.nodata is not None:
            assert band.nodata == place.nodata, name


@pytest.mark.parametrize(
    ("prefix", "factors"),
    [
        ("planetary-computer__S2B", (0.0001, -0.1)),  # baseline 05.10, of whose offset the item says nothing
        ("planetary-computer-2021", (0.0001, 0.0)),  # baseline 02.12
        ("earth-search-v1__S2A_12RWT", (0.0001, 0.0)),  # 05.10, the offset applied already
        ("earth-search-v1__S2B_33TWN_20220226", (0.0001, -0.1)),  # 04.00, still to be applied
        ("cdse-sentinel-2-l2a__S2B", (0.0001, -0.1)),
    ],
)
def test_reflectance_of_a_catalogs_item_is_that_of_its_baseline(prefix: str, factors: tuple[float, float]) -> None:
    scene, band = read_item(prefix), find("sentinel-2-l2a").bands["B04"]
    place = scene.asset_for(band)
    assert band.factors("REFLECTANCE", place) == factors
    assert replace(band, harmonized=False).factors("REFLECTANCE", place) == factors
    assert band.factors("DN", place) == (1.0, factors[1] * 10_000)
    mask = find("sentinel-2-l2a").bands["SCL"]
    assert mask.factors("DN", scene.asset_for(mask)) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("properties", "offset"),
    [
        ({"s2:processing_baseline": "04.00"}, -0.1),
        ({"s2:processing_baseline": "05.11"}, -0.1),
        ({"s2:processing_baseline": "03.01"}, 0.0),
        ({"s2:processing_baseline": "05.00", "sentinel:boa_offset_applied": True}, 0.0),
        ({"s2:processing_baseline": "unknown"}, 0.0),
        ({}, 0.0),
    ],
)
def test_the_baseline_tells_the_offset_where_the_item_does_not(properties: Any, offset: float) -> None:
    scene = Scene(
        "S", "", datetime(2022, 2, 1, tzinfo=UTC), None, (0, 0, 1, 1), None, {"B04": Asset("B04.tif")}, properties
    )
    band = find("sentinel-2-l2a").bands["B04"]
    assert band.factors("REFLECTANCE", scene.asset_for(band)) == (0.0001, offset)
    entry = CollectionSettings(type="S2L2A", source="x", bands={"B04": BandSettings(scale=0.0001, unit="REFLECTANCE")})
    own = make_collection(entry, read_definitions()).bands["B04"]
    assert own.factors("REFLECTANCE", scene.asset_for(own)) == (0.0001, 0.0)  # the configuration goes first
