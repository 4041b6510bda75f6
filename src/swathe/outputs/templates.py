"""What the documents of many features have in common: the text of an interval's element with gaps for the numbers.

Entries that say the same kind of thing of an interval share a template, whatever features they are of. The numbers of
those features become columns; `outputs.filling` puts the two together.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import orjson

from swathe.outputs.documents import BandResult, IntervalEntry, percent_key
from swathe.outputs.filling import (
    BINS,
    COPY,
    HISTOGRAM_COLUMNS,
    INTEGER,
    MEASURE,
    NUMBER,
    UNLESS_ZERO,
)
from swathe.outputs.numbers import NumberList

BIN_PARTS = (b'{"lowEdge":', b',"highEdge":', b',"count":', b"}")

# Beyond it an int64 has no room for an edge; it is written as a float then.
_LARGEST_INTEGER = 2.0**63

# Some results of the same kind, and the rows that are wanted of each.
_Slices = Sequence[tuple[BandResult, slice]]


@dataclass
class Section:
    """Entries of one interval that have the same form and no feature in common; `opening` is their common beginning."""

    opening: bytes
    entries: list[IntervalEntry] = field(default_factory=list)

    @property
    def error(self) -> tuple[str, str] | None:
        """What all of them failed of."""
        return self.entries[0].error

    def within(self, first: int, last: int) -> Iterator[tuple[IntervalEntry, int, int]]:
        """The entries that have features from `first` to `last`, each with the features that are theirs."""
        for entry in self.entries:
            begin, end = max(first, entry.first), min(last, entry.last)
            if begin < end:
                yield entry, begin, end


def make_sections(entries: Iterable[IntervalEntry]) -> list[Section]:
    """Entries by interval and form, in the order of the intervals."""
    found: dict[Hashable, list[Section]] = {}
    sections: list[Section] = []
    for entry in sorted(entries, key=lambda entry: (entry.interval, entry.first)):
        alike = found.setdefault((entry.interval, _form(entry)), [])
        # they come in order, so that the last one tells whether they meet
        if not alike or alike[-1].entries[-1].last > entry.first:
            alike.append(Section(b'{"interval":' + orjson.dumps(entry.interval.to_wire())))
            sections.append(alike[-1])
        alike[-1].entries.append(entry)
    return sections


def _form(entry: IntervalEntry) -> Hashable:
    if entry.error is not None:
        return entry.error
    return tuple(
        (
            output,
            tuple(
                (
                    name,
                    band.percents if band.percentiles is not None else None,
                    band.histograms is not None,
                    band.weighted,
                )
                for name, band in bands.items()
            ),
        )
        for output, bands in entry.bands.items()
    )


class TemplateList:
    """The templates of some sections for a run of features, and the columns that fill their gaps.

    `rows` (sections, features) int32 says which row of a section's columns a feature has, -1 where it has none.
    """

    def __init__(self, sections: Sequence[Section], first: int, last: int) -> None:
        self.rows = np.full((len(sections), last - first), -1, np.int32)
        self.starts = np.zeros(len(sections) + 1, np.int64)
        self.constants = bytearray()
        self.numbers = NumberList(np.float64)
        self.integers = NumberList(np.int64)
        self._operations: list[tuple[int, int, int]] = []
        self._text = b""
        self._histograms: list[npt.NDArray[np.int64]] = []
        self._histogram_count = 0
        for number, section in enumerate(sections):
            count = 0
            parts = []
            for entry, begin, end in section.within(first, last):
                self.rows[number, begin - first : end - first] = np.arange(count, count + end - begin)
                count += end - begin
                parts.append((entry, slice(begin - entry.first, end - entry.first)))
            if parts:
                self._text = section.opening
                self._section(parts)
                self._end_text()
            self.starts[number + 1] = len(self._operations)

    @property
    def operations(self) -> npt.NDArray[np.int64]:
        """The operations of all templates (operations, 3)."""
        return np.array(self._operations, np.int64).reshape(-1, 3)

    @property
    def histograms(self) -> npt.NDArray[np.int64]:
        """The rows of all histograms (histograms, 4)."""
        if not self._histograms:
            return np.zeros((0, HISTOGRAM_COLUMNS), np.int64)
        return np.concatenate(self._histograms)

    def _section(self, parts: Sequence[tuple[IntervalEntry, slice]]) -> None:
        first = parts[0][0]
        if first.error is not None:
            kind, message = first.error
            self._text += b',"error":' + orjson.dumps({"type": kind, "message": message}) + b"}"
            return
        self._text += b',"outputs":{'
        for place, (output, bands) in enumerate(first.bands.items()):
            self._text += _key(output, place) + b'{"bands":{'
            for number, band in enumerate(bands):
                self._text += _key(band, number) + b"{"
                self._band([(entry.bands[output][band], rows) for entry, rows in parts])
                self._text += b"}"
            self._text += b"}}"
        self._text += b"}}"

    def _band(self, results: _Slices) -> None:
        shape = results[0][0]
        self._text += b'"stats":{"min":'
        self._gap(MEASURE, self.numbers.add([result.summary.minimum[rows] for result, rows in results]))
        self._text += b',"max":'
        self._gap(MEASURE, self.numbers.add([result.summary.maximum[rows] for result, rows in results]))
        self._text += b',"mean":'
        self._gap(MEASURE, self.numbers.add([result.summary.mean[rows] for result, rows in results]))
        self._text += b',"stDev":'
        self._gap(MEASURE, self.numbers.add([result.summary.deviation[rows] for result, rows in results]))
        self._text += b',"sampleCount":'
        self._gap(INTEGER, self.integers.add([result.sample_count[rows] for result, rows in results]))
        self._text += b',"noDataCount":'
        self._gap(
            INTEGER,
            self.integers.add([result.sample_count[rows] - result.summary.count[rows] for result, rows in results]),
        )
        if shape.weighted:
            self._text += b',"weightSum":'
            self._gap(NUMBER, self.numbers.add([result.summary.weight[rows] for result, rows in results]))
        if shape.percentiles is not None:
            self._percentiles(results)
        self._text += b"}"
        if shape.histograms is not None:
            self._histogram(results)

    def _percentiles(self, results: _Slices) -> None:
        """The percentiles, for features that have a valid sample."""
        self._end_text()
        condition = len(self._operations)
        begin = self.integers.add([result.summary.count[rows] for result, rows in results])
        self._operations.append((UNLESS_ZERO, begin, 0))
        self._text = b',"percentiles":{'
        # one that is named twice stands where it is named first
        places = {percent_key(percent): place for place, percent in enumerate(results[0][0].percents)}
        for number, (key, place) in enumerate(places.items()):
            self._text += _key(key, number)
            columns = [result.percentiles[rows, place] for result, rows in results if result.percentiles is not None]
            self._gap(NUMBER, self.numbers.add(columns))
        self._text += b"}"
        self._end_text()
        self._operations[condition] = (UNLESS_ZERO, begin, len(self._operations) - condition - 1)

    def _histogram(self, results: _Slices) -> None:
        weighted = results[0][0].weighted
        counts, count = (self.numbers, NUMBER) if weighted else (self.integers, INTEGER)
        self._text += b',"histogram":{"bins":['
        begin = self._histogram_count
        for result, rows in results:
            self._bins(result, rows, counts)
        self._gap(BINS, begin, int(weighted))
        found = [(result.histograms, rows) for result, rows in results if result.histograms is not None]
        self._text += b'],"overflowCount":'
        self._gap(count, counts.add([_counts(each.over[rows], counts) for each, rows in found]))
        self._text += b',"underflowCount":'
        self._gap(count, counts.add([_counts(each.under[rows], counts) for each, rows in found]))
        self._text += b"}"

    def _bins(self, result: BandResult, rows: slice, counts: NumberList) -> None:
        """Puts the edges and counts of some features among the numbers, and where they are into a table."""
        histograms = result.histograms
        if histograms is None or rows.start == rows.stop:
            return
        starts = histograms.starts[rows.start : rows.stop + 1]
        lengths = np.diff(starts)
        edges = histograms.edges[starts[0] : starts[-1]]
        table = np.zeros((len(lengths), HISTOGRAM_COLUMNS), np.int64)
        table[:, 1] = np.maximum(lengths - 1, 0)
        if lengths[0] and (lengths == lengths[0]).all() and _all_alike(edges.reshape(-1, lengths[0])):
            # their texts are made once
            edges = edges[: lengths[0]]
            table[:, 0] = self.numbers.add([edges])
            table[:, 3] = result.integer_edges and bool(_are_whole(edges).all())
        else:
            table[:, 0] = self.numbers.add([edges]) + starts[:-1] - starts[0]
            if result.integer_edges:
                broken = np.concatenate([[0], np.cumsum(~_are_whole(edges))])
                table[:, 3] = broken[starts[1:] - starts[0]] == broken[starts[:-1] - starts[0]]
        first = np.arange(rows.start, rows.stop)
        begin, end = int(starts[0]) - rows.start, int(starts[-1]) - rows.stop
        table[:, 2] = counts.add([_counts(histograms.counts[begin:end], counts)]) + (starts[:-1] - first) - begin
        self._histograms.append(table)
        self._histogram_count += len(table)

    def _gap(self, kind: int, begin: int, more: int = 0) -> None:
        self._end_text()
        self._operations.append((kind, begin, more))

    def _end_text(self) -> None:
        if self._text:
            begin = len(self.constants)
            self.constants += self._text
            self._operations.append((COPY, begin, len(self.constants)))
            self._text = b""


def _key(name: str, place: int) -> bytes:
    """A key of an object with its colon, and the comma before it unless it is the first."""
    return (b"," if place else b"") + orjson.dumps(name) + b":"


def _counts(counts: npt.NDArray[np.float64], kind: NumberList) -> npt.NDArray[np.float64] | npt.NDArray[np.int64]:
    return counts.astype(np.int64) if kind.is_integer else counts


def _all_alike(edges: npt.NDArray[np.float64]) -> bool:
    """Whether all rows are the same to the bit: 0.0 and -0.0 have different texts."""
    bits = edges.view(np.int64)
    return bool((bits == bits[0]).all())


def _are_whole(edges: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    whole: npt.NDArray[np.bool_] = (edges == np.floor(edges)) & (np.abs(edges) < _LARGEST_INTEGER)
    return whole
