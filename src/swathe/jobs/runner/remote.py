"""What runs in the processes of a Dask cluster: a unit in a worker, and a rule in the scheduler."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from distributed import get_worker
from distributed.diagnostics.plugin import SchedulerPlugin

from swathe.jobs import tasks
from swathe.jobs.tasks import UnitOutcome, UnitTask

KEY_PREFIX = "swathe-unit-"
PROGRESS_TOPIC = "swathe-progress"
_PROGRESS_EVERY_S = 0.5


class LostAtOnce(SchedulerPlugin):
    """Has the scheduler report a unit when its worker dies, rather than try it on three more and kill them as well."""

    name = "swathe-lost-at-once"
    idempotent = True

    async def start(self, scheduler: Any) -> None:
        """Called by the scheduler."""
        self._scheduler = scheduler

    def update_graph(self, scheduler: Any, *, keys: Iterable[Any], **_: Any) -> None:
        """Called by the scheduler when it gets new tasks."""
        for key in keys:
            task = scheduler.tasks.get(key) if str(key).startswith(KEY_PREFIX) else None
            if task is not None:
                task.suspicious = scheduler.allowed_failures


async def stop_run(run_id: str) -> None:
    """Runs in a worker, beside its tasks."""
    tasks.stop_run(run_id)


def run_on_worker(task: UnitTask) -> UnitOutcome:
    """Runs in a worker. The task ends as well when the cluster no longer wants it, as after its server's death."""
    try:
        worker = get_worker()
        key = worker.get_current_task()
    except (ValueError, KeyError):
        return tasks.run_unit(task)

    def is_cancelled() -> bool:
        state = worker.state.tasks.get(key)
        return state is None or state.state == "cancelled"

    def tell(fraction: float, delivered: int) -> None:
        worker.log_event(PROGRESS_TOPIC, (key, worker.address, fraction, delivered))

    tell(0.0, 0)
    told_at = time.monotonic()

    def on_progress(fraction: float, delivered: int) -> None:
        nonlocal told_at
        if (now := time.monotonic()) - told_at > _PROGRESS_EVERY_S:
            told_at = now
            tell(fraction, delivered)

    return tasks.run_unit(task, is_cancelled=is_cancelled, on_progress=on_progress)
