"""Saved layers as they travel: a name, a collection with its filter, and an evalscript for each style.

Source: what the provider's configuration service (`…/configuration/instances`) answers, and what its clients send there.
Keys that do not concern us are kept and answered, not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from swathe.model.common import MosaickingOrder, Resampling, WireModel
from swathe.model.errors import RequestInvalid
from swathe.model.layer_time import parse_span
from swathe.model.validation import explain_validation

W = TypeVar("W", bound=WireModel)

DEFAULT_STYLE = "default"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", re.ASCII)
_MOST_STYLES = 50
_CUSTOM = ("CUSTOM", "BYOC", "BATCH")
# Control characters, of which XML can hold but a few, and half a surrogate pair
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


class LayerStyle(WireModel):
    """One look of a layer: an evalscript whose output `default` is the picture."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = DEFAULT_STYLE
    description: str | None = Field(default=None, max_length=5000)
    eval_script: str = Field(min_length=1)

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        return _checked_name(value)

    @field_validator("description")
    @classmethod
    def _can_be_shown(cls, value: str | None) -> str | None:
        return _printable(value)


_Model = type[WireModel]  # a field below is called `type`


class LayerDefaults(WireModel):
    """The collection of a layer and its filter, as far as requests say nothing else.

    `time` is what the parameter TIME would be; without it, and without `timeRange`, the newest scenes are shown.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str | None = Field(default=None, max_length=200)
    collection_id: str | None = Field(default=None, max_length=200)
    mosaicking_order: MosaickingOrder | None = None
    max_cloud_coverage: float | None = Field(default=None, ge=0, le=100)
    upsampling: Resampling | None = None
    downsampling: Resampling | None = None
    time: str | None = Field(default=None, max_length=100)

    def asked(self, model: _Model) -> dict[str, Any]:
        """What it says of the keys of a model beside the fields above, unchecked."""
        keys = {field.alias for field in model.model_fields.values()}
        return {key: value for key, value in (self.model_extra or {}).items() if key in keys}

    @model_validator(mode="before")
    @classmethod
    def _time_range_is_a_time(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("time") is None and isinstance(value.get("timeRange"), dict):
            start, end = value["timeRange"].get("from"), value["timeRange"].get("to")
            if isinstance(start, str) and isinstance(end, str):
                return {**value, "time": f"{start}/{end}"}
        return value

    @field_validator("time")
    @classmethod
    def _is_a_time(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                parse_span(value, "time")
            except RequestInvalid as error:
                raise ValueError(error.message) from None
        return value


class LayerBody(WireModel):
    """A layer as it is posted or put."""

    model_config = ConfigDict(extra="allow", frozen=True)

    id: str
    title: str | None = Field(default=None, max_length=1000)
    description: str | None = Field(default=None, max_length=5000)
    collection_type: str | None = Field(default=None, max_length=200)
    datasource_defaults: LayerDefaults = LayerDefaults()
    styles: tuple[LayerStyle, ...] = Field(min_length=1, max_length=_MOST_STYLES)
    default_style_name: str | None = None
    order_hint: int = 0

    @field_validator("id")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        return _checked_name(value)

    @field_validator("datasource_defaults", mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        return {} if value is None else value

    @field_validator("order_hint", mode="before")
    @classmethod
    def _null_is_zero(cls, value: Any) -> Any:
        return 0 if value is None else value

    @field_validator("title", "description")
    @classmethod
    def _can_be_shown(cls, value: str | None) -> str | None:
        return _printable(value)

    @model_validator(mode="after")
    def _is_whole(self) -> LayerBody:
        names = [style.name for style in self.styles]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two styles are called '{twice}'; a name may occur once")
        if self.default_style_name is not None and self.default_style_name not in names:
            raise ValueError(f"defaultStyleName is '{self.default_style_name}'; there are: {', '.join(names)}")
        if not self.collection:
            raise ValueError("name the collection: collectionType, such as S2L2A, or datasourceDefaults->type")
        return self

    @property
    def collection(self) -> str:
        """The collection's type as requests name it; empty where the layer has none. Own ones are `byoc-<id>`."""
        told = self.datasource_defaults.type or self.collection_type or ""
        own = self.datasource_defaults.collection_id
        if told.upper() in _CUSTOM and own:
            return own if own.lower().startswith(("byoc-", "batch-")) else f"byoc-{own}"
        return told

    @property
    def style_name(self) -> str:
        """The style that is shown where a request names none."""
        return self.default_style_name or self.styles[0].name

    @property
    def shown_styles(self) -> tuple[LayerStyle, ...]:
        """The styles, the default one first: that is the one clients take who are not told."""
        return tuple(sorted(self.styles, key=lambda style: style.name != self.style_name))

    def style(self, name: str) -> LayerStyle | None:
        """A style by its name, the default one without; None where there is none."""
        name = name or self.style_name
        found = next((style for style in self.styles if style.name == name), None)
        if found is None and name.lower() == DEFAULT_STYLE:  # what clients send who know no better
            return self.style(self.style_name)
        return found


class InstanceBody(WireModel):
    """A list of layers as it is posted or put."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(min_length=1, max_length=1000)
    description: str | None = Field(default=None, max_length=5000)

    @field_validator("name", "description")
    @classmethod
    def _can_be_shown(cls, value: str | None) -> str | None:
        return _printable(value)


def read_layer(body: Mapping[str, Any]) -> LayerBody:
    """A layer from a body.

    Raises:
        RequestInvalid: with the field and the remedy.
    """
    return _read(LayerBody, body)


def read_instance(body: Mapping[str, Any]) -> InstanceBody:
    """A list of layers from a body.

    Raises:
        RequestInvalid: with the field and the remedy.
    """
    return _read(InstanceBody, body)


def _read(kind: type[W], body: Mapping[str, Any]) -> W:
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        raise explain_validation(error) from None


def _checked_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("must be letters, digits, '_', '-' and '.', at most 100, such as NDVI: it stands in addresses")
    return value


def _printable(value: str | None) -> str | None:
    if value is not None and _UNPRINTABLE.search(value):
        raise ValueError("must be plain text, without control characters")
    return value
