"""The layout of a TIFF or BigTIFF file: where its blocks lie and how they are packed. Parses bytes, reads nothing.

TIFF 6.0 (Adobe, 1992), BigTIFF (Aware Systems), technical note 3 for predictor 3, GDAL's tags 42112 and 42113.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Read = Callable[[int, int], bytes]
"""`(start, length)` to that many bytes of the file, fewer only where it ends."""

TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 6: "b", 7: "B", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d"}
TYPES |= {13: "I", 16: "Q", 17: "q", 18: "Q"}
_MAX_TAGS = 4096
_MAX_IFDS = 64
_MAX_TABLE_BYTES, _MAX_TAG_BYTES = 64 * 2**20, 2**20

SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
FILL_ORDER, STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS, PLANAR = 266, 273, 277, 278, 279, 284
PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS, SAMPLE_FORMAT = 317, 322, 323, 324, 325, 339
GDAL_METADATA, GDAL_NODATA = 42112, 42113
_TABLES = {STRIP_OFFSETS, STRIP_COUNTS, TILE_OFFSETS, TILE_COUNTS}
_KNOWN = _TABLES | {SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, SAMPLES, ROWS_PER_STRIP}
_KNOWN |= {PLANAR, PREDICTOR, TILE_WIDTH, TILE_HEIGHT, SAMPLE_FORMAT, GDAL_METADATA, GDAL_NODATA}
_KNOWN |= {33550, 33922, 34264, 34735}  # where it lies: `geokeys` reads them


class TiffBroken(Exception):
    """The file is no TIFF, or it ends or contradicts itself; the text says how."""


@dataclass(frozen=True)
class TiffImage:
    """One image of the file. `tags` holds tuples of numbers, or bytes; the block tables are arrays."""

    byte_order: str
    tags: dict[int, Any]
    offsets: npt.NDArray[np.uint64]
    counts: npt.NDArray[np.uint64]

    def number(self, tag: int, default: int) -> int:
        """A tag's single number."""
        value = self.tags.get(tag)
        return int(value[0]) if value else default

    @cached_property
    def width(self) -> int:
        return self.number(WIDTH, 0)

    @cached_property
    def height(self) -> int:
        return self.number(HEIGHT, 0)

    @cached_property
    def samples(self) -> int:
        """Bands."""
        return self.number(SAMPLES, 1)

    @cached_property
    def compression(self) -> int:
        return self.number(COMPRESSION, 1)

    @cached_property
    def predictor(self) -> int:
        return self.number(PREDICTOR, 1)

    @cached_property
    def is_tiled(self) -> bool:
        return TILE_WIDTH in self.tags

    @cached_property
    def is_separate(self) -> bool:
        """Each band has blocks of its own."""
        return self.number(PLANAR, 1) == 2 and self.samples > 1

    @cached_property
    def block_width(self) -> int:
        return self.number(TILE_WIDTH, 0) if self.is_tiled else self.width

    @cached_property
    def block_height(self) -> int:
        if self.is_tiled:
            return self.number(TILE_HEIGHT, 0)
        return min(self.number(ROWS_PER_STRIP, self.height), self.height)

    @cached_property
    def block_rows(self) -> int:
        return -(-self.height // self.block_height)

    @cached_property
    def block_columns(self) -> int:
        return -(-self.width // self.block_width)

    @cached_property
    def dtype(self) -> np.dtype[Any] | None:
        """The numbers' type in the file's byte order; None where NumPy has none, or bands differ."""
        bits, formats = self.tags.get(BITS, (1,)), self.tags.get(SAMPLE_FORMAT, (1,))
        if len(set(bits)) != 1 or len(set(formats)) != 1:
            return None
        name = {1: "u", 2: "i", 3: "f"}.get(formats[0])
        if name is None or bits[0] not in ((32, 64) if name == "f" else (8, 16, 32, 64)):
            return None
        return np.dtype(f"{self.byte_order}{name}{bits[0] // 8}")

    def text(self, tag: int) -> str:
        """A tag of letters."""
        value = self.tags.get(tag, b"")
        return value.split(b"\0")[0].decode("utf-8", "replace") if isinstance(value, bytes) else ""


@dataclass(frozen=True)
class _Format:
    order: str
    big: bool
    size_format: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size_format", self.order + ("Q" if self.big else "I"))

    @property
    def entry_bytes(self) -> int:
        return 20 if self.big else 12

    @property
    def inline_bytes(self) -> int:
        return 8 if self.big else 4


def parse_tiff(read: Read) -> list[TiffImage]:
    """The file's images in their order.

    Raises:
        TiffBroken: it is no TIFF, or its directories are cut short or absurd.
    """
    form, position = _parse_start(read(0, 16))
    images: list[TiffImage] = []
    seen: set[int] = set()
    while position:
        if position in seen or len(images) >= _MAX_IFDS:
            raise TiffBroken(f"has a chain of directories that does not end within {_MAX_IFDS}")
        seen.add(position)
        image, position = _parse_directory(read, position, form)
        images.append(image)
    if not images:
        raise TiffBroken("holds no image")
    return images


def _parse_start(start: bytes) -> tuple[_Format, int]:
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    if order is None or len(start) < 8:
        raise TiffBroken("is no TIFF")
    version = struct.unpack(order + "H", start[2:4])[0]
    if version == 42:
        return _Format(order, big=False), struct.unpack(order + "I", start[4:8])[0]
    if version == 43 and len(start) == 16 and struct.unpack(order + "HH", start[4:8]) == (8, 0):
        return _Format(order, big=True), struct.unpack(order + "Q", start[8:16])[0]
    raise TiffBroken("is no TIFF")


def _exactly(read: Read, start: int, length: int) -> bytes:
    data = read(start, length)
    if len(data) < length:
        raise TiffBroken(f"ends before byte {start + length}, which its header speaks of")
    return data[:length]


def _parse_directory(read: Read, position: int, form: _Format) -> tuple[TiffImage, int]:
    count_bytes = 8 if form.big else 2
    count = struct.unpack(form.order + ("Q" if form.big else "H"), _exactly(read, position, count_bytes))[0]
    if count > _MAX_TAGS:
        raise TiffBroken(f"has a directory of {count} tags")
    body = _exactly(read, position + count_bytes, count * form.entry_bytes + form.inline_bytes)
    tags: dict[int, Any] = {}
    arrays: dict[int, npt.NDArray[np.uint64]] = {}
    for at in range(0, count * form.entry_bytes, form.entry_bytes):
        tag, kind = struct.unpack_from(form.order + "HH", body, at)
        (values,) = struct.unpack_from(form.size_format, body, at + 4)
        if kind not in TYPES or tag not in _KNOWN:
            continue
        length = values * struct.calcsize("=" + TYPES[kind])
        if length > (_MAX_TABLE_BYTES if tag in _TABLES else _MAX_TAG_BYTES):
            raise TiffBroken(f"has a tag {tag} of {length} bytes")
        where = at + 4 + struct.calcsize(form.size_format)
        if length <= form.inline_bytes:
            data = body[where : where + length]
        else:
            data = _exactly(read, struct.unpack_from(form.size_format, body, where)[0], length)
        if tag in _TABLES:
            if kind not in (3, 4, 16):
                raise TiffBroken(f"has a table {tag} of no whole numbers")
            arrays[tag] = np.frombuffer(data, np.dtype(f"{form.order}u{length // max(values, 1) or 4}")).astype(
                np.uint64
            )
        else:
            tags[tag] = _values(data, form.order, kind, values)
    (following,) = struct.unpack_from(form.size_format, body, count * form.entry_bytes)
    empty = np.empty(0, np.uint64)
    tiled = TILE_WIDTH in tags
    image = TiffImage(
        form.order,
        tags,
        arrays.get(TILE_OFFSETS if tiled else STRIP_OFFSETS, arrays.get(STRIP_OFFSETS, empty)),
        arrays.get(TILE_COUNTS if tiled else STRIP_COUNTS, arrays.get(STRIP_COUNTS, empty)),
    )
    return image, following


def _values(data: bytes, order: str, kind: int, count: int) -> Any:
    if kind in (2, 7):
        return data
    return struct.unpack(order + TYPES[kind] * count if len(TYPES[kind]) > 1 else f"{order}{count}{TYPES[kind]}", data)


def check_layout(image: TiffImage) -> None:
    """Whether the image's tables fit its size.

    Raises:
        TiffBroken: they do not.
    """
    if not (0 < image.width < 2**31 and 0 < image.height < 2**31 and 0 < image.samples < 2**16):
        raise TiffBroken(f"says that it has {image.width} x {image.height} pixels in {image.samples} bands")
    if not (0 < image.block_width < 2**31 and 0 < image.block_height < 2**31):
        raise TiffBroken(f"has blocks of {image.block_width} x {image.block_height} pixels")
    blocks = image.block_rows * image.block_columns * (image.samples if image.is_separate else 1)
    if len(image.offsets) < blocks or len(image.counts) < blocks:
        raise TiffBroken(f"lists {min(len(image.offsets), len(image.counts))} of its {blocks} blocks")
