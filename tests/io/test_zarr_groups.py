"""Zarr groups in a folder and on S3, opened by xarray, rioxarray, zarr and GDAL; broken off and gone on with."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 -- gives data sets their `rio`
import xarray as xr
import zarr
from pydantic import SecretStr

from servers import S3Server, moto_server
from swathe.grids.raster_grid import RasterGrid
from swathe.model.errors import AccessDenied, RequestInvalid
from swathe.outputs.zarr_metadata import describe
from swathe.outputs.zarr_plan import ZarrPlan
from swathe.outputs.zarr_write import TileWriter, check_place, create_group
from swathe.settings import StorageSettings
from swathe.storage import Credentials, ObjectStores
from zarr_cases import HEIGHT, TILES, Image, make_plan, mosaic, picture, tile

SECOND = "2019-04-01T00:00:00"


@pytest.fixture
def store(tmp_path: Path) -> ObjectStores:
    return ObjectStores(StorageSettings(local_root=tmp_path))


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with moto_server() as running:
        running.client().create_bucket(
            Bucket="results", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        yield running


def write_tile(plan: ZarrPlan, store: ObjectStores, grid: RasterGrid, *, rows: int = 5, pause_s: float = 0) -> int:
    """Writes a tile in strips of so many rows, to all arrays the same numbers."""
    writer = TileWriter(plan, store, grid)
    values = picture(grid, "float32")[None]
    for first in range(0, HEIGHT, rows):
        strip = values[:, first : first + rows]
        writer.write(
            first, {array.name: strip.astype(np.dtype(array.dtype).newbyteorder("=")) for array in plan.arrays}
        )
        time.sleep(pause_s)
    writer.close()
    return writer.chunks


def write_group(plan: ZarrPlan, store: ObjectStores, tiles: tuple[RasterGrid, ...] = TILES) -> None:
    create_group(plan, store)
    for grid in tiles:
        write_tile(plan, store, grid)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def raw(folder: Path, name: str = "red") -> Any:
    """The array's values as they are, fill values included."""
    return zarr.open_group(str(folder), mode="r")[name][0]


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("origin", ["topLeft", "bottomLeft"])
def test_xarray_finds_values_coordinates_crs_and_transform(
    store: ObjectStores, tmp_path: Path, zarr_format: int, origin: str
) -> None:
    images = (Image("red"), Image("ndvi", "float32"))
    floats = {"ndvi": {"dtype": "<f4", "fill_value": "NaN", "customAttributes": {"units": "1"}}}
    plan = make_plan(images, group={"coordinates": {"origin": origin}}, arrayOverrides=floats, zarr_format=zarr_format)
    write_group(plan, store)
    group = xr.open_zarr(tmp_path / "results/group", consolidated=True)
    assert set(group.data_vars) == {"red", "ndvi"}
    assert group.red.dims == ("time", "y", "x")
    assert group.red.chunks == ((1,), (4,) * 6, (4,) * 6)
    assert group.time.values.tolist() == [np.datetime64(SECOND, "ns").astype(int)]
    assert group.ndvi.attrs["units"] == "1"
    assert group.x.values[:2].tolist() == [4_300_050.0, 4_300_150.0]
    up = origin == "bottomLeft"
    assert group.y.values[[0, -1]].tolist() == ([2_597_650.0, 2_599_950.0] if up else [2_599_950.0, 2_597_650.0])
    assert group.rio.crs.to_epsg() == 3035
    expected = (
        (100.0, 0.0, 4_300_000.0, 0.0, 100.0, 2_597_600.0) if up else (100.0, 0, 4_300_000.0, 0, -100.0, 2_600_000.0)
    )
    assert tuple(group.rio.transform())[:6] == expected
    assert tuple(group.rio.transform(recalc=True))[:6] == expected
    # no data is NaN in both, since xarray takes the fill value for it
    for name in ("red", "ndvi"):
        north_up = group[name].sortby("y", ascending=False).values[0]
        np.testing.assert_array_equal(north_up, mosaic(plan, dtype="float32", fill=np.nan))
    np.testing.assert_array_equal(raw(tmp_path / "results/group"), mosaic(plan)[:: -1 if up else 1])


