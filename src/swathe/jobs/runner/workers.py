"""What a Dask worker of Swathe is like, embedded or started by `swathe worker`: memory, threads, environment."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask
from distributed import Nanny, Status
from distributed.security import Security

from swathe.settings import DaskSettings

LOG = logging.getLogger(__name__)

_RETRY_S = (1.0, 2.0, 5.0)
_CLOSE_S = 5.0
_GRACE_S = 1.0
_LOOK_S = 0.25
_OVER = (Status.closing, Status.closed, Status.failed)

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
    # Dask would strike a worker off that is late; here it is replaced.
    "distributed.deploy.lost-worker-timeout": "1 hour",
    # Dask's own HTTP pages: nobody looks at them, and they tell every local user about the work.
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.admin.low-level-log-length": 100,
    "distributed.admin.log-length": 100,
    "distributed.admin.system-monitor.log-length": 60,
}


def configure() -> None:
    """Sets Dask up for workers that are begun by this process."""
    # A worker keeps freed memory and uses it again, as `jobs.process.keep_freed_memory` has it, rather than trim.
    environment = {
        **worker_environment(),
        "MALLOC_ARENA_MAX": "2",
        "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
        "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    }
    dasks_own = dask.config.get("distributed.nanny.pre-spawn-environ", {})
    dask.config.set({**_CONFIG, "distributed.nanny.pre-spawn-environ": {**dasks_own, **environment}})


def worker_environment() -> dict[str, str]:
    """Libraries start no threads of their own: those of the workers are as many as there are cores."""
    names = ("GDAL", "OMP", "NUMBA", "OPENBLAS", "MKL", "BLOSC")
    return {f"{name}_NUM_THREADS": "1" for name in names}


def make_security(settings: DaskSettings) -> Security | None:
    """The keys to a scheduler that speaks TLS; None without any."""
    if settings.tls_ca is None:
        return None
    files = {
        "tls_ca_file": str(settings.tls_ca),
        **{f"tls_{who}_cert": str(settings.tls_cert) for who in ("client", "worker")},
        **{f"tls_{who}_key": str(settings.tls_key) for who in ("client", "worker")},
    }
    return Security(require_encryption=True, **files)  # type: ignore[no-untyped-call]


async def run_worker(
    scheduler: str,
    *,
    threads: int,
    memory_limit: str,
    name: str | None = None,
    local_directory: Path | None = None,
    security: Security | None = None,
) -> None:
    """A worker and the process that watches it, until a signal; whenever the scheduler is gone, until it is back."""
    configure()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    options = {
        "nthreads": threads,
        "memory_limit": memory_limit,
        "name": name,
        "local_directory": None if local_directory is None else str(local_directory),
        "security": security,
        "death_timeout": None,
    }
    failures = 0
    while not stopped.is_set():
        LOG.info("looking for the scheduler at %s", scheduler)
        failures = 0 if await _work_once(scheduler, options, stopped) else failures + 1
        if not stopped.is_set():
            pause = _RETRY_S[min(failures, len(_RETRY_S) - 1)]
            await _wait_any(stopped.wait(), timeout_s=pause)


async def _work_once(scheduler: str, options: Mapping[str, Any], stopped: asyncio.Event) -> bool:
    """Serves a scheduler until it, or everything, ends; whether there was one."""
    try:
        nanny: Any = Nanny(scheduler, **options)
    except (OSError, ValueError) as error:
        LOG.warning("no worker can be made: %s", error)
        return False
    begun = False
    try:
        begin = asyncio.ensure_future(nanny.start())
        await _wait_any(begin, stopped.wait())
        if begin.done():
            begin.result()
            begun = True
            LOG.info("works for %s with %d threads", scheduler, options["nthreads"])
            await _wait_any(_until_closing(nanny), stopped.wait())
        else:
            begin.cancel()
        if begun and stopped.is_set():
            await _retire(nanny)
    except Exception as error:
        # Dask has many ways of saying that there is no scheduler, or that it does not take this worker yet.
        LOG.warning("the worker cannot begin: %s", error)
    finally:
        await _end(nanny)
    if begun and not stopped.is_set():
        LOG.warning("the scheduler is gone; the worker waits for it to come back")
    return begun


async def _until_closing(nanny: Any) -> None:
    while nanny.status not in _OVER:
        await asyncio.sleep(_LOOK_S)


async def _retire(nanny: Any) -> None:
    """Gives what is under way to others, and nobody takes this for a death."""
    with contextlib.suppress(Exception):
        leave = nanny.scheduler.retire_workers(workers=[nanny.worker_address], remove=True, close_workers=False)
        await asyncio.wait_for(leave, _CLOSE_S)


async def _end(nanny: Any) -> None:
    """Ends the nanny, and its worker soon: a unit under way does not hold it up."""
    process = getattr(nanny, "process", None)
    pid = getattr(process, "pid", None)
    close = asyncio.ensure_future(nanny.close(timeout=_CLOSE_S, reason="swathe-worker-ends"))
    await asyncio.wait([close], timeout=_GRACE_S)
    if not close.done() and isinstance(pid, int) and getattr(process, "process", None) is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(Exception):
        await asyncio.wait_for(close, 2 * _CLOSE_S)


async def _wait_any(*awaitables: Any, timeout_s: float | None = None) -> None:
    """Until the first of them is done, which is cancelled with the others, but for futures that were given."""
    futures = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        await asyncio.wait(futures, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for future, given in zip(futures, awaitables, strict=True):
            if future is not given:
                future.cancel()
