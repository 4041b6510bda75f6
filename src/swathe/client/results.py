"""The results of a batch job: its documents, streamed from where the job wrote them, and tables and pictures of them."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import Any

from swathe.client.access import AccessSpecification
from swathe.client.exceptions import WrongArgument
from swathe.client.extras import LibraryMissing, load
from swathe.client.frame import column_order, to_dataframe
from swathe.client.locations import DocumentLocation, find_address, find_location
from swathe.client.measures import statistic_name
from swathe.client.pictures import Pictures
from swathe.client.selection import KEYS, FeatureNames, Selection
from swathe.client.shapes import Polygons, Shapes, first_ids, read_shapes
from swathe.client.tables import ResultTables
from swathe.client.times import RawTimeInterval
from swathe.client.types import JsonDict
from swathe.model.errors import ObjectNotFound, StorageError

_DOCUMENTS = 2_000
# What a frame of several parts is put in order by, and what tells whether a named feature was found.
_NO_NUMBERS = ("histogram", "error")
_SORTED_BY = ("feature_id", "identifier")


class BatchStatisticalResults(Pictures):
    """Iterates over a job's documents: `{"id", "identifier", "response" or "error"}`, in the order of the store.

    Tables and pictures are made from the job's Parquet data set where it has one and pyarrow is installed, else from the
    documents; they say the same.

    Every iteration reads anew. At most `concurrency` documents are in memory at a time, whatever the number of
    features. Other JSON files beside the documents, and what lies in subfolders, is passed over. An iteration that
    finds no document at all raises `ObjectNotFound`.

    Args:
        location: where the documents are.
        feature_ids: only these; each must have a document.
        concurrency: how many documents are fetched at the same time.
    """

    def __init__(
        self, location: DocumentLocation, *, feature_ids: Iterable[int | str] | None = None, concurrency: int = 8
    ) -> None:
        self.location = location
        self.feature_ids = None if feature_ids is None else list(dict.fromkeys(feature_ids))
        self.concurrency = max(1, concurrency)
        self._document_columns: list[str] | None = None

    @classmethod
    def from_folder(
        cls,
        folder: str | os.PathLike[str],
        *,
        feature_ids: Iterable[int | str] | None = None,
        concurrency: int = 8,
    ) -> BatchStatisticalResults:
        """The documents `<feature id>.json` of a folder on this machine."""
        return cls(find_location({}, "", folder=folder), feature_ids=feature_ids, concurrency=concurrency)

    @classmethod
    def from_address(
        cls,
        address: str | os.PathLike[str],
        *,
        output: AccessSpecification | None = None,
        config: Any = None,
        endpoint_url: str | None = None,
        local_root: str | os.PathLike[str] | None = None,
        concurrency: int = 8,
    ) -> BatchStatisticalResults:
        """The results in a job's own folder, `s3://bucket/folder/<request id>` or a path.

        Args:
            address: of the folder with the documents, `statistics` and `geometry.parquet`, or only some of them.
            output: has credentials, as for `SentinelHubBatchStatistical.results`; its URL does not count.
            config: may have AWS keys; else the environment has.
            endpoint_url: of an S3 other than Amazon's; else `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` says.
            local_root: `s3://bucket/key` is read from `local_root/bucket/key` instead.
            concurrency: how many documents are fetched at the same time.
        """
        location = find_address(address, access=output, config=config, endpoint_url=endpoint_url, local_root=local_root)
        return cls(location, concurrency=concurrency)

    def __iter__(self) -> Iterator[JsonDict]:
        wanted = None if self.feature_ids is None else {str(feature_id) for feature_id in self.feature_ids}
        missing, found = set(wanted or ()), False
        for document in self._read_all(self._find_keys(wanted)):
            feature_id = str(document["id"])
            if wanted is None or feature_id in wanted:
                missing.discard(feature_id)
                found = True
                yield document
        if missing:
            raise ObjectNotFound(f"there is no document at {self.location.root} for the features {_first_few(missing)}")
        if not found and wanted is None:
            place = f"{self.location.root}/{self.location.template}"
            raise ObjectNotFound(f"there are no documents {place}; has the job written its results there?")

    def to_dataframe(
        self,
        features: FeatureNames | None = None,
        intervals: RawTimeInterval = None,
        columns: Sequence[str] | None = None,
        *,
        output: str | None = None,
        band: str | None = None,
    ) -> Any:
        """A tidy pandas frame; `swathe.client.to_dataframe` says what is in it.

        What is not asked for is not read, where the job has a data set: name the features, intervals or columns of a
        large job.

        Args:
            features: only these: whole numbers are ids, texts are identifiers (or ids).
            intervals: only those that begin in this range, both ends inside, such as `("2024-05-01", "2024-05-31")`; None
                or `".."` leaves a side open.
            columns: only these, in this order.
            output: only this output of the script.
            band: only this band.

        Raises:
            ObjectNotFound: there are no results, or none of a feature that is named.
            LibraryMissing: pandas is not installed.
        """
        pandas = load("pandas", "a table")
        selection = Selection.of(features, intervals, output, band)
        names = None if columns is None else list(columns)
        reading = None if names is None else [*names, *(key for key in _SORTED_BY if key not in names)]
        frames = list(self.frames(selection, reading))
        frame = _joined(pandas, frames) if frames else to_dataframe(())
        if selection.is_of_features:
            self._check_found(selection, frame)
        # One part has its rows in order already, and ids in words cannot be sorted as numbers.
        if len(frames) > 1 and frame["feature_id"].dtype.kind == "i":
            frame = frame.sort_values("feature_id", kind="stable", ignore_index=True)
        if names is None:
            return frame
        absent = [name for name in names if name not in frame.columns]
        if absent:
            known = ", ".join(self.columns())
            raise WrongArgument(f"no results have a column {', '.join(absent)}; there are {known}")
        return frame[names]

    def frames(self, selection: Selection | None = None, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """Tidy frames of some features each, every feature whole in one of them: for results that memory cannot hold.

        Args:
            selection: made with `Selection.of`; None is everything.
            columns: only these; those that no result has are left out.

        Raises:
            ObjectNotFound: there are no results.
        """
        selection = selection or Selection()
        if self.feature_ids is not None and not selection.is_of_features:
            selection = replace(Selection.of(self.feature_ids), start=selection.start, end=selection.end,
                                output=selection.output, band=selection.band)  # fmt: skip
        tables = ResultTables.find(self.location)
        if tables is not None:
            yield from tables.frames(selection, columns)
            return
        documents = iter(self._documents_of(selection))
        while chunk := list(islice(documents, _DOCUMENTS)):
            frame = selection.rows_of(to_dataframe(chunk))
            if len(frame):
                yield frame if columns is None else frame[[name for name in columns if name in frame.columns]]

    def to_geodataframe(
        self,
        crs: Any = None,
        *,
        features: FeatureNames | None = None,
        intervals: RawTimeInterval = None,
        columns: Sequence[str] | None = None,
        output: str | None = None,
        band: str | None = None,
        polygons: Polygons | None = None,
    ) -> Any:
        """The tidy frame with the polygon of its feature in each row, as a geopandas frame.

        Args:
            crs: of the polygons, as an EPSG code or anything that pyproj takes; None leaves that of the GeoPackage.
            features, intervals, columns, output, band: as for `to_dataframe`.
            polygons: the job's GeoPackage, or a GeoDataFrame with the features' ids as index; needed where the results
                have no `geometry.parquet` beside them.

        Raises:
            ObjectNotFound: there are no polygons, or no results.
            LibraryMissing: geopandas is not installed.
        """
        geopandas = load("geopandas", "a table with polygons")
        shapes = self.shapes(features, polygons=polygons, crs=crs)
        names = None if columns is None else list(dict.fromkeys(["feature_id", *columns]))
        frame = self.to_dataframe(features, intervals, names, output=output, band=band)
        geometry = shapes.at(frame["feature_id"])
        if columns is not None:
            frame = frame[list(columns)]
        return geopandas.GeoDataFrame(frame, geometry=geometry.values, crs=geometry.crs)

    def shapes(
        self, features: FeatureNames | None = None, *, polygons: Polygons | None = None, crs: Any = None
    ) -> Shapes:
        """The polygons of the features, in another CRS if one is named; see `to_geodataframe`."""
        chosen = self.feature_ids if features is None else features
        shapes = read_shapes(self.location, Selection.of(chosen), polygons)
        return shapes if crs is None else replace(shapes, geometry=shapes.geometry.to_crs(crs))

    def to_xarray(
        self,
        *,
        features: FeatureNames | None = None,
        intervals: RawTimeInterval = None,
        statistics: Sequence[str] | None = None,
        crs: Any = None,
        polygons: Polygons | None = None,
        dimension: str = "feature",
    ) -> Any:
        """An xarray Dataset over `feature`, `time` and `band`; `swathe.client.cube` says what is in it.

        Args:
            features, intervals: as for `to_dataframe`.
            statistics: only these, such as `("mean", "stDev")`; all without it.
            crs, polygons: as for `to_geodataframe`. Without any polygons there is no `geometry`.
            dimension: `geometry` makes the polygons a dimension in place of the features, as queries of xvec want it.

        Raises:
            ObjectNotFound: there are no results, or the polygons that are named are not there.
            LibraryMissing: xarray is not installed.
        """
        from swathe.client.cube import to_cube

        if dimension not in ("feature", "geometry"):
            raise WrongArgument(f"the dimension is feature or geometry, not {dimension}")
        load("xarray", "a Dataset")
        columns = None if statistics is None else [*KEYS, *map(statistic_name, statistics)]
        if columns is None and self.has_tables():
            columns = [name for name in self.columns() if name not in _NO_NUMBERS]
        frame = self.to_dataframe(features, intervals, columns)
        frame = frame.drop(columns=[name for name in _NO_NUMBERS if name in frame.columns])
        shapes = None
        try:
            shapes = self.shapes(features, polygons=polygons, crs=crs)
        except (ObjectNotFound, LibraryMissing):
            if polygons is not None or crs is not None or dimension == "geometry":
                raise
        return to_cube(frame, shapes, dimension)

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        layout: str | None = None,
        features: FeatureNames | None = None,
        intervals: RawTimeInterval = None,
        statistics: Sequence[str] | None = None,
        output: str | None = None,
        band: str | None = None,
        polygons: Polygons | None = None,
        force: bool = False,
    ) -> int:
        """Writes the results into one file, part by part, and gives the number of rows; `swathe.client.export` has more.

        Args:
            path: ends with `.csv`, `.parquet` or `.gpkg`.
            layout: `long`, a row for each feature, interval, output and band; or `wide`, a row for each feature and a
                column for each interval. None is `wide` for GeoPackages and `long` for the others.
            features, intervals, output, band: as for `to_dataframe`.
            statistics: which columns; without it all of them in `long`, the mean in `wide`.
            polygons: as for `to_geodataframe`.
            force: replace a file that is there.

        Raises:
            ClientError: the file is there, or its kind is not known, or it cannot be written.
            ObjectNotFound: there are no results.
        """
        from swathe.client.export import Export

        selection = Selection.of(features, intervals, output, band)
        return Export(self, selection, layout, statistics, polygons).write(os.fspath(path), force=force)

    def has_tables(self) -> bool:
        """Whether tables and pictures are made from a Parquet data set."""
        return ResultTables.find(self.location) is not None

    def first_features(self, count: int) -> tuple[list[Any], int]:
        """The ids of the first features, at most so many, and how many there are.

        Raises:
            ObjectNotFound: there are no results.
        """
        if self.feature_ids is not None:
            return self.feature_ids[:count], len(self.feature_ids)
        if (told := first_ids(self.location, count)) is not None:
            return told
        ids: set[Any] = set()
        if self.has_tables():
            for frame in self.frames(columns=["feature_id"]):
                ids.update(frame["feature_id"].tolist())
        elif "<ID>" in self.location.template:
            ids.update(int(feature_id) for _, feature_id in self.location.list_keys() if feature_id is not None)
        else:
            ids.update(document["id"] for document in self)
        return sorted(ids)[:count], len(ids)

    def _documents_of(self, selection: Selection) -> Iterable[JsonDict]:
        """Documents that may be of the selection."""
        if selection.ids is None:
            return self
        if selection.names - {str(one) for one in selection.ids}:
            # Where documents are found by id, which of them has an identifier only the documents say.
            return BatchStatisticalResults(self.location, concurrency=self.concurrency)
        return BatchStatisticalResults(self.location, feature_ids=sorted(selection.ids), concurrency=self.concurrency)

    def columns(self) -> list[str]:
        """The columns that a frame of everything has; documents are all read for it, once."""
        tables = ResultTables.find(self.location)
        if tables is not None:
            return tables.columns()
        if self._document_columns is None:
            found: dict[str, None] = {}
            for frame in self.frames():
                found.update(dict.fromkeys(frame.columns))
            self._document_columns = column_order(found)
        return self._document_columns

    def _check_found(self, selection: Selection, frame: Any) -> None:
        """Raises if a feature that is named has no results at all."""
        named = frame.drop_duplicates("feature_id")
        missing = selection.missing_in(named["feature_id"].tolist(), named["identifier"].tolist())
        if not missing or (selection.start, selection.end, selection.output, selection.band) != (None,) * 4:
            return
        raise ObjectNotFound(f"there are no results at {self.location.root} for the features {_first_few(missing)}")

    def _find_keys(self, wanted: set[str] | None) -> Iterator[str]:
        if self.feature_ids is not None:
            keys = [self.location.key_of(feature_id) for feature_id in self.feature_ids]
            if all(key is not None for key in keys):
                yield from (key for key in keys if key is not None)
                return
        for key, feature_id in self.location.list_keys():
            if wanted is None or feature_id is None or feature_id in wanted:
                yield key

    def _read_all(self, keys: Iterable[str]) -> Iterator[JsonDict]:
        pending: deque[Future[JsonDict | None]] = deque()
        with ThreadPoolExecutor(self.concurrency, thread_name_prefix="swathe-results") as pool:
            try:
                for key in keys:
                    pending.append(pool.submit(self._read_document, key))
                    if len(pending) >= self.concurrency and (document := pending.popleft().result()) is not None:
                        yield document
                while pending:
                    if (document := pending.popleft().result()) is not None:
                        yield document
            finally:
                for future in pending:
                    future.cancel()

    def _read_document(self, key: str) -> JsonDict | None:
        """The document at a key, None if that JSON is something else."""
        try:
            document = json.loads(self.location.read(key))
        except ValueError as error:
            raise StorageError(f"{self.location.root}/{key} is not JSON: {error}") from None
        if isinstance(document, dict) and "id" in document and ("response" in document or "error" in document):
            return document
        return None


def _joined(pandas: Any, frames: list[Any]) -> Any:
    """Frames below each other; a column that only some have is empty in the others."""
    if len(frames) == 1:
        return frames[0].reset_index(drop=True)
    columns: dict[str, None] = {}
    for frame in frames:
        columns.update(dict.fromkeys(frame.columns))
    order = column_order(columns) if "feature_id" in columns else list(columns)
    return pandas.concat(frames, ignore_index=True)[[name for name in order if name in columns]]


def _first_few(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:10]) + (f" and {len(ordered) - 10} more" if len(ordered) > 10 else "")
