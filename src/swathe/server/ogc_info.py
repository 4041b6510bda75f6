"""What a map holds at one of its pixels: the parameters of GetFeatureInfo, and its answer as GeoJSON, GML, text and a page.

Sources: WMS 1.3.0 (OGC 06-042, 7.4) and 1.1.1 (01-068r3, 7.3), WMTS 1.0.0 (07-057r7, 7.3).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from xml.etree import ElementTree as Xml

from pyproj import Transformer
from pyproj.exceptions import ProjError
from starlette.responses import Response

from swathe.grids.raster_grid import RasterGrid
from swathe.jobs.pictures import PixelAnswer
from swathe.model.crs import WGS84
from swathe.model.layers import LayerBody, LayerStyle
from swathe.server.answers import JsonAnswer
from swathe.server.ogc_errors import MapFault, Parameters, xml_answer

JSON, GEOJSON, TEXT, HTML = "application/json", "application/geo+json", "text/plain", "text/html"
GML = "application/vnd.ogc.gml"
INFO_FORMATS = (JSON, GEOJSON, TEXT, HTML, GML)
"""QGIS takes the last one with features. It finds JSON by a header whose letter case a server may change; GML it takes for
granted."""

_OTHER_NAMES = {"application/geojson": GEOJSON, "json": JSON}
_MOST_SCENES = 100
_INVALID = "InvalidPoint"
_SCENE = "scene"
_GML = "http://www.opengis.net/gml"
_NOT_OF_NAMES = re.compile(r"[^A-Za-z0-9_.-]", re.ASCII)
_LONLAT = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
# A page of ours runs nothing and loads nothing, whatever a layer's title may say.
_PAGE_HEADERS = {"Content-Security-Policy": "default-src 'none'; sandbox", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True)
class PixelQuery:
    """Which pixel is asked for, from the upper left corner on; how many scenes are named, and the form of the answer."""

    column: int
    row: int
    most_scenes: int
    media_type: str


@dataclass(frozen=True)
class PixelOfLayer:
    """What is known of a pixel in one layer; `time` is the one that was looked at, as TIME would have it."""

    layer: LayerBody
    style: LayerStyle
    time: str
    found: PixelAnswer

    @property
    def properties(self) -> dict[str, Any]:
        """What people see, by name, without lists but for the scenes. Null is no finite number."""
        own: dict[str, Any] = {
            "layer": self.layer.id,
            "style": self.style.name,
            "time": self.time,
            "hasData": self.found.has_data,
        }
        values = {
            _value_name(output, band, bands, own): value
            for output, bands in self.found.values.items()
            for band, value in bands.items()
        }
        scenes = [
            {
                "id": scene.id,
                "date": f"{scene.datetime:%Y-%m-%d}",
                "time": f"{scene.datetime:%H:%M:%S}",
                "cloudCoverPercentage": scene.cloud_cover,
            }
            for scene in self.found.scenes
        ]
        return {**own, **values, "scenes": scenes}


def read_pixel_query(parameters: Parameters) -> PixelQuery:
    """The parameters that GetFeatureInfo has beside those of a map. `I`, `J` and the older `X`, `Y` are the same.

    Raises:
        MapFault: one is missing or wrong.
    """
    told = parameters.text("INFO_FORMAT", "INFOFORMAT") or JSON
    name = told.split(";")[0].strip().lower()
    name = _OTHER_NAMES.get(name, name)
    if name not in INFO_FORMATS:
        raise MapFault(
            f"INFO_FORMAT '{told[:80]}' is not made here; use {', '.join(INFO_FORMATS)}", "INFO_FORMAT", "InvalidFormat"
        )
    column, row = (_place(parameters, *names) for names in (("I", "X"), ("J", "Y")))
    count = parameters.count("FEATURE_COUNT") or 1
    return PixelQuery(column, row, min(count, _MOST_SCENES), name)


def check_pixel(query: PixelQuery, grid: RasterGrid) -> None:
    """That a map has the pixel.

    Raises:
        MapFault: it has not.
    """
    for name, number, count in (("I", query.column, grid.width), ("J", query.row, grid.height)):
        if number >= count:
            raise MapFault(f"{name} must be from 0 to {count - 1} in a map of this size, not {number}", name, _INVALID)


def info_answer(query: PixelQuery, grid: RasterGrid, found: Sequence[PixelOfLayer]) -> Response:
    """The answer, a feature for each layer: the pixel's centre with the values of the script's outputs there."""
    if query.media_type == TEXT:
        return Response("\n".join(map(_as_text, found)), media_type=TEXT)
    if query.media_type == HTML:
        tables = "\n".join(map(_as_table, found))
        head = '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Values</title></head>\n<body>'
        page = f"{head}\n{tables}\n</body></html>\n"
        return Response(page, media_type=HTML, headers=_PAGE_HEADERS)
    if query.media_type == GML:
        return xml_answer(_as_gml(found), media_type=GML)
    place = _centre(query, grid)
    features = [
        {
            "type": "Feature",
            "id": one.layer.id,
            "geometry": None if place is None else {"type": "Point", "coordinates": place},
            "properties": one.properties,
        }
        for one in found
    ]
    # Some clients take coordinates for those of their map where nothing is said; others leave `crs` aside.
    answer = JsonAnswer({"type": "FeatureCollection", "crs": _LONLAT, "features": features})
    answer.headers["content-type"] = query.media_type
    return answer


def _place(parameters: Parameters, *names: str) -> int:
    name = next((name for name in names if parameters.text(name)), names[0])
    try:
        number = parameters.count(name, 0)
    except MapFault as error:
        raise MapFault(error.message, name, _INVALID) from None
    if number is None:
        raise MapFault(f"{name} is missing: the pixel asked for, counted from 0", name, "MissingParameterValue")
    return number


def _value_name(output: str, band: str, bands: Mapping[str, Any], taken: Mapping[str, Any]) -> str:
    """An output of one band by its name, as in tables of results; the others with the band's."""
    return output if len(bands) == 1 and output not in (*taken, "scenes") else f"{output}_{band}"


