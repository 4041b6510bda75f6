"""Scripts that mean harm: each ends with its reason, and the next script works."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swathe.evalscript.columns import BandColumn, Batch, SourceColumns
from swathe.evalscript.runtime import ScriptHost, ScriptLimits
from swathe.evalscript.script import Mosaicking
from swathe.model.errors import ScriptError, ScriptLost, ScriptMemory, ScriptTimeout

LIMITS = ScriptLimits(setup_s=0.8, evaluate_s=0.8, s_per_million_cells=0.8, heap_bytes=48 * 2**20, process_bytes=2**30)
SETUP = "function setup() { return {input: ['x'], output: {bands: 1, sampleType: 'FLOAT32'}} }\n"
PIXEL = SETUP + "function evaluatePixel(s, scenes, meta, custom, out) "
HARMLESS = PIXEL + "{ return [s.x * 2] }"
COLUMN = BandColumn(np.array([[1, 2, 3]], np.float32))
BATCH = Batch(
    (SourceColumns(None, Mosaicking.SIMPLE, {"x": COLUMN}, np.ones((1, 3), np.uint8)),),
    "2020-01-01T00:00:00Z",
    "2020-02-01T00:00:00Z",
)


@pytest.fixture(scope="module")
def host() -> Iterator[ScriptHost]:
    with ScriptHost(LIMITS) as host:
        yield host


def run(host: ScriptHost, text: str) -> list[float]:
    script = host.setup(text)
    try:
        values: list[float] = host.evaluate(script, BATCH).outputs["default"][0].tolist()
    finally:
        host.fresh(script)
    return values


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("while (true);\n" + HARMLESS, id="at the top level"),
        pytest.param("function setup() { for (;;); }\nfunction evaluatePixel() {}", id="in setup"),
        pytest.param(
            "function setup() { return {get input() { for (;;); }} }\nfunction evaluatePixel() {}", id="setup's getter"
        ),
        pytest.param(PIXEL + "{ for (;;); }", id="in evaluatePixel"),
        pytest.param(PIXEL + "{ return {get default() { for (;;); }} }", id="in a getter"),
        pytest.param(PIXEL + "{ return [{toString() { for (;;); }}] }", id="in toString"),
        pytest.param(PIXEL + "{ return /^(a+)+$/.test('a'.repeat(40) + 'b') }", id="in a regular expression"),
        pytest.param(PIXEL + "{ for (;;) new Float64Array(1e6).fill(1) }", id="in native code"),
        pytest.param(PIXEL + "{ for (;;) try { for (;;); } catch { } finally { continue } }", id="in spite of finally"),
        pytest.param(PIXEL + "{ throw {toString() { for (;;); }} }", id="in what it throws"),
        pytest.param(PIXEL + "{ throw new Proxy({}, {get() { for (;;); }}) }", id="in a proxy that it throws"),
        pytest.param(
            "Error.prepareStackTrace = () => { for (;;); };\n" + PIXEL + "{ null.x }", id="in its stack trace"
        ),
        pytest.param(
            "const f = () => { Promise.resolve().then(() => { f() }) };\n" + PIXEL + "{ f(); return [1] }",
            id="in promises",
        ),
        pytest.param(
            HARMLESS + "\nfunction updateOutputMetadata(s, i, o) { o.userData = {toJSON() { for (;;); }} }",
            id="in userData",
        ),
    ],
)
def test_an_endless_loop_ends_at_the_time_limit(host: ScriptHost, text: str) -> None:
    started = time.monotonic()
    with pytest.raises(
        ScriptTimeout, match=r"did not end within 0\.8 s while running (its top level|setup\(\)|evaluatePixel)"
    ):
        run(host, text)
    assert time.monotonic() - started < 30  # the limit is of processor time; other work on the machine counts here
    assert run(host, HARMLESS) == [2, 4, 6]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("const a = []; for (;;) a.push({x: [1, 2, 3]});\n" + HARMLESS, id="heap at the top level"),
        pytest.param("const a = [];\n" + PIXEL + "{ for (;;) a.push({x: [1, 2, 3]}) }", id="heap"),
        pytest.param("const a = [];\n" + PIXEL + "{ for (;;) a.push(new Float64Array(1e7)) }", id="typed arrays"),
        pytest.param(PIXEL + "{ let t = 'x'; for (;;) { t += t; t.charCodeAt(0) } }", id="a string"),
        pytest.param(
            "const a = [];\n" + PIXEL + "{ for (;;) a.push('x'.repeat(1e6 + a.length).split('')) }", id="strings"
        ),
        pytest.param(PIXEL + "{ return [new Array(1e8).fill(0).map((x, i) => ({i}))] }", id="a list"),
        pytest.param("const m = new Map();\n" + PIXEL + "{ for (let i = 0;; i++) m.set(i, [i]) }", id="a map"),
    ],
)
def test_a_memory_bomb_ends_the_script_only(host: ScriptHost, text: str) -> None:
    with pytest.raises((ScriptMemory, ScriptTimeout), match=r"more memory than it may have|did not end") as caught:
        run(host, text)
    assert "while running" in caught.value.message
    assert run(host, HARMLESS) == [2, 4, 6]


def test_a_heap_bomb_is_told_as_such(host: ScriptHost) -> None:
    with pytest.raises(ScriptMemory, match="more memory than it may have while running evaluatePixel"):
        run(host, "const a = [];\n" + PIXEL + "{ for (;;) a.push({x: [1, 2, 3]}) }")
    with pytest.raises(ScriptMemory, match="Array buffer allocation failed"):
        run(host, "const a = [];\n" + PIXEL + "{ for (;;) a.push(new Float64Array(1e7)) }")


def test_deep_recursion_is_an_error_of_the_script(host: ScriptHost) -> None:
    with pytest.raises(ScriptError, match=r"line 2 of the evalscript\): RangeError: Maximum call stack size"):
        run(host, PIXEL + "{ return evaluatePixel(s) }")
    assert run(host, HARMLESS) == [2, 4, 6]


def test_a_killed_process_is_an_error_and_no_hang(host: ScriptHost) -> None:
    script = host.setup(PIXEL + "{ for (;;); }")
    pid = host.pid
    assert pid is not None
    timer = threading.Timer(0.1, lambda: os.kill(pid, signal.SIGKILL))
    timer.start()
    with pytest.raises(ScriptError, match="was ended by SIGKILL while running evaluatePixel") as caught:
        host.evaluate(script, BATCH)
    assert type(caught.value) is ScriptLost
    assert run(host, HARMLESS) == [2, 4, 6]


def test_a_process_killed_between_two_calls_is_replaced(host: ScriptHost) -> None:
    script = host.setup(HARMLESS)
    pid = host.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.1)
    assert host.evaluate(script, BATCH).outputs["default"].tolist() == [[2, 4, 6]]


def test_a_stopped_process_is_ended(host: ScriptHost) -> None:
    script = host.setup(HARMLESS)
    assert host.pid is not None
    os.kill(host.pid, signal.SIGSTOP)
    with pytest.raises(ScriptTimeout):
        host.evaluate(script, BATCH)
    assert run(host, HARMLESS) == [2, 4, 6]


def test_a_host_may_be_used_from_several_threads_and_after_it_was_closed() -> None:
    results: list[list[float]] = []
    with ScriptHost(LIMITS) as host:
        threads = [threading.Thread(target=lambda: results.append(run(host, HARMLESS))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        host.close()
        assert host.pid is None
        assert run(host, HARMLESS) == [2, 4, 6]
    assert results == [[2, 4, 6]] * 4


def test_the_process_dies_with_its_parent_even_in_an_endless_loop() -> None:
    code = f"""
