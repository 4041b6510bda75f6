"""Searches a stac-geoparquet file: of its row groups only those are read that may have what is wanted.

A row is an item: `id`, `geometry` (WKB), `bbox` and `assets` are its own, every other column is one of its properties.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import shapely
from shapely.geometry import mapping

from swathe.catalog.areas import Bbox
from swathe.catalog.failures import cannot_read
from swathe.catalog.item_cache import Item, Window
from swathe.catalog.items import Extent
from swathe.model.errors import SourceError, StorageError
from swathe.storage import ObjectStores, SourceFiles
from swathe.storage.seekable import SeekableFile
from swathe.storage.sources import local_path
from swathe.storage.urls import shown_url

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_OWN = ("type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "links", "assets", "collection")
_LEFT_OUT = ("links", "geometry", "bbox")
_ROWS = 500
_PIECE_BYTES = 4 * 2**20
_SIDES = ("xmin", "ymin", "xmax", "ymax")


class Geoparquet:
    """A file that the deployment names. Raises what `ItemFinder` raises. May be used by several threads."""

    def __init__(self, source: str, stores: ObjectStores) -> None:
        self.base = shown_url(source)
        self._source = source
        self.knows_places = True
        self._files = SourceFiles(stores, source)

    @property
    def identity(self) -> str:
        path = local_path(self._source)
        stamp = ""
        if path is not None:
            try:
                status = path.stat()
                stamp = f"{status.st_size} {status.st_mtime_ns}"
            except OSError:
                stamp = "away"
        return f"geoparquet {self._source} {stamp}"

    def find(self, window: Window) -> Iterator[list[Item]]:
        """All items of a window, in pages."""
        file = self._open()
        for group in range(file.num_row_groups):
            if _may_have(file, group, window):
                yield from self._group(file, group, window)

    def newest(self, window: Window, ids: frozenset[str] | None) -> None:
        """All have to be known: a table has an order of its own."""

    def extent(self) -> Extent:
        """By the statistics of the file's row groups."""
        file = self._open()
        boxes: list[Bbox] = []
        times: list[tuple[datetime, datetime]] = []
        for group in range(file.num_row_groups):
            told = _statistics(file, group)
            sides = [told.get(f"bbox.{side}") for side in _SIDES]
            if None not in sides:
                west, south, east, north = (
                    float(side[place]) for side, place in zip(sides, (0, 0, 1, 1), strict=True) if side is not None
                )
                boxes.append((west, south, east, north))
            if (span := told.get("datetime")) is not None:
                times.append((_time(span[0]), _time(span[1])))
        box = None
        if boxes:
            columns = list(zip(*boxes, strict=True))
            box = min(columns[0]), min(columns[1]), max(columns[2]), max(columns[3])
        if not times:
            return box, None, None
        return box, min(first for first, _ in times), max(last for _, last in times)

    def _open(self) -> pq.ParquetFile:
        # a large library that most deployments' catalogs never need
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            path = local_path(self._source)
            file = _RangeFile(self._files, self._source) if path is None else path
            opened = pq.ParquetFile(file, pre_buffer=path is None)
        except StorageError as error:
            raise cannot_read(error) from None
        except OSError as error:
            if isinstance(error.__context__, StorageError):
                raise cannot_read(error.__context__) from None
            raise SourceError(f"{self.base} cannot be read: {error.strerror or 'it is no Parquet file'}") from None
        except pa.ArrowException:
            raise SourceError(f"{self.base} is no Parquet file") from None
        missing = [name for name in ("id", "geometry", "assets") if name not in opened.schema_arrow.names]
        if missing:
            raise SourceError(f"{self.base} is no stac-geoparquet file: it has no column {', '.join(missing)}")
        return opened

    def _group(self, file: pq.ParquetFile, group: int, window: Window) -> Iterator[list[Item]]:
        import pyarrow as pa

        try:
            table = file.read_row_group(group)
            chosen = table.filter(_rows(table, window))
            for first in range(0, len(chosen), _ROWS):
                yield [_to_item(row) for row in chosen.slice(first, _ROWS).to_pylist()]
        except StorageError as error:
            raise cannot_read(error) from None
        except (pa.ArrowException, OSError) as error:
            if isinstance(error.__context__, StorageError):
                raise cannot_read(error.__context__) from None
            raise SourceError(f"{self.base} cannot be read: row group {group} is broken") from None
        except (shapely.errors.ShapelyError, TypeError, ValueError, OverflowError):
            raise SourceError(
                f"{self.base} cannot be read: row group {group} has rows that are no STAC items"
            ) from None


