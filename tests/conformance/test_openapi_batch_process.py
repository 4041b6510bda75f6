"""Answers of Batch Processing V2 against the provider's published description, where it is at hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator, FormatChecker

from swathe.jobs.records import PlannedJob, PlannedUnit, UnitResult
from swathe.jobs.states import Event
from swathe.server.app import create_app
from swathe.server.batch_process import PATHS
from swathe.settings import Settings

# Together in one process, since they share what takes seconds to start.
pytestmark = pytest.mark.xdist_group("openapi")

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "reference" / "openapi" / "sentinel-hub-openapi.yaml"
FOUNDING = Path(__file__).resolve().parents[3] / "shared" / "founding" / "BatchV2ProcessTask.txt"
PROCESS, NEWEST = PATHS
TASK = f"{NEWEST}/{{taskId}}"
PLACE = {"s3": {"url": "s3://b/out/<requestId>", "accessKey": "a", "secretAccessKey": "s", "region": "eu-west-1"}}
RASTER = {
    "type": "raster",
    "delivery": {"s3": {**PLACE["s3"], "url": "s3://b/<requestId>/<tileName>_<outputId>.<format>"}},
    "cogOutput": True,
    "cogParameters": {"overviewLevels": [2, 4], "resamplingAlgorithm": "average", "blockxsize": 1024},
}
ZARR = {
    "type": "zarr",
    "delivery": PLACE,
    "group": {"zarr_format": 2},
    "arrayParameters": {"dtype": "<u2", "order": "C", "chunks": [1, 1000, 1000], "fill_value": 0},
    "arrayOverrides": {"B04": {"dtype": "<f4", "order": "C", "chunks": [1, 500, 1000], "fill_value": -1.0}},
}
FORMATS = FormatChecker(formats=["uuid"])


@FORMATS.checks("date-time", raises=ValueError)
def is_iso_8601(text: Any) -> bool:
    """A time with its zone, as RFC 3339 has it."""
    if not isinstance(text, str):
        return True
    datetime.fromisoformat(text)
    return re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", text) is not None


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    if not PUBLISHED.exists():
        pytest.skip("the provider's description is not beside the checkout (it is not ours to distribute)")
    yaml = pytest.importorskip("yaml")
    description = yaml.load(PUBLISHED.read_text("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    schemas = description["components"]["schemas"]
    # Oddities of what comes back as it was posted: raster output must have a `group`, which does not exist; a data
    # source may fit one only of its own collection's and BYOC's schema, and fits both; names of responses are free.
    schemas["BatchV2RasterOutput"]["required"].remove("group")
    items = schemas["ProcessRequestInputData"]["items"]
    items["anyOf"] = items.pop("oneOf")
    del schemas["ProcessRequestOutputBatchV2Response"]["properties"]["identifier"]["enum"]
    return dict(description)


def check(published: dict[str, Any], path: str, method: str, status: int, answer: Any) -> None:
    """Validates a body against what the description says of this operation and status."""
    described = published["paths"][path][method]["responses"][str(status)]
    if "$ref" in described:
        described = published["components"]["responses"][described["$ref"].rsplit("/", 1)[1]]
    schema = {**described["content"]["application/json"]["schema"], "components": published["components"]}
    assert problems(schema, answer) == []


def problems(schema: dict[str, Any], answer: Any) -> list[str]:
    return [
        f"{error.json_path}: {error.message}"
        for error in Draft202012Validator(schema, format_checker=FORMATS).iter_errors(answer)
    ]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FastAPI, TestClient]]:
    folder = tmp_path_factory.mktemp("home")
    collections = [{"type": "sentinel-2-l2a", "source": str(folder / "none.json")}]
    app = create_app(Settings.model_validate({"collections": collections}), folder, runs_jobs=False)
    with TestClient(app) as http:
        client, _ = app.state.clients.create("me")
        http.headers["Authorization"] = f"Bearer {app.state.tokens.issue(client)}"
        yield app, http


def make_body(output: dict[str, Any] = RASTER, **given: Any) -> dict[str, Any]:
    kind = "zarr/array" if output is ZARR else "image/tiff"
    return {
        "processRequest": {
            "input": {
                "bounds": {
                    "bbox": [14.0, 46.0, 14.1, 46.1],
                    "properties": {"crs": "http://www.opengis.net/def/crs/OGC/1.3/CRS84"},
                },
                "data": [
                    {
                        "type": "sentinel-2-l2a",
                        "dataFilter": {"timeRange": {"from": "2020-06-01T00:00:00Z", "to": "2020-07-01T00:00:00Z"}},
                    }
                ],
            },
            "output": {"responses": [{"identifier": name, "format": {"type": kind}} for name in ("B04", "B08")]},
            "evalscript": "//VERSION=3",
        },
        "input": {"type": "tiling-grid", "id": 6, "resolution": 50.0},
        "output": output,
        "description": "as described",
        **given,
    }


GEOPACKAGE = {"type": "geopackage", "features": PLACE, "defaults": {"resolution": 10.0}}
BODIES = {
    "raster": make_body(),
    "zarr": make_body(ZARR),
    "geopackage": make_body(input=GEOPACKAGE),
}
HISTORIES: dict[str, tuple[Event, ...]] = {
    "CREATED": (),
    "ANALYSING": (Event.ANALYSE,),
    "ANALYSIS_DONE": (Event.ANALYSE, Event.ANALYSIS_DONE),
    "PROCESSING": (Event.START, Event.ANALYSIS_DONE),
    "STOPPED": (Event.START, Event.ANALYSIS_DONE, Event.STOP, Event.HALTED),
    "UNHEALTHY": (Event.START, Event.ANALYSIS_DONE, Event.UNHEALTHY),
    "OUT_OF_PU": (Event.START, Event.ANALYSIS_DONE, Event.OUT_OF_PU),
    "DONE": (Event.START, Event.ANALYSIS_DONE, Event.UNITS_DONE),
    "FAILED": (Event.START, Event.ANALYSIS_FAILED),
}


def make_task(app: FastAPI, http: httpx.Client, events: tuple[Event, ...]) -> str:
    """A task that these things happened to."""
    store = app.state.store
    task = str(http.post(PROCESS, json=make_body()).json()["id"])
    for event in events:
        if event is Event.ANALYSIS_DONE:
            units = (PlannedUnit(0, bytes(8), 10), PlannedUnit(1, bytes(8), 10))
            store.save_analysis(task, PlannedJob(2, 1, 1.0, b"", units))
            if Event.START in events:
                store.record_unit(task, UnitResult(0, done=1, failed=0, cost_pu=0.5))
        else:
            store.apply(task, event, error="why" if event in (Event.UNHEALTHY, Event.ANALYSIS_FAILED) else None)
    return task


@pytest.mark.parametrize("name", BODIES)
def test_bodies_that_are_as_described_are_taken_and_given_back(
    served: tuple[FastAPI, TestClient], published: dict[str, Any], name: str
) -> None:
    _, http = served
    schema = {"$ref": "#/components/schemas/BatchV2ProcessRequest", "components": published["components"]}
    assert problems(schema, BODIES[name]) == []
    answer = http.post(PROCESS, json=BODIES[name])
    assert answer.status_code == 201, answer.text
    check(published, NEWEST, "post", 201, answer.json())
    form = {"request": (None, json.dumps(BODIES[name])), "evalscript": (None, "//VERSION=3")}
    check(published, NEWEST, "post", 201, http.post(PROCESS, files=form).json())


def test_tasks_in_every_state_are_as_described(served: tuple[FastAPI, TestClient], published: dict[str, Any]) -> None:
    app, http = served
    seen: dict[str, Any] = {}
    for name, events in HISTORIES.items():
        seen[name] = http.get(f"{PROCESS}/{make_task(app, http, events)}").json()
        check(published, TASK, "get", 200, seen[name])
    schema = published["components"]["schemas"]["BatchV2ProcessTask"]
    # Nothing beside what is described, and everything that is.
    assert {key for task in seen.values() for key in task} == set(schema["properties"])
    for key, part in schema["properties"].items():
        if "enum" in part:
            values = {task[key] for task in seen.values() if key in task}
            assert values == set(part["enum"]), key
    page = http.get(f"{PROCESS}?count=2").json()
    assert page["links"]["nextToken"]
    check(published, NEWEST, "get", 200, page)
    changed = http.put(f"{PROCESS}/{seen['DONE']['id']}", json={"description": "new"}).json()
    check(published, TASK, "put", 200, changed)
    check(published, TASK, "get", 200, changed)


@pytest.mark.skipif(not FOUNDING.exists(), reason="the founding document is not beside the checkout")
def test_tasks_are_as_the_founding_document_says(served: tuple[FastAPI, TestClient]) -> None:
    app, http = served
    text = FOUNDING.read_text("utf-8")
    schema = json.loads(text[text.index("JSON Schema\n{") + len("JSON Schema\n") :])
    schema["properties"]["request"] = {"type": "object"}
    for events in HISTORIES.values():
        task = http.get(f"{PROCESS}/{make_task(app, http, events)}").json()
        assert problems(schema, task) == []
        assert set(task) <= set(schema["properties"])


def test_errors_are_as_described(served: tuple[FastAPI, TestClient], published: dict[str, Any]) -> None:
    app, http = served
    answer = http.post(PROCESS, json=make_body(input={"type": "tiling-grid", "id": 6, "resolution": 17}))
    assert answer.status_code == 400
    check(published, NEWEST, "post", 400, answer.json())
    answer = http.post(f"{PROCESS}/{make_task(app, http, ())}/stop")
    assert answer.status_code == 400
    check(published, f"{TASK}/stop", "post", 400, answer.json())
    answer = http.get(f"{PROCESS}/unknown")
    assert answer.status_code == 404
    check(published, TASK, "get", 404, answer.json())
    answer = http.put(f"{PROCESS}/{make_task(app, http, HISTORIES['PROCESSING'])}", json={"description": "x"})
    assert answer.status_code == 409
    check(published, TASK, "put", 409, answer.json())


def test_every_described_operation_is_served_on_both_paths(
    served: tuple[FastAPI, TestClient], published: dict[str, Any]
) -> None:
    app, _ = served
    ours = app.openapi()["paths"]
    for path, ways in published["paths"].items():
        if not path.startswith("/batch/v2/"):
            continue
        for method in set(ways) & {"get", "post", "put", "delete"}:
            plain = path.replace("{taskId}", "{request_id}").replace("{id}", "{grid_id}")
            for served_path in (plain, plain.replace("/batch/v2/", "/api/v2/batch/")):
                assert method in ours[served_path], served_path
                described = ways[method].get("requestBody", {}).get("content", {})
                assert set(described) <= set(ours[served_path][method].get("requestBody", {}).get("content", {}))
    assert not [path for path in ours if path.startswith(NEWEST) and "delete" in ours[path]]
