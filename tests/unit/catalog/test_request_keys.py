"""Keys of `dataFilter` and `processing` that only some collections have: what items answer, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from builders import SHARED_DATA
from swathe.catalog.definitions import read_definitions
from swathe.catalog.request_keys import SceneChoice, SourceKeys, check_keys
from swathe.catalog.scene import Scene, parse_item
from swathe.model.common import DataSource
from swathe.model.errors import RequestInvalid
from swathe.model.filters import Held

ITEMS = SHARED_DATA / "other" / "stac-items"
NAMED = "S1A_IW_GRDH_1SDV_20240419T045904_20240419T045916_053498_067DF2"


def make_scene(name: str = "s", assets: tuple[str, ...] = (), **properties: Any) -> Scene:
    item = {
        "id": name,
        "geometry": {"type": "Point", "coordinates": [14, 46]},
        "properties": {
            "datetime": "2020-06-01T00:00:00Z",
            **{key.replace("__", ":"): properties[key] for key in properties},
        },
        "assets": {key: {"href": f"{key}.tif"} for key in assets},
    }
    return parse_item(item, "/catalog/items.geojson")


def keys_of(type_: str, **holds: Any) -> SourceKeys:
    known = next((definition for definition in read_definitions() if definition.is_named(type_)), None)
    held = Held.model_validate(holds)
    if known is None:
        return SourceKeys(type_, None, held)
    return SourceKeys(known.type, known.keys, held.over(known.holds))


def chosen(type_: str, data_filter: Mapping[str, Any], *scenes: Scene, **holds: Any) -> list[str]:
    source = DataSource.model_validate({"type": type_, "dataFilter": data_filter})
    return [scene.id for scene in SceneChoice(source.data_filter).take(scenes, keys_of(type_, **holds))]


@pytest.mark.parametrize(
    ("key", "takes", "leaves", "told"),
    [
        ("orbitDirection", "ASCENDING", "DESCENDING", {"sat__orbit_state": "ascending"}),
        ("acquisitionMode", "IW", "EW", {"sar__instrument_mode": "IW"}),
        ("acquisitionMode", "SM", "IW", {"sar__instrument_mode": "S3"}),
        ("polarization", "DV", "DH", {"sar__polarizations": ["VV", "VH"]}),
        ("polarization", "DH", "SH", {"sar__polarizations": ["HH", "HV"]}),
        ("polarization", "SV", "DV", {"sar__polarizations": ["VV"]}),
        ("polarization", "VV", "VH", {"sar__polarizations": ["VV"]}),
        ("polarization", "SH", "HV", {"sar__polarizations": ["HH"]}),
        ("resolution", "MEDIUM", "HIGH", {"s1__resolution": "medium"}),
        ("resolution", "HIGH", "FULL", {"sar__instrument_mode": "IW"}),
        ("timeliness", "NRT3h", "Fast24h", {"s1__product_timeliness": "NRT-3h"}),
        ("timeliness", "Fast24h", "NRT3h", {"s1__timeliness": "Fast-24h"}),
    ],
)
def test_a_radar_scene_is_taken_by_what_its_item_says(
    key: str, takes: str, leaves: str, told: Mapping[str, Any]
) -> None:
    scene = make_scene(**told)
    assert chosen("S1GRD", {key: takes}, scene) == ["s"]
    assert chosen("S1GRD", {key: leaves}, scene) == []


def test_where_the_item_says_nothing_the_name_of_the_product_does() -> None:
    scenes = [make_scene(NAMED), make_scene(NAMED.replace("IW_GRDH_1SDV", "EW_GRDM_1SSH")), make_scene("other")]
    data_filter = {"acquisitionMode": "IW", "polarization": "DV", "resolution": "HIGH"}
    assert chosen("S1GRD", data_filter, *scenes) == [NAMED]
    assert chosen("S1GRD", {"polarization": "SH"}, *scenes) == [scenes[1].id]
    assert chosen("S1GRD", {"resolution": "MEDIUM"}, *scenes) == [scenes[1].id]
    assert chosen("S1GRD", {"polarization": "DV"}, make_scene(assets=("vv", "vh")), make_scene("one", ("VV",))) == ["s"]


def test_tiers_and_constellations_are_those_of_the_items() -> None:
    tiers = [make_scene(tier, landsat__collection_category=tier) for tier in ("T1", "T2", "RT")] + [make_scene("none")]
    assert chosen("LOTL2", {"tiers": "TIER_1"}, *tiers) == ["T1"]
    assert chosen("LOTL2", {"tiers": "TIER_1_AND_RT"}, *tiers) == ["T1", "RT"]
    assert chosen("LOTL2", {"tiers": "ALL_TIERS"}, *tiers) == ["T1", "T2", "RT", "none"]
    both = [
        make_scene("a", platform="sentinel-2a"),
        make_scene("b", platform="landsat-8"),
        make_scene("c", instruments=["OLI", "TIRS"]),
        make_scene("HLS.S30.T33TWN.2020"),
    ]
    assert chosen("hls", {"constellation": "SENTINEL"}, *both) == ["a", "HLS.S30.T33TWN.2020"]
    assert chosen("hls", {"constellation": "LANDSAT"}, *both) == ["b", "c"]


def test_keys_of_other_collections_are_left_aside_and_all_concern_own_types() -> None:
    up, down = (make_scene(state, sat__orbit_state=state) for state in ("ascending", "descending"))
    wanted = {"orbitDirection": "ASCENDING"}
    assert chosen("S2L2A", wanted, up, down) == ["ascending", "descending"]
    assert chosen("sentinel-3-slstr", wanted, up, down) == ["ascending"]
    assert chosen("byoc-radar", wanted, up, down) == ["ascending"]


def test_a_scene_that_does_not_answer_is_left_out_unless_the_collection_holds_it() -> None:
    up, silent = make_scene("up", sat__orbit_state="ascending"), make_scene("silent")
    wanted = {"orbitDirection": "ASCENDING"}
    assert chosen("S1GRD", wanted, up, silent) == ["up"]
    assert chosen("S1GRD", wanted, up, silent, orbitDirection="ASCENDING") == ["up", "silent"]
    assert chosen("S1GRD", wanted, up, silent, orbitDirection="DESCENDING") == ["up"]

    source = DataSource.model_validate({"type": "S1GRD", "dataFilter": wanted})
    choice, notes = SceneChoice(source.data_filter), list[str]()
    choice.take([up, silent], keys_of("S1GRD"))
    choice.check("S1GRD", "input->data[1]", notes)
    assert notes == ["1 of 2 scenes of 'S1GRD' do not say their orbitDirection and are left out"]
    choice, notes = SceneChoice(source.data_filter), list[str]()
    choice.take([make_scene("down", sat__orbit_state="descending")], keys_of("S1GRD"))
    choice.check("S1GRD", "input->data[1]", notes)
    assert notes == ["Of the 1 scenes of 'S1GRD' here dataFilter chooses none"]
    choice = SceneChoice(source.data_filter)
    choice.take([silent], keys_of("S1GRD"))
    with pytest.raises(RequestInvalid, match=r"None of the 1 scenes .* `holds.orbitDirection`") as raised:
        choice.check("S1GRD", "input->data[1]", notes)
    assert raised.value.parameter == "input->data[1]->dataFilter->orbitDirection"


@pytest.mark.parametrize(
    ("type_", "part", "asked", "holds", "refused"),
    [
        ("S1GRD", "processing", {"backCoeff": "GAMMA0_TERRAIN"}, {}, "backCoeff"),
        ("S1GRD", "processing", {"backCoeff": "GAMMA0_TERRAIN"}, {"backCoeff": "GAMMA0_TERRAIN"}, None),
        ("S1GRD", "processing", {"backCoeff": "GAMMA0_ELLIPSOID"}, {"backCoeff": "GAMMA0_TERRAIN"}, "backCoeff"),
        ("S1GRD", "processing", {"orthorectify": True}, {}, "orthorectify"),
        ("S1GRD", "processing", {"orthorectify": True}, {"orthorectify": True}, None),
        ("S1GRD", "processing", {"orthorectify": False}, {"orthorectify": True}, None),
        ("S1GRD", "processing", {"orthorectify": False, "demInstance": "MAPZEN"}, {}, None),
        ("S1GRD", "processing", {"orthorectify": True, "demInstance": "MAPZEN"}, {"orthorectify": True}, "demInstance"),
        ("S1GRD", "processing", {"radiometricTerrainOversampling": 2}, {}, None),
        ("S1GRD", "processing", {"speckleFilter": {"type": "NONE"}}, {}, None),
        (
            "S1GRD",
            "processing",
            {"speckleFilter": {"type": "LEE", "windowSizeX": 3, "windowSizeY": 3}},
            {},
            "speckleFilter",
        ),
        ("S3SLSTR", "processing", {"view": "NADIR"}, {}, None),
        ("S3SLSTR", "processing", {"view": "OBLIQUE"}, {}, "view"),
        ("S3SLSTR", "processing", {"view": "NADIR"}, {"view": "OBLIQUE"}, "view"),
        ("S5PL2", "processing", {"minQa": 75}, {}, "minQa"),
        ("S5PL2", "processing", {"minQa": 75}, {"minQa": 75}, None),
        ("DEM", "processing", {"egm": False, "clampNegative": False}, {}, None),
        ("DEM", "processing", {"egm": True}, {}, "egm"),
        ("DEM", "processing", {"egm": False}, {"egm": True}, "egm"),
        ("DEM", "processing", {"clampNegative": True}, {}, "clampNegative"),
        ("DEM", "dataFilter", {"demInstance": "COPERNICUS_30"}, {}, "demInstance"),
        ("DEM", "dataFilter", {"demInstance": "COPERNICUS_30"}, {"demInstance": "COPERNICUS_30"}, None),
        ("S2L2A", "processing", {"backCoeff": "BETA0", "egm": True, "view": "OBLIQUE"}, {}, None),
        ("byoc-heights", "processing", {"egm": True}, {}, "egm"),
        ("S1GRD", "processing", {"backCoeff": None, "orthorectify": None, "speckleFilter": None}, {}, None),
    ],
)
def test_other_numbers_than_the_files_hold_are_refused(
    type_: str, part: str, asked: Mapping[str, Any], holds: Mapping[str, Any], refused: str | None
) -> None:
    source = DataSource.model_validate({"type": type_, part: asked})
    if refused is None:
        check_keys(source, [keys_of(type_, **holds)], "input->data[0]")
        return
    with pytest.raises(RequestInvalid, match=f"^{refused} .* is not computed .* leave it out") as raised:
        check_keys(source, [keys_of(type_, **holds)], "input->data[0]")
    assert raised.value.parameter == f"input->data[0]->{part}->{refused}"


def test_of_several_sources_one_has_to_hold_all_that_is_asked_for() -> None:
    sources = [keys_of("S1GRD", backCoeff=name) for name in ("GAMMA0_TERRAIN", "SIGMA0_ELLIPSOID")]
    held = DataSource.model_validate({"type": "S1GRD", "processing": {"backCoeff": "SIGMA0_ELLIPSOID"}})
    check_keys(held, sources, "input->data[0]")
    assert [keys.refused(held) is None for keys in sources] == [False, True]
    other = DataSource.model_validate({"type": "S1GRD", "processing": {"backCoeff": "BETA0"}})
    with pytest.raises(RequestInvalid, match="its files hold GAMMA0_TERRAIN or SIGMA0_ELLIPSOID: ask for that"):
        check_keys(other, sources, "input->data[0]")


@pytest.mark.parametrize(
    ("prefix", "type_", "asked"),
    [
        (
            "planetary-computer__S1A_IW",
            "S1GRD",
            {
                **{"acquisitionMode": "IW", "polarization": "DV", "resolution": "HIGH"},
                **{"orbitDirection": "DESCENDING", "timeliness": "NRT3h"},
            },
        ),
        (
            "planetary-computer-sentinel-1-grd__S1C_EW",
            "S1GRD",
            {"acquisitionMode": "EW", "polarization": "DH", "resolution": "MEDIUM"},
        ),
        (
            "earth-search-v1-sentinel-1-grd",
            "S1GRD",
            {"acquisitionMode": "IW", "polarization": "DV", "resolution": "HIGH"},
        ),
        ("cdse-sentinel-1-grd", "S1GRD", {"acquisitionMode": "IW", "polarization": "DV", "resolution": "HIGH"}),
        ("planetary-computer__LC09_L2SP_089089", "LOTL2", {"tiers": "TIER_1"}),
        ("usgs-landsat__LE07", "LETML2", {"tiers": "TIER_1_AND_RT"}),
    ],
)
def test_real_items_answer(prefix: str, type_: str, asked: Mapping[str, str]) -> None:
    if not ITEMS.is_dir():
        pytest.skip("the folder with catalogs' real items is not here")
    (path,) = ITEMS.glob(f"{prefix}*.json")
    scene = parse_item(json.loads(path.read_text("utf-8")), "https://example.org/items/item.json")
    assert chosen(type_, asked, scene) == [scene.id]
