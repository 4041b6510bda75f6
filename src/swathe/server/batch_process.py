"""Batch Processing V2, on the paths that clients use and on those of the newest description."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from swathe.jobs.byoc_results import target_of
from swathe.jobs.describing import describe_job
from swathe.jobs.keys import PROCESS_PLACES, split_secrets
from swathe.jobs.records import Client, Job
from swathe.jobs.states import Event, Status, StoppedReason, UserAction
from swathe.jobs.store import JobStore
from swathe.model.process import read_batch_process
from swathe.model.time import format_time
from swathe.model.validation import explain_validation
from swathe.server.answers import ErrorAnswer, JobStatusAnswer, JsonAnswer, Links, job_answer
from swathe.server.auth import CurrentClient
from swathe.server.batch_jobs import ERRORS, WantedPage, add_actions, add_log, answer_page, find_job
from swathe.server.bodies import described_body, read_json, read_json_or_form
from swathe.server.own_collections import own_of

PATHS = ("/api/v2/batch/process", "/batch/v2/process")
KIND = "process"
_ACTIONS = {"analyse": Event.ANALYSE, "start": Event.START, "stop": Event.STOP}
_SCRIPT = ("processRequest", "evalscript")
_BUSY: dict[int | str, dict[str, Any]] = {409: {"model": ErrorAnswer, "description": "Being processed, or waits to be"}}


class TaskAnswer(BaseModel):
    """A request and how far it has got, as the provider's `BatchV2ProcessTask`."""

    id: uuid.UUID
    request: dict[str, Any]
    domainAccountId: uuid.UUID  # noqa: N815  wire names
    projectId: uuid.UUID  # noqa: N815
    workspaceId: uuid.UUID  # noqa: N815
    status: Status
    error: str | None = None
    userAction: UserAction  # noqa: N815
    userActionUpdated: datetime | None = None  # noqa: N815
    created: datetime
    completionPercentage: float = Field(ge=0, le=100)  # noqa: N815
    lastUpdated: datetime  # noqa: N815
    costPU: float  # noqa: N815
    stoppedStatusReason: StoppedReason | None = None  # noqa: N815


class TaskListAnswer(BaseModel):
    """A page of requests."""

    data: list[TaskAnswer]
    links: Links


class ChangedTaskAnswer(TaskAnswer):
    """A request with the members of its body beside it: the one is what clients expect, the other what is described."""

    processRequest: dict[str, Any]  # noqa: N815
    input: dict[str, Any]
    output: dict[str, Any]
    description: str | None = None


class TaskChange(BaseModel):
    """What may change of a request; what is left out, or null, stays."""

    description: str | None = None


router = APIRouter(tags=["batch_v2_process"], responses=ERRORS)


@router.post("", status_code=201, response_model=TaskAnswer, openapi_extra=described_body("BatchV2ProcessRequest"))
async def create(request: Request, client: CurrentClient) -> Response:
    """Takes a request; nothing runs before it is analysed or started."""
    body = await read_json_or_form(request, _SCRIPT)
    job = await run_in_threadpool(_create, request, client, body)
    return JsonAnswer(task_answer(job), status_code=201)


def _create(request: Request, client: Client, body: dict[str, Any]) -> Job:
    model = read_batch_process(body)
    own = own_of(request, client, model.process_request.input.data)
    request.app.state.check_batch_process(model, own)
    store: JobStore = request.app.state.store
    target_of(store.database, model.output, client.project_id)
    shown, keys = split_secrets(body, PROCESS_PLACES)
    return store.create(
        client_id=client.id,
        project_id=client.project_id,
        request=shown,
        keys=keys,
        description=model.description,
        kind=KIND,
    )


@router.get("", response_model=TaskListAnswer)
async def search(request: Request, client: CurrentClient, wanted: WantedPage) -> Response:
    """The project's requests, page by page."""
    return await answer_page(request, client, KIND, wanted, task_answer)


@router.get("/{request_id}", response_model=TaskAnswer)
async def get_one(request: Request, client: CurrentClient, request_id: str) -> Response:
    """One request."""
    return JsonAnswer(task_answer(await run_in_threadpool(find_job, request, client, KIND, request_id)))


@router.get("/{request_id}/status", response_model=JobStatusAnswer)
async def get_status(request: Request, client: CurrentClient, request_id: str) -> Response:
    """How far one request has got, what it will cost and how long it will take: an addition to the provider's."""
    job = await run_in_threadpool(find_job, request, client, KIND, request_id)
    return JsonAnswer({name: value for name, value in job_answer(job).items() if name != "request"})


@router.put(
    "/{request_id}",
    response_model=ChangedTaskAnswer,
    responses=_BUSY,
    openapi_extra=described_body("BatchV2ProcessRequestUpdatePayload", form=False),
)
async def change(request: Request, client: CurrentClient, request_id: str) -> Response:
    """Gives a request another description, unless it is being processed or waits to be."""
    body = await read_json(request)
    job = await run_in_threadpool(_change, request, client, request_id, body)
    return JsonAnswer({**job.request, **task_answer(job)})


def _change(request: Request, client: Client, request_id: str, body: dict[str, Any]) -> Job:
    job = find_job(request, client, KIND, request_id)
    try:
        wanted = TaskChange.model_validate(body)
    except ValidationError as error:
        raise explain_validation(error) from None
    store: JobStore = request.app.state.store
    return describe_job(store.database, job.id, wanted.description, project_id=client.project_id)


add_actions(router, KIND, _ACTIONS)
add_log(router, KIND)


def task_answer(job: Job) -> dict[str, Any]:
    """A job as `BatchV2ProcessTask`: what has no value yet is left out."""
    state = job.state
    answer: dict[str, Any] = {
        "id": job.id,
        "request": job.request,
        "domainAccountId": job.project_id,
        "projectId": job.project_id,
        "workspaceId": job.project_id,
        "status": state.status.value,
        "userAction": state.user_action.value,
        "created": format_time(job.created),
        "completionPercentage": job.completion_percent,
        "lastUpdated": format_time(job.last_updated),
        "costPU": job.cost_pu,
    }
    if state.error is not None:
        answer["error"] = state.error
    if job.user_action_updated is not None:
        answer["userActionUpdated"] = format_time(job.user_action_updated)
    if state.stopped_reason is not None:
        answer["stoppedStatusReason"] = state.stopped_reason.value
    return answer
