"""Which scenes each feature has in each interval, and in which samples they reach the script. Pure values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from swathe.catalog.order import group_orbits, sort_scenes
from swathe.catalog.scene import Scene
from swathe.engine.inputs import SourceInput
from swathe.evalscript.script import Mosaicking
from swathe.model.time import TimeRange

Presence = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Sample:
    """What reaches the script as one sample: scenes (positions in the source's list) in mosaicking order.

    Samples of different features that have the same `layer` lie in the same columns: all of SIMPLE, a day of ORBIT, a
    scene of TILE.
    """

    layer: str
    scenes: tuple[int, ...]


@dataclass(frozen=True)
class SourceTimeline:
    """The scenes of one data source over some features.

    `presence` is (features, scenes); `interval_of` (scenes) is -1 for a scene in none; `rank` (scenes) is its place in
    mosaicking order. Scenes of a timeless collection are in every interval, whatever `interval_of` says.
    """

    source: SourceInput
    scenes: tuple[Scene, ...]
    presence: Presence
    interval_of: npt.NDArray[np.int64]
    rank: npt.NDArray[np.int64]

    def in_interval(self, interval: int) -> npt.NDArray[np.bool_]:
        """Which scenes (scenes) an interval has."""
        if self.source.collection.timeless:
            return np.ones(len(self.scenes), np.bool_)
        return np.asarray(self.interval_of == interval)

    def samples(self, present: npt.NDArray[np.bool_], interval: int) -> tuple[Sample, ...]:
        """Samples of an interval from the scenes that are `present` (scenes)."""
        chosen = np.flatnonzero(present & self.in_interval(interval))
        ordered = chosen[np.argsort(self.rank[chosen])].tolist()
        if self.source.mosaicking is Mosaicking.SIMPLE:
            return (Sample("all", tuple(ordered)),)
        if self.source.mosaicking is Mosaicking.TILE:
            return tuple(Sample(str(scene), (scene,)) for scene in ordered)
        # two scenes of one name, from two catalogs, are two: only their places tell them apart
        place = {id(self.scenes[scene]): scene for scene in ordered}
        return tuple(
            Sample(orbit.day.isoformat(), tuple(place[id(scene)] for scene in orbit.scenes))
            for orbit in group_orbits([self.scenes[scene] for scene in ordered])
        )


def make_timeline(
    source: SourceInput, scenes: Sequence[Scene], presence: Presence, intervals: Sequence[TimeRange]
) -> SourceTimeline:
    """Puts every scene into its interval (-1 where it lies in none)."""
    starts = np.array([interval.start.timestamp() for interval in intervals])
    ends = np.array([interval.end.timestamp() for interval in intervals])
    times = np.array([scene.datetime.timestamp() for scene in scenes])
    at = np.searchsorted(starts, times, side="right") - 1
    inside = (at >= 0) & (times < ends[np.maximum(at, 0)]) if len(starts) else np.zeros(len(scenes), np.bool_)
    if source.collection.timeless:
        at, inside = np.zeros(len(scenes), np.int64), np.full(len(scenes), len(starts) > 0)
    place = {id(scene): number for number, scene in enumerate(scenes)}
    ordered = [place[id(scene)] for scene in sort_scenes(scenes, source.order)]
    rank = np.empty(len(scenes), np.int64)
    rank[ordered] = np.arange(len(scenes))
    return SourceTimeline(source, tuple(scenes), presence, np.where(inside, at, -1).astype(np.int64), rank)


def busy_intervals(timelines: Sequence[SourceTimeline], count: int) -> list[int]:
    """The intervals, of `count`, that have any scene.

    Scenes of timeless collections make no interval busy beside others, so that heights alone give no results on days
    without an image.
    """
    making = makers(timelines)
    if making and making[0].source.collection.timeless:
        return list(range(count)) if any(timeline.scenes for timeline in making) else []
    return sorted({int(i) for timeline in making for i in timeline.interval_of if i >= 0})


def intervals_with_scenes(
    sources: Sequence[SourceInput], scenes: Sequence[Sequence[Scene]], intervals: Sequence[TimeRange]
) -> list[TimeRange]:
    """The intervals that are computed if all scenes lie over the features: see `busy_intervals`."""
    nowhere = np.zeros((0, 0), np.bool_)
    lines = [make_timeline(source, own, nowhere, intervals) for source, own in zip(sources, scenes, strict=True)]
    return [intervals[number] for number in busy_intervals(lines, len(intervals))]


def makers(timelines: Sequence[SourceTimeline]) -> list[SourceTimeline]:
    """The sources whose scenes make that there is something in an interval: those with a time, or all if none has one."""
    return [timeline for timeline in timelines if not timeline.source.collection.timeless] or list(timelines)


def signature_order(presences: Sequence[Presence]) -> npt.NDArray[np.int64]:
    """An order of the features in which those with the same scenes lie side by side, otherwise as they were."""
    packed = np.concatenate([np.packbits(presence, axis=1) for presence in presences], axis=1)
    if packed.shape[1] == 0:
        return np.arange(len(packed))
    if (packed == packed[:1]).all():
        return np.arange(len(packed))
    _, first, group = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    return np.argsort(first[group.ravel()], kind="stable")


def same_presence(presences: Sequence[Presence]) -> list[tuple[int, int]]:
    """Runs of features (first, last excluded) that lie side by side and have the same scenes."""
    count = len(presences[0])
    differs = np.zeros(max(0, count - 1), np.bool_)
    for presence in presences:
        differs |= np.any(presence[1:] != presence[:-1], axis=1)
    cuts = [0, *(np.flatnonzero(differs) + 1).tolist(), count]
    return [(first, last) for first, last in pairwise(cuts) if first < last]


@dataclass(frozen=True)
class Segment:
    """Features `first` to `last` (excluded), which have the same samples in an interval, one tuple per source."""

    first: int
    last: int
    samples: tuple[tuple[Sample, ...], ...]

    def within(self, first: int, last: int) -> Segment | None:
        """Its part among features `first` to `last` (excluded), None where there is none."""
        first, last = max(first, self.first), min(last, self.last)
        return Segment(first, last, self.samples) if first < last else None


def plan_segments(timelines: Sequence[SourceTimeline], interval: int) -> Iterator[Segment]:
    """Runs of features that go through the script together. Features without any scene in the interval are in none.

    Under SIMPLE mosaicking the script is not told which scenes a feature has, so all that have any go together.
    """
    here = [timeline.presence[:, timeline.in_interval(interval)] for timeline in timelines]
    made = [timeline.presence[:, timeline.in_interval(interval)] for timeline in makers(timelines)]
    has_any = np.any(np.concatenate(made, axis=1), axis=1)
    simple = all(timeline.source.mosaicking is Mosaicking.SIMPLE for timeline in timelines)
    differs = has_any[1:] != has_any[:-1]
    if not simple:
        for presence in here:
            differs = differs | np.any(presence[1:] != presence[:-1], axis=1)
    cuts = [0, *(np.flatnonzero(differs) + 1).tolist(), len(has_any)]
    for first, last in pairwise(cuts):
        if first == last or not has_any[first]:
            continue
        samples = []
        for timeline in timelines:
            rows = timeline.presence[first:last]
            samples.append(timeline.samples(np.any(rows, axis=0) if simple else rows[0], interval))
        yield Segment(first, last, tuple(samples))
