"""`swathe evalscript check`: what a script reads and writes, or why it cannot be used."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swathe.cli import completion, server_parts
from swathe.model.errors import BandMissing, ScriptError, SettingsInvalid

if TYPE_CHECKING:
    from swathe.catalog.collections import Collection
    from swathe.evalscript.script import Evalscript


def register(app: typer.Typer) -> None:
    """Adds the command."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Work on an evalscript.")
    group.callback()(lambda: None)
    group.command("check")(check)
    app.add_typer(group, name="evalscript")


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The evalscript; - reads standard input.")],
    collection: Annotated[
        list[str] | None,
        typer.Option(
            "--collection",
            metavar="TYPE",
            help="Check bands and units against this collection; once for each input of the script.",
            autocompletion=completion.shipped_collections,
        ),
    ] = None,
    statistics: Annotated[
        bool, typer.Option("--statistics", help="Check what the statistical services demand as well.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Check an evalscript and print what it reads and writes. Exit code 1 if it cannot be used."""
    text = _read(file)
    with server_parts("evalscript check"):
        try:
            found = _check(text, collection or [], statistics=statistics)
        except (ScriptError, BandMissing) as error:
            if not as_json:
                raise
            typer.echo(json.dumps({"ok": False, "error": error.message}, ensure_ascii=False))
            raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps({"ok": True, **found}, ensure_ascii=False))
    else:
        typer.echo("\n".join(_lines(found)))


def _check(text: str, types: list[str], *, statistics: bool) -> dict[str, Any]:
    from swathe.engine.evaluate import check_outputs
    from swathe.evalscript.runtime import ScriptHost, ScriptLimits
    from swathe.evalscript.script import SampleType, is_simple, simple_script

    collections = [_collection(name) for name in types]
    simple = is_simple(text)
    if simple and statistics:
        raise ScriptError(
            "The evalscript has no function setup(); simple scripts do not work in the statistical services."
        )
    with ScriptHost(ScriptLimits()) as host:
        auto = SampleType.FLOAT32 if statistics else SampleType.AUTO
        script = host.setup(simple_script(text, _bands(collections)) if simple else text, auto=auto)
    if statistics:
        check_outputs(script, {})
    defaults = _resolve(script, collections)
    return {
        "simple": simple,
        "inputs": [
            {
                "datasource": spec.datasource,
                "bands": [
                    {"name": band, "units": unit or default}
                    for band, unit, default in zip(spec.bands, spec.units, units, strict=True)
                ],
                "mosaicking": spec.mosaicking.value,
                "metadata": list(spec.metadata),
                "collection": collections[min(number, len(collections) - 1)].type if collections else None,
            }
            for number, (spec, units) in enumerate(zip(script.inputs, defaults, strict=True))
        ],
        "outputs": [
            {
                "id": output.id,
                "bands": list(output.bands),
                "sampleType": output.sample_type.value,
                "nodataValue": output.nodata_value,
            }
            for output in script.outputs
        ],
        "functions": ["setup", "evaluatePixel", *sorted(script.functions)],
    }


def _collection(name: str) -> Collection:
    from swathe.catalog.definitions import read_definitions

    for definition in read_definitions():
        if definition.is_named(name):
            return definition
    known = ", ".join(definition.type for definition in read_definitions())
    raise SettingsInvalid(f"'{name}' is no collection that ships with Swathe; these are: {known}")


def _bands(collections: list[Collection]) -> list[str]:
    """The names that a simple script's words may mean: the collection's bands, or those of all that ship."""
    from swathe.catalog.definitions import read_definitions

    return list(dict.fromkeys(band for known in collections[:1] or read_definitions() for band in known.bands))


def _resolve(script: Evalscript, collections: list[Collection]) -> list[list[str | None]]:
    """The unit of each band where the script names none. One collection serves all inputs.

    Raises:
        ScriptError: a collection lacks a band or a unit; the message has the line.
    """
    from swathe.catalog.collections import resolve_band
    from swathe.evalscript.script import at_line
    from swathe.model.errors import RequestInvalid

    found: list[list[str | None]] = []
    if len(collections) > 1 and len(collections) != len(script.inputs):
        raise SettingsInvalid(
            f"The evalscript has {len(script.inputs)} inputs and --collection was given {len(collections)} times;"
            " give it once, or once for each input"
        )
    for number, spec in enumerate(script.inputs):
        units: list[str | None] = []
        for band, unit in zip(spec.bands, spec.units, strict=True):
            if not collections or band == "dataMask":
                units.append(None)
                continue
            try:
                units.append(resolve_band(collections[min(number, len(collections) - 1)], band, unit)[1])
            except (BandMissing, RequestInvalid) as error:
                words = (band,) if isinstance(error, BandMissing) else (unit or band, band)
                raise ScriptError(f"{error.message}{at_line(script.text, *words)}") from None
        found.append(units)
    return found


def _read(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text("utf-8-sig")
    except OSError as error:
        raise SettingsInvalid(f"The evalscript {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsInvalid(f"The evalscript {file} is no UTF-8 text") from None


def _lines(found: dict[str, Any]) -> list[str]:
    """The answer for a person."""
    lines = ["A simple script: a function body without setup()"] if found["simple"] else []
    lines.append("reads")
    for spec in found["inputs"]:
        name = spec["datasource"] or "the source"
        source = f" ({spec['collection']})" if spec["collection"] else ""
        bands = ", ".join(band["name"] + (f" [{band['units']}]" if band["units"] else "") for band in spec["bands"])
        more = f", with {', '.join(spec['metadata'])}" if spec["metadata"] else ""
        lines.append(f"  {name}{source}, {spec['mosaicking']}{more}: {bands}")
    lines.append("writes")
    for output in found["outputs"]:
        count = len(output["bands"])
        numbered = output["bands"] == [f"B{number}" for number in range(count)]
        bands = f"{count} band{'s' if count != 1 else ''}" + ("" if numbered else f" ({', '.join(output['bands'])})")
        nodata = f", no data {output['nodataValue']:g}" if output["nodataValue"] is not None else ""
        lines.append(f"  {output['id']}: {bands}, {output['sampleType']}{nodata}")
    lines.append(f"has {', '.join(name + '()' for name in found['functions'])}")
    return lines
