"""A job without a server: the same analysis and units, by workers of this machine, results in a folder."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from swathe.jobs.delivery import GEOMETRY, TABLES, part_index, part_name
from swathe.jobs.pool import Workers
from swathe.jobs.process import keep_freed_memory
from swathe.jobs.profile import Profiles, collect_profiles
from swathe.jobs.states import is_unhealthy
from swathe.model.errors import SettingsInvalid, StoreUnavailable, SwatheError

if TYPE_CHECKING:
    from swathe.engine.compute import Engine
    from swathe.engine.values import Analysis, Document, Table, UnitReport
    from swathe.features.geopackage import FeatureBatch
    from swathe.model.statistical import StatisticsRequest
    from swathe.settings import Settings


class JobUnhealthy(SwatheError):
    """Most features fail, so the rest is not tried."""


@dataclass
class LocalSummary:
    """What a job came to: features with a result, features that failed (some by name), cost, seconds.

    `counters` are those of the units' reports, summed up; its seconds are those of all workers together.
    `analysis_seconds` is what passed before the first unit.
    """

    features: int = 0
    scenes: int = 0
    units: int = 0
    done: int = 0
    failed: int = 0
    cost_pu: float = 0.0
    seconds: float = 0.0
    analysis_seconds: float = 0.0
    workers: int = 1
    notes: tuple[str, ...] = ()
    failures: dict[int, str] = field(default_factory=dict)
    counters: dict[str, float] = field(default_factory=dict)

    def add(self, report: UnitReport) -> None:
        """Takes in how a unit went."""
        self.done += report.done
        self.failed += report.failed
        self.cost_pu += report.cost_pu
        for key, reason in report.failures.items():
            if len(self.failures) < 100:
                self.failures[key] = reason
        for name, value in report.counters.items():
            self.counters[name] = self.counters.get(name, 0) + value


def run_local(
    settings: Settings,
    request: StatisticsRequest,
    features: Path,
    output: Path,
    *,
    parquet: bool = True,
    profile: Path | None = None,
    on_plan: Callable[[Analysis], None] = lambda analysis: None,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> LocalSummary:
    """Computes every feature of a GeoPackage; `output` gets `<feature id>.json` each, whole or not at all.

    Args:
        parquet: whether `output` gets them as a Parquet data set, too: `statistics/part-<unit>.parquet`, with the polygons
            beside it in `geometry.parquet`.
        profile: a file for a flame graph of what the workers did, `.html` or `.json` (speedscope).

    Raises:
        SwatheError: the job as a whole cannot be done.
    """
    started = time.monotonic()
    _make_folder(output)
    if not features.is_file():
        raise SettingsInvalid(f"There is no file {features}; --features is a GeoPackage with polygons")
    with (
        collect_profiles(profile) as profiles,
        ExitStack() as waiting,
        closing(Workers.start(settings)) as workers,
    ):
        keep_freed_memory()
        with profiles.of("analysis") if profiles is not None else nullcontext():
            analysis = workers.engine.analyse(request, features)
        on_plan(analysis)
        summary = LocalSummary(analysis.features, analysis.scenes, len(analysis.units), notes=analysis.notes)
        summary.workers = workers.count
        summary.analysis_seconds = time.monotonic() - started
        weights = [max(1, unit.cells) for unit in analysis.units]
        total = max(1, sum(weights))
        fractions = [0.0] * len(weights)

        def show() -> None:
            on_progress(sum(part * weight for part, weight in zip(fractions, weights, strict=True)) / total)

        if parquet:
            FolderDelivery(output).remove_tables(len(weights))
            beside = waiting.enter_context(ThreadPoolExecutor(1, thread_name_prefix="geometry"))
            kept = workers.engine.kept_features(features)
            geometry = beside.submit(FolderDelivery(output).write_geometry, features, analysis, kept)
        work = (
            LocalUnit(request, analysis, features, output, index, profiles, parquet) for index in range(len(weights))
        )
        for report in workers.run(work, fractions, show):
            summary.add(report)
            check_health(summary)
        if parquet:
            geometry.result()
        on_progress(1.0)
    summary.seconds = time.monotonic() - started
    return summary


def plan_local(settings: Settings, request: StatisticsRequest, features: Path) -> Analysis:
    """What a job would be: all checks of `run_local` and its plan, but nothing is computed or written.

    Raises:
        SwatheError: the job as a whole cannot be done.
    """
    if not features.is_file():
        raise SettingsInvalid(f"There is no file {features}; --features is a GeoPackage with polygons")
    with closing(Workers.start(settings)) as workers:
        keep_freed_memory()
        return workers.engine.analyse(request, features)


@dataclass(frozen=True)
class LocalUnit:
    """One unit of a job whose results go into a folder."""

    request: StatisticsRequest
    analysis: Analysis
    features: Path
    output: Path
    index: int
    profiles: Profiles | None = None
    parquet: bool = True

    def __call__(
        self, engine: Engine, should_stop: Callable[[], bool], on_progress: Callable[[float], None]
    ) -> UnitReport:
        with self._watch("lane-0"):
            delivery = FolderDelivery(self.output)
            unit = engine.make_unit(self.request, self.analysis, self.features, self.index)
            return engine.run(
                unit,
                deliver=delivery.write,
                deliver_table=delivery.write_table if self.parquet else None,
                should_stop=should_stop,
                on_progress=on_progress,
                watch=self._watch,
            )

    def _watch(self, name: str) -> AbstractContextManager[None]:
        return nullcontext() if self.profiles is None else self.profiles.of(f"unit-{self.index}-{name}")


def check_health(summary: LocalSummary) -> None:
    """The rule by which a server stops a job as UNHEALTHY."""
    finished = summary.done + summary.failed
    if not is_unhealthy(finished=finished, failed=summary.failed, total=summary.features):
        return
    reason = Counter(summary.failures.values()).most_common(1)[0][0]
    raise JobUnhealthy(
        f"{summary.failed} of the {finished} features that were tried failed, so the job was stopped."
        f" The most frequent reason: {reason}"
    )


@dataclass(frozen=True)
class FolderDelivery:
    """Writes results into a folder, each under its final name only when it is complete."""

    folder: Path

    def write(self, documents: Sequence[Document]) -> None:
        """Writes `<feature id>.json` for each document.

        Raises:
            StoreUnavailable: the folder does not take them.
        """
        self._put(self.folder, ((f"{document.feature_id}.json", document.data) for document in documents))

    def write_table(self, table: Table) -> None:
        """Writes a part of the data set.

        Raises:
            StoreUnavailable: the folder does not take it.
        """
        self._put(self.folder / TABLES, [(part_name(table.index), table.data)])

    def write_geometry(self, features: Path, analysis: Analysis, kept: FeatureBatch | None = None) -> None:
        """Writes the polygons of all features beside the data set; `kept` has them where they are in memory.

        Raises:
            StoreUnavailable: the folder does not take them.
        """
        from swathe.features.geopackage import open_features
        from swathe.jobs.datasets import write_geometry
        from swathe.storage.folder import new_file

        units = [(unit.index, unit.feature_ids) for unit in analysis.units]
        try:
            with new_file(self.folder / GEOMETRY, durable=False) as file:
                write_geometry(file, open_features(features, max_features=analysis.features), units, kept)
        except OSError as error:
            raise self._refusal(error) from None

    def remove_tables(self, units: int) -> None:
        """Removes the parts that an earlier job of more units left: they would be read with the others."""
        for path in (self.folder / TABLES).glob("part-*.parquet"):
            index = part_index(path.name)
            if index is not None and index >= units:
                path.unlink(missing_ok=True)

    def _put(self, folder: Path, files: Iterable[tuple[str, bytes | memoryview]]) -> None:
        from swathe.storage.compiled import write_many

        try:
            write_many(folder, files)
        except OSError as error:
            raise self._refusal(error) from None

    def _refusal(self, error: OSError) -> StoreUnavailable:
        return StoreUnavailable(f"{self.folder} cannot be written to: {error.strerror}")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsInvalid(f"The folder {folder} cannot be made: {error.strerror}") from None
