"""Computes one work unit: its features' cells, the scenes' blocks, the script, the statistics, the documents.

Given a reader and a script host by `engine.compute`; does no I/O of its own. Features go in groups that share the CRS of
their grids; in a group those with the same scenes lie side by side, so that a script sees for each cell just the samples
of its feature.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from swathe.engine.group_run import GroupRun
from swathe.engine.groups import make_groups
from swathe.engine.outbox import deliver_documents
from swathe.engine.phases import CELLS, DELIVER
from swathe.engine.strips import StripsRun
from swathe.engine.task import UnitTask, UnitTools
from swathe.engine.values import Document, Stopped, Table, UnitReport
from swathe.features.polygons import checked_polygons
from swathe.outputs.tables import load_ahead

# Of a unit's work, about this part comes before the documents are written.
_COMPUTING_PART = 0.8


def run_unit(
    task: UnitTask,
    tools: UnitTools,
    deliver: Callable[[Sequence[Document]], None],
    deliver_table: Callable[[Table], None] | None = None,
) -> UnitReport:
    """Computes and delivers every feature of a unit, and then the table of all of them if that is wanted.

    Raises:
        Stopped: `tools.should_stop` said so; what was delivered by then stays.
        SourceError, StorageError: a raster or the store does not answer.
    """
    unit = task.unit
    polygons = checked_polygons(unit.geometries) if unit.polygons is None else unit.polygons
    problems = dict(unit.problems)
    usable = np.array([i for i in range(len(polygons)) if i not in problems], np.int64)
    phases = tools.lanes.lanes[0].phases
    with phases.of(CELLS):
        groups, too_large = make_groups(task, polygons, usable, tools)
    problems |= too_large
    if deliver_table is not None:
        load_ahead()
    progress = _Progress(tools)
    for group in groups:
        with phases.of(CELLS):
            run = StripsRun(task, group, tools) if group.in_strips else GroupRun(task, group, tools)
        run.compute(partial(progress.add_part, _COMPUTING_PART / len(groups)))
    count = max(1, len(polygons))
    with phases.of(DELIVER):
        return deliver_documents(
            task,
            groups,
            problems,
            deliver,
            lambda delivered: progress.reach(_COMPUTING_PART + (1 - _COMPUTING_PART) * delivered / count),
            deliver_table,
            run=tools.lanes.run_alike,
        )


class _Progress:
    """Tells how far the unit is, and ends it where nobody wants it any more. May be used by several threads."""

    def __init__(self, tools: UnitTools) -> None:
        self._tools = tools
        self._lock = threading.Lock()
        self._reached = 0.0
        self.reach(0.0)

    def add_part(self, part: float, share: float) -> None:
        """Such a share of a part of the unit is done.

        Raises:
            Stopped: the job was stopped.
        """
        with self._lock:
            self._reached += part * share
            reached = self._reached
        self.reach(reached)

    def reach(self, fraction: float) -> None:
        """So much is done."""
        self._tools.on_progress(min(1.0, fraction))
        if self._tools.should_stop():
            raise Stopped("The job was stopped")
