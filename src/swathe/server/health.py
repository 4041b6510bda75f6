"""Whether the server lives, and whether it can do its work: for people, proxies and orchestrators."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import APIRouter
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from swathe import __version__
from swathe.jobs.database import Database
from swathe.jobs.metrics import RunnerState
from swathe.server.answers import JsonAnswer
from swathe.settings import Settings

LOG = logging.getLogger(__name__)

_PATIENCE_S = 3.0
_CONNECT_S = 2.0
# The runner looks at the store twice a second; a slow database may hold it up for a while.
_MOST_SILENCE_S = 60.0

Check = Callable[[], str | None]
"""What is wrong with a part; None when nothing is."""


def checks_of(settings: Settings, database: Database, state: Callable[[], RunnerState] | None) -> dict[str, Check]:
    """The parts that a server needs to do its work. `state` is the runner's, None where another server runs the jobs."""
    checks: dict[str, Check] = {
        "database": lambda: _database(database),
        "storage": lambda: _storage(settings.storage.local_root),
    }
    if state is not None:
        checks["runner"] = lambda: _runner(state())
        if settings.dask.scheduler is not None:
            address = settings.dask.scheduler
            checks["scheduler"] = lambda: _scheduler(address)
    return checks


def health_router(checks: dict[str, Check]) -> APIRouter:
    """`/health` and `/health/live` say that the process answers, `/health/ready` whether all its parts do."""
    router = APIRouter(tags=["health"])

    @router.get("/health")
    @router.get("/health/live")
    async def live() -> JsonAnswer:
        """Whether the server lives."""
        return JsonAnswer({"status": "ok", "version": __version__})

    @router.get("/health/ready", responses={503: {"description": "A part does not work; the answer says which"}})
    async def ready() -> JsonAnswer:
        """Whether the server can do its work: 503 with the parts that do not work."""
        found = await asyncio.gather(*(_ask(name, check) for name, check in checks.items()))
        parts = {name: problem or "ok" for name, problem in zip(checks, found, strict=True)}
        is_ready = not any(found)
        answer = {"status": "ok" if is_ready else "unavailable", "version": __version__, "parts": parts}
        return JsonAnswer(answer, status_code=200 if is_ready else 503, headers={"Cache-Control": "no-store"})

    return router


async def _ask(name: str, check: Check) -> str | None:
    try:
        return await asyncio.wait_for(run_in_threadpool(check), _PATIENCE_S)
    except TimeoutError:
        return f"does not answer within {_PATIENCE_S:.0f} s"
    except Exception:
        LOG.exception("the health check of the %s failed", name)
        return "cannot be checked; the server's log says why"


def _database(database: Database) -> str | None:
    try:
        database.check()
    except SQLAlchemyError:
        return "does not answer"
    return None


def _storage(local_root: Path | None) -> str | None:
    """A folder must take files; an S3 server is each job's to ask, with the job's keys."""
    if local_root is None:
        return None
    existing = next((path for path in (local_root, *local_root.parents) if path.exists()), None)
    if existing is None or not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return "the folder for buckets cannot be written to"
    return None


def _runner(state: RunnerState) -> str | None:
    if not state.is_alive:
        return "has ended"
    if state.seconds_since_look > _MOST_SILENCE_S:
        return f"has not looked at the job store for {state.seconds_since_look:.0f} s"
    return None


def _scheduler(address: str) -> str | None:
    place = urlsplit(address if "://" in address else f"tcp://{address}")
    try:
        with socket.create_connection((place.hostname or "", place.port or 8786), timeout=_CONNECT_S):
            return None
    except (OSError, ValueError):
        return "does not answer"
