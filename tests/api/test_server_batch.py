from __future__ import annotations

import json
import re
import shutil
import uuid
from datetime import datetime

import pytest
from fastapi.testclient import TestClient

from swathe.jobs.records import PlannedJob, PlannedUnit, UnitResult
from swathe.jobs.states import Event
from swathe.server.app import create_app
from swathe.settings import Settings

BATCH = "/api/v1/statistics/batch"
SECRETS = ("AKIAFEATURES", "hidden-features-key", "AKIAOUTPUT", "hidden-output-key")


def make_body(**change):
    body = {
        "input": {
            "features": {"s3": {"url": "s3://bucket/in.gpkg", "accessKey": SECRETS[0], "secretAccessKey": SECRETS[1]}},
            "data": [{"type": "sentinel-2-l2a", "dataFilter": {"mosaickingOrder": "leastCC"}}],
        },
        "aggregation": {
            "timeRange": {"from": "2020-06-01T00:00:00Z", "to": "2020-06-30T00:00:00Z"},
            "aggregationInterval": {"of": "P1D"},
            "evalscript": "//VERSION=3",
            "resx": 10,
            "resy": 10,
        },
        "calculations": {"default": {"histograms": {"default": {"nBins": 5, "lowEdge": 0, "highEdge": 1}}}},
        "output": {
            "s3": {
                "url": "s3://bucket/out/",
                "accessKey": SECRETS[2],
                "secretAccessKey": SECRETS[3],
                "region": "eu-west-1",
            }
        },
    }
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
def used_home(tmp_path_factory):
    """A home that has a signing key, which takes a while to make."""
    folder = tmp_path_factory.mktemp("used")
    create_app(Settings(), folder, runs_jobs=False).state.store.close()
    return folder


@pytest.fixture
def app(tmp_path, used_home):
    shutil.copytree(used_home, tmp_path / "home")
    settings = Settings.model_validate(
        {
            "collections": [{"type": "sentinel-2-l2a", "source": str(tmp_path / "catalog.json")}],
            "limits": {"request_bytes": 20_000},
        }
    )
    return create_app(settings, tmp_path / "home", runs_jobs=False)


@pytest.fixture
def http(app):
    with TestClient(app, raise_server_exceptions=False) as http:
        yield http


def sign_in(app, http, project=None):
    client, _ = app.state.clients.create("me", project_id=project)
    return {"Authorization": f"Bearer {app.state.tokens.issue(client)}"}


@pytest.fixture
def me(app, http):
    return sign_in(app, http)


def post(http, headers, body=None, **how):
    return http.post(BATCH, json=make_body() if body is None else body, headers=headers, **how)


def test_post_answers_the_request_as_clients_need_it(http, me):
    answer = post(http, me)
    assert answer.status_code == 201
    body = answer.json()
    assert (body["status"], body["completionPercentage"], body["userAction"]) == ("CREATED", 0, "NONE")
    assert body["costPU"] == body["costPu"] == 0
    for key in ("id", "domainAccountId", "projectId", "workspaceId", "userId"):
        uuid.UUID(body[key])
    for key in ("created", "lastUpdated"):
        assert body[key].endswith("Z")
        datetime.fromisoformat(body[key])
    assert not {"error", "stoppedStatusReason", "userActionUpdated"} & set(body)


def test_request_comes_back_as_it_was_without_its_keys(http, me):
    expected = make_body()
    expected["input"]["features"] = {"s3": {"url": "s3://bucket/in.gpkg"}}
    expected["output"] = {"s3": {"url": "s3://bucket/out/", "region": "eu-west-1"}}
    job_id = post(http, me).json()["id"]
    for path in (f"{BATCH}/{job_id}", f"{BATCH}/{job_id}/status", BATCH):
        text = http.get(path, headers=me).text
        assert not [secret for secret in SECRETS if secret in text], path
    assert http.get(f"{BATCH}/{job_id}", headers=me).json()["request"] == expected


def test_status_is_the_short_form(http, me):
    job_id = post(http, me).json()["id"]
    status = http.get(f"{BATCH}/{job_id}/status", headers=me).json()
    assert (status["id"], status["status"], status["completionPercentage"]) == (job_id, "CREATED", 0)
    assert "request" not in status


@pytest.mark.parametrize(
    "path",
    [
        "/statistics/batch/v1/{}",
        "http://testserver//api/v1/statistics/batch/{}",
        "/api/v1/statistics/batch/{}/",
        "/api/v1//statistics/batch//{}//",
        "/statistics/batch/v1/{}/status",
    ],
)
def test_all_paths_that_clients_use_lead_there(http, me, path):
    job_id = post(http, me).json()["id"]
    assert http.get(path.format(job_id), headers=me).json()["id"] == job_id


