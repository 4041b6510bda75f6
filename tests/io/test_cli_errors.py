"""What goes wrong on the command line is a sentence with a way out, with the exit code that scripts expect."""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from serving import ENV
from swathe.cli import main
from swathe.cli.failures import sentence
from swathe.cli.init import init
from swathe.model.errors import NotFound, StoreUnavailable


def swathe(*words: str, **how: Any) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", "swathe", *words]
    how = {"env": ENV, "capture_output": True, "text": True, "timeout": 120} | how
    return subprocess.run(arguments, **how)


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException, *, debug: bool = False) -> int:
    """The exit code of a command that raises."""

    def make_app() -> Callable[[], None]:
        def command() -> None:
            raise error

        return command

    monkeypatch.setattr(main, "make_app", make_app)
    monkeypatch.setattr(main, "_wants_traceback", debug)
    with pytest.raises(SystemExit) as end:
        main.run()
    assert isinstance(end.value.code, int)
    return end.value.code


def test_an_error_of_ours_is_its_sentence(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert failing(monkeypatch, NotFound("There is no request x")) == 1
    assert capfd.readouterr() == ("", "swathe: There is no request x\n")


def test_a_bug_is_one_line_and_a_traceback_only_if_asked(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert failing(monkeypatch, KeyError("a\nb")) == 1
    said = capfd.readouterr().err
    assert (
        said
        == r"""swathe: Internal error (KeyError: 'a\nb'); run `swathe --debug …` to see where, and please report it
"""
    )
    assert failing(monkeypatch, KeyError("a"), debug=True) == 1
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "swathe: Internal error (KeyError: 'a'); please report it"


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert failing(monkeypatch, KeyboardInterrupt()) == 130
    assert capfd.readouterr().err == "swathe: interrupted\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/x"),
            "/data/x: No space left on device; make room there",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "/x: Permission denied; see whose it is"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files; too many files are open; raise ulimit -n"),
        (MemoryError(), "There is not enough memory"),
        (
            StoreUnavailable("x cannot be read now: the store does not answer"),
            "x cannot be read now: the store does not"
            " answer; see that its address is right, and that this machine reaches it",
        ),
    ],
)
def test_what_the_system_refuses(error: Exception, said: str) -> None:
    assert (sentence(error) or "").startswith(said)


def test_what_is_a_bug_has_no_sentence() -> None:
    assert sentence(ValueError("x")) is None
    assert sentence(OSError("of unknown origin")) is None


def test_a_file_that_cannot_grow(tmp_path: Path) -> None:
    init(tmp_path / "example")
    words = ("statistics", "request.json", "--features", "fields.gpkg", "--output", "out", "--config", "swathe.toml")
    done = swathe(
        *words,
        cwd=tmp_path / "example",
        env=ENV | {"PYTHONDONTWRITEBYTECODE": "1"},  # else it leaves modules cut short for others to import
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512)),
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Internal error" not in done.stderr
    assert "File too large" in done.stderr


@pytest.mark.parametrize("address", ["head", "head:8786", "tcp://head"])
def test_a_worker_does_not_wait_for_what_is_no_address(address: str) -> None:
    done = swathe("worker", address)
    assert done.returncode == 1
    assert "is no scheduler's address; give it as tcp://HOST:PORT" in done.stderr


def test_without_a_configuration_the_way_to_one_is_said(tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text("{}")
    done = swathe("statistics", "request.json", "--features", "x.gpkg", "--output", "out", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "There is no --config that says where scenes are" in done.stderr
    assert "`swathe init` writes one" in done.stderr


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = swathe("init", str(tmp_path), "--json", stdout=writing, capture_output=False, stderr=subprocess.PIPE)
    os.close(writing)
    assert done.stderr == ""
    assert (tmp_path / "swathe.toml").exists()


def test_ctrl_c(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with closing(socket.create_server(("127.0.0.1", 0))) as silent, log.open("w") as file:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        words = ["jobs", "watch", "x", "--url", address, "--client-id", "a", "--client-secret", "b"]
        process = subprocess.Popen([sys.executable, "-m", "swathe", *words], env=ENV, stderr=file, stdout=file)
        silent.settimeout(60)
        silent.accept()  # it has asked, and waits for an answer
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130, log.read_text()
    assert log.read_text() == "swathe: interrupted\n"
