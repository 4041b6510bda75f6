"""The JavaScript loop that takes a script over its columns, generated for the script's inputs and outputs.

V8 inlines `evaluatePixel` into such a loop and removes the sample and the result objects, so nothing is allocated per
cell where the script allocates nothing. Columns and outputs are typed arrays over one buffer, the arena; a layout
says where each lies. What the fast path does not expect goes to the checked functions of `host.js`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from swathe.evalscript.columns import Batch
from swathe.evalscript.script import Evalscript, Mosaicking, SampleType

# Up to so many samples the list of an ORBIT or TILE source is one literal; beyond it is filled in a loop.
UNROLLED_SAMPLES = 24
UNROLLED_BANDS = 24

DTYPES: dict[SampleType, npt.DTypeLike] = {
    SampleType.AUTO: np.uint8,
    SampleType.UINT8: np.uint8,
    SampleType.UINT16: np.uint16,
    SampleType.INT8: np.int8,
    SampleType.INT16: np.int16,
    SampleType.FLOAT32: np.float32,
}
_ARRAYS = {
    "uint8": "Uint8",
    "int8": "Int8",
    "uint16": "Uint16",
    "int16": "Int16",
    "uint32": "Uint32",
    "int32": "Int32",
    "float32": "Float32",
    "float64": "Float64",
}
_NAMES = {np.dtype(name): name for name in _ARRAYS} | {np.dtype(bool): "uint8"}
# Round to nearest, halves up, and clamp; NaN becomes 0. The value in range comes first: masks of 0 and 1 then take
# one branch, which is guessed right. HALF is the largest number below 0.5, which makes `(x + HALF) | 0` right for
# every x >= 0, where 0.5 would not be.
_CONVERSIONS = {
    SampleType.AUTO: "({x} >= 0 && {x} <= 1 ? ({x} * 255 + HALF) | 0 : {x} > 1 ? 255 : 0)",
    SampleType.UINT8: "({x} >= 0 && {x} <= 255 ? ({x} + HALF) | 0 : {x} > 255 ? 255 : 0)",
    SampleType.UINT16: "({x} >= 0 && {x} <= 65535 ? ({x} + HALF) | 0 : {x} > 65535 ? 65535 : 0)",
    SampleType.INT8: "({x} >= -128 && {x} <= 127 ? round({x}) : {x} > 127 ? 127 : {x} < -128 ? -128 : 0)",
    SampleType.INT16: "({x} >= -32768 && {x} <= 32767 ? round({x}) : {x} > 32767 ? 32767 : {x} < -32768 ? -32768 : 0)",
    SampleType.FLOAT32: "{x}",
}


# What every list has: an output of such a name is never looked up on the fast path, since a list may be returned.
_LIST_MEMBERS = frozenset(
    """
    at buffer byteLength byteOffset concat constructor copyWithin entries every fill filter find findIndex findLast
    findLastIndex flat flatMap forEach hasOwnProperty includes indexOf isPrototypeOf join keys lastIndexOf length map
    pop propertyIsEnumerable push reduce reduceRight reverse set shift slice some sort splice subarray toLocaleString
    toReversed toSorted toSpliced toString unshift valueOf values with
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True)
class ColumnLayout:
    """A band as the loop reads it: `samples` rows of cells of one dtype, shown as `value * scale + offset`."""

    name: str
    dtype: str
    scale: float
    offset: float


@dataclass(frozen=True)
class SourceLayout:
    """A data source as the loop passes it: one object, or a list of `samples` objects."""

    id: str
    as_list: bool
    samples: int
    columns: tuple[ColumnLayout, ...]


@dataclass(frozen=True)
class OutputLayout:
    """An output as the loop writes it, band after band."""

    id: str
    bands: int
    sample_type: SampleType


