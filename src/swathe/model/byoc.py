"""Bring your own COG: collections and tiles as they travel. Keys that only answers have are left aside in requests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator

from swathe.model.common import WireModel
from swathe.model.errors import RequestInvalid
from swathe.model.validation import explain_validation

BAND = "(BAND)"
_MOST_BANDS, _MOST_PATH_BYTES = 100, 1024
_BUCKET = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,254}")
_PATH = re.compile(r"([^/](/?[^/])*)?")
_NAME = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]+")
# bitDepth and sampleFormat by NumPy's name of the type
DTYPES: Mapping[tuple[int, str], str] = {
    (8, "UINT"): "uint8",
    (8, "INT"): "int8",
    (16, "UINT"): "uint16",
    (16, "INT"): "int16",
    (32, "UINT"): "uint32",
    (32, "INT"): "int32",
    (32, "FLOAT"): "float32",
}
FORMATS = {dtype: (depth, kind) for (depth, kind), dtype in DTYPES.items()}


class ByocBand(WireModel):
    """A band: the file that holds it (`source`, the band's own name if absent), the band in it, its numbers."""

    source: str | None = Field(default=None, max_length=200)
    band_index: int = Field(default=1, ge=1, le=1000)
    bit_depth: Literal[8, 16, 32]
    sample_format: Literal["UINT", "INT", "FLOAT"]
    no_data: float | None = Field(default=None, allow_inf_nan=False)

    @field_validator("band_index", mode="before")
    @classmethod
    def _null_is_one(cls, value: Any) -> Any:
        return 1 if value is None else value

    @field_validator("source")
    @classmethod
    def _is_part_of_a_name(cls, value: str | None) -> str | None:
        if value is not None and (not _NAME.fullmatch(value) or "/" in value):
            raise ValueError("must be a part of a file's name, without slashes")
        return value

    @property
    def dtype(self) -> str:
        """NumPy's name of the type; empty where there is none."""
        return DTYPES.get((self.bit_depth, self.sample_format), "")


class ByocAdditionalData(WireModel):
    """What of a collection can be set beside its name and place."""

    bands: dict[str, ByocBand] | None = None

    @field_validator("bands")
    @classmethod
    def _are_usable(cls, value: dict[str, ByocBand] | None) -> dict[str, ByocBand] | None:
        for name, band in (value or {}).items():
            if not _NAME.fullmatch(name) or len(name) > 200 or name == "dataMask":
                raise ValueError(f"'{name[:64]}' cannot be the name of a band")
            if not band.dtype:
                raise ValueError(f"band '{name}': {band.sample_format} of {band.bit_depth} bits is no type of number")
        if value is not None and len(value) > _MOST_BANDS:
            raise ValueError(f"there are {len(value)} bands; at most {_MOST_BANDS} are allowed")
        return value


class ByocCollectionBody(WireModel):
    """A collection as it is posted or put. Without bands they are those of the first tile."""

    name: str = Field(min_length=1, max_length=1000)
    s3_bucket: str
    no_data: float | None = Field(default=None, allow_inf_nan=False)
    additional_data: ByocAdditionalData | None = None

    @field_validator("s3_bucket")
    @classmethod
    def _is_a_bucket(cls, value: str) -> str:
        if not _BUCKET.fullmatch(value):
            raise ValueError("must be the name of a bucket, without s3:// and path")
        return value

    @property
    def bands(self) -> dict[str, ByocBand] | None:
        """The bands by name; None where nothing is said of them, as with a null."""
        data = self.additional_data
        if data is None or (data.bands is None and "bands" in data.model_fields_set):
            return None
        return data.bands or {}


class ByocTileChange(WireModel):
    """What may change of a tile. A null `sensingTime` takes it away.

    `coverFromData` is our own: the cover is found from the values of the files, and `coverGeometry` is left out.
    """

    path: str | None = None
    sensing_time: str | None = None
    cover_geometry: dict[str, Any] | None = None
    cover_from_data: bool | None = None

    @field_validator("path")
    @classmethod
    def _is_a_path(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not value or not _PATH.fullmatch(value) or not _NAME.fullmatch(value):
            raise ValueError(
                "must be a path in the bucket that neither begins nor ends with a slash, nor has two in a row"
            )
        if any(part in (".", "..") for part in value.split("/")):
            raise ValueError("must not have '.' or '..' as a folder")
        if len(value.encode()) > _MOST_PATH_BYTES:
            raise ValueError(f"must be at most {_MOST_PATH_BYTES} bytes long")
        return value


class ByocTileBody(ByocTileChange):
    """A tile as it is posted."""

    path: str


T = TypeVar("T", bound=ByocTileChange)


def read_byoc_collection(body: Mapping[str, Any]) -> ByocCollectionBody:
    """A collection from a body.

    Raises:
        RequestInvalid: with the field and the remedy.
    """
    try:
        collection = ByocCollectionBody.model_validate(body)
    except ValidationError as error:
        raise explain_validation(error) from None
    if collection.no_data is not None and any(b.no_data is not None for b in (collection.bands or {}).values()):
        raise RequestInvalid("give noData per band or per collection, not both", "noData")
    return collection


def _checked(tile: T) -> T:
    if tile.cover_from_data and tile.cover_geometry is not None:
        raise RequestInvalid("give coverGeometry or coverFromData, not both", "coverFromData")
    return tile


def read_byoc_tile(body: Mapping[str, Any]) -> ByocTileBody:
    """A tile from a body.

    Raises:
        RequestInvalid: with the field and the remedy.
    """
    try:
        return _checked(ByocTileBody.model_validate(body))
    except ValidationError as error:
        raise explain_validation(error) from None


def read_byoc_tile_change(body: Mapping[str, Any]) -> ByocTileChange:
    """What is to change of a tile; `model_fields_set` says what was given.

    Raises:
        RequestInvalid: with the field and the remedy.
    """
    try:
        return _checked(ByocTileChange.model_validate(body))
    except ValidationError as error:
        raise explain_validation(error) from None
