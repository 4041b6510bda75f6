"""Libraries that the light install does not bring, imported when something needs them."""

from __future__ import annotations

import importlib
from typing import Any

from swathe.client.exceptions import ClientError

# What `swathe[dataframe]` brings; `swathe[plots]` brings these and the others.
_OF_TABLES = frozenset({"numpy", "pandas", "pyarrow"})


class LibraryMissing(ClientError, ImportError):
    """A library is not installed; the message has the line that installs it."""


def load(name: str, purpose: str) -> Any:
    """The module of this name.

    Args:
        name: as in an import statement.
        purpose: what needs it, as the message begins: `a table`.

    Raises:
        LibraryMissing: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or name).partition(".")[0]
        extra = "dataframe" if missing in _OF_TABLES else "plots"
        raise LibraryMissing(f'{purpose} needs {missing}: pip install "swathe[{extra}]"') from error


def is_installed(name: str) -> bool:
    """Whether a module can be imported."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        return False
    return True
