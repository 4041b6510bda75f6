"""Static catalogs on disk and in stores: walked, searched, and seen to change."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from servers import free_port, moto_server
from swathe.catalog import search
from swathe.catalog.areas import boxes_meet
from swathe.catalog.opening import open_catalog
from swathe.catalog.registry import Catalog
from swathe.catalog.search import CatalogSource
from swathe.model.errors import RequestInvalid, SourceError
from swathe.settings import CollectionSettings, StorageSettings
from swathe.storage import ObjectStores

EVER = {"start": datetime.min.replace(tzinfo=UTC), "end": datetime.max.replace(tzinfo=UTC)}


@pytest.fixture(autouse=True)
def _look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_LOOK_AGAIN_S", 0.0)
    monkeypatch.setattr(search, "_LOOK_AGAIN_FACTOR", 0.0)


def _item(name: str, day: int, west: float = 3.0, **more: Any) -> dict[str, Any]:
    ring = [[west, 50], [west + 1, 50], [west + 1, 51], [west, 51], [west, 50]]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, 50, west + 1, 51],
        "properties": {"datetime": f"2020-06-{day:02}T10:00:00Z", **more},
        "assets": {"B04": {"href": "./B04.tif", "type": "image/tiff", "roles": ["data"]}},
    }


def _write_catalog(folder: Path, items: list[dict[str, Any]]) -> Path:
    """`catalog.json` > `collection.json` > an item file in a folder each."""
    folder.mkdir(parents=True, exist_ok=True)
    child = {"rel": "child", "href": "./collection.json"}
    root = {"rel": "root", "href": "./catalog.json"}
    links = [{"rel": "item", "href": f"./scenes/{item['id']}/{item['id']}.json"} for item in items]
    (folder / "catalog.json").write_text(json.dumps({"type": "Catalog", "id": "c", "links": [root, child]}))
    (folder / "collection.json").write_text(json.dumps({"type": "Collection", "id": "c", "links": [root, *links]}))
    for item in items:
        path = folder / "scenes" / item["id"] / f"{item['id']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(item))
    return folder


def _source(source: object, **storage: Any) -> CatalogSource:
    settings = CollectionSettings(type="byoc-1", source=str(source))
    found = open_catalog(settings, ObjectStores(StorageSettings(**storage)))
    assert isinstance(found, CatalogSource)
    return found


def _found(source: CatalogSource, **where: Any) -> str:
    if "bbox" in where:
        where["boxes"] = [where.pop("bbox")]
    return "".join(scene.id for scene in source.find_scenes(**(EVER | where)))


ITEMS = [
    _item("b", 2, **{"eo:cloud_cover": 80}),
    _item("a", 1, **{"eo:cloud_cover": 10}),
    _item("d", 3, west=10),
    _item("c", 2, west=10),
]


def test_every_form_of_a_source_has_the_same_scenes(tmp_path: Path) -> None:
    folder = _write_catalog(tmp_path / "stac", ITEMS)
    for source in (folder, folder / "catalog.json", folder / "collection.json", (folder / "catalog.json").as_uri()):
        assert _found(_source(source)) == "abcd"
    (folder / "items.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": ITEMS}))
    assert _found(_source(folder / "items.geojson")) == "abcd"
    assert _found(_source(folder / "scenes/b/b.json")) == "b"
    only_list = tmp_path / "list"
    only_list.mkdir()
    (only_list / "items.geojson").write_text((folder / "items.geojson").read_text())
    assert _found(_source(only_list)) == "abcd"
    (scene,) = _source(folder / "scenes/b/b.json").all_scenes()
    assert scene.assets["B04"].href == str(folder / "scenes/b/B04.tif")
    assert scene.collection == "byoc-1"


def test_scenes_are_chosen_by_time_place_and_clouds(tmp_path: Path) -> None:
    source = _source(_write_catalog(tmp_path, ITEMS))
    first, second = datetime(2020, 6, 1, 10, tzinfo=UTC), datetime(2020, 6, 2, 10, tzinfo=UTC)
    assert _found(source, start=first, end=second) == "a"  # the end does not belong to it
    assert _found(source, start=second) == "bcd"
    assert _found(source, bbox=(3.5, 50.5, 3.6, 50.6)) == "ab"
    assert _found(source, bbox=(4.0, 51.0, 10.0, 52.0)) == "abcd"  # touching counts
    assert _found(source, bbox=(170.0, 50.0, 3.0, 51.0)) == "ab"  # over the antimeridian to the west of them
    assert _found(source, bbox=(20.0, 0.0, 30.0, 90.0)) == ""
    assert _found(source, max_cloud_cover=50.0) == "acd"  # those who do not know stay
    assert _found(source, max_cloud_cover=10.0, bbox=(3.0, 50.0, 4.0, 51.0)) == "a"


def test_boxes_over_the_antimeridian_meet_on_both_sides() -> None:
    fiji = (177.0, -20.0, -178.0, -15.0)
    assert boxes_meet(fiji, (179.0, -18.0, 179.5, -17.0))
    assert boxes_meet(fiji, (-179.0, -18.0, -178.5, -17.0))
    assert boxes_meet(fiji, (179.0, -18.0, -179.0, -17.0))
    assert not boxes_meet(fiji, (0.0, -18.0, 1.0, -17.0))


def test_a_server_that_runs_on_sees_what_was_added_changed_and_taken_out(tmp_path: Path) -> None:
    folder = _write_catalog(tmp_path, ITEMS[:2])
    source = _source(folder)
    assert _found(source) == "ab"
    before = {scene.id: scene for scene in source.all_scenes()}
    _write_catalog(tmp_path, [_item("a", 9), *ITEMS[2:]])
    (folder / "scenes/b/b.json").unlink()
    assert _found(source) == "cda"
    assert before["a"].datetime.day == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{broken", "is no JSON"),
        ('{"type": "Feature", "id": "x", "properties": {}}', "STAC item x .* has no geometry"),
        ('{"hello": 1}', "is no STAC catalog, collection, item"),
        ("[1, 2]", "is no STAC catalog, collection, item"),
        ('{"type": "FeatureCollection", "features": [1]}', "without a list of features"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    folder = _write_catalog(tmp_path, ITEMS)
    (folder / "scenes/c/c.json").write_text(text)
    with pytest.raises(SourceError, match=message) as caught:
        _found(_source(folder))
    assert "scenes/c/c.json" in caught.value.message
    assert not caught.value.retryable


def test_a_missing_file_or_folder_is_named(tmp_path: Path) -> None:
    folder = _write_catalog(tmp_path / "stac", ITEMS)
    (folder / "scenes/c/c.json").unlink()
    with pytest.raises(SourceError, match=r"scenes/c/c\.json"):
        _found(_source(folder))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"holds no STAC: .*; rasters without STAC need a `pattern`"):
        _found(_source(tmp_path / "empty"))
    with pytest.raises(SourceError, match=r"nowhere\.json"):
        _found(_source(tmp_path / "nowhere.json"))
    with pytest.raises(
        SourceError, match="nowhere cannot be read: there is no such file or folder; see the collection"
    ):
        _found(_source(tmp_path / "nowhere"))


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    link = {"rel": "child", "href": "./catalog.json"}
    (tmp_path / "catalog.json").write_text(json.dumps({"type": "Catalog", "links": [link, {"rel": "child"}, 7]}))
    assert _found(_source(tmp_path)) == ""


def test_a_catalog_in_a_bucket_is_walked_with_the_deployments_keys(tmp_path: Path) -> None:
    folder = _write_catalog(tmp_path, ITEMS)
    with moto_server() as server:
        client = server.client()
        client.create_bucket(Bucket="eodata", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        for path in folder.rglob("*.json"):
            client.upload_file(str(path), "eodata", f"stac/{path.relative_to(folder)}")
        keys = {"access_key": server.access_key, "secret_access_key": SecretStr(server.secret_access_key)}
        for address in ("s3://eodata/stac", "s3://eodata/stac/", "s3://eodata/stac/catalog.json"):
            source = _source(address, endpoint_url=server.url, **keys)
            assert _found(source) == "abcd"
        assert source.all_scenes()[0].assets["B04"].href == "s3://eodata/stac/scenes/a/B04.tif"
        with pytest.raises(SourceError, match="the store refuses it"):
            _found(
                _source("s3://eodata/stac", endpoint_url=server.url, access_key="X", secret_access_key=SecretStr("Y"))
            )
    with pytest.raises(SourceError) as caught:
        _found(_source("s3://eodata/stac/catalog.json", endpoint_url=f"http://127.0.0.1:{free_port()}", retries=0))
    assert caught.value.retryable


def test_a_deployments_catalog_goes_by_the_names_of_requests(tmp_path: Path) -> None:
    one, two = (_write_catalog(tmp_path / name, items) for name, items in (("1", ITEMS[:2]), ("2", ITEMS[2:])))
    entries = [
        CollectionSettings(type="sentinel-2-l2a", source=str(one)),
        CollectionSettings(type="S2L2A", source=str(two)),
        CollectionSettings(type="byoc-x", source=str(one)),
    ]
    catalog = Catalog(entries, ObjectStores(StorageSettings()))
    assert "".join(scene.id for scene in catalog.find_scenes("s2l2a", **EVER)) == "abcd"
    assert catalog.collection("S2L2A").bands["B04"].default_unit == "REFLECTANCE"
    assert list(catalog.collection("BYOC-X").bands) == ["B04"]
    with pytest.raises(RequestInvalid, match="no collection of type 'landsat'; it has: sentinel-2-l2a, S2L2A, byoc-x"):
        catalog.collection("landsat")


def test_what_is_known_of_a_deployments_sources_is_shared_with_those_who_have_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_LOOK_AGAIN_S", 1000.0)
    one, two = (_write_catalog(tmp_path / name, items) for name, items in (("1", ITEMS[:2]), ("2", ITEMS[2:])))
    catalog = Catalog([CollectionSettings(type="sentinel-2-l2a", source=str(one))], ObjectStores(StorageSettings()))
    own = [CollectionSettings(type="byoc-x", source=str(two))]
    assert [scene.id for scene in catalog.with_more(own).find_scenes("sentinel-2-l2a", **EVER)] == ["a", "b"]
    shutil.rmtree(one)  # who has not read it would have to say that it is missing
    again = catalog.with_more(own)
    assert [scene.id for scene in again.find_scenes("sentinel-2-l2a", **EVER)] == ["a", "b"]
    assert [scene.id for scene in again.find_scenes("byoc-x", **EVER)] == ["c", "d"]
    with pytest.raises(RequestInvalid, match="no collection of type 'byoc-x'"):
        catalog.find_scenes("byoc-x", **EVER)


def _shared_data() -> Path | None:
    for folder in Path(__file__).resolve().parents:
        if (folder.parent / "shared" / "data").is_dir():
            return folder.parent / "shared" / "data"
    return None


@pytest.mark.parametrize(
    ("name", "count", "bands"),
    [
        ("s2-l2a-flanders", 190, "B02 B03 B04 B08 B05 B06 B07 B8A B11 B12 SCL"),
        ("s2-l1c-slovenia", 68, "B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B10 B11 B12 NDVI CLM CLP"),
        ("other/s2-l2a-tanzania-20m", 136, "B05 B06 B07 B8A B11 B12 SCL"),
        ("other/s1-grd-flanders", 159, "VV VH"),
        ("other/earthsearch-s2-l2a-slovenia", 10, "red nir scl"),
    ],
)
def test_real_catalogs_in_their_two_forms_are_equal(name: str, count: int, bands: str) -> None:
    data = _shared_data()
    if data is None:
        pytest.skip("the shared test data are not beside this checkout")
    walked = _source(data / name).all_scenes()
    listed = _source(data / name / "items.geojson").all_scenes()
    assert len(walked) == count
    assert [scene.to_json() for scene in walked] == [scene.to_json() for scene in listed]
    entry = CollectionSettings(type="byoc-1", source=str(data / name))
    assert list(Catalog([entry], ObjectStores(StorageSettings())).collection("byoc-1").bands) == bands.split()
    assert all(Path(asset.href).is_file() for scene in walked for asset in scene.assets.values())
