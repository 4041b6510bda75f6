"""Units and what came of their features. Works within a transaction of the store's.

A unit is PENDING until it is DONE, or SPLIT: then two units with half of its features each stand for it, and a late
report about it changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from swathe.jobs.records import NO_DATA, FailedFeature, PlannedUnit, UnitResult, UnitRow, clean
from swathe.jobs.schema import failed_features, jobs, plans, units

PENDING, DONE, SPLIT = "PENDING", "DONE", "SPLIT"
_INSERT_ROWS = 1000
_MAX_CHARS = 4000
_ID_BYTES = 8


def write_plan(connection: Connection, job_id: str, payload: bytes, planned: Sequence[PlannedUnit]) -> int:
    """Writes a job's plan and units in place of whatever there was; how many cells they have."""
    connection.execute(delete(plans).where(plans.c.job_id == job_id))
    connection.execute(insert(plans).values(job_id=job_id, payload=payload))
    connection.execute(delete(units).where(units.c.job_id == job_id))
    connection.execute(delete(failed_features).where(failed_features.c.job_id == job_id))
    for start in range(0, len(planned), _INSERT_ROWS):
        rows = [_row(job_id, unit) for unit in planned[start : start + _INSERT_ROWS]]
        connection.execute(insert(units), rows)
    return sum(max(1, unit.cells) for unit in planned)


def read_plan(connection: Connection, job_id: str) -> tuple[bytes, tuple[tuple[int, bytes, int], ...]]:
    """A job's plan and all its units, those cut in half too, as (index, feature ids, cells)."""
    payload = connection.scalar(select(plans.c.payload).where(plans.c.job_id == job_id))
    query = select(units.c.index, units.c.feature_ids, units.c.cells).where(units.c.job_id == job_id)
    rows = connection.execute(query.order_by(units.c.index))
    return bytes(payload or b""), tuple((index, bytes(ids), cells) for index, ids, cells in rows)


def read_pending(connection: Connection, job_id: str, limit: int, *, after: int) -> list[UnitRow]:
    """The next units to be done, in the order of the plan."""
    query = _unit_rows().where(units.c.job_id == job_id, units.c.state == PENDING, units.c.index > after)
    return [UnitRow(*row) for row in connection.execute(query.order_by(units.c.index).limit(limit))]


def has_pending(connection: Connection, job_id: str) -> bool:
    """Whether any unit is still to be done."""
    query = select(units.c.index).where(units.c.job_id == job_id, units.c.state == PENDING).limit(1)
    return connection.execute(query).first() is not None


def count_attempt(connection: Connection, job_id: str, index: int, *, lost: bool) -> UnitRow | None:
    """Counts a failed attempt at a unit; None when there is no such unit."""
    change = {"attempts": units.c.attempts + 1, "lost": units.c.lost + int(lost)}
    connection.execute(update(units).where(_is(job_id, index)).values(**change))
    row = connection.execute(_unit_rows().where(_is(job_id, index))).first()
    return None if row is None else UnitRow(*row)


def note_delivered(connection: Connection, job_id: str, index: int, count: int) -> None:
    """Writes down that the first `count` documents of a pending unit are delivered."""
    pending = _is(job_id, index) & (units.c.state == PENDING) & (units.c.delivered < count)
    connection.execute(update(units).where(pending).values(delivered=count))


def finish_unit(connection: Connection, ignoring: Any, job_id: str, result: UnitResult) -> int:
    """Writes down how a unit went, if it is still pending: its cells; 0 when it is not.

    `ignoring` is an INSERT into `failed_features` that knows ON CONFLICT.
    """
    changed = connection.execute(
        update(units)
        .where(_is(job_id, result.index), units.c.state == PENDING)
        .values(
            state=DONE,
            done=result.done,
            failed=result.failed,
            cost_pu=result.cost_pu,
            counters=json.dumps(dict(result.counters)),
            error=None if result.error is None else clean(result.error),
        )
    )
    if not changed.rowcount:
        return 0
    _write_failures(connection, ignoring, job_id, result.failures)
    return connection.scalar(select(units.c.cells).where(_is(job_id, result.index))) or 0


