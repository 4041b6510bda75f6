"""The task resource of Batch Processing V2: bodies, lists, changes, actions in every state, errors."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from builders import make_request
from swathe.jobs.records import PlannedJob, PlannedUnit, UnitResult
from swathe.jobs.states import Event
from swathe.server.app import create_app
from swathe.server.batch_process import PATHS
from swathe.settings import Settings

PROCESS, NEWEST = PATHS
STATISTICS = "/api/v1/statistics/batch"
SECRETS = ("AKIAFEATURES", "hidden-features-key", "AKIAOUTPUT", "hidden-output-key")
SCRIPT = "//VERSION=3\n// 20 \u00b0C"
RASTER = {
    "type": "raster",
    "delivery": {
        "s3": {"url": "s3://b/out", "accessKey": SECRETS[2], "secretAccessKey": SECRETS[3], "region": "eu-west-1"}
    },
}
GRID = {"type": "tiling-grid", "id": 0, "resolution": 10.0}
GEOPACKAGE = {
    "type": "geopackage",
    "features": {"s3": {"url": "s3://b/in.gpkg", "accessKey": SECRETS[0], "secretAccessKey": SECRETS[1]}},
}
ZARR = {
    "type": "zarr",
    "delivery": {"s3": {"url": "s3://b/<requestId>"}},
    "group": {"zarr_format": 2},
    "arrayParameters": {"dtype": "<f4", "chunks": [1, 500, 500], "fill_value": "NaN"},
}


def make_body(**change: Any) -> dict[str, Any]:
    """A request over a tiling grid; `a__b=value` changes a member, `...` takes it away."""
    body: dict[str, Any] = {
        "processRequest": {
            "input": {"bounds": {"bbox": [14.0, 46.0, 14.1, 46.1]}, "data": [{"type": "sentinel-2-l2a"}]},
            "output": {"responses": [{"identifier": "default", "format": {"type": "image/tiff"}}]},
            "evalscript": SCRIPT,
        },
        "input": GRID,
        "output": RASTER,
        "description": "first words",
    }
    body = json.loads(json.dumps(body))
    for path, value in change.items():
        *parents, last = path.split("__")
        place = body
        for parent in parents:
            place = place[parent]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return body


@pytest.fixture(scope="module")
def used_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that has a signing key, which takes a while to make."""
    folder = tmp_path_factory.mktemp("used")
    create_app(Settings(), folder, runs_jobs=False).state.store.close()
    return folder


@pytest.fixture
def app(tmp_path: Path, used_home: Path) -> FastAPI:
    shutil.copytree(used_home, tmp_path / "home")
    settings = Settings.model_validate(
        {
            "collections": [{"type": "sentinel-2-l2a", "source": str(tmp_path / "catalog.json")}],
            "limits": {"request_bytes": 20_000},
        }
    )
    return create_app(settings, tmp_path / "home", runs_jobs=False)


