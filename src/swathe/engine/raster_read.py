"""Reads scenes for the cells of an image's window, where blocks that the next windows need too are kept for them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing

import numpy as np

from swathe.catalog.collections import Collection
from swathe.engine.inputs import BandInput
from swathe.engine.lanes import Lanes
from swathe.engine.presence import metres_per_unit
from swathe.engine.reading import CellIndex, SceneReader, Span, overview_for
from swathe.engine.resampling import choose_method, interpolated_dtype, is_continuous
from swathe.grids.raster_grid import RasterGrid, Window
from swathe.model.common import Processing, Resampling
from swathe.rasters.blocks import Block, BlockReader
from swathe.rasters.codecs import Pixels
from swathe.rasters.source import RasterInfo, SourceGrid
from swathe.sampling.gather import data_mask, gather_block, is_data
from swathe.sampling.interpolate import MARGIN_PX, interpolate, needed_box
from swathe.sampling.locate import CellBlocks
from swathe.sampling.mosaic import Mask
from swathe.sampling.places import Places, find_places, nearest_blocks

_Key = tuple[str, tuple[int, ...], int, Block]


class KeptBlocks:
    """Decoded blocks, the last few megabytes of them, so that a block on the border of windows is decoded once.

    May be used by several threads: one waits for what another is about to decode.
    """

    def __init__(self, reader: BlockReader, most_bytes: int) -> None:
        self.reader = reader
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[_Key, Pixels] = OrderedDict()
        self._under_way: dict[_Key, threading.Event] = {}
        self._bytes = 0

    def read(
        self, href: str, bands: tuple[int, ...], blocks: Sequence[Block], level: int, cut: Iterable[Block]
    ) -> Generator[tuple[Block, Pixels], None, None]:
        """As `BlockReader.read_blocks`; of these, `cut` are those that reach beyond the window.

        To be gone through without a pause, and closed: others may wait.
        """
        shared = set(cut)
        ready, missing, awaited = self._sort_out(href, bands, blocks, level, shared)
        try:
            yield from ready
            yield from self._decode(href, bands, missing, level, shared)
        finally:
            for block in shared.intersection(missing):
                self._end((href, bands, level, block))
        left = []
        for block, event in awaited:  # all that others may wait for is done by now
            event.wait()
            pixels = self._find((href, bands, level, block))
            if pixels is None:
                left.append(block)
            else:
                yield block, pixels
        yield from self._decode(href, bands, left, level, set())

    def _sort_out(
        self, href: str, bands: tuple[int, ...], blocks: Sequence[Block], level: int, shared: set[Block]
    ) -> tuple[list[tuple[Block, Pixels]], list[Block], list[tuple[Block, threading.Event]]]:
        """Blocks that are there, those to decode, and those that another thread decodes."""
        ready, missing, awaited = [], [], []
        with self._lock:
            for block in blocks:
                key = (href, bands, level, block)
                if key in self._kept:
                    self._kept.move_to_end(key)
                    ready.append((block, self._kept[key]))
                elif key in self._under_way:
                    awaited.append((block, self._under_way[key]))
                else:
                    missing.append(block)
                    if block in shared:
                        self._under_way[key] = threading.Event()
        return ready, missing, awaited

    def _decode(
        self, href: str, bands: tuple[int, ...], blocks: Sequence[Block], level: int, shared: set[Block]
    ) -> Iterator[tuple[Block, Pixels]]:
        if not blocks:
            return
        for block, pixels in self.reader.read_blocks(href, bands, blocks, level):
            if block in shared:
                self._keep((href, bands, level, block), pixels)
            yield block, pixels

    def _find(self, key: _Key) -> Pixels | None:
        with self._lock:
            return self._kept.get(key)

    def _keep(self, key: _Key, pixels: Pixels) -> None:
        with self._lock:
            if key not in self._kept and pixels.nbytes <= self._most_bytes:
                self._kept[key] = pixels
                self._bytes += pixels.nbytes
                while self._bytes > self._most_bytes:
                    self._bytes -= self._kept.popitem(last=False)[1].nbytes
        self._end(key)

    def _end(self, key: _Key) -> None:
        with self._lock:
            event = self._under_way.pop(key, None)
        if event is not None:
            event.set()


class WindowIndex(CellIndex):
    """Where a window's cells lie in each source grid. May be used by several threads."""

    def __init__(self, grid: RasterGrid, window: Window) -> None:
        self._grid = grid
        self._window = window
        self._places: dict[SourceGrid, Places] = {}
        self._found: dict[tuple[SourceGrid, int, int], CellBlocks] = {}
        self._finding = threading.Lock()

    def of(self, info: RasterInfo, level: int, span: Span, lanes: Lanes | None = None) -> CellBlocks:
        """The blocks of a raster's level that hold the window's cells, all of them whatever the span."""
        size, source = info.level(level), info.level_grid(level)
        key = (source, size.block_width, size.block_height)
        with self._finding:
            if key not in self._found:
                self._found[key] = nearest_blocks(find_places(self._grid, self._window, source), *key)
            return self._found[key]

    def places(self, source: SourceGrid) -> Places:
        """Where the centres of the window's cells lie."""
        with self._finding:
            if source not in self._places:
                self._places[source] = find_places(self._grid, self._window, source)
            return self._places[source]


