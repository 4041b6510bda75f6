"""Names of coordinate reference systems."""

from __future__ import annotations

import pytest

from swathe.model.crs import parse_epsg
from swathe.model.errors import RequestInvalid


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("http://www.opengis.net/def/crs/EPSG/0/32633", 32633),
        ("https://www.opengis.net/def/crs/EPSG/0/3035", 3035),
        ("http://www.opengis.net/gml/srs/epsg.xml#3857", 3857),
        ("urn:ogc:def:crs:EPSG::32633", 32633),
        ("EPSG:4326", 4326),
        ("http://www.opengis.net/def/crs/OGC/1.3/CRS84", 4326),
        ("urn:ogc:def:crs:OGC:1.3:CRS84", 4326),
    ],
)
def test_names_of_epsg_systems(name: str, code: int) -> None:
    assert parse_epsg(name, "crs") == code


@pytest.mark.parametrize("name", ["", "32633", "EPSG:", "EPSG:abc", "WGS 84", "http://www.opengis.net/def/crs/EPSG/0/"])
def test_other_names_are_refused_with_an_example(name: str) -> None:
    with pytest.raises(RequestInvalid, match="write it like") as told:
        parse_epsg(name, "input->bounds->properties->crs")
    assert told.value.parameter == "input->bounds->properties->crs"
