"""What the console asks the job store: short lines about jobs, errors by reason, and how far each unit is.

Lines leave the requests where they are: a page of them is one query over short columns.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import func, literal, or_, select, tuple_

from swathe.jobs.database import Database
from swathe.jobs.outcomes import SPLIT
from swathe.jobs.records import NO_DATA, Job, clean, to_job
from swathe.jobs.schema import failed_features, job_events, jobs, units
from swathe.jobs.states import Status
from swathe.jobs.transitions import JOB_COLUMNS
from swathe.model.errors import RequestInvalid

MAX_COUNT = 100
_LONG = ("request", "notes")
_LINE_COLUMNS = (
    *(column for column in JOB_COLUMNS if column.name not in _LONG),
    literal("{}").label("request"),
    literal(None).label("notes"),
)
_FEATURES_SHOWN = 20
_MOST_REASONS = 200
_UNITS_AT_ONCE = 100


@dataclass(frozen=True)
class Lines:
    """Some jobs, newest first, their requests left out, and the token of the page after them when there is one."""

    jobs: tuple[Job, ...]
    next_token: str | None


@dataclass(frozen=True)
class Wanted:
    """Which jobs: of a project (None for all), a kind, a status, with a text in id, description or status."""

    project_id: str | None
    kind: str | None = None
    status: str | None = None
    text: str | None = None


@dataclass(frozen=True)
class Reason:
    """Why some features have no result: how many, and the first of them."""

    text: str
    count: int
    features: tuple[int, ...]


def read_lines(database: Database, wanted: Wanted, *, count: int = MAX_COUNT, token: str | None = None) -> Lines:
    """A page of jobs.

    Raises:
        RequestInvalid: `status` or `token` is none of ours.
    """
    query = select(*_LINE_COLUMNS)
    if wanted.project_id is not None:
        query = query.where(jobs.c.project_id == wanted.project_id)
    if wanted.kind:
        query = query.where(jobs.c.kind == clean(wanted.kind))
    if wanted.status:
        known = [status.value for status in Status]
        if wanted.status not in known:
            raise RequestInvalid(f"there is no status '{wanted.status[:40]}'; there are {', '.join(known)}", "status")
        query = query.where(jobs.c.status == wanted.status)
    if wanted.text and wanted.text.strip():
        text = clean(wanted.text.strip())
        searched = (jobs.c.id, jobs.c.description, jobs.c.status)
        query = query.where(or_(*(column.icontains(text, autoescape=True) for column in searched)))
    if token:
        query = query.where(tuple_(jobs.c.created, jobs.c.id) < tuple_(*_read_token(token)))
    count = min(count, MAX_COUNT)
    with database.read() as connection:
        rows = connection.execute(query.order_by(jobs.c.created.desc(), jobs.c.id.desc()).limit(count + 1)).all()
    more = None
    if len(rows) > count:
        place = json.dumps([rows[count - 1].created, rows[count - 1].id])
        more = base64.urlsafe_b64encode(place.encode("ascii")).decode("ascii").rstrip("=")
    return Lines(tuple(to_job(row) for row in rows[:count]), more)


def read_reasons(database: Database, job_id: str) -> list[Reason]:
    """Why features failed, the most frequent reason first."""
    table = failed_features.c
    failed = (table.job_id == job_id) & (table.reason != NO_DATA)
    count = func.count().label("count")
    grouped = select(table.reason, count).where(failed).group_by(table.reason).order_by(count.desc(), table.reason)
    with database.read() as connection:
        counts = connection.execute(grouped.limit(_MOST_REASONS)).all()
        place = func.row_number().over(partition_by=table.reason, order_by=table.feature_id).label("place")
        ranked = select(table.reason, table.feature_id, place).where(failed).subquery()
        some = select(ranked.c.reason, ranked.c.feature_id).where(ranked.c.place <= _FEATURES_SHOWN)
        features: dict[str, list[int]] = {}
        if counts:
            for reason, feature in connection.execute(some.order_by(ranked.c.feature_id)):
                features.setdefault(reason, []).append(feature)
    return [Reason(reason, number, tuple(features.get(reason, ()))) for reason, number in counts]


def read_reason(database: Database, job_id: str, feature_id: int) -> str | None:
    """Why a feature has no result, or an empty one; None where nothing is known of that."""
    table = failed_features.c
    query = select(table.reason).where(table.job_id == job_id, table.feature_id == feature_id)
    with database.read() as connection:
        reason: str | None = connection.scalar(query)
    return reason


def last_number(database: Database, job_id: str) -> int:
    """The number of the newest line of a job's log."""
    with database.read() as connection:
        return connection.scalar(select(func.max(job_events.c.number)).where(job_events.c.job_id == job_id)) or 0


def read_unit_states(database: Database, job_id: str) -> list[tuple[int, str]]:
    """The units that stand for themselves, as (index, PENDING or DONE)."""
    query = select(units.c.index, units.c.state).where(units.c.job_id == job_id, units.c.state != SPLIT)
    with database.read() as connection:
        return [(index, state) for index, state in connection.execute(query.order_by(units.c.index))]


def read_unit_features(database: Database, job_id: str, indices: Sequence[int]) -> Iterable[tuple[int, bytes]]:
    """The ids of the features of some units, int64 little endian; some units at a time."""
    for start in range(0, len(indices), _UNITS_AT_ONCE):
        some = indices[start : start + _UNITS_AT_ONCE]
        query = select(units.c.index, units.c.feature_ids).where(units.c.job_id == job_id, units.c.index.in_(some))
        with database.read() as connection:
            rows = connection.execute(query).all()
        yield from ((index, bytes(ids)) for index, ids in rows)


def count_failed(database: Database, job_id: str) -> int:
    """How many features have no result."""
    table = failed_features.c
    query = select(func.count()).where(table.job_id == job_id, table.reason != NO_DATA)
    with database.read() as connection:
        return connection.scalar(query) or 0


def read_failed_ids(database: Database, job_id: str) -> list[int]:
    """The features without a result."""
    table = failed_features.c
    query = select(table.feature_id).where(table.job_id == job_id, table.reason != NO_DATA)
    with database.read() as connection:
        return list(connection.scalars(query))


def exists(database: Database, job_id: str) -> bool:
    """Whether there is such a job, whoever's it is."""
    with database.read() as connection:
        return connection.scalar(select(jobs.c.id).where(jobs.c.id == job_id)) is not None


def _read_token(token: str) -> list[str]:
    try:
        place = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, binascii.Error):
        place = None
    if (
        not isinstance(place, list)
        or len(place) != 2
        or not all(isinstance(part, str) and clean(part) == part for part in place)
    ):
        raise RequestInvalid("is no token of a page of this list; take nextToken of an answer", "viewtoken")
    return place
