"""The capabilities of a list of layers as WMS 1.3.0 and 1.1.1 write them (OGC 06-042, 01-068r3), and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree as Xml

from swathe.model.layers import LayerBody
from swathe.model.time import TimeRange
from swathe.server.layer_extents import LayerExtent
from swathe.server.ogc_info import INFO_FORMATS
from swathe.server.ogc_query import FORMATS

XLINK = "http://www.w3.org/1999/xlink"
_WMS = "http://www.opengis.net/wms"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_SCHEMA = "http://schemas.opengis.net/wms/1.3.0/capabilities_1_3_0.xsd"
_UTM = [f"EPSG:32{half}{zone:02}" for half in (6, 7) for zone in range(1, 61)]
CRS_NAMES = ("EPSG:3857", "EPSG:4326", "CRS:84", *_UTM)
"""Those that are announced; any other of EPSG's is taken too."""

MOST_LAYERS = 10
"""That one map may show; each is computed, and paid for."""

MERCATOR_HALF = math.pi * 6_378_137.0
_MERCATOR_LATITUDE = 85.051128779806


@dataclass(frozen=True)
class ShownLayer:
    """A layer with what its capabilities say: the extent, and the time of a map that names none."""

    layer: LayerBody
    extent: LayerExtent
    span: TimeRange

    @property
    def title(self) -> str:
        """What people see."""
        return self.layer.title or self.layer.id

    @property
    def default_time(self) -> str:
        """The time of a map that names none, as the parameter TIME would have it."""
        return time_text(self.span)

    @property
    def times(self) -> str:
        """The days that have scenes, as a range, up to now where there is no end; empty where nobody knows."""
        first, last = self.extent.first, self.extent.last or datetime.now(UTC)
        return "" if first is None else f"{first:%Y-%m-%d}/{last:%Y-%m-%d}/P1D"


def time_text(span: TimeRange) -> str:
    """A span as a TIME of days, both included."""
    last = span.end - timedelta(microseconds=1)
    days = f"{span.start:%Y-%m-%d}", f"{last:%Y-%m-%d}"
    return days[0] if days[0] == days[1] else "/".join(days)


