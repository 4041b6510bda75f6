"""The memory between a host and its child: the arenas of V8 laid over it, outputs borrowed from it, its end."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from swathe.evalscript import transfer
from swathe.evalscript.columns import BandColumn, Batch, SourceColumns
from swathe.evalscript.runtime import ScriptHost, ScriptLimits
from swathe.evalscript.script import Mosaicking
from swathe.model.errors import ScriptError, ScriptLost

FROM, TO = "2020-01-01T00:00:00Z", "2020-02-01T00:00:00Z"
SETUP = "function setup() { return {input: ['x'], output: {bands: 2, sampleType: 'FLOAT32'}} }\n"
DOUBLE = SETUP + "function evaluatePixel(s) { return [s.x * 2, s.x + 1] }"
NEGATIVE = SETUP + "function evaluatePixel(s) { return [-s.x, 0] }"

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere bytes are copied")


@pytest.fixture
def host() -> Iterator[ScriptHost]:
    with ScriptHost(ScriptLimits()) as host:
        yield host


def make_batch(values: npt.ArrayLike) -> Batch:
    column = np.atleast_2d(np.asarray(values, np.float64))
    source = SourceColumns(None, Mosaicking.SIMPLE, {"x": BandColumn(column)}, np.ones(column.shape, np.uint8))
    return Batch((source,), FROM, TO)


def doubled(values: npt.ArrayLike) -> list[list[float]]:
    given = np.asarray(values, np.float64)
    return [(given * 2).tolist(), (given + 1).tolist()]


def run(host: ScriptHost, text: str, values: npt.ArrayLike, *, key: str = "", borrow: bool = True) -> Any:
    script = host.setup(text, key=key)
    return host.evaluate(script, make_batch(values), key=key, borrow=borrow).outputs["default"]


def mapped(host: ScriptHost) -> int:
    """How many times the child has mapped the shared memory."""
    return Path(f"/proc/{host.pid}/maps").read_text().count("swathe-columns")


def small_steps(monkeypatch: pytest.MonkeyPatch, step: int, arena: int, grain: int = 2**16) -> None:
    monkeypatch.setattr(transfer, "_STEP_BYTES", step)
    monkeypatch.setattr(transfer, "_ARENA_BYTES", arena)
    monkeypatch.setattr(transfer, "_GRAIN_BYTES", grain)


def test_borrowed_outputs_hold_until_the_next_call(host: ScriptHost) -> None:
    first = run(host, DOUBLE, [1, 2, 3])
    assert first.tolist() == doubled([1, 2, 3])
    copied = run(host, DOUBLE, [4, 5, 6], borrow=False)
    assert first.tolist() == doubled([4, 5, 6]), "the next call writes to the same place"
    assert run(host, DOUBLE, [7, 8, 9]).tolist() == doubled([7, 8, 9])
    assert copied.tolist() == doubled([4, 5, 6])


def test_a_borrowed_band_is_an_array_like_any_other(host: ScriptHost) -> None:
    band = run(host, DOUBLE, np.arange(1000))[1]
    assert band.dtype == np.float32
    assert band.flags.c_contiguous
    assert band.flags.aligned
    assert not band.flags.owndata


def test_borrowed_outputs_of_no_cells_are_empty(host: ScriptHost) -> None:
    assert run(host, DOUBLE, np.zeros((1, 0))).shape == (2, 0)


def test_a_batch_of_several_steps_is_never_borrowed(host: ScriptHost, monkeypatch: pytest.MonkeyPatch) -> None:
    small_steps(monkeypatch, 2**12, 2**13)
    values = np.arange(5000)
    output = run(host, DOUBLE, values)
    assert output.flags.owndata
    run(host, NEGATIVE, [1])
    assert output.tolist() == doubled(values)


@pytest.mark.parametrize("cells", [511, 512, 513, 1024, 3000])
def test_cells_come_once_and_in_their_order(host: ScriptHost, cells: int) -> None:
    text = "let n = 0;\n" + SETUP + "function evaluatePixel(s) { return [n++, s.x] }"
    order = np.arange(cells)
    assert run(host, text, order, key=str(cells)).tolist() == [order.tolist(), order.tolist()]


@linux_only
def test_every_arena_is_the_shared_memory_until_its_context_ends(host: ScriptHost) -> None:
    assert run(host, DOUBLE, [1, 2]).tolist() == doubled([1, 2])
    assert mapped(host) == 1
    assert run(host, NEGATIVE, [3, 4]).tolist() == [[-3, -4], [0, 0]]
    assert run(host, DOUBLE, [5, 6]).tolist() == doubled([5, 6])
    assert mapped(host) == 2
    host.fresh(host.setup(DOUBLE))
    assert mapped(host) == 1


def test_where_memory_cannot_be_shared_it_is_copied(host: ScriptHost, monkeypatch: pytest.MonkeyPatch) -> None:
    small_steps(monkeypatch, 10_000, 10_000, grain=8)
    for values in ([1, 2, 3], np.arange(400), np.arange(3000)):
        assert run(host, DOUBLE, values).tolist() == doubled(values)
        assert run(host, NEGATIVE, values)[0].tolist() == (-np.asarray(values)).tolist()
    if sys.platform == "linux":
        assert mapped(host) == 1, "by Python, not under an arena"


def test_an_arena_that_grows_leaves_older_views_and_other_contexts_right(
    host: ScriptHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_steps(monkeypatch, 2**16, 2**16)
    first = run(host, DOUBLE, [1, 2, 3])
    assert run(host, NEGATIVE, [4], key="other").tolist() == [[-4], [0]]
    for bits in (18, 20, 22, 24):
        small_steps(monkeypatch, 2**bits, 2**bits)
        values = np.arange(2**bits // 32)
        assert run(host, DOUBLE, values).tolist() == doubled(values)
        assert run(host, NEGATIVE, [bits, 5], key="other").tolist() == [[-bits, -5], [0, 0]]
        assert first.shape == (2, 3)
        assert np.isfinite(first).all()


@linux_only
def test_memory_that_v8_takes_back_is_no_longer_shared(host: ScriptHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script fills what the arena leaves behind; nobody's outputs change."""
    filling = (
        SETUP
        + """const kept = [];
    function evaluatePixel(s) {
      for (let i = 0; i < 64; i++) kept.push(new Uint8Array(s.x).fill(99));
      return [kept.length, kept.every(a => a[0] === 99 && a[a.length - 1] === 99)] }"""
    )
    for round_ in range(3):
        small_steps(monkeypatch, 2**16, 2**16)
        key = str(round_)
        output = run(host, DOUBLE, [1, 2, 3], key=key)
        small_steps(monkeypatch, 2**18, 2**18)
        output = run(host, DOUBLE, [1, 2, 3], key=key)
        host.fresh(host.setup(DOUBLE, key=key), key=key)
        assert output.tolist() == doubled([1, 2, 3]), "what V8 frees it may wipe"
        shared = host.evaluate(host.setup(filling, key=key), make_batch([2**16]), key=key, borrow=True)
        assert shared.outputs["default"].tolist() == [[64], [1]]
        memory = np.frombuffer(output.base.base, np.uint8)
        assert not (memory == 99).any()


