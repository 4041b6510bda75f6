"""The Batch Statistical API, on the paths that clients use and on those of the newest description."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from swathe.jobs.delivery import ResultNames
from swathe.jobs.keys import split_secrets
from swathe.jobs.records import Client, Job
from swathe.jobs.states import Event
from swathe.jobs.store import JobStore
from swathe.model.statistical import BatchStatisticsRequest
from swathe.model.validation import explain_validation
from swathe.server.answers import JobAnswer, JobListAnswer, JobStatusAnswer, JsonAnswer, job_answer, job_status
from swathe.server.auth import CurrentClient
from swathe.server.batch_jobs import ERRORS, WantedPage, add_actions, add_log, answer_page, find_job
from swathe.server.bodies import described_body, read_json_or_form
from swathe.server.own_collections import own_of

PATHS = ("/api/v1/statistics/batch", "/statistics/batch/v1")
KIND = "statistics"
_ACTIONS = {"analyse": Event.ANALYSE, "start": Event.START, "stop": Event.STOP, "cancel": Event.STOP}
_SCRIPT = ("aggregation", "evalscript")

router = APIRouter(tags=["batch_statistical"], responses=ERRORS)


@router.post("", status_code=201, response_model=JobAnswer, openapi_extra=described_body("BatchStatisticalRequest"))
async def create(request: Request, client: CurrentClient) -> Response:
    """Takes a request; nothing runs before it is analysed or started."""
    body = await read_json_or_form(request, _SCRIPT)
    job = await run_in_threadpool(_create, request, client, body)
    return JsonAnswer(job_answer(job), status_code=201)


def _create(request: Request, client: Client, body: dict[str, Any]) -> Job:
    try:
        model = BatchStatisticsRequest.model_validate(body)
    except ValidationError as error:
        raise explain_validation(error) from None
    ResultNames.from_url(model.output.s3.url)
    request.app.state.check(model, own_of(request, client, model.input.data))
    shown, keys = split_secrets(body)
    store: JobStore = request.app.state.store
    return store.create(
        client_id=client.id,
        project_id=client.project_id,
        request=shown,
        keys=keys,
        description=model.description,
        kind=KIND,
    )


@router.get("", response_model=JobListAnswer)
async def search(request: Request, client: CurrentClient, wanted: WantedPage) -> Response:
    """The project's requests, page by page."""
    return await answer_page(request, client, KIND, wanted, job_answer)


@router.get("/{request_id}", response_model=JobAnswer)
async def get_one(request: Request, client: CurrentClient, request_id: str) -> Response:
    """One request."""
    return JsonAnswer(job_answer(await run_in_threadpool(find_job, request, client, KIND, request_id)))


@router.get("/{request_id}/status", response_model=JobStatusAnswer)
async def get_status(request: Request, client: CurrentClient, request_id: str) -> Response:
    """How far one request has got."""
    return JsonAnswer(job_status(await run_in_threadpool(find_job, request, client, KIND, request_id)))


add_actions(router, KIND, _ACTIONS)
add_log(router, KIND)
