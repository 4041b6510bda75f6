"""JSON as this service sends it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field
from starlette.responses import Response

from swathe.jobs.records import Job, JobEvent
from swathe.jobs.states import Status, StoppedReason, UserAction
from swathe.jobs.timeleft import seconds_left
from swathe.model.time import format_time


class JsonAnswer(Response):
    """ASCII JSON: whatever text a client sent can be sent back, unpaired surrogates included."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")


class ErrorBody(BaseModel):
    """What went wrong."""

    status: int
    reason: str
    message: str
    code: str
    errors: dict[str, str] | None = None


class ErrorAnswer(BaseModel):
    """Every error but the token endpoint's."""

    error: ErrorBody


class JobStatusAnswer(BaseModel):
    """How far a request has got."""

    id: uuid.UUID
    status: Status
    completionPercentage: float = Field(ge=0, le=100)  # noqa: N815  wire names
    created: datetime
    lastUpdated: datetime  # noqa: N815
    costPu: float  # noqa: N815
    costPU: float  # noqa: N815
    error: str | None = None
    stoppedStatusReason: StoppedReason | None = None  # noqa: N815


class ProgressAnswer(BaseModel):
    """How many features a request has, and what became of them so far."""

    features: int
    featuresDone: int  # noqa: N815
    featuresFailed: int  # noqa: N815


class LogLine(BaseModel):
    """Something that happened to a request; `number` grows."""

    number: int
    at: datetime
    level: str
    message: str
    unit: int | None = None


class LogAnswer(BaseModel):
    """Lines of a request's log, oldest first."""

    data: list[LogLine]


class JobAnswer(JobStatusAnswer):
    """A request with its body, keys left out."""

    request: dict[str, Any]
    userAction: UserAction  # noqa: N815
    userActionUpdated: datetime | None = None  # noqa: N815
    userId: str  # noqa: N815
    domainAccountId: uuid.UUID  # noqa: N815
    projectId: uuid.UUID  # noqa: N815
    workspaceId: uuid.UUID  # noqa: N815
    valueEstimate: float | None = None  # noqa: N815
    notes: list[str] | None = None
    plan: dict[str, float] | None = None
    progress: ProgressAnswer | None = None
    estimatedSecondsLeft: float | None = None  # noqa: N815


class Links(BaseModel):
    """Where the next page is; no `nextToken` on the last one."""

    here: str | None = Field(default=None, alias="@id")
    currentToken: str | None = None  # noqa: N815
    nextToken: str | None = None  # noqa: N815
    next: str | None = None


class JobListAnswer(BaseModel):
    """A page of requests."""

    data: list[JobAnswer]
    links: Links


def job_status(job: Job) -> dict[str, Any]:
    """A job as `GET …/status` answers it. Both spellings of the cost are in use."""
    answer: dict[str, Any] = {
        "id": job.id,
        "status": job.state.status.value,
        "completionPercentage": job.completion_percent,
        "created": format_time(job.created),
        "lastUpdated": format_time(job.last_updated),
        "costPu": job.cost_pu,
        "costPU": job.cost_pu,
    }
    if job.state.error is not None:
        answer["error"] = job.state.error
    if job.state.stopped_reason is not None:
        answer["stoppedStatusReason"] = job.state.stopped_reason.value
    return answer


def job_answer(job: Job) -> dict[str, Any]:
    """A job as `GET …/{id}` answers it."""
    answer = job_status(job) | {
        "request": job.request,
        "userAction": job.state.user_action.value,
        "userId": job.client_id,
        "domainAccountId": job.project_id,
        "projectId": job.project_id,
        "workspaceId": job.project_id,
    }
    if job.user_action_updated is not None:
        answer["userActionUpdated"] = format_time(job.user_action_updated)
    # Beside what the provider says: what the analysis found out and estimated, and how far and fast it goes.
    if job.features_total:
        answer["valueEstimate"] = job.estimated_pu
        answer["progress"] = {
            "features": job.features_total,
            "featuresDone": job.features_done,
            "featuresFailed": job.features_failed,
        }
    if job.plan:
        answer["plan"] = {name: int(value) if float(value).is_integer() else value for name, value in job.plan.items()}
    if (left := seconds_left(job, datetime.now(UTC))) is not None:
        answer["estimatedSecondsLeft"] = round(left, 1)
    if job.notes:
        answer["notes"] = list(job.notes)
    return answer


def log_line(event: JobEvent) -> dict[str, Any]:
    """A line of a job's log."""
    line: dict[str, Any] = {
        "number": event.number,
        "at": format_time(event.at),
        "level": event.level,
        "message": event.message,
    }
    return line if event.unit is None else line | {"unit": event.unit}


def error_answer(
    status: int,
    message: str,
    code: str,
    *,
    errors: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JsonAnswer:
    """An error in the provider's shape."""
    from http import HTTPStatus

    body: dict[str, Any] = {"status": status, "reason": HTTPStatus(status).phrase, "message": message, "code": code}
    if errors:
        body["errors"] = dict(errors)
    return JsonAnswer({"error": body}, status_code=status, headers=dict(headers or {}))
