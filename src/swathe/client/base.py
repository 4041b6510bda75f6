"""What the batch clients and their request objects have in common."""

# No `from __future__ import annotations` here: dataclass-json reads the annotations of the classes below these.
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from enum import Enum
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from urllib.parse import quote

from swathe.client.config import SHConfig
from swathe.client.session import Session
from swathe.client.types import Json, JsonDict


class BatchRequestStatus(Enum):
    """Where a batch request stands.

    PARTIAL is in the provider's description for a request that finished with failed features; most deployments say
    DONE.
    """

    CREATED = "CREATED"
    ANALYSING = "ANALYSING"
    ANALYSIS_DONE = "ANALYSIS_DONE"
    PROCESSING = "PROCESSING"
    DONE = "DONE"
    PARTIAL = "PARTIAL"
    FAILED = "FAILED"
    STOPPED = "STOPPED"


class BatchUserAction(Enum):
    """What the user last asked a batch request to do."""

    START = "START"
    ANALYSE = "ANALYSE"
    STOP = "STOP"
    NONE = "NONE"


class StoppedStatusReason(Enum):
    """Why a batch request is STOPPED."""

    OUT_OF_PU = "OUT_OF_PU"
    USER_ACTION = "USER_ACTION"
    UNHEALTHY = "UNHEALTHY"


class BaseBatchRequest:
    """A batch request as the service describes it; subclasses are dataclass-json classes."""

    _REPR_PARAM_NAMES: Sequence[str] = ()

    request_id: str
    error: str | None
    status: BatchRequestStatus

    def to_dict(self, encode_json: bool = False) -> JsonDict:
        """The request in wire form."""
        raise NotImplementedError("the dataclass_json decorator provides it")

    @classmethod
    def from_dict(cls, kvs: Json, *, infer_missing: bool = False) -> Self:
        """The request from its wire form."""
        raise NotImplementedError("the dataclass_json decorator provides it")

    def __repr__(self) -> str:
        values = {name: getattr(self, name) for name in self._REPR_PARAM_NAMES}
        lines = "\n  ".join(f"{name}={value}" for name, value in values.items() if value is not None)
        return f"{type(self).__name__}(\n  {lines}\n  ...\n)"

    def raise_for_status(
        self, status: str | BatchRequestStatus | Iterable[str | BatchRequestStatus] = BatchRequestStatus.FAILED
    ) -> None:
        """Raises if the request stands at one of the given statuses.

        Raises:
            RuntimeError: it does; the message has the request's error.
        """
        refused = [status] if isinstance(status, str | BatchRequestStatus) else status
        if self.status in [BatchRequestStatus(one) for one in refused]:
            reason = f' and error message: "{self.error}"' if self.error else ""
            raise RuntimeError(f"Batch request {self.request_id} has status {self.status.value}{reason}")


BatchRequestType = TypeVar("BatchRequestType", bound=BaseBatchRequest)


class BaseBatchClient(ABC, Generic[BatchRequestType]):
    """A client of one of the batch APIs.

    Args:
        config: `SHConfig`, ours or the published client's; None reads the environment and the profile.
        session: in place of one made from the config.
    """

    def __init__(self, config: Any = None, *, session: Session | None = None) -> None:
        self.config = SHConfig() if config is None else config
        self.session = session or Session(self.config)
        self.service_url = self._get_service_url(self.session.base_url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives back the connections; a client that is dropped does so by itself."""
        self.session.close()

    @staticmethod
    @abstractmethod
    def _get_service_url(base_url: str) -> str:
        """Where this API is below a deployment's base URL."""

    def _call_job(self, batch_request: "str | JsonDict | BatchRequestType", action: str) -> Json:
        return self.session.request("POST", f"{self._get_processing_url(batch_request)}/{action}")

    def _get_processing_url(self, batch_request: "str | JsonDict | BatchRequestType") -> str:
        return f"{self.service_url}/{quote(self._parse_request_id(batch_request), safe='')}"

    @staticmethod
    def _parse_request_id(batch_request: "str | JsonDict | BatchRequestType") -> str:
        """The id in a request object, in a raw payload, or the id itself.

        Raises:
            ValueError: there is none in it.
        """
        request_id: object = batch_request
        if isinstance(batch_request, dict):
            request_id = batch_request.get("id")
        elif not isinstance(batch_request, str):
            # The published client's request objects have the same attribute.
            request_id = getattr(batch_request, "request_id", None)
        if not isinstance(request_id, str) or not request_id:
            # Only the type is told: a payload may hold secrets.
            given = type(batch_request).__name__
            raise ValueError(f"expected a batch request, its payload with an 'id', or an id, got a {given} without one")
        return request_id
