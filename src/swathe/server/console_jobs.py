"""What the console's routes have in common: finding jobs of any kind, and jobs as lines."""

from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query, Request
from starlette.concurrency import run_in_threadpool

from swathe.jobs.looking import Looker, NotReady, View
from swathe.jobs.records import Job
from swathe.jobs.states import Event
from swathe.jobs.store import JobStore
from swathe.jobs.timeleft import seconds_left
from swathe.model.errors import ActionNotPossible, NotFound, RequestInvalid
from swathe.model.time import format_time
from swathe.server.auth import CurrentClient, current_admin

ACTIONS = {"analyse": Event.ANALYSE, "start": Event.START, "stop": Event.STOP}
KINDS = ("statistics", "process", "async")
# Whoever looks waits so long for the features of a job to be made ready, then is asked to come again.
_PATIENCE_S = 20.0

T = TypeVar("T")


async def seen_project(
    request: Request,
    client: CurrentClient,
    project: Annotated[
        str | None, Query(description="`all` for the jobs of all projects, which needs the scope admin")
    ] = None,
) -> str | None:
    """The project whose jobs the request may see; None for all, which is for operators.

    Raises:
        RequestInvalid: another value than `all`.
        NotAllowed: the token has not the scope.
    """
    if project is None:
        return client.project_id
    if project != "all":
        raise RequestInvalid("may be left out, or be 'all'", "project")
    await current_admin(request, request.headers.get("authorization"))
    return None


SeenProject = Annotated[str | None, Depends(seen_project)]


def find_job(request: Request, project_id: str | None, job_id: str) -> Job:
    """A job of any kind. Reads the store.

    Raises:
        NotFound: there is none, or it is another project's.
    """
    try:
        found = str(uuid.UUID(job_id))
    except ValueError:
        raise NotFound(f"There is no request {job_id[:64]!r}; ids are UUIDs") from None
    store: JobStore = request.app.state.store
    return store.get(found, project_id=project_id)


async def open_view(request: Request, project_id: str | None, job_id: str) -> tuple[Job, View]:
    """A job with its features, which may have to be made ready.

    Raises:
        NotFound: there is no such job.
        NotReady: that takes longer than a request should wait.
        SwatheError: it has no features, or they are not to be had any more.
    """
    job = await run_in_threadpool(find_job, request, project_id, job_id)
    looker: Looker = request.app.state.looker
    view = await patiently(looker.view(job), _PATIENCE_S)
    if view is None:
        raise NotReady("The features are being made ready to be looked at; come again in a moment")
    return job, view


async def patiently(future: Future[T], seconds: float) -> T | None:
    """What the future has, or None when it takes longer; it goes on then."""
    try:
        return await waited(future, seconds)
    except TimeoutError:
        return None


async def waited(future: Future[T], seconds: float) -> T:
    """What the future has.

    Raises:
        TimeoutError: it takes longer, and goes on.
    """
    return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), seconds)


def act(request: Request, project_id: str | None, job_id: str, action: str) -> None:
    """Lets a user's action happen to a job.

    Raises:
        NotFound: there is no such job, or no such action.
        ActionNotPossible: it does not fit the job's state, or its kind.
    """
    event = ACTIONS.get(action)
    if event is None:
        raise NotFound(f"There is no action {action[:40]!r}; there are {', '.join(ACTIONS)}")
    job = find_job(request, project_id, job_id)
    if job.kind == "async":
        raise ActionNotPossible(f"{action} is not possible: an asynchronous request runs by itself until its end")
    store: JobStore = request.app.state.store
    store.apply(job.id, event, project_id=project_id)


def job_line(job: Job) -> dict[str, Any]:
    """A job as a line of the console's list."""
    left = seconds_left(job, datetime.now(UTC))
    state = job.state
    return {
        "id": job.id,
        "kind": job.kind,
        "project": job.project_id,
        "description": job.description,
        "status": state.status.value,
        "userAction": state.user_action.value,
        "created": format_time(job.created),
        "lastUpdated": format_time(job.last_updated),
        "completionPercentage": job.completion_percent,
        "features": job.features_total,
        "featuresDone": job.features_done,
        "featuresFailed": job.features_failed,
        "costPU": job.cost_pu,
        "secondsLeft": None if left is None else round(left, 1),
        "error": state.error,
        "stoppedStatusReason": None if state.stopped_reason is None else state.stopped_reason.value,
    }
