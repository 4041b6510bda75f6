"""A job without a server: the same analysis and units, in processes of this machine, results in a folder."""

from __future__ import annotations

import multiprocessing
import queue
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swathe.jobs.states import is_unhealthy
from swathe.model.errors import SettingsInvalid, StoreUnavailable, SwatheError
from swathe.storage.folder import write_whole

if TYPE_CHECKING:
    from swathe.engine.compute import Engine
    from swathe.engine.values import Analysis, Document, UnitReport, WorkUnit
    from swathe.model.statistical import StatisticsRequest
    from swathe.settings import Settings

_PROGRESS_EVERY_S = 0.1
_ATTEMPTS = 3


class JobUnhealthy(SwatheError):
    """Most features fail, so the rest is not tried."""


class WorkerLost(SwatheError):
    """A process that computed a unit ended."""


@dataclass
class LocalSummary:
    """What a job came to: features with a result, features that failed (some by name), cost, reading, seconds."""

    features: int = 0
    scenes: int = 0
    units: int = 0
    done: int = 0
    failed: int = 0
    cost_pu: float = 0.0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    failures: dict[int, str] = field(default_factory=dict)
    counters: dict[str, float] = field(default_factory=dict)

    def add(self, report: UnitReport) -> None:
        """Takes in how a unit went."""
        self.done += report.done
        self.failed += report.failed
        self.cost_pu += report.cost_pu
        for key, reason in report.failures.items():
            if len(self.failures) < 100:
                self.failures[key] = reason
        for name, value in report.counters.items():
            self.counters[name] = self.counters.get(name, 0) + value


