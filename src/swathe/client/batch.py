"""The Batch Statistical API: one job computes the statistics of every feature of a GeoPackage."""

# No `from __future__ import annotations` here: dataclass-json reads the annotations of the dataclass.
import datetime as dt
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataclasses_json import CatchAll, LetterCase, Undefined, dataclass_json

from swathe.client.access import AccessSpecification, s3_specification
from swathe.client.base import (
    BaseBatchClient,
    BaseBatchRequest,
    BatchRequestStatus,
    BatchUserAction,
    StoppedStatusReason,
)
from swathe.client.fields import datetime_field, enum_field, named_field
from swathe.client.locations import find_location
from swathe.client.results import BatchStatisticalResults
from swathe.client.types import Json, JsonDict, remove_undefined


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

    _request_type = BatchStatisticalRequest
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

    def get_status(self, batch_request: BatchStatisticalRequestType) -> JsonDict:
        """Status and progress only."""
        return self.session.request_dict("GET", f"{self._get_processing_url(batch_request)}/status")

    def cancel_job(self, batch_request: BatchStatisticalRequestType) -> Json:
        """Ends the job; an old name of `stop_job` that the service still has."""
        return self._call_job(batch_request, "cancel")

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
