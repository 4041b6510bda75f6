"""What a worker does: one unit, from its plan to its results. Knows nothing of Dask or of the job store."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swathe.jobs.engines import MakeEngine, make_engine
from swathe.jobs.home import FEATURES_FILE
from swathe.jobs.kinds import UnitRun, find_kind
from swathe.jobs.prepare import read_plan
from swathe.jobs.records import UnitResult
from swathe.model.errors import StorageError, SwatheError
from swathe.settings import Settings

if TYPE_CHECKING:
    from swathe.engine.compute import Engine
    from swathe.engine.values import Analysis, Document, Table


@dataclass(frozen=True)
class UnitOnDisk:
    """A unit whose job's folder the worker can read, as an embedded cluster's can.

    `feature_ids` are int64, little endian, as the store has them.
    """

    folder: Path
    request: str = field(repr=False)
    feature_ids: bytes = field(repr=False)
    cells: int

    def load(self, engine: Engine, kind: str, index: int) -> Any:
        """The unit with its features."""
        import numpy as np

        from swathe.engine.values import UnitPlan

        plan = UnitPlan(index, np.frombuffer(self.feature_ids, "<i8"), self.cells)
        features = self.folder / FEATURES_FILE
        return find_kind(kind).make_unit(engine, self.request, _plan(self.folder), features, plan)


@dataclass(frozen=True)
class UnitInHand:
    """A unit made before, for workers elsewhere."""

    unit: Any = field(repr=False)

    def load(self, engine: Engine, kind: str, index: int) -> Any:
        """The unit itself."""
        return self.unit


@dataclass(frozen=True)
class UnitTask:
    """All that a worker is told. With `given_up`, the features are not computed but marked failed for that reason.

    `run_id` names one stretch of work between START and STOP. `settings` are those of the job's preparation. The first
    `delivered` documents, which always come in the same order, an earlier attempt has delivered.
    """

    kind: str
    run_id: str
    index: int
    source: UnitOnDisk | UnitInHand = field(repr=False)
    delivery: Any = field(repr=False)
    settings: Settings = field(repr=False)
    given_up: str | None = None
    make_engine: MakeEngine = make_engine
    delivered: int = 0


@dataclass(frozen=True)
class UnitOutcome:
    """What came of a task: a result, or why there is none.

    `at_delivery` says that it was the output place that failed; `bug` holds a traceback for the log.
    """

    index: int
    result: UnitResult | None = None
    stopped: bool = False
    error: str | None = None
    retryable: bool = False
    at_delivery: bool = False
    bug: str | None = None


_here = threading.local()
_stopped_runs: set[str] = set()
_plans: dict[tuple[Path, int], Analysis] = {}


def stop_run(run_id: str) -> None:
    """Makes the tasks of a run in this process end soon."""
    _stopped_runs.add(run_id)


def run_unit(
    task: UnitTask,
    *,
    is_cancelled: Callable[[], bool] = lambda: False,
    on_progress: Callable[[float, int], None] = lambda fraction, delivered: None,
) -> UnitOutcome:
    """Computes and delivers a unit. Never raises: what went wrong is the outcome.

    A unit that has begun to deliver is no longer stopped: it would leave results that nobody knows of. `on_progress` is
    told what part is done, and how many documents are delivered.
    """
    delivery = _WatchedDelivery(task.delivery, task.delivered if task.given_up is None else 0)

    def should_stop() -> bool:
        return not delivery.begun and (task.run_id in _stopped_runs or is_cancelled())

    from swathe.engine.values import Stopped

    run = UnitRun(
        delivery.write,
        delivery.write_table if task.settings.results.parquet else None,
        should_stop,
        lambda fraction: on_progress(fraction, delivery.delivered),
        delivery.delivering,
    )
    started = time.monotonic()
    try:
        if should_stop():
            return UnitOutcome(task.index, stopped=True)
        kind = find_kind(task.kind)
        engine = _engine(task.settings, task.make_engine)
        unit = task.source.load(engine, task.kind, task.index)
        if task.given_up is not None:
            kind.give_up(unit, task.given_up, run)
            return UnitOutcome(task.index, _given_up(task.index, unit.feature_ids.tolist(), task.given_up))
        report = kind.run(engine, unit, run)
    except Stopped:
        return UnitOutcome(task.index, stopped=True)
    except SwatheError as error:
        return UnitOutcome(task.index, error=str(error), retryable=error.retryable, at_delivery=delivery.failed)
    except Exception as error:
        kind_of = type(error).__name__
        return UnitOutcome(task.index, error=f"internal error ({kind_of})", retryable=True, bug=traceback.format_exc())
    counters: Mapping[str, float] = {**report.counters, "seconds": round(time.monotonic() - started, 3)}
    result = UnitResult(
        index=task.index,
        done=report.done,
        failed=report.failed,
        cost_pu=report.cost_pu,
        failures=dict(report.failures),
        counters=counters,
    )
    return UnitOutcome(task.index, result)


def make_unit(task: UnitTask) -> Any:
    """A task's unit, made here for a worker that cannot read the folder."""
    return task.source.load(_engine(task.settings, task.make_engine), task.kind, task.index)


class _WatchedDelivery:
    """Remembers whether results are on their way, and whether an error came from the output place.

    Such an error concerns the whole job, not one unit. The first `known` documents are not put again.
    """

    def __init__(self, delivery: Any, known: int) -> None:
        self.write_to = delivery
        self.begun = False
        self.failed = False
        self.delivered = 0
        self._known = known

    def write(self, documents: Sequence[Document]) -> None:
        new = documents[max(0, self._known - self.delivered) :]
        if new:
            self._watch(lambda: self.write_to.write(new))
        self.delivered += len(documents)

    def write_table(self, table: Table) -> None:
        self._watch(lambda: self.write_to.write_table(table))

    @contextmanager
    def delivering(self) -> Iterator[Any]:
        """The delivery itself, for results that may be put again: whoever uses it may still be stopped afterwards."""
        try:
            yield self.write_to
        except StorageError:
            self.failed = True
            raise

    def _watch(self, deliver: Callable[[], None]) -> None:
        self.begun = True
        with self.delivering():
            deliver()


def _given_up(index: int, feature_ids: list[int], reason: str) -> UnitResult:
    failures = dict.fromkeys(feature_ids, reason)
    return UnitResult(index=index, done=0, failed=len(failures), failures=failures, error=reason)


def _engine(settings: Settings, make: MakeEngine) -> Engine:
    """This thread's engine; made anew when the settings are others."""
    engine: Engine | None = getattr(_here, "engine", None)
    if engine is not None and engine.settings != settings:
        engine.close()
        engine = None
    if engine is None:
        engine = _here.engine = make(settings)
    return engine


def _plan(folder: Path) -> Analysis:
    """The plan in a folder, kept for the next unit of the same job; plans of other jobs are let go."""
    key = (folder, (folder / "plan.pickle").stat().st_mtime_ns)
    plan = _plans.get(key)
    if plan is None:
        plan = read_plan(folder)
        _plans.clear()
        _plans[key] = plan
    return plan
