"""The collections of a client's project as data of its requests."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import Request

from swathe.jobs.byoc_sources import find_own, own_types
from swathe.jobs.records import Client
from swathe.jobs.store import JobStore
from swathe.model.common import DataSource


def own_of(request: Request, client: Client, sources: Iterable[DataSource]) -> tuple[str, ...]:
    """The types among those of a request that are collections of the client's project. Reads the store if there are.

    Raises:
        RequestInvalid: one names a collection that the project does not have.
    """
    types = own_types((source.type for source in sources), request.app.state.settings)
    if types:
        store: JobStore = request.app.state.store
        find_own(store.database, types, client.project_id)
    return types
