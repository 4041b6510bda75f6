"""Analyses, one after the other, each in a child process."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from swathe.jobs import prepare
from swathe.jobs.child import Child, ChildDied, ChildFailed, keep_interrupts_out
from swathe.jobs.prepare import Preparation
from swathe.jobs.records import PlannedJob
from swathe.model.errors import SwatheError

LOG = logging.getLogger(__name__)

_PAUSES_S = (1.0, 4.0)


@dataclass(frozen=True)
class AnalysisEnded:
    """An analysis' plan, or why there is none; a restored folder has neither."""

    job_id: str
    plan: PlannedJob | None = None
    error: str | None = None


@dataclass(frozen=True)
class _Order:
    job_id: str
    preparation: Preparation
    kept: bytes | None


class Analyst:
    """A thread that takes orders and reports each by `on_ended`. Errors that may pass are tried three times in all."""

    def __init__(
        self,
        on_ended: Callable[[AnalysisEnded], None],
        supply: Callable[[Preparation], Preparation] = lambda preparation: preparation,
    ) -> None:
        """`supply` completes what an analysis needs to know, by what this process alone can read."""
        self._on_ended = on_ended
        self._supply = supply
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._child: Child | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="analyst", daemon=True)
        self._thread.start()

    def analyse(self, job_id: str, preparation: Preparation) -> None:
        """Orders an analysis."""
        self._orders.put(_Order(job_id, preparation, None))

    def restore(self, job_id: str, preparation: Preparation, payload: bytes) -> None:
        """Orders that a job's files are made again; `payload` is the plan's."""
        self._orders.put(_Order(job_id, preparation, payload))

    def close(self) -> None:
        """Ends the thread and the analysis under way, which reports nothing any more."""
        self._closing.set()
        self._orders.put(None)
        with self._lock:
            if self._child is not None:
                self._child.kill()
        self._thread.join(5)

    def _work(self) -> None:
        keep_interrupts_out()
        while (order := self._orders.get()) is not None and not self._closing.is_set():
            ended = self._run(order)
            if not self._closing.is_set():
                self._on_ended(ended)

    def _run(self, order: _Order) -> AnalysisEnded:
        for pause in (*_PAUSES_S, None):
            try:
                return self._attempt(order)
            except ChildFailed as error:
                LOG.error("job %s: the analysis failed with a bug of ours\n%s", order.job_id, error)
                return AnalysisEnded(order.job_id, error="The analysis failed with an internal error")
            except SwatheError as error:
                LOG.info("job %s: the analysis failed: %s", order.job_id, error)
                if not error.retryable or pause is None:
                    return AnalysisEnded(order.job_id, error=_explain(error))
            if self._closing.wait(pause):
                break
        return AnalysisEnded(order.job_id, error="The server was stopped")

    def _attempt(self, order: _Order) -> AnalysisEnded:
        preparation = order.preparation if order.kept is not None else self._supply(order.preparation)
        with self._lock:
            if self._closing.is_set():
                raise ChildDied("the server was stopped")
            child = self._child = Child(f"analysis-{order.job_id[:8]}")
        try:
            if order.kept is None:
                return AnalysisEnded(order.job_id, plan=child.call(prepare.analyse, preparation))
            child.call(prepare.restore, preparation, order.kept)
            return AnalysisEnded(order.job_id)
        finally:
            with self._lock:
                self._child = None
            child.close()


def _explain(error: SwatheError) -> str:
    if isinstance(error, ChildDied):
        return f"The analysis was ended three times ({error}); most likely it needed more memory than there is"
    return str(error)
