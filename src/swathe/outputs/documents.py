"""What is said of a feature, and the frame of the JSON document in which the Batch Statistical API delivers it.

    {"id": 1, "identifier": "…", "response": {"data": [{"interval": …, "outputs": …}, …], "status": "OK"}}

Numbers are written as the shortest text that reads back as the same float64, so equal results are equal bytes. Values
that do not exist are the string "NaN".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from swathe.model.statistical import Sampling
from swathe.model.time import TimeRange
from swathe.statistics.distribution import Histograms
from swathe.statistics.summary import Summary


@dataclass(frozen=True)
class BandResult:
    """Statistics of one band of one output over a run of features; `percentiles` is (features, percents)."""

    summary: Summary
    sample_count: np.ndarray[Any, np.dtype[np.int64]]
    percents: tuple[float, ...] = ()
    percentiles: np.ndarray[Any, np.dtype[np.float64]] | None = None
    histograms: Histograms | None = None
    integer_edges: bool = False
    weighted: bool = False


@dataclass(frozen=True)
class IntervalEntry:
    """What one interval says of a run of features (`first` and following): band results, or an error for all."""

    interval: TimeRange
    first: int
    count: int
    bands: Mapping[str, Mapping[str, BandResult]] = field(default_factory=dict)
    error: tuple[str, str] | None = None

    @property
    def last(self) -> int:
        """The position after the last feature."""
        return self.first + self.count


def document_head(feature_id: int, identifier: str | None) -> bytes:
    """A document up to the intervals; they follow, with commas between them."""
    return orjson.dumps(_naming(feature_id, identifier))[:-1] + b',"response":{"data":['


def document_tail(status: str, sampling: Sampling) -> bytes:
    """What follows the intervals of every document of a job with a status: OK, PARTIAL or FAILED."""
    ending = orjson.dumps({"status": status})[1:] + b"," + orjson.dumps(_sampling(sampling))[1:]
    return b"]," + ending.replace(b",}", b"}")


def failed_document(feature_id: int, identifier: str | None, kind: str, message: str, sampling: Sampling) -> bytes:
    """The delivered bytes of a feature that could not be computed at all; `error` says why."""
    return orjson.dumps(
        _naming(feature_id, identifier)
        | {"response": {"data": None, "status": "FAILED"}, "error": {"type": kind, "message": message}}
        | _sampling(sampling)
    )


def percent_key(percent: float) -> str:
    """A percent as documents and tables name it, like `50.0`."""
    return str(float(percent))


def _naming(feature_id: int, identifier: str | None) -> dict[str, Any]:
    return {"id": feature_id} if identifier is None else {"id": feature_id, "identifier": identifier}


def _sampling(sampling: Sampling) -> dict[str, Any]:
    if sampling.is_default:
        return {}
    return {"sampling": {"grid": sampling.grid.value, "cover": sampling.cover.value}}
