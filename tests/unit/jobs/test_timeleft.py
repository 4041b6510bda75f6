from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swathe.jobs.timeleft import TRUSTED_SHARE, estimate_seconds_left


def left(total=100.0, done=0.0, done_at_start=0.0, elapsed_s=0.0, planned_s=None):
    return estimate_seconds_left(
        total=total, done=done, done_at_start=done_at_start, elapsed_s=elapsed_s, planned_s=planned_s
    )


def test_at_first_the_plan_tells():
    assert left(planned_s=500) == pytest.approx(500)


def test_without_a_plan_what_is_seen_tells():
    assert left(done=20, elapsed_s=10) == pytest.approx(40)


def test_nothing_tells():
    assert left(elapsed_s=10) is None
    assert left(total=0, planned_s=10) is None


def test_what_was_done_before_the_clock_began_says_nothing_about_speed():
    assert left(done=60, done_at_start=50, elapsed_s=10) == pytest.approx(40)


def test_by_a_fifth_of_the_work_the_plan_no_longer_counts():
    assert left(done=20, elapsed_s=20, planned_s=10) == pytest.approx(80)


def test_a_worked_example():
    # a tenth is seen, in 30 s: half of 30 s * 90 / 10 and half of the plan's 100 s * 90 / 100
    assert TRUSTED_SHARE == 0.2
    assert left(done=10, elapsed_s=30, planned_s=100) == pytest.approx(270 / 2 + 90 / 2)


def test_a_start_that_takes_a_moment_is_no_alarm():
    assert left(elapsed_s=5, planned_s=100) == pytest.approx(100)
    assert left(done=1, elapsed_s=6, planned_s=100) < 150


def test_a_job_that_stands_still_takes_longer_and_longer():
    times = [left(elapsed_s=seconds, planned_s=100) for seconds in (0, 100, 1000, 10_000)]
    assert times == [100, 100, 1000, 10_000]


def test_nothing_is_left_when_all_is_done():
    assert left(done=100, elapsed_s=3) == 0.0
    assert left(done=120, elapsed_s=3) == 0.0


@given(
    st.floats(1, 1e12),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1e7),
    st.one_of(st.none(), st.floats(0, 1e7)),
)
def test_never_negative(total, share, before, elapsed_s, planned_s):
    done = total * share
    found = left(total, done, done * before, elapsed_s, planned_s)
    assert found is None or found >= 0
