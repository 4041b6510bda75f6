"""NDVI of the tiles of a grid as GeoTIFFs, by Swathe's engine and by `gdalwarp` with NumPy, in turns on one machine.

    python benchmarks/process.py                                  # 9 tiles of 2004 x 2004 over two granules of one day
    python benchmarks/process.py --size 1098 --tiles 4 --tile 512 --runs 1     # a check of the benchmark, in seconds
    python benchmarks/process.py --dates 5 --lonlat --json FILE   # the latest of five days, in EPSG:4326

Both write the same: one GeoTIFF a tile, float32, deflate with predictor 3, blocks of 256 x 256, NaN where there is no
data. What they made is compared, cell by cell. Inputs are those of `benchmarks/main_job.py`: two overlapping
Sentinel-2-like granules, deflated COGs. All from a warm page cache; each is a whole process, with its start.

The peer is what a user would write: for each tile and band one `gdalwarp -r near` of the scenes, the one on top last, into
an uncompressed file; then NumPy takes NDVI and rasterio writes it. With `--workers 2` two tiles go side by side. Without
the program `gdalwarp` on the path it is `rasterio.warp.reproject`, the same code of GDAL.

Between two systems `gdalwarp` by itself puts cells up to an eighth of a pixel beside their place, so some take another
pixel; with `--exact` it does not, takes longer, and no cell differs.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from main_job_parts.process import TreeMemory
from main_job_parts.scenes import EPSG, ORIGIN, Granule, Scene, Storage, make_scenes, write_catalog
from rasterio.transform import Affine
from rasterio.warp import Resampling, reproject, transform_bounds

SCRIPT = """//VERSION=3
function setup() {
  return {
    input: ["B04", "B08", "dataMask"],
    output: {bands: 1, sampleType: "FLOAT32", nodataValue: NaN}
  }
}
function evaluatePixel(s) {
  return [s.dataMask ? (s.B08 - s.B04) / (s.B08 + s.B04) : NaN]
}
"""
_PACKING = {"compress": "deflate", "predictor": 3, "tiled": True, "blockxsize": 256, "blockysize": 256}


@dataclass(frozen=True)
class Tile:
    """A tile's grid, and its name."""

    name: str
    epsg: int
    x0: float
    y0: float
    dx: float
    dy: float
    size: int

    @property
    def transform(self) -> Affine:
        return Affine(self.dx, 0, self.x0, 0, -self.dy, self.y0)

    @property
    def extent(self) -> list[str]:
        """What gdalwarp takes for -te: repr keeps all digits."""
        bounds = (self.x0, self.y0 - self.size * self.dy, self.x0 + self.size * self.dx, self.y0)
        return [repr(number) for number in bounds]


@dataclass(frozen=True)
class Spec:
    """What a run makes: `rasters` by band, the one on top last; `catalog` has the same scenes."""

    tiles: list[dict[str, Any]]
    rasters: dict[str, list[str]]
    catalog: str
    output: str
    workers: int
    exact: bool = False


