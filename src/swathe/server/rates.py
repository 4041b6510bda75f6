"""How often a client may ask, and how much it may spend, in a minute; and how often a secret may be guessed.

Each is a bucket that holds a minute's worth and fills evenly. Buckets are this server's own, in memory: several servers
count each for itself, and a restart fills them. What a client does not use does not add up beyond a minute's worth.

Names of headers are the provider's. `Retry-After` is in milliseconds, as it has it and its clients read it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from swathe.model.errors import SwatheError
from swathe.settings import RateLimitSettings

REMAINING, VIOLATED = "X-RateLimit-Remaining", "X-RateLimit-ViolatedPolicy"
UNITS_REMAINING, UNITS_RETRY = "X-ProcessingUnits-Remaining", "X-ProcessingUnits-Retry-After"
HEADERS = (REMAINING, VIOLATED, UNITS_REMAINING, UNITS_RETRY)
"""What a browser must be allowed to read, beside `Retry-After`."""
_PLACE = "swathe.rates"
_MOST_NAMES = 10_000
_LONGEST_NAME = 64
_ROUNDING = 1e-9  # of a request; whoever waits as told is not refused for it


class RateExceeded(SwatheError):
    """A client asks more often, or has spent more, than a minute allows. `policy` is the header that says which."""

    code = "RATE_LIMIT_EXCEEDED"
    retryable = True

    def __init__(self, message: str, retry_after_ms: int = 1000, policy: str = "", *, of_units: bool = False) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms
        self.policy = policy
        self.of_units = of_units


@dataclass
class _Bucket:
    level: float
    at_s: float


class Buckets:
    """A bucket for each name, `per_minute` at most in it. For any thread; names not seen for long are forgotten."""

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def level(self, name: str) -> float:
        """What is in it; less than 0 when more was taken than was there."""
        with self._lock:
            return self._filled(name).level

    def take(self, name: str, amount: float = 1.0) -> None:
        """Takes out of it, whatever is in it."""
        with self._lock:
            self._filled(name).level -= amount

    def try_to_take(self, name: str, amount: float = 1.0) -> bool:
        """Takes out of it if as much is there: whether it was."""
        with self._lock:
            bucket = self._filled(name)
            if bucket.level < amount - _ROUNDING:
                return False
            bucket.level -= amount
            return True

    def wait_ms(self, name: str, amount: float = 1.0) -> int:
        """After how many milliseconds, if nobody takes anything, there is this much in it."""
        return max(0, math.ceil((amount - _ROUNDING - self.level(name)) * 60_000 / self.per_minute))

    def _filled(self, name: str) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.setdefault(name, _Bucket(self.per_minute, now))
        self._buckets.move_to_end(name)
        if len(self._buckets) > _MOST_NAMES:
            self._buckets.popitem(last=False)
        bucket.level = min(self.per_minute, bucket.level + (now - bucket.at_s) * self.per_minute / 60)
        bucket.at_s = now
        return bucket


@dataclass
class _Told:
    """What an answer's headers are made from: whose buckets, and what was violated."""

    client_id: str | None = None
    error: RateExceeded | None = None


