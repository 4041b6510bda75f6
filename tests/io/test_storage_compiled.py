"""Many small files written by compiled code: whole or not at all, as the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from swathe.storage.compiled import write_many

FILES = [(f"{number}.json", b"%d " % number * (1 + number % 700)) for number in range(3_000)]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_file_is_there_with_its_content(tmp_path: Path) -> None:
    assert write_many(tmp_path, iter(FILES)) == len(FILES)
    assert content(tmp_path) == dict(FILES)
    assert {oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == {oct(0o666 & ~umask())}


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_folder_that_is_missing_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert write_many(folder, [("x", b"1"), ("y", b""), ("z", memoryview(b"3"))]) == 3
    assert content(folder) == {"x": b"1", "y": b"", "z": b"3"}


def test_files_that_are_there_stay_or_are_replaced(tmp_path: Path) -> None:
    write_many(tmp_path, FILES[:10])
    before = {path.name: path.stat().st_ino for path in tmp_path.iterdir()}
    changed = [(name, data if number != 4 else b"new") for number, (name, data) in enumerate(FILES[:20])]
    assert write_many(tmp_path, changed) == 20
    assert content(tmp_path) == dict(changed)
    after = {path.name: path.stat().st_ino for path in tmp_path.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"4.json"}


def test_names_that_are_no_ascii(tmp_path: Path) -> None:
    write_many(tmp_path, [("Žitný ostrov.json", b"1"), ("畑.json", b"2")])
    assert content(tmp_path) == {"Žitný ostrov.json": b"1", "畑.json": b"2"}


def test_a_process_with_many_open_files(tmp_path: Path) -> None:
    opened = [os.open(tmp_path, os.O_RDONLY) for _ in range(150)]
    try:
        write_many(tmp_path, FILES[:5])
    finally:
        for descriptor in opened:
            os.close(descriptor)
    assert content(tmp_path) == dict(FILES[:5])


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="Not a directory"):
        write_many(tmp_path / "file", FILES[:3])
    with pytest.raises(OSError, match="File name too long"):
        write_many(tmp_path, [("a", b"1"), ("n" * 300, b"2"), ("b", b"3")])
    assert (tmp_path / "a").read_bytes() == b"1"
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        write_many(tmp_path, [("folder", b"1")])


def test_two_threads_write_into_one_folder(tmp_path: Path) -> None:
    threads = [threading.Thread(target=write_many, args=(tmp_path, FILES[k::2])) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert content(tmp_path) == dict(FILES)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere files have a hidden name for a moment")
def test_a_killed_process_leaves_nothing_half_written(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from swathe.storage.compiled import write_many\n"
        "for n in range(10**9): write_many(Path(sys.argv[1]), [(f'{n}-{k}', b'x' * 9000) for k in range(200)])"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])
    deadline = time.monotonic() + 180
    while len(os.listdir(tmp_path)) < 500 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    found = content(tmp_path)
    assert len(found) >= 500
    assert set(found.values()) == {b"x" * 9000}
    assert not [name for name in found if name.startswith(".")]
