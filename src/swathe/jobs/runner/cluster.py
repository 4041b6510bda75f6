"""Where units run: an embedded Dask cluster in this process tree, or any cluster by its scheduler's address."""

from __future__ import annotations

import logging
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker

from swathe.jobs.child import keep_interrupts_out
from swathe.jobs.runner import remote
from swathe.jobs.runner.connection import Connection
from swathe.jobs.tasks import UnitOutcome, UnitTask
from swathe.settings import DaskSettings

LOG = logging.getLogger(__name__)

WORKER_LOST = "the worker process was ended while it worked on this, most likely for want of memory"
_LOOK_S = 0.5
_RETRY_S = 1.0
_REMEMBER_S = 10.0
_SHORT_S = 30.0
_GATHER_S = 10.0
_JOIN_S = 10.0
_NANNY_S = 2.0


class Loss(Enum):
    """What a worker's death has to do with a unit that was on it.

    NONE: its worker lives. CULPRIT: it was at work there, and no other unit. INNOCENT: another was at work, this one
    waited its turn. SUSPECT: it cannot be told. MACHINE: the process that watches the worker is gone with it. CLUSTER: the
    cluster failed, not the worker.
    """

    NONE = "NONE"
    CULPRIT = "CULPRIT"
    INNOCENT = "INNOCENT"
    SUSPECT = "SUSPECT"
    MACHINE = "MACHINE"
    CLUSTER = "CLUSTER"


OnEnd = Callable[[UnitOutcome, Loss], None]


@dataclass
class _Flight:
    """A task in the cluster. `worker` is the address where it was begun, as far as that has been told."""

    index: int
    on_end: OnEnd
    future: Any = field(default=None, repr=False)
    worker: str | None = None
    progress: float = 0.0
    delivered: int = 0


