"""What a user would write instead, each as well as it is known to go. Runs in a process of its own:
`python -m main_job_parts.peers NAME SPEC.json` writes the results as Parquet and prints seconds as JSON.

All give count, mean, minimum, maximum and standard deviation of NDVI per parcel and date. Whole rasters are read by
rasterio (GDAL), the two bands in a thread each, into buffers that are used again.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.features import geometry_mask, geometry_window, rasterize

Floats = npt.NDArray[np.float64]
STATISTICS = ("count", "mean", "min", "max", "stdev")


@dataclass(frozen=True)
class Spec:
    """`dates` has the paths of B04 and B08 of each date; results are written to `results`."""

    features: str
    dates: list[list[str]]
    results: str


@dataclass
class Clock:
    """Seconds spent on whole rasters, which do not depend on the number of parcels, and on parcels."""

    rasters: float = 0.0
    parcels: float = 0.0

    @contextmanager
    def count(self, name: str) -> Iterator[None]:
        """Adds the time of a `with` block."""
        start = time.perf_counter()
        yield
        setattr(self, name, getattr(self, name) + time.perf_counter() - start)


class Table:
    """`(date, parcel)` for each statistic; NaN where there is no sample."""

    def __init__(self, dates: int, parcels: int) -> None:
        self.values = {name: np.full((dates, parcels), np.nan) for name in STATISTICS}
        self.values["count"][:] = 0

    def write(self, path: str) -> None:
        """One row per date and parcel."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        dates, parcels = self.values["count"].shape
        columns: dict[str, Any] = {"date": np.repeat(np.arange(dates), parcels)}
        columns["parcel"] = np.tile(np.arange(1, parcels + 1), dates)
        pq.write_table(pa.table(columns | {name: values.ravel() for name, values in self.values.items()}), path)


class Reader:
    """Reads both bands of a date at a time."""

    def __init__(self) -> None:
        self._buffers: list[Any] = [None, None]
        self._pool = ThreadPoolExecutor(2)

    def read(self, date: list[str]) -> Any:
        """Red and near infrared; they hold until the next call."""
        return tuple(self._pool.map(self._read, range(2), date))

    def ndvi(self, date: list[str]) -> npt.NDArray[np.float32]:
        """A new array, NaN where there is no data."""
        red, nir = self.read(date)
        values: npt.NDArray[np.float32] = np.subtract(nir, red, dtype=np.float32)
        with np.errstate(invalid="ignore", divide="ignore"):
            values /= np.add(nir, red, dtype=np.float32)
        values[(red == 0) | (nir == 0)] = np.nan
        return values

    def _read(self, band: int, path: str) -> Any:
        with rasterio.open(path) as file:
            self._buffers[band] = file.read(1, out=self._buffers[band])
        return self._buffers[band]


def labels(spec: Spec, clock: Clock) -> Table:
    """Hand-written NumPy: one label image, then a gather, bincount and reduceat per date. Of overlapping parcels the
    later one takes the cell."""
    with clock.count("parcels"):
        polygons = gpd.read_file(spec.features).geometry.values
        parcels = len(polygons)
        shape, transform = _grid(spec.dates[0][0])
        shapes = zip(polygons, range(1, parcels + 1), strict=True)
        image = rasterize(shapes, shape, transform=transform, dtype="int32").ravel()
        cells = np.flatnonzero(image)
        cells = cells[np.argsort(image[cells], kind="stable")]
        label = image[cells] - 1
        starts = np.flatnonzero(np.diff(label, prepend=-1))
        present = label[starts]
    table, reader = Table(len(spec.dates), parcels), Reader()
    for row, date in enumerate(spec.dates):
        with clock.count("rasters"):
            red, nir = reader.read(date)
        with clock.count("parcels"), np.errstate(invalid="ignore", divide="ignore"):
            red, nir = red.ravel()[cells].astype(np.float32), nir.ravel()[cells].astype(np.float32)
            valid = (red > 0) & (nir > 0)
            values = np.where(valid, (nir - red) / (nir + red), np.float32(0)).astype(np.float64)
            count = np.bincount(label, valid, parcels)
            mean = np.bincount(label, values, parcels) / count
            squares = np.bincount(label, values**2, parcels) / count
            found = {"count": count, "mean": mean, "stdev": np.sqrt(np.maximum(squares - mean**2, 0))}
            for name, value in found.items():
                table.values[name][row] = value
            table.values["min"][row, present] = np.minimum.reduceat(np.where(valid, values, np.inf), starts)
            table.values["max"][row, present] = np.maximum.reduceat(np.where(valid, values, -np.inf), starts)
    return table


def windows(spec: Spec, clock: Clock) -> Table:
    """rasterio, a window per parcel and date, as most people write it: one after the other."""
    return _windows(spec, clock, keep=False)


