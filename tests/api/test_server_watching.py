"""`/health`, `/metrics`, a job's log and the figures beside the provider's."""

from __future__ import annotations

import shutil
import socket
import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError

from swathe.jobs.keys import KeyPairs
from swathe.jobs.metrics import RunnerMetrics, RunnerState
from swathe.jobs.records import PlannedJob, PlannedUnit, UnitResult, to_text
from swathe.jobs.schema import jobs
from swathe.jobs.states import Event, Status
from swathe.jobs.tasks import UnitOutcome
from swathe.model.errors import NotFound
from swathe.server.app import create_app
from swathe.server.health import checks_of
from swathe.server.metrics import Metrics
from swathe.settings import Settings

BATCH = "/api/v1/statistics/batch"
REPORT = {
    "features": 3.0,
    "scenes": 2.0,
    "units": 2.0,
    "blocks": 40.0,
    "bytesToRead": 5e6,
    "estimatedSeconds": 90.5,
    "estimatedPU": 0.25,
}


@pytest.fixture(scope="module")
def used_home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("used")
    create_app(Settings(), folder, runs_jobs=False).state.store.close()
    return folder


@pytest.fixture
def make(tmp_path, used_home):
    """An application, and an HTTP client of it within its lifespan."""
    clients = []

    def make(**settings):
        shutil.copytree(used_home, tmp_path / "home", dirs_exist_ok=True)
        app = create_app(Settings.model_validate(settings), tmp_path / "home", runs_jobs=False)
        http = TestClient(app, raise_server_exceptions=False)
        http.__enter__()
        clients.append(http)
        return app, http

    yield make
    for http in clients:
        http.__exit__(None, None, None)


def sign_in(app, project=None):
    client, _ = app.state.clients.create("me", project_id=project)
    return client, {"Authorization": f"Bearer {app.state.tokens.issue(client)}"}


def make_job(store, client, *, report=REPORT, start=True):
    job = store.create(
        client_id=client.id, project_id=client.project_id, request={"input": {}}, keys=KeyPairs(), description=None
    )
    store.apply(job.id, Event.START if start else Event.ANALYSE)
    ids = [(1).to_bytes(8, "little") + (2).to_bytes(8, "little"), (3).to_bytes(8, "little")]
    units = tuple(PlannedUnit(number, data, 100) for number, data in enumerate(ids))
    store.save_analysis(job.id, PlannedJob(3, 2, 0.25, b"x", units, report=report))
    return job.id


def break_store(app, file):
    """Makes a job store unreachable; connections that other threads have just now are waited for."""
    file.unlink()
    file.mkdir()
    end = time.monotonic() + 180
    while time.monotonic() < end:
        app.state.store.database.engine.dispose()
        try:
            app.state.store.database.check()
        except SQLAlchemyError:
            return
        time.sleep(0.05)
    raise AssertionError("the database still answers")


def samples(text):
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[(sample.name, *sorted(sample.labels.items()))] = sample.value
    return found


# Health


def test_health_and_live_say_that_the_process_answers(make):
    _, http = make()
    for path in ("/health", "/health/live"):
        answer = http.get(path)
        assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def test_ready_names_every_part(make):
    _, http = make()
    answer = http.get("/health/ready")
    assert answer.status_code == 200
    assert answer.json()["parts"] == {"database": "ok", "storage": "ok"}


def test_not_ready_without_the_database(make, tmp_path):
    app, http = make()
    _, me = sign_in(app)
    break_store(app, tmp_path / "home" / "swathe.sqlite")
    answer = http.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["parts"] == {"database": "does not answer", "storage": "ok"}
    assert http.get("/health/live").status_code == 200
    answer = http.get(BATCH, headers=me)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2000")


def test_not_ready_where_buckets_cannot_be_folders(make, tmp_path):
    (tmp_path / "file").write_text("")
    _, http = make(storage={"local_root": str(tmp_path / "file" / "buckets")})
    assert http.get("/health/ready").json()["parts"]["storage"] == "the folder for buckets cannot be written to"


