"""Filters of items: expressions of CQL2, what they mean, and their JSON. `cql2_text` reads their text.

Understood: `= <> < <= > >=`, `between`, `in`, `like`, `isNull`, `and`, `or`, `not`, over properties, numbers, strings,
truth values and times. A comparison with a property that an item does not have, or that is of another kind, is unknown
(as SQL's NULL), and an item is found where the whole is true.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from swathe.model.errors import LimitExceeded, RequestInvalid

PARAMETER = "filter"
MAX_DEPTH, MAX_NODES = 100, 1_000
_PREFIX = "properties."
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ARGUMENTS = {"and": (1, MAX_NODES), "or": (1, MAX_NODES), "not": (1, 1), "between": (3, 3), "isNull": (1, 1)}
_ARGUMENTS |= {"in": (2, 2), "like": (2, 2)} | dict.fromkeys(_COMPARISONS, (2, 2))
_NAMES = {name.casefold(): name for name in _ARGUMENTS} | {"eq": "=", "neq": "<>", "!=": "<>"}

Scalar = str | float | int | bool | datetime
Lookup = Callable[[str], Any]


@dataclass(frozen=True)
class Property:
    """A property of an item; `properties.` before its name is taken off."""

    name: str

    @classmethod
    def named(cls, name: str) -> Property:
        """The property that a filter calls so."""
        return cls(name.removeprefix(_PREFIX))


@dataclass(frozen=True)
class Operation:
    """An operator, by its name in CQL2's JSON, with its arguments; those of `in` are an operand and a tuple."""

    op: str
    args: tuple[Any, ...]


def matches(expression: Operation, lookup: Lookup) -> bool:
    """Whether an item fits. `lookup` gives the value of a property, None where the item has none."""
    return _truth(expression, lookup) is True


def parse_json(value: Any) -> Operation:
    """The expression that a value of CQL2's JSON is.

    Raises:
        RequestInvalid: it is none that is understood.
    """
    budget = Budget()
    parsed = _parse(value, budget, 0)
    return check_condition(parsed)


class Budget:
    """Counts what an expression consists of, and how deep it is."""

    def __init__(self) -> None:
        self._nodes = 0

    def spend(self, depth: int) -> None:
        """Notes one more part of the expression.

        Raises:
            LimitExceeded: there are too many, or it is nested too deeply.
        """
        self._nodes += 1
        if depth > MAX_DEPTH:
            raise LimitExceeded(f"is nested deeper than {MAX_DEPTH} levels", PARAMETER)
        if self._nodes > MAX_NODES:
            raise LimitExceeded(f"has more than {MAX_NODES} parts", PARAMETER)


def check_condition(value: Any) -> Operation:
    """The value, where it is a condition.

    Raises:
        RequestInvalid: it is a bare property or a number, or an operator has one where a condition belongs.
    """
    if not isinstance(value, Operation):
        raise RequestInvalid("is no condition; write one like eo:cloud_cover < 40", PARAMETER)
    if value.op in ("and", "or", "not"):
        for part in value.args:
            check_condition(part)
    else:
        for part in value.args:
            if isinstance(part, Operation):
                raise RequestInvalid(f"has a condition ({part.op}) where {value.op} compares values", PARAMETER)
    return value


def make_time(text: Any) -> datetime:
    """A time of a filter; a date is the start of its day.

    Raises:
        RequestInvalid: it is none.
    """
    moment = _time(text)
    if moment is None:
        raise RequestInvalid(f"has '{str(text)[:40]}' for a time; write it like 2020-06-01T00:00:00Z", PARAMETER)
    return moment


def _parse(value: Any, budget: Budget, depth: int) -> Any:
    budget.spend(depth)
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        if set(value) == {"property"} and isinstance(value["property"], str):
            return Property.named(value["property"])
        for name in ("timestamp", "date"):
            if set(value) == {name}:
                return make_time(value[name])
        if "op" in value:
            return _parse_operation(value, budget, depth)
    raise RequestInvalid(
        "has something that is no condition, property, number, string or time; "
        'write it like {"op": "<", "args": [{"property": "eo:cloud_cover"}, 40]}',
        PARAMETER,
    )


