"""The runner with a real Dask cluster and an engine whose behaviour is written in the request."""

from __future__ import annotations

import json
import logging
import time

import pytest
from runner_bench import SECRET, Bench, start_cluster

from swathe.jobs.runner.cluster import Cluster
from swathe.jobs.states import Event, Status, StoppedReason
from swathe.settings import DaskSettings

# Together in one process, since they share what takes seconds to start.
pytestmark = pytest.mark.xdist_group("job_runner")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = start_cluster(tmp_path_factory.mktemp("scratch"))
    yield cluster
    Cluster.close(cluster)


@pytest.fixture
def bench(tmp_path, cluster):
    bench = Bench(tmp_path, cluster)
    yield bench
    bench.close()


def test_job_runs_to_its_end_and_leaves_nothing_but_its_documents(bench):
    job = bench.run(units=6, features=4, failing=[3])
    assert (job.state.status, job.completion_percent, job.state.error) == (Status.DONE, 100.0, None)
    assert (job.features_total, job.features_done, job.features_failed, job.cost_pu) == (24, 23, 1, 1.5)
    documents = bench.documents(job.id)
    assert set(documents) == {f"{number}.json" for number in range(24)}
    assert json.loads(documents["3.json"]) == {"id": 3, "ok": False}
    bench.until(lambda: not bench.home.job(job.id).exists())
    assert bench.store.keys(job.id).output is None


def test_analysis_alone_waits_for_start(bench):
    job_id = bench.create(units=2)
    bench.ask(job_id, Event.ANALYSE)
    job = bench.wait(job_id, Status.ANALYSIS_DONE)
    assert (job.features_total, job.scenes, job.estimated_pu, job.completion_percent) == (8, 2, 1.5, 0.0)
    assert bench.documents(job_id) == {}
    bench.ask(job_id, Event.START)
    assert bench.wait(job_id).state.status is Status.DONE


def test_analysis_that_fails_fails_the_job_with_its_reason(bench):
    job = bench.run(analysis_error="The collection has no such band")
    assert (job.state.status, job.state.error) == (Status.FAILED, "The collection has no such band")
    assert job.completion_percent == 100.0


def test_missing_geopackage_fails_the_job_with_its_name(bench):
    job = bench.run(source="s3://in/absent.gpkg")
    assert job.state.status is Status.FAILED
    assert "s3://in/absent.gpkg" in job.state.error


def test_death_of_the_analysis_is_tried_again(bench):
    assert bench.run(analysis_kill=1).state.status is Status.DONE


def test_passing_errors_are_tried_again(bench):
    job = bench.run(units=3, retry={"1": 1})
    assert (job.state.status, job.features_done) == (Status.DONE, 12)


def test_unit_that_cannot_be_done_becomes_failed_documents_and_the_job_goes_on(bench):
    job = bench.run(units=3, broken={"1": "the scene has no such band"})
    assert (job.state.status, job.features_done, job.features_failed) == (Status.DONE, 8, 4)
    document = json.loads(bench.documents(job.id)["5.json"])
    assert document["response"] == {"data": None, "status": "FAILED"}
    assert document["error"]["message"] == "the scene has no such band"
    assert (document["id"], document["identifier"]) == (5, "name 5")


def test_unit_whose_worker_dies_once_is_done_by_another(bench):
    job = bench.run(units=8, kill={"2": 1})
    assert (job.state.status, job.features_done) == (Status.DONE, 32)


@pytest.mark.parametrize("quiet_s", [0, 0.3], ids=["at once", "after it has told"])
def test_feature_that_kills_its_worker_is_found_and_no_other_fails(bench, quiet_s):
    job = bench.run(units=4, features=16, poison=[37], quiet_s=quiet_s)
    assert (job.state.status, job.features_done, job.features_failed) == (Status.DONE, 63, 1)
    assert "worker process was ended" in json.loads(bench.documents(job.id)["37.json"])["error"]["message"]
    assert [failed.feature_id for failed in bench.store.failed_features(job.id)] == [37]


def test_feature_that_meets_a_bug_of_ours_is_found_and_no_other_fails(bench):
    job = bench.run(units=2, features=4, odd=[6])
    assert (job.state.status, job.features_done, job.features_failed) == (Status.DONE, 7, 1)
    assert json.loads(bench.documents(job.id)["6.json"])["error"]["message"] == "internal error (ZeroDivisionError)"


