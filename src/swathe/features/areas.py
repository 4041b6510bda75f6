"""Areas of Batch Processing V2: the polygons of a GeoPackage with the image grid of each.

Unlike the features of a statistical job they may lie in several layers and CRSs, are known by their `identifier`, and say
how large their image is: `width` and `height`, or `resolution` (size and resolution: size wins), or else what the request
has as default. The image is that of the feature's bounding box; at a resolution it has `round(extent / resolution)` cells a
side, at least one, which fill the box, as in the statistical services.

A file that cannot be used is an error that names layer, feature and remedy: nothing of it is processed.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import Transformer

from swathe.features.geopackage import _bodies, _connect, _epsg, _parse_blob, _quoted, _read_table, _text, _Unusual
from swathe.features.polygons import polygons_from_wkb
from swathe.grids.raster_grid import RasterGrid
from swathe.grids.sample_grid import box_size
from swathe.model.errors import FeaturesInvalid, LimitExceeded
from swathe.model.process import MAX_FEATURES, MAX_PIXELS, FeatureDefaults

_BATCH_ROWS = 1_000
_SIDE_PARTS = 16
_WGS84 = 4326
_PARAMETER = "input->features"

Geometry = Any


@dataclass(frozen=True)
class Area:
    """A feature: `fid` is unique in its layer, `identifier` in the file; the polygon is in the CRS `epsg`."""

    fid: int
    identifier: str
    epsg: int
    grid: RasterGrid
    geometry: Geometry
    layer: str


@dataclass(frozen=True)
class AreaTable:
    """A layer of areas: the names of its columns, those it lacks None."""

    name: str
    geometry: str
    key: str
    identifier: str
    width: str | None
    height: str | None
    resolution: str | None
    srs_id: int
    epsg: int
    rows: int


@dataclass(frozen=True)
class AreaFile:
    """A checked GeoPackage."""

    path: Path
    tables: tuple[AreaTable, ...]

    @property
    def count(self) -> int:
        return sum(table.rows for table in self.tables)


def open_areas(path: Path, *, max_features: int = MAX_FEATURES) -> AreaFile:
    """Checks what concerns the file as a whole.

    Raises:
        FeaturesInvalid: it is no GeoPackage, has no polygons, a layer without an EPSG CRS or without identifiers, or one
            identifier twice.
        LimitExceeded: it has more features than allowed.
    """
    with _connect(path) as db:
        names = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        missing = {"gpkg_contents", "gpkg_geometry_columns", "gpkg_spatial_ref_sys"} - names
        if missing:
            raise FeaturesInvalid(
                f"The features file is SQLite but no GeoPackage: it lacks {', '.join(sorted(missing))};"
                " export it as GeoPackage with a vector layer"
            )
        tables = []
        for row in db.execute(
            "SELECT g.table_name, g.column_name, g.geometry_type_name, g.srs_id FROM gpkg_geometry_columns g"
            " JOIN gpkg_contents c ON c.table_name = g.table_name WHERE c.data_type = 'features' ORDER BY g.table_name"
        ).fetchall():
            table = _read_table(db, names, *row)
            if table is None or not table.rows:
                continue
            columns = {str(column[1]).lower(): str(column[1]) for column in _columns(db, table.name)}
            identifier = columns.get("identifier")
            if identifier is None:
                raise FeaturesInvalid(
                    f"Layer '{table.name}' has no column 'identifier'; results are named by it:"
                    " add a text column with a value that is unique in the whole file"
                )
            tables.append(
                AreaTable(
                    table.name,
                    table.geometry,
                    table.key,
                    identifier,
                    columns.get("width"),
                    columns.get("height"),
                    columns.get("resolution"),
                    table.srs_id,
                    _epsg(db, table.srs_id, table.name),
                    table.rows,
                )
            )
        if not tables:
            raise FeaturesInvalid("The GeoPackage has no layer with polygons; it needs at least one feature")
        found = AreaFile(path, tuple(tables))
        if found.count > max_features:
            raise LimitExceeded(
                f"The GeoPackage has {found.count:,} features; at most {max_features:,} are allowed; split it",
                _PARAMETER,
            )
        _check_identifiers(db, tables)
    return found


def read_areas(
    file: AreaFile,
    defaults: FeatureDefaults = FeatureDefaults(),  # noqa: B008  a frozen value
    *,
    aoi: Geometry | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[tuple[Area, ...]]:
    """The areas, layer by layer in the order of their keys, in batches of bounded size.

    Args:
        file: from `open_areas`.
        defaults: size or resolution of those that have none.
        aoi: polygons in longitude and latitude; only areas that share ground with them come, each of them whole.
        max_pixels: the longest side of an image.

    Raises:
        FeaturesInvalid: a feature has no usable polygon, or says no size, half of one, or one that is no number.
        LimitExceeded: an image would have more pixels than allowed.
    """
    with _connect(file.path) as db:
        for table in file.tables:
            cursor = db.execute(_select(table))
            while rows := cursor.fetchmany(_BATCH_ROWS):
                if areas := tuple(_areas(table, rows, defaults, aoi, max_pixels)):
                    yield areas


def _columns(db: sqlite3.Connection, table: str) -> list[tuple[Any, ...]]:
    return db.execute(f'PRAGMA table_info("{_quoted(table)}")').fetchall()


def _select(table: AreaTable) -> str:
    named = (table.key, table.identifier, table.geometry, table.width, table.height, table.resolution)
    columns = ", ".join("NULL" if name is None else f'"{_quoted(name)}"' for name in named)
    return f'SELECT {columns} FROM "{_quoted(table.name)}" ORDER BY "{_quoted(table.key)}"'  # noqa: S608


def _check_identifiers(db: sqlite3.Connection, tables: Sequence[AreaTable]) -> None:
    """Every feature has an identifier, and no other one has the same."""
    for table in tables:
        name = _quoted(table.identifier)
        query = (
            f'SELECT "{_quoted(table.key)}" FROM "{_quoted(table.name)}"'  # noqa: S608
            f' WHERE "{name}" IS NULL OR trim("{name}") = \'\' LIMIT 1'
        )
        if row := db.execute(query).fetchone():
            raise FeaturesInvalid(
                f"Layer '{table.name}', feature {row[0]} has no identifier; results are named by it: give it one"
            )
    union = " UNION ALL ".join(
        f'SELECT {index} AS layer, "{_quoted(table.key)}" AS fid, CAST("{_quoted(table.identifier)}" AS TEXT) AS name'  # noqa: S608
        f' FROM "{_quoted(table.name)}"'
        for index, table in enumerate(tables)
    )
    query = f"SELECT name FROM ({union}) GROUP BY name HAVING count(*) > 1 ORDER BY name LIMIT 1"  # noqa: S608
    if row := db.execute(query).fetchone():
        where = db.execute(f"SELECT layer, fid FROM ({union}) WHERE name = ? LIMIT 2", row).fetchall()  # noqa: S608
        listed = " and ".join(f"layer '{tables[layer].name}', feature {fid}" for layer, fid in where)
        raise FeaturesInvalid(
            f"The identifier '{row[0]}' occurs more than once ({listed}); identifiers must be unique in the whole file,"
            " because results are named by them"
        )


def _areas(
    table: AreaTable, rows: Sequence[tuple[Any, ...]], defaults: FeatureDefaults, aoi: Geometry | None, max_pixels: int
) -> Iterator[Area]:
    polygons = _polygons(table, rows)
    bounds = shapely.bounds(polygons)
    chosen = range(len(rows)) if aoi is None else np.flatnonzero(_share_ground(polygons, table.epsg, aoi)).tolist()
    for index in chosen:
        fid, identifier, _, width, height, resolution = rows[index]
        where = f"Layer '{table.name}', feature {fid} ('{_text(identifier)}')"
        grid = _grid(where, bounds[index], table.epsg, (width, height, resolution), defaults, max_pixels)
        yield Area(fid, _text(identifier), table.epsg, grid, polygons[index], table.name)


def _polygons(table: AreaTable, rows: Sequence[tuple[Any, ...]]) -> npt.NDArray[np.object_]:
    blobs = [row[2] for row in rows]
    try:
        wkb = _bodies(blobs, table.srs_id)
    except _Unusual:
        wkb = []
        for row in rows:
            body, srs_id = _parse_blob(row[2])
            if body is not None and srs_id != table.srs_id:
                raise FeaturesInvalid(
                    f"Layer '{table.name}', feature {row[0]} says srs_id {srs_id}, and its layer {table.srs_id};"
                    " features of another CRS belong into a layer of their own"
                ) from None
            wkb.append(body)
    polygons, problems = polygons_from_wkb(wkb)
    for index, reason in problems.items():
        said = reason.replace("statistics need a Polygon", "an area is a Polygon").removeprefix("The ")
        raise FeaturesInvalid(f"Layer '{table.name}', feature {rows[index][0]}: the {said[0].lower()}{said[1:]}")
    return polygons


def _grid(
    where: str,
    bounds: npt.NDArray[np.float64],
    epsg: int,
    said: tuple[Any, Any, Any],
    defaults: FeatureDefaults,
    max_pixels: int,
) -> RasterGrid:
    """The grid over a bounding box, by what the feature says of its size or else by the defaults."""
    west, south, east, north = bounds.tolist()
    width, height = (_count(where, name, value) for name, value in zip(("width", "height"), said, strict=False))
    resolution = _positive(where, said[2])
    if resolution is None and (width is None) != (height is None):
        there, lacks = ("width", "height") if height is None else ("height", "width")
        raise FeaturesInvalid(f"{where} has a {there} but no {lacks}; give both, or a resolution")
    if width is None or height is None:
        width = height = None
        if resolution is None:
            width, height, resolution = defaults.width, defaults.height, defaults.resolution
    if width is None or height is None:
        if resolution is None:
            raise FeaturesInvalid(
                f"{where} says neither width and height nor resolution;"
                " fill these columns, or put input.defaults into the request"
            )
        width, height = box_size(east - west, resolution), box_size(north - south, resolution)
    if max(width, height) > max_pixels:
        how = f" at resolution {resolution:g}" if resolution is not None else ""
        raise LimitExceeded(
            f"{where} would be an image of {width:,} x {height:,} pixels{how}; at most {max_pixels:,} x {max_pixels:,}"
            " are allowed; cut it into several features, or make the pixels larger",
            _PARAMETER,
        )
    return RasterGrid(epsg, west, north, (east - west) / width, (north - south) / height, width, height)


def _count(where: str, name: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < 1:
        raise FeaturesInvalid(f"{where} has the {name} {value!r}; it must be a whole number of pixels, at least 1")
    return int(value)


def _positive(where: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
        raise FeaturesInvalid(
            f"{where} has the resolution {value!r}; it must be a number greater than 0, in units of the layer's CRS"
        )
    return float(value)


def _share_ground(polygons: npt.NDArray[np.object_], epsg: int, aoi: Geometry) -> npt.NDArray[np.bool_]:
    """Which polygons of a CRS share ground with an area in longitude and latitude; both may cross 180°."""
    moved = polygons
    if epsg != _WGS84:
        boxes = shapely.bounds(polygons)
        steps = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]) / _SIDE_PARTS
        transformer = _to_lonlat(epsg)

        def move(places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            return np.column_stack(transformer.transform(places[:, 0], places[:, 1]))

        moved = shapely.transform(shapely.segmentize(polygons, steps), move)
    found = np.zeros(len(moved), bool)
    extents = shapely.bounds(moved)
    crossing = extents[:, 2] - extents[:, 0] > 180
    if crossing.any():
        moved = np.where(crossing, shapely.transform(moved, _unwrapped), moved)
    for shift in (-360.0, 0.0, 360.0):
        area = shapely.transform(aoi, lambda places, by=shift: places + np.array([by, 0.0]))
        shapely.prepare(area)
        found |= shapely.intersects(area, moved) & ~shapely.touches(area, moved)
    return found


def _unwrapped(places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.column_stack((np.where(places[:, 0] < 0, places[:, 0] + 360, places[:, 0]), places[:, 1]))


@cache
def _to_lonlat(epsg: int) -> Transformer:
    return Transformer.from_crs(epsg, _WGS84, always_xy=True)
