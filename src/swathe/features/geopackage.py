"""Polygons from a GeoPackage (OGC 12-128), read row by row.

The file is SQLite and is read as such: that streams 700,000 rows in bounded memory and sees what GDAL hides, such as the
CRS written into every geometry. What is wrong with the file as a whole is an error; what is wrong with a row is told with
that row, so that one bad polygon costs one feature.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Sequence, Set
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pyproj import CRS
from pyproj.exceptions import CRSError

from swathe.features.polygons import MULTIPOLYGON, POLYGON, polygons_from_wkb
from swathe.model.errors import FeaturesInvalid, LimitExceeded

_ENVELOPE_BYTES = {0: 0, 1: 32, 2: 48, 3: 48, 4: 64}
_CHUNK_ROWS = 20_000
_FETCHED_ROWS = 1_000
_CHUNK_BYTES = 64 * 2**20
_MOST_VALUE_BYTES = 256 * 2**20
_HEADER_BYTES = 8

_Row = tuple[int, object, object]


@dataclass(frozen=True)
class FeatureTable:
    """One table of polygons: its columns, and `srs_id` as the geometries' headers should have it."""

    name: str
    geometry: str
    key: str
    identifier: str | None
    srs_id: int
    rows: int


@dataclass(frozen=True)
class FeatureFile:
    """A checked GeoPackage: all its polygon tables share the CRS `epsg`."""

    path: Path
    tables: tuple[FeatureTable, ...]
    epsg: int

    @property
    def count(self) -> int:
        return sum(table.rows for table in self.tables)


@dataclass(frozen=True)
class FeatureBatch:
    """Some features: keys (n) int64, identifiers, WKB as stored or None, polygons (n) shapely or None.

    `problems` says for the index of a feature without a usable polygon why that is so. `polygons` as a whole is None where
    they were let go, to be made again from WKB.
    """

    ids: npt.NDArray[np.int64]
    identifiers: tuple[str | None, ...]
    wkb: tuple[bytes | None, ...]
    polygons: npt.NDArray[np.object_] | None
    problems: dict[int, str]

    @property
    def wkb_bytes(self) -> int:
        """The length of all WKB."""
        return sum(len(body) for body in self.wkb if body is not None)

    def of(self, ids: npt.NDArray[np.int64]) -> FeatureBatch:
        """The features with some keys, in their order; every key must be there."""
        order = np.argsort(self.ids)
        return self.take(order[np.searchsorted(self.ids, ids, sorter=order)])

    def take(self, which: npt.NDArray[np.int64]) -> FeatureBatch:
        """The features at some positions."""
        places = which.tolist()
        return FeatureBatch(
            self.ids[which],
            tuple(self.identifiers[i] for i in places),
            tuple(self.wkb[i] for i in places),
            None if self.polygons is None else self.polygons[which],
            {k: self.problems[i] for k, i in enumerate(places) if i in self.problems} if self.problems else {},
        )


def join_batches(batches: Sequence[FeatureBatch]) -> FeatureBatch:
    """Batches one behind the other."""
    if len(batches) == 1:
        return batches[0]
    problems: dict[int, str] = {}
    before = 0
    for batch in batches:
        problems.update((before + index, reason) for index, reason in batch.problems.items())
        before += len(batch.ids)
    return FeatureBatch(
        np.concatenate([batch.ids for batch in batches]),
        tuple(name for batch in batches for name in batch.identifiers),
        tuple(body for batch in batches for body in batch.wkb),
        None,
        problems,
    )


