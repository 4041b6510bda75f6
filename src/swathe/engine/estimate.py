"""What a job will take, told before it runs: blocks, bytes, seconds, processing units.

Blocks are counted from boxes, grids and footprints (`needed_blocks`); one file of each kind is opened to learn its blocks
and how many bytes they take. Where an interval has several scenes under SIMPLE or ORBIT, later ones are counted only for
what the footprints of the earlier ones leave; that scenes have no data within their footprints is not known beforehand.

Seconds come from rates measured on two cores of a shared AMD EPYC machine (`benchmarks/main_job.py`); another machine
differs by a factor, and stores far away by more. They are there to tell minutes from days.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from swathe.catalog.order import sort_scenes
from swathe.catalog.scene import Asset, Scene
from swathe.engine.inputs import SourceInput
from swathe.engine.needed_blocks import BlockCounter, Lattice, Outlines
from swathe.engine.plan import FeatureOutline
from swathe.engine.presence import metres_per_unit
from swathe.engine.reading import LEAST_OVERSAMPLING, overview_for, place_of
from swathe.engine.timeline import intervals_with_scenes
from swathe.engine.values import UnitPlan
from swathe.evalscript.script import Mosaicking
from swathe.model.errors import SourceError
from swathe.model.statistical import Aggregation, Grid
from swathe.model.time import TimeRange
from swathe.rasters.source import RasterInfo
from swathe.storage.sources import local_path

# Of one worker; by `benchmarks/main_job.py`, see the module's text.
DECODED_BYTES_PER_S = 480e6
FETCHED_BYTES_PER_S = 60e6
CELL_SAMPLES_PER_S = 120e6
# Between a document of `swathe statistics` in memory (15 microseconds) and one that a server waits for on its disk (190).
SECONDS_PER_FEATURE = 100e-6
SECONDS_PER_FEATURE_INTERVAL = 4e-6
SECONDS_PER_BLOCK = 30e-6
SECONDS_PER_UNIT = 0.1
SECONDS_TO_START = 1.0

_TRIES = 3
_MOST_OPENED = 64
_MOST_LATTICES = 128

ReadInfo = Callable[[str], RasterInfo]
BlockBytes = Callable[[str, int, int], float | None]


@dataclass(frozen=True)
class _Kind:
    """What one file of a scene costs: its blocks, and the stored and decoded bytes of one block."""

    lattice: Lattice
    stored_bytes: float
    decoded_bytes: float


@dataclass
class _Sum:
    blocks: float = 0.0
    stored_bytes: float = 0.0
    decoded_bytes: float = 0.0
    fetched_bytes: float = 0.0
    cell_samples: float = 0.0
    feature_intervals: float = 0.0


def estimate(
    features: FeatureOutline,
    sample_count: npt.NDArray[np.int64],
    epsg: int,
    aggregation: Aggregation,
    sources: Sequence[SourceInput],
    scenes: Sequence[Sequence[Scene]],
    intervals: Sequence[TimeRange],
    units: Sequence[UnitPlan],
    *,
    cost_pu: float,
    workers: int,
    read_info: ReadInfo,
    block_bytes: BlockBytes,
) -> dict[str, float]:
    """A plan's figures by name; without `blocks`, `bytesToRead` and `estimatedSeconds` where no raster can be opened.

    Args:
        sample_count: cells of each feature's box.
        read_info: opens a raster; block_bytes: the mean stored bytes of a block by raster, bands and level, None if not
            known.
    """
    report = {
        "features": float(len(features.ids)),
        "scenes": float(sum(map(len, scenes))),
        "units": float(len(units)),
        "estimatedPU": round(cost_pu, 4),
    }
    files = _Files(_cell_m(aggregation, features, sample_count, epsg, sources), read_info, block_bytes)
    kinds = [
        {id(scene): files.kinds(source, scene) for scene in members}
        for source, members in zip(sources, scenes, strict=True)
    ]
    lattices = {kind.lattice: None for by_scene in kinds for found in by_scene.values() for kind, _ in found}
    if any(scenes) and not lattices:
        return report
    outlines = Outlines(
        features.bounds,
        epsg,
        np.minimum(1.0, features.cells / np.maximum(1, sample_count)),
        _unit_of(features, units),
        features.cells,
    )
    counter = BlockCounter(outlines, list(lattices))
    total = _Sum()
    busy = intervals_with_scenes(sources, scenes, intervals)
    for source, members, by_scene in zip(sources, scenes, kinds, strict=True):
        _add_source(total, counter, source, members, by_scene, busy if source.collection.timeless else intervals)
    seconds = (
        total.decoded_bytes / DECODED_BYTES_PER_S
        + total.fetched_bytes / FETCHED_BYTES_PER_S
        + total.blocks * SECONDS_PER_BLOCK
        + total.cell_samples / CELL_SAMPLES_PER_S
        + total.feature_intervals * SECONDS_PER_FEATURE_INTERVAL
        + len(features.ids) * SECONDS_PER_FEATURE
        + len(units) * SECONDS_PER_UNIT
    )
    # units are even, so the last round of them is as long as the others
    rounds = -(-len(units) // workers) * workers / max(1, len(units)) if workers > 2 else 1.0
    report["blocks"] = float(round(total.blocks))
    report["bytesToRead"] = float(round(total.stored_bytes))
    report["estimatedSeconds"] = round(SECONDS_TO_START + seconds * rounds / max(1, workers), 1)
    return report


def _add_source(
    total: _Sum,
    counter: BlockCounter,
    source: SourceInput,
    scenes: Sequence[Scene],
    kinds: dict[int, list[tuple[_Kind, bool]]],
    intervals: Sequence[TimeRange],
) -> None:
    """Counts what a source's scenes cost. Scenes whose files are not known count as the others do on average."""
    part = _Sum()
    known = 0
    any_of: dict[int, npt.NDArray[np.bool_]] = {}
    for interval, layer in _layers(source, scenes, intervals):
        wanted = np.ones(counter.places, np.bool_)
        seen = np.zeros(counter.places, np.bool_)
        for scene in layer:
            found = kinds[id(scene)]
            if not found:
                continue
            known += 1
            main = counter.footprint(found[0][0].lattice, scene.geometry_wkb)
            needed = wanted & main.touched
            if not needed.any():
                continue
            for kind, is_remote in found:
                blocks = counter.count(kind.lattice, needed, counter.footprint(kind.lattice, scene.geometry_wkb))
                part.blocks += blocks
                part.stored_bytes += blocks * kind.stored_bytes
                part.decoded_bytes += blocks * kind.decoded_bytes
                part.fetched_bytes += blocks * kind.stored_bytes if is_remote else 0.0
            seen |= needed
            wanted &= ~main.covered
        part.cell_samples += float(counter.cells[seen].sum()) * max(1, len(source.reads))
        any_of[interval] = any_of.get(interval, np.zeros(counter.places, np.bool_)) | seen
    part.feature_intervals = float(sum(counter.features[places].sum() for places in any_of.values()))
    factor = len(scenes) / known if known else 0.0
    for name, value in vars(part).items():
        setattr(total, name, getattr(total, name) + value * factor)