def test_post_on_the_newest_path_with_a_slash(http, me):
    assert http.post("/statistics/batch/v1/", json=make_body(), headers=me).status_code == 201


def test_actions_take_an_empty_body_that_calls_itself_json(app, http, me):
    job_id = post(http, me).json()["id"]
    headers = {**me, "Content-Type": "application/json"}
    for action, wish in (("analyse", "ANALYSE"), ("start", "START"), ("stop", "STOP"), ("cancel", "STOP")):
        answer = http.post(f"{BATCH}/{job_id}/{action}", headers=headers, content=b"")
        assert (answer.status_code, answer.content) == (204, b"")
        body = http.get(f"{BATCH}/{job_id}", headers=me).json()
        assert (body["userAction"], body["status"]) == (wish, "ANALYSING")
        assert body["userActionUpdated"] == body["lastUpdated"]


def test_action_that_does_not_fit_is_400_with_the_reason(http, me):
    job_id = post(http, me).json()["id"]
    answer = http.post(f"{BATCH}/{job_id}/stop", headers=me)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["status"], error["reason"], error["code"]) == (400, "Bad Request", "COMMON_BAD_PAYLOAD")
    assert error["message"] == ("STOP is not possible for a request in status CREATED; possible now: ANALYSE or START")


def test_finished_requests_report_100(app, http, me):
    store = app.state.store
    done, failed = post(http, me).json()["id"], post(http, me).json()["id"]
    for job_id in (done, failed):
        store.apply(job_id, Event.START)
    plan = PlannedJob(1, 1, 1.0, b"", (PlannedUnit(0, bytes(8), 1),))
    store.save_analysis(done, plan)
    store.record_unit(done, UnitResult(0, done=1, failed=0, cost_pu=0.25))
    store.settle(done)
    store.apply(failed, Event.ANALYSIS_FAILED, error="The GeoPackage is empty")
    body = http.get(f"{BATCH}/{done}", headers=me).json()
    assert (body["status"], body["completionPercentage"], body["costPU"]) == ("DONE", 100, 0.25)
    body = http.get(f"{BATCH}/{failed}/status", headers=me).json()
    assert (body["status"], body["completionPercentage"], body["error"]) == (
        "FAILED",
        100,
        "The GeoPackage is empty",
    )


def test_requests_of_others_do_not_exist(app, http, me):
    job_id = post(http, me).json()["id"]
    other = sign_in(app, http)
    for method, path in (("GET", ""), ("GET", "/status"), ("POST", "/start")):
        answer = http.request(method, f"{BATCH}/{job_id}{path}", headers=other)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "COMMON_NOT_FOUND")
    assert http.get(BATCH, headers=other).json()["data"] == []


def test_clients_of_one_project_share_their_requests(app, http):
    project = str(uuid.uuid4())
    job_id = post(http, sign_in(app, http, project)).json()["id"]
    assert http.get(f"{BATCH}/{job_id}", headers=sign_in(app, http, project)).json()["projectId"] == project


@pytest.mark.parametrize("request_id", ["nonsense", str(uuid.UUID(int=7)), "%2e%2e", "a" * 5000])
def test_unknown_request_is_404(http, me, request_id):
    answer = http.get(f"{BATCH}/{request_id}", headers=me)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "COMMON_NOT_FOUND")


def test_pages(http, me):
    ids = [post(http, me).json()["id"] for _ in range(5)]
    seen, token, pages = [], None, 0
    while True:
        params = {"count": 2, "sort": "created:desc"} | ({"viewtoken": token} if token else {})
        answer = http.get(BATCH, headers=me, params=params)
        assert answer.status_code == 200
        body = answer.json()
        seen += [job["id"] for job in body["data"]]
        pages += 1
        assert body["links"]["@id"].startswith("http://testserver/api/v1/statistics/batch?")
        token = body["links"].get("nextToken")
        if token is None:
            break
        following = http.get(body["links"]["next"], headers=me).json()["data"]
        assert following[0]["id"] not in seen
    assert (seen, pages) == (ids[::-1], 3)


@pytest.mark.parametrize("query", ["count=0", "count=x", "sort=colour", "viewtoken=zzz"])
def test_wrong_query_is_400_naming_the_parameter(http, me, query):
    answer = http.get(f"{BATCH}?{query}", headers=me)
    assert answer.status_code == 400
    assert answer.json()["error"]["errors"]["parameter"] == query.split("=")[0]


