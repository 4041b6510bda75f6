"""Handing units out to the cluster, and what becomes of those that come back without a result."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from swathe.jobs.logs import job_log
from swathe.jobs.records import UnitRow
from swathe.jobs.runner.cluster import Cluster, Loss
from swathe.jobs.runner.run import JobRun
from swathe.jobs.runner.sending import Sender
from swathe.jobs.runner.verdicts import Failure, Step, decide
from swathe.jobs.store import JobStore
from swathe.jobs.tasks import UnitOnDisk, UnitOutcome, UnitTask

LOG = logging.getLogger(__name__)

_PER_SLOT = 2
_MANY_MACHINES = 6


@dataclass(frozen=True)
class UnitEnded:
    """How a unit went that a run had handed out."""

    job_id: str
    run_id: str
    outcome: UnitOutcome
    loss: Loss


class Hander:
    """Keeps the workers busy with the units of all runs. Used by the driver's thread alone."""

    def __init__(
        self, cluster: Cluster, store: JobStore, runs: dict[str, JobRun], report: Callable[[UnitEnded], None]
    ) -> None:
        self.sender = Sender(cluster)
        self._cluster = cluster
        self._store = store
        self._runs = runs
        self._report = report

    def hand_out(self, now: float) -> None:
        """Keeps two units per worker thread in flight: one at work and one ready, so that memory stays bounded.

        The job with the fewest in flight comes first, so a small job passes through beside a large one.
        """
        runs = sorted(self._runs.values(), key=lambda run: len(run.in_flight))
        in_flight = sum(len(run.in_flight) for run in runs)
        slots = self._cluster.slots() if runs else 0
        ready = [run for run in runs if run.halting_since is None and not run.is_short_of_pu]
        suspicious = [run for run in ready if run.suspects]
        if suspicious:
            if slots and not in_flight and (index := suspicious[0].next_suspect()) is not None:
                self._submit(suspicious[0], index)
            return
        free = _PER_SLOT * slots - in_flight
        while free > 0:
            submitted = 0
            for run in ready:
                if free > submitted and not run.is_short_of_pu and (index := run.next_unit(now)) is not None:
                    if self._submit(run, index):
                        submitted += 1
                    elif index not in run.suspects:
                        run.waiting[index] = now
            free -= submitted
            if not submitted:
                return

    def _submit(self, run: JobRun, index: int) -> bool:
        """Sends a unit off, unless the project has not enough left for it."""
        if not self.fits_budget(run, index):
            run.is_short_of_pu = True
            return False
        preparation = run.preparation
        unit = run.known[index]
        source = UnitOnDisk(
            preparation.folder, preparation.request, self._store.unit_features(run.job_id, index), unit.cells
        )
        task = UnitTask(
            preparation.kind,
            run.run_id,
            index,
            source,
            preparation.delivery,
            preparation.settings,
            run.given_up.get(index),
            preparation.make_engine,
            run.delivered_of(index),
        )
        job_id, run_id = run.job_id, run.run_id
        run.in_flight[index] = self.sender.send(
            task, lambda outcome, loss: self._report(UnitEnded(job_id, run_id, outcome, loss))
        )
        return True

    def fits_budget(self, run: JobRun, index: int) -> bool:
        """Whether what a unit will cost, with those in flight, is within what the project may still spend."""
        wanted = run.estimated_pu(index)
        budget = self._store.budget(run.project_id)
        if budget.limit_pu is None or index in run.given_up:
            return True
        promised = sum(other.pu_in_flight() for other in self._runs.values() if other.project_id == run.project_id)
        left = budget.limit_pu - budget.spent_pu - promised
        return left > 0 and wanted <= left * (1 + 1e-9)

    def on_failure(self, run: JobRun, ended: UnitEnded, now: float) -> str | None:
        """Carries out what is to become of a unit; the reason when the job is to fail with it."""
        outcome, index = ended.outcome, ended.outcome.index
        if index not in run.known:  # cut in half already, when the store failed right after
            return None
        reason = outcome.error or "it failed without a reason"
        was_alone = index in run.suspects
        run.suspects.discard(index)
        if outcome.stopped and run.halting_since is not None:
            return None
        loss = Loss.CULPRIT if was_alone and ended.loss is Loss.SUSPECT else ended.loss
        if loss is Loss.MACHINE:  # a killed machine accuses nobody, unless it happens again and again
            run.machines[index] = run.machines.get(index, 0) + 1
            loss = Loss.INNOCENT if run.machines[index] < _MANY_MACHINES else Loss.CULPRIT
        unit = self._count(run, outcome, loss)
        failure = Failure(
            outcome,
            loss,
            unit,
            run.errors.get(index, 0),
            giving_up=index in run.given_up,
            narrowed=index in run.narrowed,
            was_alone=was_alone,
        )
        verdict = decide(failure)
        if not outcome.stopped:
            self._tell(run, failure, verdict.step, reason)
        if verdict.step is Step.AGAIN:
            run.waiting[index] = now + verdict.pause_s
        elif verdict.step is Step.ALONE:
            run.suspects.add(index)
        elif verdict.step is Step.GIVE_UP:
            run.give_up(index, reason, now)
        elif verdict.step is Step.SPLIT:
            self._split(run, failure, now)
        else:
            return reason
        return None

    def _count(self, run: JobRun, outcome: UnitOutcome, loss: Loss) -> UnitRow:
        index = outcome.index
        if outcome.stopped or loss in (Loss.INNOCENT, Loss.SUSPECT):
            return run.known[index]
        if loss is not Loss.CULPRIT:
            run.errors[index] = run.errors.get(index, 0) + 1
        run.known[index] = self._store.add_attempt(run.job_id, index, lost=loss is Loss.CULPRIT)
        return run.known[index]

    def _split(self, run: JobRun, failure: Failure, now: float) -> None:
        index = failure.unit.index
        halves = self._store.split_unit(run.job_id, index)
        run.forget(index)
        if halves is None:  # somebody has done it meanwhile
            return
        for half in self._store.pending_units(run.job_id, 2, after=min(halves) - 1):
            run.known[half.index] = half
            if failure.was_alone:
                run.suspects.add(half.index)
            else:
                run.waiting[half.index] = now
            if failure.loss is not Loss.CULPRIT:
                run.narrowed.add(half.index)

    def _tell(self, run: JobRun, failure: Failure, step: Step, reason: str) -> None:
        index = failure.unit.index
        what = {
            Step.AGAIN: "is tried again",
            Step.ALONE: "is tried again with nothing beside it",
            Step.SPLIT: "is cut in half",
            Step.GIVE_UP: "is given up",
            Step.FAIL_JOB: "ends the job",
        }[step]
        job_log(LOG, run.job_id, index).warning("%s: %s", what, reason)
        if failure.loss is not Loss.INNOCENT:
            self._store.log(run.job_id, f"unit {index} {what}: {reason}", level="warning", unit=index)
