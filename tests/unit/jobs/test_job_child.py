from __future__ import annotations

import os
import signal
import time

import pytest

from swathe.jobs.child import Child, ChildDied, ChildFailed
from swathe.model.errors import SourceError


def add(a: int, b: int) -> int:
    return a + b


def complain(text: str) -> None:
    raise SourceError(text)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def break_down() -> None:
    raise ValueError("a bug")


@pytest.fixture
def child():
    child = Child("test")
    yield child
    child.close()


def test_child_answers_errors_of_ours_and_bugs_and_lives_on(child):
    assert child.call(add, 1, b=2) == 3
    with pytest.raises(SourceError, match="no such band"):
        child.call(complain, "no such band")
    with pytest.raises(ChildFailed, match="ValueError: a bug"):
        child.call(break_down)
    assert child.call(add, 2, 2) == 4


def test_death_of_a_child_is_an_error_and_no_hang(child):
    with pytest.raises(ChildDied, match="signal 9") as error:
        child.call(die)
    assert error.value.retryable
    with pytest.raises(ChildDied):
        child.call(add, 1, 2)


def test_close_ends_the_process(child):
    pid = child.call(os.getpid)
    child.close()
    time.sleep(0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
