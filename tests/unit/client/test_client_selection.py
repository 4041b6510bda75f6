"""What of some results is meant, where the data set lies, and which libraries are asked for."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from swathe.client import BatchStatisticalResults
from swathe.client.extras import LibraryMissing, load
from swathe.client.locations import find_address, find_location
from swathe.client.selection import Selection
from swathe.model.errors import ObjectNotFound

RID = "5e7a"


def test_numbers_are_ids_and_texts_are_identifiers_or_ids() -> None:
    selection = Selection.of([3, "7", "field"])
    assert (selection.ids, selection.names) == ({3, 7}, {"7", "field"})
    assert Selection.of("field").names == {"field"}
    assert Selection.of().is_of_features is False
    assert selection.missing_in([3], ["7"]) == ["field"]
    assert selection.missing_in([3, 7], ["field", None]) == []
    assert selection.missing_in([], []) == ["3", "7", "field"]


def test_a_range_of_time_has_both_of_its_ends() -> None:
    selection = Selection.of(intervals=("2024-06-01", "2024-06-30"))
    assert selection.start == datetime(2024, 6, 1, tzinfo=UTC)
    assert selection.end == datetime(2024, 6, 30, 23, 59, 59, tzinfo=UTC)
    assert Selection.of(intervals=("2024-06-01", None)).end is None
    with pytest.raises(ValueError, match="after its end"):
        Selection.of(intervals=("2024-06-30", "2024-06-01"))


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("s3://b", RID),
        ("s3://b/out/", f"out/{RID}"),
        ("s3://b/out/<ID>.json", f"out/{RID}"),
        ("s3://b/out/<REQUEST_ID>/<ID>.json", f"out/{RID}"),
        ("s3://b/<REQUEST_ID>/a/<IDENTIFIER>/<ID>.json", f"{RID}/a"),
        ("s3://b/x-<ID>-<REQUEST_ID>.json", RID),
    ],
)
def test_the_data_set_lies_where_servers_put_it(tmp_path: Path, url: str, folder: str) -> None:
    (tmp_path / "b" / folder / "statistics").mkdir(parents=True)
    (tmp_path / "b" / folder / "statistics" / "part-00000.parquet").write_bytes(b"12345")
    location = find_location({"s3": {"url": url}}, RID, local_root=tmp_path)
    assert location.list_folder("statistics") == [(f"{folder}/statistics/part-00000.parquet", 5)]
    assert location.size_of("geometry.parquet") is None
    local = find_address(tmp_path / "b" / folder)
    assert local.list_folder("statistics") == [("statistics/part-00000.parquet", 5)]
    assert find_address(f"s3://b/{folder}", local_root=tmp_path).list_folder("statistics") != []
    assert local.read_range("statistics/part-00000.parquet", 1, 3) == b"23"


def test_a_folder_without_anything_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    with pytest.raises(ObjectNotFound, match="there are no documents"):
        BatchStatisticalResults.from_address(tmp_path).to_dataframe()
    with pytest.raises(ObjectNotFound, match="there is no folder"):
        BatchStatisticalResults.from_address(tmp_path / "none")


@pytest.mark.parametrize(
    ("library", "extra"), [("pandas", "dataframe"), ("matplotlib.pyplot", "plots"), ("geopandas", "plots")]
)
def test_a_missing_library_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, library: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    name = library.partition(".")[0]
    with pytest.raises(LibraryMissing, match=rf'a map needs {name}: pip install "swathe\[{extra}\]"'):
        load(library, "a map")


def test_without_pyarrow_the_documents_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    (tmp_path / "statistics").mkdir()
    (tmp_path / "statistics" / "part-00000.parquet").write_bytes(b"not asked for")
    (tmp_path / "1.json").write_text('{"id": 1, "identifier": "a", "response": {"status": "OK", "data": []}}')
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    frame = BatchStatisticalResults.from_address(tmp_path).to_dataframe()
    assert frame["identifier"].tolist() == ["a"]
