"""Requests of the Process API and of Batch Processing V2: what to render, over what, and where to put it.

Sources: the provider's OpenAPI description (tags `process`, `batch_v2_process`), its documents, and what its clients send.
What becomes of the images is in `process_output` and `process_zarr`, what that asks of the evalscript in
`process_checks`; `read_batch_process` is the way in for a whole batch request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from swathe.model.common import DataSource, WireModel
from swathe.model.crs import WGS84, parse_epsg
from swathe.model.errors import RequestInvalid
from swathe.model.process_output import ObjectPlace, RasterOutput, Response
from swathe.model.process_zarr import ZarrOutput
from swathe.model.validation import to_request_invalid

MAX_PIXELS = 3500
"""The longest side of a feature's image in a batch request."""

MAX_FEATURES = 700_000

Finite = Annotated[float, Field(allow_inf_nan=False)]


class BoundsProperties(WireModel):
    """The CRS of `bounds`, CRS84 without one."""

    crs: str | None = None


class GeoJson(WireModel):
    """A polygon of the request; whether it is valid is seen by who uses it. Some clients put its CRS into it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: Literal["Polygon", "MultiPolygon"]
    coordinates: list[Any] = Field(min_length=1)
    crs: Any = None


class Bounds(WireModel):
    """The area of a request: a box, polygons, or what they share; coordinates are x, y in the CRS."""

    bbox: tuple[Finite, Finite, Finite, Finite] | None = None
    geometry: GeoJson | None = None
    properties: BoundsProperties = BoundsProperties()

    @field_validator("properties", mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        return {} if value is None else value

    @property
    def is_empty(self) -> bool:
        """Whether no area is named."""
        return self.bbox is None and self.geometry is None

    @property
    def polygons(self) -> dict[str, Any] | None:
        """The geometry as GeoJSON without its CRS."""
        return None if self.geometry is None else self.geometry.model_dump(include={"type", "coordinates"})

    def to_epsg(self, parameter: str = "input->bounds") -> int:
        """The EPSG code of the coordinates, 4326 for CRS84 (x is longitude).

        Raises:
            RequestInvalid: it is none that is known.
        """
        if self.properties.crs is not None:
            return parse_epsg(self.properties.crs, f"{parameter}->properties->crs")
        own = self.geometry.crs if self.geometry is not None else None
        if isinstance(own, dict):
            properties = own.get("properties")
            own = properties.get("name") if isinstance(properties, dict) else None
        return parse_epsg(own, f"{parameter}->geometry->crs") if isinstance(own, str) else WGS84


class ProcessInput(WireModel):
    """Where and from what. In a batch request the area is that of interest; a GeoPackage may do without."""

    bounds: Bounds = Bounds()
    data: tuple[DataSource, ...] = Field(min_length=1)

    @field_validator("bounds", mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        return {} if value is None else value


class ProcessOutput(WireModel):
    """The size of the image and what is made of it; without a size it is 256 x 256. A batch request has no size.

    `resx`, `resy` are in units of the area's CRS.
    """

    width: int | None = Field(default=None, gt=0)
    height: int | None = Field(default=None, gt=0)
    resx: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    resy: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    responses: tuple[Response, ...] = (Response(),)

    @field_validator("responses", mode="before")
    @classmethod
    def _none_is_the_default(cls, value: Any) -> Any:
        return [{}] if value is None or value == [] else value

    @field_validator("responses")
    @classmethod
    def _named_apart(cls, value: tuple[Response, ...]) -> tuple[Response, ...]:
        names = [response.identifier for response in value]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two responses are called '{twice}'; an identifier may occur once")
        return value

    @model_validator(mode="after")
    def _one_way_to_say_the_size(self) -> ProcessOutput:
        if self.resx is not None and self.width is not None:
            raise ValueError("give either resx and resy, or width and height, not both")
        return self


class ProcessRequest(WireModel):
    """What to render: the body of the Process API, and `processRequest` of a batch request."""

    input: ProcessInput
    output: ProcessOutput = ProcessOutput()
    evalscript: str = Field(min_length=1)

    @field_validator("output", mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        return {} if value is None else value

    @model_validator(mode="before")
    @classmethod
    def _script_is_text(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("evalscript") is None and value.get("evalscriptReference"):
            raise ValueError("evalscriptReference is not supported; put the script itself into evalscript")
        return value


class InputKind(StrEnum):
    """What a batch request is over."""

    TILING_GRID = "tiling-grid"
    GEOPACKAGE = "geopackage"


class TilingGridInput(WireModel):
    """Tiles of one of the grids; buffers are pixels on each side."""

    type: Literal["tiling-grid"]
    id: int = Field(ge=0)
    resolution: float = Field(gt=0, allow_inf_nan=False)
    buffer_x: int = Field(default=0, ge=0, le=32_767)
    buffer_y: int = Field(default=0, ge=0, le=32_767)

    @field_validator("buffer_x", "buffer_y", mode="before")
    @classmethod
    def _null_is_none(cls, value: Any) -> Any:
        return 0 if value is None else value


class FeatureDefaults(WireModel):
    """Size or resolution of the features that say none of their own; resolution in units of the feature's CRS."""

    width: int | None = Field(default=None, ge=1, le=MAX_PIXELS)
    height: int | None = Field(default=None, ge=1, le=MAX_PIXELS)
    resolution: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _one_way(self) -> FeatureDefaults:
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height belong together; give both")
        if self.width is not None and self.resolution is not None:
            raise ValueError("give either width and height, or resolution, not both")
        return self


