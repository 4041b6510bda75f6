"""`swathe init`: a commented configuration and a small example over real scenes, ready to run."""

from __future__ import annotations

import io
import json
import shlex
import shutil
import tempfile
import zipfile
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import typer

from swathe.model.errors import Conflict, SettingsInvalid

CONFIG = "swathe.toml"
# What the example has beside the configuration, and what each is.
EXAMPLE = {
    "scenes": "22 real Landsat scenes of a place in Colorado, 2011, with their STAC items",
    "fields.gpkg": "8 plots over them, drawn for this example",
    "ndvi.js": "an evalscript: NDVI of clear land",
    "request.json": "a Batch Statistical request that runs it",
}
NEXT = (
    f"swathe statistics request.json --features fields.gpkg --output results --config {CONFIG}",
    "swathe results plot results --output ndvi.png",
    "swathe client create me --home home",
    f"swathe serve --home home --config {CONFIG}",
)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("init", short_help="Write a commented configuration and a small real example.")(init)


def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to put them; made if need be.")] = Path(),
    config_only: Annotated[
        bool, typer.Option("--config-only", help=f"Write {CONFIG} alone, for scenes of your own.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files of these names.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was made, and what comes next, as JSON.")] = False,
) -> None:
    """Write a configuration that explains itself, and a small example over real scenes."""
    files = make_config_only() if config_only else make_files()
    _put(folder, files, force=force)
    names = {CONFIG: "the configuration: every setting, with what it means"} | ({} if config_only else EXAMPLE)
    commands: tuple[str, ...] = () if config_only else NEXT
    if as_json:
        typer.echo(json.dumps({"folder": str(folder.resolve()), "files": list(names), "next": list(commands)}))
        return
    typer.echo(f"made in {folder if folder != Path() else 'this folder'}")
    for name, text in names.items():
        typer.echo(f"  {name:<14}{text}")
    typer.echo()
    if config_only:
        typer.echo(f"Say in {CONFIG} where your scenes are; then see whether all is well:")
        commands = (f"swathe doctor --config {CONFIG}",)
    else:
        typer.echo("Next: statistics of every plot and date, a picture of them, and a server with a console:")
    for command in ([f"cd {shlex.quote(str(folder))}"] if folder != Path() else []) + list(commands):
        typer.echo(f"  {command}")


def make_config_only() -> dict[str, bytes]:
    """The configuration for scenes of one's own, by the path it is to have."""
    text = _resource(CONFIG).decode()
    for line in text.splitlines():
        if line.startswith(('type = "byoc-landsat"', 'source = "scenes"', "title = ")):
            text = text.replace(line, f"#{line}")
    return {CONFIG: text.replace("\n[[collections]]\n", "\n#[[collections]]\n").encode()}


def make_files() -> dict[str, bytes]:
    """The configuration and the example: what each file holds, by its path."""
    files = {CONFIG: _resource(CONFIG), "ndvi.js": _resource("ndvi.js")}
    request = make_request(files["ndvi.js"].decode())
    files["request.json"] = (json.dumps(request, indent=2) + "\n").encode()
    with zipfile.ZipFile(io.BytesIO(_resource("example.zip"))) as archive:
        files |= {name: archive.read(name) for name in archive.namelist()}
    return files


def make_request(evalscript: str) -> dict[str, Any]:
    """The example's request: a season, every day with a scene, cells of the scenes' own size."""
    return {
        "input": {"data": [{"type": "byoc-landsat"}]},
        "aggregation": {
            "timeRange": {"from": "2011-04-01T00:00:00Z", "to": "2011-11-01T00:00:00Z"},
            "aggregationInterval": {"of": "P1D"},
            "resx": 30,
            "resy": 30,
            "evalscript": evalscript,
        },
        "calculations": {"default": {"statistics": {"default": {"percentiles": {"k": [10, 50, 90]}}}}},
    }


def _put(folder: Path, files: dict[str, bytes], *, force: bool) -> None:
    """Writes all files or, where that fails, none that was not there before; each appears whole.

    Raises:
        Conflict: some are there already, and `force` does not say to replace them.
        SettingsInvalid: the folder cannot be written to.
    """
    there = sorted({name.split("/")[0] for name in files if (folder / name.split("/")[0]).exists()})
    if there and not force:
        where = f"{folder} has" if folder != Path() else "this folder has"
        raise Conflict(f"{where} {', '.join(there)} already; name another folder, or replace with --force")
    made: list[Path] = []
    try:
        made += _make_folder(folder)
        with tempfile.TemporaryDirectory(prefix=".swathe-init-", dir=folder) as name:
            stage = Path(name)
            for path, content in files.items():
                (stage / path).parent.mkdir(parents=True, exist_ok=True)
                (stage / path).write_bytes(content)
            for path in files:
                made += _make_folder((folder / path).parent)
                is_new = not (folder / path).exists()
                (stage / path).replace(folder / path)
                made += [folder / path] if is_new else []
    except OSError as error:
        _remove(made)
        raise SettingsInvalid(f"{folder} cannot be written to: {error.strerror}; name another folder") from None
    except BaseException:
        _remove(made)
        raise


def _make_folder(folder: Path) -> list[Path]:
    """Makes a folder, and says which were missing, the outermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()][::-1]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _remove(made: list[Path]) -> None:
    for path in reversed(made):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _resource(name: str) -> bytes:
    return (resources.files("swathe.cli") / "example" / name).read_bytes()
