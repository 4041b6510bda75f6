"""`/metrics` for Prometheus: jobs, units, reading, HTTP, the process. Numbers alone: no ids, no names, no addresses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fastapi import APIRouter
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from swathe import __version__
from swathe.jobs.metrics import UNIT_RESULTS, RunnerMetrics, RunnerState, waiting_units
from swathe.jobs.states import Status
from swathe.jobs.store import JobStore

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"})
# By name in the units' counters: what Prometheus calls it, and what it is.
_SUMS = {
    "features_done": ("swathe_features_delivered", "Features delivered with a result"),
    "features_failed": ("swathe_features_failed", "Features without a result"),
    "pu": ("swathe_processing_units", "Processing units spent"),
    "blocks": ("swathe_blocks_decoded", "Blocks of rasters decoded"),
    "bytes_read": ("swathe_source_bytes_read", "Bytes read from rasters"),
    "bytes_decoded": ("swathe_source_bytes_decoded", "Bytes that blocks became"),
    "fetch_seconds": ("swathe_source_fetch_seconds", "Seconds that units waited for bytes of rasters"),
    "decode_seconds": ("swathe_source_decode_seconds", "Seconds of threads that unpacked blocks"),
    "requests": ("swathe_source_requests", "Ranges of rasters read, local or remote"),
}


class Metrics:
    """The registry of one application."""

    def __init__(self, store: JobStore, runner: RunnerMetrics | None, state: Callable[[], RunnerState] | None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which says when it began
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "swathe_http_requests", "HTTP requests answered", ("method", "route", "status"), registry=self.registry
        )
        self.latency = Histogram(
            "swathe_http_request_seconds",
            "Seconds from a request to the end of its answer",
            ("method", "route"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.registry.register(_Jobs(store, runner, state))

    def text(self) -> tuple[bytes, str]:
        """The page and its content type. Asks the database: for a thread that may block."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST


def metrics_router(metrics: Metrics) -> APIRouter:
    """`/metrics`, open to whoever reaches the server."""
    router = APIRouter(tags=["health"])

    @router.get("/metrics", response_class=Response)
    async def read_metrics() -> Response:
        """Figures for Prometheus."""
        text, kind = await run_in_threadpool(metrics.text)
        return Response(text, media_type=kind)

    return router


class CountedRequests:
    """Counts requests and the time they take, by the route that answers them."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route = _route(scope)
            self.metrics.requests.labels(method, route, str(status)).inc()
            self.metrics.latency.labels(method, route).observe(time.perf_counter() - started)


def _route(scope: Scope) -> str:
    """The path with its parameters' names for their values. Paths that nobody serves are one.

    So whoever guesses addresses does not fill the registry.
    """
    if "endpoint" not in scope:
        return "other"
    parts = scope["path"].split("/")
    for name, value in reversed(scope.get("path_params", {}).items()):
        at = next((at for at in range(len(parts) - 1, -1, -1) if parts[at] == str(value)), None)
        if at is not None:
            parts[at] = f"{{{name}}}"
    return "/".join(parts)


class _Jobs:
    """What is looked up when the page is asked for."""

    def __init__(self, store: JobStore, runner: RunnerMetrics | None, state: Callable[[], RunnerState] | None) -> None:
        self._store, self._runner, self._state = store, runner, state

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not ask the database."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families anew."""
        info = GaugeMetricFamily("swathe_info", "Which Swathe this is", labels=("version",))
        info.add_metric((__version__,), 1)
        yield info
        yield from self._of_store()
        if self._runner is not None:
            yield from self._of_units(self._runner)
        if self._state is not None:
            yield from _of_runner(self._state())

    def _of_store(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("swathe_job_store_up", "Whether the job store's database answers")
        try:
            counts, waiting = self._store.counts(), waiting_units(self._store.database)
        except SQLAlchemyError:
            up.add_metric((), 0)
            yield up
            return
        up.add_metric((), 1)
        yield up
        jobs = GaugeMetricFamily("swathe_jobs", "Jobs in the store, of all servers on it", labels=("kind", "status"))
        kinds = sorted({kind for kind, _ in counts} | {"statistics"})
        for kind in kinds:
            for status in Status:
                jobs.add_metric((kind, status.value), counts.get((kind, status), 0))
        yield jobs
        queue = GaugeMetricFamily(
            "swathe_units_waiting",
            "Units of jobs at work still to be done, of all servers on the store",
            labels=("kind",),
        )
        for kind in kinds:
            queue.add_metric((kind,), waiting.get(kind, 0))
        yield queue

    def _of_units(self, runner: RunnerMetrics) -> Iterator[Metric]:
        units = CounterMetricFamily(
            "swathe_units", "Attempts at units that ended on this server, by result", labels=("kind", "result")
        )
        found = runner.units()
        for kind in sorted({kind for kind, _ in found} | {"statistics"}):
            for result in UNIT_RESULTS:
                units.add_metric((kind, result), found.get((kind, result), 0))
        yield units
        for name, (title, text) in _SUMS.items():
            yield _by_kind(title, text, runner.sums(name))
        seconds = CounterMetricFamily(
            "swathe_unit_seconds",
            "Seconds of workers' threads on units, by phase of the work",
            labels=("kind", "phase"),
        )
        for (kind, phase), value in sorted(runner.phases().items()):
            seconds.add_metric((kind, phase), value)
        yield seconds


def _by_kind(title: str, text: str, values: dict[str, float]) -> Metric:
    family = CounterMetricFamily(title, text, labels=("kind",))
    for kind in sorted({*values, "statistics"}):
        family.add_metric((kind,), values.get(kind, 0.0))
    return family


def _of_runner(state: RunnerState) -> Iterator[Metric]:
    figures: dict[str, tuple[str, Any]] = {
        "swathe_runner_up": ("Whether this server's runner lives", float(state.is_alive)),
        "swathe_units_in_flight": ("Units handed to workers", state.units_in_flight),
        "swathe_worker_slots": ("Units that the workers can compute at a time; 0 while none is started", state.slots),
    }
    for name, (text, value) in figures.items():
        yield GaugeMetricFamily(name, text, value=value)
