"""The features in the colour of a statistic."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from swathe.client.exceptions import WrongArgument
from swathe.client.extras import load
from swathe.client.measures import Measure, interval_text
from swathe.client.series_plot import new_axes
from swathe.client.shapes import Shapes

MISSING = "0.85"
_HATCH = "////"
# Beyond so many features outlines would hide the colours.
_FEW_OUTLINES = 3_000
_FEW_VALUES = 100
_SHADES = 256
_TOGETHER = 2_000
_METRES_PER_DEGREE = 111_320.0
_PURPOSE = "a map"


@dataclass(frozen=True)
class Colours:
    """A colour map of matplotlib, and where it begins and ends; None is found from the values."""

    cmap: str = "viridis"
    vmin: float | None = None
    vmax: float | None = None

    def norm(self, values: Any) -> tuple[Any, str]:
        """The scale of some values without NaN, and which ends of the colour bar have an arrow.

        Of many values the outermost 2 % at either end are cut off, so that a few odd ones do not take all the colours.
        """
        numpy, colors = load("numpy", _PURPOSE), load("matplotlib.colors", _PURPOSE)
        if self.cmap not in load("matplotlib", _PURPOSE).colormaps:
            raise WrongArgument(f"matplotlib has no colour map '{self.cmap}'; viridis and cividis are good ones")
        low = high = 0.0
        if len(values):
            cut = (2, 98) if len(values) > _FEW_VALUES else (0, 100)
            low, high = (float(one) for one in numpy.percentile(values, cut))
        low = low if self.vmin is None else self.vmin
        high = high if self.vmax is None else self.vmax
        if high <= low:
            low, high = low - 0.5, low + 0.5
        below = bool(len(values)) and values.min() < low
        above = bool(len(values)) and values.max() > high
        arrows = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
        return colors.Normalize(low, high), arrows[below, above]


def draw_map(measure: Measure, shapes: Shapes, interval: tuple[Any, Any], colours: Colours, ax: Any = None) -> Any:
    """Draws the features in one interval; see `Pictures.plot_map`. North is up and distances are alike in x and y.

    Raises:
        WrongArgument: no feature has a polygon.
    """
    numpy, shapely = load("numpy", _PURPOSE), load("shapely", _PURPOSE)
    collections, cm = load("matplotlib.collections", _PURPOSE), load("matplotlib.cm", _PURPOSE)
    polygons = numpy.asarray(shapes.geometry.values, dtype="object")
    there = ~(shapely.is_missing(polygons) | shapely.is_empty(polygons))
    if not there.any():
        raise WrongArgument("no feature has a polygon to draw")
    values = _values_of(measure, shapes.ids, interval)[there]
    polygons = polygons[there]
    known = ~numpy.isnan(values)
    norm, arrows = colours.norm(values[known])
    crs = shapes.geometry.crs
    bounds = shapely.total_bounds(polygons)
    ax = new_axes(_size(bounds, _per_unit(bounds, crs)[1])) if ax is None else ax
    few = len(polygons) <= _FEW_OUTLINES
    edge = {"linewidths": 0.4, "edgecolors": "0.25"} if few else {"linewidths": 0.2, "edgecolors": "face"}
    if not known.all():
        missing, _ = _drawn(polygons[~known], numpy.zeros(int((~known).sum())), norm, few)
        hatched = {"linewidths": 0.4, "edgecolors": "0.6", "hatch": _HATCH} if few else edge
        ax.add_collection(collections.PathCollection(missing, facecolors=MISSING, rasterized=not few, **hatched))
    if known.any():
        paths, shown = _drawn(polygons[known], values[known], norm, few)
        ax.add_collection(
            collections.PathCollection(paths, array=shown, cmap=colours.cmap, norm=norm, rasterized=not few, **edge)
        )
    _frame(ax, bounds, crs)
    bar = ax.figure.colorbar(
        cm.ScalarMappable(norm, colours.cmap), cax=ax.inset_axes((1.02, 0.0, 0.03, 1.0)), extend=arrows, extendfrac=0.03
    )
    bar.set_label(measure.label)
    ax.set_title(f"{measure.label}, {interval_text(*interval)}", loc="left", fontsize=11)
    if not known.all():
        patches = load("matplotlib.patches", _PURPOSE)
        sign = patches.Patch(facecolor=MISSING, edgecolor="0.6", hatch=_HATCH if few else None, label="no value")
        ax.legend(
            handles=[sign], loc="upper right", bbox_to_anchor=(1.0, -0.015), frameon=False, borderaxespad=0, fontsize=9
        )
    return ax


def _values_of(measure: Measure, ids: Any, interval: tuple[Any, Any]) -> Any:
    """The values of the features in an interval, NaN where there is none."""
    numpy = load("numpy", _PURPOSE)
    rows = measure.frame[measure.frame["interval_from"] == interval[0]]
    values = numpy.full(len(ids), numpy.nan)
    if len(ids) and len(rows):
        wanted = rows["feature_id"].to_numpy()
        places = numpy.searchsorted(ids, wanted).clip(max=len(ids) - 1)
        found = ids[places] == wanted
        values[places[found]] = rows["value"].to_numpy()[found]
    return values


def _paths(polygons: Any, firsts: Any = None) -> list[Any]:
    """A path for each polygon, with its parts and holes; or for each run of polygons that begins at one of `firsts`."""
    numpy, shapely, path = (load(name, _PURPOSE) for name in ("numpy", "shapely", "matplotlib.path"))
    # Holes run the other way round than outlines: then they stay open.
    polygons = shapely.orient_polygons(polygons) if hasattr(shapely, "orient_polygons") else shapely.normalize(polygons)
    parts, part_of = shapely.get_parts(polygons, return_index=True)
    rings, ring_of = shapely.get_rings(parts, return_index=True)
    points, point_of = shapely.get_coordinates(rings, return_index=True)
    codes = numpy.full(len(points), path.Path.LINETO, path.Path.code_type)
    changes = numpy.flatnonzero(numpy.diff(point_of)) + 1
    codes[0], codes[changes] = path.Path.MOVETO, path.Path.MOVETO
    codes[[*(changes - 1), -1]] = path.Path.CLOSEPOLY
    feature_of = part_of[ring_of[point_of]]
    firsts = numpy.arange(len(polygons)) if firsts is None else firsts
    cuts = numpy.searchsorted(feature_of, [*firsts, len(polygons)])
    return [path.Path(points[begin:end], codes[begin:end]) for begin, end in pairwise(cuts)]


def _drawn(polygons: Any, values: Any, norm: Any, few: bool) -> tuple[list[Any], Any]:
    """The paths to draw and a value for each: of many polygons, those of the same colour are put together."""
    numpy = load("numpy", _PURPOSE)
    if few:
        return _paths(polygons), values
    shades = numpy.clip((norm(values).filled(0) * _SHADES).astype(int), 0, _SHADES - 1)
    order = numpy.argsort(shades, kind="stable")
    shades = shades[order]
    is_first = numpy.ones(len(shades), dtype=bool)
    is_first[1:] = numpy.diff(shades) != 0
    firsts = numpy.flatnonzero(is_first | (numpy.arange(len(shades)) % _TOGETHER == 0))
    return _paths(polygons[order], firsts), norm.inverse((shades[firsts] + 0.5) / _SHADES)


def _frame(ax: Any, bounds: Any, crs: Any) -> None:
    """The part of the world that is shown, its proportions and a scale bar."""
    left, bottom, right, top = (float(side) for side in bounds)
    metres, ratio = _per_unit(bounds, crs)
    margin = 0.03 * max(right - left, top - bottom) or 1.0
    ax.set_xlim(left - margin, right + margin)
    ax.set_ylim(bottom - margin, top + margin)
    ax.set_aspect(ratio)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    if crs is not None:
        _scale_bar(ax, left, (right - left + 2 * margin) * metres, metres)


def _per_unit(bounds: Any, crs: Any) -> tuple[float, float]:
    """Metres of a unit in x, and how many times as long a unit in y is."""
    if crs is not None and crs.is_geographic:
        narrow = max(0.05, math.cos(math.radians((bounds[1] + bounds[3]) / 2)))
        return _METRES_PER_DEGREE * narrow, 1 / narrow
    return (crs.axis_info[0].unit_conversion_factor if crs is not None and crs.axis_info else 1.0), 1.0


def _size(bounds: Any, ratio: float) -> tuple[float, float]:
    """Inches that leave little empty around a map of these proportions."""
    width, height = bounds[2] - bounds[0], (bounds[3] - bounds[1]) * ratio
    tall = 6.8 * height / width if width else 9.0
    return (8.0, min(9.0, max(3.0, tall + 0.9)))


def _scale_bar(ax: Any, left: float, width_m: float, metres: float) -> None:
    """A bar of a round length below the map, at most a quarter of its width."""
    offsetbox = load("matplotlib.transforms", _PURPOSE)
    power = 10 ** math.floor(math.log10(width_m / 4))
    length_m = next(step * power for step in (5, 2, 1) if step * power <= width_m / 4)
    place = offsetbox.blended_transform_factory(ax.transData, ax.transAxes)
    end = left + length_m / metres
    ax.plot(
        [left, end], [-0.02, -0.02], transform=place, color="0.2", linewidth=2, clip_on=False, solid_capstyle="butt"
    )
    text = f"{length_m / 1000:g} km" if length_m >= 1000 else f"{length_m:g} m"
    ax.text((left + end) / 2, -0.032, text, transform=place, ha="center", va="top", fontsize=9, color="0.2")
