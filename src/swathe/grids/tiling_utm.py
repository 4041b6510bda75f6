"""Tiles in UTM that follow the 100 km squares of Sentinel-2 (MGRS), worked out rather than shipped.

A square is named as MGRS does: zone, latitude band of its centre, column letter, row letter (33TWM). Tiles are cut from
its upper left corner, columns to the right and rows down, and named `<square>_<column>_<row>`, both from 0. Where tiles
are a multiple of 60 m wide (20040 m, 100080 m) they start where Sentinel-2's own tile does: the square's corner moved to
the next multiple of 60 m to the west and to the north (399960 for 400000, 5600040 for 5600000; in the south counted from
the equator), so that pixels of 10, 20, 30 and 60 m all fit Sentinel-2's. Tiles of 10 km divide the square evenly.
Neighbouring squares therefore overlap by up to 240 m, and a pixel in the overlap is the same pixel in both.

What the provider's documents leave open is settled so:

- A tile belongs to the zone of its square and is there if its part of the square reaches into that zone (the exceptions
  around Norway and Svalbard included) and into the documented latitudes.
- Of tiles that meet at the border of two zones, one is redundant if all it holds of its own zone lies in tiles of the
  zones to the west; what the provider's published mosaics have agrees with this (33UYP is there and 34UBV is not,
  54HTC is there). Zone 1 has nothing to its west. A tile that may itself be redundant makes no other one so: there are no
  holes, and at the highest latitudes some tiles more than needed.
- Where a square has so little in its zone that Sentinel-2 leaves it out, the provider goes on with a further row of the
  square above (`_0_1`), or with a further column at 180° (`_1_0`); here the square itself is used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import Transformer

SQUARE_M = 100_000
_SNAP_M = 60
_FALSE_NORTHING_M = 10_000_000
_BANDS = "CDEFGHJKLMNPQRSTUVWX"
_COLUMNS = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")
_ROWS = "ABCDEFGHJKLMNPQRSTUV"
_ZONES = 60
# Degrees between points of a zone's border, and metres between those of a tile's, before they change their system.
_BORDER_STEP = 0.05
_TILE_PARTS = 16
# A border that two tiles share is not an overlap.
_INSET = 1e-6
# Ground that may stay without a tile: less than a hundredth of a 10 m pixel.
_NO_AREA_M2 = 1.0
# Zones unlike the others, from this northing on.
_IRREGULAR = range(31, 39)
_IRREGULAR_FROM_M = 6_100_000
# Any zone whose west neighbour is like it.
_REGULAR = 20

Geometry = Any


@dataclass(frozen=True)
class UtmLayout:
    """How squares are cut: `per_side` tiles of `tile_m` along each side, within latitudes up to `limit` degrees."""

    tile_m: int
    per_side: int
    limit: float

    @property
    def snaps(self) -> bool:
        """Whether tiles start at Sentinel-2's multiples of 60 m."""
        return self.tile_m % _SNAP_M == 0


@dataclass(frozen=True)
class Zone:
    """One hemisphere of a UTM zone."""

    number: int
    south: bool

    @property
    def epsg(self) -> int:
        return (32700 if self.south else 32600) + self.number

    @property
    def meridian(self) -> float:
        return self.number * 6.0 - 183.0

    @property
    def band_boxes(self) -> tuple[tuple[float, float, float, float], ...]:
        """What belongs to it, as boxes of longitude and latitude: west, south, east, north."""
        west, east = self.meridian - 3, self.meridian + 3
        if self.south:
            return ((west, -90.0, east, 0.0),)
        in_v = {31: (0.0, 3.0), 32: (3.0, 12.0)}.get(self.number, (west, east))
        in_x = {31: (0.0, 9.0), 33: (9.0, 21.0), 35: (21.0, 33.0), 37: (33.0, 42.0)}.get(self.number, (west, east))
        boxes = [(west, 0.0, east, 56.0), (in_v[0], 56.0, in_v[1], 64.0), (west, 64.0, east, 72.0)]
        if self.number not in (32, 34, 36):
            boxes.append((in_x[0], 72.0, in_x[1], 90.0))
        return tuple(boxes)


@dataclass(frozen=True)
class Square:
    """A 100 km square by the hundreds of kilometres of its left and lower border; southern ones count from 10,000 km."""

    zone: Zone
    easting: int
    northing: int

    @property
    def name(self) -> str:
        """As MGRS has it, with the band of the square's centre.

        >>> Square(Zone(33, False), 5, 51).name
        '33TWM'
        """
        return _name(self)

    def corner(self, layout: UtmLayout) -> tuple[int, int]:
        """Upper left corner of its first tile, in metres."""
        left, top = self.easting * SQUARE_M, (self.northing + 1) * SQUARE_M
        if not layout.snaps:
            return left, top
        zero = _FALSE_NORTHING_M if self.zone.south else 0
        return left // _SNAP_M * _SNAP_M, zero - (zero - top) // _SNAP_M * _SNAP_M


