"""The `fields` of a search: which members of the items are sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swathe.model.errors import RequestInvalid

_DEFAULT = ("type", "stac_version", "id", "geometry", "bbox", "links", "assets", "properties.datetime")
_MOST = 500


@dataclass(frozen=True)
class Fields:
    """Dotted names. Those included come on top of the default set, and stay where they or what holds them is excluded.

    With excluded ones alone, all others are sent; with none at all, the default set.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def apply(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """The item with the wanted members; a new object."""
        chosen = dict(item)
        if self.include or not self.exclude:
            chosen = {}
            for name in (*_DEFAULT, *self.include):
                _copy(item, chosen, _split(item, name))
        excluded = [_split(item, name) for name in self.exclude]
        for path in excluded:
            chosen = _without(chosen, path)
        for name in self.include:
            path = _split(item, name)
            if any(path[: len(above)] == above for above in excluded):
                _copy(item, chosen, path)
        return chosen


def read_fields(told: Any) -> Fields:
    """The fields of a search.

    Raises:
        RequestInvalid: they are no lists of names.
    """
    lists = []
    for name in ("include", "exclude"):
        names = told.get(name) if isinstance(told, Mapping) else False
        names = [] if names is None else names
        if not isinstance(names, list) or not all(isinstance(each, str) and each for each in names):
            raise RequestInvalid(
                'must be lists of names, like {"include": ["id", "properties.eo:cloud_cover"]}', "fields"
            )
        if len(names) > _MOST:
            raise RequestInvalid(f"has {len(names)} names; at most {_MOST} are taken", f"fields->{name}")
        lists.append(tuple(names))
    return Fields(*lists)


def _split(item: Mapping[str, Any], name: str) -> list[str]:
    """The path of a dotted name; what is neither a member nor a path is a property."""
    path = name.split(".")
    if path[0] not in item and name not in ("links", "collection") and isinstance(item.get("properties"), Mapping):
        properties = item["properties"]
        if name in properties:
            return ["properties", name]
    if path[0] == "properties" and len(path) > 2:
        return ["properties", ".".join(path[1:])] if ".".join(path[1:]) in item.get("properties", {}) else path
    return path


def _copy(source: Mapping[str, Any], target: dict[str, Any], path: list[str]) -> None:
    first, rest = path[0], path[1:]
    if first not in source:
        return
    if not rest:
        target[first] = source[first]
    elif isinstance(source[first], Mapping):
        inner = dict(target[first]) if isinstance(target.get(first), Mapping) else {}
        _copy(source[first], inner, rest)
        if inner or first in target:
            target[first] = inner


def _without(source: Mapping[str, Any], path: list[str]) -> dict[str, Any]:
    first, rest = path[0], path[1:]
    if first not in source:
        return dict(source)
    if not rest:
        return {name: value for name, value in source.items() if name != first}
    if not isinstance(source[first], Mapping):
        return dict(source)
    return {**source, first: _without(source[first], rest)}
