"""The life of a batch request as one table: which event leads from which state to which, and what is to be done then.

Values in, values out. Names of states, actions and reasons are the provider's (`BatchV2ProcessTask`).

The user's wish (`user_action`) is part of the state. So START while ANALYSING needs no state of its own: the analysis
ends in PROCESSING because START is what the user asked for last. STOP while ANALYSING lets the analysis finish and ends
in STOPPED, from where START goes straight to PROCESSING. STOP while PROCESSING is answered at once; the status follows
as soon as no unit runs any more (HALTED).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from swathe.model.errors import ActionNotPossible


class Status(StrEnum):
    """Where a request has got to."""

    CREATED = "CREATED"
    ANALYSING = "ANALYSING"
    ANALYSIS_DONE = "ANALYSIS_DONE"
    PROCESSING = "PROCESSING"
    DONE = "DONE"
    FAILED = "FAILED"
    STOPPED = "STOPPED"


class UserAction(StrEnum):
    """What the user asked for last."""

    NONE = "NONE"
    ANALYSE = "ANALYSE"
    START = "START"
    STOP = "STOP"


class StoppedReason(StrEnum):
    """Why a request is STOPPED."""

    OUT_OF_PU = "OUT_OF_PU"
    USER_ACTION = "USER_ACTION"
    UNHEALTHY = "UNHEALTHY"


class Event(StrEnum):
    """What can happen to a request. The first three are the user's, the others the runner's."""

    ANALYSE = "ANALYSE"
    START = "START"
    STOP = "STOP"
    ANALYSIS_DONE = "ANALYSIS_DONE"
    ANALYSIS_FAILED = "ANALYSIS_FAILED"
    UNITS_DONE = "UNITS_DONE"
    FAILED = "FAILED"
    UNHEALTHY = "UNHEALTHY"
    OUT_OF_PU = "OUT_OF_PU"
    HALTED = "HALTED"
    RECOVERED = "RECOVERED"


class Effect(StrEnum):
    """What the runner has to do after a transition."""

    RUN_ANALYSIS = "RUN_ANALYSIS"
    RUN_UNITS = "RUN_UNITS"
    HALT_UNITS = "HALT_UNITS"
    FORGET = "FORGET"


USER_EVENTS = {
    Event.ANALYSE: UserAction.ANALYSE,
    Event.START: UserAction.START,
    Event.STOP: UserAction.STOP,
}
ENDS = frozenset({Status.DONE, Status.FAILED})
ACTIVE = frozenset({Status.ANALYSING, Status.PROCESSING})


@dataclass(frozen=True)
class JobState:
    """The part of a job that the table decides about."""

    status: Status = Status.CREATED
    user_action: UserAction = UserAction.NONE
    stopped_reason: StoppedReason | None = None
    error: str | None = None


@dataclass(frozen=True)
class Rule:
    """Where an event leads. `wishes` restricts a rule to what the user asked for last before the event."""

    to: Status
    effects: tuple[Effect, ...] = ()
    reason: StoppedReason | None = None
    wishes: frozenset[UserAction] | None = None
    keeps_reason: bool = False


_STOP = frozenset({UserAction.STOP})
_START = frozenset({UserAction.START})
_NOT_STOP = frozenset(UserAction) - _STOP
_NEITHER = frozenset(UserAction) - _START - _STOP

RULES: Mapping[tuple[Status, Event], tuple[Rule, ...]] = {
    (Status.CREATED, Event.ANALYSE): (Rule(Status.ANALYSING, (Effect.RUN_ANALYSIS,)),),
    (Status.CREATED, Event.START): (Rule(Status.ANALYSING, (Effect.RUN_ANALYSIS,)),),
    (Status.CREATED, Event.RECOVERED): (Rule(Status.CREATED),),
    #
    (Status.ANALYSING, Event.START): (Rule(Status.ANALYSING),),
    (Status.ANALYSING, Event.STOP): (Rule(Status.ANALYSING),),
    (Status.ANALYSING, Event.ANALYSIS_DONE): (
        Rule(Status.PROCESSING, (Effect.RUN_UNITS,), wishes=_START),
        Rule(Status.STOPPED, reason=StoppedReason.USER_ACTION, wishes=_STOP),
        Rule(Status.ANALYSIS_DONE, wishes=_NEITHER),
    ),
    (Status.ANALYSING, Event.ANALYSIS_FAILED): (Rule(Status.FAILED, (Effect.FORGET,)),),
    (Status.ANALYSING, Event.RECOVERED): (Rule(Status.ANALYSING, (Effect.RUN_ANALYSIS,)),),
    #
    (Status.ANALYSIS_DONE, Event.START): (Rule(Status.PROCESSING, (Effect.RUN_UNITS,)),),
    (Status.ANALYSIS_DONE, Event.STOP): (Rule(Status.STOPPED, reason=StoppedReason.USER_ACTION),),
    (Status.ANALYSIS_DONE, Event.RECOVERED): (Rule(Status.ANALYSIS_DONE),),
    #
    (Status.PROCESSING, Event.START): (Rule(Status.PROCESSING, wishes=_STOP),),
    (Status.PROCESSING, Event.STOP): (Rule(Status.PROCESSING, (Effect.HALT_UNITS,)),),
    (Status.PROCESSING, Event.HALTED): (
        Rule(Status.STOPPED, reason=StoppedReason.USER_ACTION, wishes=_STOP),
        Rule(Status.PROCESSING, (Effect.RUN_UNITS,), wishes=_NOT_STOP),
    ),
    (Status.PROCESSING, Event.UNITS_DONE): (Rule(Status.DONE, (Effect.FORGET,)),),
    (Status.PROCESSING, Event.FAILED): (Rule(Status.FAILED, (Effect.HALT_UNITS, Effect.FORGET)),),
    (Status.PROCESSING, Event.UNHEALTHY): (Rule(Status.STOPPED, (Effect.HALT_UNITS,), reason=StoppedReason.UNHEALTHY),),
    (Status.PROCESSING, Event.OUT_OF_PU): (Rule(Status.STOPPED, (Effect.HALT_UNITS,), reason=StoppedReason.OUT_OF_PU),),
    (Status.PROCESSING, Event.RECOVERED): (
        Rule(Status.PROCESSING, (Effect.HALT_UNITS,), wishes=_STOP),
        Rule(Status.PROCESSING, (Effect.RUN_UNITS,), wishes=_NOT_STOP),
    ),
    #
    (Status.STOPPED, Event.START): (Rule(Status.PROCESSING, (Effect.RUN_UNITS,)),),
    (Status.STOPPED, Event.STOP): (Rule(Status.STOPPED, keeps_reason=True),),
    (Status.STOPPED, Event.RECOVERED): (Rule(Status.STOPPED, keeps_reason=True),),
    #
    (Status.DONE, Event.RECOVERED): (Rule(Status.DONE),),
    (Status.FAILED, Event.RECOVERED): (Rule(Status.FAILED, keeps_reason=True),),
}


def apply(state: JobState, event: Event, error: str | None = None) -> tuple[JobState, tuple[Effect, ...]]:
    """The state after an event, and what is to be done.

    `error` is the text that a FAILED or UNHEALTHY request shows; START clears it.

    Raises:
        ActionNotPossible: the user's action does not fit the state; the message names the status and what is possible.
        LookupError: an event of the runner's that cannot happen in this state, so a bug of ours.
    """
    rule = _find_rule(state, event)
    if rule is None:
        if event in USER_EVENTS:
            raise ActionNotPossible(_explain(state, event))
        raise LookupError(f"{event} cannot happen in status {state.status}")
    changed = replace(state, status=rule.to, user_action=USER_EVENTS.get(event, state.user_action))
    if not rule.keeps_reason:
        changed = replace(changed, stopped_reason=rule.reason, error=error)
    return changed, rule.effects


def possible_actions(state: JobState) -> tuple[UserAction, ...]:
    """What the user may ask for now."""
    return tuple(action for event, action in USER_EVENTS.items() if _find_rule(state, event) is not None)


def completion_percent(status: Status, *, done_cells: int, all_cells: int) -> float:
    """How much of a request is done, by work rather than by features, rounded down to a tenth.

    100 says that nothing more will come, since clients wait for that number and look at nothing else: DONE and FAILED
    report it always, STOPPED only when every unit was done. While PROCESSING it stays below.
    """
    if status in ENDS:
        return 100.0
    if all_cells <= 0 or status in (Status.CREATED, Status.ANALYSING, Status.ANALYSIS_DONE):
        return 0.0
    percent = (1000 * min(done_cells, all_cells) // all_cells) / 10
    return percent if status is Status.STOPPED else min(percent, 99.9)


def is_unhealthy(*, finished: int, failed: int, total: int) -> bool:
    """Whether most features fail: more than half of at least ten finished ones, or of all when there are fewer."""
    return finished > 0 and finished >= min(10, total) and 2 * failed > finished


def _find_rule(state: JobState, event: Event) -> Rule | None:
    for rule in RULES.get((state.status, event), ()):
        if rule.wishes is None or state.user_action in rule.wishes:
            return rule
    return None


def _explain(state: JobState, event: Event) -> str:
    actions = " or ".join(possible_actions(state))
    possible = f"possible now: {actions}" if actions else "no action is possible any more"
    return f"{event} is not possible for a request in status {state.status}; {possible}"
