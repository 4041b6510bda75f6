"""The JavaScript client of the provider, from the npm registry and unchanged, run by node against a running server."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import rasterio
from PIL import Image

from builders import make_catalog, make_cog, make_scene
from serving import Serving, write_config

pytestmark = pytest.mark.xdist_group("http")

PACKAGE = "@sentinel-hub/sentinelhub-js@0.12.6"
SCRIPT = Path(__file__).with_name("sentinelhub_js.mjs")
DAYS = (1, 4, 9)
# within the scenes, which lie at 15° east, 46.05° north and are 1280 m wide
WEST, SOUTH, EAST, NORTH = 15.002, 46.042, 15.012, 46.05
VALUES = np.add.outer(np.arange(128), 3 * np.arange(128)).astype(np.uint16) + 100

SAVED = """//VERSION=3
function setup() { return {input: ["B04"], output: {bands: 3, sampleType: "UINT8"}} }
function evaluatePixel(s) { return [0, 200, 0] }
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package in it, and the script beside it, from where node finds it."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("needs node and npm")
    folder = tmp_path_factory.mktemp("js")
    command = [
        npm,
        "install",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--fetch-retries=0",
        "--prefix",
        str(folder),
    ]
    try:
        done = subprocess.run([*command, PACKAGE], capture_output=True, text=True, timeout=180)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not bring {PACKAGE} in time")
    if done.returncode:
        pytest.skip(f"npm cannot bring {PACKAGE}: {done.stderr.strip().splitlines()[-1:]}")
    shutil.copy(SCRIPT, folder)
    return folder


