"""What the services that answer at once do when there is too much to do."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from builders import make_request, make_scene
from engines import LEFT, TOP, deployment, flat
from swathe.engine.compute import Engine
from swathe.jobs import images_now, statistics_now
from swathe.jobs.workshop import Deadline, TookTooLong
from swathe.model.errors import LimitExceeded, RequestInvalid
from swathe.model.process import ProcessRequest
from swathe.model.process_answer import choose_form
from swathe.model.process_output import Response
from swathe.model.statistical_area import AreaStatisticsRequest

BOUNDS = {"bbox": [LEFT, TOP - 120, LEFT + 120, TOP], "properties": {"crs": "EPSG:32633"}}


@pytest.fixture
def engine(tmp_path: Path) -> Any:
    scenes = [
        make_scene(tmp_path, f"S{day}", f"2020-06-0{day}T10:00:00Z", {"B04": flat(day), "B08": flat(9)})
        for day in (1, 2, 3)
    ]
    with Engine(deployment(tmp_path, scenes), lanes=2) as engine:
        yield engine


def statistics() -> AreaStatisticsRequest:
    body = make_request(end="2020-06-04T00:00:00Z")
    body["input"]["bounds"] = BOUNDS
    return AreaStatisticsRequest.model_validate(body)


def image() -> ProcessRequest:
    script = """//VERSION=3
function setup() { return {input: ["B04"], output: {bands: 1}} }
function evaluatePixel(s) { return [s.B04] }"""
    data = [{"type": "sentinel-2-l2a", "processing": {}}]
    return ProcessRequest.model_validate({"input": {"bounds": BOUNDS, "data": data}, "evalscript": script})


def test_statistics_that_would_take_too_long_are_refused_before_the_work(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "run", None)
    with pytest.raises(LimitExceeded, match=r"would take about .* s; at most 1e-09 s are allowed") as caught:
        statistics_now.compute(engine, Deadline(1e-9), statistics())
    assert caught.value.parameter == "aggregation"


def test_what_is_not_done_in_time_is_ended_and_the_engine_serves_the_next(engine: Engine, tmp_path: Path) -> None:
    late = Deadline(50)
    late.end = time.monotonic() - 1
    with pytest.raises(TookTooLong, match="within 50 s"):
        statistics_now.compute(engine, late, statistics())
    request = image()
    form = choose_form(request.output.responses, None)
    (tmp_path / "a").mkdir()
    with pytest.raises(TookTooLong, match="within 50 s"):
        images_now.render(engine, late, request, form, tmp_path / "a")
    assert not list((tmp_path / "a").iterdir())
    response, cost_pu = statistics_now.compute(engine, Deadline(60), statistics())
    assert response.count(b'"interval"') == 3
    assert cost_pu > 0
    path, cost_pu = images_now.render(engine, Deadline(60), request, form, tmp_path / "a")
    assert (path.read_bytes()[:4], cost_pu > 0) == (b"\x89PNG", True)


def test_an_outlived_deadline_does_not_end_the_next_request(engine: Engine, tmp_path: Path) -> None:
    request = image()
    missing = Response(identifier="x")
    short = Deadline(30)
    with pytest.raises(RequestInvalid, match="'x' is no output"):
        images_now.render(engine, short, request, choose_form([missing], None), tmp_path)
    short.end = time.monotonic() - 1
    path, _ = images_now.render(engine, Deadline(60), request, choose_form(request.output.responses, None), tmp_path)
    assert path.exists()
