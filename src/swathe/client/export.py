"""Results as one file for other programs: CSV, Parquet or GeoPackage.

| layout | a row is | columns |
|---|---|---|
| `long` | a feature, interval, output and band | those of `swathe.client.to_dataframe` |
| `wide` | a feature | `feature_id`, `identifier`, and one for each interval, as `ndvi_mean_20240601` |

The polygons go along where a row is a feature: a wide Parquet file is GeoParquet if they can be read. A GeoPackage has a
layer `features` with them in both layouts, and in the long one a table `statistics` without geometry beside it.

The file is written piece by piece, each of some whole features, under another name, and gets its own when it is whole.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swathe.client.exceptions import ClientError, WrongArgument
from swathe.client.extras import LibraryMissing, load
from swathe.client.measures import statistic_name
from swathe.client.selection import KEYS, Selection
from swathe.client.shapes import Polygons, Shapes, read_shapes
from swathe.client.wide import Wide
from swathe.client.writers import CsvFile, GeoPackageFile, ParquetFile
from swathe.model.errors import ObjectNotFound

if TYPE_CHECKING:
    from swathe.client.results import BatchStatisticalResults

LAYOUTS = ("long", "wide")
WRITERS: dict[str, Callable[[Path], Any]] = {".csv": CsvFile, ".parquet": ParquetFile, ".gpkg": GeoPackageFile}
# SQLite has no room for more, of which the key, the geometry, id and identifier are some.
_MOST_COLUMNS = 1_990


@dataclass
class Export:
    """What of some results is written, and how; see `BatchStatisticalResults.export`."""

    results: BatchStatisticalResults
    selection: Selection
    layout: str | None = None
    statistics: Sequence[str] | None = None
    polygons: Polygons | None = None

    def write(self, path: str, *, force: bool = False) -> int:
        """Writes the file and gives the number of rows.

        Raises:
            WrongArgument: the kind of file, the layout or a statistic is not known.
            ClientError: the file is there already, or it cannot be written.
            ObjectNotFound: there are no results.
        """
        target = Path(path)
        kind = target.suffix.lower()
        if kind not in WRITERS:
            raise WrongArgument(f"'{path}' must end with {', '.join(WRITERS)}: the ending says what kind of file it is")
        layout = self.layout or ("wide" if kind == ".gpkg" else "long")
        if layout not in LAYOUTS:
            raise WrongArgument(f"there is no layout '{layout}'; there are {' and '.join(LAYOUTS)}")
        if target.exists() and not force:
            raise ClientError(f"{path} is there already; name another file, or replace it: --force, `force=True`")
        if not target.parent.is_dir():
            raise ClientError(f"there is no folder {target.parent} to write {target.name} into")
        made = target.with_name(f".{target.stem}-{uuid.uuid4().hex[:8]}{kind}")
        try:
            rows = self._write(made, kind, layout)
            os.replace(made, target)
        except OSError as error:
            raise ClientError(f"{path} cannot be written: {error.strerror or error}") from error
        finally:
            for left in (made, *(made.with_name(made.name + more) for more in ("-wal", "-shm", "-journal"))):
                with suppress(OSError):
                    left.unlink()
        return rows

    def _write(self, made: Path, kind: str, layout: str) -> int:
        wanted = None if self.statistics is None else [statistic_name(one) for one in self.statistics]
        self._check(wanted)
        file = WRITERS[kind](made)
        try:
            if layout == "wide":
                rows = self._write_wide(file, kind, wanted or ["mean"])
            else:
                rows = self._write_long(file, kind, None if wanted is None else [*KEYS, *wanted, "error"])
        finally:
            file.close()
        if not rows:
            raise ObjectNotFound("there are no results of these features and intervals")
        return rows

    def _write_wide(self, file: Any, kind: str, statistics: Sequence[str]) -> int:
        wide = self._wide(statistics, kind)
        shapes = None if kind == ".csv" else self._find_shapes(must=kind == ".gpkg")
        rows = 0
        for frame in self._frames([*KEYS, *wide.statistics]):
            table = wide.table(frame)
            file.add("features", table, None if shapes is None else shapes.at(table["feature_id"]))
            rows += len(table)
        return rows

    def _write_long(self, file: Any, kind: str, columns: Sequence[str] | None) -> int:
        if kind == ".gpkg" and (shapes := self._find_shapes(must=True)) is not None:
            features = {"feature_id": shapes.ids, "identifier": shapes.identifiers}
            file.add("features", load("pandas", "a table").DataFrame(features), shapes.geometry)
        rows = 0
        for frame in self._frames(columns):
            file.add("statistics", _as_text(frame) if kind != ".parquet" else frame, None)
            rows += len(frame)
        return rows

    def _frames(self, columns: Sequence[str] | None) -> Iterator[Any]:
        """Frames that all have the same columns."""
        known = self.results.columns() if columns is None else columns
        for frame in self.results.frames(self.selection, columns):
            yield frame.reindex(columns=known)

    def _check(self, wanted: Sequence[str] | None) -> None:
        for name in wanted or ():
            known = [one for one in self.results.columns() if one not in (*KEYS, "error")]
            if name not in known:
                raise WrongArgument(f"there is no statistic '{name}'; there are {', '.join(known)}")

    def _wide(self, statistics: Sequence[str], kind: str) -> Wide:
        wide = Wide(statistics)
        for frame in self.results.frames(self.selection, KEYS):
            wide.look(frame)
        count = wide.plan()
        if kind == ".gpkg" and count > _MOST_COLUMNS:
            raise WrongArgument(
                f"{count:,} columns are more than a GeoPackage has room for ({_MOST_COLUMNS:,}): ask for fewer statistics"
                " or intervals, or for the layout long"
            )
        return wide

    def _find_shapes(self, *, must: bool) -> Shapes | None:
        try:
            return read_shapes(self.results.location, self.selection, self.polygons)
        except (LibraryMissing, ObjectNotFound):
            if must or self.polygons is not None:
                raise
            return None


def _as_text(frame: Any) -> Any:
    """The frame with its histograms as JSON."""
    if "histogram" not in frame.columns:
        return frame
    texts = [None if found is None or found != found else json.dumps(found) for found in frame["histogram"]]
    return frame.assign(histogram=texts)
