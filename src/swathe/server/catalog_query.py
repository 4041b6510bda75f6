"""What a search of the Catalog API asks for, from the body of a POST or the query of a GET."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from swathe.catalog import cql2, cql2_text
from swathe.catalog.item_order import SortKey
from swathe.catalog.item_search import ItemQuery, lonlat_box
from swathe.model.errors import RequestInvalid
from swathe.server.catalog_fields import Fields, read_fields
from swathe.server.catalog_sort import SORTBY, read_sortby, sortby_of_get

DEFAULT_LIMIT, MAX_LIMIT = 10, 100
_MAX_OFFSET = 2**31 - 1
_MOST_IDS = 1_000
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", re.IGNORECASE | re.ASCII)
_OPEN = ("", "..")
_TEXT, _JSON = "cql2-text", "cql2-json"
_LONLAT = ("crs84", "4326")
_DISTINCT = "date"


@dataclass(frozen=True)
class Wanted:
    """A page of items, or of days. Without `order` items come newest first."""

    query: ItemQuery
    limit: int
    offset: int
    fields: Fields | None
    dates: bool
    order: tuple[SortKey, ...]


def values_of_get(query: Mapping[str, str]) -> dict[str, Any]:
    """The query of a GET, as the body of a POST would say it.

    Raises:
        RequestInvalid: a list, a number or a geometry cannot be read.
    """
    values: dict[str, Any] = {name: query[name] for name in ("datetime", "distinct", "filter-crs") if name in query}
    for name in ("collections", "ids"):
        if name in query:
            values[name] = [part.strip() for part in query[name].split(",") if part.strip()]
    if query.get("bbox"):
        values["bbox"] = [_number(part, "bbox") for part in query["bbox"].split(",")]
    for name in ("limit", "next"):
        if query.get(name):
            values[name] = _integer(query[name], name)
    if query.get("intersects"):
        values["intersects"] = _json(query["intersects"], "intersects")
    if "fields" in query:
        parts = [part.strip() for part in query["fields"].split(",") if part.strip()]
        excluded = [part[1:] for part in parts if part.startswith("-")]
        values["fields"] = {"include": [p.lstrip("+ ") for p in parts if p[0] != "-"], "exclude": excluded}
    if query.get(SORTBY):
        values[SORTBY] = sortby_of_get(query[SORTBY])
    language = query.get("filter-lang", _TEXT)
    if query.get("filter"):
        values["filter"] = _json(query["filter"], "filter") if language == _JSON else query["filter"]
        values["filter-lang"] = language
    return values


def read_wanted(
    values: Mapping[str, Any], find_collection: Callable[[str], str], all_of_them: Callable[[], tuple[str, ...]]
) -> Wanted:
    """What a search asks for. Null is as if it was not there; what is not known is left aside.

    `find_collection` gives the name of a collection by what it is called; with none named all are searched.

    Raises:
        RequestInvalid: with the member and the way out.
    """
    said = {name: value for name, value in values.items() if value is not None}
    start, end = _interval(said["datetime"]) if "datetime" in said else (None, None)
    collections = tuple(find_collection(name) for name in _texts(said, "collections"))
    ids = _texts(said, "ids") if "ids" in said else None
    if ids is not None and len(ids) > _MOST_IDS:
        raise RequestInvalid(f"has {len(ids)} ids; at most {_MOST_IDS} are looked for at once", "ids")
    distinct = said.get("distinct")
    if distinct not in (None, "", _DISTINCT):
        raise RequestInvalid(f"can be '{_DISTINCT}' only", "distinct")
    order = read_sortby(said[SORTBY]) if SORTBY in said else ()
    if distinct and order:
        raise RequestInvalid("does not go with distinct: days come oldest first; leave one of them out", SORTBY)
    query = ItemQuery(
        collections=collections or all_of_them(),
        start=start,
        end=end,
        area=_area(said),
        ids=None if ids is None else frozenset(ids),
        condition=_condition(said),
    )
    return Wanted(
        query=query,
        limit=min(_whole(said, "limit", DEFAULT_LIMIT, least=1), MAX_LIMIT),
        offset=_whole(said, "next", 0, least=0),
        fields=read_fields(said["fields"]) if "fields" in said else None,
        dates=bool(distinct),
        order=order,
    )


def _interval(told: Any) -> tuple[datetime | None, datetime | None]:
    """Both ends, which are included; None is open."""
    parts = told.split("/") if isinstance(told, str) else []
    if len(parts) == 1:
        moment = _time(parts[0])
        return moment, moment
    if len(parts) != 2 or (parts[0] in _OPEN and parts[1] in _OPEN):
        raise RequestInvalid(
            "must be a time or an interval of which at least one end is told, like 2020-06-01T00:00:00Z/.."
            " or 2020-06-01T00:00:00Z/2020-06-30T23:59:59Z",
            "datetime",
        )
    start, end = (None if part in _OPEN else _time(part) for part in parts)
    if start is not None and end is not None and start > end:
        raise RequestInvalid(f"begins ({parts[0]}) after it ends ({parts[1]})", "datetime")
    return start, end


def _time(text: str) -> datetime:
    match = _TIME.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        whole, fraction, zone = match.groups()
        zone = "+00:00" if zone in "Zz" else zone
        moment = datetime.fromisoformat(f"{whole.upper()}.{(fraction or '0')[:6]:0<6}{zone}")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise RequestInvalid(
            f"has '{text[:40]}', which is no time with a zone; write it like 2020-06-01T00:00:00Z", "datetime"
        ) from None


def _area(said: Mapping[str, Any]) -> BaseGeometry | None:
    if "bbox" in said and "intersects" in said:
        raise RequestInvalid("and intersects are there; give one of them", "bbox")
    if "bbox" in said:
        return lonlat_box(_box(said["bbox"]))
    return _geometry(said["intersects"]) if "intersects" in said else None


def _box(told: Any) -> tuple[float, float, float, float]:
    if not isinstance(told, list) or len(told) not in (4, 6):
        raise RequestInvalid("must be four numbers: west, south, east, north in degrees (or six, with heights)", "bbox")
    half = len(told) // 2
    west, south, east, north = (_number(told[place], "bbox") for place in (0, 1, half, half + 1))
    if south > north:
        raise RequestInvalid(f"has its south ({south:g}) above its north ({north:g})", "bbox")
    return west, south, east, north


def _geometry(told: Any) -> BaseGeometry:
    if isinstance(told, Mapping) and "crs" in told and not str(told["crs"]).rstrip("'}\" ").lower().endswith(_LONLAT):
        raise RequestInvalid("must be in WGS84, longitude first", "intersects->crs")
    try:
        area = shapely.force_2d(shape(told)) if isinstance(told, Mapping) and told.get("type") != "Feature" else None
        if area is not None and not area.is_valid:
            area = shapely.make_valid(area)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, shapely.errors.ShapelyError):
        area = None
    if area is None or area.is_empty or not all(map(math.isfinite, area.bounds)):
        raise RequestInvalid("is no GeoJSON geometry that can be used, or an empty one", "intersects")
    return area


def _condition(said: Mapping[str, Any]) -> cql2.Operation | None:
    told, language = said.get("filter"), said.get("filter-lang")
    if language not in (None, _TEXT, _JSON):
        raise RequestInvalid(f"must be {_TEXT} or {_JSON}", "filter-lang")
    crs = said.get("filter-crs")
    if crs is not None and not (isinstance(crs, str) and crs.lower().endswith(_LONLAT)):
        raise RequestInvalid("must be http://www.opengis.net/def/crs/OGC/1.3/CRS84", "filter-crs")
    if told in (None, "", {}):
        return None
    if isinstance(told, str) and language != _JSON:
        return cql2_text.parse_text(told)
    if isinstance(told, Mapping) and language != _TEXT:
        return cql2.parse_json(told)
    raise RequestInvalid(f"must be a text with filter-lang {_TEXT}, an object with {_JSON}", "filter")


def _texts(said: Mapping[str, Any], name: str) -> list[str]:
    told = said.get(name, [])
    if not isinstance(told, list) or not all(isinstance(part, str) for part in told):
        raise RequestInvalid("must be a list of texts", name)
    return told


def _whole(said: Mapping[str, Any], name: str, default: int, *, least: int) -> int:
    told = said.get(name, default)
    if isinstance(told, str) and name == "next":
        told = _integer(told, name)
    if isinstance(told, bool) or not isinstance(told, int) or not least <= told <= _MAX_OFFSET:
        raise RequestInvalid(f"must be a whole number from {least} on", name)
    return told


def _integer(text: str, name: str) -> int:
    if re.fullmatch(r"-?\d{1,10}", text.strip(), re.ASCII) is None:
        raise RequestInvalid("must be a whole number", name)
    return int(text)


def _number(told: Any, name: str) -> float:
    try:
        number = math.nan if isinstance(told, bool) or told is None else float(told)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise RequestInvalid(f"has {str(told)[:40]!r} where a number belongs", name)
    return number


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise RequestInvalid("is no JSON", name) from None
