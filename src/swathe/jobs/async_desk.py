"""Asynchronous requests under way: each is a row of the job store until its files, or its error, are delivered.

A row is there as long as the request runs, so a server that was ended takes up what it had begun when it starts again;
the files are then written once more under the same names.
"""

from __future__ import annotations

import logging
import tempfile
import uuid
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from sqlalchemy import delete, func, select, update

from swathe.jobs import budgets
from swathe.jobs.byoc_sources import own_types
from swathe.jobs.home import Home
from swathe.jobs.keys import Places, join_secrets
from swathe.jobs.listing import ASYNC
from swathe.jobs.logs import job_log
from swathe.jobs.records import Job
from swathe.jobs.request_area import write_own_near
from swathe.jobs.schema import jobs, projects
from swathe.jobs.services import deliver_error, deliver_images
from swathe.jobs.store import JobStore
from swathe.jobs.workshop import TooManyRequests, Workshop
from swathe.model.errors import SwatheError
from swathe.model.process_async import REFERENCE, AsyncProcessRequest, read_async_process
from swathe.settings import Settings

LOG = logging.getLogger(__name__)
KIND = ASYNC
PLACES = Places(features=(REFERENCE,), output=("output", "delivery"))


class AsyncDesk:
    """Starts asynchronous requests and sees to their ends. For any thread."""

    def __init__(self, settings: Settings, store: JobStore, home: Home) -> None:
        """By `home` the server knows its requests again."""
        self._settings = settings
        self._store = store
        self._owner = str(uuid.uuid5(uuid.UUID(home.server_id), KIND))
        self._closing = False
        self._shop = Workshop(
            settings,
            "async",
            processes=settings.services.async_processes,
            waiting=settings.limits.async_requests,
            seconds=settings.limits.async_answer_s,
        )

    def resume(self) -> None:
        """Starts the requests that this server had begun when it was ended, oldest first."""
        query = select(jobs.c.id).where(jobs.c.kind == KIND, jobs.c.lease_owner == self._owner).order_by(jobs.c.created)
        with self._store.database.read() as connection:
            ids = list(connection.scalars(query))
        for job_id in ids:
            try:
                self.start(self._store.get(job_id))
            except TooManyRequests:
                job_log(LOG, job_id).warning("not taken up again: the queue is full until the next start")
            except SwatheError as error:
                job_log(LOG, job_id).warning("given up: %s", error.message)
                self._forget(job_id)

    def start(self, job: Job) -> None:
        """Has a request computed and delivered, which is in the store.

        Raises:
            TooManyRequests: so many run or wait that no further one is taken.
            SwatheError: one of its collections cannot be used.
        """
        request, script = read_async_process(join_secrets(job.request, self._store.keys(job.id), PLACES))
        change = update(jobs).where(jobs.c.id == job.id).values(lease_owner=self._owner)
        self._store.database.transact(lambda connection: connection.execute(change))
        types = own_types((source.type for source in request.input.data), self._settings)
        folder = tempfile.TemporaryDirectory(prefix="swathe-own-")
        try:
            entries = (
                write_own_near(
                    self._store.database,
                    types,
                    job.project_id,
                    Path(folder.name),
                    request.input.bounds,
                    self._settings.storage,
                )
                if types
                else ()
            )
            future = self._shop.submit(entries, deliver_images, request, script, job.id)
        except BaseException:
            folder.cleanup()
            raise
        future.add_done_callback(partial(self._ended, job, request, folder))

    def check_room(self, project_id: str) -> None:
        """That a project does not have more requests under way than it may; one that was just written down counts.

        Raises:
            TooManyRequests: it does.
        """
        most = self._settings.limits.async_requests_per_project
        query = select(func.count()).where(jobs.c.kind == KIND, jobs.c.project_id == project_id)
        with self._store.database.read() as connection:
            count = connection.scalar(query) or 0
        if count > most:
            raise TooManyRequests(
                f"The project has {count - 1} asynchronous requests under way, and may have {most} at a time; try again when"
                " one is done"
            )

    def close(self) -> None:
        """Ends what is under way; it is taken up again by `resume`."""
        self._closing = True
        self._shop.close()

    def _ended(
        self,
        job: Job,
        request: AsyncProcessRequest,
        folder: tempfile.TemporaryDirectory[str],
        future: Future[float],
    ) -> None:
        folder.cleanup()
        if self._closing or future.cancelled():
            return
        error = future.exception()
        log = job_log(LOG, job.id)
        try:
            if error is None:
                log.info("delivered")
                insertion, cost_pu = self._store.database.insert(projects), future.result()
                self._store.database.transact(
                    lambda connection: budgets.add_spent(connection, insertion, job.project_id, cost_pu)
                )
                self._forget(job.id)
                return
            if isinstance(error, SwatheError):
                message, code = error.message, error.code
                log.warning("failed: %s", message)
            else:
                name = uuid.uuid4().hex[:12]
                message, code = f"An internal error happened; the server's log has it under {name}", "COMMON_EXCEPTION"
                log.error("error %s: %s", name, error)
            told = self._shop.submit((), deliver_error, request, job.id, message, code)
            told.add_done_callback(partial(self._told, job.id))
        except Exception:  # as when the database is away; a later start tries again
            log.exception("the end of the request could not be recorded")

    def _told(self, job_id: str, future: Future[None]) -> None:
        if self._closing or future.cancelled():
            return
        error = future.exception()
        if error is not None:
            job_log(LOG, job_id).warning("its error could not be delivered: %s", error)
        try:
            self._forget(job_id)
        except Exception:
            job_log(LOG, job_id).exception("the end of the request could not be recorded")

    def _forget(self, job_id: str) -> None:
        """Removes a request with its keys."""
        forget_async(self._store, job_id)


def forget_async(store: JobStore, job_id: str) -> None:
    """Removes a request with its keys; what it delivered stays."""
    removal = delete(jobs).where(jobs.c.id == job_id, jobs.c.kind == KIND)
    store.database.transact(lambda connection: connection.execute(removal))
    store.database.shred()
