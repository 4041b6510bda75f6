"""Made-up Sentinel-2 scenes: cloud optimised GeoTIFFs and STAC items. Written once; what is there stays."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import shapely
from pyproj import Transformer
from rasterio.features import rasterize
from rasterio.transform import Affine

from main_job_parts.landscape import FIELD_M2, Land, make_fields

EPSG = 32633
ORIGIN = (500_000.0, 5_100_000.0)
FIRST_DAY = datetime(2020, 6, 1, 10, 0, tzinfo=UTC)
PIXEL_M = 10.0
NODATA = 0
SCALE = 0.0001
RESOLUTION_M = {"B04": 10.0, "B08": 10.0, "B11": 20.0}
_WEDGE = 0.15  # the missing corner: legs of this share of the granule's side
_OVERLAP = 0.3  # of the second granule with the first

_LEVEL = {"B04": (300.0, 1200.0), "B08": (1800.0, 2200.0), "B11": (1200.0, 1500.0)}  # least, span between fields
_NOISE = {"B04": 14.0, "B08": 32.0, "B11": 24.0}
_TEXTURE_M = 150.0

Pixels = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Storage:
    """How the rasters are stored: side in pixels at 10 m, block size, codec, predictor; and the seed of their values."""

    size: int = 5490
    blocks: int = 512
    codec: str = "deflate"
    predictor: int = 2
    seed: int = 1

    @property
    def name(self) -> str:
        return f"{self.size}-{self.blocks}-{self.codec}{self.predictor}-seed{self.seed}"


@dataclass(frozen=True)
class Granule:
    """The first granule, `a`, or the second, `b`, that begins where 70 % of the first are past."""

    name: str
    size: int

    @property
    def land(self) -> Land:
        side = self.size * PIXEL_M
        west = ORIGIN[0] + (round(self.size * (1 - _OVERLAP) / 2) * 2 * PIXEL_M if self.name == "b" else 0.0)
        return Land(west, ORIGIN[1] - side, west + side, ORIGIN[1])

    @property
    def footprint(self) -> Any:
        """Where it has data, in its CRS: all but the north-western corner. The line runs a little outside, as those of
        real scenes do."""
        land, leg = self.land, self.size * PIXEL_M * _WEDGE - 40.0
        corners = [(land.xmin + leg, land.ymax), (land.xmax, land.ymax), (land.xmax, land.ymin)]
        return shapely.Polygon([*corners, (land.xmin, land.ymin), (land.xmin, land.ymax - leg)])


@dataclass(frozen=True)
class Scene:
    """One date of a granule; `paths` by band. Of one day, the scene that comes last in a catalog is the latest."""

    id: str
    when: datetime
    granule: Granule
    paths: dict[str, Path]


def make_scenes(folder: Path, storage: Storage, granules: str, dates: int, bands: tuple[str, ...]) -> list[Scene]:
    """The scenes of the granules, `a` or `ab`, one a day; rasters that are missing are written."""
    home = folder / storage.name
    scenes = []
    for name in granules:
        granule = Granule(name, storage.size)
        painter = _Painter(granule, storage)
        for date in range(dates):
            # The second granule is taken some seconds after the first, as along an orbit.
            when = FIRST_DAY + timedelta(days=date, seconds=14 * "ab".index(name))
            paths = {band: home / name / f"S{date:02d}" / f"{band}.tif" for band in bands}
            for band, path in paths.items():
                if not path.exists():
                    _write(path, painter.paint(band, date), granule.land, RESOLUTION_M[band], storage)
            scenes.append(Scene(f"{name}{date:02d}", when, granule, paths))
    return scenes


def write_catalog(path: Path, scenes: list[Scene]) -> None:
    """A STAC FeatureCollection beside the scenes' folders, with relative links."""
    items = [_item(scene, path.parent) for scene in scenes]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))


