"""What a script is told about its samples, and what it says of them before anything is read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from swathe.catalog.scene import Scene
from swathe.engine.evaluate import stack_columns
from swathe.engine.timeline import Sample, Segment, SourceTimeline
from swathe.evalscript.columns import BandColumn, OrbitInfo, SceneInfo, SourceColumns, SourceScenes
from swathe.evalscript.runtime import ScriptHost
from swathe.evalscript.script import Evalscript, Mosaicking
from swathe.model.time import TimeRange, format_time
from swathe.sampling.mosaic import Mosaic

# Properties of a scene that say what a script is told in place of the scene's id.
DATA_PATH, SH_ID = "swathe:data_path", "swathe:sh_id"


def batch_scenes(
    timeline: SourceTimeline, samples: Sequence[Sample]
) -> tuple[tuple[OrbitInfo, ...], tuple[SceneInfo, ...]]:
    """The orbits (ORBIT) or scenes (TILE) of samples, in their order; both empty under SIMPLE."""
    scenes = timeline.scenes
    with_bounds = "bounds" in timeline.source.spec.metadata
    if timeline.source.mosaicking is Mosaicking.TILE:
        return (), tuple(_scene_info(scenes[sample.scenes[0]], with_bounds) for sample in samples)
    if timeline.source.mosaicking is Mosaicking.ORBIT:
        orbits = []
        for sample in samples:
            day = scenes[sample.scenes[0]].datetime.date().isoformat()
            tiles = tuple(_scene_info(scenes[number], with_bounds) for number in sample.scenes)
            orbits.append(OrbitInfo(f"{day}T00:00:00Z", f"{day}T23:59:59Z", tiles))
        return tuple(orbits), ()
    return (), ()


def preprocess(
    segment: Segment,
    script: Evalscript,
    timelines: Sequence[SourceTimeline],
    interval: TimeRange,
    host: ScriptHost,
    *,
    key: str = "",
) -> Segment:
    """The segment with only those samples that the script's preProcessScenes (or filterScenes) keeps.

    Raises:
        ScriptError: the function fails.
    """
    if not script.functions & {"preProcessScenes", "filterScenes"}:
        return segment
    if all(timeline.source.mosaicking is Mosaicking.SIMPLE for timeline in timelines):
        return segment
    told = []
    for timeline, samples in zip(timelines, segment.samples, strict=True):
        told.append(source_scenes(timeline, samples))
    kept = host.pre_process(
        script, tuple(told), time_from=format_time(interval.start), time_to=format_time(interval.end), key=key
    )
    return Segment(
        segment.first,
        segment.last,
        tuple(
            samples if timeline.source.mosaicking is Mosaicking.SIMPLE else tuple(samples[number] for number in chosen)
            for timeline, samples, chosen in zip(timelines, segment.samples, kept, strict=True)
        ),
    )


def updated_script(
    segment: Segment,
    script: Evalscript,
    timelines: Sequence[SourceTimeline],
    interval: TimeRange,
    host: ScriptHost,
    *,
    key: str = "",
) -> Evalscript:
    """The script with the output bands that its updateOutput() sets for the samples of a segment.

    Raises:
        ScriptError: the function fails, or sets bands that cannot be used.
    """
    if "updateOutput" not in script.functions:
        return script
    told = tuple(source_scenes(timeline, samples) for timeline, samples in zip(timelines, segment.samples, strict=True))
    return host.update_output(
        script, told, time_from=format_time(interval.start), time_to=format_time(interval.end), key=key
    )


def source_scenes(timeline: SourceTimeline, samples: Sequence[Sample]) -> SourceScenes:
    """What a script is told of a source's samples before anything is read."""
    return SourceScenes(timeline.source.name, timeline.source.mosaicking, *batch_scenes(timeline, samples))


def source_columns(
    timeline: SourceTimeline, samples: Sequence[Sample], layers: Sequence[Mosaic], begin: int, end: int
) -> SourceColumns:
    """The columns of cells `begin` to `end` of one source; without any sample there are none, of no rows."""
    source = timeline.source
    if layers:
        bands = {
            band.name: BandColumn(*stack_columns([layer.bands[band.name] for layer in layers], begin, end))
            for band in source.bands
        }
        mask = np.stack([layer.data_mask[begin:end] for layer in layers])
    else:
        bands = {band.name: BandColumn(np.zeros((0, end - begin), np.uint8)) for band in source.bands}
        mask = np.zeros((0, end - begin), np.uint8)
    orbits, scenes = batch_scenes(timeline, samples)
    return SourceColumns(
        source.name,
        source.mosaicking,
        bands,
        mask,
        orbits=orbits,
        scenes=scenes,
        normalization_factor=source.collection.normalization_factor,
    )


def _scene_info(scene: Scene, with_bounds: bool) -> SceneInfo:
    geometry = envelope = None
    if with_bounds and scene.footprint is not None:
        import shapely

        geometry = scene.footprint.__geo_interface__
        envelope = shapely.box(*scene.footprint.bounds).__geo_interface__
    return SceneInfo(
        date=format_time(scene.datetime),
        cloud_coverage=scene.cloud_cover,
        data_path=scene.properties.get(DATA_PATH, scene.id),
        sh_id=scene.properties.get(SH_ID, scene.id),
        data_geometry=geometry,
        data_envelope=envelope,
    )
