"""What V8 said when a script failed, in words for the script's author, with the line of the script."""

from __future__ import annotations

import re

from swathe.evalscript.script import at_line
from swathe.model.errors import ScriptError, ScriptMemory

_MARK = "\u0001"
_MEMORY = (
    "allocation failed",
    "Invalid array buffer length",
    "Invalid string length",
    "Invalid typed array length",
    "memory limit",
    "out of memory",
)
_FRAME = re.compile(r"<anonymous>:(\d+):\d+")
_HEAD = re.compile(r"^<anonymous>:(\d+): (.*)$")
_MESSAGE_CHARS = 500


def explain(kind: str, text: str, doing: str, script: str) -> ScriptError:
    """The error for what the child reported; `kind` is memory, syntax or thrown, `doing` says what the script did."""
    if kind == "memory":
        return ScriptMemory(f"The evalscript asked for more memory than it may have while {doing} and was stopped.")
    if _MARK in text:
        problem = text.split(_MARK)[1]
        return ScriptError(f"{_shortened(problem)}{_where(problem, script)}.")
    first, _, rest = text.partition("\n")
    head = _HEAD.match(first)
    message = head.group(2) if head else re.sub(r"^[\w-]*:\d+: ", "", first)
    frame = _FRAME.search(rest.rpartition("\n\n")[2]) if kind == "thrown" else None
    line = int(frame.group(1)) if frame else int(head.group(1)) if head else None
    where = f" (line {line} of the evalscript)" if line is not None and line <= script.count("\n") + 1 else ""
    if any(word in message for word in _MEMORY):
        return ScriptMemory(
            f"The evalscript asked for more memory than it may have while {doing}{where}: {_shortened(message)}."
        )
    if kind == "syntax":
        return ScriptError(f"The evalscript cannot be understood{where}: {_shortened(message)}.")
    return ScriptError(f"The evalscript failed while {doing}{where}: {_shortened(message)}.")


def _where(problem: str, script: str) -> str:
    names = [name for name in ("preProcessScenes", "filterScenes", "updateOutput", "evaluatePixel") if name in problem]
    return at_line(script, *names) if names else ""


def _shortened(message: str) -> str:
    message = message.strip().rstrip(".")
    return message if len(message) <= _MESSAGE_CHARS else message[:_MESSAGE_CHARS] + "…"