def test_not_ready_without_runner_or_scheduler(make):
    app, _ = make()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        settings = Settings.model_validate({"dask": {"scheduler": address}})
        alive = RunnerState(True, 0.1, 0, 2)
        checks = checks_of(settings, app.state.store.database, lambda: alive)
        assert {name: check() for name, check in checks.items()} == dict.fromkeys(
            ("database", "storage", "runner", "scheduler")
        )
    checks = checks_of(settings, app.state.store.database, lambda: replace(alive, is_alive=False))
    assert checks["scheduler"]() == "does not answer"
    assert checks["runner"]() == "has ended"
    hung = checks_of(settings, app.state.store.database, lambda: replace(alive, seconds_since_look=300))
    assert hung["runner"]() == "has not looked at the job store for 300 s"


# Metrics


def test_metrics_of_jobs_and_requests(make):
    app, http = make()
    client, me = sign_in(app)
    job_id = make_job(app.state.store, client)
    make_job(app.state.store, client, start=False)
    http.get(f"{BATCH}/{job_id}", headers=me)
    http.get(f"{BATCH}//{job_id}/", headers=me)
    http.get(f"{BATCH}/{uuid.uuid4()}", headers=me)
    http.get("/who/knows")
    answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    found = samples(answer.text)
    assert found["swathe_jobs", ("kind", "statistics"), ("status", "PROCESSING")] == 1
    assert found["swathe_jobs", ("kind", "statistics"), ("status", "ANALYSIS_DONE")] == 1
    assert found["swathe_jobs", ("kind", "statistics"), ("status", "DONE")] == 0
    assert found["swathe_units_waiting", ("kind", "statistics")] == 2
    route = ("route", f"{BATCH}/{{request_id}}")
    assert found["swathe_http_requests_total", ("method", "GET"), route, ("status", "200")] == 2
    assert found["swathe_http_requests_total", ("method", "GET"), route, ("status", "404")] == 1
    assert found["swathe_http_requests_total", ("method", "GET"), ("route", "other"), ("status", "404")] == 1
    assert found["swathe_http_request_seconds_count", ("method", "GET"), route] == 3
    assert found["swathe_job_store_up",] == 1
    assert found["process_resident_memory_bytes",] > 2**20
    assert job_id not in answer.text
    assert client.project_id not in answer.text


def test_metrics_of_units(make):
    app, _ = make()
    runner = RunnerMetrics()
    counters = {"blocks": 12, "bytes_read": 3400.0, "read_seconds": 1.5, "script_seconds": 0.25, "seconds": 2.0}
    runner.unit_ended("statistics", UnitOutcome(0, UnitResult(0, 5, 1, 0.5, counters=counters)))
    runner.unit_ended("statistics", UnitOutcome(1, UnitResult(1, 2, 0, 0.25, counters={"blocks": 3})))
    runner.unit_ended("statistics", UnitOutcome(2, error="away", retryable=True))
    runner.unit_ended("statistics", UnitOutcome(2, error="gone", retryable=True), lost=True)
    runner.unit_ended("statistics", UnitOutcome(2, stopped=True))
    runner.unit_ended("statistics", UnitOutcome(2, UnitResult(2, 0, 4, error="given up")))
    text, _ = Metrics(app.state.store, runner, lambda: RunnerState(True, 0.0, 3, 2)).text()
    found = samples(text.decode())
    kind = ("kind", "statistics")
    for result, count in {"done": 2, "given_up": 1, "retried": 1, "lost": 1, "stopped": 1}.items():
        assert found["swathe_units_total", kind, ("result", result)] == count
    assert found["swathe_features_delivered_total", kind] == 7
    assert found["swathe_features_failed_total", kind] == 5
    assert found["swathe_blocks_decoded_total", kind] == 15
    assert found["swathe_source_bytes_read_total", kind] == 3400
    assert found["swathe_processing_units_total", kind] == 0.75
    assert found["swathe_unit_seconds_total", kind, ("phase", "read")] == 1.5
    assert found["swathe_units_in_flight",] == 3
    assert found["swathe_worker_slots",] == 2


def test_metrics_say_when_the_job_store_is_away(make, tmp_path):
    app, http = make()
    break_store(app, tmp_path / "home" / "swathe.sqlite")
    found = samples(http.get("/metrics").text)
    assert found["swathe_job_store_up",] == 0
    assert not [name for name, *_ in found if name == "swathe_jobs"]


