"""What catalogs elsewhere said, kept on disk: a search that lies within one that was made lately asks nobody.

An entry is a file of items whose name tells the box and the time that were searched. It appears whole, by a rename, so
several processes may share a folder; failures leave nothing. Old entries are not used, and the oldest go when the folder
grows beyond its size.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from swathe.catalog.areas import Bbox

Item = Mapping[str, Any]

_SUFFIX, _UNFINISHED = ".items", ".part"
_ABANDONED_S = 3600.0
_LEFT = 0.8
_LENGTH_BYTES = 8
_OPEN = "x"
_BROKEN = (OSError, zlib.error, orjson.JSONDecodeError, ValueError)


@dataclass(frozen=True)
class Window:
    """What was searched: a box in degrees (None: everywhere) and `[start, end)` (None: open)."""

    box: Bbox | None
    start: datetime | None
    end: datetime | None

    def holds(self, other: Window) -> bool:
        """Whether whatever is in the other window is in this one."""
        if self.box is not None:
            if other.box is None:
                return False
            west, south, east, north = other.box
            if not (self.box[0] <= west and self.box[1] <= south and east <= self.box[2] and north <= self.box[3]):
                return False
        starts = self.start is None or (other.start is not None and self.start <= other.start)
        return starts and (self.end is None or (other.end is not None and other.end <= self.end))


class ItemCache:
    """The entries of one source of items. May be used by several threads and processes."""

    def __init__(self, folder: Path, source: str, *, age_s: float, max_bytes: int) -> None:
        """`source` is whatever the items depend on beside the window; it is not readable in the folder."""
        self._root = folder
        self._folder = folder / hashlib.sha256(source.encode()).hexdigest()[:24]
        self._age_s = age_s
        self._max_bytes = max_bytes

    def find(self, wanted: Window) -> tuple[Window, float, list[list[Item]]] | None:
        """A window that holds the wanted one, when it was searched (seconds since 1970), and its items in pages."""
        now = time.time()
        found = []
        with suppress(OSError):
            for file in os.scandir(self._folder):
                window = _window(file.name)
                with suppress(OSError):
                    if window is not None and window.holds(wanted) and 0 <= now - file.stat().st_mtime < self._age_s:
                        found.append((file.stat().st_size, file.path, window, file.stat().st_mtime))
        for _, path, window, read_at in sorted(found, key=lambda entry: entry[:2]):
            try:
                return window, read_at, list(_read(Path(path)))
            except _BROKEN:
                with suppress(OSError):
                    Path(path).unlink()
        return None

    def keep(self, window: Window, pages: Iterable[list[Item]]) -> Iterator[list[Item]]:
        """The pages as they come; when they ended well they are kept. A disk that is full or read-only keeps nothing."""
        path = self._folder / f"{uuid.uuid4().hex}{_UNFINISHED}"
        file = None
        if self._age_s > 0 and self._max_bytes > 0:
            with suppress(OSError):
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                file = path.open("xb")
        try:
            for page in pages:
                if file is not None:
                    packed = zlib.compress(orjson.dumps(page), 1)
                    try:
                        file.write(len(packed).to_bytes(_LENGTH_BYTES, "little") + packed)
                    except OSError:
                        file.close()
                        file = None
                yield page
            if file is not None:
                with suppress(OSError):
                    file.close()
                    path.replace(self._folder / _name(window))
                    self._prune()
        finally:
            if file is not None:
                with suppress(OSError):
                    file.close()
            path.unlink(missing_ok=True)

    def _prune(self) -> None:
        """Takes away the oldest entries of all sources, and what killed processes left."""
        now = time.time()
        files = []
        for path in self._root.glob(f"*/*{_SUFFIX}"):
            with suppress(OSError):
                status = path.stat()
                files.append((status.st_mtime, status.st_size, path))
        for path in self._root.glob(f"*/*{_UNFINISHED}"):
            with suppress(OSError):
                if now - path.stat().st_mtime > _ABANDONED_S:
                    path.unlink()
        size = sum(size for _, size, _ in files)
        bound = self._max_bytes if size <= self._max_bytes else _LEFT * self._max_bytes
        for changed, length, path in sorted(files):
            if size <= bound and now - changed < self._age_s:
                break
            with suppress(OSError):
                path.unlink()
                size -= length


def _read(path: Path) -> Iterator[list[Item]]:
    with path.open("rb") as file:
        while head := file.read(_LENGTH_BYTES):
            page = orjson.loads(zlib.decompress(file.read(int.from_bytes(head, "little"))))
            if not isinstance(page, list):
                raise ValueError("no page of items")
            yield page


def _name(window: Window) -> str:
    sides = [_OPEN] * 4 if window.box is None else [f"{side:.6f}" for side in window.box]
    times = [_OPEN if moment is None else str(int(moment.timestamp())) for moment in (window.start, window.end)]
    return "_".join((*sides, *times)) + _SUFFIX


def _window(name: str) -> Window | None:
    parts = name.removesuffix(_SUFFIX).split("_")
    if not name.endswith(_SUFFIX) or len(parts) != 6:
        return None
    try:
        box: Bbox | None = None
        if parts[0] != _OPEN:
            west, south, east, north = map(float, parts[:4])
            box = west, south, east, north
        times = [None if part == _OPEN else datetime.fromtimestamp(int(part), UTC) for part in parts[4:]]
        return Window(box, times[0], times[1])
    except (ValueError, OverflowError, OSError):
        return None
