"""Opening the job store's database: SQLite in the server's home, or PostgreSQL by URL.

The database holds the keys to users' object stores while their jobs are unfinished, in clear: the runner needs them
after a restart. They are kept from others by the file's mode (0600, the home 0700), on PostgreSQL by its own means, and
are removed, their pages overwritten, with the end of the job.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, insert, make_url, select
from sqlalchemy.exc import SQLAlchemyError

from swathe.jobs.schema import SCHEMA_VERSION, metadata, schema_version
from swathe.model.errors import SettingsInvalid

DATABASE_FILE = "swathe.sqlite"
_BUSY_S = 30


class Database:
    """A database with short transactions for reading and for writing; writers stand in line."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database and changes nothing."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is durable when the block has ended, and has not happened when the block raises."""
        with self.engine.connect() as connection:
            connection = connection.execution_options(swathe_write=True)
            with connection.begin():
                yield connection

    def shred(self) -> None:
        """Empties SQLite's log, which still holds what was overwritten; when readers are in the way, another time."""
        if self.engine.dialect.name == "sqlite":
            with self.engine.connect() as connection:
                driver: Any = connection.connection.driver_connection
                driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()

    def close(self) -> None:
        """Gives all connections back."""
        self.engine.dispose()


def open_database(home: Path, url: str | None = None) -> Database:
    """The database at `url`, else SQLite in `home`; made when it is not there yet.

    Raises:
        SettingsInvalid: it cannot be opened, or was made by a newer version.
    """
    try:
        engine = _open_engine(home, url)
        database = Database(engine)
        with database.write() as connection:
            metadata.create_all(connection)
            version = connection.scalar(select(schema_version.c.version))
            if version is None:
                connection.execute(insert(schema_version).values(version=SCHEMA_VERSION))
    except (SQLAlchemyError, ImportError, OSError) as error:
        place = "the configured database" if url else str(home / DATABASE_FILE)
        cause = getattr(error, "orig", error)
        raise SettingsInvalid(f"The job store in {place} cannot be opened: {cause}") from None
    if version is not None and version > SCHEMA_VERSION:
        raise SettingsInvalid(
            f"The job store has schema version {version}, this Swathe knows {SCHEMA_VERSION}; use a newer Swathe"
        )
    return database


def _open_engine(home: Path, url: str | None) -> Engine:
    if url is None:
        return _sqlite(home / DATABASE_FILE)
    place = make_url(url)
    if place.get_backend_name() == "sqlite" and place.database:
        return _sqlite(Path(place.database))
    return create_engine(place, pool_pre_ping=True)


def _sqlite(file: Path) -> Engine:
    """WAL, so that readers never wait; synchronous FULL, so that a committed change survives a loss of power."""
    os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    file.chmod(0o600)
    engine = create_engine(f"sqlite:///{file}", connect_args={"timeout": _BUSY_S, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "secure_delete = ON",
            "cache_size = -4096",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A reader that turns into a writer half-way would fail at once with "locked"; a writer from the start waits.
        writes = connection.get_execution_options().get("swathe_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
