"""A server among files and services that nobody may reach through it: what is asked of them is counted, what they hold is
looked for in all that it says."""

from __future__ import annotations

import io
import json
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.shutil import copy

from builders import make_catalog, make_cog, make_geopackage, make_request, make_scene
from servers import WatchedSite, watched_site
from serving import Serving, wait_for, write_config

pytestmark = pytest.mark.xdist_group("http")

BYOC, PROCESS = "/api/v1/byoc/collections", "/api/v1/process"
SECRET = 47_11
LEFT, TOP = 500_000.0, 5_100_000.0
SCRIPT = """//VERSION=3
function setup() { return {input: [{bands: ["B04"], units: "DN"}], output: {bands: 1, sampleType: "UINT16"}} }
function evaluatePixel(s) { return [s.B04] }
"""
ENDLESS = SCRIPT.replace("return [s.B04]", "for (;;) {}")


@dataclass
class Place:
    """A running server, the site of a catalog that it reads, and what it is to leave alone."""

    server: Serving
    http: httpx.Client
    site: WatchedSite
    canary: WatchedSite
    outside: Path
    buckets: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("doors")
    outside, web, buckets = folder / "outside", folder / "web", folder / "buckets"
    make_cog(outside / "secret.tif", np.full((64, 64), SECRET, np.uint16))
    (outside / "secret.txt").write_text(f"secret {SECRET}")
    (buckets / "mine").mkdir(parents=True)
    with watched_site(outside) as canary, watched_site(web) as site:
        elsewhere = f"http://localhost:{urlsplit(canary.url).port}/secret.tif"
        port = urlsplit(canary.url).port

        def redirect(handler: Any) -> bool:
            if not handler.path.startswith("/away"):
                return False
            handler.send_response(302)
            handler.send_header("Location", elsewhere)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return True

        site.answer = redirect
        hrefs = [
            "./good.tif",
            elsewhere,
            f"{site.url}/away.tif",
            f"http://[::ffff:127.0.0.1]:{port}/secret.tif",
            f"http://0.0.0.0:{port}/secret.tif",
            f"//localhost:{port}/secret.tif",
            f"http://me:pw@127.0.0.1:{port}/secret.tif",
            "http://169.254.169.254/latest/meta-data/secret.tif",
            f"/vsicurl/{elsewhere}",
        ]
        good = make_scene(web, "made", "2020-06-01T10:00:00Z", {"B04": np.full((64, 64), 7, np.uint16)})
        (web / "made" / "B04.tif").rename(web / "good.tif")
        items = []
        for day, href in enumerate(hrefs, 1):
            item = json.loads(json.dumps(good))
            item["id"], item["properties"]["datetime"] = f"S{day}", f"2020-06-{day:02}T10:00:00Z"
            item["assets"]["B04"]["href"] = href
            items.append(item)
        make_catalog(web, items)
        own = make_catalog(
            folder / "scenes", [make_scene(folder / "scenes", "S1", "2020-06-01T10:00:00Z", {"B04": FLAT})]
        )
        lines = ("[storage]", f'local_root = "{buckets}"', "retries = 0", "[services]", "processes = 1")
        more = ("[limits]", "script_evaluate_s = 600", "[[collections]]", 'type = "byoc-web"')
        config = write_config(folder / "config.toml", own, *lines, *more, f'source = "{site.url}/items.geojson"')
        with Serving(folder / "home", config=config) as server, closing(server.session(server.client())) as http:
            yield Place(server, http, site, canary, outside, buckets)
        assert canary.requests == []


FLAT = np.full((64, 64), 9, np.uint16)


def image_body(type_name: str, day: int = 1, script: str = SCRIPT) -> dict[str, Any]:
    moments = {"from": f"2020-06-{day:02}T00:00:00Z", "to": f"2020-06-{day:02}T23:00:00Z"}
    bounds = {"bbox": [LEFT, TOP - 640, LEFT + 640, TOP], "properties": {"crs": "EPSG:32633"}}
    return {
        "input": {"bounds": bounds, "data": [{"type": type_name, "dataFilter": {"timeRange": moments}}]},
        "output": {
            "width": 64,
            "height": 64,
            "responses": [{"identifier": "default", "format": {"type": "image/tiff"}}],
        },
        "evalscript": script,
    }


def test_an_item_from_elsewhere_leads_to_no_machine_of_the_network(place: Place) -> None:
    good = place.http.post(PROCESS, json=image_body("byoc-web"))
    assert good.status_code == 200, good.text
    with rasterio.open(io.BytesIO(good.content)) as image:
        assert (image.read(1) == 7).all()
    for day in range(2, 10):
        answer = place.http.post(PROCESS, json=image_body("byoc-web", day))
        assert answer.status_code == 400, (day, answer.status_code, answer.text)
        assert str(SECRET) not in answer.text
        assert "pw" not in answer.text.replace("http", "")
    assert place.canary.requests == []
    assert any(path == "/away.tif" for _, path, _ in place.site.requests)


