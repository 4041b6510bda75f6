"""What a worker does: one unit, from its plan to its documents. Knows nothing of Dask or of the job store."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from swathe.jobs.delivery import Delivery
from swathe.jobs.engines import MakeEngine, make_engine
from swathe.jobs.home import FEATURES_FILE
from swathe.jobs.prepare import read_plan
from swathe.jobs.records import UnitResult
from swathe.model.errors import StorageError, SwatheError
from swathe.model.statistical import StatisticsRequest
from swathe.settings import Settings

if TYPE_CHECKING:
    from swathe.engine.compute import Engine
    from swathe.engine.values import Analysis, WorkUnit


@dataclass(frozen=True)
class UnitOnDisk:
    """A unit of a plan in a folder that the worker can read, as an embedded cluster's can."""

    folder: Path
    request: str = field(repr=False)
    index: int

    def load(self, engine: Engine) -> WorkUnit:
        """The unit with its features."""
        request = StatisticsRequest.model_validate_json(self.request)
        return engine.make_unit(request, _plan(self.folder), self.folder / FEATURES_FILE, self.index)


@dataclass(frozen=True)
class UnitInHand:
    """A unit made before, for workers elsewhere."""

    unit: WorkUnit = field(repr=False)

    def load(self, engine: Engine) -> WorkUnit:
        """The unit itself."""
        return self.unit


@dataclass(frozen=True)
class UnitTask:
    """All that a worker is told. With `given_up`, the features are not computed but marked failed for that reason.

    `run_id` names one stretch of work between START and STOP.
    """

    run_id: str
    index: int
    source: UnitOnDisk | UnitInHand = field(repr=False)
    delivery: Delivery = field(repr=False)
    settings: Settings = field(repr=False)
    given_up: str | None = None
    make_engine: MakeEngine = make_engine


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
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> UnitOutcome:
    """Computes and delivers a unit. Never raises: what went wrong is the outcome."""

    def should_stop() -> bool:
        return task.run_id in _stopped_runs or is_cancelled()

    from swathe.engine.values import Stopped

    delivery = _WatchedDelivery(task.delivery)
    started = time.monotonic()
    try:
        if should_stop():
            return UnitOutcome(task.index, stopped=True)
        engine = _engine(task.settings, task.make_engine)
        unit = task.source.load(engine)
        if task.given_up is not None:
            return UnitOutcome(task.index, _give_up(task, unit, delivery))
        report = engine.run(unit, deliver=delivery.write, should_stop=should_stop, on_progress=on_progress)
    except Stopped:
        return UnitOutcome(task.index, stopped=True)
    except SwatheError as error:
        return UnitOutcome(task.index, error=str(error), retryable=error.retryable, at_delivery=delivery.failed)
    except Exception as error:
        kind = type(error).__name__
        return UnitOutcome(task.index, error=f"internal error ({kind})", retryable=True, bug=traceback.format_exc())
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


def make_unit(settings: Settings, folder: Path, request: str, index: int, make: MakeEngine) -> WorkUnit:
    """A unit made here for a worker that cannot read the folder."""
    return UnitOnDisk(folder, request, index).load(_engine(settings, make))


class _WatchedDelivery:
    """Remembers whether an error came from the output place: that concerns the whole job, not one unit."""

    def __init__(self, delivery: Delivery) -> None:
        self.write_to = delivery
        self.failed = False

    def write(self, documents: object) -> None:
        try:
            self.write_to.write(documents)  # type: ignore[arg-type]
        except StorageError:
            self.failed = True
            raise


def _give_up(task: UnitTask, unit: WorkUnit, delivery: _WatchedDelivery) -> UnitResult:
    from swathe.engine.values import Document
    from swathe.outputs.documents import failed_document

    reason = task.given_up or ""
    sampling = StatisticsRequest.model_validate_json(unit.request).aggregation.sampling
    pairs = list(zip(unit.feature_ids.tolist(), unit.identifiers, strict=True))
    delivery.write(
        [
            Document(fid, name, failed_document(fid, name, "EXECUTION_ERROR", reason, sampling), reason)
            for fid, name in pairs
        ]
    )
    failures = {fid: reason for fid, _ in pairs[:100]}
    return UnitResult(index=task.index, done=0, failed=len(pairs), failures=failures, error=reason)


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
