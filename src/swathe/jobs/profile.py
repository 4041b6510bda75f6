"""What the threads and processes of a job did, as one flame graph."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swathe.model.errors import SettingsInvalid
from swathe.storage.folder import write_whole

_INTERVAL_S = 0.002
_SUFFIXES = (".html", ".json")


@dataclass(frozen=True)
class Profiles:
    """A folder in which every thread and process of a job leaves what it did; may go to another process."""

    folder: Path

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Notes what this thread does in the block."""
        from pyinstrument import Profiler

        profiler = Profiler(interval=_INTERVAL_S, async_mode="disabled")
        profiler.start()
        try:
            yield
        finally:
            profiler.stop().save(self.folder / name)

    def write(self, path: Path) -> None:
        """Writes the flame graph: `.html` is a page for the browser, `.json` is for speedscope.

        Raises:
            SettingsInvalid: the file cannot be written.
        """
        from pyinstrument.renderers import HTMLRenderer, SpeedscopeRenderer
        from pyinstrument.session import Session

        session: Any = None
        for part in sorted(self.folder.iterdir()):
            one = Session.load(part)
            session = one if session is None else Session.combine(session, one)
        if session is None:
            return
        renderer: Any = HTMLRenderer(show_all=True) if path.suffix == ".html" else SpeedscopeRenderer()
        try:
            write_whole(path.resolve(), renderer.render(session).encode(), durable=False)
        except OSError as error:
            raise SettingsInvalid(f"The profile {path} cannot be written: {error.strerror}") from None


@contextmanager
def collect_profiles(path: Path | None) -> Iterator[Profiles | None]:
    """Somewhere to leave profiles, which at the end are written to `path`; None where there is no path.

    Raises:
        SettingsInvalid: the file's name ends in neither `.html` nor `.json`.
    """
    if path is None:
        yield None
        return
    if path.suffix not in _SUFFIXES:
        raise SettingsInvalid(f"A profile is written to a file that ends in {' or '.join(_SUFFIXES)}, not to {path}")
    with tempfile.TemporaryDirectory(prefix="swathe-profile-") as folder:
        profiles = Profiles(Path(folder))
        yield profiles
        profiles.write(path)