def test_output_that_cannot_be_written_any_more_fails_the_job(bench):
    job_id = bench.create(units=4, seconds=0.5)
    bench.ask(job_id, Event.ANALYSE)
    bench.wait(job_id, Status.ANALYSIS_DONE)
    place = bench.folder / "buckets" / "out"
    if place.exists():
        place.rename(bench.folder / "buckets" / "gone")
    place.write_text("a file where the bucket was")
    bench.ask(job_id, Event.START)
    job = bench.wait(job_id)
    assert job.state.status is Status.FAILED
    assert "s3://out/res" in job.state.error


def test_job_most_of_whose_features_fail_stops_as_unhealthy(bench):
    job = bench.run(units=50, seconds=0.1, failing=list(range(200)))
    assert (job.state.status, job.state.stopped_reason) == (Status.STOPPED, StoppedReason.UNHEALTHY)
    assert job.state.error.endswith("most often: no polygon")
    assert job.features_failed < 40


def test_stop_stops_soon_and_start_goes_on_where_it_stopped(bench):
    job_id = bench.create(units=12, seconds=0.6)
    bench.ask(job_id, Event.START)
    bench.wait(job_id, Status.PROCESSING)
    while bench.store.get(job_id).features_done == 0:
        time.sleep(0.02)
    bench.ask(job_id, Event.STOP)
    asked = time.monotonic()
    stopped = bench.wait(job_id, Status.STOPPED)
    assert time.monotonic() - asked < 20
    assert stopped.state.stopped_reason is StoppedReason.USER_ACTION
    assert 0 < stopped.completion_percent < 100
    done = bench.documents(job_id)
    time.sleep(1)
    assert bench.documents(job_id) == done
    bench.ask(job_id, Event.START)
    job = bench.wait(job_id, Status.DONE)
    assert job.features_done == 48
    counts = {file.name: file.stat().st_size for file in bench.home.path.glob(f"jobs/count-{job_id}-unit-*")}
    assert sum(counts.values()) <= 12 + 4


def test_start_right_after_stop_goes_on(bench):
    job_id = bench.create(units=6, seconds=0.2)
    bench.ask(job_id, Event.START)
    bench.wait(job_id, Status.PROCESSING)
    bench.ask(job_id, Event.STOP)
    bench.ask(job_id, Event.START)
    assert bench.wait(job_id, Status.DONE, Status.FAILED).features_done == 24


def test_two_jobs_share_the_workers(bench):
    slow = bench.create(units=500, seconds=0.3)
    bench.ask(slow, Event.START)
    bench.wait(slow, Status.PROCESSING)
    quick = bench.create(units=1)
    bench.ask(quick, Event.START)
    assert bench.wait(quick).state.status is Status.DONE
    assert bench.store.get(slow).state.status is Status.PROCESSING
    bench.ask(slow, Event.STOP)
    assert bench.wait(slow).state.status is Status.STOPPED


def test_closed_runner_leaves_its_jobs_for_the_next_one(bench):
    job_id = bench.create(units=8, seconds=0.3)
    bench.ask(job_id, Event.START)
    while bench.store.get(job_id).features_done == 0:
        time.sleep(0.02)
    bench.runner.close()
    assert bench.store.get(job_id).state.status is Status.PROCESSING
    bench.begin()
    assert bench.wait(job_id).features_done == 32


def test_files_of_a_job_are_made_again_when_they_are_gone(bench):
    job_id = bench.create(units=3)
    bench.ask(job_id, Event.ANALYSE)
    bench.wait(job_id, Status.ANALYSIS_DONE)
    bench.home.forget(job_id)
    bench.ask(job_id, Event.START)
    job = bench.wait(job_id)
    assert (job.state.status, job.features_done) == (Status.DONE, 12)


def test_secrets_appear_in_no_log_and_no_result(bench, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    bench.run(units=4, kill={"1": 1}, retry={"2": 1}, broken={"3": "bad"})
    bench.run(analysis_error="nope")
    captured = capfd.readouterr()
    assert SECRET not in caplog.text + captured.out + captured.err
    for file in (bench.folder / "buckets").rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes()


def test_foreign_cluster_gets_its_units_by_value(tmp_path, cluster):
    """The same through a scheduler's address, as on a cluster whose workers cannot see the home."""
    from distributed import LocalCluster

    scheduler = LocalCluster(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=":0")
    foreign = Cluster(DaskSettings(scheduler=scheduler.scheduler_address), tmp_path)
    bench = Bench(tmp_path, foreign)
    try:
        job = bench.run(units=5, failing=[2])
        assert (job.state.status, job.features_done, job.features_failed) == (Status.DONE, 19, 1)
        assert len(bench.documents(job.id)) == 20
    finally:
        bench.close()
        scheduler.close()
