"""Odd requests to Process and Statistical API: whatever they hold, the fault is the user's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from builders import make_catalog, make_request, make_scene
from engines import flat
from swathe.server.app import create_app
from swathe.settings import Settings

SCRIPT = """//VERSION=3
function setup() { return {input: ["B04"], output: {bands: 1}} }
function evaluatePixel(s) { return [s.B04] }"""
SQUARE = [[[15, 46], [15.001, 46], [15.001, 46.001], [15, 46]]]


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("odd")
    scene = make_scene(folder / "scenes", "S", "2020-06-01T10:00:00Z", {"B04": flat(1), "B08": flat(2)})
    settings = Settings.model_validate(
        {
            "collections": [{"type": "sentinel-2-l2a", "source": str(make_catalog(folder / "scenes", [scene]))}],
            "services": {"processes": 1, "threads": 1},
        }
    )
    app = create_app(settings, folder / "home", runs_jobs=False)
    with TestClient(app, raise_server_exceptions=False) as http:
        client, _ = app.state.clients.create("me")
        http.headers["Authorization"] = f"Bearer {app.state.tokens.issue(client)}"
        yield http


@pytest.mark.parametrize(
    "bounds",
    [
        {"bbox": [1e308, -1e308, -1e308, 1e308]},
        {"bbox": [0, 0, 1e-300, 1e-300]},
        {"bbox": [15, 46, 15, 46]},
        {"bbox": [170, 10, 200, 20]},
        {"bbox": [-1000, -1000, 1000, 1000]},
        {"bbox": [0, 0, 1, 1], "properties": {"crs": "EPSG:4979"}},
        {"bbox": [0, 0, 1, 1], "properties": {"crs": "EPSG:5773"}},
        {"bbox": [0, 0, 1, 1], "properties": {"crs": "EPSG:4978"}},
        {"bbox": [1e9, 1e9, 2e9, 2e9], "properties": {"crs": "EPSG:3857"}},
        {"bbox": [1e9, 1e9, 2e9, 2e9], "properties": {"crs": "EPSG:32633"}},
        {"bbox": "15,46,16,47"},
        {"bbox": [True, None, "a", {}]},
        {"geometry": {"type": "Polygon", "coordinates": [1]}},
        {"geometry": {"type": "Polygon", "coordinates": [[["a", "b"]]]}},
        {"geometry": {"type": "Polygon", "coordinates": [[[15, 46], [15.001, 46]]]}},
        {"geometry": {"type": "Polygon", "coordinates": [[]]}},
        {"geometry": {"type": "MultiPolygon", "coordinates": [[[]]]}},
        {"geometry": {"type": "MultiPolygon", "coordinates": SQUARE}},
        {"geometry": {"type": "Point", "coordinates": [15, 46]}},
        {"geometry": {"type": "Polygon", "coordinates": SQUARE, "crs": 5}},
        {"geometry": {"type": "Polygon", "coordinates": SQUARE, "crs": {"properties": "x"}}},
        {"geometry": {"type": "Polygon", "coordinates": SQUARE, "crs": {"properties": {"name": 7}}}},
        {
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[15, 46, 1], [15.001, 46, 2], [15.001, 46.001, 3], [15, 46, 1]]],
            }
        },
        {
            "bbox": [15, 46, 15.001, 46.001],
            "geometry": {"type": "Polygon", "coordinates": [[[1, 1], [2, 1], [2, 2], [1, 1]]]},
        },
    ],
)
def test_odd_areas(http: TestClient, bounds: dict[str, Any]) -> None:
    image = {"input": {"bounds": bounds, "data": [{"type": "sentinel-2-l2a"}]}, "evalscript": SCRIPT}
    answer = http.post("/api/v1/process", json=image)
    assert answer.status_code in (200, 400), answer.text
    statistics = make_request(width=8, height=8)
    statistics["input"]["bounds"] = bounds
    answer = http.post("/api/v1/statistics", json=statistics)
    assert answer.status_code in (200, 400), answer.text


@pytest.mark.parametrize(
    "output",
    [
        {"resx": 1e-300, "resy": 1e-300},
        {"resx": 1e300, "resy": 1e300},
        {"width": 1, "resy": 5},
        {"width": 10**30, "height": 1},
        {"width": 0},
        {"width": 2.5},
        {"responses": [{"identifier": "../../x", "format": {"type": "image/tiff"}}]},
        {"responses": [{"identifier": "default", "format": {"type": "image/svg"}}]},
        {"responses": [{"format": {"type": "image/jpeg", "quality": 101}}]},
        {"responses": [{}, {}]},
        {"responses": 5},
    ],
)
def test_odd_outputs(http: TestClient, output: dict[str, Any]) -> None:
    bounds = {"bbox": [15, 46.04, 15.001, 46.041]}
    image = {"input": {"bounds": bounds, "data": [{"type": "S2L2A"}]}, "output": output, "evalscript": SCRIPT}
    answer = http.post("/api/v1/process", json=image)
    assert answer.status_code in (200, 400), answer.text


def test_a_resolution_beyond_counting(http: TestClient) -> None:
    for resolution in (1e-300, 1e300):
        body = make_request(resx=resolution, resy=resolution)
        body["input"]["bounds"] = {"bbox": [15, 46.04, 15.001, 46.041]}
        assert http.post("/api/v1/statistics", json=body).status_code in (200, 400)


@pytest.mark.parametrize("where", ["/api/v1/process", "/api/v1/statistics", "/api/v1/async/process"])
def test_bodies_that_are_none(http: TestClient, where: str, tmp_path: Path) -> None:
    for content in (b"", b"[]", b"{", b'{"input": null}', b'{"input": {"data": []}}', b"\xff\xfe"):
        assert http.post(where, content=content, headers={"Content-Type": "application/json"}).status_code == 400
    assert http.post(where, content=b"x", headers={"Content-Type": "text/plain"}).status_code == 415
