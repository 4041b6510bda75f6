"""What is found out about a job's images before the first is computed: outputs, scenes, cost. And what is kept of it.

Scenes are looked for once, around all images. Each image later takes those near it, by boxes in longitude and latitude
that are somewhat too large: which of them it really has is decided where it is computed, the same way for all images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import shapely

from swathe.catalog.collections import Collection
from swathe.catalog.neighbourhoods import neighbourhoods
from swathe.catalog.registry import Catalog
from swathe.catalog.scene import Scene
from swathe.engine.cost import area_factor, band_factor
from swathe.engine.inputs import SourceInput, with_reference
from swathe.engine.payload import pack, repack, unpack_collections, unpack_scenes
from swathe.engine.plan import lonlat_bounds
from swathe.engine.raster import RasterOutputSpec, output_specs
from swathe.engine.raster_request import bound_sources
from swathe.engine.raster_scenes import complete_scenes, time_range
from swathe.evalscript.runtime import ScriptHost
from swathe.evalscript.script import Mosaicking
from swathe.grids.raster_grid import RasterGrid
from swathe.model.process import ProcessRequest
from swathe.model.time import ALWAYS

# Of a box's size, on each side: scenes are seen somewhat beyond their footprints, and sides of boxes are bowed.
_SCENE_MARGIN, _IMAGE_MARGIN = 0.03, 0.02
_NEIGHBOURS_DEG = 0.25
_WORLD = (-180.0, -90.0, 180.0, 90.0)
_AT_ONCE = 10_000

Boxes = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Footprints:
    """Where images lie: EPSG codes (n), boxes (n, 4) in them, numbers of cells (n)."""

    epsg: npt.NDArray[np.int64]
    bounds: Boxes
    cells: npt.NDArray[np.int64]


@dataclass(frozen=True)
class RasterAnalysis:
    """`payload` holds the collections and the scenes; `cost_pu` (n) is what each image will cost about.

    `places` (n, 2) are the images' centres in longitude and latitude.
    """

    payload: bytes
    scenes: int
    cost_pu: npt.NDArray[np.float64]
    places: npt.NDArray[np.float64]
    notes: tuple[str, ...]


class RasterPlanner:
    """A request whose script and bands have been found usable."""

    def __init__(self, request: ProcessRequest, catalog: Catalog, host: ScriptHost) -> None:
        """Raises:
        SwatheError: the script, a collection or a band cannot be used.
        """
        self._request = request
        self._catalog = catalog
        self._script, self._sources = bound_sources(request, catalog, host)

    @property
    def outputs(self) -> tuple[RasterOutputSpec, ...]:
        """The script's outputs as its setup() has them."""
        return output_specs(self._script)

    @property
    def has_fixed_outputs(self) -> bool:
        """Whether the numbers of bands are known before an image's scenes are."""
        return "updateOutput" not in self._script.functions

    def analyse(self, footprints: Footprints) -> RasterAnalysis:
        """Finds the scenes of all images.

        Raises:
            BandMissing: none of the scenes found has one of the bands.
            SourceError: a catalog cannot be read.
        """
        boxes = image_boxes(footprints)
        found: list[list[Scene]] = []
        notes: list[str] = []
        for source in self._sources:
            scenes = self._find(source, boxes, notes)
            if not scenes:
                notes.append(f"Collection '{source.collection.type}' has no scene over the area in this time")
            found.append(scenes)
        sources = tuple(with_reference(source, members) for source, members in zip(self._sources, found, strict=True))
        near = [Neighbours(complete_scenes(source, members)) for source, members in zip(sources, found, strict=True)]
        charged = np.zeros(len(boxes))
        kept = []
        for source, neighbours in zip(sources, near, strict=True):
            counts, seen = neighbours.count(boxes)
            if source.mosaicking is Mosaicking.SIMPLE:
                counts = np.minimum(counts, 1)
            charged += band_factor(source.charged_bands) * counts
            kept.append([scene for scene, wanted in zip(neighbours.scenes, seen, strict=True) if wanted])
        return RasterAnalysis(
            pack(sources, kept),
            sum(map(len, kept)),
            area_factor(footprints.cells) * charged,
            (boxes[:, :2] + boxes[:, 2:]) / 2,
            tuple(notes),
        )

    def _find(self, source: SourceInput, boxes: Boxes, notes: list[str]) -> list[Scene]:
        if not len(boxes):
            return []
        wanted = self._request.input.data[source.number]
        span = ALWAYS if source.collection.timeless else time_range(wanted, source.number)
        near = neighbourhoods(boxes, self._catalog.most_searches, _NEIGHBOURS_DEG)
        return self._catalog.choose_scenes(
            wanted,
            start=span.start,
            end=span.end,
            boxes=[
                (max(west, -180.0), max(south, -90.0), min(east, 180.0), min(north, 90.0))
                for west, south, east, north in near
            ],
            where=f"input->data[{source.number}]",
            notes=notes,
        )


