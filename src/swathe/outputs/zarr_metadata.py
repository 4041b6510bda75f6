"""What a Zarr group says of itself, as the objects that hold it: `.zgroup` and its like in version 2, `zarr.json` in 3.

Readers find the CRS in several ways, and all are served: `_CRS` of each array (GDAL, QGIS), `grid_mapping` with
`crs_wkt`, `spatial_ref` and `GeoTransform` (CF, rioxarray), and `x` and `y` of the pixels' centres. All metadata are also
in one object, so that opening a group takes one request.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pyproj import CRS, Transformer

from swathe.model.time import format_time
from swathe.outputs.zarr_codecs import takes_numbers
from swathe.outputs.zarr_plan import DIMENSIONS, GRID_MAPPING, TIME, ArrayPlan, X, Y, ZarrPlan

_EPOCH = "seconds since 1970-01-01T00:00:00"
_EDGE_POINTS = 21
_SHUFFLES = {0: "noshuffle", 1: "shuffle", 2: "bitshuffle"}
# Compressors and filters that version 3 has itself; the others go by the name of the library that has them.
_OWN_CODECS = ("blosc", "gzip", "zstd")

Json = dict[str, Any]


@dataclass(frozen=True)
class _Node:
    """An array as both versions tell it; `values` are those of a coordinate, which is one chunk."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dimensions: tuple[str, ...]
    fill_value: float | int | None
    attributes: Json
    compressor: Mapping[str, Any] | None = None
    filters: tuple[Mapping[str, Any], ...] = ()
    values: npt.NDArray[Any] | None = None


def describe(plan: ZarrPlan) -> dict[str, bytes]:
    """The objects that make the group, by key below its address: metadata and coordinates, the one for all metadata last."""
    nodes = [*_coordinates(plan), *(_array_node(plan, array) for array in plan.arrays)]
    describe_nodes = _describe_v3 if plan.zarr_format == 3 else _describe_v2
    objects: dict[str, bytes] = {}
    for node in nodes:
        if node.values is not None:
            objects[f"{node.name}/{chunk_key(plan.zarr_format, (0,) * len(node.shape))}"] = node.values.tobytes()
    return objects | {key: _dump(value) for key, value in describe_nodes(_group_attributes(plan), nodes).items()}


def chunk_key(zarr_format: int, numbers: tuple[int, ...]) -> str:
    """The name of a chunk below its array."""
    if zarr_format == 3:
        return "/".join(("c", *map(str, numbers)))
    return ".".join(map(str, numbers)) or "0"


def _describe_v2(attributes: Json, nodes: list[_Node]) -> dict[str, Json]:
    found: dict[str, Json] = {".zgroup": {"zarr_format": 2}, ".zattrs": attributes}
    for node in nodes:
        found[f"{node.name}/.zarray"] = {
            "zarr_format": 2,
            "shape": list(node.shape),
            "chunks": list(node.chunks),
            "dtype": node.dtype,
            "compressor": None if node.compressor is None else dict(node.compressor),
            "fill_value": _fill_as_json(node.fill_value),
            "order": "C",
            "filters": [dict(filter_) for filter_ in node.filters] or None,
            "dimension_separator": ".",
        }
        found[f"{node.name}/.zattrs"] = {"_ARRAY_DIMENSIONS": list(node.dimensions), **node.attributes}
    return {**found, ".zmetadata": {"zarr_consolidated_format": 1, "metadata": found}}


def _describe_v3(attributes: Json, nodes: list[_Node]) -> dict[str, Json]:
    arrays = {node.name: _array_v3(node) for node in nodes}
    group = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": attributes,
        "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": arrays},
    }
    return {**{f"{name}/zarr.json": array for name, array in arrays.items()}, "zarr.json": group}


def _array_v3(node: _Node) -> Json:
    dtype = np.dtype(node.dtype)
    order = {} if dtype.itemsize == 1 else {"configuration": {"endian": "big" if node.dtype[0] == ">" else "little"}}
    codecs = [_codec_v3(filter_, dtype) for filter_ in node.filters if takes_numbers(filter_)]
    codecs.append({"name": "bytes", **order})
    codecs += [_codec_v3(filter_, dtype) for filter_ in node.filters if not takes_numbers(filter_)]
    if node.compressor is not None:
        codecs.append(_codec_v3(node.compressor, dtype))
    attributes = node.attributes
    if node.fill_value is not None:
        # Version 3 has a fill value for everything; that these stand for no data is said by the attribute.
        fill = node.fill_value
        packed = base64.standard_b64encode(struct.pack("<d", fill)).decode() if dtype.kind == "f" else fill
        attributes = {"_FillValue": packed, **attributes}
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(node.shape),
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(node.chunks)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": _fill_as_json(0 if node.fill_value is None else node.fill_value),
        "codecs": codecs,
        "attributes": attributes,
        "dimension_names": list(node.dimensions),
    }


