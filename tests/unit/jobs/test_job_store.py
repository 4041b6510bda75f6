from __future__ import annotations

import os
import stat
import threading
from datetime import UTC, datetime

import pytest
from jobs_store_parts import KEYS, ids, make_job, processing

from swathe.jobs.clients import ClientStore, signing_key
from swathe.jobs.database import DatabaseUnavailable, open_database
from swathe.jobs.keys import KeyPairs
from swathe.jobs.listing import list_jobs
from swathe.jobs.records import UnitResult, UnitRow
from swathe.jobs.states import Effect, Event, Status, StoppedReason, UserAction
from swathe.jobs.store import JobStore
from swathe.model.errors import ActionNotPossible, NotFound, RequestInvalid, SettingsInvalid


@pytest.fixture
def file(tmp_path):
    database = open_database(tmp_path)
    yield database
    database.close()


def test_new_job_is_created_and_read_back(store):
    job = make_job(store, description="mine")
    assert store.get(job.id) == job
    assert (job.state.status, job.completion_percent, job.description) == (Status.CREATED, 0.0, "mine")
    assert job.created == datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)


def test_jobs_of_other_projects_do_not_exist(store):
    job = make_job(store)
    with pytest.raises(NotFound):
        store.get(job.id, project_id="p2")
    with pytest.raises(NotFound):
        store.apply(job.id, Event.START, project_id="p2")


def test_action_is_recorded_with_its_time(store):
    job = make_job(store)
    changed, effects = store.apply(job.id, Event.ANALYSE)
    assert effects == (Effect.RUN_ANALYSIS,)
    assert changed.state.user_action is UserAction.ANALYSE
    assert changed.user_action_updated == changed.last_updated == datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC)


def test_action_that_does_not_fit_changes_nothing(store):
    job = make_job(store)
    with pytest.raises(ActionNotPossible):
        store.apply(job.id, Event.STOP)
    assert store.get(job.id) == job


def test_units_are_recorded_once_and_the_job_ends_when_it_is_settled(store):
    job_id = processing(store)
    job, effects = store.record_unit(job_id, UnitResult(0, done=6, failed=0, cost_pu=0.5))
    assert (job.state.status, job.completion_percent, effects) == (Status.PROCESSING, 50.0, ())
    job, _ = store.record_unit(job_id, UnitResult(0, done=6, failed=0, cost_pu=0.5))
    assert (job.features_done, job.cost_pu) == (6, 0.5)
    assert [unit.index for unit in store.pending_units(job_id, 10)] == [1]
    assert not store.is_finished(job_id)
    assert store.settle(job_id)[1] == ()
    job, effects = store.record_unit(job_id, UnitResult(1, done=6, failed=0, cost_pu=0.25))
    assert (job.state.status, job.completion_percent, effects) == (Status.PROCESSING, 99.9, ())
    assert store.is_finished(job_id)
    job, effects = store.settle(job_id)
    assert (job.state.status, job.completion_percent, job.cost_pu) == (Status.DONE, 100.0, 0.75)
    assert effects == (Effect.FORGET,)
    assert not store.is_finished(job_id)


def test_keys_are_kept_until_the_end_and_no_longer(store):
    job_id = processing(store, units=1)
    assert store.keys(job_id) == KEYS
    store.apply(job_id, Event.FAILED, error="no more")
    assert store.keys(job_id) == KeyPairs()


def test_keys_are_nowhere_in_the_files_after_the_end(file, tmp_path):
    store = JobStore(file)
    job_id = processing(store, units=1)
    assert any(b"hidden-key" in file.read_bytes() for file in tmp_path.iterdir())
    store.record_unit(job_id, UnitResult(0, done=6, failed=0))
    store.settle(job_id)
    store.database.shred()
    for file in tmp_path.iterdir():
        assert b"hidden-key" not in file.read_bytes()


