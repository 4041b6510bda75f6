"""How jobs end that the runner drives: budgets, the output folder, a server that dies while another lives."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from runner_bench import Bench, start_cluster

from swathe.jobs.home import Home
from swathe.jobs.runner import driver, finishing
from swathe.jobs.states import Event, Status, StoppedReason

pytestmark = pytest.mark.xdist_group("runner_ends")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = start_cluster(tmp_path_factory.mktemp("scratch"))
    yield cluster
    super(type(cluster), cluster).close()


@pytest.fixture
def bench(tmp_path, cluster):
    bench = Bench(tmp_path, cluster)
    yield bench
    bench.close()


def runs_of_units(bench: Bench, job_id: str) -> int:
    return sum(file.stat().st_size for file in bench.home.path.glob(f"jobs/count-{job_id}-unit-*"))


def test_job_that_would_run_out_of_pu_stops_and_goes_on_with_more_and_redoes_nothing(bench):
    bench.store.set_budget("p", 5.5)
    job_id = bench.create(units=8, features=2, pu=1.0)
    bench.ask(job_id, Event.START)
    job = bench.wait(job_id)
    assert (job.state.status, job.state.stopped_reason) == (Status.STOPPED, StoppedReason.OUT_OF_PU)
    assert (job.features_done, job.cost_pu) == (10, 5.0)
    assert "5.00 of its 5.50 processing units" in job.state.error
    done = bench.documents(job_id)

    bench.ask(job_id, Event.START)
    bench.wait(job_id, Status.PROCESSING, Status.STOPPED)
    assert bench.wait(job_id).state.stopped_reason is StoppedReason.OUT_OF_PU
    assert bench.documents(job_id) == done

    bench.store.set_budget("p", 8.0)
    bench.ask(job_id, Event.START)
    job = bench.wait(job_id, Status.DONE, Status.FAILED)
    assert (job.features_done, job.cost_pu) == (16, 8.0)
    assert runs_of_units(bench, job_id) == 8
    assert bench.store.budget("p").spent_pu == 8.0


def test_another_project_is_not_held_up_by_an_empty_purse(bench):
    bench.store.set_budget("p", 0.0)
    job = bench.run(units=2)
    assert job.state.stopped_reason is StoppedReason.OUT_OF_PU
    bench.store.set_budget("p", None)
    assert bench.run(units=2).state.status is Status.DONE


def make_parcels(file: Path, count: int) -> None:
    import geopandas
    from shapely import box

    squares = [box(10 * n, 0, 10 * n + 5, 5) for n in range(count)]
    frame = geopandas.GeoDataFrame({"name": [f"name {n}" for n in range(count)]}, geometry=squares, crs=32633)
    file.parent.mkdir(parents=True, exist_ok=True)
    frame.to_file(file, layer="parcels", driver="GPKG")


def read_execution(bench: Bench, job_id: str) -> dict[int, str]:
    (file,) = (bench.folder / "buckets/out/res" / job_id).glob("execution-*.sqlite")
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as connection:
        return dict(connection.execute("SELECT id, status FROM features").fetchall())


def test_execution_database_follows_the_job_and_is_complete_when_it_is_done(tmp_path, cluster, monkeypatch):
    monkeypatch.setattr(finishing, "PUBLISH_S", 1.0)
    monkeypatch.setattr(driver, "PUBLISH_S", 1.0)
    make_parcels(tmp_path / "buckets/in/parcels.gpkg", 40)
    bench = Bench(tmp_path, cluster, publishes=True)
    try:
        job_id = bench.create(units=20, features=2, first=1, seconds=0.5, failing=[3])
        bench.ask(job_id, Event.START)
        while not list((tmp_path / "buckets/out/res" / job_id).glob("execution-*.sqlite")):
            time.sleep(0.1)
        assert bench.store.get(job_id).state.status is Status.PROCESSING
        assert set(read_execution(bench, job_id).values()) >= {"PENDING", "DONE"}
        bench.ask(job_id, Event.STOP)
        bench.wait(job_id, Status.STOPPED)
        bench.ask(job_id, Event.START)
        bench.wait(job_id, Status.DONE, Status.FAILED)
        states = read_execution(bench, job_id)
        assert {number for number in states if states[number] != "DONE"} == {3}
        assert (len(states), states[3]) == (40, "FATAL")
    finally:
        bench.close()


def test_output_folder_that_cannot_be_completed_fails_the_job_and_names_it(tmp_path, cluster):
    bench = Bench(tmp_path, cluster, publishes=True)  # the GeoPackage is none
    try:
        job = bench.run(units=2)
        assert job.state.status is Status.FAILED
        assert job.state.error.startswith(f"The results in s3://out/res/{job.id} cannot be completed")
    finally:
        bench.close()


SERVER = """
import sys, time
from pathlib import Path
from runner_bench import Bench, start_cluster
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    bench = Bench(folder, start_cluster(folder / "scratch-a", 1), home="a", database=sys.argv[2])
    print("ready", flush=True)
    time.sleep(600)
