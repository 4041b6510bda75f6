"""Users' own collections in the Catalog API: each project sees its own, by the store's index, newest first."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import shapely
from fastapi import FastAPI
from fastapi.testclient import TestClient

from swathe.jobs.byoc import ByocCollection, ByocCollections
from swathe.jobs.byoc_records import ByocTile, Ingested, TileStatus
from swathe.jobs.byoc_tiles import ByocTiles
from swathe.jobs.database import open_database
from swathe.model.byoc import ByocCollectionBody
from swathe.server import auth, catalog
from swathe.server.catalog_shelf import Shelf
from swathe.server.errors import add_error_handlers
from swathe.settings import Settings

PATH = catalog.PATHS[0]
START = datetime(2021, 5, 1, 10, tzinfo=UTC)
COUNT = 250


@pytest.fixture
def collections(tmp_path: Path) -> Iterator[ByocCollections]:
    database = open_database(tmp_path, None)
    yield ByocCollections(database)
    database.close()


@pytest.fixture
def tiles(collections: ByocCollections) -> ByocTiles:
    return ByocTiles(collections.database)


@pytest.fixture
def own(collections: ByocCollections, tiles: ByocTiles) -> ByocCollection:
    """One of `p` with 250 tiles, a day and a tenth of a degree apart, and one that waits."""
    band = {"source": "B1", "bitDepth": 8, "sampleFormat": "UINT"}
    body = {"name": "Drones", "s3Bucket": "flights", "additionalData": {"bands": {"red": band}}}
    made = collections.create("p", ByocCollectionBody.model_validate(body))
    tiles.add_ingested([_tile(made, number) for number in range(COUNT)])
    tiles.create(made.id, "p", "late/(BAND).tif", sensing_time=START + timedelta(days=900))
    return made


def _tile(collection: ByocCollection, number: int) -> tuple[ByocTile, Ingested]:
    west = 10 + number / 10
    box = (west, 45.0, west + 0.05, 45.05)
    grid = [32633, [10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0], 100, 100]
    body = {
        "epsg": 32633,
        "footprint": shapely.geometry.mapping(shapely.box(*box)),
        "files": {"B1": {"key": f"t{number}/B1.tif", "grid": grid, "dtype": "uint8", "bands": 1, "nodata": None}},
    }
    name = str(uuid.UUID(int=number))
    when = START + timedelta(days=number)
    return ByocTile(name, collection.id, f"t{number}/(BAND).tif", TileStatus.INGESTED, START, when), Ingested(box, body)


@pytest.fixture
def http(collections: ByocCollections, tiles: ByocTiles) -> Iterator[httpx.Client]:
    app = FastAPI(docs_url=None)
    app.state.settings = Settings()
    app.state.shelf = Shelf(app.state.settings, collections, tiles)
    app.include_router(catalog.router, prefix=PATH)
    add_error_handlers(app)
    app.state.project = "p"
    app.dependency_overrides[auth.current_client] = lambda: SimpleNamespace(id="me", project_id=app.state.project)
    with TestClient(app) as client:
        yield client


def _numbers(page: httpx.Response) -> list[int]:
    assert page.status_code == 200, page.text
    return [uuid.UUID(item["id"]).int for item in page.json()["features"]]


def test_a_collection_of_ones_own_is_described_as_clients_read_it(http: httpx.Client, own: ByocCollection) -> None:
    (listed,) = http.get(f"{PATH}/collections").json()["collections"]
    assert listed == http.get(f"{PATH}/collections/BATCH-{own.id}").json()
    assert (listed["id"], listed["title"]) == (f"byoc-{own.id}", "Drones")
    assert listed["summaries"]["eo:bands"] == [{"name": "red"}]
    assert listed["summaries"]["raster:bands"] == [{"data_type": "uint8"}]
    assert listed["extent"]["spatial"]["bbox"] == [pytest.approx([10.0, 45.0, 34.95, 45.05])]
    assert listed["extent"]["temporal"]["interval"] == [["2021-05-01T10:00:00Z", "2023-10-18T10:00:00Z"]]


def test_an_item_names_its_files_in_the_bucket(http: httpx.Client, own: ByocCollection) -> None:
    item = http.get(f"{PATH}/collections/byoc-{own.id}/items/{uuid.UUID(int=7)}").json()
    assert item["properties"]["datetime"] == "2021-05-08T10:00:00Z"
    assert item["assets"]["B1"]["href"] == "s3://flights/t7/B1.tif"
    assert item["collection"] == f"byoc-{own.id}"


def test_pages_go_through_all_tiles_newest_first(http: httpx.Client, own: ByocCollection) -> None:
    body = {"collections": [f"byoc-{own.id}"], "limit": 100}
    found = [_numbers(http.post(f"{PATH}/search", json={**body, "next": first})) for first in (0, 100, 200, 300)]
    assert [number for page in found for number in page] == list(reversed(range(COUNT)))
    assert [len(page) for page in found] == [100, 100, 50, 0]


def test_searches_by_place_time_id_and_filter(http: httpx.Client, own: ByocCollection) -> None:
    def search(**body: object) -> list[int]:
        return _numbers(http.post(f"{PATH}/search", json={"collections": [f"byoc-{own.id}"], **body}))

    assert search(bbox=[10.22, 45, 10.41, 45.1]) == [4, 3, 2]
    assert search(intersects={"type": "Point", "coordinates": [10.22, 45.01]}) == [2]
    assert search(datetime="2021-05-02T10:00:00Z/2021-05-03T10:00:00Z") == [2, 1]
    assert search(ids=[str(uuid.UUID(int=9)), str(uuid.UUID(int=3)), "none"]) == [9, 3]
    assert search(ids=[str(uuid.UUID(int=9))], datetime="../2021-05-02T10:00:00Z") == []
    assert search(filter="datetime < TIMESTAMP('2021-05-03T00:00:00Z')") == [1, 0]


def test_what_is_another_projects_is_not_there(http: httpx.Client, own: ByocCollection) -> None:
    http.app.state.project = "other"  # type: ignore[attr-defined]
    assert http.get(f"{PATH}/collections").json()["collections"] == []
    for path in ("", "/items", f"/items/{uuid.UUID(int=7)}", "/queryables"):
        assert http.get(f"{PATH}/collections/byoc-{own.id}{path}").status_code == 404
    assert http.post(f"{PATH}/search", json={"collections": [f"byoc-{own.id}"]}).status_code == 400
    assert f"byoc-{own.id}" not in http.get(PATH).text
