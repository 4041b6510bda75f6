"""What `swathe statistics` and `swathe process` have in common: a job in this process, its progress, its summary."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from swathe.model.errors import RequestInvalid, SettingsInvalid
from swathe.settings import Settings, load_settings

if TYPE_CHECKING:
    from rich.console import Console

    from swathe.engine.values import Analysis
    from swathe.jobs.local import LocalSummary

_FAILURES_SHOWN = 5
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # a Path has dropped the second slash


def read_settings(config: Path | None, workers: int | None) -> Settings:
    """The configuration, with the command line's number of workers.

    Raises:
        SettingsInvalid: it cannot be used, or has no collections.
    """
    settings = load_settings(config)
    if not settings.collections:
        where = f"The configuration {config} has none" if config is not None else "There is no --config"
        raise SettingsInvalid(
            f"{where} that says where scenes are: a file with [[collections]]; `swathe init` writes one with an example"
        )
    if workers is None:
        return settings
    return settings.model_copy(update={"dask": settings.dask.model_copy(update={"workers": workers})})


def check_places(**places: Path | None) -> None:
    """Whether the options of these names are places on this machine; `s3://…` would be a folder of that name.

    Raises:
        RequestInvalid: one is an address.
    """
    for option, place in places.items():
        if place is not None and _ADDRESS.match(str(place)):
            raise RequestInvalid(
                f"--{option} {str(place).replace(':/', '://')} is an address, and this command reads and writes files of"
                " this machine; name a path, or give the job to a server, which reads from s3:// and delivers to it",
                option,
            )


@contextmanager
def show_progress(
    first: str = "Looking at features and scenes", what: str = "features"
) -> Iterator[tuple[Callable[[Analysis], None], Callable[[float], None]]]:
    """What is told of the plan and the progress; shown where there is a terminal to show it on.

    `first` is said until there is a plan, `what` are the things that are counted.
    """
    if not sys.stderr.isatty():
        yield lambda analysis: None, lambda fraction: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(first, total=None)

        def planned(analysis: Analysis) -> None:
            text = f"{analysis.features:,} {what} x {analysis.scenes:,} scenes"
            progress.update(bar, description=text, total=1.0, completed=0.0)

        yield planned, lambda fraction: progress.update(bar, completed=fraction)


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C ends the command as such, also where a library turns the exception into one of its own."""
    told = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal told
        told = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    except Exception:
        if told:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, before)


def read_request(path: Path) -> Any:
    """What a file of JSON holds.

    Raises:
        SettingsInvalid: there is none, or it holds something else.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsInvalid(f"The request {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise SettingsInvalid(f"The request {path} is no JSON: {error}") from None


def summary_json(summary: LocalSummary, output: Path) -> dict[str, Any]:
    """A summary as `--json` prints it."""
    return {
        "features": summary.features,
        "done": summary.done,
        "failed": summary.failed,
        "scenes": summary.scenes,
        "units": summary.units,
        "costPU": summary.cost_pu,
        "seconds": round(summary.seconds, 3),
        "analysisSeconds": round(summary.analysis_seconds, 3),
        "workers": summary.workers,
        "counters": summary.counters,
        "failures": {str(key): reason for key, reason in summary.failures.items()},
        "notes": list(summary.notes),
        "output": str(output),
    }


def show_summary(console: Console, summary: LocalSummary, *, what: str, failed: str, results: str) -> None:
    """A summary for a person: `what` was made, how a `failed` one is called, and where `results` are."""
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    counters = summary.counters
    read = counters.get("bytes_read", 0) / 1e6
    table.add_row(what, f"{summary.done:,} done, {summary.failed:,} failed")
    table.add_row("scenes", f"{summary.scenes:,}")
    table.add_row("read", f"{int(counters.get('blocks', 0)):,} blocks, {read:,.1f} MB in files")
    table.add_row("processing units", f"{summary.cost_pu:,.2f}")
    table.add_row("time", f"{summary.seconds:,.1f} s in {summary.units:,} unit{'s' if summary.units != 1 else ''}")
    table.add_row("results", results)
    console.print(table)
    for note in summary.notes:
        console.print(Text(f"note: {note}", style="yellow"))
    for key, reason in list(summary.failures.items())[:_FAILURES_SHOWN]:
        console.print(Text(f"{failed.format(key)} failed: {reason}", style="red"))
    if summary.failed > _FAILURES_SHOWN:
        console.print(Text(f"… and {summary.failed - _FAILURES_SHOWN:,} more", style="red"))
