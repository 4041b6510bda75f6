"""Several intervals of a small field in one call of the script: the documents are those of one call each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import make_request
from engines import Run, World, box, run, value_script
from swathe.engine import group_run
from swathe.engine.compute import Engine
from swathe.evalscript.runtime import ScriptHost

DAYS = 12
RAMP = np.arange(1, 145, dtype=np.uint16).reshape(12, 12)


@pytest.fixture
def season(tmp_path: Path) -> World:
    """Twelve days over three fields, of which every other scene does not reach the third."""
    world = World(tmp_path)
    for day in range(1, DAYS + 1):
        values = RAMP * day if day % 2 else (RAMP * day)[:, :8].copy()
        world.scene(f"s{day}", f"2020-06-{day:02}", {"B04": values})
    world.parcels(box(0, 0, 3, 2), box(4, 4, 2, 2), box(8, 8, 3, 3))
    return world


def compute(world: World, script: str, *, lanes: int = 1, limits: dict[str, Any] | None = None, **request: Any) -> Run:
    settings = world.settings(**(limits or {}))
    with Engine(settings, lanes=lanes) as engine:
        body = make_request(script, end=f"2020-06-{DAYS + 1}T00:00:00Z", **request)
        return run(settings, world.geopackage, body, engine=engine)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many batches each call took."""
    found: list[int] = []
    each, alone = ScriptHost.evaluate_each, ScriptHost.evaluate

    def listen_each(self: ScriptHost, script: Any, batches: Any, **how: Any) -> Any:
        found.append(len(batches))
        return each(self, script, batches, **how)

    def listen(self: ScriptHost, *what: Any, **how: Any) -> Any:
        found.append(1)
        return alone(self, *what, **how)

    monkeypatch.setattr(ScriptHost, "evaluate_each", listen_each)
    monkeypatch.setattr(ScriptHost, "evaluate", listen)
    return found


SCRIPTS = {
    "SIMPLE": value_script(),
    "ORBIT": value_script(mosaicking="ORBIT", body="return {v: [s.length ? s[0].B04 : 0], dataMask: [s.length]}"),
    "TILE": value_script(
        mosaicking="TILE",
        body="return {v: [scenes.tiles.length + s[0].B04], dataMask: [1]}",
        more="function preProcessScenes(c) { c.scenes.tiles = c.scenes.tiles.filter(t => !/-0[37]T/.test(t.date));"
        " return c }",
    ),
}


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_together_or_one_by_one_the_bytes_are_the_same(
    season: World, script: str, lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    percentiles = {"default": {"statistics": {"default": {"percentiles": {"k": [10, 50]}}}}}
    together = compute(season, SCRIPTS[script], lanes=lanes, calculations=percentiles)
    monkeypatch.setattr(group_run, "_TOGETHER_CELLS", 0)
    alone = compute(season, SCRIPTS[script], lanes=lanes, calculations=percentiles)
    assert together.data == alone.data
    assert together.cost_pu == pytest.approx(alone.cost_pu, rel=1e-12)
    assert together.counter("blocks") == alone.counter("blocks")


def test_the_script_is_called_for_several_intervals(season: World, calls: list[int]) -> None:
    found = compute(season, SCRIPTS["SIMPLE"])
    assert len(found.response(1)["data"]) == DAYS
    assert calls[0] == DAYS // 2
    assert len(calls) < DAYS / 2


def test_large_groups_go_interval_by_interval(season: World, calls: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_run, "_TOGETHER_CELLS", 18)  # there are 19 cells
    compute(season, SCRIPTS["SIMPLE"])
    assert calls == [1] * DAYS


def test_an_interval_that_fails_fails_alone(season: World) -> None:
    body = "if (s.B04 === 53 * 5) throw new Error('no such crop'); return {v: [s.B04], dataMask: [1]}"
    found = compute(season, value_script(body=body))
    failed = [error is not None for error in found.error(2)]
    assert failed == [day == 5 for day in range(1, DAYS + 1)]
    assert "no such crop" in found.error(2)[4]["message"]
    assert found.means(1) == [RAMP[:2, :3].mean() * day for day in range(1, DAYS + 1)]
    assert found.error(3) == [None] * DAYS


def test_a_scene_that_cannot_be_read_fails_its_interval_alone(season: World) -> None:
    file = next(season.files.rglob("s5/B04.tif"))
    file.write_bytes(file.read_bytes()[:200])
    found = compute(season, SCRIPTS["SIMPLE"])
    assert [error is not None for error in found.error(1)] == [day == 5 for day in range(1, DAYS + 1)]
    assert [mean for mean in found.means(1) if mean is not None] == [
        RAMP[:2, :3].mean() * day for day in range(1, DAYS + 1) if day != 5
    ]


def test_a_slow_script_has_the_time_for_each_interval_that_it_had_alone(season: World, calls: list[int]) -> None:
    """Some 0.02 s a cell, 0.4 s an interval: several at once do not end in time, one does."""
    spin = "let y = 0; for (let k = 0; k < 2e7; k++) y += k % 7; "
    limits = {"script_evaluate_s": 1.0}
    found = compute(season, value_script(body=f"{spin} return {{v: [s.B04], dataMask: [1]}}"), limits=limits)
    assert calls[0] > 1
    assert calls[1:] == [1] * DAYS, "tried together once, then one by one"
    assert found.means(1) == [RAMP[:2, :3].mean() * day for day in range(1, DAYS + 1)]
