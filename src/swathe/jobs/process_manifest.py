"""The feature manifest: the images of a job as a GeoPackage, with a layer `feature_<EPSG code>` for each CRS.

| column | type | |
|---|---|---|
| `fid` | INTEGER | unique in the whole file |
| `outputId` | TEXT | the response; an image has a row for each |
| `identifier` | TEXT | the tile's name, or the feature's identifier |
| `path` | TEXT | where that output goes; with Zarr the group |
| `width`, `height` | INTEGER | pixels |
| `geometry` | GEOMETRY | the tile with its buffer, or the feature |

It is what the units of a job are read from: an image's id is the `fid` of its first row.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import shapely
from pyproj import CRS
from pyproj.enums import WktVersion
from pyproj.exceptions import CRSError

from swathe.grids.raster_grid import RasterGrid

_APPLICATION_ID, _VERSION = 0x47504B47, 10_300
_BATCH_TILES = 1_000
# No envelope, little endian.
_HEAD = b"GP\x00\x01"
_WGS84 = 4326
_TABLES = """
CREATE TABLE gpkg_spatial_ref_sys (
    srs_name TEXT NOT NULL, srs_id INTEGER PRIMARY KEY, organization TEXT NOT NULL,
    organization_coordsys_id INTEGER NOT NULL, definition TEXT NOT NULL, description TEXT
);
CREATE TABLE gpkg_contents (
    table_name TEXT NOT NULL PRIMARY KEY, data_type TEXT NOT NULL, identifier TEXT UNIQUE, description TEXT DEFAULT '',
    last_change DATETIME NOT NULL, min_x DOUBLE, min_y DOUBLE, max_x DOUBLE, max_y DOUBLE,
    srs_id INTEGER REFERENCES gpkg_spatial_ref_sys (srs_id)
);
CREATE TABLE gpkg_geometry_columns (
    table_name TEXT NOT NULL UNIQUE REFERENCES gpkg_contents (table_name), column_name TEXT NOT NULL,
    geometry_type_name TEXT NOT NULL, srs_id INTEGER NOT NULL REFERENCES gpkg_spatial_ref_sys (srs_id),
    z TINYINT NOT NULL, m TINYINT NOT NULL, PRIMARY KEY (table_name, column_name)
);
INSERT INTO gpkg_spatial_ref_sys VALUES
    ('Undefined Cartesian SRS', -1, 'NONE', -1, 'undefined', NULL),
    ('Undefined geographic SRS', 0, 'NONE', 0, 'undefined', NULL);
