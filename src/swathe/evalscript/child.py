"""The process that holds V8 for one `ScriptHost`, and dies with it.

Run by path, so that nothing of Swathe but this file is imported here. Commands come on standard input, answers go to
standard output, both as a length (4 bytes, big endian) and JSON; values travel through the shared file whose
descriptor is the first argument. Memory is limited before V8 is loaded. When standard input ends, so does the
process, even in the middle of a script.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import queue
import resource
import signal
import sys
import threading
from typing import Any

# Functions that the host calls; the names are looked up after the script has run, so `const setup = …` works too.
NAMES = ("setup", "evaluatePixel", "preProcessScenes", "updateOutput", "updateOutputMetadata", "filterScenes")
BINDING = "({" + ", ".join(f"{name}: typeof {name} === 'function' ? {name} : undefined" for name in NAMES) + "})"
DEFINED = " + ".join(f"(typeof {name} === 'function' ? '{name} ' : '')" for name in NAMES[2:])

# Units run twice must give the same bytes, so Math.random is seeded. Samples live for one cell, so next to nothing is
# copied out of a young generation however small it is, and a small one stays in the processor's cache (2 MB rather than
# 16 makes scripts over lists of samples a fifth faster).
V8_FLAGS = (
    "--single-threaded",
    "--random-seed=1",
    "--min-semi-space-size=2",
    "--max-semi-space-size=2",
)


_MAP_FIXED = 0x10


class Arena:
    """The buffer in V8 that holds the columns and the outputs of a context's cells.

    Where the system lets us, the shared memory is mapped over the buffer's own: both processes then work in the same
    bytes. Else, `is_shared` says, they have to be copied.
    """

    def __init__(self, buffer: memoryview, shared: int) -> None:
        self.buffer = buffer
        self._size = len(buffer)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
        self.is_shared = self._can_share(shared) and self._map(mmap.MAP_SHARED, shared)

    def release(self) -> None:
        """Gives the buffer memory of its own again, as V8 knows it, before V8 may free it or use it for another."""
        if self.is_shared and not self._map(mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1):
            raise MemoryError("no memory to put in the place of the shared one")
        self.is_shared = False

    def _can_share(self, shared: int) -> bool:
        whole_pages = self._address % mmap.PAGESIZE == 0 and self._size % mmap.PAGESIZE == 0
        return sys.platform == "linux" and whole_pages and 0 < self._size <= os.fstat(shared).st_size

    def _map(self, flags: int, descriptor: int) -> bool:
        access = mmap.PROT_READ | mmap.PROT_WRITE
        mapped = _libc().mmap(self._address, self._size, access, flags | _MAP_FIXED, descriptor, 0)
        return bool(mapped == self._address)


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64]
    return libc


class Context:
    """One V8 isolate with one script, and the function of `host.js` through which it is driven."""

    def __init__(self, heap_bytes: int) -> None:
        from py_mini_racer import MiniRacer

        self.racer = MiniRacer()
        self.racer.set_hard_memory_limit(heap_bytes)
        self.host: Any = None
        self.arena: Arena | None = None

    def prepare(self, builtins: str, host: str) -> None:
        """Runs what comes before the script."""
        self.racer.eval(builtins)
        self.host = self.racer.eval(host)

    def load(self, script: str) -> str:
        """Runs the script's top level; the names of the optional functions it defines."""
        self.racer.eval(script)
        binding: Any = self.racer.eval(BINDING)
        defined = self.racer.eval(DEFINED)
        self.host(this=binding)
        self.settle()
        return str(defined)

    def call(self, request: str) -> str:
        """An operation of `host.js`."""
        value = str(self.host(this=request))
        self.settle()
        return value

    def settle(self) -> None:
        """Waits until nothing of the script runs any more: promises go on after a call has given its value."""
        self.racer.eval("0")

    def reserve(self, size: int, shared: int) -> Arena:
        """The arena, at least so large."""
        if self.arena is None or len(self.arena.buffer) < size:
            if self.arena is not None:
                self.arena.release()
            self.arena = None
            self.arena = Arena(self.host(this=size), shared)
        return self.arena

    def close(self) -> None:
        """Lets go of V8."""
        if self.arena is not None:
            self.arena.release()
        self.arena = None
        self.host = None
        self.racer.close()


