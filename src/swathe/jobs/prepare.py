"""What happens before the units: fetching the features, analysing, keeping the plan. Runs in a process of its own.

The job store has the truth; the files in the job's folder can be made again from it and from the request.
"""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swathe.jobs.byoc_sources import list_types, own_types, told_types
from swathe.jobs.engines import MakeEngine, make_engine
from swathe.jobs.home import FEATURES_FILE, PLAN_FILE
from swathe.jobs.keys import KeyPairs
from swathe.jobs.kinds import find_kind
from swathe.jobs.records import Job, PlannedJob, PlannedUnit
from swathe.model.common import S3Place
from swathe.model.errors import RequestInvalid
from swathe.settings import DatabaseSettings, ServerSettings, Settings

if TYPE_CHECKING:
    from swathe.engine.values import Analysis
    from swathe.jobs.byoc import ByocCollection


@dataclass(frozen=True)
class Preparation:
    """What an analysis needs to know. `request` is the body without secrets, as JSON; `delivery` is the kind's.

    `collection` is the one that the results are to become tiles of, if there is one: see `byoc_sources.supply`.
    """

    kind: str
    settings: Settings = field(repr=False)
    folder: Path
    request: str = field(repr=False)
    features: S3Place | None = field(repr=False)
    delivery: Any
    created: datetime
    make_engine: MakeEngine = make_engine
    project_id: str = ""
    collection: ByocCollection | None = field(default=None, repr=False)

    @classmethod
    def of(cls, job: Job, keys: KeyPairs, settings: Settings, folder: Path, make: MakeEngine) -> Preparation:
        """What the store has of a job, with the settings as workers may see them.

        Raises:
            RequestInvalid: the body or the kind is none that this version takes.
        """
        kind = find_kind(job.kind)
        body = kind.read_body(job.request, keys)
        delivery = kind.make_delivery(settings.storage, body, job.id)
        settings = list_types(for_workers(settings), own_types(told_types(job.request), settings))
        return cls(job.kind, settings, folder, body.request, body.features, delivery, job.created, make, job.project_id)

    def fetch(self, name: str) -> Path:
        """The GeoPackage that the request names, as a file in the folder.

        Raises:
            StorageError: it cannot be fetched.
            LimitExceeded: it is longer than this deployment allows.
        """
        from swathe.storage import ObjectStores, from_place

        if self.features is None:
            raise RequestInvalid("The request names no GeoPackage", "input->features")
        path = self.folder / name
        most_bytes = self.settings.limits.geopackage_bytes
        keys = from_place(self.features, self.settings.storage)
        ObjectStores(self.settings.storage).download(self.features.url, path, most_bytes, credentials=keys)
        return path


def for_workers(settings: Settings) -> Settings:
    """The settings without what no worker needs: the way to the job store and the server's own."""
    return settings.model_copy(update={"database": DatabaseSettings(), "server": ServerSettings()})


def analyse(preparation: Preparation) -> PlannedJob:
    """Tries the output place, fetches the features, plans the units; leaves features and plan in the folder.

    Raises:
        SwatheError: whatever makes the job impossible as a whole.
    """
    folder = preparation.folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    preparation.delivery.check()
    kind = find_kind(preparation.kind)
    with preparation.make_engine(preparation.settings) as engine:
        analysis = kind.analyse(engine, preparation)
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
        report=dict(analysis.report),
    )


def restore(preparation: Preparation, payload: bytes) -> None:
    """Makes the folder's files again, where they are missing; `payload` is the plan's, as the store has it.

    Raises:
        SwatheError: the features cannot be fetched any more.
    """
    from swathe.engine.values import Analysis

    folder = preparation.folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (folder / FEATURES_FILE).exists():
        find_kind(preparation.kind).restore(preparation, payload)
    if not (folder / PLAN_FILE).exists():
        _keep_plan(folder, Analysis(features=0, scenes=0, units=(), cost_pu=0.0, payload=payload))


def is_prepared(folder: Path) -> bool:
    """Whether features and plan are in the folder."""
    return (folder / FEATURES_FILE).exists() and (folder / PLAN_FILE).exists()


def read_plan(folder: Path) -> Analysis:
    """The analysis that `analyse` or `restore` left in the folder; its units are in the store."""
    plan: Analysis = pickle.loads((folder / PLAN_FILE).read_bytes())  # noqa: S301  our own file in our own home
    return plan


def _keep_plan(folder: Path, analysis: Analysis) -> None:
    unfinished = folder / f"{PLAN_FILE}.{os.getpid()}"
    unfinished.write_bytes(pickle.dumps(replace(analysis, units=()), protocol=5))
    unfinished.replace(folder / PLAN_FILE)
