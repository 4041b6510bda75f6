"""Answers in Swathe's OpenAPI description that no model of the routes describes: statistics, the catalog, tokens, health."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema

from swathe.server.catalog_links import JSON

TEMPLATE = "#/components/schemas/{model}"
TAGS: Mapping[str, str] = {
    "batch_statistical": "Statistics of the features of a GeoPackage, delivered to a store",
    "statistical": "Statistics of one area, answered at once",
    "batch_v2_process": "Images of tiles or of the features of a GeoPackage, delivered to a store",
    "batch_v2_tiling_grid": "The grids that batch requests may be cut by",
    "process": "An image of an evalscript, answered at once",
    "async_process": "Large images, delivered to a store",
    "catalog": "A STAC API over the scenes of the deployment and one's own",
    "byoc": "Bring your own COGs: collections of files in a bucket",
    "layers": "Saved configurations, and maps and features of them (WMS, WMTS, WFS, WCS)",
    "authentication": "Access tokens (OAuth 2, client credentials)",
    "admin": "Clients, budgets and the requests of all projects, for operators",
    "health": "Whether the service works",
}


class Moments(BaseModel):
    """A time range as answers have it."""

    from_: str = Field(alias="from", json_schema_extra={"format": "date-time"})
    to: str = Field(json_schema_extra={"format": "date-time"})


class IntervalError(BaseModel):
    """Why an interval has no statistics."""

    type: Literal["EXECUTION_ERROR", "TIMEOUT", "BAD_REQUEST"]
    message: str | None = None


class StatsOfBand(BaseModel):
    """The statistics of a band. Numbers that do not exist are the text `NaN`."""

    min: float | str | None = None
    max: float | str | None = None
    mean: float | str | None = None
    stDev: float | str | None = None  # noqa: N815  wire names
    sampleCount: int  # noqa: N815
    noDataCount: int  # noqa: N815
    percentiles: dict[str, float | str] | None = None
    weightSum: float | None = None  # noqa: N815


class HistogramBin(BaseModel):
    """How many values lie in `[lowEdge, highEdge)`; in the last bin, the high edge too."""

    lowEdge: float | str  # noqa: N815
    highEdge: float | str  # noqa: N815
    count: int


class HistogramAnswer(BaseModel):
    """The histogram of a band."""

    bins: list[HistogramBin]
    overflowCount: int | None = None  # noqa: N815
    underflowCount: int | None = None  # noqa: N815


class BandOfAnswer(BaseModel):
    """A band of an output."""

    stats: StatsOfBand
    histogram: HistogramAnswer | None = None


class OutputOfAnswer(BaseModel):
    """An output of the script, its bands by name."""

    bands: dict[str, BandOfAnswer]


class IntervalAnswer(BaseModel):
    """An interval: the outputs of the script by name, or an error."""

    interval: Moments
    outputs: dict[str, OutputOfAnswer] | None = None
    error: IntervalError | None = None


class StatisticalAnswer(BaseModel):
    """The intervals that have data, in the order of time."""

    data: list[IntervalAnswer]
    status: Literal["OK", "PARTIAL", "FAILED"]


class TokenAnswer(BaseModel):
    """An access token, to be sent as `Authorization: Bearer …`."""

    access_token: str
    expires_in: int
    token_type: str
    scope: str | None = None


class RevokedAnswer(BaseModel):
    """Nothing: the token is refused from now on, whatever it was."""


class IntrospectionAnswer(BaseModel):
    """Whether a token is good, and if it is, for what (RFC 7662)."""

    active: bool
    scope: str | None = None
    client_id: str | None = None
    sub: str | None = None
    iss: str | None = None
    iat: int | None = None
    exp: int | None = None
    jti: str | None = None
    token_type: str | None = None


class OAuthRefusal(BaseModel):
    """A refusal in OAuth's own shape (RFC 6749, section 5.2)."""

    error: str
    error_description: str


class Keys(BaseModel):
    """A JSON Web Key Set."""

    keys: list[dict[str, Any]]


class Issuer(BaseModel):
    """Where the token endpoint and the keys are."""

    issuer: str
    token_endpoint: str
    revocation_endpoint: str
    introspection_endpoint: str
    jwks_uri: str
    scopes_supported: list[str]


class TokenInfo(BaseModel):
    """What an access token says, in the names of its claims."""

    iss: str
    sub: str
    azp: str
    account: str
    jti: str
    iat: int
    exp: int
    typ: str
    scope: str


class Alive(BaseModel):
    """The service answers."""

    status: str
    version: str


class Ready(Alive):
    """Whether each part works, or what is wrong with it."""

    parts: dict[str, str]


