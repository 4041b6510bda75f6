"""Several servers on one store at the same time, and a database that goes away."""

from __future__ import annotations

import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest
from jobs_store_parts import Clock, make_job, processing

from databases import new_place, postgres
from swathe.jobs.database import DatabaseFailed, DatabaseUnavailable, open_database
from swathe.jobs.listing import list_jobs
from swathe.jobs.records import Budget, UnitResult
from swathe.jobs.schema import jobs
from swathe.jobs.states import Event, Status
from swathe.jobs.store import JobStore
from swathe.model.errors import ActionNotPossible


@pytest.fixture
def stores(place):
    """Two servers' stores on one database."""
    pair = [JobStore(open_database(place.home, place.url), Clock()) for _ in range(2)]
    yield pair
    for store in pair:
        store.close()


@pytest.fixture
def on_postgres(tmp_path):
    with new_place("postgresql", tmp_path) as place:
        store = JobStore(open_database(place.home, place.url), Clock())
        yield store
        store.close()


def at_once(*calls):
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(60) for future in [pool.submit(call) for call in calls]]


def backend(connection):
    return connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()


def end_backend(pid):
    postgres().execute(f"SELECT pg_terminate_backend({pid}, 5000)")


def describe(job_id, text):
    return jobs.update().where(jobs.c.id == job_id).values(description=text)


def test_each_unit_counts_once_whoever_reports_it(stores):
    one, other = stores
    job_ids = [processing(one, units=10, features=2) for _ in range(2)]

    def report(store, order):
        for index in order:
            for job_id in job_ids if order[0] == 0 else job_ids[::-1]:
                store.record_unit(
                    job_id, UnitResult(index, done=1, failed=1, cost_pu=0.5, failures={2 * index: "no polygon"})
                )

    at_once(
        *(
            lambda store=store, order=order: report(store, order)
            for store in stores
            for order in (range(10), range(9, -1, -1))
        )
    )
    for job_id in job_ids:
        job = other.get(job_id)
        assert (job.features_done, job.features_failed, job.cells_done, job.cost_pu) == (10, 10, 1000, 5.0)
        assert [failed.feature_id for failed in other.failed_features(job_id)] == list(range(0, 20, 2))
    assert one.budget("p1") == Budget(None, 10.0)


def test_unit_is_cut_once_whoever_cuts_it(stores):
    job_id = processing(stores[0], units=3)
    cut = at_once(*(lambda store=store: store.split_unit(job_id, 1) for store in stores * 3))
    assert [pair for pair in cut if pair is not None] == [(3, 4)]
    assert [unit.index for unit in stores[0].pending_units(job_id, 10)] == [0, 2, 3, 4]


def test_lines_of_a_log_are_numbered_without_a_gap(stores):
    job_id = make_job(stores[0]).id
    at_once(*(lambda store=store: [store.log(job_id, "x") for _ in range(20)] for store in stores * 2))
    assert [line.number for line in stores[0].events(job_id)] == list(range(1, 82))


def test_stop_is_answered_once_and_the_second_start_is_refused(stores):
    job_id = processing(stores[0])

    def start(store):
        try:
            return store.apply(job_id, Event.START)[0].state.status
        except ActionNotPossible:
            return None

    stores[0].apply(job_id, Event.STOP)
    assert sorted(at_once(*(lambda store=store: start(store) for store in stores * 2)), key=str) == [
        None,
        None,
        None,
        Status.PROCESSING,
    ]


def test_jobs_of_a_dead_server_are_taken_over_by_one_other(stores):
    one, other = stores
    job_ids = {processing(one) for _ in range(5)}
    assert {job.id for job in one.claim("a", now_s=100, lease_s=10)} == job_ids
    assert other.claim("b", now_s=109, lease_s=10) == []
    got = at_once(
        *(
            lambda name=name, store=store: store.claim(name, now_s=111, lease_s=10)
            for name, store in zip("bcde", stores * 2, strict=True)
        )
    )
    owners = {job.id: name for name, claimed in zip("bcde", got, strict=True) for job in claimed}
    assert sum(len(claimed) for claimed in got) == len(owners) == 5
    for job_id in job_ids:
        assert one.get(job_id).lease_owner == owners[job_id]
        last = one.events(job_id)[-1]
        assert (last.level, last.message) == ("warning", f"taken over by {owners[job_id]}: a has not been heard of")
    assert one.claim("a", now_s=112, lease_s=10) == []


