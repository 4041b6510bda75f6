"""The Async Process API: images that are delivered to a store, and whether they are still on their way."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from swathe.jobs.async_desk import KIND, PLACES, AsyncDesk, forget_async
from swathe.jobs.keys import split_secrets
from swathe.jobs.records import Client, Job
from swathe.jobs.services import check_async
from swathe.jobs.store import JobStore
from swathe.jobs.workshop import TooManyRequests
from swathe.model.process_async import REFERENCE, URL, read_async_process
from swathe.server.answers import ErrorAnswer, JsonAnswer
from swathe.server.auth import CurrentClient
from swathe.server.batch_jobs import ERRORS, find_job
from swathe.server.bodies import described_body, read_json_or_form
from swathe.server.checks import check_place
from swathe.server.computing import busy_answer, compute
from swathe.settings import Settings

PATHS = ("/api/v1/async/process", "/async/v1/process", "/api/v1/process/async")
_SCRIPT = ("evalscript",)


class AsyncStatusAnswer(BaseModel):
    """A request that is under way."""

    id: str
    status: Literal["RUNNING"]


router = APIRouter(
    tags=["async_process"],
    responses={
        **{status: ERRORS[status] for status in (400, 401)},
        403: {"model": ErrorAnswer, "description": "Nothing left to spend"},
    },
)


@router.post(
    "",
    response_model=AsyncStatusAnswer,
    openapi_extra=described_body("AsyncProcessRequest"),
    responses={429: {"model": ErrorAnswer, "description": "Too many requests"}},
)
async def create(request: Request, client: CurrentClient) -> Response:
    """Takes a request that can be done; its files, or error.json, appear in the store."""
    body = await read_json_or_form(request, _SCRIPT)
    wanted, script = read_async_process(body)
    settings: Settings = request.app.state.settings
    check_place(settings, wanted.output.delivery.s3, URL)
    if script is not None:
        check_place(settings, script.s3, f"{REFERENCE}->s3->url", is_object=True)
    try:
        await compute(request, client, check_async, wanted, script)
        job = await run_in_threadpool(_start, request, client, body)
    except TooManyRequests as error:
        return busy_answer(error)
    return JsonAnswer({"id": job.id, "status": "RUNNING"})


@router.get("/{request_id}", response_model=AsyncStatusAnswer, responses={404: ERRORS[404]})
async def get_status(request: Request, client: CurrentClient, request_id: str) -> Response:
    """RUNNING, or 404 when it is over, however it ended."""
    job = await run_in_threadpool(find_job, request, client, KIND, request_id)
    return JsonAnswer({"id": job.id, "status": "RUNNING"})


def _start(request: Request, client: Client, body: dict[str, Any]) -> Job:
    store: JobStore = request.app.state.store
    desk: AsyncDesk = request.app.state.async_desk
    shown, keys = split_secrets(body, PLACES)
    job = store.create(
        client_id=client.id, project_id=client.project_id, request=shown, keys=keys, description=None, kind=KIND
    )
    try:
        desk.check_room(client.project_id)
        desk.start(job)
    except BaseException:
        forget_async(store, job.id)
        raise
    return job
