"""Blocks from stores: how many requests they take, and what happens when the store fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from pydantic import SecretStr
from rasterio.transform import from_origin

from servers import S3Server, WatchedSite, free_port, moto_server, watched_site
from swathe.model.errors import SceneUnreadable
from swathe.rasters.blocks import BlockReader
from swathe.settings import StorageSettings
from swathe.storage import ObjectStores


@pytest.fixture
def site(tmp_path: Path) -> Iterator[WatchedSite]:
    """A public bucket `data` that counts requests."""
    (tmp_path / "data").mkdir()
    with watched_site(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with moto_server() as running:
        constraint = {"LocationConstraint": "eu-central-1"}
        running.client().create_bucket(Bucket="data", CreateBucketConfiguration=constraint)
        yield running


def _make(path: Path, *, side: int = 1024, driver: str = "GTiff", **options: Any) -> np.ndarray[Any, Any]:
    """Noise, so that a block of 128 x 128 takes about 30 KB."""
    pixels = np.random.default_rng(1).integers(0, 2**16, (side, side)).astype("uint16")
    profile = {"width": side, "height": side, "count": 1, "dtype": "uint16", "crs": "EPSG:32633"}
    with rasterio.open(
        path, "w", driver=driver, transform=from_origin(500000, 5000000, 10, 10), **profile, **options
    ) as dataset:
        dataset.write(pixels, 1)
    return pixels


def _tiled(path: Path) -> np.ndarray[Any, Any]:
    return _make(path, tiled=True, blockxsize=128, blockysize=128, compress="deflate")


def _reader(url: str, **options: Any) -> BlockReader:
    return BlockReader(ObjectStores(StorageSettings(endpoint_url=url, retries=1, timeout_s=5)), **options)


def test_a_header_takes_one_request_and_neighbours_take_one(site: WatchedSite, tmp_path: Path) -> None:
    pixels = _make(tmp_path / "data/x.tif", driver="COG", blocksize=128, compress="deflate", overviews="none")
    reader = _reader(site.url)
    info = reader.info("s3://data/x.tif")
    assert [(method, wanted) for method, _, wanted in site.requests] == [("GET", "bytes=0-32767")]
    reader.info("s3://data/x.tif")
    assert len(site.requests) == 1
    del site.requests[:]
    found = dict(reader.read_blocks("s3://data/x.tif", (1,), [(0, 0), (0, 1), (0, 2), (5, 5)]))
    assert len(site.requests) == 2  # three neighbours, and one far away
    for (row, column), block in found.items():
        assert (block[0] == pixels[row * 128 : row * 128 + 128, column * 128 : column * 128 + 128]).all()
    assert reader.counters.requests == 3
    fetched = sum(int(wanted.split("-")[1]) - int(wanted[6:].split("-")[0]) + 1 for _, _, wanted in site.requests)
    assert reader.counters.bytes_read == 32768 + fetched
    assert info.block_counts() == (8, 8)


def test_a_small_gap_is_read_over_and_a_large_one_is_not(site: WatchedSite, tmp_path: Path) -> None:
    _tiled(tmp_path / "data/x.tif")
    reader = _reader(site.url)
    reader.info("s3://data/x.tif")
    for blocks, requests in (([(0, 0), (0, 2)], 1), ([(0, 0), (0, 4)], 2)):  # one block between; three
        del site.requests[:]
        list(reader.read_blocks("s3://data/x.tif", (1,), blocks))
        assert len(site.requests) == requests


@pytest.mark.parametrize("threads", [1, 3])
def test_a_whole_raster_from_a_store_that_checks_signatures(s3: S3Server, tmp_path: Path, threads: int) -> None:
    for name, make in (("x.tif", _tiled), ("x.jp2", None)):
        path = tmp_path / name
        pixels = make(path) if make else _make(path, side=600, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
        s3.client().upload_file(str(path), "data", name)
        settings = StorageSettings(
            endpoint_url=s3.url, access_key=s3.access_key, secret_access_key=SecretStr(s3.secret_access_key)
        )
        reader = BlockReader(ObjectStores(settings), threads=threads)
        info = reader.info(f"s3://data/{name}")
        whole = np.zeros_like(pixels)
        for (row, column), block in reader.read_blocks(f"s3://data/{name}", (1,), list(info.blocks())):
            top, left = row * info.block_height, column * info.block_width
            whole[top : top + block.shape[1], left : left + block.shape[2]] = block[0]
        assert (whole == pixels).all()
        assert info.grid.epsg == 32633


def test_http_and_mapped_buckets_are_read_alike(site: WatchedSite, tmp_path: Path) -> None:
    pixels = _tiled(tmp_path / "data/x.tif")
    mapped = BlockReader(ObjectStores(StorageSettings(local_root=tmp_path, hosts=("127.0.0.1",))))
    for reader, href in (
        (mapped, "s3://data/x.tif"),
        (mapped, f"{site.url}/data/x.tif"),
        (mapped, str(tmp_path / "data/x.tif")),
    ):
        ((_, block),) = reader.read_blocks(href, (1,), [(7, 3)])
        assert (block[0] == pixels[896:1024, 384:512]).all()


def test_a_missing_object_is_final_and_an_ill_store_is_not(site: WatchedSite, tmp_path: Path) -> None:
    _tiled(tmp_path / "data/x.tif")
    reader = _reader(site.url)
    with pytest.raises(SceneUnreadable, match=r"s3://data/none\.tif") as caught:
        reader.info("s3://data/none.tif")
    assert not caught.value.retryable
    with pytest.raises(SceneUnreadable) as caught:
        _reader(f"http://127.0.0.1:{free_port()}").info("s3://data/x.tif")
    assert caught.value.retryable
    reader.info("s3://data/x.tif")

    def ill(handler: Any) -> bool:
        handler._send(503, b"")
        return True

    site.answer = ill
    with pytest.raises(SceneUnreadable, match="busy or ill") as caught:
        list(reader.read_blocks("s3://data/x.tif", (1,), [(0, 0)]))
    assert caught.value.retryable


def test_an_ill_store_under_gdal_is_not_taken_for_a_corrupt_file(site: WatchedSite, tmp_path: Path) -> None:
    _make(tmp_path / "data/x.jp2", side=1200, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
    reader = _reader(site.url)
    info = reader.info("s3://data/x.jp2")

    def ill_for_data(handler: Any) -> bool:
        wanted = handler.headers.get("range") or "bytes=0-"
        if int(wanted[6:].split("-")[0]) < 600_000:
            return False
        handler._send(503, b"")
        return True

    site.answer = ill_for_data
    with pytest.raises(SceneUnreadable, match="busy or ill") as caught:
        list(reader.read_blocks("s3://data/x.jp2", (1,), list(info.blocks())))
    assert caught.value.retryable


def test_an_object_cut_short_is_corrupt(site: WatchedSite, tmp_path: Path) -> None:
    path = tmp_path / "data/x.tif"
    _tiled(path)
    path.write_bytes(path.read_bytes()[:-50_000])
    reader = _reader(site.url)
    with pytest.raises(SceneUnreadable, match="ends before byte") as caught:
        list(reader.read_blocks("s3://data/x.tif", (1,), list(reader.info("s3://data/x.tif").blocks())))
    assert not caught.value.retryable
