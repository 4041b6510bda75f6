"""Reads the bands of a scene at the cells of some features: each needed block once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np

from swathe.catalog.collections import DN, REFLECTANCE, Collection
from swathe.catalog.scene import BandSource, Scene
from swathe.engine.inputs import BandInput
from swathe.engine.lanes import Lanes
from swathe.engine.presence import metres_per_unit
from swathe.engine.timeline import SourceTimeline
from swathe.grids.cover import Cells
from swathe.grids.sample_grid import SampleGrids
from swathe.model.errors import BandMissing, SourceError
from swathe.rasters.blocks import BlockReader
from swathe.rasters.source import RasterInfo
from swathe.sampling.gather import blocks_with, data_mask, gather_block
from swathe.sampling.locate import CellBlocks, in_turn, locate
from swathe.sampling.mosaic import Mask, SceneBand
from swathe.storage.sources import local_path

_KEPT_INDEXES = 8
# Cells: some are taken to the source's CRS one by one, which takes memory.
_LOCATED_AT_ONCE = 1_000_000
# Overviews of odd sizes have pixels that are a little more than twice as wide.
_ROUNDING = 0.01

LEAST_OVERSAMPLING = 2.0
"""An overview is read where its pixels are so many times smaller than the cells, so that a value lies at most a quarter of
a cell from where it should, and the request's own resolution decides, not the overview's."""


Span = tuple[int, int]
"""Cells of a group: the first, and the one behind the last."""


class CellIndex:
    """Where the cells lie in each source grid; the last few grids are kept, since scenes mostly share theirs.

    May be used by several threads.
    """

    def __init__(self, cells: Cells, grids: SampleGrids) -> None:
        self.cells = cells
        self._grids = grids
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[object, ...], CellBlocks] = OrderedDict()

    def of(self, info: RasterInfo, level: int, span: Span, lanes: Lanes | None = None) -> CellBlocks:
        """The blocks of a raster's level that hold the cells of a span; found by all lanes if they are given."""
        size = info.level(level)
        grid = info.level_grid(level)
        key = (grid, size.block_width, size.block_height)
        whole = (0, self.cells.count)
        with self._lock:
            found = self._kept.get((*key, *span))
            if found is None:
                everything = self._kept.get((*key, *whole))
                if everything is None:
                    run, pieces = (lanes.run_alike, len(lanes)) if lanes is not None else (in_turn, 1)
                    pieces = max(pieces, whole[1] // _LOCATED_AT_ONCE)
                    everything = locate(self.cells, self._grids, *key, run=run, pieces=pieces)
                    self._keep((*key, *whole), everything)
                found = everything
                if span != whole:
                    found = everything.within(*span)
                    self._keep((*key, *span), found)
            self._kept.move_to_end((*key, *span))
        return found

    def _keep(self, key: tuple[object, ...], found: CellBlocks) -> None:
        self._kept[key] = found
        while len(self._kept) > _KEPT_INDEXES:
            self._kept.popitem(last=False)


class SceneReader:
    """Reads scenes of one data source for the cells of an index."""

    def __init__(
        self,
        reader: BlockReader,
        index: CellIndex,
        collection: Collection,
        bands: Sequence[BandInput],
        cell_m: float = 0.0,
    ) -> None:
        """`cell_m` is the cells' size in metres, from which on overviews are read; 0 for never."""
        self._cell_m = cell_m
        self._reader = reader
        self._index = index
        self._collection = collection
        self._bands = bands

    def locate(self, scene: Scene, lanes: Lanes) -> None:
        """Finds where the cells lie in a scene's files, by all lanes. What cannot be read is told by `fetch`."""
        for href in self._numbers(scene):
            try:
                info = self._reader.info(href)
            except SourceError:
                continue
            self._locate(scene, info, lanes)

    def _locate(self, scene: Scene, info: RasterInfo, lanes: Lanes) -> None:
        self._index.of(info, overview_for(info, self._cell_m), (0, self._index.cells.count), lanes)

    def open(self, scene: Scene) -> None:
        """Starts opening a scene's files, where they lie in a store."""
        self._reader.open_ahead(self._in_store(scene))

    def expect(self, scene: Scene, wanted: Mask | None, span: Span) -> None:
        """Starts fetching what `fetch` will be asked for, where it lies in a store. Errors come out there, not here."""
        for href, bands in self._in_store(scene).items():
            try:
                info = self._reader.info(href)
            except SourceError:
                continue
            level, blocks = self._expected(scene, info, wanted, span)
            self._reader.read_ahead(href, bands, blocks, level)

    def _expected(
        self, scene: Scene, info: RasterInfo, wanted: Mask | None, span: Span
    ) -> tuple[int, list[tuple[int, int]]]:
        """The level and blocks of one of a scene's rasters that `fetch` will read."""
        level, at, needed = self._needed(info, wanted, span)
        return level, [block_at(at, i) for i in needed]

    def _in_store(self, scene: Scene) -> dict[str, tuple[int, ...]]:
        """The files of a scene that are not local, with the numbers of their bands."""
        return {href: bands for href, bands in self._numbers(scene).items() if local_path(href) is None}

    def _numbers(self, scene: Scene) -> dict[str, tuple[int, ...]]:
        """The files of a scene with the numbers of the bands that are read."""
        found = {
            href: tuple(dict.fromkeys(place.index for _, place in members))
            for href, members in self._files(scene).items()
        }
        mask = scene.assets.get(self._collection.mask_asset or "")
        if mask is not None:
            found[mask.href] = (1,)
        return found

    def fetch(self, scene: Scene, wanted: Mask | None, span: Span) -> Mapping[str, SceneBand]:
        """Every band of a scene at the cells of a span; only blocks with a wanted cell (all if None) are read."""
        found: dict[str, SceneBand] = {}
        for href, members in self._files(scene).items():
            found.update(self._read_file(href, members, wanted, span))
        if self._collection.mask_asset is not None:
            self._mask_with(self._collection.mask_asset, scene, found, wanted, span)
        return {band.name: found[band.name] for band in self._bands}

    def _files(self, scene: Scene) -> dict[str, list[tuple[BandInput, BandSource]]]:
        """The bands that are read, by the file that has them."""
        by_file: dict[str, list[tuple[BandInput, BandSource]]] = {}
        for band in self._bands:
            place = place_of(scene, band)
            by_file.setdefault(place.asset.href, []).append((band, place))
        return by_file

    def _needed(self, info: RasterInfo, wanted: Mask | None, span: Span) -> tuple[int, CellBlocks, Sequence[int]]:
        """The level of a raster that is read, its blocks, and which of them hold a wanted cell."""
        level = overview_for(info, self._cell_m)
        at = self._index.of(info, level, span)
        return level, at, range(len(at.blocks)) if wanted is None else blocks_with(at, wanted).tolist()

    def _read_file(
        self, href: str, members: Sequence[tuple[BandInput, BandSource]], wanted: Mask | None, span: Span
    ) -> dict[str, SceneBand]:
        info = self._reader.info(href)
        numbers = tuple(dict.fromkeys(place.index for _, place in members))
        # what marks no data is the item's word, else the collection's, else the file's
        nodata = {place.index: info.nodata if place.nodata is None else place.nodata for _, place in members}
        values, has_data = self._read(info, numbers, nodata, wanted, span, [band for band, _ in members])
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
        self,
        info: RasterInfo,
        numbers: tuple[int, ...],
        nodata: Mapping[int, float | None],
        wanted: Mask | None,
        span: Span,
        bands: Sequence[BandInput],
    ) -> tuple[list[np.ndarray], list[Mask]]:
        """Stored values and where they are data, of each of the file's bands `numbers`; `bands` are what they stand for,
        none for a mask."""
        level, at, needed = self._needed(info, wanted, span)
        count = span[1] - span[0]
        # what no block holds is 0
        make = np.empty if wanted is None and at.inside is None else np.zeros
        values = [make(count, info.dtype) for _ in numbers]
        place = {block_at(at, i): i for i in needed}
        for block, pixels in self._reader.read_blocks(info.href, numbers, list(place), level):
            for k in range(len(numbers)):
                gather_block(pixels[k], at, place[block], values[k])
        return values, [data_mask(values[k], at, nodata[number]) for k, number in enumerate(numbers)]

    def _mask_with(self, key: str, scene: Scene, found: dict[str, SceneBand], wanted: Mask | None, span: Span) -> None:
        """Takes away what the scene's own mask says is no data (0)."""
        asset = scene.assets.get(key)
        if asset is None:
            return
        info = self._reader.info(asset.href)
        values, has_data = self._read(info, (1,), {1: None}, wanted, span, ())
        has_data[0] &= (values[0] != 0).view(np.uint8)
        for band in found.values():
            np.bitwise_and(band.has_data, has_data[0], out=band.has_data)


