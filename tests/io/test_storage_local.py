"""Buckets that are folders, and files that the deployment names."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers import watched_site
from swathe.model.errors import AccessDenied, LimitExceeded, ObjectNotFound, StorageError, StoreUnavailable
from swathe.settings import StorageSettings
from swathe.storage import ObjectStores, SourceFiles


@pytest.fixture
def stores(tmp_path: Path) -> ObjectStores:
    return ObjectStores(StorageSettings(local_root=tmp_path / "buckets"))


def _all_files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_an_object_is_the_file_of_its_name(stores: ObjectStores, tmp_path: Path) -> None:
    stores.write("s3://data/a/b c.txt", b"hello world")
    assert (tmp_path / "buckets/data/a/b c.txt").read_bytes() == b"hello world"
    assert stores.read("s3://data/a/b c.txt") == b"hello world"
    assert stores.read_ranges("s3://data/a/b c.txt", [(6, 5), (0, 5), (9, 100), (50, 3), (1, 0)]) == [
        b"world",
        b"hello",
        b"ld",
        b"",
        b"",
    ]
    assert stores.size("s3://data/a/b c.txt") == 11
    stores.write("s3://data/a/b c.txt", b"second")
    assert stores.read("s3://data/a/b c.txt") == b"second"
    assert _all_files(tmp_path / "buckets") == ["data/a/b c.txt"]


def test_what_is_not_there_is_not_found(stores: ObjectStores, tmp_path: Path) -> None:
    stores.write("s3://data/a/b", b"x")
    for url in ("s3://data/none", "s3://nobucket/a", "s3://data/a", "s3://data/a/b/c"):
        assert not stores.exists(url)
        with pytest.raises(ObjectNotFound, match="there is no such object"):
            stores.read(url)
        with pytest.raises(ObjectNotFound):
            stores.download(url, tmp_path / "x", 100)
    assert stores.exists("s3://data/a/b")
    stores.delete("s3://data/none")


def test_a_failed_write_leaves_nothing_behind(
    stores: ObjectStores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.write("s3://data/a", b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(StoreUnavailable, match="No space left"):
        stores.write("s3://data/a", b"new")
    monkeypatch.undo()
    assert stores.read("s3://data/a") == b"old"
    assert _all_files(tmp_path / "buckets") == ["data/a"]


def test_a_folder_lists_what_is_below_it_and_not_its_namesakes(stores: ObjectStores, tmp_path: Path) -> None:
    for key in ("run/b", "run/a/z", "run2/x", "top"):
        stores.write(f"s3://data/{key}", b"")
    (tmp_path / "buckets/data/run/.swathe-unfinished-1").write_bytes(b"half")
    assert list(stores.list_keys("s3://data/run/")) == ["s3://data/run/b", "s3://data/run/a/z"]
    assert len(list(stores.list_keys("s3://data"))) == 4
    assert list(stores.list_keys("s3://none/x")) == []


def test_many_objects_are_written_as_they_come(stores: ObjectStores) -> None:
    taken = []

    def items() -> Iterator[tuple[str, bytes]]:
        for number in range(200):
            taken.append(number)
            yield f"s3://data/many/{number}", str(number).encode()

    assert stores.write_many(items(), 8) == 200
    assert stores.read("s3://data/many/137") == b"137"
    with pytest.raises(StorageError, match="empty part"):
        stores.write_many([("s3://data/ok", b""), ("s3://data//bad", b"")], 2)


def test_a_download_over_the_limit_says_both_numbers_and_leaves_no_file(stores: ObjectStores, tmp_path: Path) -> None:
    stores.write("s3://data/big", b"x" * 1001)
    target = tmp_path / "got"
    with pytest.raises(LimitExceeded, match=r"1001 bytes.* 1000 "):
        stores.download("s3://data/big", target, 1000)
    assert not target.exists()
    stores.download("s3://data/big", target, 1001)
    assert target.read_bytes() == b"x" * 1001
    assert [path.name for path in tmp_path.iterdir()] == ["buckets", "got"] or len(list(tmp_path.iterdir())) == 2


def test_whether_a_folder_can_be_written_to_is_known_before(stores: ObjectStores, tmp_path: Path) -> None:
    (tmp_path / "buckets").mkdir()
    stores.check_writable("s3://data/not/yet/there/")
    assert _all_files(tmp_path / "buckets") == []
    stores.write("s3://data/file", b"")
    with pytest.raises(StorageError, match="an object lies where a folder is needed"):
        stores.check_writable("s3://data/file/below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_a_denial(stores: ObjectStores, tmp_path: Path) -> None:
    closed = tmp_path / "buckets/data"
    closed.mkdir(parents=True)
    closed.chmod(0o500)
    with pytest.raises(AccessDenied, match="permissions"):
        stores.check_writable("s3://data/x")
    closed.chmod(0o700)


def test_a_link_out_of_the_buckets_is_denied_for_every_use(stores: ObjectStores, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "buckets/data").mkdir(parents=True)
    (tmp_path / "buckets/data/link").symlink_to(tmp_path / "secret")
    for use in (
        lambda: stores.read("s3://data/link"),
        lambda: stores.write("s3://data/link", b""),
        lambda: stores.delete("s3://data/link"),
        lambda: stores.size("s3://data/link"),
        lambda: stores.download("s3://data/link", tmp_path / "x", 10**6),
    ):
        with pytest.raises(AccessDenied):
            use()
    assert (tmp_path / "secret").read_bytes() == b"secret"


def test_the_deployment_may_name_files_addresses_and_objects(stores: ObjectStores, tmp_path: Path) -> None:
    plain = tmp_path / "with space.txt"
    plain.write_bytes(b"0123456789")
    stores.write("s3://data/x", b"0123456789")
    with watched_site(tmp_path) as site:
        files = SourceFiles(stores, site.url)
        for href in (str(plain), plain.as_uri(), "s3://data/x", f"{site.url}/with space.txt".replace(" ", "%20")):
            if "http" in href:  # the watched server takes paths as they are
                (tmp_path / "with%20space.txt").write_bytes(b"0123456789")
            assert files.read(href) == b"0123456789"
            assert files.size(href) == 10
            assert files.read_ranges(href, [(2, 3), (8, 10)]) == [b"234", b"89"]
        with pytest.raises(ObjectNotFound):
            files.read(f"{site.url}/none")
    for href in ("ftp://x/y", "https://host/x?token=secret", "https://user:pw@host/x"):
        with pytest.raises(StorageError) as caught:
            files.read(href)
        assert "secret" not in caught.value.message
        assert "pw@" not in caught.value.message


_ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
_WRITER = """
import sys
from swathe.settings import StorageSettings
from swathe.storage import ObjectStores
stores = ObjectStores(StorageSettings(local_root=sys.argv[1]))
print("begun", flush=True)
while True:
    stores.write_many((f"s3://out/{number}.json", bytes([65 + number % 26]) * 50_000) for number in range(300))
"""


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="this system names a file when it opens it")
def test_a_writer_killed_at_any_moment_leaves_whole_objects_and_nothing_else(tmp_path: Path) -> None:
    for pause_s in (0.02, 0.1, 0.3):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, env=_ENV)
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"begun\n"
        deadline = time.monotonic() + 180
        while len(list((tmp_path / "out").glob("*.json"))) <= 10 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(pause_s)
        writer.kill()
        writer.wait()
        writer.stdout.close()
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        for path in files:
            assert path.read_bytes() == bytes([65 + int(path.stem) % 26]) * 50_000
    assert len(files) > 10
