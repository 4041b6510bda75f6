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
the ranges of ids that are kept with each group of rows tell where. Parts are cut in space, so their ranges overlap: a
Bloom filter for each group tells a reader of one feature which groups it need not read.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from swathe.model.statistical import Calculation, Cover, Sampling
from swathe.outputs.documents import percent_key
from swathe.outputs.rows import FeatureEntries, ResultRows, make_rows

if TYPE_CHECKING:
    import pyarrow as pa

# So many rows lie in a group, and fewer where they have many bins: what a reader of one feature has to read.
_GROUP_ROWS = 5_000
_GROUP_BINS = 250_000
_FALSE_ALARMS = 0.01

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
    groups = list(_groups(rows))
    columns = _Columns(form, rows)
    sink = pa.BufferOutputStream()
    with parquet.ParquetWriter(
        sink,
        columns.schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=["id", "identifier", "interval_from", "interval_to", "output", "band", "error"],
        write_statistics=["id", "identifier", "interval_from", "interval_to", "output", "band"],
        bloom_filter_options={"id": {"ndv": _most_features(rows, groups), "fpp": _FALSE_ALARMS}},
    ) as writer:
        for selection in groups:
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


def _most_features(rows: ResultRows, groups: Sequence[_Selection]) -> int:
    """How many features the group has that has most; all of a group lie together."""
    return max((1 + int(np.count_nonzero(np.diff(rows.feature[group]))) for group in groups), default=1)


class _Columns:
    """The Arrow columns of rows."""

    def __init__(self, form: TableForm, rows: ResultRows) -> None:
        import pyarrow as pa

        self._pa = pa
        self._form = form
        self._rows = rows
        self._ids = rows.feature_ids
        self._identifiers = self._texts(rows.identifiers)
        self._starts = _microseconds([interval.start for interval in rows.intervals])
        self._ends = _microseconds([interval.end for interval in rows.intervals])
        self._outputs = self._texts(rows.outputs)
        self._bands = self._texts(rows.bands)
        self._errors = self._texts(rows.errors)
        self.schema = self.table(rows.order[:0]).schema

    def table(self, at: _Selection) -> pa.Table:
        """Some rows."""
        pa, rows, form = self._pa, self._rows, self._form
        there = rows.output[at] >= 0
        samples, valid = rows.sample_count[at], rows.valid_count[at]
        columns = {
            "id": self._array(self._ids[rows.feature[at]]),
            "identifier": self._taken(self._identifiers, rows.feature[at]),
            "interval_from": self._times(self._starts, rows.interval[at]),
            "interval_to": self._times(self._ends, rows.interval[at]),
            "output": pa.DictionaryArray.from_arrays(self._places(rows.output[at]), self._outputs),
            "band": pa.DictionaryArray.from_arrays(self._places(rows.band[at]), self._bands),
            "min": self._measure(rows.minimum[at]),
            "max": self._measure(rows.maximum[at]),
            "mean": self._measure(rows.mean[at]),
            "st_dev": self._measure(rows.deviation[at]),
            "sample_count": self._array(samples, there),
            "no_data_count": self._array(samples - valid, there),
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
        columns["error"] = self._taken(self._errors, rows.error[at])
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
            "low_edge": self._array(found.edges[edge]),
            "high_edge": self._array(found.edges[edge + 1]),
            "count": self._count(counts),
        }
        offsets = self._array(np.concatenate([[0], ends]).astype(np.int32))
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
        return self._array(counts if self._form.weighted else counts.astype(np.int64))

    def _measure(self, values: npt.NDArray[np.float64]) -> pa.Array:
        return self._array(values, ~np.isnan(values))

    def _places(self, places: npt.NDArray[np.int64]) -> pa.Array:
        return self._array(places.astype(np.int32), places >= 0)

    def _array(self, values: npt.NDArray[np.generic], there: npt.NDArray[np.bool_] | None = None) -> pa.Array:
        """Numbers, null where they are not there. Not by `pyarrow.array`, which imports pandas to look for its types."""
        kind = self._pa.from_numpy_dtype(values.dtype)
        return self._from_buffers(kind, len(values), there, np.ascontiguousarray(values))

    def _from_buffers(
        self, kind: pa.DataType, count: int, there: npt.NDArray[np.bool_] | None, *contents: object
    ) -> pa.Array:
        valid = None if there is None or there.all() else self._bits(there)
        return self._pa.Array.from_buffers(kind, count, [valid, *(self._pa.py_buffer(content) for content in contents)])

    def _bits(self, flags: npt.NDArray[np.bool_]) -> pa.Buffer:
        return self._pa.py_buffer(np.packbits(flags, bitorder="little"))

    def _texts(self, texts: Sequence[str | None]) -> pa.Array:
        encoded = [b"" if text is None else text.encode() for text in texts]
        ends = np.zeros(len(encoded) + 1, np.int32)
        np.cumsum(np.fromiter(map(len, encoded), np.int32, len(encoded)), out=ends[1:])
        there = np.fromiter((text is not None for text in texts), np.bool_, len(encoded))
        return self._from_buffers(self._pa.string(), len(encoded), there, ends, b"".join(encoded))

    def _taken(self, texts: pa.Array, places: npt.NDArray[np.int64]) -> pa.Array:
        """The texts at some places, null for -1. Taking imports a good deal, so not where there are none."""
        if texts.null_count == len(texts):
            return self._pa.nulls(len(places), texts.type)
        return texts.take(self._places(places))

    def _times(self, times: npt.NDArray[np.int64], places: npt.NDArray[np.int64]) -> pa.Array:
        """Times of microseconds since 1970, null for -1."""
        there = places >= 0
        found = times[np.maximum(places, 0)] if len(times) else np.zeros(len(places), np.int64)
        return self._from_buffers(self._pa.timestamp("us", "UTC"), len(places), there, found)

    def _struct(self, fields: Mapping[str, pa.Array], there: npt.NDArray[np.bool_] | None = None) -> pa.Array:
        pa = self._pa
        mask = None if there is None else pa.Array.from_buffers(pa.bool_(), len(there), [None, self._bits(~there)])
        return self._pa.StructArray.from_arrays(list(fields.values()), names=list(fields), mask=mask)


def _microseconds(times: Sequence[datetime]) -> npt.NDArray[np.int64]:
    naive = [time.astimezone(UTC).replace(tzinfo=None) for time in times]
    return np.array(naive, "datetime64[us]").view(np.int64)
