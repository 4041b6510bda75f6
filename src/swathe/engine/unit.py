"""Computes one work unit: its features' cells, the scenes' blocks, the script, the statistics, the documents.

Given a reader and a script host by `engine.compute`; does no I/O of its own. Features go in groups that share the CRS of
their grids; in a group those with the same scenes lie side by side, so that a script sees for each cell just the samples
of its feature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import shapely

from swathe.catalog.order import sort_scenes
from swathe.catalog.scene import Scene
from swathe.engine.cost import area_factor, band_factor
from swathe.engine.evaluate import FaultFinder, chunks, stack_columns, take_statistics
from swathe.engine.inputs import SourceInput
from swathe.engine.presence import reproject, scenes_over, to_wgs84
from swathe.engine.reading import CellIndex, SceneReader, place_of
from swathe.engine.samples import batch_scenes, preprocess
from swathe.engine.timeline import Sample, Segment, SourceTimeline, make_timeline, plan_segments, signature_order
from swathe.engine.values import Document, Stopped, UnitReport, WorkUnit
from swathe.evalscript.columns import BandColumn, Batch, SourceColumns
from swathe.evalscript.runtime import ScriptHost
from swathe.evalscript.script import Evalscript, Mosaicking
from swathe.features.geopackage import polygons_from_wkb
from swathe.grids.cover import cover
from swathe.grids.sample_grid import SampleGrids, feature_grids, source_grids
from swathe.model.errors import ScriptError, ScriptTimeout, SourceError, SwatheError
from swathe.model.statistical import Grid, StatisticsRequest
from swathe.model.time import TimeRange, format_time
from swathe.outputs.documents import IntervalEntry, document, failed_document, response
from swathe.rasters.blocks import BlockReader
from swathe.sampling.mosaic import Mosaic, mosaic
from swathe.settings import LimitSettings

_CHUNK_CELLS = 1_000_000
_DELIVER_AT_ONCE = 500
_MOST_FAILURES_NAMED = 100


@dataclass(frozen=True)
class UnitTools:
    """What a unit needs from outside: a reader of blocks, a place to run the script, the limits, and whom to tell."""

    reader: BlockReader
    host: ScriptHost
    limits: LimitSettings
    should_stop: Callable[[], bool]
    on_progress: Callable[[float], None]


@dataclass
class _Group:
    """Features of a unit whose grids share a CRS. `members` are their positions in the unit."""

    members: npt.NDArray[np.int64]
    polygons: npt.NDArray[np.object_]
    grids: SampleGrids
    timelines: tuple[SourceTimeline, ...]
    entries: list[IntervalEntry] = field(default_factory=list)


@dataclass(frozen=True)
class UnitTask:
    """A unit with all that was read from its payload."""

    unit: WorkUnit
    request: StatisticsRequest
    script: Evalscript
    sources: tuple[SourceInput, ...]
    scenes: tuple[tuple[Scene, ...], ...]
    intervals: tuple[TimeRange, ...]


def run_unit(task: UnitTask, tools: UnitTools, deliver: Callable[[Sequence[Document]], None]) -> UnitReport:
    """Computes and delivers every feature of a unit.

    Raises:
        Stopped: `tools.should_stop` said so; nothing of what was not yet delivered will be.
        SourceError, StorageError: a raster or the store does not answer.
    """
    polygons, problems = polygons_from_wkb(task.unit.geometries)
    problems = {**problems, **task.unit.problems}
    usable = np.array([i for i in range(len(polygons)) if i not in problems], np.int64)
    groups, too_large = _make_groups(task, polygons, usable, tools)
    problems |= too_large
    total = max(1, sum(len(task.intervals) for _ in groups))
    done = 0
    for group in groups:
        run = _GroupRun(task, group, tools)
        for interval in range(len(task.intervals)):
            if tools.should_stop():
                raise Stopped("The job was stopped")
            run.interval(interval)
            done += 1
            tools.on_progress(done / total)
    return _deliver(task, groups, problems, deliver)


def _make_groups(
    task: UnitTask, polygons: npt.NDArray[np.object_], usable: npt.NDArray[np.int64], tools: UnitTools
) -> tuple[list[_Group], dict[int, str]]:
    problems: dict[int, str] = {}
    if not len(usable):
        return [], problems
    lonlat = to_wgs84(polygons[usable], task.unit.epsg)
    presences = [scenes_over(lonlat, scenes) for scenes in task.scenes]
    order = signature_order(presences)
    usable = usable[order]
    presences = [presence[order] for presence in presences]
    groups = []
    for which, shapes, grids in _grids(task, polygons[usable], presences, tools):
        most = tools.limits.side_cells
        large = (grids.width > most) | (grids.height > most)
        for at in np.flatnonzero(large):
            problems[int(usable[which[at]])] = (
                f"The feature's grid would have {int(grids.width[at]):,} x {int(grids.height[at]):,} cells; at most"
                f" {most:,} a side are allowed; use a larger resx and resy or cut the feature"
            )
        keep = np.flatnonzero(~large)
        chosen = which[keep]
        timelines = tuple(
            make_timeline(source, scenes, presence[chosen], task.intervals)
            for source, scenes, presence in zip(task.sources, task.scenes, presences, strict=True)
        )
        groups.append(_Group(usable[chosen], shapes[keep], _take(grids, keep), timelines))
    return groups, problems


def _grids(
    task: UnitTask, polygons: npt.NDArray[np.object_], presences: Sequence[npt.NDArray[np.bool_]], tools: UnitTools
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.object_], SampleGrids]]:
    """Positions, polygons in the grids' CRS and grids, a CRS at a time."""
    aggregation = task.request.aggregation
    everyone = np.arange(len(polygons))
    if aggregation.sampling.grid is Grid.FEATURE:
        resolution = (aggregation.resx, aggregation.resy)
        bounds = shapely.bounds(polygons)
        if resolution[0] is not None and resolution[1] is not None:
            grids = feature_grids(bounds, task.unit.epsg, resolution=(resolution[0], resolution[1]))
        else:
            size = (aggregation.width or 256, aggregation.height or 256)
            grids = feature_grids(bounds, task.unit.epsg, size=size)
        return [(everyone, polygons, grids)]
    finest = _finest_rasters(task, presences, tools)
    found = []
    for grid in dict.fromkeys(finest):
        which = np.array([i for i, other in enumerate(finest) if other == grid], np.int64)
        if grid is None:  # no scene at all: nothing is sampled, but the feature has its document
            shapes = polygons[which]
            grids = feature_grids(shapely.bounds(shapes), task.unit.epsg, size=(1, 1))
        else:
            epsg, transform = grid
            bounds = shapely.bounds(polygons[which])
            longest = np.maximum(bounds[:, 2] - bounds[:, 0], bounds[:, 3] - bounds[:, 1]) / 32
            shapes = reproject(polygons[which], task.unit.epsg, epsg, longest=longest)
            grids = source_grids(shapely.bounds(shapes), epsg, transform)
        found.append((which, shapes, grids))
    return found