@dataclass(frozen=True)
class UtmTile:
    """A tile of a square; `left`, `top` in metres."""

    square: Square
    column: int
    row: int
    left: int
    top: int

    @property
    def name(self) -> str:
        return f"{self.square.name}_{self.column}_{self.row}"

    def box(self, layout: UtmLayout) -> Geometry:
        """The whole tile."""
        return shapely.box(self.left, self.top - layout.tile_m, self.left + layout.tile_m, self.top)

    def core(self, layout: UtmLayout) -> tuple[float, float, float, float]:
        """Bounds of its part of the square; those of all tiles cover the square and do not overlap."""
        left, bottom = self.square.easting * SQUARE_M, self.square.northing * SQUARE_M
        return (
            max(self.left, left),
            max(self.top - layout.tile_m, bottom),
            min(self.left + layout.tile_m, left + SQUARE_M),
            min(self.top, bottom + SQUARE_M),
        )


def utm_tiles(layout: UtmLayout, aoi: Geometry) -> Iterator[UtmTile]:
    """Tiles that share ground with an area in longitude and latitude, zone by zone, from north to south and west to east.

    The area may cross 180° in either way of writing it.
    """
    for number in range(1, _ZONES + 1):
        for south in (False, True):
            zone = Zone(number, south)
            area = _area_in_zone(zone, layout, aoi)
            if area is not None:
                yield from _tiles_in_zone(zone, layout, area)


def _tiles_in_zone(zone: Zone, layout: UtmLayout, area: Geometry) -> Iterator[UtmTile]:
    outline = _outline(zone, layout.limit)
    west, south, east, north = _reach(area)
    zone_west, zone_south, zone_east, zone_north = outline.bounds
    first, last = math.floor(max(west, zone_west) / SQUARE_M), math.floor(min(east, zone_east) / SQUARE_M)
    bottom, top = math.floor(max(south, zone_south) / SQUARE_M), math.ceil(min(north, zone_north) / SQUARE_M) - 1
    shapely.prepare(area)
    for northing in range(top, bottom - 1, -1):
        squares = [Square(zone, easting, northing) for easting in range(max(first, 1), min(last, 8) + 1)]
        if not squares:
            continue
        # (squares, rows, columns): left and top of each tile
        steps = np.arange(layout.per_side) * layout.tile_m
        corners = np.array([square.corner(layout) for square in squares])
        shape = (len(squares), layout.per_side, layout.per_side)
        lefts = np.broadcast_to(corners[:, 0, None, None] + steps[None, None, :], shape)
        tops = np.broadcast_to(corners[:, 1, None, None] - steps[None, :, None], shape)
        inset = layout.tile_m * _INSET
        boxes = shapely.box(lefts + inset, tops - layout.tile_m + inset, lefts + layout.tile_m - inset, tops - inset)
        met = shapely.intersects(area, boxes)
        met[met] = shapely.intersects(outline, boxes[met])
        inside = np.zeros(shape, bool)
        inside[met] = shapely.contains_properly(outline, boxes[met])
        for where in zip(*(axis.tolist() for axis in np.nonzero(met)), strict=True):
            index, row, column = where
            tile = UtmTile(squares[index], column, row, int(lefts[where]), int(tops[where]))
            if inside[where] or _is_offered(tile, layout):
                yield tile


def _is_offered(tile: UtmTile, layout: UtmLayout) -> bool:
    """Whether the grid has this tile: it holds ground of its zone that no tile further west has."""
    zone = tile.square.zone
    if zone.number in _IRREGULAR and tile.top > _IRREGULAR_FROM_M and not zone.south:
        return _is_needed(layout, zone, tile.square.easting, tile.square.northing, tile.column, tile.row)
    # a zone is like the other, but for the first, which has none to its west
    alike = Zone(1 if zone.number == 1 else _REGULAR, zone.south)
    return _is_needed(layout, alike, tile.square.easting, tile.square.northing, tile.column, tile.row)


@lru_cache(maxsize=200_000)
def _is_needed(layout: UtmLayout, zone: Zone, easting: int, northing: int, column: int, row: int) -> bool:
    square = Square(zone, easting, northing)
    left, top = square.corner(layout)
    tile = UtmTile(square, column, row, left + column * layout.tile_m, top - row * layout.tile_m)
    outline = _outline(zone, layout.limit)
    core = tile.core(layout)
    if outline.contains(shapely.box(*core)):
        return True
    own = shapely.clip_by_rect(outline, *core)
    if own.area <= _NO_AREA_M2:
        return False
    if tile.left + layout.tile_m / 2 > 500_000:
        return True
    covers = [
        _moved(box, other, zone)
        for other in (Zone(number, zone.south) for number in (zone.number - 1, zone.number - 2) if number >= 1)
        for box in _inner_tiles(layout, other, _moved(own, zone, other))
    ]
    return bool(own.difference(shapely.union_all(covers)).area > _NO_AREA_M2) if covers else True


