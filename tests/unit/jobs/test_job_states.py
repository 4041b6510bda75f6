from __future__ import annotations

import pytest

from swathe.jobs.states import (
    Effect,
    Event,
    JobState,
    Status,
    StoppedReason,
    UserAction,
    apply,
    completion_percent,
    is_unhealthy,
    possible_actions,
)
from swathe.model.errors import ActionNotPossible


def after(*events: Event) -> JobState:
    state = JobState()
    for event in events:
        state, _ = apply(state, event)
    return state


def test_analyse_ends_in_analysis_done():
    state, effects = apply(JobState(), Event.ANALYSE)
    assert (state.status, effects) == (Status.ANALYSING, (Effect.RUN_ANALYSIS,))
    state, effects = apply(state, Event.ANALYSIS_DONE)
    assert (state.status, effects) == (Status.ANALYSIS_DONE, ())


def test_start_of_a_created_request_runs_the_analysis_and_goes_on():
    state, effects = apply(JobState(), Event.START)
    assert (state.status, effects) == (Status.ANALYSING, (Effect.RUN_ANALYSIS,))
    state, effects = apply(state, Event.ANALYSIS_DONE)
    assert (state.status, effects) == (Status.PROCESSING, (Effect.RUN_UNITS,))


def test_start_while_analysing_goes_on_to_processing_afterwards():
    assert after(Event.ANALYSE, Event.START).status is Status.ANALYSING
    assert after(Event.ANALYSE, Event.START, Event.ANALYSIS_DONE).status is Status.PROCESSING


def test_stop_while_analysing_lets_the_analysis_finish():
    state = after(Event.START, Event.STOP)
    assert state.status is Status.ANALYSING
    state, effects = apply(state, Event.ANALYSIS_DONE)
    assert (state.status, state.stopped_reason, effects) == (Status.STOPPED, StoppedReason.USER_ACTION, ())


def test_start_after_stop_while_analysing_takes_the_stop_back():
    assert after(Event.START, Event.STOP, Event.START, Event.ANALYSIS_DONE).status is Status.PROCESSING


def test_stop_while_processing_halts_the_units_and_then_is_stopped():
    state, effects = apply(after(Event.START, Event.ANALYSIS_DONE), Event.STOP)
    assert (state.status, effects) == (Status.PROCESSING, (Effect.HALT_UNITS,))
    state, _ = apply(state, Event.HALTED)
    assert (state.status, state.stopped_reason) == (Status.STOPPED, StoppedReason.USER_ACTION)


def test_start_before_the_units_have_halted_takes_the_stop_back():
    state, effects = apply(after(Event.START, Event.ANALYSIS_DONE, Event.STOP, Event.START), Event.HALTED)
    assert (state.status, effects) == (Status.PROCESSING, (Effect.RUN_UNITS,))


def test_last_unit_done_wins_over_a_stop_under_way():
    assert after(Event.START, Event.ANALYSIS_DONE, Event.STOP, Event.UNITS_DONE).status is Status.DONE


def test_start_from_stopped_goes_on_and_clears_the_reason():
    unhealthy, _ = apply(after(Event.START, Event.ANALYSIS_DONE), Event.UNHEALTHY, "3 of 3 failed")
    assert (unhealthy.stopped_reason, unhealthy.error) == (StoppedReason.UNHEALTHY, "3 of 3 failed")
    state, effects = apply(unhealthy, Event.START)
    assert state == JobState(Status.PROCESSING, UserAction.START)
    assert effects == (Effect.RUN_UNITS,)


def test_a_second_stop_changes_nothing():
    unhealthy, _ = apply(after(Event.START, Event.ANALYSIS_DONE), Event.UNHEALTHY, "bad")
    state, effects = apply(unhealthy, Event.STOP)
    assert (state.stopped_reason, state.error, effects) == (StoppedReason.UNHEALTHY, "bad", ())


@pytest.mark.parametrize(
    ("events", "action"),
    [
        ((), Event.STOP),
        ((Event.ANALYSE,), Event.ANALYSE),
        ((Event.ANALYSE, Event.ANALYSIS_DONE), Event.ANALYSE),
        ((Event.START, Event.ANALYSIS_DONE), Event.START),
        ((Event.START, Event.ANALYSIS_DONE, Event.UNITS_DONE), Event.START),
        ((Event.START, Event.ANALYSIS_DONE, Event.UNITS_DONE), Event.STOP),
        ((Event.START, Event.ANALYSIS_FAILED), Event.START),
        ((Event.START, Event.ANALYSIS_FAILED), Event.STOP),
    ],
)
def test_an_action_that_does_not_fit_is_refused(events, action):
    state = after(*events)
    with pytest.raises(ActionNotPossible, match=f"{action} is not possible for a request in status {state.status}"):
        apply(state, action)


def test_a_refusal_names_what_is_possible():
    with pytest.raises(ActionNotPossible, match="possible now: ANALYSE or START"):
        apply(JobState(), Event.STOP)
    assert possible_actions(JobState()) == (UserAction.ANALYSE, UserAction.START)


def test_an_event_of_ours_that_cannot_happen_is_a_bug():
    with pytest.raises(LookupError):
        apply(JobState(), Event.UNITS_DONE)


@pytest.mark.parametrize(
    ("status", "done", "percent"),
    [
        (Status.CREATED, 0, 0.0),
        (Status.ANALYSIS_DONE, 0, 0.0),
        (Status.PROCESSING, 1, 33.3),
        (Status.PROCESSING, 3, 99.9),
        (Status.STOPPED, 1, 33.3),
        (Status.STOPPED, 3, 100.0),
        (Status.DONE, 3, 100.0),
        (Status.FAILED, 1, 100.0),
    ],
)
def test_completion_is_rounded_down_and_100_only_when_nothing_more_comes(status, done, percent):
    assert completion_percent(status, done_cells=done, all_cells=3) == percent


def test_unhealthy_is_more_than_half_of_ten_or_of_all_if_fewer():
    assert not is_unhealthy(finished=9, failed=9, total=100)
    assert is_unhealthy(finished=10, failed=6, total=100)
    assert not is_unhealthy(finished=10, failed=5, total=100)
    assert is_unhealthy(finished=2, failed=2, total=2)
    assert not is_unhealthy(finished=2, failed=1, total=2)
    assert not is_unhealthy(finished=0, failed=0, total=0)