def main() -> int:
    from main_job_parts.scenes import Storage

    options = _options()
    folder = Path(options.folder or tempfile.mkdtemp(prefix="swathe-process-"))
    storage = Storage(options.size, options.blocks)
    scenes = make_scenes(folder, storage, "ab", options.dates, ("B04", "B08"))
    catalog = folder / storage.name / f"items-process-{options.dates}.geojson"
    write_catalog(catalog, scenes)
    tiles = _tiles(options, storage)
    rasters = {band: [str(scene.paths[band]) for scene in _from_below(scenes)] for band in ("B04", "B08")}
    print(f"{len(tiles)} tiles of {options.tile} x {options.tile}, {len(scenes)} scenes, {options.workers} workers")
    times: dict[str, list[dict[str, float]]] = {"swathe": [], "gdalwarp": []}
    try:
        for run in range(options.runs + 1):  # the first one warms up
            for name, found in times.items():
                output = folder / f"out-{name}"
                shutil.rmtree(output, ignore_errors=True)
                output.mkdir()
                spec = Spec(
                    [asdict(tile) for tile in tiles], rasters, str(catalog), str(output), options.workers, options.exact
                )
                taken = _run(name, spec, folder / f"{name}.json")
                if run or not options.runs:
                    found.append(taken)
                    print(f"  {name:9} {taken['seconds']:6.2f} s, {taken['cpu_seconds']:6.2f} s of processor")
        differing = _compare(folder, tiles)
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    medians = {name: statistics.median(run["seconds"] for run in found) for name, found in times.items()}
    megapixels = len(tiles) * options.tile**2 / 1e6
    for name, seconds in medians.items():
        peak = max(run["peak_bytes"] for run in times[name]) / 2**20
        print(f"{name:9} {seconds:6.2f} s, {megapixels / seconds:6.1f} Mpx/s, {peak:.0f} MiB at most")
    print(f"{medians['swathe'] / medians['gdalwarp']:.2f} times gdalwarp's time; {differing} cells differ")
    if options.json:
        Path(options.json).write_text(json.dumps({"runs": times, "medians": medians, "differing": differing}, indent=1))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=5490, help="side of a granule in pixels")
    parser.add_argument("--blocks", type=int, default=512)
    parser.add_argument("--dates", type=int, default=1)
    parser.add_argument("--tiles", type=int, default=9)
    parser.add_argument("--tile", type=int, default=2004, help="side of a tile in cells")
    parser.add_argument("--lonlat", action="store_true", help="tiles in EPSG:4326")
    parser.add_argument("--exact", action="store_true", help="gdalwarp transforms every cell, as Swathe in effect does")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", help="keeps the inputs here")
    parser.add_argument("--json", help="figures of every run")
    return parser.parse_args()


def _tiles(options: argparse.Namespace, storage: Storage) -> list[Tile]:
    """Square tiles in rows from the north-west of the first granule on, the last ones partly beyond the scenes."""

    land = Granule("a", storage.size).land.join(Granule("b", storage.size).land)
    across = math.ceil(options.tiles**0.5)
    if options.lonlat:
        west, _, _, north = transform_bounds(EPSG, 4326, land.xmin, land.ymin, land.xmax, land.ymax)
        epsg, x0, y0, cell = 4326, round(west, 2), round(north, 2), 0.0001
    else:
        # tiles of 20040 m whose corners lie on whole 20 km, as those of the tiling grids
        epsg, x0, y0, cell = EPSG, ORIGIN[0], ORIGIN[1] - 3.0 * 10, 10.0
    step = (options.tile - 4) * cell
    return [
        Tile(f"t{number}", epsg, x0 + number % across * step, y0 - number // across * step, cell, cell, options.tile)
        for number in range(options.tiles)
    ]


def _from_below(scenes: list[Scene]) -> list[Scene]:
    """The scene on top last: the most recent, of equal times the first by name."""
    return sorted(sorted(scenes, key=lambda scene: scene.id, reverse=True), key=lambda scene: scene.when)


def _run(name: str, spec: Spec, file: Path) -> dict[str, float]:
    """A whole process, with all its children."""

    file.write_text(json.dumps(asdict(spec)))
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, __file__, name, str(file)], env={**os.environ, "GDAL_PAM_ENABLED": "NO"}
    )
    memory = TreeMemory(process.pid)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    peak = memory.stop()
    if process.returncode:
        raise SystemExit(f"{name} ended with {process.returncode}")
    return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_bytes": float(peak)}


def _compare(folder: Path, tiles: list[Tile]) -> int:
    """Cells in which the two differ by more than rounding, or in whether there is data."""
    differing = 0
    for tile in tiles:
        values = []
        for name in ("swathe", "gdalwarp"):
            with rasterio.open(folder / f"out-{name}" / f"{tile.name}.tif") as file:
                values.append(file.read(1))
        differing += int((~np.isclose(*values, rtol=0, atol=1e-6, equal_nan=True)).sum())
    return differing


