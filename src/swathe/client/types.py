"""Names of the shapes that JSON takes on this wire."""

from __future__ import annotations

from typing import Any

JsonDict = dict[str, Any]
Json = dict[str, Any] | list[Any] | str | float | int | None


def remove_undefined(payload: JsonDict) -> JsonDict:
    """The payload without the keys whose value is None; what lies deeper is left as it is."""
    return {name: value for name, value in payload.items() if value is not None}


def update_deep(target: JsonDict, changes: JsonDict) -> None:
    """Writes `changes` into `target` in place; a dictionary is merged into the one that is there, all else replaces."""
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(target.get(name), dict):
            update_deep(target[name], value)
        else:
            target[name] = value
