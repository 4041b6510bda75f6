"""What is found out before the work: the features one by one, the scenes over them, the units."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import shapely

from swathe.catalog.areas import Bbox, boxes_meet
from swathe.catalog.neighbourhoods import neighbourhoods
from swathe.catalog.scene import Scene
from swathe.engine.cost import area_factor, band_factor
from swathe.engine.estimate import estimate
from swathe.engine.evaluate import DATA_MASK_OUTPUT, calculations_of
from swathe.engine.inputs import SourceInput, with_reference
from swathe.engine.payload import pack
from swathe.engine.plan import FeatureOutline, lonlat_box, plan_units
from swathe.engine.presence import metres_per_unit
from swathe.engine.reading import place_of
from swathe.engine.timeline import intervals_with_scenes
from swathe.engine.values import Analysis
from swathe.evalscript.script import Evalscript, Mosaicking
from swathe.features.geopackage import FeatureBatch, FeatureFile
from swathe.grids.sample_grid import feature_grids
from swathe.model.errors import BandMissing, SourceError
from swathe.model.statistical import Aggregation, Grid, StatisticsRequest
from swathe.model.time import ALWAYS, TimeRange
from swathe.rasters.source import RasterInfo
from swathe.settings import Settings

_NEIGHBOURS_M = 25_000.0
_DOUBTFUL_M = 50_000.0


def analyse(
    request: StatisticsRequest,
    file: FeatureFile,
    batches: Iterable[FeatureBatch],
    script: Evalscript,
    sources: Sequence[SourceInput],
    intervals: Sequence[TimeRange],
    settings: Settings,
    *,
    find_scenes: Callable[..., list[Scene]],
    read_info: Callable[[str], RasterInfo],
    block_bytes: Callable[[str, int, int], float | None],
    lanes: int,
) -> Analysis:
    """Outlines every feature, finds the scenes and plans the units.

    Args:
        batches: all features of the file.
        read_info: opens a raster; block_bytes: the mean stored bytes of a block, by raster, bands and level.
        lanes: how many intervals of a unit are computed side by side.
    """
    outline, sample_count = _outline(request.aggregation, file, batches, sources)
    notes = _doubts(request.aggregation, file.epsg)
    boxes = _search_boxes(outline.bounds, file.epsg, settings.catalog.searches)
    found = [_find(request, source, intervals, boxes, find_scenes, notes) for source in sources]
    sources = [with_reference(source, members) for source, members in zip(sources, found, strict=True)]
    scenes = [_complete(source, members, notes) for source, members in zip(sources, found, strict=True)]
    result_rows = sum(
        calculation.rows
        for output in script.outputs
        if output.id != DATA_MASK_OUTPUT
        for calculation in calculations_of(output, request.calculations).values()
    )
    units = plan_units(
        outline,
        file.epsg,
        sources,
        scenes,
        intervals,
        result_rows,
        settings.limits,
        settings.dask.workers,
        lanes=lanes,
        value_bytes=_value_bytes(sources, scenes, read_info),
    )
    busy = intervals_with_scenes(sources, scenes, intervals)
    cost = float(area_factor(sample_count).sum()) * sum(
        band_factor(source.charged_bands) * _samples(source, members, busy if source.collection.timeless else intervals)
        for source, members in zip(sources, scenes, strict=True)
    )
    report = estimate(
        outline,
        sample_count,
        file.epsg,
        request.aggregation,
        sources,
        scenes,
        intervals,
        units,
        cost_pu=cost,
        workers=settings.dask.workers * lanes,
        read_info=read_info,
        block_bytes=block_bytes,
    )
    count = sum(len(members) for members in scenes)
    payload = pack(sources, scenes)
    return Analysis(file.count, count, units, cost, payload, tuple(notes), report, tuple(map(tuple, scenes)))


def scenes_near(polygons: npt.NDArray[np.object_], epsg: int, scenes: Sequence[Scene]) -> tuple[Scene, ...]:
    """Scenes whose footprint's box meets the box of some polygons (None among them is left aside)."""
    box = lonlat_box(shapely.bounds(polygons), epsg)
    return () if box is None else tuple(scene for scene in scenes if boxes_meet(scene.bbox, box))


def _doubts(aggregation: Aggregation, epsg: int) -> list[str]:
    """What a request most likely does not mean: metres where the features' CRS has degrees."""
    side = max(aggregation.resx or 0.0, aggregation.resy or 0.0)
    if side * metres_per_unit(epsg) < _DOUBTFUL_M or metres_per_unit(epsg) == 1.0:
        return []
    return [
        f"resx and resy are in units of the features' CRS, EPSG:{epsg}: {side:g} degrees are some"
        f" {side * metres_per_unit(epsg) / 1000:,.0f} km; 10 m are about 0.0001 degrees"
    ]


def _search_boxes(bounds: npt.NDArray[np.float64], epsg: int, most: int) -> list[Bbox]:
    """A few boxes in longitude and latitude that hold all features, whose boxes (n, 4) are in their own CRS."""
    near = neighbourhoods(bounds, most, _NEIGHBOURS_M / metres_per_unit(epsg))
    found = [lonlat_box(np.array([box]), epsg) for box in near]
    if None in found:  # a part of them lies where the CRS is not defined
        found = [lonlat_box(bounds, epsg)]
    return [box for box in found if box is not None]


