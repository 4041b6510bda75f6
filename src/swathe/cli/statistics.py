"""`swathe statistics`: a batch statistical job without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

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
from swathe.cli.texts import plan_table, to_numbers
from swathe.model.errors import RequestInvalid
from swathe.model.validation import explain_validation

if TYPE_CHECKING:
    from rich.console import Console

    from swathe.engine.values import Analysis
    from swathe.jobs.local import LocalSummary


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("statistics", short_help="Compute statistics of polygons, with no server.")(statistics)


def statistics(
    request: Annotated[Path, typer.Argument(metavar="REQUEST.json", help="The batch request, without storage.")],
    features: Annotated[Path, typer.Option("--features", metavar="PARCELS.gpkg", help="A GeoPackage of polygons.")],
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Where <feature id>.json are written.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="A TOML configuration file.")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="How many work at a time; by default one a core.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what the job would take, and compute and write nothing.")
    ] = False,
    parquet: Annotated[
        bool, typer.Option("--parquet/--no-parquet", help="Write the results as a Parquet data set, too.")
    ] = True,
    profile: Annotated[
        Path | None,
        typer.Option(
            "--profile",
            metavar="FILE",
            help="Show where the time went, and write it as a flame graph: a page (.html) or for speedscope (.json).",
        ),
    ] = None,
) -> None:
    """Compute statistics per polygon and interval, with no server: a JSON document for every feature."""
    if output is None and not dry_run:
        raise typer.BadParameter("--output is needed, but for --dry-run", param_hint="--output")
    check_places(features=features, output=output)
    with server_parts("statistics"):
        from swathe.jobs.local import plan_local, run_local
        from swathe.model.statistical import StatisticsRequest

        asked = read_request(request)
        settings = read_settings(config, workers)
        try:
            body = StatisticsRequest.model_validate(asked)
        except ValidationError as error:
            invalid = explain_validation(error)
            raise RequestInvalid(f"{request} cannot be used: {invalid.message}", invalid.parameter) from None
        if output is None or dry_run:
            with interruptible(), show_progress():
                analysis = plan_local(settings, body, features)
            _show_plan(analysis, settings.dask.workers, as_json=as_json)
            return
        with interruptible(), show_progress() as (planned, progressed):
            summary = run_local(
                settings,
                body,
                features,
                output,
                parquet=parquet,
                profile=profile,
                on_plan=planned,
                on_progress=progressed,
            )
    if as_json:
        typer.echo(json.dumps(summary_json(summary, output)))
    else:
        from rich.console import Console

        console = Console()
        results = f"{output}/<feature id>.json"
        show_summary(console, summary, what="features", failed="feature {}", results=results)
        if profile is not None:
            _show_profile(console, summary, profile)
    if summary.failed and not summary.done:
        raise typer.Exit(1)


def _show_plan(analysis: Analysis, workers: int, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**to_numbers(analysis.report), "workers": workers, "notes": list(analysis.notes)}))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console()
    console.print(plan_table(analysis.report))
    for note in analysis.notes:
        console.print(Text(f"note: {note}", style="yellow"))
    console.print("Nothing was computed. Without --dry-run the job runs.")


_PHASES = {
    "cells": "finding cells and scenes",
    "read": "reading scenes",
    "script": "running the evalscript",
    "statistics": "taking statistics",
    "deliver": "writing results",
}


def _show_profile(console: Console, summary: LocalSummary, profile: Path) -> None:
    """Where the workers' time went, and what of the reading was waiting and unpacking."""
    from rich.table import Table

    counters = summary.counters
    total = max(1e-9, summary.workers * summary.seconds)
    start = summary.workers * summary.analysis_seconds
    rows = [("starting and analysis", start)]
    for name, text in _PHASES.items():
        rows.append((text, counters.get(f"{name}_seconds", 0.0)))
        if name == "read":
            rows.append(("  waiting for bytes", counters.get("fetch_seconds", 0.0)))
            rows.append(("  unpacking blocks", counters.get("decode_seconds", 0.0)))
    known = sum(seconds for text, seconds in rows if not text.startswith(" "))
    rows.append(("everything else, and waiting for the last unit", max(0.0, total - known)))
    table = Table(
        title=f"Seconds of {summary.workers} worker{'s' if summary.workers != 1 else ''}", title_justify="left"
    )
    table.add_column("where")
    table.add_column("seconds", justify="right")
    table.add_column("share", justify="right")
    for text, seconds in rows:
        table.add_row(text, f"{seconds:,.2f}", f"{100 * seconds / total:.0f} %")
    console.print(table)
    console.print(
        f"{int(counters.get('blocks', 0)):,} blocks in {int(counters.get('requests', 0)):,} requests,"
        f" {counters.get('bytes_read', 0) / 1e6:,.1f} MB read, {counters.get('bytes_decoded', 0) / 1e6:,.1f} MB unpacked;"
        f" flame graph: {profile}"
    )
