"""The tiling grids of Batch Processing V2 and their tiles over an area.

Grids, sizes and resolutions are the provider's. Names of tiles: `tiling_utm` says how UTM tiles are called; a tile of one
degree is called by its lower left corner, `N45E014`; a LAEA tile by its lower left corner in units of 100 km or 10 km,
`E44N25` and `E440N254`. The LAEA grids reach as far as the documents say (Turkey, Iceland, Svalbard, the Azores and the
Canary Islands): 900 to 7400 km east, 900 to 6500 km north.

Tiles are whole pixels from whole pixels of their CRS, so neighbours share their borders, buffers their pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import shapely

from swathe.grids.aoi import LONLAT, project
from swathe.grids.raster_grid import RasterGrid
from swathe.grids.tiling_utm import UtmLayout, shifted, utm_tiles
from swathe.model.errors import NotFound, RequestInvalid
from swathe.model.process import TilingGridInput

LAEA = 3035
_LAEA_BOUNDS = (900_000, 900_000, 7_400_000, 6_500_000)
_INSET = 1e-6
# What the numbers in a LAEA tile's name are multiples of, by the tile's size, in metres.
_NAMED_BY_M = {100_000: 100_000, 20_000: 10_000}

Geometry = Any


class Unit(StrEnum):
    """What lengths of a grid are counted in."""

    METRE = "METRE"
    DEGREE = "DEGREE"


@dataclass(frozen=True)
class TilingGrid:
    """One of the grids; `tile_width`, `tile_height` and `resolutions` are in its unit."""

    id: int
    name: str
    unit: Unit
    tile_width: float
    tile_height: float
    resolutions: tuple[float, ...]
    utm: UtmLayout | None = None

    def to_wire(self) -> dict[str, Any]:
        """As the tiling-grids resource answers it."""
        return {
            "id": self.id,
            "name": self.name,
            "properties": {
                "tileWidth": self.tile_width,
                "tileHeight": self.tile_height,
                "resolutions": list(self.resolutions),
                "unit": self.unit.value,
            },
        }


@dataclass(frozen=True)
class GridTile:
    """A tile: its grid with the buffer around it, and the same as a polygon in the CRS `epsg`."""

    name: str
    epsg: int
    grid: RasterGrid
    footprint: Geometry


def _utm(number: int, name: str, tile_m: int, per_side: int, limit: float, *resolutions: float) -> TilingGrid:
    layout = UtmLayout(tile_m, per_side, limit)
    return TilingGrid(number, name, Unit.METRE, float(tile_m), float(tile_m), resolutions, layout)


# Latitudes as documented; published mosaics on grid 2 have tiles whose lower edge is at 81.06°.
GRIDS: dict[int, TilingGrid] = {
    grid.id: grid
    for grid in (
        _utm(0, "UTM 20km grid", 20_040, 5, 80.7, 10.0, 20.0, 30.0, 60.0),
        _utm(1, "UTM 10km grid", 10_000, 10, 80.6, 10.0, 20.0),
        _utm(2, "UTM 100km grid", 100_080, 1, 81.1, 30.0, 60.0, 120.0, 240.0, 360.0),
        TilingGrid(3, "WGS84 1 degree grid", Unit.DEGREE, 1.0, 1.0, (0.0001, 0.0002)),
        TilingGrid(6, "LAEA 100km grid", Unit.METRE, 100_000.0, 100_000.0, (40.0, 50.0, 100.0)),
        TilingGrid(7, "LAEA 20km grid", Unit.METRE, 20_000.0, 20_000.0, (10.0, 20.0)),
    )
}


def find_grid(number: int) -> TilingGrid:
    """The grid with an id.

    Raises:
        NotFound: there is none.
    """
    grid = GRIDS.get(number)
    if grid is None:
        listed = ", ".join(f"{known.id} ({known.name})" for known in GRIDS.values())
        raise NotFound(f"There is no tiling grid {number}; there are {listed}")
    return grid


def find_resolution(grid: TilingGrid, resolution: float, parameter: str = "input->resolution") -> float:
    """The grid's own number for a resolution.

    Raises:
        RequestInvalid: the grid does not offer it; the message lists those it does.
    """
    for offered in grid.resolutions:
        if math.isclose(resolution, offered, rel_tol=1e-9):
            return offered
    listed = ", ".join(f"{offered:g}" for offered in grid.resolutions)
    unit = grid.unit.value.lower()
    raise RequestInvalid(
        f"Tiling grid {grid.id} ({grid.name}) has no resolution {resolution:g}; it offers {listed} ({unit}s)", parameter
    )


def grid_of(wanted: TilingGridInput) -> TilingGrid:
    """The grid that a batch request names, which offers the resolution it names.

    Raises:
        RequestInvalid: there is no such grid, or it does not offer the resolution.
    """
    try:
        grid = find_grid(wanted.id)
    except NotFound as error:
        raise RequestInvalid(error.message, "input->id") from None
    find_resolution(grid, wanted.resolution)
    return grid


def tiles_over(
    grid: TilingGrid, aoi: Geometry, resolution: float, buffer_x: int = 0, buffer_y: int = 0
) -> Iterator[GridTile]:
    """The tiles that share ground with an area, each of them whole, in the same order every time.

    Tiles that only touch the area are not among them. They come as they are found: nothing is held.

    Args:
        grid: one of `GRIDS`.
        aoi: polygons in longitude and latitude (x is longitude); may reach beyond 180°.
        resolution: one that the grid offers, in its unit.
        buffer_x: pixels by which each tile grows on its left and on its right.
        buffer_y: pixels by which it grows above and below.

    Raises:
        RequestInvalid: the grid does not offer the resolution.
    """
    pixel = find_resolution(grid, resolution)
    for name, epsg, left, top in _corners(grid, aoi):
        width, height = round(grid.tile_width / pixel), round(grid.tile_height / pixel)
        tile = RasterGrid(epsg, float(left), float(top), pixel, pixel, width, height)
        if buffer_x or buffer_y:
            tile = replace(
                tile,
                x0=tile.x0 - buffer_x * pixel,
                y0=tile.y0 + buffer_y * pixel,
                width=width + 2 * buffer_x,
                height=height + 2 * buffer_y,
            )
        yield GridTile(name, epsg, tile, shapely.box(*tile.bounds))


def _corners(grid: TilingGrid, aoi: Geometry) -> Iterator[tuple[str, int, int, int]]:
    """Name, EPSG code and upper left corner of each tile over an area."""
    if aoi.is_empty:
        return
    if grid.utm is not None:
        for tile in utm_tiles(grid.utm, aoi):
            yield tile.name, tile.square.zone.epsg, tile.left, tile.top
    elif grid.unit is Unit.DEGREE:
        pieces = [shifted(aoi, shift) for shift in (-360.0, 0.0, 360.0)]
        world = shapely.clip_by_rect(shapely.union_all(pieces), -180, -90, 180, 90)
        for left, bottom in _lattice(world, 1, (-180, -90, 180, 90)):
            yield _degree_name(left, bottom), LONLAT, left, bottom + 1
    else:
        size = round(grid.tile_width)
        unit = _NAMED_BY_M[size]
        # The projection has no sense at the other end of the world.
        near = shapely.clip_by_rect(aoi, -80, 0, 100, 90)
        if not near.is_empty:
            for left, bottom in _lattice(project(near, LONLAT, LAEA), size, _LAEA_BOUNDS):
                yield f"E{left // unit:02d}N{bottom // unit:02d}", LAEA, left, bottom + size


def _degree_name(left: int, bottom: int) -> str:
    return f"{'N' if bottom >= 0 else 'S'}{abs(bottom):02d}{'E' if left >= 0 else 'W'}{abs(left):03d}"


def _lattice(area: Geometry, size: int, bounds: tuple[int, int, int, int]) -> Iterator[tuple[int, int]]:
    """Left and lower borders of the squares of a lattice within bounds that share ground with an area, from the north."""
    if area.is_empty:
        return
    west, south, east, north = area.bounds
    first, last = max(math.floor(west / size), bounds[0] // size), min(math.ceil(east / size), bounds[2] // size)
    bottom, top = max(math.floor(south / size), bounds[1] // size), min(math.ceil(north / size), bounds[3] // size)
    if first >= last:
        return
    columns = np.arange(first, last, dtype=np.float64)
    shapely.prepare(area)
    for row in range(top - 1, bottom - 1, -1):
        boxes = shapely.box(
            (columns + _INSET) * size, (row + _INSET) * size, (columns + 1 - _INSET) * size, (row + 1 - _INSET) * size
        )
        for column in columns[shapely.intersects(area, boxes)].astype(np.int64).tolist():
            yield column * size, row * size