def run_local(
    settings: Settings,
    request: StatisticsRequest,
    features: Path,
    output: Path,
    *,
    on_plan: Callable[[Analysis], None] = lambda analysis: None,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> LocalSummary:
    """Computes every feature of a GeoPackage; `output` gets `<feature id>.json` each, whole or not at all.

    Raises:
        SwatheError: the job as a whole cannot be done.
    """
    from swathe.engine.compute import Engine

    started = time.monotonic()
    _make_folder(output)
    if not features.is_file():
        raise SettingsInvalid(f"There is no file {features}; --features is a GeoPackage with polygons")
    with _pool(settings) as (pool, told), Engine(settings) as engine:
        analysis = engine.analyse(request, features)
        on_plan(analysis)
        summary = LocalSummary(analysis.features, analysis.scenes, len(analysis.units), notes=analysis.notes)
        weights = [max(1, unit.cells) for unit in analysis.units]
        total = max(1, sum(weights))
        fractions = [0.0] * len(weights)

        def show() -> None:
            on_progress(sum(part * weight for part, weight in zip(fractions, weights, strict=True)) / total)

        if pool is None or len(weights) == 1:
            for unit in analysis.units:

                def step(fraction: float, index: int = unit.index) -> None:
                    fractions[index] = fraction
                    show()

                work = engine.make_unit(request, analysis, features, unit.index)
                summary.add(_run_here(engine, work, FolderDelivery(output), step))
                _check_health(summary)
        else:
            text = request.model_dump_json(by_alias=True, exclude_none=True)
            tasks = ((text, analysis, str(features), str(output), index) for index in range(len(weights)))
            for report in _in_processes(pool, settings, tasks, told, fractions, show):
                summary.add(report)
                _check_health(summary)
        on_progress(1.0)
    summary.seconds = time.monotonic() - started
    return summary


def _run_here(
    engine: Engine, work: WorkUnit, delivery: FolderDelivery, on_progress: Callable[[float], None]
) -> UnitReport:
    """Runs a unit in this process, and again where that can help."""
    attempt = 1
    while True:
        try:
            return engine.run(work, deliver=delivery.write, on_progress=on_progress)
        except SwatheError as error:
            if not error.retryable or attempt >= _ATTEMPTS:
                raise
        time.sleep(2.0**attempt / 2)
        attempt += 1


def _check_health(summary: LocalSummary) -> None:
    """The rule by which a server stops a job as UNHEALTHY."""
    finished = summary.done + summary.failed
    if not is_unhealthy(finished=finished, failed=summary.failed, total=summary.features):
        return
    reason = Counter(summary.failures.values()).most_common(1)[0][0]
    raise JobUnhealthy(
        f"{summary.failed} of the {finished} features that were tried failed, so the job was stopped."
        f" The most frequent reason: {reason}"
    )


@dataclass(frozen=True)
class FolderDelivery:
    """Writes documents into a folder, each under its final name only when it is complete."""

    folder: Path

    def write(self, documents: Sequence[Document]) -> None:
        """Writes `<feature id>.json` for each document.

        Raises:
            StoreUnavailable: the folder does not take them.
        """
        for document in documents:
            try:
                write_whole(self.folder / f"{document.feature_id}.json", document.data, durable=False)
            except OSError as error:
                raise StoreUnavailable(f"{self.folder} cannot be written to: {error.strerror}") from None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsInvalid(f"The folder {folder} cannot be made: {error.strerror}") from None


_engine: Any = None
_tell: Any = None


def _start_worker(settings: Settings, told: Any) -> None:
    global _engine, _tell
    from swathe.engine.compute import Engine

    # Ctrl-C reaches every process of the terminal; the first one ends the others
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _engine, _tell = Engine(settings), told


def _run_in_worker(task: tuple[str, Analysis, str, str, int]) -> UnitReport:
    from swathe.model.statistical import StatisticsRequest

    text, analysis, features, output, index = task
    last = 0.0

    def step(fraction: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > _PROGRESS_EVERY_S:
            last = now
            _tell.put((index, fraction))

    unit = _engine.make_unit(StatisticsRequest.model_validate_json(text), analysis, Path(features), index)
    report: UnitReport = _engine.run(unit, deliver=FolderDelivery(Path(output)).write, on_progress=step)
    return report


@contextmanager
def _pool(settings: Settings) -> Iterator[tuple[ProcessPoolExecutor | None, Any]]:
    """Processes made before anything else runs in this one, so that forking them is safe and starting them is quick."""
    workers = settings.dask.workers
    if workers == 1:
        yield None, None
        return
    if sys.platform == "linux":
        import swathe.engine.unit  # noqa: F401 - forked processes have it loaded

        context = multiprocessing.get_context("fork")
    else:
        context = multiprocessing.get_context("spawn")  # type: ignore[assignment]
    told = context.Queue()
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(settings, told))
    for _ in range(workers):
        pool.submit(int)
    try:
        yield pool, told
        pool.shutdown()
    finally:
        for process in list((getattr(pool, "_processes", None) or {}).values()):
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)


def _in_processes(
    pool: ProcessPoolExecutor,
    settings: Settings,
    tasks: Iterator[Any],
    told: Any,
    fractions: list[float],
    show: Callable[[], None],
) -> Iterator[UnitReport]:
    """Reports as units end; at most two units a process are under way, so a long plan never stands in memory at once."""
    waiting: dict[Future[UnitReport], tuple[Any, int]] = {}

    def submit(task: Any, attempt: int) -> None:
        waiting[pool.submit(_run_in_worker, task)] = (task, attempt)

    def fill() -> None:
        while len(waiting) < 2 * settings.dask.workers and (task := next(tasks, None)) is not None:
            submit(task, 1)

    fill()
    while waiting:
        done, _ = wait(waiting, timeout=_PROGRESS_EVERY_S, return_when=FIRST_COMPLETED)
        while True:
            try:
                index, fraction = told.get_nowait()
            except queue.Empty:
                break
            fractions[index] = max(fractions[index], fraction)
        for future in done:
            task, attempt = waiting.pop(future)
            try:
                report = future.result()
            except BrokenProcessPool:
                raise WorkerLost(
                    "A process that computed statistics was ended (out of memory?);"
                    " use fewer workers ([dask] workers) or smaller units ([limits] unit_cells)"
                ) from None
            except SwatheError as error:
                if not error.retryable or attempt >= _ATTEMPTS:
                    raise
                time.sleep(2.0**attempt / 2)
                submit(task, attempt + 1)
                continue
            fractions[report.index] = 1.0
            yield report
        show()
        fill()
