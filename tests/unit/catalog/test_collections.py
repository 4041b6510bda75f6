"""Shipped definitions, what settings change in them, and custom collections."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from swathe.catalog.collections import Collection, make_collection, resolve_band
from swathe.catalog.definitions import read_definitions
from swathe.catalog.scene import Scene, parse_item
from swathe.model.errors import BandMissing, RequestInvalid, SettingsInvalid
from swathe.settings import BandSettings, CollectionSettings

SQUARE = {"type": "Polygon", "coordinates": [[[3, 50], [4, 50], [4, 51], [3, 51], [3, 50]]]}
S2_BANDS = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]


def _scene(**assets: dict[str, Any]) -> Scene:
    listed = {
        key: {"href": f"{key}.tif", "type": "image/tiff", "roles": ["data"]} | asset for key, asset in assets.items()
    }
    properties = {"datetime": "2020-06-01T10:00:00Z"}
    return parse_item({"id": "x", "geometry": SQUARE, "properties": properties, "assets": listed}, "/d/x.json")


def _made(type_name: str, scenes: tuple[Scene, ...] = (), **settings: Any) -> Collection:
    return make_collection(CollectionSettings(type=type_name, source="/d", **settings), read_definitions(), scenes)


@pytest.mark.parametrize(
    ("name", "type_name"),
    [
        ("sentinel-2-l2a", "sentinel-2-l2a"),
        ("S2L2A", "sentinel-2-l2a"),
        ("s2l2a", "sentinel-2-l2a"),
        ("S2L1C", "sentinel-2-l1c"),
        ("Sentinel-2-L1C", "sentinel-2-l1c"),
    ],
)
def test_a_type_has_short_names_in_any_letter_case(name: str, type_name: str) -> None:
    assert _made(name).type == type_name


def test_sentinel_2_is_complete() -> None:
    l2a, l1c = _made("sentinel-2-l2a"), _made("sentinel-2-l1c")
    assert [name for name in l2a.bands if name.startswith("B")] == S2_BANDS
    assert [name for name in l1c.bands if name.startswith("B")] == [*S2_BANDS[:10], "B10", *S2_BANDS[10:]]
    for collection in (l2a, l1c):
        assert collection.normalization_factor == 0.0001
        assert resolve_band(collection, "B04")[1] == "REFLECTANCE"
        assert collection.bands["B04"].masks
        assert not collection.bands["CLM"].masks
    assert not l2a.bands["SCL"].masks
    assert l2a.bands["SCL"].units == {"DN": (1.0, 0.0)}
    assert {"AOT", "SCL", "SNW", "CLD", "CLP", "CLM", "viewZenithMean", "sunZenithAngles"} <= set(l2a.bands)
    assert (l2a.bands["B04"].resolution_m, l2a.bands["B8A"].resolution_m, l2a.bands["B01"].resolution_m) == (10, 20, 60)
    assert pickle.loads(pickle.dumps(l2a)) == l2a


def test_a_unit_is_named_in_any_letter_case() -> None:
    collection = _made("S2L2A")
    band, unit = resolve_band(collection, "B04", "dn")
    assert (band.name, unit, band.factors(unit)) == ("B04", "DN", (1.0, 0.0))
    assert resolve_band(collection, "AOT")[1] == "OPTICAL_DEPTH"


def test_an_unknown_band_or_unit_is_answered_with_those_there_are() -> None:
    collection = _made("byoc-1", bands={"red": BandSettings(), "nir": BandSettings()})
    with pytest.raises(BandMissing, match="Collection byoc-1 has no band 'B99'; it has: red, nir, dataMask"):
        resolve_band(collection, "B99")
    with pytest.raises(RequestInvalid, match="has no unit 'FURLONG'; it has: DN"):
        resolve_band(collection, "red", "FURLONG")


def test_a_custom_collections_bands_are_those_of_its_scenes() -> None:
    reflectance = {"raster:bands": [{"data_type": "uint16", "nodata": 0, "scale": 0.0001, "offset": 0}]}
    two = {"bands": [{"name": "VV", "nodata": -1, "data_type": "float32"}, {"name": "VH"}]}
    scenes = (_scene(B04=reflectance, dataMask={}), _scene(measurement=two, valid={}, thumb={"roles": ["thumbnail"]}))
    bands = _made("byoc-1", scenes, mask_asset="valid").bands
    assert {name: (band.assets, band.index) for name, band in bands.items()} == {
        "B04": (("B04",), 1),
        "VV": (("measurement",), 1),
        "VH": (("measurement",), 2),
    }
    assert bands["B04"].units == {"DN": (1.0, 0.0), "REFLECTANCE": (0.0001, 0.0)}
    assert bands["B04"].default_unit == "DN"
    assert (bands["B04"].nodata, bands["VV"].nodata, bands["VH"].nodata) == (0.0, -1.0, None)
    assert (bands["B04"].sample_format, bands["VV"].sample_format) == ("UINT16", "FLOAT32")
    assert bands["VH"].units == {"DN": (1.0, 0.0)}


def test_settings_change_bands_and_add_to_them() -> None:
    collection = _made(
        "sentinel-2-l2a",
        title="Ours",
        mask_asset="valid",
        nodata_is_nan=True,
        bands={
            "B04": BandSettings(asset="rot", nodata=5, mask=False),
            "LAI": BandSettings(asset=["lai", "LAI"], index=3, unit="m2/m2", scale=0.1, offset=-1, nodata="nan"),
            "B08": BandSettings(scale=0.5),
        },
    )
    assert (collection.title, collection.mask_asset, collection.nodata_is_nan) == ("Ours", "valid", True)
    red, lai, nir = (collection.bands[name] for name in ("B04", "LAI", "B08"))
    assert (red.assets, red.nodata, red.masks, red.default_unit) == (("rot",), 5.0, False, "REFLECTANCE")
    assert (lai.assets, lai.index, lai.default_unit) == (("lai", "LAI"), 3, "M2/M2")
    assert lai.factors("M2/M2") == (0.1, -1.0)
    assert lai.nodata != lai.nodata
    assert nir.factors("REFLECTANCE") == (0.5, 0.0)
    assert _made("sentinel-2-l2a").bands["B04"].assets[0] == "B04"


def test_a_type_that_nobody_knows_needs_bands() -> None:
    with pytest.raises(SettingsInvalid, match="'mystery' is not one that is shipped"):
        _made("mystery")
    assert list(_made("mystery", bands={"x": BandSettings()}).bands) == ["x"]
