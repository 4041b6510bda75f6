"""What Swathe delivered: its documents as arrays, and whether everything is there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Result:
    """`(date, parcel)` each; NaN is the mean of nothing."""

    count: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]


def read_documents(folder: Path, parcels: int, days: list[str], output: str = "ndvi") -> Result:
    """Counts (sums of weights where there are weights) and means of the first band, of the parcels 1, 2, …

    A day without an interval counts nothing.
    """
    count, mean = np.zeros((len(days), parcels)), np.full((len(days), parcels), np.nan)
    rows = {day: row for row, day in enumerate(days)}
    for key in range(1, parcels + 1):
        document = json.loads((folder / f"{key}.json").read_bytes())
        for part in document["response"]["data"]:
            stats = next(iter(part["outputs"][output]["bands"].values()))["stats"]
            row = rows[part["interval"]["from"][:10]]
            samples = stats["sampleCount"] - stats["noDataCount"]
            count[row, key - 1] = stats.get("weightSum", samples)
            mean[row, key - 1] = float(stats["mean"])
    return Result(count, mean)


def check_delivery(folder: Path, parcels: int) -> str:
    """What a run delivered, in words.

    Raises:
        SystemExit: a document is missing, or the table has not the same rows as the documents.
    """
    documents = sum(1 for path in folder.glob("*.json") if path.stem.isdigit())
    if documents != parcels:
        raise SystemExit(f"{documents:,} documents were delivered for {parcels:,} parcels")
    tables = sorted((folder / "statistics").glob("part-*.parquet"))
    if not tables:
        return f"{documents:,} documents, no table"
    import pyarrow.parquet as pq

    # a parcel without any result has one row that says nothing
    rows = sum(len(column) - column.null_count for column in (pq.read_table(table)["output"] for table in tables))
    expected = sum(_rows(json.loads((folder / f"{key}.json").read_bytes())) for key in range(1, parcels + 1))
    if rows != expected:
        raise SystemExit(f"The table has {rows:,} rows, the documents {expected:,}")
    return f"{documents:,} documents, {rows:,} rows in {len(tables)} Parquet files"


def _rows(document: dict[str, Any]) -> int:
    """The statistics of a document: one for each interval, output and band."""
    parts = document["response"]["data"] or []
    return sum(len(output["bands"]) for part in parts for output in part["outputs"].values())
