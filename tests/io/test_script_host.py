"""Scripts in V8: what evaluatePixel gets, what becomes of what it returns, what happens to scenes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from swathe.evalscript.columns import BandColumn, Batch, Evaluated, OrbitInfo, SceneInfo, SourceColumns, SourceScenes
from swathe.evalscript.runtime import ScriptHost, ScriptLimits
from swathe.evalscript.script import Evalscript, Mosaicking, SampleType, simple_script
from swathe.model.errors import ScriptError

FROM, TO = "2020-01-01T00:00:00Z", "2020-02-01T00:00:00Z"


@pytest.fixture(scope="module")
def host() -> Iterator[ScriptHost]:
    with ScriptHost(ScriptLimits()) as host:
        yield host


def make_scene(day: int, cloud: float | None = None) -> SceneInfo:
    return SceneInfo(date=f"2020-01-{day:02d}T10:30:00Z", cloud_coverage=cloud, data_path=f"s3://a/{day}", sh_id=day)


def make_orbit(day: int) -> OrbitInfo:
    return OrbitInfo(f"2020-01-{day:02d}T00:00:00Z", f"2020-01-{day:02d}T23:59:59Z", (make_scene(day, 5.0),))


def make_source(
    bands: dict[str, Any], *, id: str | None = None, orbits: tuple[int, ...] = (), tiles: tuple[int, ...] = ()
) -> SourceColumns:
    """`bands` gives a list per sample; without orbits or tiles the source is SIMPLE."""
    columns = {
        name: value if isinstance(value, BandColumn) else BandColumn(np.atleast_2d(np.asarray(value, np.float32)))
        for name, value in bands.items()
    }
    shape = next(iter(columns.values())).values.shape
    mosaicking = Mosaicking.ORBIT if orbits else Mosaicking.TILE if tiles else Mosaicking.SIMPLE
    return SourceColumns(
        id,
        mosaicking,
        columns,
        np.ones(shape, np.uint8),
        orbits=tuple(make_orbit(day) for day in orbits),
        scenes=tuple(make_scene(day, 10.0 * day) for day in tiles),
        normalization_factor=0.0001,
    )


def run(
    host: ScriptHost, text: str, *sources: SourceColumns, auto: SampleType = SampleType.AUTO
) -> tuple[Evaluated, Evalscript]:
    script = host.setup(text, auto=auto)
    made = host.evaluate(script, Batch(sources, FROM, TO))
    host.fresh(script)
    return made, script


def returned(host: ScriptHost, expression: str, *, bands: int = 2, sample_type: str = "FLOAT32") -> list[float]:
    """One cell of the only output of a script that returns the expression; `x` is 0.5."""
    text = (
        f"function setup() {{ return {{input: ['x'], output: {{bands: {bands}, sampleType: '{sample_type}'}}}} }}\n"
        f"function evaluatePixel({{x}}) {{ return {expression} }}"
    )
    values: list[float] = run(host, text, make_source({"x": [0.5]}))[0].outputs["default"][:, 0].tolist()
    return values


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("[x, 2]", [0.5, 2]),
        ("({default: [x, 2]})", [0.5, 2]),
        ("undefined", [0, 0]),
        ("null", [0, 0]),
        ("({})", [0, 0]),
        ("({default: undefined})", [0, 0]),
        ("[]", [0, 0]),
        ("3", [3, 0]),
        ("true", [1, 0]),
        ("({default: 3})", [3, 0]),
        ("[7]", [7, 0]),
        ("[7, 8, 9]", [7, 8]),
        ("[true, false]", [1, 0]),
        ("[null, '0.25']", [0, 0.25]),
        ("[[4], [[5]]]", [4, 5]),
        ("new Float32Array([1, 2])", [1, 2]),
        ("({default: new Uint8Array([1])})", [1, 0]),
        ("({default: {length: 2, 0: 8, 1: 9}})", [8, 9]),
        ("new Proxy([1, 2], {})", [1, 2]),
        ("[{valueOf: () => 6}, new Date(7)]", [6, 7]),
    ],
)
def test_what_may_be_returned(host: ScriptHost, expression: str, expected: list[float]) -> None:
    assert returned(host, expression) == expected


def test_an_undefined_component_is_no_number(host: ScriptHost) -> None:
    values = returned(host, "[undefined, NaN]")
    assert all(value != value for value in values)
    assert returned(host, "[undefined, NaN]", sample_type="UINT8") == [0, 0]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("'nonsense'", "returned a string"),
        ("({default: 'red'})", 'returned a string for the output "default"'),
        ("({other: [1]})", 'an object with "other" but without the outputs of setup\\(\\): "default"'),
        ("({default: {a: 1}})", 'returned an object for the output "default"'),
        ("(() => 1)", "returned a function"),
        ("Promise.resolve([1])", "returned a promise"),
        ("({default: {length: NaN}})", "without a usable length"),
        ("[Symbol(), 1]", "Cannot convert a Symbol value"),
        ("new Proxy([], {get() { throw new Error('trapped') }})", r"line 2 of the evalscript\): Error: trapped"),
        ("x.y.z", r"line 2 of the evalscript\): TypeError: Cannot read properties of undefined"),
    ],
)
def test_nonsense_is_an_error_that_names_it(host: ScriptHost, expression: str, message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        returned(host, expression)


def test_huge_and_endless_lists_cost_nothing(host: ScriptHost) -> None:
    assert returned(host, "new Array(4e9)", sample_type="UINT8") == [0, 0]
    assert returned(host, "({default: {length: Infinity, 0: 1}})", sample_type="UINT8") == [1, 0]


@pytest.mark.parametrize(
    ("sample_type", "values", "expected"),
    [
        ("AUTO", [0, 1, 0.5, -3, 7, 0.1, 0.001, float("nan"), 0.3], [0, 255, 128, 0, 255, 26, 0, 0, 77]),
        ("UINT8", [0, 1, 0.5, -3, 700, 40.6, 254.5, 0.49999999999999994, 2.5], [0, 1, 1, 0, 255, 41, 255, 0, 3]),
        (
            "UINT16",
            [65535.4, 65536, -0.4, -1, 1e300, 12.5, 0, 3, 65534.4],
            [65535, 65535, 0, 0, 65535, 13, 0, 3, 65534],
        ),
        ("INT8", [-128.4, -129, 127.4, 128, -2.5, 2.5, -0.5, float("nan"), 0], [-128, -128, 127, 127, -2, 3, 0, 0, 0]),
        ("INT16", [-1e9, 1e9, -2.5, 2.4, float("nan"), 0, 1, 2, 3], [-32768, 32767, -2, 2, 0, 0, 1, 2, 3]),
    ],
)
@pytest.mark.parametrize("road", ["return [s.x, s.x]", "return {default: {length: 2, 0: s.x, 1: s.x}}", "return [s.x]"])
def test_sample_types_round_and_clamp(
    host: ScriptHost, sample_type: str, values: list[float], expected: list[int], road: str
) -> None:
    text = (
        f"function setup() {{ return {{input: ['x'], output: {{bands: 2, sampleType: '{sample_type}'}}}} }}\n"
        f"function evaluatePixel(s) {{ {road} }}"
    )
    source = make_source({"x": BandColumn(np.array([values], np.float64))})
    output = run(host, text, source)[0].outputs["default"]
    assert output[0].tolist() == expected
    assert output.dtype.name == {"AUTO": "uint8"}.get(sample_type, sample_type.lower())


def test_float32_is_the_nearest_float32(host: ScriptHost) -> None:
    assert returned(host, "[0.1, 1e300]") == [float(np.float32(0.1)), float("inf")]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
def test_a_script_sees_value_times_scale_plus_offset(host: ScriptHost, dtype: str) -> None:
    text = """function setup() { return {input: ['B04', 'dataMask'], output: {bands: 2, sampleType: 'FLOAT32'}} }
    function evaluatePixel(s) { return [s.B04 * 1e6, Object.keys(s).join() === 'B04,dataMask'] }"""
    values = np.array([[1, 2, 100]], dtype)
    output = run(host, text, make_source({"B04": BandColumn(values, 0.0001, -0.1)}))[0].outputs["default"]
    expected = ((values.astype(np.float64) * 0.0001 + -0.1) * 1e6).astype(np.float32)
    assert output[0].tolist() == expected[0].tolist()
    assert output[1].tolist() == [1, 1, 1]


def test_several_outputs_each_get_their_list(host: ScriptHost) -> None:
    text = """function setup() { return {input: ['x'], output: [
      {id: 'first', bands: 1, sampleType: 'FLOAT32'}, {id: 'default', bands: 2}, {id: 'values', bands: 1}]} }
    function evaluatePixel(s) {
      if (s.x == 0) return {first: [1], default: [1, 1], values: [1]};
      if (s.x == 1) return {first: [2]};
      if (s.x == 2) return [0, 1];
      if (s.x == 3) return {first: 5, default: null, values: [true]};
    }"""
    made = run(host, text, make_source({"x": [0, 1, 2, 3, 4]}))[0]
    assert made.outputs["first"].tolist() == [[1, 2, 0, 5, 0]]
    assert made.outputs["default"].tolist() == [[255, 0, 0, 0, 0], [255, 0, 255, 0, 0]]
    assert made.outputs["values"].tolist() == [[255, 0, 0, 255, 0]]


def test_outputs_of_many_bands(host: ScriptHost) -> None:
    text = """function setup() { return {input: ['x'], output: {bands: 40, sampleType: 'UINT8'}} }
    function evaluatePixel(s) { return Array.from({length: 40}, (_, i) => s.x + i) }"""
    output = run(host, text, make_source({"x": [0, 100]}))[0].outputs["default"]
    assert output[:, 0].tolist() == list(range(40))
    assert output[:, 1].tolist() == list(range(100, 140))


@pytest.mark.parametrize("samples", [1, 2, 12, 40])
def test_orbits_come_as_a_list_of_samples_with_their_scenes(host: ScriptHost, samples: int) -> None:
    text = """function setup() { return {input: ['x'], output: {bands: 3, sampleType: 'FLOAT32'}, mosaicking: 'ORBIT'} }
    function evaluatePixel(samples, scenes) {
      const bits = samples.map(s => s.x).reduce((a, b) => a * 2 + b);
      return [bits, samples.length === scenes.orbits.length, samples.length];
    }"""
    values = np.arange(samples * 3).reshape(samples, 3) % 2
    orbits = tuple(1 + k % 28 for k in range(samples))
    output = run(host, text, make_source({"x": values}, orbits=orbits))[0].outputs["default"]
    expected = [float(np.float32(int("".join(map(str, values[:, cell])), 2))) for cell in range(3)]
    assert output[0].tolist() == expected
    assert output[1:].tolist() == [[1, 1, 1], [samples] * 3]


SCENES = "function evaluatePixel(samples, scenes, meta, custom, out) {{ out.userData = {expression} }}"


def asked(host: ScriptHost, setup: str, expression: str, *sources: SourceColumns) -> Any:
    text = f"function setup() {{ return {setup} }}\n" + SCENES.format(expression=expression)
    return run(host, text, *sources)[0].user_data


def test_scenes_in_the_new_form(host: ScriptHost) -> None:
    source = make_source({"x": [[1], [2]]}, orbits=(9, 4))
    setup = "{input: ['x'], output: {bands: 1}, mosaicking: Mosaicking.ORBIT}"
    expression = "{first: scenes.orbits[0], days: scenes.orbits.map(o => o.dateFrom), whole: scenes}"
    data = asked(host, setup, expression, source)
    tile = {"date": "2020-01-09T10:30:00Z", "cloudCoverage": 5, "dataPath": "s3://a/9", "shId": 9}
    first = {"dateFrom": "2020-01-09T00:00:00Z", "dateTo": "2020-01-09T23:59:59Z", "tiles": [tile]}
    assert data["first"] == first
    assert data["days"] == ["2020-01-09T00:00:00Z", "2020-01-04T00:00:00Z"]
    assert data["whole"]["orbits"][0] == first


def test_scenes_in_the_old_form(host: ScriptHost) -> None:
    source = make_source({"x": [[1], [2]]}, tiles=(9, 4))
    setup = "{input: ['x'], output: {bands: 1}, mosaicking: 'tile'}"
    expression = """({n: scenes.length, isDate: scenes[1].date instanceof Date, ms: scenes[1].date.getTime(),
      iso: scenes.tiles[1].date, cloud: scenes.tiles[1].cloudCoverage, keys: Object.keys(scenes)})"""
    assert asked(host, setup, expression, source) == {
        "n": 2,
        "isDate": True,
        "ms": 1578133800000,
        "iso": "2020-01-04T10:30:00Z",
        "cloud": 40,
        "keys": ["0", "1"],
    }


def test_metadata_and_simple_scenes(host: ScriptHost) -> None:
    expression = (
        "({n: scenes.length, f: meta.normalizationFactor, v: typeof meta.serviceVersion, c: custom, s: scenes})"
    )
    data = asked(host, "{input: ['x'], output: {bands: 1}}", expression, make_source({"x": [1]}))
    assert data == {"n": 0, "f": 0.0001, "v": "string", "c": {}, "s": {}}


def test_fusion_passes_lists_by_datasource(host: ScriptHost) -> None:
    text = """function setup() { return {
      input: [{datasource: 's2', bands: ['B04']}, {datasource: 's1', bands: ['VV'], mosaicking: 'ORBIT'}],
      output: {bands: 4, sampleType: 'FLOAT32'}} }
    function evaluatePixel(samples, scenes) {
      return [samples.s2[0].B04, samples.s1[1].VV, samples.s2.length, scenes.s1.scenes.orbits.length] }"""
    first = make_source({"B04": [3, 4]}, id="s2")
    second = make_source({"VV": [[5, 6], [7, 8]]}, id="s1", orbits=(9, 4))
    output = run(host, text, first, second)[0].outputs["default"]
    assert output.tolist() == [[3, 4], [7, 8], [1, 1], [2, 2]]


def test_fusion_without_datasource_uses_the_ids_of_the_request(host: ScriptHost) -> None:
    text = """function setup() {
      return {input: [{bands: ['a']}, {bands: ['b']}], output: {bands: 2, sampleType: 'UINT8'}} }
    function evaluatePixel(s) { return [s.one[0].a, s['two-2'][0].b] }"""
    output = run(host, text, make_source({"a": [3]}, id="one"), make_source({"b": [4]}, id="two-2"))[0]
    assert output.outputs["default"].tolist() == [[3], [4]]


def kept(host: ScriptHost, functions: str, mosaicking: str = "ORBIT") -> tuple[int, ...]:
    script = host.setup(
        f"function setup() {{ return {{input: ['x'], output: {{bands: 1}}, mosaicking: '{mosaicking}'}} }}\n"
        f"function evaluatePixel() {{}}\n{functions}"
    )
    source = SourceScenes(
        None,
        Mosaicking(mosaicking),
        orbits=tuple(make_orbit(day) for day in (9, 7, 4, 2)) if mosaicking == "ORBIT" else (),
        scenes=tuple(make_scene(day, 10.0 * day) for day in (9, 7, 4, 2)) if mosaicking == "TILE" else (),
    )
    (indices,) = host.pre_process(script, [source], time_from=FROM, time_to=TO)
    return indices


@pytest.mark.parametrize(
    ("functions", "expected"),
    [
        ("", (0, 1, 2, 3)),
        ("function preProcessScenes(c) {}", (0, 1, 2, 3)),
        (
            "function preProcessScenes(c) { c.scenes.orbits = c.scenes.orbits.filter((o, i) => i % 2); return c }",
            (1, 3),
        ),
        ("function preProcessScenes(c) { c.scenes.orbits.reverse(); return c }", (3, 2, 1, 0)),
        ("function preProcessScenes(c) { return {scenes: {orbits: [c.scenes.orbits[2]]}} }", (2,)),
        (
            "function preProcessScenes(c) { return {scenes: {orbits: c.scenes.orbits.map(o => ({...o}))}} }",
            (0, 1, 2, 3),
        ),
        ("function preProcessScenes(c) { return JSON.parse(JSON.stringify(c)) }", (0, 1, 2, 3)),
        (
            """function preProcessScenes(c) { const limit = c.to.getTime() - 25 * 24 * 3600 * 1000;
            c.scenes.orbits = c.scenes.orbits.filter(o => new Date(o.dateFrom).getTime() < limit); return c }""",
            (2, 3),
        ),
        ("function preProcessScenes(c) { c.scenes.orbits = []; return c }", ()),
        ("const preProcessScenes = (c) => { c.scenes.orbits.pop(); return c }", (0, 1, 2)),
        ("function filterScenes(s, m) { return s.filter(x => x.date.getTime() > m.from.getTime() + 4e8) }", (0, 1)),
    ],
)
def test_scenes_are_kept_in_the_order_returned(host: ScriptHost, functions: str, expected: tuple[int, ...]) -> None:
    assert kept(host, functions) == expected


def test_tiles_are_filtered_by_their_clouds(host: ScriptHost) -> None:
    body = "c.scenes.tiles = c.scenes.tiles.filter(t => t.cloudCoverage < 50); return c"
    assert kept(host, f"function preProcessScenes(c) {{ {body} }}", "TILE") == (2, 3)


def test_fusion_filters_each_source_by_itself(host: ScriptHost) -> None:
    script = host.setup(
        """function setup() { return {input: [{datasource: 'a', bands: ['x'], mosaicking: 'ORBIT'},
          {datasource: 'b', bands: ['y']}, {datasource: 'c', bands: ['z'], mosaicking: 'TILE'}], output: {bands: 1}} }
        function preProcessScenes(c) { c.a.scenes.orbits.pop(); c.c.scenes.tiles.shift(); return c }
        function updateOutput(output, c) { output.default.bands = c.a.scenes.length * 10 + c.c.scenes.tiles.length }
        function evaluatePixel() {}"""
    )
    sources = [
        SourceScenes("a", Mosaicking.ORBIT, orbits=(make_orbit(9), make_orbit(7))),
        SourceScenes("b", Mosaicking.SIMPLE, scenes=(make_scene(8), make_scene(7))),
        SourceScenes("c", Mosaicking.TILE, scenes=(make_scene(5), make_scene(4), make_scene(3))),
    ]
    assert host.pre_process(script, sources, time_from=FROM, time_to=TO) == ((0,), (0, 1), (1, 2))
    assert len(host.update_output(script, sources, time_from=FROM, time_to=TO).outputs[0].bands) == 23


def test_no_scenes_at_all_are_an_empty_list(host: ScriptHost) -> None:
    text = """function setup() { return {input: ['x'], output: {bands: 1}, mosaicking: 'ORBIT'} }
    function evaluatePixel(samples, scenes) { return [samples.length === 0 && scenes.orbits.length === 0] }"""
    script = host.setup(text)
    band = BandColumn(np.zeros((0, 3), np.uint16))
    source = SourceColumns(None, Mosaicking.ORBIT, {"x": band}, np.zeros((0, 3), np.uint8))
    assert host.evaluate(script, Batch((source,), FROM, TO)).outputs["default"].tolist() == [[255, 255, 255]]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "(() => { let o = []; for (let i = 0; i < 3000; i++) o = [o]; return o })()",
            "nested too deep|Maximum call stack",
        ),
        ("'\\ud800'", "no Unicode text"),
        ("(() => { const a = {}; a.a = a; return a })()", "circular structure"),
    ],
)
def test_user_data_that_is_no_json_is_an_error(host: ScriptHost, value: str, message: str) -> None:
    text = f"""function setup() {{ return {{input: ['x'], output: {{bands: 1}}}} }}
    function evaluatePixel(a, b, c, d, out) {{ out.userData = {{v: {value}}} }}"""
    with pytest.raises(ScriptError, match=message):
        run(host, text, make_source({"x": [1]}))


def test_scenes_out_of_nowhere_are_an_error(host: ScriptHost) -> None:
    with pytest.raises(ScriptError, match="returned a scene that it was not given"):
        kept(host, "function preProcessScenes(c) { return {scenes: {orbits: [{dateFrom: 'x'}]}} }")
    with pytest.raises(ScriptError, match=r"line 3 of the evalscript\): Error: no"):
        kept(host, "function preProcessScenes(c) { throw new Error('no') }")


def test_update_output_sets_the_number_of_bands(host: ScriptHost) -> None:
    script = host.setup(
        """function setup() { return {input: ['x'], output: {bands: 0, sampleType: 'UINT8'}, mosaicking: 'TILE'} }
        let n;
        function preProcessScenes(c) { n = c.scenes.tiles.length; return c }
        function updateOutput(output, collection) {
          output.default.bands = collection.scenes.length + (collection.scenes[0].date instanceof Date ? 0 : 99) }
        function evaluatePixel(samples) { return samples.map(s => s.x * n) }"""
    )
    source = make_source({"x": [[1, 2], [3, 4]]}, tiles=(9, 4))
    scenes = [SourceScenes(None, source.mosaicking, scenes=source.scenes)]
    assert host.pre_process(script, scenes, time_from=FROM, time_to=TO) == ((0, 1),)
    updated = host.update_output(script, scenes, time_from=FROM, time_to=TO)
    assert updated.outputs[0].bands == ("B0", "B1")
    assert host.evaluate(updated, Batch((source,), FROM, TO)).outputs["default"].tolist() == [[2, 4], [6, 8]]


def test_update_output_metadata_has_the_last_word_on_user_data(host: ScriptHost) -> None:
    text = """function setup() { return {input: ['x'], output: {bands: 1}, mosaicking: 'ORBIT'} }
    let cells = 0;
    function evaluatePixel() { cells++ }
    function updateOutputMetadata(scenes, inputMetadata, outputMetadata) {
      outputMetadata.userData = {cells, orbits: JSON.stringify(scenes.orbits.length)} }"""
    assert run(host, text, make_source({"x": [[1, 2, 3]]}, orbits=(9,)))[0].user_data == {"cells": 3, "orbits": "1"}


def test_user_data_that_was_not_touched_is_none(host: ScriptHost) -> None:
    text = "function setup() { return {input: ['x'], output: {bands: 1}} }\nfunction evaluatePixel() {}"
    assert run(host, text, make_source({"x": [1]}))[0].user_data is None


def test_user_data_has_a_limit() -> None:
    text = """function setup() { return {input: ['x'], output: {bands: 1}} }
    function evaluatePixel(a, b, c, d, out) { out.userData = 'x'.repeat(200) }"""
    with (
        ScriptHost(ScriptLimits(user_data_chars=100)) as host,
        pytest.raises(ScriptError, match="202 characters long as JSON; at most 100"),
    ):
        run(host, text, make_source({"x": [1]}))


def test_large_batches_go_through_in_steps_and_small_ones_share_a_loop(host: ScriptHost) -> None:
    text = """function setup() { return {input: ['x', 'dataMask'], output: {bands: 1, sampleType: 'FLOAT32'}} }
    let calls = 0;
    function evaluatePixel(s) { return [s.x + 1] }"""
    script = host.setup(text)
    for cells in (3_000_001, 7, 6, 0, 1000):
        values = np.arange(cells, dtype=np.float32)[None]
        source = SourceColumns(None, Mosaicking.SIMPLE, {"x": BandColumn(values)}, np.ones((1, cells), np.uint8))
        output = host.evaluate(script, Batch((source,), FROM, TO)).outputs["default"]
        assert np.array_equal(output, values + 1)


def test_columns_need_not_be_contiguous(host: ScriptHost) -> None:
    text = """function setup() { return {input: ['x'], output: {bands: 1, sampleType: 'FLOAT32'}} }
    function evaluatePixel(s) { return [s.x] }"""
    values = np.arange(20, dtype=np.int16).reshape(10, 2).T[:1]
    assert run(host, text, make_source({"x": BandColumn(values)}))[0].outputs["default"].tolist() == values.tolist()


def test_state_lasts_as_long_as_the_key_and_no_longer(host: ScriptHost) -> None:
    text = """function setup() { return {input: ['x'], output: {bands: 1, sampleType: 'UINT8'}} }
    let n = 0;
    function evaluatePixel() { return [++n] }"""
    script = host.setup(text)
    batch = Batch((make_source({"x": [0, 0]}),), FROM, TO)

    def values(key: str) -> list[int]:
        output: list[int] = host.evaluate(script, batch, key=key).outputs["default"][0].tolist()
        return output

    assert values("a") == [1, 2]
    assert values("a") == [3, 4]
    assert values("b") == [1, 2]
    host.fresh(script, key="a")
    assert values("a") == [1, 2]
    for key in "cdefgh":
        values(key)
    assert values("b") == [1, 2], "contexts beyond the last few are closed"


def test_a_context_in_which_nothing_but_setup_has_run_is_as_good_as_new(host: ScriptHost) -> None:
    text = """let setups = 0, cells = 0;
    function setup() { setups++; return {input: ['x'], output: {bands: 2, sampleType: 'FLOAT32'}} }
    function evaluatePixel() { return [setups, ++cells, Math.random()] }"""
    batch = Batch((make_source({"x": [0, 0]}),), FROM, TO)
    script = host.setup(text)
    first = host._contexts[text, ""]
    host.fresh(script)
    assert host._contexts[text, ""] is first, "a new one would be the same"
    assert host.evaluate(script, batch).outputs["default"].tolist() == [[1, 1], [1, 2]]
    host.fresh(script)
    assert (text, "") not in host._contexts
    assert host.evaluate(script, batch).outputs["default"].tolist() == [[1, 1], [1, 2]]


def test_random_numbers_are_the_same_in_every_run(host: ScriptHost) -> None:
    assert returned(host, "[Math.random(), Math.random()]") == returned(host, "[Math.random(), Math.random()]")


@pytest.mark.parametrize(
    "text",
    [
        "const setup = () => ({input: ['x'], output: {bands: 1}}); const evaluatePixel = (s) => [s.x];",
        "var setup = function () { return {input: ['x'], output: {bands: 1}} }; let evaluatePixel = (s) => [s.x]",
        "//VERSION=3\n\n function evaluatePixel(s) { for (i = 0; i < 1; i++); return [s.x] }\n"
        "function setup() { with ({b: 1}) { return {input: ['x'], output: {bands: b}} } }",
        "// Script\n//VERSION=3 (auto-converted)\nfunction setup() { return {input: ['x'], output: {bands: 1}} }\n"
        "function evaluatePixel(s) { return [s.x] } // é ü 日本 \u2028",
    ],
)
def test_scripts_are_sloppy_and_functions_may_be_written_in_any_way(host: ScriptHost, text: str) -> None:
    assert run(host, text, make_source({"x": [1]}))[0].outputs["default"].tolist() == [[255]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("function evaluatePixel() {}", r"has no function setup\(\)"),
        ("function setup() { return {} }", r"has no function evaluatePixel\(\)"),
        ("\n\nfunction setup( {", r"cannot be understood \(line 3 of the evalscript\): SyntaxError"),
        ("let a = 1;\nlet a = 2;", r"line 2 of the evalscript\): SyntaxError: Identifier 'a' has already"),
        ("var x;\nx.y = 1;", r"running its top level \(line 2 of the evalscript\): TypeError"),
        ("function evaluatePixel() {}\nfunction setup() {\n\n return nope }", r"running setup\(\) \(line 4 .*nope"),
        ("function evaluatePixel() {}\nfunction setup() { throw 'words' }", r"line 2 of the evalscript\): words"),
        ("function evaluatePixel() {}\nfunction setup() { const a = {}; a.a = a; return a }", "circular structure"),
        ("function evaluatePixel() {}\nfunction setup() { return 'x'.repeat(3e6) }", "characters long as JSON"),
        ("(" * 100_000, "cannot be understood"),
        ("// \ud800", "no Unicode text"),
        (" " * 500_001, "500001 characters long; at most 500000"),
    ],
)
def test_scripts_that_cannot_be_used_say_why_and_where(host: ScriptHost, text: str, message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        host.setup(text)


def test_simple_scripts_run_and_have_as_many_bands_as_they_return(host: ScriptHost) -> None:
    text = simple_script("//VERSION=3\nvar k = 2;\nreturn [B04 * k, B08, dataMask]", ["B02", "B04", "B08"])
    made, script = run(host, text, make_source({"B04": [0.25], "B08": [1]}))
    assert script.inputs[0].bands == ("B04", "B08", "dataMask")
    assert made.outputs["default"].tolist() == [[128], [255], [255]]
