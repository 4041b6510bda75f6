"""The words in which a batch service says how a request stands."""

from __future__ import annotations

from enum import Enum


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