class Cluster:
    """Runs unit tasks and reports each just once. Connects by itself, and again whenever the connection is lost."""

    def __init__(self, settings: DaskSettings, scratch: Path) -> None:
        self.settings = settings
        self._scratch = scratch
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._threads = 0
        self._flights: dict[str, _Flight] = {}
        self._deaths: dict[str, tuple[float, frozenset[str]]] = {}
        self._died_at = 0.0
        self._keeper: threading.Thread | None = None
        self._closing = threading.Event()

    @property
    def is_embedded(self) -> bool:
        """Whether workers see this machine's files."""
        return self.settings.scheduler is None

    @property
    def is_running(self) -> bool:
        """Whether it has been started and not closed; it may be looking for its scheduler."""
        return self._keeper is not None

    @property
    def is_connected(self) -> bool:
        """Whether there is a scheduler."""
        return self._connection is not None

    def start(self) -> None:
        """Begins to start or connect, and returns at once; nothing when that was done before."""
        if self._keeper is None:
            self._closing = threading.Event()
            self._keeper = threading.Thread(
                target=self._keep, args=(self._closing,), name="cluster-keeper", daemon=True
            )
            self._keeper.start()

    def slots(self) -> int:
        """How many tasks can run at the same time now."""
        return self._threads if self._connection is not None else 0

    def new_key(self, run_id: str, index: int) -> str:
        """A name for a task."""
        return f"{remote.KEY_PREFIX}{run_id}-{index}-{uuid.uuid4().hex[:8]}"

    def submit(self, key: str, task: UnitTask, on_end: OnEnd) -> None:
        """Runs a task on some worker; `on_end` hears how it went, in another thread or at once."""
        flight = _Flight(task.index, on_end)
        with self._lock:
            connection = self._connection
            if connection is not None:
                self._flights[key] = flight
        if connection is None:
            on_end(UnitOutcome(task.index, stopped=True), Loss.NONE)
            return
        try:
            flight.future = connection.client.submit(remote.run_on_worker, task, key=key, pure=False)
            flight.future.add_done_callback(partial(self._on_future, key))
        except (OSError, RuntimeError) as error:
            LOG.warning("the cluster takes no work: %s", error)
            self._end(key, UnitOutcome(task.index, stopped=True))

    def progress(self, key: str) -> float:
        """How much of a task under way is done, as far as its worker has told."""
        flight = self._flights.get(key)
        return flight.progress if flight is not None else 0.0

    def delivered(self, key: str) -> int:
        """How many documents of a task under way are delivered, as far as its worker has told."""
        flight = self._flights.get(key)
        return flight.delivered if flight is not None else 0

    def stop_run(self, run_id: str) -> None:
        """Tells all workers that a run's tasks are to end; returns at once."""
        if (connection := self._connection) is not None:
            connection.later(connection.client._run, remote.stop_run, run_id, wait=False, on_error="ignore")

    def abandon(self, keys: list[str]) -> None:
        """Lets go of tasks that nobody waits for any more.

        Those that are being worked on are left to end by themselves, so that what one has delivered is still heard of.
        """
        with self._lock:
            waiting = [key for key in keys if key in self._flights and self._flights[key].worker is None]
            flights = [self._flights.pop(key) for key in waiting]
        futures = [flight.future for flight in flights if flight.future is not None]
        if futures and (connection := self._connection) is not None:
            connection.later(connection.client._cancel, futures)

    def close(self) -> None:
        """Ends the embedded workers, busy or not; on a foreign cluster only lets go of the tasks."""
        keeper, self._keeper = self._keeper, None
        self._closing.set()
        with self._lock:
            self._flights.clear()
        if keeper is not None:
            keeper.join(_JOIN_S)

    # The keeper's thread

    def _keep(self, closing: threading.Event) -> None:
        keep_interrupts_out()
        said = ""
        while not closing.is_set():
            try:
                connection = self._connect()
            except Exception as error:
                # Dask has many ways of saying that there is nobody.
                what = "cannot be started" if self.is_embedded else f"does not answer at {self.settings.scheduler}"
                if said != (said := f"{what}: {error or type(error).__name__}"):
                    LOG.warning("the %s %s", "embedded cluster" if self.is_embedded else "scheduler", said)
                closing.wait(_RETRY_S)
                continue
            said = ""
            try:
                self._watch(connection, closing)
            finally:
                self._disconnect(connection)

    def _connect(self) -> Connection:
        if self.is_embedded:
            connection = Connection.embedded(self.settings, self._scratch)
        else:
            connection = Connection.to_scheduler(self.settings)
        connection.client.subscribe_topic(remote.PROGRESS_TOPIC, self._note_progress)
        return connection

    def _watch(self, connection: Connection, closing: threading.Event) -> None:
        """Until the connection is lost, or an embedded cluster does not get its workers back."""
        wanted = self.settings.workers * self.settings.threads_per_worker if self.is_embedded else 0
        self._died_at = time.monotonic()
        while not closing.is_set():
            threads = connection.count_threads()
            if threads is None:
                LOG.warning("the scheduler is gone")
                return
            now = time.monotonic()
            if threads >= wanted:
                self._died_at = now
            elif now - self._died_at > _SHORT_S:
                LOG.warning("workers do not come back; the embedded cluster is started anew")
                return
            if threads < wanted:
                connection.mend()
            self._threads = threads
            with self._lock:
                self._connection = connection
            closing.wait(_LOOK_S)

    def _disconnect(self, connection: Connection) -> None:
        with self._lock:
            self._connection = None
            keys = list(self._flights)
        for key in keys:
            self._end(key)
        if self.is_embedded:
            connection.close()
        else:  # a client takes its time to see that nobody is there
            threading.Thread(target=connection.close, name="cluster-leaver", daemon=True).start()

    # Reports

    def _note_progress(self, event: tuple[float, Any]) -> None:
        key, worker, fraction, delivered = event[1]
        with self._lock:
            if (flight := self._flights.get(key)) is not None:
                flight.worker = str(worker)
                flight.progress = max(flight.progress, float(fraction))
                flight.delivered = max(flight.delivered, int(delivered))

    def _end(self, key: str, outcome: UnitOutcome | None = None, loss: Loss = Loss.NONE) -> None:
        with self._lock:
            flight = self._flights.pop(key, None)
        if flight is not None:
            flight.on_end(outcome or UnitOutcome(flight.index, stopped=True), loss)

    def _on_future(self, key: str, future: Any) -> None:
        flight = self._flights.get(key)
        if flight is None:
            return
        index = flight.index
        try:
            outcome = future.result(timeout=_GATHER_S)
        except KilledWorker as error:
            self._end(key, UnitOutcome(index, error=WORKER_LOST, retryable=True), self._accuse(key, error))
        except FutureCancelledError:
            self._end(key)
        except Exception as error:
            LOG.warning("unit %d came back from the cluster with %s: %s", index, type(error).__name__, error)
            text = f"the cluster lost the work ({type(error).__name__})"
            self._end(key, UnitOutcome(index, error=text, retryable=True), Loss.CLUSTER)
        else:
            if isinstance(outcome, UnitOutcome):
                self._end(key, outcome)
            else:
                text = "the cluster answered with something else"
                self._end(key, UnitOutcome(index, error=text, retryable=True), Loss.CLUSTER)

    def _accuse(self, key: str, error: KilledWorker) -> Loss:
        """Whose fault a death was. All that were at work there are known with the first report of it."""
        worker = error.last_worker
        self._died_at = now = time.monotonic()
        with self._lock:
            self._deaths = {at: seen for at, seen in self._deaths.items() if now - seen[0] < _REMEMBER_S}
            at_work = frozenset(key for key, flight in self._flights.items() if flight.worker == worker.address)
            _, at_work = self._deaths.setdefault(worker.address, (now, at_work))
        if not self.is_embedded and worker.nanny and not _answers(worker.nanny):
            return Loss.MACHINE
        if len(at_work) != 1 or worker.nthreads != 1:
            return Loss.SUSPECT
        return Loss.CULPRIT if key in at_work else Loss.INNOCENT


def _answers(address: str) -> bool:
    """Whether somebody listens at a Dask address, such as `tcp://10.0.0.7:41234`."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_NANNY_S).close()
    except (OSError, ValueError):
        return False
    return True