def test_job_most_of_whose_features_fail_is_stopped_with_the_usual_reason(store):
    job_id = processing(store, units=3)
    store.record_unit(job_id, UnitResult(0, done=2, failed=4, failures={1: "no polygon", 2: "other"}))
    job, effects = store.record_unit(
        job_id, UnitResult(1, done=2, failed=4, failures={11: "no polygon", 12: "no polygon"})
    )
    assert (job.state.status, job.state.stopped_reason) == (Status.STOPPED, StoppedReason.UNHEALTHY)
    assert job.state.error == "8 of 12 features failed; most often: no polygon"
    assert effects == (Effect.HALT_UNITS,)
    assert job.completion_percent == 66.6


def test_unhealthy_job_that_is_started_again_is_judged_by_what_comes_then(store):
    job_id = processing(store, units=2)
    store.record_unit(job_id, UnitResult(0, done=0, failed=6))
    job, _ = store.record_unit(job_id, UnitResult(1, done=0, failed=6))
    assert job.state.stopped_reason is StoppedReason.UNHEALTHY
    store.apply(job_id, Event.START)
    job, _ = store.settle(job_id)
    assert (job.state.status, job.state.error, job.features_failed) == (Status.DONE, None, 12)


def test_stopped_job_goes_on_with_its_pending_units(store):
    job_id = processing(store, units=3)
    store.record_unit(job_id, UnitResult(1, done=6, failed=0))
    store.apply(job_id, Event.STOP)
    job, _ = store.apply(job_id, Event.HALTED)
    assert (job.state.status, job.completion_percent) == (Status.STOPPED, 33.3)
    store.apply(job_id, Event.START)
    assert [unit.index for unit in store.pending_units(job_id, 10)] == [0, 2]
    assert [unit.index for unit in store.pending_units(job_id, 10, after=0)] == [2]


def test_how_much_of_a_unit_is_delivered_is_kept_and_only_grows(store):
    job_id = processing(store)
    store.record_progress(job_id, 10, {0: 4, 1: 2})
    store.record_progress(job_id, 10, {0: 3})
    store.record_unit(job_id, UnitResult(1, done=6, failed=0))
    store.record_progress(job_id, 10, {1: 5})
    assert [(unit.index, unit.delivered) for unit in store.pending_units(job_id, 10)] == [(0, 4)]


def test_attempts_are_counted(store):
    job_id = processing(store)
    assert store.add_attempt(job_id, 1) == UnitRow(1, features=6, cells=100, attempts=1, lost=0)
    assert store.add_attempt(job_id, 1, lost=True) == UnitRow(1, features=6, cells=100, attempts=2, lost=1)
    assert [(unit.attempts, unit.lost) for unit in store.pending_units(job_id, 10)] == [(0, 0), (2, 1)]
    with pytest.raises(NotFound):
        store.add_attempt(job_id, 7)


def test_plan_is_read_back(store):
    job_id = processing(store, units=2, features=1)
    assert store.analysis(job_id) == (b"plan", ((0, ids(0), 100), (1, ids(1), 100)))


def test_job_belongs_to_one_server_until_its_lease_is_over(store):
    job_id = processing(store)
    assert [job.id for job in store.claim("a", now_s=100, lease_s=10)] == [job_id]
    assert store.claim("b", now_s=105, lease_s=10) == []
    assert [job.id for job in store.claim("a", now_s=106, lease_s=10)] == [job_id]
    assert store.claim("b", now_s=111, lease_s=10) == []
    assert [job.id for job in store.claim("b", now_s=117, lease_s=10)] == [job_id]
    assert store.claim("a", now_s=118, lease_s=10) == []
    store.release("b")
    assert [job.id for job in store.claim("a", now_s=118, lease_s=10)] == [job_id]


