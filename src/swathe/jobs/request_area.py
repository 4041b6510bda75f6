"""The area of a request for an image or for statistics of one place: how many pixels, which tiles of own collections."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path

import shapely

from swathe.grids.aoi import make_aoi
from swathe.grids.raster_grid import RasterGrid
from swathe.grids.sample_grid import box_size
from swathe.jobs.byoc_sources import Span, write_own
from swathe.jobs.database import Database
from swathe.model.errors import LimitExceeded, RequestInvalid
from swathe.model.process import Bounds, ProcessOutput
from swathe.settings import CollectionSettings, StorageSettings

BOUNDS = "input->bounds"
_DEFAULT_PX = 256
_BOX_TOLERANCE = 1e-9
# Of an area's size, on each side: scenes are seen somewhat beyond their footprints.
_MARGIN = 0.05
# Half the side of a point's box, of its larger coordinate: millimetres in degrees as in metres.
_POINT = 1e-9


def area_of(bounds: Bounds) -> shapely.Geometry:
    """The polygon of a request in its own CRS: the box, the geometry, or what they share.

    Raises:
        RequestInvalid: there is none, or it cannot be used.
    """
    if bounds.is_empty:
        raise RequestInvalid("needs a bbox or a geometry", BOUNDS)
    box = None if bounds.bbox is None else box_of(bounds.bbox)
    make_aoi(box, bounds.polygons, bounds.to_epsg(), parameter=BOUNDS)
    areas = []
    if box is not None:
        areas.append(shapely.box(*box))
    if bounds.geometry is not None:
        areas.append(shapely.force_2d(shapely.from_geojson(json.dumps(bounds.polygons))))
    area = areas[0] if len(areas) == 1 else areas[0].intersection(areas[1])
    if not math.isfinite(area.area):
        raise RequestInvalid("the bounds are larger than numbers go; look at the coordinates", BOUNDS)
    if area.geom_type == "GeometryCollection":
        area = shapely.union_all([part for part in area.geoms if part.area > 0])
    return area


def box_of(bbox: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """West, south, east, north of a box whose corners may come in any order.

    A box that is a point, which the hosted service takes, becomes one of about a centimetre around it.
    """
    x1, y1, x2, y2 = bbox
    if x1 == x2 and y1 == y2:
        half = _POINT * max(abs(x1), abs(y1), 1.0)
        return x1 - half, y1 - half, x1 + half, y1 + half
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def check_sides(width: int, height: int, most: int, where: str, *, named: bool = True) -> None:
    """That an image is not too large.

    Args:
        named: whether the sides were given as width and height, which stand below `where`.

    Raises:
        LimitExceeded: it is.
    """
    for name, size in (("width", width), ("height", height)):
        if size > most:
            raise LimitExceeded(
                f"The {name} would be {size:,} pixels; at most {most:,} are allowed;"
                " ask for a coarser resolution or a smaller area",
                f"{where}->{name if named else 'res' + 'xy'[name == 'height']}",
            )


def make_grid(bounds: Bounds, output: ProcessOutput, most_px: int) -> tuple[RasterGrid, shapely.Geometry | None]:
    """The grid of an image over the box, or around the geometry, and what it is cut out by if it is not all of that.

    At a resolution there are `round(extent / resolution)` pixels a side, at least one, which fill the box. Of two sides
    or resolutions the one that is left out follows from the other: square pixels. Without any the image has 256 x 256.

    Raises:
        LimitExceeded: it would have more than `most_px` pixels a side.
        RequestInvalid: there is no area, or it cannot be used.
    """
    area = area_of(bounds)
    west, south, east, north = box_of(bounds.bbox) if bounds.bbox is not None else area.bounds
    across, down = east - west, north - south
    width, height = output.width, output.height
    resx, resy = output.resx or output.resy, output.resy or output.resx
    if resx is not None and resy is not None:
        width, height = box_size(across, resx), box_size(down, resy)
    elif width is None and height is None:
        width = height = _DEFAULT_PX
    elif height is None:
        height = box_size(down, across / (width or 1))
    elif width is None:
        width = box_size(across, down / height)
    check_sides(width or 1, height, most_px, "output", named=resx is None)
    grid = RasterGrid(bounds.to_epsg(), west, north, across / (width or 1), down / height, width or 1, height)
    box = shapely.box(west, south, east, north)
    is_whole = bounds.geometry is None or abs(area.area - box.area) <= _BOX_TOLERANCE * box.area
    return grid, None if is_whole else area


def write_own_near(
    database: Database, types: Iterable[str], project_id: str, folder: Path, bounds: Bounds, storage: StorageSettings
) -> tuple[CollectionSettings, ...]:
    """Entries for a project's own collections, their tiles near the area in files in `folder`.

    Raises:
        RequestInvalid: the area cannot be used, or a collection is not there or has no bands yet.
        DoorClosed: the deployment does not open its bucket to requests.
        DatabaseUnavailable: the store does not answer.
    """
    around = None if bounds.bbox is None else box_of(bounds.bbox)
    area = make_aoi(around, bounds.polygons, bounds.to_epsg(), parameter=BOUNDS)
    box = None
    if area is not None:
        west, south, east, north = area.bounds
        across, down = (east - west) * _MARGIN, (north - south) * _MARGIN
        box = (west - across, south - down, east + across, north + down)
    return write_own(database, types, project_id, folder, Span(bbox=box), storage)
