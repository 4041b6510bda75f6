"""What goes into the engine and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from swathe.model.errors import SwatheError

if TYPE_CHECKING:
    from swathe.catalog.scene import Scene


class Stopped(SwatheError):
    """The work was ended on request; what was delivered stays."""


@dataclass(frozen=True)
class Document:
    """The result of one feature as it is delivered: JSON bytes.

    `failure` is the reason when the feature has no usable result at all; the document says the same.
    """

    feature_id: int
    identifier: str | None
    data: bytes
    failure: str | None = None


@dataclass(frozen=True)
class Table:
    """The results of all features of the unit `index` as rows: a Parquet file."""

    index: int
    data: bytes | memoryview


@dataclass(frozen=True)
class UnitPlan:
    """Which features one work unit has, and how much work they are.

    `feature_ids` are the rows' integer keys, int64, sorted along the source's blocks; `cells` is an estimate.
    """

    index: int
    feature_ids: npt.NDArray[np.int64]
    cells: int


@dataclass(frozen=True)
class Analysis:
    """What was found out before the work: enough to run the job later, elsewhere, with the same result.

    `payload` holds the validated script and the scenes in an opaque form, a few kilobytes a scene. `report` has the plan's
    figures by name, as `estimate` gives them. `found` are the payload's scenes per input, for who goes on in the same
    process; they do not travel.
    """

    features: int
    scenes: int
    units: tuple[UnitPlan, ...]
    cost_pu: float
    payload: bytes
    notes: tuple[str, ...] = ()
    report: Mapping[str, float] = field(default_factory=dict)
    found: tuple[tuple[Scene, ...], ...] | None = field(default=None, compare=False, repr=False)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "found": None}


@dataclass(frozen=True)
class WorkUnit:
    """All that a worker needs to compute some features; holds no secret and no open handle.

    Where the unit is made and run in one process, `polygons` are the geometries as shapely has them and `scenes` the
    payload's per input; they do not travel.
    """

    index: int
    request: str
    payload: bytes
    epsg: int
    feature_ids: npt.NDArray[np.int64]
    identifiers: tuple[str | None, ...]
    geometries: tuple[bytes | None, ...]
    problems: Mapping[int, str] = field(default_factory=dict)
    polygons: npt.NDArray[np.object_] | None = field(default=None, compare=False, repr=False)
    scenes: tuple[tuple[Scene, ...], ...] | None = field(default=None, compare=False, repr=False)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "polygons": None, "scenes": None}


@dataclass(frozen=True)
class UnitReport:
    """How a unit went: features with a result, features that failed and why."""

    index: int
    done: int
    failed: int
    cost_pu: float
    failures: Mapping[int, str] = field(default_factory=dict)
    counters: Mapping[str, float] = field(default_factory=dict)
