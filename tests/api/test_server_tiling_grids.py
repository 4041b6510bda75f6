"""The tiling-grids resource: lists, pages, single grids, errors; both paths."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from swathe.server import auth, tiling_grids
from swathe.server.errors import add_error_handlers

BOTH = pytest.mark.parametrize("path", tiling_grids.PATHS)


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    app = FastAPI()
    app.state.settings = SimpleNamespace(server=SimpleNamespace(public_url="https://maps.example"))
    for path in tiling_grids.PATHS:
        app.include_router(tiling_grids.router, prefix=path)
    add_error_handlers(app)
    app.dependency_overrides[auth.current_client] = lambda: SimpleNamespace(id="me", project_id="p")
    with TestClient(app) as client:
        yield client


@BOTH
def test_all_grids_are_listed_on_one_page(http: httpx.Client, path: str) -> None:
    answer = http.get(path).json()
    assert [grid["id"] for grid in answer["data"]] == [0, 1, 2, 3, 6, 7]
    assert answer["data"][0] == {
        "id": 0,
        "name": "UTM 20km grid",
        "properties": {
            "tileWidth": 20040.0,
            "tileHeight": 20040.0,
            "resolutions": [10.0, 20.0, 30.0, 60.0],
            "unit": "METRE",
        },
    }
    assert answer["links"] == {"@id": f"https://maps.example{path}"}


@BOTH
def test_pages_follow_each_other_by_their_tokens(http: httpx.Client, path: str) -> None:
    found: list[Any] = []
    url = f"{path}?count=4"
    while url:
        page = http.get(url).json()
        found.append([grid["id"] for grid in page["data"]])
        url = page["links"].get("next", "").removeprefix("https://maps.example")
    assert found == [[0, 1, 2, 3], [6, 7]]


@BOTH
def test_a_single_grid_is_not_wrapped(http: httpx.Client, path: str) -> None:
    assert http.get(f"{path}/6").json()["name"] == "LAEA 100km grid"


@BOTH
@pytest.mark.parametrize("name", ["4", "1000", "first", "-1", "9" * 30])
def test_what_is_no_grid_is_not_found(http: httpx.Client, path: str, name: str) -> None:
    answer = http.get(f"{path}/{name}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "COMMON_NOT_FOUND"


@pytest.mark.parametrize("query", ["count=0", "count=many", "viewtoken=abc"])
def test_a_wrong_query_is_a_bad_request(http: httpx.Client, query: str) -> None:
    answer = http.get(f"{tiling_grids.PATHS[0]}?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "COMMON_BAD_PAYLOAD"
