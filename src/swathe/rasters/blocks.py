"""Reads and decodes blocks of rasters: each block asked for once, neighbours in one request, decoded ahead."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from swathe.model.errors import SceneUnreadable, StorageError
from swathe.rasters.codecs import Pixels
from swathe.rasters.counters import ReadCounters
from swathe.rasters.plain import Batch, HeaderReader, Part, PlainTiff, cut_parts, decode_block, open_plain, plan_batches
from swathe.rasters.source import RasterInfo
from swathe.rasters.tiff import TiffBroken
from swathe.storage import ObjectStores, SourceFiles
from swathe.storage.sources import local_path

if TYPE_CHECKING:
    from swathe.rasters.gdal import GdalRaster

MAX_BLOCK_BYTES = 128 * 2**20
_KNOWN_RASTERS = 4096

Block = tuple[int, int]
T = TypeVar("T")


class RasterCorrupt(SceneUnreadable):
    """The raster is there and cannot be used; reading it again will not help."""

    retryable = False


class RasterMissing(RasterCorrupt):
    """The raster is not there, or may not be read."""


class BlockReader:
    """Reads blocks of local files, `file://`, `s3://` and `http(s)://` rasters.

    Two roads with equal numbers: plain GeoTIFFs (tiled or in strips; deflate, LZW, ZSTD or uncompressed) are decoded
    here, everything else by GDAL. Layouts are kept for the last few thousand rasters, by address (and by size and time
    of change for local files), so a remote file must not change under its name while a reader lives.

    `threads` decode ahead of the caller; with 1, decoding happens as blocks are asked for, and only fetching from
    remote stores runs ahead. May be used by several threads at once.

    Every failure is a `SceneUnreadable` that names the raster; `retryable` tells whether trying again can help.
    """

    def __init__(self, stores: ObjectStores, *, threads: int = 1) -> None:
        self._stores = stores
        self._threads = threads
        self._files = SourceFiles(stores)
        self._known: OrderedDict[object, PlainTiff | RasterInfo] = OrderedDict()
        self._lock = threading.Lock()
        self._counters = ReadCounters()
        self._pools: dict[str, ThreadPoolExecutor] = {}

    def __reduce__(self) -> tuple[Callable[[ObjectStores, int], BlockReader], tuple[ObjectStores, int]]:
        return _make_reader, (self._stores, self._threads)

    @property
    def counters(self) -> ReadCounters:
        """What was read since the reader was made or `reset_counters` called."""
        return self._counters

    def reset_counters(self) -> ReadCounters:
        """Starts counting anew and returns what was counted so far."""
        with self._lock:
            counted, self._counters = self._counters, ReadCounters()
        return counted

    def info(self, href: str) -> RasterInfo:
        """What the raster says of itself: one request of 32 KiB for a COG, none where it is known already.

        Raises:
            SceneUnreadable: it is missing, corrupt, has no EPSG code, or blocks over 128 MiB.
        """
        layout = self._layout(href)
        return layout.info if isinstance(layout, PlainTiff) else layout

    def read_blocks(
        self, href: str, bands: tuple[int, ...], blocks: Sequence[Block], level: int = 0
    ) -> Iterator[tuple[Block, Pixels]]:
        """Blocks `(row, column)` of some bands (from 1), each decoded once.

        `level` 0 is the raster itself, n its nth overview. Yields `((row, column), pixels)` with pixels of the file's
        type in the machine's byte order, C-contiguous, `(bands, height, width)` in the order of `bands`, cut at the
        edges to the raster's true extent. Numbers are as stored: no scale, no mask. The order is that of the blocks in
        the file, not that asked for; a block asked for twice comes once.

        Raises:
            SceneUnreadable: the raster is missing, corrupt, or has no such band or level.
        """
        layout = self._layout(href)
        info = layout.info if isinstance(layout, PlainTiff) else layout
        wanted = self._check(info, bands, blocks, level)
        if isinstance(layout, PlainTiff):
            found = self._read_plain(layout, bands, wanted, level)
        else:
            found = self._read_gdal(info, bands, wanted, level)
        while True:
            started = time.perf_counter()
            with _named(href):
                answer = next(found, None)
            if answer is None:
                return
            size = answer[1].nbytes
            self._count(ReadCounters(blocks=1, bytes_decoded=size, seconds=time.perf_counter() - started))
            yield answer

    def _check(self, info: RasterInfo, bands: tuple[int, ...], blocks: Sequence[Block], level: int) -> list[Block]:
        if not bands or not all(1 <= band <= info.band_count for band in bands):
            raise RasterCorrupt(f"{info.href} has bands 1 to {info.band_count}, not {', '.join(map(str, bands))}")
        if not 0 <= level <= len(info.overviews):
            raise RasterCorrupt(f"{info.href} has {len(info.overviews)} overviews; there is no level {level}")
        rows, columns = info.block_counts(level)
        wanted = sorted(set(blocks))
        for row, column in wanted:
            if not (0 <= row < rows and 0 <= column < columns):
                raise IndexError(f"block {row}, {column} of {info.href}, which has {rows} x {columns}")
        return wanted

    # Layouts

    def _layout(self, href: str) -> PlainTiff | RasterInfo:
        key = self._key(href)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        started = time.perf_counter()
        with _named(href):
            layout = self._open(href)
        self._count(ReadCounters(seconds=time.perf_counter() - started))
        with self._lock:
            self._known[key] = layout
            while len(self._known) > _KNOWN_RASTERS:
                self._known.popitem(last=False)
        return layout

    def _key(self, href: str) -> object:
        path = local_path(href)
        if path is None:
            return href
        try:
            status = Path(path).stat()
        except OSError:
            return href
        return href, status.st_size, status.st_mtime_ns

    def _open(self, href: str) -> PlainTiff | RasterInfo:
        read = HeaderReader(self._files, href)
        try:
            plain = open_plain(read, href)
        finally:
            self._count(ReadCounters(requests=read.requests, bytes_read=read.bytes_read))
        if plain is None:
            return self._gdal(href).info(MAX_BLOCK_BYTES)
        for image in plain.levels:
            item_bytes = image.dtype.itemsize if image.dtype else 1
            bands = 1 if image.is_separate else image.samples
            if image.block_width * image.block_height * bands * item_bytes > MAX_BLOCK_BYTES:
                size = f"{image.block_width} x {image.block_height} pixels"
                raise TiffBroken(
                    f"has blocks of {size} in {bands} bands, over the {MAX_BLOCK_BYTES} bytes that are decoded"
                )
        return plain

    # The two roads

    def _read_plain(
        self, tiff: PlainTiff, bands: tuple[int, ...], blocks: list[Block], level: int
    ) -> Iterator[tuple[Block, Pixels]]:
        image = tiff.levels[level]
        href = tiff.info.href
        per_block = len(bands) if image.is_separate else 1
        batches = plan_batches(image, blocks, bands)
        fetched: Iterator[tuple[Batch, list[bytes]]]
        if local_path(href) is not None:
            fetched = ((batch, self._fetch(href, batch)) for batch in batches)
        else:
            fetched = self._ahead("fetch", 1, ((self._fetch_batch, (href, batch)) for batch in batches))
        jobs = (
            (_decode, (tiff, level, bands, parts[at : at + per_block]))
            for batch, data in fetched
            for parts in [list(cut_parts(batch, data))]
            for at in range(0, len(parts), per_block)
        )
        if self._threads <= 1:
            return (work(*arguments) for work, arguments in jobs)
        return self._ahead("decode", 2 * self._threads, jobs)

    def _fetch_batch(self, href: str, batch: Batch) -> tuple[Batch, list[bytes]]:
        return batch, self._fetch(href, batch)

    def _fetch(self, href: str, batch: Batch) -> list[bytes]:
        data = self._files.read_ranges(href, batch.ranges) if batch.ranges else []
        self._count(ReadCounters(requests=len(batch.ranges), bytes_read=sum(map(len, data))))
        return data

    def _read_gdal(
        self, info: RasterInfo, bands: tuple[int, ...], blocks: list[Block], level: int
    ) -> Iterator[tuple[Block, Pixels]]:
        return self._gdal(info.href).read(info, level, bands, blocks)

    def _gdal(self, href: str) -> GdalRaster:
        # GDAL takes time and memory that most rasters never need
        from swathe.rasters.gdal import GdalRaster

        return GdalRaster(self._files, href, self._count_fetched)

    def _count_fetched(self, size: int) -> None:
        self._count(ReadCounters(requests=1, bytes_read=size))

    def _count(self, counted: ReadCounters) -> None:
        with self._lock:
            self._counters += counted

    def _pool(self, name: str) -> ThreadPoolExecutor:
        with self._lock:
            if name not in self._pools:
                threads = self._threads if name == "decode" else 4
                self._pools[name] = ThreadPoolExecutor(threads, thread_name_prefix=f"swathe-{name}")
            return self._pools[name]

    def _ahead(self, pool: str, depth: int, jobs: Iterator[tuple[Callable[..., T], tuple[object, ...]]]) -> Iterator[T]:
        """The jobs' results in their order, `depth` of them under way before they are asked for."""
        under_way: deque[Future[T]] = deque()
        executor = self._pool(pool)
        try:
            for work, arguments in jobs:
                under_way.append(executor.submit(work, *arguments))
                if len(under_way) > depth:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


def _decode(
    tiff: PlainTiff, level: int, bands: tuple[int, ...], parts: Sequence[tuple[Part, memoryview]]
) -> tuple[Block, Pixels]:
    return parts[0][0].block, decode_block(tiff, level, bands, parts)


def _make_reader(stores: ObjectStores, threads: int) -> BlockReader:
    return BlockReader(stores, threads=threads)


@contextmanager
def _named(href: str) -> Iterator[None]:
    """Turns what went wrong into a `SceneUnreadable` that names the raster."""
    try:
        yield
    except TiffBroken as error:
        raise RasterCorrupt(f"{href} {error}; replace the file, or take its item out of the catalog") from None
    except StorageError as error:
        if error.retryable:
            raise SceneUnreadable(error.message) from None
        raise RasterMissing(f"{error.message}; mend the item's address, or take it out of the catalog") from None