def open_features(path: Path, *, max_features: int) -> FeatureFile:
    """Checks what concerns the file as a whole.

    Raises:
        FeaturesInvalid: it is no GeoPackage, has no polygons, several CRSs, no integer key, or a key twice.
        LimitExceeded: it has more features than allowed.
    """
    with _connect(path) as db:
        # no views and no virtual tables: one may compute without end
        names = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0")}
        missing = {"gpkg_contents", "gpkg_geometry_columns", "gpkg_spatial_ref_sys"} - names
        if missing:
            raise FeaturesInvalid(
                f"The features file is SQLite but no GeoPackage: it lacks {', '.join(sorted(missing))};"
                " export it as GeoPackage with a vector layer"
            )
        tables = [
            _read_table(db, names, *row)
            for row in db.execute(
                "SELECT g.table_name, g.column_name, g.geometry_type_name, g.srs_id FROM gpkg_geometry_columns g"
                " JOIN gpkg_contents c ON c.table_name = g.table_name WHERE c.data_type = 'features'"
                " ORDER BY g.table_name"
            ).fetchall()
        ]
        if not tables:
            raise FeaturesInvalid("The GeoPackage has no layer of features; it needs one with polygons")
        polygonal = [table for table in tables if table is not None]
        if not polygonal:
            raise FeaturesInvalid("The GeoPackage has no layer of polygons; statistics need Polygon or MultiPolygon")
        filled = [table for table in polygonal if table.rows]
        if not filled:
            raise FeaturesInvalid("The GeoPackage is empty: its polygon layers have no rows")
        codes = {table.name: _epsg(db, table.srs_id, table.name) for table in filled}
        if len(set(codes.values())) > 1:
            listed = ", ".join(f"{name}: EPSG:{code}" for name, code in codes.items())
            raise FeaturesInvalid(f"All features must be in one CRS, but the layers differ ({listed}); reproject them")
        found = FeatureFile(path, tuple(filled), next(iter(codes.values())))
        if found.count > max_features:
            raise LimitExceeded(
                f"The GeoPackage has {found.count:,} features; at most {max_features:,} are allowed; split it",
                "input->features",
            )
        _check_keys(db, filled)
    return found


def read_features(
    file: FeatureFile, ids: Sequence[int] | npt.NDArray[np.int64] | None = None
) -> Iterator[FeatureBatch]:
    """Features in batches of bounded size; those with the keys `ids`, or all in the order of their keys.

    With `ids` there is exactly one batch, in their order.

    Raises:
        FeaturesInvalid: a geometry says another CRS than its table, or a row asked for is gone.
    """
    with _connect(file.path) as db:
        if ids is not None:
            yield _read_some(db, file, np.asarray(ids, np.int64))
            return
        for table in file.tables:
            cursor = db.execute(_select(table) + f' ORDER BY "{_quoted(table.key)}"')
            chunk: list[_Row] = []
            size = 0
            while rows := cursor.fetchmany(_FETCHED_ROWS):
                chunk += rows
                size += sum(len(blob) for _, _, blob in rows if isinstance(blob, bytes))
                if len(chunk) >= _CHUNK_ROWS or size >= _CHUNK_BYTES:
                    yield _batch([(table, chunk)])
                    chunk, size = [], 0
            if chunk:
                yield _batch([(table, chunk)])


def _read_some(db: sqlite3.Connection, file: FeatureFile, wanted: npt.NDArray[np.int64]) -> FeatureBatch:
    """The features with these keys, in their order."""
    listed = json.dumps(wanted.tolist())
    parts = []
    for table in file.tables:
        query = f'{_select(table)} WHERE "{_quoted(table.key)}" IN (SELECT value FROM json_each(?))'  # noqa: S608
        parts.append((table, db.execute(query, (listed,)).fetchall()))
    found = _batch(parts)
    gone = wanted[~np.isin(wanted, found.ids)]
    if len(gone):
        raise FeaturesInvalid(f"The GeoPackage changed while it was read: feature {gone[0]} is gone")
    return found.of(wanted)


@contextmanager
def _connect(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise FeaturesInvalid(f"The features file cannot be read: {error.strerror}") from None
    if head != b"SQLite format 3\x00":
        raise FeaturesInvalid(
            "The features file is no GeoPackage (it does not start as one); make one of it, as"
            " `ogr2ogr parcels.gpkg parcels.shp` does"
        )
    # immutable: no journal or lock file appears beside a file that is not ours; what an editor that has it open has
    # written lies in a log beside it and is seen only without
    log = path.with_name(path.name + "-wal")
    access = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?{access}", uri=True)) as db:
            db.text_factory = lambda text: text.decode("utf-8", "replace")
            db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_VALUE_BYTES)
            db.execute("PRAGMA trusted_schema = OFF")
            db.execute("PRAGMA cell_size_check = ON")
            yield db
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the second from a message of the first
        reason = str(error) if isinstance(error, sqlite3.Error) else "its text is no UTF-8"
        raise FeaturesInvalid(f"The GeoPackage is damaged or not a GeoPackage: {reason}; write it again") from None