def mercator_box(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """A box in degrees in EPSG:3857, as far as that goes north and south."""
    west, south, east, north = box

    def northing(latitude: float) -> float:
        latitude = max(-_MERCATOR_LATITUDE, min(_MERCATOR_LATITUDE, latitude))
        return math.log(math.tan(math.pi / 4 + math.radians(latitude) / 2)) * 6_378_137.0

    return west / 180.0 * MERCATOR_HALF, northing(south), east / 180.0 * MERCATOR_HALF, northing(north)


def capabilities(version: str, address: str, title: str, shown: Sequence[ShownLayer], most_px: int) -> Xml.Element:
    """The document; `address` is that of the service, `most_px` the longest side of a map."""
    old = version == "1.1.1"
    if old:
        root = Xml.Element("WMT_MS_Capabilities", {"version": "1.1.1", "xmlns:xlink": XLINK})
    else:
        names = {"xmlns": _WMS, "xmlns:xlink": XLINK, "xmlns:xsi": _XSI, "xsi:schemaLocation": f"{_WMS} {_SCHEMA}"}
        root = Xml.Element("WMS_Capabilities", {"version": "1.3.0", **names})
    service = Xml.SubElement(root, "Service")
    _text(service, "Name", "OGC:WMS" if old else "WMS")
    _text(service, "Title", title)
    _online(service, address)
    if not old:
        _text(service, "LayerLimit", str(MOST_LAYERS))
        _text(service, "MaxWidth", str(most_px))
        _text(service, "MaxHeight", str(most_px))
    capability = Xml.SubElement(root, "Capability")
    requests = Xml.SubElement(capability, "Request")
    xml_type = "application/vnd.ogc.wms_xml" if old else "text/xml"
    for name, formats in (("GetCapabilities", (xml_type,)), ("GetMap", FORMATS), ("GetFeatureInfo", INFO_FORMATS)):
        request = Xml.SubElement(requests, name)
        for media_type in formats:
            _text(request, "Format", media_type)
        http = Xml.SubElement(Xml.SubElement(request, "DCPType"), "HTTP")
        _online(Xml.SubElement(http, "Get"), f"{address}?")
    _text(Xml.SubElement(capability, "Exception"), "Format", "application/vnd.ogc.se_xml" if old else "XML")
    top = Xml.SubElement(capability, "Layer")
    _text(top, "Title", title)
    for name in CRS_NAMES:
        if not (old and name == "CRS:84"):
            _text(top, "SRS" if old else "CRS", name)
    for one in shown:
        _layer(top, one, old=old)
    return root


def json_capabilities(title: str, shown: Sequence[ShownLayer]) -> dict[str, Any]:
    """What clients in browsers ask for instead: the layers and their collections."""
    return {
        "name": title,
        "layers": [
            {
                "id": one.layer.id,
                "name": one.title,
                "description": one.layer.description or "",
                "dataset": one.layer.collection_type or one.layer.collection,
                "styles": [{"name": style.name} for style in one.layer.shown_styles],
                "legendUrl": None,
            }
            for one in shown
        ],
    }


def _layer(top: Xml.Element, one: ShownLayer, *, old: bool) -> None:
    layer = Xml.SubElement(top, "Layer", {"queryable": "1", "opaque": "0"})
    _text(layer, "Name", one.layer.id)
    _text(layer, "Title", one.title)
    if one.layer.description:
        _text(layer, "Abstract", one.layer.description)
    west, south, east, north = one.extent.box
    x1, y1, x2, y2 = mercator_box(one.extent.box)
    if old:
        Xml.SubElement(layer, "LatLonBoundingBox", _corners(west, south, east, north))
        Xml.SubElement(layer, "BoundingBox", {"SRS": "EPSG:4326", **_corners(west, south, east, north)})
        Xml.SubElement(layer, "BoundingBox", {"SRS": "EPSG:3857", **_corners(x1, y1, x2, y2)})
    else:
        box = Xml.SubElement(layer, "EX_GeographicBoundingBox")
        sides = ("westBoundLongitude", "eastBoundLongitude", "southBoundLatitude", "northBoundLatitude")
        for name, value in zip(sides, (west, east, south, north), strict=True):
            _text(box, name, _number(value))
        Xml.SubElement(layer, "BoundingBox", {"CRS": "CRS:84", **_corners(west, south, east, north)})
        Xml.SubElement(layer, "BoundingBox", {"CRS": "EPSG:4326", **_corners(south, west, north, east)})
        Xml.SubElement(layer, "BoundingBox", {"CRS": "EPSG:3857", **_corners(x1, y1, x2, y2)})
    if one.times:
        told = {"name": "time", "units": "ISO8601"}
        default = {"default": one.default_time}
        if old:
            Xml.SubElement(layer, "Dimension", told)
            Xml.SubElement(layer, "Extent", {"name": "time", **default}).text = one.times
        else:
            Xml.SubElement(layer, "Dimension", told | default).text = one.times
    for style in one.layer.shown_styles:
        element = Xml.SubElement(layer, "Style")
        _text(element, "Name", style.name)
        _text(element, "Title", style.description or style.name)


def _corners(min_x: float, min_y: float, max_x: float, max_y: float) -> dict[str, str]:
    return {"minx": _number(min_x), "miny": _number(min_y), "maxx": _number(max_x), "maxy": _number(max_y)}


def _number(value: float) -> str:
    return f"{value:.8f}".rstrip("0").rstrip(".")


def _online(parent: Xml.Element, address: str) -> None:
    Xml.SubElement(parent, "OnlineResource", {"xlink:type": "simple", "xlink:href": address})


def _text(parent: Xml.Element, name: str, text: str) -> None:
    Xml.SubElement(parent, name).text = text
