"""What becomes of rendered images: responses and their formats, and the raster output of Batch Processing V2."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from swathe.model.common import S3Place, WireModel
from swathe.model.errors import RequestInvalid

TIFF, PNG, JPEG, JSON, ZARR = "image/tiff", "image/png", "image/jpeg", "application/json", "zarr/array"
USERDATA = "userdata"
EXTENSIONS = {TIFF: "tif", PNG: "png", JPEG: "jpg", JSON: "json"}
"""What `<format>` becomes: `.tif`, as the provider's batch results have it and the members of its tar files."""

RESPONSES = "processRequest->output->responses"
DELIVERY = "output->delivery->s3->url"
_PLACEHOLDER = re.compile(r"<([^<>]*)>")
_KNOWN = {"raster": ("requestId", "tileName", "outputId", "format"), "zarr": ("requestId",)}


class Format(WireModel):
    """`{"type": "image/tiff"}`; parameters behind a semicolon are left aside. `quality` is JPEG's, in percent."""

    type: Literal["image/tiff", "image/png", "image/jpeg", "application/json", "zarr/array"] = "image/png"
    quality: int = Field(default=90, ge=0, le=100)

    @field_validator("type", mode="before")
    @classmethod
    def _without_parameters(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        name = value.split(";", 1)[0].strip().lower()
        return "image/jpeg" if name == "image/jpg" else name

    @field_validator("quality", mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        return 90 if value is None else value


class Response(WireModel):
    """One file of the answer: an output of the evalscript, or its user data, in a format."""

    identifier: str = Field(default="default", min_length=1, max_length=200)
    format: Format = Format()

    @field_validator("identifier")
    @classmethod
    def _is_a_file_name(cls, value: str) -> str:
        if re.search(r"[/\\\x00-\x1f\x7f\ud800-\udfff]", value) or value in (".", ".."):
            raise ValueError("must be a plain name without slashes: it names a file")
        return value

    @field_validator("format", mode="before")
    @classmethod
    def _default(cls, value: Any) -> Any:
        return {} if value is None else value

    @property
    def is_userdata(self) -> bool:
        """Whether it is the script's own object and not an image."""
        return self.identifier.lower() == USERDATA


class Overviews(StrEnum):
    """How an overview is made of the level below."""

    NEAREST = "nearest"
    AVERAGE = "average"
    GAUSS = "gauss"
    CUBIC = "cubic"
    CUBICSPLINE = "cubicspline"
    LANCZOS = "lanczos"
    AVERAGE_MAGPHASE = "average_magphase"
    MODE = "mode"


class CogParameters(WireModel):
    """How a COG is laid out. Without `overview_min_size` the smaller side of a block."""

    overview_levels: tuple[int, ...] | None = None
    overview_min_size: int | None = Field(default=None, gt=0)
    resampling_algorithm: Overviews = Overviews.AVERAGE
    blockxsize: int = Field(default=256, ge=16, le=16_384)
    blockysize: int = Field(default=256, ge=16, le=16_384)
    use_predictor: bool = True

    @field_validator("overview_levels")
    @classmethod
    def _levels_grow(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value and (value[0] < 2 or any(b <= a for a, b in itertools.pairwise(value))):
            raise ValueError("must be growing numbers from 2 on, such as [2, 4, 8]")
        return value

    @field_validator("blockxsize", "blockysize")
    @classmethod
    def _of_sixteen(cls, value: int) -> int:
        if value % 16:
            raise ValueError("must be a multiple of 16, as TIFF wants it")
        return value


class ObjectPlace(WireModel):
    """`{"s3": {…}}`: a file, a folder, or a template of files."""

    s3: S3Place

    @model_validator(mode="before")
    @classmethod
    def _only_s3(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("gs") is not None and value.get("s3") is None:
            raise ValueError("gs is not supported by this deployment; give s3 with an address like s3://bucket/folder")
        return value


class RasterOutput(WireModel):
    """A file for each tile and output. Of tiles that are there already: an error, unless one of the two switches is on.

    `overwrite` replaces them; `skip_existing` leaves a tile alone that has all its outputs. With both, only tiles that
    have some of theirs are written again.
    """

    type: Literal["raster"]
    delivery: ObjectPlace
    overwrite: bool = False
    skip_existing: bool = False
    cog_output: bool = False
    cog_parameters: CogParameters = CogParameters()
    create_collection: bool = False
    collection_id: str | None = Field(default=None, min_length=1)

    @field_validator("overwrite", "skip_existing", "cog_output", "create_collection", mode="before")
    @classmethod
    def _null_is_false(cls, value: Any) -> Any:
        return False if value is None else value

    @field_validator("cog_parameters", mode="before")
    @classmethod
    def _null_is_default(cls, value: Any) -> Any:
        return {} if value is None else value

    @property
    def makes_tiles_of_a_collection(self) -> bool:
        """Whether the results go into a BYOC collection."""
        return self.create_collection or self.collection_id is not None

    @property
    def template(self) -> str:
        """The delivery's address with all its placeholders; a plain folder gets the provider's default behind it."""
        url = self.delivery.s3.url
        if _PLACEHOLDER.search(url):
            return url
        return f"{url.rstrip('/')}/<requestId>/<tileName>/<outputId>.<format>"

    def address(self, request_id: str, tile: str, response: Response) -> str:
        """Where a response of a tile goes; the names must have been made safe."""
        values = {
            "requestId": request_id,
            "tileName": tile,
            "outputId": response.identifier,
            "format": EXTENSIONS[response.format.type],
        }
        return _PLACEHOLDER.sub(lambda found: values[found.group(1)], self.template)

    @property
    def root(self) -> str:
        """The folder before anything that differs from tile to tile; may hold `<requestId>`."""
        return re.split("<(?:tileName|outputId|format)>", self.template, maxsplit=1)[0].rsplit("/", 1)[0]

    def check_responses(self, responses: Sequence[Response]) -> None:
        """What formats and names ask of the rest.

        Raises:
            RequestInvalid: they do not fit.
        """
        if self.makes_tiles_of_a_collection and not self.cog_output:
            raise RequestInvalid(
                "createCollection and collectionId need cogOutput: true; a collection is made of COGs",
                "output->cogOutput",
            )
        for response in responses:
            kind = response.format.type
            if kind == ZARR:
                raise RequestInvalid(
                    f"response '{response.identifier}' is zarr/array, which needs output.type 'zarr'", RESPONSES
                )
            _check_userdata(response)
            if self.cog_output and kind not in (TIFF, JSON):
                raise RequestInvalid(
                    f"cogOutput needs image/tiff, but response '{response.identifier}' is {kind}", "output->cogOutput"
                )
        names = check_placeholders(self.delivery.s3.url, "raster")
        if names and "tileName" not in names:
            raise RequestInvalid("a template must hold <tileName>, or all tiles would have the same name", DELIVERY)
        if names and len(responses) > 1 and "outputId" not in names:
            raise RequestInvalid(
                f"with {len(responses)} responses a template must hold <outputId>, or they would have the same name",
                DELIVERY,
            )


def _check_userdata(response: Response) -> None:
    is_json = response.format.type == JSON
    if response.is_userdata and not is_json:
        raise RequestInvalid(f"response 'userdata' must be application/json, not {response.format.type}", RESPONSES)
    if is_json and not response.is_userdata:
        raise RequestInvalid(
            f"response '{response.identifier}' is application/json, which only 'userdata' can be", RESPONSES
        )


def check_placeholders(url: str, kind: str) -> list[str]:
    """The placeholders of a delivery's address.

    Raises:
        RequestInvalid: one of them is none that this kind of delivery knows, or it is in the bucket's name.
    """
    names = _PLACEHOLDER.findall(url)
    unknown = next((name for name in names if name not in _KNOWN[kind]), None)
    if unknown is not None:
        known = ", ".join(f"<{name}>" for name in _KNOWN[kind])
        raise RequestInvalid(f"<{unknown}> is no placeholder of a {kind} delivery; use {known}", DELIVERY)
    if "<" in url.split("://", 1)[-1].split("/", 1)[0]:
        raise RequestInvalid("placeholders belong into the key, not into the bucket's name", DELIVERY)
    return names
