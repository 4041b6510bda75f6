"""Looking at jobs: their features as a map, how far each is, and the values of their results.

What takes long is made once and kept in files, `looking/<job id>/` in the home: the features by a process of its own,
values by a thread. All of it can be made again but what `looking_kept` put aside. Methods that may take long give futures.
"""

from __future__ import annotations

import gzip
import logging
import os
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from swathe.jobs import looking_kept, looking_store
from swathe.jobs.child import Child, ChildDied, ChildFailed, keep_interrupts_out
from swathe.jobs.home import Home
from swathe.jobs.kinds import find_kind
from swathe.jobs.logs import job_log
from swathe.jobs.looking_columns import Measure, NothingToSee, Values, asked_statistics, check_measure, find_bands
from swathe.jobs.looking_kept import PARTS, KeptParts
from swathe.jobs.looking_results import Results, read_rows, read_series
from swathe.jobs.looking_shapes import Shapes, open_shapes
from swathe.jobs.looking_sources import BuildOrder, build_shapes
from swathe.jobs.looking_state import States, find_unit
from swathe.jobs.looking_tiles import TilePlace, make_tile
from swathe.jobs.outcomes import DONE
from swathe.jobs.records import Job
from swathe.jobs.states import ENDS
from swathe.jobs.store import JobStore
from swathe.model.errors import AccessDenied, ObjectNotFound, StorageError, SwatheError
from swathe.model.statistical import StatisticsRequest
from swathe.model.time import TimeRange, plan_intervals
from swathe.settings import Settings

LOG = logging.getLogger(__name__)

_VIEWS = 16
_MEASURES = 8
_PATIENCE_S = 30.0
_REFILL_S = 2.0
_TILES = 64
_GZIP_LEVEL = 3
_BANDS_PARTS = 3
_KNOWN_BANDS = 200
_TILE_THREADS = 2
_NO_TABLE = (
    "This request has no data set of its statistics ([results] parquet = false), so the map has no values;"
    " those of a feature are in its series"
)
_IMAGES = "The results of this request are images; there are no values or documents of features"


class NotReady(SwatheError):
    """The features of a job are being made ready to be looked at; soon they will be."""

    retryable = True


