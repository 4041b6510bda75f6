"""What it means for a catalog that what it lies in cannot be read."""

from __future__ import annotations

from swathe.model.errors import SourceError, StorageError


class SourceUnavailable(SourceError):
    """A catalog, or the store it lies in, does not answer or is busy; later it may."""

    code = "COMMON_EXCEPTION"
    retryable = True


def cannot_read(error: StorageError, sentence: str | None = None) -> SourceError:
    """The catalog's error for a store's; its sentence, unless there is a better one."""
    return (SourceUnavailable if error.retryable else SourceError)(sentence or error.message)
