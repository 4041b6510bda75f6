"""`swathe process`: a request of Batch Processing V2 without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swathe.cli import server_parts
from swathe.cli.statistics import interruptible, read_request, show_progress
from swathe.model.errors import RequestInvalid
from swathe.settings import load_settings

if TYPE_CHECKING:
    from rich.console import Console

    from swathe.jobs.local import LocalSummary

_FAILURES_SHOWN = 5


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("process")(process)


def process(
    request: Annotated[
        Path, typer.Argument(metavar="REQUEST.json", help="The batch request; its storage places are left aside.")
    ],
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Where the images are written.")],
    features: Annotated[
        Path | None, typer.Option("--features", metavar="AREAS.gpkg", help="The GeoPackage of GeoPackage input.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="A TOML configuration file.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; by default one a core.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Make images of the tiles of a grid, or of the features of a GeoPackage, with no server."""
    with server_parts("process"):
        from swathe.jobs.process_local import run_process_local

        settings = load_settings(config)
        if workers is not None:
            settings = settings.model_copy(update={"dask": settings.dask.model_copy(update={"workers": workers})})
        body = read_request(request)
        if not isinstance(body, dict):
            raise RequestInvalid(f"{request} cannot be used: it must hold a JSON object")
        with interruptible(), show_progress("Looking at tiles and scenes", "images") as (planned, progressed):
            summary = run_process_local(
                settings, body, output, features=features, on_plan=planned, on_progress=progressed
            )
    if as_json:
        typer.echo(json.dumps(_to_json(summary, output)))
    else:
        from rich.console import Console

        _show(Console(), summary, output)
    if summary.failed and not summary.done:
        raise typer.Exit(1)


def _to_json(summary: LocalSummary, output: Path) -> dict[str, Any]:
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


def _show(console: Console, summary: LocalSummary, output: Path) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("images", f"{summary.done:,} done, {summary.failed:,} failed")
    table.add_row("scenes", f"{summary.scenes:,}")
    read = summary.counters.get("bytes_read", 0) / 1e6
    table.add_row("read", f"{int(summary.counters.get('blocks', 0)):,} blocks, {read:,.1f} MB in files")
    table.add_row("processing units", f"{summary.cost_pu:,.2f}")
    table.add_row("time", f"{summary.seconds:,.1f} s in {summary.units:,} unit{'s' if summary.units != 1 else ''}")
    table.add_row("results", str(output))
    console.print(table)
    for note in summary.notes:
        console.print(Text(f"note: {note}", style="yellow"))
    for key, reason in list(summary.failures.items())[:_FAILURES_SHOWN]:
        console.print(Text(f"image {key} of the manifest failed: {reason}", style="red"))
    if summary.failed > _FAILURES_SHOWN:
        console.print(Text(f"… and {summary.failed - _FAILURES_SHOWN:,} more", style="red"))
