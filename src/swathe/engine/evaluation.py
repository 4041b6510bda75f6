"""Tries an evalscript over arrays, without a server: what `swathe.evaluate` does.

The arrays take the road of the jobs: scenes become samples (`timeline`), samples are laid over one another (`mosaic`),
the script runs in a process of its own (`ScriptHost`). Only the reading is another: bands come from arrays.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from swathe.catalog.collections import Collection
from swathe.catalog.scene import Scene
from swathe.engine.arrays import Moment, SceneArrays, Source, SourceArrays, common_size, definition_of, to_utc
from swathe.engine.inputs import DATA_MASK, BandInput, SourceInput, match_inputs
from swathe.engine.samples import preprocess, source_columns, updated_script
from swathe.engine.timeline import Sample, Segment, SourceTimeline, make_timeline
from swathe.evalscript.columns import Batch
from swathe.evalscript.runtime import ScriptHost, ScriptLimits
from swathe.evalscript.script import Evalscript, InputSpec, Mosaicking, is_simple, simple_bands, simple_script
from swathe.model.errors import BandMissing, RequestInvalid, ScriptError
from swathe.model.time import TimeRange, format_time
from swathe.sampling.mosaic import Mask, Mosaic, SceneBand, mosaic
from swathe.settings import LimitSettings

__all__ = ["EvaluationResult", "SceneArrays", "SourceArrays", "evaluate"]


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """What a script made of arrays.

    Attributes:
        outputs: (h, w, bands) per output in the declared sample type; AUTO is UINT8, 0..1 stretched to 0..255.
        user_data: what the script put into `outputMetadata.userData`, None if nothing.
        bands_read: per source (its id, else its number) the bands that the script asks for, dataMask among them.
        scenes_read: per source the ids of the scenes whose arrays were looked at, in that order.
        notes: what a user may want to know: scenes left out, inputs matched by order.
        script: what setup() said, with the output bands that updateOutput() set.
    """

    outputs: dict[str, npt.NDArray[Any]]
    user_data: object | None
    bands_read: dict[str, tuple[str, ...]]
    scenes_read: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]
    script: Evalscript = field(repr=False)


def evaluate(
    script: str | os.PathLike[str],
    sources: Sequence[SourceArrays],
    *,
    time_range: tuple[Moment, Moment] | None = None,
    mosaicking_order: str = "mostRecent",
) -> EvaluationResult:
    """Runs an evalscript over arrays, as a job would over scenes.

    The script runs in a process of its own under the limits of a job; a script that never ends raises and does no harm.

    Args:
        script: the text of an evalscript, version 3 or a simple one, or the path of a file that holds it.
        sources: one per data source of the script, at most five.
        time_range: `[from, to)`, what preProcessScenes() is told; scenes outside are left out. By default the days that
            have scenes.
        mosaicking_order: `mostRecent`, `leastRecent` or `leastCC`.

    Raises:
        ScriptError: the script cannot be used, throws or is stopped; the message has the line where it is known.
        BandMissing: no scene of a source has a band that the script asks for.
        RequestInvalid: the arguments do not fit together, such as arrays of different shapes.
    """
    text = Path(script).read_text("utf-8") if isinstance(script, os.PathLike) else script
    if not sources:
        raise RequestInvalid(
            "There are no sources; give one SourceArrays for each data source of the script", "sources"
        )
    run = _Run(text, sources, time_range, mosaicking_order)
    return run.result()


class _Run:
    """One evaluation."""

    def __init__(
        self, text: str, sources: Sequence[SourceArrays], time_range: tuple[Moment, Moment] | None, order: str
    ) -> None:
        self.text = text
        self.sources = [Source(number, source, order) for number, source in enumerate(sources)]
        names = [source.id for source in sources if source.id is not None]
        if len(set(names)) < len(names):
            raise RequestInvalid("Two sources have the same id; name them apart", "sources")
        self.height, self.width = common_size(self.sources)
        self.cells = self.height * self.width
        self.interval = _interval(time_range, [scene for source in self.sources for scene in source.scenes])
        self.notes: list[str] = []

    def result(self) -> EvaluationResult:
        host, key = _host(), f"evaluate-{next(_numbers)}"
        text = self._text_of_simple() if is_simple(self.text) else self.text
        script = host.setup(text, key=key)
        try:
            return self._evaluate(host, key, script)
        finally:
            host.fresh(script, key=key)

    def _evaluate(self, host: ScriptHost, key: str, script: Evalscript) -> EvaluationResult:
        numbers = self._match(script)
        used = [self.sources[number] for number in numbers]
        timelines = [self._timeline(source, spec) for source, spec in zip(used, script.inputs, strict=True)]
        segment = Segment(
            0,
            1,
            tuple(timeline.samples(np.ones(len(timeline.scenes), np.bool_), 0) for timeline in timelines),
        )
        segment = preprocess(segment, script, timelines, self.interval, host, key=key)
        script = updated_script(segment, script, timelines, self.interval, host, key=key)
        columns = tuple(
            source_columns(timeline, samples, [self._mosaic(source, timeline, s) for s in samples], 0, self.cells)
            for source, timeline, samples in zip(used, timelines, segment.samples, strict=True)
        )
        start, end = format_time(self.interval.start), format_time(self.interval.end)
        made = host.evaluate(script, Batch(columns, start, end), key=key)
        return EvaluationResult(
            outputs={
                name: np.ascontiguousarray(np.moveaxis(values.reshape(-1, self.height, self.width), 0, -1))
                for name, values in made.outputs.items()
            },
            user_data=made.user_data,
            bands_read={source.label: spec.bands for source, spec in zip(used, script.inputs, strict=True)},
            scenes_read={source.label: tuple(source.read) for source in used},
            notes=tuple(self.notes),
            script=script,
        )

    def _match(self, script: Evalscript) -> list[int]:
        """The number of the source for each input."""
        ids = [source.given.id for source in self.sources]
        try:
            numbers = match_inputs(script, ids)
        except ScriptError:
            named = [spec.datasource for spec in script.inputs]
            if len(named) != len(ids) or set(named) & set(ids):
                raise
            numbers = list(range(len(ids)))
            self.notes.append(
                f"No source has an id that setup() names ({', '.join(map(str, named))}); they were taken in their order"
            )
        if len(set(numbers)) < len(numbers):
            raise ScriptError("Two inputs of setup() name the same source")
        left = [source.label for source in self.sources if source.number not in numbers]
        if left:
            self.notes.append(f"The script reads nothing from: {', '.join(left)}")
        return numbers

    def _timeline(self, source: Source, spec: InputSpec) -> SourceTimeline:
        """The source's scenes that have every band, in samples; raises BandMissing where none has one of the bands."""
        wanted = [name for name in spec.bands if name != DATA_MASK]
        bands = tuple(
            BandInput(name, *definition_of(source.given, name, unit))
            for name, unit in zip(spec.bands, spec.units, strict=True)
            if name != DATA_MASK
        )
        known = source.band_names
        for name in wanted:
            if source.members and name not in known:
                listed = ", ".join(known) or "none"
                raise BandMissing(f"Source '{source.label}' has no band '{name}'; it has: {listed}, {DATA_MASK}")
        reference = None
        if not bands and known:
            reference = BandInput(known[0], *definition_of(source.given, known[0], None))
        collection = Collection(
            type=source.label,
            title=source.label,
            bands={band.name: band.definition for band in bands},
            normalization_factor=source.given.normalization_factor,
            nodata_is_nan=source.given.nodata_is_nan,
        )
        served = SourceInput(spec, source.number, collection, bands, reference, source.order, source.given.id)
        timeline = make_timeline(served, source.scenes, np.ones((1, len(source.scenes)), np.bool_), [self.interval])
        outside = int((timeline.interval_of < 0).sum())
        if outside:
            self.notes.append(
                f"{outside} of {len(source.scenes)} scenes of '{source.label}' lie outside the time range"
            )
        for name in wanted:
            lacking = [number for number, scene in enumerate(source.members) if name not in scene.bands]
            if lacking:
                self.notes.append(
                    f"{len(lacking)} of {len(source.scenes)} scenes of '{source.label}' lack the band {name} and are"
                    " left out"
                )
                timeline.interval_of[lacking] = -1
        return timeline

    def _mosaic(self, source: Source, timeline: SourceTimeline, sample: Sample) -> Mosaic:
        """A sample over all cells."""
        reads = timeline.source.reads

        def fetch(scene: int, wanted: Mask | None) -> Mapping[str, SceneBand]:
            source.read[source.scenes[scene].id] = None
            mask = source.mask(scene)
            found = {}
            for band in reads:
                if timeline.source.reference is not None and band.name not in source.members[scene].bands:
                    found[band.name] = _blank(self._flat(mask), self.cells)
                    continue
                values = self._flat(source.array(scene, band.name))
                has_data = self._flat(mask) if mask is not None else _has_data(values)
                scale, offset = band.definition.factors(band.unit)
                found[band.name] = SceneBand(values, has_data.view(np.uint8), scale, offset, masks=True)
            return found or {"": _blank(self._flat(mask), self.cells)}

        return mosaic(
            sample.scenes,
            fetch,
            [band.name for band in reads],
            self.cells,
            fill_nan=timeline.source.collection.nodata_is_nan,
        )

    def _flat(self, values: Any) -> npt.NDArray[Any]:
        """A copy of the cells in one row, of a type that goes into a script."""
        if values is None:
            return np.ones(self.cells, np.bool_)
        if values.shape != (self.height, self.width):
            raise RequestInvalid(
                f"Arrays differ in shape: {values.shape[0]} x {values.shape[1]} and {self.height} x {self.width};"
                " all arrays of all sources must have one",
                "sources",
            )
        return np.array(values, order="C").ravel()

    def _text_of_simple(self) -> str:
        """The V3 script for a simple one: it has as many bands as it returns for the first pixel."""
        source = self.sources[0]
        bands = simple_bands(self.text, source.band_names)
        units: tuple[str | None, ...] = (None,) * len(bands)
        timeline = self._timeline(source, InputSpec(None, bands, units, (), Mosaicking.SIMPLE))
        self.notes.clear()
        (sample,) = timeline.samples(np.ones(len(timeline.scenes), np.bool_), 0)
        layer = self._mosaic(source, timeline, sample)
        source.read.clear()
        first: dict[str, float] = {DATA_MASK: float(layer.data_mask[0])}
        for name in bands:
            if name != DATA_MASK:
                values, scale, offset = layer.bands[name]
                first[name] = float(values[0]) * scale + offset
        return simple_script(self.text, source.band_names, first)


