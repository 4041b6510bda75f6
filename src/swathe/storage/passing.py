"""Waiting out what is passing: a store that is busy, restarts, or is not reached for a while.

The store library repeats a request a few times within seconds. Beyond that, an attempt that ended in a passing failure is
begun again after pauses that grow and differ, so that many workers do not come back at the same moment.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from swathe.model.errors import StorageError

_FIRST_S = 0.5
_LONGEST_S = 8.0

T = TypeVar("T")


def retry(action: Callable[[], T], patience_s: float) -> T:
    """What `action` returns, in one of its attempts; none is begun later than `patience_s` after the first.

    Raises:
        StorageError: what the last attempt ended with, or the first that is not `retryable`.
    """
    patience = _Patience(patience_s)
    while True:
        try:
            return action()
        except StorageError as error:
            pause_s = patience.pause_s(error)
            if pause_s is None:
                raise
        time.sleep(pause_s)


async def retry_async(action: Callable[[], Awaitable[T]], patience_s: float) -> T:
    """As `retry`, for a coroutine function."""
    patience = _Patience(patience_s)
    while True:
        try:
            return await action()
        except StorageError as error:
            pause_s = patience.pause_s(error)
            if pause_s is None:
                raise
        await asyncio.sleep(pause_s)


class _Patience:
    def __init__(self, patience_s: float) -> None:
        self._end = time.monotonic() + patience_s
        self._longest_s = _FIRST_S
        self._lots = secrets.SystemRandom()

    def pause_s(self, error: StorageError) -> float | None:
        """How long to wait after a failure; None where it is final. The last attempt comes at the end of the patience."""
        left_s = self._end - time.monotonic()
        if not error.retryable or left_s <= 0:
            return None
        pause_s = self._lots.uniform(self._longest_s / 2, self._longest_s)
        self._longest_s = min(2 * self._longest_s, _LONGEST_S)
        return min(pause_s, left_s)
