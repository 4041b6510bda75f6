"""What is said of an image before it is written: where it lies, what it holds, in which format and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from rasterio.enums import Resampling

from swathe.model.errors import RequestInvalid
from swathe.model.process_output import JPEG, PNG, TIFF, CogParameters

_BLOCK = 256
_MOST_BLOCK = 16_384

RESAMPLING = {
    "nearest": Resampling.nearest,
    "average": Resampling.average,
    "gauss": Resampling.gauss,
    "cubic": Resampling.cubic,
    "cubicspline": Resampling.cubic_spline,
    "lanczos": Resampling.lanczos,
    # of complex numbers only it is another average
    "average_magphase": Resampling.average,
    "mode": Resampling.mode,
}


FORMATS: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    TIFF: ((), ()),
    PNG: (("uint8", "uint16"), (1, 2, 3, 4)),
    JPEG: (("uint8",), (1, 3)),
}
"""The types and the numbers of bands that a format holds; without any, all."""


class ImageGrid(Protocol):
    """Where an image lies."""

    @property
    def epsg(self) -> int: ...
    @property
    def transform(self) -> tuple[float, float, float, float, float, float]: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...


class ImageSpec(Protocol):
    """What an image holds."""

    @property
    def id(self) -> str: ...
    @property
    def bands(self) -> int: ...
    @property
    def band_names(self) -> tuple[str, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def nodata(self) -> float | None: ...


@dataclass(frozen=True)
class CogOptions:
    """As `cogParameters` of a request; None where it says nothing.

    `overview_levels` are factors as gdaladdo takes them; without them they double until the image is no larger than
    `overview_min_size`, by default the smaller side of a block.
    """

    overview_levels: tuple[int, ...] | None = None
    overview_min_size: int | None = None
    resampling: str = "average"
    block_width: int = _BLOCK
    block_height: int = _BLOCK
    use_predictor: bool = True

    @classmethod
    def of(cls, parameters: CogParameters) -> CogOptions:
        """What a request says."""
        return cls(
            parameters.overview_levels,
            parameters.overview_min_size,
            parameters.resampling_algorithm.value,
            parameters.blockxsize,
            parameters.blockysize,
            parameters.use_predictor,
        )


@dataclass(frozen=True)
class EncodeOptions:
    """How images are written: `quality` of JPEG (0 to 100), `cog` for cloud-optimised GeoTIFFs, threads that compress."""

    quality: int = 90
    cog: CogOptions | None = None
    threads: int = 1


def check_image(media_type: str, spec: ImageSpec, options: EncodeOptions | None = None) -> None:
    """Checks that an output can be written in a format.

    Raises:
        RequestInvalid: with what would do.
    """
    options = options or EncodeOptions()
    form = FORMATS.get(media_type)
    where = f"output->responses->{spec.id}->format"
    if form is None:
        raise RequestInvalid(f"'{media_type}' is no image format here; use {', '.join(FORMATS)}", f"{where}->type")
    types, bands = form
    if types and spec.dtype.name not in types:
        known = " or ".join(name.upper() for name in types)
        raise RequestInvalid(
            f"The output '{spec.id}' is {spec.dtype.name.upper()}, which {media_type} does not hold;"
            f" set its sampleType to {known} (AUTO is UINT8), or use {TIFF}",
            f"{where}->type",
        )
    if bands and spec.bands not in bands:
        raise RequestInvalid(
            f"The output '{spec.id}' has {spec.bands} bands; {media_type} takes {_listed(bands)}, {TIFF} any number",
            f"{where}->type",
        )
    if options.cog is None:
        return
    if media_type != TIFF:
        raise RequestInvalid(f"cogOutput needs {TIFF}; the output '{spec.id}' is {media_type}", f"{where}->type")
    if spec.dtype.name == "int8":
        raise RequestInvalid(
            f"cogOutput does not go with sampleType INT8, which the output '{spec.id}' has; use INT16", "evalscript"
        )
    check_cog(options.cog)


def check_cog(cog: CogOptions) -> None:
    """Checks what a request says of its cloud-optimised GeoTIFFs.

    Raises:
        RequestInvalid: with what would do.
    """
    where = "output->cogParameters"
    for name, size in (("blockxsize", cog.block_width), ("blockysize", cog.block_height)):
        if not 16 <= size <= _MOST_BLOCK or size % 16:
            raise RequestInvalid(
                f"{name} is {size}; it must be a multiple of 16, from 16 to {_MOST_BLOCK}", f"{where}->{name}"
            )
    if cog.resampling not in RESAMPLING:
        known = ", ".join(RESAMPLING)
        raise RequestInvalid(
            f"'{cog.resampling}' is no resampling algorithm; use one of {known}", f"{where}->resamplingAlgorithm"
        )
    if any(level < 2 for level in cog.overview_levels or ()):
        raise RequestInvalid("overviewLevels must be whole numbers from 2 on", f"{where}->overviewLevels")
    if cog.overview_min_size is not None and cog.overview_min_size < 1:
        raise RequestInvalid("overviewMinSize must be at least 1", f"{where}->overviewMinSize")


def overview_levels(width: int, height: int, cog: CogOptions) -> list[int]:
    """The factors of an image's overviews, as gdaladdo chooses them."""
    if cog.overview_levels is not None:
        return sorted({level for level in cog.overview_levels if level < max(width, height)})
    least = cog.overview_min_size or min(cog.block_width, cog.block_height)
    levels: list[int] = []
    factor = 1
    while -(-width // factor) > least or -(-height // factor) > least:
        factor *= 2
        levels.append(factor)
    return levels


def usable_nodata(spec: ImageSpec) -> float | None:
    """The output's value for no data where its type can hold it."""
    value = spec.nodata
    if value is None or spec.dtype.kind == "f":
        return value
    limits = np.iinfo(spec.dtype)
    return value if float(value).is_integer() and limits.min <= value <= limits.max else None


def _listed(numbers: Sequence[int]) -> str:
    return f"{', '.join(map(str, numbers[:-1]))} or {numbers[-1]}"
