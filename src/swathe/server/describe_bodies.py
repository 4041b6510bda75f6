"""The bodies of requests in Swathe's OpenAPI description: the models that check them, by the provider's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from swathe.model.byoc import ByocCollectionBody, ByocTileBody, ByocTileChange
from swathe.model.process import BatchProcessRequest, ProcessRequest
from swathe.model.process_async import REFERENCE, AsyncProcessRequest
from swathe.model.statistical import BatchStatisticsRequest
from swathe.model.statistical_area import AreaStatisticsRequest
from swathe.server.batch_process import TaskChange

TEMPLATE = "#/components/schemas/{model}"


BODIES: Mapping[str, type[BaseModel]] = {
    "BatchStatisticalRequest": BatchStatisticsRequest,
    "StatisticalRequest": AreaStatisticsRequest,
    "ProcessRequest": ProcessRequest,
    "AsyncProcessRequest": AsyncProcessRequest,
    "BatchV2ProcessRequest": BatchProcessRequest,
    "BatchV2ProcessRequestUpdatePayload": TaskChange,
    "BYOCCollection": ByocCollectionBody,
    "BYOCCollectionUpdate": ByocCollectionBody,
    "BYOCTile": ByocTileBody,
    "BYOCTileUpdate": ByocTileChange,
}
"""By the names that `bodies.described_body` is given."""

_TIME = "An ISO 8601 time, like 2020-06-01T00:00:00Z"
_FIELDS: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("TimeRangeModel", "from"): {"description": f"{_TIME}; included", "examples": ["2020-06-01T00:00:00Z"]},
    ("TimeRangeModel", "to"): {"description": f"{_TIME}; not included", "examples": ["2020-09-01T00:00:00Z"]},
    ("DataSource", "type"): {"description": "A collection of the deployment, or `byoc-` and the id of one of your own"},
    ("DataSource", "id"): {"description": "What an evalscript calls this source when there are several"},
    ("DataFilter", "maxCloudCoverage"): {"description": "In percent; scenes with more are left out"},
    ("Processing", "harmonizeValues"): {"description": "Whether Sentinel-2 values are made comparable over time"},
    ("AggregationInterval", "of"): {
        "description": "A duration of at least a day: P1D, P10D, P1M",
        "examples": ["P10D"],
    },
    ("AggregationInterval", "lastIntervalBehavior"): {
        "description": "What becomes of a last interval that does not fit: left out, cut, or reaching beyond the range"
    },
    ("Aggregation", "evalscript"): {"description": "The script, version 3, with an output dataMask"},
    ("Aggregation", "resx"): {"description": "Width of a cell in units of the CRS of the area; with resy"},
    ("Aggregation", "resy"): {"description": "Height of a cell in units of the CRS of the area; with resx"},
    ("Aggregation", "width"): {"description": "Columns of cells; with height, in place of resx and resy"},
    ("Aggregation", "height"): {"description": "Rows of cells; with width"},
    ("Bounds", "bbox"): {"description": "Least x, least y, greatest x, greatest y, in the CRS"},
    ("BoundsProperties", "crs"): {"examples": ["http://www.opengis.net/def/crs/EPSG/0/32633"]},
    ("ProcessOutput", "width"): {"description": "Columns of the image; 256 if no size is said"},
    ("ProcessOutput", "height"): {"description": "Rows of the image; 256 if no size is said"},
    ("ProcessOutput", "resx"): {"description": "Width of a pixel in units of the CRS of the area"},
    ("ProcessOutput", "resy"): {"description": "Height of a pixel in units of the CRS of the area"},
    ("ProcessRequest", "evalscript"): {"description": "The script, version 3"},
    ("Response", "identifier"): {"description": "An output of the script, or userdata"},
    ("S3Place", "url"): {"description": "An address like s3://bucket/folder"},
    ("S3Place", "accessKey"): {"description": "Never given back; without keys the deployment's own are used"},
    ("S3Place", "secretAccessKey"): {"description": "Never given back"},
    ("TilingGridInput", "id"): {"description": "The number of a tiling grid"},
    ("ArrayParameters", "fill_value"): {
        "anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}, {"type": "null"}]
    },
}
"""What the types of fields do not say."""


def body_schemas() -> dict[str, Any]:
    """The schemas of all bodies and of what they are made of, by name."""
    _, made = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(BODIES.values())], ref_template=TEMPLATE
    )
    schemas: dict[str, Any] = made["$defs"]
    for (owner, field), told in _FIELDS.items():
        described = schemas[owner]["properties"][field]
        if "anyOf" in told:
            described.pop("type", None)
        schemas[owner]["properties"][field] = {**described, **told}
    for name, model in BODIES.items():
        schemas[name] = {**schemas[model.__name__], "title": name}
    for model in BODIES.values():
        if model.__name__ not in BODIES:
            schemas.pop(model.__name__, None)
    _with_reference(schemas["AsyncProcessRequest"])
    return schemas


def _with_reference(schema: dict[str, Any]) -> None:
    """The script of an asynchronous request may lie in a store."""
    place = {"$ref": TEMPLATE.format(model="ObjectPlace"), "description": "Where the script is, if not in evalscript"}
    schema["properties"][REFERENCE] = place
    schema["required"] = [name for name in schema["required"] if name != "evalscript"]
    schema["anyOf"] = [{"required": ["evalscript"]}, {"required": [REFERENCE]}]
