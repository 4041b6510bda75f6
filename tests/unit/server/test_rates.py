"""Buckets that fill with a minute's worth a minute, on a clock of the test's."""

from __future__ import annotations

import json

import pytest

from swathe.server import rates
from swathe.server.rates import Buckets, Guesses, RateExceeded, RateLimits
from swathe.settings import RateLimitSettings


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_bucket_holds_a_minutes_worth_and_fills_evenly(clock: Clock) -> None:
    buckets = Buckets(30, clock)
    assert [buckets.try_to_take("a") for _ in range(31)] == [True] * 30 + [False]
    assert buckets.wait_ms("a") == 2000
    clock.now += 1.5
    assert (buckets.try_to_take("a"), buckets.wait_ms("a")) == (False, 500)
    clock.now += 0.5
    assert (buckets.try_to_take("a"), buckets.try_to_take("a")) == (True, False)
    clock.now += 3600
    assert buckets.level("a") == 30


def test_names_do_not_share_a_bucket_and_old_ones_are_forgotten(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "_MOST_NAMES", 2)
    buckets = Buckets(10, clock)
    buckets.take("a", 4)
    assert (buckets.level("a"), buckets.level("b")) == (6, 10)
    assert buckets.level("c") == 10
    assert len(buckets._buckets) == 2
    assert buckets.level("a") == 10


def test_one_request_too_many_says_when_and_which_policy(clock: Clock) -> None:
    limits = RateLimits(RateLimitSettings(requests_per_minute=2), clock)
    limits.count_request("me")
    assert limits.headers("me") == {"X-RateLimit-Remaining": "1"}
    limits.count_request("me")
    with pytest.raises(RateExceeded, match="may send 2 requests a minute; try again in 30000 ms") as refused:
        limits.count_request("me")
    assert refused.value.retry_after_ms == 30_000
    told = limits.headers("me", refused.value)
    assert json.loads(told.pop("X-RateLimit-ViolatedPolicy")) == {"samplingPeriod": "PT1M", "limit": 2}
    assert told == {"X-RateLimit-Remaining": "0"}
    limits.count_request("another")
    clock.now += 30
    limits.count_request("me")


def test_what_a_request_cost_too_much_is_paid_off_before_the_next(clock: Clock) -> None:
    limits = RateLimits(RateLimitSettings(processing_units_per_minute=6), clock)
    limits.check_units("me")
    limits.spend_units("me", 7.5)
    with pytest.raises(RateExceeded) as refused:
        limits.check_units("me")
    assert 15_000 <= refused.value.retry_after_ms <= 15_001
    told = limits.headers("me", refused.value)
    assert told["X-ProcessingUnits-Remaining"] == "0"
    assert told["X-ProcessingUnits-Retry-After"] == str(refused.value.retry_after_ms)
    clock.now += refused.value.retry_after_ms / 1000
    limits.check_units("me")
    clock.now += 1
    assert limits.headers("me") == {"X-ProcessingUnits-Remaining": "0.1"}


def test_without_limits_nothing_is_counted_or_told(clock: Clock) -> None:
    limits = RateLimits(RateLimitSettings(), clock)
    for _ in range(100):
        limits.count_request("me")
        limits.spend_units("me", 1e9)
        limits.check_units("me")
    assert (limits.is_on, limits.headers("me")) == (False, {})


def test_guesses_are_bounded_and_keep_nobody_out_who_knows_the_secret(clock: Clock) -> None:
    guesses = Guesses(3, clock)
    guesses.was_right("known here", "secret")
    for name in ("known here", "new here"):
        for _ in range(3):
            assert guesses.wait_ms(name, "wrong") == 0
            guesses.was_wrong(name)
        assert guesses.wait_ms(name, "wrong") == 20_000
    assert guesses.wait_ms("known here", "secret") == 0
    assert guesses.wait_ms("new here", "secret") == 20_000
    assert guesses.wait_ms("another", "secret") == 0
    clock.now += 20
    assert guesses.wait_ms("new here", "secret") == 0