class GeoPackageInput(WireModel):
    """The user's own features, each of which becomes an image of its bounding box."""

    type: Literal["geopackage"]
    features: ObjectPlace
    defaults: FeatureDefaults = FeatureDefaults()

    @field_validator("defaults", mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        return {} if value is None else value


class BatchProcessRequest(WireModel):
    """The body of `POST /api/v2/batch/process`. `instanceType`, which some clients send, says nothing here."""

    process_request: ProcessRequest
    input: TilingGridInput | GeoPackageInput = Field(discriminator="type")
    output: RasterOutput | ZarrOutput = Field(discriminator="type")
    description: str | None = None

    @model_validator(mode="after")
    def _the_parts_fit(self) -> BatchProcessRequest:
        responses = self.process_request.output.responses
        self.output.check_responses(responses)
        if isinstance(self.output, ZarrOutput):
            if isinstance(self.input, GeoPackageInput):
                raise RequestInvalid(
                    "Zarr output needs a tiling grid in one CRS: 3 (WGS84), 6 or 7 (LAEA), not a GeoPackage",
                    "input->type",
                )
            if self.input.id in (0, 1, 2):
                raise RequestInvalid(
                    f"Zarr output needs a tiling grid in one CRS: 3 (WGS84), 6 or 7 (LAEA), not the UTM grid {self.input.id}",
                    "input->id",
                )
            if self.input.buffer_x or self.input.buffer_y:
                raise RequestInvalid(
                    "with Zarr output tiles must not overlap; leave out bufferX and bufferY", "input->bufferX"
                )
        if isinstance(self.input, TilingGridInput) and self.process_request.input.bounds.is_empty:
            raise RequestInvalid(
                "a tiling grid needs a bbox or a geometry, which says what tiles to process",
                "processRequest->input->bounds",
            )
        return self


_TAGS = {kind.value for kind in InputKind} | {"raster", "zarr"}


def read_batch_process(body: Mapping[str, Any]) -> BatchProcessRequest:
    """A batch request from its JSON.

    Raises:
        RequestInvalid: names the first field that is wrong, and says what would be right, field by field.
    """
    try:
        return BatchProcessRequest.model_validate(body)
    except ValidationError as error:
        raise _explain(error.errors(include_input=False, include_url=False)) from None


def _explain(problems: Sequence[Mapping[str, Any]]) -> RequestInvalid:
    """As `to_request_invalid`, for alternatives that are told apart by their `type`: that is no field of the body."""
    told = []
    for problem in problems:
        where = tuple(problem["loc"])
        if len(where) > 1 and where[0] in ("input", "output") and where[1] in _TAGS:
            where = (where[0], *where[2:])
        told.append({**problem, "loc": where})
        if problem["type"] == "union_tag_not_found":
            told[-1] |= {"type": "missing", "loc": (*where, "type")}
        elif problem["type"] == "union_tag_invalid":
            expected = problem["ctx"]["expected_tags"].replace(", ", " or ")
            told[-1] |= {"type": "literal_error", "loc": (*where, "type"), "ctx": {"expected": expected}}
    return to_request_invalid(told)