class Child:
    """Answers commands until there are no more."""

    def __init__(self, shared: int, heap_bytes: int) -> None:
        self.shared = shared
        self.heap_bytes = heap_bytes
        self.contexts: dict[str, Context] = {}
        self.memory: mmap.mmap | None = None
        self.before: tuple[str, str] | None = None
        self.spare: Context | None = None

    def answer(self, command: dict[str, Any]) -> str:
        """The value a command asks for."""
        name = command["context"]
        if command["do"] == "close":
            context = self.contexts.pop(name, None)
            if context is not None:
                context.close()
            return ""
        if command["do"] == "open":
            if self.before != (command["builtins"], command["host"]):
                self.before, self.spare = (command["builtins"], command["host"]), None
            context = self.contexts[name] = self.spare or self.blank()
            self.spare = None
            return context.load(command["script"])
        return self.call(self.contexts[name], command)

    def blank(self) -> Context:
        """A context that has seen no script."""
        context = Context(self.heap_bytes)
        if self.before is not None:
            context.prepare(*self.before)
        return context

    def rest(self) -> None:
        """Uses a pause to make the context that will be wanted next."""
        if self.before is not None and self.spare is None:
            self.spare = self.blank()

    def out_of_memory(self, command: dict[str, Any]) -> bool:
        """Whether the context of a command has been stopped at its heap limit."""
        context = self.contexts.get(command["context"])
        return context is not None and bool(context.racer.was_hard_memory_limit_reached())

    def call(self, context: Context, command: dict[str, Any]) -> str:
        """Calls the operation, with the columns copied in before and the outputs copied out after where they must be."""
        size = command.get("size", 0)
        if not size:
            return context.call(command["request"])
        inputs = command["inputs"]
        arena = context.reserve(command["reserve"], self.shared)
        if arena.is_shared:
            return context.call(command["request"])
        if self.memory is None or len(self.memory) < size:
            if self.memory is not None:
                self.memory.close()
            self.memory = mmap.mmap(self.shared, os.fstat(self.shared).st_size)
        with memoryview(self.memory) as shared:
            arena.buffer[:inputs] = shared[:inputs]
        value = context.call(command["request"])
        with memoryview(self.memory) as shared:
            shared[inputs:size] = arena.buffer[inputs:size]
        return value


def read_exactly(descriptor: int, size: int) -> bytes:
    """So many bytes; at the end of the input the process ends too, whatever it is doing."""
    parts = []
    while size:
        part = os.read(descriptor, min(size, 1 << 20))
        if not part:
            os._exit(0)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def receive(commands: queue.SimpleQueue[bytes]) -> None:
    """Reads commands for ever, so that the end of the input is seen while a script runs."""
    try:
        while True:
            commands.put(read_exactly(0, int.from_bytes(read_exactly(0, 4), "big")))
    except BaseException:
        os._exit(1)


def send(descriptor: int, answer: dict[str, str]) -> None:
    """Writes an answer."""
    body = json.dumps(answer).encode()
    data = len(body).to_bytes(4, "big") + body
    while data:
        data = data[os.write(descriptor, data) :]


async def run(shared: int, heap_bytes: int, process_bytes: int) -> None:
    """Sets the limits, loads V8, answers.

    Never awaits: it is a coroutine because mini-racer, called where an event loop runs, does without a thread with one
    of its own, and without the waits between the two.
    """
    answers = os.dup(1)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (process_bytes, process_bytes))
    from py_mini_racer import _mini_racer, init_mini_racer
    from py_mini_racer._exc import JSEvalException, JSOOMException, JSParseException

    # mini-racer would define timers, and with them a way to SharedArrayBuffer, in the script's own scope.
    if hasattr(_mini_racer, "INSTALL_SET_TIMEOUT"):
        _mini_racer.INSTALL_SET_TIMEOUT = "0"
    init_mini_racer(flags=V8_FLAGS)
    child = Child(shared, heap_bytes)
    commands: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=receive, args=(commands,), daemon=True).start()
    send(answers, {"value": "ready"})
    while True:
        command = json.loads(commands.get())
        # The parent ends a script that runs too long; this is for the case that the parent has stopped.
        signal.setitimer(signal.ITIMER_REAL, command["seconds"] + 30)
        try:
            answer = {"value": child.answer(command)}
        except (JSOOMException, MemoryError) as error:
            answer = {"failure": "memory", "text": str(error)}
        except JSEvalException as error:
            kind = "syntax" if isinstance(error, JSParseException) else "thrown"
            answer = {"failure": "memory" if child.out_of_memory(command) else kind, "text": str(error)}
        signal.setitimer(signal.ITIMER_REAL, 0)
        send(answers, answer)
        if command["do"] == "close" and commands.empty():
            child.rest()


def main() -> None:
    """Answers until the end."""
    # asyncio would load OpenSSL, which takes a while, and which scripts need not have in their process.
    sys.modules["ssl"] = None  # type: ignore[assignment]
    import asyncio

    try:
        asyncio.run(run(*(int(argument) for argument in sys.argv[1:4])))
    except Exception as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()
