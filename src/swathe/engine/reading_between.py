"""Reads the bands of a scene between its pixels, for data sources that ask for BILINEAR or BICUBIC."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np

from swathe.catalog.collections import Collection
from swathe.catalog.scene import Scene
from swathe.engine.inputs import BandInput
from swathe.engine.lanes import Lanes
from swathe.engine.reading import CellIndex, SceneReader, Span, block_at, overview_for
from swathe.engine.resampling import choose_methods, interpolated_dtype, is_continuous
from swathe.grids.sample_grid import SampleGrids
from swathe.model.common import Processing, Resampling
from swathe.rasters.blocks import Block, BlockReader
from swathe.rasters.source import RasterInfo
from swathe.sampling.gather import blocks_with, gather_block, is_data
from swathe.sampling.locate import in_turn
from swathe.sampling.mosaic import Mask
from swathe.sampling.neighbours import CellNeighbours, find_neighbours

# The whole of a grid, and each lane's part of it.
_KEPT_INDEXES = 8
_FOUND_AT_ONCE = 250_000


class BetweenReader(SceneReader):
    """Reads scenes of one data source for the cells of an index, by the method that suits each feature and raster.

    May be used by several threads.
    """

    def __init__(
        self,
        reader: BlockReader,
        index: CellIndex,
        collection: Collection,
        bands: Sequence[BandInput],
        cell_m: float,
        *,
        grids: SampleGrids,
        processing: Processing,
    ) -> None:
        """`grids` are those of the features whose cells the index has."""
        super().__init__(reader, index, collection, bands, cell_m)
        self._grids = grids
        self._processing = processing
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[object, ...], CellNeighbours | None] = OrderedDict()

    def _locate(self, scene: Scene, info: RasterInfo, lanes: Lanes) -> None:
        if self._around(info, self._bands_in(scene, info), (0, self._index.cells.count), lanes) is None:
            super()._locate(scene, info, lanes)

    def _expected(self, scene: Scene, info: RasterInfo, wanted: Mask | None, span: Span) -> tuple[int, list[Block]]:
        around = self._around(info, self._bands_in(scene, info), span)
        if around is None:
            return super()._expected(scene, info, wanted, span)
        return overview_for(info, self._cell_m), list(_blocks_of(around, wanted))

    def _read(
        self,
        info: RasterInfo,
        numbers: tuple[int, ...],
        nodata: Mapping[int, float | None],
        wanted: Mask | None,
        span: Span,
        bands: Sequence[BandInput],
    ) -> tuple[list[np.ndarray], list[Mask]]:
        around = self._around(info, bands, span)
        if around is None:
            return super()._read(info, numbers, nodata, wanted, span, bands)
        make = np.empty if wanted is None else np.zeros
        pixels = [make(around.count, info.dtype) for _ in numbers]
        place = _blocks_of(around, wanted)
        for block, found in self._reader.read_blocks(info.href, numbers, list(place), overview_for(info, self._cell_m)):
            for k in range(len(numbers)):
                gather_block(found[k], around.blocks, place[block], pixels[k])
        dtype = interpolated_dtype(info.dtype)
        made = [
            around.interpolate(pixels[k], is_data(pixels[k], nodata[number]), dtype) for k, number in enumerate(numbers)
        ]
        return [values for values, _ in made], [mask for _, mask in made]

    def _bands_in(self, scene: Scene, info: RasterInfo) -> list[BandInput]:
        return [band for band, _ in self._files(scene).get(info.href, ())]

    def _around(
        self, info: RasterInfo, bands: Sequence[BandInput], span: Span, lanes: Lanes | None = None
    ) -> CellNeighbours | None:
        """The neighbours of the cells of a span in what is read of a raster; None where all are nearest pixels.

        Found by all lanes if they are given.
        """
        if not is_continuous(bands):
            return None
        level = overview_for(info, self._cell_m)
        size, grid = info.level(level), info.level_grid(level)
        # the method goes by the raster's own pixels, the neighbours by those of the level
        key = (grid, info.grid.pixel_size, size.block_width, size.block_height)
        whole = (0, self._index.cells.count)
        with self._lock:
            if (*key, *span) not in self._kept:
                if (*key, *whole) in self._kept:
                    everything = self._kept[*key, *whole]
                else:
                    everything = self._kept[*key, *whole] = self._find(info, level, lanes)
                self._kept.move_to_end((*key, *whole))
                if span != whole:
                    self._kept[*key, *span] = None if everything is None else everything.within(*span)
            self._kept.move_to_end((*key, *span))
            found = self._kept[*key, *span]
            while len(self._kept) > _KEPT_INDEXES:
                self._kept.popitem(last=False)
            return found

    def _find(self, info: RasterInfo, level: int, lanes: Lanes | None) -> CellNeighbours | None:
        methods = choose_methods(self._grids, info.grid, self._processing)
        if all(method is Resampling.NEAREST for method in methods.tolist()):
            return None
        size = info.level(level)
        run, pieces = (lanes.run_alike, len(lanes)) if lanes is not None else (in_turn, 1)
        pieces = max(pieces, self._index.cells.count // _FOUND_AT_ONCE)
        return find_neighbours(
            self._index.cells, self._grids, info.level_grid(level), size.block_width, size.block_height, methods,
            run=run, pieces=pieces,
        )  # fmt: skip


def _blocks_of(around: CellNeighbours, wanted: Mask | None) -> dict[Block, int]:
    """The blocks that hold a neighbour of a wanted cell (of any if None), with their places."""
    blocks = around.blocks
    needed = range(len(blocks.blocks)) if wanted is None else blocks_with(blocks, around.needed_by(wanted)).tolist()
    return {block_at(blocks, place): place for place in needed}
