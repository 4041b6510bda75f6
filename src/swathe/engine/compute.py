"""The engine's front door: one `Engine` per process, made from the settings, used by every way in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from swathe.engine.values import Analysis, Document, Stopped, Table, UnitReport, WorkUnit
from swathe.model.errors import LimitExceeded, RequestInvalid
from swathe.model.statistical import StatisticsRequest
from swathe.model.time import TimeRange, plan_intervals
from swathe.settings import CollectionSettings, Settings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import shapely

    from swathe.catalog.collections import Collection
    from swathe.catalog.registry import Catalog
    from swathe.catalog.scene import Scene
    from swathe.engine.lanes import Watch
    from swathe.engine.raster import RenderedRaster
    from swathe.engine.raster_analysis import RasterPlanner
    from swathe.evalscript.runtime import ScriptHost
    from swathe.evalscript.script import Evalscript
    from swathe.features.geopackage import FeatureBatch, FeatureFile
    from swathe.features.given import GivenFeatures
    from swathe.grids.raster_grid import RasterGrid
    from swathe.model.process import ProcessRequest
    from swathe.rasters.blocks import BlockReader
    from swathe.storage import ObjectStores

# WKB of features that is kept from the analysis for the units.
_KEPT_BYTES = 64 * 2**20

# Heavy libraries are imported where they are used: the server imports this module for `check` alone.


class Engine:
    """Plans and computes statistics. Not thread-safe: one per process or per thread."""

    def __init__(self, settings: Settings, *, lanes: int = 1) -> None:
        """`lanes` threads compute a unit side by side, each with a script process of its own."""
        self.settings = settings
        self._lanes = lanes
        self._hosts: list[ScriptHost] = []
        self._reader: BlockReader | None = None
        self._stores: ObjectStores | None = None
        self._files: dict[Path, tuple[tuple[int, int], FeatureFile]] = {}
        self._batches: dict[FeatureFile, FeatureBatch] = {}
        self._plans: tuple[bytes, tuple[tuple[Scene, ...], ...]] | None = None
        self._planned: tuple[object, tuple[TimeRange, ...]] | None = None
        self._catalogs: Catalog | None = None

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Starts what takes a moment, the script processes, without waiting for them."""
        for number in range(self._lanes):
            self._script_host(number).start()

    def close(self) -> None:
        """Ends the script processes and closes what is open."""
        while self._hosts:
            self._hosts.pop().close()
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def with_collections(self, entries: Sequence[CollectionSettings]) -> Engine:
        """This engine, processes and open files included, that knows other collections besides. It is not to be closed,
        and one of the two is used at a time."""
        self._block_reader()
        other = copy(self)
        other.settings = self.settings.model_copy(update={"collections": (*self.settings.collections, *entries)})
        other._catalogs = self._catalog().with_more(entries)
        return other

    def check(self, request: StatisticsRequest) -> None:
        """Checks what needs neither the features nor the script: times, collections, sizes, limits.

        Raises:
            RequestInvalid: with the field and the remedy.
        """
        limits = self.settings.limits
        aggregation = request.aggregation
        self._intervals(request)
        for name, value in (("width", aggregation.width), ("height", aggregation.height)):
            if value is not None and value > limits.side_cells:
                raise LimitExceeded(
                    f"{name} is {value:,}; at most {limits.side_cells:,} cells a side are allowed",
                    f"aggregation->{name}",
                )
        if len(aggregation.evalscript) > limits.script_chars:
            raise LimitExceeded(
                f"The evalscript has {len(aggregation.evalscript):,} characters; at most {limits.script_chars:,} are allowed",
                "aggregation->evalscript",
            )
        for output, calculation in request.calculations.items():
            for band, histogram in (calculation.histograms or {}).items():
                bins = histogram.known_bins or 0
                if bins > limits.histogram_bins:
                    raise LimitExceeded(
                        f"The histogram has {bins:,} bins; at most {limits.histogram_bins:,} are allowed",
                        f"calculations->{output}->histograms->{band}",
                    )
            for band, statistic in (calculation.statistics or {}).items():
                percents = statistic.percentiles.k if statistic.percentiles is not None else ()
                if len(percents) > limits.percentiles:
                    raise LimitExceeded(
                        f"There are {len(percents):,} percentiles; at most {limits.percentiles:,} are allowed",
                        f"calculations->{output}->statistics->{band}",
                    )
        for number, source in enumerate(request.input.data):
            where = f"input->data[{number}]"
            self._catalog().check_source(source, where)
            if source.data_filter.time_range is not None:
                source.data_filter.time_range.to_range(f"{where}->dataFilter->timeRange")
        seen = [source.id for source in request.input.data if source.id is not None]
        if len(set(seen)) < len(seen):
            raise RequestInvalid("Two data sources have the same id; name them apart", "input->data")

    def analyse(self, request: StatisticsRequest, features: Path | GivenFeatures) -> Analysis:
        """Checks the features, a GeoPackage or given ones, and the script, finds the scenes and plans the units.

        Raises:
            SwatheError: whatever makes the job impossible as a whole.
        """
        from swathe.engine.analysis import analyse
        from swathe.engine.inputs import bind_inputs

        self.check(request)
        intervals = self._intervals(request)
        script = self._script(request)
        collections = {
            number: self._catalog().collection(source.type) for number, source in enumerate(request.input.data)
        }
        sources = bind_inputs(script, request.input.data, collections)
        file = self._features(features)
        return analyse(
            request,
            file,
            self._read_all(file),
            script,
            sources,
            intervals,
            self.settings,
            find_scenes=self._catalog().choose_scenes,
            read_info=self._block_reader().info,
            block_bytes=self._block_reader().block_bytes,
            lanes=self._lanes,
        )

    def make_unit(
        self, request: StatisticsRequest, analysis: Analysis, features: Path | GivenFeatures, index: int
    ) -> WorkUnit:
        """The work unit `index` of a plan, with its features."""
        from swathe.engine.analysis import scenes_near
        from swathe.engine.payload import repack, unpack_scenes
        from swathe.features.polygons import checked_polygons

        file = self._features(features)
        plan = analysis.units[index]
        batch = self._read_some(file, plan.feature_ids)
        scenes = analysis.found
        if scenes is None:
            if self._plans is None or self._plans[0] is not analysis.payload:
                self._plans = (analysis.payload, unpack_scenes(analysis.payload))
            scenes = self._plans[1]
        polygons = checked_polygons(batch.wkb) if batch.polygons is None else batch.polygons
        near = tuple(scenes_near(polygons, file.epsg, members) for members in scenes)
        return WorkUnit(
            index,
            request.model_dump_json(
                by_alias=True, exclude_none=True, include={"input": {"data"}, "aggregation": True, "calculations": True}
            ),
            analysis.payload if near == scenes else repack(analysis.payload, near),
            file.epsg,
            batch.ids,
            batch.identifiers,
            tuple(None if position in batch.problems else wkb for position, wkb in enumerate(batch.wkb)),
            batch.problems,
            polygons,
            near,
        )

    def run(
        self,
        unit: WorkUnit,
        *,
        deliver: Callable[[Sequence[Document]], None],
        deliver_table: Callable[[Table], None] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        on_progress: Callable[[float], None] = lambda fraction: None,
        watch: Watch = lambda name: nullcontext(),
    ) -> UnitReport:
        """Computes a unit and delivers a document for every one of its features, then a table of all if that is wanted.

        `should_stop` is asked at least after every interval; `on_progress` is told the fraction done. Both, `deliver` and
        `deliver_table` may be called by any of the lanes' threads; `watch` is entered by those that are made here.

        Raises:
            Stopped: `should_stop` said so.
            SwatheError: with `retryable` set where trying again can help; a single feature's trouble is its document.
        """
        from swathe.engine.inputs import bind_inputs
        from swathe.engine.lanes import Lane, Lanes
        from swathe.engine.payload import unpack_collections, unpack_scenes
        from swathe.engine.phases import Phases, sum_counters
        from swathe.engine.task import UnitTask, UnitTools
        from swathe.engine.unit import run_unit
        from swathe.evalscript.runtime import ScriptUnwanted

        request = StatisticsRequest.model_validate_json(unit.request)
        script = self._script(request)
        task = UnitTask(
            unit,
            request,
            script,
            bind_inputs(script, request.input.data, unpack_collections(unit.payload)),
            unpack_scenes(unit.payload) if unit.scenes is None else unit.scenes,
            self._intervals(request),
        )
        lanes = []
        for number in range(self._lanes):
            host = self._script_host(number)
            host.fresh(script)
            host.is_unwanted = should_stop
            lanes.append(Lane(number, host, Phases()))
        reader = self._block_reader()
        reader.reset_counters()
        tools = UnitTools(reader, Lanes(lanes, watch), self.settings.limits, should_stop, on_progress)
        try:
            report = run_unit(task, tools, deliver, deliver_table)
        except ScriptUnwanted:
            raise Stopped("The job was stopped") from None
        finally:
            for lane in lanes:
                lane.host.is_unwanted = lambda: False
                lane.host.fresh(script)  # so that the next is made in the pause between two units
            reader.forget_ahead()
        counted = asdict(reader.counters)
        counted["block_seconds"] = counted.pop("seconds")
        return replace(report, counters={**counted, **sum_counters(lane.phases for lane in lanes)})

    def check_process(self, request: ProcessRequest) -> None:
        """Checks what needs neither scenes nor the script: collections, times, names, lengths.

        Raises:
            RequestInvalid: with the field and the remedy.
        """
        from swathe.engine.raster_request import check_process

        check_process(request, self._catalog(), self.settings.limits)

    def process_planner(self, request: ProcessRequest) -> RasterPlanner:
        """What is to be known of many images before the first of them; checks the script.

        Raises:
            SwatheError: as `check_process`, and what the script or a band cannot be used for.
        """
        from swathe.engine.raster_analysis import RasterPlanner

        self.check_process(request)
        return RasterPlanner(request, self._catalog(), self._script_host())

    def process_strips(
        self,
        request: ProcessRequest,
        grid: RasterGrid,
        *,
        scenes: Sequence[Sequence[Scene]] | None = None,
        collections: Mapping[int, Collection] | None = None,
        clip: shapely.Geometry | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        watch: Watch = lambda name: nullcontext(),
    ) -> RenderedRaster:
        """Begins an image of the request's script on a grid; its strips are computed as they are taken.

        One image at a time. `scenes` are those of each of the script's inputs, `collections` those of the data sources by
        their number; both are found here if not given. `clip` is in the grid's CRS: outside it there is no data.
        `should_stop` is asked all the time, by any thread.

        Raises:
            SwatheError: as `check_process`, and what the script or its scenes cannot be used for.
        """
        from swathe.engine.lanes import Lane, Lanes
        from swathe.engine.phases import Phases
        from swathe.engine.raster_request import begin
        from swathe.engine.raster_run import RasterTools

        hosts = [self._script_host(number) for number in range(self._lanes)]
        lanes = Lanes([Lane(number, host, Phases()) for number, host in enumerate(hosts)], watch)
        tools = RasterTools(self._block_reader(), lanes, self.settings.limits, should_stop)
        return begin(request, grid, scenes, clip, self._catalog(), tools, collections)

    def _intervals(self, request: StatisticsRequest) -> tuple[TimeRange, ...]:
        aggregation = request.aggregation
        key = aggregation.time_range, aggregation.aggregation_interval
        if self._planned is not None and self._planned[0] == key:
            return self._planned[1]
        found = []
        behavior = aggregation.aggregation_interval.last_interval_behavior
        most = self.settings.limits.intervals
        for interval in plan_intervals(aggregation.to_range(), aggregation.to_duration(), behavior):
            found.append(interval)
            if len(found) > most:
                raise LimitExceeded(
                    f"The time range has more than {most:,} intervals; shorten it or use a longer aggregationInterval",
                    "aggregation->timeRange",
                )
        if not found:
            raise RequestInvalid(
                f"No interval of {aggregation.aggregation_interval.of} fits into the time range;"
                " use a shorter one, or lastIntervalBehavior SHORTEN or EXTEND",
                "aggregation->aggregationInterval",
            )
        self._planned = (key, tuple(found))
        return self._planned[1]

    def _script(self, request: StatisticsRequest) -> Evalscript:
        from swathe.engine.evaluate import check_outputs
        from swathe.evalscript.script import SampleType, is_simple
        from swathe.model.errors import ScriptError

        text = request.aggregation.evalscript
        try:
            script = self._script_host().setup(text, auto=SampleType.FLOAT32)
        except ScriptError as error:
            if type(error) is not ScriptError or not is_simple(text):  # a limit is told as such
                raise
            raise ScriptError(
                "The evalscript defines neither setup() nor evaluatePixel(), which the statistical services need;"
                " scripts that are only the body of a function make images"
            ) from None
        check_outputs(script, request.calculations)
        return script

    def _features(self, path: Path | GivenFeatures) -> FeatureFile:
        from swathe.features.geopackage import open_features

        if not isinstance(path, Path):
            self._batches = {path.file: path.batch}
            return path.file
        stat = path.stat()
        stamp = (stat.st_mtime_ns, stat.st_size)
        known = self._files.get(path)
        if known is None or known[0] != stamp:
            known = (stamp, open_features(path, max_features=self.settings.limits.features))
            self._files = {path: known}
            self._batches = {}
        return known[1]

    def kept_features(self, path: Path) -> FeatureBatch | None:
        """All features of a GeoPackage that was analysed, where they were few enough to be kept."""
        return self._batches.get(self._features(path))

    def _read_all(self, file: FeatureFile) -> Iterator[FeatureBatch]:
        """All features; where they are few enough they are kept, so that the units need not read them again."""
        from swathe.features.geopackage import join_batches, read_features

        known = self._batches.get(file)
        if known is not None and known.polygons is not None:
            yield known
            return
        kept: list[FeatureBatch] = []
        room = _KEPT_BYTES
        for batch in read_features(file):
            yield batch
            room -= batch.wkb_bytes
            if room >= 0:
                kept.append(batch if len(batch.ids) == file.count else replace(batch, polygons=None))
            else:
                kept.clear()
        if room >= 0 and kept:
            self._batches = {file: join_batches(kept)}

    def _read_some(self, file: FeatureFile, ids: npt.NDArray[np.int64]) -> FeatureBatch:
        from swathe.features.geopackage import read_features

        kept = self._batches.get(file)
        return kept.of(ids) if kept is not None else next(read_features(file, ids))

    def _catalog(self) -> Catalog:
        if self._catalogs is None:
            from swathe.catalog.registry import Catalog

            self._catalogs = Catalog(self.settings.collections, self._object_stores(), self.settings.catalog)
        return self._catalogs

    def _object_stores(self) -> ObjectStores:
        if self._stores is None:
            from swathe.storage import ObjectStores
            from swathe.storage.doors import storage_of

            self._stores = ObjectStores(storage_of(self.settings))
        return self._stores

    def _block_reader(self) -> BlockReader:
        if self._reader is None:
            from swathe.rasters.blocks import BlockReader

            self._reader = BlockReader(self._object_stores())
        return self._reader

    def _script_host(self, number: int = 0) -> ScriptHost:
        from swathe.evalscript.runtime import ScriptHost, ScriptLimits

        while len(self._hosts) <= number:
            self._hosts.append(ScriptHost(ScriptLimits.from_settings(self.settings.limits)))
        return self._hosts[number]