import os, threading, time
from swathe.evalscript.runtime import ScriptHost, ScriptLimits
host = ScriptHost(ScriptLimits())
threading.Thread(target=lambda: host.setup({"for (;;);"!r}), daemon=True).start()
while host.pid is None:
    time.sleep(0.01)
print(host.pid, flush=True)
time.sleep(0.6)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180, check=False)
    pid = int(done.stdout)
    for _ in range(100):
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return
        except FileNotFoundError:
            return
        time.sleep(0.05)
    pytest.fail("the process is still there")


@pytest.mark.parametrize(
    "name",
    ["SharedArrayBuffer", "Atomics", "WebAssembly", "performance", "Temporal", "setTimeout", "__TimerManager",
     "__timer_manager", "require", "process", "Deno", "fetch", "importScripts", "host", "P"],
)  # fmt: skip
def test_there_is_no_such_thing(host: ScriptHost, name: str) -> None:
    assert run(host, PIXEL + f"{{ return [typeof {name} === 'undefined'] }}") == [1, 1, 1]


def test_the_clock_has_whole_seconds_and_dates_work(host: ScriptHost) -> None:
    expression = """[Date.now() % 1000 === 0 && +new Date() % 1000 === 0 && new Date() instanceof Date
      && new Date(2020, 0, 5, 1).toISOString() === '2020-01-05T01:00:00.000Z' && typeof Date() === 'string'
      && new Date('2020-01-01').getTime() === Date.UTC(2020, 0, 1) && new Date().constructor === Date
      && (class extends Date {}) !== null && typeof Intl.DateTimeFormat === 'undefined']"""
    assert run(host, PIXEL + f"{{ return {expression} }}") == [1, 1, 1]


