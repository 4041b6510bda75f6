"""What always holds of the table of states."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from swathe.jobs.states import (
    ACTIVE,
    ENDS,
    RULES,
    USER_EVENTS,
    Effect,
    Event,
    JobState,
    Status,
    StoppedReason,
    UserAction,
    apply,
)
from swathe.model.errors import ActionNotPossible


def reachable() -> set[JobState]:
    found, new = {JobState()}, [JobState()]
    while new:
        state = new.pop()
        for event in Event:
            try:
                follower, _ = apply(state, event)
            except (ActionNotPossible, LookupError):
                continue
            if follower not in found:
                found.add(follower)
                new.append(follower)
    return found


@given(st.lists(st.sampled_from(Event), max_size=40))
def test_no_way_out_of_the_table(events):
    state = JobState()
    for event in events:
        try:
            state, effects = apply(state, event, "why" if event in (Event.FAILED, Event.UNHEALTHY) else None)
        except ActionNotPossible:
            assert event in USER_EVENTS
            continue
        except LookupError:
            assert event not in USER_EVENTS
            continue
        assert isinstance(state.status, Status)
        assert all(isinstance(effect, Effect) for effect in effects)
        assert (state.stopped_reason is None) == (state.status is not Status.STOPPED)
        if event in USER_EVENTS:
            assert state.user_action is USER_EVENTS[event]


def test_every_state_reaches_an_end():
    ended = {state for state in reachable() if state.status in ENDS}
    assert {state.status for state in ended} == ENDS
    open_ = reachable() - ended
    grown = True
    while grown:
        grown = False
        for state, event in product(sorted(open_, key=repr), Event):
            try:
                follower, _ = apply(state, event)
            except (ActionNotPossible, LookupError):
                continue
            if follower in ended:
                ended.add(state)
                open_.discard(state)
                grown = True
                break
    assert open_ == set()


def test_stop_is_always_answered_and_leads_out_of_work():
    for state in reachable():
        if state.status not in ACTIVE:
            continue
        state, _ = apply(state, Event.STOP)
        ending = Event.ANALYSIS_DONE if state.status is Status.ANALYSING else Event.HALTED
        state, _ = apply(state, ending)
        assert (state.status, state.stopped_reason) == (Status.STOPPED, StoppedReason.USER_ACTION)


def test_every_state_recovers_to_itself_and_says_what_is_to_be_done():
    for state in reachable():
        same, effects = apply(state, Event.RECOVERED, state.error)
        assert same == state
        assert bool(effects) == (state.status in ACTIVE)


def test_ends_have_no_way_out():
    for (status, event), rules in RULES.items():
        if status in ENDS:
            assert event is Event.RECOVERED
            assert {rule.to for rule in rules} == {status}


def test_rules_of_one_event_never_overlap_and_leave_no_wish_out():
    for (status, event), rules in RULES.items():
        if len(rules) > 1:
            wishes = [wish for rule in rules for wish in rule.wishes or UserAction]
            assert sorted(wishes) == sorted(set(wishes)), (status, event)
            assert set(wishes) == set(UserAction), (status, event)
