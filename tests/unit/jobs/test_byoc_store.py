"""Collections and tiles in the job store, on both databases: where tiles are found, and who ingests them."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from swathe.jobs.byoc import ByocCollections
from swathe.jobs.byoc_places import Place
from swathe.jobs.byoc_records import ByocTile, Ingested, TileStatus
from swathe.jobs.byoc_tiles import ByocTiles
from swathe.model.byoc import ByocBand, ByocCollectionBody, read_byoc_collection
from swathe.model.errors import Conflict, NotFound, RequestInvalid

START = datetime(2020, 1, 1, tzinfo=UTC)
BAND = {"bitDepth": 16, "sampleFormat": "UINT"}


@pytest.fixture
def collections(database):
    return ByocCollections(database)


@pytest.fixture
def tiles(database):
    return ByocTiles(database)


@pytest.fixture
def collection(collections):
    return collections.create("p1", ByocCollectionBody(name="mine", s3_bucket="bucket"))


def add(tiles, collection_id, boxes):
    """Ingested tiles at boxes, a day apart."""
    made = [
        (
            ByocTile(
                f"{collection_id[:8]}-{n:05}",
                collection_id,
                f"t{n}",
                TileStatus.INGESTED,
                START,
                START + timedelta(days=n),
            ),
            Ingested(box, {"files": {}}),
        )
        for n, box in enumerate(boxes)
    ]
    tiles.add_ingested(made)


def paths(found):
    return [tile.path for tile in found]


def meets(one, other):
    def longitudes(box):
        return [(box[0], box[2])] if box[0] <= box[2] else [(box[0], 180.0), (-180.0, box[2])]

    across = any(a[0] <= b[1] and b[0] <= a[1] for a in longitudes(one) for b in longitudes(other))
    return across and one[1] <= other[3] and other[1] <= one[3]


def make_box(chance, largest):
    west, south = chance.uniform(-180, 180), chance.uniform(-90, 89)
    width, height = (10 ** chance.uniform(-4, largest) for _ in range(2))
    east = west + min(width, 359.0)
    return west, south, east - 360.0 if east > 180.0 else east, min(90.0, south + height)


def test_tiles_that_meet_a_box_are_found_and_no_others(tiles, collections, collection):
    chance = random.Random(5)
    other = collections.create("p1", ByocCollectionBody(name="other", s3_bucket="bucket"))
    boxes = [make_box(chance, 2) for _ in range(300)]
    boxes += [
        (-180.0, -90.0, 180.0, 90.0),
        (10.0, 10.0, 10.0, 10.0),
        (179.9, 0.0, -179.9, 1.0),
        (-180.0, 0.0, -179.0, 1.0),
    ]
    add(tiles, collection.id, boxes)
    add(tiles, other.id, boxes[:50])
    asked = [make_box(chance, 2.5) for _ in range(60)]
    asked += [
        (179.0, -1.0, -179.0, 2.0),
        (-180.0, -90.0, 180.0, 90.0),
        (9.0, 9.0, 11.0, 11.0),
        (10.0, 10.0, 10.0, 10.0),
    ]
    for box in asked:
        expected = [f"t{n}" for n, known in enumerate(boxes) if meets(known, box)]
        assert paths(tiles.find(collection.id, bbox=box)) == expected, box


def test_tiles_are_found_by_their_time(tiles, collection):
    add(tiles, collection.id, [(0.0, 0.0, 1.0, 1.0)] * 6)
    when = {"start": START + timedelta(days=2), "end": START + timedelta(days=4)}
    assert paths(tiles.find(collection.id, **when)) == ["t2", "t3"]
    assert paths(tiles.find(collection.id, bbox=(0.5, 0.5, 2.0, 2.0), **when)) == ["t2", "t3"]
    assert paths(tiles.find(collection.id, bbox=(5.0, 5.0, 6.0, 6.0), **when)) == []
    assert paths(tiles.find(collection.id, limit=2, offset=3)) == ["t3", "t4"]
    assert paths(tiles.stream(collection.id, start=START + timedelta(days=4))) == ["t4", "t5"]


@pytest.mark.parametrize(
    ("box", "level", "cell"),
    [
        ((-180.0, -90.0, 180.0, 90.0), 0, (0, 0)),
        ((0.0, 0.0, 180.0, 90.0), 1, (1, 0)),
        ((170.0, 0.0, -170.0, 10.0), 4, (15, 4)),
        ((15.0, 46.0, 15.0, 46.0), 21, (1_135_957, 792_257)),
    ],
)
def test_place_of_a_box(box, level, cell):
    place = Place.of(box)
    assert (place.level, (place.cell_x, place.cell_y)) == (level, cell)


def test_ingestion_is_taken_by_one_and_by_another_when_it_is_left(tiles, collection):
    tile = tiles.create(collection.id, "p1", "a")
    assert [one.id for one, _ in tiles.claim("first", now_s=0.0, lease_s=10.0, limit=5)] == [tile.id]
    assert tiles.claim("second", now_s=5.0, lease_s=10.0, limit=5) == []
    assert tiles.get(collection.id, tile.id, project_id="p1").status is TileStatus.INGESTING
    assert len(tiles.claim("second", now_s=11.0, lease_s=10.0, limit=5)) == 1
    tiles.finish(tile, "first", "too late")
    assert tiles.get(collection.id, tile.id, project_id="p1").status is TileStatus.INGESTING
    tiles.finish(tile, "second", "no such file")
    found = tiles.get(collection.id, tile.id, project_id="p1")
    assert (found.status, found.body["cause"]) == (TileStatus.FAILED, "no such file")
    assert tiles.find(collection.id) == []


def test_tile_that_changes_while_it_is_ingested_is_ingested_again(tiles, collection):
    tile = tiles.create(collection.id, "p1", "a")
    tiles.claim("first", now_s=0.0, lease_s=10.0, limit=5)

    def again(old):
        return ByocTile(old.id, old.collection_id, old.path, TileStatus.WAITING, old.created, None, {"cover": None})

    tiles.change(collection.id, tile.id, "p1", again)
    tiles.finish(tile, "first", Ingested((0.0, 0.0, 1.0, 1.0), {}))
    assert tiles.get(collection.id, tile.id, project_id="p1").status is TileStatus.WAITING


def test_first_tile_gives_a_collection_its_bands_and_others_must_have_them(tiles, collections, collection):
    red, blue = (ByocBand(source=name, bit_depth=8, sample_format="UINT") for name in ("red", "blue"))
    made = [tiles.create(collection.id, "p1", path) for path in ("a", "b")]
    tiles.claim("me", now_s=0.0, lease_s=10.0, limit=5)
    tiles.finish(made[0], "me", Ingested((0.0, 0.0, 1.0, 1.0), {}, {"red": red}))
    tiles.finish(made[1], "me", Ingested((2.0, 0.0, 3.0, 1.0), {}, {"blue": blue}))
    found = collections.get(collection.id, project_id="p1")
    assert (list(found.bands), found.extent) == (["red"], (0.0, 0.0, 1.0, 1.0))
    assert [tiles.get(collection.id, tile.id, project_id="p1").status.value for tile in made] == ["INGESTED", "FAILED"]


def test_path_is_taken_once_in_a_collection(tiles, collections, collection):
    tiles.create(collection.id, "p1", "a")
    with pytest.raises(Conflict, match="'a'"):
        tiles.create(collection.id, "p1", "a")
    other = collections.create("p1", ByocCollectionBody(name="other", s3_bucket="bucket"))
    assert tiles.create(other.id, "p1", "a").path == "a"


def test_copy_takes_ingested_tiles_whose_path_is_free(tiles, collections, collection):
    other = collections.create("p1", ByocCollectionBody(name="other", s3_bucket="bucket"))
    add(tiles, collection.id, [(0.0, 0.0, 1.0, 1.0), (2.0, 0.0, 3.0, 1.0)])
    tiles.create(collection.id, "p1", "waits")
    tiles.create(other.id, "p1", "t0")
    assert tiles.copy(collection.id, other.id, "p1") == 1
    assert paths(tiles.find(other.id, bbox=(2.5, 0.5, 2.6, 0.6))) == ["t1"]
    elsewhere = collections.create("p1", ByocCollectionBody(name="other", s3_bucket="another"))
    with pytest.raises(RequestInvalid, match="buckets"):
        tiles.copy(collection.id, elsewhere.id, "p1")


def test_deleted_collection_takes_its_tiles_along(tiles, collections, collection):
    tile = tiles.create(collection.id, "p1", "a")
    with pytest.raises(NotFound):
        collections.delete(collection.id, "p2")
    collections.delete(collection.id, "p1")
    with pytest.raises(NotFound):
        tiles.get(collection.id, tile.id, project_id="p1")
    assert tiles.claim("me", now_s=0.0, lease_s=1.0, limit=5) == []


@pytest.mark.parametrize(
    ("change", "parameter"),
    [
        ({"s3Bucket": "s3://bucket"}, "s3Bucket"),
        ({"additionalData": {"bands": {"a": {**BAND, "bitDepth": 12}}}}, "additionalData->bands->a->bitDepth"),
        ({"additionalData": {"bands": {"a": {"bitDepth": 8, "sampleFormat": "FLOAT"}}}}, "additionalData->bands"),
        ({"additionalData": {"bands": {f"b{n}": BAND for n in range(101)}}}, "additionalData->bands"),
        ({"noData": 0, "additionalData": {"bands": {"a": {**BAND, "noData": 1}}}}, "noData"),
    ],
)
def test_collection_that_is_none_is_refused(change, parameter):
    with pytest.raises(RequestInvalid) as refused:
        read_byoc_collection({"name": "mine", "s3Bucket": "bucket"} | change)
    assert refused.value.parameter == parameter
