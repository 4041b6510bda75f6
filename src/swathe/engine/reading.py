"""Reads the bands of a scene at the cells of some features: each needed block once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np

from swathe.catalog.collections import DN, REFLECTANCE, Collection
from swathe.catalog.scene import BandSource, Scene
from swathe.engine.inputs import BandInput
from swathe.grids.cover import Cells
from swathe.grids.sample_grid import SampleGrids
from swathe.model.errors import BandMissing
from swathe.rasters.blocks import BlockReader
from swathe.rasters.source import RasterInfo, SourceGrid
from swathe.sampling.gather import blocks_with, gather_block
from swathe.sampling.locate import CellBlocks, locate
from swathe.sampling.mosaic import Mask, SceneBand

_KEPT_INDEXES = 6


class CellIndex:
    """Where the cells lie in each source grid; the last few grids are kept, since scenes mostly share theirs."""

    def __init__(self, cells: Cells, grids: SampleGrids) -> None:
        self.cells = cells
        self._grids = grids
        self._kept: OrderedDict[tuple[SourceGrid, int, int], CellBlocks] = OrderedDict()

    def of(self, info: RasterInfo) -> CellBlocks:
        """The blocks of a raster that hold the cells."""
        key = (info.grid, info.block_width, info.block_height)
        found = self._kept.get(key)
        if found is None:
            found = locate(self.cells, self._grids, info.grid, info.block_width, info.block_height)
            self._kept[key] = found
            while len(self._kept) > _KEPT_INDEXES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return found


class SceneReader:
    """Reads scenes of one data source for the cells of an index."""

    def __init__(
        self, reader: BlockReader, index: CellIndex, collection: Collection, bands: Sequence[BandInput]
    ) -> None:
        self._reader = reader
        self._index = index
        self._collection = collection
        self._bands = bands

    def fetch(self, scene: Scene, wanted: Mask | None) -> Mapping[str, SceneBand]:
        """Every band of a scene at the cells; only blocks with a wanted cell (all if None) are read."""
        by_file: dict[str, list[tuple[BandInput, BandSource]]] = {}
        for band in self._bands:
            place = place_of(scene, band)
            by_file.setdefault(place.asset.href, []).append((band, place))
        found: dict[str, SceneBand] = {}
        for href, members in by_file.items():
            found.update(self._read_file(href, members, wanted))
        if self._collection.mask_asset is not None:
            self._mask_with(self._collection.mask_asset, scene, found, wanted)
        return {band.name: found[band.name] for band in self._bands}

    def _read_file(
        self, href: str, members: Sequence[tuple[BandInput, BandSource]], wanted: Mask | None
    ) -> dict[str, SceneBand]:
        info = self._reader.info(href)
        numbers = tuple(dict.fromkeys(place.index for _, place in members))
        # what marks no data is the item's word, else the collection's, else the file's
        nodata = {place.index: info.nodata if place.nodata is None else place.nodata for _, place in members}
        values, has_data = self._read(info, numbers, nodata, wanted)
        found = {}
        for band, place in members:
            at = numbers.index(place.index)
            scale, offset = band.definition.factors(band.unit, place)
            stored = values[at]
            if band.definition.harmonized and offset < 0 < scale and band.unit in (DN, REFLECTANCE):
                stored = np.maximum(stored, np.asarray(np.ceil(round(-offset / scale, 6)), stored.dtype))
            found[band.name] = SceneBand(stored, has_data[at], scale, offset, band.definition.masks)
        return found

    def _read(
        self, info: RasterInfo, numbers: tuple[int, ...], nodata: Mapping[int, float | None], wanted: Mask | None
    ) -> tuple[list[np.ndarray], list[Mask]]:
        at = self._index.of(info)
        count = self._index.cells.count
        values = [np.zeros(count, info.dtype) for _ in numbers]
        has_data = [np.zeros(count, np.uint8) for _ in numbers]
        needed = range(len(at.blocks)) if wanted is None else blocks_with(at, wanted)
        place = {(int(at.blocks[i, 0]), int(at.blocks[i, 1])): int(i) for i in needed}
        for block, pixels in self._reader.read_blocks(info.href, numbers, list(place)):
            for k, number in enumerate(numbers):
                gather_block(pixels[k], at, place[block], values[k], has_data[k], nodata[number])
        return values, has_data

    def _mask_with(self, key: str, scene: Scene, found: dict[str, SceneBand], wanted: Mask | None) -> None:
        """Takes away what the scene's own mask says is no data (0)."""
        asset = scene.assets.get(key)
        if asset is None:
            return
        info = self._reader.info(asset.href)
        values, has_data = self._read(info, (1,), {1: None}, wanted)
        has_data[0] &= (values[0] != 0).view(np.uint8)
        for band in found.values():
            np.bitwise_and(band.has_data, has_data[0], out=band.has_data)


def place_of(scene: Scene, band: BandInput) -> BandSource:
    """Where a scene keeps a band.

    Raises:
        BandMissing: it does not have it.
    """
    place = scene.asset_for(band.definition)
    if place is None:
        raise BandMissing(f"Scene {scene.id} of collection '{scene.collection}' has no band {band.name}")
    return place
