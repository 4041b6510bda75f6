"""Opening the job store's database: SQLite in the server's home, or PostgreSQL by URL.

The database holds the keys to users' object stores while their jobs are unfinished, in clear: the runner needs them
after a restart. They are kept from others by the file's mode (0600, the home 0700), on PostgreSQL by its own means, and
are removed, their pages overwritten, with the end of the job.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from swathe.jobs.upgrade import upgrade
from swathe.model.errors import SettingsInvalid

T = TypeVar("T")

DATABASE_FILE = "swathe.sqlite"
_BUSY_S = 30
_PAUSES_S = (0.05, 0.2, 0.8, 2.0)
# SQLSTATEs with which PostgreSQL says that the transaction has not happened: serialisation failure, deadlock.
_UNDONE = frozenset({"40001", "40P01"})
# Those that pass by themselves: also too many connections, shutting down, a crash, its recovery, a lock not to be had,
# an idle transaction ended.
_PASSING = _UNDONE | {"53300", "57P01", "57P02", "57P03", "55P03", "25P03"}
# What PostgreSQL does about a server that vanished in the middle of a transaction: its locks are gone after this.
_POSTGRES_SETTINGS = {"idle_in_transaction_session_timeout": "20s", "lock_timeout": "30s"}
_POSTGRES_CONNECTION = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "application_name": "swathe",
}


class DatabaseUnavailable(SQLAlchemyError):
    """The database cannot be reached, or the connection broke: what was asked for may or may not have happened."""

    retryable = True


class DatabaseFailed(Exception):
    """The database refused a statement, which will not pass: a bug of ours, or a broken file.

    The text holds nothing of what was to be written.
    """


class Database:
    """A database with short transactions for reading and for writing; writers stand in line."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file of this machine's."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database and changes nothing.

        Raises:
            DatabaseUnavailable: the database cannot be reached.
        """
        with _told_apart(), self.engine.connect() as connection:
            if not self.is_sqlite:
                connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is durable when the block has ended, and has not happened when the block raises.

        Raises:
            DatabaseUnavailable: the database cannot be reached, or was lost at the end.
        """
        with _told_apart(), self.engine.connect() as connection:
            connection = connection.execution_options(swathe_write=True)
            with connection.begin():
                yield connection

    def transact(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, done in one durable transaction.

        `work` is called again when the transaction has certainly not happened: the database gave it up (a deadlock), or
        the connection broke before the end. So it must change nothing but the database.

        Raises:
            DatabaseUnavailable: the database cannot be reached, or was lost while it committed, so that nobody knows.
        """
        for pause_s in (*_PAUSES_S, None):
            finished = False
            try:
                with self.engine.connect() as connection:
                    connection = connection.execution_options(swathe_write=True)
                    with connection.begin():
                        value = work(connection)
                        finished = True
                return value
            except DBAPIError as error:
                undone = _state(error) in _UNDONE or (_is_passing(error) and not finished)
                if pause_s is None or not undone:
                    raise _tell_apart(error) from None
            time.sleep(pause_s)
        raise AssertionError  # the last round returns or raises

    def insert(self, table: Table) -> Any:
        """An INSERT that knows ON CONFLICT."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    def shred(self) -> None:
        """Empties SQLite's log, which still holds what was overwritten; when readers are in the way, another time."""
        if self.is_sqlite:
            with self.engine.connect() as connection:
                driver: Any = connection.connection.driver_connection
                driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()

    def check(self) -> None:
        """Asks the database for nothing, to see whether it answers.

        Raises:
            DatabaseUnavailable: it does not.
        """
        with self.read() as connection:
            connection.exec_driver_sql("SELECT 1").close()

    def close(self) -> None:
        """Gives all connections back."""
        self.engine.dispose()


def open_database(home: Path, url: str | None = None) -> Database:
    """The database at `url`, else SQLite in `home`; made when it is not there yet, brought up to date when it is old.

    Servers that open one database at the same time wait for one another.

    Raises:
        SettingsInvalid: it cannot be opened, or was made by a newer version.
    """
    place = "the configured database" if url else str(home / DATABASE_FILE)
    engine = None
    try:
        engine = open_engine(home, url)
        database = Database(engine)
        upgrade(engine, database.write)
    except ModuleNotFoundError as error:
        raise SettingsInvalid(
            f"The job store in {place} cannot be opened: {error}; PostgreSQL needs pip install 'swathe[postgres]'"
        ) from None
    except (SQLAlchemyError, DatabaseFailed, ImportError, OSError) as error:
        if engine is not None:
            engine.dispose()
        cause = getattr(error, "orig", None) or error
        raise SettingsInvalid(f"The job store in {place} cannot be opened: {cause}") from None
    except SettingsInvalid:
        if engine is not None:
            engine.dispose()
        raise
    return database


def open_engine(home: Path, url: str | None) -> Engine:
    """Connections to the database at `url`, else to SQLite in `home`, whose file is made; its tables are left as they are.

    Raises:
        SettingsInvalid: the URL is none, or of a kind that is not known.
    """
    if url is None:
        return _sqlite(home / DATABASE_FILE)
    try:
        place = make_url(url)
    except (SQLAlchemyError, ValueError):  # whose text would hold parts of the password
        raise SettingsInvalid(
            "[database] url is no URL of a database; one is postgresql://user:password@host:5432/name,"
            " special characters in it as %XX"
        ) from None
    if place.get_backend_name() == "sqlite" and place.database:
        return _sqlite(Path(place.database))
    if place.drivername in ("postgresql", "postgres"):
        place = place.set(drivername="postgresql+psycopg")
    if place.drivername != "postgresql+psycopg":
        raise SettingsInvalid(f"[database] url is for {place.drivername}; possible are sqlite and postgresql")
    return _postgres(place)


def _postgres(place: URL) -> Engine:
    """Connections are tried before use, so that a restart of PostgreSQL is noticed by nobody who starts afterwards."""
    given = {key: value for key, value in _POSTGRES_CONNECTION.items() if key not in place.query}
    engine = create_engine(
        place, pool_pre_ping=True, pool_recycle=1800, max_overflow=20, connect_args=given, hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        for name, value in _POSTGRES_SETTINGS.items():
            connection.execute(f"SET {name} = '{value}'").close()
        connection.commit()

    return engine


def _sqlite(file: Path) -> Engine:
    """WAL, so that readers never wait; synchronous FULL, so that a committed change survives a loss of power."""
    os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    file.chmod(0o600)
    place = f"{file.absolute().as_uri()}?mode=rw"  # never an empty file in place of one that somebody removed

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(place, uri=True, timeout=_BUSY_S, check_same_thread=False)

    # An error's text shows no parameters: they may be keys.
    engine = create_engine(URL.create("sqlite", database=str(file)), creator=connect, hide_parameters=True)

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


@contextmanager
def _told_apart() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise _tell_apart(error) from None


def _tell_apart(error: DBAPIError) -> DatabaseUnavailable | DatabaseFailed:
    """Errors that may pass and bugs, without the values that PostgreSQL adds to its messages: they may be keys."""
    diagnosis = getattr(error.orig, "diag", None)
    text = getattr(diagnosis, "message_primary", None) or str(error.orig)
    if _is_passing(error) or isinstance(error.orig, sqlite3.OperationalError):
        return DatabaseUnavailable(f"The job store does not answer: {text}")
    return DatabaseFailed(f"The job store refused a statement: {type(error.orig).__name__}: {text}")


def _is_passing(error: DBAPIError) -> bool:
    """Whether there is no connection, or none any more, or PostgreSQL says that it cannot just now."""
    state = _state(error)
    unconnected = state is None and isinstance(error, OperationalError) and not isinstance(error.orig, sqlite3.Error)
    return error.connection_invalidated or state in _PASSING or unconnected


def _state(error: DBAPIError) -> str | None:
    state: str | None = getattr(error.orig, "sqlstate", None)
    return state
