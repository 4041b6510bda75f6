"""What is done once an hour: requests that nobody has touched for the documented days are deleted.

Revoked tokens that have expired are forgotten.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from starlette.concurrency import run_in_threadpool

from swathe.jobs.clients import ClientStore
from swathe.jobs.home import Home
from swathe.jobs.logs import job_log
from swathe.jobs.store import JobStore

LOG = logging.getLogger(__name__)

_EVERY_S = 3600.0


async def tidy(store: JobStore, home: Home, sweep: Callable[[], None] = lambda: None) -> None:
    """Deletes stale requests and sweeps now and once an hour, until cancelled.

    Several servers may do so at the same time.
    """
    while True:
        try:
            await run_in_threadpool(_delete_stale, store, home)
            await run_in_threadpool(sweep)
        except Exception:  # as when the database is away: the next hour is another chance
            LOG.exception("stale requests could not be deleted")
        await asyncio.sleep(_EVERY_S)


def _delete_stale(store: JobStore, home: Home) -> None:
    ClientStore(store.database).forget_revoked()
    for job_id in store.delete_stale(datetime.now(UTC)):
        home.forget(job_id)
        home.forget_looking(job_id)
        job_log(LOG, job_id).info("deleted: nothing has happened to it for the days that [retention] allows")
