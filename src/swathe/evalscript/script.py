"""What an evalscript says about itself in setup(): its inputs, its outputs, its mosaicking. Values only, no V8."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from swathe.model.errors import ScriptError

OPTIONAL_FUNCTIONS = ("preProcessScenes", "updateOutput", "updateOutputMetadata", "filterScenes")
MAX_OUTPUT_BANDS = 5_000
MAX_OUTPUTS = 200
MAX_INPUT_BANDS = 1_000
MAX_NAME_CHARS = 128


class Mosaicking(StrEnum):
    """How the scenes of a source become samples."""

    SIMPLE = "SIMPLE"
    ORBIT = "ORBIT"
    TILE = "TILE"


class SampleType(StrEnum):
    """The number type of an output. AUTO stretches 0..1 to 0..255."""

    AUTO = "AUTO"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    INT8 = "INT8"
    INT16 = "INT16"
    FLOAT32 = "FLOAT32"


@dataclass(frozen=True)
class InputSpec:
    """One data source of the script. `units` has one entry per band, in upper case, None for the band's default."""

    datasource: str | None
    bands: tuple[str, ...]
    units: tuple[str | None, ...]
    metadata: tuple[str, ...]
    mosaicking: Mosaicking


@dataclass(frozen=True)
class OutputSpec:
    """One output of the script. Bands given as a number n are named B0 to B(n-1)."""

    id: str
    bands: tuple[str, ...]
    sample_type: SampleType
    nodata_value: float | None = None


@dataclass(frozen=True)
class Evalscript:
    """A script that V8 accepts, and what its setup() returned. `functions` names the optional functions it defines."""

    text: str
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    functions: frozenset[str] = frozenset()


def line_of(text: str, word: str) -> int | None:
    """The line (from 1) where `word` first stands in quotes, else as a word, after setup(), else anywhere; or None."""
    start = text.find("setup")
    for pattern in (rf"""["'`]{re.escape(word)}["'`]""", rf"(?<![\w$]){re.escape(word)}(?![\w$])"):
        found = re.search(pattern, text[max(start, 0) :])
        if found:
            return text.count("\n", 0, max(start, 0) + found.start()) + 1
        found = re.search(pattern, text)
        if found:
            return text.count("\n", 0, found.start()) + 1
    return None


def at_line(text: str, *words: str) -> str:
    """` (line 4 of the evalscript)` for the first of the words that the script has, or nothing."""
    for word in words:
        line = line_of(text, word)
        if line is not None:
            return f" (line {line} of the evalscript)"
    return ""


def parse_setup(
    raw: object,
    text: str,
    *,
    auto: SampleType = SampleType.AUTO,
    functions: Iterable[str] = (),
) -> Evalscript:
    """The evalscript from what its setup() returned, as JSON.

    `auto` is what AUTO, or no sample type, means: FLOAT32 in the statistical APIs.

    Raises:
        ScriptError: setup() returned something that cannot be used; the message names it and its line.
    """
    defined = frozenset(functions)
    if not isinstance(raw, Mapping):
        raise _error(
            text, f"setup() must return an object with `input` and `output`, it returned {_kind(raw)}", "setup"
        )
    default = _mosaicking(raw.get("mosaicking"), text, Mosaicking.SIMPLE)
    inputs = _inputs(raw.get("input"), text, default)
    outputs = _outputs(raw.get("output"), text, auto, may_be_empty="updateOutput" in defined)
    return Evalscript(text=text, inputs=inputs, outputs=outputs, functions=defined)


def with_output_bands(script: Evalscript, bands: Mapping[str, Any]) -> Evalscript:
    """The script after updateOutput() set `output.<id>.bands`; outputs it left alone stay as they are."""
    outputs = []
    for output in script.outputs:
        value = bands.get(output.id)
        if value is None or (isinstance(value, list) and tuple(value) == output.bands):
            outputs.append(output)
            continue
        names = _output_bands(value, f"the output '{output.id}'", script.text, may_be_empty=False)
        outputs.append(output if len(names) == len(output.bands) else replace(output, bands=names))
    _check_band_count(outputs, script.text)
    return replace(script, outputs=tuple(outputs))


def _inputs(raw: object, text: str, default: Mosaicking) -> tuple[InputSpec, ...]:
    if raw is None:
        raise _error(text, "setup() returned no `input`", "setup")
    if isinstance(raw, str | Mapping):
        raw = [raw]
    if not isinstance(raw, list) or not raw:
        raise _error(text, f"`input` must be a list of band names or of input objects, it is {_kind(raw)}", "input")
    if all(isinstance(item, str) for item in raw):
        return (_input({"bands": raw}, text, default, "`input`"),)
    inputs = []
    for number, item in enumerate(raw):
        if not isinstance(item, Mapping):
            raise _error(
                text, f"`input` must hold only band names or only objects, it also holds {_kind(item)}", "input"
            )
        inputs.append(_input(item, text, default, f"`input[{number}]`" if len(raw) > 1 else "`input`"))
    names = [spec.datasource for spec in inputs if spec.datasource is not None]
    for name in names:
        if names.count(name) > 1:
            raise _error(text, f"two inputs have the datasource '{name}'", name)
    return tuple(inputs)


