"""Which cells belong to a polygon: literal matrices, the published figures, and independent judges."""

from __future__ import annotations

import json

import numpy as np
import pytest
import shapely
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import geometry_mask
from rasterio.transform import Affine

from builders import SHARED_DATA
from swathe.grids.cover import Cells, cover
from swathe.grids.sample_grid import SampleGrids, feature_grids, source_grids
from swathe.model.statistical import Cover


def unit_grid(width: int, height: int) -> SampleGrids:
    one = np.ones(1)
    return SampleGrids(32633, 0 * one, height * one, one, one, np.array([width]), np.array([height]))


def matrix(cells: Cells, width: int, height: int, feature: int = 0) -> list[list[float]]:
    found = np.zeros((height, width))
    at = int(cells.starts[feature])
    for row, first, last in cells.runs[cells.run_starts[feature] : cells.run_starts[feature + 1]]:
        for column in range(first, last):
            found[row, column] = 1 if cells.weights is None else cells.weights[at]
            at += 1
    return found.tolist()


TRIANGLE = np.array([shapely.Polygon([(0, 2), (2, 2), (0, 0)])], object)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Cover.SERVICE, [[1, 1], [1, 0]]),
        (Cover.CENTRE, [[1, 1], [1, 0]]),
        (Cover.ALL_TOUCHED, [[1, 1], [1, 0]]),
        (Cover.COVERAGE, [[1, 0.5], [0.5, 0]]),
    ],
)
def test_worked_example(rule: Cover, expected: list[list[float]]) -> None:
    assert matrix(cover(TRIANGLE, unit_grid(2, 2), rule), 2, 2) == expected


def test_service_takes_a_cell_from_seven_positions_on() -> None:
    # 7 and 6 of the 2048 positions: slivers of one sub-scanline, 7/256 and 6/256 of a cell wide
    def sliver(positions: int) -> np.ndarray:
        return np.array([shapely.box(0, 0.999, positions / 256, 0.875)], object)

    assert cover(sliver(7), unit_grid(1, 1), Cover.SERVICE).count == 1
    assert cover(sliver(6), unit_grid(1, 1), Cover.SERVICE).count == 0


def test_a_hole_and_an_island_in_it() -> None:
    ring = shapely.box(0, 0, 5, 5).difference(shapely.box(1, 1, 4, 4)).union(shapely.box(2, 2, 3, 3))
    expected = [[1, 1, 1, 1, 1], [1, 0, 0, 0, 1], [1, 0, 1, 0, 1], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]]
    for rule in Cover:
        assert matrix(cover(np.array([ring], object), unit_grid(5, 5), rule), 5, 5) == expected, rule


def test_cells_of_overlapping_features_are_all_kept() -> None:
    boxes = np.array([shapely.box(0, 0, 30, 30), shapely.box(10, 10, 30, 30)], object)
    cells = cover(boxes, feature_grids(shapely.bounds(boxes), 32633, resolution=(10, 10)), Cover.SERVICE)
    assert cells.starts.tolist() == [0, 9, 13]


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="the provider's published figures are not beside the checkout")
def test_published_counts() -> None:
    import geopandas as gpd

    for case in json.loads((SHARED_DATA / "provider/published-counts.json").read_text()):
        if "geometry" in case:
            shape = shapely.geometry.shape(case["geometry"])
        elif "bbox" in case:
            shape = shapely.box(*case["bbox"])
        else:
            frame = gpd.read_file(SHARED_DATA / "provider" / case["geopackage"], fid_as_index=True)
            shape = frame.to_crs(case["crs"]).geometry.loc[case["fid"]]
        polygons = np.array([shape], object)
        grids = feature_grids(shapely.bounds(polygons), 32633, resolution=(case["resx"], case["resy"]))
        cells = cover(polygons, grids, Cover.SERVICE)
        assert (grids.width[0], grids.height[0]) == (case["width"], case["height"]), case["name"]
        assert grids.sample_count[0] - cells.count == case["noDataCount"], case["name"]


def test_counts_of_the_published_parcel_under_the_other_rules() -> None:
    parcel = shapely.Polygon(
        [
            (458085.878866, 5097236.833044),
            (457813.834156, 5096808.351383),
            (457979.897062, 5096313.767184),
            (458146.639373, 5096405.411294),
        ]
    )
    polygons = np.array([parcel], object)
    grids = feature_grids(shapely.bounds(polygons), 32633, resolution=(10, 10))
    outside = {rule.value: int(grids.sample_count[0]) - cover(polygons, grids, rule).count for rule in Cover}
    assert outside == {"service": 1192, "centre": 1309, "all_touched": 1187, "coverage": 1187}