class WindowReader(SceneReader):
    """Reads scenes of one data source for the cells of a window, in the window's order of rows and columns.

    Made for one window and used by one thread.
    """

    def __init__(
        self,
        kept: KeptBlocks,
        grid: RasterGrid,
        window: Window,
        index: WindowIndex,
        collection: Collection,
        bands: Sequence[BandInput],
        processing: Processing,
    ) -> None:
        super().__init__(kept.reader, index, collection, bands, overview_cell_m(grid))
        self._kept_blocks = kept
        self._grid = grid
        self._window = window
        self._places = index
        self._processing = processing

    def _read(
        self,
        info: RasterInfo,
        numbers: tuple[int, ...],
        nodata: Mapping[int, float | None],
        wanted: Mask | None,
        span: Span,
        bands: Sequence[BandInput],
    ) -> tuple[list[np.ndarray], list[Mask]]:
        method = method_for(self._grid, info.grid, self._processing) if is_continuous(bands) else Resampling.NEAREST
        if method is not Resampling.NEAREST:
            return self._interpolated(info, numbers, nodata, wanted, method)
        level, at, needed = self._needed(info, wanted, span)
        make = np.empty if wanted is None and at.inside is None else np.zeros
        values = [make(self._window.cells, info.dtype) for _ in numbers]
        place = {(int(at.blocks[i, 0]), int(at.blocks[i, 1])): i for i in needed}
        cut = self._cut(info, level, place)
        with closing(self._kept_blocks.read(info.href, numbers, list(place), level, cut)) as found:
            for block, pixels in found:
                for k in range(len(numbers)):
                    gather_block(pixels[k], at, place[block], values[k])
        return values, [data_mask(values[k], at, nodata[number]) for k, number in enumerate(numbers)]

    def _interpolated(
        self,
        info: RasterInfo,
        numbers: tuple[int, ...],
        nodata: Mapping[int, float | None],
        wanted: Mask | None,
        method: Resampling,
    ) -> tuple[list[np.ndarray], list[Mask]]:
        level = overview_for(info, self._cell_m)
        size = info.level(level)
        dtype = interpolated_dtype(info.dtype)
        places = self._places.places(info.level_grid(level))
        box = needed_box(places, wanted, size.height, size.width, MARGIN_PX[method])
        count = self._window.cells
        if box is None:
            return [np.zeros(count, dtype) for _ in numbers], [np.zeros(count, np.uint8) for _ in numbers]
        pixels = np.empty((len(numbers), box[1] - box[0], box[3] - box[2]), info.dtype)
        height, width = size.block_height, size.block_width
        blocks = [
            (row, column)
            for row in range(box[0] // height, (box[1] - 1) // height + 1)
            for column in range(box[2] // width, (box[3] - 1) // width + 1)
        ]
        cut = [
            (row, column)
            for row, column in blocks
            if row * height < box[0] or (row + 1) * height > box[1] - 2 * MARGIN_PX[method]
            or column * width < box[2] or (column + 1) * width > box[3] - 2 * MARGIN_PX[method]
        ]  # fmt: skip
        with closing(self._kept_blocks.read(info.href, numbers, blocks, level, cut)) as found:
            for (row, column), block in found:
                top, left = row * height, column * width
                r0, r1 = max(top, box[0]), min(top + block.shape[1], box[1])
                c0, c1 = max(left, box[2]), min(left + block.shape[2], box[3])
                part = block[:, r0 - top : r1 - top, c0 - left : c1 - left]
                pixels[:, r0 - box[0] : r1 - box[0], c0 - box[2] : c1 - box[2]] = part
        values, masks = [], []
        for k, number in enumerate(numbers):
            has_data = is_data(pixels[k], nodata[number])
            made, mask = interpolate(pixels[k], has_data, box, places, method, dtype)
            values.append(made)
            masks.append(mask)
        return values, masks

    def _cut(self, info: RasterInfo, level: int, blocks: Iterable[Block]) -> list[Block]:
        """Those of the blocks that may hold cells of other windows too."""
        window, grid = self._window, self._grid
        if (window.cells == grid.cells) or info.grid.epsg != grid.epsg or not info.grid.is_north_up:
            return [] if window.cells == grid.cells else list(blocks)
        source, size = info.level_grid(level), info.level(level)
        lattice = grid.lattice
        edges_x = lattice.x(
            np.array([lattice.column + window.first_column, lattice.column + window.last_column], float)
        )
        edges_y = lattice.y(np.array([lattice.row + window.first_row, lattice.row + window.last_row], float))
        west, north = source.to_pixel(float(edges_x[0]), float(edges_y[0]))
        east, south = source.to_pixel(float(edges_x[1]), float(edges_y[1]))
        # borders of the image end nothing: what is beyond them nobody asks for
        left = west - 0.5 if window.first_column else -np.inf
        right = east + 0.5 if window.last_column < grid.width else np.inf
        top = north - 0.5 if window.first_row else -np.inf
        bottom = south + 0.5 if window.last_row < grid.height else np.inf
        return [
            (row, column)
            for row, column in blocks
            if column * size.block_width < left or (column + 1) * size.block_width > right
            or row * size.block_height < top or (row + 1) * size.block_height > bottom
        ]  # fmt: skip


def overview_cell_m(grid: RasterGrid) -> float:
    """The cells' size in metres that decides which overviews are read: of a grid in degrees the height, wherever it is.

    Nothing here may depend on where in its CRS an image lies, or neighbours would differ.
    """
    metres = metres_per_unit(grid.epsg)
    return (min(grid.dx, grid.dy) if metres == 1.0 else grid.dy) * metres


def method_for(grid: RasterGrid, source: SourceGrid, processing: Processing) -> Resampling:
    """How the cells of an image take their values from a raster."""
    return choose_method(overview_cell_m(grid), source, processing)