def _input(raw: Mapping[str, Any], text: str, default: Mosaicking, where: str) -> InputSpec:
    listed = raw.get("bands")
    if isinstance(listed, str):
        listed = [listed]
    if not isinstance(listed, list) or not listed:
        raise _error(text, f"{where}: `bands` must be a list of band names, it is {_kind(listed)}", "bands", "input")
    if len(listed) > MAX_INPUT_BANDS:
        raise _error(text, f"{where} has {len(listed)} bands; at most {MAX_INPUT_BANDS} are allowed", "bands", "input")
    for name in listed:
        _check_name(name, f"{where}: a band", text)
    units = _units(raw.get("units"), listed, text, where)
    first = dict(reversed(list(zip(listed, units, strict=True))))
    bands = tuple(dict.fromkeys(listed))
    datasource = raw.get("datasource")
    if datasource is not None:
        _check_name(datasource, f"{where}: `datasource`", text)
    metadata = raw.get("metadata") or []
    metadata = [metadata] if isinstance(metadata, str) else metadata
    if not isinstance(metadata, list) or not all(isinstance(item, str) for item in metadata):
        raise _error(text, f"{where}: `metadata` must be a list of names", "metadata")
    return InputSpec(
        datasource=datasource,
        bands=bands,
        units=tuple(first[name] for name in bands),
        metadata=tuple(metadata),
        mosaicking=_mosaicking(raw.get("mosaicking"), text, default),
    )


def _units(raw: object, bands: list[str], text: str, where: str) -> list[str | None]:
    if raw is None or raw == []:
        return [None] * len(bands)
    listed = [raw] * len(bands) if isinstance(raw, str) else raw
    if isinstance(listed, list) and len(listed) == 1:
        listed = listed * len(bands)
    if not isinstance(listed, list) or not all(unit is None or isinstance(unit, str) for unit in listed):
        raise _error(text, f"{where}: `units` must be one unit or a list of units", "units")
    if len(listed) != len(bands):
        raise _error(
            text, f"{where} has {len(bands)} bands and {len(listed)} units; give one unit, or one per band", "units"
        )
    return [
        None if unit is None or band == "dataMask" else unit.strip().upper()
        for band, unit in zip(bands, listed, strict=True)
    ]


def _outputs(raw: object, text: str, auto: SampleType, *, may_be_empty: bool) -> tuple[OutputSpec, ...]:
    if raw is None:
        raise _error(text, "setup() returned no `output`", "setup")
    listed = raw if isinstance(raw, list) else [raw]
    if not listed or not all(isinstance(item, Mapping) for item in listed):
        raise _error(text, f"`output` must be an object or a list of objects, it is {_kind(raw)}", "output")
    if len(listed) > MAX_OUTPUTS:
        raise _error(text, f"setup() has {len(listed)} outputs; at most {MAX_OUTPUTS} are allowed", "output")
    outputs: list[OutputSpec] = []
    for item in (item for item in listed if isinstance(item, Mapping)):
        identifier = item.get("id")
        identifier = "default" if identifier is None else identifier
        _check_name(identifier, "`output`: an `id`", text)
        if any(identifier == other.id for other in outputs):
            raise _error(text, f"two outputs have the id '{identifier}'", identifier, "output")
        where = f"the output '{identifier}'"
        outputs.append(
            OutputSpec(
                id=identifier,
                bands=_output_bands(item.get("bands"), where, text, may_be_empty=may_be_empty),
                sample_type=_sample_type(item.get("sampleType"), where, text, auto),
                nodata_value=_nodata(item.get("nodataValue"), where, text),
            )
        )
    _check_band_count(outputs, text)
    return tuple(outputs)


def _output_bands(raw: object, where: str, text: str, *, may_be_empty: bool) -> tuple[str, ...]:
    if raw is None and may_be_empty:
        return ()
    if isinstance(raw, str) and raw.isdecimal() and len(raw) < 9:
        raw = int(raw)
    if isinstance(raw, float) and raw.is_integer():
        raw = int(raw)
    if isinstance(raw, int) and not isinstance(raw, bool):
        if raw > MAX_OUTPUT_BANDS:
            raise _error(text, f"{where} has {raw} bands; at most {MAX_OUTPUT_BANDS} are allowed", "bands", "output")
        if raw > 0 or (raw == 0 and may_be_empty):
            return tuple(f"B{number}" for number in range(raw))
        raise _error(text, f"{where} has {raw} bands; at least one is needed", "bands", "output")
    if isinstance(raw, list) and (raw or may_be_empty):
        for name in raw:
            _check_name(name, f"{where}: a band", text)
        for name in raw:
            if raw.count(name) > 1:
                raise _error(text, f"{where} has two bands named '{name}'", name, "output")
        return tuple(raw)
    raise _error(text, f"{where}: `bands` must be a number or a list of names, it is {_kind(raw)}", "bands", "output")