def run_swathe(spec: Spec) -> None:
    from swathe.engine.compute import Engine
    from swathe.grids.raster_grid import RasterGrid
    from swathe.model.process import ProcessRequest
    from swathe.rasters.encode import open_writer
    from swathe.settings import CollectionSettings, Settings

    data = {
        "type": "sentinel-2-l2a",
        "dataFilter": {"timeRange": {"from": "2020-06-01T00:00:00Z", "to": "2020-08-01T00:00:00Z"}},
    }
    request = ProcessRequest.model_validate({"input": {"data": [data]}, "evalscript": SCRIPT})
    settings = Settings(collections=(CollectionSettings(type="sentinel-2-l2a", source=spec.catalog),))
    with Engine(settings, lanes=spec.workers) as engine:
        engine.start()
        for tile in [Tile(**values) for values in spec.tiles]:
            grid = RasterGrid(tile.epsg, tile.x0, tile.y0, tile.dx, tile.dy, tile.size, tile.size)
            image = engine.process_strips(request, grid)
            path = Path(spec.output) / f"{tile.name}.tif"
            with open_writer("image/tiff", path, grid, image.outputs[0]) as writer:
                for strip in image.strips:
                    writer.write(strip.arrays["default"], strip.first_row)
            if os.environ.get("SWATHE_BENCH_COUNTERS"):
                print(tile.name, {name: round(value, 3) for name, value in image.counters.items()})


def run_gdalwarp(spec: Spec) -> None:
    tiles = [Tile(**values) for values in spec.tiles]
    if spec.workers == 1:
        for tile in tiles:
            warp_tile(spec, tile)
        return
    with ProcessPoolExecutor(spec.workers) as pool:
        list(pool.map(warp_tile, [spec] * len(tiles), tiles))


def warp_tile(spec: Spec, tile: Tile) -> None:
    red, near = (_warped(spec, tile, band).astype(np.float32) for band in ("B04", "B08"))
    with np.errstate(invalid="ignore", divide="ignore"):
        ndvi = np.where((red != 0) & (near != 0), (near - red) / (near + red), np.float32(np.nan))
    path = Path(spec.output) / f"{tile.name}.tif"
    form = {
        "driver": "GTiff",
        "width": tile.size,
        "height": tile.size,
        "count": 1,
        "dtype": "float32",
        "nodata": np.nan,
    }
    with rasterio.open(path, "w", **form, crs=f"EPSG:{tile.epsg}", transform=tile.transform, **_PACKING) as file:
        file.write(ndvi, 1)


def _warped(spec: Spec, tile: Tile, band: str) -> np.ndarray:
    program = shutil.which("gdalwarp")
    if program is None:
        values = np.zeros((tile.size, tile.size), np.uint16)
        for path in spec.rasters[band]:
            with rasterio.open(path) as file:
                reproject(
                    rasterio.band(file, 1), values, dst_transform=tile.transform, dst_crs=f"EPSG:{tile.epsg}",
                    src_nodata=0, dst_nodata=0, init_dest_nodata=False, resampling=Resampling.nearest,
                )  # fmt: skip
        return values
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{band}.tif"
        command = [program, "-q", "-t_srs", f"EPSG:{tile.epsg}", "-te", *tile.extent]
        command += ["-et", "0"] if spec.exact else []
        command += ["-ts", str(tile.size), str(tile.size), "-r", "near", "-srcnodata", "0", "-dstnodata", "0"]
        subprocess.run([*command, *spec.rasters[band], str(path)], check=True)
        with rasterio.open(path) as file:
            return np.asarray(file.read(1))


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] in ("swathe", "gdalwarp"):
        given = Spec(**json.loads(Path(sys.argv[2]).read_text()))
        (run_swathe if sys.argv[1] == "swathe" else run_gdalwarp)(given)
    else:
        sys.exit(main())
