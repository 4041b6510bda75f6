"""The Batch Statistical API, on the paths that clients use and on those of the newest description."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from swathe.jobs.delivery import ResultNames
from swathe.jobs.keys import split_secrets
from swathe.jobs.listing import MAX_COUNT, list_jobs
from swathe.jobs.states import Event
from swathe.jobs.store import JobStore
from swathe.model.errors import NotFound, RequestInvalid
from swathe.model.statistical import BatchStatisticsRequest
from swathe.model.validation import explain_validation
from swathe.server.answers import (
    ErrorAnswer,
    JobAnswer,
    JobListAnswer,
    JobStatusAnswer,
    JsonAnswer,
    job_answer,
    job_status,
)
from swathe.server.auth import CurrentClient
from swathe.server.errors import MediaTypeNotSupported

PATHS = ("/api/v1/statistics/batch", "/statistics/batch/v1")
_ACTIONS = {"analyse": Event.ANALYSE, "start": Event.START, "stop": Event.STOP, "cancel": Event.STOP}
_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "Bad request"},
    401: {"model": ErrorAnswer, "description": "Unauthorized"},
    404: {"model": ErrorAnswer, "description": "Not found"},
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object", "title": "BatchStatisticalRequest"}}},
    }
}

router = APIRouter(tags=["batch_statistical"], responses=_ERRORS)


@router.post("", status_code=201, response_model=JobAnswer, openapi_extra=_BODY)
async def create(request: Request, client: CurrentClient) -> Response:
    """Takes a request; nothing runs before it is analysed or started."""
    body = await _read_json(request)
    job = await run_in_threadpool(_create, request, client.id, client.project_id, body)
    return JsonAnswer(job_answer(job), status_code=201)


def _create(request: Request, client_id: str, project_id: str, body: dict[str, Any]) -> Any:
    try:
        model = BatchStatisticsRequest.model_validate(body)
    except ValidationError as error:
        raise explain_validation(error) from None
    ResultNames.from_url(model.output.s3.url)
    check: Callable[[BatchStatisticsRequest], None] = request.app.state.check
    check(model)
    shown, keys = split_secrets(body)
    store: JobStore = request.app.state.store
    return store.create(
        client_id=client_id, project_id=project_id, request=shown, keys=keys, description=model.description
    )


@router.get("", response_model=JobListAnswer)
async def search(
    request: Request,
    client: CurrentClient,
    count: Annotated[int, Query(ge=1, description=f"At most this many; {MAX_COUNT} at most")] = MAX_COUNT,
    viewtoken: str | None = None,
    sort: str = "created",
    search: str | None = None,
    userid: str | None = None,
) -> Response:
    """The project's requests, page by page."""
    store: JobStore = request.app.state.store
    page = await run_in_threadpool(
        list_jobs,
        store.database,
        client.project_id,
        count=count,
        token=viewtoken,
        sort=sort,
        search=search,
        client_id=userid,
    )
    base = (request.app.state.settings.server.public_url or str(request.base_url)).rstrip("/")
    here = base + request.url.path
    links = {"@id": here + (f"?{request.url.query}" if request.url.query else "")}
    if viewtoken:
        links["currentToken"] = viewtoken
    if page.next_token is not None:
        links["nextToken"] = page.next_token
        links["next"] = f"{here}?{urlencode({**request.query_params, 'viewtoken': page.next_token})}"
    return JsonAnswer({"data": [job_answer(job) for job in page.jobs], "links": links})


@router.get("/{request_id}", response_model=JobAnswer)
async def get_one(request: Request, client: CurrentClient, request_id: str) -> Response:
    """One request."""
    store: JobStore = request.app.state.store
    job = await run_in_threadpool(store.get, _id(request_id), project_id=client.project_id)
    return JsonAnswer(job_answer(job))


@router.get("/{request_id}/status", response_model=JobStatusAnswer)
async def get_status(request: Request, client: CurrentClient, request_id: str) -> Response:
    """How far one request has got."""
    store: JobStore = request.app.state.store
    job = await run_in_threadpool(store.get, _id(request_id), project_id=client.project_id)
    return JsonAnswer(job_status(job))


def _add_action(name: str, event: Event) -> None:
    async def act(request: Request, client: CurrentClient, request_id: str) -> Response:
        store: JobStore = request.app.state.store
        await run_in_threadpool(store.apply, _id(request_id), event, project_id=client.project_id)
        request.app.state.wake()
        return Response(status_code=204)

    act.__doc__ = f"Asks for {event.value} of a request; 400 names what is possible when this is not."
    router.add_api_route(f"/{{request_id}}/{name}", act, methods=["POST"], status_code=204, name=name)


for _name, _event in _ACTIONS.items():
    _add_action(_name, _event)


def _id(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise NotFound(f"There is no request {text[:64]!r}; ids are UUIDs") from None


async def _read_json(request: Request) -> dict[str, Any]:
    kind = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise MediaTypeNotSupported(f"The body must be application/json, not {kind[:64]}")
    body = await request.body()
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
        if isinstance(value, dict):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise RequestInvalid("The body is nested too deeply") from None
    except UnicodeEncodeError:
        raise RequestInvalid("The body has text that is no Unicode (an unpaired surrogate)") from None
    except UnicodeDecodeError:
        raise RequestInvalid("The body is not in UTF-8") from None
    except ValueError as error:
        raise RequestInvalid(f"The body is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise RequestInvalid("The body must be a JSON object")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")