def write_disguised(place: Place) -> dict[str, str]:
    """Files that call themselves GeoTIFFs and name others, by the beginning of the cause that each fails with."""
    folder = place.buckets / "mine"
    secret, url = place.outside / "secret.tif", f"{place.canary.url}/secret.tif"
    copy(str(secret), str(folder / "vrt.tif"), driver="VRT")
    vrt = (folder / "vrt.tif").read_text()
    for name, target in (("curl", f"/vsicurl/{url}"), ("relative", "../../outside/secret.tif")):
        (folder / f"{name}.tif").write_text(vrt.replace(str(secret), target))
    (folder / "wms.tif").write_text(
        f'<GDAL_WMS><Service name="TMS"><ServerUrl>{url}</ServerUrl></Service><DataWindow><SizeX>64</SizeX><SizeY>64</SizeY>'
        "</DataWindow></GDAL_WMS>"
    )
    (folder / "path.tif").write_text(f"/vsicurl/{url}")
    (folder / "stacta.tif").write_text(json.dumps({"stac_version": "1.0.0", "assets": {"x": {"href": url}}}))
    (folder / "gti.tif").write_text(
        f"<GDALTileIndexDataset><IndexDataset>{secret}</IndexDataset></GDALTileIndexDataset>"
    )
    # one that lies nowhere by itself, with files beside it that say where
    with rasterio.open(
        folder / "beside.tif", "w", driver="GTiff", width=64, height=64, count=1, dtype="uint16"
    ) as bare:
        bare.write(FLAT, 1)
    (folder / "beside.tfw").write_text("10\n0\n0\n-10\n500005\n5099995\n")
    (folder / "beside.tif.aux.xml").write_text(
        "<PAMDataset><SRS>EPSG:32633</SRS><GeoTransform>500000,10,0,5100000,0,-10</GeoTransform></PAMDataset>"
    )
    (folder / "link").symlink_to(place.outside)
    plain = "is no raster of a format"
    return {
        **dict.fromkeys(["vrt", "curl", "relative", "wms", "path", "stacta", "gti"], plain),
        "beside": "EPSG code",
        "link/secret": "leads out of the folder",
    }


def make_tile(http: httpx.Client, collection_id: str, path: str) -> str:
    body = {"path": path, "sensingTime": "2020-06-01T10:00:00Z"}
    answer = http.post(f"{BYOC}/{collection_id}/tiles", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["data"]["id"]


def ended(http: httpx.Client, url: str) -> dict[str, Any]:
    """A tile when its ingestion is over."""
    end = time.monotonic() + 180
    while time.monotonic() < end:
        found: dict[str, Any] = http.get(url).json()["data"]
        if found["status"] in ("INGESTED", "FAILED"):
            return found
        time.sleep(0.05)
    raise AssertionError(found)


def test_a_tile_is_the_raster_that_it_is_and_names_no_other(place: Place) -> None:
    causes = write_disguised(place)
    make_cog(place.buckets / "mine" / "good.tif", FLAT)
    (place.buckets / "mine" / "good.tif.ovr").write_bytes((place.outside / "secret.tif").read_bytes())
    made = place.http.post(BYOC, json={"name": "disguised", "s3Bucket": "mine"}).json()["data"]["id"]
    for names in (["good"], list(causes)):
        tiles = {name: make_tile(place.http, made, f"{name}.tif") for name in names}
        for name, tile in tiles.items():
            found = ended(place.http, f"{BYOC}/{made}/tiles/{tile}")
            if name == "good":
                assert found["status"] == "INGESTED", found
                continue
            assert causes[name] in found["additionalData"]["failedIngestionCause"], (name, found)
            assert str(place.outside) not in json.dumps(found)
    body = image_body(f"byoc-{made}", script=SCRIPT.replace("B04", "B"))
    answer = place.http.post(PROCESS, json=body)
    assert answer.status_code == 200, answer.text
    with rasterio.open(io.BytesIO(answer.content)) as image:
        assert (image.read(1) == 9).all()
    assert place.canary.requests == []


def test_a_geopackage_is_its_tables_and_nothing_that_computes(place: Place) -> None:
    for name, making in (
        ("view", "CREATE VIEW {} AS SELECT * FROM kept"),
        ("virtual", "CREATE VIRTUAL TABLE {} USING fts5(geom, fid)"),
    ):
        path = make_geopackage(place.buckets / "mine" / f"{name}.gpkg", [shapely.box(LEFT, TOP - 90, LEFT + 90, TOP)])
        with sqlite3.connect(path) as db:
            db.execute("ALTER TABLE parcels RENAME TO kept")
            db.execute(making.format("parcels"))
            for table, column in (("gpkg_contents", "table_name"), ("gpkg_geometry_columns", "table_name")):
                db.execute(f"UPDATE {table} SET {column} = 'parcels'")
        db.close()
        body = make_request()
        body["input"]["features"] = {"s3": {"url": f"s3://mine/{name}.gpkg"}}
        body["output"] = {"s3": {"url": "s3://mine/out"}}
        job = place.http.post("/api/v1/statistics/batch", json=body).json()["id"]
        place.http.post(f"/api/v1/statistics/batch/{job}/start")
        status = wait_for(place.http, job)
        assert (status["status"], "is no table of the GeoPackage" in status["error"]) == ("FAILED", True), status


def test_a_client_that_goes_away_ends_its_computation(place: Place) -> None:
    """There is one process, and the script would keep it for minutes."""
    body = json.dumps(image_body("sentinel-2-l2a", script=ENDLESS)).encode()
    parts = urlsplit(place.server.url)
    head = f"POST {PROCESS} HTTP/1.1\r\nHost: x\r\nAuthorization: {place.http.headers['Authorization']}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    for wait_s in (2.0, 0.0):  # at work, and in the queue
        with socket.create_connection((parts.hostname, parts.port)) as leaving:
            leaving.sendall(head.encode() + body)
            time.sleep(wait_s)
    answer = place.http.post(PROCESS, json=image_body("sentinel-2-l2a"), timeout=180)
    assert answer.status_code == 200, answer.text
