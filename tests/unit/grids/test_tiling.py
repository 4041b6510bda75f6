"""Tiling grids: their names, corners and pixels, what is over an area and what is not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import shapely

from swathe.grids.aoi import make_aoi, project
from swathe.grids.tiling import GRIDS, GridTile, Unit, find_grid, grid_of, tiles_over
from swathe.model.errors import NotFound, RequestInvalid
from swathe.model.process import TilingGridInput

# Upper left corners of tiles of grid 2, as the provider's published mosaics of 100,080 m tiles have them.
PUBLISHED = """
01FBG 32701 199980 4700020 | 01LDG 32701 399960 8700040 | 01XDA 32601 399960 8100000 | 02PQC 32602 699960 1800000
04QHG 32604 799980 2200020 | 11SNC 32611 499980 4300020 | 11TME 32611 399960 4500000 | 15CVV 32715 399960 2000020
17HLE 32717 300000 6500020 | 17LNL 32717 499980 9100000 | 18MWD 32718 499980 9900040 | 19FCU 32719 300000 3900040
22LFH 32722 600000 8300020 | 23NKB 32623 199980 200040 | 26WPE 32626 600000 8000040 | 28GEA 32728 499980 5600020
29XMK 32629 399960 9000000 | 31WFM 32631 600000 7200000 | 33UUP 32633 300000 5400000 | 33UXB 32633 600000 6200040
33UYP 32633 699960 5400000 | 33UYV 32633 699960 6000000 | 34LHL 32734 799980 8600020 | 34VCP 32634 300000 6900000
37XEL 32637 499980 9100020 | 43SER 32643 499980 3600000 | 53MNV 32753 499980 10000000 | 54HTC 32754 199980 5800000
54HTK 32754 199980 6500020 | 56MPS 32756 600000 9200020 | 57LWC 32757 499980 8300020 | 60XWF 32660 499980 8100000
"""
EARTH = shapely.box(-180, -90, 180, 90)


@pytest.fixture(scope="module")
def world() -> dict[str, GridTile]:
    """All tiles of grid 2."""
    tiles = list(tiles_over(GRIDS[2], EARTH, 60))
    found = {tile.name: tile for tile in tiles}
    assert len(found) == len(tiles), "names are unique"
    return found


def names(grid: int, aoi: shapely.Geometry, resolution: float) -> list[str]:
    return [tile.name for tile in tiles_over(GRIDS[grid], aoi, resolution)]


def test_grids_are_the_documented_ones() -> None:
    assert {grid.id: (grid.unit, grid.tile_width, grid.tile_height, grid.resolutions) for grid in GRIDS.values()} == {
        0: (Unit.METRE, 20_040, 20_040, (10, 20, 30, 60)),
        1: (Unit.METRE, 10_000, 10_000, (10, 20)),
        2: (Unit.METRE, 100_080, 100_080, (30, 60, 120, 240, 360)),
        3: (Unit.DEGREE, 1, 1, (0.0001, 0.0002)),
        6: (Unit.METRE, 100_000, 100_000, (40, 50, 100)),
        7: (Unit.METRE, 20_000, 20_000, (10, 20)),
    }
    assert find_grid(3).to_wire() == {
        "id": 3,
        "name": "WGS84 1 degree grid",
        "properties": {"tileWidth": 1.0, "tileHeight": 1.0, "resolutions": [0.0001, 0.0002], "unit": "DEGREE"},
    }


def test_every_resolution_divides_its_tiles_evenly() -> None:
    for grid in GRIDS.values():
        for resolution in grid.resolutions:
            assert (grid.tile_width / resolution) == pytest.approx(round(grid.tile_width / resolution), abs=1e-9)


def test_a_wrong_grid_or_resolution_names_what_there_is() -> None:
    with pytest.raises(NotFound, match=r"no tiling grid 4; there are 0 \(UTM 20km grid\), 1 "):
        find_grid(4)
    with pytest.raises(RequestInvalid, match="no tiling grid 5") as unknown:
        grid_of(TilingGridInput(type="tiling-grid", id=5, resolution=10))
    assert unknown.value.parameter == "input->id"
    with pytest.raises(RequestInvalid, match=r"no resolution 30; it offers 10, 20 \(metres\)") as refused:
        grid_of(TilingGridInput(type="tiling-grid", id=1, resolution=30))
    assert refused.value.parameter == "input->resolution"
    with pytest.raises(RequestInvalid, match=r"it offers 0\.0001, 0\.0002 \(degrees\)"):
        next(tiles_over(GRIDS[3], shapely.box(14, 45, 15, 46), 10))


def test_corners_are_those_of_published_tiles(world: dict[str, GridTile]) -> None:
    for line in PUBLISHED.replace("\n", "|").split("|"):
        if line.strip():
            square, epsg, left, top = line.split()
            tile = world[f"{square}_0_0"]
            assert (tile.epsg, tile.grid.x0, tile.grid.y0) == (int(epsg), float(left), float(top)), square
            assert (tile.grid.width, tile.grid.height) == (1668, 1668)


def test_squares_of_a_zone_are_those_that_are_published(world: dict[str, GridTile]) -> None:
    # 33U: no column T, whose part of the zone lies in tiles of zone 32; column Y as far north as the zone is that wide
    rows = {"U": "ABPQRSTUV", "V": "ABPQRSTUV", "W": "ABPQRSTUV", "X": "ABPQRSTUV", "Y": "PQRSTUV"}
    expected = {f"33U{column}{row}_0_0" for column, there in rows.items() for row in there}
    assert {name for name in world if name.startswith("33U")} == expected
    assert not [name for name in world if name.startswith("34UB")]


def test_norway_and_svalbard_have_zones_of_their_own(world: dict[str, GridTile]) -> None:
    assert not [name for name in world if name[:3] in ("32X", "34X", "36X")]
    bergen = names(0, shapely.box(5.3, 60.3, 5.4, 60.4), 10)
    assert {name[:3] for name in bergen} == {"32V"}
    longyearbyen = names(0, shapely.box(15.5, 78.2, 15.6, 78.25), 10)
    assert {name[:3] for name in longyearbyen} == {"33X"}


def test_tiles_of_a_square_are_counted_from_its_upper_left() -> None:
    aoi = shapely.box(1.95, 50.95, 2.05, 51.05)
    assert names(1, aoi, 10) == ["31UDS_2_4", "31UDS_3_4", "31UDS_2_5", "31UDS_3_5"]
    (first, *_) = tiles_over(GRIDS[1], aoi, 10)
    assert first.grid.bounds == (420_000, 5_650_000, 430_000, 5_660_000)
    (only,) = tiles_over(GRIDS[0], aoi, 60)
    # 399960 is Sentinel-2's own corner of 31UDS
    assert (only.name, only.epsg) == ("31UDS_1_2", 32631)
    assert only.grid.bounds == (399_960 + 20_040, 5_700_000 - 3 * 20_040, 399_960 + 2 * 20_040, 5_700_000 - 2 * 20_040)
    assert (only.grid.width, only.grid.height, only.grid.dx, only.grid.dy) == (334, 334, 60, 60)
    assert only.footprint.equals(shapely.box(*only.grid.bounds))


def test_a_square_has_five_by_five_tiles_of_20_km_and_ten_by_ten_of_10_km() -> None:
    square = project(shapely.box(505_000, 5_005_000, 595_000, 5_095_000), 32633, 4326)
    for grid, side in ((0, 5), (1, 10)):
        found = [name for name in names(grid, square, 20) if name.startswith("33TWL_")]
        assert sorted(found) == sorted(f"33TWL_{column}_{row}" for column in range(side) for row in range(side))


def test_degree_and_laea_tiles_are_named_by_their_lower_left_corner() -> None:
    assert names(3, shapely.box(14.2, 45.2, 15.1, 45.4), 0.0001) == ["N45E014", "N45E015"]
    assert names(3, shapely.box(-0.5, -0.5, 0.5, 0.5), 0.0002) == ["N00W001", "N00E000", "S01W001", "S01E000"]
    (degree,) = tiles_over(GRIDS[3], shapely.box(14.2, 45.2, 14.4, 45.4), 0.0001)
    assert (degree.epsg, degree.grid.x0, degree.grid.y0, degree.grid.width) == (4326, 14, 46, 10_000)
    aoi = make_aoi((4_650_000, 2_550_000, 4_655_000, 2_555_000), None, 3035)
    (large,) = tiles_over(GRIDS[6], aoi, 50)
    (small,) = tiles_over(GRIDS[7], aoi, 10)
    assert (large.name, large.epsg, large.grid.bounds) == ("E46N25", 3035, (4.6e6, 2.5e6, 4.7e6, 2.6e6))
    assert (small.name, small.grid.bounds, small.grid.width) == ("E464N254", (4.64e6, 2.54e6, 4.66e6, 2.56e6), 2000)


def test_laea_reaches_from_the_azores_to_turkey_and_svalbard_and_no_further() -> None:
    for lon, lat in ((-31.2, 39.5), (-18, 27.7), (-24.5, 65.5), (44.5, 39.7), (34, 80.5), (33, 35)):
        assert names(6, shapely.Point(lon, lat).buffer(0.01), 100), (lon, lat)
    for lon, lat in ((-75, 40), (100, 30), (120, 60), (-150, -20)):
        assert not names(6, shapely.Point(lon, lat).buffer(0.01), 100), (lon, lat)


@pytest.mark.parametrize(("grid", "resolution"), [(0, 10), (1, 20), (2, 60), (6, 100), (7, 10)])
def test_a_tile_as_area_gives_that_tile_and_not_those_it_only_touches(grid: int, resolution: float) -> None:
    start = next(iter(tiles_over(GRIDS[grid], shapely.Point(15.5, 46.3).buffer(1e-5), resolution)))
    aoi = make_aoi(start.grid.bounds, None, start.epsg)
    found = list(tiles_over(GRIDS[grid], aoi, resolution))
    assert start.name in [tile.name for tile in found]
    overlapping = [tile for tile in found if tile.epsg == start.epsg]
    for tile in overlapping:
        west, south, east, north = shapely.intersection(tile.footprint, start.footprint).bounds
        assert min(east - west, north - south) >= resolution, tile.name
    if grid in (1, 6, 7):
        assert len(overlapping) == 1


def test_buffers_move_the_corner_by_whole_pixels() -> None:
    aoi = shapely.Point(15.5, 46.3).buffer(1e-5)
    (plain,) = tiles_over(GRIDS[1], aoi, 20)
    (buffered,) = tiles_over(GRIDS[1], aoi, 20, buffer_x=5, buffer_y=50)
    assert buffered.name == plain.name
    assert (buffered.grid.width, buffered.grid.height) == (plain.grid.width + 10, plain.grid.height + 100)
    assert (buffered.grid.x0, buffered.grid.y0) == (plain.grid.x0 - 100, plain.grid.y0 + 1000)


def test_neighbours_lie_on_one_pixel_lattice_overlaps_included() -> None:
    corner = project(shapely.box(598_000, 5_098_000, 602_000, 5_102_000), 32633, 4326)
    tiles = list(tiles_over(GRIDS[0], corner, 60))
    assert len(tiles) == 4
    for first, second in itertools.pairwise(tiles):
        assert (first.grid.x0 - second.grid.x0) % 60 == 0
        assert (first.grid.y0 - second.grid.y0) % 60 == 0


def test_an_area_over_180_degrees_may_be_written_either_way() -> None:
    beyond = names(2, shapely.box(179.5, -18, 180.5, -17), 60)
    split = names(2, shapely.union(shapely.box(179.5, -18, 180, -17), shapely.box(-180, -18, -179.5, -17)), 60)
    assert beyond == split
    assert {name[:2] for name in beyond} == {"01", "60"}
    degrees = names(3, shapely.box(179.5, -17.8, 180.5, -17.2), 0.0002)
    assert sorted(degrees) == ["S18E179", "S18W180"]


def test_order_is_the_same_every_time_and_tiles_come_one_by_one() -> None:
    aoi = shapely.box(10, 44, 14, 48)
    assert names(0, aoi, 10) == names(0, aoi, 10)
    europe = tiles_over(GRIDS[0], shapely.box(-25, 34, 45, 72), 10)
    assert len(list(itertools.islice(europe, 3))) == 3


def test_all_of_europe_has_no_name_twice() -> None:
    found = names(0, shapely.box(-25, 34, 45, 72), 10)
    assert len(found) == len(set(found)) > 40_000


def test_an_empty_area_has_no_tiles() -> None:
    for grid in GRIDS.values():
        assert not list(tiles_over(grid, shapely.Polygon(), grid.resolutions[0]))


def test_bounds_become_an_area() -> None:
    square = {"type": "Polygon", "coordinates": [[[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]]]}
    assert make_aoi((1, 3, 3, 1), None, 4326).equals(shapely.box(1, 1, 3, 3))
    assert make_aoi((1, 1, 3, 3), square, 4326).equals(shapely.box(1, 1, 2, 2))
    assert make_aoi(None, None, 4326) is None
    there = make_aoi((500_000, 5_000_000, 600_000, 5_100_000), None, 32633)
    back = project(there, 4326, 32633)
    assert np.allclose(back.bounds, (500_000, 5_000_000, 600_000, 5_100_000), atol=1e-3)
    assert back.symmetric_difference(shapely.box(500_000, 5_000_000, 600_000, 5_100_000)).area < 2000
    bow = {"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]}
    for arguments, message in (
        (((5, 5, 6, 6), square, 4326), "hold no area"),
        (((5, 5, 5, 6), None, 4326), "hold no area"),
        ((None, bow, 4326), "no valid polygon: Self-intersection"),
        ((None, {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}, 4326), "closed rings"),
        (((1e9, 1e9, 2e9, 2e9), None, 32633), "lie outside what EPSG:32633 covers"),
    ):
        with pytest.raises(RequestInvalid, match=message):
            make_aoi(*arguments)
