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
from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry import shape

from swathe.catalog.collections import BandDefinition, Collection
from swathe.catalog.scene import Scene
from swathe.engine.inputs import DATA_MASK, BandInput, SourceInput, match_inputs
from swathe.engine.samples import DATA_PATH, SH_ID, preprocess, source_columns, updated_script
from swathe.engine.timeline import Sample, Segment, SourceTimeline, make_timeline
from swathe.evalscript.columns import Batch
from swathe.evalscript.runtime import ScriptHost, ScriptLimits
from swathe.evalscript.script import Evalscript, InputSpec, Mosaicking, is_simple, simple_bands, simple_script
from swathe.model.common import MosaickingOrder
from swathe.model.errors import BandMissing, RequestInvalid, ScriptError
from swathe.model.time import TimeRange, format_time, parse_time
from swathe.sampling.mosaic import Mask, Mosaic, SceneBand, mosaic

Moment = datetime | date | str
"""A time: with a zone, or in UTC; a day is its beginning."""
Factors = float | tuple[float, float]
"""What takes an array to a unit: a factor, or a factor and what is added to the product."""
Units = str | Mapping[str, "str | Factors | Mapping[str, Factors]"]

_DN, _REFLECTANCE = "DN", "REFLECTANCE"


@dataclass(frozen=True)
class SceneArrays:
    """One scene of a source: a product at one time.

    Args:
        datetime: when it was taken, as a `datetime` or an ISO 8601 text; without a zone it is UTC.
        bands: an array (h, w) for each band, or a function that returns it, called only if the script comes to read it.
        data_mask: (h, w), 1 or True where the scene has data. Without it a cell has data where none of the bands that
            the script asks for is NaN; arrays of integers have data everywhere.
        cloud_cover: percent, for `leastCC` and `cloudCoverage`; None if unknown.
        id: what the script finds as `shId`; by default the scene's number in the list.
        data_path: what the script finds as `dataPath`; by default the id.
        geometry: the footprint as GeoJSON in WGS84, for scripts that ask for `metadata: ["bounds"]`.
    """

    datetime: Moment
    bands: Mapping[str, Any]
    data_mask: Any = None
    cloud_cover: float | None = None
    id: str | int | None = None
    data_path: str | None = None
    geometry: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class SourceArrays:
    """One data source of a script, as an entry of a request's `input.data`.

    Args:
        id: what a script of several sources calls it (`datasource`); inputs without `datasource` take the sources in
            their order.
        scenes: in any order. All arrays of all sources have one shape.
        mosaicking_order: which scene lies on top; by default that of the call.
        nodata_is_nan: whether a sample without data has NaN in place of 0, as Landsat collections have.
        units: what the arrays hold. None: whatever unit the script asks for. A unit's name (`"DN"`, `"REFLECTANCE"`):
            the unit of all arrays; asked for the other of these two the script gets them converted by
            `normalization_factor`. A mapping from units to factors (`{"DN": 10_000}`): asked for DN, the script gets the
            arrays times 10,000; a pair `(factor, offset)` adds the offset to the product. A mapping from bands to either
            speaks of single bands.
        normalization_factor: DN to reflectance, which scripts find in `inputMetadata`.
    """

    id: str | None
    scenes: Sequence[SceneArrays]
    mosaicking_order: str | None = None
    nodata_is_nan: bool = False
    units: Units | None = None
    normalization_factor: float | None = 0.0001


@dataclass(frozen=True)
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