def _parse_operation(value: Mapping[str, Any], budget: Budget, depth: int) -> Operation:
    told, args = value["op"], value.get("args")
    name = _NAMES.get(told.casefold()) if isinstance(told, str) else None
    if name is None:
        raise RequestInvalid(f"has the operator {str(told)[:40]!r}; known are {', '.join(_ARGUMENTS)}", PARAMETER)
    least, most = _ARGUMENTS[name]
    if not isinstance(args, list):
        raise RequestInvalid(f"has {name} without a list of args", PARAMETER)
    if name == "between" and len(args) == 2 and isinstance(args[1], list):
        args = [args[0], *args[1]]  # as drafts of CQL2 wrote it
    if not least <= len(args) <= most:
        raise RequestInvalid(
            f"has {name} with {len(args)} args; it takes {least if least == most else 'some'}", PARAMETER
        )
    if name == "in":
        if not isinstance(args[1], list):
            raise RequestInvalid("has in without a list of values", PARAMETER)
        choices = tuple(_parse(choice, budget, depth + 1) for choice in args[1])
        return Operation(name, (_parse(args[0], budget, depth + 1), choices))
    parsed = tuple(_parse(argument, budget, depth + 1) for argument in args)
    if name == "like" and not isinstance(parsed[1], str):
        raise RequestInvalid("has like without a string as its pattern", PARAMETER)
    return Operation(name, parsed)


def _truth(expression: Operation, lookup: Lookup) -> bool | None:
    """True, false, or None where it is unknown."""
    op, args = expression.op, expression.args
    if op == "not":
        known = _truth(args[0], lookup)
        return None if known is None else not known
    if op in ("and", "or"):
        decides = op == "or"
        unknown = False
        for part in args:
            known = _truth(part, lookup)
            if known is decides:
                return decides
            unknown = unknown or known is None
        return None if unknown else not decides
    if op == "isNull":
        return _value(args[0], lookup) is None
    if op == "in":
        found = [_compare("=", args[0], choice, lookup) for choice in args[1]]
        return True if True in found else None if None in found else False
    if op == "between":
        above, below = _compare(">=", args[0], args[1], lookup), _compare("<=", args[0], args[2], lookup)
        return False if False in (above, below) else None if None in (above, below) else True
    if op == "like":
        text = _value(args[0], lookup)
        return is_like(text, args[1]) if isinstance(text, str) else None
    return _compare(op, args[0], args[1], lookup)


def _compare(op: str, left: Any, right: Any, lookup: Lookup) -> bool | None:
    one, other = _alike(_value(left, lookup), _value(right, lookup))
    return None if one is None or other is None else _COMPARISONS[op](one, other)


def _value(operand: Any, lookup: Lookup) -> Any:
    return lookup(operand.name) if isinstance(operand, Property) else operand


def _alike(one: Any, other: Any) -> tuple[Any, Any]:
    """Two values that can be compared: a text beside a time is read as one; None where they are of different kinds."""
    if isinstance(one, datetime) and isinstance(other, str):
        other = _time(other)
    elif isinstance(other, datetime) and isinstance(one, str):
        one = _time(one)
    return (one, other) if _kind(one) == _kind(other) else (None, None)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, int | float):
        return "number"
    return "time" if isinstance(value, datetime) else "text" if isinstance(value, str) else "none"


def _time(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def is_like(text: str, pattern: str) -> bool:
    """Whether text fits a pattern: `%` is any run of characters, `_` any one, and `\\` takes them as they are.

    Takes at most (characters of text) x (parts of pattern) steps.
    """
    parts = _pattern_parts(pattern)
    place = part = 0
    star, resume = -1, 0
    while place < len(text):
        if part < len(parts) and parts[part] is not None and parts[part] in ("", text[place]):
            place, part = place + 1, part + 1
        elif part < len(parts) and parts[part] is None:
            star, resume = part, place
            part += 1
        elif star >= 0:
            resume += 1
            place, part = resume, star + 1
        else:
            return False
    return all(left is None for left in parts[part:])


def _pattern_parts(pattern: str) -> Sequence[str | None]:
    """Characters; None for any run, an empty text for any one."""
    parts: list[str | None] = []
    letters = iter(pattern)
    for letter in letters:
        if letter == "\\":
            parts.append(next(letters, "\\"))
        else:
            parts.append({"%": None, "_": ""}.get(letter, letter))
    return parts
