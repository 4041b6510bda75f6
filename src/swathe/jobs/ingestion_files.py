"""Looks at the files of a tile: which bands they are, where they lie, what is wrong with them. In a process of its own."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from swathe.jobs.byoc import ByocCollection
from swathe.jobs.byoc_places import Bbox
from swathe.jobs.byoc_records import COARSEST, FINEST, Ingested
from swathe.model.byoc import BAND, FORMATS, ByocBand
from swathe.model.crs import WGS84, parse_epsg
from swathe.model.errors import RequestInvalid, SwatheError
from swathe.settings import StorageSettings
from swathe.storage.doors import check_bucket

if TYPE_CHECKING:
    import shapely

    from swathe.rasters.blocks import BlockReader
    from swathe.rasters.source import RasterInfo, SourceGrid
    from swathe.storage import ObjectStores

_EXTENSIONS = (".tiff", ".tif", ".TIFF", ".TIF")
_MOST_LISTED = 100_000
_AT_ONCE = 8
_NEEDS_OVERVIEWS_PX = 1024
_SEGMENTS = 16
# Smaller overviews do not count, as with the hosted service.
_LEAST_OVERVIEW_PX = 256


@dataclass(frozen=True)
class TileOrder:
    """A tile to be looked at; `cover` is the user's GeoJSON, if any, or with `covers_data` it is found from the values."""

    path: str
    cover: Mapping[str, Any] | None = field(hash=False)
    collection: ByocCollection
    covers_data: bool = False


@dataclass(frozen=True)
class Trouble:
    """Why a tile could not be looked at; `may_pass`: later it may."""

    cause: str
    may_pass: bool = False


class _Unfit(Exception):
    """A tile that cannot be used; the text says why."""


def inspect(storage: StorageSettings, orders: Sequence[TileOrder]) -> list[Ingested | Trouble]:
    """What there is to know of some tiles, or why they are of no use."""
    from swathe.rasters.blocks import BlockReader
    from swathe.storage import ObjectStores

    stores = ObjectStores(storage)
    reader = BlockReader(stores)
    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(lambda order: _look(stores, reader, order), orders))
    finally:
        reader.close()


def describe_tile(
    files: Mapping[str, Mapping[str, Any]],
    grids: Sequence[SourceGrid],
    cover: Mapping[str, Any] | None = None,
    find_cover: Callable[[shapely.Polygon], shapely.Geometry] = lambda common: common,
) -> tuple[Bbox, dict[str, Any]]:
    """The box in degrees and the body of a tile of files that are known.

    `find_cover` makes the area of data out of where all files overlap, both in their CRS, if no `cover` is given.

    Raises:
        RequestInvalid: the files do not fit together, or the cover does not fit them.
    """
    import shapely

    epsg = grids[0].epsg
    if other := next((grid.epsg for grid in grids if grid.epsg != epsg), None):
        raise RequestInvalid(f"The files are in different coordinate reference systems, EPSG:{epsg} and EPSG:{other}")
    boxes = [shapely.box(*grid.bounds) for grid in grids]
    whole, common = shapely.box(*shapely.union_all(boxes).bounds), shapely.intersection_all(boxes)
    if common.is_empty or not common.area:
        raise RequestInvalid("The files of the bands do not overlap")
    if cover is None:
        shown = find_cover(common)
        given = shapely.segmentize(
            shown, max(common.bounds[2] - common.bounds[0], common.bounds[3] - common.bounds[1]) / _SEGMENTS
        )
        footprint = _to_degrees(given, epsg)
    else:
        footprint = _to_degrees(_polygon_of(cover), _epsg_of(cover))
        shown = _project(footprint, WGS84, epsg)
        if not shown.intersects(whole):
            raise RequestInvalid("coverGeometry lies outside of the files")
    body = {
        "epsg": epsg,
        "geometry": shapely.geometry.mapping(whole),
        "coverGeometry": shapely.geometry.mapping(shown),
        "footprint": shapely.geometry.mapping(footprint),
        "files": {name: dict(file) for name, file in files.items()},
    }
    return _box_of(footprint), body


def file_body(key: str, grid: SourceGrid) -> dict[str, Any]:
    """What is kept of a file."""
    return {"key": key, "grid": [grid.epsg, list(grid.transform), grid.width, grid.height]}


def band_names(source: str, count: int) -> list[str]:
    """What the bands of a file are called where nobody says: `name`, `name2`, `name3`."""
    return [source, *(f"{source}{number}" for number in range(2, count + 1))]


