"""Images as files: GeoTIFF, cloud-optimised GeoTIFF, PNG, JPEG, written a few rows at a time.

What a format can only write as a whole, and overviews, are made from an uncompressed file beside it that is gone when the
image is done. Nothing stays behind where an image is given up.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.transform import Affine
from rasterio.windows import Window

from swathe.model.errors import StorageError
from swathe.model.process_output import JPEG, PNG, TIFF
from swathe.rasters.encode_options import (
    RESAMPLING,
    CogOptions,
    EncodeOptions,
    ImageGrid,
    ImageSpec,
    check_image,
    overview_levels,
    usable_nodata,
)

__all__ = ["CogOptions", "EncodeOptions", "Writer", "check_image", "open_writer"]

_CACHE_BYTES = 64 * 2**20
_BLOCK = 256
_STRIPED_PX = 256
_MOST_STRIPED_ROWS = 1024
_SPOOL_ROWS = 64
# Differences of the bits as whole numbers, for floating point too: `tifffile` reads them with nothing else installed.
# That is all which the published `sentinelhub` package brings; predictor 3 would need `imagecodecs`.
_PREDICTOR = 2
# GDAL has overviews in square blocks, of powers of two.
_OVERVIEW_BLOCK_POWERS = 6, 12


class Writer:
    """An image that is being written. As a context it is closed, or given up where an error passes."""

    def __init__(self, path: Path, grid: ImageGrid, spec: ImageSpec, rows_at_once: int) -> None:
        self.path = path
        self._grid = grid
        self._spec = spec
        self._rows = rows_at_once
        self._written = 0
        self._waiting: list[npt.NDArray[Any]] = []
        self._file: Any = None
        self._files = [path]

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def write(self, strip: npt.NDArray[Any], first_row: int) -> None:
        """The next rows, (bands, rows, columns) of the image's type.

        Raises:
            StorageError: the disk does not take them.
        """
        if first_row != self._written + sum(part.shape[1] for part in self._waiting):
            raise ValueError(f"row {first_row} does not follow on what was written before")
        if strip.shape[0] != self._spec.bands or strip.shape[2] != self._grid.width or strip.dtype != self._spec.dtype:
            raise ValueError(f"rows of {strip.shape} {strip.dtype} do not belong to the image")
        rows = strip.shape[1]
        begin = 0
        if self._waiting:  # whole blocks alone go on, since a block that is written twice is compressed twice
            begin = min(rows, self._rows - sum(part.shape[1] for part in self._waiting))
            self._waiting.append(strip[:, :begin].copy())
            if sum(part.shape[1] for part in self._waiting) == self._rows:
                joined = np.concatenate(self._waiting, axis=1)
                self._waiting.clear()
                self._put(joined)
        whole = (rows - begin) // self._rows * self._rows
        if whole:
            self._put(strip[:, begin : begin + whole])
        if begin + whole < rows:
            self._waiting.append(strip[:, begin + whole :].copy())

    def close(self) -> None:
        """Writes the rest and ends the file.

        Raises:
            StorageError: the disk does not take it.
        """
        try:
            if self._waiting:
                joined = np.concatenate(self._waiting, axis=1)
                self._waiting.clear()
                self._put(joined)
            if self._written != self._grid.height:
                raise ValueError(f"only {self._written} of {self._grid.height} rows were written")
            with _gdal(self.path):
                self._file.close()
                self._finish()
        except BaseException:
            self.abort()
            raise
        for path in self._files[1:]:
            path.unlink(missing_ok=True)

    def abort(self) -> None:
        """Ends without an image."""
        with contextlib.suppress(RasterioError, OSError), _quiet():
            if self._file is not None:
                self._file.close()
        for path in self._files:
            path.unlink(missing_ok=True)

    def _put(self, rows: npt.NDArray[Any]) -> None:
        with _gdal(self.path):
            self._file.write(rows, window=Window(0, self._written, self._grid.width, rows.shape[1]))
        self._written += rows.shape[1]

    def _finish(self) -> None:
        """What is left to do when all rows are in the file."""

    def _open(self, path: Path, **options: Any) -> None:
        grid, spec = self._grid, self._spec
        with _gdal(self.path):
            self._file = rasterio.open(
                path,
                "w",
                driver="GTiff",
                width=grid.width,
                height=grid.height,
                count=spec.bands,
                dtype=spec.dtype.name,
                crs=rasterio.CRS.from_epsg(grid.epsg),
                transform=Affine(*grid.transform),
                nodata=usable_nodata(spec),
                interleave="pixel",
                bigtiff="IF_SAFER",
                **options,
            )
            for number, name in enumerate(spec.band_names, 1):
                self._file.set_band_description(number, name)


class TiffWriter(Writer):
    """A GeoTIFF in one go: deflated, in blocks where it is not small, bands pixel by pixel."""

    def __init__(self, path: Path, grid: ImageGrid, spec: ImageSpec, options: EncodeOptions) -> None:
        tiled = grid.width >= _STRIPED_PX and grid.height >= _STRIPED_PX
        super().__init__(path, grid, spec, _BLOCK if tiled else min(_MOST_STRIPED_ROWS, grid.height))
        blocks = {"tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK} if tiled else {}
        self._open(path, **_packing(_PREDICTOR, options), **_colours(spec), **blocks)


class SpooledWriter(Writer):
    """An image that can only be made from all its pixels: they are kept uncompressed until then."""

    def __init__(self, path: Path, grid: ImageGrid, spec: ImageSpec, colours: dict[str, Any]) -> None:
        super().__init__(path, grid, spec, min(_SPOOL_ROWS, grid.height))
        self._spool = path.with_name(f".{path.name}.pixels.tif")
        self._files.append(self._spool)
        self._open(self._spool, blockysize=1, **colours)


class CogWriter(SpooledWriter):
    """A cloud-optimised GeoTIFF: overviews, and everything in the order in which it is looked for."""

    def __init__(self, path: Path, grid: ImageGrid, spec: ImageSpec, options: EncodeOptions) -> None:
        super().__init__(path, grid, spec, _colours(spec))
        self._options = options
        self._cog = options.cog or CogOptions()

    def _finish(self) -> None:
        cog = self._cog
        levels = overview_levels(self._grid.width, self._grid.height, cog)
        least, most = _OVERVIEW_BLOCK_POWERS
        size = 1 << max(least, min(most, min(cog.block_width, cog.block_height).bit_length() - 1))
        with rasterio.Env(GDAL_TIFF_OVR_BLOCKSIZE=str(size)):
            if levels:
                with rasterio.open(self._spool, "r+") as file:
                    file.build_overviews(levels, RESAMPLING[cog.resampling])
            rasterio.shutil.copy(
                self._spool,
                self.path,
                driver="GTiff",
                copy_src_overviews=True,
                tiled=True,
                blockxsize=cog.block_width,
                blockysize=cog.block_height,
                interleave="pixel",
                bigtiff="IF_SAFER",
                **_packing(_cog_predictor(self._spec, cog.use_predictor), self._options),
                **_colours(self._spec),
            )


class PngWriter(SpooledWriter):
    """A PNG of 1 to 4 bands: grey, grey and alpha, colours, colours and alpha."""

    def __init__(self, path: Path, grid: ImageGrid, spec: ImageSpec, options: EncodeOptions) -> None:
        super().__init__(path, grid, spec, _picture_colours(spec.bands))

    def _finish(self) -> None:
        rasterio.shutil.copy(self._spool, self.path, driver="PNG")


class JpegWriter(SpooledWriter):
    """A JPEG, grey or in colours."""

    def __init__(self, path: Path, grid: ImageGrid, spec: ImageSpec, options: EncodeOptions) -> None:
        super().__init__(path, grid, spec, _picture_colours(spec.bands))
        self._quality = options.quality

    def _finish(self) -> None:
        # GDAL knows no quality below 1
        rasterio.shutil.copy(self._spool, self.path, driver="JPEG", quality=max(1, self._quality))


ENCODERS: dict[str, Callable[[Path, ImageGrid, ImageSpec, EncodeOptions], Writer]] = {
    TIFF: TiffWriter,
    PNG: PngWriter,
    JPEG: JpegWriter,
}


def open_writer(
    media_type: str, path: Path, grid: ImageGrid, spec: ImageSpec, options: EncodeOptions | None = None
) -> Writer:
    """Begins an image in a local file, which is there when the writer is closed.

    Raises:
        RequestInvalid: the format does not take such an image.
        StorageError: the file cannot be made.
    """
    options = options or EncodeOptions()
    check_image(media_type, spec, options)
    if options.cog is not None:
        return CogWriter(path, grid, spec, options)
    return ENCODERS[media_type](path, grid, spec, options)


def _cog_predictor(spec: ImageSpec, is_used: bool) -> int:
    return 1 if not is_used else 3 if spec.dtype.kind == "f" else 2


def _packing(predictor: int, options: EncodeOptions) -> dict[str, Any]:
    packing: dict[str, Any] = {"compress": "deflate", "predictor": predictor}
    return packing if options.threads == 1 else {**packing, "num_threads": options.threads}


def _colours(spec: ImageSpec) -> dict[str, Any]:
    """Three bands of whole numbers may be a picture; a fourth band is not taken for alpha, which overviews would heed."""
    if spec.bands == 3 and spec.dtype.name in ("uint8", "uint16"):
        return {"photometric": "RGB"}
    return {"photometric": "MINISBLACK"} | ({"alpha": "NO"} if spec.bands > 1 else {})


def _picture_colours(bands: int) -> dict[str, Any]:
    colours = {"photometric": "RGB" if bands > 2 else "MINISBLACK"}
    return {**colours, "alpha": "YES"} if bands in (2, 4) else colours


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES, GDAL_PAM_ENABLED="NO"), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


@contextlib.contextmanager
def _gdal(path: Path) -> Iterator[None]:
    """GDAL set up for writing, its failures in our words."""
    try:
        with _quiet():
            yield
    except (RasterioError, SystemError, OSError) as error:
        raise StorageError(f"The image {path.name} cannot be written: {error}") from error
