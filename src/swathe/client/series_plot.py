"""A statistic over time: lines with their spread for a few features, ranges of all of them for many."""

from __future__ import annotations

from typing import Any

from swathe.client.exceptions import WrongArgument
from swathe.client.extras import load
from swathe.client.measures import Measure

MOST_LINES = 8
# Okabe and Ito's colours without the yellow, which is faint on white; with a marker each, so that colour is not all.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7F7F7F")
_MARKERS = "osD^vPX*"
_RANGES = ((5, 95, 0.18, "nine tenths of the features"), (25, 75, 0.35, "half of the features"))
_FEW_SPREADS = 4
# An interval in which so small a share of the features has a value says little of all of them.
_LEAST_SHARE = 0.05
_PURPOSE = "a picture"
# Days with their month, since a short season often has two; years, months, days, hours, minutes, seconds.
_DATES = {
    "formats": ["%Y", "%b", "%d %b", "%H:%M", "%H:%M", "%S.%f"],
    "zero_formats": ["", "%Y", "%d %b", "%d %b", "%H:%M", "%H:%M"],
    "offset_formats": ["", "%Y", "%Y", "%Y-%m-%d", "%Y-%m-%d", "%Y-%m-%d %H:%M"],
}


def draw_series(measure: Measure, ax: Any = None) -> Any:
    """Draws a measure over time; see `Pictures.plot_series`.

    Raises:
        WrongArgument: no feature has a value in any interval.
    """
    if not len(measure.frame):
        raise WrongArgument(
            f"there is no value of {measure.band} to draw: no interval of these features has a valid sample"
        )
    ax = new_axes((9, 4.5)) if ax is None else ax
    if measure.features <= MOST_LINES:
        _draw_lines(measure, ax)
    else:
        _draw_ranges(measure, ax)
    dates = load("matplotlib.dates", _PURPOSE)
    locator = dates.AutoDateLocator(minticks=4, maxticks=9)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, **_DATES))
    ax.set_ylabel(measure.label)
    ax.set_xlabel("Date (UTC)")
    ax.grid(visible=True, color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.margins(x=0.02)
    return ax


def new_axes(size: tuple[float, float]) -> Any:
    """Axes of a new figure of this width and height in inches."""
    _, ax = load("matplotlib.pyplot", _PURPOSE).subplots(figsize=size, layout="constrained")
    return ax


def _draw_lines(measure: Measure, ax: Any) -> None:
    groups = list(measure.frame.groupby("feature_id", sort=True))
    has_spread = measure.statistic == "mean"
    for number, (feature_id, rows) in enumerate(groups):
        rows = rows.sort_values("interval_from")
        times = _middles(measure, rows)
        colour = _COLOURS[number % len(_COLOURS)]
        ax.plot(
            times,
            rows["value"].to_numpy(),
            color=colour,
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=4.5,
            linewidth=1.6,
            label=measure.name_of(feature_id),
        )
        if has_spread:
            low, high = rows["value"] - rows["spread"], rows["value"] + rows["spread"]
            opacity = 0.18 if len(groups) <= _FEW_SPREADS else 0.09
            ax.fill_between(times, low.to_numpy(), high.to_numpy(), color=colour, alpha=opacity, linewidth=0)
    subject = measure.name_of(groups[0][0]) if len(groups) == 1 else ""
    more = "± standard deviation" if has_spread else ""
    ax.set_title(", ".join(part for part in (subject, more) if part), loc="left", fontsize=11)
    if len(groups) > 1:
        _legend(ax)


def _draw_ranges(measure: Measure, ax: Any) -> None:
    numpy = load("numpy", _PURPOSE)
    rows = measure.frame.sort_values("interval_from", kind="stable")
    starts, first = numpy.unique(rows["interval_from"].dt.tz_localize(None).to_numpy(), return_index=True)
    values = numpy.split(rows["value"].to_numpy(), first[1:])
    enough = max(len(one) for one in values) * _LEAST_SHARE
    kept = [at for at in range(len(starts)) if len(values[at]) >= enough]
    times = _middles(measure, rows.iloc[first[kept]])
    percents = sorted({50, *(side for low, high, _, _ in _RANGES for side in (low, high))})
    found = numpy.array([numpy.percentile(values[at], percents) for at in kept])
    for low, high, opacity, name in _RANGES:
        sides = found[:, percents.index(low)], found[:, percents.index(high)]
        ax.fill_between(times, *sides, color=_COLOURS[0], alpha=opacity, linewidth=0, label=name)
    ax.plot(times, found[:, percents.index(50)], color=_COLOURS[0], marker="o", markersize=4, label="median")
    ax.set_title(f"{measure.features:,} features", loc="left", fontsize=11)
    _legend(ax)


def _middles(measure: Measure, rows: Any) -> Any:
    """The middles of the rows' intervals in UTC, as matplotlib takes them."""
    ends = measure.intervals.drop_duplicates("interval_from").set_index("interval_from")["interval_to"]
    starts = rows["interval_from"]
    middles = starts + (starts.map(ends) - starts) / 2
    return middles.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()


def _legend(ax: Any) -> None:
    """Beside the data, never over it."""
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, frameon=False, fontsize=9)
