"""What differs between kinds of jobs, chosen by name. All else, from the store to the delivery, is common to them.

A kind has no state of its own; jobs and tasks carry its name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError

from swathe.jobs.delivery import Delivery
from swathe.jobs.home import FEATURES_FILE
from swathe.jobs.keys import KeyPairs, join_secrets
from swathe.model.common import S3Place
from swathe.model.errors import RequestInvalid
from swathe.model.statistical import BatchStatisticsRequest, StatisticsRequest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from swathe.engine.compute import Engine
    from swathe.engine.values import Analysis, Document, Table, UnitPlan, UnitReport, WorkUnit
    from swathe.jobs.prepare import Preparation
    from swathe.jobs.publish import Publication
    from swathe.settings import LimitSettings, StorageSettings

_GIVEN_UP = "EXECUTION_ERROR"


@dataclass(frozen=True)
class JobBody:
    """The body of a job: what the engine is asked, as JSON without secrets, and the two places.

    `features` is None where none are brought; `images` says how images are delivered, where there are any.
    """

    request: str = field(repr=False)
    features: S3Place | None = field(repr=False)
    output: S3Place = field(repr=False)
    images: Any = field(default=None, repr=False)


class Unit(Protocol):
    """What a worker takes: a `WorkUnit` of the engine, or another kind's own."""

    @property
    def index(self) -> int:
        """Its number in the plan."""
        ...

    @property
    def feature_ids(self) -> npt.NDArray[np.int64]:
        """The ids of its features."""
        ...


class Place(Protocol):
    """What all deliveries have."""

    @property
    def request_id(self) -> str:
        """The job's id."""
        ...

    @property
    def folder(self) -> str:
        """The URL of the folder with what concerns all results."""
        ...

    def check(self) -> None:
        """Finds out before the work whether the place can be written to; raises StorageError if not."""
        ...

    def upload(self, name: str, file: Path) -> None:
        """Puts a file of this machine into the folder; raises StorageError."""
        ...


@dataclass(frozen=True)
class UnitRun:
    """Whom a unit under way talks to; `deliver_table` is None where no table is wanted.

    A kind with results of its own form puts them itself, within `delivering`, which gives the job's delivery.
    """

    deliver: Callable[[Sequence[Document]], None]
    deliver_table: Callable[[Table], None] | None
    should_stop: Callable[[], bool]
    on_progress: Callable[[float], None]
    delivering: Callable[[], AbstractContextManager[Any]]


class JobKind(Protocol):
    """The steps of a job that depend on its kind. Each kind has units and deliveries of its own types.

    `delivers_failures` says that a feature that failed has a result that tells so.
    """

    delivers_failures: bool

    def read_body(self, body: Mapping[str, Any], keys: KeyPairs) -> JobBody:
        """The body as it was kept, with its keys.

        Raises:
            RequestInvalid: it is none that this version takes.
        """
        ...

    def make_delivery(self, storage: StorageSettings, body: JobBody, request_id: str) -> Any:
        """What writes the job's results, a `Place`; travels to workers."""
        ...

    def analyse(self, engine: Engine, preparation: Preparation) -> Analysis:
        """The plan of a job; leaves `FEATURES_FILE` in the job's folder.

        Raises:
            SwatheError: whatever makes the job impossible as a whole.
        """
        ...

    def restore(self, preparation: Preparation, payload: bytes) -> None:
        """Makes `FEATURES_FILE` again.

        Raises:
            SwatheError: it cannot be made any more.
        """
        ...

    def make_unit(self, engine: Engine, request: str, analysis: Analysis, features: Path, plan: UnitPlan) -> Any:
        """A `Unit` with its features; `analysis` need not have the plan of any unit."""
        ...

    def run(self, engine: Engine, unit: Any, run: UnitRun) -> UnitReport:
        """Computes and delivers a unit."""
        ...

    def give_up(self, unit: Any, reason: str, run: UnitRun) -> None:
        """Delivers results that say why there are none."""
        ...

    def read_names(self, features: Path, limits: LimitSettings) -> Iterator[tuple[int, str]]:
        """Id and name of every feature of a `FEATURES_FILE`.

        Raises:
            FeaturesInvalid: it cannot be read any more.
        """
        ...

    def complete(self, publication: Publication) -> None:
        """Brings what lies beside the results to its last state, when no unit is left to do.

        Raises:
            StorageError: the output place does not take it.
        """
        ...


