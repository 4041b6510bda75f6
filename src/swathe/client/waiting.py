"""Waiting for a batch job: when it is over, when it never will be, and how often to look."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Protocol, TypeVar

from swathe.client.exceptions import JobError, JobFailed, JobNotStarted, JobStopped, WaitTimeout
from swathe.client.statuses import BatchRequestStatus, BatchUserAction, StoppedStatusReason

_OVER = (BatchRequestStatus.DONE, BatchRequestStatus.PARTIAL)
_BEFORE_PROCESSING = (BatchRequestStatus.CREATED, BatchRequestStatus.ANALYSING, BatchRequestStatus.ANALYSIS_DONE)
# A service may take a moment until an action shows; what looks idle must look so this many times in a row.
_IDLE_LOOKS = 3


@dataclass(frozen=True)
class Pace:
    """How often to look: after `first_s`, then ever more seldom, but at least every `longest_s`."""

    first_s: float = 0.5
    longest_s: float = 10.0
    growth: float = 1.5


DEFAULT_PACE = Pace()


class Watched(Protocol):
    """What is seen of a batch request, of whichever kind it is."""

    @property
    def request_id(self) -> str: ...

    @property
    def status(self) -> BatchRequestStatus: ...

    @property
    def user_action(self) -> BatchUserAction | None: ...

    @property
    def completion_percentage(self) -> float: ...

    @property
    def error(self) -> str | None: ...

    @property
    def stopped_status_reason(self) -> StoppedStatusReason | None: ...

    @property
    def other_data(self) -> Any: ...


WatchedType = TypeVar("WatchedType", bound=Watched)


class Outlook(Enum):
    """What one look at a batch request says about waiting for it."""

    GOES_ON = auto()
    OVER = auto()
    FAILED = auto()
    STOPPED = auto()
    IDLE = auto()


def judge(request: Watched) -> Outlook:
    """Whether it makes sense to wait on.

    IDLE is a request for which nothing is asked, or one that stands still although it was asked to go on; both may
    only be an action that does not show yet.
    """
    status, action = request.status, request.user_action
    if status in _OVER:
        return Outlook.OVER
    if status is BatchRequestStatus.FAILED:
        return Outlook.FAILED
    if status is BatchRequestStatus.STOPPED:
        return Outlook.IDLE if action is BatchUserAction.START else Outlook.STOPPED
    if status is BatchRequestStatus.CREATED and action in (None, BatchUserAction.NONE, BatchUserAction.STOP):
        return Outlook.IDLE
    if status is BatchRequestStatus.ANALYSIS_DONE and action is not BatchUserAction.START:
        return Outlook.IDLE
    return Outlook.GOES_ON


def wait_until_over(
    look: Callable[[], WatchedType],
    *,
    show_progress: bool = True,
    timeout_s: float | None = None,
    analysis_timeout_s: float = 3600.0,
    pace: Pace = DEFAULT_PACE,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> WatchedType:
    """Looks at a batch request until it is over and gives the last look.

    Raises:
        JobFailed: it ended FAILED.
        JobStopped: it is STOPPED.
        JobNotStarted: nobody asked it to go on.
        WaitTimeout: it is not over in time.
    """
    # Imported late: the notebook check of tqdm costs more than the rest of this package.
    from tqdm.auto import tqdm

    start = clock()
    pause_s, idle_looks = pace.first_s, 0
    with tqdm(
        total=100, unit="%", bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}", disable=not show_progress
    ) as bar:
        while True:
            request = look()
            bar.set_description_str(request.status.value, refresh=False)
            bar.n = min(max(request.completion_percentage, 0), 100)
            bar.refresh()
            outlook = judge(request)
            if outlook is Outlook.OVER:
                return request
            idle_looks = idle_looks + 1 if outlook is Outlook.IDLE else 0
            if outlook in (Outlook.FAILED, Outlook.STOPPED) or idle_looks >= _IDLE_LOOKS:
                raise _end_error(request)
            waited_s = clock() - start
            limits_s = [limit_s for limit_s in (timeout_s,) if limit_s is not None]
            if request.status in _BEFORE_PROCESSING:
                limits_s.append(analysis_timeout_s)
            left_s = min(limits_s, default=float("inf")) - waited_s
            if left_s <= 0:
                raise WaitTimeout(
                    f"batch request {request.request_id} is still {request.status.value} at"
                    f" {request.completion_percentage:g} % after {waited_s:.0f} s; it may go on, wait for it again",
                    request.request_id,
                )
            sleep(min(pause_s, left_s))
            pause_s = min(pause_s * pace.growth, pace.longest_s)


def _end_error(request: Watched) -> JobError:
    name = f"batch request {request.request_id}"
    reason = f": {request.error}" if request.error else ""
    if request.status is BatchRequestStatus.FAILED:
        return JobFailed(f"{name} FAILED{reason or ', and the service gave no reason'}", request.request_id)
    if request.status is BatchRequestStatus.STOPPED:
        known = request.stopped_status_reason
        why = known.value if known else (request.other_data or {}).get("stoppedStatusReason") or "no reason given"
        text = f"{name} is STOPPED ({why}) at {request.completion_percentage:g} %{reason}; start_job goes on with it"
        return JobStopped(text, request.request_id)
    state = "analysed" if request.status is BatchRequestStatus.ANALYSIS_DONE else "only created"
    return JobNotStarted(f"{name} is {state} and nobody started it; call start_job first", request.request_id)
