"""Jobs on a terminal: a table of many, the facts of one, its log, its progress as it goes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from swathe.cli.texts import moment_text, plan_lines, seconds_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

Answer = dict[str, Any]
ENDS = frozenset({"DONE", "FAILED", "STOPPED"})
_STYLES = {
    "DONE": "green",
    "FAILED": "red",
    "STOPPED": "yellow",
    "PROCESSING": "cyan",
    "ANALYSING": "cyan",
    "CREATED": "dim",
}
_LEVELS = {"warning": "yellow", "error": "red"}
_BAR = 12
# What the other columns of the table take of a line, mostly.
_OTHERS = 96
_WIDE = 120
_QUIET_S = 10.0


def jobs_table(jobs: Iterable[Answer], width: int) -> Table:
    """A line for each job; where `width` is little, without bars and descriptions."""
    from rich.table import Table
    from rich.text import Text

    is_wide = width >= _WIDE
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    jobs = list(jobs)
    kinds = ("kind",) if len({job.get("kind") for job in jobs}) > 1 else ()
    names = ("id", *kinds, "status", "progress", "features", "PU", "created", *(("description",) if is_wide else ()))
    for name in names:
        table.add_column(name, justify="right" if name in ("features", "PU") else "left", no_wrap=True)
    for job in jobs:
        percent = float(job["completionPercentage"])
        is_begun = job["status"] not in ("CREATED", "ANALYSING", "ANALYSIS_DONE")
        cells = [
            job["id"][:8],
            *(job[name] for name in kinds),
            _status(job),
            _bar(percent, _BAR if is_wide else 0) if is_begun else Text(""),
            _features(job),
            f"{_cost(job):,.1f}",
            _moment(job["created"])[:16] + "Z",
        ]
        if is_wide:
            description = " ".join((job["request"].get("description") or "").split())
            cells.append(Text(_cut(description, width - _OTHERS - (12 if kinds else 0))))
        table.add_row(*cells)
    return table


def show_job(console: Console, job: Answer) -> None:
    """The facts of one job."""
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    rows: list[tuple[str, Text | str]] = [("id", job["id"]), ("status", _status(job))]
    if description := job["request"].get("description"):
        rows.append(("description", Text(description)))
    if job["status"] not in ("CREATED", "ANALYSING", "ANALYSIS_DONE"):
        left = job.get("estimatedSecondsLeft")
        more = f", about {seconds_text(left)} left" if left is not None else ""
        rows.append(("progress", _bar(float(job["completionPercentage"]), _BAR, more)))
    if "progress" in job:
        rows.append((_counted(job), _long_features(job)))
    rows.append(("spent", f"{_cost(job):,.2f} PU"))
    rows.append(("created", _moment(job["created"])))
    if changed := job.get("lastUpdated"):
        rows.append(("last change", _moment(changed)))
    rows.append(("kind", job.get("kind", "")))
    rows.append(("project", job.get("projectId", "")))
    rows.append(("features from", Text(_place(job, "input", "features", "s3", "url"))))
    if (grid := job["request"].get("input", {}).get("id")) is not None:
        rows.append(("tiles of", f"grid {grid} at {job['request']['input'].get('resolution', '?')}"))
    delivery = _place(job, "output", "s3", "url") or _place(job, "output", "delivery", "s3", "url")
    rows.append(("results to", Text(delivery)))
    if error := job.get("error"):
        rows.append(("reason", Text(error, style="red" if job["status"] == "FAILED" else "yellow")))
    for name, value in rows:
        if value:
            table.add_row(Text(name, style="dim"), value)
    if plan := job.get("plan"):
        table.add_row("", "")
        for name, text in plan_lines(plan):
            table.add_row(Text(f"plan: {name}", style="dim"), text)
    console.print(table)
    for note in job.get("notes") or ():
        console.print(Text(f"note: {note}", style="yellow"))


def log_text(line: Answer) -> Text:
    """A line of a job's log."""
    from rich.text import Text

    text = Text(f"{_moment(line['at'])}  ", style="dim")
    level = line["level"]
    text.append(f"{level:<8}", style=_LEVELS.get(level, "dim"))
    if line.get("unit") is not None:
        text.append(f"unit {line['unit']}: ", style="dim")
    text.append(line["message"], style=_LEVELS.get(level, "default"))
    return text


