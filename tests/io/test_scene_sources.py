"""Scenes of stac-geoparquet files and of plain files, in folders and in stores; alternative addresses; buckets elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from pydantic import SecretStr, ValidationError
from rasterio.transform import Affine

from builders import SHARED_DATA, make_cog, make_request
from engines import LEFT, TOP, World, box, flat, run, value_script
from servers import moto_server, watched_site
from swathe.catalog.opening import open_catalog
from swathe.catalog.registry import Catalog
from swathe.model.errors import SourceError
from swathe.rasters.blocks import BlockReader
from swathe.settings import (
    CatalogSettings,
    CollectionSettings,
    DaskSettings,
    Settings,
    SourceBucketSettings,
    StorageSettings,
)
from swathe.storage import ObjectStores

EVER = {"start": datetime.min.replace(tzinfo=UTC), "end": datetime.max.replace(tzinfo=UTC)}
FILES = r"(?P<date>\d{8})_(?P<band>B\d\d)\.(tif|jp2)$"
REQUEST = make_request(value_script(), start="2020-06-01T00:00:00Z", end="2020-06-04T00:00:00Z")


def stores(**told: Any) -> ObjectStores:
    return ObjectStores(StorageSettings(**told))


def settings_of(*entries: CollectionSettings, **more: Any) -> Settings:
    return Settings(collections=entries, dask=DaskSettings(workers=1), **more)


def names(source: str | Path, store: ObjectStores | None = None, **told: Any) -> list[str]:
    where = {name: told.pop(name) for name in ("start", "end", "boxes") if name in told}
    entry = CollectionSettings(type="byoc-1", source=str(source), **told)
    return [scene.id for scene in open_catalog(entry, store or stores()).find_scenes(**{**EVER, **where})]


# stac-geoparquet


def write_table(path: Path, items: list[dict[str, Any]], rows: int) -> Path:
    """Items as rows: own members as columns, properties beside them, times and boxes as the specification has them."""
    sides = ("xmin", "ymin", "xmax", "ymax")
    table = []
    for item in items:
        row = {key: value for key, value in item.items() if key not in ("properties", "links")}
        row |= item["properties"] | {"datetime": datetime.fromisoformat(item["properties"]["datetime"])}
        row["geometry"] = shapely.to_wkb(shapely.geometry.shape(item["geometry"]))
        row["bbox"] = dict(zip(sides, item["bbox"], strict=True))
        table.append(row)
    pq.write_table(pa.Table.from_pylist(table), path, row_group_size=rows)
    return path


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Three days; on the second there is no SCL, so that items differ in what they have."""
    made = World(tmp_path)
    for day, value in ((1, 100), (2, 200), (3, 300)):
        bands = {"B04": value} if day == 2 else {"B04": value, "SCL": 4}
        made.scene(f"S{day}", f"2020-06-0{day}", bands, cloud_cover=None if day == 2 else 10.0 * day)
    made.parcels(box(1, 1))
    return made


def test_a_table_of_items_is_the_same_as_the_items(world: World) -> None:
    static = world.settings()
    table = write_table(world.files / "items.parquet", world.items, rows=1)
    of_table = settings_of(CollectionSettings(type="sentinel-2-l2a", source=str(table)))
    for entry in (*static.collections, *of_table.collections):
        found = open_catalog(entry, stores()).find_scenes(**EVER)
        assert [scene.id for scene in found] == ["S1", "S2", "S3"]
    one, other = (open_catalog(e, stores()).find_scenes(**EVER) for e in (*static.collections, *of_table.collections))
    assert [scene.to_json() for scene in one] == [scene.to_json() for scene in other]
    assert [list(scene.assets) for scene in other] == [["B04", "SCL"], ["B04"], ["B04", "SCL"]]
    assert [scene.cloud_cover for scene in other] == [10.0, None, 30.0]
    assert run(of_table, world.geopackage, REQUEST).data == run(static, world.geopackage, REQUEST).data
    catalog = open_catalog(of_table.collections[0], stores())
    assert catalog.extent()[1:] == (one[0].datetime, one[-1].datetime)
    newest = catalog.newest_scenes(**EVER, boxes=None, ids=frozenset({"S1", "S3"}))
    assert [scene.id for scene in newest] == ["S3", "S1"]