class Geometry(BaseModel):
    """A GeoJSON geometry in WGS84."""

    type: Literal[
        "Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon", "GeometryCollection"
    ]
    coordinates: list[Any] | None = None
    geometries: list[Geometry] | None = None


class PolygonInCrs(BaseModel):
    """GeoJSON polygons and their CRS, WGS84 without one."""

    type: Literal["Polygon", "MultiPolygon"]
    coordinates: list[Any]
    crs: dict[str, Any] | None = None


class BandOfCollection(BaseModel):
    """Where a band is in the files of a tile, and its numbers."""

    source: str | None = None
    bandIndex: int | None = None  # noqa: N815
    bitDepth: Literal[8, 16, 32]  # noqa: N815
    sampleFormat: Literal["UINT", "INT", "FLOAT"]  # noqa: N815
    noData: float | None = None  # noqa: N815


class CollectionDetails(BaseModel):
    """What is known of a collection from its tiles."""

    bands: dict[str, BandOfCollection] | None = None
    extent: PolygonInCrs | None = None
    maxMetersPerPixel: float | None = None  # noqa: N815
    hasSensingTimes: Literal["YES", "PARTIALLY", "NO"] | None = None  # noqa: N815
    fromSensingTime: str | None = None  # noqa: N815
    toSensingTime: str | None = None  # noqa: N815


class TileDetails(BaseModel):
    """Why a tile could not be ingested, or what to know about it: sizes of its pixels, and in its coarsest overview."""

    minMetersPerPixel: float | None = None  # noqa: N815
    maxMetersPerPixel: float | None = None  # noqa: N815
    failedIngestionCause: str | None = None  # noqa: N815
    warnings: str | None = None


Answer = tuple[str, str, str]
"""What it is, its media type, the name of its schema."""

_REFUSED: Mapping[str, Answer] = {
    "400": ("The form is wrong", JSON, OAuthRefusal.__name__),
    "401": ("The client is not known, or its secret is another", JSON, OAuthRefusal.__name__),
    "429": (
        "Too many wrong secrets; Retry-After says, in milliseconds, when to try again",
        JSON,
        OAuthRefusal.__name__,
    ),
}
ANSWERS: Mapping[tuple[str, str], Mapping[str, Answer]] = {
    ("authentication", "issue_token"): {"200": ("A token", JSON, TokenAnswer.__name__), **_REFUSED},
    ("authentication", "revoke_token"): {"200": ("It is refused", JSON, RevokedAnswer.__name__), **_REFUSED},
    ("authentication", "introspect_token"): {
        "200": ("What the token is good for", JSON, IntrospectionAnswer.__name__),
        **_REFUSED,
    },
    ("authentication", "token_info"): {"200": ("What the token says", JSON, TokenInfo.__name__)},
    ("authentication", "public_keys"): {"200": ("The keys", JSON, Keys.__name__)},
    ("authentication", "openid_configuration"): {"200": ("Where things are", JSON, Issuer.__name__)},
    ("health", "live"): {"200": ("It lives", JSON, Alive.__name__)},
    ("health", "ready"): {
        "200": ("All parts work", JSON, Ready.__name__),
        "503": ("A part does not work", JSON, Ready.__name__),
    },
    ("statistical", "statistics"): {
        "200": ("The statistics of every interval that has data", JSON, StatisticalAnswer.__name__)
    },
}
"""By the tag and the name of the operation, then by status."""

FIELDS: Mapping[tuple[str, str], type[BaseModel]] = {
    ("CollectionAnswer", "additionalData"): CollectionDetails,
    ("TileAnswer", "additionalData"): TileDetails,
    ("TileAnswer", "tileGeometry"): PolygonInCrs,
    ("TileAnswer", "coverGeometry"): PolygonInCrs,
    ("BYOCTile", "coverGeometry"): PolygonInCrs,
    ("BYOCTileUpdate", "coverGeometry"): PolygonInCrs,
}
"""What members of the routes' own models are, where these have only an object."""

_MODELS: tuple[type[BaseModel], ...] = (
    StatisticalAnswer,
    Geometry,
    PolygonInCrs,
    CollectionDetails,
    TileDetails,
    TokenAnswer,
    RevokedAnswer,
    IntrospectionAnswer,
    TokenInfo,
    OAuthRefusal,
    Keys,
    Issuer,
    Alive,
    Ready,
)


def answer_schemas() -> dict[str, Any]:
    """The schemas of the answers above, by name."""
    _, made = models_json_schema([(model, "validation") for model in _MODELS], ref_template=TEMPLATE)
    schemas: dict[str, Any] = made["$defs"]
    return schemas
