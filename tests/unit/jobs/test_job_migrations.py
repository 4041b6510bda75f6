"""A job store of any version becomes one of this version, whoever opens it and however many do so at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from jobs_store_parts import make_job
from sqlalchemy import create_engine, event

import swathe.jobs.migrations
from swathe.jobs.database import open_database
from swathe.jobs.records import Budget, FailedFeature, UnitRow
from swathe.jobs.schema import REVISIONS, SCHEMA_VERSION, metadata
from swathe.jobs.states import Event, Status
from swathe.jobs.store import JobStore
from swathe.jobs.upgrade import upgrade
from swathe.model.errors import SettingsInvalid

VERSION_1 = Path(__file__).with_name("store_version_1.sql")
OPEN_AND_CLOSE = """
import sys
from pathlib import Path
from swathe.jobs.database import open_database
open_database(Path(sys.argv[1]), sys.argv[2] or None).close()
"""


def run(place, *statements):
    """Executes statements without anything of the job store's."""
    url = place.url.replace("postgresql://", "postgresql+psycopg://") if place.url else None
    engine = create_engine(url or f"sqlite:///{place.home / 'swathe.sqlite'}")
    with engine.begin() as connection:
        for statement in statements:
            text = statement if place.url is None else statement.replace(" BLOB", " BYTEA")
            connection.exec_driver_sql(text)
    engine.dispose()


@pytest.fixture
def version_1(place):
    lines = [line for line in VERSION_1.read_text().splitlines() if not line.startswith("--")]
    run(place, *(part for part in "\n".join(lines).split(";\n") if part.strip()))
    return place


def differences(database):
    with database.read() as connection:
        return compare_metadata(MigrationContext.configure(connection), metadata)


def test_migrations_lead_to_the_tables_of_the_schema(database):
    assert differences(database) == []


def test_revisions_are_those_of_the_folder():
    folder = Path(swathe.jobs.migrations.__file__).parent
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    assert [revision.revision for revision in script.walk_revisions()][::-1] == list(REVISIONS)


def test_store_of_the_first_version_is_taken_over_with_all_that_is_in_it(version_1):
    database = open_database(version_1.home, version_1.url)
    assert differences(database) == []
    store = JobStore(database)
    job = store.get("j1", project_id="p1")
    assert (job.state.status, job.kind, job.description, job.completion_percent) == (
        Status.STOPPED,
        "statistics",
        "mine",
        66.6,
    )
    assert (job.plan, job.started) == ({}, None)
    assert store.keys("j1").output == {"accessKey": "A"}
    assert store.analysis("j1")[0] == b"plan"
    assert len(store.analysis("j1")[1]) == 3
    assert store.failed_features("j1") == [FailedFeature(7, "no polygon"), FailedFeature(9, "too large")]
    assert store.budget("p1") == Budget(None, 0.75)
    assert store.pending_units("j1", 10) == [UnitRow(2, features=2, cells=100, attempts=2, lost=0)]
    assert store.apply("j1", Event.START)[0].state.status is Status.PROCESSING
    database.close()


def test_interrupted_upgrade_has_not_happened(version_1):
    run(version_1, "CREATE TABLE byoc_collections (id VARCHAR(36))")  # in the way of the second revision
    with pytest.raises(SettingsInvalid, match="byoc_collections"):
        open_database(version_1.home, version_1.url)
    run(version_1, "DROP TABLE byoc_collections")
    database = open_database(version_1.home, version_1.url)
    assert differences(database) == []
    database.close()


@pytest.mark.parametrize("made", ["new", "version 1"])
def test_several_servers_opening_at_once_upgrade_once(place, made, request):
    if made == "version 1":
        request.getfixturevalue("version_1")
    command = [sys.executable, "-c", OPEN_AND_CLOSE, str(place.home), place.url or ""]
    servers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) for _ in range(3)]
    assert [(server.communicate()[1], server.returncode) for server in servers] == [("", 0)] * 3
    database = open_database(place.home, place.url)
    assert differences(database) == []
    database.close()


def test_opening_a_store_that_is_up_to_date_writes_nothing(place, database):
    seen = []
    again = open_database(place.home, place.url)
    event.listen(again.engine, "before_cursor_execute", lambda *given: seen.append(given[2]))
    upgrade(again.engine, again.write)
    assert seen
    assert not [statement for statement in seen if not statement.lstrip().startswith(("SELECT", "PRAGMA", "BEGIN"))]
    again.close()


def test_newer_schema_is_refused(place, database):
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE schema_version SET version = 99")
    with pytest.raises(SettingsInvalid, match="schema version 99"):
        open_database(place.home, place.url)


def test_newer_revision_is_refused(place, database):
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0099'")
    with pytest.raises(
        SettingsInvalid, match=f"schema revision 0099, this Swathe knows {REVISIONS[-1]}; use a newer Swathe"
    ):
        open_database(place.home, place.url)


def test_first_version_refuses_a_store_of_this_one(database):
    """It looks at this number and knows 1."""
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT version FROM schema_version").all() == [(SCHEMA_VERSION,)]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://u:hidden@localhost:hidden/db", "is no URL of a database"),
        ("hidden", "is no URL of a database"),
        ("mysql+pymysql://u:hidden@localhost/db", "possible are sqlite and postgresql"),
        ("postgresql://u:hidden@127.0.0.1:1/db", "cannot be opened"),
    ],
)
def test_unusable_url_is_a_sentence_without_the_password(tmp_path, url, message):
    with pytest.raises(SettingsInvalid, match=message) as caught:
        open_database(tmp_path, url)
    assert "hidden" not in str(caught.value)


def test_url_may_name_the_driver_or_not(place):
    if place.url is None:
        pytest.skip("for PostgreSQL alone")
    for scheme in ("postgresql://", "postgres://", "postgresql+psycopg://"):
        database = open_database(place.home, place.url.replace("postgresql://", scheme))
        make_job(JobStore(database))
        database.close()
