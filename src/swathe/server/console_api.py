"""The console's own interface: jobs of all kinds, their logs and errors, and what the deployment has.

The pages use the public APIs besides. Like these, every route needs an access token and shows the project's own jobs.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from swathe import __version__
from swathe.jobs import looking_store
from swathe.jobs.kinds import find_kind
from swathe.jobs.looking import Looker, View
from swathe.jobs.looking_store import MAX_COUNT, Wanted
from swathe.jobs.records import Job
from swathe.jobs.store import JobStore
from swathe.model.errors import RequestInvalid, SwatheError
from swathe.model.time import format_time
from swathe.server.answers import JsonAnswer, log_line
from swathe.server.auth import CurrentClient
from swathe.server.console_collections import list_collections
from swathe.server.console_jobs import KINDS, SeenProject, act, find_job, job_line, patiently

PREFIX = "/console/v1"
_LINES = 200
_MOST_LINES = 1000
# A job's page is not held up by features that are being made ready.
_PATIENCE_S = 1.0
_PLAN = ("scenes", "blocks", "bytesToRead", "units", "estimatedSeconds")
_LIMITS = ("features", "intervals", "image_px", "script_chars", "request_bytes")

router = APIRouter(include_in_schema=False)


@router.get("/jobs")
async def jobs(
    request: Request,
    project_id: SeenProject,
    kind: str | None = None,
    status: str | None = None,
    q: str | None = None,
    viewtoken: str | None = None,
    count: Annotated[int, Query(ge=1)] = MAX_COUNT,
) -> Response:
    """A page of jobs, newest first."""
    if kind and kind not in KINDS:
        raise RequestInvalid(f"there is no kind '{kind[:40]}'; there are {', '.join(KINDS)}", "kind")
    store: JobStore = request.app.state.store
    wanted = Wanted(project_id, kind, status, q)
    page = await run_in_threadpool(looking_store.read_lines, store.database, wanted, count=count, token=viewtoken)
    links = {} if page.next_token is None else {"nextToken": page.next_token}
    return JsonAnswer({"data": [job_line(job) for job in page.jobs], "links": links}, headers=_FRESH)


@router.get("/jobs/{job_id}")
async def job(request: Request, project_id: SeenProject, job_id: str) -> Response:
    """Everything about a job but its features."""
    found = await run_in_threadpool(find_job, request, project_id, job_id)
    looker: Looker = request.app.state.looker
    view = None
    with suppress(SwatheError):  # a job without features, or whose features are gone, has a page too
        view = await patiently(looker.view(found), _PATIENCE_S)
    return JsonAnswer(await run_in_threadpool(_whole, request, found, view), headers=_FRESH)


def _whole(request: Request, job: Job, view: View | None) -> dict[str, Any]:
    store: JobStore = request.app.state.store
    looker: Looker = request.app.state.looker
    outputs: list[dict[str, Any]] = []
    problem = None
    intervals: list[dict[str, str]] = []
    try:
        intervals = [{"from": format_time(one.start), "to": format_time(one.end)} for one in looker.intervals(job)]
        if job.features_done:
            outputs = looker.outputs(job, view)
            problem = looker.results(job).shortfall if outputs else None
    except SwatheError as error:
        problem = error.message
    last = looking_store.last_number(store.database, job.id)
    events = store.events(job.id, after=max(0, last - _LINES), limit=_LINES)
    plan: dict[str, Any] = {name: _whole_number(job.plan[name]) for name in _PLAN if name in job.plan}
    if job.features_total:
        plan |= {"features": job.features_total, "scenes": job.scenes, "estimatedPU": job.estimated_pu}
    answer = job_line(job) | {
        "request": job.request,
        "plan": plan or None,
        "notes": list(job.notes),
        "events": [log_line(event) for event in events],
        "outputs": outputs,
        "intervals": intervals,
        "bounds": None if view is None or view.shapes.bounds is None else list(view.shapes.bounds),
        "mapReady": view is not None,
        "hasResults": bool(job.features_done),
        "output": _output_of(request, job),
    }
    return answer if problem is None else answer | {"resultsError": problem}


def _whole_number(value: float) -> float:
    return int(value) if float(value).is_integer() else value


def _output_of(request: Request, job: Job) -> str | None:
    """Where the results go; None where the body is none that this version reads."""
    settings, store = request.app.state.settings, request.app.state.store
    with suppress(SwatheError):
        kind = find_kind(job.kind)
        body = kind.read_body(job.request, store.keys(job.id))
        folder: str = kind.make_delivery(settings.storage, body, job.id).folder
        return folder
    return None


@router.get("/jobs/{job_id}/events")
async def events(
    request: Request, project_id: SeenProject, job_id: str, after: Annotated[int, Query(ge=0)] = 0
) -> Response:
    """The lines of a job's log after a number, oldest first."""
    store: JobStore = request.app.state.store

    def read() -> list[dict[str, Any]]:
        found = find_job(request, project_id, job_id)
        return [log_line(event) for event in store.events(found.id, after=after, limit=_MOST_LINES)]

    return JsonAnswer({"data": await run_in_threadpool(read)}, headers=_FRESH)


@router.get("/jobs/{job_id}/errors")
async def errors(request: Request, project_id: SeenProject, job_id: str) -> Response:
    """Why features have no result, the most frequent reason first."""
    store: JobStore = request.app.state.store

    def read() -> list[dict[str, Any]]:
        found = find_job(request, project_id, job_id)
        reasons = looking_store.read_reasons(store.database, found.id)
        return [{"reason": one.text, "count": one.count, "features": list(one.features)} for one in reasons]

    return JsonAnswer({"data": await run_in_threadpool(read)}, headers=_FRESH)


@router.post("/jobs/{job_id}/{action}", status_code=204)
async def take_action(request: Request, project_id: SeenProject, job_id: str, action: str) -> Response:
    """Asks for an analysis, a start or a stop; 400 says what is possible when this is not."""
    await run_in_threadpool(act, request, project_id, job_id, action)
    request.app.state.wake()
    return Response(status_code=204)


@router.get("/deployment")
async def deployment(request: Request, client: CurrentClient) -> Response:
    """What the pages need to know of the deployment."""
    settings = request.app.state.settings
    answer = {
        "title": "Swathe",
        "version": __version__,
        "styleUrl": settings.console.style_url or None,
        "collections": await run_in_threadpool(list_collections, request, client),
        "limits": {_camel(name): getattr(settings.limits, name) for name in _LIMITS},
    }
    return JsonAnswer(answer, headers=_FRESH)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)


_FRESH = {"Cache-Control": "no-store"}
