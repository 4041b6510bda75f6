"""Features over time as a grid of colours."""

from __future__ import annotations

import math
from typing import Any

from swathe.client.exceptions import WrongArgument
from swathe.client.extras import load
from swathe.client.map_plot import MISSING, Colours
from swathe.client.measures import Measure
from swathe.client.series_plot import new_axes

# So many rows have their names beside them, and so many are drawn; more are put together.
_NAMED = 40
_ROWS = 1_000
_LABELS = 7
_PURPOSE = "a picture"
SORTS = ("value", "peak", "id")


def draw_heatmap(measure: Measure, sort: str, colours: Colours, ax: Any = None) -> Any:
    """Draws a measure as rows of features and columns of intervals; see `Pictures.plot_heatmap`.

    Raises:
        WrongArgument: there is no such order, or no feature has a value in any interval.
    """
    numpy, pandas = load("numpy", _PURPOSE), load("pandas", _PURPOSE)
    if sort not in SORTS:
        raise WrongArgument(f"features are sorted by {', '.join(SORTS)}, not by '{sort}'")
    if not len(measure.frame):
        raise WrongArgument(
            f"there is no value of {measure.band} to draw: no interval of these features has a valid sample"
        )
    ids = numpy.unique(measure.frame["feature_id"].to_numpy())
    time_places, starts = pandas.factorize(measure.frame["interval_from"], sort=True)
    grid = numpy.full((len(ids), len(starts)), numpy.nan)
    grid[numpy.searchsorted(ids, measure.frame["feature_id"].to_numpy()), time_places] = measure.frame["value"]
    order = _order(numpy, grid, sort)
    norm, arrows = colours.norm(measure.frame["value"].to_numpy())
    together = math.ceil(len(ids) / _ROWS)
    shown = _put_together(numpy, grid[order], together)
    is_named = len(ids) <= _NAMED
    ax = new_axes((9, min(9.0, max(3.0, 1.6 + 0.24 * len(ids))) if is_named else 6.0)) if ax is None else ax
    ax.set_facecolor(MISSING)
    picture = ax.imshow(
        numpy.ma.masked_invalid(shown),
        cmap=colours.cmap,
        norm=norm,
        aspect="auto",
        interpolation="nearest",
        extent=(-0.5, len(starts) - 0.5, len(ids) - 0.5, -0.5),
    )
    places = _label_places(len(starts))
    ax.set_xticks(places, [_date_text(starts[at], starts) for at in places])
    ax.set_xlabel("Interval from (UTC)")
    if is_named:
        ax.set_yticks(range(len(ids)), [_short(measure.name_of(ids[at])) for at in order], fontsize=9)
    else:
        ax.set_ylabel(f"{len(ids):,} features" + (f", {together} to a row" if together > 1 else ""))
        ticker = load("matplotlib.ticker", _PURPOSE)
        ax.yaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
        ax.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
    bar = ax.figure.colorbar(picture, cax=ax.inset_axes((1.02, 0.0, 0.025, 1.0)), extend=arrows, extendfrac=0.03)
    bar.set_label(measure.label)
    if numpy.isnan(shown).any():
        sign = load("matplotlib.patches", _PURPOSE).Patch(facecolor=MISSING, edgecolor="0.6", label="no value")
        ax.legend(
            handles=[sign], loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False, borderaxespad=0.3, fontsize=9
        )
    left_out = measure.features - len(ids)
    notes = [_SORTED[sort], f"{left_out:,} without any value left out" if left_out else ""]
    ax.set_title(", ".join(note for note in notes if note), loc="left", fontsize=11)
    return ax


_SORTED = {
    "value": "Greatest mean on top",
    "peak": "Earliest greatest value on top",
    "id": "By id",
}


def _order(numpy: Any, grid: Any, sort: str) -> Any:
    """The rows of a grid in their order; every row has a value."""
    if sort == "id":
        return numpy.arange(len(grid))
    mean = numpy.nanmean(grid, axis=1)
    if sort == "value":
        return numpy.argsort(-mean, kind="stable")
    return numpy.lexsort((-mean, numpy.nanargmax(grid, axis=1)))


def _put_together(numpy: Any, grid: Any, together: int) -> Any:
    """Means of so many neighbouring rows, of those that have a value."""
    if together == 1:
        return grid
    rows = numpy.arange(0, len(grid), together)
    there = ~numpy.isnan(grid)
    counts = numpy.add.reduceat(there, rows, axis=0, dtype=numpy.int64)
    sums = numpy.add.reduceat(numpy.where(there, grid, 0.0), rows, axis=0)
    return numpy.where(counts > 0, sums / numpy.maximum(counts, 1), numpy.nan)


def _label_places(count: int) -> list[int]:
    """Columns that have their date below, so few that the dates have room."""
    return list(range(0, count, max(1, math.ceil(count / _LABELS))))


def _date_text(start: Any, starts: Any) -> str:
    whole = (starts == starts.normalize()).all()
    return f"{start:%Y-%m-%d}" if whole else f"{start:%Y-%m-%d}\n{start:%H:%M}"


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"
