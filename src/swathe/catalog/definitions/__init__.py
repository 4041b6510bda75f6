"""The collections that ship with Swathe, as data."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

from swathe.catalog.collections import Collection, parse_definition


@cache
def read_definitions() -> tuple[Collection, ...]:
    """All shipped collections, by type."""
    found = [file for file in files(__package__).iterdir() if file.name.endswith(".toml")]
    parsed = [parse_definition(tomllib.loads(file.read_text("utf-8"))) for file in found]
    return tuple(sorted(parsed, key=lambda collection: collection.type))
