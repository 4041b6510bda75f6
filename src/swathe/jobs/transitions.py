"""A job's row, and what an event does to it. Works within a transaction of the store's."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update

from swathe.jobs import events, outcomes
from swathe.jobs.records import Job, clean, to_job, to_state, to_text
from swathe.jobs.schema import jobs
from swathe.jobs.states import ACTIVE, ENDS, USER_EVENTS, Effect, Event, JobState, Status, apply, is_unhealthy
from swathe.model.errors import NotFound

JOB_COLUMNS = tuple(column for column in jobs.c if column.name != "secrets")
# Without what is long: a request may be half a megabyte.
_SHORT_COLUMNS = tuple(column for column in JOB_COLUMNS if column.name not in ("request", "notes", "plan_report"))


def read_job(connection: Connection, job_id: str, *, project_id: str | None = None) -> Job:
    """A job.

    Raises:
        NotFound: there is none, or it belongs to another project.
    """
    return to_job(_read(connection, select(*JOB_COLUMNS), job_id, project_id))


def read_short(connection: Connection, job_id: str, *, project_id: str | None = None) -> Row[Any]:
    """The short columns of a job's row.

    Raises:
        NotFound: there is none, or it belongs to another project.
    """
    return _read(connection, select(*_SHORT_COLUMNS), job_id, project_id)


def lock_job(connection: Connection, job_id: str, *, project_id: str | None = None) -> Row[Any]:
    """As `read_short`; nobody else changes the job before the transaction ends."""
    return _read(connection, select(*_SHORT_COLUMNS).with_for_update(), job_id, project_id)


def transit(
    connection: Connection, row: Row[Any], event: Event, at: datetime, *, error: str | None = None
) -> tuple[Effect, ...]:
    """Lets an event happen to the locked job of `row`, and notes it in the job's log.

    Raises:
        ActionNotPossible: the user's action does not fit.
    """
    before = to_state(row)
    after, effects = apply(before, event, None if error is None else clean(error))
    changes = _changes(row, after, event, to_text(at))
    connection.execute(update(jobs).where(jobs.c.id == row.id).values(**changes))
    level, text = events.describe(event, before, after)
    events.add_event(connection, row.id, at, text, level=level)
    return effects


def judge(connection: Connection, row: Row[Any], at: datetime) -> tuple[Effect, ...]:
    """Stops the locked job of `row` as UNHEALTHY when most of its features fail."""
    finished = row.features_done + row.features_failed - row.forgiven_finished
    failed = row.features_failed - row.forgiven_failed
    total = row.features_total - row.forgiven_finished
    if row.status != Status.PROCESSING.value or not is_unhealthy(finished=finished, failed=failed, total=total):
        return ()
    reason = outcomes.usual_reason(connection, row.id)
    error = f"{failed} of {finished} features failed; most often: {reason}"
    return transit(connection, row, Event.UNHEALTHY, at, error=error)


def _changes(row: Row[Any], state: JobState, event: Event, moment: str) -> dict[str, Any]:
    changes: dict[str, Any] = {
        "status": state.status.value,
        "user_action": state.user_action.value,
        "stopped_reason": state.stopped_reason.value if state.stopped_reason else None,
        "error": state.error,
        "last_updated": moment,
    }
    if event in USER_EVENTS:
        changes["user_action_updated"] = moment
    if state.status is Status.PROCESSING and row.status != Status.PROCESSING.value:
        changes.update(started=moment, cells_at_start=row.cells_done)
    if event is Event.START and row.status == Status.STOPPED.value:
        changes["forgiven_finished"] = row.features_done + row.features_failed
        changes["forgiven_failed"] = row.features_failed
    if state.status not in ACTIVE:
        changes.update(lease_owner=None, lease_until=0.0)
    if state.status in ENDS:
        changes["secrets"] = None
    return changes


def _read(connection: Connection, query: Any, job_id: str, project_id: str | None) -> Row[Any]:
    query = query.where(jobs.c.id == job_id)
    if project_id is not None:
        query = query.where(jobs.c.project_id == project_id)
    row: Row[Any] | None = connection.execute(query).first()
    if row is None:
        raise NotFound(f"There is no request {job_id}")
    return row
