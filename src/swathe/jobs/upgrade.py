"""Brings a database to the newest revision of `migrations`, one server at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from swathe.jobs.schema import REVISIONS, SCHEMA_VERSION
from swathe.model.errors import SettingsInvalid

_FOLDER = Path(__file__).parent / "migrations"
# Any number that no other application on the same PostgreSQL is likely to lock.
_LOCK = 0x5A7E_5C4E
# Alembic's environment is one per process.
_one_at_a_time = threading.Lock()


def upgrade(engine: Engine, write: Callable[[], AbstractContextManager[Connection]]) -> None:
    """Makes the tables, or changes them to what this version needs, in one transaction of `write`'s.

    A database that was made before Alembic came is taken to be of the first revision.

    Raises:
        SettingsInvalid: a newer version of Swathe has been at work on it.
    """
    with engine.connect() as connection:
        if _revision(connection) == REVISIONS[-1]:
            return
    with _one_at_a_time, write() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        revision = _revision(connection)
        if revision != REVISIONS[-1]:
            _run(connection, revision)


def _revision(connection: Connection) -> str | None:
    """The revision of the tables; None when there are none.

    Raises:
        SettingsInvalid: it is a newer one than this version knows.
    """
    tables = inspect(connection).get_table_names()
    if "schema_version" not in tables:
        return None
    version = connection.scalar(text("SELECT version FROM schema_version"))
    if version is not None and version > SCHEMA_VERSION:
        raise SettingsInvalid(
            f"The job store has schema version {version}, this Swathe knows {SCHEMA_VERSION}; use a newer Swathe"
        )
    if "alembic_version" not in tables:
        return REVISIONS[0]
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if revision is not None and revision not in REVISIONS:
        raise SettingsInvalid(
            f"The job store has schema revision {revision}, this Swathe knows {REVISIONS[-1]}; use a newer Swathe"
        )
    return revision


def _run(connection: Connection, revision: str | None) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    if revision is not None and "alembic_version" not in inspect(connection).get_table_names():
        command.stamp(config, revision)
    command.upgrade(config, "head")
