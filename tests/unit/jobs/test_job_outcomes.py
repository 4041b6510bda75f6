"""What the store keeps of units and features: halves of units, every failure, costs against a budget, a job's log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from jobs_store_parts import KEYS, Clock, ids, make_job, make_plan, processing

from swathe.jobs import events
from swathe.jobs.database import open_database
from swathe.jobs.keys import KeyPairs
from swathe.jobs.records import Budget, FailedFeature, PlannedJob, PlannedUnit, UnitResult, UnitRow
from swathe.jobs.schema import failed_features, job_events, jobs, plans, units
from swathe.jobs.states import Event, Status, StoppedReason
from swathe.jobs.store import JobStore
from swathe.model.errors import NotFound, RequestInvalid
from swathe.settings import RetentionSettings


def rows(store, table, job_id):
    column = table.c.id if table is jobs else table.c.job_id
    with store.database.read() as connection:
        return connection.execute(table.select().where(column == job_id)).all()


def test_unit_is_cut_in_half_and_nothing_of_it_is_lost(store):
    job_id = processing(store, units=2, features=5)
    assert store.split_unit(job_id, 0) == (2, 3)
    assert store.unit_features(job_id, 2) == ids(0, 1)
    assert store.unit_features(job_id, 3) == ids(2, 3, 4)
    assert store.pending_units(job_id, 10) == [
        UnitRow(1, features=5, cells=100, attempts=0, lost=0),
        UnitRow(2, features=2, cells=40, attempts=0, lost=1),
        UnitRow(3, features=3, cells=60, attempts=0, lost=1),
    ]
    assert store.get(job_id).cells_total == 200


def test_late_report_about_a_unit_that_was_cut_changes_nothing(store):
    job_id = processing(store)
    store.split_unit(job_id, 0)
    job, _ = store.record_unit(job_id, UnitResult(0, done=5, failed=1, cost_pu=1.0, failures={3: "late"}))
    assert (job.features_done, job.features_failed, job.cells_done, job.cost_pu) == (0, 0, 0, 0.0)
    assert store.failed_features(job_id) == []
    assert store.budget("p1") == Budget()


def test_halves_are_cut_down_to_the_one_feature(store):
    job_id = processing(store, units=1, features=4)
    first, second = store.split_unit(job_id, 0)
    left, right = store.split_unit(job_id, second)
    assert (store.unit_features(job_id, left), store.unit_features(job_id, right)) == (ids(2), ids(3))
    assert store.split_unit(job_id, right) is None
    assert store.split_unit(job_id, 0) is None
    store.record_unit(job_id, UnitResult(first, done=2, failed=0))
    assert store.split_unit(job_id, first) is None
    assert list(store.unit_outcomes(job_id)) == [
        (first, ids(0, 1), "DONE"),
        (left, ids(2), "PENDING"),
        (right, ids(3), "PENDING"),
    ]
    store.record_unit(job_id, UnitResult(left, done=1, failed=0))
    job, _ = store.record_unit(job_id, UnitResult(right, done=0, failed=1, failures={3: "it kills its worker"}))
    assert (job.features_done, job.features_failed, job.cells_done) == (3, 1, 100)
    assert store.is_finished(job_id)


def test_unit_of_one_cell_makes_two_and_the_job_still_ends_at_its_total(store):
    job_id = processing(store, units=1, features=2, cells=1)
    for index in store.split_unit(job_id, 0):
        job, _ = store.record_unit(job_id, UnitResult(index, done=1, failed=0))
    assert (job.cells_done, job.cells_total) == (2, 2)


def test_unit_that_is_not_there_has_no_features(store):
    with pytest.raises(NotFound, match="no unit 7"):
        store.unit_features(processing(store), 7)


def test_plan_made_again_replaces_units_and_failures(store):
    job_id = make_job(store).id
    store.apply(job_id, Event.ANALYSE)
    with store.database.write() as connection:
        connection.execute(failed_features.insert().values(job_id=job_id, feature_id=1, reason="of before"))
    store.save_analysis(job_id, make_plan(units=1))
    assert store.failed_features(job_id) == []
    assert [unit.index for unit in store.pending_units(job_id, 10)] == [0]


def test_every_failure_is_kept_and_read_page_by_page(store):
    job_id = processing(store, units=2, features=2500)
    failures = {number: f"reason {number % 3}" for number in range(1200)}
    store.record_unit(job_id, UnitResult(0, done=1300, failed=1200, failures=failures))
    found, after = [], -1
    while page := store.failed_features(job_id, after=after, limit=500):
        found += page
        after = page[-1].feature_id
    assert found == [FailedFeature(number, reason) for number, reason in failures.items()]


def test_reasons_may_hold_any_text(store):
    job_id = processing(store)
    store.record_unit(job_id, UnitResult(0, done=5, failed=1, failures={1: "a\0b \ud800 ü " + "x" * 9000}, error="\0"))
    (failed,) = store.failed_features(job_id)
    assert failed.reason.startswith("a\ufffdb \ufffd ü xxx")
    assert len(failed.reason) == 4000


def test_job_is_judged_by_each_unit_even_one_without_a_failure(store):
    job_id = processing(store, units=3, features=9)
    job, _ = store.record_unit(job_id, UnitResult(0, done=0, failed=9))
    assert job.state.status is Status.PROCESSING  # nine are too few to judge by
    job, _ = store.record_unit(job_id, UnitResult(1, done=8, failed=0))
    assert job.state.stopped_reason is StoppedReason.UNHEALTHY


def test_plan_figures_and_kind_are_kept(store):
    job = store.create(
        client_id="c", project_id="p", request={}, keys=KeyPairs(), description="with \0 in it", kind="process"
    )
    assert (job.kind, job.plan, job.description) == ("process", {}, "with \ufffd in it")
    store.apply(job.id, Event.ANALYSE)
    plan = PlannedJob(1, 1, 0.5, b"", (PlannedUnit(0, ids(1), 5),), report={"blocks": 12, "estimatedSeconds": 1.5})
    assert store.save_analysis(job.id, plan)[0].plan == {"blocks": 12, "estimatedSeconds": 1.5}
    assert store.counts() == {("process", Status.ANALYSIS_DONE): 1}


def test_jobs_are_counted_by_kind_and_status(store):
    processing(store)
    make_job(store)
    make_job(store)
    assert store.counts() == {("statistics", Status.PROCESSING): 1, ("statistics", Status.CREATED): 2}


def test_start_of_processing_is_noted_with_what_was_done_by_then(store):
    job_id = processing(store, units=4)
    job, _ = store.record_unit(job_id, UnitResult(0, done=6, failed=0))
    assert (job.started, job.cells_at_start) == (datetime(2026, 1, 1, 0, 0, 4, tzinfo=UTC), 0)
    store.apply(job_id, Event.STOP)
    store.apply(job_id, Event.START)  # before the units have halted, so that nothing was interrupted
    assert store.apply(job_id, Event.HALTED)[0].started == job.started
    store.apply(job_id, Event.STOP)
    stopped, _ = store.apply(job_id, Event.HALTED)
    again, _ = store.apply(job_id, Event.START)
    assert (again.started, again.cells_at_start) == (stopped.last_updated + timedelta(seconds=1), 100)


def test_costs_of_units_are_what_a_project_has_spent(store):
    first, second = processing(store), processing(store)
    assert store.budget("p1") == Budget(None, 0.0)
    for job_id in (first, second):
        store.record_unit(job_id, UnitResult(0, done=6, failed=0, cost_pu=0.5))
        store.record_unit(job_id, UnitResult(0, done=6, failed=0, cost_pu=0.5))  # a second report costs nothing
    store.set_budget("p1", 4.0)
    store.record_unit(first, UnitResult(1, done=6, failed=0, cost_pu=0.25))
    assert store.budget("p1") == Budget(4.0, 1.25)
    assert store.budget("p1").left_pu == 2.75
    store.set_budget("p1", 1.0)
    assert store.budget("p1").left_pu == 0.0
    store.set_budget("p1", None)
    assert store.budget("p1") == Budget(None, 1.25)
    assert store.budget("p1").left_pu == float("inf")


def test_job_out_of_budget_goes_on_after_start(store):
    job_id = processing(store)
    job, _ = store.apply(job_id, Event.OUT_OF_PU, error="the project may spend no more")
    assert (job.state.status, job.state.stopped_reason) == (Status.STOPPED, StoppedReason.OUT_OF_PU)
    job, _ = store.apply(job_id, Event.START)
    assert (job.state.status, job.state.stopped_reason, job.state.error) == (Status.PROCESSING, None, None)


def test_transitions_are_in_the_log_with_what_others_add(store):
    job_id = processing(store)
    store.log(job_id, "tried again", level="warning", unit=1)
    store.apply(job_id, Event.FAILED, error="the bucket\0is gone")
    lines = store.events(job_id, project_id="p1")
    assert [(line.number, line.level, line.message, line.unit) for line in lines] == [
        (1, "info", "CREATED", None),
        (2, "info", "START: CREATED -> ANALYSING", None),
        (3, "info", "analysed: 12 features, 3 scenes, 2 units", None),
        (4, "info", "ANALYSIS_DONE: ANALYSING -> PROCESSING", None),
        (5, "warning", "tried again", 1),
        (6, "error", "FAILED: PROCESSING -> FAILED: the bucket\ufffdis gone", None),
    ]
    assert lines == sorted(lines, key=lambda line: line.at)
    assert store.events(job_id, after=4, limit=1) == [lines[4]]
    assert store.events(job_id, after=6) == []
    with pytest.raises(NotFound):
        store.events(job_id, project_id="p2")


def test_log_keeps_the_newest_lines(store, monkeypatch):
    monkeypatch.setattr(events, "MAX_EVENTS", 20)
    monkeypatch.setattr(events, "_TRIM_EVERY", 10)
    job_id = make_job(store).id
    for number in range(2, 41):
        store.log(job_id, f"line {number}")
    assert [line.number for line in store.events(job_id)] == list(range(21, 41))


def test_line_about_a_job_that_is_gone_is_nothing(store):
    store.log("nobody", "hello")
    with store.database.read() as connection:
        assert connection.execute(job_events.select()).all() == []


def test_job_is_found_by_the_beginning_of_its_id(store):
    first, second = make_job(store), make_job(store, project="p2")
    assert store.find(first.id[:8].upper()) == first
    assert store.find(second.id, project_id="p2") == second
    for prefix in ("%", "x\0", first.id + "0"):
        with pytest.raises(NotFound):
            store.find(prefix)
    with pytest.raises(NotFound):
        store.find(first.id, project_id="p2")
    with pytest.raises(RequestInvalid, match="Several requests"):
        store.find("")


@pytest.mark.parametrize(
    ("events", "days"),
    [
        ((), 7),
        ((Event.ANALYSE, Event.ANALYSIS_FAILED), 15),
        ((Event.ANALYSE, "plan"), 30),
        ((Event.START, "plan", Event.FAILED), 15),
        ((Event.START, "plan", Event.UNITS_DONE), 30),
        ((Event.START, "plan", Event.STOP, Event.HALTED), 30),
        ((Event.START, "plan"), None),
        ((Event.START,), None),
    ],
)
def test_stale_jobs_are_deleted_after_the_providers_days_of_inactivity(store, events, days):
    job_id = make_job(store).id
    for event in events:
        if event == "plan":
            store.save_analysis(job_id, make_plan())
        else:
            store.apply(job_id, event)
    last = store.get(job_id).last_updated
    if days is None:
        assert store.delete_stale(last + timedelta(days=10_000)) == []
        return
    assert store.delete_stale(last + timedelta(days=days)) == []
    assert store.delete_stale(last + timedelta(days=days, seconds=1)) == [job_id]
    assert [rows(store, table, job_id) for table in (jobs, plans, units, failed_features, job_events)] == [[]] * 5
    with pytest.raises(NotFound):
        store.get(job_id)


def test_many_stale_jobs_go_at_once_and_others_stay(database):
    store = JobStore(database, Clock(), days_kept=RetentionSettings(created_days=1))
    old = {make_job(store).id for _ in range(130)}
    young = processing(store)
    store.record_unit(young, UnitResult(0, done=5, failed=1, failures={1: "x"}))
    assert set(store.delete_stale(datetime(2026, 1, 3, tzinfo=UTC))) == old
    assert store.counts() == {("statistics", Status.PROCESSING): 1}
    assert len(store.failed_features(young)) == 1


def test_keys_of_a_deleted_job_are_nowhere_in_the_files(tmp_path):
    store = JobStore(open_database(tmp_path), Clock())
    job = make_job(store)
    assert store.keys(job.id) == KEYS
    assert any(b"hidden-key" in file.read_bytes() for file in tmp_path.iterdir())
    store.delete_stale(datetime(2027, 1, 1, tzinfo=UTC))
    assert not any(b"hidden-key" in file.read_bytes() for file in tmp_path.iterdir())
    store.close()
