"""Takes what was read through the script: cut into pieces of bounded size, small ones of several intervals together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from swathe.engine.evaluate import check_outputs, chunks
from swathe.engine.lanes import Lane
from swathe.engine.phases import SCRIPT, STATISTICS
from swathe.engine.results import Results
from swathe.engine.samples import source_columns, updated_script
from swathe.engine.task import UnitTask, UnitTools
from swathe.engine.timeline import Segment, SourceTimeline
from swathe.evalscript.columns import Batch, Evaluated
from swathe.evalscript.script import Evalscript
from swathe.grids.cover import Cells
from swathe.model.errors import ScriptError
from swathe.model.time import format_time
from swathe.sampling.mosaic import Mosaic

CHUNK_BYTES = 16 * 2**20
_CHUNK_CELLS, _LEAST_CHUNK_CELLS = 1_000_000, 20_000


@dataclass(frozen=True)
class Part:
    """Some features (first, last excluded) in one interval; `share` is what it is of the group's work."""

    interval: int
    first: int
    last: int
    share: float


@dataclass(frozen=True, eq=False)
class Piece:
    """Features (first, last excluded) of a segment, whose cells go through the script at once.

    `columns` is by source and layer what was read of all cells of the part.
    """

    part: Part
    segment: Segment
    first: int
    last: int
    columns: Sequence[Mapping[str, Mosaic]]

    def columns_bytes(self, starts: npt.NDArray[np.int64]) -> int:
        """What the columns of its features take; `starts` are the first cells of the group's features."""
        return int(starts[self.last] - starts[self.first]) * _cell_bytes(self.segment, self.columns)


def cut_pieces(
    part: Part,
    segments: Sequence[Segment],
    columns: Sequence[Mapping[str, Mosaic]],
    starts: npt.NDArray[np.int64],
) -> Iterator[Piece]:
    """What was read for a part, so much at once that all samples of a piece stay within some megabytes."""
    for segment in segments:
        most = CHUNK_BYTES // max(1, _cell_bytes(segment, columns))
        most = min(_CHUNK_CELLS, max(_LEAST_CHUNK_CELLS, most))
        for first, last in chunks(starts, segment.first, segment.last, most):
            yield Piece(part, segment, first, last, columns)


def _cell_bytes(segment: Segment, columns: Sequence[Mapping[str, Mosaic]]) -> int:
    """What the samples of a cell take."""
    return sum(
        1 + sum(values.itemsize for values, _, _ in mosaics[sample.layer].bands.values())
        for mosaics, samples in zip(columns, segment.samples, strict=True)
        for sample in samples
    )


class PieceEvaluator:
    """Runs the script over pieces of a group and hands over what it returns. May be used by several lanes."""

    def __init__(
        self,
        task: UnitTask,
        timelines: Sequence[SourceTimeline],
        tools: UnitTools,
        cells: Cells,
        results: Results,
    ) -> None:
        self._task = task
        self._timelines = timelines
        self._cells = cells
        self._results = results
        self._faults = {lane.number: results.finder(ScriptError) for lane in tools.lanes.lanes}
        self._in_one_call = "updateOutput" not in task.script.functions

    def run_all(self, pieces: Sequence[Piece], lane: Lane) -> None:
        """Takes pieces through the script, in as few calls as may be.

        Where it fails, those left go one by one, so that only those fail that it fails for.
        """
        left = dict(enumerate(pieces))
        if len(pieces) > 1 and self._in_one_call:
            try:
                for number in self._run_together(pieces, lane):
                    del left[number]
            except ScriptError as error:
                if error.retryable:
                    raise
                # others would fail as well, and what a script does for long is not to be done twice
                self._in_one_call = False
        for piece in left.values():
            self.run(piece, lane)

    def _run_together(self, pieces: Sequence[Piece], lane: Lane) -> Iterator[int]:
        """The numbers of the pieces that are done."""
        with lane.phases.of(SCRIPT):
            batches = [self._batch(piece) for piece in pieces]
            made = lane.host.evaluate_each(self._task.script, batches)
        while True:
            with lane.phases.of(SCRIPT):
                found = next(made, None)
            if found is None:
                return
            number, evaluated = found
            self._take(pieces[number], evaluated, self._task.script, lane)
            yield number

    def run(self, piece: Piece, lane: Lane) -> None:
        """Takes a piece through the script; where that fails, it is found out for which features."""
        interval = piece.part.interval

        def work(first: int, last: int) -> None:
            if self._results.wants(interval, first):
                self._run_once(replace(piece, first=first, last=last), lane)

        self._faults[lane.number].run(
            piece.first,
            piece.last,
            work,
            lambda first, last, error: self._results.fail(interval, first, last, error),
        )

    def _run_once(self, piece: Piece, lane: Lane) -> None:
        with lane.phases.of(SCRIPT):
            interval = self._task.intervals[piece.part.interval]
            script = updated_script(piece.segment, self._task.script, self._timelines, interval, lane.host)
            if script is not self._task.script:
                check_outputs(script, {})
            # done with before the host is called again
            evaluated = lane.host.evaluate(script, self._batch(piece), borrow=True)
        self._take(piece, evaluated, script, lane)

    def _take(self, piece: Piece, evaluated: Evaluated, script: Evalscript, lane: Lane) -> None:
        with lane.phases.of(STATISTICS):
            self._results.take(
                piece.part.interval, piece.segment, piece.first, piece.last, evaluated, script, self._cells
            )

    def _batch(self, piece: Piece) -> Batch:
        """What the script is given of a piece."""
        starts, interval = self._cells.starts, self._task.intervals[piece.part.interval]
        begin, end = (int(starts[feature] - starts[piece.part.first]) for feature in (piece.first, piece.last))
        sources = [
            source_columns(timeline, samples, [mosaics[sample.layer] for sample in samples], begin, end)
            for timeline, mosaics, samples in zip(self._timelines, piece.columns, piece.segment.samples, strict=True)
        ]
        return Batch(tuple(sources), format_time(interval.start), format_time(interval.end))