Pixels = tuple[int, tuple[float, float, float, float, float, float]]


def _finest_rasters(
    task: UnitTask, presences: Sequence[npt.NDArray[np.bool_]], tools: UnitTools
) -> list[Pixels | None]:
    """For each feature the pixels of the finest band of its first scene in mosaicking order."""
    source, scenes, presence = task.sources[0], task.scenes[0], presences[0]
    position = {scene.id: number for number, scene in enumerate(scenes)}
    ordered = np.array([position[scene.id] for scene in sort_scenes(scenes, source.order)], np.int64)
    known: dict[int, Pixels] = {}
    found: list[Pixels | None] = []
    for row in presence:
        present = ordered[row[ordered]] if len(ordered) else ordered
        if not len(present):
            found.append(None)
            continue
        first = int(present[0])
        if first not in known:
            infos = [tools.reader.info(place_of(scenes[first], band).asset.href).grid for band in source.reads]
            grid = min(infos, key=lambda g: abs(g.transform[0] * g.transform[4]))
            known[first] = (grid.epsg, grid.transform)
        found.append(known[first])
    return found


def _take(grids: SampleGrids, which: npt.NDArray[np.int64]) -> SampleGrids:
    return SampleGrids(
        grids.epsg, grids.x0[which], grids.y0[which], grids.dx[which], grids.dy[which], grids.width[which],
        grids.height[which],
    )  # fmt: skip


