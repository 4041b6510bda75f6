"""Several batches in one call of the script's process: as if each had been evaluated alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from swathe.evalscript import transfer
from swathe.evalscript.columns import BandColumn, Batch, SceneInfo, SourceColumns
from swathe.evalscript.process import ScriptProcess
from swathe.evalscript.runtime import ScriptHost, ScriptLimits
from swathe.evalscript.script import Mosaicking
from swathe.model.errors import ScriptError, ScriptTimeout

SETUP = "function setup() { return {input: ['x'], output: {bands: 1, sampleType: 'FLOAT32'}} }\n"
TILES = "function setup() { return {input: ['x'], output: {bands: 1, sampleType: 'FLOAT32'}, mosaicking: 'TILE'} }\n"


@pytest.fixture(scope="module")
def host() -> Iterator[ScriptHost]:
    with ScriptHost(ScriptLimits()) as host:
        yield host


def make_batch(values: npt.ArrayLike, day: int = 1, dtype: npt.DTypeLike = np.uint16, **more: Any) -> Batch:
    column = np.atleast_2d(np.asarray(values, dtype))
    source = SourceColumns(None, Mosaicking.SIMPLE, {"x": BandColumn(column)}, np.ones(column.shape, np.uint8), **more)
    return Batch((source,), f"2020-01-{day:02}T00:00:00Z", f"2020-01-{day + 1:02}T00:00:00Z")


def tiles(samples: int, cells: int, day: int) -> Batch:
    values = np.arange(samples * cells, dtype=np.uint16).reshape(samples, cells) + day
    scenes = tuple(SceneInfo(f"2020-01-{day:02}T10:00:0{k}Z", sh_id=f"{day}-{k}") for k in range(samples))
    mask = np.ones(values.shape, np.uint8)
    source = SourceColumns(None, Mosaicking.TILE, {"x": BandColumn(values)}, mask, scenes=scenes)
    return Batch((source,), f"2020-01-{day:02}T00:00:00Z", f"2020-01-{day + 1:02}T00:00:00Z")


def together(host: ScriptHost, text: str, batches: Sequence[Batch]) -> list[tuple[Any, Any]]:
    """The first output and the user data of each, by their numbers."""
    script = host.setup(text)
    try:
        found = {
            number: (made.outputs["default"][0].tolist(), made.user_data)
            for number, made in host.evaluate_each(script, batches)
        }
    finally:
        host.fresh(script)
    assert sorted(found) == list(range(len(batches)))
    return [found[number] for number in range(len(batches))]


def apart(host: ScriptHost, text: str, batches: Sequence[Batch]) -> list[tuple[Any, Any]]:
    script = host.setup(text)
    try:
        made = [host.evaluate(script, batch) for batch in batches]
    finally:
        host.fresh(script)
    return [(one.outputs["default"][0].tolist(), one.user_data) for one in made]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the process is asked to do with cells."""
    operations: list[str] = []
    ask = ScriptProcess.ask

    def listen(self: ScriptProcess, command: dict[str, Any], seconds: float, doing: str) -> str:
        if "inputs" in command:
            operations.append(doing)
        return ask(self, command, seconds, doing)

    monkeypatch.setattr(ScriptProcess, "ask", listen)
    return operations


def test_batches_of_like_columns_take_one_call(host: ScriptHost, asked: list[str]) -> None:
    text = SETUP + "function evaluatePixel(s) { return [s.x * 2] }"
    batches = [make_batch(np.arange(cells), day) for day, cells in enumerate((5, 0, 700, 1, 513), 1)]
    found = together(host, text, batches)
    assert len(asked) == 1
    assert [values for values, _ in found] == [(np.arange(cells) * 2).tolist() for cells in (5, 0, 700, 1, 513)]
    assert found == apart(host, text, batches)


def test_columns_of_other_kinds_take_calls_of_their_own(host: ScriptHost, asked: list[str]) -> None:
    text = SETUP + "function evaluatePixel(s) { return [s.x + 0.5] }"
    batches = [make_batch([k, k + 1], k, np.uint16 if k % 2 else np.float32) for k in range(1, 8)]
    assert together(host, text, batches) == apart(host, text, batches)
    assert len(asked) == 2 + 7


