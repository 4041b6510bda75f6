"""A job's data set of statistics: its parts read where they lie, and of them only what is asked for.

A feature lies in one part as a whole, and a part is a unit of work: memory is that of a few parts, whatever the number of
features. Of a part, only the columns that are wanted are fetched, and only the groups of rows that may have the
features and intervals.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from swathe.client.extras import is_installed, load
from swathe.client.locations import DocumentLocation
from swathe.client.objectfile import ObjectFile
from swathe.client.selection import KEYS, Selection
from swathe.client.shapes import find_parts
from swathe.model.errors import StorageError

FOLDER = "statistics"
_PART = re.compile(r"part-\d{5,}\.parquet")
# The name of a column in the frame: its name in the files.
_NAMES = {
    "feature_id": "id",
    **{name: name for name in KEYS[1:]},
    **{name: name for name in ("min", "max", "mean")},
    "stDev": "st_dev",
    "sampleCount": "sample_count",
    "noDataCount": "no_data_count",
    "weightSum": "weight_sum",
    "histogram": "histogram",
    "error": "error",
}
_TEXTS = ("identifier", "output", "band", "error")
_COUNTS = ("sampleCount", "noDataCount")
_AHEAD = 2
_FEW = 1000


@dataclass(frozen=True)
class ResultTables:
    """The parts of a data set: keys and sizes in bytes, in the order of their names."""

    location: DocumentLocation
    parts: tuple[tuple[str, int], ...]

    @classmethod
    def find(cls, location: DocumentLocation) -> ResultTables | None:
        """The data set of a job, None where it has none or where pyarrow is not installed."""
        if not is_installed("pyarrow.parquet"):
            return None
        files = location.list_folder(FOLDER)
        parts = tuple((key, size) for key, size in files if _PART.fullmatch(key.rpartition("/")[2]))
        return cls(location, parts) if parts else None

    def columns(self) -> list[str]:
        """The columns that a frame of everything has, in their order."""
        schema = self._open(self.parts[0]).schema_arrow
        names = [name for name, own in _NAMES.items() if own in schema.names]
        if "percentiles" in schema.names:
            kind = schema.field("percentiles").type
            percents = [f"p{kind.field(at).name}" for at in range(kind.num_fields)]
            at = names.index("noDataCount") + 1
            names[at:at] = percents
        return names

    def frames(self, selection: Selection, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """A tidy pandas frame for each part that has selected rows; columns as in `swathe.client.to_dataframe`.

        Rows are sorted by feature and time. A column that is asked for and that no result has is left out.

        Raises:
            StorageError: a part cannot be read.
        """
        known = self.columns()
        wanted = known if columns is None else [name for name in columns if name in known]
        parts, selection = self._parts_of(selection)
        pending: deque[Future[Any]] = deque()
        with ThreadPoolExecutor(_AHEAD, thread_name_prefix="swathe-tables") as pool:
            try:
                for part in parts:
                    pending.append(pool.submit(self._read, part, selection, wanted))
                    if len(pending) > _AHEAD and (frame := pending.popleft().result()) is not None:
                        yield frame
                while pending:
                    if (frame := pending.popleft().result()) is not None:
                        yield frame
            finally:
                for future in pending:
                    future.cancel()

    def _parts_of(self, selection: Selection) -> tuple[Iterable[tuple[str, int]], Selection]:
        """The parts that have the selected features, and the selection by ids where names can be told from ids."""
        if selection.ids is None or len(selection.ids) + len(selection.names) > _FEW:
            return self.parts, selection
        found = find_parts(self.location, selection)
        if found is None:
            return self.parts, selection
        ids, parts = found
        if parts is None:
            return self.parts, ids
        return [part for part in self.parts if part[0].rpartition("/")[2] in parts], ids

    def _open(self, part: tuple[str, int]) -> Any:
        arrow, parquet = load("pyarrow", "the data set"), load("pyarrow.parquet", "the data set")
        key, size = part
        try:
            return parquet.ParquetFile(
                ObjectFile(self.location, key, size), pre_buffer=True, read_dictionary=list(_TEXTS)
            )
        except arrow.ArrowException as error:
            raise StorageError(f"{self.location.root}/{key} is no Parquet file that can be read: {error}") from None

    def _read(self, part: tuple[str, int], selection: Selection, wanted: Sequence[str]) -> Any:
        arrow = load("pyarrow", "the data set")
        file = self._open(part)
        groups = [at for at in range(file.num_row_groups) if _may_have(file.metadata.row_group(at), selection)]
        needed = [_column_path(name) for name in dict.fromkeys([*wanted, *_needed_for(selection)])]
        try:
            table = file.read_row_groups(groups, columns=needed) if groups else None
        except arrow.ArrowException as error:
            raise StorageError(f"{self.location.root}/{part[0]} cannot be read: {error}") from None
        if table is not None and (condition := _condition(selection)) is not None:
            table = table.filter(condition)
        return _to_frame(table, wanted) if table is not None and table.num_rows else None


def _column_path(name: str) -> str:
    return _NAMES.get(name) or f"percentiles.{name[1:]}"


def _needed_for(selection: Selection) -> Iterator[str]:
    if selection.ids is not None:
        yield "feature_id"
        if selection.names:
            yield "identifier"
    if selection.start is not None or selection.end is not None:
        yield "interval_from"
    if selection.output is not None:
        yield "output"
    if selection.band is not None:
        yield "band"


def _condition(selection: Selection) -> Any:
    """The expression of Arrow that selected rows fulfil, None where all do."""
    arrow, compute = load("pyarrow", "the data set"), load("pyarrow.compute", "the data set")
    conditions = []
    if selection.ids is not None:
        of_ids = compute.field("id").isin(arrow.array(sorted(selection.ids), arrow.int64()))
        if selection.names:
            of_ids |= compute.field("identifier").cast("string").isin(sorted(selection.names))
        conditions.append(of_ids)
    if selection.start is not None:
        conditions.append(compute.field("interval_from") >= arrow.scalar(selection.start, arrow.timestamp("us", "UTC")))
    if selection.end is not None:
        conditions.append(compute.field("interval_from") <= arrow.scalar(selection.end, arrow.timestamp("us", "UTC")))
    if selection.output is not None:
        conditions.append(compute.field("output") == selection.output)
    if selection.band is not None:
        conditions.append(compute.field("band") == selection.band)
    if not conditions:
        return None
    joined = conditions[0]
    for condition in conditions[1:]:
        joined &= condition
    return joined


def _may_have(group: Any, selection: Selection) -> bool:
    """Whether a group of rows may have selected ones, by the ranges of ids and times that are kept with it."""
    for at in range(group.num_columns):
        column = group.column(at)
        known = column.statistics
        if known is None or not known.has_min_max:
            continue
        if column.path_in_schema == "id" and selection.ids is not None and not selection.names:
            if not any(known.min <= one <= known.max for one in selection.ids):
                return False
        elif column.path_in_schema == "interval_from":
            if selection.start is not None and known.max < selection.start:
                return False
            if selection.end is not None and known.min > selection.end:
                return False
    return True


def _to_frame(table: Any, wanted: Sequence[str]) -> Any:
    pandas = load("pandas", "a table")
    return pandas.DataFrame({name: _column(pandas, table, name) for name in wanted}, columns=list(wanted))


def _column(pandas: Any, table: Any, name: str) -> Any:
    numpy = load("numpy", "a table")
    if name not in _NAMES:
        percentiles = table.column("percentiles").combine_chunks()
        found = load("pyarrow.compute", "the data set").struct_field(percentiles, [name[1:]])
        return found.to_numpy(zero_copy_only=False).astype("float64")
    column = table.column(_NAMES[name])
    if name in _TEXTS:
        # An object for each text, not for each row.
        encoded = column.combine_chunks()
        if not hasattr(encoded, "indices"):
            encoded = encoded.dictionary_encode()
        texts = numpy.array([*encoded.dictionary.to_pylist(), None], dtype="object")
        return texts[encoded.indices.fill_null(len(texts) - 1).to_numpy(zero_copy_only=False)]
    if name in _COUNTS:
        counts = column.combine_chunks()
        absent = counts.is_null().to_numpy(zero_copy_only=False)
        return pandas.arrays.IntegerArray(counts.fill_null(0).to_numpy(zero_copy_only=False).copy(), absent.copy())
    if name in ("interval_from", "interval_to"):
        return column.to_pandas()
    if name == "histogram":
        return pandas.Series([_histogram(one) for one in column.to_pylist()], dtype="object")
    return column.to_numpy()


def _histogram(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """A histogram with the names that the documents have."""
    if found is None:
        return None
    bins = [{"lowEdge": one["low_edge"], "highEdge": one["high_edge"], "count": one["count"]} for one in found["bins"]]
    return {"bins": bins, "overflowCount": found["overflow_count"], "underflowCount": found["underflow_count"]}
