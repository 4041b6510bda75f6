"""What goes wrong with a raster, by its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from swathe.model.errors import SceneUnreadable, StorageError
from swathe.rasters.tiff import TiffBroken
from swathe.storage.doors import DoorClosed
from swathe.storage.urls import shown_url


class RasterCorrupt(SceneUnreadable):
    """The raster is there and cannot be used; reading it again will not help."""

    retryable = False


class RasterMissing(RasterCorrupt):
    """The raster is not there, or may not be read."""


@contextmanager
def named(href: str) -> Iterator[None]:
    """Turns what went wrong into a `SceneUnreadable` that names the raster."""
    try:
        yield
    except TiffBroken as error:
        raise RasterCorrupt(
            f"{shown_url(href)} {error}; replace the file, or take its item out of the catalog"
        ) from None
    except DoorClosed as error:
        raise RasterMissing(f"{shown_url(href)} is not read: {error.message}") from None
    except StorageError as error:
        if error.retryable:
            raise SceneUnreadable(error.message) from None
        raise RasterMissing(f"{error.message}; mend the item's address, or take it out of the catalog") from None
