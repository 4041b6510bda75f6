"""Which part of a job's results is wanted, and by which names."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from swathe.client.times import RawTimeInterval, format_interval, parse_datetime

FeatureNames = int | str | Iterable[int | str]
KEYS = ("feature_id", "identifier", "interval_from", "interval_to", "output", "band")


@dataclass(frozen=True)
class Selection:
    """Features by id or identifier, intervals by where they begin, one output and band; None is all.

    `start` and `end` are aware, and both are inside.
    """

    ids: frozenset[int] | None = None
    names: frozenset[str] = frozenset()
    start: dt.datetime | None = None
    end: dt.datetime | None = None
    output: str | None = None
    band: str | None = None

    @classmethod
    def of(
        cls,
        features: FeatureNames | None = None,
        intervals: RawTimeInterval = None,
        output: str | None = None,
        band: str | None = None,
    ) -> Selection:
        """The selection that a caller means: whole numbers are ids; a text is an identifier, or an id in digits.

        Raises:
            ValueError: `intervals` is no pair of times.
        """
        ids, names = None, frozenset[str]()
        if features is not None:
            listed = [features] if isinstance(features, str) or not isinstance(features, Iterable) else list(features)
            names = frozenset(one for one in listed if isinstance(one, str))
            ids = frozenset(int(one) for one in listed if not isinstance(one, str) or one.lstrip("-").isdecimal())
        start = end = None
        if intervals is not None:
            start, end = (_moment(side) for side in format_interval(intervals))
        return cls(ids, names, start, end, output, band)

    @property
    def is_of_features(self) -> bool:
        """Whether it names features."""
        return self.ids is not None

    def rows_of(self, frame: Any) -> Any:
        """The rows of a tidy frame that are selected, their index anew."""
        keep = None
        conditions = []
        if self.ids is not None:
            conditions.append(frame["feature_id"].isin(self.ids) | frame["identifier"].isin(self.names))
        if self.start is not None:
            conditions.append(frame["interval_from"] >= self.start)
        if self.end is not None:
            conditions.append(frame["interval_from"] <= self.end)
        if self.output is not None:
            conditions.append(frame["output"] == self.output)
        if self.band is not None:
            conditions.append(frame["band"] == self.band)
        for condition in conditions:
            keep = condition if keep is None else keep & condition
        return frame if keep is None else frame[keep].reset_index(drop=True)

    def missing_in(self, ids: Iterable[int], names: Iterable[str | None]) -> list[str]:
        """The features that are named, and are not among these."""
        found_ids, found_names = set(ids), set(names)
        lost = {str(one) for one in self.ids or () if one not in found_ids and str(one) not in found_names}
        lost |= {
            one
            for one in self.names
            if one not in found_names and not (one.lstrip("-").isdecimal() and int(one) in found_ids)
        }
        return sorted(lost)


def _moment(text: str) -> dt.datetime | None:
    if text == "..":
        return None
    moment = parse_datetime(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
