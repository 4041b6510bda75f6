"""From a unit in the store to a task in the cluster."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from swathe.jobs import tasks
from swathe.jobs.child import Child, ChildDied, ChildFailed, keep_interrupts_out
from swathe.jobs.runner.cluster import Cluster, Loss, OnEnd
from swathe.jobs.tasks import UnitInHand, UnitOutcome, UnitTask
from swathe.model.errors import SwatheError

LOG = logging.getLogger(__name__)

_MADE_BADLY = "the process that reads a unit's features was ended while it read these"


class Sender:
    """Sends tasks to the cluster; for workers that cannot read the job's folder, with the features in them.

    These are read in a child process, which may die of them, one unit after the other and not in the caller's thread.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lock = threading.Lock()
        self._closed = False
        self._child: Child | None = None
        self._thread: ThreadPoolExecutor | None = None

    def send(self, task: UnitTask, on_end: OnEnd) -> str:
        """Has a task run; the name by which the cluster knows it."""
        key = self._cluster.new_key(task.run_id, task.index)
        if self._cluster.is_embedded:
            self._cluster.submit(key, task, on_end)
        else:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, "unit-maker", initializer=keep_interrupts_out)
            self._thread.submit(self._make_and_send, key, task, on_end)
        return key

    def rest(self) -> None:
        """Ends the child process until there is something to do again."""
        if self._thread is not None:
            self._thread.submit(self._end_child)

    def close(self) -> None:
        """Ends what is under way."""
        with self._lock:
            self._closed = True
            if self._child is not None:
                self._child.kill()
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _make_and_send(self, key: str, task: UnitTask, on_end: OnEnd) -> None:
        loss, failed = Loss.NONE, UnitOutcome(task.index, stopped=True)
        try:
            with self._lock:
                if self._closed:
                    return
                child = self._child = self._child or Child("unit-maker")
            made = replace(task, source=UnitInHand(child.call(tasks.make_unit, task)))
            self._cluster.submit(key, made, on_end)
            return
        except ChildDied:
            self._end_child()
            loss, failed = Loss.CULPRIT, UnitOutcome(task.index, error=_MADE_BADLY, retryable=True)
        except ChildFailed as error:
            text = "internal error while the unit was made"
            failed = UnitOutcome(task.index, error=text, retryable=True, bug=str(error))
        except SwatheError as error:
            failed = UnitOutcome(task.index, error=str(error), retryable=error.retryable)
        except Exception:
            LOG.exception("unit %d cannot be sent", task.index)
        on_end(failed, loss)

    def _end_child(self) -> None:
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            child.close()
