"""The examples of docs/results.md on a small data set, and how little of it a series needs."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from pyarrow import dataset, parquet
from typer.testing import CliRunner

from swathe.cli.main import make_app
from swathe.client import BatchStatisticalResults
from swathe.client.locations import DocumentLocation, find_address
from swathe.engine.values import Analysis, Table, UnitPlan
from swathe.jobs.local import FolderDelivery
from swathe.model.time import TimeRange
from swathe.outputs.documents import BandResult, IntervalEntry
from swathe.outputs.rows import FeatureEntries
from swathe.outputs.tables import TableForm, write_table
from swathe.statistics.summary import Summary

EXAMPLES = re.findall(
    r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs/results.md").read_text("utf-8"), re.DOTALL
)


def make_part(index: int, ids: np.ndarray[Any, Any], days: int) -> Table:
    """`mean` is id + day / 100."""
    entries = []
    for day in range(days):
        start = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day)
        flat = np.ones(len(ids), np.float32)
        summary = Summary(np.full(len(ids), 9, np.int32), None, flat, flat, ids + day / 100, np.zeros(len(ids)))
        bands = {"data": {"B0": BandResult(summary, np.full(len(ids), 9))}}
        entries.append(IntervalEntry(TimeRange(start, start + timedelta(days=1)), 0, len(ids), bands))
    return Table(index, write_table(TableForm(), [FeatureEntries(ids, [f"field {key}" for key in ids], entries)]))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six features in two parts whose ids interleave."""
    geopandas = pytest.importorskip("geopandas")
    monkeypatch.chdir(tmp_path)
    boxes = [shapely.box(500_000 + 50 * i, 5_000_000, 500_010 + 50 * i, 5_000_010) for i in range(6)]
    geopandas.GeoDataFrame(geometry=boxes, crs=32633).to_file("features.gpkg", driver="GPKG", engine="pyogrio")
    delivery = FolderDelivery(tmp_path / "out")
    plans = tuple(UnitPlan(k, np.arange(1 + k, 7, 2), 10) for k in range(2))
    for plan in plans:
        delivery.write_table(make_part(plan.index, plan.feature_ids, days=40))
    delivery.write_geometry(tmp_path / "features.gpkg", Analysis(6, 1, plans, 1.0, b""))
    with sqlite3.connect("execution.sqlite") as database:
        database.execute("CREATE TABLE features (id, name, status, error, delivered)")
        database.execute("INSERT INTO features VALUES (1, 'a', 'FATAL', 'no polygon', 1)")
    return tmp_path