class _Painter:
    """Values of a granule: fields of their own level and course of the year, a smooth texture, and noise."""

    def __init__(self, granule: Granule, storage: Storage) -> None:
        self._granule = granule
        self._seed = storage.seed * 1000 + 500 * "ab".index(granule.name)
        self._labels: dict[float, npt.NDArray[np.uint32]] = {}
        self._fields: Any = None

    def paint(self, band: str, date: int) -> Pixels:
        pixel = RESOLUTION_M[band]
        labels = self._label(pixel)
        random = np.random.default_rng((self._seed, sorted(_LEVEL).index(band), date))
        # A field keeps its character over the dates and goes through its season at its own time.
        character = np.random.default_rng((self._seed, sorted(_LEVEL).index(band)))
        fields = int(labels.max()) + 1
        least, span = _LEVEL[band]
        level = least + span * character.beta(2, 2, fields)
        season = 1.0 + 0.15 * np.sin(character.uniform(0, 2 * np.pi, fields) + date / 10)
        values = (level * season).astype(np.float32)[labels]
        values += _smooth(labels.shape, _TEXTURE_M / pixel, 1.5 * _NOISE[band], random)
        values += random.standard_normal(labels.shape, np.float32) * np.float32(_NOISE[band])
        painted = np.clip(values, 1, 10_000).astype(np.uint16)
        side = labels.shape[0]
        leg = round(side * _WEDGE)
        corner = np.add.outer(np.arange(leg), np.arange(leg)) < leg - 1
        painted[:leg, :leg][corner] = NODATA
        return painted

    def _label(self, pixel: float) -> npt.NDArray[np.uint32]:
        if pixel not in self._labels:
            if self._fields is None:
                self._fields = make_fields(self._granule.land, FIELD_M2, self._seed)
            land = self._granule.land
            side = round((land.xmax - land.xmin) / pixel)
            shapes = ((field, number) for number, field in enumerate(self._fields, 1))
            transform = Affine(pixel, 0, land.xmin, 0, -pixel, land.ymax)
            self._labels[pixel] = rasterize(shapes, (side, side), transform=transform, dtype="uint32")
        return self._labels[pixel]


def _smooth(shape: tuple[int, ...], length_px: float, height: float, random: np.random.Generator) -> Any:
    """Random values on a coarse grid, interpolated linearly."""
    ways = []
    for side in shape:
        knots = max(2, round(side / length_px))
        at = np.linspace(0, knots - 1, side)
        low = np.minimum(at.astype(int), knots - 2)
        way = np.zeros((side, knots), np.float32)
        way[np.arange(side), low] = 1 - (at - low)
        way[np.arange(side), low + 1] = at - low
        ways.append(way)
    grid = random.standard_normal((ways[0].shape[1], ways[1].shape[1]), np.float32) * np.float32(height)
    return ways[0] @ grid @ ways[1].T


def _write(path: Path, values: Pixels, land: Land, pixel: float, storage: Storage) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.tif")
    with rasterio.open(
        part,
        "w",
        driver="COG",
        width=values.shape[1],
        height=values.shape[0],
        count=1,
        dtype="uint16",
        crs=f"EPSG:{EPSG}",
        transform=Affine(pixel, 0, land.xmin, 0, -pixel, land.ymax),
        nodata=NODATA,
        blocksize=storage.blocks,
        compress=storage.codec,
        predictor="YES" if storage.predictor == 2 else "NO",
        overview_resampling="nearest",
        num_threads=2,
    ) as file:
        file.write(values, 1)
    part.rename(path)


def _item(scene: Scene, home: Path) -> dict[str, Any]:
    change = Transformer.from_crs(EPSG, 4326, always_xy=True)
    outline = shapely.segmentize(scene.granule.footprint, 5_000.0)
    footprint = shapely.transform(outline, lambda xy: np.stack(change.transform(xy[:, 0], xy[:, 1]), axis=1))
    land = scene.granule.land
    assets = {}
    for band, path in scene.paths.items():
        pixel = RESOLUTION_M[band]
        side = round((land.xmax - land.xmin) / pixel)
        assets[band] = {
            "href": f"./{path.relative_to(home).as_posix()}",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data"],
            "nodata": NODATA,
            "proj:shape": [side, side],
            "proj:transform": [pixel, 0.0, land.xmin, 0.0, -pixel, land.ymax],
            "bands": [{"name": band}],
            "raster:scale": SCALE,
            "raster:offset": 0.0,
        }
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": scene.id,
        "geometry": shapely.geometry.mapping(footprint),
        "bbox": list(footprint.bounds),
        "properties": {
            "datetime": scene.when.isoformat().replace("+00:00", "Z"),
            "proj:code": f"EPSG:{EPSG}",
            "eo:cloud_cover": 0.0,
        },
        "assets": assets,
        "links": [],
    }
