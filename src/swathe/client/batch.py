"""The Batch Statistical API: one job computes the statistics of every feature of a GeoPackage."""

# No `from __future__ import annotations` here: dataclass-json reads the annotations of the dataclass.
import datetime as dt
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from dataclasses_json import CatchAll, LetterCase, Undefined, dataclass_json

from swathe.client.access import AccessSpecification, s3_specification
from swathe.client.base import (
    BaseBatchClient,
    BaseBatchRequest,
    BatchRequestStatus,
    BatchUserAction,
    StoppedStatusReason,
)
from swathe.client.exceptions import AnswerInvalid
from swathe.client.fields import datetime_field, enum_field, named_field
from swathe.client.locations import find_location
from swathe.client.results import BatchStatisticalResults
from swathe.client.types import Json, JsonDict, remove_undefined
from swathe.client.waiting import DEFAULT_PACE, Pace, wait_until_over


@dataclass_json(letter_case=LetterCase.CAMEL, undefined=Undefined.INCLUDE)  # type: ignore[call-overload]
@dataclass(repr=False)
class BatchStatisticalRequest(BaseBatchRequest):
    """A batch statistical request as the service describes it.

    Fields that this class does not know are kept in `other_data` under their wire names.
    """

    request_id: str = field(metadata=named_field("id"))
    completion_percentage: float
    request: dict  # type: ignore[type-arg]  # dataclass-json would check the type arguments of every value
    status: BatchRequestStatus = field(metadata=enum_field(BatchRequestStatus))
    user_id: str | None = None
    created: dt.datetime | None = field(metadata=datetime_field(), default=None)
    cost_pu: float | None = field(metadata=named_field("costPU"), default=None)
    user_action: BatchUserAction | None = field(metadata=enum_field(BatchUserAction), default=None)
    # A datetime once it is read from the wire; the published interface says `str` here.
    user_action_updated: str | None = field(metadata=datetime_field(), default=None)
    error: str | None = None
    other_data: CatchAll = field(default_factory=dict)  # type: ignore[type-arg]

    _REPR_PARAM_NAMES = (
        "request_id",
        "created",
        "status",
        "user_action",
        "cost_pu",
        "error",
        "completion_percentage",
    )

    @property
    def stopped_status_reason(self) -> StoppedStatusReason | None:
        """Why the request is STOPPED, None where the service did not say or said something unheard of."""
        reason = (self.other_data or {}).get("stoppedStatusReason")
        return StoppedStatusReason(reason) if reason in {known.value for known in StoppedStatusReason} else None


BatchStatisticalRequestType = str | JsonDict | BatchStatisticalRequest


