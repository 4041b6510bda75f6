"""The scenes under a box, as the provider's WFS lists them: GeoJSON features with date, time and clouds, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any

import shapely
from pyproj import Transformer
from pyproj.exceptions import ProjError
from shapely.geometry import mapping

from swathe.catalog.item_search import ItemQuery, find_items
from swathe.catalog.items import Found
from swathe.grids.aoi import make_aoi
from swathe.model.crs import WGS84
from swathe.model.errors import NotFound, RequestInvalid
from swathe.model.layers import LayerBody
from swathe.server.catalog_shelf import View
from swathe.server.ogc_errors import MapFault, Parameters
from swathe.server.ogc_query import read_area, read_filter

MOST_FEATURES = 100
_STEP = timedelta(microseconds=1)
_ANY_SIZE = {"WIDTH": "1", "HEIGHT": "1"}
# What the provider's clients call collections here, by their names
_SOURCES = {
    "DSS1": "sentinel-2-l1c",
    "DSS2": "sentinel-2-l2a",
    "DSS3": "sentinel-1-grd",
    "DSS4": "dem",
    "DSS5": "modis",
    "DSS7": "sentinel-5p-l2",
    "DSS8": "sentinel-3-olci",
    "DSS9": "sentinel-3-slstr",
    "DSS12": "landsat-ot-l1",
    "DSS13": "landsat-ot-l2",
    "DSS14": "landsat-tm-l1",
    "DSS15": "landsat-tm-l2",
    "DSS16": "landsat-mss-l1",
    "DSS17": "landsat-etm-l1",
    "DSS18": "landsat-etm-l2",
}


@dataclass(frozen=True)
class ScenesQuery:
    """What scenes are looked for, the CRS of their footprints in the answer, and which of them."""

    query: ItemQuery
    epsg: int
    first: int
    count: int
    max_cloud_coverage: float | None


def read_scenes_query(parameters: Parameters, layers: Sequence[LayerBody], view: View) -> ScenesQuery:
    """The parameters of GetFeature. An instance lists the scenes of its layers' collections alone.

    Raises:
        MapFault: a parameter is missing or wrong, or no layer has this collection.
    """
    told = parameters.needed("TYPENAMES", "TYPENAME")
    name = _name(view, _SOURCES.get(told.upper(), told))
    if name is None or name not in {_name(view, layer.collection) for layer in layers}:
        raise MapFault(f"No layer of this instance has the collection '{told[:80]}'", "TYPENAMES")
    # The size of a map does not matter here; the area asks for one.
    area = read_area(parameters.with_defaults(_ANY_SIZE))
    which = read_filter(parameters)
    try:
        place = make_aoi(area.box, None, area.epsg, parameter="BBOX")
    except RequestInvalid as error:
        raise MapFault(error.message, "BBOX") from None
    span = which.span
    query = ItemQuery(
        (name,),
        start=None if span is None else span.start,
        # the search has its end included
        end=None if span is None else span.end - _STEP,
        area=place,
    )
    count = min(parameters.count("MAXFEATURES", 0) or parameters.count("COUNT", 0) or MOST_FEATURES, MOST_FEATURES)
    first = parameters.count("FEATURE_OFFSET", 0) or parameters.count("STARTINDEX", 0) or 0
    return ScenesQuery(query, area.epsg, first, count, which.max_cloud_coverage)


def find_scenes(wanted: ScenesQuery, view: View) -> dict[str, Any]:
    """The scenes as a FeatureCollection. Reads catalogs."""
    most = wanted.max_cloud_coverage
    fitting = (
        found
        for found in find_items(view, wanted.query)
        if most is None or found.scene.cloud_cover is None or found.scene.cloud_cover <= most
    )
    page = islice(fitting, wanted.first, wanted.first + wanted.count)
    return {
        "type": "FeatureCollection",
        "crs": {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{wanted.epsg}"}},
        "features": [_feature(found, wanted.epsg) for found in page],
    }


def _feature(found: Found, epsg: int) -> dict[str, Any]:
    scene = found.scene
    footprint = scene.footprint
    if footprint is None:
        footprint = shapely.box(*scene.bbox)
    if footprint.geom_type == "Polygon":
        footprint = shapely.MultiPolygon([footprint])
    if epsg != WGS84:
        footprint = _moved(footprint, epsg)
    return {
        "type": "Feature",
        "id": scene.id,
        "geometry": None if footprint is None else mapping(footprint),
        "properties": {
            "id": scene.id,
            "date": f"{scene.datetime:%Y-%m-%d}",
            "time": f"{scene.datetime:%H:%M:%S}",
            "crs": f"EPSG:{epsg}",
            "cloudCoverPercentage": scene.cloud_cover,
            "path": scene.id,
        },
    }


def _moved(shape: shapely.Geometry, epsg: int) -> shapely.Geometry | None:
    try:
        change = Transformer.from_crs(WGS84, epsg, always_xy=True)
        moved = shapely.transform(shape, change.transform, interleaved=False)
    except ProjError:
        return None
    return moved if all(abs(value) < float("inf") for value in moved.bounds) else None


def _name(view: View, told: str) -> str | None:
    try:
        return view.find(told)
    except NotFound:
        return None
