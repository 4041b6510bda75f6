"""What becomes of evaluated cells: their features' statistics, what they are charged for, and errors."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from swathe.engine.cost import band_factor
from swathe.engine.evaluate import FaultFinder, take_statistics
from swathe.engine.task import Group, UnitTask, UnitTools
from swathe.engine.timeline import Segment, SourceTimeline
from swathe.evalscript.columns import Evaluated
from swathe.evalscript.script import Evalscript, Mosaicking
from swathe.grids.cover import Cells
from swathe.model.errors import LimitExceeded, ScriptError, ScriptTimeout, SwatheError
from swathe.model.time import TimeRange
from swathe.outputs.documents import IntervalEntry


class Results(Protocol):
    """Takes what the script returned for the features of a group. May be used by several threads."""

    def finder(self, *catches: type[SwatheError]) -> FaultFinder:
        """Finds out which features such failures are due to."""

    def wants(self, interval: int, first: int) -> bool:
        """Whether anything is still to be said of the features from `first` on in an interval."""

    def take(
        self,
        interval: int,
        segment: Segment,
        first: int,
        last: int,
        evaluated: Evaluated,
        script: Evalscript,
        cells: Cells,
    ) -> None:
        """Takes the evaluated cells of features `first` to `last` of a segment.

        Raises:
            ScriptError: statistics that were asked for are not possible with them.
        """

    def fail(self, interval: int, first: int, last: int, error: SwatheError) -> None:
        """Notes that there is nothing but an error for features `first` to `last` in an interval."""


class GroupResults:
    """The usual way: statistics of every feature, kept in the group's entries."""

    def __init__(self, task: UnitTask, group: Group, tools: UnitTools) -> None:
        self._task = task
        self._group = group
        self._samples = group.grids.sample_count
        self._most_bins = tools.limits.histogram_bins
        self._lock = threading.Lock()

    def finder(self, *catches: type[SwatheError]) -> FaultFinder:
        """One that halves ranges of features."""
        return FaultFinder(*catches)

    def wants(self, interval: int, first: int) -> bool:
        """Always."""
        return True

    def take(
        self,
        interval: int,
        segment: Segment,
        first: int,
        last: int,
        evaluated: Evaluated,
        script: Evalscript,
        cells: Cells,
    ) -> None:
        """Keeps the features' statistics and counts what they were charged for."""
        begin, end = int(cells.starts[first]), int(cells.starts[last])
        try:
            results = take_statistics(
                evaluated,
                script,
                self._task.request.calculations,
                starts=cells.starts[first : last + 1] - begin,
                sample_count=self._samples[first:last],
                weights=None if cells.weights is None else cells.weights[begin:end],
                max_bins=self._most_bins,
            )
        except LimitExceeded as error:  # how many bins there are may follow from what the script returned
            raise ScriptError(error.message) from None
        self._group.entries.append(IntervalEntry(self._task.intervals[interval], first, last - first, results))
        charged = charge(self._group.timelines, interval, segment, first, last)
        with self._lock:
            self._group.charged[first:last] += charged

    def fail(self, interval: int, first: int, last: int, error: SwatheError) -> None:
        """Keeps the error."""
        self._group.entries.append(failed_entry(self._task.intervals[interval], first, last, error))


def failed_entry(interval: TimeRange, first: int, last: int, error: SwatheError) -> IntervalEntry:
    """What an interval says of features that failed in it."""
    kind = "TIMEOUT" if isinstance(error, ScriptTimeout) else "EXECUTION_ERROR"
    return IntervalEntry(interval, first, last - first, error=(kind, error.message))


def charge(
    timelines: Sequence[SourceTimeline], interval: int, segment: Segment, first: int, last: int
) -> npt.NDArray[np.float64]:
    """What features (last - first) are charged for an interval: one sample under SIMPLE, else every scene the script was
    given, each times the source's bands / 3."""
    charged = np.zeros(last - first)
    for timeline, samples in zip(timelines, segment.samples, strict=True):
        if timeline.source.mosaicking is Mosaicking.SIMPLE:
            here = timeline.presence[first:last][:, timeline.in_interval(interval)]
            count = here.any(axis=1).astype(np.float64)
        else:
            count = np.full(last - first, float(sum(len(sample.scenes) for sample in samples)))
        charged += band_factor(timeline.source.charged_bands) * count
    return charged
