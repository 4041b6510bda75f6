"""A server watched from outside: `swathe jobs` over HTTP and on the store, its log, `/metrics`, `/health/ready`."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from builders import make_request
from serving import BATCH, ENV, Serving, command, make_inputs, write_config

pytestmark = pytest.mark.xdist_group("serve")

SECRET = "hidden-secret-access-key"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched")
    catalog, geopackage = make_inputs(folder / "inputs")
    buckets = folder / "buckets"
    (buckets / "in").mkdir(parents=True)
    (buckets / "in" / "parcels.gpkg").write_bytes(geopackage.read_bytes())
    lines = ["[storage]", f'local_root = "{buckets}"', "[server]", 'log_format = "json"']
    with Serving(folder / "home", config=write_config(folder / "config.toml", catalog, *lines)) as server:
        server.credentials = server.client("watcher")
        yield server


def make_job(server) -> str:
    keys = {"accessKey": "AKIAHIDDEN", "secretAccessKey": SECRET}
    body = make_request()
    body["input"]["features"] = {"s3": {"url": "s3://in/parcels.gpkg", **keys}}
    body["output"] = {"s3": {"url": "s3://out/results", **keys}}
    job_id: str = server.session(server.credentials).post(BATCH, json=body).json()["id"]
    return job_id


def jobs(server, *arguments: str, over_http: bool) -> subprocess.CompletedProcess[str]:
    names = {"client_id": "SWATHE_CLIENT_ID", "client_secret": "SWATHE_CLIENT_SECRET"}
    secrets = {names[key]: value for key, value in server.credentials.items()}
    place = ["--url", server.url] if over_http else ["--home", str(server.home)]
    return subprocess.run(
        command("jobs", *arguments, *place), env={**ENV, **secrets}, capture_output=True, text=True, timeout=180
    )


def metrics(server) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(httpx.get(f"{server.url}/metrics").text)
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_a_job_from_start_to_end(server):
    job_id = make_job(server)
    before = metrics(server)
    started = jobs(server, "start", job_id[:13], over_http=True)
    assert (started.returncode, started.stdout) == (0, f"{job_id}  START: ANALYSING\n"), started.stderr
    watched = jobs(server, "watch", job_id[:13], "--json", "--interval", "0.2", over_http=True)
    assert watched.returncode == 0, watched.stderr
    lines = [json.loads(line) for line in watched.stdout.splitlines()]
    assert lines[-1]["status"] == "DONE"
    assert lines[-1]["progress"] == {"features": 30, "featuresDone": 30, "featuresFailed": 0}
    percents = [line["completionPercentage"] for line in lines]
    assert percents == sorted(percents)
    shown = json.loads(jobs(server, "show", job_id, "--json", over_http=True).stdout)
    assert (shown["plan"]["features"], shown["plan"]["scenes"]) == (30, 3)
    assert json.loads(jobs(server, "show", job_id[:13], "--json", over_http=False).stdout) == shown
    listed = json.loads(jobs(server, "list", "--json", "--status", "DONE", over_http=True).stdout)
    assert job_id in [job["id"] for job in listed]
    log = jobs(server, "logs", job_id, over_http=True).stdout
    assert "UNITS_DONE: PROCESSING -> DONE" in log
    assert jobs(server, "logs", job_id, over_http=False).stdout == log
    grown = {key: value - before.get(key, 0) for key, value in metrics(server).items()}
    assert grown["swathe_features_delivered_total", "statistics"] == 30
    assert grown["swathe_units_total", "statistics", "done"] == shown["plan"]["units"]
    assert grown["swathe_blocks_decoded_total", "statistics"] == pytest.approx(shown["plan"]["blocks"], rel=0.1)
    assert grown["swathe_processing_units_total", "statistics"] == pytest.approx(shown["costPU"])
    assert grown["swathe_jobs", "statistics", "DONE"] == 1
    text = server.log.read_text()
    about = [line for line in map(json.loads, text.splitlines()) if line.get("job") == job_id]
    assert {line["level"] for line in about} == {"info"}
    assert SECRET not in text
    assert server.credentials["client_secret"] not in text


def test_ready_with_a_runner(server):
    answer = httpx.get(f"{server.url}/health/ready")
    assert answer.json()["parts"] == {"database": "ok", "storage": "ok", "runner": "ok"}
    assert answer.status_code == 200


def test_another_projects_jobs_are_not_seen(server):
    job_id = make_job(server)
    mine, server.credentials = server.credentials, server.client("stranger")
    try:
        done = jobs(server, "show", job_id, over_http=True)
    finally:
        server.credentials = mine
    assert done.returncode == 1
    assert job_id in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_that_is_not_there(tmp_path: Path):
    keys = {"SWATHE_CLIENT_ID": "a", "SWATHE_CLIENT_SECRET": "very-secret-text"}
    done = subprocess.run(
        command("jobs", "list", "--url", "http://127.0.0.1:9"),
        env={**os.environ, **ENV, **keys},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr
    assert "very-secret-text" not in done.stderr
    assert "Traceback" not in done.stderr
