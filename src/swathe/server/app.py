"""The HTTP application, built from the settings and a home."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware

from swathe import __version__
from swathe.jobs.async_desk import AsyncDesk
from swathe.jobs.byoc import ByocCollections
from swathe.jobs.byoc_tiles import ByocTiles
from swathe.jobs.clients import ClientStore, signing_key
from swathe.jobs.database import open_database
from swathe.jobs.home import Home
from swathe.jobs.ingestion import Ingestor
from swathe.jobs.layers import Layers, read_own_layers
from swathe.jobs.looking import Looker
from swathe.jobs.runner.driver import JobRunner
from swathe.jobs.store import JobStore
from swathe.server import (
    admin,
    auth,
    batch_process,
    batch_statistics,
    byoc,
    catalog,
    configuration,
    console,
    console_api,
    console_map,
    ogc,
    process,
    process_async,
    statistical,
    tiling_grids,
)
from swathe.server.catalog_shelf import Shelf
from swathe.server.checks import Checks
from swathe.server.computing import open_workshop
from swathe.server.describe import DESCRIPTION, describe
from swathe.server.docs_page import add_docs_page
from swathe.server.errors import add_error_handlers
from swathe.server.health import checks_of, health_router
from swathe.server.layer_extents import LayerExtents
from swathe.server.metrics import CountedRequests, Metrics, metrics_router
from swathe.server.middleware import AnsweredBugs, BoundedBodies, EvenPaths
from swathe.server.rates import HEADERS, Guesses, RateLimits, ToldRates
from swathe.server.tidying import tidy
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
    own_layers = read_own_layers(settings)
    url = settings.database.url.get_secret_value() if settings.database.url is not None else None
    database = open_database(home.path, url)
    store = JobStore(database, days_kept=settings.retention)
    runner = JobRunner(settings, home, store) if runs_jobs else None
    state = runner.state if runner is not None else None
    tiles = ByocTiles(database)
    ingestor = Ingestor(settings.storage, tiles, home.server_id) if runs_jobs else None
    workshop = open_workshop(settings)
    async_desk = AsyncDesk(settings, store, home)
    looker = Looker(settings, store, home)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if runner is not None:
            await run_in_threadpool(runner.start)
        if ingestor is not None:
            ingestor.start()
        if runs_jobs:
            await run_in_threadpool(async_desk.resume)
        tidying = asyncio.create_task(tidy(store, home, looker.sweep))
        try:
            yield
        finally:
            tidying.cancel()
            if ingestor is not None:
                await run_in_threadpool(ingestor.close)
            await run_in_threadpool(async_desk.close)
            await run_in_threadpool(looker.close)
            await run_in_threadpool(workshop.close)
            if runner is not None:
                await run_in_threadpool(runner.close)
            store.close()

    app = FastAPI(
        title="Swathe",
        version=__version__,
        description=DESCRIPTION,
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
    app.state.rates = RateLimits(settings.rate_limits)
    app.state.guesses = Guesses(settings.rate_limits.failed_tokens_per_minute)
    checks = Checks(settings)
    app.state.check, app.state.check_batch_process = checks.statistics, checks.batch_process
    app.state.workshop, app.state.async_desk = workshop, async_desk
    app.state.byoc_collections, app.state.byoc_tiles = ByocCollections(database), tiles
    app.state.ingest = ingestor.wake if ingestor is not None else lambda: None
    app.state.shelf = Shelf(settings, app.state.byoc_collections, tiles)
    app.state.layers, app.state.layer_extents = Layers(database, own_layers), LayerExtents(app.state.shelf)
    app.state.wake = runner.wake if runner is not None else lambda: None
    app.state.looker = looker

    app.include_router(auth.router)
    apis = (batch_statistics, batch_process, tiling_grids, statistical, process, process_async, byoc, catalog, admin)
    for api in (*apis, configuration, ogc):
        for path in api.PATHS:
            app.include_router(api.router, prefix=path)
    if settings.console.enabled:
        for part in (console_api, console_map):
            app.include_router(part.router, prefix=console_api.PREFIX)
        console.add_console_pages(app, style_url=settings.console.style_url)
    app.include_router(health_router(checks_of(settings, database, state)))
    add_error_handlers(app)
    add_docs_page(app)
    app.openapi = partial(describe, app)  # type: ignore[method-assign]
    # The last one added is the first to see a request.
    app.add_middleware(AnsweredBugs)
    app.add_middleware(BoundedBodies, max_bytes=settings.limits.request_bytes)
    if app.state.rates.is_on:
        app.add_middleware(ToldRates, rates=app.state.rates)
    if settings.server.metrics:
        metrics = Metrics(store, runner.metrics if runner is not None else None, state)
        app.include_router(metrics_router(metrics))
        app.add_middleware(CountedRequests, metrics=metrics)
    app.add_middleware(EvenPaths)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=["authorization", "content-type", "accept", "accept-crs"],
        expose_headers=["X-ProcessingUnits-Spent", "Retry-After", *HEADERS],
        max_age=3600,
    )
    return app


def _operation_id(route: APIRoute) -> str:
    path = "_".join(part.strip("{}.") for part in route.path_format.strip("/").split("/"))
    return f"{route.name}_{path}"