@pytest.mark.parametrize("origin", ["topLeft", "bottomLeft"])
@pytest.mark.parametrize(("epsg", "pixel"), [(3035, 100.0), (4326, 0.0001)])
def test_gdal_finds_values_no_data_crs_and_transform(
    store: ObjectStores, tmp_path: Path, origin: str, epsg: int, pixel: float
) -> None:
    tiles = tuple(tile(column, row, epsg=epsg, pixel=pixel) for column, row in ((1, 0), (0, 1), (2, 1)))
    plan = make_plan(tiles=tiles, group={"coordinates": {"origin": origin}})
    write_group(plan, store, tiles)
    with rasterio.open(f'ZARR:"{tmp_path}/results/group":/red') as found:
        assert (found.count, found.dtypes, found.nodata) == (1, ("uint16",), 0)
        assert found.crs.to_epsg() == epsg
        assert found.bounds.left == pytest.approx(plan.grid.x0, abs=1e-9)
        assert found.bounds.right == pytest.approx(plan.grid.bounds[2], abs=1e-9)
        south, north = plan.grid.bounds[1], plan.grid.bounds[3]
        up = origin == "bottomLeft"
        assert found.transform.f == pytest.approx(south if up else north, abs=1e-9)
        assert found.transform.e == pytest.approx(pixel if up else -pixel, abs=1e-9)
        np.testing.assert_array_equal(found.read(1)[:: -1 if up else 1], mosaic(plan, tiles))


def test_degrees_are_told_as_longitude_and_latitude(store: ObjectStores, tmp_path: Path) -> None:
    tiles = (tile(0, 0, epsg=4326, pixel=0.0001), tile(1, 0, epsg=4326, pixel=0.0001))
    plan = make_plan(tiles=tiles)
    write_group(plan, store, tiles)
    group = xr.open_zarr(tmp_path / "results/group")
    assert group.x.attrs["standard_name"] == "longitude"
    assert group.rio.crs.to_epsg() == 4326
    np.testing.assert_allclose(group.x.values[[0, -1]], [8.00005, 8.00155], rtol=0, atol=1e-12)
    np.testing.assert_allclose(group.y.values[[0, -1]], [42.99995, 42.99885], rtol=0, atol=1e-12)
    assert group.attrs["geospatial_lon_min"] == pytest.approx(8.0)
    assert group.attrs["geospatial_lat_max"] == pytest.approx(43.0)


COMPRESSORS: list[dict[str, Any] | None] = [
    None,
    {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0},
    {"id": "blosc", "cname": "lz4hc", "clevel": 9, "shuffle": 2},
    {"id": "blosc", "cname": "blosclz", "shuffle": 0},
    {"id": "blosc", "cname": "zstd", "shuffle": -1},
    {"id": "blosc", "cname": "zlib", "clevel": 1},
    {"id": "blosc"},
    {"id": "zlib", "level": 4},
    {"id": "gzip"},
    {"id": "gzip", "level": 6},
    {"id": "bz2", "level": 3},
    {"id": "lzma", "preset": 2},
    {"id": "lz4", "acceleration": 2},
    {"id": "zstd", "level": 7},
    {"id": "zstd"},
]


FILTERS: list[list[dict[str, Any]]] = [
    [{"id": "delta", "dtype": "<f4"}],
    [{"id": "fixedscaleoffset", "offset": 0, "scale": 1, "dtype": "<f4", "astype": "<i4"}],
    [{"id": "quantize", "digits": 3, "dtype": "<f4"}],
    [{"id": "shuffle", "elementsize": 4}],
    [{"id": "bitround", "keepbits": 20}],
    [{"id": "delta", "dtype": "<f4"}, {"id": "crc32"}],
    [{"id": "adler32"}],
]
Codecs = tuple[dict[str, Any] | None, list[dict[str, Any]]]
CODECS: list[Codecs] = [(compressor, []) for compressor in COMPRESSORS] + [(COMPRESSORS[1], some) for some in FILTERS]
# Those that the GDAL in rasterio's wheels lacks; it opens no group that has one of them in any array.
_FOREIGN_TO_GDAL = {"bz2", "lz4", "quantize", "fixedscaleoffset", "shuffle", "bitround", "crc32", "adler32"}


def _known_to_gdal(codecs: Codecs) -> bool:
    compressor, filters = codecs
    return not {config["id"] for config in (*filters, compressor or {"id": None})} & _FOREIGN_TO_GDAL


def _write_with(codecs: list[Codecs], store: ObjectStores, zarr_format: int) -> list[str]:
    """A group with an array for each pair of compressor and filters; the arrays' names."""
    images = tuple(Image(f"a{number}", "float32") for number in range(len(codecs)))
    overrides = {
        image.id: {"dtype": "<f4", "chunks": [1, 12, 8], "compressor": compressor, "filters": filters}
        for image, (compressor, filters) in zip(images, codecs, strict=True)
    }
    tiles = (tile(0, 0),)
    write_group(make_plan(images, tiles, arrayOverrides=overrides, zarr_format=zarr_format), store, tiles)
    return [image.id for image in images]


