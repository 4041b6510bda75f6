"""Client of the batch services, the hosted ones or one's own; needs none of the engine's dependencies."""

from swathe.client.access import AccessSpecification, S3Specification, s3_specification
from swathe.client.base import (
    BaseBatchClient,
    BaseBatchRequest,
    BatchRequestStatus,
    BatchUserAction,
    StoppedStatusReason,
)
from swathe.client.batch import BatchStatisticalRequest, BatchStatisticalRequestType, SentinelHubBatchStatistical
from swathe.client.config import SHConfig
from swathe.client.exceptions import (
    AnswerInvalid,
    AuthenticationFailed,
    ClientError,
    ConfigInvalid,
    JobError,
    JobFailed,
    JobNotStarted,
    JobStopped,
    RateLimited,
    RequestFailed,
    ServiceUnavailable,
    WaitTimeout,
    WrongArgument,
)
from swathe.client.extras import LibraryMissing
from swathe.client.frame import to_dataframe
from swathe.client.process import BatchProcessClient, BatchProcessRequest, BatchProcessRequestType
from swathe.client.results import BatchStatisticalResults
from swathe.client.session import Session
from swathe.client.statistical import SentinelHubStatistical
from swathe.client.waiting import Pace

__all__ = [
    "AccessSpecification",
    "AnswerInvalid",
    "AuthenticationFailed",
    "BaseBatchClient",
    "BaseBatchRequest",
    "BatchProcessClient",
    "BatchProcessRequest",
    "BatchProcessRequestType",
    "BatchRequestStatus",
    "BatchStatisticalRequest",
    "BatchStatisticalRequestType",
    "BatchStatisticalResults",
    "BatchUserAction",
    "ClientError",
    "ConfigInvalid",
    "JobError",
    "JobFailed",
    "JobNotStarted",
    "JobStopped",
    "LibraryMissing",
    "Pace",
    "RateLimited",
    "RequestFailed",
    "S3Specification",
    "SHConfig",
    "SentinelHubBatchStatistical",
    "SentinelHubStatistical",
    "ServiceUnavailable",
    "Session",
    "StoppedStatusReason",
    "WaitTimeout",
    "WrongArgument",
    "s3_specification",
    "to_dataframe",
]
