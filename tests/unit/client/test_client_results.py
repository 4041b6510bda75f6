"""Results streamed from folders."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from swathe.client import BatchStatisticalRequest, BatchStatisticalResults, SentinelHubBatchStatistical, SHConfig
from swathe.client.locations import DocumentLocation, find_location
from swathe.model.errors import ObjectNotFound, StorageError

RID = "5e7a"


@pytest.fixture
def client() -> SentinelHubBatchStatistical:
    return SentinelHubBatchStatistical(SHConfig(use_defaults=True))


def make_request(url: str) -> BatchStatisticalRequest:
    document = {"id": RID, "completionPercentage": 100, "status": "DONE", "request": {"output": {"s3": {"url": url}}}}
    return BatchStatisticalRequest.from_dict(document)


def write(folder: Path, name: str, content: Any) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def document(feature_id: int, identifier: str = "") -> dict[str, Any]:
    return {"id": feature_id, "identifier": identifier, "response": {"status": "OK", "data": []}}


def ids(results: BatchStatisticalResults) -> list[int]:
    return sorted(one["id"] for one in results)


def test_documents_of_the_default_layout_are_read_and_nothing_else(
    client: SentinelHubBatchStatistical, tmp_path: Path
) -> None:
    folder = tmp_path / "bucket" / "out" / RID
    for number in range(20):
        write(folder, f"{number}.json", document(number))
    write(folder, "manifest.json", {"features": 20})
    write(folder, "id.json", {"id": "no document"})
    write(folder, "list.json", [1])
    write(folder, "readme.txt", "hello")
    write(folder, "sub/99.json", document(99))
    write(folder.parent, "98.json", document(98))
    results = client.results(make_request("s3://bucket/out/"), local_root=tmp_path)
    assert ids(results) == list(range(20))
    assert ids(results) == list(range(20))


def test_a_raw_payload_will_do(client: SentinelHubBatchStatistical, tmp_path: Path) -> None:
    write(tmp_path / "bucket" / RID, "1.json", document(1))
    payload = make_request("s3://bucket").to_dict()
    assert ids(client.results(payload, local_root=tmp_path)) == [1]


def test_features_are_read_by_id_and_one_without_a_document_is_an_error(
    client: SentinelHubBatchStatistical, tmp_path: Path
) -> None:
    for number in range(5):
        write(tmp_path / "b" / RID, f"{number}.json", document(number))
    request = make_request("s3://b")
    found = client.results(request, local_root=tmp_path, feature_ids=[3, "1", 3])
    assert [one["id"] for one in found] == [3, 1]
    with pytest.raises(ObjectNotFound, match=r"7\.json"):
        ids(client.results(request, local_root=tmp_path, feature_ids=[1, 7]))


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("s3://b/a/<ID>.json", "a/{id}.json"),
        ("s3://b/<REQUEST_ID>/x-<ID>-y.json", RID + "/x-{id}-y.json"),
        ("s3://b/a/<IDENTIFIER>.json", "a/{identifier}.json"),
        ("s3://b/<IDENTIFIER>/<REQUEST_ID>/<ID>", "{identifier}/" + RID + "/{id}"),
        ("s3://b/<ID>_<IDENTIFIER>.json", "{id}_{identifier}.json"),
        ("s3://b/a+(1)/<IDENTIFIER>_<ID>.json", "a+(1)/{identifier}_{id}.json"),
    ],
)
def test_templates_say_where_documents_are(
    client: SentinelHubBatchStatistical, tmp_path: Path, url: str, name: str
) -> None:
    for number in range(5):
        identifier = f"parcel {number}%20#é_7"
        write(tmp_path / "b", name.format(id=number, identifier=identifier), document(number, identifier))
    request = make_request(url)
    assert ids(client.results(request, local_root=tmp_path)) == [0, 1, 2, 3, 4]
    assert ids(client.results(request, local_root=tmp_path, feature_ids=[4, 0])) == [0, 4]
    with pytest.raises(ObjectNotFound, match="9"):
        ids(client.results(request, local_root=tmp_path, feature_ids=[4, 9]))


def test_a_folder_holds_the_documents_itself_or_in_one_named_by_the_request(
    client: SentinelHubBatchStatistical, tmp_path: Path
) -> None:
    write(tmp_path, "1.json", document(1))
    request = make_request("gs://elsewhere")
    assert ids(BatchStatisticalResults.from_folder(tmp_path)) == [1]
    assert ids(client.results(request, folder=tmp_path)) == [1]
    write(tmp_path / RID, "2.json", document(2))
    assert ids(client.results(request, folder=tmp_path)) == [2]
    assert ids(client.results(make_request(str(tmp_path)))) == [2]
    assert ids(client.results(make_request(tmp_path.as_uri()))) == [2]


def test_places_that_cannot_be_read_are_told(client: SentinelHubBatchStatistical, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="pass `folder=`"):
        client.results(make_request("gs://bucket/a"))
    with pytest.raises(StorageError, match="names no S3 output"):
        client.results({"id": RID, "request": {}})
    with pytest.raises(StorageError, match="is no S3 URL"):
        client.results(make_request("s3://../../etc"), local_root=tmp_path)
    with pytest.raises(ObjectNotFound, match="there is no folder"):
        client.results(make_request("s3://bucket/a"), local_root=tmp_path)
    with pytest.raises(ObjectNotFound, match="there is no folder"):
        BatchStatisticalResults.from_folder(tmp_path / "none")


def test_a_place_without_documents_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "other.json", {})
    with pytest.raises(ObjectNotFound, match="there are no documents"):
        ids(BatchStatisticalResults.from_folder(tmp_path))


def test_a_broken_document_is_named(tmp_path: Path) -> None:
    write(tmp_path, "1.json", '{"id": 1, "resp')
    with pytest.raises(StorageError, match=r"1\.json is not JSON"):
        ids(BatchStatisticalResults.from_folder(tmp_path))


def test_few_documents_are_fetched_ahead_of_the_reader(tmp_path: Path) -> None:
    for number in range(50):
        write(tmp_path, f"{number}.json", document(number))
    location = find_location({}, "", folder=tmp_path)
    lock = threading.Lock()
    reads, running, most = 0, 0, 0

    class Counting(DocumentLocation):
        def read(self, key: str) -> bytes:
            nonlocal reads, running, most
            with lock:
                reads, running = reads + 1, running + 1
                most = max(most, running)
            time.sleep(0.002)
            content = super().read(key)
            with lock:
                running -= 1
            return content

    results = BatchStatisticalResults(Counting(location.store, location.template, location.root), concurrency=4)
    stream = iter(results)
    for taken in range(1, 11):
        next(stream)
        assert reads <= taken + 4
    stream.close()  # type: ignore[attr-defined]
    assert reads <= 14
    assert 2 <= most <= 4


def test_results_become_a_table(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    for number in (10, 9):
        write(tmp_path, f"{number}.json", document(number))
    assert BatchStatisticalResults.from_folder(tmp_path).to_dataframe()["feature_id"].tolist() == [9, 10]