def test_work_of_the_former_owner_still_counts(stores):
    one, other = stores
    job_id = processing(one, units=2)
    one.claim("a", now_s=100, lease_s=10)
    other.claim("b", now_s=120, lease_s=10)
    one.record_unit(job_id, UnitResult(0, done=6, failed=0))
    other.record_unit(job_id, UnitResult(1, done=6, failed=0))
    assert other.settle(job_id)[0].state.status is Status.DONE
    assert one.settle(job_id)[1] == ()


def test_deadlock_is_tried_again(on_postgres):
    database = on_postgres.database
    first, second = make_job(on_postgres).id, make_job(on_postgres).id
    both_hold_one = threading.Barrier(2)
    calls = []

    def work(mine, others):
        def change(connection):
            connection.execute(describe(mine, "mine"))
            calls.append(mine)
            if calls.count(mine) == 1:
                both_hold_one.wait(10)
            connection.execute(describe(others, "theirs"))
            return mine

        return database.transact(change)

    assert at_once(lambda: work(first, second), lambda: work(second, first)) == [first, second]
    assert len(calls) == 3


def test_connection_lost_in_the_middle_is_tried_again_on_another(on_postgres):
    job_id = make_job(on_postgres).id
    pids = []

    def change(connection):
        connection.execute(jobs.update().where(jobs.c.id == job_id).values(scenes=jobs.c.scenes + 1))
        pids.append(backend(connection))
        if len(pids) == 1:
            end_backend(pids[0])
        return connection.scalar(jobs.select().with_only_columns(jobs.c.scenes).where(jobs.c.id == job_id))

    assert on_postgres.database.transact(change) == 1
    assert len(set(pids)) == 2
    assert on_postgres.get(job_id).scenes == 1


def test_connection_lost_at_the_commit_is_not_tried_again_since_nobody_knows(on_postgres):
    job_id = make_job(on_postgres).id
    calls = []

    def change(connection):
        calls.append(connection.execute(describe(job_id, "changed")))
        end_backend(backend(connection))

    with pytest.raises(DatabaseUnavailable) as caught:
        on_postgres.database.transact(change)
    assert caught.value.retryable
    assert len(calls) == 1
    assert on_postgres.get(job_id).description is None


def test_lost_connection_while_reading_is_an_error_that_may_pass(on_postgres):
    def read():
        with on_postgres.database.read() as connection:
            end_backend(backend(connection))
            connection.exec_driver_sql("SELECT 1")

    with pytest.raises(DatabaseUnavailable):
        read()
    on_postgres.database.check()


def test_reader_sees_one_state_and_can_change_nothing(stores):
    job_id = make_job(stores[0]).id
    query = jobs.select().with_only_columns(jobs.c.status).where(jobs.c.id == job_id)
    with stores[0].database.read() as connection:
        before = connection.scalar(query)
        stores[1].apply(job_id, Event.START)
        assert connection.scalar(query) == before == "CREATED"
    assert stores[0].get(job_id).state.status is Status.ANALYSING


def test_servers_go_on_after_a_restart_of_postgresql(on_postgres):
    """Killed in the middle of everything, and away for a moment: what was committed is there, work goes on by itself."""
    job_id = processing(on_postgres, units=40, features=1)
    server = postgres()
    recorded = []

    def work():
        for index in range(40):
            while True:
                try:
                    on_postgres.record_unit(job_id, UnitResult(index, done=1, failed=0, cost_pu=1.0))
                    break
                except DatabaseUnavailable:
                    time.sleep(0.1)
            recorded.append(index)

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        while len(recorded) < 10:
            time.sleep(0.01)
        server.kill()
        with pytest.raises(DatabaseUnavailable, match="The job store does not answer"):
            on_postgres.get(job_id)
        with pytest.raises(DatabaseUnavailable):
            list_jobs(on_postgres.database, "p1")
        server.start()
        working.result(60)
    job = on_postgres.get(job_id)
    assert (job.features_done, job.cost_pu, on_postgres.budget("p1").spent_pu) == (40, 40.0, 40.0)
    assert on_postgres.settle(job_id)[0].state.status is Status.DONE


def test_vanished_servers_locks_do_not_last(on_postgres):
    """PostgreSQL itself ends a transaction whose server went silent."""
    with on_postgres.database.read() as connection:
        assert connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar() == "20s"
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "30s"


def test_error_shows_nothing_of_what_was_to_be_written(stores):
    """It may be keys; PostgreSQL shows the whole row."""

    def bad(connection):
        connection.execute(jobs.insert().values(id="x", secrets="hidden-key"))

    with pytest.raises(DatabaseFailed, match="client_id") as caught:
        stores[0].database.transact(bad)
    assert "hidden-key" not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(DatabaseFailed) as caught, stores[0].database.write() as connection:
        bad(connection)
    assert "hidden-key" not in "".join(traceback.format_exception(caught.value))
