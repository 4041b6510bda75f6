"""Runs the script over the cells of a segment of features and takes the statistics of what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from swathe.evalscript.columns import Evaluated
from swathe.evalscript.script import Evalscript, OutputSpec, SampleType
from swathe.model.errors import ScriptError, ScriptLost, ScriptMemory, ScriptTimeout, SwatheError
from swathe.model.statistical import BandStatistics, Calculation, Histogram
from swathe.outputs.documents import BandResult
from swathe.statistics.distribution import histograms, percentiles
from swathe.statistics.summary import summarise, valid_cells

DATA_MASK_OUTPUT = "dataMask"
_NUMBERS_PER_ROW = 6
_USUAL_BINS = 100


@dataclass(frozen=True)
class BandCalculation:
    """What is computed for one band of one output."""

    percents: tuple[float, ...]
    histogram: Histogram | None

    @property
    def rows(self) -> float:
        """What it takes in memory, in rows of basic statistics."""
        bins = 0 if self.histogram is None else self.histogram.known_bins or _USUAL_BINS
        return 1 + (len(self.percents) + 2 * bins) / _NUMBERS_PER_ROW


def check_outputs(script: Evalscript, calculations: Mapping[str, Calculation]) -> None:
    """The statistical services' own demands on a script.

    Raises:
        ScriptError: there is no dataMask output, it masks nothing, nothing else is output, or `calculations` names what
            is not there.
    """
    outputs = {output.id: output for output in script.outputs}
    mask = outputs.pop(DATA_MASK_OUTPUT, None)
    if mask is None:
        raise ScriptError(
            "The evalscript has no output 'dataMask', which the statistical services need;"
            ' add {id: "dataMask", bands: 1} to the output of setup() and return it from evaluatePixel()'
        )
    if not outputs:
        raise ScriptError("The evalscript has no output but dataMask; add one to compute statistics of")
    if len(mask.bands) > 1 and not set(mask.bands) & set(outputs):
        raise ScriptError(
            f"The bands of the output dataMask ({', '.join(mask.bands)}) name no output ({', '.join(outputs)});"
            " use bands: 1 to mask all, or the names of the outputs"
        )
    for name, calculation in calculations.items():
        if name == "default":
            continue
        if name not in outputs:
            raise ScriptError(f"calculations names '{name}', but the script's outputs are {', '.join(outputs)}")
        for band in {**(calculation.statistics or {}), **(calculation.histograms or {})}:
            if "updateOutput" in script.functions:
                continue  # which bands there are is not known before the scenes are
            if band != "default" and band not in outputs[name].bands:
                raise ScriptError(
                    f"calculations.{name} names the band '{band}', but that output has {', '.join(outputs[name].bands)}"
                )


def calculations_of(output: OutputSpec, calculations: Mapping[str, Calculation]) -> dict[str, BandCalculation]:
    """What is computed for each band: its own entry, else the output's `default`; a named output takes nothing from the
    default output."""
    chosen = calculations.get(output.id, calculations.get("default", Calculation()))
    statistics = chosen.statistics or {}
    wanted_histograms = chosen.histograms or {}
    found = {}
    for band in output.bands:
        statistic = statistics.get(band, statistics.get("default", BandStatistics()))
        percents = statistic.percentiles.k if statistic.percentiles is not None else ()
        found[band] = BandCalculation(percents, wanted_histograms.get(band, wanted_histograms.get("default")))
    return found


@dataclass(frozen=True)
class BandValues:
    """One band of one output as the script returned it: values (cells), `valid` (cells) uint8, and what is wanted of them."""

    output: str
    band: str
    values: npt.NDArray[np.generic]
    valid: npt.NDArray[np.uint8]
    wanted: BandCalculation
    integer_edges: bool


def band_values(
    evaluated: Evaluated, script: Evalscript, calculations: Mapping[str, Calculation]
) -> Iterator[BandValues]:
    """Every band of every output but dataMask, in their order."""
    mask_spec = next(output for output in script.outputs if output.id == DATA_MASK_OUTPUT)
    masks = evaluated.outputs[DATA_MASK_OUTPUT]
    names = {output.id for output in script.outputs} - {DATA_MASK_OUTPUT}
    for output in script.outputs:
        if output.id == DATA_MASK_OUTPUT:
            continue
        if len(mask_spec.bands) == 1 and mask_spec.bands[0] not in names:
            mask = masks[0]
        elif output.id in mask_spec.bands:
            mask = masks[mask_spec.bands.index(output.id)]
        else:
            mask = None
        plan = calculations_of(output, calculations)
        for number, band in enumerate(output.bands):
            values = evaluated.outputs[output.id][number]
            wanted = plan[band]
            integer_edges = (
                output.sample_type not in (SampleType.FLOAT32, SampleType.AUTO)
                and wanted.histogram is not None
                and has_integer_edges(wanted.histogram)
            )
            yield BandValues(output.id, band, values, valid_cells(values, mask), wanted, integer_edges)


def take_statistics(
    evaluated: Evaluated,
    script: Evalscript,
    calculations: Mapping[str, Calculation],
    *,
    starts: npt.NDArray[np.int64],
    sample_count: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float64] | None,
    max_bins: int,
) -> dict[str, dict[str, BandResult]]:
    """Statistics by output and band over features whose cells begin at `starts` (features + 1).

    Args:
        sample_count: (features) cells of each box.
    """
    results: dict[str, dict[str, BandResult]] = {}
    for found in band_values(evaluated, script, calculations):
        values, valid, wanted = found.values, found.valid, found.wanted
        summary = summarise(values, valid, weights, starts)
        results.setdefault(found.output, {})[found.band] = BandResult(
            summary,
            sample_count,
            wanted.percents,
            percentiles(values, valid, weights, starts, wanted.percents) if wanted.percents else None,
            histograms(
                values,
                valid,
                weights,
                starts,
                wanted.histogram,
                summary.minimum.astype(np.float64),
                summary.maximum.astype(np.float64),
                max_bins,
            )
            if wanted.histogram is not None
            else None,
            integer_edges=found.integer_edges,
            weighted=weights is not None,
        )
    return results


def has_integer_edges(histogram: Histogram) -> bool:
    """Whether every number that the request gives for the edges is an integer."""
    given = [histogram.bin_width, histogram.low_edge, histogram.high_edge, *(histogram.bins or ())]
    return all(isinstance(number, int) for number in given if number is not None)


def chunks(starts: npt.NDArray[np.int64], first: int, last: int, most_cells: int) -> Iterator[tuple[int, int]]:
    """Cuts features `first` to `last` into runs of at most `most_cells` cells, at least one feature each."""
    begin = first
    while begin < last:
        end = int(np.searchsorted(starts, starts[begin] + most_cells, side="right")) - 1
        end = min(max(end, begin + 1), last)
        yield begin, end
        begin = end


class FaultFinder:
    """Runs something over a range of features and, where it fails, halves the range until it is found who fails.

    The search is bounded: after so many failures without a success between them a range is no longer halved, and a script
    that only ever runs into its time or memory limit is not run again. Finding one bad feature among n takes log2 n
    failures, each followed by a success, so a few bad features never hide the good ones. Where the script's process was ended
    from outside, the same is tried once more.

    `catches` are the failures that a feature may be to blame for; what trying again can mend is nobody's fault. Where a
    range is one feature's pieces (`whole`), it is never halved.
    """

    most_failures = 64

    def __init__(self, *catches: type[SwatheError], whole: bool = False) -> None:
        self._catches = catches
        self._whole = whole
        self._failures = 0
        self._costly: list[SwatheError] = []
        self._most_costly = 0

    def run(
        self,
        first: int,
        last: int,
        work: Callable[[int, int], None],
        failed: Callable[[int, int, SwatheError], None],
    ) -> None:
        """Calls `work(first, last)` over parts that go through and `failed(first, last, error)` for those that do not."""
        features = 1 if self._whole else last - first
        self._most_costly = max(self._most_costly, features.bit_length() + 2)
        if len(self._costly) >= self._most_costly:
            failed(first, last, self._costly[-1])
            return
        try:
            try:
                work(first, last)
            except ScriptLost:
                work(first, last)
        except self._catches as error:
            if error.retryable:
                raise
            self._failures += 1
            if isinstance(error, ScriptTimeout | ScriptMemory):
                self._costly.append(error)
            if features == 1 or self._failures > self.most_failures:
                failed(first, last, error)
                return
            middle = (first + last) // 2
            self.run(first, middle, work, failed)
            self.run(middle, last, work, failed)
        else:
            self._failures = 0
            self._costly.clear()


def stack_columns(
    columns: Sequence[tuple[npt.NDArray[np.generic], float, float]], first: int, last: int
) -> tuple[npt.NDArray[np.generic], float, float]:
    """Columns of several samples as (samples, cells) with one scale and offset; converted where they differ."""
    scales = {(scale, offset, values.dtype) for values, scale, offset in columns}
    if len(scales) == 1:
        _, scale, offset = columns[0]
        if len(columns) == 1:
            return columns[0][0][None, first:last], scale, offset
        return np.stack([values[first:last] for values, _, _ in columns]), scale, offset
    meant = [values[first:last].astype(np.float64) * scale + offset for values, scale, offset in columns]
    return np.stack(meant), 1.0, 0.0
