"""What the batch clients and their request objects have in common."""

# No `from __future__ import annotations` here: dataclass-json reads the annotations of the classes below these.
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, ClassVar, Generic, Self, TypeVar
from urllib.parse import quote, urlencode

from swathe.client.config import SHConfig
from swathe.client.exceptions import AnswerInvalid
from swathe.client.session import Session
from swathe.client.statuses import BatchRequestStatus, BatchUserAction, StoppedStatusReason
from swathe.client.types import Json, JsonDict, remove_undefined
from swathe.client.waiting import DEFAULT_PACE, Pace, wait_until_over

__all__ = [
    "BaseBatchClient",
    "BaseBatchRequest",
    "BatchRequestStatus",
    "BatchRequestType",
    "BatchUserAction",
    "StoppedStatusReason",
]


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

    _request_type: ClassVar[Any]
    # Where requests are, below the service.
    _REQUESTS = ""

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

    def get_request(self, batch_request: "str | JsonDict | BatchRequestType") -> BatchRequestType:
        """The batch request as it is now."""
        return self._parse_request(self.session.request_dict("GET", self._get_processing_url(batch_request)))

    def iter_requests(
        self, user_id: str | None = None, search: str | None = None, sort: str | None = None, **kwargs: Any
    ) -> Iterator[BatchRequestType]:
        """The account's batch requests, page after page as they are asked for.

        Args:
            user_id: only those of this user.
            search: only those that this text finds.
            sort: created, created:desc, status or status:desc.
            kwargs: further fields of the query, such as `count`.
        """
        query = remove_undefined({"userid": user_id, "search": search, "sort": sort, **kwargs})
        for entry in self._iter_pages(self._requests_url, query):
            yield self._parse_request(entry)

    def start_analysis(self, batch_request: "str | JsonDict | BatchRequestType") -> Json:
        """Has the request checked, what it works on found, and the cost estimated."""
        return self._call_job(batch_request, "analyse")

    def start_job(self, batch_request: "str | JsonDict | BatchRequestType") -> Json:
        """Starts the job, or goes on with a stopped one; a request that is not analysed yet is analysed first."""
        return self._call_job(batch_request, "start")

    def stop_job(self, batch_request: "str | JsonDict | BatchRequestType") -> Json:
        """Stops the job; it may be started again."""
        return self._call_job(batch_request, "stop")

    def wait(
        self,
        batch_request: "str | JsonDict | BatchRequestType",
        progress: bool = True,
        *,
        timeout: float | None = None,
        analysis_timeout: float = 3600.0,
        pace: Pace = DEFAULT_PACE,
    ) -> BatchRequestType:
        """Waits until the job is over and gives the final request.

        Args:
            batch_request: one that was started.
            progress: show a progress bar.
            timeout: seconds for all of it; None waits as long as the job runs.
            analysis_timeout: seconds for everything before the processing, so that a job that hangs there is found out.
            pace: how often to look.

        Raises:
            JobFailed: it ended FAILED; the message has the reason.
            JobStopped: it is STOPPED; the message has the reason.
            JobNotStarted: it stays CREATED, or analysed, and nobody asked it to go on.
            WaitTimeout: it is not over in time; it may still go on.
        """

        def look() -> Any:
            return self.get_request(batch_request)

        found: BatchRequestType = wait_until_over(
            look,
            show_progress=progress,
            timeout_s=timeout,
            analysis_timeout_s=analysis_timeout,
            pace=pace,
        )
        return found

    def _iter_pages(self, url: str, query: JsonDict) -> Iterator[JsonDict]:
        token: str | None = None
        while True:
            page_query = urlencode(query if token is None else {**query, "viewtoken": token})
            page = self.session.request_dict("GET", f"{url}?{page_query}" if page_query else url)
            entries = page.get("data")
            if not isinstance(entries, list):
                raise AnswerInvalid(f"GET {url}: the answer has no list 'data'")
            yield from entries
            last, token = token, (page.get("links") or {}).get("nextToken")
            # A service that repeats its token would be asked for the same page for ever.
            if token is None or token == last or not entries:
                return

    @classmethod
    def _parse_request(cls, answer: JsonDict) -> BatchRequestType:
        try:
            request: BatchRequestType = cls._request_type.from_dict(answer)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise AnswerInvalid(f"the service's batch request cannot be read: {error!r}") from error
        return request

    def _call_job(self, batch_request: "str | JsonDict | BatchRequestType", action: str) -> Json:
        return self.session.request("POST", f"{self._get_processing_url(batch_request)}/{action}")

    @property
    def _requests_url(self) -> str:
        return f"{self.service_url}{self._REQUESTS}"

    def _get_processing_url(self, batch_request: "str | JsonDict | BatchRequestType") -> str:
        return f"{self._requests_url}/{quote(self._parse_request_id(batch_request), safe='')}"

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
