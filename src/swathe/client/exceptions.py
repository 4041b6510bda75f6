"""What can go wrong on this side of the wire. No message holds a secret."""

from __future__ import annotations

from swathe.model.errors import SwatheError


class ClientError(SwatheError):
    """The client could not do what it was asked to."""


class WrongArgument(ClientError, ValueError):
    """An argument is none that can be used; the message says what can."""


class ConfigInvalid(ClientError):
    """The client's configuration cannot be used as it is."""

    code = "COMMON_BAD_PAYLOAD"


class RequestFailed(ClientError):
    """The service answered, and the answer was no.

    `status` is the HTTP status, `error_code` the provider's code such as `COMMON_BAD_PAYLOAD`, empty where the answer
    had none.
    """

    def __init__(self, message: str, status: int = 0, error_code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.error_code = error_code

    def __reduce__(self) -> tuple[type[RequestFailed], tuple[str, int, str]]:  # type: ignore[override]
        return type(self), (self.message, self.status, self.error_code)


class AuthenticationFailed(RequestFailed):
    """The token endpoint gave no token, or the service did not accept a fresh one."""


class RateLimited(RequestFailed):
    """The service kept answering 429 for longer than the configuration lets the client wait."""

    retryable = True


class ServiceUnavailable(RequestFailed):
    """The service could not be reached, or answered 5xx, on every attempt."""

    retryable = True


class AnswerInvalid(ClientError):
    """The service answered something that the contract does not have."""


class JobError(ClientError, RuntimeError):
    """A batch request did not end as hoped; a RuntimeError too, as `raise_for_status` raises one."""

    def __init__(self, message: str, request_id: str = "") -> None:
        super().__init__(message)
        self.request_id = request_id

    def __reduce__(self) -> tuple[type[JobError], tuple[str, str]]:
        return type(self), (self.message, self.request_id)


class JobFailed(JobError):
    """The batch request ended FAILED."""


class JobStopped(JobError):
    """The batch request is STOPPED: by its user, for want of processing units, or as unhealthy."""


class JobNotStarted(JobError):
    """Nobody asked the batch request to go on, so waiting for it would never end."""


class WaitTimeout(JobError, TimeoutError):
    """The batch request was not over in time; it may still go on."""