class Watching(Protocol):
    """Shows a job as it goes."""

    def show(self, job: Answer, lines: list[Answer]) -> None:
        """The job as it is now, and what its log has got since the last time."""
        ...


@contextmanager
def watching(job: Answer, clock: Any) -> Iterator[Watching]:
    """A bar that moves on a terminal; elsewhere a line now and then."""
    if not sys.stdout.isatty():
        yield _Lines(clock)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn(job["id"][:8], style="bold"),
        TextColumn("{task.fields[status]}"),
        BarColumn(),
        TextColumn("{task.percentage:>5.1f} %"),
        TextColumn("{task.fields[more]}"),
    )
    with Progress(*columns, console=Console()) as progress:
        yield _Bar(progress)


class _Bar:
    def __init__(self, progress: Any) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=100.0, status="", more="")

    def show(self, job: Answer, lines: list[Answer]) -> None:
        for line in lines:
            if line["level"] != "info":
                self._progress.console.print(log_text(line))
        style = _STYLES.get(job["status"], "default")
        waits = job["status"] in ("CREATED", "ANALYSING", "ANALYSIS_DONE")
        self._progress.update(
            self._task,
            total=None if job["status"] == "ANALYSING" else 100.0,
            completed=0.0 if waits else float(job["completionPercentage"]),
            status=f"[{style}]{job['status']}[/]",
            more=_more(job),
        )


class _Lines:
    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._told: tuple[str, float] = ("", -1.0)
        self._at = float("-inf")

    def show(self, job: Answer, lines: list[Answer]) -> None:
        for line in lines:
            if line["level"] != "info":
                print(log_text(line).plain)  # noqa: T201
        now, told = self._clock(), (job["status"], float(job["completionPercentage"]))
        if told[0] != self._told[0] or (told != self._told and now - self._at >= _QUIET_S):
            more = _more(job)
            print(f"{job['status']} {told[1]:.1f} %{', ' + more if more else ''}", flush=True)  # noqa: T201
            self._told, self._at = told, now


def _more(job: Answer) -> str:
    parts = []
    if (progress := job.get("progress")) and progress["features"]:
        parts.append(_long_features(job))
    if (left := job.get("estimatedSecondsLeft")) is not None:
        parts.append(f"{seconds_text(left)} left")
    elif job["status"] == "CREATED":
        parts.append("nobody has started it")
    elif job["status"] == "ANALYSIS_DONE":
        parts.append("analysed; nobody has started it")
    if _cost(job):
        parts.append(f"{_cost(job):,.1f} PU")
    return ", ".join(parts)


def _cost(job: Answer) -> float:
    """Processing units so far; a service that does not say has taken none."""
    return float(job.get("costPU") or 0.0)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _status(job: Answer) -> Text:
    from rich.text import Text

    text = Text(job["status"], style=_STYLES.get(job["status"], "default"))
    if reason := job.get("stoppedStatusReason"):
        text.append(f" {reason}", style="dim")
    if job["status"] in ("ANALYSING", "PROCESSING") and job["userAction"] == "STOP":
        text.append(" stopping", style="yellow")
    return text


def _bar(percent: float, length: int, more: str = "") -> Text:
    from rich.text import Text

    full = int(length * percent / 100)
    bar = Text("━" * full, style="green")
    bar.append("━" * (length - full), style="bright_black")
    return bar.append(f"{' ' if length else ''}{percent:5.1f} %{more}", style="default")


def _features(job: Answer) -> Text:
    from rich.text import Text

    progress = job.get("progress")
    if not progress or not progress["features"]:
        return Text("")
    text = Text(f"{progress['featuresDone'] + progress['featuresFailed']:,}/{progress['features']:,}")
    if progress["featuresFailed"]:
        text.append(f" ({progress['featuresFailed']:,} failed)", style="red")
    return text


def _long_features(job: Answer) -> str:
    progress = job["progress"]
    text = f"{progress['featuresDone']:,} of {progress['features']:,} {_counted(job)} done"
    return text + (f", {progress['featuresFailed']:,} failed" if progress["featuresFailed"] else "")


def _counted(job: Answer) -> str:
    return "images" if job.get("kind") == "process" else "features"


def _moment(text: str) -> str:
    return moment_text(datetime.fromisoformat(text))


def _place(job: Answer, *path: str) -> str:
    found: Any = job["request"]
    for name in path:
        found = found.get(name, {}) if isinstance(found, dict) else {}
    return found if isinstance(found, str) else ""
