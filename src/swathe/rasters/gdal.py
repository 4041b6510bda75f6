"""Rasters of any format, through GDAL. It reads local files, or bytes that `storage` fetches for it, and nothing else.

GDAL finds no keys, no proxies of its own and no sidecar files: the same file has the same values wherever it lies.
"""

from __future__ import annotations

import hashlib
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.session import DummySession
from rasterio.windows import Window

from swathe.model.errors import SwatheError
from swathe.rasters.codecs import Buffer, Pixels
from swathe.rasters.source import OverviewInfo, RasterInfo, SourceGrid
from swathe.rasters.tiff import TiffBroken
from swathe.storage import SourceFiles
from swathe.storage.seekable import SeekableFile
from swathe.storage.sources import local_path

_OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # Bytes for rasterio, unlike GDAL's own megabytes: room for all bands of a JPEG 2000 block, which are decoded at once.
    "GDAL_CACHEMAX": 64 * 2**20,
    "GDAL_PAM_ENABLED": "NO",
    "USE_RRD": "NO",
    # Nothing here reads over the network or from archives through GDAL; what a file names within it is not reached.
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
    "GDAL_NUM_THREADS": "1",
}
# By how files begin. No VRT and its like: what a store holds must not name files of this machine.
_DRIVERS = {
    b"II*\0": "GTiff",
    b"MM\0*": "GTiff",
    b"II+\0": "GTiff",
    b"MM\0+": "GTiff",
    b"\0\0\0\x0cjP  ": "JP2OpenJPEG",
    b"\xff\x4f\xff\x51": "JP2OpenJPEG",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"EHFA_HEADER_TAG": "HFA",
}
_PIECE_BYTES = 512 * 2**10
_PIECES = 16


class RangeFile(SeekableFile):
    """A file in a store, read in pieces as GDAL asks for it; the last few pieces are kept. Counts its requests."""

    def __init__(
        self, files: SourceFiles, href: str, on_read: Callable[[int], None], failures: list[Exception]
    ) -> None:
        super().__init__(files.size(href))
        self._files, self._href, self._on_read, self._failures = files, href, on_read, failures
        self._pieces: dict[int, Buffer] = {}

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._size, self._at + size)
        chunks = []
        while self._at < end:
            number, inside = divmod(self._at, _PIECE_BYTES)
            piece = self._piece(number)
            chunk = piece[inside : inside + end - self._at]
            if not chunk:
                break
            chunks.append(chunk)
            self._at += len(chunk)
        return b"".join(chunks)

    def _piece(self, number: int) -> Buffer:
        piece = self._pieces.pop(number, None)
        if piece is None:
            start = number * _PIECE_BYTES
            try:
                (piece,) = self._files.read_ranges(self._href, [(start, min(_PIECE_BYTES, self._size - start))])
            except SwatheError as error:
                # Nothing may be raised through GDAL: it sees a file that ends, and the caller looks here.
                self._failures.append(error)
                return b""
            self._on_read(len(piece))
            while len(self._pieces) >= _PIECES:
                self._pieces.pop(next(iter(self._pieces)))
        self._pieces[number] = piece
        return piece


