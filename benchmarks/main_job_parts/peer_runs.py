"""Runs a peer in a process of its own, on as much of the job as it can do in a bearable time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq

from main_job_parts.inputs import Inputs, nearest
from main_job_parts.landscape import write_parcels
from main_job_parts.results import Result
from main_job_parts.scenes import EPSG

_ALL = 10**9
SHARE = {
    "labels": (_ALL, _ALL),
    "exactextract-at-once": (_ALL, _ALL),
    "exactextract-by-date": (_ALL, 3),
    "windows-kept": (2_000, 3),
    "windows": (2_000, 3),
    "rasterstats": (500, 2),
}
"""How many parcels and dates a peer gets at most; the rest is extrapolated."""


@dataclass(frozen=True)
class PeerRun:
    """Seconds of the whole process for the whole job, extrapolated from `parcels` x `dates`; peak resident memory.

    `floor` and `swathe` are the seconds of these, means of a run just before and one just after.
    """

    peer: str
    seconds: float
    parcels: int
    dates: int
    is_extrapolated: bool
    peak_bytes: int
    floor: float = 0.0
    swathe: float = 0.0


def is_installed(peer: str) -> bool:
    """Whether the package of a peer is there."""
    package = peer.partition("-")[0]
    return package not in ("exactextract", "rasterstats") or find_spec(package) is not None


def run_peer(peer: str, inputs: Inputs, folder: Path, parcels: int, dates: int) -> tuple[Result, PeerRun]:
    """Runs a peer for so many parcels, next to each other, and the first so many dates.

    Of what it takes, whole rasters are multiplied by the dates that are left out, what it does for parcels by the
    parcels too; start, imports and writing are not.
    """
    parcels, dates = min(parcels, len(inputs.parcels)), min(dates, len(inputs.scenes))
    jobs = folder / "jobs"
    features = inputs.features
    if parcels < len(inputs.parcels):
        features = jobs / f"peer-{parcels}.gpkg"
        land = inputs.scenes[0].granule.land
        middle = ((land.xmin + land.xmax) / 2, (land.ymin + land.ymax) / 2)
        write_parcels(features, inputs.parcels[nearest(inputs.parcels, middle, parcels)], EPSG)
    spec, results = jobs / "peer.json", jobs / "peer.parquet"
    paths = [[str(scene.paths["B04"]), str(scene.paths["B08"])] for scene in inputs.scenes[:dates]]
    spec.write_text(json.dumps({"features": str(features), "dates": paths, "results": str(results)}))
    home = Path(__file__).resolve().parents[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(home), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "main_job_parts.peers", peer, str(spec)]
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    wall = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"The peer {peer} ended with {done.returncode}")
    clock = json.loads(done.stdout.strip().splitlines()[-1])
    by_date = len(inputs.scenes) / dates
    once = wall - clock["rasters"] - clock["parcels"]
    seconds = once + by_date * (clock["rasters"] + clock["parcels"] * len(inputs.parcels) / parcels)
    whole = parcels == len(inputs.parcels) and dates == len(inputs.scenes)
    table = pq.read_table(results)
    count, mean = (table[name].to_numpy().reshape(dates, parcels) for name in ("count", "mean"))
    return Result(count, mean), PeerRun(peer, seconds, parcels, dates, not whole, clock["peak_bytes"])
