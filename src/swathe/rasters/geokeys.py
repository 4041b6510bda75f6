"""Where a GeoTIFF lies: its transform and EPSG code from its tags, as GDAL understands them.

OGC GeoTIFF 1.1 (19-008r4). Only the plain cases; for anything else the answer is None, and GDAL is asked.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from swathe.rasters.source import Transform
from swathe.rasters.tiff import GDAL_METADATA, GDAL_NODATA, TiffImage

_SCALE, _TIEPOINTS, _MATRIX, _KEYS = 33550, 33922, 34264, 34735
_MODEL, _RASTER, _GEOGRAPHIC, _ANGLE_UNITS, _PROJECTED, _LENGTH_UNITS = 1024, 1025, 2048, 2054, 3072, 3076
_CITATIONS = {1026, 2049, 3073}
_DATUM_NUMBERS = {2057, 2058, 2059, 2061}  # radii and prime meridian: repeated by writers beside a plain code
_METRE, _DEGREE, _USER_DEFINED = 9001, 9102, 32767

_ITEM = re.compile(r"<Item\s([^>]*)>([^<]*)</Item>")
_ATTRIBUTE = re.compile(r'(\w+)\s*=\s*"([^"]*)"')


def read_transform(image: TiffImage) -> Transform | None:
    """Columns and rows to the CRS; None without a plain affine one (ground control points, or nothing at all).

    The order of operations is GDAL's, so that the numbers are the same to the last bit.
    """
    scale, tiepoints, matrix = image.tags.get(_SCALE), image.tags.get(_TIEPOINTS), image.tags.get(_MATRIX)
    if scale and len(scale) >= 2 and scale[0] and scale[1]:
        if not tiepoints or len(tiepoints) != 6:
            return None
        a, b, d, e = float(scale[0]), 0.0, 0.0, -abs(float(scale[1]))
        c, f = tiepoints[3] - tiepoints[0] * a, tiepoints[4] - tiepoints[1] * e
    elif matrix and len(matrix) == 16:
        a, b, c, d, e, f = (float(matrix[position]) for position in (0, 1, 3, 4, 5, 7))
    else:
        return None
    if _geo_keys(image).get(_RASTER) == 2:  # PixelIsPoint: the tie point is a pixel's centre
        c -= a * 0.5 + b * 0.5
        f -= d * 0.5 + e * 0.5
    if a * e - b * d == 0:
        return None
    return a, b, c, d, e, f


def read_epsg(image: TiffImage) -> int | None:
    """The EPSG code where the keys are nothing but one."""
    keys = _geo_keys(image)
    plain = {_MODEL, _RASTER, _GEOGRAPHIC, _ANGLE_UNITS, _PROJECTED, _LENGTH_UNITS} | _CITATIONS | _DATUM_NUMBERS
    if not keys or any(key not in plain for key in keys):
        return None
    if keys.get(_LENGTH_UNITS, _METRE) != _METRE or keys.get(_ANGLE_UNITS, _DEGREE) != _DEGREE:
        return None
    code = keys.get(_PROJECTED if keys.get(_MODEL) == 1 else _GEOGRAPHIC) if keys.get(_MODEL) in (1, 2) else None
    return code if isinstance(code, int) and 1024 <= code < _USER_DEFINED else None


def _geo_keys(image: TiffImage) -> dict[int, Any]:
    """Short keys with their number, the others with None."""
    directory = image.tags.get(_KEYS) or ()
    keys: dict[int, Any] = {}
    for at in range(4, len(directory) - 3, 4):
        key, place, count, value = directory[at : at + 4]
        keys[key] = value if place == 0 and count == 1 else None
    return keys


def read_nodata(image: TiffImage) -> float | None:
    """The value that means no data, by GDAL's tag; NaN is one. None also where the pixels cannot hold it."""
    try:
        nodata = float(image.text(GDAL_NODATA).strip())
    except ValueError:
        return None
    dtype = image.dtype
    if dtype is None or dtype.kind == "f":
        return nodata
    limits = np.iinfo(dtype)
    return nodata if limits.min <= nodata <= limits.max else None


def read_scales(image: TiffImage) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Scale and offset of each band by GDAL's metadata, 1 and 0 where it says nothing."""
    scales, offsets = [1.0] * image.samples, [0.0] * image.samples
    for attributes, text in _ITEM.findall(image.text(GDAL_METADATA)):
        named = dict(_ATTRIBUTE.findall(attributes))
        values = {"scale": scales, "offset": offsets}.get(named.get("role", "").lower())
        sample = named.get("sample", "")
        if values is not None and sample.isdigit() and int(sample) < image.samples:
            try:
                values[int(sample)] = float(text)
            except ValueError:
                continue
    return tuple(scales), tuple(offsets)
