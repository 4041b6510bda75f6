"""Rate limits over HTTP: what is counted, what is told, and the refusals, on a clock of the test's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from builders import make_catalog, make_request, make_scene
from engines import LEFT, TOP
from swathe.server.app import create_app
from swathe.server.rates import RateLimits
from swathe.settings import Settings

BATCH, CATALOG = "/api/v1/statistics/batch", "/api/v1/catalog/1.0.0"
STATISTICS, PROCESS = "/api/v1/statistics", "/api/v1/process"
COST = "x-processingunits-spent"
SCRIPT = """//VERSION=3
function setup() { return {input: ["B04"], output: {bands: 1}} }
function evaluatePixel(s) { return [s.B04] }
"""
BOUNDS = {
    "bbox": [LEFT, TOP - 640, LEFT + 640, TOP],
    "properties": {"crs": "http://www.opengis.net/def/crs/EPSG/0/32633"},
}
IMAGE = {
    "input": {"bounds": BOUNDS, "data": [{"type": "S2L2A"}]},
    "output": {"width": 64, "height": 64},
    "evalscript": SCRIPT,
}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    folder = tmp_path_factory.mktemp("app")
    values = np.full((64, 64), 7, np.uint16)
    scene = make_scene(folder / "scenes", "S", "2020-06-01T10:00:00Z", {"B04": values, "B08": values})
    settings = Settings.model_validate(
        {
            "collections": [{"type": "sentinel-2-l2a", "source": str(make_catalog(folder / "scenes", [scene]))}],
            "services": {"processes": 1, "threads": 1},
            "rate_limits": {"requests_per_minute": 6, "processing_units_per_minute": 0.001},
        }
    )
    return create_app(settings, folder / "home", runs_jobs=False)


@pytest.fixture(scope="module")
def server(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as server:
        yield server


@pytest.fixture
def clock(app: FastAPI, server: TestClient) -> Clock:
    """Time passes for the limits when a test says so. All buckets are full."""
    clock, rates = Clock(), app.state.rates
    fresh = RateLimits(app.state.settings.rate_limits, clock)
    rates.requests, rates.units = fresh.requests, fresh.units
    return clock


@pytest.fixture
def me(app: FastAPI, server: TestClient, clock: Clock) -> dict[str, str]:
    client, _ = app.state.clients.create("me")
    return {"Authorization": f"Bearer {app.state.tokens.issue(client)}"}


def refused(answer: httpx.Response) -> dict[str, Any]:
    """The error of a 429."""
    assert answer.status_code == 429, answer.text
    assert str(int(answer.headers["retry-after"])) == answer.headers["retry-after"]
    error = answer.json()["error"]
    assert (error["status"], error["reason"], error["code"]) == (429, "Too Many Requests", "RATE_LIMIT_EXCEEDED")
    return dict(error)


def test_requests_are_counted_down_refused_and_taken_again(
    server: TestClient, me: dict[str, str], clock: Clock
) -> None:
    paths = (BATCH, f"{CATALOG}/collections", "/api/v1/byoc/collections", "/api/v2/batch/process", BATCH, BATCH)
    answers = [server.get(path, headers=me) for path in paths]
    assert [answer.status_code for answer in answers] == [200] * 6
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == list("543210")
    assert not any("retry-after" in answer.headers for answer in answers)
    answer = server.get(BATCH, headers=me)
    assert "6 requests a minute" in refused(answer)["message"]
    assert (answer.headers["retry-after"], answer.headers["x-ratelimit-remaining"]) == ("10000", "0")
    assert json.loads(answer.headers["x-ratelimit-violatedpolicy"]) == {"samplingPeriod": "PT1M", "limit": 6}
    clock.now += 9.9
    assert server.get(BATCH, headers=me).headers["retry-after"] == "100"
    clock.now += 0.1
    assert server.get(BATCH, headers=me).status_code == 200


def test_catalog_refuses_in_its_own_shape(server: TestClient, me: dict[str, str]) -> None:
    answers = [server.get(f"{CATALOG}/collections", headers=me) for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 6 + [429]
    assert answers[6].json()["code"] == "429"
    assert answers[6].headers["retry-after"] == "10000"
    assert "x-ratelimit-violatedpolicy" in answers[6].headers


def test_clients_are_counted_apart_and_what_needs_no_client_is_not(
    app: FastAPI, server: TestClient, me: dict[str, str]
) -> None:
    for _ in range(7):
        answer = server.get(BATCH, headers=me)
    refused(answer)
    client, secret = app.state.clients.create("another")
    form = {"grant_type": "client_credentials", "client_id": client.id, "client_secret": secret}
    for _ in range(8):
        for path in ("/health", "/metrics", CATALOG, "/openapi.json", "/oauth/certs"):
            answer = server.get(path)
            assert (answer.status_code, "x-ratelimit-remaining" in answer.headers) == (200, False), path
        token = server.post("/oauth/token", data=form)
    other = server.get(BATCH, headers={"Authorization": f"Bearer {token.json()['access_token']}"})
    assert (other.status_code, other.headers["x-ratelimit-remaining"]) == (200, "5")


def test_browsers_may_read_the_headers(server: TestClient, me: dict[str, str]) -> None:
    answer = server.get(BATCH, headers={**me, "Origin": "https://maps.example"})
    exposed = answer.headers["access-control-expose-headers"].lower()
    for name in ("x-ratelimit-remaining", "x-ratelimit-violatedpolicy", "x-processingunits-remaining", "retry-after"):
        assert name in exposed


def test_routes_are_still_known_to_the_metrics(server: TestClient, me: dict[str, str]) -> None:
    server.get(f"{BATCH}/none", headers=me)
    assert f'route="{BATCH}/{{request_id}}"' in server.get("/metrics").text


def test_what_was_spent_waits_to_be_paid_off(server: TestClient, me: dict[str, str], clock: Clock) -> None:
    """A statistical and a process request of 64 x 64 pixels cost more than a minute's worth."""
    statistics = make_request(end="2020-06-04T00:00:00Z")
    statistics["input"]["bounds"] = BOUNDS
    for path, body in ((STATISTICS, statistics), (PROCESS, IMAGE)):
        answer = server.post(path, json=body, headers=me)
        assert answer.status_code == 200, answer.text
        cost = float(answer.headers[COST])
        assert cost > 0.001
        assert float(answer.headers["x-processingunits-remaining"]) == 0
        again = server.post(PROCESS, json=IMAGE, headers=me)
        assert "0.001 processing units a minute" in refused(again)["message"]
        assert again.headers["retry-after"] == again.headers["x-processingunits-retry-after"]
        assert int(again.headers["retry-after"]) == pytest.approx((cost - 0.001) * 60_000_000, abs=2)
        assert json.loads(again.headers["x-ratelimit-violatedpolicy"])["limit"] == 0.001
        assert again.headers["x-processingunits-remaining"] == "0"
        assert server.get(BATCH, headers=me).status_code == 200
        clock.now += int(again.headers["retry-after"]) / 1000 + 60