class SentinelHubBatchStatistical(BaseBatchClient[BatchStatisticalRequest]):
    """Creates, starts, watches and reads batch statistical jobs.

    Wherever a batch request is asked for, a request object, a raw payload or only an id will do.
    """

    s3_specification = staticmethod(s3_specification)

    @staticmethod
    def _get_service_url(base_url: str) -> str:
        return f"{base_url}/api/v1/statistics/batch"

    def create(
        self,
        *,
        input_features: AccessSpecification,
        input_data: Sequence[JsonDict],
        aggregation: JsonDict,
        calculations: JsonDict | None,
        output: AccessSpecification,
        **kwargs: Any,
    ) -> BatchStatisticalRequest:
        """Creates a batch request; nothing runs before `start_analysis` or `start_job`.

        Args:
            input_features: the GeoPackage.
            input_data: entries made with `SentinelHubStatistical.input_data`.
            aggregation: made with `SentinelHubStatistical.aggregation`.
            calculations: statistics and histograms of each output.
            output: folder of the results, or a template with `<REQUEST_ID>`, `<ID>`, `<IDENTIFIER>`.
            kwargs: further fields of the payload.
        """
        payload = {
            "input": {"features": input_features, "data": list(input_data)},
            "aggregation": aggregation,
            "calculations": calculations,
            "output": output,
            **kwargs,
        }
        answer = self.session.request_dict("POST", self.service_url, body=remove_undefined(payload))
        return self._parse_request(answer)

    def create_from_request(
        self,
        statistical_request: Any,
        input_features: AccessSpecification,
        output: AccessSpecification,
        **kwargs: Any,
    ) -> BatchStatisticalRequest:
        """Creates a batch request that computes for every feature what a statistical request computes for its area.

        Args:
            statistical_request: a `SentinelHubStatistical`, ours or the published client's.
            input_features: the GeoPackage.
            output: folder or template of the results.
            kwargs: further fields of the payload.
        """
        payload = statistical_request.payload
        return self.create(
            input_features=input_features,
            input_data=payload["input"]["data"],
            aggregation=payload["aggregation"],
            calculations=payload.get("calculations"),
            output=output,
            **kwargs,
        )

    def get_request(self, batch_request: BatchStatisticalRequestType) -> BatchStatisticalRequest:
        """The batch request as it is now."""
        return self._parse_request(self.session.request_dict("GET", self._get_processing_url(batch_request)))

    def get_status(self, batch_request: BatchStatisticalRequestType) -> JsonDict:
        """Status and progress only."""
        return self.session.request_dict("GET", f"{self._get_processing_url(batch_request)}/status")

    def start_analysis(self, batch_request: BatchStatisticalRequestType) -> Json:
        """Has the features and the evalscript checked and the cost estimated."""
        return self._call_job(batch_request, "analyse")

    def start_job(self, batch_request: BatchStatisticalRequestType) -> Json:
        """Starts the job, or goes on with a stopped one; a request that is not analysed yet is analysed first."""
        return self._call_job(batch_request, "start")

    def cancel_job(self, batch_request: BatchStatisticalRequestType) -> Json:
        """Ends the job; an old name of `stop_job` that the service still has."""
        return self._call_job(batch_request, "cancel")

    def stop_job(self, batch_request: BatchStatisticalRequestType) -> Json:
        """Stops the job; it may be started again."""
        return self._call_job(batch_request, "stop")

    def iter_requests(
        self, user_id: str | None = None, search: str | None = None, sort: str | None = None, **kwargs: Any
    ) -> Iterator[BatchStatisticalRequest]:
        """The account's batch requests, page after page as they are asked for.

        Args:
            user_id: only those of this user.
            search: only those that this text finds.
            sort: such as `created:desc`.
            kwargs: further fields of the query, such as `count`.
        """
        query = remove_undefined({"userid": user_id, "search": search, "sort": sort, **kwargs})
        token: str | None = None
        while True:
            page_query = urlencode(query if token is None else {**query, "viewtoken": token})
            page = self.session.request_dict("GET", f"{self.service_url}?{page_query}")
            entries = page.get("data")
            if not isinstance(entries, list):
                raise AnswerInvalid(f"GET {self.service_url}: the answer has no list 'data'")
            for entry in entries:
                yield self._parse_request(entry)
            last, token = token, (page.get("links") or {}).get("nextToken")
            # A service that repeats its token would be asked for the same page for ever.
            if token is None or token == last or not entries:
                return

    def wait(
        self,
        batch_request: BatchStatisticalRequestType,
        progress: bool = True,
        *,
        timeout: float | None = None,
        analysis_timeout: float = 3600.0,
        pace: Pace = DEFAULT_PACE,
    ) -> BatchStatisticalRequest:
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
        return wait_until_over(
            lambda: self.get_request(batch_request),
            show_progress=progress,
            timeout_s=timeout,
            analysis_timeout_s=analysis_timeout,
            pace=pace,
        )

    def results(
        self,
        batch_request: BatchStatisticalRequestType,
        *,
        feature_ids: Iterable[int | str] | None = None,
        output: AccessSpecification | None = None,
        endpoint_url: str | None = None,
        local_root: str | os.PathLike[str] | None = None,
        folder: str | os.PathLike[str] | None = None,
        concurrency: int = 8,
    ) -> BatchStatisticalResults:
        """The documents of a job, read from where it wrote them.

        Credentials for S3 come from `output`, else from a raw payload that has them, else from the config
        (`aws_access_key_id`, …), else from the environment (`AWS_ACCESS_KEY_ID`, …).

        Args:
            batch_request: whose results to read.
            feature_ids: only these, in this order.
            output: the specification the request was created with; the service never gives secrets back.
            endpoint_url: of an S3 other than Amazon's; else `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` says.
            local_root: `s3://bucket/key` is read from `local_root/bucket/key` instead.
            folder: holds the documents, whatever the request says about its output.
            concurrency: how many documents are fetched at the same time, and are in memory at most.
        """
        if isinstance(batch_request, str) or (isinstance(batch_request, dict) and "request" not in batch_request):
            batch_request = self.get_request(batch_request)
        payload = batch_request["request"] if isinstance(batch_request, dict) else batch_request.request
        location = find_location(
            payload.get("output") or {},
            self._parse_request_id(batch_request),
            access=output,
            config=self.config,
            endpoint_url=endpoint_url,
            local_root=local_root,
            folder=folder,
        )
        return BatchStatisticalResults(location, feature_ids=feature_ids, concurrency=concurrency)

    @staticmethod
    def _parse_request(answer: JsonDict) -> BatchStatisticalRequest:
        try:
            request: BatchStatisticalRequest = BatchStatisticalRequest.from_dict(answer)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise AnswerInvalid(f"the service's batch request cannot be read: {error!r}") from error
        return request
