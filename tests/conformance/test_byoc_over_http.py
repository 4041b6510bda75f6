"""The published package's BYOC flow, unchanged, against a running server, and the collections as data of requests."""

from __future__ import annotations

import datetime as dt
import json
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
import shapely
from sentinelhub.api.byoc import (
    ByocCollection,
    ByocCollectionAdditionalData,
    ByocCollectionBand,
    ByocTile,
    SentinelHubBYOC,
)

from builders import make_catalog, make_cog, make_geopackage, make_scene
from serving import Serving, write_config

pytestmark = pytest.mark.xdist_group("http")

BYOC = "/api/v1/byoc"
VALUES = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) + 1


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("byoc")
    buckets = folder / "buckets"
    for name in ("mine", "other", "out"):
        (buckets / name).mkdir(parents=True)
    scene = make_scene(folder / "scenes", "S1", "2020-06-01T10:00:00Z", {"B04": VALUES, "B08": VALUES})
    catalog = make_catalog(folder / "scenes", [scene])
    config = write_config(folder / "config.toml", catalog, "[storage]", f'local_root = "{buckets}"')
    with Serving(folder / "home", config=config) as running:
        running.buckets = buckets
        yield running


@pytest.fixture(scope="module")
def credentials(server: Serving) -> dict[str, str]:
    return server.client("published")


@pytest.fixture
def http(server: Serving, credentials: dict[str, str]) -> Iterator[httpx.Client]:
    session = server.session(credentials)
    yield session
    session.close()


