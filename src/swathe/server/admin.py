"""For operators and their consoles: clients, budgets, and the requests of all projects. An addition to the provider's.

Every operation needs an access token with the scope `admin`; none counts against rate limits.
"""

from __future__ import annotations

import logging
import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from swathe.jobs.async_desk import KIND as ASYNC
from swathe.jobs.clients import ClientStore
from swathe.jobs.listing import MAX_COUNT, list_jobs
from swathe.jobs.records import Budget, Client, Job
from swathe.jobs.states import Event
from swathe.jobs.store import JobStore
from swathe.model.errors import ActionNotPossible, NotFound, RequestInvalid
from swathe.model.time import format_time
from swathe.model.validation import explain_validation
from swathe.server.answers import ErrorAnswer, JobAnswer, JsonAnswer, Links, job_answer
from swathe.server.auth import CurrentAdmin
from swathe.server.batch_jobs import ERRORS, WantedPage, page_links
from swathe.server.bodies import read_json

LOG = logging.getLogger(__name__)

PATHS = ("/admin/v1",)
_NOT_KEPT = {"Cache-Control": "no-store"}
_REFUSED: dict[int | str, dict[str, Any]] = {
    403: {"model": ErrorAnswer, "description": "The access token has not the scope admin"}
}


class ClientAnswer(BaseModel):
    """A client: who it is, not what it knows."""

    id: uuid.UUID
    name: str
    projectId: str  # noqa: N815  wire names
    scopes: list[str]
    created: datetime


class NewClientAnswer(ClientAnswer):
    """A client and its secret, which is told this once."""

    clientSecret: str  # noqa: N815


class ClientListAnswer(BaseModel):
    """A page of clients, oldest first."""

    data: list[ClientAnswer]
    links: Links


class AdminJobAnswer(JobAnswer):
    """A request of any project."""

    kind: str


class AdminJobListAnswer(BaseModel):
    """A page of requests."""

    data: list[AdminJobAnswer]
    links: Links


class BudgetAnswer(BaseModel):
    """What a project has spent and may spend in all, in processing units; null is without limit."""

    projectId: uuid.UUID  # noqa: N815
    limitPU: float | None  # noqa: N815
    spentPU: float  # noqa: N815


