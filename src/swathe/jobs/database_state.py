"""How a job store's database is, without changing anything in it: for those who look before a server starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from swathe.jobs.database import DATABASE_FILE, open_engine
from swathe.jobs.schema import REVISIONS, SCHEMA_VERSION
from swathe.model.errors import SettingsInvalid


@dataclass(frozen=True)
class DatabaseState:
    """What was found. `refusal` is why a change was not taken; `revision` is None where there are no tables."""

    place: str
    is_there: bool = True
    revision: str | None = None
    is_newer: bool = False
    refusal: str | None = None

    @property
    def is_current(self) -> bool:
        """Whether this version of Swathe works with it as it is."""
        return self.revision == REVISIONS[-1]


def look_at_database(home: Path, url: str | None = None) -> DatabaseState:
    """The state of the database at `url`, else of SQLite in `home`.

    Raises:
        SettingsInvalid: it cannot be reached or opened. The message holds no password.
    """
    place = "the configured database" if url else str(home / DATABASE_FILE)
    if url is None and not (home / DATABASE_FILE).is_file():
        return DatabaseState(place, is_there=False)
    engine = None
    try:
        engine = open_engine(home, url)
        with engine.connect() as connection:
            revision, is_newer = _revision(connection)
        refusal = None
        try:
            with engine.connect().execution_options(swathe_write=True) as connection, connection.begin() as change:
                connection.execute(text("CREATE TABLE swathe_doctor_probe (number INTEGER)"))
                change.rollback()
        except DBAPIError as error:
            refusal = _reason(error)
        return DatabaseState(place, revision=revision, is_newer=is_newer, refusal=refusal)
    except ModuleNotFoundError as error:
        raise SettingsInvalid(
            f"{place} cannot be opened: {error}; PostgreSQL needs pip install 'swathe[postgres]'"
        ) from None
    except DBAPIError as error:
        raise SettingsInvalid(f"{place} cannot be opened: {_reason(error)}") from None
    except (SQLAlchemyError, OSError) as error:
        raise SettingsInvalid(f"{place} cannot be opened: {' '.join(str(error).split())}") from None
    finally:
        if engine is not None:
            engine.dispose()


def _revision(connection: Connection) -> tuple[str | None, bool]:
    """The revision of the tables, and whether it is one that this version does not know."""
    tables = inspect(connection).get_table_names()
    if "schema_version" not in tables:
        return None, False
    version = connection.scalar(text("SELECT version FROM schema_version"))
    if version is not None and version > SCHEMA_VERSION:
        return f"schema {version}", True
    if "alembic_version" not in tables:
        return REVISIONS[0], False
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision, revision is not None and revision not in REVISIONS


def _reason(error: DBAPIError) -> str:
    diagnosis = getattr(error.orig, "diag", None)
    return " ".join((getattr(diagnosis, "message_primary", None) or str(error.orig)).split())
