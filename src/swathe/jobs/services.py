"""The work of the services that answer at once, and of Async Process: functions that a process of the workshop runs.

What they need is imported there alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from swathe.jobs.workshop import Deadline
from swathe.model.process import ProcessRequest
from swathe.model.process_answer import AnswerForm
from swathe.model.process_async import AsyncProcessRequest
from swathe.model.process_output import ObjectPlace
from swathe.model.statistical_area import AreaStatisticsRequest

if TYPE_CHECKING:
    from swathe.engine.compute import Engine


@dataclass(frozen=True)
class StatisticsAnswer:
    """`response` is the JSON that a document of the batch has under this name, byte for byte."""

    response: bytes
    cost_pu: float


@dataclass(frozen=True)
class ImageAnswer:
    """The file that is the answer, within the folder that was given."""

    path: Path
    cost_pu: float


def compute_statistics(engine: Engine, deadline: Deadline, request: AreaStatisticsRequest) -> StatisticsAnswer:
    """The statistics of one area; see `statistics_now`."""
    from swathe.jobs.statistics_now import compute

    return StatisticsAnswer(*compute(engine, deadline, request))


def render_answer(
    engine: Engine, deadline: Deadline, request: ProcessRequest, form: AnswerForm, folder: Path
) -> ImageAnswer:
    """The image of a request as one file; see `images_now`."""
    from swathe.jobs.images_now import render

    return ImageAnswer(*render(engine, deadline, request, form, folder))


def check_async(engine: Engine, deadline: Deadline, request: AsyncProcessRequest, script: ObjectPlace | None) -> None:
    """Finds out before an asynchronous request is taken whether it can be done; see `images_async`."""
    from swathe.jobs.images_async import check

    check(engine, request, script)


def deliver_images(
    engine: Engine, deadline: Deadline, request: AsyncProcessRequest, script: ObjectPlace | None, request_id: str
) -> float:
    """The image of an asynchronous request, delivered, and what it cost; see `images_async`."""
    from swathe.jobs.images_async import deliver

    return deliver(engine, deadline, request, script, request_id)


def deliver_error(
    engine: Engine, deadline: Deadline, request: AsyncProcessRequest, request_id: str, message: str, code: str
) -> None:
    """Why there is no image, delivered in its place; see `images_async`."""
    from swathe.jobs.images_async import deliver_failure

    deliver_failure(engine, request, request_id, message, code)
