"""Reads and decodes blocks of rasters: each block asked for once, neighbours in one request, bytes fetched ahead."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from swathe.rasters.ahead import ReadAhead, Want
from swathe.rasters.codecs import Buffer, Pixels
from swathe.rasters.counters import ReadCounters, Tally
from swathe.rasters.failures import RasterCorrupt, named
from swathe.rasters.layouts import Layouts
from swathe.rasters.plain import Batch, BlockDecoder, PlainTiff, cut_blocks, plan_batches
from swathe.rasters.room import Room, Rooms
from swathe.rasters.source import RasterInfo
from swathe.storage import ObjectStores, SourceFiles

AHEAD_BYTES = 64 * 2**20
_LOCAL_BATCH_BYTES = 1 * 2**20  # still in the processor's cache when it is unpacked

Block = tuple[int, int]
T = TypeVar("T")


class BlockReader:
    """Reads blocks of local files, `file://`, `s3://` and `http(s)://` rasters.

    Two roads with equal numbers: plain GeoTIFFs (tiled or in strips; deflate, LZW, ZSTD or uncompressed) are decoded
    here, everything else by GDAL. Layouts are kept for the last few thousand rasters, by address (and by size and time
    of change for local files), so a remote file must not change under its name while a reader lives.

    `threads` decode ahead of the caller; with 1, decoding happens as blocks are asked for. Bytes of plain GeoTIFFs in
    remote stores are always fetched ahead, at most `ahead_bytes` of them, and a batch for each caller. May be used by
    several threads at once.

    Every failure is a `SceneUnreadable` that names the raster; `retryable` tells whether trying again can help.
    """

    def __init__(self, stores: ObjectStores, *, threads: int = 1, ahead_bytes: int = AHEAD_BYTES) -> None:
        self._stores = stores
        self._threads = threads
        self._ahead_bytes = ahead_bytes
        self._files = SourceFiles(stores)
        self._tally = Tally()
        self._layouts = Layouts(self._files, self._tally)
        self._ahead = ReadAhead(self._fetch, ahead_bytes)
        self._rooms = Rooms()
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def __reduce__(self) -> tuple[Callable[..., BlockReader], tuple[ObjectStores, int, int]]:
        return _make_reader, (self._stores, self._threads, self._ahead_bytes)

    @property
    def counters(self) -> ReadCounters:
        """What was read since the reader was made or `reset_counters` called."""
        return self._tally.counted()

    def reset_counters(self) -> ReadCounters:
        """Starts counting anew and returns what was counted so far. Forgets what was to be read ahead."""
        self.forget_ahead()
        return self._tally.restart()

    def info(self, href: str) -> RasterInfo:
        """What the raster says of itself: one request of 32 KiB for a COG, none where it is known already.

        Raises:
            SceneUnreadable: it is missing, corrupt, has no EPSG code, or blocks over 128 MiB.
        """
        layout = self._layouts.of(href)
        return layout.info if isinstance(layout, PlainTiff) else layout

    def block_bytes(self, href: str, bands: int = 1, level: int = 0) -> float | None:
        """The mean bytes that a block of some bands takes in the file; None for rasters that GDAL reads.

        Raises:
            SceneUnreadable: as `info` does.
        """
        layout = self._layouts.of(href)
        if not isinstance(layout, PlainTiff):
            return None
        image = layout.levels[level]
        return float(image.counts.mean()) * (bands if image.is_separate else 1)

    def open_ahead(self, hrefs: Iterable[str]) -> None:
        """Begins to open rasters in remote stores, up to 32 at once; `info` and `read_blocks` wait for theirs.

        Returns at once and raises nothing: what goes wrong is told by `info` and `read_blocks`.
        """
        self._layouts.open_ahead(hrefs)

    def read_ahead(self, href: str, bands: tuple[int, ...], blocks: Iterable[Block], level: int = 0) -> None:
        """Begins to fetch the bytes of blocks that `read_blocks` will be asked for, where they lie in a remote store.

        Fetched in the order of the calls as far as `ahead_bytes` reach, and on as bytes are used. Does nothing for
        local files and for rasters that GDAL reads. A `read_blocks` of other blocks of the file uses what is there of
        its own and drops the others. Returns at once and raises nothing.
        """
        if not self._files.is_local(href):
            want = Want(href, bands, level, frozenset(blocks))
            self._ahead.order(want, self._layouts.when_known(href))

    def forget_ahead(self) -> None:
        """Drops what was to be read ahead and was not asked for. Requests under way end, and are counted."""
        self._layouts.forget()
        self._ahead.forget()

    def close(self) -> None:
        """Forgets what was to be read ahead and ends the reader's threads. A reader used again starts them again."""
        self._layouts.close()
        self._ahead.close()
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)

    def read_blocks(
        self, href: str, bands: tuple[int, ...], blocks: Sequence[Block], level: int = 0
    ) -> Iterator[tuple[Block, Pixels]]:
        """Blocks `(row, column)` of some bands (from 1), each decoded once.

        `level` 0 is the raster itself, n its nth overview. Yields `((row, column), pixels)` with pixels of the file's
        type in the machine's byte order, C-contiguous, `(bands, height, width)` in the order of `bands`, cut at the
        edges to the raster's true extent. Numbers are as stored: no scale, no mask. The order is about that of the
        blocks in the file, not that asked for; a block asked for twice comes once.

        Raises:
            SceneUnreadable: the raster is missing, corrupt, or has no such band or level.
        """
        layout = self._layouts.of(href)
        info = layout.info if isinstance(layout, PlainTiff) else layout
        wanted = self._check(info, bands, blocks, level)
        if isinstance(layout, PlainTiff):
            found = self._read_plain(layout, bands, wanted, level)
        else:
            found = self._read_gdal(info, bands, wanted, level)
        while True:
            started = time.perf_counter()
            with named(href):
                answer = next(found, None)
            if answer is None:
                return
            size = answer[1].nbytes
            self._tally.add(ReadCounters(blocks=1, bytes_decoded=size, seconds=time.perf_counter() - started))
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

    # The two roads

    def _read_plain(
        self, tiff: PlainTiff, bands: tuple[int, ...], blocks: list[Block], level: int
    ) -> Iterator[tuple[Block, Pixels]]:
        decoder = tiff.decoder(level, bands)
        room = self._rooms.take()
        try:
            stored = (
                (block, parts)
                for batch, data in self._batches(tiff, bands, blocks, level, room)
                for block, parts in cut_blocks(batch, data)
            )
            if self._threads > 1:
                yield from self._decode_ahead(decoder, stored)
                return
            for block, parts in stored:
                yield block, self._decode(decoder, block, parts, room)
        finally:
            self._rooms.give_back(room)

    def _batches(
        self, tiff: PlainTiff, bands: tuple[int, ...], blocks: list[Block], level: int, room: Room
    ) -> Iterator[tuple[Batch, Sequence[Buffer]]]:
        href = tiff.info.href
        if self._files.is_local(href):
            found = self._read_files(href, plan_batches(tiff.levels[level], blocks, bands, _LOCAL_BATCH_BYTES), room)
        else:
            found = self._ahead.take(Want(href, bands, level, frozenset(blocks)), tiff)
        while True:
            started = time.perf_counter()
            answer = next(found, None)
            self._tally.add(ReadCounters(fetch_seconds=time.perf_counter() - started))
            if answer is None:
                return
            yield answer

    def _read_files(self, href: str, batches: Iterator[Batch], room: Room) -> Iterator[tuple[Batch, Sequence[Buffer]]]:
        for batch in batches:
            if self._threads > 1:
                room = Room()  # blocks of the batch before may still have to be decoded
            data = self._files.read_ranges_into(href, batch.ranges, room.stored(batch.size_bytes).data)
            self._count_fetched(batch, data)
            yield batch, data

    def _fetch(self, href: str, batch: Batch) -> Sequence[Buffer]:
        data = self._files.read_ranges(href, batch.ranges) if batch.ranges else []
        self._count_fetched(batch, data)
        return data

    def _count_fetched(self, batch: Batch, data: Sequence[Buffer]) -> None:
        self._tally.add(ReadCounters(requests=len(batch.ranges), bytes_read=sum(map(len, data))))

    def _decode(self, decoder: BlockDecoder, block: Block, parts: Sequence[Buffer], room: Room) -> Pixels:
        started = time.perf_counter()
        pixels = decoder.decode(block, parts, room)
        self._tally.add(ReadCounters(decode_seconds=time.perf_counter() - started))
        return pixels

    def _decode_apart(self, decoder: BlockDecoder, block: Block, parts: Sequence[Buffer]) -> tuple[Block, Pixels]:
        room = self._rooms.take()
        try:
            return block, self._decode(decoder, block, parts, room)
        finally:
            self._rooms.give_back(room)

    def _decode_ahead(
        self, decoder: BlockDecoder, stored: Iterator[tuple[Block, Sequence[Buffer]]]
    ) -> Iterator[tuple[Block, Pixels]]:
        """The blocks in their order, a few of them decoded before they are asked for."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="swathe-decode")
            pool = self._pool
        under_way: deque[Future[tuple[Block, Pixels]]] = deque()
        try:
            for block, parts in stored:
                under_way.append(pool.submit(self._decode_apart, decoder, block, parts))
                if len(under_way) > 2 * self._threads:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()

    def _read_gdal(
        self, info: RasterInfo, bands: tuple[int, ...], blocks: list[Block], level: int
    ) -> Iterator[tuple[Block, Pixels]]:
        found = self._layouts.gdal(info.href).read(info, level, bands, blocks)
        while True:
            started = time.perf_counter()
            answer = next(found, None)
            self._tally.add(ReadCounters(decode_seconds=time.perf_counter() - started))
            if answer is None:
                return
            yield answer


def _make_reader(stores: ObjectStores, threads: int, ahead_bytes: int) -> BlockReader:
    return BlockReader(stores, threads=threads, ahead_bytes=ahead_bytes)
