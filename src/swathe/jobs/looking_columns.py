"""One statistic of all features and intervals of a job, in a file beside it that fills as units of work end.

`values.f32` is (intervals, features) float32 in the order of `looking_shapes`, NaN for none; `units.json` says whose parts of
the data set are in it. A part is read once, and of it only the columns that are wanted.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from swathe.jobs.looking_shapes import Shapes
from swathe.model.errors import ObjectNotFound, RequestInvalid, StorageError, SwatheError
from swathe.model.statistical import StatisticsRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from pyarrow import parquet

    OpenPart = Callable[[int], parquet.ParquetFile]

COLUMNS = {
    "mean": "mean",
    "stDev": "st_dev",
    "min": "min",
    "max": "max",
    "sampleCount": "sample_count",
    "noDataCount": "no_data_count",
}
_SAMPLE = 2_000_000
_KEPT_EVERY = 8
# Of 5,000 rows each.
_GROUPS_AT_ONCE = 40


class NothingToSee(RequestInvalid):
    """The job has no features yet, or no values: the message says why."""


@dataclass(frozen=True)
class Measure:
    """Which statistic: of a band of an output; `statistic` is one of `COLUMNS` or a percentile like `p50.0`."""

    output: str
    band: str
    statistic: str

    @property
    def column(self) -> str:
        """The column of the data set."""
        return COLUMNS.get(self.statistic) or f"percentiles.{self.statistic[1:]}"

    @property
    def folder(self) -> str:
        """A name for its files."""
        told = "\0".join((self.output, self.band, self.statistic)).encode("utf-8", "surrogatepass")
        return "values-" + hashlib.sha256(told).hexdigest()[:24]


@dataclass(frozen=True)
class Range:
    """The least and greatest of all values, those that 2 and 98 % of them do not exceed, and how many each interval has."""

    minimum: float
    maximum: float
    p02: float
    p98: float
    counts: tuple[int, ...] = ()


class Values:
    """The values of one measure. For any thread; one at a time fills."""

    def __init__(self, folder: Path, measure: Measure, shapes: Shapes, starts_us: npt.NDArray[np.int64]) -> None:
        """`starts_us` has where each interval begins, in microseconds since 1970.

        Raises:
            OSError: the files cannot be made.
        """
        self.measure = measure
        self.folder = folder / measure.folder
        self._shapes = shapes
        self._starts = starts_us
        self._filling = threading.Lock()
        self._range: tuple[int, Range | None] | None = None
        self.error: SwatheError | None = None
        self._values = self._open()
        self._units = self._read_units()

    @property
    def units(self) -> int:
        """How many parts are in it."""
        return len(self._units)

    def lacks(self, done: Iterable[int]) -> bool:
        """Whether some units are done that are not in it."""
        return not self._units.issuperset(done)

    def at(self, interval: int) -> npt.NDArray[np.float32]:
        """The values (n) of an interval."""
        row: npt.NDArray[np.float32] = self._values[interval]
        return row

    def range(self) -> Range | None:
        """Over all features and intervals so far, the percentiles of a sample where there are very many; None without."""
        known = self._range
        if known is not None and known[0] == self.units:
            return known[1]
        units = self.units
        found = self._find_range()
        self._range = (units, found)
        return found

    def fill(self, done: Iterable[int], open_part: OpenPart, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Takes in the parts of units that are done; one that is not there, as of a unit without a table, is empty.

        Raises:
            StorageError: the parts cannot be read.
        """
        with self._filling:
            new = sorted(set(done) - self._units)
            for number, unit in enumerate(new, start=1):
                if should_stop():
                    return
                with suppress(ObjectNotFound), open_part(unit) as part:
                    for rows in read_measure(part, self.measure):
                        self._put(*rows)
                self._units = self._units | {unit}
                if number % _KEPT_EVERY == 0 or number == len(new):
                    self._keep()
                    _release()

    def _put(
        self, ids: npt.NDArray[np.int64], starts_us: npt.NDArray[np.int64], values: npt.NDArray[np.float64]
    ) -> None:
        places = self._shapes.places(ids)
        at = np.searchsorted(self._starts, starts_us)
        at[at == len(self._starts)] = 0
        known = (places >= 0) & (self._starts[at] == starts_us) if len(self._starts) else np.zeros(len(ids), np.bool_)
        with np.errstate(over="ignore"):
            self._values[at[known], places[known]] = values[known].astype(np.float32)

    def _find_range(self) -> Range | None:
        least, greatest = np.inf, -np.inf
        samples, counts = [], []
        step = max(1, self._values.size // _SAMPLE)
        for row in self._values:
            valid = row[np.isfinite(row)]
            counts.append(len(valid))
            if len(valid):
                least, greatest = min(least, float(valid.min())), max(greatest, float(valid.max()))
                samples.append(valid[::step])
        if not samples:
            return None
        low, high = np.percentile(np.concatenate(samples), [2, 98])
        return Range(least, greatest, float(low), float(high), tuple(counts))

    def _open(self) -> npt.NDArray[np.float32]:
        shape = (len(self._starts), self._shapes.count)
        if not all(shape):
            return np.full(shape, np.nan, np.float32)
        file = self.folder / "values.f32"
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not file.exists() or file.stat().st_size != shape[0] * shape[1] * 4:
            (self.folder / "units.json").unlink(missing_ok=True)
            unfinished = file.with_suffix(".new")
            empty = np.full(shape[1], np.nan, np.float32).tobytes()
            # written, not mapped: a full disk is an error here and would end the process there
            with unfinished.open("wb") as target:
                for _ in range(shape[0]):
                    target.write(empty)
            unfinished.replace(file)
        return np.memmap(file, np.float32, "r+", shape=shape)

    def _read_units(self) -> frozenset[int]:
        try:
            return frozenset(json.loads((self.folder / "units.json").read_text("utf-8")))
        except (OSError, ValueError):
            return frozenset()

    def _keep(self) -> None:
        if isinstance(self._values, np.memmap):
            self._values.flush()
            with suppress(OSError):  # they were removed meanwhile, to make room
                unfinished = self.folder / "units.new"
                unfinished.write_text(json.dumps(sorted(self._units)), "utf-8")
                unfinished.replace(self.folder / "units.json")


def check_measure(measure: Measure, known: dict[str, dict[str, Any]]) -> None:
    """Refuses a measure that no result has.

    Raises:
        NothingToSee: there are no results yet.
        RequestInvalid: an output, band or statistic of another name; the message says which there are.
    """
    if not known:
        raise NothingToSee("There are no results yet, so there are no values; the first come when a unit of work ends")
    entry = known.get(measure.output)
    if entry is None:
        raise RequestInvalid(f"there is no output '{measure.output[:60]}'; there are {', '.join(known)}", "output")
    if measure.band not in entry["bands"]:
        listed = ", ".join(entry["bands"])
        raise RequestInvalid(f"output '{measure.output}' has no band '{measure.band[:60]}'; it has {listed}", "band")
    if measure.statistic not in entry["statistics"]:
        listed = ", ".join(entry["statistics"])
        raise RequestInvalid(f"there is no statistic '{measure.statistic[:60]}'; there are {listed}", "statistic")


def asked_statistics(request: StatisticsRequest, output: str) -> list[str]:
    """The statistics that an output has, by name."""
    calculation = request.calculations.get(output) or request.calculations.get("default")
    if calculation is None:
        return list(COLUMNS)
    percents = {
        float(percent)
        for statistics in (calculation.statistics or {}).values()
        if statistics.percentiles is not None
        for percent in statistics.percentiles.k
    }
    return [*COLUMNS, *(f"p{percent}" for percent in sorted(percents))]


def read_measure(
    part: parquet.ParquetFile, measure: Measure
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
    """The rows of a part that have a measure: feature ids, starts of intervals in microseconds, values (NaN for none).

    Raises:
        StorageError: the part cannot be read, or is none of ours.
    """
    import pyarrow as pa

    names = set(part.schema_arrow.names)
    if measure.statistic not in COLUMNS and "percentiles" not in names:
        return
    try:
        wanted = ["id", "interval_from", "output", "band", measure.column]
        for first in range(0, part.num_row_groups, _GROUPS_AT_ONCE):
            groups = range(first, min(first + _GROUPS_AT_ONCE, part.num_row_groups))
            rows = part.read_row_groups(groups, columns=wanted, use_threads=False)
            chosen = _equals(rows.column("output"), measure.output) & _equals(rows.column("band"), measure.band)
            if not chosen.any():
                continue
            values = rows.column(measure.column.split(".")[0]).combine_chunks()
            if measure.statistic not in COLUMNS:
                field = values.type.get_field_index(measure.statistic[1:])
                if field < 0:
                    return
                values = values.flatten()[field]
            numbers = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
            ids = rows.column("id").combine_chunks().to_numpy(zero_copy_only=False)
            starts = rows.column("interval_from").combine_chunks().cast(pa.int64()).fill_null(-1)
            yield ids[chosen], starts.to_numpy(zero_copy_only=False)[chosen], numbers[chosen]
    except (pa.ArrowException, KeyError) as error:
        raise StorageError(f"A part of the data set cannot be read: {error}") from None


def find_bands(parts: Iterable[parquet.ParquetFile], groups: int = 2) -> dict[str, list[str]]:
    """The outputs with their bands, as the first rows of some parts have them."""
    found: dict[str, list[str]] = {}
    for part in parts:
        for group in range(min(groups, part.num_row_groups)):
            rows = part.read_row_group(group, columns=["output", "band"], use_threads=False)
            pairs = rows.group_by(["output", "band"], use_threads=False).aggregate([]).to_pylist()
            for pair in pairs:
                if pair["output"] is not None and pair["band"] is not None:
                    bands = found.setdefault(pair["output"], [])
                    if pair["band"] not in bands:
                        bands.append(pair["band"])
    return found


def _release() -> None:
    """Gives back what Arrow keeps of memory that is free."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def _equals(column: pa.ChunkedArray, wanted: str) -> npt.NDArray[np.bool_]:
    """Which of some texts, kept as a dictionary or not, are one; null is none."""
    parts: list[npt.NDArray[np.bool_]] = []
    for chunk in column.chunks:
        if not hasattr(chunk, "dictionary"):
            parts.append(np.array([value == wanted for value in chunk.to_pylist()], np.bool_))
            continue
        known = chunk.dictionary.to_pylist()
        codes = chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        parts.append(codes == known.index(wanted) if wanted in known else np.zeros(len(chunk), np.bool_))
    return np.concatenate(parts) if parts else np.zeros(0, np.bool_)
