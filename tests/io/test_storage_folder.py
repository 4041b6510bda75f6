"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from swathe.storage import folder
from swathe.storage.folder import UNFINISHED, write_many_whole, write_whole


@pytest.fixture(params=["nameless", "named"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Also as on a system that knows no nameless files."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    elif not hasattr(os, "O_TMPFILE"):
        pytest.skip("this system names a file when it opens it")
    return str(request.param)


def contents(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in place.iterdir()}


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("durable", [False, True])
def test_many_files_are_written_replaced_and_left_alone(tmp_path: Path, durable: bool) -> None:
    place = tmp_path / "not" / "yet"
    first = {f"{number}.json": os.urandom(number) for number in range(600)}
    assert write_many_whole(place, first.items(), durable=durable) == 600
    assert contents(place) == first
    before = {name: (place / name).stat() for name in first}

    second = first | {"3.json": b"abc", "7.json": b"another length", "new.json": b""}
    assert write_many_whole(place, iter(second.items()), durable=durable) == 601
    assert contents(place) == second
    for name in first:
        after = (place / name).stat()
        changed = name in ("3.json", "7.json")
        assert (after.st_ino != before[name].st_ino) == changed
        assert (after.st_mtime_ns != before[name].st_mtime_ns) == changed


@pytest.mark.usefixtures("kind")
def test_a_name_is_its_latest_content(tmp_path: Path) -> None:
    write_many_whole(tmp_path, [("a", b"1"), ("a", b"2"), ("b", memoryview(b"xyz")[1:])])
    assert contents(tmp_path) == {"a": b"2", "b": b"yz"}
    write_many_whole(tmp_path, [("a", b"3"), ("a", b"4")], durable=True)
    assert contents(tmp_path) == {"a": b"4", "b": b"yz"}


@pytest.mark.usefixtures("kind")
def test_a_pipe_or_a_link_in_the_way_is_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "elsewhere").write_bytes(b"kept")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for durable in (False, True):
        write_many_whole(tmp_path, [("pipe", b"x"), ("link", b"mine")], durable=durable)
        assert contents(tmp_path) == {"pipe": b"x", "link": b"mine", "elsewhere": b"kept"}
        assert all(stat.S_ISREG(path.lstat().st_mode) for path in tmp_path.iterdir())


@pytest.mark.parametrize("durable", [False, True])
def test_a_failure_leaves_what_was_complete_and_nothing_hidden(
    tmp_path: Path, kind: str, durable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_many_whole(tmp_path, [("old", b"old")])
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) > 100:
            raise OSError(28, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        write_many_whole(tmp_path, [("a", b"a"), ("old", b"x" * 200), ("c", b"c")], durable=durable)
    assert contents(tmp_path) == ({"old": b"old"} if durable else {"old": b"old", "a": b"a"})


@pytest.mark.usefixtures("kind")
def test_a_write_that_the_system_cuts_short_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data[:3])))
    write_whole(tmp_path / "a", b"0123456789")
    assert contents(tmp_path) == {"a": b"0123456789"}


def test_contents_are_on_the_disk_before_their_names_and_names_before_the_answer(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a power failure may leave: a name only with its content, and every name that was answered for."""
    write_many_whole(tmp_path, [("same", b"same"), ("other", b"before")])
    seen: list[str] = []

    def watch(name: str, what: str) -> None:
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, **more: (seen.append(what), real(*args, **more))[1])

    sync = os.fsync

    def watched_sync(descriptor: int) -> None:
        seen.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watched_sync)
    watch("link", "name")
    watch("replace", "name")
    write_many_whole(tmp_path, [("same", b"same"), ("other", b"after"), ("new", b"new")], durable=True)
    # `same` is there already, but who knows since when
    assert seen[:3] == ["content"] * 3
    assert set(seen[3:-1]) == {"name"}
    assert seen[-1] == "folder"
    seen.clear()
    write_many_whole(tmp_path, [("loose", b"")])
    assert "content" not in seen
    assert "folder" not in seen


def test_many_durable_files_need_few_open_ones(tmp_path: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 400), hard))
    try:
        assert write_many_whole(tmp_path, ((str(number), b"x") for number in range(1000)), durable=True) == 1000
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(list(folder.list_files(tmp_path))) == 1000
    assert not list(tmp_path.glob(f"{UNFINISHED}*"))
