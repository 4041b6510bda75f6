"""Tiles of a map from arrays in files: what is drawn, what is thinned, and the bytes, read by another's decoder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mapbox_vector_tile
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from swathe.jobs.looking_build import Batch, build
from swathe.jobs.looking_mvt import Attributes, encode_points
from swathe.jobs.looking_shapes import Shapes, open_shapes
from swathe.jobs.looking_tiles import MOST_FEATURES, TilePlace, make_tile

HALF = 20037508.342789244
WORLD = TilePlace(0, 0, 0)


def make_shapes(folder: Path, polygons, *, ids=None, names=None, epsg: int = 3857) -> Shapes:
    count = len(polygons)
    listed = np.arange(1, count + 1) if ids is None else np.array(ids)
    array = np.empty(count, object)
    array[:] = polygons
    build([Batch(listed, names or [None] * count, array, epsg)], folder / "shapes")
    shapes = open_shapes(folder / "shapes")
    assert shapes is not None
    return shapes


def read(tile: bytes | None) -> list[dict]:
    assert tile is not None
    layer = mapbox_vector_tile.decode(tile, default_options={"y_coord_down": True})["features"]
    return layer["features"]


def waiting(shapes: Shapes) -> np.ndarray:
    return np.zeros(shapes.count, np.uint8)


def test_of_many_points_in_one_place_a_failed_one_is_kept(tmp_path):
    rng = np.random.default_rng(2)
    corners = rng.uniform(-HALF, HALF - 20, (3 * MOST_FEATURES, 2))
    crowd = np.concatenate([corners, np.full((500, 2), 1000.0) + rng.uniform(0, 3, (500, 2))])
    shapes = make_shapes(tmp_path, shapely.box(crowd[:, 0], crowd[:, 1], crowd[:, 0] + 10, crowd[:, 1] + 10))
    states = np.ones(shapes.count, np.uint8)
    one = int(shapes.places(np.array([len(crowd) - 100]))[0])
    states[one] = 2
    found = read(make_tile(shapes, WORLD, states))
    assert len(found) <= MOST_FEATURES
    assert len(found) > MOST_FEATURES / 10
    assert [feature["id"] for feature in found if feature["properties"]["s"] == 2] == [len(crowd) - 100]
    # those of a small tile are all there
    x = y = 1 << 9
    small = read(make_tile(shapes, TilePlace(10, x, y - 1), states))
    assert len(small) >= 500


def test_tiles_of_a_zoom_are_thinned_alike(tmp_path):
    # evenly spread, but only a corner of the eastern tile is covered: it alone would need no thinning
    across, down = 300, 120
    x, y = (part.ravel() for part in np.meshgrid(np.arange(across) * 40_000.0, np.arange(down) * 40_000.0))
    x -= across * 32_000.0
    shapes = make_shapes(tmp_path, shapely.box(x, y, x + 10, y + 10))
    west, east = TilePlace(1, 0, 0), TilePlace(1, 1, 0)
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda place: read(make_tile(shapes, place, waiting(shapes))), (west, east)))
    counts = [len(found) for found in made]
    assert counts[0] <= MOST_FEATURES
    assert counts[1] < (x >= 0).sum() / 2
    assert counts[0] / (x < 0).sum() == pytest.approx(counts[1] / (x >= 0).sum(), rel=0.1)


def test_points_of_the_four_tiles_of_a_tile_are_its_points(tmp_path):
    rng = np.random.default_rng(3)
    corners = rng.uniform(-HALF, HALF - 20, (500, 2))
    shapes = make_shapes(tmp_path, shapely.box(corners[:, 0], corners[:, 1], corners[:, 0] + 9, corners[:, 1] + 9))
    states = waiting(shapes)
    told = [
        feature["id"]
        for x in range(2)
        for y in range(2)
        for feature in read(make_tile(shapes, TilePlace(1, x, y), states))
    ]
    assert sorted(told) == sorted(feature["id"] for feature in read(make_tile(shapes, WORLD, states)))
    assert len(told) == 500


@settings(max_examples=40, deadline=None)
@given(
    corners=st.lists(
        st.tuples(st.floats(-1.5e7, 1.5e7), st.floats(-1.5e7, 1.5e7)), min_size=3, max_size=12, unique=True
    ),
    z=st.integers(0, 5),
    data=st.data(),
)
def test_what_is_drawn_covers_what_lies_in_the_tile(tmp_path_factory, corners, z, data):
    polygon = shapely.convex_hull(shapely.MultiPoint(corners))
    if polygon.geom_type != "Polygon" or polygon.area < 1e12:
        return
    shapes = make_shapes(tmp_path_factory.mktemp("one"), [polygon])
    x, y = (data.draw(st.integers(0, 2**z - 1)) for _ in range(2))
    side = 2 * HALF / 2**z
    west, north = -HALF + x * side, HALF - y * side
    inside = polygon.intersection(shapely.box(west, north - side, west + side, north))
    tile = make_tile(shapes, TilePlace(z, x, y), waiting(shapes))
    if tile is None:
        assert inside.area <= 4 * (side / 4096) ** 2
        return
    (feature,) = read(tile)
    drawn = shapely.make_valid(shapely.geometry.shape(feature["geometry"]))
    exact = shapely.transform(inside, lambda xy: (xy - [west, north]) * [4096 / side, -4096 / side])
    seen = drawn.intersection(shapely.box(0, 0, 4096, 4096))
    # corners are rounded to whole numbers
    assert seen.symmetric_difference(exact).area <= 1.5 * (exact.length + 4)
    assert abs(np.array(shapely.get_coordinates(drawn))).max() < 8192


def test_holes_parts_names_ids_and_values(tmp_path):
    hole = shapely.box(-1e7, -1e7, 1e7, 1e7).difference(shapely.box(-5e6, -5e6, 5e6, 5e6))
    parts = shapely.MultiPolygon([shapely.box(1.2e7, 0, 1.4e7, 2e6), shapely.box(1.5e7, 0, 1.6e7, 2e6)])
    shapes = make_shapes(tmp_path, [hole, parts, None], ids=[-7, 2**40, 3], names=["Čebela & <a>", None, "none"])
    values = np.full(shapes.count, np.nan, np.float32)
    values[shapes.places(np.array([-7]))] = 0.25
    found = {
        feature["properties"]["id"]: feature for feature in read(make_tile(shapes, WORLD, waiting(shapes), values))
    }
    assert set(found) == {-7, 2**40}
    assert found[-7]["properties"] == {"id": -7, "name": "Čebela & <a>", "s": 0, "v": 0.25}
    assert found[2**40]["id"] == 2**40
    assert "v" not in found[2**40]["properties"]
    assert len(found[-7]["geometry"]["coordinates"]) == 2
    assert found[2**40]["geometry"]["type"] == "MultiPolygon"
    assert shapes.geometry(2) is None
    assert [shapes.name(place) for place in shapes.find("čeb", 5)] == ["Čebela & <a>"]
    assert shapely.geometry.shape(shapes.geometry(int(shapes.places(np.array([2**40]))[0]))).area > 0


def test_a_polygon_too_small_to_be_seen_among_large_ones_is_a_dot(tmp_path):
    boxes = [shapely.box(x, 0, x + 1e6, 1e6) for x in np.arange(-5, 5) * 1.2e6]
    shapes = make_shapes(tmp_path, [*boxes, shapely.box(0, 5e6, 1, 5e6 + 1)])
    found = {feature["id"]: feature for feature in read(make_tile(shapes, WORLD, waiting(shapes)))}
    assert len(found) == 11
    dot = shapely.geometry.shape(found[11]["geometry"])
    assert 0 < dot.area <= 4


def test_features_without_a_place_have_none(tmp_path):
    shapes = make_shapes(tmp_path, [None, shapely.Polygon(), shapely.Point(1, 2)])
    assert (shapes.count, shapes.located, shapes.bounds) == (3, 0, None)
    assert make_tile(shapes, WORLD, waiting(shapes)) is None
    assert shapes.box_degrees(0) is None


def test_numbers_of_every_length():
    points = np.array([[0, 0], [63, -64], [-65, 64], [8191, -8192], [2**20, -(2**20)], [2**30, 5]])
    names = [b"x" * size for size in (0, 1, 127, 128, 20_000, 3)]
    ids = np.array([0, 1, 127, 128, 2**35, 2**62])
    told = Attributes(ids, names, np.array([0, 1, 2, 3, 0, 1], np.uint8))
    found = read(encode_points(points, told))
    assert [feature["geometry"]["coordinates"] for feature in found] == points.tolist()
    assert [feature["properties"]["id"] for feature in found] == ids.tolist()
    assert [len(feature["properties"]["name"]) for feature in found] == [len(name) for name in names]


@pytest.mark.parametrize(
    ("place", "is_one"),
    [
        (TilePlace(0, 0, 0), True),
        (TilePlace(22, 2**22 - 1, 0), True),
        (TilePlace(23, 0, 0), False),
        (TilePlace(3, 8, 0), False),
        (TilePlace(3, 0, -1), False),
        (TilePlace(-1, 0, 0), False),
    ],
)
def test_which_tiles_there_are(place, is_one):
    assert place.is_one is is_one
