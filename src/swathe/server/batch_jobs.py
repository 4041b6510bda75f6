"""What both kinds of batch request have in common over HTTP: finding them, their lists, actions and logs."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from swathe.jobs.listing import MAX_COUNT, list_jobs
from swathe.jobs.records import Client, Job
from swathe.jobs.states import Event
from swathe.jobs.store import JobStore
from swathe.model.errors import NotFound
from swathe.server.answers import ErrorAnswer, JsonAnswer, LogAnswer, log_line
from swathe.server.auth import CurrentClient

_MOST_LINES = 1000
_LAST_LINE = 2**31 - 1
ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "Bad request"},
    401: {"model": ErrorAnswer, "description": "Unauthorized"},
    404: {"model": ErrorAnswer, "description": "Not found"},
}


@dataclass(frozen=True)
class ListQuery:
    """Which page of a list is wanted."""

    count: int
    viewtoken: str | None
    sort: str
    search: str | None
    userid: str | None


def list_query(
    count: Annotated[int, Query(ge=1, description=f"At most this many; {MAX_COUNT} at most")] = MAX_COUNT,
    viewtoken: str | None = None,
    sort: str = "created",
    search: str | None = None,
    userid: str | None = None,
) -> ListQuery:
    """The query of a list."""
    return ListQuery(count, viewtoken, sort, search, userid)


WantedPage = Annotated[ListQuery, Depends(list_query)]


def find_job(request: Request, client: Client, kind: str, request_id: str) -> Job:
    """A request of this kind that is the client's project's. Reads the store.

    Raises:
        NotFound: there is none.
    """
    try:
        job_id = str(uuid.UUID(request_id))
    except ValueError:
        raise NotFound(f"There is no request {request_id[:64]!r}; ids are UUIDs") from None
    store: JobStore = request.app.state.store
    job = store.get(job_id, project_id=client.project_id)
    if job.kind != kind:
        raise NotFound(f"There is no request {job_id}")
    return job


async def answer_page(
    request: Request, client: Client, kind: str, wanted: ListQuery, to_answer: Callable[[Job], Mapping[str, Any]]
) -> JsonAnswer:
    """A page of the project's requests of this kind, with links."""
    store: JobStore = request.app.state.store
    page = await run_in_threadpool(
        list_jobs,
        store.database,
        client.project_id,
        kind=kind,
        count=wanted.count,
        token=wanted.viewtoken,
        sort=wanted.sort,
        search=wanted.search,
        client_id=wanted.userid,
    )
    links = page_links(request, wanted.viewtoken, page.next_token)
    return JsonAnswer({"data": [to_answer(job) for job in page.jobs], "links": links})


def page_links(request: Request, token: str | None, next_token: str | None) -> dict[str, str]:
    """The links of a page: of itself, and of the next one if there is one."""
    base = (request.app.state.settings.server.public_url or str(request.base_url)).rstrip("/")
    here = base + request.url.path
    links = {"@id": here + (f"?{request.url.query}" if request.url.query else "")}
    if token:
        links["currentToken"] = token
    if next_token is not None:
        links["nextToken"] = next_token
        links["next"] = f"{here}?{urlencode({**request.query_params, 'viewtoken': next_token})}"
    return links


def add_actions(router: APIRouter, kind: str, actions: Mapping[str, Event]) -> None:
    """Routes for what a user may ask of a request, by their names."""
    for name, event in actions.items():
        _add_action(router, kind, name, event)


def _add_action(router: APIRouter, kind: str, name: str, event: Event) -> None:
    async def act(request: Request, client: CurrentClient, request_id: str) -> Response:
        await run_in_threadpool(_act, request, client, kind, request_id, event)
        request.app.state.wake()
        return Response(status_code=204)

    act.__doc__ = f"Asks for {event.value} of a request; 400 names what is possible when this is not."
    router.add_api_route(f"/{{request_id}}/{name}", act, methods=["POST"], status_code=204, name=name)


def _act(request: Request, client: Client, kind: str, request_id: str, event: Event) -> None:
    job = find_job(request, client, kind, request_id)
    store: JobStore = request.app.state.store
    store.apply(job.id, event, project_id=client.project_id)


def add_log(router: APIRouter, kind: str) -> None:
    """A route for the log of a request."""

    @router.get("/{request_id}/log", response_model=LogAnswer)
    async def get_log(
        request: Request,
        client: CurrentClient,
        request_id: str,
        after: Annotated[int, Query(ge=0, le=_LAST_LINE, description="The number of the last line that is known")] = 0,
        count: Annotated[int, Query(ge=1, description=f"At most this many; {_MOST_LINES} at most")] = _MOST_LINES,
    ) -> Response:
        """What happened to one request: an addition to the provider's interface."""
        lines = await run_in_threadpool(_read_log, request, client, kind, request_id, after, count)
        return JsonAnswer({"data": lines})


def _read_log(
    request: Request, client: Client, kind: str, request_id: str, after: int, count: int
) -> list[dict[str, Any]]:
    job = find_job(request, client, kind, request_id)
    store: JobStore = request.app.state.store
    events = store.events(job.id, after=after, limit=min(count, _MOST_LINES), project_id=client.project_id)
    return [log_line(event) for event in events]