def _look(stores: ObjectStores, reader: BlockReader, order: TileOrder) -> Ingested | Trouble:
    try:
        return _inspect(stores, reader, order)
    except _Unfit as error:
        return Trouble(str(error))
    except SwatheError as error:
        return Trouble(error.message.split("; ")[0], error.retryable)


def _inspect(stores: ObjectStores, reader: BlockReader, order: TileOrder) -> Ingested:
    from swathe.jobs.ingestion_cover import Layer, find_data

    collection = order.collection
    known = dict(collection.bands)
    bucket = collection.bucket
    check_bucket(stores.settings, bucket, has_keys=False, takes_keys=False)
    keys = (
        _find_known(stores, bucket, order.path, sorted({band.source or "" for band in known.values()}))
        if known
        else _find_any(stores, bucket, order.path)
    )
    infos = {source: reader.info(f"s3://{bucket}/{key}") for source, key in keys.items()}
    found: dict[str, ByocBand] = {}
    for source, info in infos.items():
        if info.dtype not in FORMATS:
            raise _Unfit(
                f"{keys[source]} has numbers of type {info.dtype}; 8, 16 and 32 bit integers and 32 bit floats are possible"
            )
        depth, kind = FORMATS[info.dtype]
        for index, name in enumerate(band_names(source, info.band_count), 1):
            found[name] = ByocBand(source=source, band_index=index, bit_depth=depth, sample_format=kind)
    for name, band in known.items():
        _check_band(name, band, keys[band.source or ""], infos[band.source or ""])
    if not known and len(found) > 100:
        raise _Unfit(f"The files have {len(found)} bands; at most 100 are allowed")
    files = {source: file_body(keys[source], info.grid) for source, info in infos.items()}
    bands = known or found

    def find_cover(common: shapely.Polygon) -> shapely.Geometry:
        if not order.covers_data:
            return common
        nodata = {
            (band.source or "", band.band_index): (value, infos[band.source or ""])
            for band in bands.values()
            for value in [collection.nodata(band)]
        }
        layers = [
            Layer(info, index, info.nodata if value is None else value) for (_, index), (value, info) in nodata.items()
        ]
        area = find_data(reader, layers, common)
        if area is None:
            raise _Unfit("There is no data in any band, so that the cover cannot be found; give a coverGeometry")
        return area

    bbox, body = describe_tile(files, [info.grid for info in infos.values()], order.cover, find_cover)
    body |= pixel_sizes(infos.values())
    warnings = [text for source, info in infos.items() if (text := _warn(keys[source], info))]
    return Ingested(bbox, {**body, "warnings": "; ".join(warnings) or None}, {} if known else found)


def pixel_sizes(infos: Iterable[RasterInfo]) -> dict[str, float]:
    """Sizes of pixels in metres: the finest, and those of the coarsest overview that still has some pixels to a side."""
    from swathe.engine.presence import metres_per_unit

    finest, coarsest = math.inf, 0.0
    for info in infos:
        metres = metres_per_unit(info.grid.epsg)
        finest = min(finest, min(info.grid.pixel_size) * metres)
        usable = [n for n in range(1, len(info.overviews) + 1) if max(_size(info, n)) >= _LEAST_OVERVIEW_PX]
        coarsest = max(coarsest, *(max(info.level_grid(n).pixel_size) * metres for n in [0, *usable]))
    return {FINEST: round(finest, 6), COARSEST: round(coarsest, 6)}


def _size(info: RasterInfo, level: int) -> tuple[int, int]:
    return info.level(level).width, info.level(level).height


def _check_band(name: str, band: ByocBand, key: str, info: RasterInfo) -> None:
    if band.band_index > info.band_count:
        raise _Unfit(f"Band '{name}' is number {band.band_index} of {key}, which has {info.band_count}")
    if band.dtype != info.dtype:
        raise _Unfit(
            f"Band '{name}' is {band.sample_format} of {band.bit_depth} bits ({band.dtype}), but {key} has {info.dtype}"
        )


def _warn(key: str, info: RasterInfo) -> str | None:
    width, height = info.grid.width, info.grid.height
    if info.block_width >= width > _NEEDS_OVERVIEWS_PX:
        return f"{key} is not tiled; a cloud optimized GeoTIFF is read faster"
    if max(width, height) > _NEEDS_OVERVIEWS_PX and not info.overviews:
        return f"{key} has no overviews; a cloud optimized GeoTIFF is read faster"
    return None


def _template(path: str) -> str:
    """The path of a tile's files; one that names no file is the folder of files that are called as their bands."""
    if BAND in path or path.endswith(_EXTENSIONS):
        return path
    return f"{path}/{BAND}"


