"""Processes with a warm engine: they stay, are bounded, and are ended when they do not end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from swathe.jobs import workshop
from swathe.jobs.child import Child
from swathe.jobs.workshop import Abandoned, ComputerLost, Deadline, TookTooLong, TooManyRequests, Workshop
from swathe.model.errors import RequestInvalid
from swathe.settings import ServiceSettings, Settings

SETTINGS = Settings(services=ServiceSettings(processes=1, threads=1))


def pid(engine: Any, deadline: Deadline) -> int:
    return os.getpid()


def sleep(engine: Any, deadline: Deadline, started: Path | None = None, seconds: float = 600.0) -> int:
    if started is not None:
        started.write_text(str(os.getpid()))
    time.sleep(seconds)
    return os.getpid()


def wait_politely(engine: Any, deadline: Deadline, started: Path | None = None) -> None:
    if started is not None:
        started.write_text(str(os.getpid()))
    while not deadline():
        time.sleep(0.01)
    raise deadline.error()


def refuse(engine: Any, deadline: Deadline) -> None:
    raise RequestInvalid("too green", "input->colour")


def stumble(engine: Any, deadline: Deadline) -> None:
    raise KeyError("a bug")


def open_shop(*, waiting: int = 5, seconds: float = 60.0) -> Workshop:
    return Workshop(SETTINGS, "test", processes=1, waiting=waiting, seconds=seconds)


@pytest.fixture(scope="module")
def shop() -> Iterator[Workshop]:
    shop = open_shop()
    yield shop
    shop.close()


def wait_for(path: Path) -> int:
    end = time.monotonic() + 180
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return int(path.read_text())


def test_work_runs_in_one_other_process_that_stays(shop: Workshop) -> None:
    first = shop.submit((), pid).result(60)
    assert first != os.getpid()
    assert shop.submit((), pid).result(60) == first
    with pytest.raises(RequestInvalid, match="too green") as caught:
        shop.submit((), refuse).result(60)
    assert caught.value.parameter == "input->colour"
    with pytest.raises(RuntimeError, match="KeyError"):
        shop.submit((), stumble).result(60)
    assert shop.submit((), pid).result(60) == first


def test_a_process_that_is_killed_is_replaced(shop: Workshop, tmp_path: Path) -> None:
    lost = shop.submit((), sleep, tmp_path / "started")
    old = wait_for(tmp_path / "started")
    os.kill(old, signal.SIGKILL)
    with pytest.raises(ComputerLost):
        lost.result(60)
    assert shop.submit((), pid).result(60) != old


def test_beyond_the_queue_requests_are_refused_and_later_served(tmp_path: Path) -> None:
    shop = open_shop(waiting=1)
    try:
        first = shop.submit((), sleep, tmp_path / "started", 1.5)
        second = shop.submit((), pid)
        with pytest.raises(TooManyRequests, match="at most 2"):
            shop.submit((), pid)
        assert second.result(60) == first.result(60)
        assert shop.submit((), pid).result(60) == first.result()
    finally:
        shop.close()


def test_work_that_does_not_end_in_time_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(workshop, "_GRACE_S", 0.2)
    shop = open_shop(seconds=3.0)
    try:
        same = shop.submit((), pid).result(60)
        with pytest.raises(TookTooLong, match="within 3 s"):
            shop.submit((), wait_politely).result(60)
        assert shop.submit((), pid).result(60) == same
        with pytest.raises(TookTooLong, match="within 3 s"):
            shop.submit((), sleep, tmp_path / "started").result(60)
        assert not psutil.pid_exists(same)
        assert shop.submit((), pid).result(60) != same
    finally:
        shop.close()


def test_work_that_nobody_waits_for_is_stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shop = open_shop(seconds=600)
    try:
        polite = shop.submit((), wait_politely, tmp_path / "polite")
        queued = shop.submit((), sleep, tmp_path / "queued")
        same = wait_for(tmp_path / "polite")
        shop.abandon(queued)
        shop.abandon(polite)
        with pytest.raises(Abandoned):
            polite.result(60)
        assert queued.cancelled()
        assert shop.submit((), pid).result(60) == same
        assert not (tmp_path / "queued").exists()
        monkeypatch.setattr(workshop, "_GRACE_S", 0.2)
        deaf = shop.submit((), sleep, tmp_path / "deaf")
        wait_for(tmp_path / "deaf")
        shop.abandon(deaf)
        with pytest.raises(Abandoned):
            deaf.result(60)
        assert shop.submit((), pid).result(60) != same
        shop.abandon(deaf)
    finally:
        shop.close()


def test_a_process_that_is_ended_as_it_answers_serves_nobody_else(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Child.call

    def call_and_be_late(self: Child, *args: Any) -> Any:
        answer = call(self, *args)
        *_, order = shop._orders.values()
        order._kill()
        return answer

    same = shop.submit((), pid).result(60)
    monkeypatch.setattr(Child, "call", call_and_be_late)
    assert shop.submit((), pid).result(60) == same
    monkeypatch.setattr(Child, "call", call)
    assert shop.submit((), pid).result(60) != same


def test_a_process_that_is_killed_while_it_is_idle_is_not_used(shop: Workshop) -> None:
    same = shop.submit((), pid).result(60)
    os.kill(same, signal.SIGKILL)
    os.waitid(os.P_PID, same, os.WEXITED | os.WNOWAIT)  # and leave it to be found
    assert shop.submit((), pid).result(60) != same


def test_closing_ends_what_is_under_way_and_every_process(tmp_path: Path) -> None:
    shop = open_shop()
    under_way = shop.submit((), sleep, tmp_path / "started")
    process = psutil.Process(wait_for(tmp_path / "started"))
    hosts = process.children(recursive=True)
    waiting = shop.submit((), pid)
    shop.close()
    with pytest.raises(ComputerLost):
        under_way.result(10)
    assert waiting.cancelled()
    _, left = psutil.wait_procs([process, *hosts], timeout=10)
    assert not left
    with pytest.raises(TooManyRequests):
        shop.submit((), pid)
