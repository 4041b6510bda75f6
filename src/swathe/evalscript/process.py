"""A child process with V8 in it: started, spoken to under a deadline, ended."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from swathe.model.errors import ScriptError, ScriptLost, ScriptMemory, ScriptTimeout
from swathe.settings import LimitSettings

_CHILD = Path(__file__).with_name("child.py")
_ANSWER_BYTES = 64 * 2**20
_START_S = 60.0
_WALL_FACTOR = 5
_LOOK_EVERY_S = 0.1
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_OUT_OF_MEMORY = ("out of memory", "OOM", "allocation failed", "Cannot allocate memory", "MemoryError")


@dataclass(frozen=True)
class ScriptLimits:
    """What a script may use, see `LimitSettings.script_*`.

    `setup_s` is for the top level, setup(), preProcessScenes() and the like, `evaluate_s` the least for a run over cells.
    Both are seconds of processor time, so that a busy machine does not decide what a script gives; whoever waits gives up
    after a few times as long all the same.
    `heap_bytes` is V8's heap, `process_bytes` everything the process allocates, typed arrays too.
    """

    script_chars: int = 500_000
    setup_s: float = 10.0
    evaluate_s: float = 3.0
    s_per_million_cells: float = 60.0
    heap_bytes: int = 512 * 2**20
    process_bytes: int = 2 * 2**30
    user_data_chars: int = 2**20

    @classmethod
    def from_settings(cls, limits: LimitSettings) -> ScriptLimits:
        """What a deployment allows; that of `LimitSettings()` is what holds without one."""
        return cls(
            script_chars=limits.script_chars,
            setup_s=limits.script_setup_s,
            evaluate_s=limits.script_evaluate_s,
            s_per_million_cells=limits.script_s_per_million_cells,
            heap_bytes=limits.script_heap_bytes,
            process_bytes=limits.script_process_bytes,
        )


class ScriptProcess:
    """One child process and the shared memory between it and us."""

    def __init__(self, limits: ScriptLimits) -> None:
        self._shared = _shared_file()
        self.memory: mmap.mmap | None = None
        self.is_unwanted: Callable[[], bool] = lambda: False
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115, closed by `kill`
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": os.pathsep.join(part for part in sys.path if part),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TZ": "UTC",
            "LANG": "C.UTF-8",
        }
        arguments = [str(self._shared), str(limits.heap_bytes), str(limits.process_bytes)]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-S", str(_CHILD), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            pass_fds=(self._shared,),
            bufsize=0,
        )
        self._commands = self._process.stdin.fileno() if self._process.stdin else -1
        self._answers = self._process.stdout.fileno() if self._process.stdout else -1
        os.set_blocking(self._commands, False)
        os.set_blocking(self._answers, False)
        self._started = False

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the child still runs."""
        return self._process.poll() is None

    def processor_s(self) -> float:
        """Processor time that the child has used, in seconds; where the system does not tell, time as such."""
        with contextlib.suppress(OSError):
            if sys.platform == "linux":
                # the clock of another process, as clock_getcpuclockid() makes it
                return time.clock_gettime((~self._process.pid << 3) | 2)
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return time.monotonic()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def reserve(self, size: int) -> mmap.mmap:
        """Shared memory of at least so many bytes. What was shared before stays where it is for those who look at it."""
        if self.memory is None or len(self.memory) < size:
            os.ftruncate(self._shared, size)
            self.memory = mmap.mmap(self._shared, size)
        return self.memory

    def ask(self, command: dict[str, Any], seconds: float, doing: str) -> str:
        """The answer to a command, within so many seconds of processor time (starting the process not counted).

        Raises:
            ScriptTimeout, ScriptMemory, ScriptError: the script failed or ended the process. `doing` says what it did.
        """
        body = json.dumps({**command, "seconds": _WALL_FACTOR * seconds}).encode()
        try:
            if not self._started:
                start = _Deadline(time.monotonic() + _START_S)
                self._read(int.from_bytes(self._read(4, start), "big"), start)
                self._started = True
            deadline = _Deadline(time.monotonic() + _WALL_FACTOR * seconds, self, self.processor_s() + seconds)
            self._write(len(body).to_bytes(4, "big") + body, deadline)
            size = int.from_bytes(self._read(4, deadline), "big")
            if size > _ANSWER_BYTES:
                raise ScriptError(f"The evalscript gave back too much while {doing}.")
            answer = json.loads(self._read(size, deadline))
        except TimeoutError:
            raise ScriptTimeout(
                f"The evalscript did not end within {seconds:g} s while {doing} and was stopped."
            ) from None
        except (EOFError, BrokenPipeError, ConnectionError):
            raise self._death(doing) from None
        if "failure" in answer:
            raise ScriptFailure(answer["failure"], answer["text"])
        return str(answer["value"])

    def kill(self) -> None:
        """Ends the child at once and waits for it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        # Never closed: arrays over it, which keep it but do not lock it, may still be looked at.
        self.memory = None
        if self._shared >= 0:
            os.close(self._shared)
            self._shared = -1

    def _write(self, data: bytes, deadline: _Deadline) -> None:
        view = memoryview(data)
        while view:
            self._wait(self._commands, select.POLLOUT, deadline)
            with contextlib.suppress(BlockingIOError):
                view = view[os.write(self._commands, view) :]

    def _read(self, size: int, deadline: _Deadline) -> bytes:
        data = bytearray()
        while len(data) < size:
            self._wait(self._answers, select.POLLIN, deadline)
            with contextlib.suppress(BlockingIOError):
                part = os.read(self._answers, size - len(data))
                if not part:
                    raise EOFError
                data += part
        return bytes(data)

    def _wait(self, descriptor: int, event: int, deadline: _Deadline) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        while not poll.poll(_LOOK_EVERY_S * 1000):
            if deadline.is_over:
                raise TimeoutError
            if self.is_unwanted():
                raise ScriptUnwanted

    def _death(self, doing: str) -> ScriptError:
        """Why the child ended, as far as it can be known."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        code = self._process.poll()
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - 20_000))
        words = self._errors.read().decode("utf-8", "replace")
        if any(word in words for word in _OUT_OF_MEMORY):
            return ScriptMemory(f"The evalscript asked for more memory than it may have while {doing} and was stopped.")
        if not self._started:
            last = words.strip().splitlines()[-1:] or ["no message"]
            return ScriptError(f"The process that runs evalscripts could not start: {last[0][:300]}")
        if code is not None and code < 0:
            name = signal.Signals(-code).name if -code in signal.Signals._value2member_map_ else str(-code)
            return ScriptLost(f"The process that ran the evalscript was ended by {name} while {doing}.")
        return ScriptError(f"The process that ran the evalscript ended unexpectedly while {doing}.")


@dataclass(frozen=True)
class _Deadline:
    """A moment of the clock, and of a child's processor time."""

    wall: float
    child: ScriptProcess | None = None
    processor_s: float = 0.0

    @property
    def is_over(self) -> bool:
        if time.monotonic() >= self.wall:
            return True
        return self.child is not None and self.child.processor_s() >= self.processor_s


class ScriptUnwanted(Exception):
    """Nobody waits for the script's result any more."""


class ScriptFailure(Exception):
    """What V8 reported, not yet in the user's words; `kind` is memory, syntax or thrown."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text


def _shared_file() -> int:
    """A file in memory that both processes can map; it only grows, so that neither can pull it from under the other."""
    if hasattr(os, "memfd_create"):
        import fcntl

        descriptor = os.memfd_create("swathe-columns", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        return descriptor
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
