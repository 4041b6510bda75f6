"""What a script is told about its samples, and what it says of them before anything is read."""

from __future__ import annotations

from collections.abc import Sequence

from swathe.catalog.scene import Scene
from swathe.engine.timeline import Sample, Segment, SourceTimeline
from swathe.evalscript.columns import OrbitInfo, SceneInfo, SourceScenes
from swathe.evalscript.runtime import ScriptHost
from swathe.evalscript.script import Evalscript, Mosaicking
from swathe.model.time import TimeRange, format_time


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
    segment: Segment, script: Evalscript, timelines: Sequence[SourceTimeline], interval: TimeRange, host: ScriptHost
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
        orbits, scenes = batch_scenes(timeline, samples)
        told.append(SourceScenes(timeline.source.spec.datasource, timeline.source.mosaicking, orbits, scenes))
    kept = host.pre_process(
        script, tuple(told), time_from=format_time(interval.start), time_to=format_time(interval.end)
    )
    return Segment(
        segment.first,
        segment.last,
        tuple(
            samples if timeline.source.mosaicking is Mosaicking.SIMPLE else tuple(samples[number] for number in chosen)
            for timeline, samples, chosen in zip(timelines, segment.samples, kept, strict=True)
        ),
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
        data_path=scene.id,
        sh_id=scene.id,
        data_geometry=geometry,
        data_envelope=envelope,
    )
