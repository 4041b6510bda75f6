"""One stretch of processing of one job, between START and its end or STOP: which units are where."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from swathe.jobs.records import UnitRow
from swathe.jobs.tasks import UnitTask

BACKOFF_S = (1.0, 4.0, 16.0)


@dataclass
class JobRun:
    """Units of a job under way. Held by the driver's thread alone.

    A unit is either not yet reached (its index is above `cursor`), in flight, waiting for its next attempt, suspect, or
    done. A suspect was on a worker that died: it runs with nothing else in flight, so that the next death has one
    culprit.
    """

    job_id: str
    make_task: Callable[[int, str, str | None], UnitTask]
    read_units: Callable[[int], list[UnitRow]]
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    cursor: int = -1
    exhausted: bool = False
    buffer: list[UnitRow] = field(default_factory=list)
    in_flight: dict[int, str] = field(default_factory=dict)
    cells: dict[int, int] = field(default_factory=dict)
    waiting: dict[int, float] = field(default_factory=dict)
    suspects: set[int] = field(default_factory=set)
    given_up: dict[int, str] = field(default_factory=dict)
    halting_since: float | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to do or under way."""
        return self.exhausted and not (self.buffer or self.in_flight or self.waiting or self.suspects)

    def next_unit(self, now: float) -> int | None:
        """The unit to hand out next, one whose waiting time is over before a fresh one."""
        if self.halting_since is not None:
            return None
        for index, ready in self.waiting.items():
            if ready <= now:
                del self.waiting[index]
                return index
        if not self.buffer and not self.exhausted:
            self.buffer = self.read_units(self.cursor)
            self.exhausted = not self.buffer
        if not self.buffer:
            return None
        unit = self.buffer.pop(0)
        self.cursor = unit.index
        self.cells[unit.index] = unit.cells
        return unit.index

    def next_suspect(self) -> int | None:
        """A suspect to be tried alone."""
        if self.halting_since is not None or not self.suspects:
            return None
        return min(self.suspects)

    def try_later(self, index: int, attempts: int, now: float) -> None:
        """Puts a unit back for its next attempt, after a pause that grows."""
        self.waiting[index] = now + BACKOFF_S[min(attempts, len(BACKOFF_S)) - 1]

    def give_up(self, index: int, reason: str, now: float) -> None:
        """Has a unit's features marked failed instead of computed."""
        self.given_up[index] = reason
        self.waiting[index] = now

    def cells_under_way(self, progress: Callable[[str], float]) -> float:
        """How many cells the units in flight have done, by what their workers have told."""
        return sum(self.cells.get(index, 0) * progress(key) for index, key in self.in_flight.items())

    def task(self, index: int) -> UnitTask:
        """What a worker is told about a unit."""
        return self.make_task(index, self.run_id, self.given_up.get(index))
