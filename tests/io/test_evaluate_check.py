"""`swathe evalscript check`: what it prints, and when it ends with 1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from swathe.cli.main import make_app
from swathe.model.errors import ScriptError, SettingsInvalid

GOOD = """//VERSION=3
function setup() {
  return {
    input: [{bands: ["B04", "SCL", "dataMask"], units: ["DN", "DN", "DN"]}],
    output: [{id: "ndvi", bands: ["low", "high"], sampleType: "FLOAT32"}, {id: "dataMask", bands: 1}],
    mosaicking: "ORBIT"
  }
}
function preProcessScenes(c) { return c }
function evaluatePixel(s) { return {ndvi: [1, 2], dataMask: [1]} }
"""


def check(text: str, *options: str, fails: type[Exception] | None = None) -> Any:
    """What the command says of a script on standard input."""
    found = CliRunner().invoke(make_app(), ["evalscript", "check", "-", *options], input=text)
    if fails is not None:
        assert isinstance(found.exception, fails)
        return str(found.exception)
    assert found.exit_code == ("--json" in options and not json.loads(found.output)["ok"])
    return json.loads(found.output) if "--json" in options else found.output


def test_it_prints_what_a_script_reads_and_writes(tmp_path: Path) -> None:
    expected = """reads
  the source, ORBIT: B04 [DN], SCL [DN], dataMask
writes
  ndvi: 2 bands (low, high), FLOAT32
  dataMask: 1 band, AUTO
has setup(), evaluatePixel(), preProcessScenes()
"""
    assert check(GOOD) == expected
    file = tmp_path / "script.js"
    file.write_text(GOOD, "utf-8")
    found = CliRunner().invoke(make_app(), ["evalscript", "check", str(file)])
    assert (found.exit_code, found.output) == (0, expected)


def test_as_json_with_the_units_of_a_collection() -> None:
    text = GOOD.replace(', units: ["DN", "DN", "DN"]', "")
    found = check(text, "--json", "--collection", "S2L2A")
    assert found["ok"] is True
    assert found["inputs"] == [
        {
            "datasource": None,
            "bands": [
                {"name": "B04", "units": "REFLECTANCE"},
                {"name": "SCL", "units": "DN"},
                {"name": "dataMask", "units": None},
            ],
            "mosaicking": "ORBIT",
            "metadata": [],
            "collection": "sentinel-2-l2a",
        }
    ]
    assert found["outputs"][0] == {
        "id": "ndvi",
        "bands": ["low", "high"],
        "sampleType": "FLOAT32",
        "nodataValue": None,
    }
    assert found["functions"] == ["setup", "evaluatePixel", "preProcessScenes"]


def test_a_band_that_the_collection_lacks_is_named_with_its_line() -> None:
    message = check(GOOD, "--collection", "sentinel-2-l1c", fails=ScriptError)
    assert message.startswith("Collection sentinel-2-l1c has no band 'SCL'")
    assert message.endswith("(line 4 of the evalscript)")
    found = check(GOOD, "--collection", "sentinel-2-l1c", "--json")
    assert found == {"ok": False, "error": message}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("function setup() {\n  return {input: ['B04'] output: {bands: 1}} }", "line 2 of the evalscript"),
        ("function setup() { return {} }", "no function evaluatePixel"),
        ("function setup() { }\nfunction evaluatePixel() { }", "setup() must return an object"),
        (GOOD.replace("FLOAT32", "FLOAT99"), "unknown sampleType 'FLOAT99'"),
        ("", "names no band"),
    ],
)
def test_a_script_that_cannot_be_used_says_why(text: str, message: str) -> None:
    assert message in check(text, fails=ScriptError)
    assert message in check(text, "--json")["error"]


def test_what_the_statistical_services_demand() -> None:
    assert "dataMask: 1 band, FLOAT32" in check(GOOD, "--statistics")
    text = GOOD.replace('id: "dataMask"', 'id: "mask"')
    assert "no output 'dataMask'" in check(text, "--statistics", fails=ScriptError)


def test_simple_scripts() -> None:
    assert check("return [B04, B03, B02]") == (
        "A simple script: a function body without setup()\nreads\n  the source, SIMPLE: B02, B03, B04\n"
        "writes\n  default: 3 bands, AUTO\nhas setup(), evaluatePixel()\n"
    )


def test_wrong_arguments() -> None:
    assert "these are: " in check(GOOD, "--collection", "nonsense", fails=SettingsInvalid)
    found = CliRunner().invoke(make_app(), ["evalscript", "check", "nowhere.js"])
    assert isinstance(found.exception, SettingsInvalid)
