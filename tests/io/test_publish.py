"""What lies beside the documents: the execution database, the polygons, and no part of a unit that is not done."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterator
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from pyarrow import parquet

from servers import S3Server, moto_server
from swathe.engine.values import Table
from swathe.jobs import execution
from swathe.jobs.delivery import Delivery, ResultNames
from swathe.jobs.publish import Publication, publish
from swathe.jobs.records import FailedFeature
from swathe.model.common import S3Place
from swathe.model.errors import AccessDenied, ObjectNotFound
from swathe.settings import ResultSettings, Settings, StorageSettings

COUNT = 12
RID = "7f1d"


def make_features(folder: Path) -> None:
    """Twelve squares; number 5 crosses itself, number 6 has none; number 3 has no identifier."""
    folder.mkdir(parents=True, exist_ok=True)
    polygons = [shapely.box(500_000 + 20 * i, 5_000_000, 500_010 + 20 * i, 5_000_010) for i in range(COUNT)]
    polygons[4] = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    polygons[5] = None
    names = [None if i == 2 else f"field {i + 1}" for i in range(COUNT)]
    table = geopandas.GeoDataFrame({"identifier": names}, geometry=polygons, crs=32633)
    table.to_file(folder / "features.gpkg", driver="GPKG", engine="pyogrio")


class Publisher:
    """A job of three units over twelve features, without its server."""

    def __init__(self, folder: Path, url: str = "s3://out/run") -> None:
        self.root = folder / "buckets"
        self.job = folder / "job"
        self.settings = Settings(storage=StorageSettings(local_root=self.root))
        self.delivery = Delivery(self.settings.storage, S3Place(url=url), RID)
        make_features(self.job)

    def __call__(
        self, *states: str, failed: dict[int, str] | None = None, final: bool = False, **results: bool
    ) -> None:
        ids = np.array_split(np.arange(1, COUNT + 1)[::-1], len(states))
        units = tuple(
            (k, part.astype("<i8").tobytes(), state) for k, (part, state) in enumerate(zip(ids, states, strict=True))
        )
        settings = self.settings.model_copy(update={"results": ResultSettings(**results)})
        failures = tuple(FailedFeature(key, reason) for key, reason in (failed or {}).items())
        publish(Publication(settings, self.job, self.delivery, RID, units, failures, final))

    @property
    def file(self) -> Path:
        return self.root / f"out/run/{RID}/execution-{RID}.sqlite"

    def rows(self, columns: str = "id, status") -> list[tuple[object, ...]]:
        return read_rows(self.file, columns)


def read_rows(file: Path, columns: str = "id, status") -> list[tuple[object, ...]]:
    with sqlite3.connect(f"{file.as_uri()}?mode=ro&immutable=1", uri=True) as database:
        return database.execute(f"SELECT {columns} FROM features ORDER BY id").fetchall()


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path)


def test_the_execution_database_says_how_far_each_feature_is(publisher: Publisher) -> None:
    publisher("PENDING", "PENDING", "PENDING")
    assert publisher.rows() == [(key, "PENDING") for key in range(1, 13)]
    publisher("DONE", "PENDING", "PENDING", failed={11: "no scene", 2: "of a unit that is not done"})
    assert publisher.rows("id, name, status, error, delivered") == [
        *[(key, "3" if key == 3 else f"field {key}", "PENDING", None, 0) for key in range(1, 9)],
        (9, "field 9", "DONE", None, 1),
        (10, "field 10", "DONE", None, 1),
        (11, "field 11", "FATAL", "no scene", 1),
        (12, "field 12", "DONE", None, 1),
    ]
    publisher("DONE", "DONE", "DONE", failed={11: "no scene", 2: "now it is"}, final=True)
    assert publisher.rows("status").count(("DONE",)) == 10
    assert publisher.rows("id, error")[1] == (2, "now it is")


def test_the_database_is_one_whole_file(publisher: Publisher) -> None:
    publisher("DONE", "PENDING", "DONE")
    assert sorted(path.name for path in publisher.file.parent.iterdir()) == [publisher.file.name]
    with sqlite3.connect(publisher.file) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_a_failure_that_is_told_late_is_still_fatal(publisher: Publisher) -> None:
    publisher("DONE", "PENDING", "PENDING")
    publisher("DONE", "PENDING", "PENDING", failed={12: "late"})
    assert publisher.rows("id, status, error")[11] == (12, "FATAL", "late")


def test_nothing_is_put_again_when_nothing_is_new(publisher: Publisher) -> None:
    publisher("DONE", "PENDING", "PENDING", failed={12: "x"})
    before = publisher.file.stat().st_ino
    publisher("DONE", "PENDING", "PENDING", failed={12: "x"})
    assert publisher.file.stat().st_ino == before
    publisher("DONE", "DONE", "PENDING", failed={12: "x"})
    assert publisher.file.stat().st_ino != before


def test_what_was_not_put_because_the_store_refused_is_put_later(publisher: Publisher, tmp_path: Path) -> None:
    publisher("PENDING", "PENDING", "PENDING")
    away = publisher.root.rename(tmp_path / "away")
    publisher.root.write_bytes(b"no folder")
    with pytest.raises(Exception, match="cannot be written"):
        publisher("DONE", "PENDING", "PENDING")
    publisher.root.unlink()
    away.rename(publisher.root)
    publisher("DONE", "PENDING", "PENDING")
    assert publisher.rows("status").count(("DONE",)) == 4


@pytest.mark.parametrize("harm", ["gone", "damaged", "cut short"])
def test_a_kept_copy_that_is_lost_is_made_again(publisher: Publisher, harm: str) -> None:
    publisher("DONE", "PENDING", "PENDING")
    kept = publisher.job / "execution.sqlite"
    if harm == "gone":
        kept.unlink()
    else:
        kept.write_bytes(b"x" * 9000 if harm == "damaged" else kept.read_bytes()[:4096])
    publisher("DONE", "DONE", "PENDING")
    assert publisher.rows("status").count(("DONE",)) == 8


def test_a_unit_that_was_split_is_known_by_its_halves(publisher: Publisher) -> None:
    publisher("PENDING", "PENDING", "DONE")
    publisher("PENDING", "DONE", "PENDING", "DONE", "DONE", "DONE")
    assert [status for (status,) in publisher.rows("status")] == [
        *["DONE"] * 6,
        *["PENDING"] * 2,
        *["DONE"] * 2,
        *["PENDING"] * 2,
    ]


def test_parts_of_units_that_are_not_done_are_removed_at_the_end(publisher: Publisher) -> None:
    for index in (0, 1, 2, 7, 123_456):
        publisher.delivery.write_table(Table(index, b"PAR1 %d" % index))
    folder = publisher.file.parent / "statistics"
    (folder / "notes.txt").write_bytes(b"mine")
    publisher("DONE", "DONE", "PENDING")
    assert len(list(folder.iterdir())) == 6
    publisher("DONE", "DONE", "SPLIT", final=True)
    assert sorted(path.name for path in folder.iterdir()) == ["notes.txt", "part-00000.parquet", "part-00001.parquet"]


def test_the_polygons_lie_beside_the_statistics(publisher: Publisher) -> None:
    publisher("DONE", "DONE", "DONE", final=True)
    file = publisher.file.parent / "geometry.parquet"
    table = geopandas.read_parquet(file)
    source = geopandas.read_file(publisher.job / "features.gpkg")
    assert table.crs == "EPSG:32633"
    assert table["id"].tolist() == list(range(1, COUNT + 1))
    assert table["identifier"].tolist()[:2] == ["field 1", "field 2"]
    assert table["part"].tolist() == [f"part-0000{2 - k // 4}.parquet" for k in range(COUNT)]
    there = table.geometry.notna()
    assert there.tolist() == [k != 5 for k in range(COUNT)]
    assert table.geometry[there].geom_equals_exact(source.geometry[there], 0).all()
    # readers find a place without reading all
    few = geopandas.read_parquet(file, bbox=(500_000, 5_000_000, 500_025, 5_000_010))
    assert few["id"].tolist() == [1, 2]
    assert parquet.ParquetFile(file).metadata.row_group(0).column(0).statistics.max == COUNT
    assert not (publisher.job / "geometry.parquet").exists()


def test_each_may_be_turned_off(publisher: Publisher) -> None:
    publisher("DONE", "DONE", "DONE", final=True, parquet=False, execution_database=False)
    assert not publisher.root.exists() or not list(publisher.root.rglob("*.*"))
    publisher("DONE", "DONE", "DONE", final=True, parquet=False)
    assert [path.name for path in publisher.file.parent.iterdir()] == [publisher.file.name]


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("s3://b/run", "s3://b/run/7f1d"),
        ("s3://b/run/", "s3://b/run/7f1d"),
        ("s3://b/<REQUEST_ID>/<ID>.json", "s3://b/7f1d"),
        ("s3://b/run-<REQUEST_ID>/a/<IDENTIFIER>/x.json", "s3://b/run-7f1d/a"),
        ("s3://b/<ID>.json", "s3://b/7f1d"),
        ("s3://b/x/<IDENTIFIER>-<REQUEST_ID>.json", "s3://b/x/7f1d"),
        ("s3://b/x/<REQUEST_ID>-<ID>.json", "s3://b/x/7f1d"),
    ],
)
def test_what_concerns_all_features_lies_in_one_folder_of_the_request(url: str, folder: str) -> None:
    assert ResultNames.from_url(url).common_folder(RID) == folder


@pytest.fixture(scope="module")
def moto() -> Iterator[S3Server]:
    with moto_server() as server:
        server.client().create_bucket(Bucket="out", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        yield server


def test_all_of_it_on_s3(publisher: Publisher, moto: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = S3Place(url="s3://out/deep/run", access_key=moto.access_key, secret_access_key=moto.secret_access_key)
    # as if the files were long: sent in parts
    monkeypatch.setattr("swathe.storage.stores._WHOLE_BYTES", 100)
    publisher.delivery = Delivery(StorageSettings(endpoint_url=moto.url), place, RID)
    publisher.delivery.write_table(Table(9, memoryview(array("b", b"left over"))))
    publisher("DONE", "DONE", "PENDING")
    publisher("DONE", "DONE", "DONE", final=True)
    listed = moto.client().list_objects_v2(Bucket="out")["Contents"]
    folder = f"deep/run/{RID}"
    assert [entry["Key"] for entry in listed] == [f"{folder}/execution-{RID}.sqlite", f"{folder}/geometry.parquet"]
    moto.client().download_file("out", f"{folder}/execution-{RID}.sqlite", str(tmp_path / "got.sqlite"))
    assert read_rows(tmp_path / "got.sqlite") == [(key, "DONE") for key in range(1, 13)]
    moto.client().download_file("out", f"{folder}/geometry.parquet", str(tmp_path / "got.parquet"))
    assert len(geopandas.read_parquet(tmp_path / "got.parquet")) == COUNT
    assert "Uploads" not in moto.client().list_multipart_uploads(Bucket="out")


def test_a_refusal_is_told_as_such(publisher: Publisher, moto: S3Server) -> None:
    for keys, bucket, kind in (
        (("nobody", "knows"), "out", AccessDenied),
        ((moto.access_key, moto.secret_access_key), "nowhere", ObjectNotFound),
    ):
        place = S3Place(url=f"s3://{bucket}/run", access_key=keys[0], secret_access_key=keys[1])
        publisher.delivery = Delivery(StorageSettings(endpoint_url=moto.url), place, RID)
        with pytest.raises(kind) as caught:
            publisher("DONE", "PENDING", "PENDING")
        assert not caught.value.retryable
        assert keys[1] not in str(caught.value)


def test_the_name_is_the_providers() -> None:
    assert execution.database_name("4d1a") == "execution-4d1a.sqlite"
