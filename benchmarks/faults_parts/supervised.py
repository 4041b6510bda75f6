"""Processes that are killed, and started again by somebody who watches over them, as an operator's supervisor does."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_LOOK_S = 0.1


@dataclass
class Supervised:
    """A process by its command. `starts` is counted; its output is appended to a log."""

    name: str
    command: list[str]
    log: Path
    environment: dict[str, str] = field(default_factory=dict, repr=False)
    starts: int = 0
    kills: int = 0
    ended_for_good: bool = False
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, in a process group of its own."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, env=self.environment, start_new_session=True
            )
        self.starts += 1

    def kill(self) -> None:
        """`kill -9` of this one process; what it had started may see to itself."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.kills += 1

    @property
    def lives(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def end(self) -> None:
        """Ends it and whatever is left of its group."""
        if self.process is None:
            return
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Supervisor:
    """Starts what has ended again, after a pause."""

    def __init__(self, pause_s: float = 1.0) -> None:
        self.members: list[Supervised] = []
        self._pause_s = pause_s
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def add(self, member: Supervised, is_ready: Callable[[], bool], timeout_s: float = 60.0) -> Supervised:
        """Starts a process and waits until it is ready.

        Raises:
            SystemExit: it is not.
        """
        member.start()
        self.members.append(member)
        deadline = time.monotonic() + timeout_s
        while not is_ready():
            if not member.lives or time.monotonic() > deadline:
                raise SystemExit(f"{member.name} does not start:\n{member.log.read_text(errors='replace')[-3000:]}")
            time.sleep(_LOOK_S)
        return member

    def begin(self) -> None:
        """From now on what ends is started again."""
        self._thread.start()

    def close(self) -> None:
        """Ends all, the last one first."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        for member in reversed(self.members):
            member.end()

    def _watch(self) -> None:
        while not self._closing.wait(_LOOK_S):
            for member in self.members:
                if not member.lives and not member.ended_for_good:
                    if self._closing.wait(self._pause_s):
                        return
                    member.start()