def _layers(
    source: SourceInput, scenes: Sequence[Scene], intervals: Sequence[TimeRange]
) -> Iterator[tuple[int, list[Scene]]]:
    """Scenes that are laid over one another, the one on top first, with their interval."""
    starts = np.array([interval.start.timestamp() for interval in intervals])
    ends = np.array([interval.end.timestamp() for interval in intervals])
    by_interval: dict[int, list[Scene]] = {}
    ordered = sort_scenes(scenes, source.order)
    if source.collection.timeless:
        by_interval = dict.fromkeys(range(len(intervals)), ordered)
        ordered = []
    for scene in ordered:
        moment = scene.datetime.timestamp()
        at = int(np.searchsorted(starts, moment, side="right")) - 1
        if at >= 0 and moment < ends[at]:
            by_interval.setdefault(at, []).append(scene)
    for interval, members in by_interval.items():
        if source.mosaicking is Mosaicking.SIMPLE:
            yield interval, members
        elif source.mosaicking is Mosaicking.TILE:
            for scene in members:
                yield interval, [scene]
        else:
            days = sorted(members, key=lambda scene: scene.datetime.date())
            for _, of_day in groupby(days, key=lambda scene: scene.datetime.date()):
                yield interval, list(of_day)


def _unit_of(features: FeatureOutline, units: Sequence[UnitPlan]) -> npt.NDArray[np.int64]:
    order = np.argsort(features.ids, kind="stable")
    found = np.zeros(len(features.ids), np.int64)
    for number, unit in enumerate(units):
        found[order[np.searchsorted(features.ids, unit.feature_ids, sorter=order)]] = number
    return found


