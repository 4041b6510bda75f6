"""Reading ahead from stores: side by side, within the budget, nothing twice, and every failure told where it belongs."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from pydantic import SecretStr
from rasterio.transform import from_origin

from servers import S3Server, WatchedSite, moto_server, watched_site
from swathe.model.errors import SceneUnreadable
from swathe.rasters.blocks import BlockReader
from swathe.settings import StorageSettings
from swathe.storage import ObjectStores

ALL = [(row, column) for row in range(4) for column in range(4)]


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


def _make(path: Path, *, seed: int = 1, side: int = 512, driver: str = "GTiff", **options: Any) -> np.ndarray[Any, Any]:
    """Noise: 4 x 4 blocks of about 30 KB, the header in front of them."""
    pixels = np.random.default_rng(seed).integers(0, 2**16, (side, side)).astype("uint16")
    profile = {"width": side, "height": side, "count": 1, "dtype": "uint16", "crs": "EPSG:32633"}
    if driver == "GTiff":
        options = {"tiled": True, "blockxsize": side // 4, "blockysize": side // 4, "compress": "deflate"} | options
    with rasterio.open(
        path, "w", driver=driver, transform=from_origin(500000, 5000000, 10, 10), **profile, **options
    ) as dataset:
        dataset.write(pixels, 1)
    return pixels


def _make_some(folder: Path, count: int) -> dict[str, np.ndarray[Any, Any]]:
    return {f"s3://data/{n}.tif": _make(folder / f"data/{n}.tif", seed=n) for n in range(count)}


def _reader(url: str, **options: Any) -> BlockReader:
    return BlockReader(ObjectStores(StorageSettings(endpoint_url=url, retries=0, timeout_s=5)), **options)


def _whole(reader: BlockReader, href: str, side: int = 512) -> np.ndarray[Any, Any]:
    whole = np.zeros((side, side), "uint16")
    info = reader.info(href)
    for (row, column), block in reader.read_blocks(href, (1,), list(info.blocks())):
        top, left = row * info.block_height, column * info.block_width
        whole[top : top + block.shape[1], left : left + block.shape[2]] = block[0]
    return whole


def _until(is_so: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _data_requests(site: WatchedSite) -> list[tuple[str, str]]:
    return [(path, wanted) for _, path, wanted in list(site.requests) if not wanted.startswith("bytes=0-")]


def _together(site: WatchedSite, count: int) -> None:
    """Has no request answered before `count` of them are there."""
    gate = threading.Barrier(count)

    def answer(_: Any) -> bool:
        gate.wait(10)
        return False

    site.answer = answer


def _ill(handler: Any) -> bool:
    handler._send(503, b"")
    return True


def test_headers_of_many_files_are_asked_for_side_by_side(site: WatchedSite, tmp_path: Path) -> None:
    hrefs = list(_make_some(tmp_path, 12))
    reader = _reader(site.url)
    _together(site, 12)
    reader.open_ahead(hrefs)
    assert [reader.info(href).block_counts() for href in hrefs] == [(4, 4)] * 12
    assert len(site.requests) == reader.counters.requests == 12
    assert reader.counters.bytes_read == 12 * 32768
    reader.open_ahead(hrefs)
    assert len(site.requests) == 12
    reader.close()


def test_a_file_that_several_ask_for_is_opened_once(site: WatchedSite, tmp_path: Path) -> None:
    (href,) = _make_some(tmp_path, 1)
    reader = _reader(site.url)
    threads = [threading.Thread(target=reader.info, args=(href,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(site.requests) == 1


def test_batches_of_one_file_are_fetched_side_by_side(site: WatchedSite, tmp_path: Path) -> None:
    pixels = _make(tmp_path / "data/x.tif", side=2560)  # 13 MB
    reader = _reader(site.url)
    reader.info("s3://data/x.tif")
    _together(site, 4)
    assert (_whole(reader, "s3://data/x.tif", 2560) == pixels).all()
    assert len(_data_requests(site)) == 4
    assert reader.counters.requests == 5


def test_what_was_read_ahead_is_used_and_nothing_is_fetched_twice(site: WatchedSite, tmp_path: Path) -> None:
    made = _make_some(tmp_path, 6)
    reader = _reader(site.url)
    reader.open_ahead(made)
    for href in made:
        reader.read_ahead(href, (1,), ALL)
        reader.read_ahead(href, (1,), ALL)
    _until(lambda: reader.counters.requests == 12)
    for href, pixels in made.items():
        assert (_whole(reader, href) == pixels).all()
    assert len(site.requests) == len(set(site.requests)) == reader.counters.requests == 12
    assert reader.counters.blocks == 6 * 16
    fetched = sum(int(wanted[6:].split("-")[1]) - int(wanted[6:].split("-")[0]) + 1 for _, _, wanted in site.requests)
    assert reader.counters.bytes_read == fetched
    assert reader._ahead.held_bytes == 0
    reader.close()
    assert (_whole(reader, "s3://data/3.tif") == made["s3://data/3.tif"]).all()


def test_the_budget_is_kept_and_room_is_used_again(site: WatchedSite, tmp_path: Path) -> None:
    made = _make_some(tmp_path, 6)  # half a megabyte each
    reader = _reader(site.url, ahead_bytes=1_200_000)
    for href in made:
        reader.read_ahead(href, (1,), ALL)
    _until(lambda: len(_data_requests(site)) == 2)
    time.sleep(0.2)
    assert sorted(path for path, _ in _data_requests(site)) == ["/data/0.tif", "/data/1.tif"]
    for number, (href, pixels) in enumerate(made.items()):
        assert (_whole(reader, href) == pixels).all()
        assert reader._ahead.held_bytes <= 1_200_000
        _until(lambda: len(_data_requests(site)) >= min(6, number + 3))  # noqa: B023
    assert len(_data_requests(site)) == 6


def test_who_waits_gets_its_blocks_though_others_used_up_the_budget(site: WatchedSite, tmp_path: Path) -> None:
    made = _make_some(tmp_path, 4)
    reader = _reader(site.url, ahead_bytes=600_000)
    for href in made:
        reader.read_ahead(href, (1,), ALL)
    _until(lambda: len(_data_requests(site)) == 1)
    for href, pixels in reversed(made.items()):
        assert (_whole(reader, href) == pixels).all()
    assert len(_data_requests(site)) == 4


def test_other_blocks_than_those_read_ahead_use_what_is_there(site: WatchedSite, tmp_path: Path) -> None:
    ((href, pixels),) = _make_some(tmp_path, 1).items()
    reader = _reader(site.url)
    reader.read_ahead(href, (1,), [(0, 0), (0, 1), (3, 3)])
    _until(lambda: reader.counters.requests == 3)
    found = dict(reader.read_blocks(href, (1,), [(0, 1), (2, 0)]))
    assert (found[0, 1][0] == pixels[:128, 128:256]).all()
    assert (found[2, 0][0] == pixels[256:384, :128]).all()
    assert set(found) == {(0, 1), (2, 0)}
    assert len(_data_requests(site)) == 3  # two before, and one for what was not there
    list(reader.read_blocks(href, (1,), [(3, 3)]))
    assert len(_data_requests(site)) == 4  # it was dropped with the others
    assert reader._ahead.held_bytes == 0


def test_two_readings_of_one_file_are_kept_apart(site: WatchedSite, tmp_path: Path) -> None:
    ((href, pixels),) = _make_some(tmp_path, 1).items()
    reader = _reader(site.url)
    reader.read_ahead(href, (1,), [(0, 0), (0, 1)])
    reader.read_ahead(href, (1,), [(0, 1), (3, 3)])
    _until(lambda: reader.counters.requests == 4)
    for blocks in ([(0, 0), (0, 1)], [(0, 1), (3, 3)]):
        for (row, column), block in reader.read_blocks(href, (1,), blocks):
            assert (block[0] == pixels[row * 128 : row * 128 + 128, column * 128 : column * 128 + 128]).all()
    assert reader.counters.requests == 4


def test_failures_in_the_background_are_told_by_who_needs_the_file(site: WatchedSite, tmp_path: Path) -> None:
    (href,) = _make_some(tmp_path, 1)
    reader = _reader(site.url)
    (tmp_path / "data/text.tif").write_bytes(b"this is no raster at all, it is a text")
    wrong = ["s3://data/none.tif", "s3://data/text.tif"]
    reader.open_ahead(wrong)
    for name in wrong:
        reader.read_ahead(name, (1,), ALL)
    reader.read_ahead(href, (7,), ALL)
    reader.read_ahead(href, (1,), [(99, 99)])
    reader.read_ahead(href, (1,), ALL, 5)
    for name in wrong:
        for _ in range(2):
            with pytest.raises(SceneUnreadable, match=name) as caught:
                list(reader.read_blocks(name, (1,), ALL))
            assert not caught.value.retryable
    with pytest.raises(SceneUnreadable, match="not 7"):
        list(reader.read_blocks(href, (7,), ALL))
    site.answer = _ill
    reader.read_ahead(href, (1,), ALL)
    with pytest.raises(SceneUnreadable, match="busy or ill") as caught:
        list(reader.read_blocks(href, (1,), ALL))
    assert caught.value.retryable
    site.answer = None
    assert len(list(reader.read_blocks(href, (1,), ALL))) == 16
    assert reader._ahead.held_bytes == 0


def test_a_header_that_failed_in_the_background_is_tried_again(site: WatchedSite, tmp_path: Path) -> None:
    (href,) = _make_some(tmp_path, 1)
    reader = _reader(site.url)
    site.answer = _ill
    reader.open_ahead([href])
    _until(lambda: len(site.requests) > 0)
    with pytest.raises(SceneUnreadable, match="busy or ill"):
        reader.info(href)
    site.answer = None
    assert reader.info(href).block_counts() == (4, 4)


def test_what_nobody_asked_for_is_forgotten_and_counted(site: WatchedSite, tmp_path: Path) -> None:
    made = _make_some(tmp_path, 3)
    reader = _reader(site.url, ahead_bytes=600_000)
    for href in made:
        reader.read_ahead(href, (1,), ALL)
    _until(lambda: len(_data_requests(site)) == 1)
    _until(lambda: reader.counters.requests == 4)
    counted = reader.reset_counters()
    assert (counted.requests, counted.blocks) == (4, 0)
    assert reader._ahead.held_bytes == 0
    time.sleep(0.1)
    assert len(_data_requests(site)) == 1
    assert (_whole(reader, "s3://data/0.tif") == made["s3://data/0.tif"]).all()
    assert reader.counters.requests == 1


def test_an_early_end_gives_the_budget_back(site: WatchedSite, tmp_path: Path) -> None:
    _make(tmp_path / "data/x.tif", side=2560)
    reader = _reader(site.url)
    early = reader.read_blocks("s3://data/x.tif", (1,), ALL)
    next(early)
    early.close()
    _until(lambda: reader._ahead.held_bytes == 0)


def test_local_files_and_what_gdal_reads_are_left_alone(site: WatchedSite, tmp_path: Path) -> None:
    _make(tmp_path / "data/x.tif")
    pixels = _make(tmp_path / "data/x.jp2", driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
    local = BlockReader(ObjectStores(StorageSettings(local_root=tmp_path)))
    for href in (str(tmp_path / "data/x.tif"), "s3://data/x.tif", str(tmp_path / "none.tif")):
        local.open_ahead([href])
        local.read_ahead(href, (1,), ALL)
    assert local.counters.requests == 0
    reader = _reader(site.url)
    reader.read_ahead("s3://data/x.jp2", (1,), [(0, 0)])
    assert (_whole(reader, "s3://data/x.jp2") == pixels).all()


@pytest.mark.parametrize("threads", [1, 3])
def test_a_store_that_checks_signatures(s3: S3Server, tmp_path: Path, threads: int) -> None:
    made = {}
    for n in range(5):
        made[f"s3://data/{n}.tif"] = _make(tmp_path / f"{n}.tif", seed=n, predictor=2)
        s3.client().upload_file(str(tmp_path / f"{n}.tif"), "data", f"{n}.tif")
    settings = StorageSettings(
        endpoint_url=s3.url, access_key=s3.access_key, secret_access_key=SecretStr(s3.secret_access_key)
    )
    reader = BlockReader(ObjectStores(settings), threads=threads, ahead_bytes=1_000_000)
    reader = pickle.loads(pickle.dumps(reader))
    reader.open_ahead(made)
    for href in made:
        reader.read_ahead(href, (1,), ALL)
    for href, pixels in made.items():
        assert (_whole(reader, href) == pixels).all()
    counted = reader.counters
    assert (counted.requests, counted.blocks) == (10, 80)
    assert counted.seconds >= counted.fetch_seconds > 0
    assert counted.decode_seconds > 0
    reader.close()
