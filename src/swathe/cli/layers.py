"""`swathe layer …`: what WMS and WMTS show. Works while the server runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swathe.cli import completion, server_parts
from swathe.model.errors import RequestInvalid

if TYPE_CHECKING:
    from swathe.jobs.database import Database
    from swathe.jobs.layers import Instance, Layers

Home = Annotated[Path, typer.Option("--home", help="The server's folder.")]
Config = Annotated[Path | None, typer.Option("--config", help="The server's configuration file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
Project = Annotated[
    str | None, typer.Option("--project", help="The project (a UUID); may be left out where all clients share one.")
]
OfInstance = Annotated[str, typer.Argument(metavar="INSTANCE", help="The instance's id.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(no_args_is_help=True, help="What WMS and WMTS show.", rich_markup_mode=None)
    group.command("create")(create)
    group.command("list")(list_layers)
    group.command("delete")(delete)
    app.add_typer(group, name="layer")


def create(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The layer's name in addresses: letters, digits, - and _.")
    ],
    home: Home,
    collection: Annotated[
        str,
        typer.Option(
            "--collection", help="The collection, such as sentinel-2-l2a.", autocompletion=completion.collections
        ),
    ],
    evalscript: Annotated[Path, typer.Option("--evalscript", help="The file of the evalscript.")],
    config: Config = None,
    instance: Annotated[
        str | None, typer.Option("--instance", help="The instance to add it to; without, a new one is made.")
    ] = None,
    project: Project = None,
    title: Annotated[str | None, typer.Option("--title", help="What people see.")] = None,
    time: Annotated[
        str | None,
        typer.Option("--time", help="What a map shows that names no time, as 2020-06-01/2020-06-30; else the newest."),
    ] = None,
    maxcc: Annotated[float | None, typer.Option("--maxcc", help="Clouds at most, in percent.")] = None,
    json_: AsJson = False,
) -> None:
    """Save an evalscript as a layer, and say where map services show it."""
    from swathe.model.layers import read_instance, read_layer

    script = _read(evalscript)
    defaults = {"type": collection, "time": time, "maxCloudCoverage": maxcc}
    layer = read_layer(
        {
            "id": name,
            "title": title,
            "datasourceDefaults": {key: value for key, value in defaults.items() if value is not None},
            "styles": [{"name": "default", "evalScript": script}],
        }
    )
    layers, database = _open(home, config)
    if instance is None:
        found = layers.create(_project(database, project), read_instance({"name": title or name}))
    else:
        found = layers.open(instance)[0]
    layers.add_layer(found.id, found.project_id, layer)
    path = f"/ogc/wms/{found.id}"
    if json_:
        typer.echo(json.dumps({"instance_id": found.id, "layer": name, "wms": path, "wmts": f"/ogc/wmts/{found.id}"}))
        return
    typer.echo(f"instance  {found.id}")
    typer.echo(f"layer     {name}")
    typer.echo(f"WMS       <server>{path}")
    typer.echo(f"WMTS      <server>/ogc/wmts/{found.id}")
    typer.echo("Whoever knows the address sees the layer.")


def list_layers(home: Home, config: Config = None, project: Project = None, json_: AsJson = False) -> None:
    """List a project's instances and their layers."""
    layers, database = _open(home, config)
    found = [(one, layers.list_layers(one.id, one.project_id)) for one in _instances(layers, database, project)]
    if json_:
        rows = [
            {
                "instance_id": one.id,
                "project_id": one.project_id,
                "name": one.body.name,
                "layers": [{"id": layer.id, "title": layer.title, "collection": layer.collection} for layer in beneath],
            }
            for one, beneath in found
        ]
        typer.echo(json.dumps(rows))
        return
    if not found:
        typer.echo("There is no layer; `swathe layer create` makes one.")
    for one, beneath in found:
        typer.echo(f"{one.id}  project {one.project_id}  {one.created:%Y-%m-%d %H:%M}  {one.body.name}")
        for layer in beneath:
            typer.echo(f"  {layer.id}  {layer.collection}  {layer.title or ''}".rstrip())


def delete(
    instance: OfInstance,
    home: Home,
    layer: Annotated[
        str | None, typer.Argument(metavar="LAYER", help="The layer; without, the instance and all its layers.")
    ] = None,
    config: Config = None,
) -> None:
    """Delete a layer, or an instance with all its layers."""
    layers, _ = _open(home, config)
    found = layers.open(instance)[0]
    if layer is None:
        layers.delete(found.id, found.project_id)
    else:
        layers.delete_layer(found.id, layer, found.project_id)
    typer.echo(f"deleted {instance}{f' {layer}' if layer is not None else ''}")


def _instances(layers: Layers, database: Database, project: str | None) -> list[Instance]:
    if project is not None:
        return layers.instances(_project(database, project))
    return layers.every_instance()


def _open(home: Path, config: Path | None) -> tuple[Layers, Database]:
    with server_parts("layer"):
        from swathe.cli.job_desks import open_store
        from swathe.jobs.layers import Layers

    database = open_store(home, config).database
    return Layers(database), database


def _project(database: Database, told: str | None) -> str:
    """The project that is meant: the one named, else the only one there is."""
    from uuid import UUID

    from swathe.jobs.clients import ClientStore

    if told is not None:
        try:
            return str(UUID(told))
        except ValueError:
            raise RequestInvalid(f"--project needs a UUID, not {told!r}") from None
    projects: list[Any] = list(dict.fromkeys(client.project_id for client in ClientStore(database).list()))
    if len(projects) != 1:
        there = f"there are {len(projects)}" if projects else "there is none yet; swathe client create makes one"
        raise RequestInvalid(f"Name the project with --project ({there}); swathe client list --json shows them")
    return str(projects[0])


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise RequestInvalid(f"The evalscript {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RequestInvalid(f"The evalscript {path} is not in UTF-8") from None