def _cell_m(
    aggregation: Aggregation,
    features: FeatureOutline,
    sample_count: npt.NDArray[np.int64],
    epsg: int,
    sources: Sequence[SourceInput],
) -> float:
    """About the side of the cells in metres, by which overviews are chosen; 0 where the rasters themselves are read."""
    if aggregation.sampling.grid is Grid.SOURCE or not len(features.ids):
        return 0.0
    metres = metres_per_unit(epsg)
    middle = np.nanmedian(features.bounds, axis=0) if np.isfinite(features.bounds).any() else np.zeros(4)
    shrunk = float(np.cos(np.radians(np.clip((middle[1] + middle[3]) / 2, -89, 89)))) if metres != 1.0 else 1.0
    if aggregation.resx is not None and aggregation.resy is not None:
        side = min(aggregation.resx * shrunk, aggregation.resy) * metres
    else:
        sizes = (features.bounds[:, 2:] - features.bounds[:, :2]) * [shrunk * metres, metres]
        cells = [aggregation.width or 256, aggregation.height or 256]
        side = float(np.nanmedian((sizes / cells).min(axis=1))) if np.isfinite(sizes).any() else 0.0
    finest = min((band.definition.resolution_m or 0.0 for source in sources for band in source.reads), default=0.0)
    return 0.0 if side < LEAST_OVERSAMPLING * 1.9 * finest else side


class _Files:
    """The kinds of files that scenes have. Opens one file of each kind."""

    def __init__(self, cell_m: float, read_info: ReadInfo, block_bytes: BlockBytes) -> None:
        self._cell_m, self._read_info, self._block_bytes = cell_m, read_info, block_bytes
        self._known: dict[object, RasterInfo | None] = {}
        self._sizes: dict[tuple[object, int, int], float | None] = {}
        self._tries: dict[object, int] = {}
        self._lattices: dict[Lattice, Lattice] = {}

    def kinds(self, source: SourceInput, scene: Scene) -> list[tuple[_Kind, bool]]:
        """Of each file of a scene that is read, and whether it lies in a store; nothing where one cannot be opened."""
        files: dict[str, tuple[str, Asset, set[int]]] = {}
        for band in source.reads:
            place = place_of(scene, band)
            files.setdefault(place.asset.href, (place.key, place.asset, set()))[2].add(place.index)
        mask = scene.assets.get(source.collection.mask_asset or "")
        if mask is not None and mask.href not in files:
            files[mask.href] = (source.collection.mask_asset or "", mask, {1})
        found = []
        for key, asset, bands in files.values():
            kind = self._kind((source.number, key), scene, asset, len(bands))
            if kind is None:
                return []
            found.append((kind, local_path(asset.href) is None))
        return found

    def _kind(self, where: object, scene: Scene, asset: Asset, bands: int) -> _Kind | None:
        grid = asset.grid
        alike = (where, grid.epsg, grid.pixel_size, grid.width, grid.height) if grid else (where, scene.geometry_wkb)
        info = self._info(alike, asset.href)
        if info is None:
            return None
        level = overview_for(info, self._cell_m)
        size = info.level(level)
        own = info.level_grid(level) if grid is None or level else grid
        if level and grid is not None:
            own = grid.reduced(size.width, size.height)
        if (alike, bands, level) not in self._sizes:
            self._sizes[alike, bands, level] = self._block_bytes(info.href, bands, level)
        decoded = size.block_width * size.block_height * np.dtype(info.dtype).itemsize * bands
        stored = self._sizes[alike, bands, level]
        lattice = self._lattice(Lattice(own, size.block_width, size.block_height))
        return _Kind(lattice, decoded / 2 if stored is None else stored, float(decoded))

    def _info(self, alike: object, href: str) -> RasterInfo | None:
        if alike not in self._known or (self._known[alike] is None and self._tries[alike] < _TRIES):
            if len(self._known) >= _MOST_OPENED and alike not in self._known:
                return None
            self._tries[alike] = self._tries.get(alike, 0) + 1
            try:
                self._known[alike] = self._read_info(href)
            except SourceError:  # its intervals will tell
                self._known[alike] = None
        return self._known[alike]

    def _lattice(self, lattice: Lattice) -> Lattice:
        """The lattice, or one that lies about there: some catalogs move the corner from scene to scene."""
        if lattice in self._lattices or len(self._lattices) < _MOST_LATTICES:
            return self._lattices.setdefault(lattice, lattice)
        grid = lattice.grid
        centre = np.array(grid.to_crs(grid.width / 2, grid.height / 2))
        size = max(grid.width, grid.height) * max(grid.pixel_size)

        def distance(other: Lattice) -> float:
            if (other.grid.epsg, other.block_width, other.block_height) != (
                grid.epsg,
                lattice.block_width,
                lattice.block_height,
            ):
                return np.inf
            there = np.array(other.grid.to_crs(other.grid.width / 2, other.grid.height / 2))
            return float(np.hypot(*(there - centre))) + abs(max(other.grid.pixel_size) - max(grid.pixel_size)) * 1e6

        nearest = min(self._lattices, key=distance)
        return nearest if distance(nearest) < size / 4 else self._lattices.setdefault(lattice, lattice)