@dataclass(frozen=True)
class Layout:
    """Everything the generated loop depends on, but not how many cells there are."""

    sources: tuple[SourceLayout, ...]
    outputs: tuple[OutputLayout, ...]
    fusion: bool

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.sources, self.outputs, self.fusion))

    @cached_property
    def row_bytes(self) -> tuple[int, ...]:
        """What a cell takes in every typed array, inputs first, in the order of `offsets`."""
        inputs = [
            np.dtype(column.dtype).itemsize * source.samples for source in self.sources for column in source.columns
        ]
        outputs = [np.dtype(DTYPES[output.sample_type]).itemsize * output.bands for output in self.outputs]
        return (*inputs, *outputs)

    @property
    def bytes_per_cell(self) -> int:
        """What a cell takes in the arena."""
        return sum(self.row_bytes)

    def offsets(self, stride: int) -> list[int]:
        """Where each typed array of rows of `stride` cells begins in the arena, in bytes, and where the last ends."""
        offsets = [0]
        for row_bytes in self.row_bytes:
            offsets.append(offsets[-1] + (row_bytes * stride + 7) // 8 * 8)
        return offsets

    @property
    def inputs(self) -> int:
        """How many of the typed arrays are inputs."""
        return sum(len(source.columns) for source in self.sources)


def stride_for(cells: int, most: int) -> int:
    """The length of the rows for so many cells: a little more, so that batches of like sizes share a loop."""
    if cells >= most:
        return most
    grain = max(8, 1 << max(0, cells.bit_length() - 4))
    return min(most, max(1, (cells + grain - 1) // grain) * grain)


def source_ids(script: Evalscript, given: tuple[str | None, ...]) -> tuple[str, ...]:
    """The names under which a data fusion script finds its sources: the script's own, else the request's."""
    return tuple(
        spec.datasource or identifier or str(number)
        for number, (spec, identifier) in enumerate(zip(script.inputs, given, strict=True))
    )


def layout_of(script: Evalscript, batch: Batch) -> Layout:
    """The layout for a script over a batch. The script's inputs and the batch's sources correspond by order."""
    fusion = len(script.inputs) > 1
    ids = source_ids(script, tuple(source.id for source in batch.sources))
    sources = []
    for spec, source, identifier in zip(script.inputs, batch.sources, ids, strict=True):
        columns = []
        for name in spec.bands:
            if name == "dataMask":
                columns.append(ColumnLayout(name, "uint8", 1.0, 0.0))
                continue
            if name not in source.bands:
                raise ValueError(f"the batch has no column for the band {name}")
            band = source.bands[name]
            columns.append(ColumnLayout(name, _dtype_name(band.values), float(band.scale), float(band.offset)))
        sources.append(
            SourceLayout(
                id=identifier,
                as_list=fusion or source.mosaicking is not Mosaicking.SIMPLE,
                samples=int(source.data_mask.shape[0]),
                columns=tuple(columns),
            )
        )
    outputs = tuple(OutputLayout(output.id, len(output.bands), output.sample_type) for output in script.outputs)
    return Layout(sources=tuple(sources), outputs=outputs, fusion=fusion)


def javascript(layout: Layout) -> str:
    """The body of a function of `P` (see `host.js`), evaluatePixel, the arena and its offsets that returns the loop.

    The typed arrays are constants around the loop, which lets V8 compile their addresses into it. The loop is called
    with the first cell and the one after the last, at most the `stride` that the offsets are for, and the arguments of
    evaluatePixel behind `samples`.
    """
    head: list[str] = []
    prepare: list[str] = []
    samples: list[str] = []
    number = 0
    for position, source in enumerate(layout.sources):
        names = []
        for column in source.columns:
            array = _ARRAYS[column.dtype]
            head.append(f"const c{number} = new P.{array}Array(arena, offsets[{number}], {source.samples} * n);")
            names.append((column, f"c{number}"))
            number += 1
        samples.append(_samples(source, names, position, head, prepare))
    for position, output in enumerate(layout.outputs):
        dtype = np.dtype(DTYPES[output.sample_type])
        array = _ARRAYS[dtype.name]
        head.append(f"const o{position} = new P.{array}Array(arena, offsets[{number}], {output.bands} * n);")
        head.append(f"const convert{position} = (x) => {_converted('x', output)};")
        number += 1
    if layout.fusion:
        pairs = ", ".join(f"{json.dumps(s.id)}: {code}" for s, code in zip(layout.sources, samples, strict=True))
        argument = f"{{{pairs}}}"
    else:
        argument = samples[0]
    newline = "\n"
    return f""""use strict";
const {{ Array, round, write, pick }} = P;
const HALF = 0.49999999999999994;
const n = stride;
const IDS = {json.dumps([output.id for output in layout.outputs])};
{newline.join(head)}
{_checked(layout.outputs)}
return function run(from, to, scenes, inputMetadata, customData, outputMetadata) {{
for (let i = from | 0, end = to | 0; i < end; i++) {{
{newline.join(prepare)}
const r = evaluatePixel({argument}, scenes, inputMetadata, customData, outputMetadata);
{_store(layout.outputs)}
}}
}};
//# sourceURL=swathe-driver"""


def _samples(
    source: SourceLayout, names: list[tuple[ColumnLayout, str]], position: int, head: list[str], prepare: list[str]
) -> str:
    """The expression for what evaluatePixel gets of a source at cell i."""
    if not source.as_list:
        return _sample(names, "i")
    if source.samples <= UNROLLED_SAMPLES:
        indices = []
        for row in range(source.samples):
            if row > 1:
                head.append(f"const n{position}_{row} = {row} * n;")
            indices.append("i" if row == 0 else "n + i" if row == 1 else f"n{position}_{row} + i")
        return f"[{', '.join(_sample(names, index) for index in indices)}]"
    prepare.append(
        f"const s{position} = new Array({source.samples}); "
        f"for (let k = 0, j = i; k < {source.samples}; k++, j += n) s{position}[k] = {_sample(names, 'j')};"
    )
    return f"s{position}"


def _sample(names: list[tuple[ColumnLayout, str]], index: str) -> str:
    members = []
    for column, array in names:
        value = f"{array}[{index}]"
        if column.scale != 1.0:
            value += f" * {_literal(column.scale)}"
        if column.offset != 0.0:
            value += f" + {_literal(column.offset)}"
        members.append(f"{json.dumps(column.name)}: {value}")
    return f"{{{', '.join(members)}}}"


def _converted(value: str, output: OutputLayout) -> str:
    return _CONVERSIONS[output.sample_type].format(x=value)


def _checked(outputs: tuple[OutputLayout, ...]) -> str:
    """The function that writes whatever was returned for cell i, with every check."""
    main = next((k for k, output in enumerate(outputs) if output.id == "default"), 0)
    writes = [
        f"write(pick(r, IDS, {k}, {str(k == main).lower()}), IDS[{k}], o{k}, i, n, {output.bands}, convert{k});"
        for k, output in enumerate(outputs)
    ]
    return f"const checked = (r, i) => {{ {' '.join(writes)} }};"


def _store(outputs: tuple[OutputLayout, ...]) -> str:
    """The code that writes r, what evaluatePixel returned, to the outputs at cell i.

    The fast path is for lists of as many components as declared. It is written so that V8 removes the result objects:
    optional chaining and one way out do not keep them alive, `Array.isArray`, `typeof` and several ways out would.
    """
    if any(output.id in _LIST_MEMBERS or not 1 <= output.bands <= UNROLLED_BANDS for output in outputs):
        return "checked(r, i);"
    lists, conditions, writes = [], [], []
    for k, output in enumerate(outputs):
        value = f"r?.[{json.dumps(output.id)}]"
        if len(outputs) == 1:
            value = f"r?.length === {output.bands} ? r : {value}"
        lists.append(f"const v{k} = {value};")
        conditions.append(f"v{k}?.length === {output.bands}")
        for band in range(output.bands):
            name = f"x{k}_{band}"
            row = "i" if band == 0 else "n + i" if band == 1 else f"{band} * n + i"
            writes.append(f"const {name} = +v{k}[{band}]; o{k}[{row}] = {_converted(name, output)};")
    return f"{' '.join(lists)}\nif ({' && '.join(conditions)}) {{ {' '.join(writes)} }} else checked(r, i);"


def _literal(value: float) -> str:
    """A number as JavaScript reads it back exactly."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "(-Infinity)"
    return f"({value!r})" if value < 0 else repr(value)


def _dtype_name(values: npt.NDArray[np.generic]) -> str:
    name = _NAMES.get(values.dtype)
    if name is None:
        raise ValueError(f"a column of {values.dtype} cannot go into an evalscript")
    return name
