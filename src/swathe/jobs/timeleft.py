"""How long a job will still take: what the plan says, corrected by what has been seen. Pure."""

from __future__ import annotations

from datetime import datetime

from swathe.jobs.records import Job
from swathe.jobs.states import Status, UserAction

# From this part of the work on, what was seen tells alone.
TRUSTED_SHARE = 0.2
_LEAST_SHARE = 1e-9


def estimate_seconds_left(
    *, total: float, done: float, done_at_start: float, elapsed_s: float, planned_s: float | None
) -> float | None:
    """Seconds until all work is done; None where neither the plan nor the work so far tells.

    `w * seen + (1 - w) * planned`, w growing from 0 to 1 until a fifth of the work has been seen; `seen` goes on at the
    speed so far, `planned` at the plan's, or at what the time that has passed leaves of it.

    Args:
        total, done, done_at_start: work in any one unit: of the job, done by now, done before the clock began.
        elapsed_s: since then.
        planned_s: what the plan says that all of it takes.
    """
    if total <= 0:
        return None
    left, gained = max(0.0, total - done), max(0.0, done - done_at_start)
    if left == 0:
        return 0.0
    seen = max(0.0, elapsed_s) * left / gained if gained / total > _LEAST_SHARE else None
    if planned_s is None or planned_s <= 0:
        return seen
    planned = max(planned_s, elapsed_s) * left / total
    weight = min(1.0, gained / total / TRUSTED_SHARE)
    return planned if seen is None else weight * seen + (1 - weight) * planned


def seconds_left(job: Job, now: datetime) -> float | None:
    """Seconds until a job is done; None where it is not at work, or nothing tells."""
    if job.state.status is not Status.PROCESSING or job.state.user_action is UserAction.STOP or job.started is None:
        return None
    return estimate_seconds_left(
        total=job.cells_total,
        done=max(job.cells_done, job.cells_seen),
        done_at_start=job.cells_at_start,
        elapsed_s=(now - job.started).total_seconds(),
        planned_s=job.plan.get("estimatedSeconds"),
    )
