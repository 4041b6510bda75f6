"""What a job's plan says of its sources: the collections as they were then, and their scenes. Compressed JSON."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import orjson

from swathe.catalog.collections import BandDefinition, Collection
from swathe.catalog.scene import Scene
from swathe.engine.inputs import SourceInput

# What was looked at when scenes were chosen.
_CHECKED = ("keys", "holds")


def pack(sources: Sequence[SourceInput], scenes: Sequence[Sequence[Scene]]) -> bytes:
    """The bytes of a plan: of the collections just the bands that are read."""
    collections: dict[str, Any] = {}
    for source in sources:
        told = {field.name: getattr(source.collection, field.name) for field in fields(source.collection)}
        told = {name: value for name, value in told.items() if name not in _CHECKED}
        entry = collections.setdefault(str(source.number), told | {"bands": {}})
        entry["bands"] |= {band.name: asdict(band.definition) for band in source.reads}
    return _compress(collections, scenes)


def repack(payload: bytes, scenes: Sequence[Sequence[Scene]]) -> bytes:
    """The same collections with other scenes."""
    return _compress(orjson.loads(zlib.decompress(payload))["collections"], scenes)


def unpack_collections(payload: bytes) -> dict[int, Collection]:
    """Collections by the number of the data source in the request."""
    values = orjson.loads(zlib.decompress(payload))
    return {int(number): _collection(collection) for number, collection in values["collections"].items()}


def unpack_scenes(payload: bytes) -> tuple[tuple[Scene, ...], ...]:
    """Scenes per input of the script."""
    values = orjson.loads(zlib.decompress(payload))
    return tuple(tuple(Scene.from_json(scene) for scene in members) for members in values["scenes"])


def _compress(collections: Mapping[str, Any], scenes: Sequence[Sequence[Scene]]) -> bytes:
    values = {
        "collections": collections,
        "scenes": [[scene.to_json() for scene in members] for members in scenes],
    }
    return zlib.compress(orjson.dumps(values, option=orjson.OPT_SORT_KEYS), 1)


def _collection(values: Mapping[str, Any]) -> Collection:
    names = {field.name for field in fields(Collection)} - {"bands", "aliases"}
    names &= set(values)  # a plan may be older
    bands = {name: _band(band) for name, band in values["bands"].items()}
    return Collection(bands=bands, aliases=tuple(values["aliases"]), **{name: values[name] for name in names})


def _band(values: Mapping[str, Any]) -> BandDefinition:
    units = {name: (float(scale), float(offset)) for name, (scale, offset) in values["units"].items()}
    return BandDefinition(**{**values, "assets": tuple(values["assets"]), "units": units})
