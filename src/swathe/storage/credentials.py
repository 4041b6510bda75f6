"""Keys to an object store."""

from __future__ import annotations

from dataclasses import dataclass, field

from swathe.model.common import S3Place


@dataclass(frozen=True)
class Credentials:
    """An access key with its secret, and the region it is for. The secret never shows in a `repr`."""

    access_key: str
    secret_access_key: str = field(repr=False)
    region: str | None = None


def from_place(place: S3Place) -> Credentials | None:
    """The keys of a request's storage place; None where it has none and the deployment's own are to be used."""
    if place.access_key is None or place.secret_access_key is None:
        return None
    return Credentials(place.access_key, place.secret_access_key.get_secret_value(), place.region)
