"""What setup() may say, and how it is told when it cannot be used."""

from __future__ import annotations

from typing import Any

import pytest

from swathe.evalscript.script import (
    Mosaicking,
    SampleType,
    is_simple,
    line_of,
    parse_setup,
    simple_bands,
    simple_script,
    with_output_bands,
)
from swathe.model.errors import ScriptError


def parsed(raw: Any, text: str = "function setup() {}", **options: Any) -> Any:
    return parse_setup(raw, text, **options)


@pytest.mark.parametrize(
    "raw",
    [
        ["B04", "B08"],
        [{"bands": ["B04", "B08"]}],
        {"bands": ["B04", "B08"]},
        {"bands": ["B04", "B08", "B04"]},
    ],
)
def test_every_spelling_of_input_names_the_same_bands(raw: Any) -> None:
    script = parsed({"input": raw, "output": {"bands": 1}})
    assert [spec.bands for spec in script.inputs] == [("B04", "B08")]
    assert script.inputs[0].units == (None, None)
    assert script.inputs[0].mosaicking is Mosaicking.SIMPLE


def test_one_unit_is_for_all_bands_but_data_mask() -> None:
    script = parsed({"input": {"bands": ["B04", "dataMask"], "units": "reflectance"}, "output": {"bands": 1}})
    assert script.inputs[0].units == ("REFLECTANCE", None)


def test_units_may_be_one_per_band_in_any_case() -> None:
    raw = {"input": [{"bands": ["B04", "B08"], "units": ["dn", "Reflectance"]}], "output": {"bands": 1}}
    assert parsed(raw).inputs[0].units == ("DN", "REFLECTANCE")


def test_inputs_of_a_fusion_have_their_own_mosaicking_and_metadata() -> None:
    raw = {
        "input": [
            {"datasource": "s2", "bands": ["B04"], "mosaicking": "orbit", "metadata": ["bounds"]},
            {"datasource": "s1", "bands": ["VV"]},
        ],
        "output": {"bands": 1},
        "mosaicking": "TILE",
    }
    first, second = parsed(raw).inputs
    assert (first.datasource, first.mosaicking, first.metadata) == ("s2", Mosaicking.ORBIT, ("bounds",))
    assert (second.datasource, second.mosaicking, second.metadata) == ("s1", Mosaicking.TILE, ())


def test_outputs_have_defaults() -> None:
    (output,) = parsed({"input": ["B04"], "output": {"bands": 2}}).outputs
    assert (output.id, output.bands, output.sample_type, output.nodata_value) == (
        "default",
        ("B0", "B1"),
        SampleType.AUTO,
        None,
    )


def test_auto_and_no_sample_type_mean_what_the_caller_says() -> None:
    outputs = [
        {"id": "a", "bands": 1},
        {"id": "b", "bands": ["x", "y"], "sampleType": "AUTO", "nodataValue": "NaN"},
        {"id": "c", "bands": 1.0, "sampleType": "uint16", "nodataValue": 5},
    ]
    a, b, c = parsed({"input": ["B04"], "output": outputs}, auto=SampleType.FLOAT32).outputs
    assert a.sample_type is SampleType.FLOAT32
    assert b.sample_type is SampleType.FLOAT32
    assert b.bands == ("x", "y")
    assert b.nodata_value != b.nodata_value
    assert (c.sample_type, c.nodata_value, c.bands) == (SampleType.UINT16, 5.0, ("B0",))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (None, "it returned missing"),
        ([], "it returned an empty list"),
        ({"output": {"bands": 1}}, "no `input`"),
        ({"input": ["B04"]}, "no `output`"),
        ({"input": 5, "output": {"bands": 1}}, "`input` must be a list"),
        ({"input": [], "output": {"bands": 1}}, "`input` must be a list"),
        ({"input": ["B04", {"bands": ["B08"]}], "output": {"bands": 1}}, "only band names or only objects"),
        ({"input": [{"bands": []}], "output": {"bands": 1}}, "`bands` must be a list of band names"),
        ({"input": [{"bands": [5]}], "output": {"bands": 1}}, "a band must be a name, it is 5"),
        ({"input": [{"bands": ["__proto__"]}], "output": {"bands": 1}}, "cannot be named"),
        ({"input": [{"bands": ["B04"], "units": ["DN", "DN"]}], "output": {"bands": 1}}, "has 1 bands and 2 units"),
        ({"input": [{"bands": ["B04"], "units": 5}], "output": {"bands": 1}}, "one unit or a list of units"),
        ({"input": ["B04"], "output": []}, "`output` must be an object"),
        ({"input": ["B04"], "output": {}}, "'default': `bands` must be a number or a list of names, it is missing"),
        ({"input": ["B04"], "output": {"bands": 0}}, "has 0 bands"),
        ({"input": ["B04"], "output": {"bands": 10**6}}, "has 1000000 bands; at most 5000"),
        ({"input": ["B04"], "output": {"bands": ["a", "a"]}}, "two bands named 'a'"),
        ({"input": ["B04"], "output": {"bands": 1, "sampleType": "FLOAT64"}}, "unknown sampleType 'FLOAT64'"),
        ({"input": ["B04"], "output": {"bands": 1, "nodataValue": {}}}, "nodataValue must be a number"),
        ({"input": ["B04"], "output": [{"bands": 1}, {"bands": 2}]}, "two outputs have the id 'default'"),
        ({"input": ["B04"], "output": {"bands": 1}, "mosaicking": "NONE"}, "unknown mosaicking 'NONE'"),
        (
            {
                "input": [{"datasource": "a", "bands": ["x"]}, {"datasource": "a", "bands": ["y"]}],
                "output": {"bands": 1},
            },
            "two inputs have the datasource 'a'",
        ),
    ],
)
def test_what_cannot_be_used_is_named(raw: Any, message: str) -> None:
    with pytest.raises(ScriptError) as caught:
        parsed(raw)
    assert message in caught.value.message


