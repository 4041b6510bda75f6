"""From errors to answers: one table of statuses, one JSON shape."""

from __future__ import annotations

import logging
import uuid

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from swathe.jobs.database import DatabaseUnavailable as DatabaseAway
from swathe.jobs.describing import JobBusy
from swathe.jobs.looking import NotReady
from swathe.jobs.workshop import Abandoned
from swathe.model.errors import (
    ActionNotPossible,
    Conflict,
    FeaturesInvalid,
    NotAllowed,
    NotFound,
    RequestInvalid,
    ScriptError,
    SettingsInvalid,
    SourceError,
    StorageError,
    StoreUnavailable,
    SwatheError,
    Unauthorized,
)
from swathe.model.validation import to_request_invalid
from swathe.server.answers import JsonAnswer, error_answer
from swathe.server.rates import RateExceeded

LOG = logging.getLogger(__name__)

# The first class that fits decides.
STATUSES: tuple[tuple[type[SwatheError], int], ...] = (
    (Unauthorized, 401),
    (NotAllowed, 403),
    (RateExceeded, 429),
    (NotFound, 404),
    (JobBusy, 409),
    (Conflict, 409),
    (ActionNotPossible, 400),
    (RequestInvalid, 400),
    (FeaturesInvalid, 400),
    (ScriptError, 400),
    (Abandoned, 408),  # nobody reads it
    (StoreUnavailable, 503),
    (NotReady, 503),
    (StorageError, 400),
    (SourceError, 400),
    (SettingsInvalid, 500),
)
_RETRY_AFTER_MS = "2000"
_HTTP_CODES = {
    401: "COMMON_UNAUTHORIZED",
    403: "COMMON_INSUFFICIENT_PERMISSIONS",
    404: "COMMON_NOT_FOUND",
    405: "COMMON_METHOD_NOT_ALLOWED",
    415: "COMMON_UNSUPPORTED_MEDIA_TYPE",
}


class MediaTypeNotSupported(SwatheError):
    """The body is of a kind that this operation does not read."""

    code = "COMMON_UNSUPPORTED_MEDIA_TYPE"


def add_error_handlers(app: FastAPI) -> None:
    """Makes the application answer every error in the provider's shape."""

    @app.exception_handler(SwatheError)
    async def _ours(_request: Request, error: SwatheError) -> JsonAnswer:
        return answer_to(error)

    @app.exception_handler(DatabaseAway)
    async def _away(_request: Request, error: DatabaseAway) -> JsonAnswer:
        return answer_to_outage(error)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JsonAnswer:
        message = {
            404: f"There is nothing at {request.url.path}",
            405: f"{request.method} is not possible here",
        }.get(error.status_code, str(error.detail))
        code = _HTTP_CODES.get(
            error.status_code, "COMMON_BAD_PAYLOAD" if error.status_code < 500 else "COMMON_EXCEPTION"
        )
        return error_answer(error.status_code, message, code, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def _parameters(_request: Request, error: RequestValidationError) -> JsonAnswer:
        problems = [{**problem, "loc": problem["loc"][1:]} for problem in error.errors()]
        return answer_to(to_request_invalid(problems))


def answer_to(error: SwatheError) -> JsonAnswer:
    """An error of ours as an answer."""
    if isinstance(error, MediaTypeNotSupported):
        status = 415
    else:
        status = next((status for kind, status in STATUSES if isinstance(error, kind)), 500)
        if error.retryable and isinstance(error, SourceError | StorageError):
            status = 503  # a source that may be read again later: nothing is wrong with the request
    errors = None
    if isinstance(error, RequestInvalid) and error.parameter:
        errors = {"parameter": error.parameter, "violation": error.message}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    if status == 503:
        headers = {"Retry-After": _RETRY_AFTER_MS}
    if isinstance(error, RateExceeded):
        headers = {"Retry-After": str(error.retry_after_ms)}
    return error_answer(status, error.message, error.code, errors=errors, headers=headers)


def answer_to_outage(error: DatabaseAway) -> JsonAnswer:
    """An absence of the job store as an answer."""
    LOG.warning("the job store does not answer: %s", error)
    message = "The service cannot reach its job store at the moment; try again in a while"
    return error_answer(503, message, "COMMON_EXCEPTION", headers={"Retry-After": _RETRY_AFTER_MS})


def answer_to_bug(what: str, error: Exception) -> JsonAnswer:
    """A bug as an answer: an id to find it in the log by, and nothing of what it was."""
    name = uuid.uuid4().hex[:12]
    LOG.error("error %s at %s", name, what, exc_info=error)
    message = f"An internal error happened; the server's log has it under {name}"
    return error_answer(500, message, "COMMON_EXCEPTION")
