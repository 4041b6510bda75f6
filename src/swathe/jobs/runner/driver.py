"""Drives the jobs of this server: looks what the store says should run, and makes it so.

One thread decides everything; analyses, units and publications report to its queue. It looks at the store rather than
being told, so a wish may come through any server, and a restart needs nothing special: what should run and does not is
begun. Nothing that it does waits for a cluster, an object store or a child process.
"""

from __future__ import annotations

import logging
import queue
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from swathe.jobs import prepare, states
from swathe.jobs.byoc_sources import supply
from swathe.jobs.child import keep_interrupts_out
from swathe.jobs.engines import MakeEngine, make_engine
from swathe.jobs.home import Home
from swathe.jobs.logs import job_log
from swathe.jobs.metrics import RunnerMetrics, RunnerState
from swathe.jobs.prepare import Preparation
from swathe.jobs.records import Job
from swathe.jobs.runner.analysis import AnalysisEnded, Analyst
from swathe.jobs.runner.cluster import Cluster, Loss
from swathe.jobs.runner.finishing import PUBLISH_S, Finisher
from swathe.jobs.runner.handing import Hander, UnitEnded
from swathe.jobs.runner.publishing import PublicationEnded
from swathe.jobs.runner.run import JobRun
from swathe.jobs.states import ENDS, Effect, Event, Status, UserAction
from swathe.jobs.store import JobStore
from swathe.model.errors import NotFound, SwatheError
from swathe.settings import Settings

LOG = logging.getLogger(__name__)
T = TypeVar("T")

_TICK_S = 0.5
_LEASE_S = 10.0
_HALT_S = 1.5
_IDLE_S = 300.0
_SWEEP_S = 3600.0
_TROUBLE_S = 1.0
_BUFFER_UNITS = 64

