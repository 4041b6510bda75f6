"""Parts of a data set put aside while a request's keys are there: which, how much, and what is told of the others."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from builders import make_request
from servers import moto_server
from swathe.jobs.database import open_database
from swathe.jobs.delivery import Delivery
from swathe.jobs.engines import make_engine
from swathe.jobs.home import Home
from swathe.jobs.keys import split_secrets
from swathe.jobs.looking_kept import PARTS, KeepOrder, KeptParts, keep_parts, make_order
from swathe.jobs.looking_results import Results
from swathe.jobs.prepare import Preparation
from swathe.jobs.records import PlannedJob, PlannedUnit, UnitResult
from swathe.jobs.runner.publishing import Publisher
from swathe.jobs.states import Event
from swathe.jobs.store import JobStore
from swathe.model.common import S3Place
from swathe.model.errors import AccessDenied, LimitExceeded, ObjectNotFound, StorageError
from swathe.settings import Settings, StorageSettings
from swathe.storage import ObjectStores


@pytest.fixture(scope="module")
def s3():
    with moto_server() as server:
        server.client().create_bucket(Bucket="out", CreateBucketConfiguration={"LocationConstraint": server.region})
        yield server


def storage_of(s3, **more) -> StorageSettings:
    return StorageSettings(endpoint_url=s3.url, region=s3.region, patience_s=0, retries=0, **more)


def delivery_of(s3, run: str, *, keys: bool = True, storage: StorageSettings | None = None) -> Delivery:
    own = {"accessKey": s3.access_key, "secretAccessKey": s3.secret_access_key} if keys else {}
    place = S3Place.model_validate({"url": f"s3://out/{run}", "region": s3.region, **own})
    return Delivery(storage or storage_of(s3), place, "7f1d")


def put_part(s3, run: str, unit: int, value: float, rows: int = 1, request_id: str = "7f1d") -> int:
    sink = pa.BufferOutputStream()
    values = value + np.random.default_rng(unit).uniform(0, 1e-6, rows)
    parquet.write_table(pa.table({"id": pa.array(np.arange(rows)), "mean": pa.array(values)}), sink)
    body = sink.getvalue().to_pybytes()
    s3.client().put_object(Bucket="out", Key=f"{run}/{request_id}/statistics/part-{unit:05}.parquet", Body=body)
    return len(body)


def order_of(s3, run: str, tmp_path, *units: int, most_bytes: int = 10**9, **more) -> KeepOrder:
    return KeepOrder(delivery_of(s3, run, **more), tmp_path / PARTS, units, most_bytes)


def results_of(s3, run: str, tmp_path) -> Results:
    storage = storage_of(s3)
    return Results(
        delivery_of(s3, run, keys=False), ObjectStores(storage), ended=True, kept=KeptParts(tmp_path / PARTS)
    )


def test_parts_are_added_as_units_end_and_one_without_a_part_stays_without(s3, tmp_path):
    for unit in (0, 2):
        put_part(s3, "grows", unit, unit)
    assert keep_parts(order_of(s3, "grows", tmp_path, 0)) == 1
    assert keep_parts(order_of(s3, "grows", tmp_path, 0, 1, 2)) == 2
    assert keep_parts(order_of(s3, "grows", tmp_path, 0, 1, 2)) == 0
    results = results_of(s3, "grows", tmp_path)
    assert results.within_reach({0, 1, 2, 9}) == {0, 1, 2}
    assert results.shortfall is None
    with results.part(2) as part:
        assert part.read().column("mean").to_pylist() == pytest.approx([2])
    with pytest.raises(ObjectNotFound), results.part(1):
        pass
    assert all(file.stat().st_mode & 0o077 == 0 for file in (tmp_path / PARTS).iterdir())


def test_a_data_set_that_is_too_long_leaves_nothing_but_the_reason(s3, tmp_path):
    size = max(put_part(s3, "long", unit, unit, rows=500) for unit in range(6))
    with pytest.raises(LimitExceeded, match=r"\[console\] keep_bytes"):
        keep_parts(order_of(s3, "long", tmp_path, *range(6), most_bytes=3 * size))
    results = results_of(s3, "long", tmp_path)
    assert results.kept.units() == frozenset()
    # nothing is tried again with every publication
    assert keep_parts(order_of(s3, "long", tmp_path, *range(6), most_bytes=3 * size)) == 0
    why = r"removed when it ended, and the data set is longer than .* keep_bytes"
    with pytest.raises(AccessDenied, match=why), results.part(0):
        pass


def test_what_was_put_aside_before_a_failure_is_shown_and_gone_on_with(s3, tmp_path):
    put_part(s3, "breaks", 0, 0.5)
    keep_parts(order_of(s3, "breaks", tmp_path, 0))
    refused = S3Place.model_validate({"url": "s3://out/breaks", "accessKey": "AKIAGONE", "secretAccessKey": "x"})
    gone = KeepOrder(Delivery(storage_of(s3), refused, "7f1d"), tmp_path / PARTS, (0, 1), 10**9)
    put_part(s3, "breaks", 1, 0.75)
    with pytest.raises(StorageError):
        keep_parts(gone)
    results = results_of(s3, "breaks", tmp_path)
    assert results.within_reach({0, 1}) == {0}
    assert results.shortfall.startswith("Not all values can be shown: 1 of 2 parts")
    assert keep_parts(order_of(s3, "breaks", tmp_path, 0, 1)) == 1
    assert results.shortfall is None
    assert results.within_reach({0, 1}) == {0, 1}


def test_nothing_is_put_aside_that_the_deployment_can_read(s3, tmp_path):
    put_part(s3, "open", 0, 0.5)
    lent = {"access_key": s3.read_access_key, "secret_access_key": s3.read_secret_access_key}
    opened = storage_of(s3, buckets=("out",), **lent)
    assert keep_parts(order_of(s3, "open", tmp_path, 0, storage=opened)) == 0
    assert not (tmp_path / PARTS).exists()
    # keys that are not lent to requests do not count
    assert keep_parts(order_of(s3, "open", tmp_path, 0, storage=storage_of(s3, **lent))) == 1


def test_orders_are_for_statistics_with_keys_of_their_own_in_a_store(s3, tmp_path):
    def asked(kind: str = "statistics", *, keys: bool = True, **sections) -> bool:
        settings = Settings.model_validate(sections)
        order = make_order(settings, kind, delivery_of(s3, "any", keys=keys), tmp_path, [0], final=True)
        return order is not None

    assert asked()
    assert not asked("process")
    assert not asked(keys=False)
    assert not asked(storage={"local_root": tmp_path})
    assert not asked(console={"keep_bytes": 0})
    assert not asked(console={"enabled": False})
    assert not asked(results={"parquet": False})


def test_of_a_job_that_failed_the_units_that_were_done_are_put_aside(s3, tmp_path):
    home = Home(tmp_path / "home")
    store = JobStore(open_database(home.path))
    settings = Settings(storage=storage_of(s3))
    keys = {"accessKey": s3.access_key, "secretAccessKey": s3.secret_access_key, "region": s3.region}
    body = make_request()
    body["input"]["features"] = {"s3": {"url": "s3://out/parcels.gpkg", **keys}}
    body["output"] = {"s3": {"url": "s3://out/failed", **keys}}
    request, secrets = split_secrets(body)
    job = store.create(client_id="c", project_id="p", request=request, keys=secrets, description=None)
    units = tuple(PlannedUnit(at, np.array([at + 1], "<i8").tobytes(), 10) for at in range(3))
    store.apply(job.id, Event.ANALYSE)
    store.save_analysis(job.id, PlannedJob(3, 1, 1.0, b"", units))
    store.apply(job.id, Event.START)
    for unit in (0, 1):
        put_part(s3, "failed", unit, unit, request_id=job.id)
        store.record_unit(job.id, UnitResult(unit, 1, 0))
    put_part(s3, "failed", 2, 2, request_id=job.id)  # of a unit that was not done yet
    preparation = Preparation.of(job, store.keys(job.id), settings, home.job(job.id), make_engine)
    store.apply(job.id, Event.FAILED, error="it had to be")
    assert not store.keys(job.id).output
    told: list = []
    publisher = Publisher(store, told.append, home)
    kept = KeptParts(home.looking(job.id) / PARTS)
    try:
        publisher.put_aside(job.id, preparation)
        until = time.monotonic() + 60
        while kept.units() != {0, 1} and time.monotonic() < until:
            time.sleep(0.05)
    finally:
        publisher.close()
        store.close()
    assert kept.units() == {0, 1}
    assert told == []