# Version 3 has not all of them itself, and says so.
@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3 specification")
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr_reads_every_compressor_and_filter(store: ObjectStores, tmp_path: Path, zarr_format: int) -> None:
    for name, codecs in zip(_write_with(CODECS, store, zarr_format), CODECS, strict=True):
        found = raw(tmp_path / "results/group", name)
        np.testing.assert_array_equal(found, picture(tile(0, 0)), err_msg=str(codecs))


def test_gdal_reads_the_compressors_and_filters_that_it_knows(store: ObjectStores, tmp_path: Path) -> None:
    known = [codecs for codecs in CODECS if _known_to_gdal(codecs)]
    assert len(known) == len(CODECS) - 8
    for name, codecs in zip(_write_with(known, store, 2), known, strict=True):
        with rasterio.open(f'ZARR:"{tmp_path}/results/group":/{name}') as found:
            np.testing.assert_array_equal(found.read(1), picture(tile(0, 0)), err_msg=str(codecs))


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_every_dtype_is_read_by_others(store: ObjectStores, tmp_path: Path, zarr_format: int) -> None:
    samples = {"|u1": "uint8", "|i1": "int8", "<u2": "uint16", ">u2": "uint16", "<i2": "int16", ">i2": "int16"}
    samples |= dict.fromkeys(("<f4", ">f4", "<f8", ">f8"), "float32")
    images = tuple(Image(f"a{number}", sample) for number, sample in enumerate(samples.values()))
    overrides = {image.id: {"dtype": dtype} for image, dtype in zip(images, samples, strict=True)}
    one = (tile(0, 0),)
    plan = make_plan(images, one, arrayOverrides=overrides, zarr_format=zarr_format)
    create_group(plan, store)
    writer = TileWriter(plan, store, one[0])
    values = picture(one[0]) % 100 + 1
    writer.write(0, {image.id: values[None].astype(image.sample_type) for image in images})
    writer.close()
    for image, dtype in zip(images, samples, strict=True):
        found = raw(tmp_path / "results/group", image.id)
        assert found.dtype.newbyteorder("=") == np.dtype(dtype).newbyteorder("=")
        np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("rows", [1, 4, 5, 12])
def test_strips_may_be_of_any_height(store: ObjectStores, tmp_path: Path, rows: int) -> None:
    plan = make_plan((Image("red"), Image("nir")), arrayOverrides={"nir": {"chunks": [1, 6, 8]}})
    create_group(plan, store)
    for grid in TILES:
        assert write_tile(plan, store, grid, rows=rows) == 6 + 2
    for name in ("red", "nir"):
        np.testing.assert_array_equal(raw(tmp_path / "results/group", name), mosaic(plan))


def test_strips_that_do_not_follow_each_other_are_bugs(store: ObjectStores) -> None:
    plan = make_plan()
    writer = TileWriter(plan, store, TILES[0])
    with pytest.raises(ValueError, match="row 0 of the tile is next"):
        writer.write(4, {"red": np.ones((1, 4, 8))})
    writer.write(0, {"red": np.ones((1, 4, 8))})
    with pytest.raises(ValueError, match="4 of 12 rows"):
        writer.close()


def test_a_group_can_be_asked_for_again_and_keeps_its_chunks(store: ObjectStores, tmp_path: Path) -> None:
    plan = make_plan()
    write_group(plan, store)
    before = contents(tmp_path)
    assert create_group(plan, store) is False
    assert contents(tmp_path) == before


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_metadata_that_were_broken_off_are_completed(store: ObjectStores, tmp_path: Path, zarr_format: int) -> None:
    plan = make_plan(zarr_format=zarr_format)
    create_group(plan, store)
    before = contents(tmp_path)
    *some, last = describe(plan)
    for key in (some[0], some[-1], last):
        store.delete(f"{plan.url}/{key}")
    assert create_group(plan, store) is True
    assert contents(tmp_path) == before