@pytest.fixture
def byoc(server: Serving, credentials: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> SentinelHubBYOC:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    config = sentinelhub.SHConfig(use_defaults=True)
    config.sh_client_id, config.sh_client_secret = credentials["client_id"], credentials["client_secret"]
    config.sh_base_url, config.sh_token_url = server.url, f"{server.url}/oauth/token"
    return SentinelHubBYOC(config)


def ended(http: httpx.Client, collection_id: str, tile_id: str) -> dict[str, Any]:
    """A tile when its ingestion is over."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        tile = http.get(f"{BYOC}/collections/{collection_id}/tiles/{tile_id}").raise_for_status().json()["data"]
        if tile["status"] in ("INGESTED", "FAILED"):
            return tile
        time.sleep(0.1)
    raise AssertionError(tile)


def make_collection(http: httpx.Client, **body: Any) -> str:
    answer = http.post(f"{BYOC}/collections", json={"name": "mine", "s3Bucket": "mine", **body})
    assert answer.status_code == 201, answer.text
    return answer.json()["data"]["id"]


def make_tile(http: httpx.Client, collection_id: str, path: str, **body: Any) -> dict[str, Any]:
    answer = http.post(f"{BYOC}/collections/{collection_id}/tiles", json={"path": path, **body})
    assert answer.status_code == 201, answer.text
    return ended(http, collection_id, answer.json()["data"]["id"])


def test_published_client_keeps_collections_and_tiles(server, http, byoc):
    make_cog(server.buckets / "mine" / "flow" / "x_B1.tif", VALUES)
    made = byoc.create_collection(
        ByocCollection(
            name="of mine",
            s3_bucket="mine",
            additional_data=ByocCollectionAdditionalData(bands={"B1": ByocCollectionBand(bit_depth=16)}),
        )
    )
    collection = ByocCollection.from_dict(byoc.get_collection(made["id"]))
    assert (collection.name, collection.s3_bucket, list(collection.additional_data.bands)) == (
        "of mine",
        "mine",
        ["B1"],
    )
    collection.name = "renamed"
    byoc.update_collection(collection)
    assert [found["name"] for found in byoc.iter_collections() if found["id"] == made["id"]] == ["renamed"]
    assert list(byoc.iter_collections(search="no such name")) == []

    when = dt.datetime(2020, 6, 3, tzinfo=dt.UTC)
    tile = byoc.create_tile(made["id"], ByocTile(path="flow/x_(BAND)", sensing_time=when))
    assert tile["status"] in ("WAITING", "QUEUED", "INGESTING", "INGESTED")
    assert ended(http, made["id"], tile["id"])["status"] == "INGESTED"
    found = ByocTile.from_dict(byoc.get_tile(made["id"], tile["id"]))
    assert found.sensing_time == when
    assert found.tile_geometry.crs == sentinelhub.CRS("32633")
    assert found.tile_geometry.geometry.bounds == (500_000, 5_100_000 - 640, 500_640, 5_100_000)
    assert found.cover_geometry.geometry.equals(found.tile_geometry.geometry)
    found.sensing_time = when + dt.timedelta(days=1)
    byoc.update_tile(made["id"], found)
    again = byoc.get_tile(made["id"], tile["id"])
    assert (again["sensingTime"], again["status"]) == ("2020-06-04T00:00:00Z", "INGESTED")
    assert [one["id"] for one in byoc.iter_tiles(made["id"], sort="created:desc", path="flow/x_(BAND)")] == [tile["id"]]
    assert list(byoc.iter_tiles(made["id"], path="flow/y")) == []

    other = byoc.create_collection(ByocCollection(name="copy", s3_bucket="mine", additional_data=None))
    byoc.copy_tiles(made["id"], other["id"])
    assert [one["path"] for one in byoc.iter_tiles(other["id"])] == ["flow/x_(BAND)"]
    byoc.reingest_tile(made["id"], found)
    assert ended(http, made["id"], tile["id"])["status"] == "INGESTED"
    byoc.delete_tile(made["id"], tile["id"])
    assert list(byoc.iter_tiles(made["id"])) == []
    byoc.delete_collection(made["id"])
    assert http.get(f"{BYOC}/collections/{made['id']}").status_code == 404


def test_collection_without_bands_gets_those_of_its_first_tile(server, http):
    make_cog(server.buckets / "mine" / "found" / "a" / "red.tiff", VALUES.astype("f4"))
    make_cog(server.buckets / "mine" / "found" / "a" / "rest.tif", np.stack([VALUES, VALUES]).astype("i2"))
    collection_id = make_collection(http)
    tile = make_tile(http, collection_id, "found/a")
    assert tile["status"] == "INGESTED", tile
    made = http.get(f"{BYOC}/collections/{collection_id}").json()["data"]
    assert made["isConfigured"]
    bands = made["additionalData"]["bands"]
    assert {
        name: (band["source"], band["bandIndex"], band["bitDepth"], band["sampleFormat"])
        for name, band in bands.items()
    } == {
        "red": ("red", 1, 32, "FLOAT"),
        "rest": ("rest", 1, 16, "INT"),
        "rest2": ("rest", 2, 16, "INT"),
    }
    # what has tiles can be renamed, not extended
    renamed = {("rot" if name == "red" else name): band for name, band in bands.items()}
    body = {"name": "mine", "s3Bucket": "mine", "additionalData": {"bands": renamed}}
    assert http.put(f"{BYOC}/collections/{collection_id}", json=body).status_code == 204
    body["additionalData"]["bands"]["more"] = {"bitDepth": 8, "sampleFormat": "UINT"}
    assert http.put(f"{BYOC}/collections/{collection_id}", json=body).status_code == 400
    body = {"name": "mine", "s3Bucket": "other"}
    assert http.put(f"{BYOC}/collections/{collection_id}", json=body).status_code == 400


@pytest.mark.parametrize(
    ("path", "bands", "cause"),
    [
        ("bad/none", {"B1": {"bitDepth": 16, "sampleFormat": "UINT"}}, "no file bad/none/B1.tiff"),
        ("bad/here", {"B1": {"bitDepth": 8, "sampleFormat": "UINT"}}, "has uint16"),
        ("bad/here", {"B1": {"bitDepth": 16, "sampleFormat": "UINT", "bandIndex": 2}}, "number 2 of bad/here/B1.tif"),
        ("bad/here", {n: {"bitDepth": 16, "sampleFormat": "UINT"} for n in ("B1", "B2")}, "different coordinate"),
        ("bad/text", None, "is no raster"),
        ("bad/nothing", None, "no files bad/nothing/(BAND).tiff"),
    ],
)
def test_tile_that_does_not_fit_fails_with_the_cause(server, http, path, bands, cause):
    folder = server.buckets / "mine" / "bad"
    make_cog(folder / "here" / "B1.tif", VALUES)
    make_cog(folder / "here" / "B2.tif", VALUES, epsg=32634)
    (folder / "text").mkdir(exist_ok=True)
    (folder / "text" / "B1.tif").write_text("no image")
    collection_id = make_collection(http, **({} if bands is None else {"additionalData": {"bands": bands}}))
    tile = make_tile(http, collection_id, path)
    assert tile["status"] == "FAILED"
    assert cause in tile["additionalData"]["failedIngestionCause"]


def test_cover_is_taken_in_any_crs_and_given_back_in_that_of_the_tile(server, http):
    make_cog(server.buckets / "mine" / "cover" / "B1.tif", VALUES)
    collection_id = make_collection(http)
    ring = [[15.001, 46.048], [15.004, 46.048], [15.004, 46.051], [15.001, 46.051], [15.001, 46.048]]
    tile = make_tile(http, collection_id, "cover", coverGeometry={"type": "Polygon", "coordinates": [ring]})
    assert tile["status"] == "INGESTED", tile
    assert tile["coverGeometry"]["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32633"
    x, y = tile["coverGeometry"]["coordinates"][0][0]
    assert 500_000 < x < 500_100
    assert 5_099_000 < y < 5_100_000
    far = [[x + 10, y] for x, y in ring]
    url = f"{BYOC}/collections/{collection_id}/tiles/{tile['id']}"
    assert http.put(url, json={"coverGeometry": {"type": "Polygon", "coordinates": [far]}}).status_code == 204
    assert "outside" in ended(http, collection_id, tile["id"])["additionalData"]["failedIngestionCause"]


def test_cover_is_found_from_the_data_where_that_is_asked(server, http, byoc):
    values = np.zeros((64, 64), np.uint16)
    values[10:30, 5:40] = 9
    make_cog(server.buckets / "mine" / "found-cover" / "B1.tif", values)
    make_cog(server.buckets / "mine" / "no-data" / "B1.tif", np.zeros((64, 64), np.uint16))
    collection_id = make_collection(http)
    tile = byoc.create_tile(collection_id, ByocTile(path="found-cover", other_data={"coverFromData": True}))
    assert ended(http, collection_id, tile["id"])["status"] == "INGESTED"
    found = ByocTile.from_dict(byoc.get_tile(collection_id, tile["id"]))
    assert found.cover_geometry.geometry.equals(shapely.box(500_050, 5_099_700, 500_400, 5_099_900))
    assert found.tile_geometry.geometry.equals(shapely.box(500_000, 5_099_360, 500_640, 5_100_000))
    # put back as it was read it stays; without the wish it is the box again; and with it once more
    byoc.update_tile(collection_id, found)
    assert byoc.get_tile(collection_id, tile["id"])["status"] == "INGESTED"
    url = f"{BYOC}/collections/{collection_id}/tiles/{tile['id']}"
    for wish, box in ((False, found.tile_geometry), (True, found.cover_geometry)):
        assert http.put(url, json={"coverFromData": wish}).status_code == 204
        ended(http, collection_id, tile["id"])
        again = ByocTile.from_dict(byoc.get_tile(collection_id, tile["id"]))
        assert again.cover_geometry.geometry.equals(box.geometry)
    nothing = make_tile(http, collection_id, "no-data", coverFromData=True)
    assert "no data in any band" in nothing["additionalData"]["failedIngestionCause"]
    both = {"path": "x", "coverFromData": True, "coverGeometry": {"type": "Polygon", "coordinates": []}}
    answer = http.post(f"{BYOC}/collections/{collection_id}/tiles", json=both)
    assert (answer.status_code, answer.json()["error"]["errors"]["parameter"]) == (400, "coverFromData")


def test_collection_tells_what_its_tiles_are(server, http):
    for name, size in (("small", 64), ("large", 600)):
        path = make_cog(server.buckets / "mine" / "told" / name / "B1.tif", np.ones((size, size), np.uint16))
        with rasterio.open(path, "r+") as file:
            file.build_overviews([2, 4], rasterio.enums.Resampling.nearest)
    collection_id = make_collection(http)

    def told() -> dict[str, Any]:
        one = http.get(f"{BYOC}/collections/{collection_id}").json()["data"]
        listed = http.get(f"{BYOC}/collections", params={"count": 100}).json()["data"]
        assert one in listed
        return one["additionalData"]

    assert told() == {"hasSensingTimes": "NO"}
    small = make_tile(http, collection_id, "told/small")
    assert small["additionalData"] == {"minMetersPerPixel": 10.0, "maxMetersPerPixel": 10.0}
    assert (told()["hasSensingTimes"], told()["maxMetersPerPixel"]) == ("NO", 50.0)
    large = make_tile(http, collection_id, "told/large", sensingTime="2020-06-03T10:00:00Z")
    # of the overviews those count that have at least 256 pixels to a side
    assert large["additionalData"] == {"minMetersPerPixel": 10.0, "maxMetersPerPixel": 20.0}
    about = told()
    assert (about["hasSensingTimes"], about["fromSensingTime"]) == ("PARTIALLY", "2020-06-03T10:00:00Z")
    http.delete(f"{BYOC}/collections/{collection_id}/tiles/{small['id']}").raise_for_status()
    assert told()["hasSensingTimes"] == "YES"
    http.delete(f"{BYOC}/collections/{collection_id}/tiles/{large['id']}").raise_for_status()
    left = told()
    assert left.pop("bands")
    assert left == {"hasSensingTimes": "NO"}


def test_files_of_a_tile_can_be_had_whole_or_in_part(server, http):
    folder = server.buckets / "mine" / "had"
    make_cog(folder / "B1.tif", VALUES)
    (folder / "secret.txt").write_text("not of the tile")
    collection_id = make_collection(http)
    tile = make_tile(http, collection_id, "had")
    url = f"{BYOC}/collections/{collection_id}/tiles/{tile['id']}/files"
    assert http.get(url).json() == ["had/B1.tif"]
    data = (folder / "B1.tif").read_bytes()
    assert http.get(f"{url}/had/B1.tif").content == data
    assert http.head(f"{url}/had/B1.tif").headers["content-length"] == str(len(data))
    for asked, want in (("bytes=5-9", data[5:10]), ("bytes=100-", data[100:]), ("bytes=-7", data[-7:])):
        part = http.get(f"{url}/had/B1.tif", headers={"Range": asked})
        assert (part.status_code, part.content) == (206, want)
        assert part.headers["content-range"].endswith(f"/{len(data)}")
    assert http.get(f"{url}/had/B1.tif", headers={"Range": f"bytes={len(data)}-"}).status_code == 416
    for other in ("had/secret.txt", "had/../had/secret.txt", "B1.tif", "%2e%2e/x"):
        assert http.get(f"{url}/{other}").status_code == 404
    (folder / "B1.tif").unlink()
    assert http.get(f"{url}/had/B1.tif").status_code == 404


def test_second_tile_of_a_path_is_a_conflict(http):
    collection_id = make_collection(http)
    make_tile(http, collection_id, "twice")
    answer = http.post(f"{BYOC}/collections/{collection_id}/tiles", json={"path": "twice"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "COMMON_UNIQUE_KEY_VIOLATION")


def test_project_sees_its_own_collections_only(server, http):
    collection_id = make_collection(http)
    tile = make_tile(http, collection_id, "hidden")
    with closing(server.session(server.client("a stranger"))) as stranger:
        here = f"{BYOC}/collections/{collection_id}"
        assert stranger.get(f"{BYOC}/collections").json()["data"] == []
        body = {"name": "x", "s3Bucket": "mine"}
        answers = [
            stranger.get(here),
            stranger.put(here, json=body),
            stranger.delete(here),
            stranger.get(f"{here}/tiles"),
            stranger.post(f"{here}/tiles", json={"path": "x"}),
            stranger.get(f"{here}/tiles/{tile['id']}"),
            stranger.get(f"{here}/tiles/{tile['id']}/files"),
            stranger.put(f"{here}/tiles/{tile['id']}", json={"sensingTime": None}),
            stranger.post(f"{here}/tiles/{tile['id']}/reingest"),
            stranger.delete(f"{here}/tiles/{tile['id']}"),
        ]
        assert [answer.status_code for answer in answers] == [404] * len(answers)
        assert stranger.get(f"{BYOC}/global/?ids={collection_id}").json() == {"data": []}
    found = http.get(f"{BYOC}/global/?ids={collection_id}").json()
    assert found == {"data": [{"id": collection_id, "location": "aws-eu-central-1"}]}


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({"path": "/a"}, "path"),
        ({"path": "a/../b"}, "path"),
        ({"path": "a//b"}, "path"),
        ({}, "path"),
        ({"path": "a", "sensingTime": "yesterday"}, "sensingTime"),
        ({"path": "a", "coverGeometry": {"type": "Point", "coordinates": [1, 2]}}, "coverGeometry"),
    ],
)
def test_tile_that_is_none_is_refused(http, body, parameter):
    collection_id = make_collection(http)
    answer = http.post(f"{BYOC}/collections/{collection_id}/tiles", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["errors"]["parameter"] == parameter


def test_lists_come_in_pages(http):
    collection_id = make_collection(http)
    for number in range(5):
        http.post(f"{BYOC}/collections/{collection_id}/tiles", json={"path": f"p{number}"}).raise_for_status()
    seen, token = [], None
    while True:
        query = {"count": 2, "sort": "created:desc"} | ({"viewtoken": token} if token else {})
        page = http.get(f"{BYOC}/collections/{collection_id}/tiles", params=query).raise_for_status().json()
        seen += [tile["path"] for tile in page["data"]]
        token = page["links"].get("nextToken")
        if token is None:
            break
    assert seen == [f"p{number}" for number in range(4, -1, -1)]


SCRIPT = """//VERSION=3
function setup() {
  return {input: [{bands: ["B1"]}], output: [{id: "default", bands: 1, sampleType: "UINT16"}]}
}
function evaluatePixel(s) { return [s.B1] }
"""
STATISTICS_SCRIPT = (
    SCRIPT.replace('["B1"]', '["B1", "dataMask"]')
    .replace(
        'output: [{id: "default", bands: 1, sampleType: "UINT16"}]',
        'output: [{id: "default", bands: 1}, {id: "dataMask", bands: 1}]',
    )
    .replace("return [s.B1]", "return {default: [s.B1], dataMask: [s.dataMask]}")
)


@pytest.fixture(scope="module")
def filled(server, credentials) -> str:
    """A collection of one tile, of 3 June 2020."""
    make_cog(server.buckets / "mine" / "filled" / "B1.tif", VALUES)
    with closing(server.session(credentials)) as http:
        collection_id = make_collection(
            http, additionalData={"bands": {"B1": {"bitDepth": 16, "sampleFormat": "UINT"}}}
        )
        tile = make_tile(http, collection_id, "filled", sensingTime="2020-06-03T10:00:00Z")
    assert tile["status"] == "INGESTED", tile
    return collection_id


def run_job(http: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """A batch request when it has ended."""
    made = http.post(path, json=body)
    assert made.status_code == 201, made.text
    job_id = made.json()["id"]
    assert http.post(f"{path}/{job_id}/start").status_code == 204
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        job = http.get(f"{path}/{job_id}").json()
        if job["status"] in ("DONE", "FAILED", "STOPPED"):
            return job
        time.sleep(0.2)
    raise AssertionError(job)


def render_body(type_name: str, url: str, **output: Any) -> dict[str, Any]:
    """A batch request for 100 km tiles over the tile of `filled`."""
    return {
        "processRequest": {
            "input": {
                "bounds": {
                    "bbox": [500_000, 5_099_360, 500_640, 5_100_000],
                    "properties": {"crs": "http://www.opengis.net/def/crs/EPSG/0/32633"},
                },
                "data": [
                    {
                        "type": type_name,
                        "dataFilter": {"timeRange": {"from": "2020-06-01T00:00:00Z", "to": "2020-07-01T00:00:00Z"}},
                    }
                ],
            },
            "output": {"responses": [{"identifier": "default", "format": {"type": "image/tiff"}}]},
            "evalscript": SCRIPT,
        },
        "input": {"type": "tiling-grid", "id": 0, "resolution": 10.0},
        "output": {"type": "raster", "delivery": {"s3": {"url": url}}, **output},
    }


def check_images(files: list[Path]) -> None:
    """That images hold the tile of `filled` where it lies, all of it, and nothing elsewhere."""
    seen = np.zeros((64, 64), bool)
    for file in files:
        with rasterio.open(file) as image:
            values = image.read(1)
            rows, columns = np.nonzero(values)
            x, y = (np.asarray(side) for side in rasterio.transform.xy(image.transform, rows, columns))
        across, down = ((x - 500_000) // 10).astype(int), ((5_100_000 - y) // 10).astype(int)
        assert (values[rows, columns] == VALUES[down, across]).all()
        seen[down, across] = True
    assert seen.all()


@pytest.mark.parametrize("kind", ["byoc", "batch"])
def test_batch_request_renders_a_collection(server, http, filled, kind):
    job = run_job(http, "/api/v2/batch/process", render_body(f"{kind}-{filled}", f"s3://out/{kind}"))
    assert job["status"] == "DONE", job
    check_images(sorted((server.buckets / "out" / kind / job["id"]).rglob("*.tif")))


def test_batch_statistics_of_a_collection(server, http, filled):
    box = shapely.box(500_000, 5_099_360, 500_640, 5_100_000)
    make_geopackage(server.buckets / "mine" / "areas.gpkg", [box])
    body = {
        "input": {
            "features": {"s3": {"url": "s3://mine/areas.gpkg"}},
            "data": [{"type": f"byoc-{filled}"}],
        },
        "aggregation": {
            "timeRange": {"from": "2020-06-01T00:00:00Z", "to": "2020-07-01T00:00:00Z"},
            "aggregationInterval": {"of": "P1D"},
            "evalscript": STATISTICS_SCRIPT,
            "resx": 10,
            "resy": 10,
        },
        "output": {"s3": {"url": "s3://out/statistics"}},
    }
    job = run_job(http, "/api/v1/statistics/batch", body)
    assert job["status"] == "DONE", job
    (document,) = (server.buckets / "out" / "statistics" / job["id"]).glob("1.json")
    (interval,) = json.loads(document.read_text())["response"]["data"]
    stats = interval["outputs"]["default"]["bands"]["B0"]["stats"]
    assert interval["interval"]["from"] == "2020-06-03T00:00:00Z"
    assert (stats["min"], stats["max"], stats["sampleCount"]) == (1, 4096, 4096)


def test_collection_of_another_project_cannot_be_named(server, http, filled):
    with closing(server.session(server.client("a thief"))) as stranger:
        for type_name in (f"byoc-{filled}", "byoc-017aa0ae-33a6-45d3-8548-0f7d1041b40c"):
            answer = stranger.post("/api/v2/batch/process", json=render_body(type_name, "s3://out/no"))
            assert answer.status_code == 400
            assert "no collection" in answer.json()["error"]["message"]


def test_process_answers_with_a_collection_at_once(server, http, filled, tmp_path):
    body = render_body(f"byoc-{filled}", "")["processRequest"]
    body["output"] |= {"width": 64, "height": 64}
    answer = http.post("/api/v1/process", json=body)
    assert answer.status_code == 200, answer.text
    (tmp_path / "answer.tif").write_bytes(answer.content)
    check_images([tmp_path / "answer.tif"])
    body["input"]["data"][0]["dataFilter"]["timeRange"] = {"from": "2021-06-01T00:00:00Z"}
    (tmp_path / "none.tif").write_bytes(http.post("/api/v1/process", json=body).content)
    with rasterio.open(tmp_path / "none.tif") as image:
        assert not image.read(1).any()


def test_statistics_of_a_collection_at_once(server, http, filled):
    body = {
        "input": {
            "bounds": render_body("", "")["processRequest"]["input"]["bounds"],
            "data": [{"type": f"byoc-{filled}"}],
        },
        "aggregation": {
            "timeRange": {"from": "2020-06-01T00:00:00Z", "to": "2020-07-01T00:00:00Z"},
            "aggregationInterval": {"of": "P1D"},
            "evalscript": STATISTICS_SCRIPT,
            "resx": 10,
            "resy": 10,
        },
    }
    answer = http.post("/api/v1/statistics", json=body)
    assert answer.status_code == 200, answer.text
    (interval,) = answer.json()["data"]
    assert interval["outputs"]["default"]["bands"]["B0"]["stats"]["max"] == 4096


def test_results_become_tiles_of_a_new_collection_that_can_be_used_at_once(server, http, filled):
    body = render_body(f"byoc-{filled}", "s3://out/made", cogOutput=True, createCollection=True)
    body["description"] = "made of mine"
    job = run_job(http, "/api/v2/batch/process", body)
    assert job["status"] == "DONE", job
    made_id = job["request"]["output"]["collectionId"]
    made = http.get(f"{BYOC}/collections/{made_id}").json()["data"]
    assert (made["name"], made["s3Bucket"]) == ("made of mine", "out")
    band = {"source": "default", "bandIndex": 1, "bitDepth": 16, "sampleFormat": "UINT"}
    assert made["additionalData"]["bands"] == {"default": band}
    tiles = http.get(f"{BYOC}/collections/{made_id}/tiles").json()["data"]
    files = sorted((server.buckets / "out" / "made" / job["id"]).rglob("*.tif"))
    assert sorted(tile["path"] for tile in tiles) == [
        str(file.relative_to(server.buckets / "out")).replace("default.tif", "(BAND).tif") for file in files
    ]
    assert {(tile["status"], tile["sensingTime"]) for tile in tiles} == {("INGESTED", "2020-06-01T00:00:00Z")}

    again = render_body(f"batch-{made_id}", "s3://out/again")
    again["processRequest"]["evalscript"] = SCRIPT.replace("B1", "default")
    second = run_job(http, "/api/v2/batch/process", again)
    assert second["status"] == "DONE", second
    check_images(sorted((server.buckets / "out" / "again" / second["id"]).rglob("*.tif")))
    # what was ingested without looking is what an ingestion finds
    before = tiles[0]
    assert http.post(f"{BYOC}/collections/{made_id}/tiles/{before['id']}/reingest").status_code == 204
    after = ended(http, made_id, before["id"])
    assert after.pop("ingestionStart")
    assert after == before


def test_images_that_were_left_alone_become_tiles_too(server, http, filled):
    place = "s3://out/skip/<tileName>/<outputId>.tif"
    first = run_job(http, "/api/v2/batch/process", render_body(f"byoc-{filled}", place, cogOutput=True))
    assert first["status"] == "DONE", first
    files = sorted((server.buckets / "out" / "skip").rglob("*.tif"))
    assert files
    body = render_body(f"byoc-{filled}", place, cogOutput=True, createCollection=True, skipExisting=True)
    job = run_job(http, "/api/v2/batch/process", body)
    assert job["status"] == "DONE", job
    made_id = job["request"]["output"]["collectionId"]
    tiles = http.get(f"{BYOC}/collections/{made_id}/tiles").json()["data"]
    assert sorted(tile["path"] for tile in tiles) == [
        str(file.relative_to(server.buckets / "out")).replace("default.tif", "(BAND).tif") for file in files
    ]
    found = [ended(http, made_id, tile["id"]) for tile in tiles]
    assert {(tile["status"], tile["sensingTime"]) for tile in found} == {("INGESTED", "2020-06-01T00:00:00Z")}
    bands = http.get(f"{BYOC}/collections/{made_id}").json()["data"]["additionalData"]["bands"]
    assert bands == {"default": {"source": "default", "bandIndex": 1, "bitDepth": 16, "sampleFormat": "UINT"}}


def test_results_join_a_collection_that_they_fit(server, http, filled):
    same = {"default": {"bitDepth": 16, "sampleFormat": "UINT"}}
    collection_id = make_collection(http, s3Bucket="out", additionalData={"bands": same})
    body = render_body(f"byoc-{filled}", "s3://out/join", cogOutput=True, collectionId=collection_id)
    job = run_job(http, "/api/v2/batch/process", body)
    assert job["status"] == "DONE", job
    tiles = http.get(f"{BYOC}/collections/{collection_id}/tiles").json()["data"]
    assert tiles
    assert {tile["status"] for tile in tiles} == {"INGESTED"}

    other = {"default": {"bitDepth": 8, "sampleFormat": "UINT"}}
    collection_id = make_collection(http, s3Bucket="out", additionalData={"bands": other})
    body["output"]["collectionId"] = collection_id
    job = run_job(http, "/api/v2/batch/process", body)
    assert (job["status"], job["costPU"]) == ("FAILED", 0)
    assert "uint8" in job["error"]
    for wrong, cause in ((make_collection(http), "bucket"), ("017aa0ae-33a6-45d3-8548-0f7d1041b40c", "no collection")):
        body["output"]["collectionId"] = wrong
        answer = http.post("/api/v2/batch/process", json=body)
        assert answer.status_code == 400
        assert cause in answer.json()["error"]["message"]