@dataclass
class View:
    """A job that is looked at."""

    shapes: Shapes
    states: States
    folder: Path
    intervals: tuple[TimeRange, ...]
    measures: OrderedDict[Measure, Values] = field(default_factory=OrderedDict)
    filling: dict[Measure, Future[None]] = field(default_factory=dict)
    filled_at: dict[Measure, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Looker:
    """Opens jobs to look at. For any thread; nothing runs before something is looked at."""

    def __init__(self, settings: Settings, store: JobStore, home: Home) -> None:
        self._settings = settings
        self._store = store
        self._home = home
        self._lock = threading.Lock()
        self._views: OrderedDict[str, Future[View]] = OrderedDict()
        self._failed: dict[str, float] = {}
        self._bands: dict[str, dict[str, list[str]]] = {}
        self._tableless: set[str] = set()
        self._tiles: OrderedDict[tuple[Any, ...], bytes | None] = OrderedDict()
        self._builder = ThreadPoolExecutor(1, "looking-build", initializer=keep_interrupts_out)
        self._filler = ThreadPoolExecutor(1, "looking-fill")
        self._encoder = ThreadPoolExecutor(_TILE_THREADS, "looking-tile")
        self._child: Child | None = None
        self._closing = False

    def close(self) -> None:
        """Ends what is under way."""
        with self._lock:
            self._closing = True
            child = self._child
        if child is not None:
            child.kill()
        for pool in (self._builder, self._filler, self._encoder):
            pool.shutdown(wait=True, cancel_futures=True)

    def view(self, job: Job) -> Future[View]:
        """The job with its features, which are made ready first where they are not: some seconds for very many.

        Raises (the future):
            NothingToSee: the job has no features yet.
            SwatheError: the features cannot be read any more.
        """
        if not job.features_total:
            future: Future[View] = Future()
            future.set_exception(
                NothingToSee(
                    "The request has not been analysed, so its features are not known yet; analyse or start it"
                )
            )
            return future
        with self._lock:
            known = self._views.get(job.id)
            if known is not None and not self._is_stale(job.id, known):
                self._views.move_to_end(job.id)
                return known
            if self._closing:
                raise ChildDied("the server is being stopped")
            future = self._views[job.id] = self._builder.submit(self._open, job)
            self._views.move_to_end(job.id)
            while len(self._views) > _VIEWS:
                self._views.popitem(last=False)
            return future

    def tile(
        self, job: Job, view: View, place: TilePlace, values: tuple[Values, int] | None, stamp: str
    ) -> Future[bytes | None]:
        """A vector tile of a job, gzipped, by state or with the values of an interval; None where nothing is.

        `stamp` is what `stamp` said: tiles of one stamp are the same.
        """
        key = (job.id, stamp, place)
        with self._lock:
            if key in self._tiles:
                self._tiles.move_to_end(key)
                future: Future[bytes | None] = Future()
                future.set_result(self._tiles[key])
                return future
        return self._encoder.submit(self._make_tile, view, place, values, key)

    def stamp(self, view: View, values: tuple[Values, int] | None) -> str:
        """Another one means that tiles may look different."""
        told = f"{view.shapes.about['made']}-{view.states.stamp}"
        if values is not None:
            told += f"-{values[0].measure.folder}-{values[1]}-{values[0].units}"
        return told

    def values(self, job: Job, view: View, measure: Measure) -> tuple[Values, Future[None] | None]:
        """The values of a measure so far, and what fills them up where something is missing.

        Raises:
            NothingToSee: results of this kind of job have no values, or none by these names.
            SwatheError: the results could not be read lately.
        """
        if job.kind != "statistics":
            raise NothingToSee(_IMAGES)
        view.states.now()
        results = self.results(job)
        done = results.within_reach(view.states.done_units)
        known = {entry["output"]: entry for entry in self.outputs(job, view)}
        check_measure(measure, known)
        if job.id in self._tableless:
            raise NothingToSee(_NO_TABLE)
        with view.lock:
            values = view.measures.get(measure)
            if values is None:
                starts = np.array([_microseconds(interval) for interval in view.intervals], np.int64)
                try:
                    values = view.measures[measure] = Values(view.folder, measure, view.shapes, starts)
                except OSError as error:
                    raise NotReady(f"There is no place to keep the values: {error.strerror}") from None
                _touch(values.folder)
            view.measures.move_to_end(measure)
            while len(view.measures) > _MEASURES:
                view.measures.popitem(last=False)
            if not values.lacks(done):
                return values, None
            filling = view.filling.get(measure)
            if filling is not None and not filling.done():
                return values, filling
            since = time.monotonic() - view.filled_at.get(measure, -_PATIENCE_S)
            if values.error is not None and since < _PATIENCE_S:
                raise values.error
            if since < _REFILL_S:
                return values, None
            filling = view.filling[measure] = self._filler.submit(self._fill, view, values, done, results)
            return values, filling

    def outputs(self, job: Job, view: View | None) -> list[dict[str, Any]]:
        """The outputs with bands and statistics, as the first results say; none before there are any.

        Raises:
            StorageError: the results cannot be read.
        """
        if job.kind != "statistics":
            return []
        bands = self._bands.get(job.id)
        if bands is None:
            results = self.results(job)
            states = looking_store.read_unit_states(self._store.database, job.id)
            units = sorted(results.within_reach(index for index, state in states if state == DONE))
            bands = find_bands(results.open_parts(units[:_BANDS_PARTS]))
            self._tableless.discard(job.id)
            if not bands and view is not None:
                bands = self._bands_of_document(view, results)
                if bands:
                    self._tableless.add(job.id)
            if bands:
                self._bands[job.id] = bands
                while len(self._bands) > _KNOWN_BANDS:
                    oldest = next(iter(self._bands))
                    self._bands.pop(oldest)
                    self._tableless.discard(oldest)
        request = self._request(job)
        return [
            {"output": output, "bands": names, "statistics": asked_statistics(request, output)}
            for output, names in bands.items()
        ]

    def results(self, job: Job) -> Results:
        """Where a statistical job's results lie. Asks the store for the keys.

        Raises:
            NothingToSee: the job's kind has none of the sort.
        """
        from swathe.storage import ObjectStores

        if job.kind != "statistics":
            raise NothingToSee(_IMAGES)
        kind = find_kind(job.kind)
        body = kind.read_body(job.request, self._store.keys(job.id))
        delivery = kind.make_delivery(self._settings.storage, body, job.id)
        kept = KeptParts(self._home.looking(job.id) / PARTS)
        _touch(kept.folder)
        return Results(delivery, ObjectStores(self._settings.storage), job.state.status in ENDS, kept)

    def series(self, job: Job, feature_id: int, name: str) -> dict[str, Any]:
        """A feature's series as `read_series` tells it: by its document, else by its rows that were put aside.

        Raises:
            StorageError: neither can be read; ObjectNotFound where there is no document yet.
            ValueError: the document is no JSON.
        """
        import orjson

        results = self.results(job)
        try:
            return read_series(orjson.loads(results.document(feature_id, name)))
        except StorageError as error:
            unit = None if isinstance(error, ObjectNotFound) else find_unit(self._store.database, job.id, feature_id)
            if unit is None and isinstance(error, AccessDenied):  # a store says so too where it may not tell
                raise ObjectNotFound(f"Feature {feature_id} has no document yet") from None
            if unit is None or results.kept is None or unit not in results.kept.units():
                raise
            with results.part(unit) as part:
                return read_rows(part, feature_id)

    def sweep(self) -> None:
        """Removes what is kept of jobs that are gone, then of those not looked at for longest while it is too much."""
        looking_kept.sweep(self._store.database, self._home, looking_kept.most_bytes(self._settings.console))

    # What happens in threads

    def _open(self, job: Job) -> View:
        self._failed.pop(job.id, None)
        try:
            folder = self._home.looking(job.id)
            shapes = open_shapes(folder / "shapes")
            if shapes is None:
                self._build(job, folder)
                shapes = open_shapes(folder / "shapes")
            if shapes is None:
                raise SwatheError("The features could not be made ready to be looked at")
            _touch(folder / "shapes")
            return View(shapes, States(self._store.database, job.id, shapes), folder, self.intervals(job))
        except ChildFailed as error:
            self._failed[job.id] = time.monotonic()
            job_log(LOG, job.id).error("the features could not be made ready to be looked at\n%s", error)
            raise SwatheError(
                "The features could not be made ready to be looked at; the server's log says why"
            ) from None
        except BaseException:
            self._failed[job.id] = time.monotonic()
            raise

    def _build(self, job: Job, folder: Path) -> None:
        self.sweep()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kind = find_kind(job.kind)
        body = kind.read_body(job.request, self._store.keys(job.id))
        order = BuildOrder(
            kind=job.kind,
            job_folder=self._home.job(job.id),
            folder=folder / "shapes",
            storage=self._settings.storage,
            limits=self._settings.limits,
            features=body.features,
            delivery=kind.make_delivery(self._settings.storage, body, job.id),
            done=job.state.status in ENDS,
        )
        with self._lock:
            if self._closing:
                raise ChildDied("the server is being stopped")
            child = self._child = Child(f"looking-{job.id[:8]}")
        try:
            child.call(build_shapes, order)
        finally:
            with self._lock:
                self._child = None
            child.close()

    def _fill(self, view: View, values: Values, done: frozenset[int], results: Results) -> None:
        try:
            values.fill(done, results.part, lambda: self._closing)
            values.error = None
        except SwatheError as error:
            values.error = error
            raise
        finally:
            view.filled_at[values.measure] = time.monotonic()

    def _make_tile(
        self, view: View, place: TilePlace, values: tuple[Values, int] | None, key: tuple[Any, ...]
    ) -> bytes | None:
        chosen = None if values is None else values[0].at(values[1])
        tile = make_tile(view.shapes, place, view.states.now(), chosen)
        drawn = None if tile is None else gzip.compress(tile, _GZIP_LEVEL, mtime=0)
        with self._lock:
            self._tiles[key] = drawn
            while len(self._tiles) > _TILES:
                self._tiles.popitem(last=False)
        return drawn

    # What is read

    def _bands_of_document(self, view: View, results: Results) -> dict[str, list[str]]:
        """The outputs by the document of a feature that is done, where there is no data set."""
        import orjson

        for place in np.flatnonzero(view.states.now() == 1)[:3].tolist():
            with suppress(SwatheError, ValueError):
                document = orjson.loads(results.document(int(view.shapes.ids[place]), view.shapes.name(place)))
                series = read_series(document)["series"]
                if series:
                    return {output: list(bands) for output, bands in series.items()}
        return {}

    def _request(self, job: Job) -> StatisticsRequest:
        body = find_kind(job.kind).read_body(job.request, self._store.keys(job.id))
        return StatisticsRequest.model_validate_json(body.request)

    def intervals(self, job: Job) -> tuple[TimeRange, ...]:
        """The intervals of a statistical job, in their order; none of another."""
        if job.kind != "statistics":
            return ()
        aggregation = self._request(job).aggregation
        behaviour = aggregation.aggregation_interval.last_interval_behavior
        planned = plan_intervals(aggregation.to_range(), aggregation.to_duration(), behaviour)
        # an analysis refuses more
        return tuple(islice(planned, self._settings.limits.intervals))

    def _is_stale(self, job_id: str, future: Future[View]) -> bool:
        """Whether an attempt failed some time ago, so that another may be made."""
        if not future.done() or (not future.cancelled() and future.exception() is None):
            return False
        return time.monotonic() - self._failed.get(job_id, 0.0) > _PATIENCE_S


def _microseconds(interval: TimeRange) -> int:
    return round(interval.start.timestamp() * 1_000_000)


def _touch(folder: Path) -> None:
    """Notes that something is looked at."""
    with suppress(OSError):
        os.utime(folder)
