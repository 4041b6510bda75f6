"""The published package's Async Process requests, unchanged, against a running server that is also killed."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import rasterio
import sentinelhub
from sentinelhub import CRS, AsyncProcessRequest, BBox, DataCollection, MimeType
from sentinelhub.api.process import get_async_running_status

from builders import make_catalog, make_scene
from serving import Serving, write_config

pytestmark = pytest.mark.xdist_group("http")

LEFT, TOP = 500_000, 5_100_000
VALUES = (1 + np.arange(256)[:, None] + np.arange(256)).astype(np.uint16)
BOX = BBox((LEFT, TOP - 2560, LEFT + 2560, TOP), CRS("32633"))
SECRET = "a-well-hidden-key"
SCRIPT = """//VERSION=3
function setup() {
  return {input: [{bands: ["B04"], units: "DN"}], output: [{id: "default", bands: 1, sampleType: "UINT16"}]}
}
function evaluatePixel(s) { WHAT; return [s.B04] }
"""
SLOW = "let x = 1; for (let i = 0; i < 2500; i++) { x = (x * 3 + i) & 1023 } if (x < 0) return [0]"


class Place:
    """Where servers start, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.buckets = folder, folder / "buckets"
        scene = make_scene(
            folder / "scenes", "S1", "2020-06-01T10:00:00Z", {"B04": VALUES, "B08": VALUES}, origin=(LEFT, TOP)
        )
        catalog = make_catalog(folder / "scenes", [scene])
        (self.buckets / "out").mkdir(parents=True)
        (self.buckets / "in").mkdir()
        lines = ["[storage]", f'local_root = "{self.buckets}"', "[services]", "processes = 1", "threads = 1"]
        self.config = write_config(folder / "config.toml", catalog, *lines, "[limits]", "async_image_px = 700")

    def serve(self) -> Serving:
        return Serving(self.folder / "home", config=self.config)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("async"))


@pytest.fixture(scope="module")
def server(place: Place) -> Iterator[Serving]:
    with place.serve() as running:
        yield running


@pytest.fixture
def config(server: Serving, monkeypatch: pytest.MonkeyPatch) -> sentinelhub.SHConfig:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    made = server.client("published")
    config = sentinelhub.SHConfig(use_defaults=True)
    config.sh_client_id, config.sh_client_secret = made["client_id"], made["client_secret"]
    config.sh_base_url, config.sh_token_url = server.url, f"{server.url}/oauth/token"
    return config


def send(config: sentinelhub.SHConfig, **how: Any) -> str:
    """The id of a request; a script must be among `how`."""
    collection = DataCollection.SENTINEL2_L2A.define_from(
        f"ASYNC_AT_{config.sh_base_url}", service_url=config.sh_base_url
    )
    delivery = AsyncProcessRequest.s3_specification("s3://out/async", access_key="a-key", secret_access_key=SECRET)
    request = AsyncProcessRequest(
        input_data=[AsyncProcessRequest.input_data(collection, time_interval=("2020-06-01", "2020-06-30"))],
        responses=[AsyncProcessRequest.output_response("default", MimeType.TIFF)],
        bbox=BOX,
        config=config,
        **({"delivery": delivery, "size": (256, 256)} | how),
    )
    (answer,) = request.get_data()
    assert answer["status"] == "RUNNING"
    return str(answer["id"])


def wait(config: sentinelhub.SHConfig, *ids: str) -> None:
    end = time.monotonic() + 180
    while any(get_async_running_status(ids, config).values()):
        assert time.monotonic() < end
        time.sleep(0.1)


def body(url: str = "s3://out/direct", script: str = SCRIPT, **change: Any) -> dict[str, Any]:
    return {
        "input": {"bounds": {"bbox": list(BOX), "properties": {"crs": "EPSG:32633"}}, "data": [{"type": "S2L2A"}]},
        "output": {
            "responses": [{"format": {"type": "image/tiff"}}],
            "delivery": {"s3": {"url": url, "accessKey": "a-key", "secretAccessKey": SECRET}},
            "width": 256,
            "height": 256,
        }
        | change,
        "evalscript": script,
    }


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        found: np.ndarray = file.read(1)
        return found


