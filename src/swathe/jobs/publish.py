"""What the output folder holds beside the documents, brought up to date while a job runs and at its end.

While it runs that is the execution database; at its end also the geometry of the features, and no part of the data set
that is not of a unit the store calls done. Runs in a process of its own; doing it again gives the same objects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swathe.jobs import execution
from swathe.jobs.home import FEATURES_FILE
from swathe.jobs.kinds import find_kind
from swathe.jobs.records import FailedFeature
from swathe.settings import Settings


@dataclass(frozen=True)
class Publication:
    """How far a job is, as the store has it.

    `folder` is the job's, with its GeoPackage; `units` are (index, feature ids as int64 little endian, state) without the
    ones that were split; `failed` are all failed features so far. With `final`, no unit is left to do.
    """

    settings: Settings = field(repr=False)
    folder: Path
    delivery: Any
    job_id: str
    units: tuple[tuple[int, bytes, str], ...] = field(repr=False)
    failed: tuple[FailedFeature, ...] = field(default=(), repr=False)
    final: bool = False
    kind: str = "statistics"


def publish(publication: Publication) -> None:
    """Brings the output folder up to date.

    Raises:
        StorageError: the output place does not take it; `retryable` says whether that may pass.
        FeaturesInvalid: the GeoPackage in the job's folder cannot be read any more.
    """
    kind = find_kind(publication.kind)
    limits = publication.settings.limits
    if publication.final:
        kind.complete(publication)
    if publication.settings.results.execution_database:
        execution.deliver_database(
            publication.folder,
            publication.delivery,
            publication.units,
            {failed.feature_id: failed.reason for failed in publication.failed},
            read_names=lambda: kind.read_names(publication.folder / FEATURES_FILE, limits),
            delivers_failures=kind.delivers_failures,
        )
