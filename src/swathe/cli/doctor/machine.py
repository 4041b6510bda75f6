"""Checks of the machine: Python, memory, the home folder, the port, TLS."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import shutil
import socket
import ssl
import stat
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from swathe import __version__
from swathe.cli.doctor.findings import Finding, Patient, ok, problem, warning
from swathe.cli.texts import bytes_text

# Packages that jobs and the server cannot do without, as pyproject.toml has them.
LEAST = {"numpy": "2.0", "rasterio": "1.4", "shapely": "2.0.6", "pyproj": "3.7", "pyarrow": "26", "fastapi": "0.115"}
LEAST |= {
    "numba": "0.61",
    "mini-racer": "0.14",
    "imagecodecs": "2024.12",
    "sqlalchemy": "2.0.36",
    "distributed": "2025.9",
}
_LITTLE_BYTES, _SOME_BYTES = 2**30, 10 * 2**30
# File systems on which SQLite's locks cannot be relied upon.
_REMOTE = {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "glusterfs"}
_CERTIFICATE_DAYS = 30


def check_python(_patient: Patient) -> list[Finding]:
    """Versions of Python and of the packages that jobs need."""
    text = f"Swathe {__version__}, Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    found = [ok("python", text)]
    wrong = []
    for name, least in LEAST.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        if _numbers(version) < _numbers(least):
            wrong.append(f"{name} is {version}, less than {least}")
    if sum(text.endswith("missing") for text in wrong) > len(LEAST) / 2:
        text = "this is the client alone; what jobs and a server need is not installed, and not looked at"
        found.append(problem("packages", text, 'pip install "swathe[server]"'))
    elif wrong:
        found.append(problem("packages", "; ".join(wrong), 'pip install --upgrade "swathe[server]"'))
    else:
        found.append(ok("packages", "what jobs and the server need is installed"))
    return found


def check_memory(patient: Patient) -> list[Finding]:
    """Whether the workers fit into the machine."""
    dask = patient.settings.dask
    cores, memory = _cores(), _memory_bytes()
    text = f"{cores} cores, {bytes_text(memory)} of memory" if memory else f"{cores} cores"
    if dask.scheduler is not None:
        return [ok("memory", f"{text}; units are computed elsewhere")]
    from dask.utils import parse_bytes

    try:
        each = int(parse_bytes(dask.memory_limit))
    except ValueError:
        return [problem("memory", f"[dask] memory_limit is '{dask.memory_limit}'", "give an amount, such as 2GiB")]
    needed = dask.workers * each
    planned = f"{dask.workers} worker{'s' if dask.workers > 1 else ''} of {dask.memory_limit}"
    found = [ok("memory", f"{text}; {planned}")]
    if memory and needed > memory:
        found = [
            warning(
                "memory",
                f"{text}, and {planned} may take {bytes_text(needed)}",
                f"set [dask] workers to {max(1, int(memory * 0.8 // each))}, or memory_limit to less",
            )
        ]
    if dask.workers * dask.threads_per_worker > 2 * cores:
        text = f"{dask.workers} workers of {dask.threads_per_worker} threads on {cores} cores hinder one another"
        found.append(warning("cores", text, f"set [dask] workers to {cores}"))
    return found


def check_home(patient: Patient) -> list[Finding]:
    """The home folder: whether it can be made or written, who may read it, space, and who serves from it."""
    home = patient.home
    if home is None:
        return []
    if not home.exists():
        above = next(path for path in home.absolute().parents if path.exists())
        if not os.access(above, os.W_OK | os.X_OK):
            text = f"{home} is not there, and {above} may not be written to"
            return [problem("home", text, f"make it, or allow {_me()} to write to {above}")]
        return [ok("home", f"{home} is not there yet; `swathe serve` makes it"), *_space(above)]
    if not home.is_dir():
        return [problem("home", f"{home} is no folder", "name a folder with --home")]
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        return [problem("home", f"{home} may not be written to by {_me()}", f"chown -R {_me()} {home}")]
    found = [ok("home", f"{home}; {_holder(home)}")]
    mode = stat.S_IMODE(home.stat().st_mode)
    if mode & 0o077:
        text = f"{home} may be read by others (mode {mode:o}); it holds keys of unfinished jobs"
        found = [warning("home", text, f"chmod 700 {home}")]
    if (kind := _file_system(home)) in _REMOTE and patient.settings.database.url is None:
        text = f"{home} is on a {kind} file system, where SQLite's locks cannot be relied upon"
        found.append(warning("home", text, "take a local disk, or PostgreSQL with [database] url"))
    return [*found, *_space(home)]


def check_port(patient: Patient) -> list[Finding]:
    """Whether the server can listen where it is to."""
    server = patient.settings.server
    place = f"{server.host}:{server.port}"
    try:
        family = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)[0][0]
        with socket.create_server((server.host, server.port), family=family):
            return [ok("port", f"{place} is free")]
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            version = _who_answers(patient)
            if version is not None:
                return [ok("port", f"{place}: a Swathe server answers, version {version}")]
            return [problem("port", f"{place} is taken by another program", "set [server] port, or end that program")]
        if isinstance(error, PermissionError):
            text = f"{_me()} may not listen on port {server.port}"
            return [problem("port", text, "set [server] port to one above 1023, behind a proxy")]
        text = f"{place} is no address to listen on: {error.strerror or error}"
        return [problem("port", text, "set [server] host to an address of this machine, or to 0.0.0.0")]


def check_tls(patient: Patient) -> list[Finding]:
    """The server's certificate and its key, and those for a scheduler: there, fitting, not expired."""
    settings = patient.settings
    found = []
    for name, files in (
        ("tls", (settings.server.tls_certificate, settings.server.tls_key)),
        ("scheduler tls", (settings.dask.tls_cert, settings.dask.tls_key, settings.dask.tls_ca)),
    ):
        given = [file for file in files if file is not None]
        if name == "tls" and not given:
            if settings.server.host not in ("127.0.0.1", "localhost", "::1"):
                text = (
                    f"the server speaks plain http on {settings.server.host}; secrets and tokens can be read on the way"
                )
                found.append(warning("tls", text, "set tls_certificate and tls_key, or put a proxy with TLS before it"))
            continue
        if given:
            found += _certificate(name, *(file for file in files))
    return found