def _has_data(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return ~np.isnan(values) if values.dtype.kind == "f" else np.ones(len(values), np.bool_)


def _blank(has_data: npt.NDArray[np.bool_], cells: int) -> SceneBand:
    """A band that is only asked for its mask."""
    return SceneBand(np.zeros(cells, np.uint8), has_data.view(np.uint8), 1.0, 0.0, masks=True)


def _interval(given: tuple[Moment, Moment] | None, scenes: Sequence[Scene]) -> TimeRange:
    """The time range, or the days that have scenes."""
    if given is not None:
        start, end = (to_utc(moment, "time_range") for moment in given)
        if end <= start:
            raise RequestInvalid("time_range ends before it starts; swap the two", "time_range")
        return TimeRange(start, end)
    if not scenes:
        day = datetime(1970, 1, 1, tzinfo=UTC)
        return TimeRange(day, day + timedelta(days=1))
    times = [scene.datetime for scene in scenes]
    first, last = (datetime.combine(moment.date(), time(), UTC) for moment in (min(times), max(times)))
    return TimeRange(first, last + timedelta(days=1))


# ---- the process that scripts run in: one for all calls, started again when a script has ended it -------------------

_numbers = count()
_lock = threading.Lock()
_hosts: dict[int, ScriptHost] = {}


def _host() -> ScriptHost:
    """The host of this process; one that was inherited by a fork belongs to the parent."""
    with _lock:
        if os.getpid() not in _hosts:
            _hosts.clear()
            host = ScriptHost(ScriptLimits.from_settings(LimitSettings()))
            _hosts[os.getpid()] = host
            atexit.register(_close, os.getpid())
        return _hosts[os.getpid()]


def _close(process: int) -> None:
    if process == os.getpid() and process in _hosts:
        _hosts[process].close()
