"""The images of a batch request, one after the other in an order that is always the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from swathe.features.areas import open_areas, read_areas
from swathe.grids.aoi import make_aoi
from swathe.grids.tiling import find_resolution, grid_of, tiles_over
from swathe.jobs.process_manifest import Tile
from swathe.model.errors import LimitExceeded, RequestInvalid
from swathe.model.process import BatchProcessRequest, TilingGridInput
from swathe.settings import LimitSettings

_BOUNDS = "processRequest->input->bounds"


class TileSource:
    """Gives the tiles of a request; may be asked more than once. `geopackage` is the user's, fetched."""

    def __init__(self, request: BatchProcessRequest, geopackage: Path | None, limits: LimitSettings) -> None:
        """Raises:
        RequestInvalid: the area, the grid or the resolution is none.
        FeaturesInvalid, LimitExceeded: the GeoPackage cannot be used.
        """
        self._input = request.input
        self._limits = limits
        bounds = request.process_request.input.bounds
        self._aoi: Any = make_aoi(bounds.bbox, bounds.polygons, bounds.to_epsg(_BOUNDS))
        self._areas = None
        if isinstance(self._input, TilingGridInput):
            self._grid = grid_of(self._input)
        elif geopackage is not None:
            self._areas = open_areas(geopackage, max_features=limits.features)

    def __iter__(self) -> Iterator[Tile]:
        """The tiles.

        Raises:
            RequestInvalid: there are none, too many, or one is too large.
            FeaturesInvalid: a feature of the GeoPackage cannot be used.
        """
        count = 0
        for tile in self._tiles():
            count += 1
            if count > self._limits.features:
                raise LimitExceeded(
                    f"The area has more than {self._limits.features:,} tiles, which is the most; make it smaller",
                    _BOUNDS,
                )
            side = max(tile.grid.width, tile.grid.height)
            if side > self._limits.side_cells:
                raise LimitExceeded(
                    f"The image '{tile.identifier}' would have {side:,} pixels a side;"
                    f" at most {self._limits.side_cells:,} are allowed",
                    "input",
                )
            yield tile
        if not count:
            what = "tile of the grid" if self._areas is None else "feature of the GeoPackage"
            raise RequestInvalid(f"No {what} lies over the area of interest; look at its coordinates and CRS", _BOUNDS)

    def _tiles(self) -> Iterator[Tile]:
        wanted = self._input
        if isinstance(wanted, TilingGridInput):
            for tile in tiles_over(self._grid, self._aoi, wanted.resolution, wanted.buffer_x, wanted.buffer_y):
                yield Tile(tile.name, tile.grid, tile.footprint)
        elif self._areas is not None:
            for batch in read_areas(self._areas, wanted.defaults, aoi=self._aoi):
                for area in batch:
                    yield Tile(area.identifier, area.grid, area.geometry)


def pixel_of(request: BatchProcessRequest) -> float | None:
    """The side of a tiling grid's pixels in units of its CRS; None with a GeoPackage."""
    wanted = request.input
    return find_resolution(grid_of(wanted), wanted.resolution) if isinstance(wanted, TilingGridInput) else None
