"""Pydantic's findings in the words of the wire."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from swathe.model.errors import RequestInvalid

_MOST_PROBLEMS = 10


def explain_validation(error: ValidationError) -> RequestInvalid:
    """What is wrong with a body, field by field, as one error that names the first field."""
    return to_request_invalid(error.errors(include_input=False, include_url=False))


def to_request_invalid(problems: Sequence[Mapping[str, Any]]) -> RequestInvalid:
    """Pydantic's problems in the words of the wire: `aggregation->resx must be greater than 0`."""
    faulty = {tuple(problem["loc"])[:-1] for problem in problems}
    # a list with a faulty element is also called too short
    meant = [p for p in problems if p["type"] != "too_short" or tuple(p["loc"]) not in _above(faulty)]
    told = [(_place(problem["loc"]), violation_of(problem)) for problem in meant]
    lines = [f"{place}: {violation}" if place else violation for place, violation in told[:_MOST_PROBLEMS]]
    if len(told) > _MOST_PROBLEMS:
        lines.append(f"and {len(told) - _MOST_PROBLEMS} more")
    return RequestInvalid("; ".join(lines), told[0][0] if told else "")


def _above(places: Iterable[tuple[Any, ...]]) -> set[tuple[Any, ...]]:
    """The places and everything that holds them."""
    return {place[:length] for place in places for length in range(len(place) + 1)}


def _place(location: Sequence[Any]) -> str:
    return "->".join(
        str(part) for part in location if part not in ("int", "float", "function-before[_strict_number()]")
    )


def violation_of(problem: Mapping[str, Any]) -> str:
    """What is wrong with one field, as the end of a sentence that begins with its name."""
    context = problem.get("ctx") or {}
    match problem["type"]:
        case "missing":
            return "is required"
        case "string_pattern_mismatch" if "s3://" in str(context.get("pattern")):
            what = "folder" if "output" in problem["loc"] else "folder/file.gpkg"
            return f"must be an address like s3://bucket/{what}"
        case "enum" | "literal_error":
            return f"must be one of {context.get('expected')}"
        case "value_error":
            return str(problem["msg"]).removeprefix("Value error, ")
        case "too_short":
            return f"must have at least {context['min_length']} element{'s' if context['min_length'] != 1 else ''}"
        case "too_long":
            return f"must have at most {context['max_length']} elements, it has {context['actual_length']}"
        case "model_type" | "dict_type" | "model_attributes_type":
            return "must be an object"
        case "tuple_type" | "list_type":
            return "must be a list"
        case "int_parsing" | "float_parsing":  # without how it was tried
            return "must be a valid number" if problem["type"] == "float_parsing" else "must be a whole number"
        case _:
            text = str(problem["msg"]).removeprefix("Input should be ")
            return f"must be {text}" if text != problem["msg"] else text
