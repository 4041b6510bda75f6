"""Coordinates and resolutions at the end of the numbers: refused with a reason, or bounded."""

from __future__ import annotations

from typing import Any

import pytest

from swathe.grids.aoi import make_aoi
from swathe.grids.sample_grid import box_size
from swathe.model.errors import RequestInvalid

SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [1000, 0], [1000, 1000], [0, 1000], [0, 0]]]}


@pytest.mark.parametrize("far", [1e30, -1e30, 1e308, 2.5e8])
@pytest.mark.parametrize("geometry", [None, SQUARE])
@pytest.mark.parametrize("epsg", [4326, 3857, 32633])
def test_a_box_that_reaches_beyond_every_system_is_refused(far: float, geometry: Any, epsg: int) -> None:
    with pytest.raises(RequestInvalid, match=f"lie outside what EPSG:{epsg} covers") as refused:
        make_aoi((0.0, 0.0, far, 1000.0), geometry, epsg, parameter="input->bounds")
    assert refused.value.parameter == "input->bounds"


def test_the_whole_of_web_mercator_is_taken() -> None:
    area = make_aoi((-20_037_508.0, -20_037_508.0, 20_037_508.0, 20_037_508.0), None, 3857)
    assert area is not None
    assert area.bounds == pytest.approx((-180.0, -85.05, 180.0, 85.05), abs=0.01)


def test_a_side_of_uncountable_cells_has_as_many_as_can_be_counted() -> None:
    assert box_size(600.0, 5e-324) == box_size(1e308, 1e-10) == 2**31 - 1
