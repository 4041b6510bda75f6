"""The `sortby` of a search: by what the items are sorted.

Source: the sort extension of STAC API 1.0.0, https://github.com/stac-api-extensions/sort.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from swathe.catalog.item_order import SortKey
from swathe.model.errors import RequestInvalid

SORTBY = "sortby"
_DIRECTIONS = {"asc": False, "desc": True}
_PLAIN = ("id", "collection", "datetime", "created", "updated", "start_datetime", "end_datetime", "platform")
_MORE = ("constellation", "mission", "gsd", "title")
SORTABLE = (*_PLAIN, *_MORE)
_OF_AN_EXTENSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,50}:[A-Za-z0-9_.:-]{1,150}", re.ASCII)
_PREFIX = "properties."
_MOST = 10


def sortby_of_get(text: str) -> list[dict[str, str]]:
    """The `sortby` of a GET, as the body of a POST would say it: names with commas between them, `-` for descending.

    A `+` that an address does not escape is read as a space, which is therefore as good.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return [{"field": part.lstrip("+- "), "direction": "desc" if part[0] == "-" else "asc"} for part in parts]


def read_sortby(told: Any) -> tuple[SortKey, ...]:
    """By what a search is sorted.

    Raises:
        RequestInvalid: it is no list of fields and directions, or items are not sorted by one of them.
    """
    if not isinstance(told, list) or not all(isinstance(each, Mapping) for each in told):
        raise RequestInvalid(
            'must be a list, like [{"field": "properties.eo:cloud_cover", "direction": "asc"}]', SORTBY
        )
    if len(told) > _MOST:
        raise RequestInvalid(f"has {len(told)} fields; at most {_MOST} are sorted by", SORTBY)
    return tuple(_read_key(number, each) for number, each in enumerate(told))


def _read_key(number: int, told: Mapping[str, Any]) -> SortKey:
    field, direction = told.get("field"), told.get("direction", "asc")
    if not isinstance(field, str):
        raise RequestInvalid("must be the name of a property, like properties.datetime", f"{SORTBY}->{number}->field")
    if not isinstance(direction, str) or direction.lower() not in _DIRECTIONS:
        raise RequestInvalid("must be asc or desc", f"{SORTBY}->{number}->direction")
    name = field.removeprefix(_PREFIX)
    if name not in SORTABLE and _OF_AN_EXTENSION.fullmatch(name) is None:
        raise RequestInvalid(
            f"has '{field[:80]}', by which items are not sorted; use {', '.join(SORTABLE)}, or a property of an extension,"
            " such as eo:cloud_cover",
            SORTBY,
        )
    return SortKey(name, _DIRECTIONS[direction.lower()])