def run(text: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(text, names)
    return names


def example(word: str) -> str:
    (found,) = [text for text in EXAMPLES if word in text]
    return found


def test_a_series_by_duckdb(place: Path) -> None:
    pytest.importorskip("duckdb")
    series = run(example("duckdb"))["series"]
    assert series["mean"].to_pylist() == [2 + day / 100 for day in range(40)]


def test_months_by_polars(place: Path) -> None:
    pytest.importorskip("polars")
    monthly = run(example("polars"))["monthly"]
    assert monthly.shape == (12, 4)
    assert monthly["mean"][0] == pytest.approx(1 + np.arange(31).mean() / 100)


def test_a_map_by_geopandas(place: Path) -> None:
    names = run(example("merge"))
    assert sorted(set(names["table"]["id"])) == [1, 2, 3]
    assert len(names["table"]) == 3 * 40
    assert names["table"].crs == "EPSG:32633"
    one = run("import geopandas, pandas\n" + example('["part"]'))["one"]
    assert one["mean"].tolist() == [2 + day / 100 for day in range(40)]


def test_tables_and_pictures_and_files_by_the_client(place: Path) -> None:
    pytest.importorskip("xvec")
    import geopandas
    import matplotlib

    matplotlib.use("Agg")
    words = (
        "from_address",
        "one = results.to_dataframe",
        "to_xarray(statistics",
        "import xvec",
        "plot_series",
        "export(",
    )
    names = run("\n".join(example(word) for word in words))
    assert len(names["frame"]) == 6 * 40
    assert names["one"]["mean"].tolist() == [2 + day / 100 for day in range(9, 31)]
    assert (names["fields"].crs, len(names["fields"])) == ("EPSG:4326", 6)
    assert names["near"]["feature"].values.tolist() == [1, 2]
    assert [text.get_text() for text in names["ax"].get_legend().get_texts()] == ["field 2", "field 3"]
    matplotlib.pyplot.close("all")
    assert Path("series.png").read_bytes().startswith(b"\x89PNG")
    layer = geopandas.read_file("parcels-ndvi.gpkg", layer="features")
    assert sorted(layer["data_mean_20240102"]) == [key + 0.01 for key in range(1, 7)]
    assert {file.name for file in place.glob("*.*") if file.suffix in (".csv", ".parquet")} == {
        "statistics.csv", "means.parquet",
    }  # fmt: skip


def test_the_client_reads_the_part_of_a_feature_alone(place: Path) -> None:
    pytest.importorskip("pandas")
    read: list[str] = []

    class Watched(DocumentLocation):
        def read_range(self, key: str, start: int, end: int) -> bytes:
            read.append(key)
            return super().read_range(key, start, end)

    found = find_address(place / "out")
    results = BatchStatisticalResults(Watched(found.store, found.template, found.root, found.shared))
    assert results.to_dataframe(["field 4"], columns=["mean"])["mean"].tolist() == [4 + day / 100 for day in range(40)]
    # Of the first part, what columns there are.
    assert set(read) == {"geometry.parquet", "statistics/part-00000.parquet", "statistics/part-00001.parquet"}
    read.clear()
    assert len(results.to_dataframe(3, columns=["mean"])) == 40
    assert set(read) == {"geometry.parquet", "statistics/part-00000.parquet"}


def test_tables_and_pictures_and_files_by_the_command(place: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/results.md").read_text("utf-8")
    lines = [line.split(" ", 1)[1] for line in re.findall(r"^    (swathe results .*)$", page, re.MULTILINE)]
    here = [shlex.split(line) for line in lines if " out " in f"{line} "]
    assert len(here) == 8
    for words in here:
        done = CliRunner().invoke(make_app(), words)
        assert done.exit_code == 0, (words, done.output, done.exception)
    made = {file.name for file in place.iterdir() if file.is_file()}
    assert {"series.png", "seasons.pdf", "map.svg", "statistics.csv", "means.parquet", "parcels-ndvi.gpkg"} <= made


def test_failures_by_sqlite(place: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        run(example("FATAL"))
    assert printed.getvalue() == "1 no polygon\n"


def test_a_series_needs_a_small_part_of_the_data_set(tmp_path: Path) -> None:
    """Parts of 2,000 features x 12 dates whose ranges of ids are all the same."""
    for index in range(4):
        table = make_part(index, np.arange(1 + index, 8_001, 4), days=12)
        (tmp_path / f"part-{index:05}.parquet").write_bytes(table.data)
    wanted = dataset.field("id") == 4_321
    groups = [
        (fragment.path, group.id)
        for whole in dataset.dataset(tmp_path).get_fragments(wanted)
        for fragment in whole.split_by_row_group(wanted)
        for group in fragment.row_groups
    ]
    assert len(groups) == 4  # by the ranges of ids, one of each part's five
    file = parquet.ParquetFile(tmp_path / "part-00000.parquet")
    assert file.metadata.num_row_groups == 5
    assert {file.metadata.row_group(k).num_rows for k in range(4)} == {5_000}
    assert dataset.dataset(tmp_path).to_table(filter=wanted)["mean"].to_pylist() == [
        4_321 + day / 100 for day in range(12)
    ]


def test_bloom_filters_spare_the_parts_without_the_feature(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    for index in range(4):
        (tmp_path / f"part-{index}.parquet").write_bytes(make_part(index, np.arange(1 + index, 801, 4), days=3).data)
    query = f"SELECT file_name, bloom_filter_excludes FROM parquet_bloom_probe('{tmp_path}/part-*.parquet', 'id', 321)"
    excluded = {Path(name).name: spared for name, spared in duckdb.sql(query).fetchall()}
    assert excluded == {"part-0.parquet": False, "part-1.parquet": True, "part-2.parquet": True, "part-3.parquet": True}