def _codec_v3(config: Mapping[str, Any], dtype: np.dtype[Any]) -> Json:
    kind = config["id"]
    settings = {key: value for key, value in config.items() if key != "id"}
    if kind == "blosc":
        shuffle = settings.get("shuffle", 1)
        chosen = shuffle if shuffle >= 0 else 2 if dtype.itemsize == 1 else 1
        settings = {"cname": "lz4", "clevel": 5, "blocksize": 0, **settings, "shuffle": _SHUFFLES[chosen]}
        settings["typesize"] = dtype.itemsize
    elif kind == "gzip":
        settings = {"level": 1, **settings}
    elif kind == "zstd":
        settings = {"level": 1, "checksum": False, **settings}
    if kind not in _OWN_CODECS:
        kind = f"numcodecs.{kind}"
    return {"name": kind, "configuration": settings}


def _array_node(plan: ZarrPlan, array: ArrayPlan) -> _Node:
    crs = CRS.from_epsg(plan.grid.epsg)
    attributes: Json = {
        "grid_mapping": GRID_MAPPING,
        "_CRS": {
            "url": f"http://www.opengis.net/def/crs/EPSG/0/{plan.grid.epsg}",
            "wkt": crs.to_wkt(),
            "projjson": crs.to_json_dict(),
        },
        **array.attributes,
    }
    chunks = (1, array.chunk_height, array.chunk_width)
    return _Node(
        array.name,
        array.dtype,
        plan.shape,
        chunks,
        DIMENSIONS,
        array.fill_value,
        attributes,
        array.compressor,
        array.filters,
    )


def _coordinates(plan: ZarrPlan) -> list[_Node]:
    grid, crs = plan.grid, CRS.from_epsg(plan.grid.epsg)
    lattice = grid.lattice
    xs = lattice.x(lattice.column + np.arange(grid.width, dtype=np.float64) + 0.5)
    ys = lattice.y(lattice.row + np.arange(grid.height, dtype=np.float64) + 0.5)
    a, b, c, d, e, f = grid.transform
    if plan.bottom_up:
        ys, e, f = ys[::-1], grid.dy, grid.bounds[1]
    seconds = np.array([math.floor(time.start.timestamp()) for time in plan.times], "<i8")
    times: Json = {"standard_name": "time", "axis": "T", "units": _EPOCH, "calendar": "proleptic_gregorian"}
    words = {
        X: {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east"},
        Y: {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north"},
    }
    if not crs.is_geographic:
        unit = crs.axis_info[0].unit_name
        words = {
            axis: {
                "standard_name": f"projection_{axis}_coordinate",
                "long_name": f"{axis} coordinate of projection",
                "units": "m" if unit == "metre" else unit,
            }
            for axis in (X, Y)
        }
    mapping = {
        **crs.to_cf(),
        "spatial_ref": crs.to_wkt(),
        "GeoTransform": " ".join(repr(float(number)) for number in (c, a, b, f, d, e)),
    }
    return [
        _coordinate(TIME, seconds, times),
        _coordinate(Y, ys.astype("<f8"), {**words[Y], "axis": "Y"}),
        _coordinate(X, xs.astype("<f8"), {**words[X], "axis": "X"}),
        _Node(GRID_MAPPING, "<i8", (), (), (), None, mapping, values=np.zeros((), "<i8")),
    ]


def _coordinate(name: str, values: npt.NDArray[Any], attributes: Json) -> _Node:
    return _Node(name, values.dtype.str, values.shape, values.shape, (name,), None, attributes, values=values)


def _group_attributes(plan: ZarrPlan) -> Json:
    grid = plan.grid
    lonlat = Transformer.from_crs(CRS.from_epsg(grid.epsg), CRS.from_epsg(4326), always_xy=True)
    west, south, east, north = lonlat.transform_bounds(*grid.bounds, densify_pts=_EDGE_POINTS)
    return {
        "Conventions": "CF-1.8, ACDD-1.3",
        "date_modified": format_time(plan.modified),
        "geospatial_lat_min": south,
        "geospatial_lat_max": north,
        "geospatial_lon_min": west,
        "geospatial_lon_max": east,
        "time_coverage_start": format_time(min(time.start for time in plan.times)),
        "time_coverage_end": format_time(max(time.end for time in plan.times)),
        # so that xarray has it among the coordinates, where rioxarray looks for the CRS
        "coordinates": GRID_MAPPING,
        **plan.attributes,
    }


def _fill_as_json(value: float | int | None) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _dump(value: Json) -> bytes:
    return json.dumps(value, indent=2, allow_nan=False).encode()
