"""Computes one work unit: its features' cells, the scenes' blocks, the script, the statistics, the documents.

Given a reader and a script host by `engine.compute`; does no I/O of its own. Features go in groups that share the CRS of
their grids; in a group those with the same scenes lie side by side, so that a script sees for each cell just the samples
of its feature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from swathe.engine.cost import band_factor
from swathe.engine.evaluate import FaultFinder, check_outputs, chunks, take_statistics
from swathe.engine.groups import make_groups
from swathe.engine.outbox import deliver_documents
from swathe.engine.reading import CellIndex, SceneReader
from swathe.engine.samples import preprocess, source_columns, updated_script
from swathe.engine.task import Group, UnitTask, UnitTools
from swathe.engine.timeline import Segment, plan_segments, same_presence
from swathe.engine.values import Document, Stopped, UnitReport
from swathe.evalscript.columns import Batch
from swathe.evalscript.script import Mosaicking
from swathe.features.geopackage import polygons_from_wkb
from swathe.grids.cover import cover
from swathe.model.errors import LimitExceeded, ScriptError, ScriptTimeout, SourceError, SwatheError
from swathe.model.time import TimeRange, format_time
from swathe.outputs.documents import IntervalEntry
from swathe.sampling.mosaic import Mask, Mosaic, mosaic

_CHUNK_CELLS = 1_000_000
# Of a unit's work, about this part comes before the documents are written.
_COMPUTING_PART = 0.7


def run_unit(task: UnitTask, tools: UnitTools, deliver: Callable[[Sequence[Document]], None]) -> UnitReport:
    """Computes and delivers every feature of a unit.

    Raises:
        Stopped: `tools.should_stop` said so; what was delivered by then stays.
        SourceError, StorageError: a raster or the store does not answer.
    """
    polygons, problems = polygons_from_wkb(task.unit.geometries)
    problems = {**problems, **task.unit.problems}
    usable = np.array([i for i in range(len(polygons)) if i not in problems], np.int64)
    groups, too_large = make_groups(task, polygons, usable, tools)
    problems |= too_large
    total = max(1, len(task.intervals) * len(groups))
    done = 0

    def step(fraction: float) -> None:
        tools.on_progress(fraction)
        if tools.should_stop():
            raise Stopped("The job was stopped")

    step(0.0)
    for group in groups:
        run = _GroupRun(task, group, tools)
        for interval in range(len(task.intervals)):
            run.interval(interval)
            done += 1
            step(_COMPUTING_PART * done / total)
    count = max(1, len(polygons))
    return deliver_documents(
        task,
        groups,
        problems,
        deliver,
        lambda delivered: step(_COMPUTING_PART + (1 - _COMPUTING_PART) * delivered / count),
    )


class _GroupRun:
    """Takes a group through its intervals, one at a time, and keeps what each says."""

    def __init__(self, task: UnitTask, group: Group, tools: UnitTools) -> None:
        self._task = task
        self._group = group
        self._tools = tools
        self._cells = cover(group.polygons, group.grids, task.request.aggregation.sampling.cover)
        self._samples = group.grids.sample_count
        index = CellIndex(self._cells, group.grids)
        self._readers = [SceneReader(tools.reader, index, source.collection, source.reads) for source in task.sources]
        self._faults = FaultFinder(ScriptError)

    def interval(self, number: int) -> None:
        """Reads, evaluates and reduces one interval."""
        group, task = self._group, self._task
        segments = list(plan_segments(group.timelines, number))
        if not segments:
            return
        interval = task.intervals[number]
        ready: list[Segment] = []
        for segment in segments:
            try:
                ready.append(preprocess(segment, task.script, group.timelines, interval, self._tools.host))
            except ScriptError as error:
                self._fail(interval, segment.first, segment.last, error)

        try:
            self._compute(number, ready)
        except SourceError as error:
            if error.retryable:
                raise
            self._compute_apart(number, ready)

    def _compute_apart(self, number: int, segments: Sequence[Segment]) -> None:
        """As `_compute` where a raster cannot be read, which fails the features that need it and not their neighbours.

        Features with the same scenes are tried together: where the search is given up, only they fail.
        """

        def within(first: int, last: int) -> list[Segment]:
            return [part for segment in segments if (part := segment.within(first, last)) is not None]

        def unreadable(first: int, last: int, error: SwatheError) -> None:
            for segment in within(first, last):
                self._fail(self._task.intervals[number], segment.first, segment.last, error)

        for first, last in same_presence([timeline.presence for timeline in self._group.timelines]):
            if within(first, last):
                FaultFinder(SourceError).run(first, last, lambda a, b: self._compute(number, within(a, b)), unreadable)

    def _compute(self, number: int, segments: Sequence[Segment]) -> None:
        """Reads what some segments need in an interval, then takes them through the script."""
        interval = self._task.intervals[number]
        columns = [self._read(segments, source) for source in range(len(self._readers))]
        for segment in segments:
            for first, last in chunks(self._cells.starts, segment.first, segment.last, _CHUNK_CELLS):
                self._faults.run(
                    first,
                    last,
                    lambda a, b, segment=segment: self._evaluate(number, segment, columns, a, b),  # type: ignore[misc]
                    lambda a, b, error: self._fail(interval, a, b, error),
                )

    def _read(self, segments: Sequence[Segment], source: int) -> dict[str, Mosaic]:
        """The columns of every layer of a source that any segment has a sample in; each scene's blocks once.

        At its cells a feature sees just the scenes over it, whoever its neighbours are.
        """
        timeline, reader = self._group.timelines[source], self._readers[source]
        layers: dict[str, dict[int, npt.NDArray[np.bool_]]] = {}
        for segment in segments:
            members = slice(segment.first, segment.last)
            for sample in segment.samples[source]:
                scenes = layers.setdefault(sample.layer, {})
                for scene in sample.scenes:
                    features = scenes.setdefault(scene, np.zeros(len(self._group.members), np.bool_))
                    features[members] |= timeline.presence[members, scene]
        return {
            layer: mosaic(
                sorted(scenes, key=lambda scene: int(timeline.rank[scene])),
                lambda scene, cells: reader.fetch(timeline.scenes[scene], cells),
                [band.name for band in timeline.source.reads],
                self._cells.count,
                fill_nan=timeline.source.collection.nodata_is_nan,
                over=lambda scene, scenes=scenes: self._cells_of(scenes[scene]),  # type: ignore[misc]
            )
            for layer, scenes in layers.items()
        }

    def _cells_of(self, features: npt.NDArray[np.bool_]) -> Mask | None:
        """1 at the cells of some features, None where it is all."""
        if features.all():
            return None
        return np.repeat(features.view(np.uint8), np.diff(self._cells.starts))

    def _evaluate(
        self, number: int, segment: Segment, columns: Sequence[Mapping[str, Mosaic]], first: int, last: int
    ) -> None:
        """Runs the script over features `first` to `last` of a segment and keeps their statistics."""
        interval = self._task.intervals[number]
        begin, end = int(self._cells.starts[first]), int(self._cells.starts[last])
        sources = [
            source_columns(timeline, samples, [mosaics[sample.layer] for sample in samples], begin, end)
            for timeline, mosaics, samples in zip(self._group.timelines, columns, segment.samples, strict=True)
        ]
        batch = Batch(tuple(sources), format_time(interval.start), format_time(interval.end))
        script = updated_script(segment, self._task.script, self._group.timelines, interval, self._tools.host)
        if script is not self._task.script:
            check_outputs(script, {})
        evaluated = self._tools.host.evaluate(script, batch)
        weights = self._cells.weights
        try:
            results = take_statistics(
                evaluated,
                script,
                self._task.request.calculations,
                starts=self._cells.starts[first : last + 1] - begin,
                sample_count=self._samples[first:last],
                weights=None if weights is None else weights[begin:end],
                max_bins=self._tools.limits.histogram_bins,
            )
        except LimitExceeded as error:  # how many bins there are may follow from what the script returned
            raise ScriptError(error.message) from None
        self._group.entries.append(IntervalEntry(interval, first, last - first, results))
        self._charge(number, segment, first, last)

    def _charge(self, number: int, segment: Segment, first: int, last: int) -> None:
        """Counts what the features were charged for: an interval under SIMPLE, else every scene the script was given."""
        for timeline, samples in zip(self._group.timelines, segment.samples, strict=True):
            if timeline.source.mosaicking is Mosaicking.SIMPLE:
                here = timeline.presence[first:last][:, timeline.interval_of == number]
                count = here.any(axis=1).astype(np.float64)
            else:
                count = np.full(last - first, float(sum(len(sample.scenes) for sample in samples)))
            self._group.charged[first:last] += band_factor(timeline.source.charged_bands) * count

    def _fail(self, interval: TimeRange, first: int, last: int, error: SwatheError) -> None:
        kind = "TIMEOUT" if isinstance(error, ScriptTimeout) else "EXECUTION_ERROR"
        self._group.entries.append(IntervalEntry(interval, first, last - first, error=(kind, error.message)))
