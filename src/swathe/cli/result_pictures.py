"""A picture as a file, which is there whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swathe.model.errors import SettingsInvalid

_KINDS = (".png", ".svg", ".pdf")
_DOTS_PER_INCH = 150


@contextmanager
def save_picture(path: Path, force: bool) -> Iterator[None]:
    """Saves the picture that is drawn inside, with no display.

    Raises:
        SettingsInvalid: the file is there, cannot be written, or is no picture by its name.
    """
    kind = path.suffix.lower()
    if kind not in _KINDS:
        raise SettingsInvalid(f"{path} must end with {', '.join(_KINDS)}: the ending says what kind of picture it is")
    if path.exists() and not force:
        raise SettingsInvalid(f"{path} is there already; name another file, or replace it with --force")
    if not path.parent.is_dir():
        raise SettingsInvalid(f"There is no folder {path.parent} to write {path.name} into")
    from swathe.client.extras import load

    load("matplotlib", "a picture").use("Agg")
    pyplot = load("matplotlib.pyplot", "a picture")
    made = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}{kind}")
    try:
        yield
        pyplot.gcf().savefig(made, dpi=_DOTS_PER_INCH)
        os.replace(made, path)
    except OSError as error:
        raise SettingsInvalid(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        pyplot.close("all")
        made.unlink(missing_ok=True)
    print(path)  # noqa: T201