class NewClient(BaseModel):
    """A client that is wanted. Without `projectId` it gets a project of its own."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=200)
    projectId: uuid.UUID | None = None  # noqa: N815
    scopes: list[str] = Field(default_factory=list, max_length=10)


class NewBudget(BaseModel):
    """What a project may spend in all, what is spent included; null for as much as it likes."""

    model_config = ConfigDict(extra="forbid")

    limitPU: float | None = Field(ge=0, allow_inf_nan=False)  # noqa: N815


def _body(model: type[BaseModel]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}}}


router = APIRouter(tags=["admin"], responses={**{status: ERRORS[status] for status in (400, 401)}, **_REFUSED})
_MISSING: dict[int | str, dict[str, Any]] = {404: ERRORS[404]}


@router.get("/clients", response_model=ClientListAnswer)
async def list_clients(
    request: Request,
    admin: CurrentAdmin,
    count: Annotated[int, Query(ge=1, description=f"At most this many; {MAX_COUNT} at most")] = MAX_COUNT,
    viewtoken: str | None = None,
) -> Response:
    """All clients, oldest first."""
    clients: ClientStore = request.app.state.clients
    found, token = await run_in_threadpool(clients.page, min(count, MAX_COUNT), viewtoken)
    data = [_client_answer(client) for client in found]
    return JsonAnswer({"data": data, "links": page_links(request, viewtoken, token)})


@router.post("/clients", status_code=201, response_model=NewClientAnswer, openapi_extra=_body(NewClient))
async def create_client(request: Request, admin: CurrentAdmin) -> Response:
    """Makes a client. The answer has its secret, which is not kept and cannot be had again."""
    try:
        wanted = NewClient.model_validate(await read_json(request))
    except ValidationError as error:
        raise explain_validation(error) from None
    clients: ClientStore = request.app.state.clients
    project = None if wanted.projectId is None else str(wanted.projectId)
    client, secret = await run_in_threadpool(
        clients.create, wanted.name, project_id=project, scopes=tuple(wanted.scopes)
    )
    LOG.info("client %s made by %s", client.id, admin.id)
    return JsonAnswer({**_client_answer(client), "clientSecret": secret}, status_code=201, headers=_NOT_KEPT)


@router.get("/clients/{client_id}", response_model=ClientAnswer, responses=_MISSING)
async def get_client(request: Request, admin: CurrentAdmin, client_id: str) -> Response:
    """One client."""
    return JsonAnswer(_client_answer(await run_in_threadpool(_find_client, request, client_id)))


@router.delete("/clients/{client_id}", status_code=204, responses=_MISSING)
async def delete_client(request: Request, admin: CurrentAdmin, client_id: str) -> Response:
    """Deletes a client. Its tokens are refused at once; the requests of its project stay."""
    clients: ClientStore = request.app.state.clients
    if not await run_in_threadpool(clients.delete, _uuid(client_id, "client")):
        raise NotFound(f"There is no client {client_id}")
    LOG.info("client %s deleted by %s", _uuid(client_id, "client"), admin.id)
    return Response(status_code=204)


@router.post("/clients/{client_id}/secret", response_model=NewClientAnswer, responses=_MISSING)
async def renew_secret(request: Request, admin: CurrentAdmin, client_id: str) -> Response:
    """Gives a client a new secret. The one before and the tokens it got are refused at once."""
    client = await run_in_threadpool(_find_client, request, client_id)
    clients: ClientStore = request.app.state.clients
    secret = await run_in_threadpool(clients.renew_secret, client.id)
    if secret is None:
        raise NotFound(f"There is no client {client.id}")
    LOG.info("secret of client %s renewed by %s", client.id, admin.id)
    return JsonAnswer({**_client_answer(client), "clientSecret": secret}, headers=_NOT_KEPT)


@router.get("/jobs", response_model=AdminJobListAnswer)
async def search_jobs(
    request: Request,
    admin: CurrentAdmin,
    wanted: WantedPage,
    kind: Literal["statistics", "process", "async"] | None = None,
    project: str | None = None,
) -> Response:
    """The requests of all projects, or of one, page by page. `search` also finds statuses, as `PROCESSING`."""
    store: JobStore = request.app.state.store
    page = await run_in_threadpool(
        list_jobs,
        store.database,
        None if project is None else _project(project, "project"),
        kind=kind,
        count=wanted.count,
        token=wanted.viewtoken,
        sort=wanted.sort,
        search=wanted.search,
        client_id=wanted.userid,
    )
    data = [_job_answer(job) for job in page.jobs]
    return JsonAnswer({"data": data, "links": page_links(request, wanted.viewtoken, page.next_token)})


@router.get("/jobs/{request_id}", response_model=AdminJobAnswer, responses=_MISSING)
async def get_job(request: Request, admin: CurrentAdmin, request_id: str) -> Response:
    """One request of any project."""
    store: JobStore = request.app.state.store
    return JsonAnswer(_job_answer(await run_in_threadpool(store.get, _uuid(request_id, "request"))))


@router.post("/jobs/{request_id}/stop", status_code=204, responses=_MISSING)
async def stop_job(request: Request, admin: CurrentAdmin, request_id: str) -> Response:
    """Asks for STOP of a request of any project; 400 names what is possible when this is not."""
    await run_in_threadpool(_stop, request, _uuid(request_id, "request"))
    LOG.info("request %s stopped by %s", _uuid(request_id, "request"), admin.id)
    request.app.state.wake()
    return Response(status_code=204)


@router.get("/projects/{project_id}/budget", response_model=BudgetAnswer)
async def get_budget(request: Request, admin: CurrentAdmin, project_id: str) -> Response:
    """What a project has spent and may spend. One that nothing is known of has spent nothing."""
    store: JobStore = request.app.state.store
    project_id = _project(project_id, "project_id")
    return JsonAnswer(_budget_answer(project_id, await run_in_threadpool(store.budget, project_id)))


@router.put("/projects/{project_id}/budget", response_model=BudgetAnswer, openapi_extra=_body(NewBudget))
async def put_budget(request: Request, admin: CurrentAdmin, project_id: str) -> Response:
    """Sets or, with null, removes what a project may spend in all. STARTed again, its OUT_OF_PU requests go on."""
    project_id = _project(project_id, "project_id")
    try:
        wanted = NewBudget.model_validate(await read_json(request))
    except ValidationError as error:
        raise explain_validation(error) from None
    store: JobStore = request.app.state.store
    await run_in_threadpool(store.set_budget, project_id, wanted.limitPU)
    LOG.info("budget of project %s set to %s by %s", project_id, wanted.limitPU, admin.id)
    return JsonAnswer(_budget_answer(project_id, await run_in_threadpool(store.budget, project_id)))


def _find_client(request: Request, client_id: str) -> Client:
    clients: ClientStore = request.app.state.clients
    client = clients.get(_uuid(client_id, "client"))
    if client is None:
        raise NotFound(f"There is no client {client_id}")
    return client


def _stop(request: Request, job_id: str) -> None:
    store: JobStore = request.app.state.store
    if store.get(job_id).kind == ASYNC:
        raise ActionNotPossible("An asynchronous process request cannot be stopped; it ends by itself")
    store.apply(job_id, Event.STOP)


def _uuid(text: str, what: str) -> str:
    """An id in its usual form; none is that of nothing."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise NotFound(f"There is no {what} {text[:64]!r}; ids are UUIDs") from None


def _project(text: str, parameter: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise RequestInvalid(f"a project's id is a UUID, not {text[:64]!r}", parameter) from None


def _client_answer(client: Client) -> dict[str, Any]:
    return {
        "id": client.id,
        "name": client.name,
        "projectId": client.project_id,
        "scopes": list(client.scopes),
        "created": format_time(client.created),
    }


def _job_answer(job: Job) -> dict[str, Any]:
    return {"kind": job.kind, **job_answer(job)}


def _budget_answer(project_id: str, budget: Budget) -> dict[str, Any]:
    return {"projectId": project_id, "limitPU": budget.limit_pu, "spentPU": budget.spent_pu}
