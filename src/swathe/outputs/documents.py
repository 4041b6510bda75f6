"""The JSON document of one feature, as the Batch Statistical API delivers it.

    {"id": 1, "identifier": "…", "response": {"data": [{"interval": …, "outputs": …}, …], "status": "OK"}}

Numbers are written as the shortest text that reads back as the same float64, so equal results are equal bytes. Values
that do not exist are the string "NaN".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
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


@dataclass
class IntervalEntry:
    """What one interval says of a run of features (`first` and following): band results, or an error for all."""

    interval: TimeRange
    first: int
    count: int
    bands: Mapping[str, Mapping[str, BandResult]] = field(default_factory=dict)
    error: tuple[str, str] | None = None

    def to_wire(self, feature: int) -> dict[str, Any]:
        """The element of `data` for the feature at position `feature`."""
        if self.error is not None:
            kind, message = self.error
            return {"interval": self._times, "error": {"type": kind, "message": message}}
        at = feature - self.first
        outputs = {
            output: {"bands": {name: _band_to_wire(result, at) for name, result in bands.items()}}
            for output, bands in self.bands.items()
        }
        return {"interval": self._times, "outputs": outputs}

    @cached_property
    def _times(self) -> dict[str, str]:
        return self.interval.to_wire()


def response(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The Statistical API's answer: status OK, PARTIAL where some intervals failed, FAILED where all did."""
    failed = sum("error" in entry for entry in entries)
    status = "OK" if not failed else "FAILED" if failed == len(entries) else "PARTIAL"
    return {"data": list(entries), "status": status}


def document(feature_id: int, identifier: str | None, answer: Mapping[str, Any], sampling: Sampling) -> bytes:
    """The delivered bytes of a feature that was computed."""
    return orjson.dumps(_head(feature_id, identifier) | {"response": answer} | _sampling(sampling))


def failed_document(feature_id: int, identifier: str | None, kind: str, message: str, sampling: Sampling) -> bytes:
    """The delivered bytes of a feature that could not be computed at all; `error` says why."""
    return orjson.dumps(
        _head(feature_id, identifier)
        | {"response": {"data": None, "status": "FAILED"}, "error": {"type": kind, "message": message}}
        | _sampling(sampling)
    )


def _head(feature_id: int, identifier: str | None) -> dict[str, Any]:
    return {"id": feature_id} if identifier is None else {"id": feature_id, "identifier": identifier}


def _sampling(sampling: Sampling) -> dict[str, Any]:
    if sampling.is_default:
        return {}
    return {"sampling": {"grid": sampling.grid.value, "cover": sampling.cover.value}}


def _number(value: float) -> float | str:
    return "NaN" if value != value else value


def _band_to_wire(result: BandResult, at: int) -> dict[str, Any]:
    summary = result.summary
    count = int(summary.count[at])
    samples = int(result.sample_count[at])
    stats: dict[str, Any] = {
        "min": _number(float(summary.minimum[at])),
        "max": _number(float(summary.maximum[at])),
        "mean": _number(float(summary.mean[at])),
        "stDev": _number(float(summary.deviation[at])),
        "sampleCount": samples,
        "noDataCount": samples - count,
    }
    if result.weighted:
        stats["weightSum"] = float(summary.weight[at])
    if result.percentiles is not None and count:
        stats["percentiles"] = {
            str(float(percent)): float(value)
            for percent, value in zip(result.percents, result.percentiles[at], strict=True)
        }
    wire: dict[str, Any] = {"stats": stats}
    if result.histograms is not None:
        wire["histogram"] = _histogram_to_wire(result.histograms, at, result.integer_edges, result.weighted)
    return wire


def _histogram_to_wire(histograms: Histograms, at: int, integer_edges: bool, weighted: bool) -> dict[str, Any]:
    edges, counts, under, over = histograms.of(at)
    whole = integer_edges and bool(np.all(edges == np.floor(edges)))
    sides = [int(edge) for edge in edges] if whole else [float(edge) for edge in edges]
    tally = [float(n) for n in counts] if weighted else [int(n) for n in counts]
    return {
        "bins": [
            {"lowEdge": low, "highEdge": high, "count": n}
            for low, high, n in zip(sides, sides[1:], tally, strict=False)
        ],
        "overflowCount": over if weighted else int(over),
        "underflowCount": under if weighted else int(under),
    }
