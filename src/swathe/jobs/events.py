"""The log of each job: what happened to it, in the order in which it did. Works within a transaction of the store's."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update

from swathe.jobs.records import JobEvent, clean, from_text, to_text
from swathe.jobs.schema import job_events, jobs
from swathe.jobs.states import Event, JobState, Status, StoppedReason

# The newest are kept: a job whose every unit fails would fill the store with its complaints.
MAX_EVENTS = 10_000
_MAX_CHARS = 4000
_TRIM_EVERY = 500


def add_event(
    connection: Connection, job_id: str, at: datetime, message: str, *, level: str = "info", unit: int | None = None
) -> None:
    """Adds a line; nothing when there is no such job."""
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(last_event=jobs.c.last_event + 1))
    number = connection.scalar(select(jobs.c.last_event).where(jobs.c.id == job_id))
    if number is None:
        return
    connection.execute(
        insert(job_events).values(
            job_id=job_id, number=number, at=to_text(at), level=level, message=clean(message)[:_MAX_CHARS], unit=unit
        )
    )
    if number % _TRIM_EVERY == 0:
        old = (job_events.c.job_id == job_id) & (job_events.c.number <= number - MAX_EVENTS)
        connection.execute(delete(job_events).where(old))


def read_events(connection: Connection, job_id: str, *, after: int, limit: int) -> list[JobEvent]:
    """The lines after number `after`, oldest first."""
    query = select(job_events).where(job_events.c.job_id == job_id, job_events.c.number > after)
    rows = connection.execute(query.order_by(job_events.c.number).limit(limit))
    return [JobEvent(row.number, from_text(row.at), row.level, row.message, row.unit) for row in rows]


def describe(event: Event, before: JobState, after: JobState) -> tuple[str, str]:
    """The level and the text of the line about a transition."""
    text = (
        f"{event}: {after.status}" if after.status is before.status else f"{event}: {before.status} -> {after.status}"
    )
    if after.stopped_reason is not None and after.stopped_reason.value != event.value:
        text += f" ({after.stopped_reason})"
    if after.error:
        text += f": {after.error}"
    if after.status is Status.FAILED:
        return "error", text
    unwanted = after.stopped_reason in (StoppedReason.UNHEALTHY, StoppedReason.OUT_OF_PU)
    return ("warning" if unwanted else "info"), text
