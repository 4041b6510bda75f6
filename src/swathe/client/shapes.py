"""The polygons of a job's features: from `geometry.parquet` beside its results, or from a GeoPackage."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swathe.client.exceptions import ClientError
from swathe.client.extras import is_installed, load
from swathe.client.locations import DocumentLocation
from swathe.client.objectfile import ObjectFile
from swathe.client.selection import Selection
from swathe.model.errors import ObjectNotFound, StorageError

FILE = "geometry.parquet"
_PURPOSE = "a map"

Polygons = str | os.PathLike[str] | Any


@dataclass(frozen=True)
class Shapes:
    """Features' ids (n,) int64 in ascending order, their identifiers, and a geopandas `GeoSeries` with the CRS."""

    ids: Any
    identifiers: Any
    geometry: Any

    def at(self, ids: Any) -> Any:
        """The polygons of some ids as a GeoSeries, None for those that are not known."""
        numpy, geopandas = load("numpy", _PURPOSE), load("geopandas", _PURPOSE)
        ids = numpy.asarray(ids, "int64")
        if not len(self.ids):
            return geopandas.GeoSeries([None] * len(ids), crs=self.geometry.crs)
        places = numpy.searchsorted(self.ids, ids).clip(max=len(self.ids) - 1)
        found = self.geometry.values.take(numpy.where(self.ids[places] == ids, places, -1), allow_fill=True)
        return geopandas.GeoSeries(found, crs=self.geometry.crs)


def read_shapes(location: DocumentLocation, selection: Selection, polygons: Polygons | None = None) -> Shapes:
    """The polygons of the selected features.

    Args:
        location: of the results.
        selection: whose features count.
        polygons: a GeoPackage whose primary keys are the ids, or a GeoDataFrame whose index, or column `id` has them;
            without it, `geometry.parquet` beside the results.

    Raises:
        ObjectNotFound: there are no polygons.
    """
    if polygons is None:
        return _read_beside(location, selection)
    if isinstance(polygons, str | os.PathLike):
        return _read_geopackage(Path(polygons), selection)
    frame = polygons
    return _sorted(frame["id"] if "id" in frame.columns else frame.index, frame, selection)


def find_parts(location: DocumentLocation, selection: Selection) -> tuple[Selection, set[str] | None] | None:
    """The selection by ids alone, and the parts of the data set that have them; None where no file tells."""
    size = location.size_of(FILE)
    if size is None:
        return None
    table = _read_table(location, size, selection, ["id", "identifier", "part"])
    ids, names = table["id"].to_pylist(), table["identifier"].to_pylist()
    told = replace(selection, ids=frozenset(ids), names=frozenset())
    if selection.missing_in(ids, names):
        return (selection, None)
    return told, {part for part in table["part"].to_pylist() if part}


def first_ids(location: DocumentLocation, count: int) -> tuple[list[int], int] | None:
    """The least ids of a job's features, and how many features there are; None where no file tells."""
    if not is_installed("pyarrow.parquet") or (size := location.size_of(FILE)) is None:
        return None
    ids: list[int] = []
    with _explained(location):
        file = load("pyarrow.parquet", _PURPOSE).ParquetFile(ObjectFile(location, location.key_beside(FILE), size))
        for batch in file.iter_batches(columns=["id"]):
            ids += batch.column(0).to_pylist()
            if len(ids) >= count:
                break
    return ids[:count], file.metadata.num_rows


