"""Workers of one machine that take units of a job: threads of this process, or processes of their own.

Up to two workers are the lanes of one engine in this process: nearly all of a unit's work happens in compiled code that does
not hold the interpreter, and threads share what was read and found. More would wait for one another, so they are processes.
"""

from __future__ import annotations

import multiprocessing
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from swathe.jobs.process import begin_quickly, import_numba, keep_freed_memory
from swathe.model.errors import SwatheError

if TYPE_CHECKING:
    from swathe.engine.compute import Engine
    from swathe.engine.values import UnitReport
    from swathe.settings import Settings

_TELL_EVERY_S = 0.1
_ATTEMPTS = 3
MOST_THREADS = 2


class WorkerLost(SwatheError):
    """A process that computed a unit ended."""


class UnitWork(Protocol):
    """Computes one unit with an engine; goes to another process where workers are processes."""

    @property
    def index(self) -> int:
        """The unit's number in the plan."""
        ...

    def __call__(
        self, engine: Engine, should_stop: Callable[[], bool], on_progress: Callable[[float], None]
    ) -> UnitReport:
        """The unit's report; raises `Stopped` soon after `should_stop` says so."""
        ...


@dataclass
class Workers:
    """Made before anything else runs, so that what takes a moment to start does so beside the analysis.

    Takes the process for its own: see `jobs.process`.

    `engine` is that of the analysis, and of the units where workers are threads.
    """

    engine: Engine
    count: int
    _executor: Executor
    _told: Any
    _stop: threading.Event

    @classmethod
    def start(cls, settings: Settings) -> Workers:
        """Workers as the settings say; to be closed."""
        begin_quickly()
        from swathe.engine.compute import Engine

        count = settings.dask.workers
        if count <= MOST_THREADS:
            engine = Engine(_as_one(settings), lanes=count)
            engine.start()
            import_numba()
            from swathe.engine import unit

            return cls(engine, count, ThreadPoolExecutor(1), queue.SimpleQueue(), threading.Event())
        import_numba()
        if sys.platform == "linux":
            from swathe.engine import unit  # noqa: F401 - forked processes have it loaded

            context: Any = multiprocessing.get_context("fork")
        else:
            context = multiprocessing.get_context("spawn")
        told = context.Queue()
        pool = ProcessPoolExecutor(count, mp_context=context, initializer=_start_process, initargs=(settings, told))
        for _ in range(count):
            pool.submit(int)
        return cls(Engine(settings), count, pool, told, threading.Event())

    @property
    def are_threads(self) -> bool:
        """Whether units run in this process."""
        return isinstance(self._executor, ThreadPoolExecutor)

    def close(self) -> None:
        """Ends what is under way."""
        self._stop.set()
        for process in list((getattr(self._executor, "_processes", None) or {}).values()):
            process.terminate()
        self._executor.shutdown(wait=self.are_threads, cancel_futures=True)
        self.engine.close()

    def run(self, work: Iterator[UnitWork], fractions: list[float], show: Callable[[], None]) -> Iterator[UnitReport]:
        """Reports as units end; `fractions` is kept up to date before `show` is called.

        At most two units a worker are under way, so a long plan never stands in memory at once.
        """
        waiting: set[Future[UnitReport]] = set()

        def fill() -> None:
            while len(waiting) < 2 * self.count and (unit := next(work, None)) is not None:
                if self.are_threads:
                    waiting.add(self._executor.submit(_attempt, unit, self.engine, self._stop.is_set, self._told))
                else:
                    waiting.add(self._executor.submit(_run_in_process, unit))

        fill()
        while waiting:
            done, _ = wait(waiting, timeout=_TELL_EVERY_S, return_when=FIRST_COMPLETED)
            while True:
                try:
                    index, fraction = self._told.get_nowait()
                except queue.Empty:
                    break
                fractions[index] = max(fractions[index], fraction)
            for future in done:
                waiting.remove(future)
                try:
                    report = future.result()
                except BrokenProcessPool:
                    raise WorkerLost(
                        "A process that computed statistics was ended (out of memory?);"
                        " use fewer workers ([dask] workers) or smaller units ([limits] unit_cells)"
                    ) from None
                fractions[report.index] = 1.0
                yield report
            show()
            fill()


def _as_one(settings: Settings) -> Settings:
    """The settings for one unit at a time in place of one a worker: it may take what they all may."""
    count, limits = settings.dask.workers, settings.limits
    wider = {name: count * getattr(limits, name) for name in ("unit_cells", "unit_bytes", "unit_rows")}
    return settings.model_copy(
        update={
            "dask": settings.dask.model_copy(update={"workers": 1}),
            "limits": limits.model_copy(update=wider),
        }
    )


def _attempt(unit: UnitWork, engine: Engine, stop: Callable[[], bool], told: Any) -> UnitReport:
    """Runs a unit, and again where that can help."""
    last = 0.0

    def step(fraction: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > _TELL_EVERY_S:
            last = now
            told.put((unit.index, fraction))

    attempt = 1
    while True:
        try:
            return unit(engine, stop, step)
        except SwatheError as error:
            if not error.retryable or attempt >= _ATTEMPTS or stop():
                raise
        time.sleep(2.0**attempt / 2)
        attempt += 1


_engine: Engine | None = None
_tell: Any = None


def _start_process(settings: Settings, told: Any) -> None:
    global _engine, _tell
    from swathe.engine.compute import Engine

    # Ctrl-C reaches every process of the terminal; the first one ends the others
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _engine, _tell = Engine(settings), told
    _engine.start()
    keep_freed_memory()


def _run_in_process(unit: UnitWork) -> UnitReport:
    if _engine is None:
        raise RuntimeError("the process was not started as a worker")
    return _attempt(unit, _engine, bool, _tell)
