"""Small Zarr groups: four LAEA tiles of 8 x 12 pixels in a 3 x 2 arrangement with two places left free."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from swathe.grids.raster_grid import RasterGrid
from swathe.model.process_zarr import ZarrOutput
from swathe.model.time import TimeRange
from swathe.outputs.zarr_plan import ZarrPlan, plan_zarr

WIDTH, HEIGHT = 8, 12
SPAN = TimeRange(datetime(2019, 4, 1, tzinfo=UTC), datetime(2019, 6, 30, tzinfo=UTC))
MODIFIED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass(frozen=True)
class Image:
    id: str
    sample_type: str = "uint16"
    bands: int = 1


def tile(column: int, row: int, *, epsg: int = 3035, pixel: float = 100.0) -> RasterGrid:
    """A tile counted to the right and down from a corner."""
    left, top = (4_300_000.0, 2_600_000.0) if epsg == 3035 else (8.0, 43.0)
    return RasterGrid(epsg, left + column * WIDTH * pixel, top - row * HEIGHT * pixel, pixel, pixel, WIDTH, HEIGHT)


TILES = (tile(1, 0), tile(0, 1), tile(2, 1), tile(1, 1))


def wire(**changes: Any) -> dict[str, Any]:
    """`output` of a request; `group`, `arrayParameters` and `arrayOverrides` are merged with the defaults."""
    return {
        "type": "zarr",
        "delivery": {"s3": {"url": "s3://results/<requestId>"}},
        "group": {"zarr_format": 2, **changes.get("group", {})},
        "arrayParameters": {
            "dtype": "<u2",
            "order": "C",
            "chunks": [1, 4, 4],
            "fill_value": 0,
            **changes.get("arrayParameters", {}),
        },
        "arrayOverrides": changes.get("arrayOverrides", {}),
    }


def make_plan(
    images: tuple[Image, ...] = (Image("red"),),
    tiles: tuple[RasterGrid, ...] = TILES,
    *,
    url: str = "s3://results/group",
    zarr_format: int = 2,
    **changes: Any,
) -> ZarrPlan:
    output = ZarrOutput.model_validate(wire(**changes))
    if zarr_format != 2:  # which requests cannot ask for
        output = output.model_copy(update={"group": output.group.model_copy(update={"zarr_format": zarr_format})})
    return plan_zarr(output, images, tiles, times=[SPAN], url=url, modified=MODIFIED)


def picture(grid: RasterGrid, dtype: str = "uint16") -> npt.NDArray[Any]:
    """(rows, columns) of numbers from 1 on, all different, the same for a pixel whatever tile it is in."""
    place = grid.lattice
    origin = tile(0, 0, epsg=grid.epsg, pixel=grid.dx).lattice
    rows = np.arange(grid.height)[:, None] + place.row - origin.row
    columns = np.arange(grid.width)[None] + place.column - origin.column
    return (rows * 3 * WIDTH + columns + 1).astype(dtype)


def mosaic(plan: ZarrPlan, tiles: tuple[RasterGrid, ...] = TILES, *, dtype: str = "uint16", fill: float = 0) -> Any:
    """What the array should hold, north up."""
    whole = np.full(plan.shape[1:], fill, dtype)
    for one in tiles:
        row, column = plan.place(one)
        whole[row : row + HEIGHT, column : column + WIDTH] = picture(one, dtype)
    return whole


def moved(grid: RasterGrid, **changes: Any) -> RasterGrid:
    return replace(grid, **changes)
