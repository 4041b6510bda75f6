"""A batch request without a server: the same analysis and units, by workers of this machine, images in a folder."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swathe.jobs.home import FEATURES_FILE
from swathe.jobs.keys import PROCESS_PLACES, split_secrets
from swathe.jobs.kinds import UnitRun
from swathe.jobs.local import LocalSummary, check_health
from swathe.jobs.pool import Workers
from swathe.jobs.process import keep_freed_memory
from swathe.jobs.process_delivery import ProcessDelivery
from swathe.jobs.records import NO_DATA
from swathe.model.errors import RequestInvalid, SettingsInvalid
from swathe.model.process import read_batch_process
from swathe.model.process_output import RasterOutput
from swathe.settings import StorageSettings

if TYPE_CHECKING:
    from swathe.engine.compute import Engine
    from swathe.engine.values import Analysis, UnitPlan, UnitReport
    from swathe.settings import Settings

_REQUEST_ID = "local"
_DEFAULT_NAMES = "<tileName>/<outputId>.<format>"


def run_process_local(
    settings: Settings,
    body: Mapping[str, Any],
    output: Path,
    *,
    features: Path | None = None,
    on_plan: Callable[[Analysis], None] = lambda analysis: None,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> LocalSummary:
    """Makes the images of a batch request; each appears in `output` whole or not at all.

    Args:
        body: as it is posted; where it says that features come from and images go to is left aside, but names of files
            that it asks for are kept.
        features: the GeoPackage, where the request has one.

    Raises:
        SwatheError: the job as a whole cannot be done.
    """
    from swathe.jobs.process_analysis import ProcessOrder, analyse

    started = time.monotonic()
    folder = output.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsInvalid(f"The folder {output} cannot be made: {error.strerror}") from None
    folder = folder.resolve()
    shown, _ = split_secrets(body, PROCESS_PLACES)
    here = _with_places(shown, folder)
    request = read_batch_process(here)
    if isinstance(request.output, RasterOutput) and request.output.makes_tiles_of_a_collection:
        raise RequestInvalid(
            "createCollection and collectionId need a server, which keeps collections; leave them out",
            "output->createCollection" if request.output.create_collection else "output->collectionId",
        )
    if request.input.type == "geopackage" and (features is None or not features.is_file()):
        raise SettingsInvalid("The request has GeoPackage input: give the file with --features")
    delivery = ProcessDelivery(StorageSettings(local_root=Path(folder.anchor)), request.output, _REQUEST_ID)
    with tempfile.TemporaryDirectory(prefix="swathe-process-") as scratch, closing(Workers.start(settings)) as workers:
        keep_freed_memory()
        manifest = Path(scratch) / FEATURES_FILE
        try:
            analysis = analyse(
                workers.engine, ProcessOrder(request, shown, delivery, manifest, features, datetime.now(UTC))
            )
        except RequestInvalid as error:
            raise RequestInvalid(error.message.replace(f"s3:/{folder}", str(folder)), error.parameter) from None
        on_plan(analysis)
        summary = LocalSummary(analysis.features, analysis.scenes, len(analysis.units), notes=analysis.notes)
        summary.workers = workers.count
        summary.analysis_seconds = time.monotonic() - started
        weights = [max(1, unit.cells) for unit in analysis.units]
        fractions = [0.0] * len(weights)

        def show() -> None:
            on_progress(
                sum(part * weight for part, weight in zip(fractions, weights, strict=True)) / max(1, sum(weights))
            )

        text, empty = json.dumps(here), 0
        work = (LocalImages(text, analysis.payload, manifest, delivery, unit) for unit in analysis.units)
        for report in workers.run(work, fractions, show):
            failures = {key: reason for key, reason in report.failures.items() if reason != NO_DATA}
            empty += len(report.failures) - len(failures)
            summary.add(replace(report, failures=failures))
            check_health(summary)
        if empty:
            summary.notes += (f"{empty:,} images have no data",)
        on_progress(1.0)
    summary.seconds = time.monotonic() - started
    return summary


@dataclass(frozen=True)
class LocalImages:
    """One unit of a job whose images go into a folder."""

    request: str = field(repr=False)
    payload: bytes = field(repr=False)
    manifest: Path
    delivery: ProcessDelivery
    plan: UnitPlan

    @property
    def index(self) -> int:
        """The unit's number in the plan."""
        return self.plan.index

    def __call__(
        self, engine: Engine, should_stop: Callable[[], bool], on_progress: Callable[[float], None]
    ) -> UnitReport:
        from swathe.jobs.process_images import make_unit, run_unit

        unit = make_unit(self.request, self.payload, self.manifest, self.plan)
        run = UnitRun(_no_documents, None, should_stop, on_progress, lambda: nullcontext(self.delivery))
        return run_unit(engine, unit, run)


def _no_documents(documents: object) -> None:
    raise TypeError("images are no documents")


def _with_places(body: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The request with its results in a folder: `s3://` followed by the path, whose first part is the bucket."""
    wanted = body.get("output")
    output = dict(wanted) if isinstance(wanted, Mapping) else {}
    place = output.get("delivery")
    said = (place.get("s3") or {}).get("url") if isinstance(place, Mapping) else None
    names = _names_of(said) if isinstance(said, str) else ""
    url = f"s3:/{folder.as_posix()}"
    if output.get("type") != "zarr":
        url = f"{url}/{names or _DEFAULT_NAMES}"
    output["delivery"] = {"s3": {"url": url}}
    here = {**body, "output": output}
    wanted = body.get("input")
    if isinstance(wanted, Mapping) and wanted.get("type") == "geopackage":
        here["input"] = {**wanted, "features": {"s3": {"url": "s3://here/areas.gpkg"}}}
    return here


def _names_of(url: str) -> str:
    """What a delivery's template has from its first placeholder on that tells tiles apart."""
    parts = url.split("://", 1)[-1].split("/")
    first = next((place for place, part in enumerate(parts) if "<" in part.replace("<requestId>", "")), None)
    return "" if first is None else "/".join(parts[first:])
