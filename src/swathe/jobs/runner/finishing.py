"""Keeping a job's output folder up to date: now and then while its units run, for good at its end, once more at STOP."""

from __future__ import annotations

from collections.abc import Callable

from swathe.jobs.home import Home
from swathe.jobs.logs import job_log
from swathe.jobs.prepare import Preparation, is_prepared
from swathe.jobs.records import Job
from swathe.jobs.runner.publishing import LOG, PublicationEnded, Publisher
from swathe.jobs.runner.run import JobRun
from swathe.jobs.runner.verdicts import BACKOFF_S, MAX_ATTEMPTS
from swathe.jobs.states import Status
from swathe.jobs.store import JobStore

PUBLISH_S = 30.0


class Finisher:
    """Decides when the publisher has something to do. Used by the driver's thread alone."""

    def __init__(self, store: JobStore, report: Callable[[PublicationEnded], None], home: Home) -> None:
        self._home = home
        self._publisher = Publisher(store, report, home)

    def close(self) -> None:
        """Ends what is under way."""
        self._publisher.close()

    def tend(self, run: JobRun, now: float) -> None:
        """Brings the folder up to date when units have ended since and it is time for it."""
        finishing = run.finishing
        if finishing.changed and not finishing.is_under_way and now >= finishing.next_at:
            self._order(run, final=False)

    def finish(self, run: JobRun, now: float) -> None:
        """Completes the folder of a run that has no unit left to do, unless that is under way or has to wait."""
        if not run.finishing.is_under_way and now >= run.finishing.retry_at:
            self._order(run, final=True)

    def leave(self, job_id: str, preparation: Preparation) -> None:
        """Brings the folder of a job up to date that was stopped."""
        if is_prepared(preparation.folder):
            self._publisher.publish(job_id, None, preparation, final=False)

    def put_aside(self, job: Job, run: JobRun | None) -> None:
        """Puts aside for the console what may be out of reach now that a job has ended, its keys being gone.

        Of the results of one that is DONE that has been done with its last publication.
        """
        self._home.keep_features(job.id)
        if job.state.status is Status.FAILED and run is not None:
            self._publisher.put_aside(job.id, run.preparation)

    def on_ended(self, run: JobRun | None, ended: PublicationEnded, now: float) -> str | None:
        """Takes in how it went; the reason when the job is to fail with it."""
        if ended.error is not None:
            job_log(LOG, ended.job_id).warning("the output folder is not up to date: %s", ended.error)
        if run is None:
            return None
        finishing = run.finishing
        finishing.is_under_way = False
        finishing.next_at = now + PUBLISH_S
        if ended.error is None:
            return None
        finishing.changed = True
        if not ended.final:
            return None
        finishing.attempts += 1
        if ended.retryable and finishing.attempts < MAX_ATTEMPTS:
            finishing.retry_at = now + BACKOFF_S[finishing.attempts - 1]
            return None
        return f"The results in {run.preparation.delivery.folder} cannot be completed: {ended.error}"

    def _order(self, run: JobRun, *, final: bool) -> None:
        run.finishing.changed = False
        run.finishing.is_under_way = True
        self._publisher.publish(run.job_id, run.run_id, run.preparation, final=final)
