"""Everything a job needs on disk: rasters, catalog, parcels, request, configuration."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from main_job_parts.floor import Needed, needed_blocks
from main_job_parts.jobs import Job
from main_job_parts.landscape import choose_parcels, read_parcels, write_parcels
from main_job_parts.scenes import EPSG, Granule, Scene, make_scenes, write_catalog

BUCKET = "scenes"


@dataclass(frozen=True)
class Inputs:
    """A job's files; `parcels` are its polygons in the CRS of the scenes."""

    job: Job
    request: Path
    features: Path
    config: Path
    scenes: tuple[Scene, ...]
    parcels: npt.NDArray[np.object_]
    needed: Needed


def make_inputs(folder: Path, job: Job, server: Any = None) -> Inputs:
    """Makes what is not there yet. `server` is the S3 server that a remote job reads from, over the folder."""
    home = folder / BUCKET
    scenes = make_scenes(home, job.storage, job.granules, job.dates, job.bands)
    catalog = home / job.storage.name / f"items-{job.scenes_name}.geojson"
    write_catalog(catalog, scenes)
    utm, features = _features(folder, job)
    parcels = read_parcels(utm)
    jobs = folder / "jobs"
    jobs.mkdir(exist_ok=True)
    stem = job.name.replace(" ", "-").replace(",", "")
    request, config = jobs / f"{stem}.json", jobs / f"{stem}.toml"
    request.write_text(json.dumps(job.request()))
    source, storage = str(catalog), ""
    if job.remote:
        source = f"s3://{BUCKET}/{catalog.relative_to(home).as_posix()}"
        storage = (
            f'[storage]\nendpoint_url = "{server.url}"\nregion = "{server.region}"\n'
            f'access_key = "{server.access_key}"\nsecret_access_key = "{server.secret_access_key}"\n'
        )
    config.write_text(f'{storage}[[collections]]\ntype = "sentinel-2-l2a"\nsource = "{source}"\n')
    return Inputs(job, request, features, config, tuple(scenes), parcels, needed_blocks(scenes, parcels))


def part_of(inputs: Inputs, folder: Path, name: str, count: int, changes: dict[str, Any]) -> Inputs:
    """The same job for `count` parcels: half of them in the middle of the first granule, half at the edge of its data.

    `changes` replaces keys of the request's `aggregation`, or removes those that are None. Keys are 1, 2, … anew.
    """
    granule = inputs.scenes[0].granule
    edge = shapely.get_coordinates(granule.footprint)[0]
    middle = ((granule.land.xmin + granule.land.xmax) / 2, (granule.land.ymin + granule.land.ymax) / 2)
    chosen = nearest(inputs.parcels, (float(edge[0]), float(edge[1])), count // 2)
    chosen = np.union1d(chosen, nearest(inputs.parcels, middle, count - count // 2))
    features, request = folder / "jobs" / f"{name}.gpkg", folder / "jobs" / f"{name}.json"
    write_parcels(features, inputs.parcels[chosen], EPSG)
    body = inputs.job.request()
    for key, value in changes.items():
        body["aggregation"].pop(key, None)
        if value is not None:
            body["aggregation"][key] = value
    request.write_text(json.dumps(body))
    return replace(inputs, features=features, request=request, parcels=inputs.parcels[chosen])


def nearest(parcels: npt.NDArray[np.object_], point: tuple[float, float], count: int) -> npt.NDArray[np.intp]:
    """Positions of the parcels nearest to a point: a compact part, in which blocks are shared as in the whole."""
    distance = shapely.distance(shapely.centroid(parcels), shapely.Point(point))
    return np.sort(np.argsort(distance, kind="stable")[:count])


def _features(folder: Path, job: Job) -> tuple[Path, Path]:
    """The GeoPackage in the CRS of the scenes, and the one the job gets."""
    land = Granule("a", job.storage.size).land
    if "b" in job.granules:
        land = land.join(Granule("b", job.storage.size).land)
    home = folder / "parcels"
    home.mkdir(exist_ok=True)
    stem = f"{job.granules}-{job.storage.size}-{job.parcels}-seed{job.storage.seed}"
    utm, lonlat = home / f"{stem}.gpkg", home / f"{stem}-4326.gpkg"
    if not utm.exists():
        write_parcels(utm, choose_parcels(land, job.parcels, job.storage.seed), EPSG)
    if job.lonlat and not lonlat.exists():
        write_parcels(lonlat, read_parcels(utm), EPSG, 4326)
    return utm, lonlat if job.lonlat else utm
