"""Where units run: an embedded Dask cluster in this process tree, or any cluster by its scheduler's address."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
from distributed import Client, LocalCluster, get_worker
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker
from distributed.security import Security

from swathe.jobs import tasks
from swathe.jobs.tasks import UnitOutcome, UnitTask
from swathe.model.errors import SwatheError
from swathe.settings import DaskSettings

LOG = logging.getLogger(__name__)

WORKER_LOST = "the worker process was ended while it worked on this, most likely for want of memory"
_COUNT_AGE_S = 2.0
_CLOSE_S = 5.0
_CONNECT_S = 3.0
_PROGRESS_TOPIC = "swathe-progress"
_PROGRESS_EVERY_S = 0.5

# Workers hold no results, so Dask's spilling and pausing would only stop them for good; the limit itself stays.
_CONFIG = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.work-stealing": True,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    "distributed.worker.multiprocessing-method": "spawn",
    "distributed.worker.profile.enabled": False,
    "distributed.worker.daemon": True,
    # Dask's own HTTP pages: nobody looks at them, and they tell every local user about the work.
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.admin.low-level-log-length": 100,
    "distributed.admin.log-length": 100,
    "distributed.admin.system-monitor.log-length": 60,
}


class ClusterUnavailable(SwatheError):
    """There is nowhere to run units now; later there may be."""

    retryable = True


class Cluster:
    """Runs unit tasks and tells how each went. Started by the first use; may be closed and started again."""

    def __init__(self, settings: DaskSettings, scratch: Path) -> None:
        self.settings = settings
        self._scratch = scratch
        self._local: Any = None
        self._client: Any = None
        self._futures: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._counted = (0.0, 0)
        self._progress: dict[str, float] = {}

    @property
    def is_embedded(self) -> bool:
        """Whether workers see this machine's files."""
        return self.settings.scheduler is None

    @property
    def is_running(self) -> bool:
        """Whether it has been started."""
        return self._client is not None

    def start(self) -> None:
        """Starts the embedded cluster or connects to the configured one; nothing when that is done.

        Raises:
            ClusterUnavailable: no worker can be started, or the scheduler does not answer.
        """
        if self._client is not None:
            return
        try:
            self._client = self._start_embedded() if self.is_embedded else self._connect()
            self._client.subscribe_topic(_PROGRESS_TOPIC, self._note_progress)
        except (OSError, TimeoutError, ValueError, RuntimeError) as error:
            self.close()
            where = (
                "The embedded Dask cluster cannot be started" if self.is_embedded else "The scheduler does not answer"
            )
            raise ClusterUnavailable(f"{where}: {error}") from None

    def _connect(self) -> Any:
        address = self.settings.scheduler
        return Client(address, set_as_default=False, timeout=_CONNECT_S)  # type: ignore[no-untyped-call]

    def _start_embedded(self) -> Any:
        threads = str(self.settings.threads_per_worker)
        environment = dict.fromkeys(("GDAL_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), threads)
        environment |= {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
        dask.config.set({**_CONFIG, "distributed.nanny.pre-spawn-environ": _pre_spawn(environment)})
        self._local = LocalCluster(  # type: ignore[no-untyped-call]
            processes=True,
            n_workers=self.settings.workers,
            threads_per_worker=self.settings.threads_per_worker,
            memory_limit=self.settings.memory_limit,
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            local_directory=str(self._scratch),
            silence_logs=logging.CRITICAL,
            # The scheduler runs whatever it is sent, so only this process tree may talk to it, not every local user.
            security=Security.temporary(),  # type: ignore[no-untyped-call]
            host="127.0.0.1",
        )
        return Client(self._local, set_as_default=False)  # type: ignore[no-untyped-call]

    def slots(self) -> int:
        """How many tasks can run at the same time."""
        if self._client is None:
            return 0
        if self.is_embedded:
            return self.settings.workers * self.settings.threads_per_worker
        counted, slots = self._counted
        if time.monotonic() - counted > _COUNT_AGE_S:
            with contextlib.suppress(OSError, TimeoutError):
                slots = sum(self._client.nthreads().values())
            self._counted = (time.monotonic(), slots)
        return slots

    def submit(self, task: UnitTask, on_done: Callable[[UnitOutcome, bool], None]) -> str:
        """Runs a task on some worker. `on_done` gets the outcome and whether its worker was lost, in another thread.

        Raises:
            ClusterUnavailable: it has ended, or was never started.
        """
        key = f"unit-{task.run_id}-{task.index}-{uuid.uuid4().hex[:8]}"
        try:
            if self._client is None or self._client.status not in ("running", "connecting"):
                raise RuntimeError("it is not running")
            future = self._client.submit(_run_on_worker, task, key=key, pure=False)
        except (OSError, RuntimeError) as error:
            raise ClusterUnavailable(f"the cluster takes no work: {error}") from None
        with self._lock:
            self._futures[key] = future

        def done(future: Any) -> None:
            outcome, lost = _read(future, task.index)
            with self._lock:
                self._futures.pop(key, None)
                self._progress.pop(key, None)
            on_done(outcome, lost)

        future.add_done_callback(done)
        return key

    def progress(self, key: str) -> float:
        """How much of a task under way is done, as far as its worker has told."""
        return self._progress.get(key, 0.0)

    def _note_progress(self, event: tuple[float, Any]) -> None:
        key, fraction = event[1]
        with self._lock:
            if key in self._futures:
                self._progress[key] = max(self._progress.get(key, 0.0), float(fraction))

    def stop_run(self, run_id: str) -> None:
        """Tells all workers that a run's tasks are to end; returns at once."""
        if self._client is not None:
            with contextlib.suppress(Exception):
                self._client.run(_stop_run, run_id, wait=False, on_error="ignore")

    def abandon(self, keys: list[str]) -> None:
        """Lets go of tasks that do not end."""
        with self._lock:
            futures = [self._futures.pop(key) for key in keys if key in self._futures]
            for key in keys:
                self._progress.pop(key, None)
        if futures and self._client is not None:
            with contextlib.suppress(Exception):
                self._client.cancel(futures, asynchronous=False)

    def close(self) -> None:
        """Ends the embedded workers, busy or not; on a foreign cluster only lets go of the tasks."""
        client, local = self._client, self._local
        self._client = self._local = None
        with self._lock:
            self._futures.clear()
            self._progress.clear()
        pids = _worker_pids(local)
        for closing in (client, local):
            if closing is not None:
                with contextlib.suppress(Exception):
                    closing.close(timeout=_CLOSE_S)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _worker_pids(local: Any) -> list[int]:
    if local is None:
        return []
    pids = (getattr(nanny, "pid", None) for nanny in local.workers.values())
    return [pid for pid in pids if isinstance(pid, int)]


def _pre_spawn(environment: dict[str, str]) -> dict[str, Any]:
    return {**dask.config.get("distributed.nanny.pre-spawn-environ", {}), **environment}


def _read(future: Any, index: int) -> tuple[UnitOutcome, bool]:
    try:
        outcome = future.result(timeout=30)
    except KilledWorker:
        return UnitOutcome(index, error=WORKER_LOST, retryable=True), True
    except FutureCancelledError:
        return UnitOutcome(index, stopped=True), False
    except Exception as error:
        LOG.warning("unit %d came back from the cluster with %s: %s", index, type(error).__name__, error)
        text = f"the cluster lost the work ({type(error).__name__})"
        return UnitOutcome(index, error=text, retryable=True), False
    if not isinstance(outcome, UnitOutcome):
        return UnitOutcome(index, error="the cluster answered with something else", retryable=True), False
    return outcome, False


async def _stop_run(run_id: str) -> None:
    """Runs in a worker, beside its task."""
    tasks.stop_run(run_id)


def _run_on_worker(task: UnitTask) -> UnitOutcome:
    """Runs in a worker. The task ends as well when the cluster no longer wants it, as after its server's death."""
    try:
        worker = get_worker()
        key = worker.get_current_task()
    except (ValueError, KeyError):
        return tasks.run_unit(task)

    def is_cancelled() -> bool:
        state = worker.state.tasks.get(key)
        return state is None or state.state == "cancelled"

    told_at = time.monotonic()

    def on_progress(fraction: float) -> None:
        nonlocal told_at
        if (now := time.monotonic()) - told_at > _PROGRESS_EVERY_S:
            told_at = now
            worker.log_event(_PROGRESS_TOPIC, (key, fraction))

    return tasks.run_unit(task, is_cancelled=is_cancelled, on_progress=on_progress)
