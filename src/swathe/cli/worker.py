"""`swathe worker`: computes units for the servers that use a Dask scheduler."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Annotated

import typer

from swathe.cli import server_parts
from swathe.model.errors import SettingsInvalid
from swathe.settings import DaskSettings, Settings

_ADDRESS = re.compile(r"\w+://.+:\d+")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("worker")(worker)


def worker(
    scheduler: Annotated[
        str, typer.Argument(metavar="SCHEDULER", help="The scheduler's address: tcp://HOST:PORT or tls://HOST:PORT.")
    ],
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Units at a time; by default as many as there are cores.")
    ] = None,
    memory_limit: Annotated[
        str | None,
        typer.Option("--memory-limit", help="A worker above it is ended, as 8GiB; by default 2GiB a thread."),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="What the scheduler calls it; unique.")] = None,
    local_directory: Annotated[
        Path | None, typer.Option("--local-directory", help="For what lasts no longer than the worker does.")
    ] = None,
    tls_ca: Annotated[Path | None, typer.Option("--tls-ca", help="For tls://: who signs certificates.")] = None,
    tls_cert: Annotated[Path | None, typer.Option("--tls-cert", help="For tls://: this worker's certificate.")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="For tls://: this worker's key.")] = None,
) -> None:
    """Compute units for a scheduler, until Ctrl-C.

    The server's [dask] scheduler is the same address. When the scheduler is gone, waits for it to come back. A worker
    process that dies is started again.
    """
    with server_parts("worker"):
        from dask.utils import parse_bytes

        from swathe.jobs.logs import configure_logging
        from swathe.jobs.runner.workers import make_security, run_worker

    if not _ADDRESS.fullmatch(scheduler):
        raise SettingsInvalid(f"{scheduler!r} is no scheduler's address; give it as tcp://HOST:PORT or tls://HOST:PORT")
    files = (tls_ca, tls_cert, tls_key)
    for file in files:
        if file is not None and not file.is_file():
            raise SettingsInvalid(f"There is no file {file}")
    if len({file is None for file in files}) > 1:
        raise SettingsInvalid("--tls-ca, --tls-cert and --tls-key belong together; give all or none")
    threads = threads or os.cpu_count() or 1
    memory_limit = memory_limit or f"{2 * threads}GiB"
    try:
        parse_bytes(memory_limit)
    except ValueError:
        raise SettingsInvalid(f"{memory_limit!r} is no amount of memory; give it as 8GiB") from None
    configure_logging(Settings())
    security = make_security(DaskSettings(tls_ca=tls_ca, tls_cert=tls_cert, tls_key=tls_key))
    asyncio.run(
        run_worker(
            scheduler,
            threads=threads,
            memory_limit=memory_limit,
            name=name,
            local_directory=local_directory,
            security=security,
        )
    )