def test_errors_tell_the_line() -> None:
    text = (
        '//VERSION=3\nfunction setup() {\n  return {input: ["B04"],\n    output: {bands: 1, sampleType: "DOUBLE"}}\n}\n'
    )
    with pytest.raises(ScriptError, match=r"unknown sampleType 'DOUBLE'.*\(line 4 of the evalscript\)"):
        parsed({"input": ["B04"], "output": {"bands": 1, "sampleType": "DOUBLE"}}, text)


def test_a_word_in_quotes_is_found_before_a_word_without() -> None:
    assert line_of("// B04\nfunction setup() {\n B04 \n 'B04'}", "B04") == 4
    assert line_of("nothing", "B04") is None


def test_no_bands_are_allowed_when_update_output_sets_them() -> None:
    script = parsed({"input": ["B04"], "output": {"bands": 0}}, functions=["updateOutput"])
    assert script.outputs[0].bands == ()
    assert with_output_bands(script, {"default": 3}).outputs[0].bands == ("B0", "B1", "B2")
    assert with_output_bands(script, {"default": None}).outputs[0].bands == ()
    with pytest.raises(ScriptError, match="has -1 bands"):
        with_output_bands(script, {"default": -1})


def test_names_of_bands_survive_an_update_that_changes_nothing() -> None:
    script = parsed({"input": ["B04"], "output": {"bands": ["a", "b"]}}, functions=["updateOutput"])
    assert with_output_bands(script, {"default": 2}).outputs[0].bands == ("a", "b")


def test_a_function_body_is_a_simple_script() -> None:
    assert is_simple("return [B04*2.5, B03*2.5]")
    assert is_simple("//VERSION=3\n// no setup here\nreturn [B04]")
    assert not is_simple("function setup() {}")


def test_a_simple_script_reads_the_bands_it_names_and_keeps_its_lines() -> None:
    text = simple_script("// B02\nreturn [B04, 'B08', dataMask]", ["B02", "B04", "B08"])
    assert 'input: ["B04", "dataMask"]' in text
    assert text.splitlines()[1] == "return [B04, 'B08', dataMask]"
    assert 'input: ["dataMask"]' in simple_script("return [1]", ["B04"])
    with pytest.raises(ScriptError, match="names no band of the collection and returns nothing"):
        simple_script("while (1);", ["B04"])


def test_a_simple_script_is_tried_on_the_first_pixel() -> None:
    text = simple_script("return B04 ? [1, 2] : [1]", ["B04", "B08"], {"B04": 0.25, "dataMask": 1})
    assert text.startswith("function setup() { const first = evaluatePixel({B04: 0.25}); return { input: [")
    assert "evaluatePixel({B04: 0})" in simple_script("return [B04]", ["B04"])
    strange = simple_script("return [B04, B08]", ["B04", "B08"], {"B04": float("nan"), "B08": float("-inf")})
    assert "{B04: NaN, B08: -Infinity}" in strange
    assert simple_bands("return [B04, index(B08, dataMask)]", ["B02", "B04", "B08"]) == ("B04", "B08", "dataMask")
