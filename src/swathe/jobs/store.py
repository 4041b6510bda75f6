"""The durable record of jobs and their units. Every change is committed before a method returns."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, or_, select, update

from swathe.jobs.database import Database
from swathe.jobs.keys import KeyPairs
from swathe.jobs.records import Job, PlannedJob, UnitResult, UnitRow, to_job, to_state, to_text
from swathe.jobs.schema import jobs, units
from swathe.jobs.states import ACTIVE, ENDS, USER_EVENTS, Effect, Event, JobState, Status, apply, is_unhealthy
from swathe.model.errors import NotFound

_PENDING, _DONE = "PENDING", "DONE"
_INSERT_ROWS = 500
_JOB_COLUMNS = tuple(column for column in jobs.c if column.name not in ("analysis", "secrets"))


class JobStore:
    """Jobs and units in a database. May be used by several threads and, with leases, by several servers."""

    def __init__(self, database: Database, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.database = database
        self._now = now

    # What users do

    def create(
        self, *, client_id: str, project_id: str, request: Mapping[str, Any], keys: KeyPairs, description: str | None
    ) -> Job:
        """A new job in status CREATED. `request` must be free of secrets; they are in `keys`."""
        moment = to_text(self._now())
        job_id = str(uuid.uuid4())
        with self.database.write() as connection:
            connection.execute(
                insert(jobs).values(
                    id=job_id,
                    client_id=client_id,
                    project_id=project_id,
                    request=json.dumps(request),
                    secrets=keys.to_text(),
                    description=description,
                    created=moment,
                    last_updated=moment,
                    status=Status.CREATED.value,
                    user_action="NONE",
                )
            )
            return to_job(_read(connection, job_id))

    def get(self, job_id: str, *, project_id: str | None = None) -> Job:
        """One job; of this project only, if given.

        Raises:
            NotFound: there is none, or it belongs to somebody else.
        """
        with self.database.read() as connection:
            return to_job(_read(connection, job_id, project_id=project_id))

    def apply(
        self, job_id: str, event: Event, *, error: str | None = None, project_id: str | None = None
    ) -> tuple[Job, tuple[Effect, ...]]:
        """Lets an event happen to a job: the new job, and what the runner has to do.

        Raises:
            NotFound: there is no such job in this project.
            ActionNotPossible: the user's action does not fit.
        """
        with self.database.write() as connection:
            row = _read(connection, job_id, project_id=project_id, lock=True)
            effects = self._transit(connection, row, event, error=error)
            return to_job(_read(connection, job_id)), effects

    def keys(self, job_id: str) -> KeyPairs:
        """The keys to a job's object stores; only for the runner."""
        with self.database.read() as connection:
            return KeyPairs.from_text(connection.scalar(select(jobs.c.secrets).where(jobs.c.id == job_id)))

    # What the runner does

    def claim(self, owner: str, *, now_s: float, lease_s: float) -> list[Job]:
        """The jobs at work that `owner` drives from now on: its own, and those nobody has driven for a while.

        A lease is renewed when half of it is over, so a call usually writes nothing.
        """
        mine = or_(jobs.c.lease_owner.is_(None), jobs.c.lease_owner == owner, jobs.c.lease_until < now_s)
        at_work = jobs.c.status.in_([status.value for status in ACTIVE])
        query = select(*_JOB_COLUMNS).where(at_work, mine).order_by(jobs.c.created, jobs.c.id)
        with self.database.read() as connection:
            rows = connection.execute(query).all()
        if any(row.lease_owner != owner or row.lease_until < now_s + lease_s / 2 for row in rows):
            with self.database.write() as connection:
                rows = connection.execute(query.with_for_update()).all()
                ids = [row.id for row in rows]
                change = update(jobs).where(jobs.c.id.in_(ids))
                connection.execute(change.values(lease_owner=owner, lease_until=now_s + lease_s))
        return [to_job(row) for row in rows]

    def release(self, owner: str) -> None:
        """Gives up all leases of `owner`, so that another may take its jobs at once."""
        with self.database.write() as connection:
            change = update(jobs).where(jobs.c.lease_owner == owner)
            connection.execute(change.values(lease_owner=None, lease_until=0.0))

    def save_analysis(self, job_id: str, plan: PlannedJob) -> tuple[Job, tuple[Effect, ...]]:
        """The plan with all its units, and the status that follows, in one transaction."""
        rows = [
            {
                "job_id": job_id,
                "index": unit.index,
                "feature_ids": unit.feature_ids,
                "features": len(unit.feature_ids) // 8,
                "cells": max(1, unit.cells),
                "state": _PENDING,
            }
            for unit in plan.units
        ]
        with self.database.write() as connection:
            row = _read(connection, job_id, lock=True)
            connection.execute(delete(units).where(units.c.job_id == job_id))
            for start in range(0, len(rows), _INSERT_ROWS):
                connection.execute(insert(units), rows[start : start + _INSERT_ROWS])
            connection.execute(
                update(jobs)
                .where(jobs.c.id == job_id)
                .values(
                    analysis=plan.payload,
                    scenes=plan.scenes,
                    notes=json.dumps(plan.notes),
                    estimated_pu=plan.estimated_pu,
                    features_total=plan.features,
                    cells_total=sum(unit["cells"] for unit in rows),
                )
            )
            effects = self._transit(connection, row, Event.ANALYSIS_DONE)
            return to_job(_read(connection, job_id)), effects

    def analysis(self, job_id: str) -> tuple[bytes, tuple[tuple[int, bytes, int], ...]]:
        """The payload of a job's plan and its units as (index, feature ids, cells)."""
        with self.database.read() as connection:
            payload = connection.scalar(select(jobs.c.analysis).where(jobs.c.id == job_id))
            query = select(units.c.index, units.c.feature_ids, units.c.cells).where(units.c.job_id == job_id)
            rows = connection.execute(query.order_by(units.c.index)).all()
        return payload or b"", tuple((index, ids, cells) for index, ids, cells in rows)

    def pending_units(self, job_id: str, limit: int, *, after: int = -1) -> list[UnitRow]:
        """The next units still to be done, in the order of the plan."""
        query = select(units.c.index, units.c.features, units.c.cells, units.c.attempts).where(
            units.c.job_id == job_id, units.c.state == _PENDING, units.c.index > after
        )
        with self.database.read() as connection:
            rows = connection.execute(query.order_by(units.c.index).limit(limit)).all()
        return [UnitRow(*row) for row in rows]

    def add_attempt(self, job_id: str, index: int) -> int:
        """Counts a failed attempt at a unit; how many there are now."""
        which = (units.c.job_id == job_id) & (units.c.index == index)
        with self.database.write() as connection:
            connection.execute(update(units).where(which).values(attempts=units.c.attempts + 1))
            return connection.scalar(select(units.c.attempts).where(which)) or 0

    def record_unit(self, job_id: str, result: UnitResult) -> tuple[Job, tuple[Effect, ...]]:
        """Writes down that a unit is done, and what follows for the job, in one transaction.

        A unit that is done already is left as it is: two workers may have done it. The job becomes DONE with its last
        unit, or UNHEALTHY.
        """
        which = (units.c.job_id == job_id) & (units.c.index == result.index)
        with self.database.write() as connection:
            row = _read(connection, job_id, lock=True)
            changed = connection.execute(
                update(units)
                .where(which, units.c.state == _PENDING)
                .values(
                    state=_DONE,
                    done=result.done,
                    failed=result.failed,
                    cost_pu=result.cost_pu,
                    counters=json.dumps(dict(result.counters)),
                    failures=json.dumps(dict(result.failures)),
                    error=result.error,
                )
            )
            if changed.rowcount:
                cells = connection.scalar(select(units.c.cells).where(which)) or 0
                connection.execute(
                    update(jobs)
                    .where(jobs.c.id == job_id)
                    .values(
                        features_done=jobs.c.features_done + result.done,
                        features_failed=jobs.c.features_failed + result.failed,
                        cells_done=jobs.c.cells_done + cells,
                        cost_pu=jobs.c.cost_pu + result.cost_pu,
                        last_updated=to_text(self._now()),
                    )
                )
            effects = self._settle(connection, _read(connection, job_id))
            return to_job(_read(connection, row.id)), effects

    def record_progress(self, job_id: str, cells_under_way: float) -> None:
        """Writes down how far the units under way are, in cells; what is shown only grows."""
        with self.database.write() as connection:
            row = _read(connection, job_id, lock=True)
            seen = row.cells_done + int(cells_under_way)
            if row.status == Status.PROCESSING.value and seen > row.cells_seen:
                connection.execute(update(jobs).where(jobs.c.id == job_id).values(cells_seen=seen))

    def settle(self, job_id: str) -> tuple[Job, tuple[Effect, ...]]:
        """Ends a job that has no unit left to do; else leaves it as it is."""
        with self.database.write() as connection:
            effects = self._settle(connection, _read(connection, job_id, lock=True))
            return to_job(_read(connection, job_id)), effects

    def close(self) -> None:
        """Gives the database back."""
        self.database.close()

    # Within a transaction

    def _settle(self, connection: Connection, row: Row[Any]) -> tuple[Effect, ...]:
        if row.status != Status.PROCESSING.value:
            return ()
        finished = row.features_done + row.features_failed - row.forgiven_finished
        failed = row.features_failed - row.forgiven_failed
        if is_unhealthy(finished=finished, failed=failed, total=row.features_total - row.forgiven_finished):
            error = f"{failed} of {finished} features failed; most often: {_usual_reason(connection, row.id)}"
            return self._transit(connection, row, Event.UNHEALTHY, error=error)
        pending = select(units.c.index).where(units.c.job_id == row.id, units.c.state == _PENDING).limit(1)
        if connection.execute(pending).first() is None:
            return self._transit(connection, row, Event.UNITS_DONE)
        return ()

    def _transit(
        self, connection: Connection, row: Row[Any], event: Event, *, error: str | None = None
    ) -> tuple[Effect, ...]:
        state, effects = apply(to_state(row), event, error)
        connection.execute(update(jobs).where(jobs.c.id == row.id).values(**self._changes(row, state, event)))
        return effects

    def _changes(self, row: Row[Any], state: JobState, event: Event) -> dict[str, Any]:
        moment = to_text(self._now())
        changes: dict[str, Any] = {
            "status": state.status.value,
            "user_action": state.user_action.value,
            "stopped_reason": state.stopped_reason.value if state.stopped_reason else None,
            "error": state.error,
            "last_updated": moment,
        }
        if event in USER_EVENTS:
            changes["user_action_updated"] = moment
        if event is Event.START and row.status == Status.STOPPED.value:
            changes["forgiven_finished"] = row.features_done + row.features_failed
            changes["forgiven_failed"] = row.features_failed
        if state.status not in ACTIVE:
            changes.update(lease_owner=None, lease_until=0.0)
        if state.status in ENDS:
            changes["secrets"] = None
        return changes


def _read(connection: Connection, job_id: str, *, project_id: str | None = None, lock: bool = False) -> Row[Any]:
    query = select(*_JOB_COLUMNS).where(jobs.c.id == job_id)
    if project_id is not None:
        query = query.where(jobs.c.project_id == project_id)
    row = connection.execute(query.with_for_update() if lock else query).first()
    if row is None:
        raise NotFound(f"There is no request {job_id}")
    return row


def _usual_reason(connection: Connection, job_id: str) -> str:
    query = select(units.c.failures).where(units.c.job_id == job_id, units.c.failed > 0).limit(1000)
    counts: Counter[str] = Counter()
    for text in connection.scalars(query):
        counts.update(json.loads(text or "{}").values())
    return counts.most_common(1)[0][0] if counts else "no reason was given"