@pytest.mark.parametrize(
    ("change", "parameter", "violation"),
    [
        ({"aggregation__resx": 0}, "aggregation->resx", "greater than 0"),
        ({"aggregation__evalscript": ...}, "aggregation->evalscript", "is required"),
        ({"input__data": []}, "input->data", "at least 1"),
        ({"output": ...}, "output", "is required"),
        ({"output__s3__url": "gs://x/y"}, "output->s3->url", "s3://bucket/folder"),
        ({"output__s3__url": "s3://b/<REQUEST_ID>.json"}, "output->s3->url", "<ID> or <IDENTIFIER>"),
        ({"output__s3__secretAccessKey": ...}, "output->s3", "belong together"),
        ({"input__features": {"s3": 3}}, "input->features->s3", "must be an object"),
        ({"input__data": [{"type": ""}]}, "input->data->0->type", "at least 1 character"),
        (
            {"calculations": {"default": {"histograms": {"default": {}}}}},
            "calculations->default->histograms->default",
            "exactly one of nBins, binWidth and bins",
        ),
        (
            {"aggregation__timeRange": {"from": "2021-01-01", "to": "2020-01-01"}},
            "aggregation->timeRange",
            "before it starts",
        ),
        ({"aggregation__aggregationInterval": {"of": "P1X"}}, "aggregation->aggregationInterval->of", "P1D"),
    ],
)
def test_wrong_field_is_named_with_what_to_do(http, me, change, parameter, violation):
    answer = post(http, me, make_body(**change))
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["code"] == "COMMON_BAD_PAYLOAD"
    assert error["errors"]["parameter"] == parameter
    assert violation in error["errors"]["violation"]
    assert not [secret for secret in SECRETS if secret in answer.text]


def test_several_wrong_fields_are_all_in_the_message(http, me):
    message = post(http, me, make_body(aggregation__resx=-1, output=...)).json()["error"]["message"]
    assert "aggregation->resx: must be greater than 0" in message
    assert "output: is required" in message


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b'{"a": NaN}',
        b"\xff\xfe",
        b"[" * 9000,
        b'{"a":' * 3000 + b"1" + b"}" * 3000,
        b'{"description": "\\ud800"}',
    ],
)
def test_body_that_is_no_json_object_is_400(http, me, content):
    answer = http.post(BATCH, content=content, headers={**me, "Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "COMMON_BAD_PAYLOAD"), answer.text


def test_form_is_415(http, me):
    answer = http.post(BATCH, data={"a": "b"}, headers=me)
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "COMMON_UNSUPPORTED_MEDIA_TYPE")


def test_too_long_a_body_is_413_whether_its_length_is_told_or_not(http, me):
    long = json.dumps(make_body(description="x" * 30_000)).encode()
    headers = {**me, "Content-Type": "application/json"}
    for content in (long, iter([long[:15_000], long[15_000:]])):
        answer = http.post(BATCH, content=content, headers=headers)
        assert (answer.status_code, answer.json()["error"]["status"]) == (413, 413)


def test_unknown_path_and_method_are_in_the_providers_shape(http, me):
    answer = http.get("/api/v1/nothing", headers=me)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "COMMON_NOT_FOUND")
    answer = http.delete(BATCH, headers=me)
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "COMMON_METHOD_NOT_ALLOWED")


def test_bug_is_500_with_an_id_and_no_internal_text(app, http, me, caplog):
    def broken(*_args, **_kwargs):
        raise ValueError("the secret inside")

    app.state.check = broken
    answer = post(http, {**me, "Origin": "https://apps.example"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (500, "COMMON_EXCEPTION")
    assert "secret" not in answer.text
    name = re.search(r"under (\w+)", error["message"]).group(1)
    assert name in caplog.text
    assert answer.headers["access-control-allow-origin"] == "*"


def test_browser_may_ask_and_read(http):
    answer = http.options(
        f"{BATCH}/x/start",
        headers={
            "Origin": "https://apps.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,accept-crs",
        },
    )
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "authorization" in answer.headers["access-control-allow-headers"]
    answer = http.get("/health", headers={"Origin": "https://apps.example"})
    assert "X-ProcessingUnits-Spent" in answer.headers["access-control-expose-headers"]


def test_keys_are_kept_for_the_runner(app, http, me):
    job_id = post(http, me).json()["id"]
    keys = app.state.store.keys(job_id)
    assert keys.features == {"accessKey": SECRETS[0], "secretAccessKey": SECRETS[1]}
    assert keys.output == {"accessKey": SECRETS[2], "secretAccessKey": SECRETS[3]}


def test_health_needs_no_token(http):
    assert http.get("/health").json()["status"] == "ok"