_Report = AnalysisEnded | UnitEnded | PublicationEnded


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
        self.metrics = RunnerMetrics()
        self._make_engine = make_engine
        self._cluster = cluster or Cluster(settings.dask, home.scratch)
        self._reports: queue.SimpleQueue[_Report | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._owner = f"{socket.gethostname()}:{home.server_id}"
        self._preparing: set[str] = set()
        self._runs: dict[str, JobRun] = {}
        self._hander = Hander(self._cluster, store, self._runs, self._reports.put)
        self._analyst: Analyst | None = None
        self._finisher: Finisher | None = None
        self._idle_since = self._looked_at = time.monotonic()
        self._next_tick = self._next_sweep = 0.0
        self._thread = threading.Thread(target=self._work, name="job-runner", daemon=True)

    def start(self) -> None:
        """Begins to drive this server's jobs, those of an earlier process on this home first of all.

        Raises:
            SettingsInvalid: another server runs on this home.
        """
        self.home.lock()
        self._analyst = Analyst(self._reports.put, partial(supply, self.store.database))
        self._finisher = Finisher(self.store, self._reports.put, self.home)
        self._thread.start()

    def wake(self) -> None:
        """Has the runner look at the store now rather than within half a second."""
        self._reports.put(None)

    def state(self) -> RunnerState:
        """How the runner is now; for any thread."""
        return RunnerState(
            is_alive=self._thread.is_alive(),
            seconds_since_look=time.monotonic() - self._looked_at,
            units_in_flight=sum(len(run.in_flight) for run in list(self._runs.values())),
            slots=self._cluster.slots(),
        )

    def close(self) -> None:
        """Ends all work; jobs at work stay as they are and go on with the next start."""
        self._closing.set()
        self.wake()
        if self._thread.is_alive():
            self._thread.join(10)
        for part in (self._analyst, self._finisher, self._hander.sender):
            if part is not None:
                part.close()
        for run in self._runs.values():
            self._cluster.stop_run(run.run_id)
        self._cluster.close()
        with suppress(SQLAlchemyError):
            self.store.release(self._owner)
        self.home.unlock()

    # The loop

    def _work(self) -> None:
        keep_interrupts_out()
        report: _Report | None = None
        while not self._closing.is_set():
            try:
                if report is None:
                    report = self._turn()
                if report is not None:
                    self._on_report(report)
                report = None
            except SQLAlchemyError as error:
                # What has been reported is kept until the store takes it; else a unit's work would be done again.
                LOG.warning("the job store does not answer: %s; it is asked again", type(error).__name__)
                self._closing.wait(_TROUBLE_S)
            except Exception:
                # A bug of ours: nothing is lost, since the store says what is to be done.
                LOG.exception("the job runner met an error; it goes on")
                report = None
                self._closing.wait(5 * _TROUBLE_S)

    def _turn(self) -> _Report | None:
        """Compares what should run with what does, twice a second or when woken; the next report, if there is one."""
        if (now := time.monotonic()) >= self._next_tick:
            self._look(now)
            self._looked_at = now
            self._next_tick = now + _TICK_S
        self._hander.hand_out(time.monotonic())
        try:
            report = self._reports.get(timeout=max(0.0, self._next_tick - time.monotonic()))
        except queue.Empty:
            return None
        if report is None or isinstance(report, AnalysisEnded):
            self._next_tick = 0.0
        return report

    def _on_report(self, report: _Report) -> None:
        if isinstance(report, AnalysisEnded):
            self._on_analysis(report)
        elif isinstance(report, UnitEnded):
            self._on_unit(report, time.monotonic())
        else:
            self._on_publication(report, time.monotonic())

    def _look(self, now: float) -> None:
        """Begins what should run, ends what should not. Jobs whose lease was lost are no longer among those claimed."""
        at_work = {job.id: job for job in self.store.claim(self._owner, now_s=time.time(), lease_s=_LEASE_S)}
        for job_id in [job_id for job_id in self._runs if job_id not in at_work]:
            self._drop_run(job_id)
        for job in at_work.values():
            _, effects = states.apply(job.state, Event.RECOVERED)
            run = self._runs.get(job.id)
            if job.id in self._preparing:
                continue
            if Effect.RUN_ANALYSIS in effects:
                self._guard(job.id, partial(self._begin_analysis, job))
            elif Effect.HALT_UNITS in effects or (run is not None and run.halting_since is not None):
                self._guard(job.id, partial(self._halt, job.id, now))
            elif run is None:
                self._guard(job.id, partial(self._begin_units, job, now))
            else:
                self._guard(job.id, partial(self._tend, run, now))
        if at_work:
            self._idle_since = now
        elif self._cluster.is_running and now - self._idle_since > _IDLE_S:
            LOG.info("no job for %d s: the workers are ended", _IDLE_S)
            self._hander.sender.rest()
            self._cluster.close()
        if now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_S
            self._sweep()

    def _guard(self, job_id: str, action: Callable[[], T]) -> T | None:
        """Fails the job, not the runner, when the job cannot go on."""
        try:
            return action()
        except NotFound:
            self._drop_run(job_id)
        except SwatheError as error:
            self._fail(job_id, str(error))
        except SQLAlchemyError:
            raise
        except Exception:
            # One job that cannot be handled must not keep the others from running.
            job_log(LOG, job_id).exception("fails with a bug of ours")
            self._fail(job_id, "The job failed with an internal error")
        return None

    def _sweep(self) -> None:
        """Removes the files of jobs that have ended elsewhere."""
        for job_id in self.home.job_ids():
            if job_id in self._runs or job_id in self._preparing:
                continue
            try:
                ended = self.store.get(job_id).state.status in ENDS
            except NotFound:
                ended = True
            if ended:
                self.home.forget(job_id)

    # Beginning

    def _begin_analysis(self, job: Job) -> None:
        if self._analyst is not None:
            preparation = self._preparation(job)
            self._preparing.add(job.id)
            self._analyst.analyse(job.id, preparation)
        if job.state.user_action is UserAction.START:
            self._cluster.start()  # while the analysis runs, since the units come right after it

    def _begin_units(self, job: Job, now: float) -> None:
        preparation = self._preparation(job)
        if not prepare.is_prepared(preparation.folder):
            if self._analyst is not None:
                self._preparing.add(job.id)
                self._analyst.restore(job.id, preparation, self.store.analysis(job.id)[0])
            return
        self._cluster.start()
        job_log(LOG, job.id).info("processing, %d of %d features done", job.features_done, job.features_total)
        run = self._runs[job.id] = JobRun(
            job.id,
            job.project_id,
            preparation,
            job.estimated_pu / max(1, job.cells_total),
            lambda cursor: self.store.pending_units(job.id, _BUFFER_UNITS, after=cursor),
        )
        run.finishing.next_at = now + PUBLISH_S

    def _preparation(self, job: Job) -> Preparation:
        keys = self.store.keys(job.id)
        return Preparation.of(job, keys, self.settings, self.home.job(job.id), self._make_engine)

    # Reports

    def _on_analysis(self, ended: AnalysisEnded) -> None:
        self._preparing.discard(ended.job_id)
        if ended.error is not None:
            self._guard(ended.job_id, partial(self._fail, ended.job_id, ended.error))
        elif (plan := ended.plan) is not None:
            job = self._guard(ended.job_id, lambda: self.store.get(ended.job_id))
            if job is None or job.state.status is not Status.ANALYSING or not self._is_mine(job):
                return
            text = "%d features, %d scenes, %d units"
            job_log(LOG, job.id).info(text, plan.features, plan.scenes, len(plan.units))
            self._guard(job.id, lambda: self.store.save_analysis(job.id, plan))

    def _on_unit(self, ended: UnitEnded, now: float) -> None:
        outcome, index = ended.outcome, ended.outcome.index
        if outcome.bug is not None:
            job_log(LOG, ended.job_id, index).error("failed with a bug of ours\n%s", outcome.bug)
        run = self._runs.get(ended.job_id)
        if run is not None and run.run_id != ended.run_id:
            run = None
        if run is not None and index in run.in_flight:
            is_lost = ended.loss in (Loss.CULPRIT, Loss.SUSPECT, Loss.INNOCENT)
            self.metrics.unit_ended(run.preparation.kind, outcome, lost=is_lost)
        if (result := outcome.result) is not None:
            # Whoever drives the job now: the results are delivered, and the store takes a unit once.
            recorded = self._guard(ended.job_id, lambda: self.store.record_unit(ended.job_id, result))
            if run is not None:
                run.forget(index)
                run.finishing.changed = True
                if recorded is not None and recorded[0].state.status is not Status.PROCESSING:
                    self._after(ended.job_id, recorded[1])
                    return
        elif run is not None:
            reason = self._guard(ended.job_id, lambda: self._hander.on_failure(run, ended, now))
            run.in_flight.pop(index, None)
            if reason is not None:
                self._fail(ended.job_id, reason)
                return
        if run is not None and run.halting_since is not None and not run.in_flight:
            self._guard(run.job_id, partial(self._halt, run.job_id, now))
        elif run is not None and run.is_idle:
            self._guard(run.job_id, partial(self._tend, run, now))

    def _on_publication(self, ended: PublicationEnded, now: float) -> None:
        run = self._runs.get(ended.job_id)
        if run is not None and run.run_id != ended.run_id:
            run = None
        if self._finisher is None:
            return
        reason = self._finisher.on_ended(run, ended, now)
        if reason is not None:
            self._guard(ended.job_id, partial(self._fail, ended.job_id, reason))
        elif run is not None and ended.final and ended.error is None:
            self._guard(run.job_id, lambda: self._after(run.job_id, self.store.settle(run.job_id)[1]))
        elif run is not None and run.is_idle:
            self._guard(run.job_id, partial(self._tend, run, now))

    # While units run

    def _tend(self, run: JobRun, now: float) -> None:
        """Looks after a run: its progress, its budget, the output folder, its end."""
        if run.is_short_of_pu and not run.in_flight:
            self._on_empty_purse(run)
        elif not run.is_idle:
            delivered = run.note_delivered(self._cluster.delivered)
            if (under_way := run.cells_under_way(self._cluster.progress)) or delivered:
                self.store.record_progress(run.job_id, under_way, delivered)
            if self._finisher is not None:
                self._finisher.tend(run, now)
        elif not self.store.is_finished(run.job_id):
            self._drop_run(run.job_id)  # a report got lost: the next run finds the unit pending
        elif self._finisher is not None:
            self._finisher.finish(run, now)

    def _on_empty_purse(self, run: JobRun) -> None:
        """Stops a job whose next unit costs more than its project has left, unless there is more by now."""
        index = min(run.suspects or run.waiting, default=None)
        if index is None or self._hander.fits_budget(run, index):
            run.is_short_of_pu = False
            return
        budget = self.store.budget(run.project_id)
        error = (
            f"The project has spent {budget.spent_pu:.2f} of its {budget.limit_pu or 0:.2f} processing units;"
            f" the next unit of work needs about {run.estimated_pu(index):.2f}. Raise the budget and START again"
        )
        self._after(run.job_id, self.store.apply(run.job_id, Event.OUT_OF_PU, error=error)[1])

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
            job, effects = self.store.apply(job_id, Event.HALTED)
            if job.state.status is Status.STOPPED:
                self._after(job_id, effects)
            else:
                job_log(LOG, job_id).info("goes on")
                self.wake()

    def _fail(self, job_id: str, reason: str) -> None:
        job = self.store.get(job_id)
        event = {Status.ANALYSING: Event.ANALYSIS_FAILED, Status.PROCESSING: Event.FAILED}.get(job.state.status)
        if event is not None and self._is_mine(job):
            self._after(job_id, self.store.apply(job_id, event, error=reason)[1])
        else:
            self._drop_run(job_id)

    def _after(self, job_id: str, effects: tuple[Effect, ...]) -> None:
        """Carries out what follows the end of a job's work."""
        job = self.store.get(job_id)
        job_log(LOG, job_id).info("%s%s", job.state.status, f" ({job.state.error})" if job.state.error else "")
        run = self._runs.get(job_id)
        self._drop_run(job_id)
        if Effect.FORGET in effects:
            if self._finisher and self.settings.console.enabled and self.settings.storage.local_root is None:
                self._finisher.put_aside(job, run)
            self.home.forget(job_id)
            self.store.database.shred()
        elif job.state.status is Status.STOPPED and self._finisher is not None:
            self._finisher.leave(job_id, self._preparation(job))

    def _drop_run(self, job_id: str) -> None:
        run = self._runs.pop(job_id, None)
        if run is not None and run.in_flight:
            self._cluster.stop_run(run.run_id)
            self._cluster.abandon(list(run.in_flight.values()))

    def _is_mine(self, job: Job) -> bool:
        """Whether this server may decide about a job: nobody else has taken it over since."""
        return job.lease_owner in (None, self._owner)
