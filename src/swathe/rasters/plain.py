"""Plain GeoTIFFs read past GDAL: their header in one request, neighbouring blocks in one request."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from swathe.rasters import geokeys
from swathe.rasters.codecs import Buffer, Pixels, Unpacker, is_plain
from swathe.rasters.room import Room
from swathe.rasters.source import OverviewInfo, RasterInfo, SourceGrid
from swathe.rasters.tiff import ROWS_PER_STRIP, SUBFILE_TYPE, TiffBroken, TiffImage, check_layout, parse_tiff
from swathe.storage import SourceFiles

HEADER_BYTES = 32 * 2**10
_GAP_BYTES = 64 * 2**10
_BATCH_BLOCKS = 256
_KNOWN_DECODERS = 16
_CHOPPED_STRIP_BYTES = 256 * 2**10
_REDUCED, _MASK = 1, 4

Block = tuple[int, int]


@dataclass(frozen=True)
class PlainTiff:
    """A plain GeoTIFF's layout. `levels[0]` is the raster, `levels[n]` its nth overview."""

    info: RasterInfo
    levels: tuple[TiffImage, ...]

    def decoder(self, level: int, bands: tuple[int, ...]) -> BlockDecoder:
        """What makes pixels of the stored blocks of some bands of a level; the last few are kept."""
        known = self._decoders.get((level, bands))
        if known is None:
            if len(self._decoders) >= _KNOWN_DECODERS:
                self._decoders.clear()
            known = self._decoders[level, bands] = BlockDecoder(self, level, bands)
        return known

    @cached_property
    def _decoders(self) -> dict[tuple[int, tuple[int, ...]], BlockDecoder]:
        return {}


@dataclass(frozen=True)
class Part:
    """A block as it is stored, of one band where bands have blocks of their own. `length` 0: the file leaves it out."""

    block: Block
    band: int
    start: int
    length: int


@dataclass(frozen=True)
class Batch:
    """Parts read together: `ranges` are the requests, `(start, length)`; a block's parts are all in one batch."""

    parts: tuple[Part, ...]
    ranges: tuple[tuple[int, int], ...]

    @property
    def size_bytes(self) -> int:
        """How many bytes the requests ask for."""
        return sum(length for _, length in self.ranges)


class HeaderReader:
    """Reads a file's header in as few requests as it takes. Counts them."""

    def __init__(self, files: SourceFiles, href: str) -> None:
        self._files, self._href = files, href
        self._pieces: list[tuple[int, bytes]] = []
        self._size: int | None = None
        self.requests = 0
        self.bytes_read = 0

    def __call__(self, start: int, length: int) -> bytes:
        """The bytes, fewer where the file ends."""
        for at, data in self._pieces:
            if at <= start and start + length <= at + len(data):
                return data[start - at : start - at + length]
        ask = max(length, HEADER_BYTES)
        if self._pieces:  # a store refuses a range that starts beyond the end
            if self._size is None:
                self._size = self._files.size(self._href)
            if start >= self._size:
                return b""
        data = bytes(self._files.read_ranges(self._href, [(start, ask)])[0])
        self.requests += 1
        self.bytes_read += len(data)
        self._pieces.append((start, data))
        return data[:length]


def open_plain(read: HeaderReader, href: str) -> PlainTiff | None:
    """The file's layout; None where it is not plain, or where only GDAL knows where it lies.

    Raises:
        TiffBroken: it is a TIFF and contradicts itself.
        StorageError: it cannot be read.
    """
    try:
        return _open(read, href)
    except (ValueError, TypeError, OverflowError, IndexError, ArithmeticError, struct.error):
        raise TiffBroken("has a header that makes no sense") from None