def test_metrics_can_be_switched_off(make):
    _, http = make(server={"metrics": False})
    assert http.get("/metrics").status_code == 404


# A job's log, plan and time left


def test_the_log_of_a_job(make):
    app, http = make()
    client, me = sign_in(app)
    job_id = make_job(app.state.store, client)
    app.state.store.log(job_id, "the worker was lost", level="warning", unit=7)
    lines = http.get(f"{BATCH}/{job_id}/log", headers=me).json()["data"]
    assert [line["number"] for line in lines] == sorted(line["number"] for line in lines)
    assert lines[0]["message"] == "CREATED"
    assert "unit" not in lines[0]
    last = lines[-1]
    assert (last["level"], last["message"], last["unit"]) == ("warning", "the worker was lost", 7)
    more = http.get(f"{BATCH}/{job_id}/log?after={lines[-2]['number']}", headers=me).json()["data"]
    assert more == [last]
    some = http.get(f"{BATCH}/{job_id}/log?count=1", headers=me).json()["data"]
    assert some == lines[:1]
    far = http.get(f"{BATCH}/{job_id}/log?after={10**30}", headers=me)
    assert far.status_code == 400, far.text
    assert "after" in far.json()["error"]["message"]


def test_the_log_is_the_projects_own(make):
    app, http = make()
    mine, _ = sign_in(app)
    _, other = sign_in(app)
    job_id = make_job(app.state.store, mine)
    assert http.get(f"{BATCH}/{job_id}/log").status_code == 401
    assert http.get(f"{BATCH}/{job_id}/log", headers=other).status_code == 404


def test_an_answer_has_plan_progress_and_time_left(make):
    app, http = make()
    client, me = sign_in(app)
    job_id = make_job(app.state.store, client)
    body = http.get(f"{BATCH}/{job_id}", headers=me).json()
    assert body["plan"] == REPORT
    assert isinstance(body["plan"]["blocks"], int)
    assert body["progress"] == {"features": 3, "featuresDone": 0, "featuresFailed": 0}
    assert body["estimatedSecondsLeft"] == pytest.approx(90.5)
    app.state.store.record_unit(job_id, UnitResult(0, 1, 1, 0.1, failures={2: "no"}))
    body = http.get(f"{BATCH}/{job_id}", headers=me).json()
    assert body["progress"] == {"features": 3, "featuresDone": 1, "featuresFailed": 1}
    assert 0 <= body["estimatedSecondsLeft"] < 30
    assert body["completionPercentage"] == 50
    listed = http.get(BATCH, headers=me).json()["data"][0]
    assert listed["plan"] == REPORT
    app.state.store.apply(job_id, Event.STOP)
    assert "estimatedSecondsLeft" not in http.get(f"{BATCH}/{job_id}", headers=me).json()


def test_a_job_without_a_plan_has_none(make):
    app, http = make()
    client, me = sign_in(app)
    job_id = make_job(app.state.store, client, report={})
    body = http.get(f"{BATCH}/{job_id}", headers=me).json()
    assert "plan" not in body
    assert "estimatedSecondsLeft" not in body


def test_stale_requests_are_deleted_at_the_start(used_home, tmp_path):
    shutil.copytree(used_home, tmp_path / "home")
    app = create_app(Settings(), tmp_path / "home", runs_jobs=False)
    client, _ = sign_in(app)
    store = app.state.store
    stale, fresh = make_job(store, client, start=False), make_job(store, client, start=False)
    folder = Path(tmp_path / "home" / "jobs" / stale)
    folder.mkdir(parents=True)
    with store.database.write() as connection:
        month_ago = to_text(datetime.now(UTC) - timedelta(days=31))
        connection.execute(update(jobs).where(jobs.c.id == stale).values(last_updated=month_ago))
    with TestClient(app):
        end = time.monotonic() + 180
        while folder.exists() and time.monotonic() < end:
            time.sleep(0.02)
        assert not folder.exists()
        with pytest.raises(NotFound):
            store.get(stale)
        assert store.get(fresh).state.status is Status.ANALYSIS_DONE
