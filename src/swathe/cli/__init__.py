"""The command line. Modules here import only what the light install has; commands import the rest when they run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from swathe.model.errors import SettingsInvalid


@contextmanager
def server_parts(command: str) -> Iterator[None]:
    """Around imports that need `swathe[server]`: says so when it is not installed.

    Raises:
        SettingsInvalid: a package is missing, with the command that installs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "swathe":
            raise
        raise SettingsInvalid(
            f"`swathe {command}` needs parts that are not installed (no module {error.name});"
            ' install them with: pip install "swathe[server]"'
        ) from None


def forget_main() -> None:
    """Keeps spawned processes from importing the command line again, which they do not need."""
    main = sys.modules["__main__"]
    main.__spec__ = None
    main.__dict__.pop("__file__", None)
