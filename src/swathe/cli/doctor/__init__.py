"""`swathe doctor`: looks at everything a deployment needs, and says what is wrong and what to do about it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swathe.cli import forget_main

if TYPE_CHECKING:
    from swathe.cli.doctor.findings import Check, Finding, Patient

_NAMES = (
    *("python", "memory", "gdal", "v8", "home", "storage", "database", "scheduler", "port", "tls", "clock"),
    *("buckets", "collections"),
)
# What can be looked at where the client alone is installed; `python` says so.
_LIGHT = {"python", "home", "port"}
_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "problem": ("✗", "red")}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("doctor", short_help="Check all that a deployment needs, and say what to do.")(doctor)


def doctor(
    config: Annotated[Path | None, typer.Option("--config", help="The configuration to look at.")] = None,
    home: Annotated[
        Path | None, typer.Option("--home", help="The server's folder, if there is to be a server.")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Also put a small object into each bucket, and remove it.")
    ] = False,
    bucket: Annotated[
        list[str] | None,
        typer.Option("--bucket", metavar="s3://…", help="Look at this bucket, or folder in one, too. May be repeated."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="NAME",
            help=f"Only this: {', '.join(_NAMES)}. May be repeated.",
            autocompletion=lambda incomplete: [name for name in _NAMES if name.startswith(incomplete)],
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Answer in JSON.")] = False,
) -> None:
    """Check Python, GDAL, V8, stores, database, scheduler, collections … Exit code 1 if something does not work.

    Changes nothing, but for --write. No check takes longer than a minute.
    """
    from swathe.cli.doctor.findings import Patient
    from swathe.settings import load_settings

    wanted = set(only or _NAMES)
    if unknown := wanted - set(_NAMES):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))} is none of {', '.join(_NAMES)}", param_hint="--only")
    for url in bucket or ():
        if not url.startswith("s3://"):
            raise typer.BadParameter(f"{url} is no s3:// address", param_hint="--bucket")
    patient = Patient(load_settings(config), home, write, tuple(bucket or ()))
    findings = []
    with _showing(sys.stdout.isatty() and not json_) as show:
        for found in _look(patient, wanted):
            findings += found
            if not json_:
                show(found)
    problems = sum(finding.level == "problem" for finding in findings)
    warnings = sum(finding.level == "warning" for finding in findings)
    if json_:
        rows = [vars(finding) for finding in findings]
        typer.echo(json.dumps({"ok": not problems, "problems": problems, "warnings": warnings, "findings": rows}))
    else:
        typer.echo(_summary(problems, warnings))
    if problems:
        raise typer.Exit(1)


def checks_for(patient: Patient, wanted: Iterable[str]) -> list[Check]:
    """What is to be looked at."""
    from swathe.cli.doctor import engines, machine, places, services
    from swathe.cli.doctor.findings import Check

    checks = {
        "python": Check("python", machine.check_python),
        "memory": Check("memory", machine.check_memory),
        "gdal": Check("gdal", engines.check_gdal, 60),
        "v8": Check("v8", engines.check_v8, 60),
        "home": Check("home", machine.check_home),
        "storage": Check("storage", places.check_storage),
        "database": Check("database", services.check_database, 25),
        "scheduler": Check("scheduler", services.check_scheduler, 40),
        "port": Check("port", machine.check_port),
        "tls": Check("tls", machine.check_tls),
        "clock": Check("clock", places.check_clock, 40),
    }
    chosen = [check for name, check in checks.items() if name in wanted]
    if "buckets" in wanted:
        chosen += [Check("bucket", places.check_bucket, 40, (url,)) for url in places.buckets_of(patient)]
    if "collections" in wanted:
        entries = enumerate(patient.settings.collections)
        chosen += [Check(f"collection {one.type}", places.check_collection, 60, (number,)) for number, one in entries]
    return chosen


def _look(patient: Patient, wanted: set[str]) -> Iterator[list[Finding]]:
    from swathe.cli.doctor.running import run_checks

    is_light = find_spec("rasterio") is None or find_spec("sqlalchemy") is None
    checks = checks_for(patient, wanted & _LIGHT if is_light else wanted)
    forget_main()
    yield from run_checks(checks, patient)


@contextmanager
def _showing(is_terminal: bool) -> Iterator[_Show]:
    """Shows findings as they come: in colours with a moving sign on a terminal, else as plain lines."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=not is_terminal)
    if not is_terminal:
        yield _Show(console, is_terminal=False)
        return
    with console.status("looking …"):
        yield _Show(console, is_terminal=True)


class _Show:
    def __init__(self, console: object, *, is_terminal: bool) -> None:
        self._console = console
        self._is_terminal = is_terminal

    def __call__(self, findings: list[Finding]) -> None:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        for finding in findings:
            mark, colour = _MARKS[finding.level]
            if not self._is_terminal or not isinstance(self._console, Console):
                typer.echo(f"{finding.level:<8}  {finding.check}: {finding.text}")
                if finding.remedy:
                    typer.echo(f"          -> {finding.remedy}")
                continue
            table = Table.grid(padding=(0, 1))
            table.add_column(width=1)
            table.add_column(width=12, no_wrap=len(finding.check) <= 12)
            table.add_column()
            text = Text(finding.text)
            if finding.remedy:
                text.append(f"\n{finding.remedy}", style=colour)
            table.add_row(Text(mark, style=colour), Text(finding.check, style="bold"), text)
            self._console.print(table)


def _summary(problems: int, warnings: int) -> str:
    if not problems and not warnings:
        return "all is well"
    counts = [(problems, "problem"), (warnings, "warning")]
    return " and ".join(f"{count} {name}{'s' if count > 1 else ''}" for count, name in counts if count)
