"""What is kept of jobs to look at them: made when it is wanted, removed with the job, bounded."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import shapely
from sqlalchemy import update

from builders import make_geopackage, make_request
from swathe.jobs import looking, looking_kept, looking_store
from swathe.jobs.database import open_database
from swathe.jobs.home import FEATURES_FILE, Home
from swathe.jobs.keys import KeyPairs
from swathe.jobs.looking import Looker
from swathe.jobs.looking_columns import Measure, NothingToSee
from swathe.jobs.records import NO_DATA, Job, PlannedJob, PlannedUnit, UnitResult, to_text
from swathe.jobs.schema import jobs
from swathe.jobs.states import Event
from swathe.jobs.store import JobStore
from swathe.model.errors import ObjectNotFound, StorageError, SwatheError
from swathe.settings import Settings

BOXES = [shapely.box(500_000 + 100 * at, 5_000_000, 500_080 + 100 * at, 5_000_080) for at in range(6)]


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


@pytest.fixture
def store(home):
    store = JobStore(open_database(home.path))
    yield store
    store.close()


@pytest.fixture
def looker(home, store, tmp_path):
    told = {"storage": {"local_root": tmp_path / "buckets"}, "console": {"keep_bytes": 0}}
    looker = Looker(Settings.model_validate(told), store, home)
    yield looker
    looker.close()


def make_job(store: JobStore, *, units: int = 3) -> Job:
    """A job at work of six features in units of two."""
    body = make_request()
    body["input"]["features"] = {"s3": {"url": "s3://in/parcels.gpkg"}}
    body["output"] = {"s3": {"url": "s3://out/results"}}
    job = store.create(client_id="c", project_id="p", request=body, keys=KeyPairs(), description=None)
    ids = np.arange(1, 7).reshape(units, -1)
    planned = tuple(PlannedUnit(at, some.astype("<i8").tobytes(), 10) for at, some in enumerate(ids))
    store.apply(job.id, Event.ANALYSE)
    store.save_analysis(job.id, PlannedJob(6, 1, 1.0, b"", planned))
    return store.apply(job.id, Event.START)[0]


def put_features(home: Home, job: Job) -> None:
    home.job(job.id).mkdir(parents=True)
    make_geopackage(home.job(job.id) / FEATURES_FILE, BOXES)


def test_states_follow_the_store(home, store, looker, monkeypatch):
    monkeypatch.setattr("swathe.jobs.looking_state._EVERY_S", 0.0)
    monkeypatch.setattr("swathe.jobs.looking_state._SHARE", 0.0)
    job = make_job(store)
    put_features(home, job)
    view = looker.view(job).result(60)
    places = view.shapes.places(np.arange(1, 7))
    assert view.states.now()[places].tolist() == [0, 0, 0, 0, 0, 0]
    before = looker.stamp(view, None)
    store.record_unit(job.id, UnitResult(1, 1, 1, failures={4: "too far"}))
    assert view.states.now()[places].tolist() == [0, 0, 1, 2, 0, 0]
    assert looker.stamp(view, None) != before
    # a unit is cut in half, and one of its features comes out empty, which is no failure
    halves = store.split_unit(job.id, 2)
    store.record_unit(job.id, UnitResult(halves[1], 1, 0, failures={6: NO_DATA}))
    assert view.states.now()[places].tolist() == [0, 0, 1, 2, 0, 1]
    assert [reason.text for reason in looking_store.read_reasons(store.database, job.id)] == ["too far"]


def test_reasons_are_grouped_with_the_first_features(store):
    job = make_job(store, units=1)
    failures = dict.fromkeys(range(100, 150), "often") | {7: "once", 8: NO_DATA}
    store.record_unit(job.id, UnitResult(0, 0, 6, failures=failures))
    often, once = looking_store.read_reasons(store.database, job.id)
    assert (often.text, often.count, often.features) == ("often", 50, tuple(range(100, 120)))
    assert (once.text, once.count, once.features) == ("once", 1, (7,))


def test_without_a_data_set_there_are_series_and_no_values(home, store, looker, tmp_path):
    job = make_job(store)
    put_features(home, job)
    view = looker.view(job).result(60)
    with pytest.raises(NothingToSee, match="no results yet"):
        looker.values(job, view, Measure("ndvi", "B0", "mean"))
    folder = tmp_path / "buckets/out/results" / job.id
    folder.mkdir(parents=True)
    entry = {"interval": {}, "outputs": {"ndvi": {"bands": {"B0": {"stats": {"mean": 0.5}}}}}}
    for number in range(1, 7):
        (folder / f"{number}.json").write_text(json.dumps({"id": number, "response": {"data": [entry]}}))
    store.record_unit(job.id, UnitResult(0, 2, 0))
    view.states._next_at = 0.0
    view.states.now()
    (listed,) = looker.outputs(job, view)
    assert (listed["output"], listed["bands"]) == ("ndvi", ["B0"])
    with pytest.raises(NothingToSee, match="parquet = false"):
        looker.values(job, view, Measure("ndvi", "B0", "mean"))


def test_features_of_a_job_that_ended_are_those_put_aside(home, store, looker, tmp_path):
    job = make_job(store)
    put_features(home, job)
    home.keep_features(job.id)
    home.forget(job.id)
    kept = home.looking(job.id) / FEATURES_FILE
    assert kept.exists()
    view = looker.view(job).result(60)
    assert view.shapes.count == 6
    assert not kept.exists()
    # they are ready now, so nothing is put aside again
    put_features(home, job)
    home.keep_features(job.id)
    assert not kept.exists()


def test_features_are_fetched_again_where_nothing_is_left(home, store, looker, tmp_path, monkeypatch):
    job = make_job(store)
    with pytest.raises(ObjectNotFound):
        looker.view(job).result(60)
    make_geopackage(tmp_path / "buckets/in/parcels.gpkg", BOXES)
    with pytest.raises(StorageError):  # not tried again at once
        looker.view(job).result(60)
    monkeypatch.setattr(looking, "_PATIENCE_S", 0.0)
    assert looker.view(job).result(60).shapes.count == 6
    assert [path.name for path in home.looking(job.id).iterdir()] == ["shapes"]


def test_a_file_that_is_none_is_an_error_of_the_user(home, store, looker):
    job = make_job(store)
    home.job(job.id).mkdir(parents=True)
    (home.job(job.id) / FEATURES_FILE).write_bytes(b"SQLite format 3\0 and then nothing")
    with pytest.raises(SwatheError, match="damaged"):
        looker.view(job).result(60)


def test_what_is_kept_goes_with_the_job_and_when_it_is_too_much(home, store, looker, monkeypatch):
    old, new = make_job(store), make_job(store)
    for job in (old, new):
        put_features(home, job)
        looker.view(job).result(60)
    looker.sweep()
    assert sorted(home.looked_at()) == sorted([old.id, new.id])
    size = sum(file.stat().st_size for file in (home.looking(new.id) / "shapes").iterdir())
    os.utime(home.looking(old.id) / "shapes", (1, 1))
    monkeypatch.setattr(looking_kept, "_MOST_BYTES", size)
    looker.sweep()
    assert not (home.looking(old.id) / "shapes").exists()
    assert (home.looking(new.id) / "shapes").exists()
    with store.database.write() as connection:
        month_ago = to_text(datetime.now(UTC) - timedelta(days=400))
        connection.execute(update(jobs).values(last_updated=month_ago, status="DONE"))
    assert set(store.delete_stale(datetime.now(UTC))) == {old.id, new.id}
    looker.sweep()
    assert home.looked_at() == []
    shutil.rmtree(home.path / "looking")
    looker.sweep()
