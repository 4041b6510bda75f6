"""What becomes of units that did not succeed."""

from __future__ import annotations

import pytest

from swathe.jobs.records import UnitRow
from swathe.jobs.runner.cluster import Loss
from swathe.jobs.runner.verdicts import MAX_ATTEMPTS, Failure, Step, Verdict, decide
from swathe.jobs.tasks import UnitOutcome


def failed(
    loss: Loss = Loss.NONE, *, features: int = 8, lost: int = 0, errors: int = 1, retryable: bool = True, **what: object
) -> Failure:
    about = {name: what.pop(name) for name in ("giving_up", "narrowed", "was_alone") if name in what}
    outcome = UnitOutcome(5, error="it broke", retryable=retryable, **what)
    return Failure(outcome, loss, UnitRow(5, features, 100, 0, lost), errors, **about)


@pytest.mark.parametrize(
    ("failure", "verdict"),
    [
        (failed(errors=1), Verdict(Step.AGAIN, 1.0)),
        (failed(errors=3), Verdict(Step.AGAIN, 16.0)),
        (failed(errors=MAX_ATTEMPTS), Verdict(Step.SPLIT)),
        (failed(errors=MAX_ATTEMPTS, features=1), Verdict(Step.GIVE_UP)),
        (failed(errors=2, narrowed=True), Verdict(Step.SPLIT)),
        (failed(errors=2, bug="Traceback"), Verdict(Step.SPLIT)),
        (failed(errors=2, bug="Traceback", features=1), Verdict(Step.AGAIN, 4.0)),
        (failed(errors=3, bug="Traceback", features=1), Verdict(Step.GIVE_UP)),
        (failed(retryable=False), Verdict(Step.GIVE_UP)),
        (failed(retryable=False, at_delivery=True), Verdict(Step.FAIL_JOB)),
        (failed(retryable=False, giving_up=True), Verdict(Step.FAIL_JOB)),
        (failed(errors=2, at_delivery=True, narrowed=True), Verdict(Step.AGAIN, 4.0)),
        (failed(errors=MAX_ATTEMPTS, at_delivery=True), Verdict(Step.FAIL_JOB)),
        (failed(stopped=True), Verdict(Step.AGAIN, 1.0)),
        (failed(Loss.INNOCENT, lost=9, errors=0), Verdict(Step.AGAIN)),
        (failed(Loss.SUSPECT, lost=9, errors=0), Verdict(Step.ALONE)),
        (failed(Loss.CULPRIT, lost=1, errors=0), Verdict(Step.AGAIN)),
        (failed(Loss.CULPRIT, lost=1, errors=0, was_alone=True), Verdict(Step.ALONE)),
        (failed(Loss.CULPRIT, lost=2, errors=0), Verdict(Step.SPLIT)),
        (failed(Loss.CULPRIT, lost=2, errors=0, features=1), Verdict(Step.AGAIN)),
        (failed(Loss.CULPRIT, lost=3, errors=0, features=1), Verdict(Step.GIVE_UP)),
        (failed(Loss.CLUSTER, errors=9), Verdict(Step.AGAIN, 60.0)),
        (failed(Loss.CLUSTER, errors=10), Verdict(Step.FAIL_JOB)),
    ],
)
def test_verdicts(failure, verdict):
    assert decide(failure) == verdict


def test_deaths_of_who_was_only_to_say_that_it_failed_end_the_job_at_some_time():
    steps = [decide(failed(Loss.CULPRIT, lost=lost, errors=lost - 3, giving_up=True)).step for lost in range(3, 12)]
    assert steps[0] is Step.AGAIN
    assert steps[-1] is Step.FAIL_JOB
