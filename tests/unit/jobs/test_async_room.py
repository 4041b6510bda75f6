"""Asynchronous requests in the job store: how many a project may have, and who sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from swathe.jobs.async_desk import KIND, AsyncDesk
from swathe.jobs.database import open_database
from swathe.jobs.home import Home
from swathe.jobs.keys import KeyPairs
from swathe.jobs.listing import list_jobs
from swathe.jobs.store import JobStore
from swathe.jobs.workshop import TooManyRequests
from swathe.settings import LimitSettings, Settings


def test_a_project_has_a_bound_of_its_own_and_batch_lists_leave_them_out(tmp_path: Path) -> None:
    store = JobStore(open_database(tmp_path))
    desk = AsyncDesk(Settings(limits=LimitSettings(async_requests_per_project=2)), store, Home(tmp_path / "home"))
    try:

        def create(project: str, kind: str) -> None:
            store.create(client_id="c", project_id=project, request={}, keys=KeyPairs(), description=None, kind=kind)
            desk.check_room(project)

        for kind in (KIND, KIND, "statistics"):
            create("mine", kind)
        with pytest.raises(TooManyRequests, match="has 2 asynchronous requests under way, and may have 2"):
            create("mine", KIND)
        create("other", KIND)
        kinds = {None: ["statistics"], KIND: [KIND] * 4, "process": []}
        for kind, found in kinds.items():
            assert [job.kind for job in list_jobs(store.database, kind=kind).jobs] == found
    finally:
        desk.close()
        store.close()
