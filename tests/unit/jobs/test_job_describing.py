"""A job's other description, on both kinds of database."""

from __future__ import annotations

import threading

import pytest
from jobs_store_parts import make_job, make_plan

from swathe.jobs.describing import JobBusy, describe_job, is_busy
from swathe.jobs.listing import list_jobs
from swathe.jobs.states import Event, JobState, Status, UserAction
from swathe.model.errors import ActionNotPossible, NotFound


def test_a_job_is_found_by_its_other_description_only(store):
    job = make_job(store, description="old words")
    changed = describe_job(store.database, job.id, "new\0 words \u2116", project_id="p1")
    assert changed == store.get(job.id)
    assert changed.request == {**job.request, "description": "new\0 words \u2116"}
    assert changed.last_updated > job.last_updated
    for words, found in (("old", 0), ("words \u2116", 1)):
        assert len(list_jobs(store.database, "p1", search=words).jobs) == found
    assert [event.message for event in store.events(job.id)] == ["CREATED", "description changed"]
    assert store.keys(job.id).features is not None


def test_nothing_said_changes_nothing(store):
    job = make_job(store, description="words")
    assert describe_job(store.database, job.id, None, project_id="p1") == job


def test_jobs_of_others_are_not_there(store):
    job = make_job(store)
    with pytest.raises(NotFound):
        describe_job(store.database, job.id, "mine", project_id="p2")


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("action", UserAction)
def test_busy_is_what_is_processed_or_waits_for_it(status, action):
    waits = (status, action) == (Status.ANALYSING, UserAction.START)
    assert is_busy(JobState(status, action)) == (waits or status is Status.PROCESSING)


def test_a_busy_job_stays_as_it_is(store):
    job = make_job(store, description="words")
    store.apply(job.id, Event.START)
    before = store.get(job.id)
    with pytest.raises(JobBusy, match="waiting to be processed") as caught:
        describe_job(store.database, job.id, "others", project_id="p1")
    assert isinstance(caught.value, ActionNotPossible)
    store.save_analysis(job.id, make_plan())
    with pytest.raises(JobBusy, match="being processed"):
        describe_job(store.database, job.id, "others", project_id="p1")
    assert store.get(job.id).request == before.request


def test_an_analysis_that_ends_meanwhile_is_not_lost(store):
    """The description is written for a request that others change at the same moment."""
    job = make_job(store)
    store.apply(job.id, Event.ANALYSE)

    def analyse():
        store.save_analysis(job.id, make_plan(units=50))

    thread = threading.Thread(target=analyse)
    thread.start()
    for number in range(10):
        describe_job(store.database, job.id, f"try {number}", project_id="p1")
    thread.join()
    after = store.get(job.id)
    assert (after.state.status, after.features_total) == (Status.ANALYSIS_DONE, 300)
    assert (after.description, after.request["description"]) == ("try 9", "try 9")