def _read_table(
    db: sqlite3.Connection, names: Set[str], name: object, geometry: object, kind: object, srs_id: object
) -> FeatureTable | None:
    """The table, or None where it holds no polygons; `names` are the tables there are."""
    if not (isinstance(name, str) and isinstance(geometry, str) and isinstance(kind, str) and isinstance(srs_id, int)):
        raise FeaturesInvalid(
            "The GeoPackage's table gpkg_geometry_columns does not say what a layer is; write the GeoPackage again"
        )
    if name not in names:
        raise FeaturesInvalid(f"Layer '{name}' is no table of the GeoPackage; write its features into a table")
    if kind.upper() not in ("POLYGON", "MULTIPOLYGON", "GEOMETRY", "SURFACE", "MULTISURFACE", "GEOMETRYCOLLECTION"):
        return None
    columns = db.execute(f'PRAGMA table_info("{_quoted(name)}")').fetchall()
    if geometry not in {column[1] for column in columns}:
        raise FeaturesInvalid(f"Layer '{name}' lacks its geometry column '{geometry}'; write the GeoPackage again")
    keys = [column for column in columns if column[5]]
    if len(keys) != 1 or "INT" not in keys[0][2].upper():
        raise FeaturesInvalid(f"Layer '{name}' needs an integer primary key, as every GeoPackage layer has")
    identifier = next((column[1] for column in columns if column[1].lower() == "identifier"), None)
    rows = int(db.execute(f'SELECT count(*) FROM "{_quoted(name)}"').fetchone()[0])  # noqa: S608
    if kind.upper() == "GEOMETRY" and rows and not _has_polygon(db, name, geometry):
        return None
    return FeatureTable(name, geometry, keys[0][1], identifier, srs_id, rows)


def _has_polygon(db: sqlite3.Connection, name: str, geometry: str) -> bool:
    query = f'SELECT "{_quoted(geometry)}" FROM "{_quoted(name)}"'  # noqa: S608
    for (blob,) in db.execute(query):
        wkb, _ = _parse_blob(blob)
        if wkb is not None and len(wkb) >= 5:
            code = int.from_bytes(wkb[1:5], "little" if wkb[0] else "big")
            if code % 1000 in (POLYGON, MULTIPOLYGON) or code & 0xFF in (POLYGON, MULTIPOLYGON):
                return True
    return False


def _epsg(db: sqlite3.Connection, srs_id: int, table: str) -> int:
    row = db.execute(
        "SELECT organization, organization_coordsys_id, definition FROM gpkg_spatial_ref_sys WHERE srs_id = ?",
        (srs_id,),
    ).fetchone()
    organization, code, definition = row or (None, None, None)
    if str(organization).upper() == "EPSG" and isinstance(code, int):
        found = _parse_crs(code)
        if found is None or not (found.is_geographic or found.is_projected):
            raise FeaturesInvalid(
                f"Layer '{table}' is in EPSG:{code}, which is no known system of easting and northing;"
                " reproject it, or assign the right one"
            )
        return code
    if isinstance(definition, str) and srs_id not in (0, -1):
        found = _parse_crs(definition)
        epsg = None if found is None else found.to_epsg()
        if epsg is not None:
            return int(epsg)
    raise FeaturesInvalid(
        f"Layer '{table}' has no EPSG coordinate reference system (srs_id {srs_id}); assign one"
        " if it is merely missing, else reproject the layer to one"
    )


def _parse_crs(definition: int | str) -> CRS | None:
    try:
        return CRS.from_epsg(definition) if isinstance(definition, int) else CRS.from_wkt(definition)
    except CRSError:
        return None


