"""The Zarr group of a batch request, decided before anything is written: its arrays, its grid and what it says of itself.

A request makes one image of its whole time range, so `time` has one entry unless a caller has more. The group's grid is
the smallest that holds all tiles. Tiles are of one size and lie side by side, and a chunk's sides divide a tile's: a chunk
belongs to one tile, and workers never write the same object.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

import numpy as np

from swathe.grids.raster_grid import RasterGrid
from swathe.model.errors import LimitExceeded, RequestInvalid
from swathe.model.process_output import RESPONSES
from swathe.model.process_zarr import DTYPES_OF_SAMPLES, ArrayLayout, ZarrOutput
from swathe.model.time import TimeRange
from swathe.outputs.zarr_codecs import PARAMETER, check_codecs

TIME, Y, X, GRID_MAPPING = "time", "y", "x", "spatial_ref"
DIMENSIONS = (TIME, Y, X)
MOST_HELD_BYTES = 2**30


class ImageOutput(Protocol):
    """An output of the evalscript: `engine.raster.RasterOutputSpec` is one. `sample_type` is NumPy's name."""

    @property
    def id(self) -> str: ...

    @property
    def bands(self) -> int: ...

    @property
    def sample_type(self) -> str: ...


@dataclass(frozen=True)
class ArrayPlan:
    """One array: values by (time, y, x) in chunks of (1, `chunk_height`, `chunk_width`)."""

    name: str
    dtype: str
    chunk_height: int
    chunk_width: int
    fill_value: float | int
    compressor: Mapping[str, Any] | None
    filters: tuple[Mapping[str, Any], ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ZarrPlan:
    """A group at the address `url`, with an array for each output.

    `grid` is north up whatever the arrays are: with `bottom_up` their first row is the southernmost. `modified` is said
    in the group's attributes; a job that goes on after a break must give the same, or the group counts as another's.
    """

    url: str
    zarr_format: int
    grid: RasterGrid
    tile_width: int
    tile_height: int
    times: tuple[TimeRange, ...]
    modified: datetime
    arrays: tuple[ArrayPlan, ...]
    bottom_up: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of each array: times, rows, columns."""
        return len(self.times), self.grid.height, self.grid.width

    def array(self, name: str) -> ArrayPlan:
        """The array of an output."""
        return next(array for array in self.arrays if array.name == name)

    def place(self, tile: RasterGrid) -> tuple[int, int]:
        """First row, counted from the north, and first column of a tile in the group's grid."""
        row, column = _offset(self.grid, tile)
        inside = 0 <= row <= self.grid.height - tile.height and 0 <= column <= self.grid.width - tile.width
        if not inside or row % self.tile_height or column % self.tile_width:
            raise ValueError(f"{tile} is no tile of {self.grid}")
        return row, column


def plan_zarr(
    output: ZarrOutput,
    outputs: Sequence[ImageOutput],
    grids: Iterable[RasterGrid],
    *,
    times: Sequence[TimeRange],
    url: str,
    modified: datetime,
    most_held_bytes: int = MOST_HELD_BYTES,
) -> ZarrPlan:
    """Decides on a group.

    Args:
        output: of the request.
        outputs: those that the request has responses for, in their order.
        grids: of all tiles that are to be processed.
        times: what the images are of; the coordinate is where a range starts.
        url: where the group goes, without placeholders.
        modified: what `date_modified` says: the job's own time, the same each time the job is planned.
        most_held_bytes: what a worker may hold until the chunks in a row of chunks of a tile are full.

    Raises:
        RequestInvalid: tiles of several CRSs or sizes, that overlap or lie askew; chunks that do not divide a tile;
            an output of several bands or of a type that its array cannot hold; codecs or attributes that cannot be used.
    """
    grid, tile = _cover(grids)
    arrays = tuple(_plan_array(output.layout(image.id), image, tile) for image in outputs)
    held = sum(array.chunk_height * tile.width * np.dtype(array.dtype).itemsize for array in arrays)
    if held > most_held_bytes:
        raise LimitExceeded(
            f"a row of chunks across a tile takes {held} bytes in all arrays, and {most_held_bytes} is the most;"
            " make chunks less high",
            PARAMETER,
        )
    custom = output.group.custom_attributes
    _check_json(custom, "customAttributes of the group")
    return ZarrPlan(
        url=url.rstrip("/"),
        zarr_format=output.group.zarr_format,
        grid=grid,
        tile_width=tile.width,
        tile_height=tile.height,
        times=tuple(times),
        modified=modified,
        arrays=tuple(_for_format(array, output.group.zarr_format) for array in arrays),
        bottom_up=output.group.coordinates.origin == "bottomLeft",
        attributes=custom,
    )


def _plan_array(layout: ArrayLayout, image: ImageOutput, tile: RasterGrid) -> ArrayPlan:
    name, (_, height, width) = image.id, layout.chunks
    if name in (*DIMENSIONS, GRID_MAPPING) or name.startswith((".", "__")):
        taken = ", ".join((*DIMENSIONS, GRID_MAPPING))
        raise RequestInvalid(
            f"no array can be called '{name}': {taken} are the coordinates, and names do not begin with '.' or '__'",
            RESPONSES,
        )
    if image.bands != 1:
        raise RequestInvalid(
            f"output '{name}' has {image.bands} bands; with Zarr every output has one: make several", RESPONSES
        )
    allowed = DTYPES_OF_SAMPLES[image.sample_type.upper()]
    if layout.dtype not in allowed:
        raise RequestInvalid(
            f"array '{name}' cannot hold {image.sample_type.upper()} as {layout.dtype}; use one of {', '.join(allowed)}",
            PARAMETER,
        )
    for what, chunk, whole in (("rows", height, tile.height), ("columns", width, tile.width)):
        if whole % chunk:
            raise RequestInvalid(
                f"chunks of {chunk} {what} in array '{name}' do not divide the {whole} {what} of a tile;"
                f" {_nearest_divisors(whole, chunk)} would",
                f"{PARAMETER}->chunks",
            )
    _check_json(layout.custom_attributes, f"customAttributes of array '{name}'")
    filters = layout.filters or ()
    check_codecs(name, layout.dtype, filters, layout.compressor)
    fill = _fill_value(layout, name)
    return ArrayPlan(name, layout.dtype, height, width, fill, layout.compressor, filters, layout.custom_attributes)


def _for_format(array: ArrayPlan, zarr_format: int) -> ArrayPlan:
    """The array, if it can be written in a version of the format.

    Raises:
        RequestInvalid: it cannot.
    """
    if zarr_format == 3 and array.filters and array.dtype.startswith(">"):
        raise RequestInvalid(
            f"array '{array.name}' has filters, which in Zarr 3 need a little-endian dtype"
            f" such as <{array.dtype[1:]}, not {array.dtype}",
            PARAMETER,
        )
    return array


def _fill_value(layout: ArrayLayout, name: str) -> float | int:
    dtype = np.dtype(layout.dtype)
    if dtype.kind != "f":
        return int(layout.fill_value)
    fill = float(layout.fill_value)
    with np.errstate(over="ignore"):
        kept = float(dtype.type(fill))
    if math.isfinite(fill) and not math.isfinite(kept):
        raise RequestInvalid(f"fill_value {fill} of array '{name}' is no {layout.dtype}", PARAMETER)
    return kept


def _cover(grids: Iterable[RasterGrid]) -> tuple[RasterGrid, RasterGrid]:
    """The smallest grid of whole tiles that holds all tiles, and the first of them.

    Raises:
        RequestInvalid: there are none, or they are not the tiles of one grid.
    """
    tiles = iter(grids)
    first = next(tiles, None)
    if first is None:
        raise RequestInvalid("there are no tiles to process", "processRequest->input->bounds")
    places = {(0, 0)}
    left, top = first.x0, first.y0
    for tile in tiles:
        if tile.epsg != first.epsg:
            raise RequestInvalid(
                f"a Zarr group has one CRS, but the tiles are in EPSG:{first.epsg} and EPSG:{tile.epsg};"
                " use tiling grid 3 (WGS84), 6 or 7 (LAEA)",
                "input",
            )
        if (tile.dx, tile.dy, tile.width, tile.height) != (first.dx, first.dy, first.width, first.height):
            raise RequestInvalid(
                "with Zarr output all tiles must have the same size and resolution:"
                f" {first.width} x {first.height} pixels of {first.dx:g} x {first.dy:g}, but one has"
                f" {tile.width} x {tile.height} pixels of {tile.dx:g} x {tile.dy:g}",
                "input",
            )
        row, column = _offset(first, tile)
        place = (row // first.height, column // first.width)
        if row % first.height or column % first.width or place in places:
            raise RequestInvalid(
                "with Zarr output tiles must lie side by side and not overlap; leave out bufferX and bufferY", "input"
            )
        places.add(place)
        left, top = min(left, tile.x0), max(top, tile.y0)
    rows, columns = [row for row, _ in places], [column for _, column in places]
    width = (max(columns) - min(columns) + 1) * first.width
    height = (max(rows) - min(rows) + 1) * first.height
    return replace(first, x0=left, y0=top, width=width, height=height), first


def _offset(grid: RasterGrid, tile: RasterGrid) -> tuple[int, int]:
    """Rows and columns from a grid's corner to a tile's.

    Raises:
        RequestInvalid: the tile's pixels lie askew to the grid's.
    """
    place, origin = tile.lattice, grid.lattice
    if (place.phase_x, place.phase_y) != (origin.phase_x, origin.phase_y):
        raise RequestInvalid("with Zarr output the pixels of all tiles must be those of one grid", "input")
    return place.row - origin.row, place.column - origin.column


def _nearest_divisors(whole: int, wanted: int) -> str:
    """The divisors on both sides of a number."""
    divisors = [number for number in range(1, whole + 1) if whole % number == 0]
    below = max((number for number in divisors if number < wanted), default=None)
    above = min((number for number in divisors if number > wanted), default=None)
    return " or ".join(str(number) for number in (below, above) if number is not None)


def _check_json(value: object, what: str) -> None:
    """Raises RequestInvalid where a value holds NaN or the like, which JSON cannot say."""
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        if isinstance(item, float) and not math.isfinite(item):
            raise RequestInvalid(f"{what} hold {item}, which is no JSON number; write it as a text", "output")
        _check_json(item, what)
