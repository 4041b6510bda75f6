"""What the runner of this process has done since it began: numbers that grow, for whoever watches."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select

from swathe.engine.phases import PHASES
from swathe.jobs.database import Database
from swathe.jobs.schema import jobs, units
from swathe.jobs.states import Status
from swathe.jobs.tasks import UnitOutcome

DONE, GIVEN_UP, RETRIED, LOST, STOPPED = "done", "given_up", "retried", "lost", "stopped"
UNIT_RESULTS = (DONE, GIVEN_UP, RETRIED, LOST, STOPPED)


@dataclass(frozen=True)
class RunnerState:
    """How the runner is now. `slots` is how many units its workers can compute at a time."""

    is_alive: bool
    seconds_since_look: float
    units_in_flight: int
    slots: int


class RunnerMetrics:
    """Counts units as they end. May be used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._units: Counter[tuple[str, str]] = Counter()
        self._sums: Counter[tuple[str, str]] = Counter()

    def unit_ended(self, kind: str, outcome: UnitOutcome, *, lost: bool = False) -> None:
        """Takes in what came of a task: results count, attempts that are tried again too."""
        result = outcome.result
        with self._lock:
            if result is None:
                how = LOST if lost else STOPPED if outcome.stopped else RETRIED
                self._units[kind, how] += 1
                return
            self._units[kind, DONE if result.error is None else GIVEN_UP] += 1
            sums = {"features_done": result.done, "features_failed": result.failed, "pu": result.cost_pu}
            for name, value in {**sums, **result.counters}.items():
                self._sums[kind, name] += value  # type: ignore[assignment]  # a Counter of floats

    def units(self) -> dict[tuple[str, str], int]:
        """Attempts at units by kind of job and result."""
        with self._lock:
            return dict(self._units)

    def sums(self, name: str) -> dict[str, float]:
        """A counter's sum by kind of job."""
        with self._lock:
            return {kind: value for (kind, found), value in self._sums.items() if found == name}

    def phases(self) -> dict[tuple[str, str], float]:
        """Seconds by kind of job and phase of the work; phases do not overlap."""
        return {(kind, phase): value for phase in PHASES for kind, value in self.sums(f"{phase}_seconds").items()}


def waiting_units(database: Database) -> Mapping[str, int]:
    """How many units of jobs at work are still to be done, by kind of job."""
    query = (
        select(jobs.c.kind, func.count())
        .select_from(jobs.join(units, units.c.job_id == jobs.c.id))
        .where(jobs.c.status == Status.PROCESSING.value, units.c.state == "PENDING")
        .group_by(jobs.c.kind)
    )
    with database.read() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}
