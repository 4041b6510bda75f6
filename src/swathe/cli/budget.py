"""`swathe budget …`: what projects may spend. Works while the server runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from swathe.cli.job_desks import open_store
from swathe.model.errors import RequestInvalid

if TYPE_CHECKING:
    from swathe.jobs.records import Budget

Home = Annotated[Path | None, typer.Option("--home", help="The server's folder.")]
Config = Annotated[Path | None, typer.Option("--config", help="The server's configuration file.")]
Project = Annotated[
    str, typer.Argument(metavar="PROJECT", help="A project's id, as `swathe client list --json` has it.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(no_args_is_help=True, help="What projects may spend.", rich_markup_mode=None)
    group.command("show")(show)
    group.command("set")(set_)
    group.command("remove")(remove)
    app.add_typer(group, name="budget")


def show(project: Project, home: Home = None, config: Config = None, json_: AsJson = False) -> None:
    """Show what a project has spent and may spend, in processing units."""
    project = _uuid(project)
    _tell(project, open_store(home, config).budget(project), json_)


def set_(
    project: Project,
    limit_pu: Annotated[float, typer.Argument(metavar="PU", min=0, help="In all, what is spent already included.")],
    home: Home = None,
    config: Config = None,
    json_: AsJson = False,
) -> None:
    """Limit what a project may spend. A job that would go beyond is stopped as OUT_OF_PU; START goes on with it."""
    project, store = _uuid(project), open_store(home, config)
    store.set_budget(project, limit_pu)
    _tell(project, store.budget(project), json_)


def remove(project: Project, home: Home = None, config: Config = None, json_: AsJson = False) -> None:
    """Let a project spend what it likes."""
    project, store = _uuid(project), open_store(home, config)
    store.set_budget(project, None)
    _tell(project, store.budget(project), json_)


def _tell(project: str, budget: Budget, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"projectId": project, "limitPU": budget.limit_pu, "spentPU": budget.spent_pu}))
        return
    limit = "no limit" if budget.limit_pu is None else f"{budget.limit_pu:,.2f} PU, {budget.left_pu:,.2f} left"
    typer.echo(f"{project}  spent {budget.spent_pu:,.2f} PU of {limit}")


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise RequestInvalid(f"A project's id is a UUID, not {text!r}") from None
