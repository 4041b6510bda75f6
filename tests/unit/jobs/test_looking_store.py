"""What the console asks the job store, on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest
from jobs_store_parts import ids, make_job, processing

from swathe.jobs import looking_store
from swathe.jobs.looking_store import Wanted, read_lines
from swathe.jobs.records import NO_DATA, UnitResult
from swathe.jobs.states import Event
from swathe.model.errors import RequestInvalid


def test_lines_are_newest_first_page_by_page(store):
    made = [make_job(store, description=f"number {at}%").id for at in range(5)]
    make_job(store, project="p2")
    seen, token = [], None
    while True:
        page = read_lines(store.database, Wanted("p1"), count=2, token=token)
        seen += [job.id for job in page.jobs]
        if (token := page.next_token) is None:
            break
    assert seen == made[::-1]
    assert page.jobs[0].request == {}
    assert len(read_lines(store.database, Wanted(None)).jobs) == 6


def test_lines_by_kind_status_and_text(store):
    first, second = make_job(store, description="wheat_a"), make_job(store, description="wheatXa")
    store.apply(second.id, Event.ANALYSE)

    def found(**how):
        return {job.id for job in read_lines(store.database, Wanted("p1", **how)).jobs}

    assert found(status="ANALYSING") == {second.id}
    assert found(text="WHEAT_") == {first.id}
    assert found(text=second.id[:13]) == {second.id}
    assert found(kind="process") == set()
    assert found(kind="statistics", text="\0") == set()
    for how in ({"status": "DONE'"}, {"status": "done"}):
        with pytest.raises(RequestInvalid):
            found(**how)
    with pytest.raises(RequestInvalid):
        read_lines(store.database, Wanted("p1"), token="WzEsMl0")


def test_reasons_and_units(store):
    job_id = processing(store)
    store.record_unit(job_id, UnitResult(0, 2, 4, failures={0: "far", 1: "near", 2: "far", 3: NO_DATA}))
    reasons = looking_store.read_reasons(store.database, job_id)
    assert [(one.text, one.count, one.features) for one in reasons] == [("far", 2, (0, 2)), ("near", 1, (1,))]
    assert looking_store.count_failed(store.database, job_id) == 3
    assert sorted(looking_store.read_failed_ids(store.database, job_id)) == [0, 1, 2]
    assert looking_store.read_reason(store.database, job_id, 3) == NO_DATA
    assert looking_store.read_reason(store.database, job_id, 5) is None
    assert looking_store.read_unit_states(store.database, job_id) == [(0, "DONE"), (1, "PENDING")]
    assert dict(looking_store.read_unit_features(store.database, job_id, [1])) == {1: ids(*range(6, 12))}
    last = looking_store.last_number(store.database, job_id)
    assert store.events(job_id)[-1].number == last
    assert looking_store.exists(store.database, job_id)
    assert not looking_store.exists(store.database, "no such job")
