"""A statistical job's results as the console reads them: parts of the data set, and the documents of single features."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from swathe.jobs.delivery import TABLES, Delivery, part_name
from swathe.jobs.looking_columns import COLUMNS
from swathe.jobs.looking_kept import KeptParts
from swathe.model.errors import AccessDenied, ObjectNotFound, StorageError
from swathe.model.time import format_time
from swathe.storage.seekable import SeekableFile

if TYPE_CHECKING:
    from pyarrow import parquet

    from swathe.storage import Credentials, ObjectStores

_BLOCK_BYTES = 4 * 2**20
_BLOCKS = 4
_PLAIN = tuple(COLUMNS)
_ROW_TEXTS = ("id", "interval_from", "interval_to", "output", "band", "error")
_ROW_NUMBERS = tuple(COLUMNS.values())
# A document of very many intervals and bins; more is none of ours.
_MOST_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Results:
    """Where a job's results lie, with the keys to them if there are any.

    `ended` says that the keys which the request brought are gone by now, so that the deployment's own must do, or what was
    put aside in `kept`.
    """

    delivery: Delivery = field(repr=False)
    stores: ObjectStores = field(repr=False)
    ended: bool = False
    kept: KeptParts | None = None

    def within_reach(self, units: Iterable[int]) -> frozenset[int]:
        """Those of some units whose parts can be read: all, but of a job that has ended those put aside, if any were."""
        there = self.kept.units() if self.kept is not None and self.ended else frozenset()
        return frozenset(units) & there if there else frozenset(units)

    @property
    def shortfall(self) -> str | None:
        """Why some parts are not within reach though others are, for people."""
        if self.kept is None or not self.ended or not self.kept.units():
            return None
        problem = self.kept.problem
        return None if problem is None else f"Not all values can be shown: {problem}"

    @contextmanager
    def part(self, unit: int) -> Iterator[parquet.ParquetFile]:
        """The part of the data set that a unit made, as it was put aside or from the store.

        Raises:
            StorageError: it cannot be read; ObjectNotFound where there is none.
        """
        import pyarrow as pa
        from pyarrow import parquet

        url = f"{self.delivery.folder}/{TABLES}/{part_name(unit)}"
        file: Any = None if self.kept is None else self.kept.open(unit)
        if file is None:
            with self._explained():
                file = _Blocks(self.stores, url, self._credentials)
        try:
            with file, self._explained(), parquet.ParquetFile(file) as part:
                yield part
        except pa.ArrowException as error:
            raise StorageError(f"{url} cannot be read: {error}") from None

    def open_parts(self, units: Iterable[int]) -> Iterator[parquet.ParquetFile]:
        """The parts of some units, one after the other; those that are not there are left out."""
        for unit in units:
            with suppress(ObjectNotFound), self.part(unit) as part:
                yield part

    def document(self, feature_id: int, name: str) -> bytes:
        """A feature's document as it was delivered.

        Raises:
            StorageError: it cannot be read; ObjectNotFound where there is none, as while the feature waits.
        """
        url = self.delivery.names.url(self.delivery.request_id, feature_id, name or None)
        with self._explained(f"The document lies in the store at {url} and cannot be read here any more"):
            if self.stores.size(url, credentials=self._credentials) > _MOST_BYTES:
                raise StorageError(f"{url} is too long to be shown; read it from the store")
            return self.stores.read(url, credentials=self._credentials)

    @property
    def _credentials(self) -> Credentials | None:
        from swathe.storage import from_place

        return from_place(self.delivery.place, self.delivery.storage)

    @contextmanager
    def _explained(self, what: str | None = None) -> Iterator[None]:
        try:
            yield
        except AccessDenied:
            if not self.ended or self.delivery.place.access_key is not None:
                raise
            why = "the keys that the request brought were removed when it ended"
            if what is None and self.kept is not None and self.kept.problem is not None:
                why += f", and {self.kept.problem}"
            raise AccessDenied(
                f"{what or f'The results in {self.delivery.folder} cannot be read here any more'}: {why}. To see results"
                " here, let the deployment's own keys ([storage] access_key) read the bucket and list it in [storage] buckets"
            ) from None


def read_series(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document as columns over its intervals: `intervals`, `errors` and `series` by output and band.

    What is not there, or is not a finite number, is None.
    """
    response = document.get("response")
    data: Sequence[Any] = (response.get("data") or []) if isinstance(response, Mapping) else []
    entries = [entry for entry in data if isinstance(entry, Mapping)]
    series: dict[str, dict[str, _Band]] = {}
    for place, entry in enumerate(entries):
        for output, told in (entry.get("outputs") or {}).items():
            for band, values in (told.get("bands") or {}).items():
                known = series.setdefault(output, {}).setdefault(band, _Band(len(entries)))
                known.put(place, values)
    return {
        "intervals": [dict(entry.get("interval") or {}) for entry in entries],
        "errors": [_reason(entry.get("error")) for entry in entries],
        "series": {
            output: {band: values.answer() for band, values in bands.items()} for output, bands in series.items()
        },
    }


