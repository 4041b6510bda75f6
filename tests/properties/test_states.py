"""What always holds of the table of states."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swathe.jobs.database import open_database
from swathe.jobs.keys import KeyPairs
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
    possible_actions,
)
from swathe.jobs.store import JobStore
from swathe.model.errors import ActionNotPossible


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    database = open_database(tmp_path_factory.mktemp("home"))
    yield database
    database.close()


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


def test_stop_is_legal_or_refused_with_what_is_possible():
    for state in reachable():
        if state.status in ENDS | {Status.CREATED}:
            with pytest.raises(ActionNotPossible) as refusal:
                apply(state, Event.STOP)
            words = (state.status, *possible_actions(state))
            assert all(word in refusal.value.message for word in words)
        else:
            assert apply(state, Event.STOP)[0].user_action is UserAction.STOP


def test_whatever_stopped_a_request_start_goes_on_with_it():
    stopped = [state for state in reachable() if state.status is Status.STOPPED]
    assert {state.stopped_reason for state in stopped} == set(StoppedReason)
    for state in stopped:
        after, effects = apply(state, Event.START)
        assert (after, effects) == (JobState(Status.PROCESSING, UserAction.START), (Effect.RUN_UNITS,))


def test_running_out_of_budget_stops_the_work_whatever_the_user_asked_for():
    for state in reachable():
        if state.status is Status.PROCESSING:
            after, effects = apply(state, Event.OUT_OF_PU, "no more")
            assert (after.status, after.stopped_reason) == (Status.STOPPED, StoppedReason.OUT_OF_PU)
            assert (after.error, effects) == ("no more", (Effect.HALT_UNITS,))


def test_every_end_forgets_the_keys_and_nothing_else_does():
    for state, event in product(sorted(reachable(), key=repr), Event):
        try:
            after, effects = apply(state, event)
        except (ActionNotPossible, LookupError):
            continue
        ends = after.status in ENDS and state.status not in ENDS
        assert (Effect.FORGET in effects) == ends


@settings(max_examples=40, deadline=None)
@given(events=st.lists(st.sampled_from(Event), max_size=15))
def test_the_store_follows_the_table(events, database):
    """Whatever happens, and in whatever order: the stored state is the table's, a refusal leaves everything as it was."""
    store = JobStore(database)
    keys = KeyPairs(output={"accessKey": "a", "secretAccessKey": "b"})
    job = store.create(client_id="c", project_id="p", request={}, keys=keys, description=None)
    state = job.state
    for event in events:
        before = store.get(job.id)
        try:
            state, effects = apply(state, event)
        except (ActionNotPossible, LookupError) as refusal:
            with pytest.raises(type(refusal)):
                store.apply(job.id, event)
            assert store.get(job.id) == before
            continue
        stored, to_do = store.apply(job.id, event)
        assert (stored.state, to_do) == (state, effects)
        assert store.get(job.id) == stored
        assert (store.keys(job.id) == KeyPairs()) == (state.status in ENDS)


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
