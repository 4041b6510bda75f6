"""Where a unit's time goes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

CELLS, READ, SCRIPT, STATISTICS, DELIVER = "cells", "read", "script", "statistics", "deliver"
PHASES = (CELLS, READ, SCRIPT, STATISTICS, DELIVER)


class Phases:
    """Seconds by phase, as a clock on the wall shows them. Phases do not overlap; not for several threads.

    `cells` is finding the cells and scenes of the features, `read` everything from a scene's file to columns of values,
    `script` V8 and the way to it, `statistics` the reduction, `deliver` writing the results down and handing them over.
    """

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(PHASES, 0.0)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Counts the time of the block to a phase, also where it fails."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - started

    @property
    def seconds(self) -> dict[str, float]:
        """By phase."""
        return dict(self._seconds)


def sum_counters(all_phases: Iterable[Phases]) -> dict[str, float]:
    """`<phase>_seconds` of several threads together."""
    parts = [phases.seconds for phases in all_phases]
    return {f"{name}_seconds": sum(part[name] for part in parts) for name in PHASES}