"""
_LAYER = """
CREATE TABLE {table} (
    fid INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, outputId TEXT NOT NULL, identifier TEXT NOT NULL, path TEXT NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, geometry GEOMETRY NOT NULL
)
"""


@dataclass(frozen=True)
class Tile:
    """One image of a job: a tile of a grid, or a feature. `geometry` is in the CRS of the grid."""

    identifier: str
    grid: RasterGrid
    geometry: Any = field(repr=False)


@dataclass(frozen=True)
class ManifestTile(Tile):
    """A tile by its number in a manifest."""

    id: int


def manifest_name(request_id: str) -> str:
    """What the manifest is called in the output folder."""
    return f"featureManifest-{request_id}.gpkg"


def write_manifest(
    path: Path,
    tiles: Iterable[Tile],
    output_ids: Sequence[str],
    address: Callable[[str, int], str],
    *,
    modified: datetime,
    on_tile: Callable[[int, Tile], None] = lambda number, tile: None,
) -> str:
    """Writes a manifest, under its name when it is complete, and returns a digest of what it says of the tiles.

    Args:
        tiles: of any number; some at a time are held.
        output_ids: the responses of the request.
        address: where a response (by its number) of a tile (by its identifier) goes.
        on_tile: is told each tile with its id.
    """
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    digest = hashlib.sha256()
    layers: dict[int, _Layer] = {}
    fid = 1
    waiting = iter(tiles)
    with closing(sqlite3.connect(unfinished, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {_VERSION}")
        database.executescript(_TABLES)
        _add_crs(database, _WGS84)
        database.execute("BEGIN")
        while batch := list(islice(waiting, _BATCH_TILES)):
            bodies = shapely.to_wkb([tile.geometry for tile in batch], byte_order=1)
            for tile, body in zip(batch, bodies.tolist(), strict=True):
                grid = tile.grid
                layer = layers.get(grid.epsg)
                if layer is None:
                    layer = layers[grid.epsg] = _Layer.make(database, grid.epsg)
                layer.add(
                    [
                        (fid + number, output, tile.identifier, address(tile.identifier, number))
                        for number, output in enumerate(output_ids)
                    ],
                    (grid.width, grid.height, layer.head + body),
                    tile.geometry.bounds,
                )
                digest.update(f"{tile.identifier}\0{grid.epsg} {grid.width} {grid.height} ".encode() + body)
                on_tile(fid, tile)
                fid += len(output_ids)
            for layer in layers.values():
                layer.flush(database)
        for layer in layers.values():
            layer.register(database, modified)
        database.execute("COMMIT")
    unfinished.replace(path)
    return digest.hexdigest()


def read_tiles(path: Path, ids: Sequence[int], *, pixel: float | None = None) -> list[ManifestTile]:
    """Some tiles of a manifest, in the order of their ids' list.

    Args:
        ids: as `write_manifest` told them.
        pixel: the side of a tiling grid's pixels; without it a feature's pixels divide its box.
    """
    listed = json.dumps(list(ids))
    found: dict[int, ManifestTile] = {}
    with _open(path) as database:
        for table, epsg in _layers(database):
            query = (
                f"SELECT fid, identifier, width, height, geometry FROM {table}"  # noqa: S608
                " WHERE fid IN (SELECT value FROM json_each(?))"
            )
            rows = database.execute(query, (listed,)).fetchall()
            geometries = shapely.from_wkb([row[4][8:] for row in rows])
            for (fid, identifier, width, height, _), geometry in zip(rows, geometries, strict=True):
                west, south, east, north = geometry.bounds
                # a tile's pixels are those of its grid to the last bit, which a quotient may miss
                dx, dy = (pixel, pixel) if pixel is not None else ((east - west) / width, (north - south) / height)
                grid = RasterGrid(epsg, west, north, dx, dy, width, height)
                found[fid] = ManifestTile(identifier, grid, geometry, fid)
    return [found[number] for number in ids]


def read_names(path: Path) -> Iterator[tuple[int, str]]:
    """Id and identifier of every tile of a manifest."""
    with _open(path) as database:
        for table, _ in _layers(database):
            yield from database.execute(f"SELECT min(fid), identifier FROM {table} GROUP BY identifier")  # noqa: S608


class _Layer:
    """A layer that is being written."""

    def __init__(self, epsg: int) -> None:
        self.epsg = epsg
        self.table = f"feature_{epsg}"
        self.head = _HEAD + epsg.to_bytes(4, "little", signed=True)
        self._rows: list[tuple[Any, ...]] = []
        self._bounds: tuple[float, float, float, float] | None = None

    @classmethod
    def make(cls, database: sqlite3.Connection, epsg: int) -> _Layer:
        layer = cls(epsg)
        if epsg != _WGS84:
            _add_crs(database, epsg)
        database.execute(_LAYER.format(table=layer.table))
        return layer

    def add(
        self,
        names: Sequence[tuple[int, str, str, str]],
        rest: tuple[int, int, bytes],
        bounds: tuple[float, float, float, float],
    ) -> None:
        self._rows += [(*row, *rest) for row in names]
        known = self._bounds or bounds
        west, south = min(known[0], bounds[0]), min(known[1], bounds[1])
        self._bounds = (west, south, max(known[2], bounds[2]), max(known[3], bounds[3]))

    def flush(self, database: sqlite3.Connection) -> None:
        database.executemany(f"INSERT INTO {self.table} VALUES (?, ?, ?, ?, ?, ?, ?)", self._rows)  # noqa: S608
        self._rows.clear()

    def register(self, database: sqlite3.Connection, modified: datetime) -> None:
        when = modified.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        bounds = self._bounds or (None,) * 4
        database.execute(
            "INSERT INTO gpkg_contents VALUES (?, 'features', ?, '', ?, ?, ?, ?, ?, ?)",
            (self.table, self.table, when, *bounds, self.epsg),
        )
        database.execute(
            "INSERT INTO gpkg_geometry_columns VALUES (?, 'geometry', 'GEOMETRY', ?, 0, 0)", (self.table, self.epsg)
        )


def _add_crs(database: sqlite3.Connection, epsg: int) -> None:
    crs = CRS.from_epsg(epsg)
    try:
        text = crs.to_wkt(WktVersion.WKT1_GDAL)
    except CRSError:  # one that the old form cannot say
        text = crs.to_wkt()
    database.execute("INSERT INTO gpkg_spatial_ref_sys VALUES (?, ?, 'EPSG', ?, ?, NULL)", (crs.name, epsg, epsg, text))


def _open(path: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True))


def _layers(database: sqlite3.Connection) -> list[tuple[str, int]]:
    return database.execute("SELECT table_name, srs_id FROM gpkg_geometry_columns ORDER BY table_name").fetchall()
