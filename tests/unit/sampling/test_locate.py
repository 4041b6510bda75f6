"""Where cells lie in a source: literal indexes on one CRS, and exact transformation of every cell on others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from swathe.grids.cover import Cells, cover
from swathe.grids.sample_grid import SampleGrids, feature_grids
from swathe.model.statistical import Cover
from swathe.rasters.source import SourceGrid
from swathe.sampling import locate as module
from swathe.sampling.locate import CellBlocks, locate

UTM = SourceGrid(32633, (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_100_000.0), 8, 6)


def boxes(
    *bounds: tuple[float, float, float, float], epsg: int = 32633, pixel: float = 10
) -> tuple[Cells, SampleGrids]:
    polygons = np.array([shapely.box(*b) for b in bounds], object)
    grids = feature_grids(np.array(bounds, float), epsg, resolution=(pixel, pixel))
    return cover(polygons, grids, Cover.ALL_TOUCHED), grids


def pixels(
    found: CellBlocks, count: int, source: SourceGrid, block_width: int, block_height: int
) -> list[tuple[int, int] | None]:
    """Column and row of the source pixel of every cell."""
    places: list[tuple[int, int] | None] = [None] * count
    for k, (row, column) in enumerate(found.blocks.tolist()):
        width = min(block_width, source.width - column * block_width)
        for cell, offset in cells_of(found, k):
            y, x = divmod(offset, width)
            assert places[cell] is None
            places[cell] = (column * block_width + x, row * block_height + y)
    assert [place is not None for place in places] == (
        [True] * count if found.inside is None else found.inside.astype(bool).tolist()
    )
    return places


def cells_of(found: CellBlocks, block: int) -> list[tuple[int, int]]:
    """The cells of a block with their offsets."""
    pairs = []
    for k in range(found.starts[block], found.starts[block + 1]):
        (cell, first), end = found.segments[k].tolist(), int(found.segments[k + 1, 1])
        pairs += [(cell + i, int(found.offsets[first + i])) for i in range(end - first)]
    return pairs


def place(
    cells: Cells, grids: SampleGrids, source: SourceGrid, block_width: int = 4, block_height: int = 4
) -> list[tuple[int, int] | None]:
    return pixels(
        locate(cells, grids, source, block_width, block_height), cells.count, source, block_width, block_height
    )


def test_cells_on_the_sources_pixels_take_them_one_by_one() -> None:
    cells, grids = boxes((500_030, 5_099_960, 500_060, 5_099_980))
    assert place(cells, grids, UTM) == [(3, 2), (4, 2), (5, 2), (3, 3), (4, 3), (5, 3)]


def test_blocks_are_by_row_and_column_and_hold_their_cells() -> None:
    cells, grids = boxes((500_030, 5_099_950, 500_050, 5_099_970))
    found = locate(cells, grids, UTM, 4, 4)
    assert found.blocks.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert found.starts.tolist() == [0, 1, 2, 3, 4]
    assert [[cell for cell, _ in cells_of(found, k)] for k in range(4)] == [[0], [1], [2], [3]]
    # blocks at the lower edge have 2 rows, which does not change the width of a row
    assert found.offsets.tolist() == [3 * 4 + 3, 3 * 4, 3, 0]


def test_a_block_cut_at_the_right_edge_has_shorter_rows() -> None:
    cells, grids = boxes((500_070, 5_099_980, 500_080, 5_100_000))
    found = locate(cells, grids, UTM, 5, 6)
    assert found.blocks.tolist() == [[0, 1]]
    assert found.offsets.tolist() == [2, 5]


def test_a_centre_on_a_border_belongs_to_the_pixel_to_the_right_or_below() -> None:
    cells, grids = boxes((500_005, 5_099_975, 500_025, 5_099_995))
    assert place(cells, grids, UTM) == [(1, 1), (2, 1), (1, 2), (2, 2)]


def test_borders_are_exact_where_the_pixel_is_no_whole_number() -> None:
    source = SourceGrid(4326, (0.1, 0.0, 5.0, 0.0, -0.1, 50.0), 100, 100)
    # centres at 5.3, 5.4, 5.5 …: (x - 5.0) / 0.1 in one division
    cells, grids = boxes(*[(5.0 + 0.1 * k, 45.05, 5.1 + 0.1 * k, 45.15) for k in range(20)], epsg=4326, pixel=0.1)
    centres = grids.x0 + 0.5 * grids.dx
    expected = [int((x - 5.0) / 0.1) for x in centres]
    found = place(cells, grids, source, 16, 16)
    assert [p[0] for p in found if p is not None] == expected


def test_coarser_sources_repeat_and_finer_ones_skip() -> None:
    cells, grids = boxes((500_000, 5_099_980, 500_040, 5_100_000))
    coarse = SourceGrid(32633, (20.0, 0.0, 500_000.0, 0.0, -20.0, 5_100_000.0), 4, 4)
    assert place(cells, grids, coarse) == [(0, 0), (0, 0), (1, 0), (1, 0)] * 2
    fine = SourceGrid(32633, (2.0, 0.0, 500_000.0, 0.0, -2.0, 5_100_000.0), 40, 40)
    assert place(cells, grids, fine) == [(2, 2), (7, 2), (12, 2), (17, 2), (2, 7), (7, 7), (12, 7), (17, 7)]


def test_cells_beyond_the_source_are_in_no_block() -> None:
    cells, grids = boxes((499_980, 5_099_990, 500_010, 5_100_010), (600_000, 0, 600_010, 10))
    assert place(cells, grids, UTM) == [None, None, None, None, None, (0, 0), None]
    cells, grids = boxes((500_070, 5_099_930, 500_090, 5_099_950))
    assert place(cells, grids, UTM) == [(7, 5), None, None, None]
    cells, grids = boxes((0, 0, 10, 10))
    found = locate(cells, grids, UTM, 4, 4)
    assert (found.blocks.shape, found.starts.tolist(), found.offsets.tolist()) == ((0, 2), [0], [])


def test_no_features_need_no_blocks() -> None:
    none = np.zeros(0)
    grids = SampleGrids(32633, none, none, none, none, none.astype(np.int64), none.astype(np.int64))
    for source in (UTM, SourceGrid(4326, UTM.transform, 8, 6)):
        assert locate(cover(np.zeros(0, object), grids, Cover.SERVICE), grids, source, 4, 4).blocks.tolist() == []


@pytest.mark.parametrize("turn", [30.0, 90.0, 180.0, 217.0])
def test_a_source_that_is_turned(turn: float) -> None:
    a = np.deg2rad(turn)
    transform = (10 * np.cos(a), 10 * np.sin(a), 500_000.0, 10 * np.sin(a), -10 * np.cos(a), 5_100_000.0)
    source = SourceGrid(32633, transform, 50, 40)
    cells, grids = boxes((499_903.3, 5_099_901.7, 500_103.3, 5_100_101.7), pixel=13)
    expected = []
    for row in range(int(grids.height[0])):
        for column in range(int(grids.width[0])):
            x, y = grids.x0[0] + (column + 0.5) * grids.dx[0], grids.y0[0] - (row + 0.5) * grids.dy[0]
            u, v = source.to_pixel(x, y)
            inside = 0 <= u < 50 and 0 <= v < 40
            expected.append((int(u), int(v)) if inside else None)
    assert place(cells, grids, source, 16, 16) == expected
    assert any(expected)


def test_a_source_with_south_up() -> None:
    source = SourceGrid(32633, (10.0, 0.0, 500_000.0, 0.0, 10.0, 5_099_940.0), 8, 6)
    cells, grids = boxes((500_030, 5_099_960, 500_050, 5_099_980))
    assert place(cells, grids, source) == [(3, 3), (4, 3), (3, 2), (4, 2)]


# CRS of the features, CRS of the source, pixel of the source, a place in degrees where both are at home
PAIRS = [
    (32633, 4326, 1e-4, (15.0, 46.0)),
    (4326, 32633, 10.0, (15.0, 46.0)),
    (32633, 32632, 10.0, (12.0, 50.0)),
    (32632, 32633, 20.0, (12.02, 61.0)),
    (32735, 4326, 1e-4, (27.0, -30.0)),
    (4326, 32735, 10.0, (28.5, -1.0)),
    (32735, 32734, 10.0, (24.0, -44.0)),
    (3035, 32633, 10.0, (14.0, 52.0)),
    (32631, 3035, 10.0, (4.0, 40.0)),
    (3857, 32633, 10.0, (17.5, 65.0)),
    (32633, 3857, 15.0, (15.0, 1.0)),
    (4326, 3857, 15.0, (-70.0, -33.0)),
    (3857, 4326, 1e-4, (150.0, -40.0)),
]


def compare(
    from_epsg: int,
    to_epsg: int,
    pixel: float,
    at: tuple[float, float],
    size_m: float,
    cell_m: float,
    corners: int,
    seed: int,
) -> int:
    """Locates the cells of a random polygon and transforms each exactly: the pixels are the same, except where the exact
    place is within 1e-4 pixels of a border. Gives how many cells were compared."""
    rng = np.random.default_rng(seed)
    x, y = Transformer.from_crs(4326, from_epsg, always_xy=True).transform(*at)
    unit = 1 / 111_320 if from_epsg == 4326 else 1.0
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    radius = rng.uniform(0.3, 1.0, corners) * size_m / 2 * unit
    polygon = shapely.make_valid(
        shapely.Polygon(np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1))
    )
    polygons = np.array([shapely.Polygon(polygon.convex_hull.exterior)], object)
    grids = feature_grids(shapely.bounds(polygons), from_epsg, resolution=(cell_m * unit, cell_m * unit))
    cells = cover(polygons, grids, Cover.ALL_TOUCHED)
    change = Transformer.from_crs(from_epsg, to_epsg, always_xy=True)
    rows = np.repeat(cells.runs[:, 0], cells.runs[:, 2] - cells.runs[:, 1])
    columns = np.concatenate([np.arange(a, b) for _, a, b in cells.runs])
    ex, ey = change.transform(grids.x0[0] + (columns + 0.5) * grids.dx[0], grids.y0[0] - (rows + 0.5) * grids.dy[0])
    left, top = ex.min() - 20.3 * pixel, ey.max() + 20.7 * pixel
    # the source ends within the polygon's box, so that some cells lie beyond it
    width = int((ex.max() - left) / pixel * 0.9) + 1
    height = int((top - ey.min()) / pixel * 0.9) + 1
    source = SourceGrid(to_epsg, (pixel, 0.0, left, 0.0, -pixel, top), width, height)
    found = locate(cells, grids, source, 256, 256)
    block_of = np.full(cells.count, -1)
    offset = np.full(cells.count, -1)
    for k in range(len(found.blocks)):
        for segment in range(found.starts[k], found.starts[k + 1]):
            (cell, first), end = found.segments[segment].tolist(), int(found.segments[segment + 1, 1])
            block_of[cell : cell + end - first] = k
            offset[cell : cell + end - first] = found.offsets[first:end]
    px, py = (ex - left) / pixel, (top - ey) / pixel
    near = (np.abs(px - np.round(px)) < 1e-4) | (np.abs(py - np.round(py)) < 1e-4)
    inside = (px >= 0) & (py >= 0) & (px < width) & (py < height)
    assert ((block_of >= 0) == inside)[~near].all()
    sure = inside & ~near & (block_of >= 0)
    blocks = found.blocks[block_of[sure]]
    wide = np.minimum(256, width - blocks[:, 1] * 256)
    assert np.array_equal(blocks[:, 1] * 256 + offset[sure] % wide, px[sure].astype(int))
    assert np.array_equal(blocks[:, 0] * 256 + offset[sure] // wide, py[sure].astype(int))
    return int(sure.sum())


@settings(max_examples=60, deadline=None)
@given(
    pair=st.sampled_from(PAIRS),
    size_m=st.floats(30, 12_000),
    fineness=st.floats(2, 120),
    corners=st.integers(3, 12),
    seed=st.integers(0, 2**31),
)
def test_cells_take_the_pixel_that_exact_transformation_gives(
    pair: tuple[int, int, float, tuple[float, float]], size_m: float, fineness: float, corners: int, seed: int
) -> None:
    compare(*pair, size_m=size_m, cell_m=size_m / fineness, corners=corners, seed=seed)


@pytest.mark.parametrize("pair", PAIRS)
def test_features_a_hundred_kilometres_wide_are_transformed_cell_by_cell(
    pair: tuple[int, int, float, tuple[float, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact: list[bool] = []
    original = module._transform_cells

    def watch(*arguments: Any) -> tuple[np.ndarray, np.ndarray]:
        exact.extend(arguments[-1].tolist())
        return original(*arguments)

    monkeypatch.setattr(module, "_transform_cells", watch)
    assert compare(*pair, size_m=100_000, cell_m=500, corners=12, seed=1) > 1_000
    # between 4326 and 3857 x is linear, and y nearly so: the fit may hold
    assert exact == [True] or {4326, 3857} == set(pair[:2])


def test_small_features_are_not_transformed_cell_by_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_transform_cells", lambda *arguments: (_none(arguments[-1]), np.zeros(1, np.int64)))
    assert compare(32633, 4326, 1e-4, (15.0, 46.0), size_m=300, cell_m=10, corners=6, seed=2) > 100


def _none(which: np.ndarray) -> np.ndarray:
    assert not which.any()
    return np.zeros((0, 2))


def test_features_where_the_transformation_fails_lie_beyond_the_source() -> None:
    cells, grids = boxes((1e9, 1e9, 1e9 + 20, 1e9 + 20), (500_000, 5_099_980, 500_020, 5_100_000))
    source = SourceGrid(4326, (1e-4, 0.0, 14.9, 0.0, -1e-4, 46.1), 2_000, 2_000)
    found = place(cells, grids, source, 256, 256)
    assert found[:4] == [None] * 4
    assert None not in found[4:]


def test_features_of_both_kinds_in_one_unit() -> None:
    """A large feature between two small ones: each takes its own road."""
    bounds = [
        (500_000, 5_100_000, 500_100, 5_100_100),
        (500_000, 5_000_000, 600_000, 5_100_000),
        (510_000, 5_090_000, 510_200, 5_090_100),
    ]
    polygons = np.array([shapely.box(*b) for b in bounds], object)
    grids = feature_grids(np.array(bounds, float), 32633, size=(20, 20))
    cells = cover(polygons, grids, Cover.ALL_TOUCHED)
    source = SourceGrid(4326, (1e-4, 0.0, 14.9, 0.0, -1e-4, 46.1), 20_000, 20_000)
    found = place(cells, grids, source, 512, 512)
    change = Transformer.from_crs(32633, 4326, always_xy=True)
    k = 0
    for f in range(3):
        for row in range(20):
            for column in range(20):
                lon, lat = change.transform(
                    grids.x0[f] + (column + 0.5) * grids.dx[f], grids.y0[f] - (row + 0.5) * grids.dy[f]
                )
                u, v = (lon - 14.9) / 1e-4, (46.1 - lat) / 1e-4
                if min(abs(u - round(u)), abs(v - round(v))) > 1e-4:
                    assert found[k] == (int(u), int(v))
                k += 1
