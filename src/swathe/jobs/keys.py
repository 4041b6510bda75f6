"""Keys to users' object stores, kept apart from the requests that brought them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_KEY_NAMES = ("accessKey", "secretAccessKey")
# What is shown of a storage place; everything else in it may be a secret that we do not know.
_SHOWN = ("url", "region")
_NEVER_SHOWN = frozenset({"accesskey", "secretaccesskey", "iamrolearn", "credentials", "sessiontoken", "password"})


@dataclass(frozen=True)
class Places:
    """Where a kind of request has its two storage places, `{"s3": {…}}` each; a request may lack one."""

    features: tuple[str, ...]
    output: tuple[str, ...]


STATISTICS_PLACES = Places(features=("input", "features"), output=("output",))
PROCESS_PLACES = Places(features=("input", "features"), output=("output", "delivery"))


@dataclass(frozen=True)
class KeyPairs:
    """The two key pairs of a batch request, each `{"accessKey": …, "secretAccessKey": …}` or None."""

    features: Mapping[str, str] | None = field(default=None, repr=False)
    output: Mapping[str, str] | None = field(default=None, repr=False)

    def to_text(self) -> str | None:
        """As the job store keeps it; None when there is nothing to keep."""
        if self.features is None and self.output is None:
            return None
        return json.dumps({"features": self.features, "output": self.output})

    @classmethod
    def from_text(cls, text: str | None) -> KeyPairs:
        """The inverse of `to_text`."""
        values = json.loads(text) if text else {}
        return cls(features=values.get("features"), output=values.get("output"))


def split_secrets(body: Mapping[str, Any], places: Places = STATISTICS_PLACES) -> tuple[dict[str, Any], KeyPairs]:
    """A request body that may be shown, and the keys that were in it.

    Of a storage place only `url` and `region` stay; keys that have the name of a secret go wherever they stand.
    """
    shown: dict[str, Any] = _without_secrets(body)
    pairs: dict[str, Mapping[str, str] | None] = {}
    for name, path in (("features", places.features), ("output", places.output)):
        place = _find(body, path)
        s3 = place.get("s3") if place is not None else None
        pairs[name] = None
        if isinstance(s3, Mapping):
            pairs[name] = {part: str(s3[part]) for part in _KEY_NAMES if s3.get(part) is not None} or None
            shown = _with(shown, path, {"s3": {part: s3[part] for part in _SHOWN if s3.get(part) is not None}})
    return shown, KeyPairs(features=pairs["features"], output=pairs["output"])


def join_secrets(request: Mapping[str, Any], keys: KeyPairs, places: Places = STATISTICS_PLACES) -> dict[str, Any]:
    """The request with its keys back in their places; the inverse of `split_secrets`."""
    whole = dict(request)
    for path, pair in ((places.features, keys.features), (places.output, keys.output)):
        place = _find(whole, path)
        if place is not None and isinstance(place.get("s3"), Mapping):
            whole = _with(whole, path, {"s3": {**place["s3"], **(pair or {})}})
    return whole


def _find(body: Mapping[str, Any], path: tuple[str, ...]) -> Mapping[str, Any] | None:
    place: Any = body
    for name in path:
        place = place.get(name) if isinstance(place, Mapping) else None
    return place if isinstance(place, Mapping) else None


def _with(body: Mapping[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A copy of the body with something else at a path that it has."""
    name, *rest = path
    return {**body, name: _with(body[name], tuple(rest), value) if rest else value}


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_secrets(part) for key, part in value.items() if key.lower() not in _NEVER_SHOWN}
    if isinstance(value, list):
        return [_without_secrets(part) for part in value]
    return value
