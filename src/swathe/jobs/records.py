"""Rows of the job store as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row

from swathe.jobs.states import JobState, Status, StoppedReason, UserAction, completion_percent


@dataclass(frozen=True)
class Job:
    """A batch request as the store has it, without the keys to its object stores.

    `request` is the body as it was posted, `url`s unchanged, secrets removed. `plan` holds the analysis' figures;
    `started` is when PROCESSING began last, with `cells_at_start` done by then.
    """

    id: str
    client_id: str
    project_id: str
    request: Mapping[str, Any]
    created: datetime
    last_updated: datetime
    state: JobState
    user_action_updated: datetime | None = None
    description: str | None = None
    scenes: int = 0
    notes: tuple[str, ...] = ()
    estimated_pu: float = 0.0
    cost_pu: float = 0.0
    features_total: int = 0
    features_done: int = 0
    features_failed: int = 0
    cells_total: int = 0
    cells_done: int = 0
    cells_seen: int = 0
    forgiven_finished: int = 0
    forgiven_failed: int = 0
    lease_owner: str | None = None
    lease_until: float = 0.0
    kind: str = "statistics"
    plan: Mapping[str, float] = field(default_factory=dict)
    started: datetime | None = None
    cells_at_start: int = 0

    @property
    def completion_percent(self) -> float:
        """What answers call `completionPercentage`; while PROCESSING it counts what units under way have told."""
        done = self.cells_done
        if self.state.status is Status.PROCESSING:
            done = max(done, self.cells_seen)
        return completion_percent(self.state.status, done_cells=done, all_cells=self.cells_total)


@dataclass(frozen=True)
class UnitRow:
    """A work unit that waits to be done.

    `lost` counts how often the worker was lost that had it. Its first `delivered` documents are known to have been
    delivered by an attempt that did not come to its end.
    """

    index: int
    features: int
    cells: int
    attempts: int
    lost: int = 0
    delivered: int = 0


NO_DATA = "No data"
"""In place of a reason: the feature has its result, but nothing was there to make it of."""


@dataclass(frozen=True)
class FailedFeature:
    """A feature that has no result, and why; or one with an empty result, for the reason `NO_DATA`."""

    feature_id: int
    reason: str


@dataclass(frozen=True)
class JobEvent:
    """A line of a job's log. Numbers grow within the job; `level` is one of info, warning, error."""

    number: int
    at: datetime
    level: str
    message: str
    unit: int | None = None


@dataclass(frozen=True)
class Budget:
    """What a project has spent, and may spend in all; None for as much as it likes. In processing units."""

    limit_pu: float | None = None
    spent_pu: float = 0.0

    @property
    def left_pu(self) -> float:
        """What may still be spent; infinite without a limit, 0 when more was spent."""
        return float("inf") if self.limit_pu is None else max(0.0, self.limit_pu - self.spent_pu)


@dataclass(frozen=True)
class PlannedUnit:
    """A work unit as the analysis planned it; `feature_ids` are int64, little endian."""

    index: int
    feature_ids: bytes
    cells: int


@dataclass(frozen=True)
class PlannedJob:
    """What an analysis found out, as it is kept. `report` holds figures about the plan, by their names in answers."""

    features: int
    scenes: int
    estimated_pu: float
    payload: bytes = field(repr=False)
    units: tuple[PlannedUnit, ...] = field(repr=False)
    notes: tuple[str, ...] = ()
    report: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class UnitResult:
    """How a unit went, without the engine's types.

    `failures` has a reason for each feature that failed, and `NO_DATA` for those that are empty; `error` is set when the
    unit as a whole was given up.
    """

    index: int
    done: int
    failed: int
    cost_pu: float = 0.0
    failures: Mapping[int, str] = field(default_factory=dict)
    counters: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True)
class Client:
    """Who may use the server.

    `scopes` are what it may do besides using the services. `generation` counts its secrets: tokens carry it, and those
    of an earlier one are refused.
    """

    id: str
    name: str
    project_id: str
    created: datetime
    scopes: tuple[str, ...] = ()
    generation: int = 0


def to_text(moment: datetime) -> str:
    """A time as the tables have it: UTC, microseconds, always 27 characters."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_text(text: str) -> datetime:
    """The inverse of `to_text`."""
    return datetime.fromisoformat(text)


def clean(text: str) -> str:
    """Text without what PostgreSQL cannot keep: NUL characters and lone surrogates become U+FFFD."""
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def to_state(row: Row[Any]) -> JobState:
    """The part of a row that `states` decides about."""
    return JobState(
        status=Status(row.status),
        user_action=UserAction(row.user_action),
        stopped_reason=StoppedReason(row.stopped_reason) if row.stopped_reason else None,
        error=row.error,
    )


def to_job(row: Row[Any]) -> Job:
    """A row of `jobs` as a value."""
    return Job(
        id=row.id,
        client_id=row.client_id,
        project_id=row.project_id,
        request=json.loads(row.request),
        created=from_text(row.created),
        last_updated=from_text(row.last_updated),
        state=to_state(row),
        user_action_updated=from_text(row.user_action_updated) if row.user_action_updated else None,
        description=row.description,
        scenes=row.scenes,
        notes=tuple(json.loads(row.notes)) if row.notes else (),
        estimated_pu=row.estimated_pu,
        cost_pu=row.cost_pu,
        features_total=row.features_total,
        features_done=row.features_done,
        features_failed=row.features_failed,
        cells_total=row.cells_total,
        cells_done=row.cells_done,
        cells_seen=row.cells_seen,
        forgiven_finished=row.forgiven_finished,
        forgiven_failed=row.forgiven_failed,
        lease_owner=row.lease_owner,
        lease_until=row.lease_until,
        kind=row.kind,
        plan=json.loads(row.plan_report) if row.plan_report else {},
        started=from_text(row.started) if row.started else None,
        cells_at_start=row.cells_at_start,
    )
