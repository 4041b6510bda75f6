"""`swathe jobs …`: see and steer jobs. For operators on the job store itself, for users over HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal, ParamSpec, TypeVar

import typer

from swathe.cli import completion
from swathe.cli.job_desks import JobDesk, open_desk
from swathe.cli.job_views import ENDS, jobs_table, log_text, show_job, watching
from swathe.model.errors import SwatheError

# What `watch` ends with, beside 0 for DONE and 1 for an error of the command's own.
FAILED, STOPPED, TIMED_OUT = 3, 4, 5
_NO_TERMINAL_COLUMNS = 160
_PATIENCE_S = 300.0
_PAUSE_S = 1.0
P = ParamSpec("P")
T = TypeVar("T")

Home = Annotated[Path | None, typer.Option("--home", help="A server's folder.")]
Config = Annotated[Path | None, typer.Option("--config", help="A server's configuration file.")]
Url = Annotated[str | None, typer.Option("--url", help="A server's address, in place of --home.", envvar="SWATHE_URL")]
ClientId = Annotated[str | None, typer.Option("--client-id", help="For --url.", envvar="SWATHE_CLIENT_ID")]
ClientSecret = Annotated[
    str | None,
    typer.Option("--client-secret", help="For --url; better in the variable.", envvar="SWATHE_CLIENT_SECRET"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
JobId = Annotated[
    str, typer.Argument(metavar="ID", help="A request's id, or how it begins.", autocompletion=completion.job_ids)
]
JobIds = Annotated[
    list[str],
    typer.Argument(metavar="ID", help="Requests' ids, or how they begin.", autocompletion=completion.job_ids),
]
Interval = Annotated[float, typer.Option("--interval", min=0.1, help="Seconds between two looks.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        help="See and steer jobs: all of a server's with --home or --config, a client's own with --url.",
    )
    group.command("list")(list_)
    group.command("show")(show)
    group.command("analyse")(analyse)
    group.command("start")(start)
    group.command("stop")(stop)
    group.command("watch")(watch)
    group.command("logs")(logs)
    app.add_typer(group, name="jobs", short_help="See and steer the jobs of a server.")


def list_(
    home: Home = None,
    config: Config = None,
    url: Url = None,
    client_id: ClientId = None,
    client_secret: ClientSecret = None,
    status: Annotated[
        list[str] | None,
        typer.Option(
            "--status",
            metavar="STATUS",
            help="Only these, as PROCESSING; repeatable.",
            autocompletion=completion.statuses,
        ),
    ] = None,
    search: Annotated[str | None, typer.Option("--search", help="In id, description and status.")] = None,
    kind: Annotated[
        Literal["statistics", "process", "async"] | None,
        typer.Option("--kind", help="Only this; async, which is not listed otherwise, are requests of Async Process."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 50,
    json_: AsJson = False,
) -> None:
    """List jobs, the newest first."""
    wanted = {text.upper() for text in status or ()}
    if unknown := sorted(wanted.difference((*completion.STATUSES, "PARTIAL"))):  # another deployment's word
        raise typer.BadParameter(f"--status is one of {', '.join(completion.STATUSES)}, not {unknown[0]}")
    desk = open_desk(home, config, url, client_id, client_secret)
    jobs = (job for job in desk.jobs(search, kind) if not wanted or job["status"] in wanted)
    found = list(islice(jobs, limit + 1))
    if json_:
        typer.echo(json.dumps(found[:limit]))
        return
    if not found:
        typer.echo("There is no such job." if wanted or search else "There is no job.")
        return
    console = _console()
    console.print(jobs_table(found[:limit], console.width))
    if len(found) > limit:
        console.print(f"… and more; --limit {2 * limit} shows them", style="dim")


def show(
    job: JobId,
    home: Home = None,
    config: Config = None,
    url: Url = None,
    client_id: ClientId = None,
    client_secret: ClientSecret = None,
    json_: AsJson = False,
) -> None:
    """Show one job: how far it is, what it takes, why it ended."""
    found = open_desk(home, config, url, client_id, client_secret).job(job)
    if json_:
        typer.echo(json.dumps(found))
    else:
        show_job(_console(), found)


def analyse(
    jobs: JobIds,
    home: Home = None,
    config: Config = None,
    url: Url = None,
    client_id: ClientId = None,
    client_secret: ClientSecret = None,
    json_: AsJson = False,
) -> None:
    """Have jobs checked and planned, without starting them."""
    _act(open_desk(home, config, url, client_id, client_secret), jobs, "analyse", json_)


def start(
    jobs: JobIds,
    home: Home = None,
    config: Config = None,
    url: Url = None,
    client_id: ClientId = None,
    client_secret: ClientSecret = None,
    json_: AsJson = False,
) -> None:
    """Start jobs, or go on with stopped ones."""
    _act(open_desk(home, config, url, client_id, client_secret), jobs, "start", json_)


def stop(
    jobs: JobIds,
    home: Home = None,
    config: Config = None,
    url: Url = None,
    client_id: ClientId = None,
    client_secret: ClientSecret = None,
    json_: AsJson = False,
) -> None:
    """Stop jobs; what is delivered stays, and `start` goes on."""
    _act(open_desk(home, config, url, client_id, client_secret), jobs, "stop", json_)


def watch(
    job: JobId,
    home: Home = None,
    config: Config = None,
    url: Url = None,
    client_id: ClientId = None,
    client_secret: ClientSecret = None,
    interval: Interval = 1.0,
    timeout: Annotated[float | None, typer.Option("--timeout", min=0, help="Seconds to watch at most.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="A line of JSON whenever something changes.")] = False,
) -> None:
    """Watch a job until it ends. Exit code 0: DONE, 3: FAILED, 4: STOPPED, 5: --timeout is over."""
    desk = open_desk(home, config, url, client_id, client_secret)
    found = desk.job(job)
    end = None if timeout is None else time.monotonic() + timeout
    if json_:
        found = _watch_as_json(desk, found, interval, end)
    else:
        found = _watch(desk, found, interval, end)
        if found["status"] in ENDS and found.get("error"):
            typer.echo(found["error"], err=True)
    code = {"DONE": 0, "FAILED": FAILED, "STOPPED": STOPPED}.get(found["status"], TIMED_OUT)
    if code:
        raise typer.Exit(code)


def logs(
    job: JobId,
    home: Home = None,
    config: Config = None,
    url: Url = None,
    client_id: ClientId = None,
    client_secret: ClientSecret = None,
    level: Annotated[
        str,
        typer.Option("--level", help="From this on: info, warning or error.", autocompletion=completion.levels),
    ] = "info",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    interval: Interval = 1.0,
    json_: Annotated[bool, typer.Option("--json", help="A line of JSON for each.")] = False,
) -> None:
    """Show what happened to a job, unit by unit."""
    if level not in completion.LEVELS:
        raise typer.BadParameter(f"--level is one of {', '.join(completion.LEVELS)}, not {level}")
    wanted = completion.LEVELS[completion.LEVELS.index(level) :]
    desk = open_desk(home, config, url, client_id, client_secret)
    found, after = desk.job(job), 0
    console = _console()
    while True:
        lines = _patiently(desk.log, found["id"], after) if after else desk.log(found["id"], after)
        for line in lines:
            if line["level"] not in wanted:
                continue
            if json_:
                typer.echo(json.dumps({"job": found["id"], **line}))
            else:
                console.print(log_text(line), soft_wrap=True)
        if lines:
            after = lines[-1]["number"]
        elif not follow or found["status"] in ENDS:
            return
        else:
            found = _patiently(desk.job, found["id"])
            time.sleep(interval)


def _act(desk: JobDesk, prefixes: list[str], action: str, as_json: bool) -> None:
    """Asks for an action of some jobs, all of which are found before the first is asked."""
    ids = [desk.job(prefix)["id"] for prefix in prefixes]
    after = []
    for job_id in ids:
        desk.act(job_id, action)
        after.append(desk.job(job_id))
        if not as_json:
            typer.echo(f"{job_id}  {action.upper()}: {after[-1]['status']}")
    if as_json:
        typer.echo(json.dumps(after))


def _watch(desk: JobDesk, job: dict[str, Any], interval: float, end: float | None) -> dict[str, Any]:
    lines = desk.log(job["id"], 0)
    after = lines[-1]["number"] if lines else 0
    lines = []
    with watching(job, time.monotonic) as view:
        while True:
            view.show(job, lines)
            if job["status"] in ENDS or _is_over(end):
                return job
            time.sleep(interval)
            job = _patiently(desk.job, job["id"])
            lines = _patiently(desk.log, job["id"], after)
            after = lines[-1]["number"] if lines else after


def _watch_as_json(desk: JobDesk, job: dict[str, Any], interval: float, end: float | None) -> dict[str, Any]:
    told: dict[str, Any] = {}
    kept = ("id", "status", "completionPercentage", "progress", "costPU", "error", "stoppedStatusReason")
    while True:
        now = {name: job[name] for name in kept if name in job}
        if now != told:
            told = now
            left = {"estimatedSecondsLeft": job["estimatedSecondsLeft"]} if "estimatedSecondsLeft" in job else {}
            typer.echo(json.dumps(now | left))
        if job["status"] in ENDS or _is_over(end):
            return job
        time.sleep(interval)
        job = _patiently(desk.job, job["id"])


def _patiently(look: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """What `look` finds, also when server or database are away for some minutes: the job is not."""
    end = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return look(*arguments, **named)
        except SwatheError as error:
            if not error.retryable or time.monotonic() > end:
                raise
        time.sleep(_PAUSE_S)


def _is_over(end: float | None) -> bool:
    return end is not None and time.monotonic() >= end


def _console() -> Any:
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _NO_TERMINAL_COLUMNS
    return console
