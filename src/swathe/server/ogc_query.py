"""From the parameters of a map to a request of the Process API.

Sources: WMS 1.3.0 (OGC 06-042) and 1.1.1 (01-068r3), WMTS 1.0.0 (07-057r7), and the parameters that the provider adds.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import shapely
from pydantic import ValidationError
from pyproj import CRS
from pyproj.exceptions import CRSError

from swathe.jobs.pictures import Colour, Look
from swathe.model.common import DataFilter, DataSource, MosaickingOrder, Processing, Resampling
from swathe.model.crs import WGS84, parse_epsg
from swathe.model.errors import RequestInvalid
from swathe.model.layer_time import parse_span
from swathe.model.layers import LayerBody, LayerStyle
from swathe.model.process import Bounds, ProcessRequest
from swathe.model.process_output import JPEG, PNG, TIFF
from swathe.model.time import TimeRange
from swathe.model.validation import explain_validation
from swathe.server.ogc_errors import MapFault, Parameters

FORMATS = (PNG, JPEG, TIFF)
_OTHER_NAMES = {"image/jpg": JPEG, "image/geotiff": TIFF, "image/tif": TIFF}
_MERCATOR = 3857
_OLD_NAMES = {"EPSG:900913": "EPSG:3857", "EPSG:102100": "EPSG:3857"}
_CRS84 = re.compile(
    r"(?:urn:ogc:def:crs:OGC:[^:]*:CRS84|CRS:84|https?://www\.opengis\.net/def/crs/OGC/1\.3/CRS84)", re.I
)
_METRES = re.compile(r"([0-9.eE+-]+?)\s*m", re.IGNORECASE)
_METRES_PER_DEGREE = 111_320.0
_MOST_WKT = 200_000
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class MapArea:
    """Where a picture lies: a box (x, y in the CRS), so many pixels, and what it is cut out by (in the CRS, or None)."""

    epsg: int
    box: Box
    width: int | None
    height: int | None
    clip: shapely.Geometry | None = None


@dataclass(frozen=True)
class MapFilter:
    """What a picture is made of, None where the layer decides. `is_newest` is a TIME that asks for the newest."""

    span: TimeRange | None = None
    is_newest: bool = False
    max_cloud_coverage: float | None = None
    order: MosaickingOrder | None = None
    upsampling: Resampling | None = None
    downsampling: Resampling | None = None


@dataclass(frozen=True)
class MapForm:
    """What the picture is written as."""

    media_type: str
    quality: int
    look: Look


def read_version(parameters: Parameters) -> str:
    """1.1.1 or 1.3.0, the nearest to what is asked for."""
    return "1.1.1" if parameters.text("VERSION", "WMTVER").startswith(("1.0", "1.1")) else "1.3.0"


def read_area(parameters: Parameters, *, northing_first: bool = True) -> MapArea:
    """The place of a WMS, WCS or WFS request; without a CRS it is Web Mercator.

    Args:
        northing_first: whether coordinates have the order of the CRS (WMS 1.3), rather than x before y (1.1).

    Raises:
        MapFault: a parameter is missing or wrong.
    """
    name = parameters.text("CRS", "SRS", "SRSNAME")
    epsg, swaps = read_crs(name)
    swaps = swaps and northing_first
    first, second, third, fourth = parameters.numbers("BBOX", 4)
    if not (first < third and second < fourth):
        raise MapFault("BBOX must be minx,miny,maxx,maxy with the first two less than the last two", "BBOX")
    box = (second, first, fourth, third) if swaps else (first, second, third, fourth)
    width, height = parameters.count("WIDTH"), parameters.count("HEIGHT")
    if width is None and height is None:
        width, height = _from_resolution(parameters, box, epsg)
    return MapArea(epsg, box, width, height, _read_clip(parameters.text("GEOMETRY"), swaps=swaps))


def read_crs(name: str) -> tuple[int, bool]:
    """The EPSG code of a CRS, and whether its own order of coordinates is north before east.

    Raises:
        MapFault: it is not known.
    """
    if not name:
        return _MERCATOR, False
    if _CRS84.fullmatch(name):
        return WGS84, False
    try:
        epsg = parse_epsg(_OLD_NAMES.get(name.upper(), name), "CRS")
        return epsg, _is_northing_first(epsg)
    except (RequestInvalid, CRSError):
        raise MapFault(
            f"'{name[:80]}' is not a coordinate system this service knows; use EPSG:4326, EPSG:3857 or another of EPSG's",
            "CRS",
            "InvalidCRS",
        ) from None


def read_filter(parameters: Parameters) -> MapFilter:
    """Which scenes are shown, and how they are sampled.

    Raises:
        MapFault: a parameter is wrong, or one that this service does not take.
    """
    for name in ("EVALSCRIPT", "EVALSCRIPTURL"):
        if parameters.text(name):
            raise MapFault(
                f"{name} is not taken here: an address shows saved layers and nothing else. Save the script as a layer,"
                " or send it to the Process API",
                name,
            )
    text = parameters.text("TIME")
    try:
        span = parse_span(text, "TIME")
    except RequestInvalid as error:
        raise MapFault(error.message, "TIME", "InvalidDimensionValue") from None
    return MapFilter(
        span,
        bool(text) and span is None,
        parameters.number("MAXCC", 0, 100),
        _one_of(MosaickingOrder, parameters.text("PRIORITY", "MOSAICKINGORDER"), "PRIORITY"),
        _one_of(Resampling, parameters.text("UPSAMPLING"), "UPSAMPLING"),
        _one_of(Resampling, parameters.text("DOWNSAMPLING"), "DOWNSAMPLING"),
    )


def read_form(parameters: Parameters, *, transparent: bool | None = None) -> MapForm:
    """Format, quality, and what becomes of cells without data.

    Raises:
        MapFault: a parameter is wrong.
    """
    told = parameters.text("FORMAT") or PNG
    name = told.split(";")[0].strip().lower()
    name = _OTHER_NAMES.get(name, name)
    if name not in FORMATS:
        raise MapFault(f"FORMAT '{told[:80]}' is not made here; use {', '.join(FORMATS)}", "FORMAT", "InvalidFormat")
    quality = parameters.number("QUALITY", 0, 100)
    see_through = parameters.flag("TRANSPARENT") if transparent is None else transparent
    return MapForm(name, 90 if quality is None else round(quality), Look(see_through, _read_colour(parameters)))


def to_process_request(
    layer: LayerBody, style: LayerStyle, area: MapArea, which: MapFilter, form: MapForm, span: TimeRange
) -> ProcessRequest:
    """What the Process API would be asked for the same picture; `span` is the time that is meant."""
    defaults = layer.datasource_defaults
    cloudy = defaults.max_cloud_coverage if which.max_cloud_coverage is None else which.max_cloud_coverage
    told = {
        "type": layer.collection,
        "dataFilter": {
            **defaults.asked(DataFilter),
            "timeRange": {"from": span.start.isoformat(), "to": span.end.isoformat()},
            "maxCloudCoverage": cloudy,
            "mosaickingOrder": which.order or defaults.mosaicking_order,
        },
        "processing": {
            **defaults.asked(Processing),
            "upsampling": which.upsampling or defaults.upsampling,
            "downsampling": which.downsampling or defaults.downsampling,
        },
    }
    try:
        source = DataSource.model_validate(told)
    except ValidationError as error:  # a saved layer may say anything
        raise explain_validation(error) from None
    bounds: dict[str, Any] = {
        "bbox": area.box,
        "properties": {"crs": f"http://www.opengis.net/def/crs/EPSG/0/{area.epsg}"},
    }
    if area.clip is not None:
        bounds["geometry"] = json.loads(shapely.to_geojson(area.clip))
    output = {
        "width": area.width,
        "height": area.height,
        "responses": [{"format": {"type": form.media_type, "quality": form.quality}}],
    }
    return ProcessRequest.model_validate(
        {
            "input": {"bounds": Bounds.model_validate(bounds), "data": (source,)},
            "output": output,
            "evalscript": style.eval_script,
        }
    )


@lru_cache(maxsize=256)
def _is_northing_first(epsg: int) -> bool:
    axes = CRS.from_epsg(epsg).axis_info
    return bool(axes) and any(name in axes[0].name.lower() for name in ("northing", "latitude"))


def _from_resolution(parameters: Parameters, box: Box, epsg: int) -> tuple[int | None, int | None]:
    """Pixels a side by RESX and RESY: metres (`10m`), or units of the CRS."""
    west, south, east, north = box
    upright = math.cos(math.radians(min(89.0, abs(south + north) / 2)))
    sides: list[int | None] = []
    for name, extent, narrows in (("RESX", east - west, upright), ("RESY", north - south, 1.0)):
        text = parameters.text(name)
        match = _METRES.fullmatch(text)
        size = Parameters([(name, match.group(1) if match else text)]).number(name)
        if size is None:
            sides.append(None)
            continue
        if size <= 0:
            raise MapFault(f"{name} must be more than 0, such as 10m", name)
        if match and CRS.from_epsg(epsg).is_geographic:
            extent *= _METRES_PER_DEGREE * narrows
        sides.append(max(1, round(min(extent / size, 1e9))))
    if sides == [None, None]:
        raise MapFault("WIDTH and HEIGHT are missing", "WIDTH", "MissingParameterValue")
    return sides[0], sides[1]


def _read_clip(text: str, *, swaps: bool) -> shapely.Geometry | None:
    if not text:
        return None
    if len(text) > _MOST_WKT:
        raise MapFault(f"GEOMETRY has {len(text):,} characters; at most {_MOST_WKT:,} are allowed", "GEOMETRY")
    try:
        shape = shapely.from_wkt(text)
    except shapely.errors.ShapelyError:
        shape = None
    if shape is None or shape.geom_type not in ("Polygon", "MultiPolygon") or shape.is_empty:
        raise MapFault("GEOMETRY must be a POLYGON or MULTIPOLYGON in WKT, in the CRS of the BBOX", "GEOMETRY")
    shape = shapely.force_2d(shape)
    return shapely.transform(shape, lambda xy: xy[:, ::-1]) if swaps else shape


def _read_colour(parameters: Parameters) -> Colour | None:
    text = parameters.text("BGCOLOR")
    if not text:
        return None
    match = re.fullmatch(r"(?:0x|#)?([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})", text)
    if match is None:
        raise MapFault(f"BGCOLOR must be like 0xFFFFFF, not '{text[:40]}'", "BGCOLOR")
    red, green, blue = (int(part, 16) for part in match.groups())
    return red, green, blue


def _one_of(kind: Any, text: str, name: str) -> Any:
    if not text:
        return None
    found = next((value for value in kind if value.value.lower() == text.lower()), None)
    if found is None:
        raise MapFault(f"{name} must be one of {', '.join(value.value for value in kind)}, not '{text[:40]}'", name)
    return found
