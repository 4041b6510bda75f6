"""Which cells belong to a polygon.

| rule | a cell belongs if | weight |
|---|---|---|
| `service` | at least 7 of its 8 x 256 sampled positions lie inside (the hosted service's anti-aliased scanline) | 1 |
| `centre` | its centre lies inside, by GDAL's rule for centres on an edge | 1 |
| `all_touched` | it shares area with the polygon | 1 |
| `coverage` | it shares area with the polygon | the exact fraction covered |

Worked example: the triangle (0, 2), (2, 2), (0, 0), y upwards, on a grid of 2 x 2 cells covers 1, 1/2, 1/2 and 0 of them.
All rules take the first three: an edge passes through the centres of two, which GDAL counts to the polygon on their left
and above. `coverage` gives them the weights 1, 1/2, 1/2.

Shares below 1e-9 of a cell are rounding of an edge that runs along a cell's border, and no area.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from swathe.grids import scanline
from swathe.grids.sample_grid import SampleGrids
from swathe.model.statistical import Cover

LEAST_SHARE = 1e-9
"""Part of a cell that counts as area."""

LEAST_WEIGHT = 1e-6
"""Part of a cell from which on it decides a minimum or maximum under `coverage`."""


@dataclass(frozen=True)
class Cells:
    """The cells of a run of features, one feature's cells side by side, by row and column.

    `runs` (runs, 3) int32: row, first column, column behind the last; `run_starts` (features + 1) into runs;
    `starts` (features + 1) int64 into cells; `weights` (cells) float64 in (0, 1], or None where all are 1.
    """

    runs: npt.NDArray[np.int32]
    run_starts: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64] | None

    @property
    def count(self) -> int:
        """Cells of all features together."""
        return int(self.starts[-1])


def cover(polygons: npt.NDArray[np.object_], grids: SampleGrids, rule: Cover) -> Cells:
    """The cells of each polygon on its grid.

    Args:
        polygons: (features) shapely Polygons or MultiPolygons in the grids' CRS.
    """
    weighted = rule in (Cover.COVERAGE, Cover.ALL_TOUCHED)
    if weighted:
        polygons = shapely.orient_polygons(polygons)
    xy, ring_starts, feature_rings = rings_in_cells(polygons, grids)
    weights = None
    if weighted:
        runs, run_starts, fractions = scanline.coverage_of_polygons(
            xy, ring_starts, feature_rings, grids.width, np.zeros_like(grids.height), grids.height, LEAST_SHARE
        )
        if rule is Cover.COVERAGE:
            weights = fractions
    else:
        kind = scanline.SERVICE if rule is Cover.SERVICE else scanline.CENTRE
        runs, run_starts = scanline.runs_of_polygons(xy, ring_starts, feature_rings, grids.width, grids.height, kind)
    before = np.concatenate([[0], np.cumsum(runs[:, 2].astype(np.int64) - runs[:, 1])])
    return Cells(runs, run_starts, before[run_starts], weights)


def cover_rows(
    polygon: shapely.Polygon | shapely.MultiPolygon, grid: SampleGrids, rule: Cover, first: int, last: int
) -> Cells:
    """The cells of one polygon in rows `first` to `last` (excluded) of its grid, just as `cover` finds them.

    Only for the rules that know a cell's share, `all_touched` and `coverage`: there a row costs memory for each cell.
    """
    polygons = shapely.orient_polygons(np.array([polygon], object))
    runs, run_starts, fractions = scanline.coverage_of_polygons(
        *rings_in_cells(polygons, grid), grid.width, np.array([first]), np.array([last]), LEAST_SHARE
    )
    starts = np.array([0, len(fractions)], np.int64)
    return Cells(runs, run_starts, starts, fractions if rule is Cover.COVERAGE else None)


def join_cells(parts: Sequence[Cells]) -> Cells:
    """The cells of features that were found in several runs, put side by side."""
    if len(parts) == 1:
        return parts[0]
    run_ends, cell_ends = [0, *np.cumsum([len(p.runs) for p in parts])], [0, *np.cumsum([p.count for p in parts])]
    weights = [part.weights for part in parts if part.weights is not None]
    return Cells(
        np.concatenate([part.runs for part in parts]),
        np.concatenate([[0], *(part.run_starts[1:] + before for part, before in zip(parts, run_ends, strict=False))]),
        np.concatenate([[0], *(part.starts[1:] + before for part, before in zip(parts, cell_ends, strict=False))]),
        np.concatenate(weights) if weights else None,
    )


def rings_in_cells(
    polygons: npt.NDArray[np.object_], grids: SampleGrids
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Vertices in cell coordinates (x right, y down), where each ring starts, and where each feature's rings start."""
    if (shapely.get_type_id(polygons) == shapely.GeometryType.POLYGON).all():
        parts, feature_of_part = polygons, np.arange(len(polygons))
    else:
        parts, feature_of_part = shapely.get_parts(polygons, return_index=True)
    rings, part_of_ring = shapely.get_rings(parts, return_index=True)
    coordinates, ring_of_vertex = shapely.get_coordinates(rings, return_index=True)
    feature_of_ring = feature_of_part[part_of_ring]
    feature_of_vertex = feature_of_ring[ring_of_vertex]
    xy = np.empty_like(coordinates)
    xy[:, 0] = (coordinates[:, 0] - grids.x0[feature_of_vertex]) / grids.dx[feature_of_vertex]
    xy[:, 1] = (grids.y0[feature_of_vertex] - coordinates[:, 1]) / grids.dy[feature_of_vertex]
    ring_starts = np.searchsorted(ring_of_vertex, np.arange(len(rings) + 1)).astype(np.int64)
    feature_rings = np.searchsorted(feature_of_ring, np.arange(len(polygons) + 1)).astype(np.int64)
    return xy, ring_starts, feature_rings
