"""Requests of the Statistical and the Batch Statistical API.

Sources: the provider's OpenAPI description (tags `statistical`, `batch_statistical`) and the behaviour of its clients.
Numbers keep the type they have in the JSON: an integer histogram edge comes back as an integer.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from swathe.model.common import DataSource, StoragePlace, TimeRangeModel, WireModel
from swathe.model.errors import RequestInvalid
from swathe.model.time import Duration, LastInterval, TimeRange, parse_duration, parse_time

Number = int | float

_COUNTABLE = 2.0**53


class Grid(StrEnum):
    """Which cells a feature is sampled at: its own box divided evenly, or the source's pixels."""

    FEATURE = "feature"
    SOURCE = "source"


class Cover(StrEnum):
    """Which cells belong to a polygon."""

    SERVICE = "service"
    CENTRE = "centre"
    ALL_TOUCHED = "all_touched"
    COVERAGE = "coverage"


class Sampling(WireModel):
    """Swathe's own extension of `aggregation`; the defaults are the hosted service's rules."""

    grid: Grid = Grid.FEATURE
    cover: Cover = Cover.SERVICE

    @property
    def is_default(self) -> bool:
        return self == Sampling()


class AggregationInterval(WireModel):
    """How the time range is cut."""

    of: str
    last_interval_behavior: LastInterval = LastInterval.SKIP


class Aggregation(WireModel):
    """Where in space and time samples are taken, and by which script.

    `resx`/`resy` are in units of the features' CRS; `width`/`height` are cells.
    """

    time_range: TimeRangeModel
    aggregation_interval: AggregationInterval
    evalscript: str = Field(min_length=1)
    resx: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    resy: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    width: int | None = Field(default=None, gt=0)
    height: int | None = Field(default=None, gt=0)
    sampling: Sampling = Sampling()

    @model_validator(mode="before")
    @classmethod
    def _script_is_text(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("evalscript") is None and value.get("evalscriptReference"):
            raise ValueError("evalscriptReference is not supported; put the script itself into evalscript")
        return value

    @model_validator(mode="after")
    def _one_way_to_say_the_size(self) -> Aggregation:
        resolution = (self.resx, self.resy)
        size = (self.width, self.height)
        if self.sampling.grid is Grid.SOURCE:
            if any(part is not None for part in resolution + size):
                raise ValueError("with sampling.grid 'source' leave out resx, resy, width and height")
            return self
        if (self.resx is None) != (self.resy is None):
            raise ValueError("resx and resy belong together; give both")
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height belong together; give both")
        if self.resx is not None and self.width is not None:
            raise ValueError("give either resx and resy, or width and height, not both")
        return self

    def to_range(self) -> TimeRange:
        """The time range in UTC.

        Raises:
            RequestInvalid: an end is missing or no time, or the range is empty or reversed.
        """
        where = "aggregation->timeRange"
        for name, text in (("from", self.time_range.from_), ("to", self.time_range.to)):
            if not text:
                raise RequestInvalid(f"timeRange needs '{name}', like 2020-06-01T00:00:00Z", f"{where}->{name}")
        start = parse_time(str(self.time_range.from_), f"{where}->from")
        end = parse_time(str(self.time_range.to), f"{where}->to")
        if end <= start:
            raise RequestInvalid(
                f"timeRange ends ({self.time_range.to}) before it starts ({self.time_range.from_}); swap the two", where
            )
        return TimeRange(start, end)

    def to_duration(self) -> Duration:
        """The length of an interval.

        Raises:
            RequestInvalid: `of` is no duration of at least a day.
        """
        return parse_duration(self.aggregation_interval.of, "aggregation->aggregationInterval->of")


class Percentiles(WireModel):
    """Percents in [0, 100]; keys of the answer are these numbers as floats (`"33.0"`)."""

    k: tuple[Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)], ...] = ()


class BandStatistics(WireModel):
    """Statistics of a band beside the basic ones."""

    percentiles: Percentiles | None = None


def _strict_number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")
    try:
        finite = math.isfinite(value)
    except OverflowError:  # an integer beyond the largest float
        finite = False
    if not finite:
        raise ValueError("must be a finite number")
    return value


StrictNumber = Annotated[int | float, BeforeValidator(_strict_number)]


class Histogram(WireModel):
    """A histogram by one of `nBins`, `binWidth` and `bins`."""

    n_bins: int | None = Field(default=None, gt=0)
    bin_width: StrictNumber | None = None
    bins: tuple[StrictNumber, ...] | None = None
    low_edge: StrictNumber | None = None
    high_edge: StrictNumber | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Histogram:
        given = [name for name in ("n_bins", "bin_width", "bins") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("a histogram needs exactly one of nBins, binWidth and bins")
        if self.bin_width is not None and self.bin_width <= 0:
            raise ValueError("binWidth must be greater than 0")
        if self.bins is not None:
            if len(self.bins) < 2:
                raise ValueError("bins needs at least two edges")
            if any(b <= a for a, b in zip(self.bins, self.bins[1:], strict=False)):
                raise ValueError("the edges in bins must grow")
        if self.low_edge is not None and self.high_edge is not None and self.high_edge <= self.low_edge:
            raise ValueError("highEdge must be greater than lowEdge")
        return self

    @property
    def known_bins(self) -> int | None:
        """How many bins there are whatever the samples are; None where it depends on them."""
        if self.bins is not None:
            return len(self.bins) - 1
        if self.bin_width is not None and self.low_edge is not None and self.high_edge is not None:
            parts = (float(self.high_edge) - float(self.low_edge)) / float(self.bin_width)
            return max(1, round(min(parts, _COUNTABLE)))
        return self.n_bins


class Calculation(WireModel):
    """What is computed for the bands of one output; `default` serves those not named."""

    statistics: dict[str, BandStatistics] | None = None
    histograms: dict[str, Histogram] | None = None


class StatisticsInput(WireModel):
    """The data sources of a request."""

    data: tuple[DataSource, ...] = Field(min_length=1, max_length=5)


class StatisticsRequest(WireModel):
    """What is to be computed, without saying for which features and where to: the body shared by all ways in.

    The command line's REQUEST.json is this; so is a batch request (`BatchStatisticsRequest`) without its storage.
    """

    input: StatisticsInput
    aggregation: Aggregation
    calculations: dict[str, Calculation] = Field(default_factory=dict)

    @field_validator("calculations", mode="before")
    @classmethod
    def _null_is_empty(cls, value: Any) -> Any:
        return {} if value is None else value


class BatchInput(StatisticsInput):
    """The data sources and the GeoPackage."""

    features: StoragePlace


class BatchStatisticsRequest(StatisticsRequest):
    """The body of `POST /api/v1/statistics/batch`."""

    input: BatchInput
    output: StoragePlace
    description: str | None = None
