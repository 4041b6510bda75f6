"""A tidy frame turned into a row for each feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swathe.client.extras import load

_PURPOSE = "a table"


class Wide:
    """A table with a column for each statistic, band and interval, the same for every piece of the results.

    First `look` at all pieces, then `plan`, then make the `table` of each.
    """

    def __init__(self, statistics: Sequence[str]) -> None:
        self.statistics = list(dict.fromkeys(statistics))
        self._seen: dict[tuple[Any, str, str], None] = {}
        self._names: dict[tuple[str, Any, str, str], str] = {}

    def look(self, frame: Any) -> None:
        """Takes in which intervals and bands a piece has."""
        there = frame[frame["output"].notna()]
        found = there[["interval_from", "output", "band"]].drop_duplicates()
        self._seen.update(dict.fromkeys(found.itertuples(index=False, name=None)))

    def plan(self) -> int:
        """Names the columns, by band, statistic and time, and gives their number."""
        bands = list(dict.fromkeys((output, band) for _, output, band in self._seen))
        outputs = [output for output, _ in bands]
        times = sorted({start for start, _, _ in self._seen})
        pattern = "%Y%m%d" if all(start == start.normalize() for start in times) else "%Y%m%dT%H%M"
        for output, band in bands:
            prefix = output if outputs.count(output) == 1 else f"{output}_{band}"
            for statistic in self.statistics:
                for start in times:
                    if (start, output, band) in self._seen:
                        name = f"{prefix}_{statistic}_{start.strftime(pattern)}"
                        self._names[statistic, start, output, band] = name
        return len(self._names)

    def table(self, frame: Any) -> Any:
        """The rows of a piece: a feature each, in the order of their ids, also of those without any value."""
        numpy, pandas = load("numpy", _PURPOSE), load("pandas", _PURPOSE)
        ids, first = numpy.unique(frame["feature_id"].to_numpy(), return_index=True)
        columns: dict[str, Any] = {
            "feature_id": ids,
            "identifier": frame["identifier"].iloc[first].reset_index(drop=True),
        }
        columns |= {name: numpy.full(len(ids), numpy.nan) for name in self._names.values()}
        places = numpy.searchsorted(ids, frame["feature_id"].to_numpy())
        values = {
            name: frame[name].astype("Float64").to_numpy("float64", na_value=numpy.nan) for name in self.statistics
        }
        groups = frame.groupby(["interval_from", "output", "band"], sort=False, dropna=True).indices
        for (start, output, band), rows in groups.items():
            for statistic in self.statistics:
                columns[self._names[statistic, start, output, band]][places[rows]] = values[statistic][rows]
        return pandas.DataFrame(columns)
