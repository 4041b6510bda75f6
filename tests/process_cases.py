"""Jobs of Batch Processing V2 without a server: analysed, run unit by unit as a worker does, published."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import geopandas as gpd
import rasterio

from rasters import JUNE
from swathe.jobs import prepare, publish, tasks
from swathe.jobs.engines import make_engine
from swathe.jobs.keys import PROCESS_PLACES, split_secrets
from swathe.jobs.prepare import Preparation
from swathe.jobs.records import FailedFeature, Job, PlannedJob
from swathe.jobs.states import JobState
from swathe.jobs.tasks import UnitInHand, UnitOnDisk, UnitOutcome, UnitTask
from swathe.settings import DaskSettings, Settings, StorageSettings

SECRET = "wJalrXUtnFEMI-hidden"
KEYS = {"accessKey": "AKIA", "secretAccessKey": SECRET}
CREATED = datetime(2020, 7, 1, 12, tzinfo=UTC)

RED = """//VERSION=3
function setup() {
  return {
    input: [{bands: ["B04", "dataMask"], units: "DN"}],
    output: [{id: "red", bands: 1, sampleType: "UINT16", nodataValue: 0}, {id: "mask", bands: 1, sampleType: "UINT8"}]
  }
}
function evaluatePixel(s) { return {red: [s.B04], mask: [s.dataMask]} }
"""
TIFFS = tuple({"identifier": name, "format": {"type": "image/tiff"}} for name in ("red", "mask"))


def batch_body(
    *,
    script: str = RED,
    responses: Sequence[Mapping[str, Any]] = TIFFS,
    bbox: Sequence[float] | None = None,
    epsg: int = 4326,
    url: str = "s3://out/run",
    source_url: str = "s3://in/areas.gpkg",
    keys: Mapping[str, str] = KEYS,
    **parts: Any,
) -> dict[str, Any]:
    """The body of a request; `input` and `output` are what they hold beside the storage places."""
    bounds: dict[str, Any] = {}
    if bbox is not None:
        bounds = {"bbox": list(bbox), "properties": {"crs": f"http://www.opengis.net/def/crs/EPSG/0/{epsg}"}}
    source = {"type": "sentinel-2-l2a", "dataFilter": {"timeRange": JUNE}}
    wanted = dict(parts.get("input") or {"type": "geopackage"})
    if wanted["type"] == "geopackage":
        wanted["features"] = {"s3": {"url": source_url, **keys}}
    output = {"type": "raster", **(parts.get("output") or {}), "delivery": {"s3": {"url": url, **keys}}}
    return {
        "processRequest": {
            "input": {"bounds": bounds, "data": [source]},
            "output": {"responses": [dict(response) for response in responses]},
            "evalscript": script,
        },
        "input": wanted,
        "output": output,
    }


def write_areas(path: Path, layers: Mapping[str, tuple[int, Mapping[str, Any], Mapping[str, Any]]]) -> Path:
    """A GeoPackage: by layer the CRS, polygons by identifier, further columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    for layer, (epsg, polygons, columns) in layers.items():
        table = {"identifier": list(polygons), **columns}
        frame = gpd.GeoDataFrame(table, geometry=list(polygons.values()), crs=f"EPSG:{epsg}")
        frame.to_file(path, layer=layer, driver="GPKG", engine="pyogrio")
    return path


class ProcessJob:
    """A job by itself, with buckets in a folder."""

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        body: Mapping[str, Any],
        *,
        job_id: str = "7f1d",
        workers: int = 1,
        storage: StorageSettings | None = None,
    ) -> None:
        self.buckets = folder / "buckets"
        self.folder = folder / "jobs" / job_id
        storage = storage or StorageSettings(local_root=self.buckets)
        self.settings = settings.model_copy(update={"storage": storage, "dask": DaskSettings(workers=workers)})
        request, keys = split_secrets(body, PROCESS_PLACES)
        self.job = Job(
            job_id, "c", "p", kind="process", request=request, created=CREATED, last_updated=CREATED, state=JobState()
        )
        self.preparation = Preparation.of(self.job, keys, self.settings, self.folder, make_engine)
        self.plan: PlannedJob | None = None
        self.outcomes: dict[int, UnitOutcome] = {}

    def analyse(self) -> PlannedJob:
        self.plan = prepare.analyse(self.preparation)
        return self.plan

    def run(
        self,
        index: int,
        *,
        is_cancelled: Callable[[], bool] = lambda: False,
        by_value: bool = False,
        given_up: str | None = None,
    ) -> UnitOutcome:
        """One unit, on a worker that sees the job's folder, or by value."""
        assert self.plan is not None
        unit = self.plan.units[index]
        source = UnitOnDisk(self.folder, self.preparation.request, unit.feature_ids, unit.cells)
        delivery, settings = self.preparation.delivery, self.preparation.settings
        task = UnitTask("process", "run", index, source, delivery, settings, given_up)
        if by_value:
            task = replace(task, source=UnitInHand(tasks.make_unit(task)))
        self.outcomes[index] = tasks.run_unit(task, is_cancelled=is_cancelled)
        return self.outcomes[index]

    def run_all(self, **how: Any) -> ProcessJob:
        """The analysis and every unit, none of which may fail as a whole, and what is published at the end."""
        for unit in self.analyse().units:
            outcome = self.run(unit.index, **how)
            assert outcome.result is not None, outcome
        self.publish(final=True)
        return self

    def publish(self, *, final: bool = False) -> None:
        assert self.plan is not None
        results = {index: outcome.result for index, outcome in self.outcomes.items() if outcome.result is not None}
        units = tuple(
            (unit.index, unit.feature_ids, "DONE" if unit.index in results else "PENDING") for unit in self.plan.units
        )
        failed = tuple(
            FailedFeature(key, reason) for result in results.values() for key, reason in result.failures.items()
        )
        publish.publish(
            publish.Publication(
                self.settings,
                self.folder,
                self.preparation.delivery,
                self.job.id,
                units,
                failed,
                final,
                kind="process",
            )
        )

    @property
    def failures(self) -> dict[int, str]:
        return {
            key: reason
            for outcome in self.outcomes.values()
            if outcome.result is not None
            for key, reason in outcome.result.failures.items()
        }

    @property
    def cost_pu(self) -> float:
        return sum(outcome.result.cost_pu for outcome in self.outcomes.values() if outcome.result is not None)

    def names(self, folder: str = "out/run") -> list[str]:
        """The objects below a folder of the buckets."""
        place = self.buckets / folder
        return sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())

    def file(self, name: str) -> Path:
        return self.buckets / "out/run" / name

    def read(self, name: str) -> Any:
        with rasterio.open(self.file(name)) as file:
            return file.read()

    def execution(self, name: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.file(name))) as database:
            return database.execute("SELECT id, name, status, error, delivered FROM features ORDER BY id").fetchall()