class _Source:
    """A source with its scenes in the engine's terms."""

    def __init__(self, number: int, source: SourceArrays, order: str) -> None:
        self.number = number
        self.given = source
        self.label = source.id if source.id is not None else str(number)
        self.order = _order(source.mosaicking_order or order)
        self.members = tuple(source.scenes)
        self.scenes = tuple(_scene(position, scene, self.label) for position, scene in enumerate(self.members))
        self.read: dict[str, None] = {}
        self._arrays: dict[tuple[int, str], npt.NDArray[Any]] = {}

    @property
    def band_names(self) -> list[str]:
        """The bands that any scene has."""
        return list(dict.fromkeys(name for scene in self.members for name in scene.bands if name != DATA_MASK))

    def array(self, scene: int, band: str) -> npt.NDArray[Any]:
        """An array as it is, looked at for the first time."""
        key = scene, band
        if key not in self._arrays:
            given = self.members[scene].bands[band]
            self._arrays[key] = _array(given() if callable(given) else given, f"{self.where(scene)}, band {band}")
        return self._arrays[key]

    def where(self, scene: int) -> str:
        return f"source '{self.label}', scene {self.scenes[scene].id}"

    def mask(self, scene: int) -> npt.NDArray[np.bool_] | None:
        """The mask that the scene was given."""
        given = self.members[scene].data_mask
        if given is None and DATA_MASK in self.members[scene].bands:
            return _mask(self.array(scene, DATA_MASK))
        return None if given is None else _mask(_array(given, f"{self.where(scene)}, data_mask"))

    def sizes(self, *, read: bool) -> list[tuple[tuple[int, ...], str]]:
        """The shapes of the arrays that are there, or of one that has to be made."""
        found: list[tuple[tuple[int, ...], str]] = []
        for number, scene in enumerate(self.members):
            arrays = {f"band {name}": value for name, value in scene.bands.items() if not callable(value)}
            if scene.data_mask is not None:
                arrays["data_mask"] = scene.data_mask
            for name, value in arrays.items():
                size = getattr(value, "shape", None)
                size = np.shape(value) if size is None else size
                found.append((tuple(int(side) for side in size), f"{self.where(number)}, {name}"))
        if read and not found:
            for number, scene in enumerate(self.members):
                for name in scene.bands:
                    return [(self.array(number, name).shape, f"{self.where(number)}, band {name}")]
        return found