def _check_keys(db: sqlite3.Connection, tables: Sequence[FeatureTable]) -> None:
    for index, table in enumerate(tables):
        key = _quoted(table.key)
        query = f'SELECT "{key}" FROM "{_quoted(table.name)}" WHERE typeof("{key}") != \'integer\' LIMIT 1'  # noqa: S608
        if row := db.execute(query).fetchone():
            raise FeaturesInvalid(
                f"Layer '{table.name}' has a key that is no integer ({row[0]!r}); keys must be integers"
            )
        for other in tables[index + 1 :]:
            query = (
                f'SELECT "{key}" FROM "{_quoted(table.name)}" WHERE "{key}" IN'  # noqa: S608
                f' (SELECT "{_quoted(other.key)}" FROM "{_quoted(other.name)}") LIMIT 1'
            )
            if row := db.execute(query).fetchone():
                raise FeaturesInvalid(
                    f"Feature {row[0]} occurs in the layers '{table.name}' and '{other.name}', and results are named by"
                    " this key; put all polygons into one layer or number them apart"
                )


def _select(table: FeatureTable) -> str:
    identifier = f'"{_quoted(table.identifier)}"' if table.identifier else "NULL"
    return f'SELECT "{_quoted(table.key)}", {identifier}, "{_quoted(table.geometry)}" FROM "{_quoted(table.name)}"'  # noqa: S608


def _batch(parts: Sequence[tuple[FeatureTable, Sequence[_Row]]]) -> FeatureBatch:
    """The features of rows (key, identifier, geometry) of some tables, table by table."""
    wkb: list[bytes | None] = []
    broken: dict[int, str] = {}
    for table, rows in parts:
        try:
            wkb += _bodies([blob for _, _, blob in rows], table.srs_id)
            continue
        except _Unusual:
            pass
        for key, _, blob in rows:
            body, srs_id = _parse_blob(blob)
            if body is not None and srs_id != table.srs_id:
                raise FeaturesInvalid(
                    f"All features must be in one CRS, but feature {key} says srs_id {srs_id} and its layer"
                    f" '{table.name}' says {table.srs_id}; reproject and write the GeoPackage again"
                )
            if body is None and blob is not None:
                broken[len(wkb)] = (
                    "The feature's geometry is no GeoPackage geometry; write it again with a current tool"
                )
            wkb.append(body)
    polygons, problems = polygons_from_wkb(wkb)
    listed = [row for _, rows in parts for row in rows]
    return FeatureBatch(
        np.fromiter((row[0] for row in listed), np.int64, len(listed)),
        tuple(name if name is None or type(name) is str else _text(name) for _, name, _ in listed),
        tuple(wkb),
        polygons,
        {**problems, **broken},
    )


class _Unusual(Exception):
    """Some geometry is missing, broken or in another CRS, so each is looked at by itself."""


def _bodies(blobs: Sequence[object], srs_id: int) -> list[bytes | None]:
    """The WKB of geometries of which most have the same header; a file has very few different ones."""
    starts: dict[bytes, int] = {}
    found: list[bytes | None] = []
    for blob in blobs:
        if type(blob) is not bytes:
            raise _Unusual
        head = blob[:_HEADER_BYTES]
        start = starts.get(head)
        if start is None:
            body, said = _parse_blob(blob)
            if body is None or said != srs_id:
                raise _Unusual
            start = starts[head] = len(blob) - len(body)
        if len(blob) < start:
            raise _Unusual
        found.append(blob[start:])
    return found


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return str(int(value))
    return str(value)


def _parse_blob(blob: object) -> tuple[bytes | None, int]:
    """WKB and srs_id of a GeoPackage geometry (OGC 12-128, 2.1.3), or None where there is none."""
    if not isinstance(blob, bytes) or len(blob) < _HEADER_BYTES or blob[:2] != b"GP":
        return None, 0
    flags = blob[3]
    envelope = _ENVELOPE_BYTES.get(flags >> 1 & 7)
    if envelope is None or flags & 0x20:
        return None, 0
    return blob[_HEADER_BYTES + envelope :], int.from_bytes(blob[4:8], "little" if flags & 1 else "big", signed=True)


def _quoted(name: str) -> str:
    return name.replace('"', '""')
