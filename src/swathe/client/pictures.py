"""The pictures of results, as methods; each reads only what it shows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from swathe.client.measures import (
    Measure,
    Wanted,
    check_statistic,
    choose_pair,
    collect_measure,
    find_interval,
    find_pairs,
    measure_of,
)
from swathe.client.selection import FeatureNames, Selection
from swathe.client.times import RawTimeInterval

# Of so many features the names are read; a picture has room for no more.
_NAMED = 40


class Pictures(ABC):
    """What draws tables of results with matplotlib. Every method gives the Axes; `ax.figure.savefig` writes a file."""

    @abstractmethod
    def to_dataframe(self, *args: Any, **named: Any) -> Any:
        """A tidy frame."""

    @abstractmethod
    def shapes(self, *args: Any, **named: Any) -> Any:
        """The polygons."""

    @abstractmethod
    def columns(self) -> list[str]:
        """The columns that there are."""

    @abstractmethod
    def frames(self, selection: Selection | None = None, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """Tidy frames of some features each."""

    @abstractmethod
    def first_features(self, count: int) -> tuple[list[Any], int]:
        """The first ids, and how many there are."""

    @abstractmethod
    def has_tables(self) -> bool:
        """Whether they are read from a data set."""

    def plot_series(
        self,
        features: FeatureNames | None = None,
        output: str | None = None,
        band: str | None = None,
        statistic: str = "mean",
        ax: Any = None,
        *,
        intervals: RawTimeInterval = None,
        min_valid: float = 0.0,
        label: str | None = None,
    ) -> Any:
        """Draws a statistic over time.

        Up to eight features have a line each, and the mean its spread of one standard deviation; of more features, the
        median and the ranges that half and nine tenths of them are in are drawn. Values stand at the middle of their
        intervals. Intervals without a valid sample are left out.

        Args:
            features: ids or identifiers; all without it.
            output, band: of the script; without them, the first.
            statistic: `mean`, `min`, `max`, `stDev`, a percentile such as `p50`, `sampleCount` and so on.
            ax: the Axes to draw into; new ones without it.
            intervals: a range of time, as for `to_dataframe`.
            min_valid: leave out intervals with fewer valid samples than this share of the feature's best interval: 0.5 rids
                a series of the edges of clouds.
            label: of the vertical axis, such as `"Leaf area index (m²/m²)"`; the script does not say what its numbers are.

        Raises:
            WrongArgument: there is no such output, band or statistic.
            ObjectNotFound: there are no results of the features.
            LibraryMissing: matplotlib or pandas is not installed.
        """
        from swathe.client.series_plot import draw_series

        return draw_series(self._measure(Wanted(statistic, output, band, min_valid, label), features, intervals), ax)

    def plot_map(
        self,
        statistic: str = "mean",
        at: Any = None,
        *,
        output: str | None = None,
        band: str | None = None,
        features: FeatureNames | None = None,
        polygons: Any = None,
        crs: Any = None,
        cmap: str = "viridis",
        vmin: float | None = None,
        vmax: float | None = None,
        min_valid: float = 0.0,
        label: str | None = None,
        ax: Any = None,
    ) -> Any:
        """Draws the features in the colour of a statistic in one interval; those without a value are grey and hatched.

        Args:
            statistic: as for `plot_series`.
            at: a time in the interval, such as `"2024-06-10"`; without it, the interval in which most features have a
                value, the latest of these.
            output, band: of the script; without them, the first.
            features: ids or identifiers; all without it.
            polygons, crs: as for `to_geodataframe`.
            cmap: a colour map of matplotlib; the default and `cividis` can be told apart by everyone.
            vmin, vmax: where the colours begin and end; without them, at the 2nd and 98th percentile of many features.
            min_valid: as for `plot_series`: features with fewer are grey.
            label: of the colour bar.
            ax: the Axes to draw into; new ones without it.

        Raises:
            WrongArgument: there is no such interval, output, band or statistic.
            ObjectNotFound: there are no polygons, or no results.
            LibraryMissing: matplotlib, geopandas or pyarrow is not installed.
        """
        from swathe.client.map_plot import Colours, draw_map

        shapes = self.shapes(features, polygons=polygons, crs=crs)
        measure = self._measure(Wanted(statistic, output, band, min_valid, label), features, None)
        return draw_map(measure, shapes, find_interval(measure, at), Colours(cmap, vmin, vmax), ax)

    def plot_heatmap(
        self,
        features: FeatureNames | None = None,
        output: str | None = None,
        band: str | None = None,
        statistic: str = "mean",
        ax: Any = None,
        *,
        intervals: RawTimeInterval = None,
        sort: str = "value",
        cmap: str = "viridis",
        vmin: float | None = None,
        vmax: float | None = None,
        min_valid: float = 0.0,
        label: str | None = None,
    ) -> Any:
        """Draws features over time, a row each; of very many features, a row is the mean of some neighbours.

        Every interval in which any feature has a value is a column of the same width.

        Args:
            features, output, band, statistic, ax, intervals, min_valid: as for `plot_series`.
            sort: `value` puts the feature with the greatest mean on top, `peak` the one that is greatest first, `id` goes
                by ids.
            cmap, vmin, vmax: as for `plot_map`.
            label: of the colour bar.

        Raises:
            WrongArgument: there is no such output, band, statistic or order.
            ObjectNotFound: there are no results of the features.
            LibraryMissing: matplotlib or pandas is not installed.
        """
        from swathe.client.heatmap_plot import draw_heatmap
        from swathe.client.map_plot import Colours

        measure = self._measure(Wanted(statistic, output, band, min_valid, label), features, intervals)
        return draw_heatmap(measure, sort, Colours(cmap, vmin, vmax), ax)

    def _measure(self, wanted: Wanted, features: FeatureNames | None, intervals: RawTimeInterval) -> Measure:
        if not self.has_tables():
            # Documents are read as a whole, so better once.
            return measure_of(self.to_dataframe(features, intervals), wanted)
        check_statistic(wanted, self.columns())
        names: dict[Any, Any] = {}
        ids, count = self.first_features(_NAMED + 1)
        if features is not None or count <= _NAMED:
            named = self.to_dataframe(ids if features is None else features, columns=["feature_id", "identifier"])
            named = named.drop_duplicates("feature_id")
            names = dict(zip(named["feature_id"], named["identifier"], strict=True))
            count = len(names)
        selection = Selection.of(features, intervals)
        pairs: list[tuple[str, str]] = []
        for frame in self.frames(selection, ["output", "band"]):
            if pairs := find_pairs(frame):
                break
        output, band = choose_pair(pairs, wanted)
        frames = self.frames(replace(selection, output=output, band=band), wanted.columns)
        return collect_measure(frames, pairs, wanted, count, names)
