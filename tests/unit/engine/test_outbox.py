"""What leaves a unit: every feature's document, some at once, and the table of all."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from swathe.engine import outbox
from swathe.engine.outbox import deliver_documents
from swathe.engine.values import Document, Table
from swathe.model.statistical import Sampling
from swathe.model.time import TimeRange
from swathe.outputs.documents import BandResult, IntervalEntry
from swathe.statistics.summary import Summary

DAY = TimeRange(datetime(2020, 6, 1, tzinfo=UTC), datetime(2020, 6, 2, tzinfo=UTC))
LATE = ("TIMEOUT", "It took too long")


def make_task(features: int) -> Any:
    unit = SimpleNamespace(
        index=12,
        feature_ids=np.arange(100, 100 + features),
        identifiers=tuple(f"parcel {number}" for number in range(features)),
    )
    return SimpleNamespace(
        unit=unit, request=SimpleNamespace(aggregation=SimpleNamespace(sampling=Sampling()), calculations={})
    )


def make_group(members: list[int], *entries: IntervalEntry) -> Any:
    count = len(members)
    return SimpleNamespace(
        members=np.array(members),
        grids=SimpleNamespace(sample_count=np.full(count, 512 * 512)),
        charged=np.arange(1.0, count + 1),
        entries=list(entries),
    )


def make_entry(first: int, count: int) -> IntervalEntry:
    measures = np.arange(count, dtype=np.float64)
    counts = np.full(count, 4)
    return IntervalEntry(DAY, first, count, {"v": {"B0": BandResult(Summary(counts, *[measures] * 5), counts + 1)}})


def deliver(
    task: Any, groups: list[Any], problems: dict[int, str]
) -> tuple[Any, list[list[Document]], list[Table], list[int]]:
    delivered: list[list[Document]] = []
    tables: list[Table] = []
    told: list[int] = []
    report = deliver_documents(
        task, groups, problems, lambda documents: delivered.append(list(documents)), told.append, tables.append
    )
    return report, delivered, tables, told


def test_every_feature_leaves_with_a_document_and_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_DELIVER_AT_ONCE", 2)
    groups = [
        make_group([4, 0], make_entry(0, 2)),
        make_group([1, 3], make_entry(1, 1), IntervalEntry(DAY, 0, 1, error=LATE)),
    ]
    report, delivered, tables, told = deliver(make_task(5), groups, {2: "no polygon"})
    assert [len(documents) for documents in delivered] == [2, 2, 1]
    assert told == [2, 4, 5]
    documents = [document for some in delivered for document in some]
    assert [(d.feature_id, d.identifier, d.failure) for d in documents] == [
        (102, "parcel 2", "no polygon"),
        (104, "parcel 4", None),
        (100, "parcel 0", None),
        (101, "parcel 1", LATE[1]),
        (103, "parcel 3", None),
    ]
    assert all(json.loads(d.data)["id"] == d.feature_id for d in documents)
    assert json.loads(documents[2].data)["response"]["data"][0]["outputs"]["v"]["bands"]["B0"]["stats"]["mean"] == 1.0
    assert json.loads(documents[3].data)["response"]["status"] == "FAILED"
    assert (report.done, report.failed, report.failures) == (3, 2, {102: "no polygon", 101: LATE[1]})
    assert report.cost_pu == 1.0 + 2.0 + 2.0  # who failed is not charged

    (table,) = tables
    assert table.index == 12
    rows = parquet.read_table(io.BytesIO(table.data)).to_pylist()
    assert [(row["id"], row["identifier"], row["mean"], row["error"]) for row in rows] == [
        (100, "parcel 0", 1.0, None),
        (101, "parcel 1", None, "TIMEOUT: It took too long"),
        (102, "parcel 2", None, "BAD_REQUEST: no polygon"),
        (103, "parcel 3", 0.0, None),
        (104, "parcel 4", 0.0, None),
    ]


def test_without_a_taker_no_table_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "write_table", None)
    delivered: list[Document] = []
    report = deliver_documents(make_task(1), [make_group([0], make_entry(0, 1))], {}, delivered.extend, lambda _: None)
    assert (report.done, len(delivered)) == (1, 1)


def test_every_failure_is_named() -> None:
    report, delivered, _, _ = deliver(make_task(150), [], dict.fromkeys(range(150), "no"))
    assert (report.failed, len(report.failures)) == (150, 150)
    assert sum(map(len, delivered)) == 150
