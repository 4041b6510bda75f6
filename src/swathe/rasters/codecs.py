"""Unpacks one block of a plain TIFF: deflate, LZW, ZSTD or nothing, with predictors 1, 2 and 3. Reads nothing."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from swathe.rasters.tiff import FILL_ORDER, PHOTOMETRIC, TiffBroken, TiffImage

Buffer = bytes | memoryview
Pixels = npt.NDArray[Any]

_library: Any = imagecodecs  # its declared types do not know that NumPy arrays are buffers
_NONE, _LZW, _DEFLATE, _OLD_DEFLATE, _ZSTD = 1, 5, 8, 32946, 50000
_GREY, _RGB, _PALETTE = 1, 2, 3


def _inflate(data: Buffer, out: npt.NDArray[np.uint8]) -> Any:
    try:
        return _library.deflate_decode(data, out=out)
    except _library.DeflateError:
        # Some writers fill up the last strip beyond the image; libdeflate wants room for all of it.
        plain = zlib.decompressobj().decompress(data, out.size)
        return np.frombuffer(plain, np.uint8).copy()


def _unzstd(data: Buffer, out: npt.NDArray[np.uint8]) -> Any:
    return _library.zstd_decode(data, out=out)


def _unlzw(data: Buffer, out: npt.NDArray[np.uint8]) -> Any:
    return _library.lzw_decode(data, out=out)


def _copy(data: Buffer, out: npt.NDArray[np.uint8]) -> Any:
    length = min(len(data), out.size)
    out[:length] = np.frombuffer(data, np.uint8, length)
    return out[:length]


DECODERS: dict[int, Callable[[Buffer, npt.NDArray[np.uint8]], Any]] = {
    _NONE: _copy,
    _LZW: _unlzw,
    _DEFLATE: _inflate,
    _OLD_DEFLATE: _inflate,
    _ZSTD: _unzstd,
}
_ERRORS = (RuntimeError, ValueError, zlib.error)  # the decoders' own errors are RuntimeErrors


def is_plain(image: TiffImage) -> bool:
    """Whether `unpack` gives the same numbers as GDAL for this image."""
    dtype = image.dtype
    if dtype is None or image.compression not in DECODERS or image.number(FILL_ORDER, 1) != 1:
        return False
    if image.number(PHOTOMETRIC, _GREY) not in (_GREY, _RGB, _PALETTE):
        return False
    if image.compression == _NONE:
        return True
    return image.predictor in (1, 3 if dtype.kind == "f" else 2) or (image.predictor == 2 and dtype.kind == "f")


def unpack(image: TiffImage, data: Buffer, height: int, width: int) -> Pixels:
    """The pixels of a block in the machine's byte order, `(bands, height, width)`, C-contiguous.

    `height` and `width` cut it to the raster's extent. A block of an image whose bands have blocks of their own has
    one band.

    Raises:
        TiffBroken: the data are corrupt or too few.
    """
    dtype = image.dtype
    if dtype is None:
        raise TiffBroken("has numbers of a type that is not read this way")
    bands = 1 if image.is_separate else image.samples
    rows = image.block_height if image.is_tiled else height
    shape = (rows, image.block_width, bands)
    size = rows * image.block_width * bands * dtype.itemsize
    try:
        packed = DECODERS[image.compression](data, np.empty(size, np.uint8))
    except _ERRORS:
        raise TiffBroken("has a corrupt block") from None
    if len(packed) < size:
        raise TiffBroken(f"has a corrupt block: {len(packed)} bytes instead of {size}")
    pixels: Pixels = packed[:size].view(dtype).reshape(shape)
    native = dtype.newbyteorder("=")
    predictor = image.predictor if image.compression != _NONE else 1
    if predictor == 3:  # bytes are stored by significance, whatever the file's order
        floats = np.empty(shape, native)
        _library.floatpred_decode(pixels.view(native), axis=1, out=floats)
        pixels = floats
    elif predictor == 2:  # differences of the bits as whole numbers, for floating point too
        numbers = pixels.view(dtype.str.replace("f", "u"))
        if not dtype.isnative:
            numbers = numbers.astype(numbers.dtype.newbyteorder("="))
        _library.delta_decode(numbers, axis=1, out=numbers)
        pixels = numbers.view(native)
    elif not dtype.isnative:
        pixels = pixels.astype(native)
    return np.ascontiguousarray(pixels[:height, :width].transpose(2, 0, 1))


def fill(image: TiffImage, nodata: float | None, height: int, width: int) -> Pixels:
    """A block that the file leaves out: no data where the file has such a value, else 0."""
    dtype = (image.dtype or np.dtype("u1")).newbyteorder("=")
    value: Any = 0
    if nodata is not None:
        limits = np.iinfo(dtype) if dtype.kind in "iu" else None
        if limits is None:
            value = nodata
        elif nodata == nodata:
            value = int(min(max(nodata, limits.min), limits.max))
    return np.full((1 if image.is_separate else image.samples, height, width), value, dtype)
