"""Takes an image's windows through reading and the script, in lanes, and hands on its strips in their order."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from swathe.engine.lanes import Lane, Lanes
from swathe.engine.phases import READ, SCRIPT, sum_counters
from swathe.engine.presence import metres_per_unit
from swathe.engine.raster_columns import Columns, MosaicStore
from swathe.engine.raster_plan import BlockGrid, Needs, StripPlan, is_spilled, plan_strips, strips_at_once
from swathe.engine.raster_read import KeptBlocks, WindowIndex, WindowReader, method_for, overview_cell_m
from swathe.engine.raster_scenes import SceneCells
from swathe.engine.reading import overview_for, place_of, reads_from_store
from swathe.engine.samples import source_columns
from swathe.engine.timeline import Sample, SourceTimeline
from swathe.engine.values import Stopped
from swathe.evalscript import driver
from swathe.evalscript.columns import Batch
from swathe.evalscript.runtime import ScriptUnwanted
from swathe.evalscript.script import Evalscript
from swathe.grids.raster_grid import RasterGrid, Window
from swathe.model.common import DataSource, Resampling
from swathe.model.errors import SourceError
from swathe.model.time import TimeRange, format_time
from swathe.rasters.blocks import BlockReader
from swathe.rasters.source import RasterInfo, SourceGrid
from swathe.sampling.mosaic import Mosaic, mosaic
from swathe.settings import LimitSettings

_KEPT_PART = 8
_WAIT_S = 0.2
# Of a window: where its cells lie in the sources' blocks, being found out between two CRSs; masks of footprints.
_INDEX_BYTES, _PLACES_BYTES, _MASK_BYTES = 12, 40, 4


@dataclass(frozen=True)
class RasterTools:
    """What an image needs from outside: a reader of blocks, lanes to work in, the limits, and whom to ask and tell."""

    reader: BlockReader
    lanes: Lanes
    limits: LimitSettings
    should_stop: Callable[[], bool]
    finish: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Strip:
    """Rows of an image from `first_row` on: `arrays` (bands, rows, columns) by output; `data_mask` (rows, columns) uint8 is
    1 where any source has data."""

    first_row: int
    arrays: Mapping[str, npt.NDArray[Any]]
    data_mask: npt.NDArray[np.uint8]


class RasterRun:
    """What is known of an image while its strips are computed."""

    def __init__(
        self,
        data: Sequence[DataSource],
        script: Evalscript,
        timelines: Sequence[SourceTimeline],
        samples: Sequence[Sequence[Sample]],
        interval: TimeRange,
        grid: RasterGrid,
        cells: SceneCells,
        tools: RasterTools,
    ) -> None:
        self._data = data
        self._script = script
        self._timelines = timelines
        self._samples = samples
        self._times = format_time(interval.start), format_time(interval.end)
        self._grid = grid
        self._cells = cells
        self._tools = tools
        self._kept = KeptBlocks(tools.reader, tools.limits.unit_bytes // _KEPT_PART)
        self._from_store = any(map(reads_from_store, timelines))
        self._closed = threading.Event()
        self.user_data: object | None = None
        self.counters: Mapping[str, float] = {}
        lanes = tools.lanes
        if (
            "updateOutputMetadata" in script.functions
        ):  # it may speak of what the script saw, which one lane alone knows
            lanes = Lanes(lanes.lanes[:1], _unwatched)
        self._lanes = lanes
        count = sum(map(len, samples))
        # many samples take the memory of all lanes: then they share a window, else each has its own
        self._together = len(lanes) > 1 and count >= 2 * len(lanes)
        infos = self._first_rasters()
        self._needs = self._find_needs(infos)
        self._abreast = 1 if self._together else len(lanes)
        self._plans = plan_strips(
            grid,
            self._block_grids(infos),
            self._needs,
            most_bytes=tools.limits.unit_bytes,
            lanes=self._abreast,
            readers=len(lanes),
        )

    def strips(self) -> Iterator[Strip]:
        """The strips from top to bottom; the next one is computed while one is looked at.

        Raises:
            Stopped: `should_stop` said so.
            SourceError, ScriptError: as they come.
        """
        done: queue.SimpleQueue[Strip | BaseException | None] = queue.SimpleQueue()
        most_bytes = self._tools.limits.unit_bytes
        room = threading.Semaphore(strips_at_once(self._plans, self._grid, self._needs, most_bytes))
        thread = threading.Thread(target=self._work, args=(done, room), name="swathe-raster", daemon=True)
        thread.start()
        try:
            while (strip := done.get()) is not None:
                if isinstance(strip, BaseException):
                    raise strip
                yield strip
                del strip
                room.release()
            self.counters = self._count()
        finally:
            self._closed.set()
            thread.join()
            self._tools.finish()

    def _work(self, done: queue.SimpleQueue[Strip | BaseException | None], room: threading.Semaphore) -> None:
        try:
            if self._from_store:
                self._open_ahead()
            if self._together:
                for plan in self._with_room(room):
                    strip = self._empty(plan)
                    for window in plan.windows:
                        self._compute_together(strip, window)
                    done.put(strip)
            else:
                self._lanes.run(self._pieces(done, room))
            done.put(None)
        except ScriptUnwanted:
            done.put(Stopped("The job was stopped"))
        except BaseException as error:
            done.put(error)

    def _with_room(self, room: threading.Semaphore) -> Iterator[StripPlan]:
        """The strips one by one, as soon as one before has been taken."""
        for plan in self._plans:
            while not room.acquire(timeout=_WAIT_S):
                self._go_on()
            self._go_on()
            yield plan

    def _go_on(self) -> None:
        if self._closed.is_set() or self._tools.should_stop():
            raise Stopped("The job was stopped")

    def _pieces(
        self, done: queue.SimpleQueue[Strip | BaseException | None], room: threading.Semaphore
    ) -> Iterator[Callable[[Lane], None]]:
        """The windows of all strips; whoever ends a strip's last window hands on what is ready, in order."""
        lock = threading.Lock()
        left: dict[int, int] = {}
        ready: dict[int, Strip] = {}
        following = itertools.count()
        turn = next(following)

        def compute(number: int, strip: Strip, window: Window, lane: Lane) -> None:
            nonlocal turn
            self._go_on()
            self._compute(strip, window, lane)
            with lock:
                left[number] -= 1
                if not left[number]:
                    ready[number] = strip
                while turn in ready:
                    done.put(ready.pop(turn))
                    turn = next(following)

        for number, plan in enumerate(self._with_room(room)):
            strip = self._empty(plan)
            left[number] = len(plan.windows)
            for window in plan.windows:
                yield partial(compute, number, strip, window)
            del strip

    def _empty(self, plan: StripPlan) -> Strip:
        rows = plan.rows[1] - plan.rows[0]
        arrays = {
            output.id: np.empty((len(output.bands), rows, self._grid.width), driver.DTYPES[output.sample_type])
            for output in self._script.outputs
        }
        return Strip(plan.rows[0], arrays, np.empty((rows, self._grid.width), np.uint8))

    def _compute(self, strip: Strip, window: Window, lane: Lane) -> None:
        """Reads and evaluates a window in one lane."""
        with self._columns(window) as columns:
            index = WindowIndex(self._grid, window)
            for source, samples in enumerate(self._samples):
                for number, sample in enumerate(samples):
                    with lane.phases.of(READ):
                        columns.put(source, number, self._read_sample(source, sample, window, index))
            self._note_mask(strip, window, columns)
            for first, last in columns.chunks:
                self._evaluate(strip, window, columns, first, last, lane)

    def _compute_together(self, strip: Strip, window: Window) -> None:
        """Reads the samples of a window side by side, then evaluates its rows side by side."""
        index = WindowIndex(self._grid, window)

        def read(source: int, number: int, sample: Sample, lane: Lane) -> None:
            self._go_on()
            with lane.phases.of(READ):
                columns.put(source, number, self._read_sample(source, sample, window, index))

        with self._columns(window) as columns:
            self._lanes.run(
                partial(read, source, number, sample)
                for source, samples in enumerate(self._samples)
                for number, sample in enumerate(samples)
            )
            self._note_mask(strip, window, columns)
            self._lanes.run(
                partial(self._evaluate, strip, window, columns, first, last) for first, last in columns.chunks
            )

    def _columns(self, window: Window) -> Columns:
        most_bytes = self._tools.limits.unit_bytes
        spilled = is_spilled(window, self._needs, most_bytes=most_bytes, lanes=self._abreast)
        return Columns(window, MosaicStore() if spilled else None)

    def _read_sample(self, source: int, sample: Sample, window: Window, index: WindowIndex) -> Mosaic:
        timeline = self._timelines[source]
        of = timeline.source
        processing = self._data[of.number].processing
        reader = WindowReader(self._kept, self._grid, window, index, of.collection, of.reads, processing)
        masks = {scene: self._cells.wanted(timeline.scenes[scene], window) for scene in sample.scenes}
        seen = [scene for scene in sample.scenes if (mask := masks[scene]) is None or mask.any()]
        if self._from_store and seen:
            reader.expect(timeline.scenes[seen[0]], masks[seen[0]], (0, window.cells))
        return mosaic(
            seen,
            lambda scene, wanted: reader.fetch(timeline.scenes[scene], wanted, (0, window.cells)),
            [band.name for band in of.reads],
            window.cells,
            fill_nan=of.collection.nodata_is_nan,
            over=masks.__getitem__,
        )

    def _note_mask(self, strip: Strip, window: Window, columns: Columns) -> None:
        """Where any sample has data."""
        strip.data_mask[_within(strip, window)] = columns.mask.reshape(window.height, window.width)

    def _evaluate(self, strip: Strip, window: Window, columns: Columns, first: int, last: int, lane: Lane) -> None:
        """Runs the script over rows `first` to `last` of a window."""
        self._go_on()
        with lane.phases.of(SCRIPT):
            begin, end = first * window.width, last * window.width
            sources = []
            for source, (timeline, samples) in enumerate(zip(self._timelines, self._samples, strict=True)):
                layers, start = columns.part(source, len(samples), begin, end)
                sources.append(source_columns(timeline, samples, layers, begin - start, end - start))
            made = lane.host.evaluate(self._script, Batch(tuple(sources), *self._times), borrow=True)
            rows, span = _within(strip, window)
            rows = slice(rows.start + first, rows.start + last)
            for name, values in made.outputs.items():
                strip.arrays[name][:, rows, span] = values.reshape(len(values), last - first, window.width)
            if made.user_data is not None:
                self.user_data = made.user_data

    def _open_ahead(self) -> None:
        reader = self._tools.reader
        hrefs = [
            place_of(timeline.scenes[scene], band).asset.href
            for timeline, samples in zip(self._timelines, self._samples, strict=True)
            for sample in samples
            for scene in sample.scenes
            for band in timeline.source.reads
        ]
        reader.open_ahead(dict.fromkeys(hrefs))

    def _first_rasters(self) -> list[tuple[int, RasterInfo]]:
        """The number of the source and the raster of each band of its first scene that can be opened."""
        found = []
        for number, (timeline, samples) in enumerate(zip(self._timelines, self._samples, strict=True)):
            chosen = next((sample.scenes[0] for sample in samples if sample.scenes), None)
            if chosen is None:
                continue
            for band in timeline.source.reads:
                try:
                    href = place_of(timeline.scenes[chosen], band).asset.href
                    found.append((number, self._tools.reader.info(href)))
                except SourceError:  # told when it is read
                    continue
        return found

    def _block_grids(self, infos: Sequence[tuple[int, RasterInfo]]) -> list[BlockGrid]:
        """The blocks along which the image can be cut; none where any raster lies askew to it."""
        found = []
        for _, info in infos:
            if info.grid.epsg != self._grid.epsg or not info.grid.is_north_up:
                return []
            level = overview_for(info, overview_cell_m(self._grid))
            size = info.level(level)
            found.append(BlockGrid(info.level_grid(level), size.block_width, size.block_height))
        return found

    def _find_needs(self, infos: Sequence[tuple[int, RasterInfo]]) -> Needs:
        """Memory of a cell: its samples' values, one more layer for the mosaic, where it lies, what the script returns."""
        per_source = [0.0] * len(self._samples)
        patches = 0.0
        for number, info in infos:
            size = np.dtype(info.dtype).itemsize
            method = method_for(self._grid, info.grid, self._data[self._timelines[number].source.number].processing)
            if method is not Resampling.NEAREST:
                level = info.level_grid(overview_for(info, overview_cell_m(self._grid)))
                patches += (size + 1) * max(1.0, _pixels_per_cell(self._grid, level))
                size = max(4, size)
            per_source[number] += size
        layers = [
            (per + 1) * max(0, len(samples) - 1) + _of_one(per)
            for per, samples in zip(per_source, self._samples, strict=True)
        ]
        grids = len({(info.grid, info.block_width) for _, info in infos})
        abroad = any(info.grid.epsg != self._grid.epsg for _, info in infos)
        fixed = _INDEX_BYTES * max(1, grids) + (_PLACES_BYTES if abroad or patches else 0) + _MASK_BYTES
        made = 1 + sum(
            len(output.bands) * np.dtype(driver.DTYPES[output.sample_type]).itemsize for output in self._script.outputs
        )
        return Needs(sum(layers) + patches + fixed, max(map(_of_one, per_source)) + patches + fixed, made)

    def _count(self) -> dict[str, float]:
        counted = asdict(self._tools.reader.counters)
        counted["block_seconds"] = counted.pop("seconds")
        return {**counted, **sum_counters(lane.phases for lane in self._tools.lanes.lanes)}


def _pixels_per_cell(grid: RasterGrid, source: SourceGrid) -> float:
    width, height = source.pixel_size
    if source.epsg == grid.epsg:
        return float(grid.dx / width * grid.dy / height)
    cell = overview_cell_m(grid)
    return float((cell / (height * metres_per_unit(source.epsg))) ** 2)


def _of_one(values_bytes: float) -> float:
    """Memory of a sample's cell while it is read: its mosaic, the scene that is being laid over it, masks."""
    return 2 * values_bytes + 3


def _within(strip: Strip, window: Window) -> tuple[slice, slice]:
    """Where a window lies in its strip's arrays."""
    return (
        slice(window.first_row - strip.first_row, window.last_row - strip.first_row),
        slice(window.first_column, window.last_column),
    )


def _unwatched(name: str) -> AbstractContextManager[None]:
    return nullcontext()
