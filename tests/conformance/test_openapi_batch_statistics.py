"""Answers against the provider's published description, where it is at hand; and our own description."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator

from builders import make_request
from swathe.jobs.records import PlannedJob, PlannedUnit, UnitResult
from swathe.jobs.states import Event
from swathe.server.app import create_app
from swathe.settings import Settings

# Together in one process, since they share what takes seconds to start.
pytestmark = pytest.mark.xdist_group("openapi")

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "reference" / "openapi" / "sentinel-hub-openapi.yaml"
BATCH = "/api/v1/statistics/batch"
NEWEST = "/statistics/batch/v1"


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    if not PUBLISHED.exists():
        pytest.skip("the provider's description is not beside the checkout (it is not ours to distribute)")
    yaml = pytest.importorskip("yaml")
    description = yaml.load(PUBLISHED.read_text("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    schemas = description["components"]["schemas"]
    # Oddities: a reason of the founding document is missing; a collection's type fits its own data set and BYOC's, though
    # only one may fit (in the request, which comes back as it was posted).
    schemas["BatchStatisticsTaskStatusDto"]["properties"]["stoppedStatusReason"]["enum"].append("UNHEALTHY")
    items = schemas["ProcessRequestInputData"]["items"]
    items["anyOf"] = items.pop("oneOf")
    return description


def check(published: dict[str, Any], path: str, method: str, status: int, answer: Any) -> None:
    """Validates a body against what the description says of this operation and status."""
    responses = published["paths"][path][method]["responses"]
    described = responses.get(str(status)) or published["components"]["responses"][str(status)]
    while "$ref" in described:
        described = published["components"]["responses"][described["$ref"].rsplit("/", 1)[1]]
    if "content" not in described:
        return
    schema = {**described["content"]["application/json"]["schema"], "components": published["components"]}
    errors = [error.message for error in Draft202012Validator(schema).iter_errors(answer)]
    assert errors == []


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    collections = [{"type": "sentinel-2-l2a", "source": str(folder / "none.json")}]
    app = create_app(Settings.model_validate({"collections": collections}), folder, runs_jobs=False)
    with TestClient(app) as http:
        client, _ = app.state.clients.create("me")
        http.headers["Authorization"] = f"Bearer {app.state.tokens.issue(client)}"
        yield app, http


def make_body() -> dict[str, Any]:
    body = make_request(calculations={"default": {"statistics": {"default": {"percentiles": {"k": [0.5]}}}}})
    body["input"]["features"] = {"s3": {"url": "s3://b/in.gpkg", "accessKey": "a", "secretAccessKey": "s"}}
    body["output"] = {"s3": {"url": "s3://b/out", "accessKey": "a", "secretAccessKey": "s", "region": "eu-west-1"}}
    return body


def make_jobs(app, http) -> dict[str, str]:
    """A request in every state."""
    store, made = app.state.store, {}
    histories = {
        "CREATED": (),
        "ANALYSING": (Event.ANALYSE,),
        "ANALYSIS_DONE": (Event.ANALYSE, Event.ANALYSIS_DONE),
        "PROCESSING": (Event.START, Event.ANALYSIS_DONE),
        "STOPPED": (Event.START, Event.ANALYSIS_DONE, Event.STOP, Event.HALTED),
        "UNHEALTHY": (Event.START, Event.ANALYSIS_DONE, Event.UNHEALTHY),
        "DONE": (Event.START, Event.ANALYSIS_DONE, Event.UNITS_DONE),
        "FAILED": (Event.START, Event.ANALYSIS_FAILED),
    }
    for name, events in histories.items():
        made[name] = http.post(BATCH, json=make_body()).json()["id"]
        for event in events:
            if event is Event.ANALYSIS_DONE:
                units = (PlannedUnit(0, bytes(8), 10), PlannedUnit(1, bytes(8), 10))
                store.save_analysis(made[name], PlannedJob(2, 1, 1.0, b"", units))
                if Event.START in events:
                    store.record_unit(made[name], UnitResult(0, done=1, failed=0, cost_pu=0.5))
            else:
                store.apply(made[name], event, error="why" if event.value in ("UNHEALTHY", "ANALYSIS_FAILED") else None)
    return made


def test_answers_are_as_the_provider_describes_them(served, published):
    app, http = served
    answer = http.post(BATCH, json=make_body())
    check(published, NEWEST, "post", 201, answer.json())
    for name, job_id in make_jobs(app, http).items():
        one = http.get(f"{BATCH}/{job_id}").json()
        assert one["status"] == ("STOPPED" if name == "UNHEALTHY" else name)
        check(published, f"{NEWEST}/{{requestId}}", "get", 200, one)
        status = http.get(f"{BATCH}/{job_id}/status").json()
        check(published, f"{NEWEST}/{{requestId}}/status", "get", 200, status)
    page = http.get(f"{BATCH}?count=2").json()
    assert page["links"]["nextToken"]
    check(published, NEWEST, "get", 200, page)


def test_errors_are_as_the_provider_describes_them(served, published):
    _, http = served
    wrong = make_body()
    wrong["aggregation"]["resx"] = 0
    answer = http.post(BATCH, json=wrong)
    check(published, NEWEST, "post", 400, answer.json())
    job_id = http.post(BATCH, json=make_body()).json()["id"]
    answer = http.post(f"{BATCH}/{job_id}/stop")
    assert answer.status_code == 400
    check(published, f"{NEWEST}/{{requestId}}/start", "post", 400, answer.json())
    answer = http.get(f"{BATCH}/{job_id[:-1]}0".replace(job_id, "x"))
    check(published, f"{NEWEST}/{{requestId}}", "get", 404, answer.json())


def test_every_described_operation_is_served_on_both_paths(served, published):
    app, _ = served
    ours = {(path, method) for path, ways in app.openapi()["paths"].items() for method in ways}
    for path, ways in published["paths"].items():
        if path.startswith(NEWEST):
            for method in set(ways) & {"get", "post", "put", "delete"}:
                plain = path.replace("{requestId}", "{request_id}")
                assert (plain, method) in ours
                assert (plain.replace(NEWEST, BATCH), method) in ours


def test_our_own_description_is_valid(served):
    validator = pytest.importorskip("openapi_spec_validator")
    _, http = served
    description = http.get("/openapi.json").json()
    validator.validate(description)
    operations = [way["operationId"] for ways in description["paths"].values() for way in ways.values()]
    assert len(operations) == len(set(operations))