class GdalRaster:
    """A raster opened anew for each use; threads share the layout only.

    Raises (all methods):
        TiffBroken: GDAL cannot read it; the text says what is wrong, without its name.
        StorageError: it cannot be fetched.
    """

    def __init__(self, files: SourceFiles, href: str, on_read: Callable[[int], None]) -> None:
        self._files, self._href, self._on_read = files, href, on_read
        self._local = threading.local()
        self._driver: str | None = None

    def info(self, max_block_bytes: int) -> RasterInfo:
        """What the raster says of itself."""
        with self._opened() as dataset:
            if len(set(dataset.dtypes)) != 1:
                raise TiffBroken("has bands of different types, which is not supported")
            if np.dtype(dataset.dtypes[0]).kind not in "iuf":
                raise TiffBroken(f"has numbers of type {dataset.dtypes[0]}, which is not supported")
            block_height, block_width = dataset.block_shapes[0]
            item_bytes = np.dtype(dataset.dtypes[0]).itemsize
            if block_height * block_width * dataset.count * item_bytes > max_block_bytes:
                raise TiffBroken(f"has blocks of {block_width} x {block_height} pixels, which is too large to decode")
            epsg = dataset.crs.to_epsg() if dataset.crs else None
            if epsg is None:
                known = "only ground control points" if dataset.gcps[0] else "no EPSG code for where it lies"
                raise TiffBroken(f"has {known}; warp it to a coordinate reference system with an EPSG code first")
            t = dataset.transform
            if t.is_identity or t.is_degenerate:
                raise TiffBroken("does not say where its pixels lie; give it a transform first")
            levels = len(dataset.overviews(1))
            width, height, count = dataset.width, dataset.height, dataset.count
            nodata, scales, offsets, dtype = dataset.nodata, dataset.scales, dataset.offsets, dataset.dtypes[0]
        overviews = []
        for level in range(1, levels + 1):
            with self._opened(level) as reduced:
                rows, columns = reduced.block_shapes[0]
                overviews.append(OverviewInfo(reduced.width, reduced.height, columns, rows))
        return RasterInfo(
            href=self._href,
            grid=SourceGrid(int(epsg), (t.a, t.b, t.c, t.d, t.e, t.f), width, height),
            dtype=np.dtype(dtype).name,
            band_count=count,
            nodata=None if nodata is None else float(nodata),
            block_width=block_width,
            block_height=block_height,
            scales=tuple(float(scale) for scale in scales),
            offsets=tuple(float(offset) for offset in offsets),
            overviews=tuple(overviews),
        )

    def read(
        self, info: RasterInfo, level: int, bands: tuple[int, ...], blocks: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[tuple[int, int], Pixels]]:
        """The blocks, in the order given."""
        of = info.level(level)
        with self._opened(level) as dataset:
            for block in blocks:
                height, width = info.block_shape(block, level)
                window = Window(block[1] * of.block_width, block[0] * of.block_height, width, height)
                with _in_our_words(self._failures):
                    pixels: Pixels = dataset.read(list(bands), window=window)
                yield block, pixels

    @property
    def _failures(self) -> list[Exception]:
        """What went wrong in fetching bytes for GDAL, which itself only says that reading failed."""
        if not hasattr(self._local, "failures"):
            self._local.failures = []
        failures: list[Exception] = self._local.failures
        return failures

    def _find_driver(self) -> str:
        if self._driver is None:
            (start,) = self._files.read_ranges(self._href, [(0, 16)])
            self._on_read(len(start))
            self._driver = next((name for magic, name in _DRIVERS.items() if bytes(start).startswith(magic)), None)
            if self._driver is None:
                raise TiffBroken("is no raster of a format that is read here (GeoTIFF, JPEG 2000, PNG, JPEG, Imagine)")
        return self._driver

    @contextmanager
    def _opened(self, level: int = 0) -> Iterator[rasterio.DatasetReader]:
        options: dict[str, Any] = {"driver": self._find_driver()}
        if level:
            options["overview_level"] = level - 1
        path = local_path(self._href)
        failures = self._failures
        failures.clear()

        def opener(_: str, mode: str = "rb") -> RangeFile:
            return RangeFile(self._files, self._href, self._on_read, failures)

        with rasterio.Env(session=DummySession(), **_OPTIONS), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # `info` says it as an error
            with _in_our_words(failures):
                if path is not None:
                    dataset = rasterio.open(path, **options)
                else:
                    dataset = rasterio.open(_name_of(self._href), opener=opener, **options)
            with dataset:
                yield dataset


def _name_of(href: str) -> str:
    """What GDAL is told a file is called: nothing that could mean something to it."""
    return f"raster-{hashlib.sha256(href.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


@contextmanager
def _in_our_words(failures: list[Exception]) -> Iterator[None]:
    try:
        yield
    except (RasterioError, SystemError, OSError, ValueError):
        if failures:
            raise failures[0] from None
        raise TiffBroken("cannot be decoded") from None
    if failures:
        raise failures[0]
