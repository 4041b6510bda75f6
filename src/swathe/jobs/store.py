"""The durable record of jobs and their units. Every change is committed before a method returns."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, or_, select, update

from swathe.jobs import budgets, events, outcomes, retention
from swathe.jobs.database import Database
from swathe.jobs.keys import KeyPairs
from swathe.jobs.records import (
    Budget,
    FailedFeature,
    Job,
    JobEvent,
    PlannedJob,
    UnitResult,
    UnitRow,
    clean,
    to_job,
    to_text,
)
from swathe.jobs.schema import failed_features, jobs, projects
from swathe.jobs.states import ACTIVE, Effect, Event, Status
from swathe.jobs.transitions import JOB_COLUMNS, judge, lock_job, read_job, read_short, transit
from swathe.model.errors import NotFound, RequestInvalid
from swathe.settings import RetentionSettings

_STREAM_UNITS = 100


class JobStore:
    """Jobs and units in a database. May be used by several threads and, with leases, by several servers.

    Any method raises `DatabaseUnavailable` when the database does not answer.
    """

    def __init__(
        self,
        database: Database,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        days_kept: RetentionSettings | None = None,
    ) -> None:
        self.database = database
        self._now = now
        self._days_kept = days_kept or RetentionSettings()

    # What users do

    def create(
        self,
        *,
        client_id: str,
        project_id: str,
        request: Mapping[str, Any],
        keys: KeyPairs,
        description: str | None,
        kind: str = "statistics",
    ) -> Job:
        """A new job in status CREATED. `request` must be free of secrets; they are in `keys`."""
        moment = self._now()
        job_id = str(uuid.uuid4())
        values = {
            "id": job_id,
            "kind": kind,
            "client_id": client_id,
            "project_id": project_id,
            "request": json.dumps(request),
            "secrets": keys.to_text(),
            "description": None if description is None else clean(description),
            "created": to_text(moment),
            "last_updated": to_text(moment),
            "status": Status.CREATED.value,
            "user_action": "NONE",
        }

        def work(connection: Connection) -> Job:
            connection.execute(insert(jobs).values(**values))
            events.add_event(connection, job_id, moment, "CREATED")
            return read_job(connection, job_id)

        return self.database.transact(work)

    def get(self, job_id: str, *, project_id: str | None = None) -> Job:
        """One job; of this project only, if given.

        Raises:
            NotFound: there is none, or it belongs to somebody else.
        """
        with self.database.read() as connection:
            return read_job(connection, job_id, project_id=project_id)

    def find(self, prefix: str, *, project_id: str | None = None) -> Job:
        """The job whose id begins like this.

        Raises:
            NotFound: there is none.
            RequestInvalid: there are several.
        """
        query = select(*JOB_COLUMNS).where(jobs.c.id.startswith(clean(prefix.lower()), autoescape=True))
        if project_id is not None:
            query = query.where(jobs.c.project_id == project_id)
        with self.database.read() as connection:
            rows = connection.execute(query.order_by(jobs.c.id).limit(2)).all()
        if not rows:
            raise NotFound(f"There is no request {prefix}")
        if len(rows) > 1:
            raise RequestInvalid(f"Several requests begin with '{prefix}', as {rows[0].id} and {rows[1].id}")
        return to_job(rows[0])

    def apply(
        self, job_id: str, event: Event, *, error: str | None = None, project_id: str | None = None
    ) -> tuple[Job, tuple[Effect, ...]]:
        """Lets an event happen to a job: the new job, and what the runner has to do.

        Raises:
            NotFound: there is no such job in this project.
            ActionNotPossible: the user's action does not fit.
        """

        def work(connection: Connection) -> tuple[Job, tuple[Effect, ...]]:
            row = lock_job(connection, job_id, project_id=project_id)
            effects = transit(connection, row, event, self._now(), error=error)
            return read_job(connection, job_id), effects

        return self.database.transact(work)

    def events(
        self, job_id: str, *, after: int = 0, limit: int = 1000, project_id: str | None = None
    ) -> list[JobEvent]:
        """The lines of a job's log after the one with number `after`, oldest first.

        Raises:
            NotFound: there is no such job in this project.
        """
        with self.database.read() as connection:
            read_short(connection, job_id, project_id=project_id)
            return events.read_events(connection, job_id, after=after, limit=limit)

    def budget(self, project_id: str) -> Budget:
        """What a project has spent and may spend."""
        with self.database.read() as connection:
            return budgets.read_budget(connection, project_id)

    def set_budget(self, project_id: str, limit_pu: float | None) -> None:
        """Limits what a project may spend in all; None lets it spend what it likes."""
        insertion = self.database.insert(projects)
        self.database.transact(lambda connection: budgets.write_limit(connection, insertion, project_id, limit_pu))

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
        query = select(*JOB_COLUMNS).where(at_work, mine).order_by(jobs.c.created, jobs.c.id)
        with self.database.read() as connection:
            rows = connection.execute(query).all()

        def work(connection: Connection) -> list[Row[Any]]:
            rows = list(connection.execute(query.with_for_update()).all())
            for row in rows:
                if row.lease_owner not in (None, owner):
                    moment, text = self._now(), f"taken over by {owner}: {row.lease_owner} has not been heard of"
                    events.add_event(connection, row.id, moment, text, level="warning")
            change = update(jobs).where(jobs.c.id.in_([row.id for row in rows]))
            connection.execute(change.values(lease_owner=owner, lease_until=now_s + lease_s))
            return rows

        if any(row.lease_owner != owner or row.lease_until < now_s + lease_s / 2 for row in rows):
            rows = self.database.transact(work)
        return [to_job(row) for row in rows]

    def release(self, owner: str) -> None:
        """Gives up all leases of `owner`, so that another may take its jobs at once."""
        change = update(jobs).where(jobs.c.lease_owner == owner).values(lease_owner=None, lease_until=0.0)
        self.database.transact(lambda connection: connection.execute(change))

    def save_analysis(self, job_id: str, plan: PlannedJob) -> tuple[Job, tuple[Effect, ...]]:
        """The plan with all its units, and the status that follows, in one transaction."""

        def work(connection: Connection) -> tuple[Job, tuple[Effect, ...]]:
            row = lock_job(connection, job_id)
            cells = outcomes.write_plan(connection, job_id, plan.payload, plan.units)
            connection.execute(
                update(jobs)
                .where(jobs.c.id == job_id)
                .values(
                    scenes=plan.scenes,
                    notes=json.dumps(plan.notes),
                    plan_report=json.dumps(dict(plan.report)),
                    estimated_pu=plan.estimated_pu,
                    features_total=plan.features,
                    cells_total=cells,
                )
            )
            counts = {"feature": plan.features, "scene": plan.scenes, "unit": len(plan.units)}
            text = "analysed: " + ", ".join(f"{n} {name}{'s' * (n != 1)}" for name, n in counts.items())
            events.add_event(connection, job_id, self._now(), text)
            effects = transit(connection, row, Event.ANALYSIS_DONE, self._now())
            return read_job(connection, job_id), effects

        return self.database.transact(work)

    def analysis(self, job_id: str) -> tuple[bytes, tuple[tuple[int, bytes, int], ...]]:
        """The payload of a job's plan and all its units, those cut in half too, as (index, feature ids, cells)."""
        with self.database.read() as connection:
            return outcomes.read_plan(connection, job_id)

    def pending_units(self, job_id: str, limit: int, *, after: int = -1) -> list[UnitRow]:
        """The next units still to be done, in the order of the plan."""
        with self.database.read() as connection:
            return outcomes.read_pending(connection, job_id, limit, after=after)

    def unit_features(self, job_id: str, index: int) -> bytes:
        """The ids of a unit's features: int64, little endian.

        Raises:
            NotFound: there is no such unit.
        """
        with self.database.read() as connection:
            ids = outcomes.read_features(connection, job_id, index)
        if ids is None:
            raise NotFound(f"The request {job_id} has no unit {index}")
        return bytes(ids)

    def split_unit(self, job_id: str, index: int) -> tuple[int, int] | None:
        """Cuts a pending unit in half: the indices of the halves; None when it has one feature, or is not pending."""

        def work(connection: Connection) -> tuple[int, int] | None:
            lock_job(connection, job_id)
            return outcomes.split(connection, job_id, index)

        return self.database.transact(work)

    def add_attempt(self, job_id: str, index: int, *, lost: bool = False) -> UnitRow:
        """Counts a failed attempt at a unit, with `lost` one that its worker did not survive; the unit as it is now.

        Raises:
            NotFound: there is no such unit.
        """
        unit = self.database.transact(lambda connection: outcomes.count_attempt(connection, job_id, index, lost=lost))
        if unit is None:
            raise NotFound(f"The request {job_id} has no unit {index}")
        return unit

    def record_unit(self, job_id: str, result: UnitResult) -> tuple[Job, tuple[Effect, ...]]:
        """Writes down that a unit is done, with its failures and costs, and whether the job is UNHEALTHY, at once.

        A unit that is no longer pending is left as it is: two workers may have done it, or it was cut in half.
        """
        ignoring, spending = self.database.insert(failed_features), self.database.insert(projects)

        def work(connection: Connection) -> tuple[Job, tuple[Effect, ...]]:
            row = lock_job(connection, job_id)
            effects: tuple[Effect, ...] = ()
            if cells := outcomes.finish_unit(connection, ignoring, job_id, result):
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
                budgets.add_spent(connection, spending, row.project_id, result.cost_pu)
                effects = judge(connection, lock_job(connection, job_id), self._now())
            return read_job(connection, job_id), effects

        return self.database.transact(work)

    def record_progress(self, job_id: str, cells_under_way: float, delivered: Mapping[int, int] | None = None) -> None:
        """Writes down how far the units under way are, in cells, and by index how many documents they have delivered.

        What is shown only grows.
        """

        def work(connection: Connection) -> None:
            for index, count in sorted((delivered or {}).items()):
                outcomes.note_delivered(connection, job_id, index, count)
            row = lock_job(connection, job_id)
            seen = row.cells_done + int(cells_under_way)
            if row.status == Status.PROCESSING.value and seen > row.cells_seen:
                connection.execute(update(jobs).where(jobs.c.id == job_id).values(cells_seen=seen))

        self.database.transact(work)

    def is_finished(self, job_id: str) -> bool:
        """Whether a job is PROCESSING and has no unit left to do."""
        with self.database.read() as connection:
            row = read_short(connection, job_id)
            return row.status == Status.PROCESSING.value and not outcomes.has_pending(connection, job_id)

    def settle(self, job_id: str) -> tuple[Job, tuple[Effect, ...]]:
        """Ends a job that has no unit left to do; else leaves it as it is."""

        def work(connection: Connection) -> tuple[Job, tuple[Effect, ...]]:
            row = lock_job(connection, job_id)
            effects: tuple[Effect, ...] = ()
            if row.status == Status.PROCESSING.value and not outcomes.has_pending(connection, job_id):
                effects = transit(connection, row, Event.UNITS_DONE, self._now())
            return read_job(connection, job_id), effects

        return self.database.transact(work)

    def failed_features(self, job_id: str, *, after: int = -1, limit: int = 1000) -> list[FailedFeature]:
        """The next features without a result, in the order of their ids."""
        with self.database.read() as connection:
            return outcomes.read_failed(connection, job_id, after=after, limit=limit)

    def unit_outcomes(self, job_id: str) -> Iterator[tuple[int, bytes, str]]:
        """All units but those cut in half, as (index, feature ids, PENDING or DONE), read some at a time."""
        after = -1
        while True:
            with self.database.read() as connection:
                some = outcomes.read_outcomes(connection, job_id, after=after, limit=_STREAM_UNITS)
            if not some:
                return
            yield from some
            after = some[-1][0]

    def log(self, job_id: str, message: str, *, level: str = "info", unit: int | None = None) -> None:
        """Adds a line to a job's log. `message` must be free of secrets; `level` is info, warning or error."""
        moment = self._now()
        self.database.transact(
            partial(events.add_event, job_id=job_id, at=moment, message=message, level=level, unit=unit)
        )

    # What operators do

    def counts(self) -> dict[tuple[str, Status], int]:
        """How many jobs of each kind are in each status."""
        query = select(jobs.c.kind, jobs.c.status, func.count()).group_by(jobs.c.kind, jobs.c.status)
        with self.database.read() as connection:
            return {(kind, Status(status)): number for kind, status, number in connection.execute(query)}

    def delete_stale(self, now: datetime) -> list[str]:
        """Deletes jobs that nothing has happened to for the days that the settings say; which ones.

        With a job go its keys, units, failures and log; its results stay where they are.
        """
        deleted: list[str] = []
        stale = retention.is_stale(self._days_kept, now)
        while True:
            with self.database.read() as connection:
                ids = list(connection.scalars(select(jobs.c.id).where(stale).limit(100)))
            deleted += [job_id for job_id in ids if self.database.transact(partial(_delete, job_id, stale))]
            if not ids:
                break
        if deleted:
            self.database.shred()
        return deleted

    def close(self) -> None:
        """Gives the database back."""
        self.database.close()


def _delete(job_id: str, condition: ColumnElement[bool], connection: Connection) -> bool:
    return bool(connection.execute(delete(jobs).where(jobs.c.id == job_id, condition)).rowcount)
