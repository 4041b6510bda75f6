"""`swathe results …`: what jobs found, as tables, pictures and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from swathe.cli.jobs import AsJson, ClientId, ClientSecret, Config, Home, Url
from swathe.cli.result_pictures import save_picture
from swathe.cli.result_places import Server
from swathe.model.errors import SettingsInvalid

Job = Annotated[str, typer.Argument(metavar="JOB", help="A folder of results, its address s3://…, or a request's id.")]
Buckets = Annotated[
    Path | None, typer.Option("--buckets", metavar="DIR", help="Read s3://bucket/key from DIR/bucket/key.")
]
Features = Annotated[
    list[str] | None, typer.Option("--feature", metavar="ID", help="Only this one, by id or identifier; repeatable.")
]
From = Annotated[str | None, typer.Option("--from", metavar="TIME", help="Only intervals that begin then or later.")]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Only intervals that begin then or earlier.")]
Band = Annotated[
    str | None,
    typer.Option("--band", metavar="OUTPUT/BAND", help="Of the script, as ndvi/B0 or ndvi; else the first."),
]
Statistic = Annotated[
    str, typer.Option("--statistic", metavar="NAME", help="mean, stDev, min, max, p50, sampleCount …")
]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]
MinValid = Annotated[
    float,
    typer.Option(
        "--min-valid", min=0, max=1, help="Leave out values of fewer samples than this share of the feature's most."
    ),
]
Label = Annotated[
    str | None, typer.Option("--label", metavar="TEXT", help="What the values are, as 'Leaf area index'.")
]
Picture = Annotated[Path, typer.Option("--output", metavar="FILE", help="A picture: .png, .svg or .pdf.")]
GeoPackage = Annotated[
    Path | None,
    typer.Option(
        "--features", metavar="PARCELS.gpkg", help="The job's polygons, if the results have none beside them."
    ),
]
ColourMap = Annotated[str, typer.Option("--cmap", metavar="NAME", help="A colour map of matplotlib.")]
Lowest = Annotated[float | None, typer.Option("--vmin", help="Where the colours begin.")]
Highest = Annotated[float | None, typer.Option("--vmax", help="Where the colours end.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, help="See the results of statistical jobs, and take them along."
    )
    group.command("table", short_help="Show features and their last intervals.")(table)
    group.command("plot", short_help="Draw a statistic over time, as lines or a heatmap.")(plot)
    group.command("map")(map_)
    group.command("export")(export)
    app.add_typer(group, name="results")


def table(
    job: Job,
    home: Home = None,
    config: Config = None,
    url: Url = None,
    client_id: ClientId = None,
    client_secret: ClientSecret = None,
    buckets: Buckets = None,
    feature: Features = None,
    from_: From = None,
    to: To = None,
    band: Band = None,
    statistic: Statistic = "mean",
    last: Annotated[
        int, typer.Option("--last", min=1, help="At most so many intervals, the last that have values.")
    ] = 6,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many features.")] = 20,
    json_: AsJson = False,
) -> None:
    """Show features and their last intervals; of a single --feature, all its intervals and statistics."""
    from swathe.cli.result_views import Question, features_table, make_console, series_table

    results = Server(home, config, url, client_id, client_secret, buckets).results(job)
    question = Question(feature, _range(from_, to), *_band(band), statistic)
    shown = (
        series_table(results, question) if len(feature or ()) == 1 else features_table(results, question, limit, last)
    )
    if json_:
        typer.echo(json.dumps(shown.as_json()))
    else:
        shown.print(make_console())


def plot(
    job: Job,
    output: Picture,
    home: Home = None,
    config: Config = None,
    url: Url = None,
    client_id: ClientId = None,
    client_secret: ClientSecret = None,
    buckets: Buckets = None,
    kind: Annotated[
        Literal["series", "heatmap"], typer.Option("--kind", help="Lines, or a grid of colours.")
    ] = "series",
    feature: Features = None,
    from_: From = None,
    to: To = None,
    band: Band = None,
    statistic: Statistic = "mean",
    min_valid: MinValid = 0.0,
    label: Label = None,
    sort: Annotated[Literal["value", "peak", "id"], typer.Option("--sort", help="Rows of a heatmap.")] = "value",
    cmap: ColourMap = "viridis",
    vmin: Lowest = None,
    vmax: Highest = None,
    force: Force = False,
) -> None:
    """Draw a statistic over time: lines with their spread, of many features their ranges; or features as a heatmap."""
    with save_picture(output, force):
        results = Server(home, config, url, client_id, client_secret, buckets).results(job)
        name, part = _band(band)
        if kind == "series":
            results.plot_series(
                feature, name, part, statistic, intervals=_range(from_, to), min_valid=min_valid, label=label
            )
        else:
            results.plot_heatmap(
                feature,
                name,
                part,
                statistic,
                intervals=_range(from_, to),
                sort=sort,
                cmap=cmap,
                vmin=vmin,
                vmax=vmax,
                min_valid=min_valid,
                label=label,
            )


def map_(
    job: Job,
    output: Picture,
    home: Home = None,
    config: Config = None,
    url: Url = None,
    client_id: ClientId = None,
    client_secret: ClientSecret = None,
    buckets: Buckets = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="In the interval; else that with most values.")
    ] = None,
    feature: Features = None,
    features: GeoPackage = None,
    band: Band = None,
    statistic: Statistic = "mean",
    min_valid: MinValid = 0.0,
    label: Label = None,
    cmap: ColourMap = "viridis",
    vmin: Lowest = None,
    vmax: Highest = None,
    force: Force = False,
) -> None:
    """Draw the features in the colour of a statistic in one interval."""
    with save_picture(output, force):
        results = Server(home, config, url, client_id, client_secret, buckets).results(job)
        name, part = _band(band)
        results.plot_map(
            statistic,
            at,
            output=name,
            band=part,
            features=feature,
            polygons=features,
            cmap=cmap,
            vmin=vmin,
            vmax=vmax,
            min_valid=min_valid,
            label=label,
        )


def export(
    job: Job,
    output: Annotated[Path, typer.Option("--output", metavar="FILE", help="A file: .csv, .parquet or .gpkg.")],
    home: Home = None,
    config: Config = None,
    url: Url = None,
    client_id: ClientId = None,
    client_secret: ClientSecret = None,
    buckets: Buckets = None,
    layout: Annotated[
        Literal["long", "wide"] | None,
        typer.Option("--layout", help="A row for each value (long), or for each feature (wide, and for .gpkg)."),
    ] = None,
    feature: Features = None,
    features: GeoPackage = None,
    from_: From = None,
    to: To = None,
    band: Band = None,
    statistic: Annotated[
        list[str] | None,
        typer.Option("--statistic", metavar="NAME", help="Only this one; repeatable. Else all, in wide the mean."),
    ] = None,
    force: Force = False,
    json_: AsJson = False,
) -> None:
    """Write the results into one file for other programs."""
    results = Server(home, config, url, client_id, client_secret, buckets).results(job)
    name, part = _band(band)
    rows = results.export(
        output,
        layout=layout,
        features=feature,
        intervals=_range(from_, to),
        statistics=statistic,
        output=name,
        band=part,
        polygons=features,
        force=force,
    )
    if json_:
        typer.echo(json.dumps({"file": str(output), "rows": rows}))
    else:
        typer.echo(f"{output}: {rows:,} rows")


def _range(start: str | None, end: str | None) -> tuple[str | None, str | None] | None:
    if start is None and end is None:
        return None
    from swathe.client.times import format_interval

    try:
        format_interval((start, end))
    except ValueError as error:
        raise SettingsInvalid(f"--from and --to cannot be used: {error}; write a time as 2024-06-01") from None
    return start, end


def _band(text: str | None) -> tuple[str | None, str | None]:
    output, _, band = (text or "").partition("/")
    return output or None, band or None
