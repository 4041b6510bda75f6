"""Functions run in a process of their own, which may die without harm and gives its memory back."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, ParamSpec, TypeVar

from swathe.model.errors import SwatheError

P = ParamSpec("P")
T = TypeVar("T")


class ChildDied(SwatheError):
    """The process was ended before it answered: by the system for want of memory, by a crash, or by us."""

    retryable = True


class ChildFailed(SwatheError):
    """The function raised something that is no error of ours; the message holds the child's traceback, for the log."""


class Child:
    """One process that runs one function at a time. It ends with its parent, even a killed one."""

    def __init__(self, name: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(target=_serve, args=(theirs,), name=name, daemon=True)
        self._process.start()
        theirs.close()

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function returns; `function`, arguments and result are pickled.

        Raises:
            SwatheError: as the function raised it.
            ChildDied: the process is gone.
            ChildFailed: the function raised something unexpected.
        """
        try:
            self._connection.send((function, args, kwargs))
            kind, value = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(5)
            raise ChildDied(f"the process was ended ({_cause(self._process.exitcode)})") from None
        if kind == "failed":
            raise ChildFailed(value)
        if kind == "raised":
            raise value
        result: T = value
        return result

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.is_alive()

    def kill(self) -> None:
        """Ends the process at once; a call under way raises ChildDied."""
        self._process.kill()

    def close(self) -> None:
        """Ends the process."""
        self._connection.close()
        self._process.join(2)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def end_with_parent() -> None:
    """Makes this process end when its parent is gone, however that came to be."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def keep_interrupts_out() -> None:
    """Has processes begun by this thread, and by threads begun by it, not see Ctrl-C: their parent ends them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _serve(connection: Connection) -> None:
    end_with_parent()
    while True:
        try:
            function, args, kwargs = connection.recv()
        except (EOFError, OSError):
            return
        answer: tuple[str, Any]
        try:
            answer = ("returned", function(*args, **kwargs))
        except SwatheError as error:
            answer = ("raised", error)
        except Exception:
            answer = ("failed", traceback.format_exc())
        connection.send(answer)


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {-code}"
    return f"exit code {code}"
