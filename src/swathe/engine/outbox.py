"""From what the intervals said to a document per feature and a table of all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import numpy as np
import numpy.typing as npt

from swathe.engine.cost import area_factor
from swathe.engine.task import Group, UnitTask
from swathe.engine.values import Document, Table, UnitReport
from swathe.outputs.documents import failed_document
from swathe.outputs.rows import FeatureEntries
from swathe.outputs.tables import TableForm, write_table
from swathe.outputs.writing import write_documents
from swathe.sampling.locate import Runner, in_turn

_DELIVER_AT_ONCE = 500
_PROBLEM = "BAD_REQUEST"


def deliver_documents(
    task: UnitTask,
    groups: Sequence[Group],
    problems: Mapping[int, str],
    deliver: Callable[[Sequence[Document]], None],
    after_each: Callable[[int], None],
    deliver_table: Callable[[Table], None] | None = None,
    *,
    run: Runner = in_turn,
) -> UnitReport:
    """Delivers the documents of all features, some at once, and sums up how they went and what they cost.

    `problems` says by position in the unit why a feature could not be computed; `after_each` is told how many features
    were delivered so far; `deliver_table` gets the same results as one table. `run` does the deliveries, perhaps side by
    side, while the next documents are made.
    """
    unit = task.unit
    tally = _Tally()
    lock = threading.Lock()
    delivered = 0

    def hand_over(documents: Sequence[Document]) -> None:
        nonlocal delivered
        deliver(documents)
        with lock:
            delivered += len(documents)
            after_each(delivered)

    def pieces() -> Iterator[Callable[[], None]]:
        if deliver_table is not None:
            yield lambda: deliver_table(Table(unit.index, _table(task, groups, problems)))
        made = _make_documents(task, groups, problems, tally)
        while documents := tuple(islice(made, _DELIVER_AT_ONCE)):
            yield partial(hand_over, documents)

    run(pieces())
    return UnitReport(unit.index, len(unit.feature_ids) - tally.failed, tally.failed, tally.cost, tally.failures)


@dataclass
class _Tally:
    """What the documents say all together; some failures by name."""

    failed: int = 0
    cost: float = 0.0
    failures: dict[int, str] = field(default_factory=dict)

    def fail(self, key: int, reason: str) -> None:
        self.failed += 1
        self.failures[key] = reason


def _make_documents(
    task: UnitTask, groups: Sequence[Group], problems: Mapping[int, str], tally: _Tally
) -> Iterator[Document]:
    """Every feature's document, and what it adds to the tally."""
    unit = task.unit
    sampling = task.request.aggregation.sampling
    for position, reason in sorted(problems.items()):
        key, identifier = int(unit.feature_ids[position]), unit.identifiers[position]
        tally.fail(key, reason)
        yield Document(key, identifier, failed_document(key, identifier, _PROBLEM, reason, sampling), reason)
    for group in groups:
        keys = unit.feature_ids[group.members]
        identifiers = [unit.identifiers[position] for position in group.members.tolist()]
        charges = (area_factor(group.grids.sample_count) * group.charged).tolist()
        for written in write_documents(group.entries, keys, identifiers, sampling):
            for at, data in enumerate(written.documents, written.first):
                key, failure = int(keys[at]), written.failures.get(at)
                if failure is None:
                    tally.cost += charges[at]
                else:
                    tally.fail(key, failure)
                yield Document(key, identifiers[at], data, failure)


def _table(task: UnitTask, groups: Sequence[Group], problems: Mapping[int, str]) -> memoryview:
    """The results of all features of a unit as a Parquet file."""
    unit, request = task.unit, task.request

    def identifiers(members: npt.NDArray[np.int64]) -> list[str | None]:
        return [unit.identifiers[position] for position in members.tolist()]

    parts = [
        FeatureEntries(unit.feature_ids[group.members], identifiers(group.members), group.entries) for group in groups
    ]
    impossible = np.array(sorted(problems), np.int64)
    reasons = {at: f"{_PROBLEM}: {problems[position]}" for at, position in enumerate(impossible.tolist())}
    parts.append(FeatureEntries(unit.feature_ids[impossible], identifiers(impossible), failures=reasons))
    return write_table(TableForm.of(request.calculations, request.aggregation.sampling), parts)
