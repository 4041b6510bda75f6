"""The runner on a Dask cluster of processes of their own, which are really killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from runner_bench import Bench

from swathe.jobs.runner.cluster import Cluster
from swathe.jobs.states import Event, Status
from swathe.settings import DaskSettings

pytestmark = pytest.mark.xdist_group("runner_cluster")

ROOT = Path(__file__).parents[2]
SEEN = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT / "tests" / "unit" / "jobs")))}


class Processes:
    """A scheduler and workers by the commands that an operator gives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.running: list[subprocess.Popen[bytes]] = []

    def scheduler(self) -> subprocess.Popen[bytes]:
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"]
        return self._begin("distributed.cli.dask_scheduler", *options)

    def worker(self, name: str) -> subprocess.Popen[bytes]:
        folder = str(self.folder / "scratch")
        options = ["--threads", "1", "--memory-limit", "1GiB", "--name", name, "--local-directory", folder]
        return self._begin("swathe", "worker", self.address, *options)

    def _begin(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / "processes.log").open("ab") as log:
            process = subprocess.Popen([sys.executable, "-m", *command], env=SEEN, stdout=log, stderr=log)
        self.running.append(process)
        return process

    def close(self) -> None:
        for process in self.running:
            process.send_signal(signal.SIGTERM)
        for process in self.running:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def processes(tmp_path):
    with ExitStack() as stack:
        processes = Processes(tmp_path)
        stack.callback(processes.close)
        yield processes


@pytest.fixture
def bench(tmp_path, processes):
    bench = Bench(tmp_path, Cluster(DaskSettings(scheduler=processes.address), tmp_path))
    yield bench
    bench.close()


def wait_for(what, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_scheduler_and_worker_are_killed_and_come_back_and_nothing_is_lost(bench, processes):
    scheduler = processes.scheduler()
    workers = [processes.worker("a"), processes.worker("b")]
    job_id = bench.create(units=24, features=3, seconds=0.4, failing=[7])
    bench.ask(job_id, Event.START)
    wait_for(lambda: bench.store.get(job_id).features_done >= 6)
    assert bench.cluster.slots() == 2

    scheduler.kill()
    scheduler.wait()
    wait_for(lambda: bench.cluster.slots() == 0)
    processes.scheduler()
    before = bench.store.get(job_id).features_done
    wait_for(lambda: bench.store.get(job_id).features_done > before + 6)

    children = psutil.Process(workers[0].pid).children(recursive=True)
    workers[0].kill()
    workers[0].wait()
    processes.worker("c")
    job = bench.wait(job_id)
    assert (job.state.status, job.features_done, job.features_failed) == (Status.DONE, 71, 1)
    assert sorted(bench.documents(job_id)) == sorted(f"{number}.json" for number in range(72))
    psutil.wait_procs(children, timeout=10)
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def test_feature_that_kills_its_worker_is_found_where_the_scheduler_would_try_it_on_every_worker(bench, processes):
    processes.scheduler()
    processes.worker("a")
    processes.worker("b")
    job = bench.run(units=3, features=8, poison=[13], quiet_s=0.3)
    assert (job.state.status, job.features_done, job.features_failed) == (Status.DONE, 23, 1)
    assert "worker process was ended" in json.loads(bench.documents(job.id)["13.json"])["error"]["message"]
    # Twice the whole unit, once each half of it down to the one feature, and that twice.
    deaths = (bench.folder / "processes.log").read_text().count("killed by signal 9")
    assert deaths <= 8


def test_job_waits_for_a_scheduler_and_stop_is_answered_without_one(bench, processes):
    job_id = bench.create(units=2)
    bench.ask(job_id, Event.START)
    bench.wait(job_id, Status.PROCESSING)
    bench.ask(job_id, Event.STOP)
    asked = time.monotonic()
    bench.wait(job_id, Status.STOPPED)
    assert time.monotonic() - asked < 20
    bench.ask(job_id, Event.START)
    processes.scheduler()
    processes.worker("a")
    assert bench.wait(job_id, Status.DONE).features_done == 8
