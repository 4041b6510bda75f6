"""Keys to an object store."""

from __future__ import annotations

from dataclasses import dataclass, field

from swathe.model.common import S3Place
from swathe.settings import StorageSettings
from swathe.storage.doors import check_bucket


@dataclass(frozen=True)
class Credentials:
    """An access key with its secret, and the region it is for. The secret never shows in a `repr`."""

    access_key: str
    secret_access_key: str = field(repr=False)
    region: str | None = None


def bucket_of(place: S3Place) -> str:
    """The bucket that a request's storage place is in."""
    return place.url.removeprefix("s3://").partition("/")[0]


def from_place(place: S3Place, settings: StorageSettings) -> Credentials | None:
    """The keys of a request's storage place; None where it has none and the deployment's own are to be used.

    Whatever a request names goes through here, before it is reached.

    Raises:
        DoorClosed: the place is in a bucket that the deployment does not open to requests like this one.
    """
    has_keys = place.access_key is not None and place.secret_access_key is not None
    check_bucket(settings, bucket_of(place), has_keys=has_keys)
    if place.access_key is None or place.secret_access_key is None:
        return None
    return Credentials(place.access_key, place.secret_access_key.get_secret_value(), place.region)