def _open(read: HeaderReader, href: str) -> PlainTiff | None:
    start = read(0, 16)
    if start[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return None
    images = parse_tiff(read)
    main = images[0]
    if main.number(SUBFILE_TYPE, 0) & (_REDUCED | _MASK) or not is_plain(main):
        return None
    reduced = [
        image
        for image in images[1:]
        if image.number(SUBFILE_TYPE, 0) & _REDUCED and not image.number(SUBFILE_TYPE, 0) & _MASK
    ]
    levels = tuple(_chop(image) for image in (main, *sorted(reduced, key=lambda image: -image.width)))
    for image in levels:
        check_layout(image)
        if not is_plain(image) or (image.samples, image.dtype) != (main.samples, main.dtype):
            return None
    transform, epsg = geokeys.read_transform(main), geokeys.read_epsg(main)
    if transform is None or epsg is None or main.dtype is None:
        return None
    scales, offsets = geokeys.read_scales(main)
    info = RasterInfo(
        href=href,
        grid=SourceGrid(epsg, transform, main.width, main.height),
        dtype=main.dtype.name,
        band_count=main.samples,
        nodata=geokeys.read_nodata(main),
        block_width=levels[0].block_width,
        block_height=levels[0].block_height,
        scales=scales,
        offsets=offsets,
        overviews=tuple(
            OverviewInfo(image.width, image.height, image.block_width, image.block_height) for image in levels[1:]
        ),
    )
    return PlainTiff(info, levels)


def _chop(image: TiffImage) -> TiffImage:
    """Uncompressed rows stored in one piece, as blocks of a few rows; everything else as it is."""
    bands = image.samples if image.is_separate else 1
    if image.dtype is None or image.is_tiled or image.compression != 1 or len(image.offsets) != bands:
        return image
    row_bytes = image.width * image.dtype.itemsize * (1 if image.is_separate else image.samples)
    if row_bytes * image.height <= _CHOPPED_STRIP_BYTES or len(image.counts) != bands:
        return image
    if any(int(count) < row_bytes * image.height for count in image.counts):
        return image
    rows = max(1, _CHOPPED_STRIP_BYTES // row_bytes)
    firsts = np.arange(0, image.height, rows, dtype=np.uint64)
    heights = np.minimum(np.uint64(rows), np.uint64(image.height) - firsts)
    offsets = (image.offsets[:, None] + firsts[None, :] * np.uint64(row_bytes)).ravel()
    counts = np.tile(heights * np.uint64(row_bytes), bands)
    return replace(image, tags={**image.tags, ROWS_PER_STRIP: (rows,)}, offsets=offsets, counts=counts)


def plan_batches(
    image: TiffImage, blocks: Sequence[Block], bands: tuple[int, ...], batch_bytes: int = 4 * 2**20
) -> Iterator[Batch]:
    """Which bytes to ask for together: blocks in the order of the file, in batches of about `batch_bytes`.

    Raises:
        TiffBroken: the file says that a block takes far more bytes than its pixels.
    """
    per_band = image.block_rows * image.block_columns
    item_bytes = image.dtype.itemsize if image.dtype else 1
    bands_together = 1 if image.is_separate else image.samples
    most = 2 * image.block_width * image.block_height * bands_together * item_bytes + 2**16
    planes = [band - 1 for band in bands] if image.is_separate else [0]

    def check(part: Part) -> Part:
        if part.length > most:
            raise TiffBroken(f"says that a block takes {part.length} bytes, far more than its pixels")
        return part

    def parts_of(block: Block) -> list[Part]:
        index = block[0] * image.block_columns + block[1]
        at = [(plane, plane * per_band + index) for plane in planes]
        return [check(Part(block, plane, int(image.offsets[i]), int(image.counts[i]))) for plane, i in at]

    listed = sorted((parts_of(block) for block in blocks), key=lambda parts: parts[0].start)
    batch: list[Part] = []
    size = 0
    for parts in listed:
        length = sum(part.length for part in parts)
        if batch and (size + length > batch_bytes or len(batch) >= _BATCH_BLOCKS):
            yield Batch(tuple(batch), merge_ranges(batch))
            batch, size = [], 0
        batch += parts
        size += length
    if batch:
        yield Batch(tuple(batch), merge_ranges(batch))


def merge_ranges(parts: Sequence[Part]) -> tuple[tuple[int, int], ...]:
    """`(start, length)` of the requests for these parts; those less than 64 KiB apart are asked for at once."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted((part.start, part.start + part.length) for part in parts if part.length):
        if merged and start - merged[-1][1] <= _GAP_BYTES:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return tuple((start, end - start) for start, end in merged)


def cut_blocks(batch: Batch, data: Sequence[Buffer]) -> Iterator[tuple[Block, list[memoryview]]]:
    """Each block with its parts' bytes, out of what the requests of the batch answered.

    Raises:
        TiffBroken: a part lies beyond the end of the file.
    """
    views = [memoryview(piece) for piece in data]
    starts = [start for start, _ in batch.ranges]
    pieces: list[memoryview] = []
    for part, following in zip(batch.parts, (*batch.parts[1:], None), strict=True):
        if part.length:
            at = bisect_right(starts, part.start) - 1
            inside = part.start - starts[at]
            piece = views[at][inside : inside + part.length]
            if len(piece) < part.length:
                raise TiffBroken(f"ends before byte {part.start + part.length}, where a block should lie")
            pieces.append(piece)
        else:
            pieces.append(memoryview(b""))
        if following is None or following.block != part.block:
            yield part.block, pieces
            pieces = []


class BlockDecoder:
    """Makes pixels of the stored blocks of some bands of a level. May be used by several threads."""

    def __init__(self, tiff: PlainTiff, level: int, bands: Sequence[int]) -> None:
        image = tiff.levels[level]
        self._unpacker = Unpacker(image, bands, tiff.info.nodata)
        self._size = image.height, image.width
        self._block = image.block_height, image.block_width

    def decode(self, block: Block, parts: Sequence[Buffer], room: Room) -> Pixels:
        """A block's pixels, `(bands, height, width)`, out of its parts.

        Raises:
            TiffBroken: the data are corrupt.
        """
        height = min(self._block[0], self._size[0] - block[0] * self._block[0])
        width = min(self._block[1], self._size[1] - block[1] * self._block[1])
        return self._unpacker.unpack(parts, height, width, room)