class _RangeFile(SeekableFile):
    """A file in a store, read by ranges. Small reads next to each other share a request."""

    def __init__(self, files: SourceFiles, href: str) -> None:
        super().__init__(files.size(href))
        self._files, self._href = files, href
        self._start, self._piece = 0, memoryview(b"")
        self._lock = threading.Lock()

    def read(self, size: int = -1) -> bytes:
        with self._lock:
            end = self._size if size is None or size < 0 else min(self._size, self._at + size)
            if end <= self._at:
                return b""
            if not (self._start <= self._at and end <= self._start + len(self._piece)):
                # backwards from the end of the file, where Parquet keeps what it is
                start = self._at if end < self._size else max(0, min(self._at, self._size - _PIECE_BYTES))
                length = max(end - start, min(_PIECE_BYTES, self._size - start))
                (data,) = self._files.read_ranges(self._href, [(start, length)])
                self._start, self._piece = start, memoryview(data)
            data = bytes(self._piece[self._at - self._start : end - self._start])
            self._at = end
            return data


def _statistics(file: pq.ParquetFile, group: int) -> dict[str, tuple[Any, Any]]:
    """The least and the greatest value of those columns that searches look at, where the file says them."""
    told = {}
    metadata = file.metadata.row_group(group)
    wanted = {"datetime", *(f"bbox.{side}" for side in _SIDES)}
    for number in range(metadata.num_columns):
        column = metadata.column(number)
        if column.path_in_schema in wanted and column.is_stats_set and column.statistics.has_min_max:
            if column.path_in_schema == "datetime" and column.statistics.null_count != 0:
                continue  # those rows are told by their start
            told[column.path_in_schema] = (column.statistics.min, column.statistics.max)
    return told


def _may_have(file: pq.ParquetFile, group: int, window: Window) -> bool:
    told = _statistics(file, group)
    if (span := told.get("datetime")) is not None and isinstance(span[0], datetime):
        if window.end is not None and _time(span[0]) >= window.end:
            return False
        if window.start is not None and _time(span[1]) < window.start:
            return False
    if window.box is None or any(f"bbox.{side}" not in told for side in _SIDES):
        return True
    if told["bbox.xmax"][0] < told["bbox.xmin"][0]:
        return True  # a box may cross the antimeridian
    west, south, east, north = window.box
    return bool(
        told["bbox.xmin"][0] <= east
        and told["bbox.xmax"][1] >= west
        and told["bbox.ymin"][0] <= north
        and told["bbox.ymax"][1] >= south
    )


def _rows(table: Any, window: Window) -> Any:
    """Which rows of a table may lie in a window. Those that do not say so may."""
    import pyarrow as pa
    import pyarrow.compute as pc

    keep = pa.array([True] * len(table))

    def narrow(condition: Any) -> None:
        nonlocal keep
        keep = pc.and_(keep, pc.fill_null(condition, True))

    if "datetime" in table.column_names and pa.types.is_timestamp(table.schema.field("datetime").type):
        kind = table.schema.field("datetime").type
        zone = UTC if kind.tz is not None else None
        times = table["datetime"]
        if window.start is not None:
            narrow(pc.greater_equal(times, pa.scalar(window.start.astimezone(UTC).replace(tzinfo=zone), kind)))
        if window.end is not None:
            narrow(pc.less(times, pa.scalar(window.end.astimezone(UTC).replace(tzinfo=zone), kind)))
    if window.box is not None and "bbox" in table.column_names and pa.types.is_struct(table.schema.field("bbox").type):
        west, south, east, north = window.box
        sides = {side: pc.struct_field(table["bbox"].combine_chunks(), side) for side in _SIDES}
        crosses = pc.greater(sides["xmin"], sides["xmax"])
        narrow(pc.or_(crosses, pc.less_equal(sides["xmin"], east)))
        narrow(pc.or_(crosses, pc.greater_equal(sides["xmax"], west)))
        narrow(pc.less_equal(sides["ymin"], north))
        narrow(pc.greater_equal(sides["ymax"], south))
    return keep


def _to_item(row: Mapping[str, Any]) -> Item:
    """The item that a row is. What a column has no value for in this row, the item does not have."""
    geometry = row.get("geometry")
    item: dict[str, Any] = {
        name: kept for name in _OWN if name not in _LEFT_OUT and (kept := _plain(row.get(name))) is not None
    }
    item["geometry"] = mapping(shapely.from_wkb(geometry)) if isinstance(geometry, bytes) else _plain(geometry)
    box = row.get("bbox")
    if isinstance(box, Mapping) and all(box.get(side) is not None for side in _SIDES):
        item["bbox"] = [box[side] for side in _SIDES]
    elif isinstance(box, list):
        item["bbox"] = box
    item["properties"] = {
        name: kept for name, value in row.items() if name not in _OWN and (kept := _plain(value)) is not None
    }
    item.setdefault("type", "Feature")
    return item


def _plain(value: Any) -> Any:
    """A value as JSON has it; columns give every item the keys of all items, so those without a value are left out."""
    if isinstance(value, Mapping):
        kept = {str(key): plain for key, inner in value.items() if (plain := _plain(inner)) is not None}
        return kept or None
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime):
        return _time(value).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool) else None


def _time(value: Any) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
