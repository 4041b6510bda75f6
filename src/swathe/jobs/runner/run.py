"""One stretch of processing of one job, between START and its end or STOP: which units are where."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from swathe.jobs.prepare import Preparation
from swathe.jobs.records import UnitRow


@dataclass
class Finishing:
    """How far the output folder is behind the store. `changed`: units have ended since it was brought up to date.

    `next_at` is when it may be brought up to date again, `retry_at` when the last time may be tried again.
    """

    changed: bool = False
    is_under_way: bool = False
    next_at: float = 0.0
    retry_at: float = 0.0
    attempts: int = 0


@dataclass
class JobRun:
    """Units of a job under way. Held by the driver's thread alone.

    A unit is either not yet reached (its index is above `cursor`), or known: in the buffer, in flight, waiting for its
    next attempt, or suspect. A suspect was on a worker that died, perhaps not by its fault: it runs with nothing else in
    flight, so that the next death has one culprit. `machines` counts how often a unit was lost with a whole machine,
    `delivered` how many documents of a unit are known to be delivered.
    """

    job_id: str
    project_id: str
    preparation: Preparation = field(repr=False)
    pu_per_cell: float
    read_units: Callable[[int], list[UnitRow]]
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    cursor: int = -1
    exhausted: bool = False
    buffer: list[UnitRow] = field(default_factory=list)
    known: dict[int, UnitRow] = field(default_factory=dict)
    in_flight: dict[int, str] = field(default_factory=dict)
    waiting: dict[int, float] = field(default_factory=dict)
    suspects: set[int] = field(default_factory=set)
    given_up: dict[int, str] = field(default_factory=dict)
    errors: dict[int, int] = field(default_factory=dict)
    narrowed: set[int] = field(default_factory=set)
    machines: dict[int, int] = field(default_factory=dict)
    delivered: dict[int, int] = field(default_factory=dict)
    halting_since: float | None = None
    is_short_of_pu: bool = False
    finishing: Finishing = field(default_factory=Finishing)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to do or under way."""
        return self.exhausted and not (self.buffer or self.in_flight or self.waiting or self.suspects)

    def next_unit(self, now: float) -> int | None:
        """The unit to hand out next: one whose waiting time is over, the newest first, before a fresh one.

        So of a unit that was cut in half all is known soon, and not every other one is cut as well before.
        """
        if self.halting_since is not None:
            return None
        ready = [index for index, at in self.waiting.items() if at <= now]
        if ready:
            del self.waiting[ready[-1]]
            return ready[-1]
        while not self.buffer and not self.exhausted:
            units = self.read_units(self.cursor)
            self.exhausted = not units
            self.cursor = units[-1].index if units else self.cursor
            self.buffer = [unit for unit in units if unit.index not in self.known]
        if not self.buffer:
            return None
        unit = self.buffer.pop(0)
        self.known[unit.index] = unit
        return unit.index

    def next_suspect(self) -> int | None:
        """A suspect to be tried alone."""
        if self.halting_since is not None or not self.suspects:
            return None
        return max(self.suspects)

    def forget(self, index: int) -> None:
        """A unit is done, or is no more."""
        places = (self.known, self.in_flight, self.waiting, self.given_up, self.errors, self.machines, self.delivered)
        for place in places:
            place.pop(index, None)
        self.suspects.discard(index)
        self.narrowed.discard(index)

    def give_up(self, index: int, reason: str, now: float) -> None:
        """Has a unit's features marked failed instead of computed."""
        self.given_up[index] = reason
        self.errors.pop(index, None)
        self.waiting[index] = now

    def note_delivered(self, delivered: Callable[[str], int]) -> dict[int, int]:
        """Takes in what the workers have told of the units in flight; those of which more is delivered than was known."""
        more = {
            index: count
            for index, key in self.in_flight.items()
            if (count := delivered(key)) > self.delivered_of(index) and index not in self.given_up
        }
        self.delivered.update(more)
        return more

    def delivered_of(self, index: int) -> int:
        """How many of a unit's documents, from the first on, are delivered."""
        return max(self.delivered.get(index, 0), self.known[index].delivered)

    def cells_under_way(self, progress: Callable[[str], float]) -> float:
        """How many cells the units in flight have done, by what their workers have told."""
        return sum(self.known[index].cells * progress(key) for index, key in self.in_flight.items())

    def estimated_pu(self, index: int) -> float:
        """What a unit will cost: its share of the job's cells."""
        return 0.0 if index in self.given_up else self.known[index].cells * self.pu_per_cell

    def pu_in_flight(self) -> float:
        """What the units in flight will cost."""
        return sum(map(self.estimated_pu, self.in_flight))
