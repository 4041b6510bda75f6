"""Items in another order than newest first: by their id, collection, time or properties.

Source: the sort extension of STAC API 1.0.0, https://github.com/stac-api-extensions/sort.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cmp_to_key
from itertools import groupby, islice
from typing import Any

from swathe.catalog.item_search import lookup
from swathe.catalog.items import Found
from swathe.model.errors import RequestInvalid

MOST_SORTED = 10_000
"""Items that are gone through for an order other than newest first."""

Values = tuple[tuple[int, Any] | None, ...]
_TIME = "datetime"


@dataclass(frozen=True)
class SortKey:
    """A name as filters have it, and the direction."""

    name: str
    is_descending: bool = False


def first_in_order(found: Iterator[Found], keys: Sequence[SortKey], count: int) -> Iterable[Found]:
    """The first `count` items by some keys; `found` comes newest first.

    Items that agree in all keys stay newest first, then by collection and id, so pages can count on the order. What has
    no value comes last in both directions. Numbers come before texts where a property has both.

    With the time first and descending, no more items are read than are given; else all are gone through, of which no
    more than `count` are held.

    Raises:
        RequestInvalid: there are too many to go through.
    """
    keys = _without_repeats(keys)
    if keys and keys[0] == SortKey(_TIME, is_descending=True):
        if len(keys) == 1:
            return islice(found, count)
        of_one_time = groupby(found, key=lambda one: one.scene.datetime)
        sorted_groups = (sorted(_bounded(group, keys[1:]), key=_place(keys[1:])) for _, group in of_one_time)
        return islice((one for group in sorted_groups for one in group), count)
    numbered = enumerate(_bounded(found, keys))
    key = _place(keys)
    chosen = heapq.nsmallest(count, ((key(one), number, one) for number, one in numbered))
    return [one for _, _, one in chosen]


def _without_repeats(keys: Sequence[SortKey]) -> tuple[SortKey, ...]:
    """The first of each name: what comes after it says nothing."""
    first: dict[str, SortKey] = {}
    for key in keys:
        first.setdefault(key.name, key)
    return tuple(first.values())


def _bounded(found: Iterable[Found], keys: Sequence[SortKey]) -> Iterator[Found]:
    for number, one in enumerate(found):
        if number == MOST_SORTED:
            told = ",".join(f"{'-' if key.is_descending else '+'}{key.name}" for key in keys)
            raise RequestInvalid(
                f"{told} needs all items that are found, which are more than {MOST_SORTED:,}; narrow datetime, bbox or"
                " filter, or sort by -datetime, as items come anyway",
                "sortby",
            )
        yield one


def _place(keys: Sequence[SortKey]) -> Any:
    """A function from an item to what can be compared."""

    def compare(left: Values, right: Values) -> int:
        return _compare(left, right, keys)

    by_values = cmp_to_key(compare)

    def place(one: Found) -> Any:
        look = lookup(one)
        return by_values(tuple(_plain(look(key.name)) for key in keys))

    return place


def _compare(left: Values, right: Values, keys: Sequence[SortKey]) -> int:
    for a, b, key in zip(left, right, keys, strict=True):
        if a == b:
            continue
        if a is None or b is None:
            return 1 if a is None else -1
        return 1 if (a > b) != key.is_descending else -1
    return 0


def _plain(value: Any) -> tuple[int, Any] | None:
    """A value with the rank of its kind, None for what has no order."""
    if isinstance(value, datetime):
        return 0, value.timestamp()
    if isinstance(value, int | float):
        return (0, value) if value == value else None  # not NaN
    return (1, value) if isinstance(value, str) else None
