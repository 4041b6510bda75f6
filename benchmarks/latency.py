"""One parcel, one year, P1D, asked of the Statistical API of a warm server: against reading and decoding its blocks once.

    python benchmarks/latency.py                                # 73 dates of two bands, local COGs of 512 px blocks
    python benchmarks/latency.py --dates 10 --runs 3            # a check of the benchmark, in seconds
    python benchmarks/latency.py --folder DIR --json FILE       # DIR keeps the inputs

NDVI with dataMask of a field of 3.5 ha that lies in one block, per day, over a year with a scene every fifth day: each
block is needed for a few hundred of its 262,144 pixels, so nothing but decoding should take long. Compared, in turns
within the same run and from a warm page cache:

    request   `POST /api/v1/statistics` over HTTP to `swathe serve`, from the body to the last byte of the answer
    gdal      `rasterio` opens each file and reads the block that the field lies in
    floor     code of the benchmark's own: `libdeflate` and a compiled predictor (`main_job_parts/floor.py`)

Both of these with one thread and with as many as the server has for a request. What the answer says is checked against
NumPy for one day.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import rasterio
import rasterio.features
import shapely
import shapely.affinity
from main_job_parts.floor import needed_blocks, run_floor
from main_job_parts.scenes import EPSG, ORIGIN, Scene, Storage, make_scenes, write_catalog
from rasterio.windows import Window

SCRIPT = """//VERSION=3
function setup() {
  return {
    input: [{bands: ["B04", "B08", "dataMask"]}],
    output: [{id: "ndvi", bands: 1, sampleType: "FLOAT32"}, {id: "dataMask", bands: 1}]
  }
}
function evaluatePixel(s) {
  return {ndvi: [(s.B08 - s.B04) / (s.B08 + s.B04)], dataMask: [s.dataMask]}
}
"""
_EVERY_DAYS = 5
_SIDE_M = 187.0  # 3.5 ha
_WARM_UP = 3


def main() -> int:
    options = _options()
    folder = Path(options.folder or tempfile.mkdtemp(prefix="swathe-latency-")).resolve()
    try:
        scenes = _scenes(folder, options)
        field = _field(options)
        needed = needed_blocks(scenes, np.array([field]))
        print(
            f"{len(scenes)} dates, {needed.blocks} blocks, {needed.stored_bytes / 1e6:.1f} MB stored,"
            f" {needed.decoded_bytes / 1e6:.1f} MB decoded"
        )
        with _serve(folder, options) as http:
            ways: dict[str, Callable[[], Any]] = {"request": lambda: _ask(http, field)}
            for threads in sorted({1, options.threads}):
                ways[f"gdal, {threads} thread{'s' * (threads > 1)}"] = lambda n=threads: _read_by_gdal(scenes, field, n)
                ways[f"floor, {threads} thread{'s' * (threads > 1)}"] = lambda n=threads: run_floor(needed, n)
            _check(_ask(http, field), scenes, field)
            times = _measure(ways, options.runs)
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    medians = {name: statistics.median(found) for name, found in times.items()}
    for name, seconds in medians.items():
        print(
            f"{name:18} {seconds * 1000:7.1f} ms ({min(times[name]) * 1000:.1f} to {max(times[name]) * 1000:.1f});"
            f" the request takes {medians['request'] / seconds:.2f} times as long"
        )
    if options.json:
        Path(options.json).write_text(json.dumps({"seconds": times, "medians": medians}, indent=1))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dates", type=int, default=73)
    parser.add_argument("--size", type=int, default=1098, help="side of the granule in pixels")
    parser.add_argument("--blocks", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2, help="threads that the server gives to a request")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--folder", help="keeps the inputs here")
    parser.add_argument("--json", help="figures of every run")
    return parser.parse_args()


def _scenes(folder: Path, options: argparse.Namespace) -> list[Scene]:
    storage = Storage(options.size, options.blocks)
    scenes = [
        replace(scene, when=scene.when + timedelta(days=(_EVERY_DAYS - 1) * number))
        for number, scene in enumerate(make_scenes(folder, storage, "a", options.dates, ("B04", "B08")))
    ]
    write_catalog(folder / storage.name / "items-latency.geojson", scenes)
    return scenes


def _field(options: argparse.Namespace) -> shapely.Polygon:
    """A field in the middle of a block that has data everywhere."""
    at = (options.size // options.blocks - 0.5) * options.blocks * 10.0
    x, y = ORIGIN[0] + at, ORIGIN[1] - at
    square = shapely.box(x, y, x + _SIDE_M, y + _SIDE_M)
    return shapely.affinity.rotate(square, 20)


@contextmanager
def _serve(folder: Path, options: argparse.Namespace) -> Iterator[httpx.Client]:
    catalog = folder / Storage(options.size, options.blocks).name / "items-latency.geojson"
    config = folder / "config.toml"
    config.write_text(
        f'[[collections]]\ntype = "sentinel-2-l2a"\nsource = "{catalog}"\n'
        f"[services]\nprocesses = 1\nthreads = {options.threads}\n"
    )
    home = Path(tempfile.mkdtemp(prefix="home-", dir=folder))
    program = [sys.executable, "-m", "swathe"]
    server = subprocess.Popen(
        [*program, "serve", "--home", str(home), "--port", "0", "--config", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        found = re.search(r"http://\S+", server.stdout.readline() if server.stdout else "")
        if found is None:
            raise SystemExit("the server did not start")
        made = subprocess.run(
            [*program, "client", "create", "bench", "--home", str(home), "--json"], capture_output=True, check=True
        )
        with httpx.Client(base_url=found.group(), timeout=300) as http:
            token = http.post("/oauth/token", data={"grant_type": "client_credentials", **json.loads(made.stdout)})
            http.headers["Authorization"] = f"Bearer {token.json()['access_token']}"
            yield http
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(home, ignore_errors=True)


def _ask(http: httpx.Client, field: shapely.Polygon) -> dict[str, Any]:
    answer = http.post(
        "/api/v1/statistics",
        json={
            "input": {
                "bounds": {
                    "geometry": json.loads(shapely.to_geojson(field)),
                    "properties": {"crs": f"http://www.opengis.net/def/crs/EPSG/0/{EPSG}"},
                },
                "data": [{"type": "sentinel-2-l2a"}],
            },
            "aggregation": {
                "timeRange": {"from": "2020-06-01T00:00:00Z", "to": "2021-06-01T00:00:00Z"},
                "aggregationInterval": {"of": "P1D"},
                "resx": 10,
                "resy": 10,
                "evalscript": SCRIPT,
            },
        },
    )
    if answer.status_code != 200:
        raise SystemExit(answer.text)
    found: dict[str, Any] = answer.json()
    return found


def _read_by_gdal(scenes: list[Scene], field: shapely.Polygon, threads: int) -> int:
    """Bytes of the blocks that the field lies in, each file opened once."""
    paths = [path for scene in scenes for path in scene.paths.values()]
    if threads == 1:
        return sum(len(_block_of(path, field)) for path in paths)
    with ThreadPoolExecutor(threads) as pool:
        return sum(len(values) for values in pool.map(lambda path: _block_of(path, field), paths))


def _block_of(path: Path, field: shapely.Polygon) -> np.ndarray:
    with rasterio.open(path) as file:
        side = file.block_shapes[0][0]
        row, column = file.index(field.centroid.x, field.centroid.y)
        return file.read(1, window=Window(column // side * side, row // side * side, side, side))


def _check(answer: dict[str, Any], scenes: list[Scene], field: shapely.Polygon) -> None:
    """That every day is there, and the mean of the first is that of the cells in the field."""
    if len(answer["data"]) != len(scenes):
        raise SystemExit(f"{len(answer['data'])} intervals for {len(scenes)} scenes")
    values = []
    for band in ("B04", "B08"):
        with rasterio.open(scenes[0].paths[band]) as file:
            inside = rasterio.features.geometry_mask([field], file.shape, file.transform, invert=True)
            values.append(file.read(1)[inside].astype(float))
    ndvi = (values[1] - values[0]) / (values[1] + values[0])
    mean = answer["data"][0]["outputs"]["ndvi"]["bands"]["B0"]["stats"]["mean"]
    if abs(mean - ndvi.mean()) > 0.02:  # the service's grid is the field's own box, not the source's pixels
        raise SystemExit(f"a mean of {mean} where NumPy has {ndvi.mean()}")


def _measure(ways: dict[str, Callable[[], Any]], runs: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in ways}
    os.sync()
    for run in range(runs + _WARM_UP):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if run >= _WARM_UP:
                times[name].append(time.perf_counter() - started)
    return times


if __name__ == "__main__":
    sys.exit(main())
