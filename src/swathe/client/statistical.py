"""Requests of the synchronous Statistical API, which are also what batch requests are made of."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from enum import Enum
from typing import Any

from swathe.client.bounds import make_bounds
from swathe.client.exceptions import AnswerInvalid
from swathe.client.session import Session
from swathe.client.times import RawTimeInterval, format_interval
from swathe.client.types import JsonDict, remove_undefined, update_deep

_MOSAICKING_ORDERS = ("mostRecent", "leastRecent", "leastCC")
_RESAMPLINGS = ("NEAREST", "BILINEAR", "BICUBIC")
_RETRIABLE = ("EXECUTION_ERROR", "TIMEOUT")

# What a data collection object may say about itself beside its id, and the data filter it becomes.
_COLLECTION_FILTERS = {
    "swath_mode": "acquisitionMode",
    "polarization": "polarization",
    "resolution": "resolution",
    "orbit_direction": "orbitDirection",
    "timeliness": "timeliness",
    "dem_instance": "demInstance",
}
_UPPER_CASE = ("acquisitionMode", "polarization", "resolution", "orbitDirection")


class SentinelHubStatistical:
    """A request for statistics of one area; its `payload` is what goes over the wire.

    Args:
        aggregation: made with `aggregation()`.
        input_data: made with `input_data()`, one for each collection.
        bbox: four numbers, or an object that iterates as four numbers and has a `crs`.
        geometry: a GeoJSON dictionary, or an object that gives one.
        calculations: statistics and histograms of each output; None asks for the basic statistics.
        crs: of a plain bbox or geometry: EPSG code, name or URL; longitude and latitude without it.
        config: where to ask, for `get_data()`.

    Raises:
        ValueError: there is no area.
    """

    def __init__(
        self,
        aggregation: JsonDict,
        input_data: Sequence[JsonDict],
        bbox: Any = None,
        geometry: Any = None,
        calculations: JsonDict | None = None,
        *,
        crs: Any = None,
        config: Any = None,
    ) -> None:
        self.config = config
        self.payload: JsonDict = self.body(
            make_bounds(bbox=bbox, geometry=geometry, crs=crs), input_data, aggregation, calculations
        )

    @staticmethod
    def body(
        request_bounds: JsonDict,
        request_data: Sequence[JsonDict],
        aggregation: JsonDict,
        calculations: JsonDict | None,
        other_args: JsonDict | None = None,
    ) -> JsonDict:
        """The whole payload; `other_args` is merged into it."""
        payload: JsonDict = {
            "input": {"bounds": request_bounds, "data": list(request_data)},
            "aggregation": aggregation,
            "calculations": calculations,
        }
        update_deep(payload, other_args or {})
        return remove_undefined(payload)

    @staticmethod
    def bounds(
        bbox: Any = None, geometry: Any = None, other_args: JsonDict | None = None, *, crs: Any = None
    ) -> JsonDict:
        """The `bounds` part of a payload; `other_args` is merged into it."""
        bounds = make_bounds(bbox=bbox, geometry=geometry, crs=crs)
        update_deep(bounds, other_args or {})
        return bounds

    @staticmethod
    def aggregation(
        evalscript: str,
        time_interval: RawTimeInterval,
        aggregation_interval: str,
        size: tuple[int, int] | None = None,
        resolution: tuple[float, float] | None = None,
        other_args: JsonDict | None = None,
    ) -> JsonDict:
        """The `aggregation` part of a payload.

        Args:
            evalscript: source text.
            time_interval: start and end; a day as end lasts to 23:59:59.
            aggregation_interval: ISO 8601 duration such as `P1D`.
            size: width and height of the sample grid in cells.
            resolution: size of a cell in x and y, in units of the request's CRS.
            other_args: merged into the result.
        """
        start, end = format_interval(time_interval)
        payload: JsonDict = {
            "evalscript": evalscript,
            "timeRange": {"from": start, "to": end},
            "aggregationInterval": {"of": aggregation_interval},
        }
        if size:
            payload["width"], payload["height"] = size
        if resolution:
            payload["resx"], payload["resy"] = resolution
        update_deep(payload, other_args or {})
        return payload

    @staticmethod
    def input_data(
        data_collection: Any,
        identifier: str | None = None,
        time_interval: RawTimeInterval = None,
        maxcc: float | None = None,
        mosaicking_order: str | Enum | None = None,
        upsampling: str | Enum | None = None,
        downsampling: str | Enum | None = None,
        other_args: JsonDict | None = None,
    ) -> JsonDict:
        """One entry of the `input.data` part of a payload.

        Args:
            data_collection: an id such as `sentinel-2-l2a` or `byoc-…`, or an object with an `api_id`.
            identifier: by which the evalscript tells several inputs apart.
            time_interval: of the scenes; a batch or statistical request takes it from the aggregation.
            maxcc: greatest cloud coverage, 0 to 1.
            mosaicking_order: mostRecent, leastRecent or leastCC.
            upsampling: NEAREST, BILINEAR or BICUBIC.
            downsampling: NEAREST, BILINEAR or BICUBIC.
            other_args: merged into the result.

        Raises:
            ValueError: `maxcc` or one of the names is not as listed.
        """
        payload: JsonDict = {"type": data_collection if isinstance(data_collection, str) else data_collection.api_id}
        if identifier:
            payload["id"] = identifier
        data_filter: JsonDict = {}
        if time_interval:
            start, end = format_interval(time_interval)
            data_filter["timeRange"] = {"from": start, "to": end}
        if maxcc is not None:
            data_filter["maxCloudCoverage"] = _percent(maxcc)
        if mosaicking_order:
            data_filter["mosaickingOrder"] = _one_of(mosaicking_order, _MOSAICKING_ORDERS)
        data_filter.update(_collection_filters(data_collection))
        processing = {
            name: _one_of(value.upper() if isinstance(value, str) else value, _RESAMPLINGS)
            for name, value in (("upsampling", upsampling), ("downsampling", downsampling))
            if value
        }
        if data_filter:
            payload["dataFilter"] = data_filter
        if processing:
            payload["processing"] = processing
        update_deep(payload, other_args or {})
        return payload

    def get_data(self, *, session: Session | None = None) -> list[JsonDict]:
        """Asks the service and gives a list with its one answer.

        Intervals that failed with an execution error or a time-out are asked for once more, each by itself.

        Args:
            session: in place of one made from the config.
        """
        if session is not None:
            return [self._ask(session)]
        with Session(self.config) as own_session:
            return [self._ask(own_session)]

    def _ask(self, session: Session) -> JsonDict:
        url = f"{session.base_url}/api/v1/statistics"
        answer = session.request_dict("POST", url, body=self.payload)
        intervals = answer.get("data")
        if not isinstance(intervals, list):
            raise AnswerInvalid(f"POST {url}: the answer has no list 'data'")
        for index, interval in enumerate(intervals):
            if (interval.get("error") or {}).get("type") in _RETRIABLE:
                payload = copy.deepcopy(self.payload)
                payload["aggregation"]["timeRange"] = interval["interval"]
                retried = session.request_dict("POST", url, body=payload).get("data")
                if retried and "error" not in retried[0]:
                    intervals[index] = retried[0]
        return answer


def _percent(maxcc: float) -> int:
    if not 0 <= maxcc <= 1:
        raise ValueError(f"maxcc must lie between 0 and 1, not {maxcc}")
    # Truncated as the published client does (0.29 gives 28), so that the same arguments make the same request.
    return int(maxcc * 100)


def _one_of(value: Any, allowed: tuple[str, ...]) -> str:
    name = value.value if isinstance(value, Enum) else value
    if name not in allowed:
        raise ValueError(f"'{name}' is none of {', '.join(allowed)}")
    return str(name)


def _collection_filters(data_collection: Any) -> JsonDict:
    filters: JsonDict = {}
    for attribute, name in _COLLECTION_FILTERS.items():
        value = getattr(data_collection, attribute, None) if not isinstance(data_collection, str) else None
        if not value:
            continue
        text = str(value).upper() if name in _UPPER_CASE else value
        if name == "orbitDirection" and text == "BOTH":
            continue
        filters[name] = text
    return filters
