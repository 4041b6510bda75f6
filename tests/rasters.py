"""Images by the engine over small made-up catalogs, and the same by hand: whole rasters, NumPy, pyproj."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from pyproj import Transformer

from swathe.engine.compute import Engine
from swathe.engine.raster import RenderedRaster
from swathe.grids.raster_grid import RasterGrid
from swathe.model.process import ProcessRequest
from swathe.settings import Settings

LEFT, TOP = 500_000.0, 5_100_000.0
JUNE = {"from": "2020-06-01T00:00:00Z", "to": "2020-07-01T00:00:00Z"}


def process_request(script: str, *, data: Sequence[Mapping[str, Any]] | None = None, **source: Any) -> ProcessRequest:
    """A request over June 2020; `source` are keys of `dataFilter` or `processing` of the one data source."""
    if data is None:
        processing = {key: source.pop(key) for key in ("upsampling", "downsampling") if key in source}
        data = [{"type": "sentinel-2-l2a", "dataFilter": {"timeRange": JUNE, **source}, "processing": processing}]
    return ProcessRequest.model_validate({"input": {"data": list(data)}, "evalscript": script})


def utm(column: float, row: float, width: int, height: int, *, cell: float = 10.0, epsg: int = 32633) -> RasterGrid:
    """A grid whose corner lies so many pixels of 10 m right of and below that of the made-up scenes."""
    return RasterGrid(epsg, LEFT + column * 10, TOP - row * 10, cell, cell, width, height)


def near(epsg: int, column: float, row: float, width: int, height: int, *, cell: float = 10.0) -> RasterGrid:
    """A grid in another CRS near the corner of the made-up scenes, on the lattice of whole cells."""
    x, y = Transformer.from_crs(32633, epsg, always_xy=True).transform(LEFT + column * 10, TOP - row * 10)
    return RasterGrid(epsg, round(x / cell) * cell, round(y / cell) * cell, cell, cell, width, height)


def lonlat(column: float, row: float, width: int, height: int) -> RasterGrid:
    """The same in degrees."""
    return near(4326, column, row, width, height, cell=0.0001)


@dataclass
class Made:
    """An image in memory, and how it was made."""

    arrays: dict[str, np.ndarray]
    mask: np.ndarray
    raster: RenderedRaster
    strips: int


def render(settings: Settings, request: ProcessRequest, grid: RasterGrid, *, lanes: int = 2, **how: Any) -> Made:
    """The whole image; strips must follow one another."""
    with Engine(settings, lanes=lanes) as engine:
        return render_with(engine, request, grid, **how)


def render_with(engine: Engine, request: ProcessRequest, grid: RasterGrid, **how: Any) -> Made:
    raster = engine.process_strips(request, grid, **how)
    row, parts, masks = 0, [], []
    for strip in raster.strips:
        assert strip.first_row == row
        row += len(strip.data_mask)
        parts.append(strip.arrays)
        masks.append(strip.data_mask)
    assert row == grid.height
    arrays = {output.id: np.concatenate([part[output.id] for part in parts], axis=1) for output in raster.outputs}
    for output in raster.outputs:
        assert arrays[output.id].shape == (output.bands, grid.height, grid.width)
        assert arrays[output.id].dtype == output.dtype
    return Made(arrays, np.concatenate(masks), raster, len(parts))


def sampled(path: Path, grid: RasterGrid, *, overview: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The nearest pixels at the cells of a grid, all cells transformed one by one, and where the raster has any."""
    options = {} if overview is None else {"overview_level": overview}
    with rasterio.open(path, **options) as file:
        values, transform, epsg = file.read(1), file.transform, file.crs.to_epsg()
    x, y = np.meshgrid(
        grid.x0 + (np.arange(grid.width) + 0.5) * grid.dx, grid.y0 - (np.arange(grid.height) + 0.5) * grid.dy
    )
    if epsg != grid.epsg:
        x, y = Transformer.from_crs(grid.epsg, epsg, always_xy=True).transform(x, y)
    columns = np.floor(np.round((x - transform.c) / transform.a, 7)).astype(int)
    rows = np.floor(np.round((y - transform.f) / transform.e, 7)).astype(int)
    inside = (columns >= 0) & (columns < values.shape[1]) & (rows >= 0) & (rows < values.shape[0])
    found = values[np.clip(rows, 0, values.shape[0] - 1), np.clip(columns, 0, values.shape[1] - 1)]
    return np.where(inside, found, 0), inside


def mosaicked(paths: Sequence[Mapping[str, Path]], grid: RasterGrid) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Bands of the first scene, in this order, whose bands all differ from 0; and where there is any."""
    filled = np.zeros((grid.height, grid.width), bool)
    bands = {name: np.zeros(filled.shape) for name in paths[0]}
    for scene in paths:
        layer = {name: sampled(path, grid)[0] for name, path in scene.items()}
        new = np.all([values != 0 for values in layer.values()], axis=0) & ~filled
        for name, values in layer.items():
            bands[name][new] = values[new]
        filled |= new
    return bands, filled
