"""The Zarr output of Batch Processing V2: one group, an array for each response."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from swathe.model.common import WireModel
from swathe.model.errors import RequestInvalid
from swathe.model.process_output import RESPONSES, ZARR, ObjectPlace, Response, check_placeholders

_PARAMETERS = "output->arrayParameters"

# Kind, byte order and range of the numbers that an array's dtype can hold; floats hold all.
DTYPES: dict[str, tuple[int, int] | None] = {
    "|u1": (0, 255),
    "|i1": (-128, 127),
    **dict.fromkeys(("<u2", ">u2"), (0, 65_535)),
    **dict.fromkeys(("<i2", ">i2"), (-32_768, 32_767)),
    **dict.fromkeys(("<f4", ">f4", "<f8", ">f8"), None),
}
_FLOATS = ("<f4", ">f4", "<f8", ">f8")
DTYPES_OF_SAMPLES: dict[str, tuple[str, ...]] = {
    "UINT8": ("|u1", "<u2", ">u2", "<i2", ">i2", *_FLOATS),
    "AUTO": ("|u1", "<u2", ">u2", "<i2", ">i2", *_FLOATS),
    "INT8": ("|i1", "<i2", ">i2", *_FLOATS),
    "UINT16": ("<u2", ">u2", *_FLOATS),
    "INT16": ("<i2", ">i2", *_FLOATS),
    "FLOAT32": _FLOATS,
}
"""By an output's sampleType, the dtypes that hold its values."""

COMPRESSORS = ("blosc", "zlib", "gzip", "bz2", "lzma", "lz4", "zstd")
DEFAULT_COMPRESSOR = {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0}


class Coordinates(WireModel):
    """`bottomLeft` turns the y axis of the arrays upwards."""

    origin: Literal["topLeft", "bottomLeft"] = "topLeft"


class ZarrGroup(WireModel):
    """What concerns the group as a whole."""

    zarr_format: int = Field(alias="zarr_format")
    coordinates: Coordinates = Coordinates()
    custom_attributes: dict[str, Any] = Field(default_factory=dict)

    @field_validator("zarr_format")
    @classmethod
    def _version_two(cls, value: int) -> int:
        if value != 2:
            raise ValueError("must be 2, the only version that is supported")
        return value

    @field_validator("coordinates", "custom_attributes", mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        return {} if value is None else value


class ArrayParameters(WireModel):
    """How an array is stored, as far as it is said: `chunks` are (time, y, x); names are those of Zarr."""

    dtype: str | None = None
    order: Literal["C"] | None = None
    chunks: tuple[int, int, int] | None = None
    fill_value: float | int | None = Field(default=None, alias="fill_value")
    compressor: dict[str, Any] | None = None
    filters: tuple[dict[str, Any], ...] | None = None
    custom_attributes: dict[str, Any] | None = None

    @field_validator("dtype")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None and value not in DTYPES:
            raise ValueError(f"must be one of {', '.join(DTYPES)}")
        return value

    @field_validator("chunks")
    @classmethod
    def _one_time(cls, value: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
        if value is not None and (value[0] != 1 or min(value) < 1):
            raise ValueError("must be like [1, 1000, 1000]: 1 for time, then rows and columns, all positive")
        return value

    @field_validator("fill_value", mode="before")
    @classmethod
    def _names_of_numbers(cls, value: Any) -> Any:
        named = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
        if isinstance(value, bool) or (isinstance(value, str) and value not in named):
            raise ValueError('must be a number or one of "NaN", "Infinity", "-Infinity"')
        return named[value] if isinstance(value, str) else value

    @field_validator("compressor")
    @classmethod
    def _known_codec(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and value.get("id") not in COMPRESSORS:
            raise ValueError(f"needs an id, one of {', '.join(COMPRESSORS)}")
        return value


class ArrayLayout(WireModel):
    """How one array is stored, all said."""

    dtype: str
    chunks: tuple[int, int, int]
    fill_value: float | int
    order: Literal["C"] = "C"
    compressor: dict[str, Any] | None
    filters: tuple[dict[str, Any], ...] | None = None
    custom_attributes: dict[str, Any] = Field(default_factory=dict)


class ZarrOutput(WireModel):
    """One Zarr group with an array for each response."""

    type: Literal["zarr"]
    delivery: ObjectPlace
    group: ZarrGroup
    array_parameters: ArrayParameters = ArrayParameters()
    array_overrides: dict[str, ArrayParameters] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _as_clients_send_it(cls, value: Any) -> Any:
        """The published client calls the parameters `arrayParameter`."""
        if isinstance(value, dict) and "arrayParameter" in value and value.get("arrayParameters") is None:
            return {**value, "arrayParameters": value["arrayParameter"]}
        return value

    @field_validator("array_parameters", "array_overrides", mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        return {} if value is None else value

    def address(self, request_id: str) -> str:
        """Where the group goes."""
        return self.delivery.s3.url.rstrip("/").replace("<requestId>", request_id)

    def layout(self, name: str) -> ArrayLayout:
        """How the array of a response is stored: its own parameters before those of all.

        Raises:
            RequestInvalid: something that an array needs is said nowhere, or the fill value does not fit the dtype.
        """
        own, general = self.array_overrides.get(name, ArrayParameters()), self.array_parameters
        said = own.model_fields_set | general.model_fields_set
        values = {
            key: getattr(own if key in own.model_fields_set else general, key) for key in ArrayParameters.model_fields
        }
        lacking = [key for key in ("dtype", "chunks", "fill_value") if values[key] is None]
        if lacking:
            raise RequestInvalid(
                f"array '{name}' lacks {', '.join(lacking)}; say it for all or in arrayOverrides.{name}", _PARAMETERS
            )
        limits, fill = DTYPES[values["dtype"]], values["fill_value"]
        fits = limits is None or (math.isfinite(fill) and fill == int(fill) and limits[0] <= fill <= limits[1])
        if not fits:
            raise RequestInvalid(f"fill_value {fill} of array '{name}' is no {values['dtype']}", _PARAMETERS)
        if "compressor" not in said:
            values["compressor"] = dict(DEFAULT_COMPRESSOR)
        defaults = {"order": values["order"] or "C", "custom_attributes": values["custom_attributes"] or {}}
        return ArrayLayout(**{**values, **defaults})

    def check_responses(self, responses: Sequence[Response]) -> None:
        """What formats and names ask of the rest.

        Raises:
            RequestInvalid: they do not fit.
        """
        for response in responses:
            if response.format.type != ZARR:
                raise RequestInvalid(
                    f"with output.type 'zarr' every response must be zarr/array,"
                    f" but '{response.identifier}' is {response.format.type}",
                    RESPONSES,
                )
        names = [response.identifier for response in responses]
        unknown = [name for name in self.array_overrides if name not in names]
        if unknown:
            listed = ", ".join(names)
            raise RequestInvalid(
                f"'{unknown[0]}' is no response's identifier; there are {listed}", "output->arrayOverrides"
            )
        for name in names:
            self.layout(name)
        check_placeholders(self.delivery.s3.url, "zarr")
