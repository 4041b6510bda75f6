"""What the published client's own integration tests hold of the BYOC API, against this server and with nothing mocked.

They look at a collection and a tile of the provider's account; here the same are made first, of the same form.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentinelhub
from sentinelhub import ByocCollection, ByocTile, DownloadFailedException, SentinelHubBYOC
from sentinelhub.api.byoc import ByocCollectionAdditionalData, ByocCollectionBand

from builders import make_catalog, make_cog, make_scene
from serving import Serving, write_config

pytestmark = pytest.mark.xdist_group("http")

BANDS = {"lulc_reference": {"source": "lulc_reference", "bandIndex": 1, "bitDepth": 8, "sampleFormat": "UINT"}}


@pytest.fixture(scope="module")
def byoc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelHubBYOC]:
    folder = tmp_path_factory.mktemp("published")
    make_cog(folder / "buckets" / "lulc" / "maps" / "si_lulc_reference.tiff", np.ones((170, 250), np.uint8), pixel=1000)
    scene = make_scene(folder / "scenes", "S1", "2020-06-01T10:00:00Z", {"B04": np.ones((8, 8), np.uint16)})
    catalog = make_catalog(folder / "scenes", [scene])
    config = write_config(folder / "config.toml", catalog, "[storage]", f'local_root = "{folder / "buckets"}"')
    with Serving(folder / "home", config=config) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
        keys = server.client("published")
        settings = sentinelhub.SHConfig(use_defaults=True)
        settings.sh_client_id, settings.sh_client_secret = keys["client_id"], keys["client_secret"]
        settings.sh_base_url, settings.sh_token_url = server.url, f"{server.url}/oauth/token"
        yield SentinelHubBYOC(settings)


@pytest.fixture(scope="module")
def collection(byoc: SentinelHubBYOC) -> dict[str, Any]:
    band = ByocCollectionBand(source="lulc_reference", band_index=1, bit_depth=8)
    data = ByocCollectionAdditionalData(bands={"lulc_reference": band})
    return byoc.create_collection(ByocCollection(name="SI LULC Reference", s3_bucket="lulc", additional_data=data))


@pytest.fixture(scope="module")
def tile(byoc: SentinelHubBYOC, collection: dict[str, Any]) -> dict[str, Any]:
    made = byoc.create_tile(collection, ByocTile(path="maps/si_(BAND).tiff"))
    return ingested(byoc, collection, made)


def ingested(byoc: SentinelHubBYOC, collection: dict[str, Any], tile: dict[str, Any]) -> dict[str, Any]:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        found = byoc.get_tile(collection, tile)
        if found["status"] in ("INGESTED", "FAILED"):
            assert found["status"] == "INGESTED", found
            return found
        time.sleep(0.1)
    raise AssertionError(found)


def test_collections_are_objects(byoc: SentinelHubBYOC, collection: dict[str, Any]) -> None:
    collections = list(byoc.iter_collections())
    assert len(collections) >= 1
    assert all(isinstance(found, dict) for found in collections)


def test_collection_is_what_was_made(byoc: SentinelHubBYOC, collection: dict[str, Any], tile: dict[str, Any]) -> None:
    found = byoc.get_collection(collection)
    assert isinstance(found, dict)
    assert ByocCollection.from_dict(found) == ByocCollection.from_dict({**collection, **found})
    about = found["additionalData"]
    assert (about["bands"], about["hasSensingTimes"]) == (BANDS, "NO")
    assert (found["isConfigured"], found["requiresMetadataUpdate"]) == (True, False)
    assert about["maxMetersPerPixel"] == 5 * tile["additionalData"]["maxMetersPerPixel"] == 5000.0
    assert about["extent"]["type"] == "Polygon"


def test_collection_that_does_not_exist(byoc: SentinelHubBYOC) -> None:
    with pytest.raises(DownloadFailedException):
        byoc.get_collection(collection="sinergise")


def test_tiles_of_a_collection(byoc: SentinelHubBYOC, collection: dict[str, Any], tile: dict[str, Any]) -> None:
    (found,) = byoc.iter_tiles(collection)
    assert isinstance(found, dict)
    assert ByocTile.from_dict(found) == ByocTile.from_dict(tile)


def test_tile_is_what_was_made(byoc: SentinelHubBYOC, collection: dict[str, Any], tile: dict[str, Any]) -> None:
    found = byoc.get_tile(collection=collection, tile=tile)
    assert ByocTile.from_dict(found) == ByocTile.from_dict(tile)
    read = ByocTile.from_dict(found)
    assert read.path == "maps/si_(BAND).tiff"
    assert (read.created, read.ingestion_start) < (read.ingestion_start, dt.datetime.now(dt.UTC))
    assert read.cover_geometry.crs is sentinelhub.CRS.UTM_33N
    assert read.cover_geometry.geometry.equals(read.tile_geometry.geometry)
    assert ByocTile.from_dict(read.to_dict()) == read


def test_life_of_a_collection(byoc: SentinelHubBYOC) -> None:
    new = ByocCollection(name="new", s3_bucket="lulc")
    made = byoc.create_collection(collection=new)
    assert (made["name"], made["s3Bucket"]) == ("new", "lulc")
    made["name"] = "updated collection"
    assert byoc.update_collection(collection=made) == ""
    assert byoc.get_collection(made)["name"] == "updated collection"
    assert byoc.delete_collection(collection=made) == ""
    with pytest.raises(DownloadFailedException):
        byoc.get_collection(made)


def test_life_of_a_tile(byoc: SentinelHubBYOC, tmp_path: Path) -> None:
    band = ByocCollectionBand(source="lulc_reference", bit_depth=8)
    data = ByocCollectionAdditionalData(bands={"lulc_reference": band})
    collection = byoc.create_collection(ByocCollection(name="tiles", s3_bucket="lulc", additional_data=data))
    when = dt.datetime(2022, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    made = byoc.create_tile(collection, ByocTile(path="maps/si_(BAND)", sensing_time=when))
    assert ByocTile.from_dict(made).sensing_time == when
    made = ingested(byoc, collection, made)
    made["sensingTime"] = "2023-02-03T04:05:06"
    assert byoc.update_tile(collection=collection, tile=made) == ""
    assert byoc.get_tile(collection, made)["sensingTime"] == "2023-02-03T04:05:06Z"
    assert byoc.reingest_tile(collection=collection, tile=made) == ""
    assert ingested(byoc, collection, made)["ingestionStart"] >= made["ingestionStart"]
    assert byoc.delete_tile(collection=collection, tile=made) == ""
    with pytest.raises(DownloadFailedException):
        byoc.get_tile(collection, made)
