"""Process and Statistical API over HTTP: forms of requests and answers, limits, costs, errors."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator
from concurrent.futures import Future
from email import message_from_bytes
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import rasterio
import shapely
from fastapi import FastAPI
from fastapi.testclient import TestClient

from builders import make_catalog, make_request, make_scene
from engines import LEFT, TOP
from swathe.jobs.workshop import TooManyRequests
from swathe.server.app import create_app
from swathe.settings import Settings

PROCESS, PROCESS_NEW = "/api/v1/process", "/process/v1"
STATISTICS, STATISTICS_NEW = "/api/v1/statistics", "/statistics/v1"
COST = "X-ProcessingUnits-Spent"
SCRIPT = """//VERSION=3
function setup() {
  return {
    input: [{bands: ["B04", "dataMask"], units: "DN"}],
    output: [{id: "default", bands: 1, sampleType: "UINT8"}, {id: "real", bands: 1, sampleType: "FLOAT32"}]
  }
}
function evaluatePixel(s) { return {default: [s.B04], real: [s.B04]} }
"""
VALUES = (1 + np.arange(64)[:, None] + np.arange(64)).astype(np.uint16)
BBOX = [LEFT, TOP - 640, LEFT + 640, TOP]
UTM = {"crs": "http://www.opengis.net/def/crs/EPSG/0/32633"}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    folder = tmp_path_factory.mktemp("app")
    items = [
        make_scene(folder / "scenes", f"S{day}", f"2020-06-0{day}T10:00:00Z", {"B04": VALUES, "B08": VALUES * 2})
        for day in (1, 2)
    ]
    settings = Settings.model_validate(
        {
            "collections": [{"type": "sentinel-2-l2a", "source": str(make_catalog(folder / "scenes", items))}],
            "services": {"processes": 1, "threads": 2},
            "limits": {"image_px": 500},
        }
    )
    return create_app(settings, folder / "home", runs_jobs=False)


@pytest.fixture(scope="module")
def http(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as http:
        client, _ = app.state.clients.create("me", project_id="mine")
        http.headers["Authorization"] = f"Bearer {app.state.tokens.issue(client)}"
        yield http


def image_body(*responses: str, script: str = SCRIPT, **change: Any) -> dict[str, Any]:
    """A request of 64 x 64 pixels; `responses` are of the form `identifier=type`."""
    pairs = [response.split("=") for response in responses]
    body: dict[str, Any] = {
        "input": {"bounds": {"bbox": BBOX, "properties": UTM}, "data": [{"type": "S2L2A"}]},
        "output": {
            "width": 64,
            "height": 64,
            "responses": [{"identifier": name, "format": {"type": kind}} for name, kind in pairs],
        },
        "evalscript": script,
    }
    return changed(body, change)


def statistics_body(**change: Any) -> dict[str, Any]:
    body = make_request(end="2020-06-04T00:00:00Z")
    body["input"]["bounds"] = {"bbox": BBOX, "properties": UTM}
    return changed(body, change)


def changed(body: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
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


def read(content: bytes) -> tuple[Any, np.ndarray]:
    with rasterio.MemoryFile(content) as memory, memory.open() as file:
        return file.profile, file.read()


def error_of(answer: httpx.Response, status: int = 400, code: str = "COMMON_BAD_PAYLOAD") -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert (error["status"], error["code"]) == (status, code)
    return error


@pytest.mark.parametrize("path", [PROCESS, PROCESS_NEW])
def test_a_tiff_has_its_place_and_a_cost(http: TestClient, path: str) -> None:
    answer = http.post(path, json=image_body("real=image/tiff"))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/tiff"), answer.text
    assert int(answer.headers["content-length"]) == len(answer.content)
    profile, values = read(answer.content)
    assert (profile["crs"].to_epsg(), profile["transform"].a, profile["dtype"]) == (32633, 10.0, "float32")
    np.testing.assert_array_equal(values[0], VALUES)
    assert float(answer.headers[COST]) == pytest.approx(64 * 64 / 512**2 / 3, rel=0.2, abs=0.01)


def test_without_output_it_is_a_png_of_256_pixels(http: TestClient) -> None:
    answer = http.post(PROCESS, json=image_body(output=...))
    assert answer.headers["content-type"] == "image/png"
    profile, values = read(answer.content)
    assert (profile["width"], profile["height"]) == (256, 256)
    np.testing.assert_array_equal(values[0], VALUES.repeat(4, 0).repeat(4, 1))


@pytest.mark.parametrize(
    ("output", "size"),
    [
        ({"resx": 20, "resy": 40}, (32, 16)),
        ({"resx": 20}, (32, 32)),
        ({"width": 16}, (16, 16)),
        ({"height": 80}, (80, 80)),
        ({"resx": 10_000, "resy": 10_000}, (1, 1)),
    ],
)
def test_the_size_follows_from_what_is_said(http: TestClient, output: dict[str, Any], size: tuple[int, int]) -> None:
    profile, _ = read(http.post(PROCESS, json=image_body(output=output)).content)
    assert (profile["width"], profile["height"]) == size


def test_accept_wins_over_the_format_and_a_jpeg_has_its_quality(http: TestClient) -> None:
    sizes = []
    for quality in (1, 100):
        body = image_body("default=image/png")
        body["output"]["responses"][0]["format"]["quality"] = quality
        answer = http.post(PROCESS, json=body, headers={"Accept": "image/jpeg"})
        assert answer.headers["content-type"] == "image/jpeg"
        sizes.append(len(answer.content))
    assert sizes[0] < sizes[1]
    octets = http.post(PROCESS, json=image_body("real=image/tiff"), headers={"Accept": "application/octet-stream"})
    assert octets.headers["content-type"] == "application/octet-stream"
    assert read(octets.content)[0]["dtype"] == "float32"


def test_several_responses_as_tar_and_as_parts(http: TestClient) -> None:
    body = image_body("default=image/jpeg", "real=image/tiff", "userdata=application/json")
    names = ["default.jpg", "real.tif", "userdata.json"]
    for accept in ("application/x-tar", "application/tar"):
        answer = http.post(PROCESS, json=body, headers={"Accept": accept})
        assert answer.headers["content-type"] == accept
        with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
            assert archive.getnames() == names
            assert {(one.uname, one.uid) for one in archive.getmembers()} == {("", 0)}
            np.testing.assert_array_equal(read(archive.extractfile("real.tif").read())[1][0], VALUES)
            assert json.load(archive.extractfile("userdata.json")) == {}
    answer = http.post(PROCESS, json=body, headers={"Accept": "multipart/mixed"})
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n"
    parts = message_from_bytes(head.encode() + answer.content).get_payload()
    assert [part.get_filename() for part in parts] == names
    np.testing.assert_array_equal(read(parts[1].get_payload(decode=True))[1][0], VALUES)


def test_a_form_of_several_parts_is_taken(http: TestClient) -> None:
    body = json.dumps(image_body("real=image/tiff", evalscript=...))
    answer = http.post(PROCESS, files={"request": (None, body), "evalscript": (None, SCRIPT)})
    assert answer.status_code == 200, answer.text
    body = json.dumps(statistics_body())
    assert http.post(STATISTICS, files={"request": (None, body)}).status_code == 200


def test_longitude_and_latitude_without_a_crs(http: TestClient) -> None:
    place = {"bbox": [15.0001, 46.0501, 15.004, 46.053]}
    answer = http.post(PROCESS, json=image_body("default=image/tiff", input__bounds=place))
    profile, values = read(answer.content)
    assert profile["crs"].to_epsg() == 4326
    assert (profile["transform"].c, profile["transform"].f) == (15.0001, 46.053)
    assert values.any()


@pytest.mark.parametrize(
    ("change", "parameter", "message"),
    [
        ({"output__width": 501}, "output->width", "501 pixels; at most 500 are"),
        ({"output": {"resx": 10, "resy": 1}}, "output->resy", "640 pixels; at most 500 are"),
        ({"input__bounds": {}}, "input->bounds", "needs a bbox or a geometry"),
        ({"input__bounds__bbox": [0, 0, 0, 5]}, "input->bounds", "hold no area"),
        ({"input__bounds__bbox": [0, 0, 5]}, "input->bounds->bbox->3", "bbox"),
        ({"input__bounds__properties": {"crs": "EPSG:999999"}}, "input->bounds", "no coordinate reference system"),
        ({"input__bounds__properties": {"crs": "mine"}}, "input->bounds->properties->crs", "'mine' is not"),
        ({"input__data": [{"type": "S9"}]}, "input->data[0]->type", "S9"),
        ({"output__responses": [{"identifier": "x"}]}, "output->responses", "'x' is no output .* default, real"),
        ({"output__responses": [{"identifier": "real"}]}, "output->responses->real->format->type", "FLOAT32"),
        ({"output__responses": [{"identifier": "userdata"}]}, "output->responses", "must be application/json"),
        ({"evalscript": ""}, "evalscript", "evalscript"),
    ],
)
def test_what_is_wrong_with_an_image_is_told(
    http: TestClient, change: dict[str, Any], parameter: str, message: str
) -> None:
    error = error_of(http.post(PROCESS, json=image_body("default=image/png", **change)))
    assert error["errors"]["parameter"] == parameter
    assert re.search(message, error["message"]), error["message"]


@pytest.mark.parametrize(
    "script", ["//VERSION=3\nthrow new Error('sour')", "//VERSION=3\nfunction setup() {", "nonsense("]
)
def test_a_script_that_cannot_be_used_is_the_users_error(http: TestClient, script: str) -> None:
    error_of(http.post(PROCESS, json=image_body(script=script)), code="RENDERER_EXCEPTION")
    error_of(http.post(STATISTICS, json=statistics_body(aggregation__evalscript=script)), code="RENDERER_EXCEPTION")


@pytest.mark.parametrize("path", [STATISTICS, STATISTICS_NEW])
def test_statistics_of_a_box_and_of_what_a_geometry_shares_with_it(http: TestClient, path: str) -> None:
    answer = http.post(path, json=statistics_body(aggregation__evalscript=SCRIPT_OF_B04))
    assert answer.headers["content-type"] == "application/json"
    assert float(answer.headers[COST]) > 0
    found = answer.json()
    assert (found["status"], len(found["data"])) == ("OK", 2)
    stats = found["data"][0]["outputs"]["b04"]["bands"]["B0"]["stats"]
    assert (stats["sampleCount"], stats["mean"]) == (64 * 64, pytest.approx(VALUES.mean()))
    half = json.loads(shapely.to_geojson(shapely.box(LEFT + 320, TOP - 640, LEFT + 900, TOP)))
    body = statistics_body(aggregation__evalscript=SCRIPT_OF_B04, input__bounds__geometry=half)
    stats = http.post(path, json=body).json()["data"][0]["outputs"]["b04"]["bands"]["B0"]["stats"]
    assert (stats["sampleCount"], stats["mean"]) == (32 * 64, pytest.approx(VALUES[:, 32:].mean()))


SCRIPT_OF_B04 = """//VERSION=3
function setup() {
  return {input: [{bands: ["B04", "dataMask"], units: "DN"}],
          output: [{id: "b04", bands: 1, sampleType: "FLOAT32"}, {id: "dataMask", bands: 1}]}
}
function evaluatePixel(s) { return {b04: [s.B04], dataMask: [s.dataMask]} }
"""


def test_statistics_of_one_failed_interval_are_asked_for_again_by_that_interval(http: TestClient) -> None:
    script = SCRIPT_OF_B04.replace("function evaluatePixel(s) {", "function evaluatePixel(s) { null.x;")
    answer = http.post(STATISTICS, json=statistics_body(aggregation__evalscript=script))
    assert (answer.status_code, answer.json()["status"]) == (200, "FAILED")
    (first, _) = answer.json()["data"]
    assert first["error"]["type"] == "EXECUTION_ERROR"
    again = statistics_body(aggregation__timeRange=first["interval"])
    (only,) = http.post(STATISTICS, json=again).json()["data"]
    assert only["interval"] == first["interval"]


@pytest.mark.parametrize(
    ("change", "parameter", "message"),
    [
        ({"aggregation__resx": 1}, "aggregation->resx", "640 pixels; at most 500 are"),
        ({"input__bounds": {}}, "input->bounds", "needs a bbox or a geometry"),
        ({"input__bounds": ...}, "input->bounds", "is required"),
        ({"aggregation__aggregationInterval": {"of": "P1Y"}}, "aggregation->aggregationInterval", "No interval"),
        (
            {"aggregation__timeRange": {"from": "1900-01-01T00:00:00Z", "to": "2020-01-01T00:00:00Z"}},
            "aggregation->timeRange",
            "more than 20,000 intervals",
        ),
        (
            {"input__bounds__geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 1], [1, 0], [0, 0]]]}},
            "input->bounds->geometry",
            "no valid polygon",
        ),
    ],
)
def test_what_is_wrong_with_a_statistical_request_is_told(
    http: TestClient, change: dict[str, Any], parameter: str, message: str
) -> None:
    error = error_of(http.post(STATISTICS, json=statistics_body(**change)))
    assert error["errors"]["parameter"] == parameter
    assert message in error["message"]


def test_a_project_pays_and_is_refused_when_nothing_is_left(app: FastAPI, http: TestClient) -> None:
    before = app.state.store.budget("mine").spent_pu
    cost = sum(
        float(http.post(path, json=body).headers[COST])
        for path, body in ((PROCESS, image_body()), (STATISTICS, statistics_body()))
    )
    spent = app.state.store.budget("mine").spent_pu
    assert spent - before == pytest.approx(cost)
    app.state.store.set_budget("mine", spent / 2)
    try:
        for path, body in ((PROCESS, image_body()), (STATISTICS, statistics_body())):
            error_of(http.post(path, json=body), 403, "COMMON_INSUFFICIENT_PERMISSIONS")
    finally:
        app.state.store.set_budget("mine", None)


def test_a_full_queue_is_429_with_milliseconds(app: FastAPI, http: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Future[None]:
        raise TooManyRequests("51 requests are waiting")

    monkeypatch.setattr(app.state.workshop, "submit", full)
    for path, body in ((PROCESS, image_body()), (STATISTICS, statistics_body())):
        answer = http.post(path, json=body)
        error_of(answer, 429, "RATE_LIMIT_EXCEEDED")
        assert int(answer.headers["Retry-After"]) >= 100


def test_a_token_is_needed(http: TestClient) -> None:
    for path in (PROCESS, STATISTICS):
        error_of(http.post(path, json={}, headers={"Authorization": ""}), 401, "COMMON_UNAUTHORIZED")


def test_no_file_of_an_image_stays_behind(http: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert http.post(PROCESS, json=image_body("real=image/tiff")).status_code == 200
    error_of(http.post(PROCESS, json=image_body("x=image/tiff")))
    assert not list(tmp_path.iterdir())


def test_between_pixels_the_way_asked_for_decides(http: TestClient) -> None:
    found = {}
    for way in ("NEAREST", "BILINEAR", "BICUBIC"):
        body = image_body("real=image/tiff", output__width=128, output__height=128)
        body["input"]["data"][0]["processing"] = {"upsampling": way, "downsampling": way}
        answer = http.post(PROCESS, json=body)
        assert answer.status_code == 200, answer.text
        found[way] = read(answer.content)[1][0]
    np.testing.assert_array_equal(found["NEAREST"], VALUES.repeat(2, 0).repeat(2, 1))
    # values rise by 1 a pixel both ways, so between pixels they are where a plane through them is
    plane = 1 + (np.arange(128)[:, None] + np.arange(128)) / 2 - 0.5
    for way in ("BILINEAR", "BICUBIC"):
        np.testing.assert_allclose(found[way][8:-8, 8:-8], plane[8:-8, 8:-8], atol=1e-3)


FUSION = """//VERSION=3
function setup() {
  return {input: [{datasource: "old", bands: ["B04"], units: "DN"}, {datasource: "new", bands: ["B08"], units: "DN"}],
          output: [{id: "default", bands: 2, sampleType: "UINT16"}]}
}
function evaluatePixel(samples) { return [samples.old[0].B04, samples.new[0].B08] }
"""


def test_data_of_several_sources_come_together(http: TestClient) -> None:
    sources = [
        {"type": "sentinel-2-l2a", "id": name, "dataFilter": {"timeRange": {"from": f"2020-06-0{day}T00:00:00+00:00"}}}
        for name, day in (("new", 2), ("old", 1))
    ]
    answer = http.post(PROCESS, json=image_body("default=image/tiff", script=FUSION, input__data=sources))
    assert answer.status_code == 200, answer.text
    np.testing.assert_array_equal(read(answer.content)[1], [VALUES, VALUES * 2])
