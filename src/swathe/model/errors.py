"""What can go wrong, in the words of the person who has to mend it.

An error says what happened, names the thing and the way out. It knows no HTTP: `server.errors` has the table from
class to status. `retryable` tells the runner whether trying again can help.
"""

from __future__ import annotations

from typing import ClassVar


class SwatheError(Exception):
    """Something that is not a bug of ours; the message is meant for the user and holds no secret."""

    code: ClassVar[str] = "COMMON_EXCEPTION"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __reduce__(self) -> tuple[type[SwatheError], tuple[str, ...]]:
        return type(self), (self.message,)


class RequestInvalid(SwatheError):
    """A field of the request cannot be used as it is."""

    code = "COMMON_BAD_PAYLOAD"

    def __init__(self, message: str, parameter: str = "") -> None:
        super().__init__(message)
        self.parameter = parameter

    def __reduce__(self) -> tuple[type[SwatheError], tuple[str, ...]]:
        return type(self), (self.message, self.parameter)


class LimitExceeded(RequestInvalid):
    """Something a user can make long is longer than this deployment allows; the message has both numbers."""


class SettingsInvalid(SwatheError):
    """The deployment's configuration cannot be used as it is."""

    code = "COMMON_BAD_PAYLOAD"


class NotFound(SwatheError):
    """There is no such thing, or it is not yours."""

    code = "COMMON_NOT_FOUND"


class Conflict(SwatheError):
    """There is such a thing already, and there may be one only."""

    code = "COMMON_UNIQUE_KEY_VIOLATION"


class Unauthorized(SwatheError):
    """Who asks is not known."""

    code = "COMMON_UNAUTHORIZED"


class NotAllowed(SwatheError):
    """Who asks is known and may not."""

    code = "COMMON_INSUFFICIENT_PERMISSIONS"


class ActionNotPossible(SwatheError):
    """The job is in a state in which this action has no meaning."""

    code = "COMMON_BAD_PAYLOAD"


class ScriptError(SwatheError):
    """The evalscript cannot be used, threw, or returned something that is no result."""

    code = "RENDERER_EXCEPTION"


class ScriptTimeout(ScriptError):
    """The evalscript ran past its time limit and was ended."""


class ScriptMemory(ScriptError):
    """The evalscript asked for more memory than it may have and was ended."""


class ScriptLost(ScriptError):
    """The process that ran the evalscript was ended from outside, or by a fault of its own; trying again may help."""


class FeaturesInvalid(SwatheError):
    """The GeoPackage as a whole cannot be used (a single bad feature is a result of its own, not this)."""

    code = "COMMON_BAD_PAYLOAD"


class StorageError(SwatheError):
    """An object store said no."""

    code = "COMMON_BAD_PAYLOAD"


class ObjectNotFound(StorageError):
    """There is no such object or bucket."""


class AccessDenied(StorageError):
    """The store does not accept the credentials, or they may not do this."""


class StoreUnavailable(StorageError):
    """The store does not answer, or is busy; later it may."""

    retryable = True


class SourceError(SwatheError):
    """A collection, a scene or a raster cannot be used as asked."""

    code = "COMMON_BAD_PAYLOAD"


class BandMissing(SourceError):
    """The source has no such band."""


class SceneUnreadable(SourceError):
    """A scene's raster cannot be read."""

    retryable = True