def test_a_script_cannot_reach_the_arena(host: ScriptHost) -> None:
    text = (
        """let seen = 0;
    const TypedArray = Object.getPrototypeOf(Uint8Array);
    for (const name of ['buffer', 'byteOffset', 'length']) {
      const get = Object.getOwnPropertyDescriptor(TypedArray.prototype, name).get;
      Object.defineProperty(TypedArray.prototype, name, {get() { seen++; return get.call(this) }, configurable: true});
    }
    for (const name of ['Float64Array', 'Float32Array', 'Uint8Array', 'ArrayBuffer']) {
      globalThis[name] = new Proxy(globalThis[name], {construct(t, a) { seen++; return Reflect.construct(t, a) }});
    }
    Object.defineProperty(ArrayBuffer.prototype, 'constructor', {get() { seen++; return ArrayBuffer }});
    """
        + SETUP
        + "function evaluatePixel(s) { return [seen, typeof arena === 'undefined'] }"
    )
    assert run(host, text, [1, 2]).tolist() == [[0, 0], [1, 1]]


def test_borrowed_outputs_outlive_the_child(host: ScriptHost) -> None:
    output = run(host, DOUBLE, [1, 2, 3])
    assert host.pid is not None
    os.kill(host.pid, signal.SIGKILL)
    time.sleep(0.1)
    assert run(host, NEGATIVE, [9]).tolist() == [[-9], [0]]
    assert output.tolist() == doubled([1, 2, 3])
    host.close()
    assert output.tolist() == doubled([1, 2, 3])


def test_a_child_killed_in_the_middle_of_a_run_leaves_a_host_that_works(host: ScriptHost) -> None:
    output = run(host, DOUBLE, [1, 2, 3])
    script = host.setup(SETUP + "function evaluatePixel(s) { if (s.x === 900) for (;;); return [s.x, 7] }")
    pid = host.pid
    assert pid is not None
    timer = threading.Timer(0.2, lambda: os.kill(pid, signal.SIGKILL))
    timer.start()
    with pytest.raises(ScriptLost):
        host.evaluate(script, make_batch(np.arange(2000)), borrow=True)
    assert output.shape == (2, 3)
    assert run(host, DOUBLE, [4, 5]).tolist() == doubled([4, 5])


def test_a_script_that_throws_ends_its_context_and_its_arena_only(host: ScriptHost) -> None:
    throwing = SETUP + "function evaluatePixel(s) { if (s.x === 2) throw new Error('no'); return [s.x, 7] }"
    assert run(host, DOUBLE, [1]).tolist() == doubled([1])
    pid = host.pid
    for _ in range(3):
        with pytest.raises(ScriptError, match=r"line 2 of the evalscript\): Error: no"):
            run(host, throwing, [1, 2, 3])
        assert run(host, DOUBLE, [4, 5]).tolist() == doubled([4, 5])
    assert host.pid == pid
    if sys.platform == "linux":
        assert mapped(host) == 1


def test_a_host_starts_its_child_without_waiting_and_only_once() -> None:
    with ScriptHost(ScriptLimits()) as host:
        host.start()
        pid = host.pid
        assert pid is not None
        host.start()
        assert run(host, DOUBLE, [1, 2]).tolist() == doubled([1, 2])
        assert host.pid == pid
