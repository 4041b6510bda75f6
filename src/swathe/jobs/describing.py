"""Changing a job's description, the one thing about a request that may change after it was made."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import Connection, update

from swathe.jobs import events
from swathe.jobs.database import Database
from swathe.jobs.records import Job, clean, to_state, to_text
from swathe.jobs.schema import jobs
from swathe.jobs.states import JobState, Status, UserAction
from swathe.jobs.transitions import lock_job, read_job
from swathe.model.errors import ActionNotPossible


class JobBusy(ActionNotPossible):
    """The job is being processed, or waits for it, and must not change meanwhile."""


def is_busy(state: JobState) -> bool:
    """Whether a job is being processed or waits to be, as one does that is started and still being analysed."""
    waits = state.status is Status.ANALYSING and state.user_action is UserAction.START
    return waits or state.status is Status.PROCESSING


def describe_job(
    database: Database,
    job_id: str,
    description: str | None,
    *,
    project_id: str,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Job:
    """The job with another description, in its request too; with None as it is.

    Raises:
        NotFound: there is no such job in this project.
        JobBusy: it is being processed, or waits to be.
    """

    def work(connection: Connection) -> Job:
        row = lock_job(connection, job_id, project_id=project_id)
        state = to_state(row)
        if is_busy(state):
            how = "being processed" if state.status is Status.PROCESSING else "waiting to be processed"
            raise JobBusy(f"The request is {how} and cannot be changed meanwhile; stop it first, or wait for its end")
        job = read_job(connection, job_id)
        if description is None:
            return job
        moment = now()
        connection.execute(
            update(jobs)
            .where(jobs.c.id == job_id)
            .values(
                request=json.dumps({**job.request, "description": description}),
                description=clean(description),
                last_updated=to_text(moment),
            )
        )
        events.add_event(connection, job_id, moment, "description changed")
        return read_job(connection, job_id)

    return database.transact(work)
