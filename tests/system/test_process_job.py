"""A job of Batch Processing V2 whose server is killed and begun anew, stopped and started."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely

from builders import make_catalog
from engines import World
from process_cases import RED, SECRET, TIFFS, batch_body, write_areas
from rasters import LEFT, TOP
from swathe.jobs.database import open_database
from swathe.jobs.home import Home
from swathe.jobs.keys import PROCESS_PLACES, split_secrets
from swathe.jobs.records import Job
from swathe.jobs.states import Event, Status
from swathe.jobs.store import JobStore

RUNNER = Path(__file__).with_name("process_runner.py")
COUNT = 48
SLOW = RED.replace("{ return", "{ for (let i = 0, x = 0; i < 100000; i++) { x += i } return")


class Server:
    """A server's home, its runner's process, its store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        world = World(folder)
        values = np.arange(400 * 400, dtype=np.uint16).reshape(400, 400) % 5_000 + 1
        world.scene("a", "2020-06-03", {"B04": values}, pixel=60.0)
        source = make_catalog(world.files, world.items)
        self.buckets = folder / "buckets"
        self.config = folder / "swathe.toml"
        self.config.write_text(
            f'[storage]\nlocal_root = "{self.buckets}"\n[dask]\nworkers = 2\n[limits]\nunit_cells = 2000\n'
            f'[[collections]]\ntype = "sentinel-2-l2a"\nsource = "{source}"\n'
        )
        areas = {}
        for number in range(COUNT):
            left, top = LEFT + 60 * 40 * (number % 6), TOP - 60 * 40 * (number // 6)
            areas[f"area {number}"] = shapely.box(left, top - 60 * 30, left + 60 * 30, top)
        write_areas(self.buckets / "in/areas.gpkg", {"areas": (32633, areas, {})})
        self.home = Home(folder / "home")
        self.store = JobStore(open_database(self.home.path, None))
        self.process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        with (self.folder / "runner.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(RUNNER), str(self.home.path), str(self.config)],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """As a machine does that loses its power: the server and all that it began, at once."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def create(self, **parts: object) -> str:
        body = batch_body(input={"type": "geopackage", "defaults": {"resolution": 60.0}}, **parts)
        request, keys = split_secrets(body, PROCESS_PLACES)
        return self.store.create(
            client_id="c", project_id="p", request=request, keys=keys, description=None, kind="process"
        ).id

    def images(self) -> list[Path]:
        return sorted((self.buckets / "out").rglob("*.tif"))

    def wait(self, what: Callable[[], bool], seconds: float = 240) -> None:
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, (self.folder / "runner.log").read_text()[-3000:]
            time.sleep(0.02)

    def wait_for(self, job_id: str, *statuses: Status) -> Job:
        self.wait(lambda: self.store.get(job_id).state.status in statuses)
        return self.store.get(job_id)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    made.kill()
    made.store.close()


def test_killed_job_goes_on_and_leaves_each_image_whole_and_once(server: Server) -> None:
    job_id = server.create(script=SLOW, responses=TIFFS[:1])
    server.begin()
    server.store.apply(job_id, Event.START)
    server.wait(lambda: len(server.images()) >= 3)
    server.kill()
    assert server.store.get(job_id).state.status is Status.PROCESSING
    for path in server.images():
        assert read(path).shape == (1, 30, 30)
    server.home.forget(job_id)  # as on another machine
    server.begin()
    server.wait(lambda: len(server.images()) >= 10)
    server.store.apply(job_id, Event.STOP)
    stopped = server.wait_for(job_id, Status.STOPPED)
    assert 0 < stopped.features_done < COUNT
    server.store.apply(job_id, Event.START)
    job = server.wait_for(job_id, Status.DONE, Status.FAILED)
    assert (job.state.status, job.features_done, job.features_failed) == (Status.DONE, COUNT, 0), job.state.error
    assert job.cost_pu == pytest.approx(COUNT * 0.01 / 3)
    assert job.completion_percent == 100
    folder = server.buckets / "out/run" / job_id
    beside = {f"execution-{job_id}.sqlite", f"featureManifest-{job_id}.gpkg", f"request-{job_id}.json"}
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == beside | {f"area {number}/red.tif" for number in range(COUNT)}
    for number in range(COUNT):
        row, column = 40 * (number // 6), 40 * (number % 6)
        rows, columns = np.meshgrid(np.arange(row, row + 30), np.arange(column, column + 30), indexing="ij")
        want = (rows * 400 + columns).astype(np.uint16) % 5_000 + 1
        np.testing.assert_array_equal(read(folder / f"area {number}/red.tif")[0], want)
    with closing(sqlite3.connect(folder / f"execution-{job_id}.sqlite")) as database:
        assert database.execute("SELECT DISTINCT status, delivered FROM features").fetchall() == [("DONE", 1)]
    assert SECRET not in (server.folder / "runner.log").read_text()


def test_job_whose_images_are_all_there_is_done_at_once(server: Server) -> None:
    url = "s3://out/run/<tileName>/<outputId>.<format>"
    server.begin()
    first = server.create(url=url)
    server.store.apply(first, Event.START)
    assert server.wait_for(first, Status.DONE, Status.FAILED).state.status is Status.DONE
    again = server.create(url=url, output={"skipExisting": True})
    server.store.apply(again, Event.START)
    job = server.wait_for(again, Status.DONE, Status.FAILED)
    assert (job.state.status, job.features_total, job.cost_pu) == (Status.DONE, 0, 0.0)
    assert job.completion_percent == 100


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()
