"""Computes a feature with more cells than memory has room for, strip by strip.

The cells are cut into pieces that lie in one block of a source each, and a strip is a run of whole blocks, mostly whole rows of
them: so hardly a block is read twice. A strip goes through the intervals like a group of features, its pieces being the
features; what the pieces say is merged when all strips are done. Pieces do not depend on how they are put into strips, so the
results do not either.

Percentiles, and histograms whose edges depend on the samples, need all samples of an interval together: they wait in a
temporary file. As many intervals are taken at once as some gigabytes there have room for.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from swathe.engine.evaluate import DATA_MASK_OUTPUT, BandCalculation, FaultFinder, band_values, calculations_of
from swathe.engine.group_run import GroupRun
from swathe.engine.groups import room_for
from swathe.engine.lanes import Lane
from swathe.engine.phases import CELLS, STATISTICS
from swathe.engine.reading import overview_for, place_of
from swathe.engine.results import charge, failed_entry
from swathe.engine.spill import Spill
from swathe.engine.task import Group, UnitTask, UnitTools
from swathe.engine.timeline import Segment, busy_intervals
from swathe.evalscript.columns import Evaluated
from swathe.evalscript.script import Evalscript, SampleType
from swathe.grids.cover import Cells, cover, cover_rows
from swathe.model.errors import LimitExceeded, ScriptError, SourceError, SwatheError
from swathe.model.statistical import Cover
from swathe.outputs.documents import BandResult, IntervalEntry
from swathe.sampling.cut import BlockGrid, Pieces, cut_cells, take_spans
from swathe.statistics.distribution import Histograms, bin_edges, count_between, has_given_edges
from swathe.statistics.merge import merge, merge_histograms
from swathe.statistics.selection import select_histogram, select_percentiles
from swathe.statistics.summary import Summary, summarise

_PIECE_CELLS = 20_000
_ROWS_AT_ONCE = 256
_SPILL_BYTES = 2 * 2**30


class StripsRun:
    """Takes the only feature of a group through the intervals, as `GroupRun` does with smaller ones."""

    def __init__(self, task: UnitTask, group: Group, tools: UnitTools) -> None:
        self._task = task
        self._group = group
        self._tools = tools
        self._polygon, self._rule = group.polygons[0], task.request.aggregation.sampling.cover
        if self._rule in (Cover.COVERAGE, Cover.ALL_TOUCHED):
            runs, _ = self._cover(0, int(group.grids.height[0]), with_weights=False)
        else:
            runs = cover(group.polygons, group.grids, self._rule).runs
        blocks = _block_grids(task, group, tools)
        self._pieces = cut_cells(runs, group.grids, blocks, _PIECE_CELLS, run=tools.lanes.run_alike)

    def compute(self, done: Callable[[float], None]) -> None:
        """Computes the feature; `done` is told what share of it each piece of work is."""
        busy = busy_intervals(self._group.timelines, len(self._task.intervals))
        if not busy or not len(self._pieces):
            return
        most = room_for(self._task, self._tools)
        results = PieceResults(self._task, self._group, self._tools, self._pieces)
        with results.spill:
            at_once = self._intervals_at_once()
            for begin in range(0, len(busy), at_once):
                some = busy[begin : begin + at_once]
                results.begin(some)
                for first, last in strips(self._pieces, most):
                    cells = int(self._pieces.starts[last] - self._pieces.starts[first])
                    share = len(some) / len(busy) * cells / int(self._pieces.starts[-1])
                    self._compute_strip(first, last, results, partial(_add, done, share))
                results.settle(some)

    def _compute_strip(self, first: int, last: int, results: PieceResults, done: Callable[[float], None]) -> None:
        # nothing of a strip is left when the next one is begun
        with self._tools.lanes.lanes[0].phases.of(CELLS):
            run = self._strip(first, last, results)
        run.compute(done)
        results.close_strip()

    def _strip(self, first: int, last: int, results: PieceResults) -> GroupRun:
        """The run of pieces `first` to `last` (excluded)."""
        count = last - first
        grids = self._group.grids
        cells = self._pieces.cells(first, last)
        if self._rule is Cover.COVERAGE:
            runs, weights = self._cover(int(cells.runs[:, 0].min()), int(cells.runs[:, 0].max()) + 1)
            cells = replace(cells, weights=take_spans(runs, weights, cells.runs))
        timelines = tuple(
            replace(timeline, presence=np.repeat(timeline.presence, count, axis=0))
            for timeline in self._group.timelines
        )
        alike = np.zeros(count, np.int64)
        group = Group(
            alike, self._group.polygons[alike], grids.take(alike), timelines, self._group.cell_m, np.zeros(count)
        )
        results.open_strip(first, group)
        return GroupRun(self._task, group, self._tools, cells=cells, results=results)

    def _cover(
        self, first: int, last: int, *, with_weights: bool = True
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
        """Runs, and if they are wanted weights, of the cells in rows `first` to `last`, found by all lanes."""
        found: dict[int, tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]] = {}
        nothing = np.zeros(0)

        def find(row: int) -> None:
            cells = cover_rows(self._polygon, self._group.grids, self._rule, row, min(row + _ROWS_AT_ONCE, last))
            found[row] = cells.runs, cells.weights if with_weights and cells.weights is not None else nothing

        self._tools.lanes.run_alike(partial(find, row) for row in range(first, last, _ROWS_AT_ONCE))
        runs, weights = zip(*(found[row] for row in sorted(found)), strict=True)
        return np.concatenate(runs), np.concatenate(weights)

    def _intervals_at_once(self) -> int:
        """How many intervals' samples the temporary file has room for."""
        task = self._task
        weight = 8 if self._rule is Cover.COVERAGE else 0
        per_cell = sum(
            _SAMPLE_BYTES[output.sample_type] + weight
            for output in task.script.outputs
            if output.id != DATA_MASK_OUTPUT
            for wanted in calculations_of(output, task.request.calculations).values()
            if _needs_samples(wanted)
        )
        if not per_cell:
            return len(task.intervals)
        return max(1, _SPILL_BYTES // (per_cell * int(self._pieces.starts[-1])))


_SAMPLE_BYTES = {
    SampleType.INT8: 1,
    SampleType.UINT8: 1,
    SampleType.INT16: 2,
    SampleType.UINT16: 2,
    SampleType.FLOAT32: 4,
    SampleType.AUTO: 4,
}


def _add(done: Callable[[float], None], share: float, part: float) -> None:
    done(share * part)


def strips(pieces: Pieces, most_cells: int) -> Iterator[tuple[int, int]]:
    """Runs of pieces (first, last excluded) of at most `most_cells` cells, at least one piece.

    They end between rows of blocks where that leaves them half as large as they might be, else between blocks, else anywhere.
    """
    new_block = np.flatnonzero(np.diff(pieces.block)) + 1
    new_row = np.flatnonzero(np.diff(pieces.block_row)) + 1
    count, first = len(pieces), 0
    while first < count:
        full = int(np.searchsorted(pieces.starts, pieces.starts[first] + most_cells, side="right")) - 1
        last = min(max(full, first + 1), count)
        if last < count:
            half = int(np.searchsorted(pieces.starts, pieces.starts[first] + most_cells // 2))
            for places, least in ((new_row, max(half, first + 1)), (new_block, first + 1)):
                at = int(np.searchsorted(places, last, side="right")) - 1
                if at >= 0 and places[at] >= least:
                    last = int(places[at])
                    break
        yield first, last
        first = last


def _block_grids(task: UnitTask, group: Group, tools: UnitTools) -> list[BlockGrid]:
    """The different grids of blocks of the feature's scenes, of each scene that of its largest blocks.

    Blocks of a finer band mostly lie whole in them. Of scenes that the catalog tells to have one grid the first is opened.
    """
    found: dict[BlockGrid, None] = {}
    known: set[object] = set()
    for timeline in group.timelines:
        for number in np.flatnonzero(timeline.presence[0] & (timeline.interval_of >= 0)).tolist():
            scene = timeline.scenes[number]
            try:
                places = [place_of(scene, band) for band in timeline.source.reads]
                told = tuple(place.asset.grid for place in places)
                if told in known and None not in told:
                    continue
                infos = [tools.reader.info(place.asset.href) for place in places]
            except SourceError as error:
                if error.retryable:
                    raise
                continue  # its interval will tell
            known.add(told)
            grids = []
            for info in infos:
                level = overview_for(info, group.cell_m)
                size = info.level(level)
                grids.append(BlockGrid(info.level_grid(level), size.block_width, size.block_height))
            found.setdefault(max(grids, key=_block_area))
    return list(found)


def _block_area(blocks: BlockGrid) -> float:
    width, height = blocks.grid.pixel_size
    return width * blocks.block_width * height * blocks.block_height


def _needs_samples(wanted: BandCalculation) -> bool:
    return bool(wanted.percents) or (wanted.histogram is not None and not has_given_edges(wanted.histogram))


@dataclass
class _Band:
    """What is known of one band of one output in one interval: by first piece the summaries and histograms."""

    wanted: BandCalculation
    integer_edges: bool
    summaries: dict[int, Summary] = field(default_factory=dict)
    histograms: dict[int, Histograms] = field(default_factory=dict)


@dataclass
class _Interval:
    """What the pieces said in one interval. Of several errors the one of the first piece counts."""

    bands: dict[tuple[str, str], _Band] = field(default_factory=dict)
    error: SwatheError | None = None
    failed: float = math.inf
    charged: float = 0.0


class PieceResults:
    """Keeps what the script returns for a feature's pieces, and makes the feature's entries of it.

    A piece that fails fails the interval; what comes behind it is left out then.
    """

    def __init__(self, task: UnitTask, group: Group, tools: UnitTools, pieces: Pieces) -> None:
        self._task = task
        self._group = group
        self._tools = tools
        self._lock = threading.Lock()
        self._intervals: dict[int, _Interval] = {}
        self._before = 0
        self._strip = group
        self.spill = Spill(pieces.starts)

    def begin(self, intervals: Sequence[int]) -> None:
        """Only these are wanted from now on."""
        self._intervals = {number: _Interval() for number in intervals}

    def open_strip(self, before: int, group: Group) -> None:
        """The next pieces are those of a strip, and count from `before` on."""
        self._before = before
        self._strip = group

    def close_strip(self) -> None:
        """Adds up what need not be kept piece by piece."""
        for interval in self._intervals.values():
            for band in interval.bands.values():
                if len(band.histograms) > 1:
                    ordered = [band.histograms[first] for first in sorted(band.histograms)]
                    band.histograms = {min(band.histograms): merge_histograms(ordered)}

    def finder(self, *catches: type[SwatheError]) -> FaultFinder:
        """One that halves nothing: the pieces are one feature."""
        return FaultFinder(*catches, whole=True)

    def wants(self, interval: int, first: int) -> bool:
        """Whether no piece before failed."""
        known = self._intervals.get(interval)
        return known is not None and known.failed > self._before + first

    def take(
        self,
        interval: int,
        segment: Segment,
        first: int,
        last: int,
        evaluated: Evaluated,
        script: Evalscript,
        cells: Cells,
    ) -> None:
        """Takes the statistics of the pieces, and their samples if those are needed."""
        begin, end = int(cells.starts[first]), int(cells.starts[last])
        starts = cells.starts[first : last + 1] - begin
        weights = None if cells.weights is None else cells.weights[begin:end]
        known, before = self._intervals[interval], self._before + first
        for found in band_values(evaluated, script, self._task.request.calculations):
            name = found.output, found.band
            with self._lock:
                band = known.bands.setdefault(name, _Band(found.wanted, found.integer_edges))
            band.summaries[before] = summarise(found.values, found.valid, weights, starts)
            histogram = found.wanted.histogram
            if histogram is not None and has_given_edges(histogram):
                try:
                    edges = bin_edges(histogram, math.nan, math.nan, self._tools.limits.histogram_bins)
                except LimitExceeded as error:
                    raise ScriptError(error.message) from None
                whole = starts[[0, -1]]
                band.histograms[before] = count_between(
                    found.values, found.valid, weights, whole, edges, even=histogram.bins is None
                )
            if _needs_samples(found.wanted):
                valid = found.valid.view(np.bool_)
                ends = np.concatenate([[0], np.cumsum(found.valid, dtype=np.int64)])[starts[1:]]
                kept = None if weights is None else weights[valid]
                self.spill.write((interval, *name), before, found.values[valid], kept, ends)
        known.charged = float(charge(self._strip.timelines, interval, segment, first, first + 1)[0])

    def fail(self, interval: int, first: int, last: int, error: SwatheError) -> None:
        """Notes the error."""
        known, piece = self._intervals[interval], self._before + first
        with self._lock:
            if piece < known.failed:
                known.failed, known.error = piece, error

    def settle(self, intervals: Sequence[int]) -> None:
        """Makes the entries of intervals that all strips went through, side by side."""

        def settle(number: int, lane: Lane) -> None:
            with lane.phases.of(STATISTICS):
                self._settle(number)

        self._tools.lanes.run(partial(settle, number) for number in intervals)
        self.spill.clear()

    def _settle(self, number: int) -> None:
        known, interval = self._intervals[number], self._task.intervals[number]
        entry = None
        if known.error is None and known.bands:
            results: dict[str, dict[str, BandResult]] = {}
            try:
                for (output, name), band in known.bands.items():
                    results.setdefault(output, {})[name] = self._result((number, output, name), band)
                entry = IntervalEntry(interval, 0, 1, results)
            except LimitExceeded as error:
                known.error = ScriptError(error.message)
        if known.error is not None:
            entry = failed_entry(interval, 0, 1, known.error)
        if entry is not None:
            with self._lock:
                self._group.entries.append(entry)
                self._group.charged[0] += 0.0 if known.error is not None else known.charged

    def _result(self, name: tuple[int, str, str], band: _Band) -> BandResult:
        """What is said of a band of the whole feature."""
        summary = merge([band.summaries[first] for first in sorted(band.summaries)])
        weighted = summary.weights is not None
        samples = partial(self.spill.read, name)
        histograms = None
        if band.wanted.histogram is not None and has_given_edges(band.wanted.histogram):
            histograms = merge_histograms([band.histograms[first] for first in sorted(band.histograms)])
        elif band.wanted.histogram is not None:
            least, greatest = float(summary.minimum[0]), float(summary.maximum[0])
            most = self._tools.limits.histogram_bins
            histograms = select_histogram(samples, band.wanted.histogram, least, greatest, most)
        percents, extent = band.wanted.percents, None
        if not weighted:
            extent = float(summary.minimum[0]), float(summary.maximum[0])
        return BandResult(
            summary,
            self._group.grids.sample_count,
            percents,
            select_percentiles(samples, self.spill.count(name), percents, extent) if percents else None,
            histograms,
            integer_edges=band.integer_edges,
            weighted=weighted,
        )
