"""One statistic of one band, taken out of a tidy frame: what every picture shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swathe.client.exceptions import WrongArgument
from swathe.client.extras import load
from swathe.client.frame import is_percentile
from swathe.client.selection import KEYS
from swathe.client.times import parse_datetime

_NOT_NUMBERS = (*KEYS, "histogram", "error")
_ALIASES = {"median": "p50.0", "st_dev": "stDev", "std": "stDev"}
_WORDS = {
    "mean": "mean",
    "min": "minimum",
    "max": "maximum",
    "stDev": "standard deviation",
    "p50.0": "median",
    "sampleCount": "number of samples",
    "noDataCount": "number of samples without data",
    "weightSum": "sum of weights",
}
_COUNTS = ["sampleCount", "noDataCount"]
_INTERVAL = ["interval_from", "interval_to"]
_VALUE_COLUMNS = ["feature_id", "interval_from", "value", "spread"]
# Of more features nobody draws the standard deviation.
_SPREADS = 8


@dataclass(frozen=True)
class Measure:
    """Values of the statistic, and how it is called in a picture.

    `frame` has `feature_id`, `interval_from`, `value` (float64, never NaN) and `spread`, the standard deviation or NaN.
    `intervals` are all the job's `interval_from` and `interval_to` in their order, `features` says how many features there
    are, also without a value, and `names` has the identifiers of some.
    """

    frame: Any
    statistic: str
    band: str
    label: str
    intervals: Any
    features: int
    names: Mapping[Any, Any]

    def name_of(self, feature_id: Any) -> str:
        """How a feature is called."""
        return feature_label(feature_id, self.names.get(feature_id))


@dataclass(frozen=True)
class Wanted:
    """Which statistic is wanted of which output and band, None for the first, and of how many valid samples.

    Raises:
        WrongArgument: `min_valid` is no share.
    """

    statistic: str = "mean"
    output: str | None = None
    band: str | None = None
    min_valid: float = 0.0
    label: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.min_valid <= 1:
            raise WrongArgument(f"min_valid is a share between 0 and 1, not {self.min_valid}")

    @property
    def column(self) -> str:
        """The statistic's column: `median` is `p50.0`, `p5` is `p5.0`."""
        return statistic_name(self.statistic)

    @property
    def columns(self) -> list[str]:
        """What must be read of the rows of one band."""
        return list(dict.fromkeys(["feature_id", *_INTERVAL, self.column, "stDev", *_COUNTS]))


def statistic_name(statistic: str) -> str:
    """The column that a name means."""
    name = _ALIASES.get(statistic, statistic)
    return f"{name}.0" if is_percentile(name) and "." not in name else name


def find_pairs(frame: Any) -> list[tuple[str, str]]:
    """The outputs and bands of a tidy frame, in their order."""
    there = frame[["output", "band"]].dropna().drop_duplicates()
    return list(there.itertuples(index=False, name=None))


def choose_pair(pairs: Sequence[tuple[str, str]], wanted: Wanted) -> tuple[str, str]:
    """The output and band that are wanted.

    Raises:
        WrongArgument: there is no such one.
    """
    if not pairs:
        raise WrongArgument(
            "there is nothing to show: of what was asked for no interval has a result, since there was no scene, or it failed"
        )
    fitting = [one for one in pairs if wanted.output in (None, one[0]) and wanted.band in (None, one[1])]
    if not fitting:
        asked = "/".join(one for one in (wanted.output, wanted.band) if one is not None)
        raise WrongArgument(f"there is no output and band '{asked}'; there are {_listed(pairs)}")
    return fitting[0]


def check_statistic(wanted: Wanted, columns: Iterable[str]) -> None:
    """Whether results with these columns have the statistic.

    Raises:
        WrongArgument: they have not.
    """
    known = [one for one in columns if one not in _NOT_NUMBERS]
    if wanted.column not in known:
        raise WrongArgument(f"there is no statistic '{wanted.column}'; there are {', '.join(known)}")


def measure_of(frame: Any, wanted: Wanted) -> Measure:
    """The measure in a tidy frame that has all keys, the counts and the statistic.

    Raises:
        WrongArgument: there is no such output, band or statistic.
    """
    check_statistic(wanted, frame.columns)
    pairs = find_pairs(frame)
    pair = choose_pair(pairs, wanted)
    named = frame.drop_duplicates("feature_id")
    names = dict(zip(named["feature_id"], named["identifier"], strict=True))
    rows = frame[(frame["output"] == pair[0]) & (frame["band"] == pair[1])]
    return collect_measure([rows], pairs, wanted, len(named), names)


