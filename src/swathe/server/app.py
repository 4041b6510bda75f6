"""The HTTP application, built from the settings and a home."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware

from swathe import __version__
from swathe.engine.compute import Engine
from swathe.jobs.clients import ClientStore, signing_key
from swathe.jobs.database import open_database
from swathe.jobs.home import Home
from swathe.jobs.runner.driver import JobRunner
from swathe.jobs.store import JobStore
from swathe.model.statistical import StatisticsRequest
from swathe.server import auth, batch_statistics
from swathe.server.answers import JsonAnswer
from swathe.server.errors import add_error_handlers
from swathe.server.middleware import AnsweredBugs, BoundedBodies, EvenPaths
from swathe.server.tokens import TokenIssuer
from swathe.settings import Settings

ISSUER = "urn:swathe"


def create_app(settings: Settings, home: Path | Home, *, runs_jobs: bool = True) -> FastAPI:
    """The application. Opens the job store; jobs run from its start-up to its shutdown.

    With `runs_jobs` false, requests are taken and answered while another server on the same store runs them.

    Raises:
        SettingsInvalid: the home or the job store cannot be used.
    """
    home = home if isinstance(home, Home) else Home(home)
    url = settings.database.url.get_secret_value() if settings.database.url is not None else None
    database = open_database(home.path, url)
    store = JobStore(database)
    runner = JobRunner(settings, home, store) if runs_jobs else None

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if runner is not None:
            await run_in_threadpool(runner.start)
        try:
            yield
        finally:
            if runner is not None:
                await run_in_threadpool(runner.close)
            store.close()

    app = FastAPI(
        title="Swathe",
        version=__version__,
        description="Sentinel Hub's batch APIs, open and self-hosted.",
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=_operation_id,
    )
    app.state.settings = settings
    app.state.store = store
    app.state.clients = ClientStore(database)
    app.state.tokens = TokenIssuer(
        *signing_key(database),
        issuer=settings.server.public_url or ISSUER,
        lifetime_s=settings.server.token_lifetime_s,
    )
    app.state.check = _checker(settings)
    app.state.wake = runner.wake if runner is not None else lambda: None

    app.include_router(auth.router)
    for path in batch_statistics.PATHS:
        app.include_router(batch_statistics.router, prefix=path)
    app.include_router(_health())
    add_error_handlers(app)
    # The last one added is the first to see a request.
    app.add_middleware(AnsweredBugs)
    app.add_middleware(BoundedBodies, max_bytes=settings.limits.request_bytes)
    app.add_middleware(EvenPaths)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=["authorization", "content-type", "accept", "accept-crs"],
        expose_headers=["X-ProcessingUnits-Spent", "Retry-After"],
        max_age=3600,
    )
    return app


def _checker(settings: Settings) -> Callable[[StatisticsRequest], None]:
    """The engine's quick check of a request, for any thread."""
    engine = Engine(settings)
    lock = threading.Lock()

    def check(request: StatisticsRequest) -> None:
        with lock:
            engine.check(request)

    return check


def _health() -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/health")
    async def health() -> JsonAnswer:
        """Whether the server lives."""
        return JsonAnswer({"status": "ok", "version": __version__})

    return router


def _operation_id(route: APIRoute) -> str:
    path = "_".join(part.strip("{}.") for part in route.path_format.strip("/").split("/"))
    return f"{route.name}_{path}"