def _check_band_count(outputs: list[OutputSpec], text: str) -> None:
    total = sum(len(output.bands) for output in outputs)
    if total > MAX_OUTPUT_BANDS:
        raise _error(text, f"the outputs have {total} bands together; at most {MAX_OUTPUT_BANDS} are allowed", "output")


def _sample_type(raw: object, where: str, text: str, auto: SampleType) -> SampleType:
    if raw is None:
        return auto
    name = raw.strip().upper() if isinstance(raw, str) else ""
    if name not in SampleType.__members__:
        known = ", ".join(SampleType)
        raise _error(text, f"{where}: unknown sampleType {_shown(raw)}; known are {known}", str(raw), "sampleType")
    return auto if name == "AUTO" else SampleType(name)


def _mosaicking(raw: object, text: str, default: Mosaicking) -> Mosaicking:
    if raw is None:
        return default
    name = raw.strip().upper() if isinstance(raw, str) else ""
    if name not in Mosaicking.__members__:
        known = ", ".join(Mosaicking)
        raise _error(text, f"unknown mosaicking {_shown(raw)}; known are {known}", str(raw), "mosaicking")
    return Mosaicking(name)


def _nodata(raw: object, where: str, text: str) -> float | None:
    if raw is None:
        return None
    try:
        if isinstance(raw, int | float | str) and not isinstance(raw, bool):
            return float(raw)
    except ValueError:
        pass
    raise _error(text, f"{where}: nodataValue must be a number, it is {_shown(raw)}", "nodataValue", "output")


def _check_name(raw: object, what: str, text: str) -> None:
    if not isinstance(raw, str) or not raw:
        raise _error(text, f"{what} must be a name, it is {_kind(raw)}", "setup")
    if len(raw) > MAX_NAME_CHARS or raw == "__proto__":
        raise _error(text, f"{what} cannot be named {_shown(raw)}", "setup")


def _error(text: str, problem: str, *words: str) -> ScriptError:
    return ScriptError(f"The evalscript cannot be used: {problem}{at_line(text, *words, 'setup')}.")


def _kind(value: object) -> str:
    if value is None:
        return "missing"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "an empty list" if not value else "a list"
    return _shown(value)


def _shown(value: object) -> str:
    shown = f"'{value}'" if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return shown if len(shown) <= 60 else shown[:57] + "…"


_NOISE = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`""",
    re.DOTALL,
)


def is_simple(text: str) -> bool:
    """Whether the text is only the body of a function: it defines neither setup nor evaluatePixel."""
    code = _NOISE.sub(" ", text)
    return re.search(r"(?<![\w$.])(setup|evaluatePixel)(?![\w$])", code) is None


def simple_bands(text: str, known_bands: Iterable[str]) -> tuple[str, ...]:
    """The known bands, and dataMask, that a simple script names; dataMask where it names none.

    Raises:
        ScriptError: it returns nothing either, so it is no script.
    """
    words = set(re.findall(r"(?<![\w$.])[A-Za-z_$][\w$]*", _NOISE.sub(" ", text)))
    bands = tuple(band for band in dict.fromkeys([*known_bands, "dataMask"]) if band in words)
    if not bands and "return" not in words:
        raise ScriptError(
            "The evalscript has no function setup(), names no band of the collection and returns nothing."
        )
    return bands or ("dataMask",)


def simple_script(text: str, known_bands: Iterable[str], first: Mapping[str, float] | None = None) -> str:
    """The V3 script that a simple script stands for: a function body of the bands it names.

    It has as many output bands as it returns for the `first` pixel, whose bands are 0 where that does not say. Lines
    keep their numbers.

    Raises:
        ScriptError: the text is no script.
    """
    bands = simple_bands(text, known_bands)
    values = {band: float((first or {}).get(band, 0.0)) for band in bands}
    names = ", ".join(bands)
    pixel = ", ".join(f"{band}: {_number_text(value)}" for band, value in values.items())
    listed = ", ".join(f'"{band}"' for band in bands)
    return (
        f"function setup() {{ const first = evaluatePixel({{{pixel}}}); return {{ input: [{listed}], "
        "output: { bands: Array.isArray(first) ? first.length : 1 } }; } "
        # the block lets the text declare a band's name anew
        f"function evaluatePixel({{{names}}}) {{ {{ {text}\n}} }}\n"
    )


def _number_text(value: float) -> str:
    """A number as JavaScript writes it."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
