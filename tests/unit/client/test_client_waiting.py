"""When waiting for a job ends, and how."""

from __future__ import annotations

from typing import Any

import pytest

from swathe.client import BatchStatisticalRequest, JobError, JobFailed, JobNotStarted, JobStopped, WaitTimeout
from swathe.client.waiting import Pace, wait_until_over


def look(status: str, action: str | None = "START", percentage: float = 0, **more: Any) -> BatchStatisticalRequest:
    document = {"id": "r1", "request": {}, "status": status, "completionPercentage": percentage, **more}
    if action is not None:
        document["userAction"] = action
    return BatchStatisticalRequest.from_dict(document)


class Job:
    """Shows its looks in turn, the last one again and again; time passes only in pauses."""

    def __init__(self, *looks: BatchStatisticalRequest) -> None:
        self.looks = list(looks)
        self.seen = 0
        self.now = 0.0

    def wait(self, **settings: Any) -> BatchStatisticalRequest:
        return wait_until_over(
            self._look, sleep=self._sleep, clock=lambda: self.now, **{"show_progress": False, **settings}
        )

    def _look(self) -> BatchStatisticalRequest:
        self.seen += 1
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    def _sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("status", ["DONE", "PARTIAL"])
def test_a_finished_job_is_given_back(status: str) -> None:
    job = Job(look("CREATED"), look("ANALYSING"), look("ANALYSIS_DONE"), look("PROCESSING"), look(status, None, 100))
    assert job.wait().status.value == status
    assert job.seen == 5


def test_a_failed_job_raises_with_the_reason() -> None:
    job = Job(look("ANALYSING"), look("FAILED", error="the GeoPackage has no polygons"))
    with pytest.raises(JobFailed, match="r1 FAILED: the GeoPackage has no polygons") as caught:
        job.wait()
    assert caught.value.request_id == "r1"
    assert isinstance(caught.value, RuntimeError)


@pytest.mark.parametrize("reason", ["USER_ACTION", "OUT_OF_PU", "UNHEALTHY"])
@pytest.mark.parametrize("action", ["STOP", "START", None])
def test_a_stopped_job_raises_with_the_reason(reason: str, action: str | None) -> None:
    job = Job(look("PROCESSING"), look("STOPPED", action, 40.5, stoppedStatusReason=reason, error="too many failed"))
    with pytest.raises(JobStopped, match=rf"STOPPED \({reason}\) at 40.5 %: too many failed"):
        job.wait()


def test_a_stopped_job_that_was_just_started_again_is_waited_for() -> None:
    stopped = look("STOPPED", "START", 40, stoppedStatusReason="USER_ACTION")
    assert Job(stopped, stopped, look("PROCESSING"), look("DONE")).wait().status.value == "DONE"


@pytest.mark.parametrize(
    ("status", "action"),
    [
        ("CREATED", None),
        ("CREATED", "NONE"),
        ("CREATED", "STOP"),
        ("ANALYSIS_DONE", None),
        ("ANALYSIS_DONE", "NONE"),
        ("ANALYSIS_DONE", "ANALYSE"),
    ],
)
def test_a_job_that_nobody_started_raises_soon(status: str, action: str | None) -> None:
    job = Job(look(status, action))
    with pytest.raises(JobNotStarted, match="nobody started it; call start_job first"):
        job.wait()
    assert job.now < 5


def test_an_action_that_shows_late_is_no_error() -> None:
    job = Job(look("CREATED", "NONE"), look("CREATED", "NONE"), look("CREATED"), look("ANALYSIS_DONE", "ANALYSE"),
              look("ANALYSIS_DONE"), look("PROCESSING"), look("DONE"))  # fmt: skip
    assert job.wait().status.value == "DONE"


@pytest.mark.parametrize("status", ["CREATED", "ANALYSING", "ANALYSIS_DONE"])
def test_a_job_that_hangs_before_processing_is_given_up(status: str) -> None:
    job = Job(look(status))
    with pytest.raises(WaitTimeout, match=f"still {status} at 0 % after 3600 s"):
        job.wait()
    assert job.now == 3600


def test_processing_takes_as_long_as_it_takes_unless_a_timeout_is_given() -> None:
    job = Job(*[look("PROCESSING")] * 10_000, look("DONE"))
    job.wait()
    assert job.now > 90_000
    with pytest.raises(WaitTimeout, match="still PROCESSING") as caught:
        Job(look("PROCESSING", percentage=7)).wait(timeout_s=100)
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, JobError)


def test_the_pauses_grow_up_to_a_limit() -> None:
    job = Job(*[look("PROCESSING")] * 5, look("DONE"))
    job.wait(pace=Pace(first_s=1, longest_s=4, growth=2))
    assert job.now == 1 + 2 + 4 + 4 + 4


def test_the_bar_shows_status_and_percentage(capsys: pytest.CaptureFixture[str]) -> None:
    Job(look("PROCESSING", percentage=40), look("DONE", percentage=100)).wait(show_progress=True)
    shown = capsys.readouterr().err
    assert "PROCESSING:  40%" in shown
    assert "DONE: 100%" in shown
    Job(look("DONE", percentage=100)).wait(show_progress=False)
    assert capsys.readouterr().err == ""