def read_rows(part: parquet.ParquetFile, feature_id: int) -> dict[str, Any]:
    """A feature's rows in a part of the data set, told like a document by `read_series`.

    Raises:
        StorageError: the part cannot be read, or is none of ours.
    """
    import pyarrow as pa
    from pyarrow import compute

    wanted = [*_ROW_TEXTS, *_ROW_NUMBERS]
    if "percentiles" in part.schema_arrow.names:
        wanted.append("percentiles")
    entries: dict[Any, dict[str, Any]] = {}
    try:
        for group in range(part.num_row_groups):
            if not _may_have(part.metadata.row_group(group), feature_id):
                continue
            rows = part.read_row_group(group, columns=wanted, use_threads=False)
            for row in rows.filter(compute.equal(rows.column("id"), feature_id)).to_pylist():
                _put_row(entries, row)
    except (pa.ArrowException, KeyError) as error:
        raise StorageError(f"A part of the data set cannot be read: {error}") from None
    return read_series({"response": {"data": list(entries.values())}})


def _may_have(group: Any, feature_id: int) -> bool:
    """Whether the ids of a group of rows, as far as its statistics tell, reach over one."""
    for number in range(group.num_columns):
        column = group.column(number)
        if column.path_in_schema == "id":
            known = column.statistics
            return known is None or not known.has_min_max or known.min <= feature_id <= known.max
    return True


def _put_row(entries: dict[Any, dict[str, Any]], row: dict[str, Any]) -> None:
    """Takes a row into the entry of its interval; one without an interval says that the feature has none."""
    begin, end = row["interval_from"], row["interval_to"]
    if begin is None or end is None:
        return
    entry = entries.setdefault(begin, {"interval": {"from": format_time(begin), "to": format_time(end)}, "outputs": {}})
    if row["error"] is not None:
        kind, _, message = row["error"].partition(": ")
        entry["error"] = {"type": kind, "message": message}
    if row["output"] is not None:
        stats = {name: row[column] for name, column in COLUMNS.items()}
        stats["percentiles"] = row.get("percentiles")
        bands = entry["outputs"].setdefault(row["output"], {"bands": {}})["bands"]
        bands[row["band"]] = {"stats": stats}


class _Band:
    """The statistics of one band by name, a list over the intervals each."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._plain: dict[str, list[float | None]] = {name: [None] * count for name in _PLAIN}
        self._percentiles: dict[str, list[float | None]] = {}

    def put(self, place: int, values: Mapping[str, Any]) -> None:
        stats = values.get("stats") or {}
        for name in _PLAIN:
            self._plain[name][place] = _number(stats.get(name))
        for percent, value in (stats.get("percentiles") or {}).items():
            self._percentiles.setdefault(f"p{percent}", [None] * self._count)[place] = _number(value)

    def answer(self) -> dict[str, Any]:
        return {**self._plain, "percentiles": self._percentiles}


def _number(value: object) -> float | None:
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return value if usable else None  # type: ignore[return-value]


def _reason(error: object) -> str | None:
    if not isinstance(error, Mapping):
        return None
    return ": ".join(str(error[key]) for key in ("type", "message") if error.get(key)) or "failed"


class _Blocks(SeekableFile):
    """An object as a file: read in long blocks, of which the last few are kept, as columns lie side by side."""

    def __init__(self, stores: ObjectStores, url: str, credentials: Credentials | None) -> None:
        super().__init__(stores.size(url, credentials=credentials))
        self._stores, self._url, self._credentials = stores, url, credentials
        self._kept: OrderedDict[int, bytes | memoryview] = OrderedDict()

    def size(self) -> int:
        """In bytes."""
        return self._size

    def readinto(self, buffer: Any) -> int:
        target = memoryview(buffer).cast("B")
        wanted = max(0, min(len(target), self._size - self._at))
        done = 0
        while done < wanted:
            number, inside = divmod(self._at, _BLOCK_BYTES)
            piece = memoryview(self._block(number))[inside : inside + wanted - done]
            if not len(piece):
                break
            target[done : done + len(piece)] = piece
            done += len(piece)
            self._at += len(piece)
        return done

    def _block(self, number: int) -> bytes | memoryview:
        block = self._kept.get(number)
        if block is None:
            start = number * _BLOCK_BYTES
            length = min(_BLOCK_BYTES, self._size - start)
            block = self._stores.read_ranges(self._url, [(start, length)], credentials=self._credentials)[0]
            self._kept[number] = block
        self._kept.move_to_end(number)
        while len(self._kept) > _BLOCKS:
            self._kept.popitem(last=False)
        return block
