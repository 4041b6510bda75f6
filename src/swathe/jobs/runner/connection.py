"""A connection to a Dask cluster: the embedded one, which lives as long as it, or one at a scheduler's address."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distributed import Client, LocalCluster, Status
from distributed.security import Security

from swathe.jobs.runner import remote
from swathe.jobs.runner.workers import configure, make_security
from swathe.settings import DaskSettings

_CONNECT_S = 3.0
_ASK_S = 3.0
_CLOSE_S = 5.0


class Connection:
    """A client that is connected once. When the scheduler is gone, or is another one, a new connection is made.

    Dask's own reconnecting would forget what the scheduler was told: topics, plugins.
    """

    def __init__(self, client: Any, local: Any = None) -> None:
        self.client = client
        self._local = local
        self._scheduler_id = self._identity()["id"]

    @classmethod
    def embedded(cls, settings: DaskSettings, scratch: Path) -> Connection:
        """Starts a cluster in this process tree.

        Raises:
            OSError, RuntimeError, TimeoutError: it cannot be started.
        """
        configure()
        local = LocalCluster(  # type: ignore[no-untyped-call]
            processes=True,
            n_workers=settings.workers,
            threads_per_worker=settings.threads_per_worker,
            memory_limit=settings.memory_limit,
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            local_directory=str(scratch),
            silence_logs=logging.CRITICAL,
            # The scheduler runs whatever it is sent, so only this process tree may talk to it, not every local user.
            security=Security.temporary(),  # type: ignore[no-untyped-call]
            host="127.0.0.1",
        )
        try:
            return cls(Client(local, set_as_default=False), local)  # type: ignore[no-untyped-call]
        except BaseException:
            _close(local)
            raise

    @classmethod
    def to_scheduler(cls, settings: DaskSettings) -> Connection:
        """Connects to the configured scheduler.

        Raises:
            OSError, TimeoutError: it does not answer.
        """
        # That a scheduler is gone is said once, by who looks after the connection.
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        client = Client(  # type: ignore[no-untyped-call]
            settings.scheduler, set_as_default=False, timeout=_CONNECT_S, security=make_security(settings)
        )
        try:
            connection = cls(client)
            with contextlib.suppress(OSError, TimeoutError):
                client.register_plugin(remote.LostAtOnce())
            return connection
        except BaseException:
            _close(client)
            raise

    def count_threads(self) -> int | None:
        """How many tasks can run at the same time; None when the connection is to be given up."""
        if self.client.status != "running":
            return None
        try:
            identity = self._identity()
        except (OSError, TimeoutError, RuntimeError):
            return None
        return int(identity["total_threads"]) if identity["id"] == self._scheduler_id else None

    def mend(self) -> None:
        """Replaces embedded workers that were not started again: a nanny gives up when its worker dies as it begins."""
        if self._local is None:
            return
        workers = self._local.workers
        for name in [name for name, nanny in list(workers.items()) if nanny.status in (Status.closed, Status.failed)]:
            workers.pop(name, None)
        if len(workers) < len(self._local.worker_spec):
            self._local.scale(len(self._local.worker_spec))

    def later(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Has a coroutine function of the client's run beside everything; what comes of it is not looked at."""

        async def call() -> None:
            with contextlib.suppress(Exception):
                await function(*args, **kwargs)

        with contextlib.suppress(RuntimeError):  # the loop has ended, and the client with it
            self.client.loop.add_callback(call)

    def close(self) -> None:
        """Ends the embedded workers, busy or not; of another cluster only lets go."""
        nannies = self._local.workers.values() if self._local is not None else ()
        pids = [pid for nanny in nannies if isinstance(pid := getattr(nanny, "pid", None), int)]
        _close(self.client)
        _close(self._local)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _identity(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.sync(self.client.scheduler.identity, n_workers=0, callback_timeout=_ASK_S)
        return found


def _close(closing: Any) -> None:
    if closing is not None:
        with contextlib.suppress(Exception):
            closing.close(timeout=_CLOSE_S)
