"""What goes into an evalscript and comes out of it: values over a run of cells, and what is known of their scenes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from swathe.evalscript.script import Mosaicking


@dataclass(frozen=True)
class BandColumn:
    """One band of one source.

    `values` is `(samples, cells)` in any of uint8, int8, uint16, int16, uint32, int32, float32, float64. The script
    sees `values * scale + offset` in float64; masked cells hold whatever makes that the number it must see.
    """

    values: npt.NDArray[Any]
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class SceneInfo:
    """What a script may ask about a scene (`scenes.tiles[i]`). `date` is ISO with a final Z."""

    date: str
    cloud_coverage: float | None = None
    data_path: str = ""
    sh_id: int | str = 0
    data_geometry: dict[str, Any] | None = None
    data_envelope: dict[str, Any] | None = None


@dataclass(frozen=True)
class OrbitInfo:
    """What a script may ask about a day of scenes (`scenes.orbits[i]`)."""

    date_from: str
    date_to: str
    scenes: tuple[SceneInfo, ...] = ()


@dataclass(frozen=True)
class SourceScenes:
    """The scenes of one data source before anything is read, in mosaicking order."""

    id: str | None
    mosaicking: Mosaicking
    orbits: tuple[OrbitInfo, ...] = ()
    scenes: tuple[SceneInfo, ...] = ()


@dataclass(frozen=True)
class SourceColumns:
    """The columns of one data source: one sample for SIMPLE, else one per orbit or scene.

    `data_mask` is `(samples, cells)` uint8. `bands` holds at least the bands the script asked for, without dataMask.
    """

    id: str | None
    mosaicking: Mosaicking
    bands: Mapping[str, BandColumn]
    data_mask: npt.NDArray[np.uint8]
    orbits: tuple[OrbitInfo, ...] = ()
    scenes: tuple[SceneInfo, ...] = ()
    normalization_factor: float | None = None


@dataclass(frozen=True)
class Batch:
    """The columns of every data source over the same cells, in the order of the script's inputs."""

    sources: tuple[SourceColumns, ...]
    time_from: str
    time_to: str

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return int(self.sources[0].data_mask.shape[1])


@dataclass(frozen=True)
class Evaluated:
    """What the script made: `(bands, cells)` per output in the dtype of its sample type, and its `userData`."""

    outputs: dict[str, npt.NDArray[Any]]
    user_data: object | None = None
