"""What the requests of all services share: data sources, filters, storage places."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic.alias_generators import to_camel

from swathe.model.errors import RequestInvalid
from swathe.model.filters import (
    AcquisitionMode,
    BackCoeff,
    Constellation,
    DemInstance,
    OrbitDirection,
    Polarization,
    RadarResolution,
    SpeckleFilterType,
    Tiers,
    Timeliness,
    View,
)
from swathe.model.time import TimeRange, parse_time

_REGION = re.compile(r"[A-Za-z0-9_-]{0,64}")
_INSTANT = timedelta(seconds=1)


class WireModel(BaseModel):
    """A value that travels as JSON with camel-case names. Keys that do not concern us are left aside."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class MosaickingOrder(StrEnum):
    """Which scene lies on top."""

    MOST_RECENT = "mostRecent"
    LEAST_RECENT = "leastRecent"
    LEAST_CC = "leastCC"


class Resampling(StrEnum):
    """How a cell takes its value from the source."""

    NEAREST = "NEAREST"
    BILINEAR = "BILINEAR"
    BICUBIC = "BICUBIC"


class TimeRangeModel(WireModel):
    """`{"from": …, "to": …}`, either of which a data filter may leave out."""

    from_: str | None = Field(default=None, alias="from")
    to: str | None = None

    def to_range(self, parameter: str) -> TimeRange:
        """The range in UTC, open ends as far as the calendar goes. From and to the same time, it is the second that begins
        there: a client that asks for one acquisition sends its time, in whole seconds, twice.

        Raises:
            RequestInvalid: one of the two is no time, or they are reversed.
        """
        start = parse_time(self.from_, f"{parameter}->from") if self.from_ else datetime.min.replace(tzinfo=UTC)
        end = parse_time(self.to, f"{parameter}->to") if self.to else datetime.max.replace(tzinfo=UTC)
        if end == start and start < datetime.max.replace(microsecond=0, tzinfo=UTC):
            return TimeRange(start, start + _INSTANT)
        if end <= start:
            raise RequestInvalid(f"timeRange ends ({self.to}) before it starts ({self.from_}); swap the two", parameter)
        return TimeRange(start, end)


class DataFilter(WireModel):
    """Which scenes of a collection are used. `catalog.request_keys` says what becomes of the keys of some collections."""

    time_range: TimeRangeModel | None = None
    max_cloud_coverage: float | None = Field(default=None, ge=0, le=100)
    mosaicking_order: MosaickingOrder | None = None
    orbit_direction: OrbitDirection | None = None
    acquisition_mode: AcquisitionMode | None = None
    polarization: Polarization | None = None
    resolution: RadarResolution | None = None
    timeliness: Timeliness | None = None
    tiers: Tiers | None = None
    constellation: Constellation | None = None
    dem_instance: DemInstance | None = None


class SpeckleFilter(WireModel):
    """How speckle is filtered; the window is in pixels of the source."""

    type: SpeckleFilterType
    window_size_x: int | None = Field(default=None, ge=1, le=7)
    window_size_y: int | None = Field(default=None, ge=1, le=7)


class Processing(WireModel):
    """How the source is sampled, and what is to be made of it. Of the latter Swathe computes `harmonizeValues` alone."""

    upsampling: Resampling | None = None
    downsampling: Resampling | None = None
    harmonize_values: bool | None = None
    back_coeff: BackCoeff | None = None
    orthorectify: bool | None = None
    dem_instance: DemInstance | None = None
    radiometric_terrain_oversampling: float | None = Field(default=None, ge=1, le=4)
    speckle_filter: SpeckleFilter | None = None
    egm: bool | None = None
    clamp_negative: bool | None = None
    view: View | None = None
    min_qa: int | None = Field(default=None, ge=0, le=100)


class DataSource(WireModel):
    """One entry of `input.data`: a collection with its filter. `id` is what an evalscript calls `datasource`."""

    type: str = Field(min_length=1)
    id: str | None = None
    data_filter: DataFilter = DataFilter()
    processing: Processing = Processing()

    @field_validator("data_filter", "processing", mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        return {} if value is None else value


class S3Place(WireModel):
    """A bucket, a folder or an object in an S3-compatible store, with the keys to it."""

    url: str = Field(pattern=r"^s3://[^/]+(/.*)?$")
    access_key: str | None = None
    secret_access_key: SecretStr | None = None
    region: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _role_is_not_offered(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("iamRoleARN"):
            raise ValueError(
                "iamRoleARN is not supported by this deployment; give accessKey and secretAccessKey,"
                " or leave both out to use the deployment's own credentials"
            )
        return value

    @field_validator("region")
    @classmethod
    def _is_a_region(cls, value: str | None) -> str | None:
        # it becomes a part of a host's name
        if value is not None and not _REGION.fullmatch(value):
            raise ValueError("must be the name of a region, such as eu-central-1")
        return value

    @model_validator(mode="after")
    def _both_keys_or_none(self) -> S3Place:
        if (self.access_key is None) != (self.secret_access_key is None):
            raise ValueError("accessKey and secretAccessKey belong together; give both or neither")
        return self


class StoragePlace(WireModel):
    """`{"s3": {…}}`."""

    s3: S3Place
