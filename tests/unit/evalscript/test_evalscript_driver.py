"""The generated loop and where its columns lie; that it runs is tested with V8."""

from __future__ import annotations

import numpy as np

from swathe.evalscript.columns import BandColumn, Batch, SourceColumns
from swathe.evalscript.driver import javascript, layout_of, stride_for
from swathe.evalscript.report import explain
from swathe.evalscript.script import Mosaicking, parse_setup
from swathe.model.errors import ScriptError, ScriptMemory


def make_layout() -> tuple[tuple[int, ...], list[int], str]:
    raw = {
        "input": ["B04", "dataMask"],
        "output": [{"id": "a", "bands": 3, "sampleType": "UINT16"}, {"id": "b", "bands": 1}],
        "mosaicking": "ORBIT",
    }
    script = parse_setup(raw, "")
    columns = {"B04": BandColumn(np.zeros((2, 5), np.uint16), scale=0.0001, offset=-0.1)}
    source = SourceColumns(None, Mosaicking.ORBIT, columns, np.ones((2, 5), np.uint8))
    layout = layout_of(script, Batch((source,), "2020-01-01T00:00:00Z", "2020-02-01T00:00:00Z"))
    return layout.row_bytes, layout.offsets(5), javascript(layout)


def test_columns_lie_behind_each_other_on_multiples_of_eight() -> None:
    rows, offsets, _ = make_layout()
    assert rows == (2 * 2, 2 * 1, 3 * 2, 1 * 1), "two samples of two bands, three and one bands of two outputs"
    assert offsets == [0, 24, 40, 72, 80]


def test_the_loop_has_scale_and_offset_as_literals_and_every_sample_in_one_list() -> None:
    code = make_layout()[2]
    first = '{"B04": c0[i] * 0.0001 + (-0.1), "dataMask": c1[i]}'
    second = '{"B04": c0[n + i] * 0.0001 + (-0.1), "dataMask": c1[n + i]}'
    assert f"evaluatePixel([{first}, {second}], scenes, inputMetadata, customData, outputMetadata)" in code


def test_strides_are_a_little_more_than_the_cells_and_never_more_than_what_fits() -> None:
    assert [stride_for(cells, 1000) for cells in (0, 1, 8, 9, 100, 999, 1000, 5000)] == [
        8, 8, 8, 16, 104, 1000, 1000, 1000,
    ]  # fmt: skip
    assert stride_for(3, 2) == 2
    assert all(cells <= stride_for(cells, 10**9) <= max(8, cells * 1.13) for cells in range(1, 5000, 7))


def test_a_thrown_error_is_told_with_the_line_of_the_script() -> None:
    text = "swathe-driver:9: TypeError: no function\ncode\n^\n\nTypeError: x\n    at evaluatePixel (<anonymous>:3:9)\n"
    error = explain("thrown", text, "running it", "a\nb\nc\n")
    assert type(error) is ScriptError
    assert error.message == "The evalscript failed while running it (line 3 of the evalscript): TypeError: no function."


def test_a_refused_allocation_is_a_lack_of_memory() -> None:
    text = "<anonymous>:1: RangeError: Array buffer allocation failed\n"
    assert isinstance(explain("thrown", text, "running setup()", "x"), ScriptMemory)
    assert isinstance(explain("memory", "", "running setup()", "x"), ScriptMemory)