def _certificate(name: str, certificate: Path | None, key: Path | None, authority: Path | None = None) -> list[Finding]:
    if certificate is None or key is None:
        return [problem(name, "a certificate and its key belong together", "give both or neither")]
    for file in (certificate, key, authority):
        if file is not None and not os.access(file, os.R_OK):
            there = "may not be read" if file.exists() else "is not there"
            return [problem(name, f"{file} {there}", "name the PEM file that is, or allow reading it")]
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        if authority is not None:
            ssl.create_default_context(cafile=str(authority))
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        return [
            problem(name, f"{certificate} and {key} cannot be used: {reason}", "give PEM files that belong together")
        ]
    from cryptography import x509

    until = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    days = (until - datetime.now(UTC)).days
    if days < 0:
        return [problem(name, f"{certificate} expired on {until:%Y-%m-%d}", "renew it, and start the server again")]
    if days < _CERTIFICATE_DAYS:
        return [warning(name, f"{certificate} expires on {until:%Y-%m-%d}", "renew it, and start the server again")]
    return [ok(name, f"{certificate} is good until {until:%Y-%m-%d}")]


def _who_answers(patient: Patient) -> str | None:
    """The version of the Swathe server on the port; None where something else listens there."""
    import httpx

    server = patient.settings.server
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(server.host, server.host)  # noqa: S104, compared alone
    scheme = "https" if server.tls_certificate else "http"
    try:
        # whether it is Swathe is all that is asked; no secret is sent
        answer = httpx.get(f"{scheme}://{host}:{server.port}/health", timeout=3, verify=False, trust_env=False)  # noqa: S501
        return str(answer.json()["version"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None


def _space(folder: Path) -> list[Finding]:
    free = shutil.disk_usage(folder).free
    text = f"{bytes_text(free)} free where {folder} is"
    if free < _LITTLE_BYTES:
        return [problem("disk", text, "make room: jobs keep their features and plans there")]
    return [warning("disk", text, "make room for large jobs") if free < _SOME_BYTES else ok("disk", text)]


def _holder(home: Path) -> str:
    """Who serves from a home."""
    lock = home / "server.lock"
    try:
        with lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                holder = file.read(32).decode("ascii", "replace").strip()
                return f"process {holder or 'unknown'} serves from it"
    except OSError:
        return "no server has run here yet"
    return "no server runs on it now"


def _file_system(path: Path) -> str:
    try:
        lines = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return ""
    here = path.resolve()
    mounts = [line.split()[1:3] for line in lines]
    inside = [(len(place), kind) for place, kind in mounts if here.is_relative_to(place)]
    return max(inside)[1] if inside else ""


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_bytes() -> int:
    """What there is for this process: the machine's memory, or what its container may use."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(file).read_text()))
        except (OSError, ValueError):
            continue
    return total


def _numbers(version: str) -> tuple[int, ...]:
    parts = []
    for part in version.split(".")[:3]:
        digits = "".join(character for character in part if character.isdigit())
        parts.append(int(digits or 0))
    return tuple(parts)


def _me() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
