"""Whether Swathe and its peers count the same cells and find the same means. Not timed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from main_job_parts.inputs import Inputs, part_of
from main_job_parts.peer_runs import is_installed, run_peer
from main_job_parts.process import run_swathe
from main_job_parts.results import Result, read_documents

MEAN_TOLERANCE = 1e-6
COVERAGE_TOLERANCE = 1e-5  # relative, of the covered cells: exactextract's fractions are single precision
_DATES = 3


@dataclass(frozen=True)
class Agreement:
    """Worst differences to a peer over the (date, parcel) pairs compared; counts of cells, means of NDVI."""

    peer: str
    compared: int
    count_difference: float
    mean_difference: float
    agrees: bool


def compare(inputs: Inputs, folder: Path, output: Path, workers: int, parcels: int) -> list[Agreement]:
    """Runs the job for some parcels by GDAL's centre rule and by exact coverage, and the peers for the same."""
    dates = [scene.when for scene in inputs.scenes][:_DATES]
    start, end = (f"{day:%Y-%m-%d}T00:00:00Z" for day in (dates[0], dates[-1] + timedelta(days=1)))
    base = {"resx": None, "resy": None, "timeRange": {"from": start, "to": end}}
    found = []
    for cover, peers in (("centre", ("labels", "windows", "rasterstats")), ("coverage", ("exactextract-at-once",))):
        sampling = {"sampling": {"grid": "source", "cover": cover}}
        part = part_of(inputs, folder, f"agree-{cover}", parcels, base | sampling)
        documents = output / f"agree-{cover}"
        run_swathe(part, documents, workers)
        ours = read_documents(documents, len(part.parcels), [f"{when:%Y-%m-%d}" for when in dates])
        for peer in filter(is_installed, peers):
            theirs, _ = run_peer(peer, part, folder, len(part.parcels), len(dates))
            allowed = COVERAGE_TOLERANCE * theirs.count if cover == "coverage" else np.zeros(theirs.count.shape)
            # One label image cannot hold a cell twice.
            alone = _alone(part.parcels) if peer == "labels" else None
            found.append(_compare(peer, ours, theirs, allowed, alone))
    return found


def _alone(parcels: npt.NDArray[np.object_]) -> npt.NDArray[np.bool_]:
    """Which parcels share no area with another."""
    first, second = shapely.STRtree(parcels).query(parcels, predicate="intersects")
    pairs = first < second
    first, second = first[pairs], second[pairs]
    # Neighbours touch; their bent borders may cross by the centimetre that coordinates are rounded to.
    overlapping = shapely.area(shapely.intersection(parcels[first], parcels[second])) > 1.0
    alone = np.ones(len(parcels), bool)
    alone[first[overlapping]] = alone[second[overlapping]] = False
    return alone


def _compare(peer: str, ours: Result, theirs: Result, allowed: Any, which: Any) -> Agreement:
    chosen = np.ones(ours.count.shape[1], bool) if which is None else which
    counts = np.abs(ours.count - theirs.count)[:, chosen]
    with_data = (ours.count > 0)[:, chosen]
    means = np.abs(ours.mean - theirs.mean)[:, chosen][with_data]
    worst = float(means.max()) if means.size else math.nan
    agrees = bool((counts <= allowed[:, chosen]).all()) and worst <= MEAN_TOLERANCE
    return Agreement(peer, counts.size, float(counts.max()), worst, agrees)
