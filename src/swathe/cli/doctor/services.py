"""Checks of what a server works with: its database, and the scheduler of a cluster."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from swathe.cli.doctor.findings import Finding, Patient, ok, problem, warning

_CONNECT_S = 5


def check_database(patient: Patient) -> list[Finding]:
    """Whether the job store is reached, of a version this Swathe knows, and takes changes. Changes nothing."""
    from swathe.jobs.database_state import look_at_database
    from swathe.model.errors import SettingsInvalid

    url = patient.settings.database.url
    if url is None and patient.home is None:
        return [ok("database", "none is configured: `swathe serve` keeps SQLite in its home")]
    try:
        state = look_at_database(patient.home or Path(), url.get_secret_value() if url is not None else None)
    except SettingsInvalid as error:
        return [problem("database", error.message, "see [database] url, and whether the database runs")]
    if not state.is_there:
        return [ok("database", f"{state.place} is not there yet; the first start makes it")]
    if state.is_newer:
        text = f"{state.place} was made by a newer Swathe (revision {state.revision})"
        return [problem("database", text, "install that version, or take another home or database")]
    if state.refusal is not None:
        text = f"{state.place} takes no changes: {state.refusal}"
        return [problem("database", text, "see the rights of its user, whether its disk is full, and who locks it")]
    if not state.is_current:
        was = f"of revision {state.revision}" if state.revision else "empty"
        return [
            warning("database", f"{state.place} is {was}", "nothing: the next start brings it up to date; back it up")
        ]
    return [ok("database", f"{state.place} answers and takes changes, revision {state.revision}")]


def check_scheduler(patient: Patient) -> list[Finding]:
    """Whether the Dask scheduler is reached, has workers, and all are of versions that go together."""
    from distributed import Client

    from swathe import __version__
    from swathe.jobs.runner.workers import make_security

    settings = patient.settings.dask
    if settings.scheduler is None:
        return [ok("scheduler", "none is configured: the server starts workers of its own")]
    parts = urlsplit(settings.scheduler)
    if parts.scheme not in ("tcp", "tls") or not parts.hostname or not parts.port:
        text = f"{settings.scheduler} is no address of a scheduler"
        return [problem("scheduler", text, "write it like tcp://HOST:8786 or tls://HOST:8786")]
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=_CONNECT_S).close()
    except OSError as error:
        text = f"{settings.scheduler} does not answer: {error.strerror or error}"
        return [problem("scheduler", text, "start it (dask scheduler), or see [dask] scheduler and the network")]
    try:
        client: Any = Client(  # type: ignore[no-untyped-call]
            settings.scheduler, timeout=_CONNECT_S, security=make_security(settings), set_as_default=False
        )
    except Exception as error:
        remedy = "see that it is a Dask scheduler, and that both sides speak TLS with keys of one authority, or neither"
        return [problem("scheduler", f"{settings.scheduler} answers, but not as it should: {_one_line(error)}", remedy)]
    with client:
        versions = client.get_versions(check=False)
        workers = versions["workers"]
        if not workers:
            text = f"{settings.scheduler} answers and has no workers; jobs wait"
            return [warning("scheduler", text, f"swathe worker {settings.scheduler}")]
        others = {name: _differing(versions["client"], one) for name, one in workers.items()}
        others["the scheduler"] = _differing(versions["client"], versions["scheduler"])
        if wrong := {name: parts for name, parts in others.items() if parts}:
            name, differences = next(iter(wrong.items()))
            text = f"{len(wrong)} of scheduler and workers have other versions; {name}: {'; '.join(differences)}"
            return [problem("scheduler", text, "install the same versions everywhere")]
        try:
            told = client.run(swathe_version)
        except Exception as error:
            text = f"workers do not know Swathe as this machine does: {_one_line(error)}"
            return [problem("scheduler", text, f"install Swathe {__version__} where the workers run")]
        count = f"{len(workers)} worker{'s' if len(workers) != 1 else ''}"
        if other := {version for version in told.values() if version != __version__}:
            text = f"workers have Swathe {', '.join(sorted(other))}, this is {__version__}"
            return [problem("scheduler", text, "install the same version everywhere")]
        return [ok("scheduler", f"{settings.scheduler} answers with {count} of Swathe {__version__}")]


def swathe_version() -> str:
    """Runs in a worker."""
    from swathe import __version__

    return __version__


def _differing(mine: Any, theirs: Any) -> list[str]:
    """Packages that must be equal, for messages to be understood, and are not."""
    found = []
    for name in ("python", "dask", "distributed", "cloudpickle", "msgpack"):
        ours, others = (side["packages"].get(name) or "none" for side in (mine, theirs))
        if name == "python":
            ours, others = (".".join(str(version).split(".")[:2]) for version in (ours, others))
        if ours != others:
            found.append(f"{name} {others}, here {ours}")
    return found


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