class PlannedScenes:
    """The collections and scenes of a payload."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.collections: dict[int, Collection] = unpack_collections(payload)
        self._near = [Neighbours(members) for members in unpack_scenes(payload)]

    def near(self, grid: RasterGrid) -> tuple[list[Scene], ...]:
        """The scenes of each input that an image may have."""
        box = image_boxes(footprints_of([grid]))
        return tuple(
            [neighbours.scenes[number] for number in neighbours.pairs(box)[1].tolist()] for neighbours in self._near
        )

    def repack(self, grids: Sequence[RasterGrid]) -> bytes:
        """The payload with the scenes of some images alone."""
        boxes = image_boxes(footprints_of(grids))
        return repack(
            self.payload,
            [
                [neighbours.scenes[number] for number in np.unique(neighbours.pairs(boxes)[1]).tolist()]
                for neighbours in self._near
            ],
        )


@lru_cache(maxsize=2)
def planned_scenes(payload: bytes) -> PlannedScenes:
    """The scenes of a payload, kept for the next unit of the same job."""
    return PlannedScenes(payload)


class Neighbours:
    """Scenes that can be asked which of them lie near boxes (n, 4) in longitude and latitude."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self.scenes = tuple(scenes)
        parts, owners = [], []
        for number, scene in enumerate(self.scenes):
            west, south, east, north = scene.bbox
            east += 360.0 if east < west else 0.0
            across, up = _SCENE_MARGIN * (east - west), _SCENE_MARGIN * (north - south)
            for shift in (-360.0, 0.0, 360.0):
                parts.append((west - across + shift, south - up, east + across + shift, north + up))
                owners.append(number)
        corners = np.array(parts, np.float64).reshape(-1, 4)
        self._owners = np.array(owners, np.int64)
        self._tree = shapely.STRtree(shapely.box(*corners.T))

    def pairs(self, boxes: Boxes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Numbers of boxes and of scenes near them, in order, none twice."""
        at, part = self._tree.query(shapely.box(*boxes.T))
        joined = np.unique(at.astype(np.int64) * max(1, len(self.scenes)) + self._owners[part])
        number, scene = np.divmod(joined, max(1, len(self.scenes)))
        return number, scene

    def count(self, boxes: Boxes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """How many scenes lie near each box, and whether each scene lies near any."""
        counts = np.zeros(len(boxes), np.int64)
        seen = np.zeros(len(self.scenes), np.bool_)
        for first in range(0, len(boxes), _AT_ONCE):
            number, scene = self.pairs(boxes[first : first + _AT_ONCE])
            counts[first : first + _AT_ONCE] = np.bincount(number, minlength=min(_AT_ONCE, len(boxes) - first))
            seen[scene] = True
        return counts, seen


def image_boxes(footprints: Footprints) -> Boxes:
    """Boxes (n, 4) in longitude and latitude around images; the world where a CRS does not tell."""
    boxes = np.empty_like(footprints.bounds)
    for epsg in np.unique(footprints.epsg).tolist():
        chosen = footprints.epsg == epsg
        boxes[chosen] = lonlat_bounds(footprints.bounds[chosen], epsg)
    boxes[~np.isfinite(boxes).all(axis=1)] = _WORLD
    margin = _IMAGE_MARGIN * (boxes[:, 2:] - boxes[:, :2])
    return np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], axis=1)


def footprints_of(grids: Sequence[RasterGrid]) -> Footprints:
    """Where the images of some grids lie."""
    return Footprints(
        np.array([grid.epsg for grid in grids], np.int64),
        np.array([grid.bounds for grid in grids], np.float64).reshape(-1, 4),
        np.array([grid.cells for grid in grids], np.int64),
    )