def test_row_groups_without_a_wanted_row_are_not_read(world: World) -> None:
    far = json.loads(json.dumps(world.items[2])) | {"id": "far", "bbox": [100.0, 0.0, 101.0, 1.0]}
    table = write_table(world.files / "items.parquet", [*world.items, far], rows=1)
    data = bytearray(table.read_bytes())
    metadata = pq.ParquetFile(table).metadata
    for group in (0, 3):
        columns = [metadata.row_group(group).column(number) for number in range(metadata.num_columns)]
        first = min(column.dictionary_page_offset or column.data_page_offset for column in columns)
        data[first : first + sum(column.total_compressed_size for column in columns)] = b"\0" * sum(
            column.total_compressed_size for column in columns
        )
    table.write_bytes(data)
    second = {"start": datetime(2020, 6, 2, tzinfo=UTC), "boxes": [(15.0, 46.0, 15.1, 46.1)]}
    # months are searched whole, so the first day's group is told apart by the place alone
    entry = CollectionSettings(type="byoc-1", source=str(table))
    finder = open_catalog(entry, stores())._finder  # type: ignore[attr-defined]
    from swathe.catalog.item_cache import Window

    pages = list(finder.find(Window(second["boxes"][0], second["start"], None)))
    assert [item["id"] for page in pages for item in page] == ["S2", "S3"]
    with pytest.raises(SourceError, match=r"items\.parquet cannot be read: row group 0 is broken"):
        names(table)


def test_tables_lie_in_stores_and_on_the_web_too(world: World) -> None:
    write_table(world.files / "items.parquet", world.items, rows=2)
    local = stores(local_root=world.folder)
    (scene, *_) = open_catalog(
        CollectionSettings(type="byoc-1", source="s3://scenes/items.parquet"), local
    ).find_scenes(**EVER)
    assert scene.assets["B04"].href == "s3://scenes/S1/B04.tif"
    with watched_site(world.files) as site:
        assert names(f"{site.url}/items.parquet", stores(hosts=("127.0.0.1",))) == ["S1", "S2", "S3"]
        assert all(wanted for method, _, wanted in site.requests if method == "GET")
        with pytest.raises(SourceError, match=r"none\.parquet") as hit:
            names(f"{site.url}/none.parquet?sig=confidential", stores(hosts=("127.0.0.1",)))
        assert "confidential" not in str(hit.value)


def test_what_is_no_table_of_items_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"nothing")
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "b.parquet")
    for name, message in (("a", "no Parquet file"), ("b", "has no column geometry, assets"), ("c", r"c\.parquet")):
        with pytest.raises(SourceError, match=message):
            names(tmp_path / f"{name}.parquet")


@pytest.mark.parametrize("name", ["earthsearch-s2-l2a-slovenia", "s2-l2a-tanzania-20m", "s1-grd-flanders"])
def test_published_tables_are_the_same_as_their_catalogs(name: str) -> None:
    folder = SHARED_DATA / "other" / name
    if not folder.is_dir():
        pytest.skip("the shared test data are not beside this checkout")
    one, other = (
        open_catalog(CollectionSettings(type="byoc-1", source=str(source)), stores()).find_scenes(**EVER)
        for source in (folder, folder / "items.parquet")
    )
    assert [scene.to_json() for scene in one] == [scene.to_json() for scene in other]


# Plain files


def write_jp2(path: Path, values: np.ndarray) -> None:
    """A lossless JPEG 2000 where `make_cog` puts its rasters."""
    path.parent.mkdir(parents=True, exist_ok=True)
    how = {"driver": "JP2OpenJPEG", "QUALITY": 100, "REVERSIBLE": "YES"}
    grid = {"crs": "EPSG:32633", "transform": Affine(10, 0, LEFT, 0, -10, TOP)}
    height, width = values.shape
    with rasterio.open(path, "w", width=width, height=height, count=1, dtype=values.dtype, **how, **grid) as file:
        file.write(values, 1)