def _inner_tiles(layout: UtmLayout, zone: Zone, area: Geometry) -> Iterator[Geometry]:
    """Tiles of a zone that meet an area and do not reach over the zone's own west border."""
    outline = _outline(zone, layout.limit)
    west, south, east, north = _reach(area)
    for northing in range(math.floor(south / SQUARE_M), math.ceil(north / SQUARE_M)):
        for easting in range(max(math.floor(west / SQUARE_M), 1), min(math.floor(east / SQUARE_M), 8) + 1):
            square = Square(zone, easting, northing)
            left, top = square.corner(layout)
            for row in range(layout.per_side):
                for column in range(layout.per_side):
                    x, y = left + column * layout.tile_m, top - row * layout.tile_m
                    if x >= east or x + layout.tile_m <= west or y <= south or y - layout.tile_m >= north:
                        continue
                    tile = UtmTile(square, column, row, x, y)
                    core = tile.core(layout)
                    if outline.contains(shapely.box(*core)) or (
                        x + layout.tile_m / 2 > 500_000 and shapely.clip_by_rect(outline, *core).area > _NO_AREA_M2
                    ):
                        yield tile.box(layout)


def _reach(area: Geometry) -> tuple[float, float, float, float]:
    """Bounds that hold the squares of all tiles over an area: a tile ends up to 240 m behind its square."""
    west, south, east, north = area.bounds
    return west - 500.0, south - 500.0, east + 500.0, north + 500.0


def _area_in_zone(zone: Zone, layout: UtmLayout, aoi: Geometry) -> Geometry | None:
    """What of an area in longitude and latitude can lie in the zone's tiles, in its system; None where nothing does."""
    boxes = zone.band_boxes
    south, north = (-layout.limit - 1, 0.01) if zone.south else (-0.01, layout.limit + 1)
    pieces = []
    for shift in (-360.0, 0.0, 360.0):
        west, low, east, high = aoi.bounds
        furthest = min(max(abs(low), abs(high)), layout.limit + 1)
        reach = layout.tile_m / (111_000 * math.cos(math.radians(furthest))) + 0.1
        first, last = min(box[0] for box in boxes) - reach, max(box[2] for box in boxes) + reach
        if west + shift >= last or east + shift <= first or low >= north or high <= south:
            continue
        here = shapely.clip_by_rect(shifted(aoi, shift), first, south, last, north)
        if not here.is_empty:
            pieces.append(here)
    if not pieces:
        return None
    around = pieces[0] if len(pieces) == 1 else shapely.union_all(pieces)
    return _project(shapely.segmentize(around, _BORDER_STEP), 4326, zone.epsg)


def shifted(area: Geometry, degrees: float) -> Geometry:
    """An area moved in longitude."""
    return shapely.transform(area, lambda places: places + np.array([degrees, 0.0])) if degrees else area


def _outline(zone: Zone, limit: float) -> Geometry:
    """The zone in its own system, prepared for tests."""
    irregular = zone.number in _IRREGULAR and not zone.south
    return _outline_of(zone if irregular else Zone(_REGULAR, zone.south), limit)


@cache
def _outline_of(zone: Zone, limit: float) -> Geometry:
    boxes = [
        shapely.box(west, max(south, -limit), east, min(north, limit)) for west, south, east, north in zone.band_boxes
    ]
    parts = shapely.segmentize(np.array([box for box in boxes if box.area > 0]), _BORDER_STEP)
    outline = shapely.union_all(_project(parts, 4326, zone.epsg), grid_size=1e-3)
    shapely.prepare(outline)
    return outline


def _moved(geometry: Geometry, zone: Zone, other: Zone) -> Geometry:
    """A geometry of one zone in the system of another."""
    west, south, east, north = geometry.bounds
    step = max(east - west, north - south, 1.0) / _TILE_PARTS
    return _project(shapely.segmentize(geometry, step), zone.epsg, other.epsg)


def _project(geometry: Geometry, epsg: int, other: int) -> Geometry:
    transformer = _transformer(epsg, other)

    def move(places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.column_stack(transformer.transform(places[:, 0], places[:, 1]))

    return shapely.transform(geometry, move)


@lru_cache(maxsize=4096)
def _name(square: Square) -> str:
    zone = square.zone
    column = _COLUMNS[(zone.number - 1) % 3][square.easting - 1]
    row = _ROWS[(square.northing + (5 if zone.number % 2 == 0 else 0)) % 20]
    latitude = _latitude(zone.south, (square.easting + 0.5) * SQUARE_M, (square.northing + 0.5) * SQUARE_M)
    band = _BANDS[min(max(math.floor((latitude + 80) / 8), 0), len(_BANDS) - 1)]
    return f"{zone.number:02d}{band}{column}{row}"


def _latitude(south: bool, x: float, y: float) -> float:
    return float(_transformer(Zone(_REGULAR, south).epsg, 4326).transform(x, y)[1])


@cache
def _transformer(epsg: int, other: int) -> Transformer:
    return Transformer.from_crs(epsg, other, always_xy=True)
