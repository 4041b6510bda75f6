"""How processes of a job come to their engine: by a function that travels by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from swathe.settings import Settings

if TYPE_CHECKING:
    from swathe.engine.compute import Engine

MakeEngine = Callable[[Settings], "Engine"]


def make_engine(settings: Settings) -> Engine:
    """The engine, imported only in the process that computes."""
    from swathe.engine.compute import Engine

    return Engine(settings)
