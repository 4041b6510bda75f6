"""Two OpenAPI descriptions side by side: every difference as a line that says where it is and who has it.

Compared are operations, parameters, kinds of bodies, statuses, members and enumerated values. Of types and of what is
required only that counts which would surprise a client of theirs: a request must not need more, nor take less; an
answer must not have other types, nor lack what is promised.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

METHODS = ("get", "head", "post", "put", "patch", "delete")
THEIRS, OURS = "theirs only", "ours only"
_DEEPEST = 14


@dataclass
class Shape:
    """What a schema allows, alternatives thrown together; null does not count."""

    types: set[str] = field(default_factory=set)
    enum: set[str] | None = None
    properties: dict[str, list[Any]] = field(default_factory=dict)
    required: set[str] = field(default_factory=set)
    items: list[Any] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    """Schemas of members whose names are free."""


def find_differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """All differences, sorted. Operations of ours count once, on the path that is described there, if one is."""
    found = set()
    mine = {_way(path, method): one for path, method, one in _operations(ours)}
    described = {_way(path, method): one for path, method, one in _operations(theirs)}
    twins: dict[str, set[str]] = {}
    for path, method, one in _operations(ours):
        twins.setdefault(_way(one.get("x-same-as", path), method), set()).add(_way(path, method))
    found |= {f"{first}: {OURS}" for first, all_of_them in twins.items() if not all_of_them & described.keys()}
    for way, one in described.items():
        if way not in mine:
            found.add(f"{way}: {THEIRS}")
        else:
            found.update(f"{way} {line}" for line in _compare_operations(theirs, one, ours, mine[way]))
    return sorted(found)


def find_examples(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """The examples in their bodies of requests: where they are, the value, and our schema of that place."""
    mine = {_way(path, method): one for path, method, one in _operations(ours)}
    for path, method, one in _operations(theirs):
        way = _way(path, method)
        if way not in mine:
            continue
        bodies = [_content(_resolve(d, o.get("requestBody", {}))) for d, o in ((theirs, one), (ours, mine[way]))]
        for kind in bodies[0].keys() & bodies[1].keys() - {"multipart/form-data"}:
            told, own = bodies[0][kind], bodies[1][kind]["schema"]
            if "example" in told:
                yield f"{way} request", told["example"], own
            yield from _find_examples(f"{way} request", theirs, [told["schema"]], ours, [own], 0)


def _find_examples(
    where: str, theirs: Mapping[str, Any], told: list[Any], ours: Mapping[str, Any], mine: list[Any], depth: int
) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    for schema in told:
        found = schema.get("example", _resolve(theirs, schema).get("example"))
        if found is not None:
            yield where, found, {"anyOf": mine}
    if depth >= _DEEPEST:
        return
    left, right = _shape(theirs, told), _shape(ours, mine)
    for name in sorted(left.properties.keys() & right.properties.keys()):
        dot = "." if depth else " "
        pair = (theirs, left.properties[name], ours, right.properties[name])
        yield from _find_examples(f"{where}{dot}{name}", *pair, depth + 1)
    for mark, one, other in (("[]", left.items, right.items), ("{}", left.values, right.values)):
        if one and other:
            yield from _find_examples(where + mark, theirs, one, ours, other, depth + 1)


def _operations(description: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, ways in description["paths"].items():
        for method in METHODS:
            if method in ways:
                common = ways.get("parameters", [])
                yield path, method, {**ways[method], "parameters": [*common, *ways[method].get("parameters", [])]}


def _way(path: str, method: str) -> str:
    return f"{method.upper()} {re.sub('{[^}]*}', '{}', path)}"


def _compare_operations(
    theirs: Mapping[str, Any], their_one: Mapping[str, Any], ours: Mapping[str, Any], our_one: Mapping[str, Any]
) -> Iterator[str]:
    told, mine = _parameters(theirs, their_one), _parameters(ours, our_one)
    yield from _of_both("parameter", told.keys(), mine.keys())
    for name in told.keys() & mine.keys():
        if mine[name].get("required") and not told[name].get("required"):
            yield f"parameter {name} required: {OURS}"
        pair = (theirs, [told[name].get("schema", {})], ours, [mine[name].get("schema", {})])
        yield from _compare(f"parameter {name}", *pair)
    bodies = [_content(_resolve(d, one.get("requestBody", {}))) for d, one in ((theirs, their_one), (ours, our_one))]
    yield from _compare_contents("request", theirs, bodies[0], ours, bodies[1])
    answers, own = their_one["responses"], our_one["responses"]
    yield from _of_both("answer", answers.keys(), own.keys())
    for status in answers.keys() & own.keys():
        contents = [_content(_resolve(d, a[status])) for d, a in ((theirs, answers), (ours, own))]
        yield from _compare_contents(f"answer {status}", theirs, contents[0], ours, contents[1])


def _compare_contents(
    where: str, theirs: Mapping[str, Any], told: Mapping[str, Any], ours: Mapping[str, Any], mine: Mapping[str, Any]
) -> Iterator[str]:
    yield from _of_both(where, told.keys(), mine.keys())
    for kind in told.keys() & mine.keys():
        pair = (theirs, [told[kind].get("schema", {})], ours, [mine[kind].get("schema", {})])
        if kind.startswith("multipart/"):  # its parts are what is compared as JSON
            parts = [_shape(*pair[:2]), _shape(*pair[2:])]
            yield from _of_both(f"{where} {kind}", *(part.properties.keys() for part in parts))
            continue
        yield from _compare(where if kind == "application/json" else f"{where} {kind}", *pair)


def _compare(
    where: str, theirs: Mapping[str, Any], told: list[Any], ours: Mapping[str, Any], mine: list[Any], depth: int = 0
) -> Iterator[str]:
    left, right = _shape(theirs, told), _shape(ours, mine)
    is_answer = where.startswith("answer")
    if not is_answer:  # what only answers have may be sent, and means nothing
        left.properties = {
            name: told for name, told in left.properties.items() if not any(_is_read_only(theirs, one) for one in told)
        }
    given, taken = (right, left) if is_answer else (left, right)
    if given.types and taken.types:
        for name in sorted(given.types - taken.types - ({"integer"} if "number" in taken.types else set())):
            yield f"{where} type {name}: {OURS if is_answer else THEIRS}"
    if (left.enum is None) != (right.enum is None):
        yield f"{where} enum: {OURS if left.enum is None else THEIRS}"
    elif left.enum is not None and right.enum is not None:
        yield from _of_both(f"{where} enum", left.enum, right.enum)
    dot = "." if " " in where else " "
    place = where + (dot if depth else " ")
    for name in sorted(left.properties.keys() ^ right.properties.keys()):
        yield f"{place}{name}: {THEIRS if name in left.properties else OURS}"
    shared = left.properties.keys() & right.properties.keys()
    for name in sorted(shared):
        if name in taken.required and name not in given.required:
            yield f"{place}{name} required: {THEIRS if is_answer else OURS}"
    if depth >= _DEEPEST:
        return
    for name in sorted(shared):
        yield from _compare(place + name, theirs, left.properties[name], ours, right.properties[name], depth + 1)
    for mark, one, other in (("[]", left.items, right.items), ("{}", left.values, right.values)):
        if one and other:
            yield from _compare(where + mark, theirs, one, ours, other, depth + 1)


def _is_read_only(description: Mapping[str, Any], schema: Any) -> bool:
    return bool(schema.get("readOnly") or _resolve(description, schema).get("readOnly"))


def _of_both(what: str, told: Any, mine: Any) -> Iterator[str]:
    for name in sorted(set(told) ^ set(mine)):
        yield f"{what} {name}: {THEIRS if name in told else OURS}"


def _parameters(description: Mapping[str, Any], one: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    found = [_resolve(description, parameter) for parameter in one.get("parameters", [])]
    return {parameter["name"]: parameter for parameter in found if parameter["in"] == "query"}


def _content(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    return holder.get("content", {})


def _resolve(description: Mapping[str, Any], one: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in one:
        found: Any = description
        for part in one["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        one = found
    return one


def _shape(description: Mapping[str, Any], schemas: list[Any]) -> Shape:
    """What any of these schemas allows."""
    shapes = [_of_one(description, schema, set()) for schema in schemas]
    return _either([shape for shape in shapes if shape is not None])


def _of_one(description: Mapping[str, Any], schema: Any, seen: set[str]) -> Shape | None:
    """None where only null is allowed."""
    if not isinstance(schema, Mapping):
        return Shape()
    if "$ref" in schema:
        if schema["$ref"] in seen:
            return Shape()
        beside = {name: value for name, value in schema.items() if name != "$ref"}
        seen = seen | {schema["$ref"]}
        both = [_of_one(description, _resolve(description, schema), seen), _of_one(description, beside, seen)]
        return _all_of([shape for shape in both if shape is not None])
    types = schema.get("type", [])
    types = {types} if isinstance(types, str) else set(types)
    if types == {"null"}:
        return None
    enum = schema.get("enum", [schema["const"]] if "const" in schema else None)
    free = schema.get("additionalProperties")
    own = Shape(
        types=types - {"null"},
        enum=None if enum is None else {str(value) for value in enum if value is not None},
        properties={name: [told] for name, told in schema.get("properties", {}).items()},
        required=set(schema.get("required", ())),
        items=[schema["items"]] if "items" in schema else list(schema.get("prefixItems", ())),
        values=[free] if isinstance(free, Mapping) and free else [],
    )
    parts = [own]
    for part in schema.get("allOf", ()):
        if (shape := _of_one(description, part, seen)) is not None:
            parts.append(shape)
    for word in ("anyOf", "oneOf"):
        if word in schema:
            shapes = [_of_one(description, part, seen) for part in schema[word]]
            kept = [shape for shape in shapes if shape is not None]
            if kept:
                parts.append(_either(kept))
    return _all_of(parts)


def _all_of(shapes: list[Shape]) -> Shape:
    made = Shape()
    for shape in shapes:
        made.types |= shape.types
        made.enum = shape.enum if made.enum is None else made.enum
        made.required |= shape.required
        made.items += shape.items
        made.values += shape.values
        for name, told in shape.properties.items():
            made.properties.setdefault(name, []).extend(told)
    return made


def _either(shapes: list[Shape]) -> Shape:
    made = _all_of(shapes)
    made.required = set.intersection(*(shape.required for shape in shapes)) if shapes else set()
    enums = [shape.enum for shape in shapes]
    made.enum = None if not enums or None in enums else set().union(*(enum for enum in enums if enum is not None))
    return made
