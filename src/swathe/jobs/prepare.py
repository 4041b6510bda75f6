"""What happens before the units: fetching the features, analysing, keeping the plan. Runs in a process of its own.

The job store has the truth; the files in the job's folder can be made again from it and from the request.
"""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from swathe.jobs.delivery import Delivery
from swathe.jobs.engines import MakeEngine, make_engine
from swathe.jobs.home import FEATURES_FILE, PLAN_FILE
from swathe.jobs.records import PlannedJob, PlannedUnit
from swathe.model.common import S3Place
from swathe.model.statistical import StatisticsRequest
from swathe.settings import Settings

if TYPE_CHECKING:
    from swathe.engine.values import Analysis


@dataclass(frozen=True)
class Preparation:
    """What an analysis needs to know. `request` is the body without storage and secrets, as JSON."""

    settings: Settings = field(repr=False)
    folder: Path
    request: str = field(repr=False)
    features: S3Place = field(repr=False)
    delivery: Delivery
    make_engine: MakeEngine = make_engine


def analyse(preparation: Preparation) -> PlannedJob:
    """Fetches the GeoPackage, tries the output place, plans the units; leaves features and plan in the folder.

    Raises:
        SwatheError: whatever makes the job impossible as a whole.
    """
    folder = preparation.folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    preparation.delivery.check()
    _fetch_features(preparation)
    request = StatisticsRequest.model_validate_json(preparation.request)
    with preparation.make_engine(preparation.settings) as engine:
        analysis = engine.analyse(request, folder / FEATURES_FILE)
    _keep_plan(folder, analysis)
    return PlannedJob(
        features=analysis.features,
        scenes=analysis.scenes,
        estimated_pu=analysis.cost_pu,
        payload=analysis.payload,
        units=tuple(
            PlannedUnit(unit.index, unit.feature_ids.astype("<i8").tobytes(), int(unit.cells))
            for unit in analysis.units
        ),
        notes=tuple(analysis.notes),
    )


def restore(preparation: Preparation, payload: bytes, units: tuple[tuple[int, bytes, int], ...]) -> None:
    """Makes the folder's files again from what the store has, where they are missing."""
    import numpy as np

    from swathe.engine.values import Analysis, UnitPlan

    folder = preparation.folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (folder / FEATURES_FILE).exists():
        _fetch_features(preparation)
    if not (folder / PLAN_FILE).exists():
        plans = tuple(UnitPlan(index, np.frombuffer(ids, "<i8"), cells) for index, ids, cells in units)
        features = sum(len(plan.feature_ids) for plan in plans)
        _keep_plan(folder, Analysis(features=features, scenes=0, units=plans, cost_pu=0.0, payload=payload))


def is_prepared(folder: Path) -> bool:
    """Whether features and plan are in the folder."""
    return (folder / FEATURES_FILE).exists() and (folder / PLAN_FILE).exists()


def read_plan(folder: Path) -> Analysis:
    """The analysis that `analyse` or `restore` left in the folder."""
    plan: Analysis = pickle.loads((folder / PLAN_FILE).read_bytes())  # noqa: S301  our own file in our own home
    return plan


def _fetch_features(preparation: Preparation) -> None:
    from swathe.storage import ObjectStores, from_place

    place = preparation.features
    ObjectStores(preparation.settings.storage).download(
        place.url,
        preparation.folder / FEATURES_FILE,
        preparation.settings.limits.geopackage_bytes,
        credentials=from_place(place),
    )


def _keep_plan(folder: Path, analysis: Analysis) -> None:
    unfinished = folder / f"{PLAN_FILE}.{os.getpid()}"
    unfinished.write_bytes(pickle.dumps(analysis, protocol=5))
    unfinished.replace(folder / PLAN_FILE)
