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


def split_secrets(body: Mapping[str, Any]) -> tuple[dict[str, Any], KeyPairs]:
    """A request body that may be shown, and the keys that were in it.

    Of a storage place only `url` and `region` stay; keys that have the name of a secret go wherever they stand.
    """
    shown: dict[str, Any] = _without_secrets(body)
    pairs: dict[str, Mapping[str, str] | None] = {}
    places = {"features": (body.get("input"), shown.get("input"), "features"), "output": (body, shown, "output")}
    for name, (parent, shown_parent, key) in places.items():
        place = parent.get(key) if isinstance(parent, Mapping) else None
        s3 = place.get("s3") if isinstance(place, Mapping) else None
        if not isinstance(s3, Mapping) or not isinstance(shown_parent, dict):
            pairs[name] = None
            continue
        keys = {part: str(s3[part]) for part in _KEY_NAMES if s3.get(part) is not None}
        pairs[name] = keys or None
        shown_parent[key] = {"s3": {part: s3[part] for part in _SHOWN if s3.get(part) is not None}}
    return shown, KeyPairs(features=pairs["features"], output=pairs["output"])


def join_secrets(request: Mapping[str, Any], keys: KeyPairs) -> dict[str, Any]:
    """The request with its keys back in their places; the inverse of `split_secrets`."""
    whole = {**request, "input": {**request["input"]}}
    features, output = request["input"]["features"], request["output"]
    whole["input"]["features"] = {"s3": {**features["s3"], **(keys.features or {})}}
    whole["output"] = {"s3": {**output["s3"], **(keys.output or {})}}
    return whole


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_secrets(part) for key, part in value.items() if key.lower() not in _NEVER_SHOWN}
    if isinstance(value, list):
        return [_without_secrets(part) for part in value]
    return value