def reads_from_store(timeline: SourceTimeline) -> bool:
    """Whether any scene's bands lie elsewhere than in local files."""
    return any(
        local_path(place_of(scene, band).asset.href) is None
        for scene in timeline.scenes
        for band in timeline.source.reads
    )


def block_at(at: CellBlocks, place: int) -> tuple[int, int]:
    """Row and column of a block that cells need."""
    row, column = at.blocks[place].tolist()
    return row, column


def overview_for(info: RasterInfo, cell_m: float) -> int:
    """The coarsest level whose pixels are still small beside cells of `cell_m` metres; 0 is the raster itself."""
    metres = metres_per_unit(info.grid.epsg)
    fitting = [
        level
        for level in range(1, len(info.overviews) + 1)
        if LEAST_OVERSAMPLING * max(info.level_grid(level).pixel_size) * metres <= cell_m * (1 + _ROUNDING)
    ]
    return max(fitting, default=0, key=lambda level: max(info.level_grid(level).pixel_size))


def place_of(scene: Scene, band: BandInput) -> BandSource:
    """Where a scene keeps a band.

    Raises:
        BandMissing: it does not have it.
    """
    place = scene.asset_for(band.definition)
    if place is None:
        raise BandMissing(f"Scene {scene.id} of collection '{scene.collection}' has no band {band.name}")
    return place
