"""Results on a terminal: features by their last intervals, and one feature's whole series."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from swathe.client.frame import is_percentile
from swathe.client.measures import Wanted, check_statistic, feature_label, interval_text, measure_of
from swathe.client.selection import KEYS
from swathe.client.times import RawTimeInterval
from swathe.model.errors import ObjectNotFound

if TYPE_CHECKING:
    from rich.console import Console

    from swathe.client.results import BatchStatisticalResults

_NONE = "–"
_REASON = 60
_NAME = 40
# What a table takes of a line besides the identifiers, and for an interval.
_ID_COLUMNS = 12
_INTERVAL_COLUMNS = 12
_HEADS = {"sampleCount": "samples", "noDataCount": "no data"}
_NO_TERMINAL_COLUMNS = 160
_NO_INTERVAL = "No interval has a result: no scene over what was asked for is in its time."


@dataclass(frozen=True)
class Question:
    """What is asked of some results."""

    features: list[str] | None
    intervals: RawTimeInterval
    output: str | None
    band: str | None
    statistic: str


@dataclass(frozen=True)
class FeaturesTable:
    """A statistic of some features in some intervals: `values` by feature, then interval, None where there is none.

    `errors` has the reason why a feature, or one of its intervals, failed.
    """

    label: str
    statistic: str
    band: str
    intervals: list[tuple[Any, Any]]
    features: list[tuple[Any, str | None]]
    values: list[list[float | None]]
    errors: list[str | None]
    count: int

    def as_json(self) -> dict[str, Any]:
        """Numbers and texts alone."""
        return {
            "statistic": self.statistic,
            "band": self.band,
            "intervals": [_interval_json(*interval) for interval in self.intervals],
            "features": [
                {"id": feature_id, "identifier": identifier, "values": values, "error": error}
                for (feature_id, identifier), values, error in zip(self.features, self.values, self.errors, strict=True)
            ],
            "featureCount": self.count,
        }

    def print(self, console: Console) -> None:
        """As a table."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("id", justify="right", no_wrap=True)
        table.add_column("identifier", no_wrap=True)
        first = max(0, len(self.intervals) - self._room(console.width))
        for interval in self.intervals[first:]:
            table.add_column(_interval_head(*interval), justify="right", no_wrap=True)
        has_errors = any(self.errors)
        if has_errors:
            table.add_column("error")
        for (feature_id, identifier), values, error in zip(self.features, self.values, self.errors, strict=True):
            cells: list[Any] = [
                str(feature_id),
                Text(_cut(identifier or "", _NAME)),
                *(_cell(value) for value in values[first:]),
            ]
            table.add_row(*cells, *([Text(_cut(error or ""), style="red")] if has_errors else []))
        if self.intervals:
            console.print(Text(self.label, style="dim"))
        elif not has_errors:
            console.print(_NO_INTERVAL)
        if self.features:
            console.print(table)
        if self.features and self.count > len(self.features):
            left = self.count - len(self.features)
            console.print(f"… and {left:,} more; --limit shows them, --feature one of them", style="dim")

    def _room(self, width: int) -> int:
        """How many intervals fit on a line, at least one."""
        names = max((min(_NAME, len(identifier or "")) for _, identifier in self.features), default=0)
        return max(1, (width - max(10, names) - _ID_COLUMNS) // _INTERVAL_COLUMNS)


@dataclass(frozen=True)
class SeriesTable:
    """All that is known of one feature: rows of a tidy frame as dictionaries."""

    feature_id: Any
    identifier: str | None
    rows: list[dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """Numbers and texts alone."""
        rows = [
            {
                **_interval_json(row["interval_from"], row["interval_to"]),
                **{k: row[k] for k in row if k not in KEYS[:4]},
            }
            for row in self.rows
        ]
        return {"id": self.feature_id, "identifier": self.identifier, "intervals": rows}

    def print(self, console: Console) -> None:
        """As a table."""
        from rich.table import Table
        from rich.text import Text

        shown = [name for name in self.rows[0] if name not in (*KEYS, "histogram", "error")]
        shown = [name for name in shown if any(row[name] is not None for row in self.rows)]
        pairs = {(row["output"], row["band"]) for row in self.rows if row["output"] is not None}
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("interval", no_wrap=True)
        if len(pairs) > 1:
            table.add_column("band", no_wrap=True)
        for name in shown:
            table.add_column(_HEADS.get(name, name), justify="right", no_wrap=True)
        has_errors = any(row["error"] for row in self.rows)
        if has_errors:
            table.add_column("error")
        for row in self.rows:
            begins = row["interval_from"] is not None
            cells: list[Any] = [_interval_short(row["interval_from"], row["interval_to"]) if begins else ""]
            if len(pairs) > 1:
                cells.append(Text("/".join(str(row[name]) for name in ("output", "band") if row[name] is not None)))
            cells += [_cell(row[name]) for name in shown]
            table.add_row(*cells, *([Text(_cut(row["error"] or ""), style="red")] if has_errors else []))
        console.print(Text(feature_label(self.feature_id, self.identifier), style="bold"))
        has_intervals = any(row["interval_from"] is not None for row in self.rows)
        console.print(table if has_intervals or has_errors else _NO_INTERVAL)


def make_console() -> Console:
    """Standard output; wide enough for a table where it is no terminal."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _NO_TERMINAL_COLUMNS
    return console


def features_table(results: BatchStatisticalResults, question: Question, limit: int, last: int) -> FeaturesTable:
    """The statistic of the named features, or of the first ones, in their last intervals that have any value."""
    wanted: list[Any]
    if question.features:
        wanted, count = question.features[:limit], len(question.features)
    else:
        wanted, count = results.first_features(limit)
    if not count:
        place = f"{results.location.root}/{results.location.template}"
        raise ObjectNotFound(f"There are no results {place}; name the folder that a job wrote them to")
    asked = Wanted(question.statistic, question.output, question.band)
    if results.has_tables():
        known = results.columns()
        check_statistic(asked, known)
        columns = dict.fromkeys([*KEYS, *asked.columns, "error"])
        frame = results.to_dataframe(wanted, question.intervals, [name for name in known if name in columns])
    else:
        frame = results.to_dataframe(wanted, question.intervals)
        check_statistic(asked, frame.columns)
    features = list(
        frame.drop_duplicates("feature_id")[["feature_id", "identifier"]].itertuples(index=False, name=None)
    )
    failed = frame[frame["error"].notna()]
    errors = dict(zip(failed["feature_id"], failed["error"], strict=True))
    listed = [(feature_id, _text(identifier)) for feature_id, identifier in features]
    reasons = [errors.get(feature_id) for feature_id, _ in features]
    if frame["output"].notna().any():
        measure = measure_of(frame, asked)
        grid = measure.frame.pivot(index="feature_id", columns="interval_from", values="value")
        grid = grid.reindex([feature_id for feature_id, _ in features])
        ends = dict(measure.intervals.itertuples(index=False, name=None))
        starts = list(grid.columns)[-last:] or list(ends)[-last:]
        values = [[_number(value) for value in row] for row in grid.reindex(columns=starts).to_numpy()]
        intervals = [(start, ends[start]) for start in starts]
        return FeaturesTable(measure.label, measure.statistic, measure.band, intervals, listed, values, reasons, count)
    return FeaturesTable("", question.statistic, "", [], listed, [[] for _ in listed], reasons, count)


def series_table(results: BatchStatisticalResults, question: Question) -> SeriesTable:
    """All intervals and statistics of the one feature that is named."""
    frame = results.to_dataframe(question.features, question.intervals, output=question.output, band=question.band)
    if not len(frame):
        raise ObjectNotFound(f"There is nothing of feature {', '.join(question.features or ())} that was asked for")
    names = [name for name in frame.columns if name in KEYS or not is_percentile(name) or frame[name].notna().any()]
    rows = [
        {name: _plain(value) for name, value in zip(names, row, strict=True)}
        for row in frame[names].itertuples(index=False, name=None)
    ]
    return SeriesTable(rows[0]["feature_id"], rows[0]["identifier"], rows)


def _plain(value: Any) -> Any:
    """A value of a frame as Python has it; None for nothing."""
    if isinstance(value, dict):
        return value
    if value is None or str(value) in ("NaT", "<NA>") or value != value:  # <NA> is neither equal nor unequal
        return None
    return value.item() if hasattr(value, "item") else value


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _cell(value: Any) -> str:
    if value is None:
        return _NONE
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _cut(text: str, length: int = _REASON) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _interval_head(start: Any, end: Any) -> str:
    return _interval_short(start, end).replace(" to ", "\nto ")


def _interval_short(start: Any, end: Any) -> str:
    """`2024-06-01 to 06-30`: the year once where it is the same."""
    return interval_text(start, end).replace(f" to {start:%Y}-", " to ")


def _interval_json(start: Any, end: Any) -> dict[str, str | None]:
    def text(moment: Any) -> str | None:
        return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    return {"from": text(start), "to": text(end)}
