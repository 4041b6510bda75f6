"""Jobs of Batch Processing V2: an image for each tile of a grid or feature of a GeoPackage.

In place of the features such a job has its manifest in its folder: see `process_manifest`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swathe.jobs.home import FEATURES_FILE
from swathe.jobs.keys import PROCESS_PLACES, KeyPairs, join_secrets
from swathe.jobs.kinds import JobBody, UnitRun
from swathe.jobs.process_delivery import ProcessDelivery
from swathe.model.errors import RequestInvalid
from swathe.model.process import GeoPackageInput, read_batch_process

if TYPE_CHECKING:
    from swathe.engine.compute import Engine
    from swathe.engine.values import Analysis, UnitPlan, UnitReport
    from swathe.jobs.prepare import Preparation
    from swathe.jobs.process_analysis import ProcessOrder
    from swathe.jobs.process_images import ProcessUnit
    from swathe.jobs.publish import Publication
    from swathe.settings import LimitSettings, StorageSettings

GEOPACKAGE_FILE = "areas.gpkg"


class ProcessKind:
    """Images of tiles. See `JobKind` for what each step is."""

    delivers_failures = False

    def read_body(self, body: Mapping[str, Any], keys: KeyPairs) -> JobBody:
        """See `JobKind`."""
        try:
            whole = read_batch_process(join_secrets(body, keys, PROCESS_PLACES))
        except RequestInvalid as error:
            raise RequestInvalid(
                f"The request as it was kept is not one that this version of Swathe takes: {error.message}",
                error.parameter,
            ) from None
        features = whole.input.features.s3 if isinstance(whole.input, GeoPackageInput) else None
        return JobBody(json.dumps(body), features, whole.output.delivery.s3, whole.output)

    def make_delivery(self, storage: StorageSettings, body: JobBody, request_id: str) -> ProcessDelivery:
        """See `JobKind`."""
        return ProcessDelivery(storage, body.images, request_id)

    def analyse(self, engine: Engine, preparation: Preparation) -> Analysis:
        """See `JobKind`."""
        from swathe.jobs import process_analysis

        return process_analysis.analyse(engine, self._order(preparation))

    def restore(self, preparation: Preparation, payload: bytes) -> None:
        """See `JobKind`."""
        from swathe.jobs import process_analysis

        process_analysis.restore(self._order(preparation), payload, preparation.settings.limits)

    def make_unit(
        self, engine: Engine, request: str, analysis: Analysis, features: Path, plan: UnitPlan
    ) -> ProcessUnit:
        """See `JobKind`."""
        from swathe.jobs import process_images

        return process_images.make_unit(request, analysis.payload, features, plan)

    def run(self, engine: Engine, unit: ProcessUnit, run: UnitRun) -> UnitReport:
        """See `JobKind`."""
        from swathe.jobs import process_images

        return process_images.run_unit(engine, unit, run)

    def give_up(self, unit: ProcessUnit, reason: str, run: UnitRun) -> None:
        """Nothing: an image that cannot be made is not there, and the execution database says why."""

    def read_names(self, features: Path, limits: LimitSettings) -> Iterator[tuple[int, str]]:
        """See `JobKind`."""
        from swathe.jobs.process_manifest import read_names

        return read_names(features)

    def complete(self, publication: Publication) -> None:
        """Nothing: all that lies beside the images is there since the analysis."""

    def _order(self, preparation: Preparation) -> ProcessOrder:
        from swathe.jobs.process_analysis import ProcessOrder

        body = json.loads(preparation.request)
        request = read_batch_process(body)
        geopackage = None
        if preparation.features is not None:
            geopackage = preparation.fetch(GEOPACKAGE_FILE)
        manifest = preparation.folder / FEATURES_FILE
        return ProcessOrder(
            request, body, preparation.delivery, manifest, geopackage, preparation.created, preparation.collection
        )
