"""GeoPackages of Batch Processing V2: layers, CRSs, sizes, identifiers, and what a wrong one is told."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest
import shapely
from pyproj import Transformer

from builders import SHARED_DATA
from swathe.features.areas import Area, open_areas, read_areas
from swathe.grids.aoi import make_aoi
from swathe.model.errors import FeaturesInvalid, LimitExceeded
from swathe.model.process import FeatureDefaults

SQUARE = shapely.box(500_000, 5_000_000, 500_600, 5_000_400)


def write(path: Path, layer: str, epsg: int = 32633, shapes: Any = (SQUARE,), **columns: Any) -> Path:
    values = {"identifier": [f"{layer}-{i}" for i in range(len(shapes))], **columns}
    values = {name: value for name, value in values.items() if value is not None}
    gpd.GeoDataFrame(values, geometry=list(shapes), crs=epsg).to_file(path, layer=layer, driver="GPKG")
    return path


def read(path: Path, defaults: FeatureDefaults = FeatureDefaults(), **options: Any) -> list[Area]:  # noqa: B008
    return [area for batch in read_areas(open_areas(path), defaults, **options) for area in batch]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "areas.gpkg"


def test_layers_of_several_systems_are_read_in_order_and_size_wins_over_resolution() -> None:
    areas = {area.identifier: area for area in read(SHARED_DATA / "s2-l1c-slovenia" / "parcels-tiles.gpkg")}
    assert len(areas) == 24
    assert {area.epsg for area in areas.values()} == {32633, 4326}
    both = areas["UTM33_both_wins_size"]
    assert (both.fid, both.epsg, both.grid.width, both.grid.height, both.layer) == (9, 32633, 40, 20, "tiles_utm33")
    assert (areas["WGS84_both"].grid.width, areas["WGS84_both"].grid.height) == (20, 10)
    native = areas["UTM33_native_50_0"].grid
    assert (native.width, native.height) == (50, 51)
    assert (native.dx, native.dy) == pytest.approx((9.99479222007154, 9.997448467363668), rel=1e-9)
    degrees = areas["WGS84_parcel_294"].grid
    assert degrees.dx == pytest.approx(0.0001, rel=0.05)
    # the same keys in both layers tell nothing apart; identifiers do
    assert len({(area.layer, area.fid) for area in areas.values()}) == 24


def test_resolution_gives_whole_cells_that_fill_the_box(path: Path) -> None:
    (area,) = read(write(path, "a", resolution=[70.0]))
    assert (area.grid.width, area.grid.height) == (9, 6)
    assert area.grid.bounds == pytest.approx(SQUARE.bounds)
    assert area.geometry.equals(SQUARE)


@pytest.mark.parametrize(
    ("columns", "defaults", "size"),
    [
        ({}, {"width": 30, "height": 20}, (30, 20)),
        ({}, {"resolution": 100}, (6, 4)),
        ({"resolution": [200.0]}, {"width": 30, "height": 20}, (3, 2)),
        ({"width": [5], "height": [7]}, {"resolution": 100}, (5, 7)),
        ({"width": [5], "height": [7], "resolution": [1.0]}, {}, (5, 7)),
        ({"width": [5], "resolution": [100.0]}, {}, (6, 4)),
    ],
)
def test_defaults_are_for_features_that_say_nothing(
    path: Path, columns: dict[str, Any], defaults: dict[str, Any], size: tuple[int, int]
) -> None:
    (area,) = read(write(path, "a", **columns), FeatureDefaults(**defaults))
    assert (area.grid.width, area.grid.height) == size


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({}, FeaturesInvalid, r"Layer 'a', feature 1 \('a-0'\) says neither width and height nor resolution"),
        ({"width": [5]}, FeaturesInvalid, r"feature 1 \('a-0'\) has a width but no height; give both"),
        ({"width": [0], "height": [5]}, FeaturesInvalid, "has the width 0; it must be a whole number of pixels"),
        ({"width": [2.5], "height": [5]}, FeaturesInvalid, "has the width 2.5"),
        ({"resolution": [-1.0]}, FeaturesInvalid, "has the resolution -1.0; it must be a number greater than 0"),
        ({"resolution": ["fine"]}, FeaturesInvalid, "has the resolution 'fine'"),
        ({"width": [3501], "height": [5]}, LimitExceeded, "3,501 x 5 pixels; at most 3,500 x 3,500"),
        ({"resolution": [0.1]}, LimitExceeded, "6,000 x 4,000 pixels at resolution 0.1; at most 3,500 x 3,500"),
    ],
)
def test_a_feature_without_a_usable_size_is_named(
    path: Path, columns: dict[str, Any], error: type[Exception], message: str
) -> None:
    write(path, "a", **columns)
    with pytest.raises(error, match=message):
        read(path)


def test_the_largest_image_is_taken(path: Path) -> None:
    (area,) = read(write(path, "a", width=[3500], height=[3500]))
    assert area.grid.cells == 3500 * 3500


def test_identifiers_are_there_and_unique_in_the_whole_file(path: Path) -> None:
    write(path, "a", identifier=None, width=[5], height=[5])
    with pytest.raises(FeaturesInvalid, match="Layer 'a' has no column 'identifier'"):
        open_areas(path)
    path.unlink()
    for empty in (None, "", "  "):
        write(path, "a", shapes=(SQUARE, SQUARE), identifier=["x", empty])
        with pytest.raises(FeaturesInvalid, match="Layer 'a', feature 2 has no identifier"):
            open_areas(path)
        path.unlink()
    write(path, "a", identifier=["same"])
    write(path, "b", epsg=4326, shapes=(shapely.box(15, 45, 15.1, 45.1),), identifier=["same"])
    with pytest.raises(FeaturesInvalid, match=r"'same' occurs more than once \(layer 'a', feature 1 and layer 'b'"):
        open_areas(path)


def test_numbers_are_identifiers_too_and_may_not_meet_the_same_text(path: Path) -> None:
    write(path, "a", identifier=[7], width=[5], height=[5])
    assert [area.identifier for area in read(path)] == ["7"]
    write(path, "b", identifier=["7"])
    with pytest.raises(FeaturesInvalid, match="'7' occurs more than once"):
        open_areas(path)


def test_too_many_features_are_refused_with_both_numbers(path: Path) -> None:
    write(path, "a", shapes=(SQUARE,) * 3)
    write(path, "b", shapes=(SQUARE,) * 3)
    assert open_areas(path, max_features=6).count == 6
    with pytest.raises(LimitExceeded, match="has 6 features; at most 5 are allowed"):
        open_areas(path, max_features=5)


def test_only_polygons_of_a_known_system_are_taken(path: Path) -> None:
    write(path, "points", shapes=(shapely.Point(1, 2),))
    with pytest.raises(FeaturesInvalid, match="no layer with polygons"):
        open_areas(path)
    bow = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    write(path, "bad", shapes=(SQUARE, bow), width=[5, 5], height=[5, 5])
    with pytest.raises(FeaturesInvalid, match="Layer 'bad', feature 2: the polygon is not valid: Self-intersection"):
        read(path)
    path.unlink()
    write(path, "a", width=[5], height=[5])
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE gpkg_geometry_columns SET srs_id = -1")
        db.execute("UPDATE gpkg_contents SET srs_id = -1")
        db.commit()
    with pytest.raises(FeaturesInvalid, match="Layer 'a' has no EPSG coordinate reference system"):
        open_areas(path)


def test_an_area_of_interest_chooses_whole_features_in_every_system(path: Path) -> None:
    boxes = [shapely.box(500_000 + i * 1000, 5_000_000, 501_000 + i * 1000, 5_001_000) for i in range(5)]
    write(path, "utm", shapes=boxes, width=[10] * 5, height=[10] * 5)
    to_degrees = Transformer.from_crs(32633, 4326, always_xy=True)
    west, south = to_degrees.transform(501_500, 5_000_500)
    east, north = to_degrees.transform(502_500, 5_000_600)
    degree_boxes = [shapely.box(west, south, east, north), shapely.box(20, 40, 20.1, 40.1)]
    write(path, "degrees", epsg=4326, shapes=degree_boxes, width=[10] * 2, height=[10] * 2)
    aoi = make_aoi((501_500, 5_000_400, 502_500, 5_000_600), None, 32633)
    found = read(path, aoi=aoi)
    assert [area.identifier for area in found] == ["degrees-0", "utm-1", "utm-2"]
    assert found[1].geometry.equals(boxes[1])
    assert not read(path, aoi=shapely.box(-10, -10, -9, -9))


def test_an_area_over_180_degrees_finds_its_features(path: Path) -> None:
    shape = shapely.box(400_000, 8_000_000, 410_000, 8_010_000)
    east = Transformer.from_crs(32760, 4326, always_xy=True).transform(405_000, 8_005_000)
    write(path, "a", epsg=32760, shapes=(shape,), width=[10], height=[10])
    assert 175 < east[0] < 177
    assert len(read(path, aoi=shapely.box(175, -19, 185, -17))) == 1
    assert len(read(path, aoi=shapely.box(-185, -19, -175, -17))) == 1
    assert not read(path, aoi=shapely.box(-179, -19, -175, -17))


def test_areas_come_in_batches_of_bounded_size(path: Path) -> None:
    write(path, "a", shapes=(SQUARE,) * 2500, width=[5] * 2500, height=[5] * 2500)
    batches = list(read_areas(open_areas(path)))
    assert [len(batch) for batch in batches] == [1000, 1000, 500]
    assert [area.fid for batch in batches for area in batch] == list(range(1, 2501))


@pytest.mark.parametrize("kind", ["bounding-box", "pixelated"])
def test_what_the_providers_grid_builder_makes_is_read_as_it_is(tmp_path: Path, path: Path, kind: str) -> None:
    shape = shapely.Polygon([(4_650_003, 2_550_007), (4_652_111, 2_550_900), (4_651_500, 2_553_333)])
    aoi = tmp_path / "aoi.geojson"
    gpd.GeoDataFrame(geometry=[shape], crs=3035).to_file(aoi, driver="GeoJSON")
    tool = shutil.which("sh-grid-builder", path=str(Path(sys.executable).parent)) or "sh-grid-builder"
    made = [tool, str(aoi), "--resolution", "(10,20)", "--epsg", "3035", "--output-type", kind, "-o", str(path)]
    subprocess.run(made, check=True, capture_output=True)
    areas = read(path)
    assert areas
    assert {area.epsg for area in areas} == {3035}
    for area in areas:
        assert (area.grid.dx, area.grid.dy) == pytest.approx((10, 20))
        assert area.grid.x0 % 10 == pytest.approx(0, abs=1e-6)
    if kind == "bounding-box":
        assert [area.identifier for area in areas] == ["tile_1_1"]
        assert (areas[0].grid.width, areas[0].grid.height) == (212, 167)
    assert json.loads(gpd.read_file(path).to_json())["features"][0]["properties"]["identifier"] == areas[0].identifier
