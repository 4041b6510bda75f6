"""From what the intervals said to a document per feature."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from swathe.engine.cost import area_factor
from swathe.engine.task import Group, UnitTask
from swathe.engine.values import Document, UnitReport
from swathe.outputs.documents import IntervalEntry, document, failed_document, response

_DELIVER_AT_ONCE = 500
_MOST_FAILURES_NAMED = 100


def deliver_documents(
    task: UnitTask,
    groups: Sequence[Group],
    problems: Mapping[int, str],
    deliver: Callable[[Sequence[Document]], None],
    after_each: Callable[[int], None],
) -> UnitReport:
    """Delivers the documents of all features, some at once, and sums up how they went and what they cost.

    `problems` says by position in the unit why a feature could not be computed; `after_each` is told how many features
    were delivered so far.
    """
    unit = task.unit
    sampling = task.request.aggregation.sampling
    waiting: list[Document] = []
    failures: dict[int, str] = {}
    failed = 0
    cost = 0.0
    delivered = 0

    def put(made: Document | None) -> None:
        nonlocal delivered
        if made is not None:
            waiting.append(made)
        if waiting and (made is None or len(waiting) >= _DELIVER_AT_ONCE):
            deliver(tuple(waiting))
            delivered += len(waiting)
            waiting.clear()
            after_each(delivered)

    for position, reason in sorted(problems.items()):
        key = int(unit.feature_ids[position])
        data = failed_document(key, unit.identifiers[position], "BAD_REQUEST", reason, sampling)
        failed += 1
        if len(failures) < _MOST_FAILURES_NAMED:
            failures[key] = reason
        put(Document(key, unit.identifiers[position], data, reason))
    for group in groups:
        entries: list[list[IntervalEntry]] = [[] for _ in range(len(group.members))]
        for entry in group.entries:
            for at in range(entry.first, entry.first + entry.count):
                entries[at].append(entry)
        area = area_factor(group.grids.sample_count)
        for at, position in enumerate(group.members):
            key, identifier = int(unit.feature_ids[position]), unit.identifiers[position]
            own = sorted(entries[at], key=lambda entry: entry.interval)
            answer = response([entry.to_wire(at) for entry in own])
            failure = None
            if answer["status"] == "FAILED":
                failure = next(entry.error[1] for entry in own if entry.error is not None)
                failed += 1
                if len(failures) < _MOST_FAILURES_NAMED:
                    failures[key] = failure
            else:
                cost += float(area[at] * group.charged[at])
            put(Document(key, identifier, document(key, identifier, answer, sampling), failure))
    put(None)
    return UnitReport(unit.index, len(unit.feature_ids) - failed, failed, cost, failures)
