"""Drives the jobs of this server: looks what the store says should run, and makes it so.

One thread decides everything; analyses and units report to its queue. It looks at the store rather than being told, so
a wish may come through any server, and a restart needs nothing special: what should run and does not is begun.
"""

from __future__ import annotations

import json
import logging
import queue
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from swathe.jobs import prepare, states, tasks
from swathe.jobs.child import Child, keep_interrupts_out
from swathe.jobs.delivery import Delivery
from swathe.jobs.engines import MakeEngine, make_engine
from swathe.jobs.home import Home
from swathe.jobs.keys import join_secrets
from swathe.jobs.prepare import Preparation
from swathe.jobs.records import Job
from swathe.jobs.runner.analysis import AnalysisEnded, Analyst
from swathe.jobs.runner.cluster import Cluster, ClusterUnavailable
from swathe.jobs.runner.run import BACKOFF_S, JobRun
from swathe.jobs.states import Effect, Event, Status, UserAction
from swathe.jobs.store import JobStore
from swathe.jobs.tasks import UnitInHand, UnitOnDisk, UnitOutcome, UnitTask
from swathe.model.errors import NotFound, RequestInvalid, SwatheError
from swathe.model.statistical import BatchStatisticsRequest
from swathe.settings import Settings

LOG = logging.getLogger(__name__)
T = TypeVar("T")

MAX_ATTEMPTS = len(BACKOFF_S) + 1
MAX_LOST = 3
_TICK_S = 0.5
_LEASE_S = 10.0
_HALT_S = 1.5
_IDLE_S = 300.0
_PATIENCE_S = 2.0
_BUFFER_UNITS = 64


@dataclass(frozen=True)
class _UnitEnded:
    job_id: str
    run_id: str
    outcome: UnitOutcome
    lost: bool


_Report = AnalysisEnded | _UnitEnded | None