@pytest.mark.parametrize("formats", [(2, 2), (2, 3), (3, 2)])
def test_another_group_is_refused_or_replaced_but_other_files_stay(
    store: ObjectStores, tmp_path: Path, formats: tuple[int, int]
) -> None:
    write_group(make_plan((Image("green"),), zarr_format=formats[0]), store)
    store.write("s3://results/group/manifest.gpkg", b"mine")
    store.write("s3://results/group/notes/a.txt", b"mine")
    plan = make_plan((Image("red"),), zarr_format=formats[1])
    before = contents(tmp_path)
    with pytest.raises(RequestInvalid, match="already holds a Zarr group of other content"):
        create_group(plan, store)
    assert contents(tmp_path) == before
    assert create_group(plan, store, overwrite=True) is True
    expected = {f"results/group/{key}": data for key, data in describe(plan).items()}
    mine = {"results/group/manifest.gpkg": b"mine", "results/group/notes/a.txt": b"mine"}
    assert contents(tmp_path) == expected | mine


def test_the_place_must_be_empty_but_for_the_jobs_own_files(store: ObjectStores) -> None:
    check_place(store, "s3://results/group/")
    store.write("s3://results/group/featureManifest-1.gpkg", b"")
    check_place(store, "s3://results/group", {"featureManifest-1.gpkg"})
    store.write("s3://results/group/old/.zarray", b"")
    with pytest.raises(RequestInvalid, match=r"s3://results/group already holds s3://results/group/old/.zarray"):
        check_place(store, "s3://results/group", {"featureManifest-1.gpkg"})


def test_tiles_written_side_by_side_make_the_same_group(tmp_path: Path) -> None:
    stores = [ObjectStores(StorageSettings(local_root=tmp_path / name)) for name in ("together", "apart")]
    plan = make_plan((Image("red"), Image("nir")))
    write_group(plan, stores[1])
    create_group(plan, stores[0])
    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(lambda grid: write_tile(plan, stores[0], grid), TILES))
    assert counts == [12] * 4
    assert contents(tmp_path / "together") == contents(tmp_path / "apart")


def _work(root: Path, pause_s: float) -> None:
    store = ObjectStores(StorageSettings(local_root=root))
    plan = make_plan()
    create_group(plan, store)
    for grid in TILES:
        write_tile(plan, store, grid, rows=4, pause_s=pause_s)


def test_a_killed_worker_leaves_whole_chunks_and_its_successor_the_same_bytes(tmp_path: Path) -> None:
    _work(tmp_path / "undisturbed", 0)
    expected = contents(tmp_path / "undisturbed")
    process = multiprocessing.get_context("spawn").Process(target=_work, args=(tmp_path / "killed", 0.2))
    process.start()
    deadline = time.monotonic() + 180
    while not list((tmp_path / "killed").glob("results/group/red/0.*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    left = contents(tmp_path / "killed")
    assert 0 < len(left) < len(expected)
    assert left.items() <= expected.items()
    _work(tmp_path / "killed", 0)
    assert contents(tmp_path / "killed") == expected


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_group_on_s3_opens_as_one_in_a_folder(server: S3Server, zarr_format: int) -> None:
    store = ObjectStores(StorageSettings(endpoint_url=server.url, region=server.region))
    keys = Credentials(server.access_key, server.secret_access_key, server.region)
    url = f"s3://results/run{zarr_format}/cube"
    plan = make_plan(url=url, zarr_format=zarr_format)
    check_place(store, url, credentials=keys)
    assert create_group(plan, store, credentials=keys) is True
    for grid in TILES:
        writer = TileWriter(plan, store, grid, credentials=keys)
        writer.write(0, {"red": picture(grid)[None]})
        writer.close()
    assert create_group(plan, store, credentials=keys) is False
    with pytest.raises(RequestInvalid, match="already holds"):
        check_place(store, url, credentials=keys)
    with pytest.raises(RequestInvalid, match="of other content"):
        create_group(make_plan((Image("nir"),), url=url), store, credentials=keys)
    from obstore.store import S3Store
    from zarr.storage import ObjectStore

    bucket = S3Store(
        "results",
        prefix=f"run{zarr_format}/cube",
        endpoint=server.url,
        region=server.region,
        access_key_id=server.access_key,
        secret_access_key=server.secret_access_key,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
    group = xr.open_zarr(ObjectStore(bucket, read_only=True), consolidated=True)
    assert group.rio.crs.to_epsg() == 3035
    np.testing.assert_array_equal(group.red.values[0], mosaic(plan, dtype="float32", fill=np.nan))


def test_keys_that_may_only_read_write_nothing(server: S3Server) -> None:
    settings = StorageSettings(
        endpoint_url=server.url,
        region=server.region,
        access_key=server.read_access_key,
        secret_access_key=SecretStr(server.read_secret_access_key),
    )
    with pytest.raises(AccessDenied, match="s3://results/forbidden"):
        create_group(make_plan(url="s3://results/forbidden"), ObjectStores(settings))