"""


def test_another_server_takes_a_job_over_when_its_server_is_killed(tmp_path, cluster, monkeypatch):
    monkeypatch.setattr(driver, "_LEASE_S", 4.0)
    script = tmp_path / "server_a.py"
    script.write_text(SERVER)
    url = f"sqlite:///{tmp_path}/shared.sqlite"
    seen = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT / "tests" / "system")))}
    command = [sys.executable, str(script), str(tmp_path), url]
    first = subprocess.Popen(command, env=seen, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "ready\n"
        bench = Bench(tmp_path, cluster, home="b", database=url)
        bench.runner.close()
        job_id = bench.create(units=30, features=2, seconds=0.3)
        bench.store.apply(job_id, Event.START)
        while bench.store.get(job_id).features_done < 4:
            time.sleep(0.05)
        bench.begin()
        time.sleep(1)
        assert not bench.home.job(job_id).exists()  # the first one's lease is good

        os.kill(first.pid, signal.SIGKILL)
        done = bench.store.get(job_id).features_done
        end = time.monotonic() + 180
        while bench.store.get(job_id).features_done < done + 6:
            assert time.monotonic() < end, "nobody took the job over"
            time.sleep(0.05)
        job = bench.wait(job_id)
        assert (job.state.status, job.features_done) == (Status.DONE, 60)
        assert len(bench.documents(job_id)) == 60
        assert any("taken over" in event.message for event in bench.store.events(job_id))
        bench.close()
    finally:
        first.kill()
        first.wait()


def test_server_whose_lease_was_taken_lets_the_job_go(bench):
    job_id = bench.create(units=60, features=1, seconds=0.3)
    bench.ask(job_id, Event.START)
    while bench.store.get(job_id).features_done < 2:
        time.sleep(0.05)
    # As when this server was paused for longer than its lease, and another one took the job.
    now = time.time()
    assert [job.id for job in bench.store.claim("another", now_s=now + 60, lease_s=3600)] == [job_id]
    end = time.monotonic() + 180
    while bench.runner.state().units_in_flight:
        assert time.monotonic() < end
        time.sleep(0.05)
    time.sleep(1)  # what was being delivered is still written down
    job = bench.store.get(job_id)
    assert (job.state.status, job.lease_owner) == (Status.PROCESSING, "another")
    time.sleep(1)
    assert bench.store.get(job_id).features_done == job.features_done


def test_runner_goes_on_when_the_database_was_away(bench):
    job_id = bench.create(units=20, features=2, seconds=0.2)
    bench.ask(job_id, Event.START)
    while bench.store.get(job_id).features_done < 4:
        time.sleep(0.05)
    taken = threading.Event()
    free = threading.Event()
    real = bench.store.database.transact

    def nobody(*_: object) -> object:
        from swathe.jobs.database import DatabaseUnavailable

        taken.set()
        if free.is_set():
            return real(*_)
        raise DatabaseUnavailable("gone")

    bench.store.database.transact = nobody
    assert taken.wait(10)
    time.sleep(2)
    free.set()
    job = bench.wait(job_id)
    assert (job.state.status, job.features_done) == (Status.DONE, 40)
    assert runs_of_units(bench, job_id) == 20


def test_files_of_jobs_that_ended_elsewhere_are_removed(tmp_path, cluster):
    bench = Bench(tmp_path, cluster)
    bench.runner.close()
    job_id = bench.create(units=1)
    bench.store.apply(job_id, Event.START)
    bench.store.apply(job_id, Event.ANALYSIS_FAILED, error="elsewhere")
    home = Home(tmp_path / "home")
    for name in (job_id, "unknown"):
        home.job(name).mkdir()
    waiting = bench.create(units=1)
    home.job(waiting).mkdir()
    bench.begin()
    end = time.monotonic() + 180
    while home.job_ids() != [waiting]:
        assert time.monotonic() < end
        time.sleep(0.05)
    bench.close()