class _Run:
    """One evaluation."""

    def __init__(
        self, text: str, sources: Sequence[SourceArrays], time_range: tuple[Moment, Moment] | None, order: str
    ) -> None:
        self.text = text
        self.sources = [_Source(number, source, order) for number, source in enumerate(sources)]
        names = [source.id for source in sources if source.id is not None]
        if len(set(names)) < len(names):
            raise RequestInvalid("Two sources have the same id; name them apart", "sources")
        self.height, self.width = _size(self.sources)
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

    def _timeline(self, source: _Source, spec: InputSpec) -> SourceTimeline:
        """The source's scenes that have every band, in samples; raises BandMissing where none has one of the bands."""
        wanted = [name for name in spec.bands if name != DATA_MASK]
        bands = tuple(
            BandInput(name, *_definition(source.given, name, unit))
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
            reference = BandInput(known[0], *_definition(source.given, known[0], None))
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

    def _mosaic(self, source: _Source, timeline: SourceTimeline, sample: Sample) -> Mosaic:
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


def _size(sources: Sequence[_Source]) -> tuple[int, int]:
    """Height and width of all arrays."""
    known = [entry for source in sources for entry in source.sizes(read=False)]
    if not known:
        known = [entry for source in sources for entry in source.sizes(read=True)][:1]
    if not known:
        raise RequestInvalid("No source has an array, so there is nothing to run the script over", "sources")
    first, name = known[0]
    for size, other in known:
        if len(size) != 2:
            raise RequestInvalid(f"{other} has the shape {size}; arrays must be (height, width)", "sources")
        if size != first:
            raise RequestInvalid(
                f"Arrays differ in shape: {name} is {first[0]} x {first[1]}, {other} is {size[0]} x {size[1]};"
                " all arrays of all sources must have one",
                "sources",
            )
    return first[0], first[1]


def _array(value: Any, where: str) -> npt.NDArray[Any]:
    if isinstance(value, np.ma.MaskedArray):
        value = np.ma.filled(value.astype(np.float64), np.nan)
    array = np.asarray(value)
    if array.ndim != 2:
        raise RequestInvalid(f"{where} has the shape {array.shape}; arrays must be (height, width)", "sources")
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind not in "buif":
        raise RequestInvalid(f"{where} holds {array.dtype}, which is no number", "sources")
    if kind == "b":
        return array.astype(np.uint8)
    if kind == "f" and size == 2:
        return array.astype(np.float32)
    if size > 8 or (kind in "ui" and size == 8):
        return array.astype(np.float64)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _mask(array: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return np.asarray((array != 0) & (array == array))


def _has_data(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return ~np.isnan(values) if values.dtype.kind == "f" else np.ones(len(values), np.bool_)


def _blank(has_data: npt.NDArray[np.bool_], cells: int) -> SceneBand:
    """A band that is only asked for its mask."""
    return SceneBand(np.zeros(cells, np.uint8), has_data.view(np.uint8), 1.0, 0.0, masks=True)


def _scene(position: int, given: SceneArrays, source: str) -> Scene:
    moment = _moment(given.datetime, f"source '{source}', scene {position}: datetime")
    name = str(position if given.id is None else given.id)
    sh_id = position if given.id is None else given.id
    footprint = None
    if given.geometry is not None:
        footprint = shapely.to_wkb(shape(given.geometry))
    cloud_cover = None if given.cloud_cover is None else float(given.cloud_cover)
    return Scene(
        id=name,
        collection=source,
        datetime=moment,
        cloud_cover=None if cloud_cover is None or cloud_cover != cloud_cover else cloud_cover,
        bbox=(-180.0, -90.0, 180.0, 90.0),
        geometry_wkb=footprint,
        assets={},
        properties={DATA_PATH: given.data_path if given.data_path is not None else name, SH_ID: sh_id},
    )


def _moment(given: Moment, what: str) -> datetime:
    if isinstance(given, str):
        return parse_time(given, what)
    if isinstance(given, np.datetime64):
        return parse_time(str(given.astype("datetime64[us]")), what)
    if isinstance(given, datetime):
        return given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)
    if isinstance(given, date):
        return datetime.combine(given, time(), UTC)
    raise RequestInvalid(f"{given!r} is no time; give a datetime or a text like 2020-06-01T10:00:00Z", what)


def _interval(given: tuple[Moment, Moment] | None, scenes: Sequence[Scene]) -> TimeRange:
    """The time range, or the days that have scenes."""
    if given is not None:
        start, end = (_moment(moment, "time_range") for moment in given)
        if end <= start:
            raise RequestInvalid("time_range ends before it starts; swap the two", "time_range")
        return TimeRange(start, end)
    if not scenes:
        day = datetime(1970, 1, 1, tzinfo=UTC)
        return TimeRange(day, day + timedelta(days=1))
    times = [scene.datetime for scene in scenes]
    first, last = (datetime.combine(moment.date(), time(), UTC) for moment in (min(times), max(times)))
    return TimeRange(first, last + timedelta(days=1))


def _order(name: str) -> MosaickingOrder:
    try:
        return MosaickingOrder(name)
    except ValueError:
        known = ", ".join(MosaickingOrder)
        raise RequestInvalid(f"Unknown mosaicking order '{name}'; known are {known}", "mosaicking_order") from None


def _definition(source: SourceArrays, band: str, unit: str | None) -> tuple[BandDefinition, str]:
    """A band whose only unit is the one that is asked for."""
    scale, offset = _factors(source, band, unit)
    name = unit or ""
    return BandDefinition(band, (band,), units={name: (scale, offset)}, default_unit=name), name


def _factors(source: SourceArrays, band: str, unit: str | None) -> tuple[float, float]:
    """What takes an array of a band to the unit that is asked for."""
    said: Any = source.units
    if isinstance(said, Mapping) and isinstance(said.get(band), str | Mapping):
        said = said[band]
    elif isinstance(said, Mapping):
        said = {key: value for key, value in said.items() if not isinstance(value, str | Mapping)}
    if unit is None or not said:
        return 1.0, 0.0
    if isinstance(said, str):
        held = said.strip().upper()
        if held == unit:
            return 1.0, 0.0
        factor = source.normalization_factor
        if factor and (held, unit) == (_DN, _REFLECTANCE):
            return factor, 0.0
        if factor and (held, unit) == (_REFLECTANCE, _DN):
            return 1.0 / factor, 0.0
        raise RequestInvalid(
            f"The script asks for band '{band}' in {unit}, and source '{source.id}' has it in {held}; say in `units` how"
            f' to convert, like {{"{unit}": 0.01}}',
            "units",
        )
    for name, value in said.items():
        if name.strip().upper() == unit:
            pair = value if isinstance(value, Sequence) else (value, 0.0)
            return float(pair[0]), float(pair[1])
    return 1.0, 0.0


# ---- the process that scripts run in: one for all calls, started again when a script has ended it -------------------

_numbers = count()
_lock = threading.Lock()
_hosts: dict[int, ScriptHost] = {}


def _host() -> ScriptHost:
    """The host of this process; one that was inherited by a fork belongs to the parent."""
    with _lock:
        if os.getpid() not in _hosts:
            _hosts.clear()
            host = ScriptHost(ScriptLimits())
            _hosts[os.getpid()] = host
            atexit.register(_close, os.getpid())
        return _hosts[os.getpid()]


def _close(process: int) -> None:
    if process == os.getpid() and process in _hosts:
        _hosts[process].close()