@pytest.fixture
def http(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as http:
        http.headers.update(sign_in(app))
        yield http


def sign_in(app: FastAPI, project: str | None = None) -> dict[str, str]:
    client, _ = app.state.clients.create("me", project_id=project)
    return {"Authorization": f"Bearer {app.state.tokens.issue(client)}"}


def make_task(http: httpx.Client, **change: Any) -> str:
    answer = http.post(PROCESS, json=make_body(**change))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def error_of(answer: httpx.Response, status: int, code: str = "COMMON_BAD_PAYLOAD") -> dict[str, Any]:
    """The error in the provider's shape."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["status"], error["code"]) == (status, code)
    assert error["reason"]
    assert not [secret for secret in SECRETS if secret in answer.text]
    return dict(error)


# What led to each state, and the actions that are possible from there.
ONE_LEFT = "one of two units is done"
HISTORIES: dict[str, tuple[tuple[Event | str, ...], set[str]]] = {
    "CREATED": ((), {"analyse", "start"}),
    "ANALYSING": ((Event.ANALYSE,), {"start", "stop"}),
    "ANALYSING, started": ((Event.START,), {"start", "stop"}),
    "ANALYSING, stopped": ((Event.START, Event.STOP), {"start", "stop"}),
    "ANALYSIS_DONE": ((Event.ANALYSE, Event.ANALYSIS_DONE), {"start", "stop"}),
    "PROCESSING": ((Event.START, Event.ANALYSIS_DONE, ONE_LEFT), {"stop"}),
    "PROCESSING, stopped": ((Event.START, Event.ANALYSIS_DONE, ONE_LEFT, Event.STOP), {"start", "stop"}),
    "STOPPED": ((Event.START, Event.ANALYSIS_DONE, ONE_LEFT, Event.STOP, Event.HALTED), {"start", "stop"}),
    "STOPPED, unhealthy": ((Event.START, Event.ANALYSIS_DONE, ONE_LEFT, Event.UNHEALTHY), {"start", "stop"}),
    "STOPPED, out of PU": ((Event.START, Event.ANALYSIS_DONE, Event.OUT_OF_PU), {"start", "stop"}),
    "DONE": ((Event.START, Event.ANALYSIS_DONE, Event.UNITS_DONE), set()),
    "FAILED": ((Event.START, Event.ANALYSIS_FAILED), set()),
}
LEADS_TO = {
    ("CREATED", "analyse"): "ANALYSING",
    ("CREATED", "start"): "ANALYSING",
    ("ANALYSIS_DONE", "start"): "PROCESSING",
    ("ANALYSIS_DONE", "stop"): "STOPPED",
    ("STOPPED", "start"): "PROCESSING",
}
BUSY = {"ANALYSING, started", "PROCESSING", "PROCESSING, stopped"}


def bring(app: FastAPI, task: str, history: tuple[Event | str, ...]) -> None:
    """Lets happen to a task what happens to it in its life."""
    store = app.state.store
    for event in history:
        if event is Event.ANALYSIS_DONE:
            units = (PlannedUnit(0, bytes(8), 10), PlannedUnit(1, bytes(8), 10))
            store.save_analysis(task, PlannedJob(2, 1, 1.5, b"", units))
        elif event == ONE_LEFT:
            store.record_unit(task, UnitResult(0, done=1, failed=0, cost_pu=0.5))
        else:
            fails = event in (Event.UNHEALTHY, Event.ANALYSIS_FAILED)
            store.apply(task, event, error="no tile can be read" if fails else None)


@pytest.fixture
def tasks(app: FastAPI, http: TestClient) -> dict[str, str]:
    """The id of a task in each state."""
    made = {name: make_task(http) for name in HISTORIES}
    for name, task in made.items():
        bring(app, task, HISTORIES[name][0])
        assert http.get(f"{PROCESS}/{task}").json()["status"] == name.split(",")[0]
    return made


def test_a_new_task_has_every_property_that_has_a_value(http: TestClient) -> None:
    answer = http.post(PROCESS, json=make_body())
    task = answer.json()
    assert answer.status_code == 201
    assert set(task) == {
        "id", "request", "domainAccountId", "projectId", "workspaceId", "status", "userAction", "created",
        "completionPercentage", "lastUpdated", "costPU",
    }  # fmt: skip
    assert (task["status"], task["userAction"], task["completionPercentage"], task["costPU"]) == (
        "CREATED",
        "NONE",
        0,
        0,
    )
    assert task["domainAccountId"] == task["projectId"] == task["workspaceId"]
    for name in ("id", "projectId"):
        uuid.UUID(task[name])
    for name in ("created", "lastUpdated"):
        assert task[name].endswith("Z")
        datetime.fromisoformat(task[name])
    assert http.get(f"{PROCESS}/{task['id']}").json() == task


def test_properties_of_every_state(http: TestClient, tasks: dict[str, str]) -> None:
    seen = {name: http.get(f"{PROCESS}/{task}").json() for name, task in tasks.items()}
    wishes = {name: (task["userAction"], "userActionUpdated" in task) for name, task in seen.items()}
    assert wishes["CREATED"] == ("NONE", False)
    assert wishes["ANALYSING"] == ("ANALYSE", True)
    assert wishes["PROCESSING"] == ("START", True)
    assert wishes["PROCESSING, stopped"] == ("STOP", True)
    done = {name: task["completionPercentage"] for name, task in seen.items()}
    assert (done["DONE"], done["FAILED"], done["PROCESSING"], done["STOPPED"], done["ANALYSING"]) == (
        100,
        100,
        50,
        50,
        0,
    )
    assert seen["PROCESSING"]["costPU"] == 0.5
    reasons = {name: task["stoppedStatusReason"] for name, task in seen.items() if "stoppedStatusReason" in task}
    assert reasons == {"STOPPED": "USER_ACTION", "STOPPED, unhealthy": "UNHEALTHY", "STOPPED, out of PU": "OUT_OF_PU"}
    errors = {name: task["error"] for name, task in seen.items() if "error" in task}
    assert errors == dict.fromkeys(("STOPPED, unhealthy", "FAILED"), "no tile can be read")


def test_actions_in_every_state(app: FastAPI, http: TestClient) -> None:
    for name, (history, possible) in HISTORIES.items():
        for action in ("analyse", "start", "stop"):
            task = make_task(http)
            bring(app, task, history)
            before = http.get(f"{PROCESS}/{task}").json()
            answer = http.post(f"{PROCESS}/{task}/{action}", headers={"Content-Type": "application/json"})
            after = http.get(f"{PROCESS}/{task}").json()
            if action in possible:
                assert (answer.status_code, answer.content) == (204, b""), (name, action)
                assert after["userAction"] == action.upper()
                assert after["userActionUpdated"] == after["lastUpdated"]
                expected = LEADS_TO.get((before["status"], action), before["status"])
                assert after["status"] == expected, (name, action)
            else:
                error = error_of(answer, 400)
                assert f"{action.upper()} is not possible" in error["message"], (name, action)
                assert f"in status {before['status']}" in error["message"], (name, action)
                assert after == before, (name, action)


def test_description_changes_unless_a_task_is_processed_or_waits_for_it(
    http: TestClient, tasks: dict[str, str]
) -> None:
    for name, task in tasks.items():
        before = http.get(f"{PROCESS}/{task}").json()
        answer = http.put(f"{PROCESS}/{task}", json={"description": "other words"})
        after = http.get(f"{PROCESS}/{task}").json()
        if name in BUSY:
            error_of(answer, 409)
            assert after == before, name
        else:
            assert answer.status_code == 200, name
            assert after["request"] == {**before["request"], "description": "other words"}, name
            assert after["lastUpdated"] >= before["lastUpdated"]
            unchanged = {key: value for key, value in after.items() if key not in ("request", "lastUpdated")}
            assert unchanged.items() <= before.items(), name
            # The task, as clients read it, with the body's members beside it, as the description has them.
            assert answer.json() == {**after["request"], **after}
    assert len(http.get(f"{PROCESS}?search=other%20words").json()["data"]) == len(tasks) - len(BUSY)


@pytest.mark.parametrize("body", [{}, {"description": None}, {"status": "DONE"}])
def test_what_is_not_said_does_not_change(http: TestClient, body: dict[str, Any]) -> None:
    task = make_task(http)
    before = http.get(f"{PROCESS}/{task}").json()
    assert http.put(f"{PROCESS}/{task}", json=body).status_code == 200
    assert http.get(f"{PROCESS}/{task}").json() == before


def test_wrong_changes_are_refused(http: TestClient) -> None:
    task = make_task(http)
    error = error_of(http.put(f"{PROCESS}/{task}", json={"description": 5}), 400)
    assert error["errors"] == {"parameter": "description", "violation": "description: must be a valid string"}
    error_of(http.put(f"{PROCESS}/{task}", content=b"", headers={"Content-Type": "application/json"}), 400)
    files = {"request": (None, "{}")}
    error_of(http.put(f"{PROCESS}/{task}", files=files), 415, "COMMON_UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("given", [GRID, GEOPACKAGE])
def test_request_comes_back_as_it_was_without_its_keys(app: FastAPI, http: TestClient, given: dict[str, Any]) -> None:
    expected = make_body(input=given, instanceType="normal")
    task = make_task(http, input=given, instanceType="normal")
    expected["output"]["delivery"] = {"s3": {"url": "s3://b/out", "region": "eu-west-1"}}
    if given is GEOPACKAGE:
        expected["input"]["features"] = {"s3": {"url": "s3://b/in.gpkg"}}
    answers = [http.get(f"{PROCESS}/{task}"), http.get(PROCESS), http.put(f"{PROCESS}/{task}", json={})]
    for answer in answers:
        assert not [secret for secret in SECRETS if secret in answer.text]
    assert answers[0].json()["request"] == expected
    keys = app.state.store.keys(task)
    assert keys.output == {"accessKey": SECRETS[2], "secretAccessKey": SECRETS[3]}
    if given is GEOPACKAGE:
        assert keys.features == {"accessKey": SECRETS[0], "secretAccessKey": SECRETS[1]}
    else:
        assert keys.features is None


@pytest.mark.parametrize("path", PATHS)
def test_a_form_of_request_and_script_is_the_same_request(http: TestClient, path: str) -> None:
    whole = http.get(f"{PROCESS}/{make_task(http)}").json()["request"]
    text = json.dumps(make_body(processRequest__evalscript=...))
    for files in (
        {"request": (None, text), "evalscript": (None, SCRIPT)},
        {"request": (None, text, "application/json"), "evalscript": ("ndvi.js", SCRIPT, "text/javascript")},
        {"evalscript": (None, SCRIPT), "request": ("request.json", json.dumps(make_body()), "application/json")},
        {"request": (None, json.dumps(make_body()))},
    ):
        answer = http.post(path, files=files)
        assert answer.status_code == 201, answer.text
        assert answer.json()["request"] == whole


def test_a_form_serves_statistics_too(http: TestClient) -> None:
    body = make_request()
    body["input"]["features"], body["output"] = GEOPACKAGE["features"], {"s3": {"url": "s3://b/out"}}
    script = body["aggregation"].pop("evalscript")
    answer = http.post(STATISTICS, files={"request": (None, json.dumps(body)), "evalscript": (None, script)})
    assert answer.status_code == 201, answer.text
    assert answer.json()["request"]["aggregation"]["evalscript"] == script


@pytest.mark.parametrize(
    ("files", "parameter", "words"),
    [
        ([("evalscript", (None, SCRIPT))], "request", "is required"),
        ([("request", (None, "{"))], None, "'request' is no JSON"),
        ([("request", (None, "[]"))], None, "'request' must be a JSON object"),
        ([("request", (None, "{}"))] * 2, "request", "comes 2 times"),
        ([("request", (None, "{}")), ("evalscript", (None, SCRIPT))], "processRequest", "is required"),
        ([("request", (None, "{}")), ("evalscript", ("a.js", b"\xff", "text/plain"))], "evalscript", "UTF-8"),
        ([(f"part{k}", (None, "")) for k in range(30)], None, "Too many fields"),
    ],
)
def test_wrong_forms_say_what_is_wrong(http: TestClient, files: list[Any], parameter: str | None, words: str) -> None:
    error = error_of(http.post(PROCESS, files=files), 400)
    assert words in error["message"]
    assert error.get("errors", {}).get("parameter") == parameter


@pytest.mark.parametrize(
    "content", [b"", b"nothing", b"--x\r\n\r\n", b"--x\r\nContent-Disposition: form-data\r\n\r\nv"]
)
@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=x"])
def test_broken_forms_are_400(http: TestClient, content: bytes, kind: str) -> None:
    error_of(http.post(PROCESS, content=content, headers={"Content-Type": kind}), 400)


def test_other_kinds_of_bodies_are_415(http: TestClient) -> None:
    for kind in ("application/x-www-form-urlencoded", "text/plain", "application/xml"):
        answer = http.post(PROCESS, content=b"a=b", headers={"Content-Type": kind})
        error_of(answer, 415, "COMMON_UNSUPPORTED_MEDIA_TYPE")


def test_too_long_a_form_is_413(http: TestClient) -> None:
    files = {"request": (None, json.dumps(make_body())), "evalscript": (None, "x" * 30_000)}
    assert http.post(PROCESS, files=files).status_code == 413


@pytest.mark.parametrize(
    ("change", "parameter", "words"),
    [
        ({"processRequest": ...}, "processRequest", "is required"),
        ({"input": ...}, "input", "is required"),
        ({"output": ...}, "output", "is required"),
        ({"input__type": ...}, "input->type", "is required"),
        ({"input__type": "tiles"}, "input->type", "'tiling-grid' or 'geopackage'"),
        ({"input__id": 5}, "input->id", "0 (UTM 20km grid)"),
        ({"input__resolution": 15}, "input->resolution", "10, 20, 30"),
        ({"input": {"type": "geopackage"}}, "input->features", "is required"),
        ({"output__type": "tif"}, "output->type", "'raster' or 'zarr'"),
        ({"output__delivery__s3__url": "s3://b/<tile>.tif"}, "output->delivery->s3->url", "<tileName>"),
        ({"output__delivery__s3__url": "s3://b/all.tif<requestId>"}, "output->delivery->s3->url", "<tileName>"),
        ({"output__createCollection": True}, "output->cogOutput", "cogOutput: true"),
        ({"processRequest__evalscript": ...}, "processRequest->evalscript", "is required"),
        ({"processRequest__input__bounds": {}}, "processRequest->input->bounds", "bbox or a geometry"),
        ({"processRequest__input__bounds__bbox": [1, 1, 1, 1]}, "processRequest->input->bounds", "no area"),
        (
            {"processRequest__input__bounds__properties": {"crs": "EPSG:0"}},
            "processRequest->input->bounds->properties->crs",
            "EPSG:0",
        ),
        ({"processRequest__input__data": [{"type": "moon"}]}, "processRequest->input->data[0]->type", "sentinel-2-l2a"),
        ({"output": ZARR}, "processRequest->output->responses", "zarr/array"),
        ({"description": 7}, "description", "string"),
    ],
)
def test_wrong_fields_are_named_with_what_to_do(
    http: TestClient, change: dict[str, Any], parameter: str, words: str
) -> None:
    for path in PATHS:
        error = error_of(http.post(path, json=make_body(**change)), 400)
        assert error["errors"]["parameter"] == parameter
        assert words in error["errors"]["violation"]
    assert http.get(PROCESS).json()["data"] == []


def test_chunks_that_do_not_divide_a_tile_are_refused(http: TestClient) -> None:
    responses = [{"identifier": "default", "format": {"type": "zarr/array"}}]
    given = {"input__id": 6, "input__resolution": 100.0, "processRequest__output__responses": responses}
    make_task(http, output=ZARR, **given)
    parameters = {**ZARR["arrayParameters"], "chunks": [1, 300, 300]}
    answer = http.post(PROCESS, json=make_body(output={**ZARR, "arrayParameters": parameters}, **given))
    assert "do not divide tiles of 1000" in error_of(answer, 400)["message"]


def test_pages_on_both_paths(http: TestClient) -> None:
    made = [make_task(http) for _ in range(5)]
    for path in PATHS:
        seen, pages, query = [], 0, "count=2&sort=created:desc"
        while query:
            page = http.get(f"{path}?{query}").json()
            seen += [task["id"] for task in page["data"]]
            pages += 1
            assert page["links"]["@id"] == f"http://testserver{path}?{query}"
            token = page["links"].get("nextToken")
            query = f"count=2&sort=created:desc&viewtoken={token}" if token else ""
        assert (seen, pages) == (made[::-1], 3)


def test_sorting_by_status(http: TestClient, tasks: dict[str, str]) -> None:
    for sort, reverse in (("status", False), ("status:desc", True)):
        found = [task["status"] for task in http.get(f"{PROCESS}?sort={sort}").json()["data"]]
        assert found == sorted(found, reverse=reverse)
        assert len(found) == len(tasks)


@pytest.mark.parametrize("query", ["count=0", "count=x", "sort=colour", "viewtoken=zzz"])
def test_wrong_queries_name_the_parameter(http: TestClient, query: str) -> None:
    assert error_of(http.get(f"{PROCESS}?{query}"), 400)["errors"]["parameter"] == query.split("=")[0]


def test_tasks_and_statistics_do_not_see_each_other(http: TestClient) -> None:
    body = make_request()
    body["input"]["features"], body["output"] = GEOPACKAGE["features"], {"s3": {"url": "s3://b/out"}}
    statistics, task = http.post(STATISTICS, json=body).json()["id"], make_task(http)
    assert [one["id"] for one in http.get(STATISTICS).json()["data"]] == [statistics]
    assert [one["id"] for one in http.get(PROCESS).json()["data"]] == [task]
    for base, other in ((PROCESS, statistics), (STATISTICS, task)):
        for method, rest in (("GET", ""), ("GET", "/status"), ("GET", "/log"), ("POST", "/start"), ("POST", "/stop")):
            error_of(http.request(method, f"{base}/{other}{rest}"), 404, "COMMON_NOT_FOUND")
    error_of(http.put(f"{PROCESS}/{statistics}", json={"description": "x"}), 404, "COMMON_NOT_FOUND")
    assert http.get(f"{STATISTICS}/{statistics}").json()["userAction"] == "NONE"


def test_tasks_of_other_projects_do_not_exist(app: FastAPI, http: TestClient) -> None:
    task, other = make_task(http), sign_in(app)
    assert http.get(PROCESS, headers=other).json()["data"] == []
    for method, rest in (("GET", ""), ("PUT", ""), ("GET", "/log"), ("POST", "/analyse"), ("POST", "/start")):
        answer = http.request(method, f"{PROCESS}/{task}{rest}", headers=other, json={"description": "mine"})
        error_of(answer, 404, "COMMON_NOT_FOUND")
    unchanged = http.get(f"{PROCESS}/{task}").json()
    assert (unchanged["status"], unchanged["request"]["description"]) == ("CREATED", "first words")
    project = str(uuid.uuid4())
    shared = http.post(PROCESS, json=make_body(), headers=sign_in(app, project)).json()["id"]
    answer = http.get(f"{PROCESS}/{shared}", headers=sign_in(app, project))
    assert answer.json()["projectId"] == project


@pytest.mark.parametrize("task", ["nonsense", str(uuid.UUID(int=7)), "%2e%2e", "a" * 5000])
def test_unknown_tasks_are_404(http: TestClient, task: str) -> None:
    error_of(http.get(f"{PROCESS}/{task}"), 404, "COMMON_NOT_FOUND")
    error_of(http.put(f"{PROCESS}/{task}", json={}), 404, "COMMON_NOT_FOUND")


def test_tasks_cannot_be_deleted(http: TestClient) -> None:
    task = make_task(http)
    for method, path in (("DELETE", f"{PROCESS}/{task}"), ("DELETE", PROCESS), ("GET", f"{PROCESS}/{task}/start")):
        error_of(http.request(method, path), 405, "COMMON_METHOD_NOT_ALLOWED")


def test_who_does_not_say_who_it_is_gets_nothing(http: TestClient) -> None:
    task = make_task(http)
    for method, rest in (
        ("POST", ""),
        ("GET", ""),
        ("GET", f"/{task}"),
        ("PUT", f"/{task}"),
        ("POST", f"/{task}/stop"),
    ):
        answer = http.request(method, f"{PROCESS}{rest}", headers={"Authorization": "Bearer a.b.c"})
        error_of(answer, 401, "COMMON_UNAUTHORIZED")


@pytest.mark.parametrize("path", [f"{NEWEST}/{{}}", f"http://testserver/{PROCESS}/{{}}", f"{PROCESS}/{{}}/"])
def test_all_paths_that_clients_use_lead_there(http: TestClient, path: str) -> None:
    task = make_task(http)
    assert http.get(path.format(task)).json()["id"] == task


def test_figures_of_the_analysis_are_in_the_status(app: FastAPI, http: TestClient) -> None:
    task = make_task(http)
    bring(app, task, HISTORIES["PROCESSING"][0])
    status = http.get(f"{PROCESS}/{task}/status").json()
    assert (status["id"], status["valueEstimate"]) == (task, 1.5)
    assert status["progress"] == {"features": 2, "featuresDone": 1, "featuresFailed": 0}
    assert "request" not in status


def test_log_of_a_task(http: TestClient) -> None:
    task = make_task(http)
    http.put(f"{PROCESS}/{task}", json={"description": "new"})
    lines = [line["message"] for line in http.get(f"{PROCESS}/{task}/log").json()["data"]]
    assert lines == ["CREATED", "description changed"]


def test_grids_are_served_beside(http: TestClient) -> None:
    for path in ("/api/v2/batch/tilinggrids/", "/batch/v2/tilinggrids"):
        assert [grid["id"] for grid in http.get(path).json()["data"]] == [0, 1, 2, 3, 6, 7]