def _centre(query: PixelQuery, grid: RasterGrid) -> list[float] | None:
    """Longitude and latitude of the pixel's centre; None where its CRS does not reach."""
    x, y = grid.x0 + (query.column + 0.5) * grid.dx, grid.y0 - (query.row + 0.5) * grid.dy
    try:
        lonlat = Transformer.from_crs(grid.epsg, WGS84, always_xy=True).transform(x, y)
    except ProjError:
        return None
    return [round(value, 8) for value in lonlat] if all(abs(value) < float("inf") for value in lonlat) else None


def _rows(one: PixelOfLayer) -> list[tuple[str, str]]:
    """Names and values as people read them, a line each."""
    properties = one.properties
    scenes = properties.pop("scenes")
    rows = [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in properties.items()]
    for scene in scenes:
        clouds = scene["cloudCoverPercentage"]
        told = "" if clouds is None else f", {clouds:g} % clouds"
        rows.append((_SCENE, f"{scene['id']} ({scene['date']} {scene['time']}{told})"))
    return rows


def _as_text(one: PixelOfLayer) -> str:
    return "".join(f"{name}: {' '.join(value.split())}\n" for name, value in _rows(one))


def _as_table(one: PixelOfLayer) -> str:
    rows = "\n".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in _rows(one))
    return f"<table>\n<caption>{escape(one.layer.title or one.layer.id)}</caption>\n{rows}\n</table>"


def _as_gml(found: Sequence[PixelOfLayer]) -> Xml.Element:
    """Features of GML 2 without a geometry: clients do not agree on the order of its coordinates."""
    root = Xml.Element("FeatureCollection", {"xmlns:gml": _GML})
    for one in found:
        feature = Xml.SubElement(Xml.SubElement(root, "gml:featureMember"), _xml_name(one.layer.id))
        scenes = 0
        for name, value in _rows(one):
            scenes += name == _SCENE
            told = f"{name}_{scenes}" if name == _SCENE and scenes > 1 else name
            Xml.SubElement(feature, _xml_name(told)).text = "" if value == "null" else value
    return root


def _xml_name(text: str) -> str:
    name = _NOT_OF_NAMES.sub("_", text)
    return name if name[:1].isalpha() else f"_{name}"
