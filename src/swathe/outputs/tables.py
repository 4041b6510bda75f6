"""The results of a unit as a Parquet file: a part of a data set with a row per feature, interval, output and band.

| column | type | |
|---|---|---|
| `id`, `identifier` | int64, string | the feature |
| `interval_from`, `interval_to` | timestamp in UTC | |
| `output`, `band` | string | |
| `min`, `max`, `mean`, `st_dev` | float64 | null without a valid sample |
| `sample_count`, `no_data_count` | int64 | |
| `weight_sum` | float64 | with coverage weights |
| `percentiles` | struct of float64 | where asked for; a field per percent, named as in the documents |
| `histogram` | struct | where asked for: `bins` (`low_edge`, `high_edge`, `count`), `overflow_count`, `underflow_count` |
| `error` | string | why an interval or a feature failed |

All parts of a job have the same columns. Rows are sorted as `outputs.rows` says, so a feature's series lies together and
the ranges of ids that are kept with each group of rows tell where.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from swathe.model.statistical import Calculation, Cover, Sampling
from swathe.outputs.documents import percent_key
from swathe.outputs.rows import FeatureEntries, ResultRows, make_rows

if TYPE_CHECKING:
    import pyarrow as pa

# So many rows lie in a group, and fewer where they have many bins: what a reader of one feature has to read.
_GROUP_ROWS = 20_000
_GROUP_BINS = 1_000_000

_Selection = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TableForm:
    """What decides on the columns of a job's tables: percentiles by name, whether there are histograms and weights."""

    percents: tuple[str, ...] = ()
    histograms: bool = False
    weighted: bool = False

    @classmethod
    def of(cls, calculations: Mapping[str, Calculation], sampling: Sampling) -> TableForm:
        """The form for all results of a request."""
        percents = {
            percent
            for calculation in calculations.values()
            for statistics in (calculation.statistics or {}).values()
            if statistics.percentiles is not None
            for percent in statistics.percentiles.k
        }
        return cls(
            tuple(percent_key(percent) for percent in sorted(percents)),
            any(calculation.histograms for calculation in calculations.values()),
            sampling.cover is Cover.COVERAGE,
        )


def load_ahead() -> None:
    """Begins to import what tables are written with, beside other work."""
    threading.Thread(target=importlib.import_module, args=("pyarrow.parquet",), daemon=True).start()


def write_table(form: TableForm, parts: Sequence[FeatureEntries]) -> memoryview:
    """The Parquet file of some features, whole in memory."""
    import pyarrow as pa
    from pyarrow import parquet

    rows = make_rows(parts, form.percents)
    columns = _Columns(form, rows)
    sink = pa.BufferOutputStream()
    with parquet.ParquetWriter(
        sink,
        columns.schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=["id", "identifier", "interval_from", "interval_to", "output", "band", "error"],
        write_statistics=["id", "identifier", "interval_from", "interval_to", "output", "band"],
    ) as writer:
        for selection in _groups(rows):
            writer.write_table(columns.table(selection), row_group_size=len(selection))
    return memoryview(sink.getvalue())


def _groups(rows: ResultRows) -> Iterator[_Selection]:
    """The rows in their order, cut into groups."""
    bins = np.cumsum(np.maximum(rows.histograms.bins, 0)[rows.order])
    begin = 0
    while begin < len(rows.order):
        room = (bins[begin - 1] if begin else 0) + _GROUP_BINS
        end = min(begin + _GROUP_ROWS, max(begin + 1, int(np.searchsorted(bins, room, side="right"))))
        yield rows.order[begin:end]
        begin = end


class _Columns:
    """The Arrow columns of rows."""

    def __init__(self, form: TableForm, rows: ResultRows) -> None:
        import pyarrow as pa

        moment = pa.timestamp("us", "UTC")
        self._pa = pa
        self._form = form
        self._rows = rows
        self._ids = rows.feature_ids
        self._identifiers = pa.array(rows.identifiers, pa.string())
        self._starts = pa.array([interval.start for interval in rows.intervals], moment)
        self._ends = pa.array([interval.end for interval in rows.intervals], moment)
        self._outputs = pa.array(rows.outputs, pa.string())
        self._bands = pa.array(rows.bands, pa.string())
        self._errors = pa.array(rows.errors, pa.string())
        self.schema = self.table(rows.order[:0]).schema

    def table(self, at: _Selection) -> pa.Table:
        """Some rows."""
        pa, rows, form = self._pa, self._rows, self._form
        there = rows.output[at] >= 0
        samples, valid = rows.sample_count[at], rows.valid_count[at]
        columns = {
            "id": pa.array(self._ids[rows.feature[at]]),
            "identifier": self._identifiers.take(self._places(rows.feature[at])),
            "interval_from": self._starts.take(self._places(rows.interval[at])),
            "interval_to": self._ends.take(self._places(rows.interval[at])),
            "output": pa.DictionaryArray.from_arrays(self._places(rows.output[at]), self._outputs),
            "band": pa.DictionaryArray.from_arrays(self._places(rows.band[at]), self._bands),
            "min": self._measure(rows.minimum[at]),
            "max": self._measure(rows.maximum[at]),
            "mean": self._measure(rows.mean[at]),
            "st_dev": self._measure(rows.deviation[at]),
            "sample_count": pa.array(samples, mask=~there),
            "no_data_count": pa.array(samples - valid, mask=~there),
        }
        if form.weighted:
            columns["weight_sum"] = self._measure(rows.weight[at])
        if form.percents:
            columns["percentiles"] = self._struct(
                {name: self._measure(rows.percentiles[at, place]) for place, name in enumerate(form.percents)},
                np.asarray((~np.isnan(rows.percentiles[at])).any(axis=1)),
            )
        if form.histograms:
            columns["histogram"] = self._histogram(at)
        columns["error"] = self._errors.take(self._places(rows.error[at]))
        return pa.table(columns)

    def _histogram(self, at: _Selection) -> pa.Array:
        pa, found = self._pa, self._rows.histograms
        there = found.bins[at] >= 0
        bins = np.maximum(found.bins[at], 0)
        ends = np.cumsum(bins)
        # the place of each bin in its row
        place = np.arange(bins.sum()) - np.repeat(ends - bins, bins)
        edge = np.repeat(found.first_edge[at], bins) + place
        counts = found.counts[np.repeat(found.first_count[at], bins) + place]
        content = {
            "low_edge": pa.array(found.edges[edge]),
            "high_edge": pa.array(found.edges[edge + 1]),
            "count": self._count(counts),
        }
        offsets = pa.array(np.concatenate([[0], ends]), pa.int32())
        listed = pa.ListArray.from_arrays(offsets, self._struct(content))
        return self._struct(
            {
                "bins": listed,
                "overflow_count": self._count(found.over[at]),
                "underflow_count": self._count(found.under[at]),
            },
            there,
        )

    def _count(self, counts: npt.NDArray[np.float64]) -> pa.Array:
        """Whole numbers, or sums of weights."""
        return self._pa.array(counts if self._form.weighted else counts.astype(np.int64))

    def _measure(self, values: npt.NDArray[np.float64]) -> pa.Array:
        return self._pa.array(values, from_pandas=True)  # NaN becomes null

    def _places(self, places: npt.NDArray[np.int64]) -> pa.Array:
        return self._pa.array(places.astype(np.int32), mask=places < 0)

    def _struct(self, fields: Mapping[str, pa.Array], there: npt.NDArray[np.bool_] | None = None) -> pa.Array:
        mask = None if there is None else self._pa.array(~there)
        return self._pa.StructArray.from_arrays(list(fields.values()), names=list(fields), mask=mask)