def split(connection: Connection, job_id: str, index: int) -> tuple[int, int] | None:
    """Puts two units with half of the features each in a pending unit's place: their indices; None when it has but one.

    Cells are shared out in proportion; a unit has at least one, so a unit of one cell makes the job a cell larger.
    """
    query = select(units.c.feature_ids, units.c.features, units.c.cells)
    row = connection.execute(query.where(_is(job_id, index), units.c.state == PENDING, units.c.features > 1)).first()
    if row is None:
        return None
    first = row.features // 2
    cells = min(max(1, row.cells * first // row.features), max(1, row.cells - 1))
    halves = (
        (row.feature_ids[: first * _ID_BYTES], cells),
        (row.feature_ids[first * _ID_BYTES :], max(1, row.cells - cells)),
    )
    last = connection.scalar(select(func.max(units.c.index)).where(units.c.job_id == job_id)) or 0
    new = [PlannedUnit(last + number, ids, part) for number, (ids, part) in enumerate(halves, start=1)]
    connection.execute(insert(units), [{**_row(job_id, unit), "lost": 1} for unit in new])
    connection.execute(update(units).where(_is(job_id, index)).values(state=SPLIT))
    if grown := sum(unit.cells for unit in new) - row.cells:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(cells_total=jobs.c.cells_total + grown))
    return new[0].index, new[1].index


def read_features(connection: Connection, job_id: str, index: int) -> bytes | None:
    """The ids of a unit's features, int64 little endian."""
    ids: bytes | None = connection.scalar(select(units.c.feature_ids).where(_is(job_id, index)))
    return ids


def read_outcomes(connection: Connection, job_id: str, *, after: int, limit: int) -> list[tuple[int, bytes, str]]:
    """The units that stand for themselves: index, feature ids, PENDING or DONE; the next `limit` after an index."""
    query = select(units.c.index, units.c.feature_ids, units.c.state).where(
        units.c.job_id == job_id, units.c.index > after, units.c.state != SPLIT
    )
    rows = connection.execute(query.order_by(units.c.index).limit(limit))
    return [(index, bytes(ids), state) for index, ids, state in rows]


def read_failed(connection: Connection, job_id: str, *, after: int, limit: int) -> list[FailedFeature]:
    """The next failed features after an id, in the order of ids."""
    table = failed_features
    query = select(table.c.feature_id, table.c.reason).where(table.c.job_id == job_id, table.c.feature_id > after)
    return [FailedFeature(*row) for row in connection.execute(query.order_by(table.c.feature_id).limit(limit))]


def usual_reason(connection: Connection, job_id: str) -> str:
    """Why most of the first few thousand failed features failed."""
    table = failed_features.c
    some = select(table.reason).where(table.job_id == job_id, table.reason != NO_DATA).limit(5000).subquery()
    query = select(some.c.reason).group_by(some.c.reason).order_by(func.count().desc(), some.c.reason).limit(1)
    return connection.scalar(query) or "no reason was given"


def _write_failures(connection: Connection, ignoring: Any, job_id: str, failures: Mapping[int, str]) -> None:
    rows = [
        {"job_id": job_id, "feature_id": int(feature_id), "reason": clean(reason)[:_MAX_CHARS]}
        for feature_id, reason in failures.items()
    ]
    for start in range(0, len(rows), _INSERT_ROWS):
        connection.execute(ignoring.on_conflict_do_nothing(), rows[start : start + _INSERT_ROWS])


def _unit_rows() -> Any:
    return select(units.c.index, units.c.features, units.c.cells, units.c.attempts, units.c.lost, units.c.delivered)


def _is(job_id: str, index: int) -> ColumnElement[bool]:
    return (units.c.job_id == job_id) & (units.c.index == index)


def _row(job_id: str, unit: PlannedUnit) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "index": unit.index,
        "feature_ids": unit.feature_ids,
        "features": len(unit.feature_ids) // _ID_BYTES,
        "cells": max(1, unit.cells),
        "state": PENDING,
    }
