"""GeoPackages good and bad: what is wrong with the file is an error, what is wrong with a row is told with the row."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import struct
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import SHARED_DATA, make_geopackage
from swathe.features.geopackage import FeatureBatch, open_features, read_features
from swathe.features.polygons import polygons_from_wkb
from swathe.model.errors import FeaturesInvalid, LimitExceeded

SQUARE = shapely.box(0, 0, 10, 10)
OTHER = shapely.box(20, 0, 30, 10)
WGS84 = (
    'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],PRIMEM["Greenwich",0],'
    'UNIT["degree",0.0174532925199433]]'
)


def blob(shape: Any, srs_id: int = 32633, *, envelope: bool = False, big: bool = False) -> bytes:
    """A geometry as a GeoPackage stores it (OGC 12-128, 2.1.3)."""
    order = ">" if big else "<"
    flags = (0 if big else 1) | (2 if envelope else 0)
    head = b"GP\x00" + bytes([flags]) + struct.pack(f"{order}i", srs_id)
    if envelope:
        left, bottom, right, top = shape.bounds
        head += struct.pack(f"{order}4d", left, right, bottom, top)
    return head + shapely.to_wkb(shape, byte_order=0 if big else 1, output_dimension=3 if shape.has_z else 2)


Row = tuple[Any, Any, Any]


def write(
    path: Path,
    layers: dict[str, Sequence[Row]],
    *,
    srs: dict[str, int] | None = None,
    kind: str = "POLYGON",
    key: str = "fid INTEGER PRIMARY KEY",
    identifier: str = "identifier TEXT",
    geometry: str = "geom",
    systems: Sequence[tuple[Any, ...]] = ((32633, "EPSG", 32633, ""), (4326, "EPSG", 4326, WGS84)),
    more: Sequence[str] = (),
) -> Path:
    """A GeoPackage written by hand, so that it can be wrong in every way. A row is key, identifier, geometry blob."""
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "CREATE TABLE gpkg_spatial_ref_sys (srs_name, srs_id INTEGER PRIMARY KEY, organization,"
            " organization_coordsys_id, definition)"
        )
        db.execute("CREATE TABLE gpkg_contents (table_name TEXT PRIMARY KEY, data_type, identifier, srs_id)")
        db.execute("CREATE TABLE gpkg_geometry_columns (table_name, column_name, geometry_type_name, srs_id, z, m)")
        for srs_id, organization, code, definition in systems:
            db.execute(
                "INSERT INTO gpkg_spatial_ref_sys VALUES ('', ?, ?, ?, ?)", (srs_id, organization, code, definition)
            )
        for name, rows in layers.items():
            srs_id = (srs or {}).get(name, 32633)
            quoted = '"' + name.replace('"', '""') + '"'
            column = '"' + geometry.replace('"', '""') + '"'
            db.execute(f"CREATE TABLE {quoted} ({key}, {identifier}, {column} {kind})")
            db.execute("INSERT INTO gpkg_contents VALUES (?, 'features', ?, ?)", (name, name, srs_id))
            db.execute("INSERT INTO gpkg_geometry_columns VALUES (?, ?, ?, ?, 0, 0)", (name, geometry, kind, srs_id))
            db.executemany(f"INSERT INTO {quoted} VALUES (?, ?, ?)", rows)
        for statement in more:
            db.execute(statement)
    return path


def read(path: Path, ids: Sequence[int] | None = None) -> FeatureBatch:
    batches = list(read_features(open_features(path, max_features=100), ids))
    assert len(batches) == 1
    return batches[0]


def refused(path: Path, *, most: int = 100) -> str:
    with pytest.raises(FeaturesInvalid) as told:
        list(read_features(open_features(path, max_features=most)))
    return told.value.message


def one(tmp_path: Path, *rows: Row, **how: Any) -> Path:
    return write(tmp_path / "parcels.gpkg", {"parcels": rows}, **how)


# What is right


def test_keys_identifiers_and_polygons(tmp_path: Path) -> None:
    path = one(
        tmp_path, (7, "seven", blob(OTHER)), (3, None, blob(SQUARE, envelope=True)), (5, "", blob(SQUARE, big=True))
    )
    file = open_features(path, max_features=3)
    assert (file.epsg, file.count) == (32633, 3)
    batch = read(path)
    assert batch.ids.tolist() == [3, 5, 7]
    assert batch.identifiers == (None, "", "seven")
    assert [p.bounds for p in batch.polygons] == [SQUARE.bounds, SQUARE.bounds, OTHER.bounds]
    assert batch.problems == {}


def test_rows_asked_for_come_in_that_order(tmp_path: Path) -> None:
    path = one(tmp_path, *((n, str(n), blob(shapely.box(n, 0, n + 1, 1))) for n in range(10)))
    batch = read(path, [8, 0, 5])
    assert batch.ids.tolist() == [8, 0, 5]
    assert batch.identifiers == ("8", "0", "5")
    assert [p.bounds[0] for p in batch.polygons] == [8, 0, 5]
    assert read(path, np.array([4])).ids.tolist() == [4]
    assert read(path, []).ids.tolist() == []


def test_a_row_that_is_gone_is_an_error(tmp_path: Path) -> None:
    file = open_features(one(tmp_path, (1, "a", blob(SQUARE))), max_features=9)
    with pytest.raises(FeaturesInvalid, match="feature 9 is gone"):
        list(read_features(file, [1, 9]))


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ("SI21.1", "SI21.1"),
        (17, "17"),
        (17.0, "17"),
        (1.5, "1.5"),
        (b"caf\xc3\xa9", "café"),
        (b"\xff", "\ufffd"),
        (None, None),
    ],
)
def test_identifiers_of_any_kind_are_text(tmp_path: Path, stored: Any, expected: str | None) -> None:
    assert read(one(tmp_path, (1, stored, blob(SQUARE)), identifier="Identifier")).identifiers == (expected,)


def test_without_an_identifier_column_there_are_none(tmp_path: Path) -> None:
    assert read(one(tmp_path, (1, "a", blob(SQUARE)), identifier="name TEXT")).identifiers == (None,)


@pytest.mark.parametrize("name", ['par"cels', "par'cels", "a b;c--", "häuser", "select", "[x]", "100%"])
def test_names_with_quotes_and_spaces(tmp_path: Path, name: str) -> None:
    path = write(
        tmp_path / "a.gpkg",
        {name: [(1, "a", blob(SQUARE))]},
        geometry=f"geo{name}",
        key=f'"k{name.replace(chr(34), chr(34) * 2)}" INTEGER PRIMARY KEY',
    )
    assert read(path).ids.tolist() == [1]
    assert read(path, [1]).ids.tolist() == [1]


def test_layers_of_one_crs_are_read_together(tmp_path: Path) -> None:
    layers = {"b": [(1, "b1", blob(SQUARE))], "a": [(2, "a2", blob(OTHER))], "empty": []}
    file = open_features(write(tmp_path / "a.gpkg", layers), max_features=9)
    assert (file.count, [t.name for t in file.tables]) == (2, ["a", "b"])
    [batch] = read_features(file, [1, 2])
    assert batch.identifiers == ("b1", "a2")


def test_layers_of_points_are_left_aside(tmp_path: Path) -> None:
    path = one(tmp_path, (1, "a", blob(SQUARE)))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE wells (fid INTEGER PRIMARY KEY, geom POINT)")
        db.execute("INSERT INTO gpkg_contents VALUES ('wells', 'features', 'wells', 4326)")
        db.execute("INSERT INTO gpkg_geometry_columns VALUES ('wells', 'geom', 'POINT', 4326, 0, 0)")
        db.execute("INSERT INTO wells VALUES (1, ?)", (blob(shapely.Point(1, 2), 4326),))
    assert read(path).ids.tolist() == [1]


def test_third_dimension_and_measures_are_dropped(tmp_path: Path) -> None:
    high = shapely.force_3d(SQUARE, 7)
    measured = bytearray(blob(SQUARE))
    # ISO type 2003, POLYGON M, written by hand
    ring = np.array([(0, 0, 1), (10, 0, 1), (10, 10, 1), (0, 10, 1), (0, 0, 1)], "<f8").tobytes()
    measured[8:] = b"\x01" + struct.pack("<III", 2003, 1, 5) + ring
    batch = read(one(tmp_path, (1, "z", blob(high)), (2, "m", bytes(measured))))
    assert batch.problems == {}
    assert not any(p.has_z for p in batch.polygons)
    assert [p.area for p in batch.polygons] == [100, 100]


def test_a_multipolygon_in_a_collection_column_is_fine(tmp_path: Path) -> None:
    both = shapely.MultiPolygon([SQUARE, OTHER])
    for kind in ("GEOMETRYCOLLECTION", "GEOMETRY", "MULTISURFACE", "geometry"):
        batch = read(one(tmp_path, (1, "a", blob(both)), kind=kind))
        assert batch.problems == {}
        assert batch.polygons[0].area == 200


def test_a_file_in_wal_mode_is_read_and_left_as_it_is(tmp_path: Path) -> None:
    path = one(tmp_path, (1, "a", blob(SQUARE)))
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
    before = path.read_bytes()
    assert before[18:20] == b"\x02\x02"
    assert read(path).ids.tolist() == [1]
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["parcels.gpkg"]


def test_what_an_open_editor_has_committed_is_seen(tmp_path: Path) -> None:
    path = one(tmp_path, (1, "a", blob(SQUARE)))
    with closing(sqlite3.connect(path)) as editor:
        editor.execute("PRAGMA journal_mode = WAL")
        editor.execute("INSERT INTO parcels VALUES (2, 'b', ?)", (blob(OTHER),))
        editor.commit()
        assert (tmp_path / "parcels.gpkg-wal").stat().st_size > 0
        assert read(path).ids.tolist() == [1, 2]


def test_the_geopackage_that_gdal_writes(tmp_path: Path) -> None:
    path = make_geopackage(tmp_path / "a.gpkg", [SQUARE, OTHER], ids=[5, 3], identifiers=["five", "three"])
    batch = read(path)
    assert (batch.ids.tolist(), batch.identifiers) == ([3, 5], ("three", "five"))


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="the reference data are not beside the checkout")
def test_the_providers_example() -> None:
    file = open_features(SHARED_DATA / "provider/geopackage-example.gpkg", max_features=1_000)
    [batch] = read_features(file, [1])
    assert (batch.ids.tolist(), batch.identifiers) == ([1], ("SI21.FOI.7059004001",))
    assert batch.problems == {}


# What is wrong with a row


NOTHING = shapely.Polygon()
BOWTIE = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
TRIANGLE_WKB = struct.pack("<BIII", 1, 3, 1, 4) + np.array([(0, 0), (10, 0), (10, 10), (0, 9)], "<f8").tobytes()
SHORT_RING = struct.pack("<BIII", 1, 3, 1, 2) + np.array([(0, 0), (10, 0)], "<f8").tobytes()
INFINITE = struct.pack("<BIII", 1, 3, 1, 4) + np.array([(0, 0), (np.inf, 0), (10, np.nan), (0, 0)], "<f8").tobytes()
CURVE = (
    struct.pack("<BII", 1, 10, 1) + struct.pack("<BII", 1, 8, 3) + np.array([(0, 0), (1, 1), (0, 0)], "<f8").tobytes()
)
MANY = struct.pack("<BII", 1, 3, 0xFFFFFFFF) + struct.pack("<I", 0xFFFFFFFF)


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (None, r"has no geometry \(NULL\)"),
        (blob(BOWTIE), r"not valid: Self-intersection\[5 5\]; mend it"),
        (blob(NOTHING), "geometry is empty"),
        (blob(shapely.Point(1, 1)), "is a Point; statistics need a Polygon"),
        (blob(shapely.LineString([(0, 0), (1, 1)])), "is a LineString"),
        (blob(shapely.GeometryCollection([SQUARE])), "is a GeometryCollection"),
        (blob(shapely.MultiPolygon()), "geometry is empty"),
        (blob(shapely.MultiPolygon([SQUARE, SQUARE])), "not valid"),
        (blob(shapely.Polygon([(0, 0), (10, 0), (0, 0)])), "not valid"),
        (blob(SQUARE)[:8] + TRIANGLE_WKB, "cannot be read; write it again"),
        (blob(SQUARE)[:8] + SHORT_RING, "cannot be read|not valid"),
        (blob(SQUARE)[:8] + INFINITE, "not valid"),
        (blob(SQUARE)[:8] + CURVE, "cannot be read; write it again"),
        (blob(SQUARE)[:8] + MANY, "cannot be read"),
        (blob(SQUARE)[:-7], "cannot be read"),
        (blob(SQUARE)[:8], "cannot be read"),
        (blob(SQUARE)[:6], "no GeoPackage geometry"),
        (b"", "no GeoPackage geometry"),
        ("POLYGON ((0 0, 1 0, 1 1, 0 0))", "no GeoPackage geometry"),
        (42, "no GeoPackage geometry"),
        (shapely.to_wkb(SQUARE), "no GeoPackage geometry"),
        (b"GP\x00\x0f" + blob(SQUARE)[4:], "no GeoPackage geometry"),
        (b"GP\x00\x21" + blob(SQUARE)[4:], "no GeoPackage geometry"),
    ],
    ids=itertools.count(),
)
def test_a_bad_row_is_told_and_its_neighbours_are_fine(tmp_path: Path, stored: Any, reason: str) -> None:
    path = one(tmp_path, (1, "a", blob(SQUARE)), (2, "bad", stored), (3, "c", blob(OTHER)), kind="POLYGON")
    batch = read(path)
    assert list(batch.problems) == [1]
    assert [p is None for p in batch.polygons] == [False, True, False]
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(batch.problems[1])
    assert read(path, [2]).problems == {0: batch.problems[1]}


def test_one_polygon_makes_a_layer_of_mixed_geometries_usable(tmp_path: Path) -> None:
    rows = [(1, "a", blob(shapely.Point(0, 0))), (2, "b", blob(SQUARE)), (3, "c", None)]
    batch = read(one(tmp_path, *rows, kind="GEOMETRY"))
    assert sorted(batch.problems) == [0, 2]


def test_wkb_that_is_missing_or_broken() -> None:
    shapes, problems = polygons_from_wkb([None, b"", shapely.to_wkb(SQUARE), b"\x01\x03"])
    assert sorted(problems) == [0, 1, 3]
    assert shapes[2].equals(SQUARE)


# What is wrong with the file


def test_a_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    for content in (b"", b"PK\x03\x04", b"{}", b"SQLite format 3", b"\x00" * 4_096):
        path.write_bytes(content)
        assert "is no GeoPackage (it does not start as one); make one of it, as `ogr2ogr" in refused(path)
    assert "cannot be read: No such file" in refused(tmp_path / "none.gpkg")
    assert "cannot be read: Is a directory" in refused(tmp_path)


def test_a_file_that_is_only_the_beginning_of_one(tmp_path: Path) -> None:
    path = one(tmp_path, *((n, str(n), blob(SQUARE)) for n in range(1, 60)))
    whole = path.read_bytes()
    for size in (16, 100, 4_096, len(whole) // 2, len(whole) - 4_096):
        path.write_bytes(whole[:size])
        assert "GeoPackage" in refused(path)


def test_sqlite_that_is_no_geopackage(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE parcels (fid INTEGER PRIMARY KEY)")
    message = refused(path)
    assert "SQLite but no GeoPackage" in message
    assert "gpkg_contents, gpkg_geometry_columns, gpkg_spatial_ref_sys" in message


def test_a_geopackage_without_layers_rows_or_polygons(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    assert "no layer of features" in refused(write(path, {}))
    assert "is empty: its polygon layers have no rows" in refused(write(path, {"parcels": []}))
    assert "is empty" in refused(write(path, {"parcels": []}, kind="GEOMETRY"))
    points = [(1, "a", blob(shapely.Point(1, 2)))]
    assert "no layer of polygons" in refused(write(path, {"wells": points}, kind="POINT"))
    assert "no layer of polygons" in refused(write(path, {"wells": points}, kind="GEOMETRY"))
    assert "no layer of polygons" in refused(write(path, {"wells": [(1, "a", None)]}, kind="GEOMETRY"))


def test_layers_in_different_crs(tmp_path: Path) -> None:
    layers = {"a": [(1, "a", blob(SQUARE))], "b": [(2, "b", blob(SQUARE, 4326))]}
    message = refused(write(tmp_path / "a.gpkg", layers, srs={"b": 4326}))
    assert "one CRS, but the layers differ (a: EPSG:32633, b: EPSG:4326)" in message


def test_a_geometry_in_another_crs_than_its_layer(tmp_path: Path) -> None:
    path = one(tmp_path, (1, "a", blob(SQUARE)), (2, "b", blob(SQUARE, 4326)))
    assert "feature 2 says srs_id 4326 and its layer 'parcels' says 32633" in refused(path)


def test_feature_keys_that_occur_in_two_layers(tmp_path: Path) -> None:
    layers = {"a": [(1, "a", blob(SQUARE)), (2, "b", blob(SQUARE))], "b": [(2, "b", blob(SQUARE))]}
    assert "Feature 2 occurs in the layers 'a' and 'b'" in refused(write(tmp_path / "a.gpkg", layers))


@pytest.mark.parametrize("key", ["fid TEXT PRIMARY KEY", "fid INTEGER", "fid REAL PRIMARY KEY"])
def test_a_layer_without_an_integer_key(tmp_path: Path, key: str) -> None:
    path = one(tmp_path, (1, "a", blob(SQUARE)), key=key)
    assert "Layer 'parcels' needs an integer primary key" in refused(path)


def test_a_key_that_is_no_integer(tmp_path: Path) -> None:
    path = one(tmp_path, (1, "a", blob(SQUARE)), ("x", "b", blob(SQUARE)), key="fid INT PRIMARY KEY")
    assert "a key that is no integer ('x')" in refused(path)
    path = one(tmp_path, (1, "a", blob(SQUARE)), (None, "b", blob(SQUARE)), key="fid INT PRIMARY KEY")
    assert "a key that is no integer (None)" in refused(path)


def test_a_layer_without_its_geometry_column_or_table(tmp_path: Path) -> None:
    path = one(tmp_path, (1, "a", blob(SQUARE)), more=["UPDATE gpkg_geometry_columns SET column_name = 'shape'"])
    assert "lacks its geometry column 'shape'" in refused(path)
    path = one(tmp_path, (1, "a", blob(SQUARE)), more=["DROP TABLE parcels"])
    assert "parcels" in refused(path)


@pytest.mark.parametrize(
    ("system", "srs_id"),
    [
        ((100, "NONE", 100, 'LOCAL_CS["mine"]'), 100),
        ((100, "NONE", 100, "nonsense"), 100),
        ((100, None, None, None), 100),
        ((100, "EPSG", "many", ""), 100),
        ((0, "NONE", 0, "undefined"), 0),
        ((-1, "NONE", -1, "undefined"), -1),
        ((1, "EPSG", 1, ""), 99),
    ],
)
def test_a_layer_without_an_epsg_crs(tmp_path: Path, system: tuple[Any, ...], srs_id: int) -> None:
    path = one(tmp_path, (1, "a", blob(SQUARE, srs_id)), systems=[system], srs={"parcels": srs_id})
    said = refused(path)
    assert f"Layer 'parcels' has no EPSG coordinate reference system (srs_id {srs_id}); assign one" in said
    assert "reproject" in said


def test_an_epsg_crs_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = one(tmp_path, (1, "a", blob(SQUARE, 99)), systems=[(99, "EPSG", 987_654, "")], srs={"parcels": 99})
    assert "EPSG:987654" in refused(path)


def test_a_crs_under_its_own_number_is_known_by_its_definition(tmp_path: Path) -> None:
    path = one(tmp_path, (1, "a", blob(SQUARE, 900)), systems=[(900, "mine", 900, WGS84)], srs={"parcels": 900})
    assert open_features(path, max_features=9).epsg == 4326
    path = one(tmp_path, (1, "a", blob(SQUARE, 900)), systems=[(900, "epsg", 3035, "")], srs={"parcels": 900})
    assert open_features(path, max_features=9).epsg == 3035


def test_more_features_than_allowed(tmp_path: Path) -> None:
    path = one(tmp_path, *((n, str(n), blob(SQUARE)) for n in range(1, 6)))
    assert open_features(path, max_features=5).count == 5
    with pytest.raises(LimitExceeded, match=r"has 5 features; at most 4 are allowed; split it") as told:
        open_features(path, max_features=4)
    assert told.value.parameter == "input->features"


@pytest.mark.parametrize("table", ["gpkg_contents", "gpkg_geometry_columns", "parcels"])
def test_views_that_never_end_are_not_read(tmp_path: Path, table: str) -> None:
    columns = {
        "gpkg_contents": "'parcels' AS table_name, 'features' AS data_type",
        "gpkg_geometry_columns": "'parcels' table_name, 'geom' column_name, 'POLYGON' geometry_type_name, 32633 srs_id",
        "parcels": "n AS fid, NULL AS identifier, NULL AS geom",
    }[table]
    endless = f"WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT {columns} FROM t"
    path = one(tmp_path, (1, "a", blob(SQUARE)), more=[f"DROP TABLE {table}", f"CREATE VIEW {table} AS {endless}"])
    assert refused(path)


def test_null_where_the_tables_describe_a_layer(tmp_path: Path) -> None:
    for column in ("table_name", "column_name", "geometry_type_name", "srs_id"):
        for value in ("NULL", "x'ff'", "1.5"):
            change = f"UPDATE gpkg_geometry_columns SET {column} = {value}"
            assert refused(one(tmp_path, (1, "a", blob(SQUARE)), more=[change]))


# Whatever the bytes are


class Original:
    """A valid file to be broken."""

    def __init__(self, path: Path) -> None:
        self.path, self.content = path, path.read_bytes()
        self.used = [at for at, byte in enumerate(self.content) if byte]


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Original:
    path = tmp_path_factory.mktemp("fuzz") / "a.gpkg"
    rows = [(n, f"id{n}", blob(shapely.box(n, 0, n + 1, 1), envelope=bool(n % 2))) for n in range(1, 30)]
    write(path, {"parcels": rows, 'o"ther': [(100, "x", blob(SQUARE))]})
    return Original(path)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bytes_are_an_error_or_none(valid: Original, data: st.DataObject) -> None:
    broken = bytearray(valid.content)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.sampled_from(valid.used) | st.integers(16, len(broken) - 1))
        broken[at] = data.draw(st.integers(0, 255))
    path = valid.path
    path.write_bytes(broken)
    with contextlib.suppress(FeaturesInvalid, LimitExceeded):
        file = open_features(path, max_features=1_000)
        seen = 0
        for batch in read_features(file):
            seen += len(batch.ids)
            assert all((p is None) == (n in batch.problems) for n, p in enumerate(batch.polygons))
        list(read_features(file, [1, 2]))
