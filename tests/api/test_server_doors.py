"""Hostile requests: none of them has the server ask an address, or say anything of a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from builders import make_request
from servers import WatchedSite, watched_site
from swathe.server.app import create_app
from swathe.settings import Settings

STATISTICS, BATCH = "/api/v1/statistics/batch", "/api/v2/batch/process"
ASYNC, BYOC = "/api/v1/process/async", "/api/v1/byoc/collections"
SECRET = "what-only-the-operator-may-read"
MINE = {"accessKey": "AK", "secretAccessKey": "SK"}
SCRIPT = """//VERSION=3
function setup() { return {input: ["B04"], output: {bands: 1}} }
function evaluatePixel(s) { return [s.B04] }
"""


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedSite]:
    """The deployment's store, or a service of its network: what it is asked is counted."""
    folder = tmp_path_factory.mktemp("canary")
    (folder / "latest").write_text(SECRET)
    with watched_site(folder) as running:
        yield running


@pytest.fixture(scope="module")
def http(canary: WatchedSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("app")
    (folder / "secret").write_text(SECRET)
    settings = Settings.model_validate(
        {
            "storage": {
                "endpoint_url": canary.url,
                "access_key": "own",
                "secret_access_key": SECRET,
                "buckets": ["team-*"],
                "retries": 0,
                "patience_s": 0,
            },
            "collections": [{"type": "sentinel-2-l2a", "source": str(folder)}],
            "services": {"processes": 1, "threads": 1},
        }
    )
    app = create_app(settings, folder / "home", runs_jobs=False)
    with TestClient(app, raise_server_exceptions=False) as http:
        client, _ = app.state.clients.create("me", project_id="mine")
        http.headers["Authorization"] = f"Bearer {app.state.tokens.issue(client)}"
        yield http


@pytest.fixture
def unasked(canary: WatchedSite) -> Iterator[WatchedSite]:
    """The canary, which is not to be asked anything by a test."""
    del canary.requests[:]
    yield canary
    assert canary.requests == []


def addresses(canary: WatchedSite) -> list[str]:
    return [
        f"{canary.url}/latest",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        "/etc/passwd",
        "/vsicurl/http://127.0.0.1/latest",
        "s3:///etc/passwd",
        "s3://../../etc/passwd",
        "s3://team-a/../../etc/passwd",
        "s3://team-a//etc/passwd",
        "s3://team-a:80@127.0.0.1/x",
        "s3://team-a%2f..%2f/x",
        "s3://team-a\n/x",
        "s3://team-a?x=/y",
    ]


def statistics_body(features: dict[str, Any], output: dict[str, Any]) -> dict[str, Any]:
    body = make_request()
    body["input"]["features"] = {"s3": features}
    body["output"] = {"s3": output}
    return body


def raster_body(delivery: dict[str, Any], features: dict[str, Any] | None = None) -> dict[str, Any]:
    area = {"bbox": [13.0, 46.0, 13.1, 46.1]}
    source: dict[str, Any] = {"type": "tiling-grid", "id": 1, "resolution": 10}
    if features is not None:
        source = {"type": "geopackage", "features": {"s3": features}}
    rendered = {"input": {"bounds": area, "data": [{"type": "S2L2A"}]}, "evalscript": SCRIPT}
    if features is not None:
        del rendered["input"]["bounds"]
    return {"processRequest": rendered, "input": source, "output": {"type": "raster", "delivery": {"s3": delivery}}}


def async_body(delivery: dict[str, Any], reference: dict[str, Any] | None = None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "input": {"bounds": {"bbox": [13.0, 46.0, 13.1, 46.1]}, "data": [{"type": "S2L2A"}]},
        "output": {"width": 10, "height": 10, "delivery": {"s3": delivery}},
    }
    return {**body, **({"evalscript": SCRIPT} if reference is None else {"evalscriptReference": {"s3": reference}})}


def forms(place: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Every place of a request that takes an address, with this one in it."""
    fine = {"url": "s3://team-a/fine", **MINE}
    return [
        (STATISTICS, statistics_body(place, fine)),
        (STATISTICS, statistics_body(fine, place)),
        (BATCH, raster_body(place)),
        (BATCH, raster_body(fine, place)),
        (ASYNC, async_body(place)),
        (ASYNC, async_body(fine, place)),
    ]


def refused(http: TestClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = http.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert answer.status_code == 400, (path, body, answer.text)
    assert SECRET not in answer.text
    assert "root:" not in answer.text
    return answer.json()["error"]


def test_no_request_names_an_address_of_the_users_choosing(http: TestClient, unasked: WatchedSite) -> None:
    for address in addresses(unasked):
        for keys in ({}, MINE):
            for number, (path, body) in enumerate(forms({"url": address, **keys})):
                # what is wrong with the keys of results is found when the place is tried, before any work
                if number in (0, 3, 5) or not address.startswith("s3://team-a/"):
                    refused(http, path, body)


@pytest.mark.parametrize("extra", [{"endpoint": 1}, {"endpointUrl": 1}, {"endpoint_url": 1}])
def test_an_endpoint_of_ones_own_is_not_kept(http: TestClient, unasked: WatchedSite, extra: dict[str, Any]) -> None:
    place = {"url": "s3://team-a/x", **dict.fromkeys(extra, f"{unasked.url}/latest")}
    answer = http.post(STATISTICS, json=statistics_body(place, place))
    assert answer.status_code == 201
    assert unasked.url not in answer.text


@pytest.mark.parametrize("region", ["x.evil.example/", "127.0.0.1:80/#", "a\r\nX-Evil: 1"])
def test_a_region_is_no_part_of_an_address(http: TestClient, unasked: WatchedSite, region: str) -> None:
    for path, body in forms({"url": "s3://team-a/x", **MINE, "region": region}):
        assert "region" in refused(http, path, body)["message"]


def test_without_keys_only_listed_buckets_may_be_named(http: TestClient, unasked: WatchedSite) -> None:
    for path, body in forms({"url": "s3://private/x"}):
        error = refused(http, path, body)
        assert "storage.buckets" in error["message"]
        assert error["errors"]["parameter"].endswith("s3->url")
    error = refused(http, BYOC, {"name": "theirs", "s3Bucket": "private"})
    assert error["errors"]["parameter"] == "s3Bucket"
    for place in ({"url": "s3://team-a/x"}, {"url": "s3://private/x", **MINE}):
        answer = http.post(STATISTICS, json=statistics_body(place, place))
        assert answer.status_code == 201, answer.text
        assert http.post(BATCH, json=raster_body(place)).status_code == 201
    # with keys of one's own results may go anywhere, but a collection of them would be read without
    body = raster_body({"url": "s3://private/x", **MINE})
    body["output"] |= {"createCollection": True, "cogOutput": True}
    body["processRequest"]["output"] = {"responses": [{"identifier": "default", "format": {"type": "image/tiff"}}]}
    assert "A collection has no keys of its own: The bucket 'private'" in refused(http, BATCH, body)["message"]
    made = http.post(BYOC, json={"name": "ours", "s3Bucket": "team-b"})
    assert made.status_code == 201
    changed = {"name": "ours", "s3Bucket": "private"}
    assert http.put(f"{BYOC}/{made.json()['data']['id']}", json=changed).status_code == 400


@pytest.mark.parametrize(
    "crs",
    ["http://127.0.0.1:9/latest", "file:///etc/passwd", "+proj=utm +nadgrids=/etc/passwd", "/etc/passwd", "EPSG:x"],
)
def test_a_crs_is_a_name_and_is_not_looked_up(http: TestClient, unasked: WatchedSite, crs: str) -> None:
    for name in (crs, f"{unasked.url}/latest"):
        body = async_body({"url": "s3://team-a/x"})
        body["input"]["bounds"]["properties"] = {"crs": name}
        refused(http, ASYNC, body)
        del body["output"]["delivery"]
        refused(http, "/api/v1/process", body)


def test_a_collection_is_one_that_is_configured(http: TestClient, unasked: WatchedSite) -> None:
    for name in (f"{unasked.url}/latest", "byoc-../../etc", "/etc/passwd", "file:///etc/passwd"):
        body = async_body({"url": "s3://team-a/x"})
        body["input"]["data"][0]["type"] = name
        refused(http, ASYNC, body)


@pytest.mark.parametrize(
    "script",
    [
        "fetch('URL')", "new XMLHttpRequest()", "require('fs')", "import('URL')", "importScripts('URL')",
        "process.env", "Deno.readTextFileSync('/etc/passwd')", "new WebSocket('URL')",
    ],
)  # fmt: skip
def test_a_script_reaches_nothing(http: TestClient, unasked: WatchedSite, script: str) -> None:
    body = async_body({"url": "s3://team-a/x"})
    del body["output"]["delivery"]
    body["evalscript"] = script.replace("URL", f"{unasked.url}/latest") + ";\n" + SCRIPT
    answer = http.post("/api/v1/process", json=body)
    assert answer.status_code in (200, 400), answer.text  # import() is a promise that nothing fulfils
    assert b"root:" not in answer.content
