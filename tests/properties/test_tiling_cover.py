"""What always holds of the tiling grids: all ground within their latitudes is in a tile, and it is a tile of its zone."""

from __future__ import annotations

import math

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from swathe.grids.tiling import GRIDS, tiles_over

LATITUDES = {0: 80.6, 1: 80.5, 2: 81.0, 3: 89.9}


@pytest.mark.parametrize("grid", sorted(LATITUDES))
def test_every_place_lies_in_a_tile(grid: int) -> None:
    limit = LATITUDES[grid]

    # many places lie near the borders of zones, squares and hemispheres
    longitudes = st.one_of(
        st.floats(-179.99, 179.99),
        st.builds(lambda zone, off: zone * 6.0 - 180 + off, st.integers(1, 59), st.floats(-0.6, 0.6)),
        st.floats(-1.0, 43.0),
    )
    latitudes = st.one_of(st.floats(-limit, limit), st.floats(-0.01, 0.01), st.floats(55.9, 72.1))

    @settings(max_examples=40, deadline=None)
    @given(lon=longitudes, lat=latitudes)
    def check(lon: float, lat: float) -> None:
        place = shapely.box(lon - 1e-6, lat - 1e-6, lon + 1e-6, lat + 1e-6)
        found = list(tiles_over(GRIDS[grid], place, GRIDS[grid].resolutions[0]))
        holding = []
        for tile in found:
            x, y = Transformer.from_crs(4326, tile.epsg, always_xy=True).transform(lon, lat)
            if tile.footprint.buffer(0.5 if grid != 3 else 1e-6).contains(shapely.Point(x, y)):
                holding.append(tile.name)
        assert holding, (lon, lat, [tile.name for tile in found])
        assert len(found) <= 12
        if grid == 1 and abs(lon / 6 - math.floor(lon / 6 + 0.5)) > 0.1 and lat < 56:
            zone = math.floor((lon + 180) / 6) + 1
            assert all(int(name[:2]) == zone for name in holding)

    check()