class StatisticsKind:
    """Statistics of polygons: a document per feature."""

    delivers_failures = True

    def read_body(self, body: Mapping[str, Any], keys: KeyPairs) -> JobBody:
        """See `JobKind`."""
        try:
            whole = BatchStatisticsRequest.model_validate(join_secrets(body, keys))
        except ValidationError:  # whose text would hold the keys
            raise RequestInvalid("The request as it was kept is not one that this version of Swathe takes") from None
        request = {key: body[key] for key in ("input", "aggregation", "calculations") if key in body}
        request["input"] = {key: value for key, value in request["input"].items() if key != "features"}
        return JobBody(json.dumps(request), whole.input.features.s3, whole.output.s3)

    def make_delivery(self, storage: StorageSettings, body: JobBody, request_id: str) -> Delivery:
        """See `JobKind`."""
        return Delivery(storage, body.output, request_id)

    def analyse(self, engine: Engine, preparation: Preparation) -> Analysis:
        """See `JobKind`."""
        features = preparation.fetch(FEATURES_FILE)
        return engine.analyse(StatisticsRequest.model_validate_json(preparation.request), features)

    def restore(self, preparation: Preparation, payload: bytes) -> None:
        """See `JobKind`."""
        preparation.fetch(FEATURES_FILE)

    def make_unit(self, engine: Engine, request: str, analysis: Analysis, features: Path, plan: UnitPlan) -> WorkUnit:
        """See `JobKind`."""
        # The engine finds a unit by its place in the plan; here the store says what its features are.
        alone = replace(analysis, units=(plan,))
        unit = engine.make_unit(StatisticsRequest.model_validate_json(request), alone, features, 0)
        return replace(unit, index=plan.index)

    def run(self, engine: Engine, unit: WorkUnit, run: UnitRun) -> UnitReport:
        """See `JobKind`."""
        return engine.run(
            unit,
            deliver=run.deliver,
            deliver_table=run.deliver_table,
            should_stop=run.should_stop,
            on_progress=run.on_progress,
        )

    def give_up(self, unit: WorkUnit, reason: str, run: UnitRun) -> None:
        """See `JobKind`."""
        from swathe.engine.values import Document, Table
        from swathe.outputs.documents import failed_document
        from swathe.outputs.rows import FeatureEntries
        from swathe.outputs.tables import TableForm, write_table

        request = StatisticsRequest.model_validate_json(unit.request)
        sampling = request.aggregation.sampling
        if run.deliver_table is not None:
            # In place of what an attempt may have left that got no further.
            reasons = dict.fromkeys(range(len(unit.feature_ids)), f"{_GIVEN_UP}: {reason}")
            entries = FeatureEntries(unit.feature_ids, list(unit.identifiers), failures=reasons)
            form = TableForm.of(request.calculations, sampling)
            run.deliver_table(Table(unit.index, write_table(form, [entries])))
        run.deliver(
            [
                Document(key, name, failed_document(key, name, _GIVEN_UP, reason, sampling), reason)
                for key, name in zip(unit.feature_ids.tolist(), unit.identifiers, strict=True)
            ]
        )

    def read_names(self, features: Path, limits: LimitSettings) -> Iterator[tuple[int, str]]:
        """See `JobKind`."""
        from swathe.features.geopackage import open_features, read_features

        for batch in read_features(open_features(features, max_features=limits.features)):
            keys = batch.ids.tolist()
            yield from ((key, name or str(key)) for key, name in zip(keys, batch.identifiers, strict=True))

    def complete(self, publication: Publication) -> None:
        """See `JobKind`."""
        from swathe.jobs import datasets

        settings = publication.settings
        if settings.results.parquet:
            datasets.deliver_geometry(
                publication.folder, publication.delivery, publication.units, most_features=settings.limits.features
            )
            publication.delivery.keep_tables({index for index, _, state in publication.units if state == "DONE"})


def _process() -> JobKind:
    from swathe.jobs.process_kind import ProcessKind

    return ProcessKind()


KINDS: Mapping[str, Callable[[], JobKind]] = {"statistics": StatisticsKind, "process": _process}


@cache
def find_kind(name: str) -> JobKind:
    """The kind of this name.

    Raises:
        RequestInvalid: this version knows none, as when a newer one made the job.
    """
    make = KINDS.get(name)
    if make is None:
        raise RequestInvalid(f"This version of Swathe knows no jobs of kind {name!r}")
    return make()