def _find(
    request: StatisticsRequest,
    source: SourceInput,
    intervals: Sequence[TimeRange],
    boxes: Sequence[Bbox],
    find_scenes: Callable[..., list[Scene]],
    notes: list[str],
) -> list[Scene]:
    """The scenes of a source over the features, in the time that the request and its filter leave."""
    if not boxes:
        return []
    data = request.input.data[source.number]
    where = f"input->data[{source.number}]"
    start, end = intervals[0].start, intervals[-1].end
    if source.collection.timeless:
        start, end = ALWAYS.start, ALWAYS.end
    elif data.data_filter.time_range is not None:
        own = data.data_filter.time_range.to_range(f"{where}->dataFilter->timeRange")
        start, end = max(start, own.start), min(end, own.end)
    found = find_scenes(data, start=start, end=end, boxes=boxes, where=where, notes=notes)
    if not found:
        notes.append(f"Collection '{source.collection.type}' has no scene over the features in this time")
    return found


def _complete(source: SourceInput, found: Sequence[Scene], notes: list[str]) -> list[Scene]:
    """The scenes that have every band; raises BandMissing where none of them has one of the bands."""
    complete: list[Scene] = []
    missing: dict[str, int] = {}
    for scene in found:
        lacking = [band.name for band in source.reads if scene.asset_for(band.definition) is None]
        for name in lacking:
            missing[name] = missing.get(name, 0) + 1
        if not lacking:
            complete.append(scene)
    for name, count in missing.items():
        if count == len(found):
            raise BandMissing(
                f"None of the {count} scenes of collection '{source.collection.type}' in this time has the band {name}"
            )
        notes.append(
            f"{count} of {len(found)} scenes of '{source.collection.type}' lack the band {name} and are left out"
        )
    return complete


def _value_bytes(
    sources: Sequence[SourceInput], scenes: Sequence[Sequence[Scene]], read_info: Callable[[str], RasterInfo]
) -> int | None:
    """The most bytes that a value takes in the first scene of any source; None where it cannot be read now."""
    try:
        return max(
            np.dtype(read_info(place_of(members[0], band).asset.href).dtype).itemsize
            for source, members in zip(sources, scenes, strict=True)
            if members
            for band in source.reads
        )
    except (SourceError, ValueError):  # its interval will tell; or there are no scenes
        return None


def _outline(
    aggregation: Aggregation, file: FeatureFile, batches: Iterable[FeatureBatch], sources: Sequence[SourceInput]
) -> tuple[FeatureOutline, npt.NDArray[np.int64]]:
    """Outlines of all features, and the cells of their boxes (W * H)."""
    ids, boxes, cells, counts = [], [], [], []
    for batch in batches:
        bounds = shapely.bounds(batch.polygons)
        bounds = np.where(np.isfinite(bounds), bounds, np.nan)
        usable = np.asarray(np.isfinite(bounds).all(axis=1))
        area = np.where(usable, shapely.area(batch.polygons), 0.0)
        safe = np.where(usable[:, None], bounds, [0.0, 0.0, 1.0, 1.0])
        if aggregation.resx is not None and aggregation.resy is not None:
            resolution = (aggregation.resx, aggregation.resy)
            count = feature_grids(safe, file.epsg, resolution=resolution).sample_count
        elif aggregation.sampling.grid is Grid.SOURCE:
            side = _source_pixel(file.epsg, sources)
            count = feature_grids(safe, file.epsg, resolution=(side, side)).sample_count
        else:
            count = np.full(len(safe), (aggregation.width or 256) * (aggregation.height or 256), np.int64)
        box_area = (safe[:, 2] - safe[:, 0]) * (safe[:, 3] - safe[:, 1])
        share = np.where(box_area > 0, area / np.where(box_area > 0, box_area, 1.0), 1.0)
        ids.append(batch.ids)
        boxes.append(bounds)
        cells.append(np.where(usable, np.maximum(1.0, count * share), 1.0))
        counts.append(np.where(usable, count, 0))
    if not ids:
        return FeatureOutline(np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0)), np.zeros(0, np.int64)
    return FeatureOutline(np.concatenate(ids), np.concatenate(boxes), np.concatenate(cells)), np.concatenate(counts)


def _source_pixel(epsg: int, sources: Sequence[SourceInput]) -> float:
    """About the side of the finest source pixel in units of the features' CRS; good enough to plan with."""
    sides = [band.definition.resolution_m for source in sources for band in source.reads]
    metres = min((side for side in sides if side), default=10.0)
    return metres / metres_per_unit(epsg)


def _samples(source: SourceInput, scenes: Sequence[Scene], intervals: Sequence[TimeRange]) -> int:
    """Samples that are charged at most: intervals with scenes under SIMPLE, else scenes; timeless ones in each interval."""
    if source.collection.timeless and scenes:
        return len(intervals) * (1 if source.mosaicking is Mosaicking.SIMPLE else len(scenes))
    if source.mosaicking is not Mosaicking.SIMPLE:
        return len(scenes)
    starts = np.array([interval.start.timestamp() for interval in intervals])
    times = np.array([scene.datetime.timestamp() for scene in scenes])
    return len(set(np.searchsorted(starts, times, side="right").tolist())) if len(times) else 0