def test_each_batch_has_scenes_metadata_and_user_data_of_its_own(host: ScriptHost) -> None:
    text = (
        TILES
        + """
        function evaluatePixel(s, scenes, meta, custom, out) {
          custom.n = (custom.n || 0) + 1;
          out.userData = {n: custom.n, days: scenes.tiles.map(t => t.date), ids: scenes.tiles.map(t => t.shId)};
          return [s.reduce((sum, one) => sum + one.x, 0)];
        }
        function updateOutputMetadata(scenes, meta, out) {
          out.userData.last = scenes.tiles.length;
          if (out.userData.n === undefined) out.userData = null;
        }
        """
    )
    batches = [tiles(samples, cells, day) for day, (samples, cells) in enumerate([(2, 3), (3, 4), (2, 6), (2, 0)], 1)]
    found = together(host, text, batches)
    assert [None if told is None else told["n"] for _, told in found] == [3, 4, 6, None]
    assert found[2][1]["ids"] == ["3-0", "3-1"]
    assert found == apart(host, text, batches)


def test_what_a_collection_says_of_itself_reaches_its_batch(host: ScriptHost) -> None:
    text = SETUP + "function evaluatePixel(s, scenes, meta) { return [s.x * meta.normalizationFactor] }"
    batches = [make_batch([1, 2], day, normalization_factor=float(day)) for day in (1, 2, 3)]
    assert [values for values, _ in together(host, text, batches)] == [[1, 2], [2, 4], [3, 6]]


def test_what_does_not_fit_into_a_step_is_cut(
    host: ScriptHost, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "_STEP_BYTES", 6_000)  # a cell takes six bytes
    text = SETUP + "function evaluatePixel(s) { return [s.x] }"
    batches = [make_batch(np.arange(cells) + cells) for cells in (600, 400, 1, 2_500, 100)]
    found = together(host, text, batches)
    assert [doing.split()[-2] for doing in asked] == ["1000", "1", "2500", "2500", "2500", "100"]
    assert found == apart(host, text, batches)


def test_batches_of_fewer_cells_use_the_loop_that_is_there(host: ScriptHost) -> None:
    script = host.setup(SETUP + "function evaluatePixel(s) { return [s.x] }", key="loops")
    for cells in (900, 500, 100, 3):
        batches = [make_batch(np.arange(cells)), make_batch(np.arange(cells) + 1)]
        found = [made.outputs["default"][0].tolist() for _, made in host.evaluate_each(script, batches, key="loops")]
        assert found == [np.arange(cells).tolist(), (np.arange(cells) + 1).tolist()]
    assert len(host._contexts[script.text, "loops"].loops) == 1
    host.fresh(script, key="loops")


def test_where_one_fails_none_of_its_call_is_given(host: ScriptHost) -> None:
    script = host.setup(SETUP + "function evaluatePixel(s) { if (s.x === 7) throw new Error('seven'); return [s.x] }")
    batches = [make_batch([1, 2]), make_batch([6, 7]), make_batch([8])]
    given = []
    with pytest.raises(ScriptError, match="seven"):
        given.extend(number for number, _ in host.evaluate_each(script, batches))
    assert given == []
    assert host.evaluate(script, batches[0]).outputs["default"].tolist() == [[1, 2]]
    host.fresh(script)


def test_the_time_limit_is_that_of_one_batch(asked: list[str]) -> None:
    spin = "function evaluatePixel(s) { let y = 0; for (let k = 0; k < 3e7; k++) y += k % 7; return [y] }"
    with ScriptHost(ScriptLimits(evaluate_s=0.4)) as host:
        script = host.setup(SETUP + spin)
        batches = [make_batch([1]) for _ in range(60)]
        with pytest.raises(ScriptTimeout, match=r"within 0\.4 s"):
            list(host.evaluate_each(script, batches))
        assert host.pid is None
        asked.clear()
        assert [made.outputs["default"].shape for _, made in host.evaluate_each(script, batches[:3])] == [(1, 1)] * 3
        assert len(asked) == 3, "it is not tried again with several"


def test_user_data_have_the_limit_of_one_batch() -> None:
    text = SETUP + "function evaluatePixel(s, c, m, d, out) { out.userData = 'a'.repeat(s.x); return [0] }"
    with ScriptHost(ScriptLimits(user_data_chars=100)) as host:
        found = together(host, text, [make_batch([90]), make_batch([91])])
        assert [len(told) for _, told in found] == [90, 91]
        with pytest.raises(ScriptError, match="100"):
            together(host, text, [make_batch([90]), make_batch([200])])