class RateLimits:
    """The limits of `[rate_limits]`, the same for each client and counted for each apart."""

    def __init__(self, settings: RateLimitSettings, clock: Callable[[], float] = time.monotonic) -> None:
        requests, units = settings.requests_per_minute, settings.processing_units_per_minute
        self.requests = None if requests is None else Buckets(requests, clock)
        self.units = None if units is None else Buckets(units, clock)

    @property
    def is_on(self) -> bool:
        """Whether there is a limit at all."""
        return self.requests is not None or self.units is not None

    def count_request(self, client_id: str) -> None:
        """Counts a request.

        Raises:
            RateExceeded: it is one too many; then it does not count.
        """
        if self.requests is None or self.requests.try_to_take(client_id):
            return
        limit, wait_ms = self.requests.per_minute, max(1, self.requests.wait_ms(client_id))
        raise RateExceeded(
            f"This client may send {limit:g} requests a minute; try again in {wait_ms} ms", wait_ms, _policy(limit)
        )

    def check_units(self, client_id: str) -> None:
        """Looks whether something may be spent. What a request costs is known when it is done, so it may cost more than
        is left; the requests after it wait until that is paid off.

        Raises:
            RateExceeded: nothing is left at the moment.
        """
        if self.units is None or self.units.level(client_id) > 0:
            return
        limit, wait_ms = self.units.per_minute, max(1, self.units.wait_ms(client_id, 0.0) + 1)
        raise RateExceeded(
            f"This client may spend {limit:g} processing units a minute; try again in {wait_ms} ms",
            wait_ms,
            _policy(limit),
            of_units=True,
        )

    def spend_units(self, client_id: str, cost_pu: float) -> None:
        """Counts what a request has cost."""
        if self.units is not None:
            self.units.take(client_id, cost_pu)

    def headers(self, client_id: str, error: RateExceeded | None = None) -> dict[str, str]:
        """What is left to a client, and for a refused request what it violated."""
        told: dict[str, str] = {}
        if self.requests is not None:
            told[REMAINING] = str(max(0, math.floor(self.requests.level(client_id))))
        if self.units is not None:
            told[UNITS_REMAINING] = f"{max(0.0, self.units.level(client_id)):.3f}".rstrip("0").rstrip(".")
        if error is not None:
            told[VIOLATED] = error.policy
            if error.of_units:
                told[UNITS_RETRY] = str(error.retry_after_ms)
        return told


class ToldRates:
    """Says in the headers of answers to clients what is left to them."""

    def __init__(self, app: ASGIApp, rates: RateLimits) -> None:
        self.app = app
        self.rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        told = _Told()

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start" and told.client_id is not None:
                headers = MutableHeaders(scope=message)
                for name, value in self.rates.headers(told.client_id, told.error).items():
                    headers[name] = value
            await send(message)

        scope[_PLACE] = told  # in place: what is around looks into the same scope for the route
        await self.app(scope, receive, noted)


def count_request(request: Request, client_id: str) -> None:
    """Counts a client's request.

    Raises:
        RateExceeded: it is one too many.
    """
    _tell(request, client_id, request.app.state.rates.count_request)


def check_units(request: Request, client_id: str) -> None:
    """Looks whether a client may spend something at the moment.

    Raises:
        RateExceeded: it may not.
    """
    _tell(request, client_id, request.app.state.rates.check_units)


def spend_units(request: Request, client_id: str, cost_pu: float) -> None:
    """Counts what a client's request has cost."""
    rates: RateLimits = request.app.state.rates
    rates.spend_units(client_id, cost_pu)


class Guesses:
    """Bounds how often a client's secret may be guessed: after `per_minute` wrong ones, for as long as a bucket fills.

    So that nobody keeps a client out by guessing in its name, a secret that was right here before is always looked at;
    a keyed hash of the last one, whose key never leaves the process, is kept for that.
    """

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._wrong = Buckets(per_minute, clock)
        self._right: OrderedDict[str, bytes] = OrderedDict()
        self._key = secrets.token_bytes(32)

    def wait_ms(self, client_id: str, secret: str) -> int:
        """0 when this secret may be looked at now, else after how long."""
        right = self._right.get(client_id)
        if right is not None and hmac.compare_digest(right, self._digest(secret)):
            return 0
        return self._wrong.wait_ms(client_id[:_LONGEST_NAME])

    def was_wrong(self, client_id: str) -> None:
        """Counts a wrong guess."""
        self._wrong.try_to_take(client_id[:_LONGEST_NAME])

    def was_right(self, client_id: str, secret: str) -> None:
        """Remembers a right secret. For one thread, the event loop's."""
        self._right[client_id] = self._digest(secret)
        self._right.move_to_end(client_id)
        if len(self._right) > _MOST_NAMES:
            self._right.popitem(last=False)

    def _digest(self, secret: str) -> bytes:
        return hmac.digest(self._key, secret.encode("utf-8", "surrogatepass"), hashlib.sha256)


def _tell(request: Request, client_id: str, check: Callable[[str], None]) -> None:
    """Notes for the headers of the answer whose request it is, and what it violates."""
    told: _Told = request.scope.get(_PLACE) or _Told()
    told.client_id = client_id
    try:
        check(client_id)
    except RateExceeded as error:
        told.error = error
        raise


def _policy(limit: float) -> str:
    return json.dumps({"samplingPeriod": "PT1M", "limit": int(limit) if float(limit).is_integer() else limit})
