"""A store, a runner and a folder of buckets, for tests of the runner with an engine that does as it is told."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "jobs"))

from jobs_fake_engine import make_fake_engine

from swathe.jobs.database import open_database
from swathe.jobs.home import Home
from swathe.jobs.keys import split_secrets
from swathe.jobs.records import Job
from swathe.jobs.runner.cluster import Cluster
from swathe.jobs.runner.driver import JobRunner
from swathe.jobs.states import Event, Status
from swathe.jobs.store import JobStore
from swathe.settings import DaskSettings, Settings

SECRET = "wJalrXUtnFEMI-hidden"
ENDS = (Status.DONE, Status.FAILED, Status.STOPPED)


class SharedCluster(Cluster):
    """Stays up from test to test."""

    def close(self) -> None:
        pass


def start_cluster(folder: Path, workers: int = 2) -> SharedCluster:
    """A cluster with all its workers."""
    cluster = SharedCluster(DaskSettings(workers=workers), folder)
    cluster.start()
    while cluster.slots() < workers:
        time.sleep(0.05)
    return cluster


class Bench:
    """A store, a runner and a folder of buckets."""

    def __init__(
        self,
        folder: Path,
        cluster: Cluster,
        *,
        home: str = "home",
        database: str | None = None,
        publishes: bool = False,
    ) -> None:
        self.folder = folder
        self.cluster = cluster
        parcels = folder / "buckets" / "in" / "parcels.gpkg"
        parcels.parent.mkdir(parents=True, exist_ok=True)
        if not parcels.exists():
            parcels.write_bytes(b"features")
        storage = {"local_root": str(folder / "buckets")}
        # The GeoPackage is none, so nothing can be made of it beside the documents.
        results = {"parquet": False, "execution_database": publishes}
        self.settings = Settings.model_validate({"storage": storage, "dask": {"workers": 2}, "results": results})
        self.home = Home(folder / home)
        self.store = JobStore(open_database(self.home.path, database))
        self.begin()

    def begin(self) -> None:
        self.runner = JobRunner(
            self.settings, self.home, self.store, cluster=self.cluster, make_engine=make_fake_engine
        )
        self.runner.start()

    def close(self) -> None:
        self.runner.close()
        self.store.close()

    def create(self, *, source: str = "s3://in/parcels.gpkg", output: str = "s3://out/res", **program: object) -> str:
        keys = {"accessKey": "AKIA", "secretAccessKey": SECRET}
        body = {
            "input": {"features": {"s3": {"url": source, **keys}}, "data": [{"type": "x"}]},
            "aggregation": {
                "timeRange": {"from": "2020-01-01", "to": "2020-02-01"},
                "aggregationInterval": {"of": "P1D"},
                "evalscript": json.dumps(program),
                "width": 1,
                "height": 1,
            },
            "output": {"s3": {"url": output, **keys}},
        }
        request, pairs = split_secrets(body)
        return self.store.create(client_id="c", project_id="p", request=request, keys=pairs, description=None).id

    def ask(self, job_id: str, event: Event) -> None:
        self.store.apply(job_id, event)
        self.runner.wake()

    def wait(self, job_id: str, *statuses: Status, seconds: float = 240) -> Job:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            job = self.store.get(job_id)
            if job.state.status in (statuses or ENDS):
                return job
            time.sleep(0.02)
        raise AssertionError(f"still {job.state} at {job.completion_percent} % after {seconds} s")

    def until(self, holds: Callable[[], bool], seconds: float = 60) -> None:
        """Waits for what comes a moment after a status."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, "it does not come to that"
            time.sleep(0.02)

    def run(self, **program: object) -> Job:
        job_id = self.create(**program)
        self.ask(job_id, Event.START)
        return self.wait(job_id)

    def documents(self, job_id: str) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in (self.folder / "buckets/out/res" / job_id).glob("*")}
