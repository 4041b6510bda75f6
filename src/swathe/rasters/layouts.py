"""The layouts of rasters: read once and kept, those of many remote files side by side before they are needed."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from swathe.rasters.counters import ReadCounters, Tally
from swathe.rasters.failures import named
from swathe.rasters.plain import HeaderReader, PlainTiff, open_plain
from swathe.rasters.source import RasterInfo
from swathe.rasters.tiff import TiffBroken
from swathe.storage import SourceFiles
from swathe.storage.sources import local_path

if TYPE_CHECKING:
    from swathe.rasters.gdal import GdalRaster

MAX_BLOCK_BYTES = 128 * 2**20
_KNOWN_RASTERS = 4096
_CONNECTIONS = 32

Layout = PlainTiff | RasterInfo
"""How a raster is read: a `PlainTiff` is decoded here, everything else by GDAL."""


@dataclass(eq=False)
class _Opening:
    href: str
    key: object
    future: Future[Layout] = field(default_factory=Future)
    is_taken: bool = False


class Layouts:
    """Knows the last few thousand rasters, by address (and by size and time of change for local files).

    May be used by several threads at once: a raster that several ask for is opened once.
    """

    def __init__(self, files: SourceFiles, tally: Tally) -> None:
        self._files = files
        self._tally = tally
        self._known: OrderedDict[object, Layout] = OrderedDict()
        self._openings: dict[object, _Opening] = {}
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def of(self, href: str) -> Layout:
        """A raster's layout. One that is being opened is waited for; one that still waits for its turn has it now.

        Raises:
            SceneUnreadable: it is missing, corrupt, has no EPSG code, or blocks over 128 MiB.
        """
        key = self._key(href)
        found = self._find(key, href)
        if not isinstance(found, _Opening):
            return found
        started = time.perf_counter()
        self._carry_out(found)
        try:
            with named(href):
                return found.future.result()
        except CancelledError:  # another thread gave it up at this moment
            return self.of(href)
        finally:
            waited = time.perf_counter() - started
            self._tally.add(ReadCounters(seconds=waited, fetch_seconds=waited))
            with self._lock:  # a failure is told once: who asks again has it tried again
                if self._openings.get(key) is found:
                    del self._openings[key]

    def open_ahead(self, hrefs: Iterable[str]) -> None:
        """Begins to open the remote ones of these rasters, up to 32 at once. What fails is told by `of`."""
        for href in hrefs:
            if not self._files.is_local(href):
                self.when_known(href)

    def when_known(self, href: str) -> Future[Layout]:
        """The layout as soon as it is there; what is not known is opened in the background."""
        found = self._find(self._key(href), href)
        if not isinstance(found, _Opening):
            future: Future[Layout] = Future()
            future.set_result(found)
            return future
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="swathe-open")
            pool = self._pool
        if not found.is_taken:
            pool.submit(self._carry_out, found)
        return found.future

    def forget(self) -> None:
        """Gives up opening what nobody has asked for and whose turn has not come."""
        with self._lock:
            given_up = [one for one in self._openings.values() if not one.is_taken or one.future.done()]
            for one in given_up:
                one.is_taken = True
                del self._openings[one.key]
        for one in given_up:
            one.future.cancel()

    def close(self) -> None:
        """Gives up what is not opened yet and ends the threads."""
        self.forget()
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)

    def gdal(self, href: str) -> GdalRaster:
        """The raster as GDAL reads it."""
        # GDAL takes time and memory that most rasters never need
        from swathe.rasters.gdal import GdalRaster

        return GdalRaster(self._files, href, lambda size: self._tally.add(ReadCounters(requests=1, bytes_read=size)))

    def _find(self, key: object, href: str) -> Layout | _Opening:
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
            return self._openings.setdefault(key, _Opening(href, key))

    def _carry_out(self, opening: _Opening) -> None:
        """Opens it, unless another thread does or has."""
        with self._lock:
            if opening.is_taken:
                return
            opening.is_taken = True
        try:
            layout = self._open(opening.href)
        except BaseException as error:
            opening.future.set_exception(error)
            return
        with self._lock:
            self._known[opening.key] = layout
            while len(self._known) > _KNOWN_RASTERS:
                self._known.popitem(last=False)
            if self._openings.get(opening.key) is opening:
                del self._openings[opening.key]
        opening.future.set_result(layout)

    def _key(self, href: str) -> object:
        path = local_path(href)
        if path is None:
            return href
        try:
            status = os.stat(path)
        except OSError:
            return href
        return href, status.st_size, status.st_mtime_ns

    def _open(self, href: str) -> Layout:
        read = HeaderReader(self._files, href)
        try:
            plain = open_plain(read, href)
        finally:
            self._tally.add(ReadCounters(requests=read.requests, bytes_read=read.bytes_read))
        if plain is None:
            return self.gdal(href).info(MAX_BLOCK_BYTES)
        for image in plain.levels:
            item_bytes = image.dtype.itemsize if image.dtype else 1
            bands = 1 if image.is_separate else image.samples
            if image.block_width * image.block_height * bands * item_bytes > MAX_BLOCK_BYTES:
                size = f"{image.block_width} x {image.block_height} pixels"
                raise TiffBroken(
                    f"has blocks of {size} in {bands} bands, over the {MAX_BLOCK_BYTES} bytes that are decoded"
                )
        return plain