def windows_kept(spec: Spec, clock: Clock) -> Table:
    """The same with windows and masks made once."""
    return _windows(spec, clock, keep=True)


def _windows(spec: Spec, clock: Clock, *, keep: bool) -> Table:
    with clock.count("parcels"):
        polygons = gpd.read_file(spec.features).geometry.values
        table = Table(len(spec.dates), len(polygons))
        places: dict[int, Any] = {}
        for row, (red_path, nir_path) in enumerate(spec.dates):
            with rasterio.open(red_path) as red_file, rasterio.open(nir_path) as nir_file:
                for column, polygon in enumerate(polygons):
                    place = places.get(column) or _place(red_file, polygon)
                    if keep:
                        places[column] = place
                    window, inside = place
                    red = red_file.read(1, window=window).astype(np.float32)
                    nir = nir_file.read(1, window=window).astype(np.float32)
                    valid = inside & (red > 0) & (nir > 0)
                    red, nir = red[valid], nir[valid]
                    values = ((nir - red) / (nir + red)).astype(np.float64)
                    if values.size:
                        found = (values.size, values.mean(), values.min(), values.max(), values.std())
                        for name, value in zip(STATISTICS, found, strict=True):
                            table.values[name][row, column] = value
    return table


def _place(file: Any, polygon: Any) -> Any:
    window = geometry_window(file, [polygon])
    shape = (int(window.height), int(window.width))
    return window, geometry_mask([polygon], shape, file.window_transform(window), invert=True)


def rasterstats(spec: Spec, clock: Clock) -> Table:
    """rasterstats over an NDVI array in memory, date by date."""
    from rasterstats import zonal_stats

    with clock.count("parcels"):
        frame = gpd.read_file(spec.features)
    names = ("count", "mean", "min", "max", "std")
    table, reader = Table(len(spec.dates), len(frame)), Reader()
    for row, date in enumerate(spec.dates):
        with clock.count("rasters"):
            ndvi = reader.ndvi(date)
            _, transform = _grid(date[0])
        with clock.count("parcels"):
            found = zonal_stats(frame, ndvi, affine=transform, nodata=np.nan, stats=list(names))
            for name, theirs in zip(STATISTICS, names, strict=True):
                table.values[name][row] = [np.nan if part[theirs] is None else part[theirs] for part in found]
    return table


def exactextract_at_once(spec: Spec, clock: Clock) -> Table:
    """exactextract with all dates in one call, their NDVI in memory: a parcel's coverage is computed once.

    Its strategy `raster-sequential` is no faster from memory.
    """
    return _exactextract(spec, clock, [spec.dates])


def exactextract_by_date(spec: Spec, clock: Clock) -> Table:
    """exactextract feature by feature, a call per date, its NDVI in memory."""
    return _exactextract(spec, clock, [[date] for date in spec.dates])


def _exactextract(spec: Spec, clock: Clock, calls: list[list[list[str]]]) -> Table:
    from exactextract import exact_extract
    from exactextract.raster import NumPyRasterSource

    with clock.count("parcels"):
        frame = gpd.read_file(spec.features)
    table, reader = Table(len(spec.dates), len(frame)), Reader()
    (height, width), transform = _grid(spec.dates[0][0])
    box = (transform.c, transform.f + height * transform.e, transform.c + width * transform.a, transform.f)
    row = 0
    for dates in calls:
        with clock.count("rasters"):
            arrays = [reader.ndvi(date) for date in dates]
        with clock.count("parcels"):
            wkt = frame.crs.to_wkt()
            sources = [
                NumPyRasterSource(ndvi, *box, nodata=np.nan, name=f"d{number}", srs_wkt=wkt)
                for number, ndvi in enumerate(arrays)
            ]
            found = exact_extract(sources, frame, list(STATISTICS), output="pandas")
            for number in range(len(dates)):
                prefix = "" if len(dates) == 1 else f"d{number}_"
                for name in STATISTICS:
                    table.values[name][row] = found[f"{prefix}{name}"].to_numpy(float)
                row += 1
    return table


def _grid(path: str) -> tuple[tuple[int, int], Any]:
    with rasterio.open(path) as file:
        return (file.height, file.width), file.transform


PEERS: dict[str, Callable[[Spec, Clock], Table]] = {
    "labels": labels,
    "exactextract-at-once": exactextract_at_once,
    "exactextract-by-date": exactextract_by_date,
    "windows-kept": windows_kept,
    "windows": windows,
    "rasterstats": rasterstats,
}


def main() -> None:
    peer, spec = PEERS[sys.argv[1]], Spec(**json.loads(Path(sys.argv[2]).read_text()))
    clock = Clock()
    peer(spec, clock).write(spec.results)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak_bytes = int(status["VmHWM"].split()[0]) * 1024
    print(json.dumps({"rasters": clock.rasters, "parcels": clock.parcels, "peak_bytes": peak_bytes}))


if __name__ == "__main__":
    main()
