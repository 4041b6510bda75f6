"""Items by their properties: values of every kind, ties, and how many items are read and held."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from swathe.catalog import item_order
from swathe.catalog.item_order import SortKey, first_in_order
from swathe.catalog.items import Found
from swathe.catalog.scene import parse_item
from swathe.model.errors import RequestInvalid


def found(name: str, day: int = 1, **properties: Any) -> Found:
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "bbox": [0, 0, 1, 1],
        "geometry": {"type": "Point", "coordinates": [0, 0]},
        "properties": {"datetime": f"2020-06-{day:02}T10:00:00Z", **properties},
        "assets": {},
    }
    return Found("c", parse_item(item, "", "c", keeps_item=True))


def names(items: list[Found], *keys: str, count: int = 100) -> str:
    wanted = [SortKey(key.lstrip("-"), key.startswith("-")) for key in keys]
    return "".join(one.scene.id for one in first_in_order(iter(items), wanted, count))


def test_numbers_come_before_texts_and_what_has_no_order_comes_last() -> None:
    values = [("a", "x"), ("b", 2), ("c", None), ("d", [1]), ("e", 1.5), ("f", float("nan")), ("g", "w"), ("h", {})]
    items = [found(name, **{"own:value": value}) for name, value in values]
    assert names(items, "own:value") == "ebga" + "cdfh"
    assert names(items, "-own:value") == "agbe" + "cdfh"


def test_what_agrees_stays_in_its_order() -> None:
    items = [found(name, day, gsd=size) for name, day, size in (("d", 9, 10), ("c", 8, 20), ("b", 8, 10), ("a", 7, 20))]
    assert names(items, "gsd") == names(items, "gsd", "gsd") == names(items, "gsd", "-gsd") == "dbca"
    assert names(items, "-gsd") == "cadb"
    assert names(items, "gsd", "datetime") == "bdac"
    assert names(items, "-gsd", count=3) == "cad"


def test_newest_first_reads_no_more_than_it_gives_whatever_comes_second() -> None:
    def items() -> Iterator[Found]:
        for day in range(28, 0, -1):
            for name in "ab":
                read.append(day)
                yield found(name, day)

    for keys, most in (((SortKey("datetime", True),), 3), ((SortKey("datetime", True), SortKey("id", True)), 5)):
        read: list[int] = []
        given = [(one.scene.datetime.day, one.scene.id) for one in first_in_order(items(), keys, 3)]
        assert given == ([(28, "a"), (28, "b"), (27, "a")] if len(keys) == 1 else [(28, "b"), (28, "a"), (27, "b")])
        assert len(read) <= most


def test_more_items_than_are_gone_through_is_an_error_that_says_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_order, "MOST_SORTED", 3)
    items = [found(name) for name in "abcd"]
    assert names(items[:3], "-id") == "cba"
    with pytest.raises(RequestInvalid, match=r"-id,\+gsd needs all items .* more than 3; narrow") as caught:
        names(items, "-id", "gsd")
    assert caught.value.parameter == "sortby"
    assert names(items, "-datetime") == "abcd"
