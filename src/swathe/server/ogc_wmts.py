"""Tiles of maps: the matrices that they are cut along, and the capabilities of WMTS 1.0.0 (OGC 07-057r7)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as Xml

from swathe.model.crs import WGS84
from swathe.server.ogc_errors import OWS, MapFault
from swathe.server.ogc_info import INFO_FORMATS
from swathe.server.ogc_query import FORMATS, MapArea
from swathe.server.ogc_wms import MERCATOR_HALF, XLINK, ShownLayer

EXTENSIONS = dict(zip(("png", "jpg", "tif"), FORMATS, strict=True))
_WMTS = "http://www.opengis.net/wmts/1.0"
_PIXEL_M = 0.00028
"""A pixel of the scale denominators, by the standard."""
_METRES_PER_DEGREE = 6_378_137.0 * 3.141592653589793 / 180
_MOST_LEVELS = 23


@dataclass(frozen=True)
class MatrixSet:
    """Tiles of `px` x `px` pixels in a pyramid over a box that begins at `left`, `top`.

    At level 0 there are `columns` x 1 tiles, each `side` units of the CRS wide; each level doubles both.
    """

    name: str
    epsg: int
    px: int
    left: float
    top: float
    side: float
    columns: int
    well_known: str = ""

    def area(self, level: int, row: int, column: int) -> MapArea:
        """The place of a tile.

        Raises:
            MapFault: there is no such tile.
        """
        if not 0 <= level < _MOST_LEVELS:
            raise MapFault(f"TILEMATRIX must be from 0 to {_MOST_LEVELS - 1}, not {level}", "TILEMATRIX")
        for name, number, count in (("TILEROW", row, 1 << level), ("TILECOL", column, self.columns << level)):
            if not 0 <= number < count:
                raise MapFault(f"{name} must be from 0 to {count - 1} at level {level}", name, "TileOutOfRange")
        side = self.side / (1 << level)
        west, north = self.left + column * side, self.top - row * side
        return MapArea(self.epsg, (west, north - side, west + side, north), self.px, self.px)

    def scale(self, level: int) -> float:
        """The scale denominator of a level."""
        metres = _METRES_PER_DEGREE if self.epsg == WGS84 else 1.0
        return self.side / (1 << level) / self.px * metres / _PIXEL_M


_GOOGLE = "urn:ogc:def:wkss:OGC:1.0:GoogleMapsCompatible"
MATRIX_SETS = {
    one.name: one
    for one in (
        MatrixSet("PopularWebMercator256", 3857, 256, -MERCATOR_HALF, MERCATOR_HALF, 2 * MERCATOR_HALF, 1, _GOOGLE),
        MatrixSet("PopularWebMercator512", 3857, 512, -MERCATOR_HALF, MERCATOR_HALF, 2 * MERCATOR_HALF, 1),
        MatrixSet("WGS84", WGS84, 256, -180.0, 90.0, 180.0, 2),
    )
}


def find_matrix_set(name: str) -> MatrixSet:
    """A matrix set by its name, in any letter case.

    Raises:
        MapFault: there is none.
    """
    found = next((one for key, one in MATRIX_SETS.items() if key.lower() == name.lower()), None)
    if found is None:
        raise MapFault(f"TILEMATRIXSET must be one of {', '.join(MATRIX_SETS)}, not '{name[:80]}'", "TILEMATRIXSET")
    return found


def read_level(text: str, name: str) -> int:
    """The level that a TILEMATRIX names: a number, or one behind the set's name and a colon, as some clients write it.

    Raises:
        MapFault: it is none.
    """
    number = text.rsplit(":", 1)[-1]
    if not re.fullmatch(r"[0-9]{1,9}", number, re.ASCII):
        raise MapFault(f"{name} must be a whole number from 0 on, not '{text[:40]}'", name)
    return int(number)


def capabilities(address: str, title: str, shown: Sequence[ShownLayer]) -> Xml.Element:
    """The document; `address` is that of the service."""
    root = Xml.Element("Capabilities", {"xmlns": _WMTS, "xmlns:ows": OWS, "xmlns:xlink": XLINK, "version": "1.0.0"})
    service = Xml.SubElement(root, "ows:ServiceIdentification")
    _text(service, "ows:Title", title)
    _text(service, "ows:ServiceType", "OGC WMTS")
    _text(service, "ows:ServiceTypeVersion", "1.0.0")
    operations = Xml.SubElement(root, "ows:OperationsMetadata")
    for name in ("GetCapabilities", "GetTile", "GetFeatureInfo"):
        operation = Xml.SubElement(operations, "ows:Operation", {"name": name})
        http = Xml.SubElement(Xml.SubElement(operation, "ows:DCP"), "ows:HTTP")
        get = Xml.SubElement(http, "ows:Get", {"xlink:href": f"{address}?"})
        constraint = Xml.SubElement(get, "ows:Constraint", {"name": "GetEncoding"})
        _text(Xml.SubElement(constraint, "ows:AllowedValues"), "ows:Value", "KVP")
    contents = Xml.SubElement(root, "Contents")
    for one in shown:
        _layer(contents, one, address)
    for matrices in MATRIX_SETS.values():
        _matrix_set(contents, matrices)
    Xml.SubElement(root, "ServiceMetadataURL", {"xlink:href": f"{address}/1.0.0/WMTSCapabilities.xml"})
    return root


def _layer(contents: Xml.Element, one: ShownLayer, address: str) -> None:
    layer = Xml.SubElement(contents, "Layer")
    _text(layer, "ows:Title", one.title)
    if one.layer.description:
        _text(layer, "ows:Abstract", one.layer.description)
    west, south, east, north = one.extent.box
    box = Xml.SubElement(layer, "ows:WGS84BoundingBox")
    _text(box, "ows:LowerCorner", f"{west:.8f} {south:.8f}")
    _text(box, "ows:UpperCorner", f"{east:.8f} {north:.8f}")
    _text(layer, "ows:Identifier", one.layer.id)
    for style in one.layer.shown_styles:
        is_default = "true" if style.name == one.layer.style_name else "false"
        element = Xml.SubElement(layer, "Style", {"isDefault": is_default})
        _text(element, "ows:Title", style.description or style.name)
        _text(element, "ows:Identifier", style.name)
    for media_type in FORMATS:
        _text(layer, "Format", media_type)
    for media_type in INFO_FORMATS:
        _text(layer, "InfoFormat", media_type)
    if one.times:
        dimension = Xml.SubElement(layer, "Dimension")
        _text(dimension, "ows:Identifier", "Time")
        _text(dimension, "Default", "default")
        _text(dimension, "Value", one.times)
    for name in MATRIX_SETS:
        _text(Xml.SubElement(layer, "TileMatrixSetLink"), "TileMatrixSet", name)
    time = "{Time}/" if one.times else ""
    for extension, media_type in EXTENSIONS.items():
        template = (
            f"{address}/tiles/{one.layer.id}/{{Style}}/{time}{{TileMatrixSet}}/{{TileMatrix}}/{{TileRow}}/{{TileCol}}"
        )
        told = {"format": media_type, "resourceType": "tile", "template": f"{template}.{extension}"}
        Xml.SubElement(layer, "ResourceURL", told)


def _matrix_set(contents: Xml.Element, matrices: MatrixSet) -> None:
    element = Xml.SubElement(contents, "TileMatrixSet")
    _text(element, "ows:Identifier", matrices.name)
    _text(element, "ows:SupportedCRS", f"urn:ogc:def:crs:EPSG::{matrices.epsg}")
    if matrices.well_known:
        _text(element, "WellKnownScaleSet", matrices.well_known)
    corner = (matrices.top, matrices.left) if matrices.epsg == WGS84 else (matrices.left, matrices.top)
    for level in range(_MOST_LEVELS):
        matrix = Xml.SubElement(element, "TileMatrix")
        _text(matrix, "ows:Identifier", str(level))
        _text(matrix, "ScaleDenominator", repr(matrices.scale(level)))
        _text(matrix, "TopLeftCorner", " ".join(map(repr, corner)))
        _text(matrix, "TileWidth", str(matrices.px))
        _text(matrix, "TileHeight", str(matrices.px))
        _text(matrix, "MatrixWidth", str(matrices.columns << level))
        _text(matrix, "MatrixHeight", str(1 << level))


def _text(parent: Xml.Element, name: str, text: str) -> None:
    Xml.SubElement(parent, name).text = text
