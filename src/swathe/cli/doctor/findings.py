"""What the doctor finds, and what it is given to look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from swathe.settings import Settings

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, and what to do about it. Holds no secret."""

    check: str
    level: Level
    text: str
    remedy: str = ""


@dataclass(frozen=True)
class Patient:
    """The deployment that is looked at. `home` is the server's folder, if there is one.

    `buckets` are those to look at besides what the configuration names; with `write` a probe object is put there.
    """

    settings: Settings = field(repr=False)
    home: Path | None = None
    write: bool = False
    buckets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """Something that is looked at in a process of its own, which is ended when it takes longer than `limit_s`."""

    name: str
    look: Callable[..., list[Finding]]
    limit_s: float = 20.0
    arguments: tuple[object, ...] = ()


def ok(check: str, text: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", text)


def warning(check: str, text: str, remedy: str) -> Finding:
    """It works, but may not be what is wanted, or not for long."""
    return Finding(check, "warning", text, remedy)


def problem(check: str, text: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(check, "problem", text, remedy)
