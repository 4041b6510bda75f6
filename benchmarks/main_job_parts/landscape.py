"""Field-like polygons: side by side with common borders, irregular, of very different sizes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely

FIELD_M2 = 37_500.0
"""Mean area of a field; the median is about 3.4 ha."""
MOST_OF_THE_LAND = 0.6
"""Share of the land that is fields at most; more parcels than fit there get smaller ones."""
OVERLAPPING = 0.02
_VERTEX_M = 95.0  # an edge of a mean field is cut into pieces of at most this length: about 12 vertices a field
_WAVES = ((61.0, 2.5), (173.0, 6.0))  # (length / 2 pi, height), metres: borders are not quite straight
_PATCH_M, _PATCH_WAVES = 1_000.0, 48
_LARGE_FIELDS = 1.65  # about 5 % of the land

Floats = npt.NDArray[np.float64]
Polygons = npt.NDArray[np.object_]


@dataclass(frozen=True)
class Land:
    """A rectangle in metres, `xmin`, `ymin`, `xmax`, `ymax`, of a projected CRS."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float

    @property
    def area(self) -> float:
        return (self.xmax - self.xmin) * (self.ymax - self.ymin)

    def join(self, other: Land) -> Land:
        """The rectangle around both."""
        return Land(
            min(self.xmin, other.xmin),
            min(self.ymin, other.ymin),
            max(self.xmax, other.xmax),
            max(self.ymax, other.ymax),
        )


def make_fields(land: Land, field_m2: float, seed: int) -> Polygons:
    """All the land as fields of this mean area, in no particular order.

    They are the Voronoi cells of points whose density varies, their edges cut into pieces and bent by waves of some
    metres: neighbours share their vertices.
    """
    random = np.random.default_rng(seed)
    count = max(4, round(land.area / field_m2))
    width, height = land.xmax - land.xmin, land.ymax - land.ymin
    # Stratified rather than wholly random, so that fields are compact; the strata themselves vary in size.
    columns = max(1, round((count * width / height) ** 0.5))
    rows = max(1, round(count / columns))
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    points = np.column_stack([x.ravel(), y.ravel()]) + random.uniform(0.0, 1.0, (columns * rows, 2))
    points *= (width / columns, height / rows)
    # One field in six is cut in two. Some are gone, most of them where fields are large: the rest grows there.
    fate = random.uniform(0.0, 1.0, len(points))
    cut = fate > 5 / 6
    gone = fate < np.where(_patches(points, random) > _LARGE_FIELDS, 0.75, 0.1)
    twins = points[cut] + random.normal(0.0, 0.3 * field_m2**0.5, (int(cut.sum()), 2))
    points = np.concatenate([points[~gone], twins])
    points += (land.xmin, land.ymin)
    cells = shapely.voronoi_polygons(shapely.MultiPoint(points), extend_to=shapely.box(*_bounds(land)))
    fields = shapely.get_parts(cells)
    fields = shapely.segmentize(fields, _VERTEX_M * (field_m2 / FIELD_M2) ** 0.5)
    bent = shapely.transform(fields, lambda xy: np.round(_bend(xy, (field_m2 / FIELD_M2) ** 0.5), 2))
    kept = bent[shapely.is_valid(bent) & shapely.within(bent, shapely.box(*_bounds(land)))]
    return np.asarray(kept[random.permutation(len(kept))])


def _bounds(land: Land) -> tuple[float, float, float, float]:
    return land.xmin, land.ymin, land.xmax, land.ymax


def _bend(xy: Floats, scale: float) -> Floats:
    moved = xy.copy()
    for length, height in _WAVES:
        moved[:, 0] += height * scale * np.sin(xy[:, 1] / (length * scale) + 1.0)
        moved[:, 1] += height * scale * np.sin(xy[:, 0] / (length * scale) + 2.0)
    return moved


def choose_parcels(land: Land, count: int, seed: int) -> Polygons:
    """So many fields, in patches of some hundred metres all over the land; 2 % are grown into their neighbours.

    Raises:
        SystemExit: the land is too small.
    """
    field_m2 = min(FIELD_M2, MOST_OF_THE_LAND * land.area / count)
    if field_m2 < 100.0:
        raise SystemExit(f"{count:,} parcels do not fit on {land.area / 1e6:,.0f} km2; use a larger --size")
    fields = make_fields(land, field_m2, seed)
    if len(fields) < count:
        raise SystemExit(f"Only {len(fields):,} fields fit on this land, not {count:,}; use a larger --size")
    random = np.random.default_rng(seed + 1)
    centres = shapely.get_coordinates(shapely.centroid(fields))
    wanted = np.argsort(_patches(centres, random), kind="stable")[:count]
    parcels = fields[np.sort(wanted)]
    for index in random.choice(count, max(1, round(OVERLAPPING * count)), replace=False):
        parcels[index] = _grow(parcels[index], 1.25)
    return parcels


def _patches(points: Floats, random: np.random.Generator) -> Floats:
    """A smooth random height at each point, of mean 0 and variance 1."""
    heights: Floats = np.zeros(len(points))
    for _ in range(_PATCH_WAVES):
        angle, length, phase = random.uniform(0, np.pi), _PATCH_M * random.uniform(0.5, 2.0), random.uniform(0, 7)
        heights += np.sin((points @ (np.cos(angle), np.sin(angle))) / (length / (2 * np.pi)) + phase)
    heights /= (_PATCH_WAVES / 2) ** 0.5
    return heights


def _grow(polygon: Any, factor: float) -> Any:
    centre = shapely.get_coordinates(shapely.centroid(polygon))
    return shapely.transform(polygon, lambda xy: np.round(centre + (xy - centre) * factor, 2))


def write_parcels(path: Path, parcels: Polygons, epsg: int, to_epsg: int | None = None) -> None:
    """A GeoPackage with one layer, keys from 1, in `epsg` or transformed to `to_epsg`."""
    frame = gpd.GeoDataFrame(geometry=list(parcels), crs=f"EPSG:{epsg}")
    if to_epsg is not None:
        frame = frame.to_crs(to_epsg)
    frame.index = range(1, len(frame) + 1)
    frame.index.name = "fid"
    part = path.with_suffix(".part.gpkg")
    part.unlink(missing_ok=True)
    frame.to_file(part, layer="parcels", driver="GPKG", index=True, layer_options={"FID": "fid"}, engine="pyogrio")
    part.rename(path)


def read_parcels(path: Path) -> Polygons:
    """The polygons of a GeoPackage in the order of their keys."""
    return np.asarray(gpd.read_file(path, engine="pyogrio").geometry.values)
