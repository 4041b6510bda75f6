"""A job store on each kind of database: a test with one of these fixtures runs once on SQLite, once on PostgreSQL."""

from __future__ import annotations

import pytest
from jobs_store_parts import Clock

from databases import KINDS, new_place
from swathe.jobs.database import open_database
from swathe.jobs.store import JobStore


@pytest.fixture(params=KINDS)
def place(request, tmp_path):
    with new_place(request.param, tmp_path) as place:
        yield place


@pytest.fixture
def database(place):
    database = open_database(place.home, place.url)
    yield database
    database.close()


@pytest.fixture
def store(database):
    return JobStore(database, Clock())