class _GroupRun:
    """Takes a group through its intervals, one at a time, and keeps what each says."""

    def __init__(self, task: UnitTask, group: _Group, tools: UnitTools) -> None:
        self._task = task
        self._group = group
        self._tools = tools
        self._cells = cover(group.polygons, group.grids, task.request.aggregation.sampling.cover)
        self._samples = group.grids.sample_count
        index = CellIndex(self._cells, group.grids)
        self._readers = [SceneReader(tools.reader, index, source.collection, source.reads) for source in task.sources]
        self._faults = FaultFinder()

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
            columns = self._read(ready)
        except SourceError as error:
            if error.retryable:
                raise
            for segment in ready:
                self._fail(interval, segment.first, segment.last, error)
            return
        for segment in ready:
            for first, last in chunks(self._cells.starts, segment.first, segment.last, _CHUNK_CELLS):
                self._faults.run(
                    first,
                    last,
                    lambda a, b, segment=segment: self._evaluate(interval, segment, columns, a, b),  # type: ignore[misc]
                    lambda a, b, error: self._fail(interval, a, b, error),
                )

    def _read(self, segments: Sequence[Segment]) -> list[dict[Sample, Mosaic]]:
        """The columns of every sample that any segment has, per source; each scene's blocks once."""
        columns: list[dict[Sample, Mosaic]] = []
        for number, (timeline, reader) in enumerate(zip(self._group.timelines, self._readers, strict=True)):
            wanted = dict.fromkeys(sample for segment in segments for sample in segment.samples[number])
            names = [band.name for band in timeline.source.reads]
            columns.append(
                {
                    sample: mosaic(
                        sample.scenes,
                        lambda scene, cells, reader=reader, timeline=timeline: reader.fetch(  # type: ignore[misc]
                            timeline.scenes[scene], cells
                        ),
                        names,
                        self._cells.count,
                        fill_nan=timeline.source.collection.nodata_is_nan,
                    )
                    for sample in wanted
                }
            )
        return columns

    def _evaluate(
        self, interval: TimeRange, segment: Segment, columns: Sequence[Mapping[Sample, Mosaic]], first: int, last: int
    ) -> None:
        """Runs the script over features `first` to `last` of a segment and keeps their statistics."""
        begin, end = int(self._cells.starts[first]), int(self._cells.starts[last])
        sources = []
        for timeline, mosaics, samples in zip(self._group.timelines, columns, segment.samples, strict=True):
            layers = [mosaics[sample] for sample in samples]
            bands = {
                band.name: BandColumn(*stack_columns([layer.bands[band.name] for layer in layers], begin, end))
                for band in timeline.source.bands
                if layers
            }
            mask = (
                np.stack([layer.data_mask[begin:end] for layer in layers])
                if layers
                else np.zeros((0, end - begin), np.uint8)
            )
            if not layers:
                bands = {band.name: BandColumn(np.zeros((0, end - begin), np.uint8)) for band in timeline.source.bands}
            orbits, scenes = batch_scenes(timeline, samples)
            sources.append(
                SourceColumns(
                    timeline.source.spec.datasource,
                    timeline.source.mosaicking,
                    bands,
                    mask,
                    orbits=orbits,
                    scenes=scenes,
                    normalization_factor=timeline.source.collection.normalization_factor,
                )
            )
        batch = Batch(tuple(sources), format_time(interval.start), format_time(interval.end))
        evaluated = self._tools.host.evaluate(self._task.script, batch)
        weights = self._cells.weights
        results = take_statistics(
            evaluated,
            self._task.script,
            self._task.request.calculations,
            starts=self._cells.starts[first : last + 1] - begin,
            sample_count=self._samples[first:last],
            weights=None if weights is None else weights[begin:end],
            max_bins=self._tools.limits.histogram_bins,
        )
        self._group.entries.append(IntervalEntry(interval, first, last - first, results))

    def _fail(self, interval: TimeRange, first: int, last: int, error: SwatheError) -> None:
        kind = "TIMEOUT" if isinstance(error, ScriptTimeout) else "EXECUTION_ERROR"
        self._group.entries.append(IntervalEntry(interval, first, last - first, error=(kind, error.message)))


def _deliver(
    task: UnitTask, groups: Sequence[_Group], problems: Mapping[int, str], deliver: Callable[[Sequence[Document]], None]
) -> UnitReport:
    """Delivers the documents of all features and sums up how they went and what they cost."""
    unit = task.unit
    sampling = task.request.aggregation.sampling
    waiting: list[Document] = []
    failures: dict[int, str] = {}
    failed = 0
    cost = 0.0

    def put(made: Document | None) -> None:
        if made is not None:
            waiting.append(made)
        if waiting and (made is None or len(waiting) >= _DELIVER_AT_ONCE):
            deliver(tuple(waiting))
            waiting.clear()

    for position, reason in sorted(problems.items()):
        key = int(unit.feature_ids[position])
        data = failed_document(key, unit.identifiers[position], "BAD_REQUEST", reason, sampling)
        failed += 1
        if len(failures) < _MOST_FAILURES_NAMED:
            failures[key] = reason
        put(Document(key, unit.identifiers[position], data, reason))
    for group in groups:
        entries: list[list[IntervalEntry]] = [[] for _ in range(len(group.members))]
        for entry in group.entries:
            for at in range(entry.first, entry.first + entry.count):
                entries[at].append(entry)
        area = area_factor(group.grids.sample_count)
        for at, position in enumerate(group.members):
            key, identifier = int(unit.feature_ids[position]), unit.identifiers[position]
            own = sorted(entries[at], key=lambda entry: entry.interval)
            answer = response([entry.to_wire(at) for entry in own])
            failure = None
            if answer["status"] == "FAILED":
                failure = next(entry.error[1] for entry in own if entry.error is not None)
                failed += 1
                if len(failures) < _MOST_FAILURES_NAMED:
                    failures[key] = failure
            else:
                good = sum(entry.error is None for entry in own)
                cost += float(area[at]) * _samples_charged(task, group, at, good)
            put(Document(key, identifier, document(key, identifier, answer, sampling), failure))
    put(None)
    return UnitReport(unit.index, len(unit.feature_ids) - failed, failed, cost, failures)


def _samples_charged(task: UnitTask, group: _Group, feature: int, intervals: int) -> float:
    """Bands / 3 times samples, over all sources: intervals under SIMPLE, else scenes handed to the script."""
    total = 0.0
    for timeline in group.timelines:
        samples = intervals
        if timeline.source.mosaicking is not Mosaicking.SIMPLE:
            samples = int((timeline.presence[feature] & (timeline.interval_of >= 0)).sum())
        total += band_factor(timeline.source.charged_bands) * samples
    return total
