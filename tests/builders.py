"""Small test data made on the fly: rasters, STAC catalogs, GeoPackages, requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from pyproj import Transformer
from rasterio.transform import Affine

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

NDVI = """//VERSION=3
function setup() {
  return {
    input: [{bands: ["B04", "B08", "dataMask"]}],
    output: [{id: "ndvi", bands: ["value"]}, {id: "dataMask", bands: 1}]
  }
}
function evaluatePixel(s) {
  return {ndvi: [(s.B08 - s.B04) / (s.B08 + s.B04)], dataMask: [s.dataMask]}
}
"""


def make_cog(
    path: Path,
    values: np.ndarray,
    *,
    epsg: int = 32633,
    origin: tuple[float, float] = (500_000.0, 5_100_000.0),
    pixel: float = 10.0,
    block: int = 32,
    nodata: float | None = 0,
    predictor: int | None = None,
) -> Path:
    """A tiled, deflated GeoTIFF of `values` (h, w) or (bands, h, w)."""
    stack = values if values.ndim == 3 else values[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=stack.shape[2],
        height=stack.shape[1],
        count=stack.shape[0],
        dtype=stack.dtype,
        crs=f"EPSG:{epsg}",
        transform=Affine(pixel, 0, origin[0], 0, -pixel, origin[1]),
        nodata=nodata,
        tiled=True,
        blockxsize=block,
        blockysize=block,
        compress="deflate",
        predictor=predictor or (3 if stack.dtype.kind == "f" else 2),
    ) as file:
        file.write(stack)
    return path


def make_scene(
    folder: Path,
    name: str,
    when: str,
    bands: Mapping[str, np.ndarray],
    *,
    epsg: int = 32633,
    origin: tuple[float, float] = (500_000.0, 5_100_000.0),
    pixel: float = 10.0,
    cloud_cover: float | None = 0.0,
    nodata: float | None = 0,
    scale: float | None = 0.0001,
    offset: float = 0.0,
    pixels: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Writes a COG per band and returns the STAC item, its hrefs relative to `folder`'s catalog."""
    assets = {}
    right = bottom = 0.0
    for band, values in bands.items():
        size = (pixels or {}).get(band, pixel)
        make_cog(folder / name / f"{band}.tif", values, epsg=epsg, origin=origin, pixel=size, nodata=nodata)
        height, width = values.shape[-2:]
        right, bottom = max(right, width * size), max(bottom, height * size)
        asset: dict[str, Any] = {
            "href": f"./{name}/{band}.tif",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data"],
            "nodata": nodata,
            "proj:shape": [height, width],
            "proj:transform": [size, 0.0, origin[0], 0.0, -size, origin[1]],
            "bands": [{"name": band}],
        }
        if scale is not None and band not in ("SCL", "CLM"):
            asset |= {"raster:scale": scale, "raster:offset": offset}
        assets[band] = asset
    box = shapely.box(origin[0], origin[1] - bottom, origin[0] + right, origin[1])
    change = Transformer.from_crs(epsg, 4326, always_xy=True)
    footprint = shapely.transform(box, lambda xy: np.stack(change.transform(xy[:, 0], xy[:, 1]), axis=1))
    properties: dict[str, Any] = {"datetime": when, "proj:code": f"EPSG:{epsg}"}
    if cloud_cover is not None:
        properties["eo:cloud_cover"] = cloud_cover
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "geometry": shapely.geometry.mapping(footprint),
        "bbox": list(footprint.bounds),
        "properties": properties,
        "assets": assets,
        "links": [],
    }


def make_catalog(folder: Path, items: Sequence[Mapping[str, Any]]) -> Path:
    """A STAC FeatureCollection, `items.geojson`, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "items.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(items)}))
    return path


def make_geopackage(
    path: Path,
    polygons: Sequence[Any],
    *,
    epsg: int = 32633,
    ids: Sequence[int] | None = None,
    identifiers: Sequence[str] | None = None,
    layer: str = "parcels",
) -> Path:
    """A GeoPackage with one layer; keys are 1, 2, … unless given."""
    columns: dict[str, Any] = {}
    if identifiers is not None:
        columns["identifier"] = list(identifiers)
    frame = gpd.GeoDataFrame(columns, geometry=list(polygons), crs=f"EPSG:{epsg}")
    frame.index = list(ids) if ids is not None else range(1, len(frame) + 1)
    frame.index.name = "fid"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_file(path, layer=layer, driver="GPKG", index=True, layer_options={"FID": "fid"}, engine="pyogrio")
    return path


def telling_band(number: int, day: int, side: int) -> np.ndarray:
    """Values (side, side) uint16 that tell bands, days, rows and columns apart; those of some pixels are no data."""
    rows, columns = np.mgrid[:side, :side]
    values = (1000 * number + 50 * day + 3 * rows + columns).astype(np.uint16)
    values[40:44, 50:60] = 0
    return values


def make_telling_scenes(
    folder: Path,
    days: Mapping[int, float],
    band: Callable[[int, int], np.ndarray],
    *,
    clock: str = "10:00:00Z",
    **how: Any,
) -> list[dict[str, Any]]:
    """Scenes of June 2020 by day and cloud cover; B04 is `band(1, day)`, B08 `band(3, day)`."""
    return [
        make_scene(
            folder,
            f"S{day}",
            f"2020-06-{day:02}T{clock}",
            {"B04": band(1, day), "B08": band(3, day)},
            cloud_cover=cloud,
            **how,
        )
        for day, cloud in days.items()
    ]


def make_request(
    script: str = NDVI,
    *,
    start: str = "2020-06-01T00:00:00Z",
    end: str = "2020-07-01T00:00:00Z",
    of: str = "P1D",
    data: Sequence[Mapping[str, Any]] = ({"type": "sentinel-2-l2a"},),
    calculations: Mapping[str, Any] | None = None,
    **aggregation: Any,
) -> dict[str, Any]:
    """The body of a statistical request without features and output."""
    if not {"resx", "width", "sampling"} & set(aggregation):
        aggregation |= {"resx": 10, "resy": 10}
    body: dict[str, Any] = {
        "input": {"data": [dict(source) for source in data]},
        "aggregation": {
            "timeRange": {"from": start, "to": end},
            "aggregationInterval": {"of": of},
            "evalscript": script,
            **aggregation,
        },
    }
    if calculations is not None:
        body["calculations"] = dict(calculations)
    return body
