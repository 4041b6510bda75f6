"""The process that holds V8 for one `ScriptHost`, and dies with it.

Run by path, so that nothing of Swathe but this file is imported here. Commands come on standard input, answers go to
standard output, both as a length (4 bytes, big endian) and JSON; values travel through the shared file whose
descriptor is the first argument. Memory is limited before V8 is loaded. When standard input ends, so does the
process, even in the middle of a script.
"""

from __future__ import annotations

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


class Context:
    """One V8 isolate with one script, and the function of `host.js` through which it is driven."""

    def __init__(self, heap_bytes: int) -> None:
        from py_mini_racer import MiniRacer

        self.racer = MiniRacer()
        self.racer.set_hard_memory_limit(heap_bytes)
        self.host: Any = None
        self.arena: Any = None

    def load(self, builtins: str, host: str, script: str) -> str:
        """Runs what comes before the script and its top level; the names of the optional functions it defines."""
        self.racer.eval(builtins)
        self.host = self.racer.eval(host)
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

    def reserve(self, size: int) -> None:
        """Makes the arena at least so large."""
        if self.arena is None or len(self.arena) < size:
            self.arena = None
            self.arena = self.host(this=size)


class Child:
    """Answers commands until there are no more."""

    def __init__(self, shared: int, heap_bytes: int) -> None:
        self.shared = shared
        self.heap_bytes = heap_bytes
        self.contexts: dict[str, Context] = {}
        self.memory: mmap.mmap | None = None

    def answer(self, command: dict[str, Any]) -> str:
        """The value a command asks for."""
        name = command["context"]
        if command["do"] == "close":
            context = self.contexts.pop(name, None)
            if context is not None:
                context.arena = None
                context.host = None
                context.racer.close()
            return ""
        if command["do"] == "open":
            context = self.contexts[name] = Context(self.heap_bytes)
            return context.load(command["builtins"], command["host"], command["script"])
        return self.call(self.contexts[name], command)

    def out_of_memory(self, command: dict[str, Any]) -> bool:
        """Whether the context of a command has been stopped at its heap limit."""
        context = self.contexts.get(command["context"])
        return context is not None and bool(context.racer.was_hard_memory_limit_reached())

    def call(self, context: Context, command: dict[str, Any]) -> str:
        """Copies the columns in, calls the operation, copies the outputs out."""
        size = command.get("size", 0)
        if not size:
            return context.call(command["request"])
        inputs = command["inputs"]
        context.reserve(command["reserve"])
        if self.memory is None or len(self.memory) < size:
            if self.memory is not None:
                self.memory.close()
            self.memory = mmap.mmap(self.shared, os.fstat(self.shared).st_size)
        with memoryview(self.memory) as shared:
            context.arena[:inputs] = shared[:inputs]
        value = context.call(command["request"])
        with memoryview(self.memory) as shared:
            shared[inputs:size] = context.arena[inputs:size]
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


def run(shared: int, heap_bytes: int, process_bytes: int) -> None:
    """Sets the limits, loads V8, answers."""
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


if __name__ == "__main__":
    try:
        run(*(int(argument) for argument in sys.argv[1:4]))
    finally:
        os._exit(1)
