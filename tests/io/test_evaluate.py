"""`swathe.evaluate`: scripts over arrays take the road of the jobs, and their numbers are known beforehand."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import swathe
from swathe import SceneArrays, SourceArrays, evaluate
from swathe.model.errors import BandMissing, RequestInvalid, ScriptError, ScriptTimeout

NAN = float("nan")


def scene(day: int, value: Any, *, mask: Any = None, cloud: float | None = None, **how: Any) -> SceneArrays:
    """A scene of 2020-06-`day` with the band `a`; a number stands for two rows of three cells."""
    values = np.full((2, 3), value, np.float32) if isinstance(value, int | float) else np.asarray(value)
    return SceneArrays(f"2020-06-{day:02d}T10:00:00Z", {"a": values}, data_mask=mask, cloud_cover=cloud, **how)


def script(
    body: str,
    *,
    bands: str = '["a", "dataMask"]',
    output: str = '{bands: 1, sampleType: "FLOAT32"}',
    mosaicking: str = "SIMPLE",
    more: str = "",
) -> str:
    return f"""//VERSION=3
function setup() {{ return {{input: {bands}, output: {output}, mosaicking: "{mosaicking}"}} }}
function evaluatePixel(s, scenes, metadata, custom, out) {{ {body} }}
{more}"""


def values(text: str, *sources: SourceArrays, **how: Any) -> Any:
    """The only band of the only output, as lists."""
    (made,) = evaluate(text, sources, **how).outputs.values()
    assert made.shape[2] == 1
    return made[:, :, 0].tolist()


LEFT, RIGHT = [[1, 0, 0], [1, 0, 0]], [[0, 1, 1], [0, 1, 0]]


def test_the_first_scene_with_data_is_seen_and_zeros_where_there_is_none() -> None:
    source = SourceArrays("s", [scene(1, 10, mask=RIGHT), scene(2, 20, mask=LEFT)])
    assert values(script("return [s.a]"), source) == [[20, 10, 10], [20, 10, 0]]
    assert values(script("return [s.dataMask]"), source) == [[1, 1, 1], [1, 1, 0]]
    nan = SourceArrays("s", source.scenes, nodata_is_nan=True)
    np.testing.assert_array_equal(values(script("return [s.a]"), nan), [[20, 10, 10], [20, 10, NAN]])


def test_scenes_go_by_time_and_mosaicking_order_not_by_their_place() -> None:
    scenes = [scene(2, 20, cloud=5), scene(3, 30, cloud=20), scene(1, 10, cloud=50)]
    text = script("return s.map(x => x.a)", output="{bands: 3, sampleType: 'INT16'}", mosaicking="ORBIT")
    for order, expected in (
        ("mostRecent", [30, 20, 10]),
        ("leastRecent", [10, 20, 30]),
        ("leastCC", [20, 30, 10]),
    ):
        made = evaluate(text, [SourceArrays("s", scenes)], mosaicking_order=order).outputs["default"]
        assert made.dtype == np.int16
        assert made[0, 0].tolist() == expected
        # the source's own order wins
        own = evaluate(text, [SourceArrays("s", scenes, mosaicking_order=order)], mosaicking_order="leastCC")
        assert own.outputs["default"][1, 2].tolist() == expected


def test_scenes_of_a_day_are_one_orbit_and_several_tiles() -> None:
    day = [scene(1, 10, mask=LEFT), SceneArrays("2020-06-01T10:00:05Z", {"a": np.full((2, 3), 7)}, data_mask=RIGHT)]
    source = SourceArrays("s", [*day, scene(3, 5)])
    assert values(script("return [s.length * 100 + s[1].a]", mosaicking="ORBIT"), source) == [
        [210, 207, 207],
        [210, 207, 200],
    ]
    assert values(script("return [s.length * 100 + s[1].a]", mosaicking="TILE"), source) == [
        [300, 307, 307],
        [300, 307, 300],
    ]


def test_without_a_mask_nan_is_no_data_and_integers_have_data() -> None:
    floats = [[1.0, NAN, 3.0], [4.0, 5.0, NAN]]
    assert values(script("return [s.dataMask]"), SourceArrays("s", [scene(1, floats)])) == [[1, 0, 1], [1, 1, 0]]
    assert values(script("return [s.a]"), SourceArrays("s", [scene(1, floats)])) == [[1, 0, 3], [4, 5, 0]]
    whole = np.zeros((2, 3), np.uint16)
    assert values(script("return [s.dataMask]"), SourceArrays("s", [scene(1, whole)])) == [[1, 1, 1]] * 2
    # a mask that is given wins
    np.testing.assert_array_equal(
        values(script("return [s.a]"), SourceArrays("s", [scene(1, floats, mask=np.ones((2, 3), bool))])), floats
    )


def test_data_mask_alone_can_be_asked_for() -> None:
    text = script("return [s.dataMask]", bands='["dataMask"]', output="{bands: 1, sampleType: 'UINT8'}")
    assert values(text, SourceArrays("s", [scene(1, 4, mask=LEFT)])) == LEFT
    assert values(text, SourceArrays("s", [scene(1, [[NAN, 2, 3], [4, 5, 6]])])) == [[0, 1, 1], [1, 1, 1]]
    given = SceneArrays("2020-06-01", {"a": np.ones((2, 3)), "dataMask": np.array(RIGHT)})
    assert values(text, SourceArrays("s", [given])) == RIGHT


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", ">u2", "int64", "float16", "float64", ">f8"])
def test_arrays_of_any_number_type(dtype: str) -> None:
    array = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    assert values(script("return [s.a * 2]"), SourceArrays("s", [scene(1, array)])) == [[0, 2, 2], [2, 0, 2]]
    assert array.dtype == np.dtype(dtype)


def test_what_is_given_is_never_changed() -> None:
    array = np.array([[1.0, NAN, 3.0], [4.0, 5.0, 6.0]])
    kept = array.copy()
    source = SourceArrays("s", [scene(2, array), scene(1, np.full((2, 3), 9.0))])
    assert values(script("s.a = 3; return [s.a]"), source) == [[3, 3, 3]] * 2
    np.testing.assert_array_equal(array, kept)


def test_auto_is_stretched_to_bytes() -> None:
    source = SourceArrays("s", [scene(1, [[0.0, 0.5, 1.0], [2.0, -1.0, 0.1]])])
    made = evaluate(script("return [s.a]", output="{bands: 1}"), [source]).outputs["default"]
    assert made.dtype == np.uint8
    assert made[:, :, 0].tolist() == [[0, 128, 255], [255, 0, 26]]


def test_several_outputs_and_user_data() -> None:
    text = script(
        "return {b: [s.a, 1], c: [s.dataMask]}",
        output="[{id: 'b', bands: ['x', 'y'], sampleType: 'UINT16'}, {id: 'c', bands: 1, sampleType: 'INT8'}]",
        more="function updateOutputMetadata(scenes, input, output) { output.userData = {f: input.normalizationFactor} }",
    )
    found = evaluate(text, [SourceArrays("s", [scene(1, 7)])])
    assert {name: (made.shape, made.dtype.name) for name, made in found.outputs.items()} == {
        "b": ((2, 3, 2), "uint16"),
        "c": ((2, 3, 1), "int8"),
    }
    assert found.outputs["b"][1, 1].tolist() == [7, 1]
    assert found.user_data == {"f": 0.0001}
    assert found.bands_read == {"s": ("a", "dataMask")}
    assert found.notes == ()


def test_update_output_sets_the_bands() -> None:
    text = script(
        "return {default: s.map(x => x.a)}",
        output="{bands: 0, sampleType: 'FLOAT32'}",
        mosaicking="ORBIT",
        more="function updateOutput(output, collection) { output.default.bands = collection.scenes.length }",
    )
    made = evaluate(text, [SourceArrays("s", [scene(1, 1), scene(4, 4)])]).outputs["default"]
    assert made.shape == (2, 3, 2)
    assert made[0, 0].tolist() == [4, 1]


def test_with_update_output_setup_need_not_say_the_bands() -> None:
    text = script(
        "return [1, 2]",
        output="{id: 'x'}",
        more="function updateOutput(output) { if (CONDITION) output.x = {bands: ['u', 'v']} }",
    )
    source = SourceArrays("s", [scene(1, 1)])
    found = evaluate(text.replace("CONDITION", "true"), [source])
    assert found.script.outputs[0].bands == ("u", "v")
    assert found.outputs["x"][0, 0].tolist() == [255, 255]
    with pytest.raises(ScriptError, match="the output 'x' has 0 bands; at least one is needed"):
        evaluate(text.replace("CONDITION", "false"), [source])
    with pytest.raises(ScriptError, match="`bands` must be a number or a list of names, it is missing"):
        evaluate(script("return [1]", output="{id: 'x'}"), [source])


def never() -> np.ndarray:
    raise AssertionError("read")


KEEP_LAST = "function preProcessScenes(c) { c.scenes.KIND = c.scenes.KIND.slice(0, 1); return c }"


@pytest.mark.parametrize(("mosaicking", "kind"), [("ORBIT", "orbits"), ("TILE", "tiles")])
def test_what_pre_process_drops_is_not_read(mosaicking: str, kind: str) -> None:
    dropped = SceneArrays("2020-06-01", {"a": never}, id="old")
    source = SourceArrays("s", [dropped, scene(2, 20, id="new")])
    text = script("return [s.length * 100 + s[0].a]", mosaicking=mosaicking, more=KEEP_LAST.replace("KIND", kind))
    found = evaluate(text, [source])
    assert found.outputs["default"][0, 0, 0] == 120
    assert found.scenes_read == {"s": ("new",)}


def test_under_simple_reading_stops_when_every_cell_has_data() -> None:
    source = SourceArrays("s", [SceneArrays("2020-06-01", {"a": never}), scene(2, 20)])
    assert values(script("return [s.a]"), source) == [[20, 20, 20]] * 2


def test_legacy_filter_scenes() -> None:
    text = script(
        "return [s.length * 100 + s[0].a]",
        mosaicking="ORBIT",
        more="function filterScenes(scenes, range) { return scenes.filter(x => x.date < new Date('2020-06-02')) }",
    )
    assert values(text, SourceArrays("s", [scene(1, 10), scene(2, 20)])) == [[110] * 3] * 2


@pytest.mark.parametrize(("mosaicking", "kind"), [("ORBIT", "orbits"), ("TILE", "tiles")])
def test_a_script_that_keeps_no_scene_runs_over_empty_lists(mosaicking: str, kind: str) -> None:
    more = f"function preProcessScenes(c) {{ c.scenes.{kind} = []; return c }}"
    text = script(f"return [10 + s.length + scenes.{kind}.length]", mosaicking=mosaicking, more=more)
    assert values(text, SourceArrays("s", [scene(1, 10)])) == [[10] * 3] * 2


def test_a_time_range_leaves_scenes_out_and_is_told() -> None:
    more = """let told;
    function preProcessScenes(c) { told = [c.from, c.to].map(t => t.toISOString().slice(0, 10)); return c }
    function updateOutputMetadata(s, i, o) { o.userData = told }"""
    text = script("return [s.length]", mosaicking="ORBIT", more=more)
    source = SourceArrays("s", [scene(1, 1), scene(2, 2), scene(3, 3)])
    found = evaluate(text, [source])
    assert (found.outputs["default"][0, 0, 0], found.user_data) == (3, ["2020-06-01", "2020-06-04"])
    found = evaluate(text, [source], time_range=("2020-06-02", datetime(2020, 6, 3, tzinfo=UTC)))
    assert (found.outputs["default"][0, 0, 0], found.user_data) == (1, ["2020-06-02", "2020-06-03"])
    assert found.notes == ("2 of 3 scenes of 's' lie outside the time range",)


FUSION = """//VERSION=3
function setup() {
  return {
    input: [
      {datasource: "late", bands: ["a", "dataMask"], mosaicking: "TILE"},
      {datasource: "early", bands: ["b"]}
    ],
    output: {bands: 3, sampleType: "FLOAT32"}
  }
}
function evaluatePixel(s, scenes) {
  return [s.late.length, s.late.map(x => x.a).reduce((x, y) => x + y), s.early[0].b + scenes.late.scenes.tiles.length]
}"""


def test_sources_are_matched_by_id_with_a_mosaicking_each() -> None:
    early = SourceArrays("early", [SceneArrays(date(2020, 1, 1), {"b": np.full((2, 3), 0.5)})])
    late = SourceArrays("late", [scene(1, 10), scene(2, 20)], mosaicking_order="leastRecent")
    found = evaluate(FUSION, [early, late])
    assert found.outputs["default"][1, 1].tolist() == [2, 30, 2.5]
    assert found.bands_read == {"late": ("a", "dataMask"), "early": ("b",)}
    # no id that the script knows: by order, and said so
    found = evaluate(FUSION, [SourceArrays("x", late.scenes), SourceArrays("y", early.scenes)])
    assert found.outputs["default"][1, 1].tolist() == [2, 30, 2.5]
    assert "taken in their order" in found.notes[0]
    with pytest.raises(ScriptError, match="datasource 'early'"):
        evaluate(FUSION, [late, SourceArrays("y", early.scenes)])


def test_inputs_without_datasource_have_the_sources_ids() -> None:
    text = FUSION.replace('datasource: "late", ', "").replace('datasource: "early", ', "")
    late = SourceArrays("late", [scene(1, 10), scene(2, 20)])
    early = SourceArrays("early", [SceneArrays("2020-01-01", {"b": np.full((2, 3), 0.5)})])
    assert evaluate(text, [late, early]).outputs["default"][0, 0].tolist() == [2, 30, 2.5]


def test_simple_scripts_have_as_many_bands_as_they_return_for_the_first_pixel() -> None:
    bands = {"B04": np.full((2, 3), 0.2), "B08": np.full((2, 3), 0.6), "B99": never}
    source = SourceArrays("s", [SceneArrays("2020-06-01", bands)])
    found = evaluate("if (!B04) return [0];\nreturn [B04, B08, dataMask]", [source])
    assert found.outputs["default"].dtype == np.uint8
    assert found.outputs["default"][0, 0].tolist() == [51, 153, 255]
    assert found.bands_read == {"s": ("B04", "B08", "dataMask")}
    assert evaluate("return B08 - B04", [source]).outputs["default"].tolist() == [[[102]] * 3] * 2


@pytest.mark.parametrize(
    ("units", "asked", "expected"),
    [
        (None, "DN", 0.25),
        ({"DN": 10_000}, "dn", 2500),
        ({"DN": 10_000}, "REFLECTANCE", 0.25),
        ({"DN": (10_000, 1000)}, "DN", 3500),
        ({"a": {"DN": 100}}, "DN", 25),
        ({"b": {"DN": 100}}, "DN", 0.25),
        ({"DN": 10, "a": {"DN": 100}}, "DN", 25),
        ("REFLECTANCE", "DN", 2500),
        ("REFLECTANCE", "REFLECTANCE", 0.25),
        ({"a": "DN"}, "REFLECTANCE", 0.000025),
    ],
)
def test_units(units: Any, asked: str, expected: float) -> None:
    text = script("return [s.a]", bands=f'[{{bands: ["a"], units: "{asked}"}}]')
    ((first, *_), _) = values(text, SourceArrays("s", [scene(1, 0.25)], units=units))
    assert first == pytest.approx(expected, rel=1e-6)


def test_a_unit_that_nothing_leads_to_is_an_error() -> None:
    text = script("return [s.a]", bands='[{bands: ["a"], units: "KELVIN"}]')
    with pytest.raises(RequestInvalid, match="band 'a' in KELVIN, and source 's' has it in DN"):
        evaluate(text, [SourceArrays("s", [scene(1, 0.25)], units="DN")])


def test_what_scripts_are_told_of_scenes() -> None:
    geometry = {"type": "Polygon", "coordinates": [[[0, 0], [2, 0], [2, 1], [0, 0]]]}
    one = scene(1, 1, cloud=12.5, id="S2A_X", data_path="s3://x/y", geometry=geometry)
    text = script(
        "return [1]",
        bands='[{bands: ["a"], metadata: ["bounds"]}]',
        mosaicking="TILE",
        more="function updateOutputMetadata(s, i, o) { o.userData = s.tiles }",
    )
    first, second = evaluate(text, [SourceArrays("s", [one, scene(2, 2)])]).user_data  # type: ignore[misc]
    assert first == {"date": "2020-06-02T10:00:00Z", "dataPath": "1", "shId": 1}
    assert second.pop("dataGeometry")["coordinates"] == geometry["coordinates"]
    assert second.pop("dataEnvelope")["type"] == "Polygon"
    assert second == {
        "date": "2020-06-01T10:00:00Z",
        "cloudCoverage": 12.5,
        "dataPath": "s3://x/y",
        "shId": "S2A_X",
    }


def test_undocumented_members_of_scenes_that_published_scripts_use() -> None:
    text = script(
        "const tiles = scenes.s.scenes; let at = -1;"
        " for (let i = 0; i < tiles.length; i++) if (tiles[i].tileOriginalId.includes('S3A')) at = tiles[i].__idx;"
        " return [at * 10 + scenes.s.scenes.tiles[at].tileOriginalId.length]",
        bands='[{datasource: "s", bands: ["a"]}, {datasource: "t", bands: ["a"]}]',
        mosaicking="TILE",
    )
    first = SourceArrays("s", [scene(1, 1, id="S3A_X"), scene(2, 2, id="S3B_X")])
    assert values(text, first, SourceArrays("t", [scene(1, 1)])) == [[15] * 3] * 2


def test_arrays_must_have_one_shape() -> None:
    other = SceneArrays("2020-06-02", {"a": np.zeros((3, 3))})
    with pytest.raises(RequestInvalid, match=r"scene 0, band a is 2 x 3, source 's', scene 1, band a is 3 x 3"):
        evaluate(script("return [1]"), [SourceArrays("s", [scene(1, 1), other])])
    lazy = SceneArrays("2020-06-02", {"a": lambda: np.zeros((3, 3))})
    with pytest.raises(RequestInvalid, match="3 x 3 and 2 x 3"):
        evaluate(script("return [1]"), [SourceArrays("s", [scene(1, 1), lazy])])
    with pytest.raises(RequestInvalid, match="height, width"):
        evaluate(script("return [1]"), [SourceArrays("s", [SceneArrays("2020-06-02", {"a": np.zeros(3)})])])


def test_a_band_that_no_scene_has_is_named_with_its_source() -> None:
    with pytest.raises(BandMissing, match="Source 'mine' has no band 'B08'; it has: a, dataMask"):
        evaluate(script("return [s.B08]", bands='["a", "B08"]'), [SourceArrays("mine", [scene(1, 1)])])


def test_scenes_that_lack_a_band_are_left_out_with_a_note() -> None:
    both = SceneArrays("2020-06-01", {"a": np.ones((2, 3)), "b": np.full((2, 3), 5)})
    found = evaluate(script("return [s.b]", bands='["a", "b"]'), [SourceArrays("s", [both, scene(2, 2)])])
    assert found.outputs["default"][0, 0, 0] == 5
    assert found.notes == ("1 of 2 scenes of 's' lack the band b and are left out",)


def test_a_source_without_scenes_has_no_data() -> None:
    empty = SourceArrays("early", [])
    text = FUSION.replace("s.early[0].b", "100 + s.early[0].b")
    made = evaluate(text, [SourceArrays("late", [scene(1, 10)]), empty]).outputs["default"]
    assert made[0, 0].tolist() == [1, 10, 101]
    with pytest.raises(RequestInvalid, match="No source has an array"):
        evaluate(script("return [1]"), [SourceArrays("s", [])])


def test_arguments_that_cannot_be_used() -> None:
    source = SourceArrays("s", [scene(1, 1)])
    with pytest.raises(RequestInvalid, match="There are no sources"):
        evaluate(script("return [1]"), [])
    with pytest.raises(RequestInvalid, match="Unknown mosaicking order 'newest'"):
        evaluate(script("return [1]"), [source], mosaicking_order="newest")
    with pytest.raises(RequestInvalid, match="swap the two"):
        evaluate(script("return [1]"), [source], time_range=("2020-06-02", "2020-06-01"))
    with pytest.raises(RequestInvalid, match="same id"):
        evaluate(script("return [1]"), [source, source])
    with pytest.raises(RequestInvalid, match="is no ISO 8601 time"):
        evaluate(script("return [1]"), [SourceArrays("s", [SceneArrays("June", {"a": np.ones((1, 1))})])])


def test_nothing_passes_from_one_call_to_the_next() -> None:
    text = "var seen = 0;\n" + script("return [++seen]")
    source = SourceArrays("s", [scene(1, 1)])
    assert values(text, source) == values(text, source) == [[1, 2, 3], [4, 5, 6]]


def test_a_script_that_fails_says_where_and_the_next_runs() -> None:
    source = SourceArrays("s", [scene(1, 1)])
    with pytest.raises(ScriptError, match=r"line 3 of the evalscript\): ReferenceError: nothing is not defined"):
        evaluate(script("return [nothing]"), [source])
    with pytest.raises(ScriptTimeout):
        evaluate(script("while (true) {}"), [source])
    assert values(script("return [s.a]"), source) == [[1] * 3] * 2


def test_a_script_may_lie_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "script.js"
    file.write_text(script("return [s.a]"), "utf-8")
    assert evaluate(file, [SourceArrays("s", [scene(1, 3)])]).outputs["default"][0, 0, 0] == 3


def test_the_package_offers_it_lazily() -> None:
    assert {"evaluate", "SourceArrays", "SceneArrays", "EvaluationResult"} <= set(dir(swathe))
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        _ = swathe.evaluat  # type: ignore[attr-defined]


def test_importing_the_package_is_light() -> None:
    code = "import sys, swathe; assert not {'numpy', 'shapely', 'pydantic'} & set(sys.modules); swathe.SceneArrays"
    subprocess.run([sys.executable, "-c", code + "; assert 'numpy' in sys.modules"], check=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("return [1, 0, 0]", [255, 0, 0]),
        ("let a = 2; return [a / 10]", [51]),
        ("var a = 0.2; return [a]", [51]),
        ("function twice(v) { return 2 * v } return [twice(a), a]", [102, 51]),
    ],
)
def test_simple_scripts_may_name_no_band_or_name_one_anew(text: str, expected: list[int]) -> None:
    made = evaluate(text, [SourceArrays("s", [scene(1, 0.2)])]).outputs["default"]
    assert made[0, 0].tolist() == expected
