"""The Catalog API in Swathe's OpenAPI description: its answers, and what a search may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from swathe.server.catalog_links import GEOJSON, JSON, SCHEMA
from swathe.server.catalog_query import DEFAULT_LIMIT, MAX_LIMIT
from swathe.server.describe_answers import TEMPLATE, Answer, Geometry


class Link(BaseModel):
    """Where something else is."""

    rel: str
    href: str
    type: str | None = None
    title: str | None = None
    method: Literal["GET", "POST"] | None = None
    body: dict[str, Any] | None = None
    merge: bool | None = None


class Conformance(BaseModel):
    """What this API conforms to."""

    conformsTo: list[str]  # noqa: N815


class LandingPage(Conformance):
    """The root of the catalog."""

    type: Literal["Catalog"]
    stac_version: str
    id: str
    title: str
    description: str
    links: list[Link]


class SpatialExtent(BaseModel):
    """Boxes: west, south, east, north in degrees."""

    bbox: list[list[float]]


class TemporalExtent(BaseModel):
    """Intervals; null is open."""

    interval: list[list[str | None]]


class Extent(BaseModel):
    """Where and when there are items."""

    spatial: SpatialExtent
    temporal: TemporalExtent


class CatalogCollection(BaseModel):
    """A STAC collection."""

    type: Literal["Collection"]
    stac_version: str
    stac_extensions: list[str]
    id: str
    title: str
    description: str
    license: str
    extent: Extent
    summaries: dict[str, Any]
    links: list[Link]


class CatalogCollections(BaseModel):
    """All collections."""

    collections: list[CatalogCollection]
    links: list[Link]


class ItemProperties(BaseModel):
    """What is known of an item; there are more members."""

    model_config = ConfigDict(extra="allow")

    datetime: str


class Item(BaseModel):
    """A STAC item."""

    type: Literal["Feature"]
    stac_version: str
    stac_extensions: list[str]
    id: str
    geometry: Geometry | None
    bbox: list[float]
    properties: ItemProperties
    assets: dict[str, Any]
    collection: str
    links: list[Link]


class FoundProperties(BaseModel):
    """What is known of an item, as far as it is wanted."""

    model_config = ConfigDict(extra="allow")

    datetime: str | None = None


class FoundItem(BaseModel):
    """A STAC item; with `fields`, the members that are wanted."""

    type: Literal["Feature"] | None = None
    stac_version: str | None = None
    stac_extensions: list[str] | None = None
    id: str | None = None
    geometry: Geometry | None = None
    bbox: list[float] | None = None
    properties: FoundProperties | None = None
    assets: dict[str, Any] | None = None
    collection: str | None = None
    links: list[Link] | None = None


class SearchContext(BaseModel):
    """How many there are on this page, and where the next one begins."""

    limit: int
    returned: int
    next: int | None = None


class ItemCollection(BaseModel):
    """A page of items, newest first or as asked for; of days, when those were asked for."""

    type: Literal["FeatureCollection"]
    features: list[FoundItem | str]
    links: list[Link]
    context: SearchContext
    numberReturned: int  # noqa: N815


class Queryables(BaseModel):
    """The JSON schema of what filters may name."""

    schema_: str = Field(alias="$schema")
    id: str = Field(alias="$id")
    type: str
    title: str
    properties: dict[str, Any]
    additionalProperties: bool  # noqa: N815


CATALOG_ANSWERS: Mapping[tuple[str, str], Mapping[str, Answer]] = {
    ("catalog", "landing_page"): {"200": ("The landing page", JSON, LandingPage.__name__)},
    ("catalog", "conformance"): {"200": ("What this API conforms to", JSON, Conformance.__name__)},
    ("catalog", "queryables"): {"200": ("What filters may name", SCHEMA, Queryables.__name__)},
    ("catalog", "get_queryables"): {"200": ("What filters may name", SCHEMA, Queryables.__name__)},
    ("catalog", "list_collections"): {"200": ("All collections", JSON, CatalogCollections.__name__)},
    ("catalog", "get_collection"): {"200": ("One collection", JSON, CatalogCollection.__name__)},
    ("catalog", "list_items"): {"200": ("A page of items", GEOJSON, ItemCollection.__name__)},
    ("catalog", "get_item"): {"200": ("One item", GEOJSON, Item.__name__)},
    ("catalog", "search_by_query"): {"200": ("A page of items", GEOJSON, ItemCollection.__name__)},
    ("catalog", "search_by_body"): {"200": ("A page of items", GEOJSON, ItemCollection.__name__)},
}
_MODELS: tuple[type[BaseModel], ...] = (
    LandingPage,
    Conformance,
    CatalogCollection,
    CatalogCollections,
    Item,
    ItemCollection,
    Queryables,
)


def catalog_schemas() -> dict[str, Any]:
    """The schemas of the catalog's answers and of a search, by name."""
    _, made = models_json_schema([(model, "validation") for model in _MODELS], ref_template=TEMPLATE)
    return {**made["$defs"], "Search": SEARCH}


_TEXTS = {"type": "array", "items": {"type": "string"}}
SEARCH: Mapping[str, Any] = {
    "title": "Search",
    "description": "What to look for in the catalog. Of bbox and intersects only one may be there.",
    "type": "object",
    "properties": {
        "bbox": {
            "description": "West, south, east, north in degrees; or six numbers, with heights",
            "type": "array",
            "items": {"type": "number"},
            "minItems": 4,
            "maxItems": 6,
        },
        "datetime": {
            "description": "A time, or an interval of which one end may be open",
            "type": "string",
            "examples": ["2020-06-01T00:00:00Z/2020-06-30T23:59:59Z", "2020-06-01T00:00:00Z/.."],
        },
        "intersects": {
            "$ref": TEMPLATE.format(model=Geometry.__name__),
            "description": "In WGS84",
        },
        "collections": {**_TEXTS, "description": "All of them if none is named"},
        "ids": {**_TEXTS, "description": "Ids of items", "maxItems": 1000},
        "limit": {
            "description": f"Items on a page; {MAX_LIMIT} at most",
            "type": "integer",
            "minimum": 1,
            "default": DEFAULT_LIMIT,
        },
        "next": {"description": "`context.next` of the page before", "type": "integer", "minimum": 0},
        "filter": {
            "description": "A condition in CQL2: a text, or an object with filter-lang cql2-json",
            "anyOf": [
                {"type": "string"},
                {"type": "object", "properties": {"op": {"type": "string"}, "args": {"type": "array"}}},
            ],
        },
        "filter-lang": {"type": "string", "enum": ["cql2-text", "cql2-json"]},
        "filter-crs": {"type": "string", "enum": ["http://www.opengis.net/def/crs/OGC/1.3/CRS84"]},
        "fields": {
            "description": "Members of the items that are wanted, or are not",
            "type": "object",
            "properties": {"include": _TEXTS, "exclude": _TEXTS},
        },
        "sortby": {
            "description": "By what items are sorted; newest first without it",
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "field": {"type": "string", "examples": ["properties.eo:cloud_cover"]},
                    "direction": {"type": "string", "enum": ["asc", "desc"]},
                },
                "required": ["field"],
            },
        },
        "distinct": {"description": "The days that there are items of, in place of the items", "enum": ["date"]},
    },
}
