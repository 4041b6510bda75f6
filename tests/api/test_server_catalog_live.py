"""The Catalog API over collections that are live STAC APIs, another Swathe's Catalog API among them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import SecretStr

from builders import make_catalog
from stac_server import Api, stac_server
from swathe.server import auth, catalog
from swathe.server.catalog_shelf import Shelf
from swathe.server.errors import add_error_handlers
from swathe.settings import CatalogSettings, CollectionSettings, Settings

PATH = catalog.PATHS[0]
COUNT = 250


def item(number: int) -> dict[str, Any]:
    ring = [[10.0, 0.0], [11.0, 0.0], [11.0, 1.0], [10.0, 1.0], [10.0, 0.0]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"S{number:03}",
        "collection": "sentinel-2-l2a",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [10.0, 0.0, 11.0, 1.0],
        "properties": {"datetime": f"2020-01-01T{number // 60:02}:{number % 60:02}:00Z", "eo:cloud_cover": number / 3},
        "assets": {"B04": {"href": "https://data.example/B04.tif?sig=secret", "type": "image/tiff", "roles": ["data"]}},
        "links": [],
    }


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with stac_server(tmp_path_factory.mktemp("api"), [item(number) for number in range(COUNT)]) as server:
        yield server


def serve(*entries: CollectionSettings, **searching: Any) -> FastAPI:
    made = FastAPI(docs_url=None)
    made.state.settings = Settings(collections=entries, catalog=CatalogSettings(page_items=50, **searching))
    made.state.shelf = Shelf(made.state.settings)
    made.include_router(catalog.router, prefix=PATH)
    add_error_handlers(made)
    made.dependency_overrides[auth.current_client] = lambda: SimpleNamespace(id="me", project_id="p")
    return made


@pytest.fixture
def http(api: Api) -> Iterator[httpx.Client]:
    api.behave()
    with TestClient(serve(CollectionSettings(type="sentinel-2-l2a", source=api.stac))) as client:
        yield client


def pages(http: httpx.Client, body: dict[str, Any], most: int = 100) -> list[list[str]]:
    """The ids of the pages of a search, as the links lead from one to the next."""
    found: list[list[str]] = []
    while len(found) < most:
        answer = http.post(f"{PATH}/search", json=body)
        assert answer.status_code == 200, answer.text
        found.append([one["id"] for one in answer.json()["features"]])
        link = next((link for link in answer.json()["links"] if link["rel"] == "next"), None)
        if link is None:
            break
        body = {**body, **link["body"]}
    return found


def test_a_page_of_items_asks_for_no_more_than_it_shows(api: Api, http: httpx.Client) -> None:
    body = {"collections": ["sentinel-2-l2a"], "bbox": [10.2, 0.2, 10.4, 0.4], "limit": 20}
    assert pages(http, body, most=1) == [[f"S{number:03}" for number in range(249, 229, -1)]]
    (search,) = api.asked("/search")
    assert search["body"]["bbox"] == [10.2, 0.2, 10.4, 0.4]
    _, second, third = pages(http, body, most=3)
    assert (second[0], third[-1]) == ("S229", "S190")
    assert len(api.asked("/search")) == 2  # 61 items of pages of 50
    found = http.get(f"{PATH}/search", params={"collections": "sentinel-2-l2a", "ids": "S007,S011"}).json()
    assert [one["id"] for one in found["features"]] == ["S011", "S007"]
    assert found["features"][0]["assets"]["B04"]["href"] == "https://data.example/B04.tif"
    assert http.get(f"{PATH}/collections/sentinel-2-l2a/items/S100").json()["id"] == "S100"


def test_all_pages_are_all_items_once(http: httpx.Client) -> None:
    found = [name for page in pages(http, {"collections": ["sentinel-2-l2a"], "limit": 100}) for name in page]
    assert found == [f"S{number:03}" for number in range(249, -1, -1)]
    some = pages(http, {"collections": ["sentinel-2-l2a"], "limit": 100, "filter": "eo:cloud_cover < 2"})
    assert some == [["S005", "S004", "S003", "S002", "S001", "S000"]]


def test_the_extent_is_what_the_api_says(http: httpx.Client) -> None:
    extent = http.get(f"{PATH}/collections/sentinel-2-l2a").json()["extent"]
    assert extent["spatial"]["bbox"] == [[0.0, 0.0, 60.0, 60.0]]
    assert extent["temporal"]["interval"] == [["2015-06-27T00:00:00Z", None]]


def test_a_catalog_that_is_away_is_503_and_says_which(api: Api) -> None:
    api.behave(refusals=[[503, None]])
    entry = CollectionSettings(type="sentinel-2-l2a", source=api.stac)
    with TestClient(serve(entry, patience_s=0.0)) as client:
        answer = client.post(f"{PATH}/search", json={"collections": ["sentinel-2-l2a"]})
        assert answer.status_code == 503
        assert "The catalog of collection 'sentinel-2-l2a'" in answer.json()["description"]
        assert pages(client, {"collections": ["sentinel-2-l2a"]}, most=1)[0][0] == "S249"  # the failure is not kept


def test_another_swathe_is_a_catalog_too(tmp_path: Path) -> None:
    import threading

    source = make_catalog(tmp_path, [item(number) for number in range(COUNT)])
    config = uvicorn.Config(
        serve(CollectionSettings(type="sentinel-2-l2a", source=str(source))), port=0, log_level="error"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        entry = CollectionSettings(
            type="sentinel-2-l2a",
            source=f"http://127.0.0.1:{port}{PATH}",
            headers={"Authorization": SecretStr("Bearer x")},
        )
        with TestClient(serve(entry)) as client:
            found = [name for page in pages(client, {"collections": ["sentinel-2-l2a"], "limit": 100}) for name in page]
            assert found == [f"S{number:03}" for number in range(249, -1, -1)]
            assert (
                client.get(f"{PATH}/collections/sentinel-2-l2a/items/S100").json()["properties"]["eo:cloud_cover"] > 33
            )
    finally:
        server.should_exit = True
        thread.join()
