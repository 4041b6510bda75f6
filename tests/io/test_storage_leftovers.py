"""What killed deliveries leave in folders is removed by the next one, and what is being written is not."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from swathe.settings import StorageSettings
from swathe.storage import ObjectStores, compiled, unfinished
from swathe.storage.folder import copy_whole, new_file, write_many_whole, write_whole
from swathe.storage.unfinished import UNFINISHED


@pytest.fixture(params=["nameless", "named"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether the file system knows files without a name."""
    if request.param == "named":
        real = os.open

        def refuse(path: object, flags: int, *more: object, **named: object) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "no such thing here")
            return real(path, flags, *more, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(os, "open", refuse)
    return str(request.param)


def leave(place: Path) -> None:
    """As a process that was killed."""
    (place / UNFINISHED).mkdir(parents=True)
    (place / UNFINISHED / "0123456789abcdef").write_bytes(b"half")


def copied(place: Path) -> None:
    (place / "source").write_bytes(b"new")
    copy_whole(place / "source", place / "a")
    (place / "source").unlink()


WAYS: dict[str, Callable[[Path], object]] = {
    "one": lambda place: write_whole(place / "a", b"new"),
    "many": lambda place: write_many_whole(place, [("a", b"new")]),
    "durably": lambda place: write_many_whole(place, [("a", b"new")], durable=True),
    "compiled": lambda place: compiled.write_many(place, [("a", b"new")]),
    "copied": copied,
    "stores": lambda place: ObjectStores(StorageSettings(local_root=place.parent)).write(
        f"s3://{place.name}/a", b"new"
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("before", [None, b"old", b"new"])
def test_the_next_delivery_removes_what_a_killed_one_left(
    tmp_path: Path, kind: str, way: str, before: bytes | None
) -> None:
    place = tmp_path / "bucket"
    leave(place)
    if before is not None:
        (place / "a").write_bytes(before)
    WAYS[way](place)
    assert {path.name for path in place.iterdir()} == {"a"}
    assert (place / "a").read_bytes() == b"new"


def test_what_is_left_is_no_object(tmp_path: Path) -> None:
    leave(tmp_path / "data/run")
    stores = ObjectStores(StorageSettings(local_root=tmp_path))
    assert list(stores.list_keys("s3://data")) == []
    stores.check_writable("s3://data/run")
    assert not (tmp_path / "data/run" / UNFINISHED).exists()


def test_what_another_is_writing_is_left_alone(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with new_file(tmp_path / "a") as file:
        file.write(b"half and ")
        file.flush()
        for way in ("one", "durably", "compiled"):
            WAYS[way](tmp_path)
        file.write(b"half")
    assert (tmp_path / "a").read_bytes() == b"half and half"
    assert {path.name for path in tmp_path.iterdir()} == {"a"}


def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a").write_bytes(b"old")

    def fail() -> None:
        with new_file(tmp_path / "a") as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (tmp_path / "a").read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"a"}


def test_sweeping_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(tmp_path)
    for number in range(20):
        (tmp_path / UNFINISHED / str(number)).touch()
    monkeypatch.setattr(unfinished, "_MOST_SWEPT", 10)
    WAYS["many"](tmp_path)
    assert len(list((tmp_path / UNFINISHED).iterdir())) == 11
    WAYS["many"](tmp_path)
    WAYS["many"](tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a"}


def test_many_writers_replace_the_same_files_at_once(tmp_path: Path, kind: str) -> None:
    """Each makes the hidden folder and removes it, while the others do."""
    failures: list[BaseException] = []
    end = time.monotonic() + 1.5

    def write(mine: bytes) -> None:
        try:
            while time.monotonic() < end:
                for durable in (True, False):
                    write_many_whole(tmp_path, [(name, mine * 1_000) for name in "abc"], durable=durable)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"x", b"y", b"z", b"w")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    write_many_whole(tmp_path, [])
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "c"}
    for path in tmp_path.iterdir():
        data = path.read_bytes()
        assert len(data) == 1_000
        assert len(set(data)) == 1
