"""The two roads to a block give equal numbers: for files made here in every packing, and for the real data."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from swathe.model.errors import SceneUnreadable
from swathe.rasters.blocks import BlockReader
from swathe.rasters.plain import PlainTiff
from swathe.rasters.source import RasterInfo
from swathe.settings import StorageSettings
from swathe.storage import ObjectStores

TRANSFORM = Affine(9.99479222007154, 0, 465181.0522318204, 0, -9.997448467363668, 5080254.63349641)


@pytest.fixture
def reader() -> BlockReader:
    return BlockReader(ObjectStores(StorageSettings()))


def _shared_data() -> Path | None:
    for folder in Path(__file__).resolve().parents:
        if (folder.parent / "shared" / "data").is_dir():
            return folder.parent / "shared" / "data"
    return None


def _pixels(dtype: str, bands: int, height: int, width: int) -> np.ndarray[Any, Any]:
    """Smooth enough to be packed, over the whole range of the type; floats with NaN and infinity."""
    random = np.random.default_rng(7)
    if dtype.startswith("float"):
        values = np.cumsum(random.normal(0, 0.01, (bands, height, width)), axis=2).astype(dtype)
        values[:, 3, 4], values[:, 5, 6] = np.nan, -np.inf
        return values
    limits = np.iinfo(dtype)
    values = random.integers(limits.min, limits.max, (bands, height, width), dtype=dtype, endpoint=True)
    values[:, :, : width // 2] = np.arange(width // 2, dtype=dtype)
    return values


def _write(path: Path, pixels: np.ndarray[Any, Any], **options: Any) -> Path:
    bands, height, width = pixels.shape
    profile = {"driver": "GTiff", "count": bands, "height": height, "width": width, "dtype": pixels.dtype.name}
    profile |= {"crs": "EPSG:32633", "transform": TRANSFORM, **options}
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(pixels)
    return path


def _whole(reader: BlockReader, href: str, bands: tuple[int, ...], level: int = 0) -> np.ndarray[Any, Any]:
    """A level put together from its blocks."""
    info = reader.info(href)
    of = info.level(level)
    whole = np.zeros((len(bands), of.height, of.width), info.dtype)
    seen = np.zeros((of.height, of.width), int)
    for (row, column), pixels in reader.read_blocks(href, bands, list(info.blocks(level)), level):
        height, width = info.block_shape((row, column), level)
        assert pixels.shape == (len(bands), height, width)
        assert pixels.flags.c_contiguous
        assert pixels.dtype == np.dtype(info.dtype)
        assert pixels.dtype.isnative
        top, left = row * of.block_height, column * of.block_width
        whole[:, top : top + height, left : left + width] = pixels
        seen[top : top + height, left : left + width] += 1
    assert (seen == 1).all()
    return whole


def _assert_as_gdal_has_it(reader: BlockReader, path: Path) -> RasterInfo:
    info = reader.info(str(path))
    with rasterio.open(path) as dataset:
        t = dataset.transform
        assert info.grid.transform == (t.a, t.b, t.c, t.d, t.e, t.f)
        assert info.grid.epsg == dataset.crs.to_epsg()
        assert (info.grid.width, info.grid.height) == (dataset.width, dataset.height)
        assert (info.dtype, info.band_count) == (dataset.dtypes[0], dataset.count)
        assert info.nodata == dataset.nodata or (np.isnan(info.nodata) and np.isnan(dataset.nodata))
        assert (info.scales, info.offsets) == (dataset.scales, dataset.offsets)
        assert len(info.overviews) == len(dataset.overviews(1))
    for level in range(len(info.overviews) + 1):
        with rasterio.open(path, **({"overview_level": level - 1} if level else {})) as dataset:
            wanted = dataset.read()
        found = _whole(reader, str(path), tuple(range(1, info.band_count + 1)), level)
        assert found.tobytes() == wanted.tobytes(), (path, level)
    return info


def _is_plain(reader: BlockReader, path: Path) -> bool:
    return isinstance(reader._layouts.of(str(path)), PlainTiff)


def _variants() -> Iterator[Any]:
    numbers = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float32", "float64")
    for compress in ("none", "deflate", "lzw", "zstd"):
        for dtype in numbers:
            for predictor in (1, 2, 3) if compress != "none" else (1,):
                if predictor == 3 and not dtype.startswith("float"):
                    continue
                options = {"compress": compress} | ({"predictor": predictor} if predictor > 1 else {})
                for order in ("LITTLE", "BIG"):
                    yield pytest.param(
                        dtype, options | {"ENDIANNESS": order}, id=f"{compress}-{predictor}-{dtype}-{order}"
                    )


@pytest.mark.parametrize(("dtype", "options"), list(_variants()))
def test_every_packing_of_every_type_of_number(reader: BlockReader, tmp_path: Path, dtype: str, options: Any) -> None:
    layouts: tuple[dict[str, Any], ...] = (
        {"tiled": True, "blockxsize": 32, "blockysize": 16, "interleave": "pixel"},
        {"tiled": True, "blockxsize": 16, "blockysize": 32, "interleave": "band", "BIGTIFF": "YES"},
        {"tiled": False, "blockysize": 7, "interleave": "pixel"},
        {"tiled": False, "blockysize": 5, "interleave": "band"},
    )
    pixels = _pixels(dtype, 3, 45, 61)
    for number, layout in enumerate(layouts):
        path = _write(tmp_path / f"{number}.tif", pixels, **layout, **options)
        assert _is_plain(reader, path)
        _assert_as_gdal_has_it(reader, path)
        found = _whole(reader, str(path), (3, 1))
        assert found.tobytes() == pixels[[2, 0]].tobytes()


@pytest.mark.parametrize("driver", ["GTiff", "COG"])
def test_overviews_are_levels_of_their_own(reader: BlockReader, tmp_path: Path, driver: str) -> None:
    pixels = _pixels("uint16", 1, 300, 420)
    plain = {"tiled": True, "blockxsize": 64, "blockysize": 64} if driver == "GTiff" else {"blocksize": 64}
    path = _write(tmp_path / "x.tif", pixels, driver=driver, compress="deflate", nodata=0, **plain)
    if driver == "GTiff":
        with rasterio.open(path, "r+") as dataset:
            dataset.build_overviews([2, 4])
    info = _assert_as_gdal_has_it(reader, path)
    assert _is_plain(reader, path)
    assert [(level.width, level.height) for level in info.overviews][:2] == [(210, 150), (105, 75)]
    assert info.level_grid(1).bounds == pytest.approx(info.grid.bounds, abs=1e-6)


def test_blocks_that_a_file_leaves_out_hold_no_data(reader: BlockReader, tmp_path: Path) -> None:
    for name, nodata in (("a", 77), ("b", None), ("c", -5)):
        path = tmp_path / f"{name}.tif"
        profile = {"driver": "GTiff", "width": 96, "height": 64, "count": 2, "dtype": "int16", "crs": "EPSG:32633"}
        profile |= {"tiled": True, "blockxsize": 32, "blockysize": 32, "SPARSE_OK": True, "nodata": nodata}
        with rasterio.open(path, "w", transform=TRANSFORM, compress="deflate", **profile) as dataset:
            dataset.write(np.full((2, 32, 32), 9, "int16"), window=rasterio.windows.Window(32, 0, 32, 32))
        _assert_as_gdal_has_it(reader, path)
        whole = _whole(reader, str(path), (1,))
        assert whole[0, 0, 0] == (nodata or 0)
        assert whole[0, 0, 40] == 9


def test_a_file_of_one_long_strip_is_read_in_pieces(reader: BlockReader, tmp_path: Path) -> None:
    for interleave in ("pixel", "band"):
        path = _write(
            tmp_path / f"{interleave}.tif", _pixels("uint16", 2, 700, 500), blockysize=700, interleave=interleave
        )
        info = _assert_as_gdal_has_it(reader, path)
        assert info.block_height < 700
        reader.reset_counters()
        assert len(list(reader.read_blocks(str(path), (1,), [(1, 0)]))) == 1
        assert reader.counters.bytes_read <= 2**18


def test_no_data_scale_and_offset_are_the_files(reader: BlockReader, tmp_path: Path) -> None:
    path = _write(tmp_path / "x.tif", _pixels("float32", 2, 20, 20), nodata=np.nan, compress="deflate")
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.0001, 1.0), (-0.1, 2.5)
    info = _assert_as_gdal_has_it(reader, path)
    assert info.nodata is not None
    assert np.isnan(info.nodata)
    assert (info.scales, info.offsets) == ((0.0001, 1.0), (-0.1, 2.5))


@pytest.mark.parametrize("epsg", [4326, 3857, 3035, 32737, 31370, 2154])
@pytest.mark.parametrize("area_or_point", ["Area", "Point"])
def test_where_a_file_lies_is_the_same_to_the_last_bit(
    reader: BlockReader, tmp_path: Path, epsg: int, area_or_point: str
) -> None:
    for number, transform in enumerate(
        (TRANSFORM, Affine(0.1, 0, 1 / 3, 0, -0.1, 2 / 3), Affine(3, 0.5, 7, 0.25, -2, 9))
    ):
        path = tmp_path / f"{number}.tif"
        _write(path, _pixels("uint8", 1, 9, 9), crs=f"EPSG:{epsg}", transform=transform)
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(AREA_OR_POINT=area_or_point)
        _assert_as_gdal_has_it(reader, path)


def test_other_formats_take_the_other_road(reader: BlockReader, tmp_path: Path) -> None:
    smooth = np.broadcast_to(np.arange(80, dtype="uint8"), (3, 64, 80))
    for name, options in (
        ("jpeg.tif", {"compress": "jpeg", "photometric": "ycbcr", "tiled": True, "blockxsize": 32, "blockysize": 32}),
        ("packbits.tif", {"compress": "packbits"}),
        ("bits.tif", {"NBITS": 4}),
        ("lossless.jp2", {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"}),
    ):
        path = _write(tmp_path / name, np.ascontiguousarray(smooth % 16), **options)
        assert not _is_plain(reader, path)
        _assert_as_gdal_has_it(reader, path)


@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_of_many_readings_of_a_file_stay_as_they_were(tmp_path: Path, threads: int) -> None:
    """Memory is used again between batches and files; what was handed out is not."""
    reader = BlockReader(ObjectStores(StorageSettings()), threads=threads)
    kept = []
    for seed, interleave in enumerate(("pixel", "band")):
        pixels = np.random.default_rng(seed).integers(0, 2**16, (2, 700, 800), "uint16")  # 2 MB, and noise
        options = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "predictor": 2}
        path = str(_write(tmp_path / f"{interleave}.tif", pixels, interleave=interleave, **options))
        for bands in ((2,), (1, 2), (2, 2, 1)):
            found = reader.read_blocks(path, bands, list(reader.info(path).blocks()))
            kept += [(pixels[[band - 1 for band in bands]], block, values) for block, values in found]
    assert len(kept) == 2 * 3 * 12
    for pixels, (row, column), values in kept:
        assert (values == pixels[:, row * 256 : row * 256 + 256, column * 256 : column * 256 + 256]).all()


def test_gdal_keeps_the_bands_of_a_block_that_it_decodes_together(reader: BlockReader, tmp_path: Path) -> None:
    path = _write(
        tmp_path / "x.jp2", _pixels("uint8", 3, 64, 64), driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES"
    )
    with reader._layouts.gdal(str(path))._opened():
        assert rasterio._env.get_gdal_config("GDAL_CACHEMAX") == 64 * 2**20


def test_threads_and_repeated_blocks_change_nothing(tmp_path: Path) -> None:
    path = str(_write(tmp_path / "x.tif", _pixels("uint16", 2, 200, 200), tiled=True, blockxsize=32, blockysize=32))
    one, four = (BlockReader(ObjectStores(StorageSettings()), threads=n) for n in (1, 4))
    blocks = [(3, 1), (0, 0), (3, 1), (6, 6)]
    first = [(block, pixels.tobytes()) for block, pixels in one.read_blocks(path, (2,), blocks)]
    again = [(block, pixels.tobytes()) for block, pixels in four.read_blocks(path, (2,), blocks)]
    assert first == again
    assert sorted(block for block, _ in first) == [(0, 0), (3, 1), (6, 6)]
    assert one.counters.blocks == 3
    assert one.counters.bytes_decoded == 2 * (32 * 32 + 32 * 32 + 8 * 8)
    early = four.read_blocks(path, (1,), list(four.info(path).blocks()))
    next(early)
    early.close()


def test_counters_add_up_and_start_anew(reader: BlockReader, tmp_path: Path) -> None:
    path = str(_write(tmp_path / "x.tif", _pixels("uint16", 1, 64, 64), tiled=True, blockxsize=32, blockysize=32))
    list(reader.read_blocks(path, (1,), [(0, 0), (1, 1)]))
    first = reader.reset_counters()
    list(reader.read_blocks(path, (1,), [(0, 1)]))
    total = first + reader.counters
    assert (first.blocks, reader.counters.blocks, total.blocks) == (2, 1, 3)
    assert (first.requests, reader.counters.requests) == (2, 1)  # header and one range; then one range
    assert total.bytes_decoded == 3 * 32 * 32 * 2
    assert total.seconds > 0


def test_a_file_that_changed_is_looked_at_again(reader: BlockReader, tmp_path: Path) -> None:
    path = _write(tmp_path / "x.tif", np.full((1, 40, 40), 5, "uint8"), compress="deflate")
    assert _whole(reader, str(path), (1,)).max() == 5
    _write(path, np.full((1, 50, 60), 6, "uint16"), compress="zstd")
    assert _whole(reader, str(path), (1,)).shape == (1, 50, 60)


def test_what_cannot_be_read_is_named_with_the_way_out(reader: BlockReader, tmp_path: Path) -> None:
    good = _write(tmp_path / "good.tif", _pixels("uint16", 1, 64, 64), compress="deflate", blockysize=16)
    whole = good.read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) - 300])
    (tmp_path / "header.tif").write_bytes(whole[:40])
    (tmp_path / "text.tif").write_bytes(b"this is no raster at all, it is a text")
    (tmp_path / "empty.tif").write_bytes(b"")
    vrt = '<VRTDataset rasterXSize="1" rasterYSize="1"><SRS>EPSG:4326</SRS></VRTDataset>'
    (tmp_path / "names-others.vrt").write_text(vrt)
    for name in ("cut.tif", "header.tif", "text.tif", "empty.tif", "names-others.vrt", "none.tif"):
        with pytest.raises(SceneUnreadable) as caught:
            _whole(reader, str(tmp_path / name), (1,))
        assert str(tmp_path / name) in caught.value.message
        assert not caught.value.retryable, name
    with pytest.raises(SceneUnreadable, match="bands 1 to 1, not 2"):
        list(reader.read_blocks(str(good), (2,), [(0, 0)]))
    with pytest.raises(SceneUnreadable, match="no level 1"):
        list(reader.read_blocks(str(good), (1,), [(0, 0)], 1))


def test_a_bomb_is_refused_before_it_is_unpacked(reader: BlockReader, tmp_path: Path) -> None:
    path = tmp_path / "bomb.tif"
    profile = {"driver": "GTiff", "width": 20000, "height": 20000, "count": 1, "dtype": "uint8", "crs": "EPSG:32633"}
    with rasterio.open(
        path, "w", transform=TRANSFORM, tiled=True, blockxsize=20000 // 16 * 16, blockysize=20000 // 16 * 16,
        compress="deflate", SPARSE_OK=True, **profile,
    ):  # fmt: skip
        pass
    with pytest.raises(SceneUnreadable, match="has blocks of 20000 x 20000 pixels"):
        reader.info(str(path))


def test_no_position_of_a_wrong_byte_breaks_more_than_the_reading(tmp_path: Path) -> None:
    good = _write(tmp_path / "good.tif", _pixels("uint16", 1, 64, 64), compress="deflate", blockysize=16, predictor=2)
    whole = good.read_bytes()
    random = np.random.default_rng(3)
    header = struct.unpack("<I", whole[4:8])[0]
    places = {*range(16), *range(header, min(header + 300, len(whole))), *random.integers(0, len(whole), 100).tolist()}
    path = tmp_path / "wrong.tif"
    for place in sorted(places):
        for value in (0, 0xFF, whole[place] ^ 0x40):
            path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            reader = BlockReader(ObjectStores(StorageSettings()))
            try:
                info = reader.info(str(path))
                if info.grid.width * info.grid.height < 10**6:
                    _whole(reader, str(path), (1,))
            except SceneUnreadable as error:
                assert "wrong.tif" in error.message  # noqa: PT017


def _real_files() -> list[Path]:
    data = _shared_data()
    return [] if data is None else sorted(path for path in data.rglob("*") if path.suffix.lower() in (".tif", ".jp2"))


@pytest.mark.parametrize("part", range(4))
def test_real_files_are_as_gdal_has_them(reader: BlockReader, part: int) -> None:
    files = _real_files()
    if not files:
        pytest.skip("the shared test data are not beside this checkout")
    # Every folder of the collections and every kind of file; not each of the thousands of equal make.
    kinds: dict[tuple[Path, str], list[Path]] = {}
    for path in files:
        top = path.relative_to(_shared_data() or path).parts
        kinds.setdefault((Path(*top[: 2 if top[0] == "other" else 1]), path.stem.split("_")[-1]), []).append(path)
    chosen = sorted({path for of_kind in kinds.values() for path in (*of_kind[:2], of_kind[-1])})
    assert len(chosen) > 50
    for path in chosen[part::4]:
        _assert_as_gdal_has_it(reader, path)
        assert _is_plain(reader, path) == (path.suffix.lower() == ".tif")


def test_a_raster_in_radar_geometry_says_what_it_lacks(reader: BlockReader) -> None:
    data = _shared_data()
    if data is None:
        pytest.skip("the shared test data are not beside this checkout")
    (path,) = (data / "other" / "s1-grd-gcps").rglob("*.tiff")
    with pytest.raises(SceneUnreadable, match="only ground control points; warp it"):
        reader.info(str(path))
