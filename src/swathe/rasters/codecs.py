"""Unpacks blocks of a plain TIFF: deflate, LZW, ZSTD or nothing, with predictors 1, 2 and 3. Reads nothing."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from swathe.rasters.deltas import undo_deltas, undo_deltas_apart
from swathe.rasters.room import Bytes, Room
from swathe.rasters.tiff import FILL_ORDER, PHOTOMETRIC, TiffBroken, TiffImage

Buffer = bytes | memoryview
Pixels = npt.NDArray[Any]

_library: Any = imagecodecs  # its declared types do not know that NumPy arrays are buffers
_NONE, _LZW, _DEFLATE, _OLD_DEFLATE, _ZSTD = 1, 5, 8, 32946, 50000
_GREY, _RGB, _PALETTE = 1, 2, 3


def _inflate(data: Buffer, out: Bytes) -> int:
    try:
        return len(_library.deflate_decode(data, out=out))
    except _library.DeflateError:
        # Some writers fill up the last strip beyond the image; libdeflate wants room for all of it.
        return _copy(zlib.decompressobj().decompress(data, out.size), out)


def _unzstd(data: Buffer, out: Bytes) -> int:
    return len(_library.zstd_decode(data, out=out))


def _unlzw(data: Buffer, out: Bytes) -> int:
    return len(_library.lzw_decode(data, out=out))


def _copy(data: Buffer, out: Bytes) -> int:
    length = min(len(data), out.size)
    out[:length] = np.frombuffer(data, np.uint8, length)
    return length


DECODERS: dict[int, Callable[[Buffer, Bytes], int]] = {
    _NONE: _copy,
    _LZW: _unlzw,
    _DEFLATE: _inflate,
    _OLD_DEFLATE: _inflate,
    _ZSTD: _unzstd,
}
"""By TIFF's number: unpacks into `out` and says how many bytes of it were filled."""
_ERRORS = (RuntimeError, ValueError, zlib.error)  # the decoders' own errors are RuntimeErrors


def is_plain(image: TiffImage) -> bool:
    """Whether `Unpacker` gives the same numbers as GDAL for this image."""
    dtype = image.dtype
    if dtype is None or image.compression not in DECODERS or image.number(FILL_ORDER, 1) != 1:
        return False
    if image.number(PHOTOMETRIC, _GREY) not in (_GREY, _RGB, _PALETTE):
        return False
    if image.compression == _NONE:
        return True
    return image.predictor in (1, 3 if dtype.kind == "f" else 2) or (image.predictor == 2 and dtype.kind == "f")


class Unpacker:
    """Unpacks blocks of one image. Holds no state: may be used by several threads, each with a room of its own.

    `bands` are counted from 1. A block that the file leaves out holds no data where the file has such a value, else 0.
    """

    def __init__(self, image: TiffImage, bands: Sequence[int], nodata: float | None) -> None:
        if image.dtype is None:
            raise TiffBroken("has numbers of a type that is not read this way")
        self._stored = image.dtype
        self._native = image.dtype.newbyteorder("=")
        self._unsigned = np.dtype(f"u{image.dtype.itemsize}")
        self._decode = DECODERS[image.compression]
        self._predictor = image.predictor if image.compression != _NONE else 1
        self._is_tiled = image.is_tiled
        self._block_height, self._block_width = image.block_height, image.block_width
        self._planes = len(bands)
        self._together = 1 if image.is_separate else image.samples
        self._samples = np.array([0 if image.is_separate else band - 1 for band in bands])
        self._is_separate = image.is_separate
        self._empty_value = _fill_value(self._native, nodata)

    def unpack(self, parts: Sequence[Buffer], height: int, width: int, room: Room) -> Pixels:
        """The pixels of a block in the machine's byte order, `(bands, height, width)`, C-contiguous.

        Args:
            parts: the block's bytes, one part for each band where bands have blocks of their own, else one; empty
                where the file leaves it out.
            height: with `width`, cuts the block to the raster's extent.
            room: for what is not in its final order; the pixels themselves have memory of their own.

        Raises:
            TiffBroken: the data are corrupt or too few.
        """
        pixels: Pixels = np.empty((self._planes, height, width), self._native)
        per_part = 1 if self._is_separate else self._planes
        for at, data in enumerate(parts):
            out = pixels[at * per_part : (at + 1) * per_part]
            if not len(data):
                out[...] = self._empty_value
            elif self._together == 1 and self._planes == len(parts):
                self._unpack_alone(data, out[0], room)
            else:
                self._unpack_together(data, out, room)
        return pixels

    def _unpack_alone(self, data: Buffer, out: Pixels, room: Room) -> None:
        """A block of one band."""
        height, width = out.shape
        rows = self._rows(height)
        is_whole = (rows, self._block_width) == (height, width)
        shape = (rows, self._block_width)
        size = rows * self._block_width * self._native.itemsize
        in_place = is_whole and self._predictor != 3
        packed = out.reshape(-1).view(np.uint8) if in_place else room.unpacked(size)
        self._fill(packed, data)
        numbers: Pixels = packed.view(self._native).reshape(shape)[:height]
        if self._predictor == 3:
            floats = out if is_whole else np.empty(numbers.shape, self._native)
            _library.floatpred_decode(numbers[..., None], axis=1, out=floats[..., None])
            numbers = floats
        else:
            whole_numbers = numbers.view(self._unsigned)
            if not self._stored.isnative:
                whole_numbers.byteswap(inplace=True)
            if self._predictor == 2:
                undo_deltas(whole_numbers)
        if not is_whole:
            out[...] = numbers[:, :width]

    def _unpack_together(self, data: Buffer, out: Pixels, room: Room) -> None:
        """A block whose pixels hold several bands: those asked for."""
        _, height, width = out.shape
        rows = self._rows(height)
        packed = room.unpacked(rows * self._block_width * self._together * self._native.itemsize)
        self._fill(packed, data)
        pixels: Pixels = packed.view(self._native).reshape(rows, self._block_width, self._together)[:height]
        if self._predictor == 3:
            floats = np.empty(pixels.shape, self._native)
            _library.floatpred_decode(pixels, axis=1, out=floats)
            pixels = floats
        elif not self._stored.isnative:
            pixels.view(self._unsigned).byteswap(inplace=True)
        if self._predictor == 2:  # differences of the bits as whole numbers, for floating point too
            undo_deltas_apart(pixels.view(self._unsigned), self._samples, out.view(self._unsigned))
            return
        for plane, sample in zip(out, self._samples, strict=True):
            plane[...] = pixels[:, :width, sample]

    def _rows(self, height: int) -> int:
        return self._block_height if self._is_tiled else height  # the last strip has no rows beyond the image

    def _fill(self, packed: Bytes, data: Buffer) -> None:
        try:
            length = self._decode(data, packed)
        except _ERRORS:
            raise TiffBroken("has a corrupt block") from None
        if length < len(packed):
            raise TiffBroken(f"has a corrupt block: {length} bytes instead of {len(packed)}")


def _fill_value(dtype: np.dtype[Any], nodata: float | None) -> Any:
    if nodata is None:
        return 0
    if dtype.kind == "f":
        return nodata
    limits = np.iinfo(dtype)
    return int(min(max(nodata, limits.min), limits.max)) if nodata == nodata else 0
