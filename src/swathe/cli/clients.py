"""`swathe client …`: who may use a server. Works while the server runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swathe.cli import completion, server_parts
from swathe.model.errors import NotFound, RequestInvalid

if TYPE_CHECKING:
    from swathe.jobs.clients import ClientStore

Home = Annotated[Path, typer.Option("--home", help="The server's folder.")]
Config = Annotated[Path | None, typer.Option("--config", help="The server's configuration file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
ClientId = Annotated[str, typer.Argument(metavar="ID", help="The client's id.", autocompletion=completion.client_ids)]
_ONCE = "The secret is not kept and cannot be shown again."


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(no_args_is_help=True, help="Who may use a server.", rich_markup_mode=None)
    group.command("create")(create)
    group.command("list")(list_clients)
    group.command("delete")(delete)
    group.command("secret")(secret_)
    app.add_typer(group, name="client")


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name to recognise the client by.")],
    home: Home,
    config: Config = None,
    project: Annotated[
        str | None, typer.Option("--project", help="Share the requests of this project (a UUID).")
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            metavar="SCOPE",
            help="What it may do besides using the services: admin, for operators. May be repeated.",
        ),
    ] = None,
    json_: AsJson = False,
) -> None:
    """Make a client. Its secret is shown this once."""
    client, secret = _make(home, config).create(name, project_id=_project(project), scopes=scope or ())
    if json_:
        typer.echo(json.dumps({"client_id": client.id, "client_secret": secret}))
        return
    typer.echo(f"client id      {client.id}")
    typer.echo(f"client secret  {secret}")
    typer.echo(f"project        {client.project_id}")
    if client.scopes:
        typer.echo(f"scopes         {' '.join(client.scopes)}")
    typer.echo(_ONCE)


def list_clients(home: Home, config: Config = None, json_: AsJson = False) -> None:
    """List the clients."""
    clients = open_clients(home, config).list()
    if json_:
        rows = [
            {
                "client_id": c.id,
                "name": c.name,
                "project_id": c.project_id,
                "scopes": list(c.scopes),
                "created": c.created.isoformat(),
            }
            for c in clients
        ]
        typer.echo(json.dumps(rows))
        return
    if not clients:
        typer.echo("There is no client; `swathe client create NAME` makes one.")
    for client in clients:
        scopes = f"  [{' '.join(client.scopes)}]" if client.scopes else ""
        typer.echo(f"{client.id}  project {client.project_id}  {client.created:%Y-%m-%d %H:%M}  {client.name}{scopes}")


def delete(client_id: ClientId, home: Home, config: Config = None) -> None:
    """Delete a client. Its tokens are refused at once; its requests stay."""
    if not open_clients(home, config).delete(client_id):
        raise NotFound(f"There is no client {client_id}")
    typer.echo(f"deleted {client_id}")


def secret_(
    client_id: ClientId,
    home: Home,
    config: Config = None,
    json_: AsJson = False,
) -> None:
    """Give a client a new secret, shown this once. The one before and the tokens it got are refused at once."""
    secret = open_clients(home, config).renew_secret(client_id)
    if secret is None:
        raise NotFound(f"There is no client {client_id}")
    if json_:
        typer.echo(json.dumps({"client_id": client_id, "client_secret": secret}))
        return
    typer.echo(f"client id      {client_id}")
    typer.echo(f"client secret  {secret}")
    typer.echo(_ONCE)


def open_clients(home: Path, config: Path | None) -> ClientStore:
    """The clients of a job store that is there.

    Raises:
        SettingsInvalid: there is none.
    """
    with server_parts("client"):
        from swathe.cli.job_desks import open_store
        from swathe.jobs.clients import ClientStore

    return ClientStore(open_store(home, config).database)


def _make(home: Path, config: Path | None) -> ClientStore:
    """The clients of a job store that is made if need be: a client may be there before the server."""
    with server_parts("client"):
        from swathe.jobs.clients import ClientStore
        from swathe.jobs.database import open_database
        from swathe.jobs.home import Home as ServerHome
    from swathe.settings import load_settings

    url = load_settings(config).database.url
    return ClientStore(open_database(ServerHome(home).path, url.get_secret_value() if url is not None else None))


def _project(text: str | None) -> str | None:
    from uuid import UUID

    if text is None:
        return None
    try:
        return str(UUID(text))
    except ValueError:
        raise RequestInvalid(f"--project needs a UUID, not {text!r}") from None
