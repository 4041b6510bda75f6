"""`swathe process`: a request of Batch Processing V2 without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from swathe.cli import server_parts
from swathe.cli.local_jobs import (
    check_places,
    interruptible,
    read_request,
    read_settings,
    show_progress,
    show_summary,
    summary_json,
)
from swathe.model.errors import RequestInvalid


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("process", short_help="Make images of tiles or features, with no server.")(process)


def process(
    request: Annotated[
        Path, typer.Argument(metavar="REQUEST.json", help="The batch request; its storage places are left aside.")
    ],
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Where the images are written.")],
    features: Annotated[
        Path | None, typer.Option("--features", metavar="AREAS.gpkg", help="The GeoPackage of GeoPackage input.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="A TOML configuration file.")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="How many work at a time; by default one a core.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Make images of the tiles of a grid, or of the features of a GeoPackage, with no server."""
    check_places(features=features, output=output)
    with server_parts("process"):
        from swathe.jobs.process_local import run_process_local

        body = read_request(request)
        settings = read_settings(config, workers)
        if not isinstance(body, dict):
            raise RequestInvalid(f"{request} cannot be used: it must hold a JSON object")
        with interruptible(), show_progress("Looking at tiles and scenes", "images") as (planned, progressed):
            try:
                summary = run_process_local(
                    settings, body, output, features=features, on_plan=planned, on_progress=progressed
                )
            except RequestInvalid as error:
                raise RequestInvalid(f"{request} cannot be used: {error.message}", error.parameter) from None
    if as_json:
        typer.echo(json.dumps(summary_json(summary, output)))
    else:
        from rich.console import Console

        show_summary(Console(), summary, what="images", failed="image {} of the manifest", results=str(output))
    if summary.failed and not summary.done:
        raise typer.Exit(1)
