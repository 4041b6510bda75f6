"""What the services that answer at once have in common: the workshop, what projects may spend, how answers go out."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from swathe.jobs import budgets
from swathe.jobs.byoc_sources import own_types
from swathe.jobs.pictures import Stack
from swathe.jobs.records import Client
from swathe.jobs.request_area import write_own_near
from swathe.jobs.schema import projects
from swathe.jobs.store import JobStore
from swathe.jobs.workshop import Abandoned, Deadline, TooManyRequests, Workshop
from swathe.model.errors import NotAllowed
from swathe.model.process import ProcessRequest
from swathe.model.statistical_area import AreaStatisticsRequest
from swathe.server.answers import JsonAnswer, error_answer
from swathe.server.rates import check_units, spend_units
from swathe.settings import Settings

if TYPE_CHECKING:
    from swathe.engine.compute import Engine

P = ParamSpec("P")
T = TypeVar("T")
OfAnArea = ProcessRequest | AreaStatisticsRequest | Stack
R = TypeVar("R", bound=OfAnArea)

COST = "X-ProcessingUnits-Spent"
_RETRY_AFTER_MS = "1000"
_SENT_BYTES = 2**18
_SMALLEST_PU = 1e-9


def open_workshop(settings: Settings) -> Workshop:
    """The processes of Process and Statistical API; they are started when they are needed."""
    return Workshop(
        settings,
        "service",
        processes=settings.services.processes,
        waiting=settings.limits.requests_waiting,
        seconds=settings.limits.answer_s,
    )


async def compute(
    request: Request,
    client: Client,
    function: Callable[Concatenate[Engine, Deadline, R, P], T],
    wanted: R,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """What a function makes of a request, with an engine in another process that knows the project's own collections.

    Raises:
        RateExceeded: the client has nothing left to spend this minute.
        NotAllowed: the client's project has nothing left to spend.
        TooManyRequests: the queue is full.
        Abandoned: the client went away meanwhile.
        SwatheError: as the function raised it.
    """
    check_units(request, client.id)
    workshop: Workshop = request.app.state.workshop
    store: JobStore = request.app.state.store
    await run_in_threadpool(check_budget, store, client)
    types = own_types((source.type for source in wanted.input.data), request.app.state.settings)
    if not types:
        return await _answer_of(request, workshop, workshop.submit((), function, wanted, *args, **kwargs))
    folder = await run_in_threadpool(tempfile.TemporaryDirectory, prefix="swathe-own-")
    try:
        entries = await run_in_threadpool(
            write_own_near,
            store.database,
            types,
            client.project_id,
            Path(folder.name),
            wanted.input.bounds,
            request.app.state.settings.storage,
        )
        return await _answer_of(request, workshop, workshop.submit(entries, function, wanted, *args, **kwargs))
    finally:
        await run_in_threadpool(folder.cleanup)


async def _answer_of(request: Request, workshop: Workshop, future: Future[T]) -> T:
    """What the future has; when the client goes away, the work is stopped and its end waited for.

    Raises:
        Abandoned: the client went away.
    """
    answer = asyncio.wrap_future(future)
    leaving = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait((answer, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            workshop.abandon(future)
        return await answer
    except asyncio.CancelledError:
        if future.cancelled():
            raise Abandoned("The client went away before its turn came") from None
        workshop.abandon(future)
        raise
    finally:
        leaving.cancel()


async def _gone(request: Request) -> None:
    """Waits until the client has closed its connection; its body has been read by now, or is not wanted."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def check_budget(store: JobStore, client: Client) -> None:
    """Reads what the client's project may still spend.

    Raises:
        NotAllowed: nothing.
    """
    budget = store.budget(client.project_id)
    if budget.limit_pu is not None and budget.spent_pu >= budget.limit_pu:
        raise NotAllowed(
            f"The project has spent {budget.spent_pu:.6g} of its {budget.limit_pu:.6g} processing units;"
            " ask the operator for more"
        )


async def charge(request: Request, client: Client, cost_pu: float) -> None:
    """Adds to what the client has spent this minute, and its project in all."""
    spend_units(request, client.id, cost_pu)
    store: JobStore = request.app.state.store
    await run_in_threadpool(add_cost, store, client.project_id, cost_pu)


def add_cost(store: JobStore, project_id: str, cost_pu: float) -> None:
    """As `charge`, in the caller's thread."""
    insertion = store.database.insert(projects)
    store.database.transact(partial(budgets.add_spent, insert=insertion, project_id=project_id, cost_pu=cost_pu))


def cost_text(cost_pu: float) -> str:
    """Processing units as a decimal, without an exponent."""
    if cost_pu < _SMALLEST_PU:
        return "0"
    return f"{cost_pu:.9f}".rstrip("0").rstrip(".")


def busy_answer(error: TooManyRequests) -> JsonAnswer:
    """The answer to a request that finds the queue full."""
    return error_answer(429, error.message, error.code, headers={"Retry-After": _RETRY_AFTER_MS})


def file_answer(path: Path, media_type: str, cost_pu: float) -> Response:
    """A file's content as an answer; the file may be removed at once."""
    file = path.open("rb")
    size = path.stat().st_size
    headers = {"Content-Length": str(size), COST: cost_text(cost_pu)}
    return StreamingResponse(_pieces(file), media_type=media_type, headers=headers)


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    try:
        while piece := await run_in_threadpool(file.read, _SENT_BYTES):
            yield piece
    finally:
        with suppress(OSError):
            file.close()
