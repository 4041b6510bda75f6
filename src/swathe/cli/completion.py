"""What the shell offers when the tab key is pressed. Quick and silent: what cannot be had at once is not offered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import typer

_MOST = 100
STATUSES = ("CREATED", "ANALYSING", "ANALYSIS_DONE", "PROCESSING", "DONE", "FAILED", "STOPPED")
LEVELS = ("info", "warning", "error")


def job_ids(ctx: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """The newest jobs of the `--home` or `--config` that stands before, with status and description."""
    from itertools import islice

    from swathe.cli.job_desks import StoreDesk, open_store

    with suppress(Exception):
        home, config = _path(ctx, "home"), _path(ctx, "config")
        if home is None and config is None:
            return
        jobs = StoreDesk(open_store(home, config)).jobs(incomplete or None)
        for job in islice((job for job in jobs if job["id"].startswith(incomplete)), _MOST):
            description = " ".join((job["request"].get("description") or "").split())
            yield job["id"], f"{job['status']} {description}".strip()


def client_ids(ctx: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """The clients of the `--home` that stands before, with their names."""
    from swathe.cli.clients import open_clients

    with suppress(Exception):
        home = _path(ctx, "home")
        if home is None:
            return
        for client in open_clients(home, _path(ctx, "config")).list():
            if client.id.startswith(incomplete):
                yield client.id, client.name


def shipped_collections(incomplete: str) -> list[str]:
    """The types that ship with Swathe."""
    with suppress(Exception):
        from swathe.catalog.definitions import read_definitions

        return [one.type for one in read_definitions() if one.type.startswith(incomplete.lower())]
    return []


def collections(ctx: typer.Context, incomplete: str) -> list[str]:
    """The types of the `--config` that stands before, and those that ship with Swathe."""
    with suppress(Exception):
        from swathe.settings import load_settings

        mine = [entry.type for entry in load_settings(_path(ctx, "config")).collections]
        return [one for one in dict.fromkeys(mine + shipped_collections("")) if one.startswith(incomplete)]
    return []


def statuses(incomplete: str) -> list[str]:
    """What a job may be."""
    return [one for one in STATUSES if one.startswith(incomplete.upper())]


def levels(incomplete: str) -> list[str]:
    """How grave a line of a log may be."""
    return [one for one in LEVELS if one.startswith(incomplete)]


def _path(ctx: typer.Context, name: str) -> Path | None:
    value = ctx.params.get(name)
    return None if value is None else Path(value)
