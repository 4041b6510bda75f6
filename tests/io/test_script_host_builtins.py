"""Every built-in, with the values of the provider's documentation and of its edges, in V8 as scripts see them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from swathe.evalscript.columns import BandColumn, Batch, SourceColumns
from swathe.evalscript.runtime import ScriptHost, ScriptLimits
from swathe.evalscript.script import Mosaicking


@pytest.fixture(scope="module")
def host() -> Iterator[ScriptHost]:
    with ScriptHost(ScriptLimits()) as host:
        yield host


def value_of(host: ScriptHost, expression: str, before: str = "") -> Any:
    """What a script sees as the value of an expression."""
    script = host.setup(
        f"{before}\nfunction setup() {{ return {{input: ['B04'], output: {{bands: 1}}}} }}\n"
        f"function evaluatePixel(s, c, i, d, out) {{ out.userData = {{v: JSON.stringify({expression})}} }}"
    )
    column = BandColumn(np.ones((1, 1), np.float32))
    source = SourceColumns(None, Mosaicking.SIMPLE, {"B04": column}, np.ones((1, 1), np.uint8))
    made = host.evaluate(script, Batch((source,), "2020-01-01T00:00:00Z", "2020-02-01T00:00:00Z"))
    host.fresh(script)
    assert isinstance(made.user_data, dict)
    return json.loads(made.user_data["v"]) if "v" in made.user_data else None


RAMP = "new ColorRampVisualizer([[200, 0xff0000], [300, 0x0000ff]])"
TRIPLETS = "new ColorRampVisualizer([[200, [1, 0, 0]], [300, [0, 0, 1]]])"
MAP = "new ColorMapVisualizer([[200, 0xff0000], [300, 0x0000ff]])"
COMPRESS = "new HighlightCompressVisualizer(0.1, 0.4)"
STOPS = "[1, 3, 5, 7, 10], [100, 300, 500, 700, 900]"
LINE = "[-10, -5, 0, 5, 10], [-1000, -50, 0, 50, 1000]"
COLORS = "[0, 0.2, 0.4], [[0, 0, 0], [0.1, 0.2, 0.5], [0.25, 0.4, 0.5]]"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("index(0.6, 0.4)", 0.2),
        ("index(0.5, -0.5)", 0),
        ("index(0, 0)", 0),
        ("inverse(2.0)", 0.5),
        ("inverse(5.0)", 0.2),
        ("inverse(0)", 1.7976931348623157e308),
        ("JAVA_DOUBLE_MAX_VAL", 1.7976931348623157e308),
        ("int2rgb(255)", [0, 0, 255]),
        ("int2rgb(256)", [0, 1, 0]),
        ("int2rgb(65537)", [1, 0, 1]),
        ("rgb2int([0, 0, 255])", 255),
        ("rgb2int([0, 1, 0])", 256),
        ("rgb2int([1, 0, 1])", 65537),
        ("normalizeRGB([255, 0, 51])", [1, 0, 0.2]),
        ("combine([100, 0, 0], [0, 100, 0], 1)", [100, 0, 0]),
        ("combine([100, 0, 0], [0, 100, 0], 0)", [0, 100, 0]),
        ("combine([100, 0, 0], [0, 100, 0], 0.5)", [50, 50, 0]),
        ("combine(0xff0000, 0x0000ff, 0.5)", 0x800080),
        (f"valueMap(5, {STOPS})", 500),
        (f"valueMap(1, {STOPS})", 100),
        (f"valueMap(2, {STOPS})", 300),
        (f"valueMap(12, {STOPS})", 900),
        (f"valueMap(-3, {STOPS})", 100),
        ("valueMap(50)", 50),
        (f"valueInterpolate(0, {LINE})", 0),
        (f"valueInterpolate(-10, {LINE})", -1000),
        (f"valueInterpolate(9, {LINE})", 810),
        (f"valueInterpolate(-99, {LINE})", -1000),
        (f"valueInterpolate(99, {LINE})", 1000),
        ("valueInterpolate(50)", 50),
        (f"valueInterpolate(0.1, {COLORS})", [0.05, 0.1, 0.25]),
        (f"colorBlend(0.1, {COLORS})", [0.05, 0.1, 0.25]),
        (f"colorBlend(-1, {COLORS})", [0, 0, 0]),
        (f"colorBlend(9, {COLORS})", [0.25, 0.4, 0.5]),
        (f"{MAP}.process(199)", [1, 0, 0]),
        (f"{MAP}.process(200)", [1, 0, 0]),
        (f"{MAP}.process(250)", [1, 0, 0]),
        (f"{MAP}.process(299)", [1, 0, 0]),
        (f"{MAP}.process(300)", [0, 0, 1]),
        (f"{MAP}.processList([1, 999])", [[1, 0, 0], [0, 0, 1]]),
        (f"{MAP}.getColorFromValue(300)", 0x0000FF),
        ("ColorMapVisualizer.createDefaultColorMap().process(0.05)", [0.4, 0, 0]),
        ("ColorMapVisualizer.createDefaultColorMap().getColorFromValue(5)", 0x006600),
        (f"{RAMP}.process(199)", [1, 0, 0]),
        (f"{RAMP}.process(200)", [1, 0, 0]),
        (f"{RAMP}.process(250)", [127 / 255, 0, 127 / 255]),
        (f"{RAMP}.process(299)", [2 / 255, 0, 252 / 255]),
        (f"{RAMP}.process(300)", [0, 0, 1]),
        (f"{TRIPLETS}.process(250)", [127 / 255, 0, 127 / 255]),
        (f"{TRIPLETS}.process(900)", [0, 0, 1]),
        (f"{RAMP}.inverse().process(200)", [0, 0, 1]),
        (f"{RAMP}.inverse().process(299)", [252 / 255, 0, 2 / 255]),
        (f"{RAMP}.processList([200, 300])", [[1, 0, 0], [0, 0, 1]]),
        ("new ColorRampVisualizer([[0, 0], [1, 0xff], [4, 0xff00]], 10, 30).process(15)", [0, 0, 1]),
        ("new ColorRampVisualizer([[0, 0], [1, 0xff], [4, 0xff00]], 10, 30).process(30)", [0, 1, 0]),
        ("new ColorRampVisualizer([[4, 0xff00], [0, 0]]).process(1)", [0, 63 / 255, 0]),
        ("ColorRampVisualizer.createRedTemperature(0, 1).process(0)", [0, 0, 0]),
        ("ColorRampVisualizer.createRedTemperature(0, 1).process(0.3)", [1, 0.43137254901960786, 0]),
        ("ColorRampVisualizer.createRedTemperature(0, 1).process(0.5)", [1, 0.5137254901960784, 0]),
        ("ColorRampVisualizer.createRedTemperature(0, 1).process(0.8)", [1, 0.8, 0.5764705882352941]),
        ("ColorRampVisualizer.createRedTemperature(0, 1).process(1)", [1, 1, 1]),
        ("ColorRampVisualizer.createWhiteGreen(0, 1).process(0.3)", [0, 0.4, 0]),
        ("ColorRampVisualizer.createWhiteGreen(0, 1).process(0.5)", [0.3333333333333333, 0.6, 0]),
        (
            "ColorRampVisualizer.createWhiteGreen().process(0.8)",
            [0.7490196078431373, 0.8509803921568627, 0.4980392156862745],
        ),
        ("ColorRampVisualizer.createBlueRed(0, 1).process(0)", [0, 0, 0.5019607843137255]),
        ("ColorRampVisualizer.createBlueRed(0, 1).process(0.3)", [0, 0.6980392156862745, 1]),
        ("ColorRampVisualizer.createBlueRed(0, 1).process(0.5)", [0.4980392156862745, 1, 0.4980392156862745]),
        ("ColorRampVisualizer.createBlueRed(0, 1).process(0.8)", [1, 0.2980392156862745, 0]),
        ("ColorRampVisualizer.createBlueRed(-5, 5).process(5)", [0.5019607843137255, 0, 0]),
        ("ColorRampVisualizer.createOceanColor(0, 1).process(0)", [147 / 255, 0, 108 / 255]),
        ("ColorRampVisualizer.createOceanColor(0, 1).process(1)", [105 / 255, 0, 0]),
        ("ColorGradientVisualizer.createRedTemperature(0, 1).process(0.3)", [0.43137254901960786, 0, 0]),
        (
            "ColorGradientVisualizer.createRedTemperature(0, 1).process(0.5)",
            [0.7176470588235294, 0.047058823529411764, 0],
        ),
        ("ColorGradientVisualizer.createRedTemperature(0, 1).process(0.8)", [1, 0.6196078431372549, 0.2]),
        ("ColorGradientVisualizer.createWhiteGreen(0, 1).process(0.3)", [0, 0.2980392156862745, 0]),
        (
            "ColorGradientVisualizer.createWhiteGreen(0, 1).process(0.5)",
            [0.16862745098039217, 0.5019607843137255, 0],
        ),
        (
            "ColorGradientVisualizer.createWhiteGreen(0, 1).process(0.8)",
            [0.6666666666666666, 0.8, 0.3333333333333333],
        ),
        ("ColorGradientVisualizer.createWhiteGreen().process(7)", [1, 1, 1]),
        ("ColorGradientVisualizer.createBlueRed(0, 1).process(0)", [0, 0, 0.5019607843137255]),
        ("ColorGradientVisualizer.createBlueRed(0, 1).process(0.3)", [0, 0.7019607843137254, 1]),
        ("ColorGradientVisualizer.createBlueRed(0, 1).process(0.8)", [1, 0.2980392156862745, 0]),
        (f"{COMPRESS}.process(0)", 0),
        (f"{COMPRESS}.process(0.1)", 0),
        (f"{COMPRESS}.process(0.25)", pytest.approx(0.5)),
        (f"{COMPRESS}.process(0.376)", pytest.approx(0.92)),
        (f"{COMPRESS}.process(0.4)", pytest.approx(0.92 + 0.08 * 0.08 / 1.08)),
        (f"{COMPRESS}.process(0.7)", pytest.approx(1)),
        (f"{COMPRESS}.process(1.1)", 1),
        (f"{COMPRESS}.processList([0, 1.1])", [0, 1]),
        ("new HighlightCompressVisualizer(0, 2).process(1.9)", 0.95),
        ("new HighlightCompressVisualizer(0, 1, 2, 0.1).process(0.2)", 0.5),
        ("new HighlightCompressVisualizer(0, 1, 1, 0, 2).process(0.5)", 0.25),
        ("new HighlightCompressVisualizerSingle(0, 2).process(1)", [0.5]),
        ("new DefaultVisualizer(0, 0.5).process(0.48)", 0.96),
        ("new DefaultVisualizer(0, 0.5).process(7)", 1),
        ("new Identity().process(3)", [3]),
        ("new Identity().process([3, 4])", [3, 4]),
        ("decodeS3OLCIQualityFlags(0x80000001).land", 1),
        ("decodeS3OLCIQualityFlags(0x80000001).saturatedB21", 1),
        ("decodeS3OLCIQualityFlags(0x80000001).bright", 0),
        ("Object.keys(decodeS3OLCIQualityFlags(0)).length", 32),
        ("blueRed[1]", [0.875, 0x0000FF]),
        ("redTemperature.length", 5),
        ("greenWhite[2]", [0.3, 0x80B300]),
        ("oceanColor[20]", [1, [105 / 255, 0, 0]]),
        ("[SampleType.FLOAT32, Mosaicking.ORBIT]", ["FLOAT32", "ORBIT"]),
    ],
)
def test_built_in(host: ScriptHost, expression: str, expected: Any) -> None:
    assert value_of(host, expression) == (
        pytest.approx(expected, rel=1e-15) if isinstance(expected, float) else expected
    )


def test_landsat_quality_is_decoded_as_documented(host: ScriptHost) -> None:
    assert value_of(host, "decodeL8C2Qa(55052)") == {
        "cirrus": 1,
        "cirrusConfidence": 3,
        "clear": 0,
        "cloud": 1,
        "cloudConfidence": 3,
        "cloudShadow": 0,
        "cloudShadowConfidence": 1,
        "dilatedCloud": 0,
        "fill": 0,
        "snow": 0,
        "snowIceConfidence": 1,
        "water": 0,
    }


@pytest.mark.parametrize("declaration", ["const", "let", "var"])
def test_scripts_may_define_built_ins_anew(host: ScriptHost, declaration: str) -> None:
    assert value_of(host, "index(1, 2)", f"{declaration} index = (a, b) => a + b;") == 3


def test_scripts_may_define_built_ins_anew_as_functions_and_classes(host: ScriptHost) -> None:
    assert value_of(host, "index(1, 2)", "function index(a, b) { return a * b }") == 2
    assert value_of(host, "new Identity().x", "class Identity { constructor() { this.x = 9 } }") == 9


def test_colours_from_a_list_may_be_changed_without_changing_the_list(host: ScriptHost) -> None:
    before = "const colors = [[0, 0], [1, 1]]; colorBlend(5, [0, 1], colors).push(7);"
    assert value_of(host, "colors", before) == [[0, 0], [1, 1]]
