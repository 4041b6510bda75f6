"""The execution database: how far each feature of a job is, in one SQLite file that anybody can open.

Table `features`: `id`, `name` (the identifier, or the id where there is none), `status` (PENDING, DONE or FATAL), `error`
(why a feature is FATAL; `No data` for one that is DONE but empty), `delivered` (1 when its result lies in the output
folder; the document of a FATAL one tells the error).

A copy is kept in the job's folder and brought up to date, so a publication costs what has changed. What the store says of
units decides: a copy that is lost, or behind after a kill, is made again or caught up with.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from swathe.jobs.records import NO_DATA

if TYPE_CHECKING:
    from swathe.jobs.kinds import Place

_KEPT = "execution.sqlite"
# There while the kept copy says more than the uploaded one may.
_MARK = "execution.changed"
_TABLE = """
CREATE TABLE features (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'PENDING',
    error TEXT,
    delivered BOOLEAN NOT NULL DEFAULT 0
)
"""

Units = Sequence[tuple[int, bytes, str]]
ReadNames = Callable[[], Iterable[tuple[int, str]]]


def database_name(request_id: str) -> str:
    """What the database is called in the output folder."""
    return f"execution-{request_id}.sqlite"


def deliver_database(
    folder: Path,
    delivery: Place,
    units: Units,
    failed: Mapping[int, str],
    *,
    read_names: ReadNames,
    delivers_failures: bool = True,
) -> None:
    """Brings the kept copy up to date and puts it into the output folder if it says anything new.

    `units` are (index, feature ids, state), `failed` says why features of units that are done have no result;
    `read_names` gives id and name of every feature; `delivers_failures` says that a failed one has a result that tells so.

    Raises:
        StorageError: the output place does not take it.
        FeaturesInvalid: the GeoPackage in the folder cannot be read.
    """
    kept = folder / _KEPT
    mark = folder / _MARK
    if not kept.exists():
        mark.touch()
        _make(kept, read_names())
    try:
        _update(kept, mark, units, failed, delivers_failures)
    except sqlite3.DatabaseError:  # of a machine that lost its power, say
        mark.touch()
        _remove(kept)
        _make(kept, read_names())
        _update(kept, mark, units, failed, delivers_failures)
    if mark.exists():
        delivery.upload(database_name(delivery.request_id), kept)
        mark.unlink()


def _make(kept: Path, names: Iterable[tuple[int, str]]) -> None:
    """The database of a job of which nothing is done, under its name when it is complete."""
    unfinished = kept.with_suffix(".new")
    _remove(unfinished)
    with closing(_connect(unfinished)) as database:
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("BEGIN")
        database.execute(_TABLE)
        database.executemany("INSERT INTO features (id, name) VALUES (?, ?)", names)
        database.execute("COMMIT")
    _sync(unfinished)
    unfinished.replace(kept)


def _update(kept: Path, mark: Path, units: Units, failed: Mapping[int, str], delivers_failures: bool) -> None:
    """One transaction with all that the store says and the database does not."""
    with closing(_connect(kept)) as database:
        database.execute("BEGIN IMMEDIATE")
        news = list(_news(database, units))
        for ids, done in news:
            rows = ((done, "DONE" if done else "PENDING", key) for key in ids)
            database.executemany("UPDATE features SET delivered = ?, status = ?, error = NULL WHERE id = ?", rows)
        fatal = "UPDATE features SET status = 'FATAL', error = ?, delivered = ? WHERE id = ? AND status = 'DONE'"
        reasons = ((reason, delivers_failures, key) for key, reason in failed.items() if reason != NO_DATA)
        found = database.executemany(fatal, reasons).rowcount
        empty = "UPDATE features SET error = ? WHERE id = ? AND status = 'DONE' AND error IS NULL"
        noted = database.executemany(
            empty, ((NO_DATA, key) for key, reason in failed.items() if reason == NO_DATA)
        ).rowcount
        if news or found > 0 or noted > 0:
            mark.touch()
        database.execute("COMMIT")


def _news(database: sqlite3.Connection, units: Units) -> Iterable[tuple[list[int], bool]]:
    """The features of units of which the database says something else than the store, and whether they are done.

    A unit is written in one transaction, so its first feature tells of all of them.
    """
    import numpy as np

    for _, ids, state in units:
        done = state == "DONE"
        first = int.from_bytes(ids[:8], "little", signed=True)
        row = database.execute("SELECT status <> 'PENDING' FROM features WHERE id = ?", (first,)).fetchone()
        if row is not None and bool(row[0]) != done:
            yield np.frombuffer(ids, "<i8").tolist(), done


def _connect(path: Path) -> sqlite3.Connection:
    # A rollback journal, not a log: between transactions all of it is in the one file.
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA cache_size = -65536")  # KiB
    return database


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """Removes a database, with the journal that a killed process left beside it."""
    for name in (path.name, f"{path.name}-journal"):
        path.with_name(name).unlink(missing_ok=True)
