"""Ingestion in the background, with real files and its own process."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from builders import make_cog
from swathe.jobs.byoc import ByocCollections
from swathe.jobs.byoc_records import ByocTile, TileStatus
from swathe.jobs.byoc_tiles import ByocTiles
from swathe.jobs.database import Database, open_database
from swathe.jobs.ingestion import Ingestor
from swathe.jobs.ingestion_files import TileOrder, Trouble, inspect
from swathe.model.byoc import ByocCollectionBody
from swathe.settings import StorageSettings

VALUES = np.ones((2048, 64), np.uint8)


@pytest.fixture
def database(tmp_path: Path):
    database = open_database(tmp_path)
    yield database
    database.close()


@pytest.fixture
def storage(tmp_path: Path) -> StorageSettings:
    (tmp_path / "buckets" / "mine").mkdir(parents=True)
    return StorageSettings(local_root=tmp_path / "buckets")


def wait(tiles: ByocTiles, tile: ByocTile) -> ByocTile:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        found = tiles.get(tile.collection_id, tile.id, project_id="p")
        if found.status in (TileStatus.INGESTED, TileStatus.FAILED):
            return found
        time.sleep(0.05)
    raise AssertionError(found)


def test_tile_of_a_server_that_was_killed_is_ingested_when_it_starts_again(
    tmp_path: Path, database: Database, storage: StorageSettings
) -> None:
    make_cog(tmp_path / "buckets" / "mine" / "a" / "B.tif", VALUES)
    collection = ByocCollections(database).create("p", ByocCollectionBody(name="c", s3_bucket="mine"))
    tiles = ByocTiles(database)
    tile = tiles.create(collection.id, "p", "a")
    assert tiles.claim("me", now_s=time.time(), lease_s=3600, limit=5)  # and never heard of again
    ingestor = Ingestor(storage, tiles, "me")
    ingestor.start()
    try:
        found = wait(tiles, tile)
    finally:
        ingestor.close()
    assert found.status is TileStatus.INGESTED
    assert "no overviews" in found.body["warnings"]


@pytest.mark.parametrize(
    ("path", "files", "bands"),
    [
        ("x/(BAND)_v1", ["x/red_v1.tif", "x/blue_v1.TIFF", "x/red_v2.tif", "x/sub/red_v1.tif"], ["blue", "red"]),
        ("x/(BAND)/(BAND).tif", ["x/red/red.tif", "x/red/blue.tif"], ["red"]),
        ("x", ["x/red.tif", "x/notes.txt"], ["red"]),
        ("x/all.tif", ["x/all.tif"], ["B"]),
        ("(BAND)", ["red.tif"], ["red"]),
    ],
)
def test_files_of_a_tile_are_those_of_its_path(
    tmp_path: Path, database: Database, storage: StorageSettings, path: str, files: list[str], bands: list[str]
) -> None:
    for name in files:
        make_cog(tmp_path / "buckets" / "mine" / name, VALUES)
    collection = ByocCollections(database).create("p", ByocCollectionBody(name="c", s3_bucket="mine"))
    (found,) = inspect(storage, [TileOrder(path, None, collection)])
    assert not isinstance(found, Trouble), found
    assert sorted(found.bands) == bands


def test_tile_across_the_antimeridian_is_found_on_both_sides(
    tmp_path: Path, database: Database, storage: StorageSettings
) -> None:
    # EPSG:32660 ends at 180 degrees; this lies around it at the equator.
    make_cog(
        tmp_path / "buckets" / "mine" / "a" / "B.tif", VALUES[:64], epsg=32660, origin=(830_000, 100_000), pixel=200
    )
    collection = ByocCollections(database).create("p", ByocCollectionBody(name="c", s3_bucket="mine"))
    tiles = ByocTiles(database)
    tile = tiles.create(collection.id, "p", "a")
    ingestor = Ingestor(storage, tiles, "me")
    ingestor.start()
    try:
        found = wait(tiles, tile)
    finally:
        ingestor.close()
    west, south, east, north = found.body["bbox"]
    assert 179.9 < west < 180
    assert -180 < east < -179.9
    assert [one.id for one in tiles.find(collection.id, bbox=(179.97, south, 180.0, north))] == [tile.id]
    assert [one.id for one in tiles.find(collection.id, bbox=(-180.0, south, -179.97, north))] == [tile.id]
    assert tiles.find(collection.id, bbox=(-179.0, south, 179.0, north)) == []
