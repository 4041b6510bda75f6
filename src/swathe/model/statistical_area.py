"""The request of the Statistical API: statistics of one area, answered at once."""

from __future__ import annotations

from swathe.model.process import Bounds
from swathe.model.statistical import StatisticsInput, StatisticsRequest


class AreaInput(StatisticsInput):
    """The data sources and the area."""

    bounds: Bounds


class AreaStatisticsRequest(StatisticsRequest):
    """The body of `POST /api/v1/statistics`."""

    input: AreaInput

    @property
    def without_area(self) -> StatisticsRequest:
        """What the batch has for all of its features."""
        return StatisticsRequest(
            input=StatisticsInput(data=self.input.data), aggregation=self.aggregation, calculations=self.calculations
        )
