"""Publications, one after the other, in a child process: they read many rows and a GeoPackage, and take their time."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from swathe.jobs import looking_kept
from swathe.jobs.byoc_results import collect
from swathe.jobs.child import Child, ChildDied, ChildFailed, keep_interrupts_out
from swathe.jobs.home import Home
from swathe.jobs.logs import job_log
from swathe.jobs.outcomes import DONE
from swathe.jobs.prepare import Preparation
from swathe.jobs.publish import Publication, publish
from swathe.jobs.records import FailedFeature
from swathe.jobs.store import JobStore
from swathe.model.errors import LimitExceeded, NotFound, SwatheError

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
    """With `ended`, the job is over without having been completed: nothing is published, and nobody waits."""

    job_id: str
    run_id: str | None
    preparation: Preparation
    final: bool
    ended: bool = False


class Publisher:
    """A thread that takes orders and reports each by `on_ended`. Its process ends when there is nothing to do.

    What is published of a job whose results need its own keys is put aside for the console as well, before its end is
    told: then the keys are gone.
    """

    def __init__(self, store: JobStore, on_ended: Callable[[PublicationEnded], None], home: Home) -> None:
        self._store = store
        self._home = home
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

    def put_aside(self, job_id: str, preparation: Preparation) -> None:
        """Orders that what there is of a job that FAILED be put aside; its keys are in `preparation` alone by now."""
        self._orders.put(_Order(job_id, None, preparation, final=True, ended=True))

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
            if not self._closing.is_set() and not order.ended:
                self._on_ended(ended)
        self._end_child()

    def _run(self, order: _Order) -> PublicationEnded:
        def ended(error: str | None = None, *, retryable: bool = False) -> PublicationEnded:
            return PublicationEnded(order.job_id, order.run_id, order.final, error, retryable)

        try:
            publication = self._read(order)
            child = self._need_child()
            if not order.ended:
                child.call(publish, publication)
                if order.final:
                    collect(self._store.database, child, order.preparation, publication)
            self._keep(order, publication)
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

    def _keep(self, order: _Order, publication: Publication) -> None:
        """Puts aside what the console shows. Whatever goes wrong with that is told in the log and harms nothing."""
        preparation, log = order.preparation, job_log(LOG, order.job_id)
        try:
            wanted = looking_kept.make_order(
                preparation.settings,
                preparation.kind,
                preparation.delivery,
                self._home.looking(order.job_id),
                [index for index, _, state in publication.units if state == DONE],
                final=order.final,
            )
            if wanted is not None and self._need_child().call(looking_kept.keep_parts, wanted) and order.final:
                most = looking_kept.most_bytes(preparation.settings.console)
                looking_kept.sweep(self._store.database, self._home, most)
        except ChildDied as error:
            self._end_child()
            if not self._closing.is_set():
                log.warning("the console will not show all values: %s", error)
        except ChildFailed as error:
            log.error("the console will not show all values, a bug of ours\n%s", error)
        except SwatheError as error:
            if order.final or isinstance(error, LimitExceeded):  # the one is tried again, the other is not
                log.warning("the console will not show all values: %s", error)
        except Exception:
            log.exception("the console will not show all values, a bug of ours")

    def _need_child(self) -> Child:
        with self._lock:
            if self._closing.is_set():
                raise ChildDied("the server was stopped")
            child = self._child = self._child or Child("publisher")
            return child

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
