"""What becomes of a unit that did not succeed. Values in, values out.

What is passing is tried again after pauses that grow; what is not is final at once. A unit that kills its worker twice, or
fails again and again for a reason that may lie in one of its features, is cut in half until that feature is found: it
fails alone. Trouble with the output place concerns the whole job.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from swathe.jobs.records import UnitRow
from swathe.jobs.runner.cluster import Loss
from swathe.jobs.tasks import UnitOutcome

BACKOFF_S = (1.0, 4.0, 16.0, 60.0)
MAX_ATTEMPTS = len(BACKOFF_S) + 1
MAX_LOST = 2
# A feature that is about to be called guilty, and has none to share the blame with, has one more chance: workers also die
# for reasons of their own.
MAX_LOST_ALONE = 3
# Of a unit that has come from a cut, or met a bug, no more is to be learned by waiting.
_ATTEMPTS_TO_NARROW = 2
_ATTEMPTS_AT_BUG = 3
_MAX_CLUSTER = 10


class Step(Enum):
    """What to do with the unit. ALONE: again, with nothing else under way; GIVE_UP: mark its features failed."""

    AGAIN = "AGAIN"
    ALONE = "ALONE"
    SPLIT = "SPLIT"
    GIVE_UP = "GIVE_UP"
    FAIL_JOB = "FAIL_JOB"


@dataclass(frozen=True)
class Failure:
    """How a unit did not succeed.

    `errors` counts the errors so far with this one, deaths of workers not among them, `unit.lost` these. A unit that is
    `giving_up` was only to say that its features failed; a `narrowed` one comes from a cut.
    """

    outcome: UnitOutcome
    loss: Loss
    unit: UnitRow
    errors: int
    giving_up: bool = False
    narrowed: bool = False
    was_alone: bool = False


@dataclass(frozen=True)
class Verdict:
    """What to do, and after how many seconds."""

    step: Step
    pause_s: float = 0.0


def decide(failure: Failure) -> Verdict:
    """What becomes of the unit."""
    outcome, loss = failure.outcome, failure.loss
    if outcome.stopped:
        return Verdict(Step.AGAIN, BACKOFF_S[0])
    if loss is Loss.INNOCENT:
        return Verdict(Step.AGAIN)
    if loss is Loss.SUSPECT:
        return Verdict(Step.ALONE)
    if loss is Loss.CULPRIT:
        return _after_death(failure)
    if loss is Loss.CLUSTER:
        return _again_or(failure, _MAX_CLUSTER, Step.FAIL_JOB)
    hopeless = Step.FAIL_JOB if outcome.at_delivery or failure.giving_up else Step.GIVE_UP
    if not outcome.retryable:
        return Verdict(hopeless)
    is_bug = outcome.bug is not None
    if hopeless is Step.FAIL_JOB or failure.unit.features == 1:
        return _again_or(failure, _ATTEMPTS_AT_BUG if is_bug else MAX_ATTEMPTS, hopeless)
    narrows = failure.narrowed or is_bug
    return _again_or(failure, _ATTEMPTS_TO_NARROW if narrows else MAX_ATTEMPTS, Step.SPLIT)


def _after_death(failure: Failure) -> Verdict:
    several = failure.unit.features > 1
    if failure.unit.lost < (MAX_LOST if several and not failure.giving_up else MAX_LOST_ALONE):
        return Verdict(Step.ALONE if failure.was_alone else Step.AGAIN)
    if failure.giving_up:
        return _again_or(failure, MAX_ATTEMPTS, Step.FAIL_JOB)
    return Verdict(Step.SPLIT if several else Step.GIVE_UP)


def _again_or(failure: Failure, attempts: int, last: Step) -> Verdict:
    if failure.errors >= attempts:
        return Verdict(last)
    return Verdict(Step.AGAIN, BACKOFF_S[min(failure.errors, len(BACKOFF_S)) - 1])