def test_frames_and_callers_give_nothing_away(host: ScriptHost) -> None:
    assert run(host, PIXEL + "{ return [evaluatePixel.caller === null] }") == [1, 1, 1]
    frames = """let seen = 0;
    Error.prepareStackTrace = (e, frames) => frames.forEach(f => { if (f.getThis() !== undefined
      && f.getThis() !== globalThis || f.getFileName && f.getFunction() && f.getFunction() !== evaluatePixel) seen++ });
    """
    assert run(host, frames + PIXEL + "{ new Error('x').stack; return [seen] }") == [0, 0, 0]


def test_there_is_no_way_to_modules(host: ScriptHost) -> None:
    assert run(host, PIXEL + "{ import('fs').catch(() => {}); return [1] }") == [1, 1, 1]


@pytest.mark.parametrize(
    "before",
    [
        "Object.freeze(Object.prototype); Object.freeze(Array.prototype);",
        "JSON.stringify = JSON.parse = null; Array.isArray = () => { throw 1 };",
        "Array.prototype.push = Array.prototype.map = null; Math.round = () => 99; Math.floor = null;",
        "globalThis.Float32Array = globalThis.Function = globalThis.Array = globalThis.Object = null;",
        "Object.defineProperty(Object.prototype, 'get', {value: 5}); Object.prototype.length = 7;",
        "Object.defineProperty(Object.prototype, 'cells', {set() { throw 1 }});",
    ],
)
def test_what_a_script_breaks_is_broken_only_for_itself(host: ScriptHost, before: str) -> None:
    assert run(host, before + "\n" + HARMLESS) == [2, 4, 6]
    assert run(host, HARMLESS) == [2, 4, 6]


def test_scripts_do_not_see_each_other(host: ScriptHost) -> None:
    run(host, "globalThis.secret = 5; Array.prototype.secret = 5;\n" + HARMLESS)
    assert run(host, PIXEL + "{ return [typeof secret === 'undefined' && [].secret === undefined] }") == [1, 1, 1]


VALUES = st.sampled_from(
    """
    1 NaN null undefined 'x' 5n Symbol() [] ({}) (()=>1) -0 Infinity 1e309 /x/ globalThis arguments s scenes out
    evaluatePixel Object(1n) Object.create(null) (function*(){}()) new/**/Map() new/**/Array(5) new/**/Date(NaN)
    new/**/(class{}) new/**/String('ab') new/**/Error('e') new/**/ArrayBuffer(8) new/**/DataView(new/**/ArrayBuffer(8))
    ({valueOf(){return{}}}) new/**/Proxy([],{}) new/**/Proxy({},{get(){throw/**/1}}) ({length:-1}) ({length:'x'})
    new/**/Proxy({},{ownKeys(){throw/**/1}}) ({get/**/length(){throw/**/2}}) ({get/**/0(){throw/**/3},length:1})
    """.split()  # noqa: SIM905
)


@settings(max_examples=120, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.sampled_from(["{}", "[{}]", "({{default:{}}})", "({{default:[{}]}})", "({{default:[{}],x:1}})"]),
    value=VALUES,
)
def test_whatever_is_returned_is_numbers_or_an_error_of_the_script(host: ScriptHost, shape: str, value: str) -> None:
    host.setup(HARMLESS)
    pid = host.pid
    with contextlib.suppress(ScriptError):
        assert len(run(host, PIXEL + f"{{ return {shape.format(value)} }}")) == 3
    assert host.pid == pid, "a wrong value does not cost a process"


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, len(HARMLESS)), length=st.integers(0, 12), put=st.text(max_size=4))
def test_mutated_scripts_run_or_are_refused(host: ScriptHost, cut: int, length: int, put: str) -> None:
    with contextlib.suppress(ScriptError):
        script = host.setup(HARMLESS[:cut] + put + HARMLESS[cut + length :])
        if script.inputs[0].bands == ("x",):
            host.evaluate(script, BATCH)
        host.fresh(script)