def test_files_that_no_stac_describes_are_scenes_by_their_names(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.parcels(box(1, 1), box(4, 3))
    values = np.arange(1, 145, dtype="uint16").reshape(12, 12)
    for day in (1, 2, 3):
        make_cog(tmp_path / "tif" / f"T33_2020060{day}_B04.tif", values * day)
        write_jp2(tmp_path / "jp2" / f"2020/T33_2020060{day}_B04.jp2", values * day)
        world.scene(f"S{day}", f"2020-06-0{day}", {"B04": (values * day).tolist()})
    (tmp_path / "tif" / "readme.txt").write_text("no raster")
    wanted = run(world.settings(), world.geopackage, REQUEST)
    for folder in ("tif", "jp2"):
        entry = CollectionSettings(type="sentinel-2-l2a", source=str(tmp_path / folder), pattern=FILES)
        assert run(settings_of(entry), world.geopackage, REQUEST).data == wanted.data
    own = Catalog([CollectionSettings(type="byoc-x", source=str(tmp_path / "jp2"), pattern=FILES)], stores())
    assert list(own.collection("byoc-x").bands) == ["B04"]
    assert own.extent("byoc-x") == (None, datetime(2020, 6, 1, tzinfo=UTC), datetime(2020, 6, 3, tzinfo=UTC))


def test_a_folder_that_changes_is_seen_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swathe.catalog.cog_files._LOOK_AGAIN_S", 0.0)
    make_cog(tmp_path / "20200601_B04.tif", flat(1))
    searching = CatalogSettings(cache=tmp_path / ".cache")
    entry = CollectionSettings(type="byoc-x", source=str(tmp_path), pattern=FILES)
    catalog = open_catalog(entry, stores(), searching)
    assert [scene.id for scene in catalog.find_scenes(**EVER)] == ["20200601T000000"]
    make_cog(tmp_path / "20200602_B04.tif", flat(1))
    assert len(catalog.find_scenes(**EVER)) == len(open_catalog(entry, stores(), searching).find_scenes(**EVER)) == 2


SHOWN = """
import sys
from datetime import UTC, datetime
from swathe.catalog.opening import open_catalog
from swathe.settings import CollectionSettings, StorageSettings
from swathe.storage import ObjectStores
if __name__ == "__main__":
    entry = CollectionSettings(type="byoc-x", source=sys.argv[1], pattern=sys.argv[2])
    catalog = open_catalog(entry, ObjectStores(StorageSettings()), keeps_items=True)
    times = {"start": datetime.min.replace(tzinfo=UTC), "end": datetime.max.replace(tzinfo=UTC)}
    print([(scene.id, scene.bbox) for scene in catalog.find_scenes(**times)])
    print([name for name in ("rasterio", "numba", "imagecodecs") if name in sys.modules])
"""


def test_who_shows_files_opens_them_in_a_process_apart(tmp_path: Path) -> None:
    write_jp2(tmp_path / "files/20200601_B04.jp2", flat(7))
    make_cog(tmp_path / "files/20200602_B04.tif", flat(7))
    (tmp_path / "show.py").write_text(SHOWN)
    arguments = [sys.executable, str(tmp_path / "show.py"), str(tmp_path / "files"), FILES]
    shown, libraries = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.splitlines()
    entry = CollectionSettings(type="byoc-x", source=str(tmp_path / "files"), pattern=FILES)
    found = open_catalog(entry, stores()).find_scenes(**EVER)
    assert shown == str([(scene.id, scene.bbox) for scene in found])
    assert libraries == "[]"


@pytest.mark.parametrize(
    ("name", "pattern", "scene", "when"),
    [
        ("2020-06-19_B04.tif", r"(?P<date>[\d-]+)_(?P<band>B\d\d)", "20200619T000000", "2020-06-19T00:00:00"),
        ("B04_20200619T101530.tif", r"(?P<band>B\d\d)_(?P<date>\w+)", "20200619T101530", "2020-06-19T10:15:30"),
        ("2020112_B04.tif", r"(?P<date>\d{7})_(?P<band>B\d\d)", "20200421T000000", "2020-04-21T00:00:00"),
        (
            "33TWM/20200619/B04.tif",
            r"(?P<scene>\w+)/(?P<date>\d+)/(?P<band>B\d\d)",
            "33TWM_20200619T000000",
            "2020-06-19",
        ),
        ("soil_20200619.tif", r"_(?P<date>\d{8})", "soil_20200619", "2020-06-19"),
    ],
)
def test_how_names_tell_date_band_and_scene(tmp_path: Path, name: str, pattern: str, scene: str, when: str) -> None:
    make_cog(tmp_path / name, flat(7))
    entry = CollectionSettings(type="byoc-x", source=str(tmp_path), pattern=pattern)
    (found,) = open_catalog(entry, stores()).find_scenes(**EVER)
    assert (found.id, found.datetime) == (scene, datetime.fromisoformat(when).replace(tzinfo=UTC))
    assert list(found.assets) == ["B04" if "B04" in name else "B1"]
    assert found.bbox == pytest.approx((15.0, 46.0527, 15.00155, 46.0538), abs=1e-3)


@pytest.mark.parametrize(
    ("pattern", "error", "message"),
    [
        ("((", ValidationError, "is no regular expression"),
        ("B04", ValidationError, r"needs \(\?P<date>…\)"),
        ("(?P<date>x)(?P<when>y)", ValidationError, "has the groups date, when"),
        (r"(?P<date>T\d\d)", SourceError, "'T33' is no date that is understood; write dates like 20200619"),
        (r"(?P<date>\d{9})", SourceError, "None of the 2 files of .* fits"),
        (r"(?P<date>\d{8})_(?P<band>B)", SourceError, r"are both band B of 20200601T000000; give .* \(\?P<scene>…\)"),
    ],
)
def test_a_pattern_that_does_not_fit_is_an_error_with_the_remedy(
    tmp_path: Path, pattern: str, error: type[Exception], message: str
) -> None:
    for tile in ("T33", "T34"):
        make_cog(tmp_path / f"{tile}_20200601_B04.tif", flat(1))
    with pytest.raises(error, match=message):
        names(tmp_path, pattern=pattern)


def test_a_pattern_and_a_folder_of_files_belong_together(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="belong together"):
        names(tmp_path, kind="files")
    with pytest.raises(ValidationError, match="belong together"):
        names(tmp_path, kind="geoparquet", pattern=FILES)
    with pytest.raises(ValidationError, match="an address on the web"):
        names(tmp_path, kind="stac-api")


def test_a_published_scene_in_jpeg_2000_is_read(tmp_path: Path) -> None:
    folder = SHARED_DATA / "other" / "s2-l1c-brandenburg-jp2"
    if not folder.is_dir():
        pytest.skip("the shared test data are not beside this checkout")
    pattern = r"_(?P<date>\d{8}T\d{6})_(?P<band>B\w\w)\.jp2$"
    entry = CollectionSettings(type="sentinel-2-l1c", source=str(folder), pattern=pattern)
    (scene,) = open_catalog(entry, stores()).find_scenes(**EVER)
    assert len(scene.assets) == 13
    with rasterio.open(scene.assets["B8A"].href) as file:
        (_, pixels), *_ = BlockReader(stores()).read_blocks(scene.assets["B8A"].href, (1,), [(0, 0)])
        height, width = pixels.shape[-2:]
        assert np.array_equal(pixels[0], file.read(1)[:height, :width])


# Addresses


def test_files_are_read_at_their_alternative_addresses(world: World) -> None:
    for item in world.items:
        asset = item["assets"]["B04"]
        asset |= {
            "href": "https://gone.invalid/B04.tif",
            "alternate": {"s3": {"href": f"s3://scenes/{item['id']}/B04.tif"}},
        }
    entry = world.settings().collections[0].model_copy(update={"alternate": "s3"})
    settings = settings_of(entry, storage=StorageSettings(local_root=world.folder))
    assert run(settings, world.geopackage, REQUEST).means() == [100.0, 200.0, 300.0]


def test_a_bucket_elsewhere_is_read_with_its_own_keys_and_requests_cannot_reach_it(world: World) -> None:
    for item in world.items:
        item["assets"]["B04"]["href"] = f"s3://eodata/{item['id']}/B04.tif"
    with moto_server() as server:
        client = server.client()
        client.create_bucket(Bucket="eodata", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        for file in world.files.rglob("B04.tif"):
            client.upload_file(str(file), "eodata", f"{file.parent.name}/{file.name}")
            client.upload_file(str(file), "eodata", f"files/2020060{file.parent.name[1]}_B04.tif")
        place = SourceBucketSettings(
            endpoint_url=server.url,
            access_key=server.read_access_key,
            secret_access_key=SecretStr(server.read_secret_access_key),
        )
        storage = StorageSettings(local_root=world.folder / "buckets", sources={"eodata": place}, retries=0)
        entry = world.settings().collections[0]
        assert run(settings_of(entry, storage=storage), world.geopackage, REQUEST).means() == [100.0, 200.0, 300.0]
        assert names("s3://eodata/files", ObjectStores(storage), pattern=FILES) == [
            f"2020060{day}T000000" for day in "123"
        ]
        assert not ObjectStores(storage).exists("s3://eodata/S1/B04.tif")  # as a request would have it
        assert server.read_secret_access_key not in repr(storage)
