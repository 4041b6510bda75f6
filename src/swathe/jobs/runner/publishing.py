"""Publications, one after the other, in a child process: they read many rows and a GeoPackage, and take their time."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from swathe.jobs.byoc_results import collect
from swathe.jobs.child import Child, ChildDied, ChildFailed, keep_interrupts_out
from swathe.jobs.prepare import Preparation
from swathe.jobs.publish import Publication, publish
from swathe.jobs.records import FailedFeature
from swathe.jobs.store import JobStore
from swathe.model.errors import NotFound, SwatheError

LOG = logging.getLogger(__name__)

_PAGE = 10_000


@dataclass(frozen=True)
class PublicationEnded:
    """How bringing the output folder up to date went. `run_id` is that of the order; without `error`, well."""

    job_id: str
    run_id: str | None
    final: bool
    error: str | None = None
    retryable: bool = False


@dataclass(frozen=True)
class _Order:
    job_id: str
    run_id: str | None
    preparation: Preparation
    final: bool


class Publisher:
    """A thread that takes orders and reports each by `on_ended`. Its process ends when there is nothing to do."""

    def __init__(self, store: JobStore, on_ended: Callable[[PublicationEnded], None]) -> None:
        self._store = store
        self._on_ended = on_ended
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._child: Child | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="publisher", daemon=True)
        self._thread.start()

    def publish(self, job_id: str, run_id: str | None, preparation: Preparation, *, final: bool) -> None:
        """Orders that a job's output folder be brought up to date."""
        self._orders.put(_Order(job_id, run_id, preparation, final))

    def close(self) -> None:
        """Ends the thread and what is under way, which reports nothing any more."""
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
            if self._orders.empty():
                self._end_child()
            if not self._closing.is_set():
                self._on_ended(ended)
        self._end_child()

    def _run(self, order: _Order) -> PublicationEnded:
        def ended(error: str | None = None, *, retryable: bool = False) -> PublicationEnded:
            return PublicationEnded(order.job_id, order.run_id, order.final, error, retryable)

        try:
            publication = self._read(order)
            with self._lock:
                if self._closing.is_set():
                    raise ChildDied("the server was stopped")
                child = self._child = self._child or Child("publisher")
            child.call(publish, publication)
            if order.final:
                collect(self._store.database, child, order.preparation, publication)
        except NotFound:
            return ended("The request is gone")
        except SQLAlchemyError as error:
            LOG.warning("job %s: the store does not tell how far it is: %s", order.job_id, type(error).__name__)
            return ended("the job store does not answer", retryable=True)
        except ChildFailed as error:
            LOG.error("job %s: the output folder cannot be completed, a bug of ours\n%s", order.job_id, error)
            return ended("internal error")
        except SwatheError as error:
            if isinstance(error, ChildDied):
                self._end_child()
            return ended(str(error), retryable=error.retryable)
        except Exception:
            LOG.exception("job %s: the output folder cannot be completed, a bug of ours", order.job_id)
            return ended("internal error")
        return ended()

    def _read(self, order: _Order) -> Publication:
        return Publication(
            settings=order.preparation.settings,
            folder=order.preparation.folder,
            delivery=order.preparation.delivery,
            job_id=order.job_id,
            units=tuple(self._store.unit_outcomes(order.job_id)),
            failed=tuple(self._failed(order.job_id)),
            final=order.final,
            kind=order.preparation.kind,
        )

    def _failed(self, job_id: str) -> Iterator[FailedFeature]:
        after = -(2**63)
        while page := self._store.failed_features(job_id, after=after, limit=_PAGE):
            yield from page
            after = page[-1].feature_id

    def _end_child(self) -> None:
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            child.close()