@st.composite
def star(draw: st.DrawFn) -> shapely.Polygon:
    count = draw(st.integers(3, 14))
    radii = draw(st.lists(st.floats(0.3, 9.0), min_size=count, max_size=count))
    x, y = draw(st.floats(9, 11)), draw(st.floats(9, 11))
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False) + draw(st.floats(0, 1))
    return shapely.Polygon(np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1))


@settings(max_examples=150, deadline=None)
@given(star())
def test_against_gdal_and_exactextract(shape: shapely.Polygon) -> None:
    if not shape.is_valid:
        return
    polygons, grids = np.array([shape], object), unit_grid(20, 20)
    inside = ~geometry_mask([shape], (20, 20), Affine(1, 0, 0, 0, -1, 20))
    assert matrix(cover(polygons, grids, Cover.CENTRE), 20, 20) == inside.astype(float).tolist()

    covered = np.array(matrix(cover(polygons, grids, Cover.COVERAGE), 20, 20))
    raster = NumPyRasterSource(np.zeros((20, 20)), xmin=0, ymin=0, xmax=20, ymax=20)
    feature = {"type": "Feature", "geometry": shapely.geometry.mapping(shape), "properties": {}}
    told = exact_extract(raster, [feature], ["cell_id", "coverage"])[0]["properties"]
    expected = np.zeros(400)
    expected[np.asarray(told["cell_id"], int)] = told["coverage"]
    np.testing.assert_allclose(covered.ravel(), expected, atol=2e-6)
    assert covered.sum() == pytest.approx(shape.area, abs=1e-9)

    touched = np.array(matrix(cover(polygons, grids, Cover.ALL_TOUCHED), 20, 20))
    assert (touched == (covered > 0)).all()


@st.composite
def half_steps(draw: st.DrawFn) -> shapely.Polygon:
    """Polygons whose edges run through cell centres: unions of boxes, and corners on half cells."""
    if draw(st.booleans()):
        corner = st.integers(0, 16)
        boxes = [shapely.box(*(draw(corner) / 2 for _ in range(4))) for _ in range(draw(st.integers(1, 4)))]
        return shapely.union_all([box for box in boxes if box.area > 0])
    points = draw(st.lists(st.tuples(st.integers(0, 16), st.integers(0, 16)), min_size=3, max_size=7))
    ring = shapely.Polygon([(x / 2, y / 2) for x, y in points])
    return ring.reverse() if draw(st.booleans()) else ring


@settings(max_examples=400, deadline=None)
@given(half_steps())
def test_centres_on_an_edge_fall_as_gdal_lets_them(shape: shapely.Polygon) -> None:
    if shape.is_empty or not shape.is_valid or shape.geom_type not in ("Polygon", "MultiPolygon"):
        return
    inside = ~geometry_mask([shape], (9, 9), Affine(1, 0, 0, 0, -1, 9))
    found = matrix(cover(np.array([shape], object), unit_grid(9, 9), Cover.CENTRE), 9, 9)
    assert found == inside.astype(float).tolist()


def test_source_grid_is_the_smallest_window_of_whole_pixels() -> None:
    bounds = np.array([[1003.0, 979.0, 1021.0, 995.0], [1010.0, 980.0, 1020.0, 990.0]])
    grids = source_grids(bounds, 32633, (10.0, 0.0, 1000.0, 0.0, -10.0, 1000.0))
    assert grids.x0.tolist() == [1000.0, 1010.0]
    assert grids.y0.tolist() == [1000.0, 990.0]
    assert grids.width.tolist() == [3, 1]
    assert grids.height.tolist() == [3, 1]


def test_source_grid_ignores_rounding_at_a_pixel_border() -> None:
    pixel = 9.99479222007154
    left = 465181.0522318204
    bounds = np.array([[left + 3 * pixel, 10.0, left + 7 * pixel, 20.0]])
    grids = source_grids(bounds, 32633, (pixel, 0.0, left, 0.0, -10.0, 100.0))
    assert (grids.width[0], grids.height[0]) == (4, 1)