def _find_known(stores: ObjectStores, bucket: str, path: str, sources: Sequence[str]) -> dict[str, str]:
    template = _template(path)
    found = {}
    for source in sources:
        name = template.replace(BAND, source)
        candidates = [name] if name.endswith(_EXTENSIONS) else [f"{name}{extension}" for extension in _EXTENSIONS]
        key = next((key for key in candidates if stores.exists(f"s3://{bucket}/{key}")), None)
        if key is None:
            raise _Unfit(f"There is no file {' or '.join(candidates[:2])} in the bucket {bucket}")
        found[source] = key
    return found


def _find_any(stores: ObjectStores, bucket: str, path: str) -> dict[str, str]:
    template = _template(path)
    if BAND not in template:
        if not stores.exists(f"s3://{bucket}/{template}"):
            raise _Unfit(f"There is no file {template} in the bucket {bucket}")
        return {"B": template}
    before, *rest = template.split(BAND)
    pattern = re.escape(before) + "(?P<band>[^/]+?)" + "(?P=band)".join(re.escape(part) for part in rest)
    if not template.endswith(_EXTENSIONS):
        pattern += "(" + "|".join(map(re.escape, _EXTENSIONS)) + ")"
    matcher = re.compile(pattern)
    found: dict[str, str] = {}
    for key in _list(stores, bucket, before.rpartition("/")[0]):
        if match := matcher.fullmatch(key):
            found.setdefault(match["band"], key)
    if not found:
        raise _Unfit(
            f"There are no files {template}{'' if template.endswith(_EXTENSIONS) else '.tiff'} in the bucket {bucket}"
        )
    return dict(sorted(found.items()))


def _list(stores: ObjectStores, bucket: str, folder: str) -> Iterator[str]:
    url = f"s3://{bucket}/{folder}/" if folder else f"s3://{bucket}"
    start = len(f"s3://{bucket}/")
    return (found[start:] for found in itertools.islice(stores.list_keys(url), _MOST_LISTED))


def _epsg_of(cover: Mapping[str, Any]) -> int:
    crs = cover.get("crs")
    name = (crs.get("properties") or {}).get("name") if isinstance(crs, Mapping) else None
    return parse_epsg(str(name), "coverGeometry->crs") if name else WGS84


def _polygon_of(cover: Mapping[str, Any]) -> shapely.Geometry:
    from swathe.jobs.byoc_covers import read_cover

    return read_cover(cover)


def _project(geometry: shapely.Geometry, source: int, target: int) -> shapely.Geometry:
    import numpy as np
    import shapely
    from pyproj import Transformer
    from pyproj.exceptions import ProjError

    if source == target:
        return geometry
    try:
        change = Transformer.from_crs(source, target, always_xy=True)
        moved = shapely.transform(geometry, lambda xy: np.stack(change.transform(xy[:, 0], xy[:, 1]), axis=1))
    except ProjError:
        raise RequestInvalid(f"EPSG:{source if target == WGS84 else target} cannot be projected") from None
    if not np.isfinite(shapely.get_coordinates(moved)).all():
        raise RequestInvalid(f"A part of it lies where EPSG:{source} is not defined")
    return moved


def _to_degrees(geometry: shapely.Geometry, epsg: int) -> shapely.Geometry:
    """In longitude and latitude; cut at the antimeridian where it crosses it."""
    import numpy as np
    import shapely

    moved = _project(geometry, epsg, WGS84)
    west, _, east, _ = moved.bounds
    if east - west > 180.0 and epsg != WGS84:
        moved = shapely.transform(moved, lambda xy: xy + np.where(xy[:, :1] < 0, [[360.0, 0.0]], 0.0))
    if moved.bounds[2] <= 180.0:
        return moved
    here = shapely.intersection(moved, shapely.box(-180, -90, 180, 90))
    there = shapely.transform(
        shapely.intersection(moved, shapely.box(180, -90, 540, 90)), lambda xy: xy - [[360.0, 0.0]]
    )
    return shapely.union_all([here, there])


def _box_of(footprint: shapely.Geometry) -> Bbox:
    import shapely

    west, south, east, north = footprint.bounds
    parts = shapely.get_parts(footprint)
    if west == -180.0 and east == 180.0 and len(parts) > 1:
        lefts = [part.bounds[0] for part in parts if part.bounds[2] == 180.0]
        rights = [part.bounds[2] for part in parts if part.bounds[0] == -180.0]
        if lefts and rights and min(lefts) > max(rights):
            return min(lefts), south, max(rights), north
    return west, south, east, north
