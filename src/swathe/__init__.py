"""Swathe: an open, self-hosted engine for Sentinel Hub's batch APIs, with its Python client.

`swathe.evaluate` tries an evalscript over arrays, without a server.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

# Their types are in `__init__.pyi`.
_EVALUATION = ("EvaluationResult", "SceneArrays", "SourceArrays", "evaluate")


def __getattr__(name: str) -> Any:
    """What needs `swathe[server]` is imported when it is first asked for, so that `import swathe` stays light."""
    if name not in _EVALUATION:
        raise AttributeError(f"module 'swathe' has no attribute '{name}'")
    import importlib

    try:
        return getattr(importlib.import_module("swathe.engine.evaluation"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "swathe":
            raise
        raise ImportError(
            f"swathe.{name} needs parts that are not installed (no module {error.name});"
            ' install them with: pip install "swathe[server]"'
        ) from None


def __dir__() -> list[str]:
    return sorted({*globals(), *_EVALUATION})
