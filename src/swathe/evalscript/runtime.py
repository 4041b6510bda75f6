"""Runs evalscripts in a process that may die: V8 is never in the process of the caller."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from types import TracebackType
from typing import Any, Literal, cast

from swathe.evalscript import driver, report
from swathe.evalscript.columns import Batch, Evaluated, SourceScenes
from swathe.evalscript.process import ScriptFailure, ScriptLimits, ScriptProcess, ScriptUnwanted
from swathe.evalscript.script import Evalscript, Mosaicking, SampleType, parse_setup, with_output_bands
from swathe.evalscript.transfer import Transfer, alike
from swathe.evalscript.wire import beginning, parsed, scenes_request
from swathe.model.errors import ScriptError, ScriptMemory, ScriptTimeout

__all__ = ["ScriptHost", "ScriptLimits", "ScriptUnwanted"]

_CONTEXTS = 4
_KNOWN_SLOW = 32
_SETUP_CHARS = 2**20


@dataclass
class _Context:
    """A script loaded in the child, with the loops it already has."""

    name: str
    functions: frozenset[str]
    setup: object
    loops: dict[tuple[driver.Layout, int], int] = field(default_factory=dict)
    arena: int = 0
    is_used: bool = False


class ScriptHost:
    """Runs evalscripts, each in a V8 context of its own, in one child process that is started when first needed.

    A context belongs to a script's text and the caller's `key`: what a script keeps in its own variables lasts as long
    as its context. Give each unit of work a key of its own, or call `fresh`, and nothing passes from one to the next.
    A script that runs too long, eats memory or ends the process raises, and the next call starts a new process.
    """

    def __init__(self, limits: ScriptLimits) -> None:
        """`is_unwanted` may be set: while a script runs it is asked ten times a second, and if it says so the script is
        ended at once, with `ScriptUnwanted`."""
        self._limits = limits
        self._lock = threading.RLock()
        self._process: ScriptProcess | None = None
        self._contexts: OrderedDict[tuple[str, str], _Context] = OrderedDict()
        self._number = 0
        self._loops = 0
        self._too_much: set[str] = set()
        self.is_unwanted: Callable[[], bool] = lambda: False

    def __enter__(self) -> ScriptHost:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        self.close()
        return False

    @property
    def pid(self) -> int | None:
        """The child's process id, None while there is no child."""
        return self._process.pid if self._process is not None and self._process.alive else None

    def start(self) -> None:
        """Starts the child if there is none, without waiting for it: the first call finds it ready, or nearly so."""
        with self._lock:
            self._running()

    def close(self) -> None:
        """Ends the child. The host may be used again."""
        with self._lock:
            self._contexts.clear()
            if self._process is not None:
                self._process.kill()
                self._process = None

    def setup(self, text: str, *, auto: SampleType = SampleType.AUTO, key: str = "") -> Evalscript:
        """The script, after its top level and setup() have run. `auto` is what the sample type AUTO means.

        Raises:
            ScriptError: the script cannot be used; the message has the line where V8 or setup() gives one.
        """
        with self._lock:
            self._check_text(text)
            context = self._context(text, key)
            return parse_setup(context.setup, text, auto=auto, functions=context.functions)

    def fresh(self, script: Evalscript, *, key: str = "") -> None:
        """Forgets the script's context under this key, with everything the script has kept; one in which setup() alone has
        run stays."""
        with self._lock:
            context = self._contexts.get((script.text, key))
            if context is not None and context.is_used:
                self._forget((script.text, key))

    def pre_process(
        self,
        script: Evalscript,
        sources: Sequence[SourceScenes],
        *,
        time_from: str,
        time_to: str,
        key: str = "",
    ) -> tuple[tuple[int, ...], ...]:
        """Per source, which orbits or scenes preProcessScenes() (or filterScenes()) keeps, in the order it gave them.

        A source with SIMPLE mosaicking keeps all its scenes. Without such functions all is kept and nothing runs.
        """
        everything = tuple(tuple(range(_samples(source))) for source in sources)
        if not script.functions & {"preProcessScenes", "filterScenes"}:
            return everything
        if all(source.mosaicking is Mosaicking.SIMPLE for source in sources):
            return everything
        request = scenes_request(script, sources, time_from, time_to)
        with self._lock:
            name = "preProcessScenes()" if "preProcessScenes" in script.functions else "filterScenes()"
            answer = self._call(script.text, key, "preProcess", request, self._limits.setup_s, f"running {name}")
        kept = json.loads(answer)
        return tuple(
            all_ if indices is None else tuple(indices) for all_, indices in zip(everything, kept, strict=True)
        )

    def update_output(
        self,
        script: Evalscript,
        sources: Sequence[SourceScenes],
        *,
        time_from: str,
        time_to: str,
        key: str = "",
    ) -> Evalscript:
        """The script with the numbers of output bands that updateOutput() sets for the scenes that are left."""
        if "updateOutput" not in script.functions:
            return script
        request = scenes_request(script, sources, time_from, time_to)
        request["outputs"] = [{"id": output.id, "bands": len(output.bands)} for output in script.outputs]
        request["limit"] = _SETUP_CHARS
        with self._lock:
            doing = "running updateOutput()"
            answer = self._call(script.text, key, "updateOutput", request, self._limits.setup_s, doing)
        return with_output_bands(script, json.loads(answer))

    def evaluate(self, script: Evalscript, batch: Batch, *, key: str = "", borrow: bool = False) -> Evaluated:
        """evaluatePixel() over every cell of the batch, then updateOutputMetadata().

        The batch goes through in steps of a bounded size, so memory beside the batch and its result is bounded too.
        With `borrow` the outputs are not copied where one step is enough: they hold until the next call of this host
        only, from whatever thread.

        Raises:
            ScriptError, ScriptTimeout, ScriptMemory: the script threw, returned no result, or was stopped.
        """
        transfer = Transfer.of(script, batch)
        cells = transfer.cells
        seconds = max(self._limits.evaluate_s, self._limits.s_per_million_cells * cells / 1e6)
        begin = beginning(script, batch)
        borrow = borrow and cells <= transfer.stride
        outputs = {} if borrow else transfer.empty()
        answer = "null"
        with self._lock:
            context = self._context(script.text, key)
            end = self._running().processor_s() + seconds
            for start, stop in transfer.steps:
                request: dict[str, Any] = {"limit": self._limits.user_data_chars, "end": stop >= cells}
                if start == 0:
                    request["begin"] = begin
                elif self._context(script.text, key) is not context:
                    raise ScriptError("The process that ran the evalscript ended unexpectedly.")
                memory = self._running().reserve(max(transfer.arena, context.arena))
                transfer.put(memory, start, stop)
                answer = self._step("step", transfer, context, key, {**request, "cells": stop - start}, end, seconds)
                made = transfer.outputs(memory, stop - start)
                if borrow:
                    outputs = made
                    continue
                for name, values in made.items():
                    outputs[name][:, start:stop] = values
        return Evaluated(outputs=outputs, user_data=parsed(answer, "outputMetadata.userData"))

    def evaluate_each(
        self, script: Evalscript, batches: Sequence[Batch], *, key: str = ""
    ) -> Iterator[tuple[int, Evaluated]]:
        """As `evaluate` of every batch, with few calls of the child: what a batch costs beside its cells is saved.

        Gives the number of a batch and what was made of it, which holds until the next is asked for. Batches of like
        columns come together; the time limit is that for one batch of so many cells. Where the script fails for one of
        those that are evaluated together, none of them is given. A script that several batches have been too much for is
        not given several again.

        Raises:
            ScriptError, ScriptTimeout, ScriptMemory: as `evaluate`.
        """
        transfers = [Transfer.of(script, batch) for batch in batches]
        for numbers in alike(transfers):
            if len(numbers) == 1 or script.text in self._too_much:
                for number in numbers:
                    yield number, self.evaluate(script, batches[number], key=key, borrow=True)
                continue
            together = [transfers[number] for number in numbers]
            with self._lock:
                context = self._context(script.text, key)
                strides = [stride for layout, stride in context.loops if layout == together[0].layout]
                transfer = Transfer.join(together, strides)
                seconds = max(self._limits.evaluate_s, self._limits.s_per_million_cells * transfer.cells / 1e6)
                request = {
                    "limit": self._limits.user_data_chars,
                    "batches": [
                        {"begin": beginning(script, batches[number]), "cells": transfers[number].cells}
                        for number in numbers
                    ],
                }
                memory = self._running().reserve(max(transfer.arena, context.arena))
                transfer.put(memory, 0, transfer.cells)
                end = self._running().processor_s() + seconds
                try:
                    answer = self._step("batches", transfer, context, key, request, end, seconds)
                except (ScriptTimeout, ScriptMemory):
                    if len(self._too_much) >= _KNOWN_SLOW:
                        self._too_much.clear()
                    self._too_much.add(script.text)
                    raise
                made = transfer.outputs(memory, transfer.cells)
            told = cast(list[object], parsed(answer, "outputMetadata.userData"))
            first = 0
            for number, user_data in zip(numbers, told, strict=True):
                last = first + transfers[number].cells
                yield number, Evaluated({name: values[:, first:last] for name, values in made.items()}, user_data)
                first = last

    def _step(
        self,
        operation: str,
        transfer: Transfer,
        context: _Context,
        key: str,
        request: dict[str, Any],
        end: float,
        limit_s: float,
    ) -> str:
        """Runs the loop over what is in the arena by the child's processor time `end`; the answer of `host.js`."""
        if transfer.size > context.arena:
            # The loops hold on to the arena that they were made for.
            context.arena = transfer.arena
            context.loops.clear()
        loop = (transfer.layout, transfer.stride)
        request["driver"] = context.loops.get(loop, len(context.loops))
        if loop not in context.loops:
            # V8 shares what it knows of functions of equal text, and then builds the addresses of the arrays into none
            self._loops += 1
            text = f"{driver.javascript(loop[0])}\n// {self._loops}"
            request |= {"text": text, "offsets": transfer.offsets, "stride": transfer.stride}
        answer = self._call(
            transfer.script.text,
            key,
            operation,
            request,
            max(end - self._running().processor_s(), 0.001),
            f"running evaluatePixel() over {transfer.cells} cells",
            arena={"reserve": context.arena, "inputs": transfer.inputs, "size": transfer.size},
            limit_s=limit_s,
        )
        context.loops.setdefault(loop, len(context.loops))
        return answer

    # ---- contexts and the child -----------------------------------------------------------------------------------

    def _context(self, text: str, key: str) -> _Context:
        """The context of a script, made and set up if there is none."""
        self._running()
        name = (text, key)
        context = self._contexts.get(name)
        if context is not None:
            self._contexts.move_to_end(name)
            return context
        while len(self._contexts) >= _CONTEXTS:
            self._forget(next(iter(self._contexts)))
        self._number += 1
        identifier = str(self._number)
        seconds = self._limits.setup_s
        command = {
            "do": "open",
            "context": identifier,
            "builtins": _package_text("builtins.js"),
            "host": _package_text("host.js"),
            "script": text,
        }
        defined = self._ask(identifier, command, seconds, "running its top level", text)
        request = json.dumps({"operation": "setup", "limit": _SETUP_CHARS})
        command = {"do": "call", "context": identifier, "request": request}
        returned = self._ask(identifier, command, seconds, "running setup()", text)
        setup = parsed(returned, "What setup() returned")
        context = _Context(identifier, frozenset(defined.split()), setup)
        self._contexts[name] = context
        return context

    def _call(
        self,
        text: str,
        key: str,
        operation: str,
        request: dict[str, Any],
        seconds: float,
        doing: str,
        *,
        arena: dict[str, int] | None = None,
        limit_s: float | None = None,
    ) -> str:
        context = self._context(text, key)
        context.is_used = True
        command = {
            "do": "call",
            "context": context.name,
            "request": json.dumps({"operation": operation, **request}),
            **(arena or {}),
        }
        try:
            return self._ask(context.name, command, seconds, doing, text, limit_s=limit_s)
        except ScriptError:
            # A context is never used again after a failure.
            self._contexts.pop((text, key), None)
            raise

    def _ask(
        self,
        context: str,
        command: dict[str, Any],
        seconds: float,
        doing: str,
        text: str,
        *,
        limit_s: float | None = None,
    ) -> str:
        """The child's answer. After a failure the context, or the whole child, is gone."""
        process = self._running()
        try:
            return process.ask(command, seconds, doing)
        except ScriptFailure as failure:
            error = report.explain(failure.kind, failure.text, doing, text)
            if isinstance(error, ScriptMemory):
                self.close()
            else:
                self._close_context(context)
            raise error from None
        except ScriptTimeout:
            self.close()
            raise ScriptTimeout(
                f"The evalscript did not end within {limit_s or seconds:g} s while {doing} and was stopped."
            ) from None
        except BaseException:
            self.close()
            raise

    def _forget(self, name: tuple[str, str]) -> None:
        context = self._contexts.pop(name, None)
        if context is not None and self._process is not None and self._process.alive:
            self._close_context(context.name)

    def _close_context(self, name: str) -> None:
        if self._process is None:
            return
        try:
            self._process.ask({"do": "close", "context": name}, 5.0, "being closed")
        except (ScriptError, ScriptFailure):
            self.close()

    def _running(self) -> ScriptProcess:
        """The child, started if there is none or if it ended between two calls."""
        if self._process is not None and not self._process.alive:
            self.close()
        if self._process is None:
            self._process = ScriptProcess(self._limits)
        self._process.is_unwanted = self.is_unwanted
        return self._process

    def _check_text(self, text: str) -> None:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ScriptError("The evalscript holds characters that are no Unicode text.") from None
        if len(text) > self._limits.script_chars:
            raise ScriptError(
                f"The evalscript is {len(text)} characters long; at most {self._limits.script_chars} are allowed."
            )


def _samples(source: SourceScenes) -> int:
    return len(source.orbits) if source.mosaicking is Mosaicking.ORBIT else len(source.scenes)


@cache
def _package_text(name: str) -> str:
    return resources.files("swathe.evalscript").joinpath(name).read_text("utf-8")
