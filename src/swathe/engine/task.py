"""What a unit's computation is given, and the groups that its features form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from swathe.catalog.scene import Scene
from swathe.engine.inputs import SourceInput
from swathe.engine.lanes import Lanes
from swathe.engine.timeline import SourceTimeline
from swathe.engine.values import WorkUnit
from swathe.evalscript.script import Evalscript
from swathe.grids.sample_grid import SampleGrids
from swathe.model.statistical import StatisticsRequest
from swathe.model.time import TimeRange
from swathe.outputs.documents import IntervalEntry
from swathe.rasters.blocks import BlockReader
from swathe.settings import LimitSettings


@dataclass(frozen=True)
class UnitTools:
    """What a unit needs from outside: a reader of blocks, lanes to work in, the limits, and whom to tell."""

    reader: BlockReader
    lanes: Lanes
    limits: LimitSettings
    should_stop: Callable[[], bool]
    on_progress: Callable[[float], None]


@dataclass(frozen=True)
class UnitTask:
    """A unit with all that was read from its payload."""

    unit: WorkUnit
    request: StatisticsRequest
    script: Evalscript
    sources: tuple[SourceInput, ...]
    scenes: tuple[tuple[Scene, ...], ...]
    intervals: tuple[TimeRange, ...]


@dataclass
class Group:
    """Features of a unit whose grids share a CRS. `members` are their positions in the unit.

    `in_strips` says of a group of one feature that it has more cells than memory has room for.

    `cell_m` is the size of the cells that decides which overviews are read, in metres; 0 means none.
    `charged` (features) is bands / 3 times samples, summed over the intervals that were evaluated; `entries` is what each
    interval said.
    """

    members: npt.NDArray[np.int64]
    polygons: npt.NDArray[np.object_]
    grids: SampleGrids
    timelines: tuple[SourceTimeline, ...]
    cell_m: float
    charged: npt.NDArray[np.float64]
    in_strips: bool = False
    entries: list[IntervalEntry] = field(default_factory=list)
