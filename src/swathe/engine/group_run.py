"""Takes a group of features through the intervals: reads, runs the script, reduces.

Lanes share what is known of the group and take intervals side by side. The last ones are cut among the lanes, so that none
has a whole interval before it when the others are done.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from swathe.catalog.scene import Scene
from swathe.engine.inputs import SourceInput
from swathe.engine.lanes import Lane
from swathe.engine.phases import CELLS, READ, SCRIPT
from swathe.engine.pieces import CHUNK_BYTES, Part, Piece, PieceEvaluator, cut_pieces
from swathe.engine.reading import CellIndex, SceneReader, reads_from_store
from swathe.engine.reading_between import BetweenReader
from swathe.engine.resampling import interpolates
from swathe.engine.results import GroupResults, Results
from swathe.engine.samples import preprocess
from swathe.engine.task import Group, UnitTask, UnitTools
from swathe.engine.timeline import Segment, busy_intervals, plan_segments, same_presence
from swathe.grids.cover import Cells, cover, join_cells
from swathe.model.errors import ScriptError, SourceError, SwatheError
from swathe.sampling.mosaic import Mask, Mosaic, mosaic

# Intervals whose files are opened ahead, and whose blocks are fetched ahead, the present one included.
_OPENED_AHEAD = 16
_ORDERED_AHEAD = 4
# Intervals of so many cells together are taken through the script in one call.
_TOGETHER_CELLS = 100_000
_LEAST_CUT_CELLS = 100_000
_LEAST_CUT_FEATURES = 500


class GroupRun:
    """What is known of a group while its intervals are computed. Its parts may be run by several threads."""

    def __init__(
        self,
        task: UnitTask,
        group: Group,
        tools: UnitTools,
        *,
        cells: Cells | None = None,
        results: Results | None = None,
    ) -> None:
        """`cells` are those of the group's features where they are known; `results` takes what the script returns, and
        does with it what is usual if it is not given."""
        self._task = task
        self._group = group
        self._tools = tools
        self._cells = find_cells(task, group, tools) if cells is None else cells
        self._results: Results = GroupResults(task, group, tools) if results is None else results
        self._index = CellIndex(self._cells, group.grids)
        self._readers = [self._reader_of(source) for source in task.sources]
        self._prepared: dict[int, list[Segment]] = {}
        self._lock = threading.RLock()
        self._from_store = any(map(reads_from_store, group.timelines))
        self._opened = self._ordered = 0
        self._evaluator = PieceEvaluator(task, group.timelines, tools, self._cells, self._results)

    def _reader_of(self, source: SourceInput) -> SceneReader:
        told = self._tools.reader, self._index, source.collection, source.reads, self._group.cell_m
        if not interpolates(source.processing):
            return SceneReader(*told)
        return BetweenReader(*told, grids=self._group.grids, processing=source.processing)

    def compute(self, done: Callable[[float], None]) -> None:
        """Takes the group through all intervals, by all lanes; `done` is told of each piece what share of the whole it is.

        Where there are intervals enough, each is one lane's; the last ones are cut by features. Few intervals of many
        samples are taken by all lanes together, sample by sample, so that no block is read by two of them.
        """
        lanes = self._tools.lanes
        busy = [
            number
            for number in busy_intervals(self._group.timelines, len(self._task.intervals))
            if self._results.wants(number, 0)
        ]
        if not busy:
            return
        self._locate(busy[0])
        features = len(self._group.members)
        if len(lanes) > 1 and len(busy) < 2 * len(lanes) and self._layers_of(busy[0]) >= 2 * len(lanes):
            for interval in busy:
                self._run_together(Part(interval, 0, features, 1 / len(busy)))
                del self._prepared[interval]
                done(1 / len(busy))
            return
        parts = self._parts(busy)
        left = Counter(part.interval for part in parts)

        def run(few: Sequence[Part], lane: Lane) -> None:
            self._run(few, lane)
            for part in few:
                with self._lock:
                    left[part.interval] -= 1
                    if not left[part.interval]:
                        del self._prepared[part.interval]
                done(part.share)

        lanes.run(partial(run, few) for few in self._together(parts))

    def _together(self, parts: Sequence[Part]) -> Iterator[Sequence[Part]]:
        """Parts that a lane takes at once: one, or several where they are so small that a call of the script's process
        costs more than their cells. They become fewer towards the end, so that all lanes end at about the same time; where
        blocks are fetched ahead, no more than these."""
        most = min(_TOGETHER_CELLS // max(1, self._cells.count), _ORDERED_AHEAD if self._from_store else len(parts))
        first = 0
        while first < len(parts):
            count = max(1, min(most, -(-(len(parts) - first) // (2 * len(self._tools.lanes)))))
            yield parts[first : first + count]
            first += count

    def _parts(self, busy: Sequence[int]) -> list[Part]:
        """The intervals one by one, the last ones cut by features."""
        lanes = len(self._tools.lanes)
        features = len(self._group.members)
        cut = len(busy) if len(busy) < 2 * lanes else lanes
        pieces = lanes if self._cells.count >= _LEAST_CUT_CELLS else 1
        edges = np.searchsorted(self._cells.starts, np.linspace(0, self._cells.count, pieces + 1)[1:-1])
        cuts = sorted({0, *edges.tolist(), features})
        found = []
        for place, interval in enumerate(busy):
            ends = cuts if place >= len(busy) - cut else [0, features]
            for first, last in itertools.pairwise(ends):
                found.append(Part(interval, first, last, (last - first) / max(1, features) / len(busy)))
        return found

    def _locate(self, interval: int) -> None:
        """Finds where the cells lie in the first scene of each source, by all lanes; the others are mostly alike."""
        lane = self._tools.lanes.lanes[0]
        with lane.phases.of(CELLS):
            for reader, scene, _ in self._first_scenes(interval, lane):
                reader.locate(scene, self._tools.lanes)

    def _layers_of(self, interval: int) -> int:
        """How many samples an interval has, of all sources."""
        ready = self._prepare(interval, self._tools.lanes.lanes[0])
        return sum(len(self._layers(ready, source)) for source in range(len(self._readers)))

    def _run_together(self, part: Part) -> None:
        """Takes all features through one interval: the lanes read samples side by side, then evaluate side by side."""
        lanes = self._tools.lanes
        first = lanes.lanes[0]
        with first.phases.of(READ):
            self._look_ahead(part.interval, first)
        ready = self._prepare(part.interval, first)
        columns: list[dict[str, Mosaic]] = [{} for _ in self._readers]

        def read(source: int, layer: str, scenes: Mapping[int, npt.NDArray[np.bool_]], lane: Lane) -> None:
            with lane.phases.of(READ):
                columns[source][layer] = self._read_layer(part, source, scenes)

        try:
            lanes.run(
                [
                    partial(read, source, layer, scenes)
                    for source in range(len(self._readers))
                    for layer, scenes in self._layers(ready, source).items()
                ]
            )
        except SourceError as error:
            if error.retryable:
                raise
            columns.clear()
            self._compute_apart(part, ready, first)
            return
        lanes.run(partial(self._evaluator.run, piece) for piece in cut_pieces(part, ready, columns, self._cells.starts))

    def _run(self, parts: Sequence[Part], lane: Lane) -> None:
        """Reads, evaluates and reduces each part's features in its interval."""
        waiting: list[Piece] = []
        held = 0
        for part in parts:
            with lane.phases.of(READ):
                self._look_ahead(part.interval, lane)
            ready = self._within(self._prepare(part.interval, lane), part.first, part.last)
            if not ready or not self._results.wants(part.interval, part.first):
                continue
            try:
                found = self._read(part, ready, lane)
            except SourceError as error:
                if error.retryable:
                    raise
                self._compute_apart(part, ready, lane)
                continue
            waiting += found
            held += sum(piece.columns_bytes(self._cells.starts) for piece in found)
            if held >= CHUNK_BYTES:
                self._evaluator.run_all(waiting, lane)
                waiting, held = [], 0
        self._evaluator.run_all(waiting, lane)

    def _within(self, segments: Sequence[Segment], first: int, last: int) -> list[Segment]:
        return [part for segment in segments if (part := segment.within(first, last)) is not None]

    def _prepare(self, number: int, lane: Lane) -> list[Segment]:
        """The segments of an interval, with those samples that the script keeps."""
        with self._lock:
            if number not in self._prepared:
                ready: list[Segment] = []
                interval = self._task.intervals[number]
                timelines = self._group.timelines
                for segment in plan_segments(timelines, number):
                    try:
                        with lane.phases.of(SCRIPT):
                            ready.append(preprocess(segment, self._task.script, timelines, interval, lane.host))
                    except ScriptError as error:
                        self._results.fail(number, segment.first, segment.last, error)
                self._prepared[number] = ready
            return self._prepared[number]

    def _look_ahead(self, number: int, lane: Lane) -> None:
        """Orders what the next intervals surely need from stores, so that nobody waits for it when its turn comes.

        Surely needed is the first scene of each layer; whether the others are depends on what it has. Files are opened
        before their blocks can be known.
        """
        if not self._from_store:
            return
        with self._lock:
            while self._opened < min(len(self._task.intervals), number + _OPENED_AHEAD):
                if self._results.wants(self._opened, 0):
                    for reader, scene, _ in self._first_scenes(self._opened, lane):
                        reader.open(scene)
                self._opened += 1
            while self._ordered < min(len(self._task.intervals), number + _ORDERED_AHEAD):
                if self._results.wants(self._ordered, 0):
                    for reader, scene, cells in self._first_scenes(self._ordered, lane):
                        reader.expect(scene, cells, (0, self._cells.count))
                self._ordered += 1

    def _first_scenes(self, number: int, lane: Lane) -> Iterator[tuple[SceneReader, Scene, Mask | None]]:
        """The first scene of each layer of an interval, with the cells that it lies over."""
        ready = self._prepare(number, lane)
        for source, (timeline, reader) in enumerate(zip(self._group.timelines, self._readers, strict=True)):
            for scenes in self._layers(ready, source).values():
                first = min(scenes, key=lambda scene: int(timeline.rank[scene]))
                yield reader, timeline.scenes[first], self._cells_of(scenes[first], 0, len(self._group.members))

    def _compute_apart(self, part: Part, segments: Sequence[Segment], lane: Lane) -> None:
        """As `_compute` where a raster cannot be read, which fails the features that need it and not their neighbours.

        Features with the same scenes are tried together: where the search is given up, only they fail.
        """

        def unreadable(first: int, last: int, error: SwatheError) -> None:
            for segment in self._within(segments, first, last):
                self._results.fail(part.interval, segment.first, segment.last, error)

        for first, last in same_presence([timeline.presence for timeline in self._group.timelines]):
            if self._within(segments, first, last):
                self._results.finder(SourceError).run(
                    first, last, lambda a, b: self._compute(part, self._within(segments, a, b), lane), unreadable
                )

    def _compute(self, part: Part, segments: Sequence[Segment], lane: Lane) -> None:
        """Reads what some segments of a part need, then takes them through the script."""
        for piece in self._read(part, segments, lane):
            self._evaluator.run(piece, lane)

    def _read(self, part: Part, segments: Sequence[Segment], lane: Lane) -> list[Piece]:
        """Reads what some segments of a part need."""
        with lane.phases.of(READ):
            columns = [
                {
                    layer: self._read_layer(part, source, scenes)
                    for layer, scenes in self._layers(segments, source).items()
                }
                for source in range(len(self._readers))
            ]
        return list(cut_pieces(part, segments, columns, self._cells.starts))

    def _read_layer(self, part: Part, source: int, scenes: Mapping[int, npt.NDArray[np.bool_]]) -> Mosaic:
        """The columns of one layer of a source: its scenes laid over one another, each scene's blocks once.

        At its cells a feature sees just the scenes over it, whoever its neighbours are.
        """
        timeline, reader = self._group.timelines[source], self._readers[source]
        span = int(self._cells.starts[part.first]), int(self._cells.starts[part.last])
        return mosaic(
            sorted(scenes, key=lambda scene: int(timeline.rank[scene])),
            lambda scene, cells: reader.fetch(timeline.scenes[scene], cells, span),
            [band.name for band in timeline.source.reads],
            span[1] - span[0],
            fill_nan=timeline.source.collection.nodata_is_nan,
            over=lambda scene: self._cells_of(scenes[scene], part.first, part.last),
        )

    def _layers(self, segments: Sequence[Segment], source: int) -> dict[str, dict[int, npt.NDArray[np.bool_]]]:
        """By layer the scenes of a source that any segment has a sample in, and which features each lies over."""
        timeline = self._group.timelines[source]
        layers: dict[str, dict[int, npt.NDArray[np.bool_]]] = {}
        for segment in segments:
            members = slice(segment.first, segment.last)
            for sample in segment.samples[source]:
                scenes = layers.setdefault(sample.layer, {})
                for scene in sample.scenes:
                    features = scenes.setdefault(scene, np.zeros(len(self._group.members), np.bool_))
                    features[members] |= timeline.presence[members, scene]
        return layers

    def _cells_of(self, features: npt.NDArray[np.bool_], first: int, last: int) -> Mask | None:
        """1 at the cells of some of the features `first` to `last`, None where it is all."""
        chosen = features[first:last]
        if chosen.all():
            return None
        return np.repeat(chosen.view(np.uint8), np.diff(self._cells.starts[first : last + 1]))


def find_cells(task: UnitTask, group: Group, tools: UnitTools) -> Cells:
    """The cells of a group's features, found by all lanes."""
    count = len(group.members)
    edges = np.linspace(0, count, 1 + (len(tools.lanes) if count >= _LEAST_CUT_FEATURES else 1)).astype(int).tolist()
    found: dict[int, Cells] = {}

    def find(first: int, last: int, lane: Lane) -> None:
        which = slice(first, last)
        found[first] = cover(group.polygons[which], group.grids.take(which), task.request.aggregation.sampling.cover)

    tools.lanes.run(partial(find, first, last) for first, last in itertools.pairwise(edges))
    return join_cells([found[first] for first in edges[:-1]])