def collect_measure(
    frames: Iterable[Any],
    pairs: Sequence[tuple[str, str]],
    wanted: Wanted,
    features: int,
    names: Mapping[Any, Any],
) -> Measure:
    """The measure in frames of one output and band, each with whole features and the columns of `Wanted.columns`.

    Left out are rows without a valid sample, as under clouds that the script masks, and those with fewer than `min_valid`
    of the valid samples that the feature has in its best interval. Of each frame only what is drawn is kept.
    """
    pandas = load("pandas", "a picture")
    output, band = choose_pair(pairs, wanted)
    kept, intervals = [], []
    for frame in frames:
        intervals.append(frame[_INTERVAL].drop_duplicates())
        valid = (frame["sampleCount"] - frame["noDataCount"]).astype("Float64").astype("float64")
        values = frame[wanted.column].astype("Float64").astype("float64")
        keep = values.notna() & (valid > 0)
        if wanted.min_valid > 0:
            keep &= valid >= wanted.min_valid * valid.groupby(frame["feature_id"]).transform("max")
        rows = frame[["feature_id", "interval_from"]].assign(value=values)
        if features <= _SPREADS:
            rows["spread"] = frame["stDev"]
        kept.append(rows[keep])
    known = pandas.concat(intervals) if intervals else pandas.DataFrame(columns=_INTERVAL)
    rows = pandas.concat(kept, ignore_index=True) if kept else pandas.DataFrame(columns=_VALUE_COLUMNS)
    bands = [one for one in pairs if one[0] == output]
    band_name = output if len(bands) == 1 else f"{output} {band}"
    shown = wanted.label or f"{_in_words(wanted.column)} of {band_name}"
    return Measure(
        rows,
        wanted.column,
        band_name,
        shown[:1].upper() + shown[1:],
        known.drop_duplicates().sort_values("interval_from", ignore_index=True),
        features,
        names,
    )


def find_interval(measure: Measure, at: Any) -> tuple[Any, Any]:
    """The interval that has a moment in it; for None the one with values of most features, the latest of these.

    Raises:
        WrongArgument: no interval has it, or there are no values at all.
    """
    pandas = load("pandas", "a picture")
    intervals = measure.intervals
    if not len(intervals):
        raise WrongArgument(f"there are no values of {measure.band}: every feature or interval failed")
    if at is None:
        counts = measure.frame.groupby("interval_from").size()
        best = counts.index[counts == counts.max()].max() if len(counts) else intervals["interval_from"].iloc[-1]
        found = intervals[intervals["interval_from"] == best]
    else:
        try:
            moment = pandas.Timestamp(parse_datetime(at) if isinstance(at, str) else at)
        except (ValueError, TypeError):
            raise WrongArgument(f"'{at}' is no time; write it as 2024-06-01") from None
        moment = moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")
        found = intervals[(intervals["interval_from"] <= moment) & (moment < intervals["interval_to"])]
        if not len(found):
            near = intervals.iloc[(intervals["interval_from"] - moment).abs().argmin()]
            raise WrongArgument(
                f"no interval of the job has {at} in it; the nearest begins on"
                f" {interval_text(near['interval_from'], near['interval_to'])}"
            )
    return found["interval_from"].iloc[0], found["interval_to"].iloc[0]


def interval_text(start: Any, end: Any) -> str:
    """`2024-06-01`, or `2024-06-01 to 2024-06-30`, the last day inside; with times where it is no whole days."""
    pandas = load("pandas", "a picture")
    if start == start.normalize() and end == end.normalize():
        last = end - pandas.Timedelta(days=1)
        return f"{start:%Y-%m-%d}" if last <= start else f"{start:%Y-%m-%d} to {last:%Y-%m-%d}"
    if end - start <= pandas.Timedelta(days=1):
        return f"{start:%Y-%m-%d %H:%M} to {end:%H:%M} UTC"
    return f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"


def feature_label(feature_id: Any, identifier: Any) -> str:
    """How a feature is called: its identifier, else its id."""
    return identifier if isinstance(identifier, str) and identifier else f"{feature_id}"


def _listed(pairs: Iterable[tuple[str, str]]) -> str:
    names = ["/".join(pair) for pair in pairs]
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _in_words(name: str) -> str:
    if name in _WORDS:
        return _WORDS[name]
    return f"{float(name[1:]):g} % percentile" if is_percentile(name) else name
