"""JSON as this service sends it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field
from starlette.responses import Response

from swathe.jobs.records import Job
from swathe.jobs.states import Status
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

    id: str
    status: Status
    completionPercentage: float = Field(ge=0, le=100)  # noqa: N815  wire names
    created: str
    lastUpdated: str  # noqa: N815
    costPu: float  # noqa: N815
    costPU: float  # noqa: N815
    error: str | None = None
    stoppedStatusReason: str | None = None  # noqa: N815


class JobAnswer(JobStatusAnswer):
    """A request with its body, keys left out."""

    request: dict[str, Any]
    userAction: str  # noqa: N815
    userActionUpdated: str | None = None  # noqa: N815
    userId: str  # noqa: N815
    domainAccountId: str  # noqa: N815
    projectId: str  # noqa: N815
    workspaceId: str  # noqa: N815
    valueEstimate: float | None = None  # noqa: N815
    notes: list[str] | None = None


class Links(BaseModel):
    """Where the next page is; no `nextToken` on the last one."""

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
    # Beside what the provider says: the analysis's estimate of the cost, and what it found worth telling.
    if job.features_total:
        answer["valueEstimate"] = job.estimated_pu
    if job.notes:
        answer["notes"] = list(job.notes)
    return answer


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