def test_two_servers_at_once_never_both_get_a_job(store):
    job_id = processing(store)
    won: list[str] = []

    def claim(owner):
        won.extend(owner for _ in store.claim(owner, now_s=100, lease_s=10))

    threads = [threading.Thread(target=claim, args=(f"server {number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.get(job_id).lease_owner == won[0]


def test_only_jobs_at_work_are_claimed(store):
    make_job(store)
    assert store.claim("a", now_s=100, lease_s=10) == []


def test_pages_follow_one_another_while_jobs_are_added(store, database):
    made = [make_job(store).id for _ in range(5)]
    page = list_jobs(database, "p1", count=2)
    seen = [job.id for job in page.jobs]
    make_job(store)
    while page.next_token:
        page = list_jobs(database, "p1", count=2, token=page.next_token)
        seen += [job.id for job in page.jobs]
    assert seen[:5] == made
    assert len(seen) == len(set(seen)) == 6


def test_operators_list_the_jobs_of_all_projects(store, database):
    made = [make_job(store, project=project).id for project in ("p1", "p2")]
    assert [job.id for job in list_jobs(database).jobs] == made
    assert [job.id for job in list_jobs(database, kind="statistics").jobs] == made
    assert list_jobs(database, kind="process").jobs == ()


def test_list_can_be_sorted_and_searched(store, database):
    first, second = make_job(store, description="apples & pears").id, make_job(store, description="plums_").id
    make_job(store, project="p2")
    store.apply(second, Event.ANALYSE)
    found = lambda **how: [job.id for job in list_jobs(database, "p1", **how).jobs]  # noqa: E731
    assert found() == found(sort="created:asc") == [first, second]
    assert found(sort="created:desc") == [second, first]
    assert found(sort="status") == [second, first]
    assert found(sort="status:desc") == [first, second]
    assert found(search="PLUM") == found(search="s_") == [second]
    assert found(search="apples & nothing | analysing") == [second]
    assert found(client_id="nobody") == []
    for how in ({"sort": "colour"}, {"token": "!!"}, {"token": "WyJ4Il0"}):
        with pytest.raises(RequestInvalid):
            list_jobs(database, "p1", **how)


def test_database_is_for_its_owner_alone(tmp_path, file):
    make_job(JobStore(file))
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(os.stat(file).st_mode) == 0o600, file


def test_file_that_is_removed_while_it_is_used_is_not_made_anew(tmp_path, file):
    store = JobStore(file)
    file.close()
    (tmp_path / "swathe.sqlite").unlink()
    with pytest.raises(DatabaseUnavailable, match="unable to open"):
        store.counts()
    assert not (tmp_path / "swathe.sqlite").exists()


def test_home_may_have_any_name(tmp_path):
    home = tmp_path / "a b%20?x=1#ü"
    home.mkdir()
    database = open_database(home)
    job = make_job(JobStore(database))
    database.close()
    assert JobStore(open_database(home)).get(job.id) == job
    assert (home / "swathe.sqlite").stat().st_size > 0


def test_commit_survives_the_connection(place, store):
    job_id = processing(store)
    other = open_database(place.home, place.url)
    assert JobStore(other).get(job_id).features_total == 12
    other.close()


def test_unusable_database_is_a_sentence(tmp_path):
    (tmp_path / "swathe.sqlite").write_bytes(b"no database at all, just a file of text" * 50)
    with pytest.raises(SettingsInvalid, match="cannot be opened"):
        open_database(tmp_path)


def test_client_is_known_by_its_secret_alone(database):
    clients = ClientStore(database)
    client, secret = clients.create("me")
    assert clients.check_secret(client.id, secret) == client
    assert clients.check_secret(client.id, secret + "x") is None
    assert clients.check_secret("nobody", secret) is None
    assert clients.list() == [client]
    assert clients.delete(client.id)
    assert not clients.delete(client.id)
    assert clients.check_secret(client.id, secret) is None


def test_secret_is_not_in_the_database(file, tmp_path):
    _, secret = ClientStore(file).create("me")
    assert all(secret.encode() not in file.read_bytes() for file in tmp_path.iterdir())


def test_signing_key_is_made_once(database):
    assert signing_key(database) == signing_key(database)
