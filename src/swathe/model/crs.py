"""Names of coordinate reference systems as requests write them."""

from __future__ import annotations

import re

from swathe.model.errors import RequestInvalid

_EPSG = re.compile(
    r"^(?:EPSG:|urn:ogc:def:crs:EPSG:[^:]*:|https?://www\.opengis\.net/(?:def/crs/EPSG/[^/]+/|gml/srs/epsg\.xml#))(\d{4,6})$",
    re.IGNORECASE,
)
_CRS84 = re.compile(
    r"^(?:https?://www\.opengis\.net/def/crs/OGC/1\.3/CRS84|urn:ogc:def:crs:OGC:[^:]*:CRS84|CRS:?84)$", re.I
)

WGS84 = 4326


def parse_epsg(name: str, parameter: str) -> int:
    """The EPSG code of a name such as `http://www.opengis.net/def/crs/EPSG/0/32633`; CRS84 is 4326 (x is longitude).

    Raises:
        RequestInvalid: it names no EPSG system.
    """
    if _CRS84.match(name.strip()):
        return WGS84
    if match := _EPSG.match(name.strip()):
        return int(match.group(1))
    raise RequestInvalid(
        f"'{name}' is not a coordinate reference system this service knows;"
        " write it like http://www.opengis.net/def/crs/EPSG/0/32633",
        parameter,
    )