@pytest.fixture(scope="module")
def server(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("js-server")
    scenes = [
        make_scene(
            folder / "scenes",
            f"S{day}",
            f"2020-06-{day:02}T10:00:00Z",
            {"B04": VALUES + day, "B08": 2 * VALUES},
            cloud_cover=10.0 * day,
        )
        for day in (*DAYS, 10)  # the last has more clouds than the requests allow
    ]
    for band, values in (("B04", VALUES), ("B08", 3 * VALUES)):
        make_cog(folder / "buckets" / "mine" / "own" / f"{band}.tif", values)
    config = write_config(
        folder / "config.toml",
        make_catalog(folder / "scenes", scenes),
        "[storage]",
        f'local_root = "{folder / "buckets"}"',
        "[services]\nprocesses = 1\nthreads = 1",
        workers=1,
    )
    with Serving(folder / "home", config=config) as running:
        yield running


@pytest.fixture(scope="module")
def found(package: Path, server: Serving) -> dict[str, Any]:
    """What the script printed."""
    client = server.client("js")
    with closing(server.session(client)) as http:
        collection, instance = own_collection(http), own_instance(http)
    environment = {
        **os.environ,
        "SWATHE_URL": server.url,
        "CLIENT_ID": client["client_id"],
        "CLIENT_SECRET": client["client_secret"],
        "COLLECTION": collection,
        "INSTANCE": instance,
        **dict(zip(("WEST", "SOUTH", "EAST", "NORTH"), map(str, (WEST, SOUTH, EAST, NORTH)), strict=True)),
    }
    done = subprocess.run(
        ["node", SCRIPT.name], cwd=package, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def own_collection(http: httpx.Client) -> str:
    made = http.post("/api/v1/byoc/collections", json={"name": "mine", "s3Bucket": "mine"}).raise_for_status()
    path = f"/api/v1/byoc/collections/{made.json()['data']['id']}"
    tile = http.post(f"{path}/tiles", json={"path": "own/(BAND).tif", "sensingTime": "2020-06-02T10:00:00Z"})
    tile = tile.raise_for_status().json()["data"]
    end = time.monotonic() + 180
    while tile["status"] not in ("INGESTED", "FAILED"):
        assert time.monotonic() < end, tile
        time.sleep(0.05)
        tile = http.get(f"{path}/tiles/{tile['id']}").raise_for_status().json()["data"]
    assert tile["status"] == "INGESTED", tile
    return made.json()["data"]["id"]


def own_instance(http: httpx.Client) -> str:
    """With a layer that shows nothing but green."""
    path = "/api/v2/configuration/instances"
    made = http.post(path, json={"name": "mine"}).raise_for_status().json()["id"]
    styles = [{"name": "default", "evalScript": SAVED}]
    layer = {"id": "PICTURE", "collectionType": "sentinel-2-l2a", "styles": styles}
    http.post(f"{path}/{made}/layers", json=layer).raise_for_status()
    return made


def test_an_unknown_client_is_told_so_by_the_token_url(found: dict[str, Any]) -> None:
    assert found["refused"] == [401, "invalid_client"]


def test_images_have_the_format_and_the_values_that_were_asked_for(found: dict[str, Any]) -> None:
    files = {name: base64.b64decode(text) for name, text in found["images"].items()}
    pictures = [np.asarray(Image.open(io.BytesIO(files[name]))) for name in ("image/png", "image/jpeg")]
    assert [picture.shape for picture in pictures] == [(30, 40, 3)] * 2
    tiffs = []
    for name in ("image/tiff", "image/tiff;depth=8"):
        with rasterio.io.MemoryFile(files[name]).open() as file:
            tiffs.append(file.read())
            assert file.bounds == pytest.approx((WEST, SOUTH, EAST, NORTH))
    np.testing.assert_array_equal(*tiffs)
    np.testing.assert_array_equal(tiffs[0], pictures[0].transpose(2, 0, 1))
    assert set(np.unique(tiffs[0][2])) == {7}
    # B04 of the least recent scene, one more than half of B08, of all that fit into eight bits
    assert {
        (2 * (int(red) - DAYS[0]) - int(near)) % 256 for red, near in zip(*tiffs[0][:2].reshape(2, -1), strict=True)
    } == {0}


def test_a_saved_layer_looks_the_same_by_both_ways(found: dict[str, Any]) -> None:
    by_wms, by_process = (Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB") for text in found["saved"])
    np.testing.assert_array_equal(np.asarray(by_wms), np.asarray(by_process))
    assert by_wms.getcolors() == [(40 * 30, (0, 200, 0))]


def test_tiles_and_dates_are_those_of_scenes_with_few_clouds(found: dict[str, Any]) -> None:
    times = [tile["sensingTime"] for tile in found["tiles"]["tiles"]]
    assert times == [f"2020-06-{day:02}T10:00:00.000Z" for day in (9, 4)]
    assert found["tiles"]["hasMore"]
    assert [tile["sensingTime"][:10] for tile in found["rest"]["tiles"]] == ["2020-06-01"]
    assert not found["rest"]["hasMore"]
    assert found["tiles"]["tiles"][0]["meta"]["cloudCoverPercent"] == 90
    assert [date[:10] for date in found["dates"]] == [f"2020-06-{day:02}" for day in (9, 4, 1)]


def test_statistics_are_read_by_the_packages_own_converter(found: dict[str, Any]) -> None:
    (band,) = found["statistics"].values()
    assert [entry["date"][:10] for entry in band] == [f"2020-06-{day:02}" for day in (10, 9, 4, 1)]
    for entry, day in zip(band, (10, 9, 4, 1), strict=True):
        stats = entry["basicStats"]
        assert (stats["sampleCount"], stats["noDataCount"]) == (20 * 16, 0)
        values = [(2 * value - (value + day)) / (3 * value + day) for value in (VALUES.min(), VALUES.max())]
        assert min(values) < stats["min"] < stats["mean"] < stats["max"] < max(values) + 0.01
        assert len(entry["histogram"]["bins"]) == 5


def test_a_collection_of_ones_own(found: dict[str, Any]) -> None:
    assert [band["name"] for band in found["ownBands"]] == ["B04", "B08"]
    assert [tile["sensingTime"] for tile in found["ownTiles"]["tiles"]] == ["2020-06-02T10:00:00.000Z"]
    ((entry,),) = (interval["outputs"]["default"]["bands"].values() for interval in found["ownStatistics"]["data"])
    assert entry["stats"]["mean"] == pytest.approx(0.5, abs=1e-3)
