"""Jobs for a store, for several test modules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from swathe.jobs.keys import KeyPairs
from swathe.jobs.records import PlannedJob, PlannedUnit
from swathe.jobs.states import Event

KEYS = KeyPairs(features={"accessKey": "A", "secretAccessKey": "hidden-key"})


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def make_job(store, project="p1", client="c1", description=None):
    return store.create(client_id=client, project_id=project, request={"input": {}}, keys=KEYS, description=description)


def ids(*numbers):
    return b"".join(number.to_bytes(8, "little") for number in numbers)


def make_plan(units=2, features=6, cells=100):
    """Unit 0 has the features 0 to 5, unit 1 those from 6 to 11."""
    return PlannedJob(
        features=units * features,
        scenes=3,
        estimated_pu=1.0,
        payload=b"plan",
        units=tuple(
            PlannedUnit(index, ids(*range(index * features, (index + 1) * features)), cells) for index in range(units)
        ),
    )


def processing(store, **plan):
    job = make_job(store)
    store.apply(job.id, Event.START)
    store.save_analysis(job.id, make_plan(**plan))
    return job.id