def test_an_image_is_delivered_and_then_the_request_is_gone(
    place: Place, server: Serving, config: sentinelhub.SHConfig
) -> None:
    (place.buckets / "in" / "script.js").write_text(SCRIPT.replace("WHAT", ""))
    reference = AsyncProcessRequest.s3_specification("s3://in/script.js", access_key="a", secret_access_key=SECRET)
    ids = [send(config, evalscript=SCRIPT.replace("WHAT", "")), send(config, evalscript_reference=reference)]
    wait(config, *ids)
    for one in ids:
        folder = place.buckets / "out/async" / one
        assert [path.name for path in folder.iterdir()] == ["default.tif"]
        np.testing.assert_array_equal(read(folder / "default.tif"), VALUES)
    assert SECRET not in server.log.read_text()
    assert not [path for path in (place.folder / "home").rglob("*") if _holds(path, SECRET)]


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and text.encode() in path.read_bytes()


def test_a_failure_lies_where_the_image_would(place: Place, config: sentinelhub.SHConfig) -> None:
    one = send(config, evalscript=SCRIPT.replace("WHAT", "null.x"))
    wait(config, one)
    (path,) = (place.buckets / "out/async" / one).iterdir()
    assert path.name == "error.json"
    error = json.loads(path.read_text())["error"]
    assert (error["code"], error["status"]) == ("RENDERER_EXCEPTION", 400)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (body(width=701), "701 pixels; at most 700"),
        (body("s3://out/<ID>/<OUTPUT>"), "<ID> is no placeholder"),
        (body("s3://out/<REQUEST_ID>"), "must hold <OUTPUT>"),
        (body("s3://<REQUEST_ID>/<OUTPUT>"), "not into the bucket"),
        (body(script="//VERSION=3\nthrow 1"), "//VERSION"),
        (body(delivery=None), "output->delivery"),
        (body(responses=[{"identifier": "other"}]), "'other' is no output"),
        (body() | {"evalscript": None, "evalscriptReference": {"s3": {"url": "s3://in/none.js"}}}, "none.js"),
    ],
)
def test_what_can_be_known_is_told_at_once(server: Serving, wanted: dict[str, Any], message: str) -> None:
    with closing(server.session(server.client("wrong"))) as http:
        answer = http.post("/async/v1/process", json=wanted)
    assert answer.status_code == 400, answer.text
    assert SECRET not in answer.text
    if message != "//VERSION":
        assert message in answer.json()["error"]["message"]


def test_requests_outlive_their_server_and_are_their_projects_own(place: Place, server: Serving) -> None:
    credentials, others = server.client("outlived"), server.client("other")
    with closing(server.session(credentials)) as http:
        wanted = body("s3://out/outlived/<REQUEST_ID>-<OUTPUT>", SCRIPT.replace("WHAT", SLOW))
        ids = [http.post("/api/v1/async/process", json=wanted).json()["id"] for _ in range(6)]
        *_, last = ids
        assert http.get(f"{server.url}//api/v1/async/process/{last}").json() == {"id": last, "status": "RUNNING"}
    server.kill()
    assert not server.left(10)
    results = [place.buckets / "out/outlived" / f"{one}-default.tif" for one in ids]
    assert not results[-1].exists()
    with place.serve() as again, closing(again.session(credentials)) as http:
        assert http.get(f"/async/v1/process/{last}").status_code == 200
        with closing(again.session(others)) as other:
            assert other.get(f"/async/v1/process/{last}").status_code == 404
        for one in ids:
            _wait_until_gone(http, one)
        code, seconds = again.end(signal.SIGTERM)
        assert (code, again.left(5)) == (0, [])
        assert seconds < 15
    for path in results:
        np.testing.assert_array_equal(read(path), VALUES)


def _wait_until_gone(http: httpx.Client, one: str) -> None:
    end = time.monotonic() + 90
    while http.get(f"/async/v1/process/{one}").status_code == 200:
        assert time.monotonic() < end
        time.sleep(0.2)