class JobRunner:
    """Runs jobs until closed. `start` takes the home's lock; `wake` says that the store has changed."""

    def __init__(
        self,
        settings: Settings,
        home: Home,
        store: JobStore,
        *,
        cluster: Cluster | None = None,
        make_engine: MakeEngine = make_engine,
    ) -> None:
        self.settings = settings
        self.home = home
        self.store = store
        self._make_engine = make_engine
        self._cluster = cluster or Cluster(settings.dask, home.scratch)
        self._reports: queue.SimpleQueue[_Report] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._owner = f"{socket.gethostname()}:{home.server_id}"
        self._analyst: Analyst | None = None
        self._preparing: set[str] = set()
        self._runs: dict[str, JobRun] = {}
        self._unit_maker: Child | None = None
        self._idle_since = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="job-runner", daemon=True)

    def start(self) -> None:
        """Begins to drive this server's jobs, those of an earlier process on this home first of all.

        Raises:
            SettingsInvalid: another server runs on this home.
        """
        self.home.lock()
        self._analyst = Analyst(self._reports.put)
        self._thread.start()

    def wake(self) -> None:
        """Has the runner look at the store now rather than within half a second."""
        self._reports.put(None)

    def close(self) -> None:
        """Ends all work; jobs at work stay as they are and go on with the next start."""
        self._closing.set()
        self.wake()
        if self._thread.is_alive():
            self._thread.join(10)
        if self._analyst is not None:
            self._analyst.close()
        if self._unit_maker is not None:
            self._unit_maker.kill()
        for run in self._runs.values():
            self._cluster.stop_run(run.run_id)
        self._cluster.close()
        self.store.release(self._owner)
        self.home.unlock()

    # The loop

    def _work(self) -> None:
        keep_interrupts_out()
        next_tick = 0.0
        while not self._closing.is_set():
            try:
                if (now := time.monotonic()) >= next_tick:
                    next_tick = now + _TICK_S
                    self._look(now)
                self._hand_out(time.monotonic())
                report = self._next_report(max(0.0, next_tick - time.monotonic()))
                if report is None:
                    next_tick = 0.0 if not self._closing.is_set() else next_tick
                elif isinstance(report, AnalysisEnded):
                    self._on_analysis(report)
                    next_tick = 0.0
                elif isinstance(report, _UnitEnded):
                    self._on_unit(report, time.monotonic())
            except Exception:
                # A bug or a database out of reach: nothing is lost, since the store says what is to be done.
                LOG.exception("the job runner met an error; it goes on in five seconds")
                self._closing.wait(5)

    def _next_report(self, timeout_s: float) -> AnalysisEnded | _UnitEnded | bool | None:
        try:
            return self._reports.get(timeout=timeout_s)
        except queue.Empty:
            return False

    def _look(self, now: float) -> None:
        """Compares what should run with what does."""
        at_work = {job.id: job for job in self.store.claim(self._owner, now_s=time.time(), lease_s=_LEASE_S)}
        for job_id in [job_id for job_id in self._runs if job_id not in at_work]:
            self._drop_run(job_id)
        for job in at_work.values():
            _, effects = states.apply(job.state, Event.RECOVERED)
            if job.id in self._preparing:
                continue
            if Effect.RUN_ANALYSIS in effects:
                self._guard(job.id, partial(self._begin_analysis, job))
            elif Effect.HALT_UNITS in effects:
                self._halt(job.id, now)
            elif job.id not in self._runs:
                self._guard(job.id, partial(self._begin_units, job))
            elif self._runs[job.id].halting_since is not None:
                self._halt(job.id, now)
            elif self._runs[job.id].is_idle:
                self._settle(job.id)
            elif under_way := self._runs[job.id].cells_under_way(self._cluster.progress):
                self.store.record_progress(job.id, under_way)
        if at_work:
            self._idle_since = now
        elif self._cluster.is_running and now - self._idle_since > _IDLE_S:
            LOG.info("no job for %d s: the workers are ended", _IDLE_S)
            self._cluster.close()

    def _guard(self, job_id: str, action: Callable[[], T]) -> T | None:
        """Fails the job, not the runner, when the job cannot go on."""
        try:
            return action()
        except NotFound:
            self._drop_run(job_id)
        except ClusterUnavailable as error:
            LOG.warning("job %s waits: %s", job_id, error)
            self._closing.wait(_PATIENCE_S)
        except SwatheError as error:
            self._fail(job_id, str(error))
        except SQLAlchemyError:
            raise
        except Exception:
            # One job that cannot be handled must not keep the others from running.
            LOG.exception("job %s fails with a bug of ours", job_id)
            self._fail(job_id, "The job failed with an internal error")
        return None

    # Beginning

    def _begin_analysis(self, job: Job) -> None:
        if self._analyst is not None:
            self._preparing.add(job.id)
            self._analyst.analyse(job.id, self._preparation(job))
        if job.state.user_action is UserAction.START:
            self._cluster.start()  # while the analysis runs, since the units come right after it

    def _begin_units(self, job: Job) -> None:
        preparation = self._preparation(job)
        if not prepare.is_prepared(preparation.folder):
            if self._analyst is not None:
                self._preparing.add(job.id)
                self._analyst.restore(job.id, preparation, *self.store.analysis(job.id))
            return
        self._cluster.start()
        LOG.info("job %s: processing, %d of %d features done", job.id, job.features_done, job.features_total)
        self._runs[job.id] = JobRun(
            job.id,
            lambda index, run_id, given_up: self._make_task(preparation, index, run_id, given_up),
            lambda cursor: self.store.pending_units(job.id, _BUFFER_UNITS, after=cursor),
        )

    def _preparation(self, job: Job) -> Preparation:
        try:
            whole = BatchStatisticsRequest.model_validate(join_secrets(job.request, self.store.keys(job.id)))
        except ValidationError:  # whose text would hold the keys
            raise RequestInvalid("The request as it was kept is not one that this version of Swathe takes") from None
        request = {key: job.request[key] for key in ("input", "aggregation", "calculations") if key in job.request}
        request["input"] = {key: value for key, value in request["input"].items() if key != "features"}
        return Preparation(
            settings=self.settings,
            folder=self.home.job(job.id),
            request=json.dumps(request),
            features=whole.input.features.s3,
            delivery=Delivery(self.settings.storage, whole.output.s3, job.id),
            make_engine=self._make_engine,
        )

    def _make_task(self, preparation: Preparation, index: int, run_id: str, given_up: str | None) -> UnitTask:
        source: UnitOnDisk | UnitInHand
        if self._cluster.is_embedded:
            source = UnitOnDisk(preparation.folder, preparation.request, index)
        else:
            if self._unit_maker is None:
                self._unit_maker = Child("unit-maker")
            what = (self.settings, preparation.folder, preparation.request, index, self._make_engine)
            source = UnitInHand(self._unit_maker.call(tasks.make_unit, *what))
        return UnitTask(run_id, index, source, preparation.delivery, self.settings, given_up, self._make_engine)

    # Handing out

    def _hand_out(self, now: float) -> None:
        """Keeps two units per worker thread in flight: one at work and one ready, so that memory stays bounded.

        The job with the fewest in flight comes first, so a small job passes through beside a large one.
        """
        runs = sorted(self._runs.values(), key=lambda run: len(run.in_flight))
        in_flight = sum(len(run.in_flight) for run in runs)
        suspicious = [run for run in runs if run.suspects and run.halting_since is None]
        if suspicious:
            if not in_flight and (index := suspicious[0].next_suspect()) is not None:
                self._submit(suspicious[0], index)
            return
        free = 2 * self._cluster.slots() - in_flight if runs else 0
        while free > 0:
            submitted = 0
            for run in runs:
                if run.job_id in self._runs and free > submitted and (index := run.next_unit(now)) is not None:
                    self._submit(run, index)
                    submitted += 1
            free -= submitted
            if not submitted:
                return

    def _submit(self, run: JobRun, index: int) -> None:
        def report(outcome: UnitOutcome, lost: bool) -> None:
            self._reports.put(_UnitEnded(run.job_id, run.run_id, outcome, lost))

        task = self._guard(run.job_id, lambda: run.task(index))
        if task is None:
            return
        try:
            run.in_flight[index] = self._cluster.submit(task, report)
        except ClusterUnavailable as error:
            LOG.warning("the cluster is started anew: %s", error)
            self._cluster.close()
            for job_id in list(self._runs):
                self._drop_run(job_id)

    # Reports

    def _on_analysis(self, ended: AnalysisEnded) -> None:
        self._preparing.discard(ended.job_id)
        if ended.error is not None:
            self._fail(ended.job_id, ended.error)
        elif (plan := ended.plan) is not None:
            LOG.info(
                "job %s: %d features, %d scenes, %d units", ended.job_id, plan.features, plan.scenes, len(plan.units)
            )
            self._guard(ended.job_id, lambda: self.store.save_analysis(ended.job_id, plan))

    def _on_unit(self, ended: _UnitEnded, now: float) -> None:
        outcome, index = ended.outcome, ended.outcome.index
        if outcome.bug is not None:
            LOG.error("job %s unit %d failed with a bug of ours\n%s", ended.job_id, index, outcome.bug)
        run = self._runs.get(ended.job_id)
        if run is not None and run.run_id != ended.run_id:
            run = None
        if run is not None:
            run.in_flight.pop(index, None)
            if outcome.result is not None:
                run.cells.pop(index, None)
        if (result := outcome.result) is not None:
            if run is not None:
                run.suspects.discard(index)
            recorded = self._guard(ended.job_id, lambda: self.store.record_unit(ended.job_id, result))
            if recorded is not None and recorded[0].state.status is not Status.PROCESSING:
                self._after(ended.job_id, recorded[1])
        elif run is not None:
            self._on_failure(run, ended, now)
        if run is not None and run.halting_since is not None and not run.in_flight:
            self._halt(run.job_id, now)

    def _on_failure(self, run: JobRun, ended: _UnitEnded, now: float) -> None:
        """Decides whether a unit is tried again, given up, or takes the job with it."""
        outcome, index = ended.outcome, ended.outcome.index
        reason = outcome.error or "it failed without a reason"
        run.suspects.discard(index)
        if outcome.stopped:
            if run.halting_since is None:
                run.try_later(index, 1, now)
            return
        LOG.warning("job %s unit %d: %s", run.job_id, index, reason)
        attempts = self.store.add_attempt(run.job_id, index)
        is_final = not outcome.retryable or attempts >= (MAX_LOST if ended.lost else MAX_ATTEMPTS)
        if is_final and (outcome.at_delivery or index in run.given_up):
            self._fail(run.job_id, reason)
        elif ended.lost and not is_final:
            run.suspects.add(index)
        elif is_final:
            run.give_up(index, reason, now)
        else:
            run.try_later(index, attempts, now)

    # Ending

    def _halt(self, job_id: str, now: float) -> None:
        """Lets the units of a run end, for a moment; then the job is STOPPED, or goes on if that is the newer wish."""
        run = self._runs.get(job_id)
        if run is not None:
            if run.halting_since is None:
                run.halting_since = now
                self._cluster.stop_run(run.run_id)
            if run.in_flight and now - run.halting_since < _HALT_S:
                return
            self._drop_run(job_id)
        if self.store.get(job_id).state.status is Status.PROCESSING:
            job, _ = self.store.apply(job_id, Event.HALTED)
            LOG.info("job %s: %s", job_id, "stopped" if job.state.user_action is UserAction.STOP else "goes on")
            self.wake()

    def _settle(self, job_id: str) -> None:
        job, effects = self.store.settle(job_id)
        if job.state.status is not Status.PROCESSING:
            self._after(job_id, effects)
        else:
            # A report got lost, as when the database could not be written to: the next run finds the unit pending.
            self._drop_run(job_id)

    def _fail(self, job_id: str, reason: str) -> None:
        job = self.store.get(job_id)
        event = {Status.ANALYSING: Event.ANALYSIS_FAILED, Status.PROCESSING: Event.FAILED}.get(job.state.status)
        if event is not None:
            self._after(job_id, self.store.apply(job_id, event, error=reason)[1])

    def _after(self, job_id: str, effects: tuple[Effect, ...]) -> None:
        """Carries out what follows the end of a job's work."""
        LOG.info("job %s: %s", job_id, self.store.get(job_id).state.status)
        self._drop_run(job_id)
        if Effect.FORGET in effects:
            self.home.forget(job_id)
            self.store.database.shred()

    def _drop_run(self, job_id: str) -> None:
        run = self._runs.pop(job_id, None)
        if run is not None and run.in_flight:
            self._cluster.stop_run(run.run_id)
            self._cluster.abandon(list(run.in_flight.values()))
