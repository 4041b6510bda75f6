"""How single fields of a request object are written to and read from JSON."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

from dataclasses_json import LetterCase
from dataclasses_json import config as field_config

from swathe.client.times import format_datetime, parse_datetime

FieldConfig = dict[str, dict[str, Any]]
_config: Callable[..., FieldConfig] = field_config


def enum_field(enum_class: type[Enum]) -> FieldConfig:
    """A field that holds a member of an enum; None is left out of the JSON."""
    return _config(
        encoder=lambda member: member.value,
        decoder=lambda value: enum_class(value) if value else None,
        exclude=lambda member: member is None,
        letter_case=LetterCase.CAMEL,
    )


def datetime_field() -> FieldConfig:
    """A field that holds a time, ISO 8601 with `Z` in the JSON."""
    return _config(
        encoder=lambda moment: format_datetime(moment) if moment else None,
        decoder=lambda text: parse_datetime(text) if text else None,
        letter_case=LetterCase.CAMEL,
    )


def named_field(name: str) -> FieldConfig:
    """A field whose name in the JSON is not its own in camel case."""
    return _config(field_name=name)