def _read_beside(location: DocumentLocation, selection: Selection) -> Shapes:
    load("pyarrow.parquet", _PURPOSE)
    geopandas = load("geopandas", _PURPOSE)
    size = location.size_of(FILE)
    if size is None:
        raise ObjectNotFound(
            f"there is no {location.root}/{location.key_beside(FILE)} with the polygons; the job writes it when it ends,"
            " or name the GeoPackage of the job: `polygons=`, and `--features` of the command"
        )
    table = _read_table(location, size, selection, ["id", "identifier", "geometry"])
    crs = json.loads(table.schema.metadata[b"geo"])["columns"]["geometry"].get("crs", "OGC:CRS84")
    wkb = table["geometry"].to_numpy(zero_copy_only=False)
    geometry = geopandas.GeoSeries.from_wkb(wkb, crs=json.dumps(crs) if isinstance(crs, dict) else crs)
    return Shapes(table["id"].to_numpy(), table["identifier"].to_numpy(zero_copy_only=False), geometry)


def _read_table(location: DocumentLocation, size: int, selection: Selection, columns: list[str]) -> Any:
    """Rows of `geometry.parquet` in the order of their ids; of few ids only the groups that have them."""
    arrow, parquet, compute = (load(name, _PURPOSE) for name in ("pyarrow", "pyarrow.parquet", "pyarrow.compute"))
    with _explained(location):
        file = parquet.ParquetFile(ObjectFile(location, location.key_beside(FILE), size), pre_buffer=True)
        groups = list(range(file.num_row_groups))
        if selection.ids is not None and not selection.names:
            groups = [at for at in groups if _has_ids(file.metadata.row_group(at), selection.ids)]
        table = file.read_row_groups(groups, columns=columns)
    if selection.ids is not None:
        wanted = compute.field("id").isin(arrow.array(sorted(selection.ids), arrow.int64()))
        if selection.names:
            wanted |= compute.field("identifier").isin(sorted(selection.names))
        table = table.filter(wanted)
    return table


@contextmanager
def _explained(location: DocumentLocation) -> Iterator[None]:
    """Says in a sentence that the file is none that can be read."""
    try:
        yield
    except (load("pyarrow", _PURPOSE).ArrowException, ValueError) as error:
        raise StorageError(f"{location.root}/{location.key_beside(FILE)} cannot be read: {error}") from None


def _has_ids(group: Any, ids: frozenset[int]) -> bool:
    for at in range(group.num_columns):
        column = group.column(at)
        if column.path_in_schema == "id" and column.statistics is not None and column.statistics.has_min_max:
            low, high = column.statistics.min, column.statistics.max
            return any(low <= one <= high for one in ids)
    return True


def _read_geopackage(path: Path, selection: Selection) -> Shapes:
    if not path.is_file():
        raise ObjectNotFound(f"there is no file {path}; it is the GeoPackage that the job had")
    load("geopandas", _PURPOSE)
    pyogrio = load("pyogrio", _PURPOSE)
    frames = []
    for name, kind in pyogrio.list_layers(path):
        if (kind and "olygon" in kind) or kind in ("Unknown", "Geometry"):
            fields = [field for field in pyogrio.read_info(path, layer=name)["fields"] if field == "identifier"]
            frames.append(pyogrio.read_dataframe(path, layer=name, columns=fields, fid_as_index=True))
    if not frames:
        raise ClientError(f"{path} has no layer of polygons")
    frame = load("pandas", _PURPOSE).concat(frames)
    return _sorted(frame.index, frame, selection)


def _sorted(ids: Any, frame: Any, selection: Selection) -> Shapes:
    numpy = load("numpy", _PURPOSE)
    try:
        ids = numpy.asarray(ids).astype("int64")
    except (TypeError, ValueError):
        raise ClientError(
            "the polygons' index must have the features' ids, whole numbers; or give them a column id"
        ) from None
    names = frame["identifier"].to_numpy("object") if "identifier" in frame.columns else numpy.full(len(ids), None)
    order = numpy.argsort(ids, kind="stable")
    if selection.ids is not None:
        keep = numpy.isin(ids, sorted(selection.ids)) | numpy.isin(names.astype(str), sorted(selection.names))
        order = order[keep[order]]
    return Shapes(ids[order], names[order], frame.geometry.iloc[order].reset_index(drop=True))
