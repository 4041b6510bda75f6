"""Requests to begin with, in Swathe's OpenAPI description; by the names of the bodies' schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NDVI = """//VERSION=3
function setup() {
  return {
    input: [{bands: ["B04", "B08", "dataMask"]}],
    output: [
      {id: "ndvi", bands: 1, sampleType: "FLOAT32"},
      {id: "dataMask", bands: 1}
    ]
  };
}
function evaluatePixel(sample) {
  const ndvi = (sample.B08 - sample.B04) / (sample.B08 + sample.B04);
  return {ndvi: [ndvi], dataMask: [sample.dataMask]};
}
"""
_COLOURS = """//VERSION=3
function setup() {
  return {input: ["B02", "B03", "B04"], output: {bands: 3}};
}
function evaluatePixel(sample) {
  return [2.5 * sample.B04, 2.5 * sample.B03, 2.5 * sample.B02];
}
"""
_UTM_33 = {"crs": "http://www.opengis.net/def/crs/EPSG/0/32633"}
_PARCEL = {"bbox": [414315, 4958219, 414859, 4958819], "properties": _UTM_33}
_MONTH = {"from": "2020-06-01T00:00:00Z", "to": "2020-07-01T00:00:00Z"}
_TYPE = "sentinel-2-l2a"
_DAILY = {"timeRange": _MONTH, "aggregationInterval": {"of": "P1D"}, "resx": 10, "resy": 10, "evalscript": _NDVI}
_PERCENTILES = {"ndvi": {"statistics": {"default": {"percentiles": {"k": [25, 50, 75]}}}}}
_IMAGE: dict[str, Any] = {
    "input": {"bounds": _PARCEL, "data": [{"type": _TYPE, "dataFilter": {"timeRange": _MONTH}}]},
    "output": {"resx": 10, "resy": 10, "responses": [{"identifier": "default", "format": {"type": "image/png"}}]},
    "evalscript": _COLOURS,
}


def _in_store(url: str) -> dict[str, Any]:
    return {"s3": {"url": url, "accessKey": "…", "secretAccessKey": "…", "region": "eu-central-1"}}


EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "StatisticalRequest": {
        "ndvi": {
            "input": {"bounds": _PARCEL, "data": [{"type": _TYPE, "dataFilter": {"maxCloudCoverage": 60}}]},
            "aggregation": _DAILY,
            "calculations": _PERCENTILES,
        }
    },
    "BatchStatisticalRequest": {
        "ndvi": {
            "input": {"features": _in_store("s3://bucket/parcels.gpkg"), "data": [{"type": _TYPE}]},
            "aggregation": _DAILY,
            "calculations": _PERCENTILES,
            "output": _in_store("s3://bucket/results"),
            "description": "NDVI of June",
        }
    },
    "ProcessRequest": {"colours": _IMAGE},
    "AsyncProcessRequest": {
        "colours": {**_IMAGE, "output": {**_IMAGE["output"], "delivery": _in_store("s3://bucket/images")}}
    },
    "BatchV2ProcessRequest": {
        "colours": {
            "processRequest": {
                **_IMAGE,
                "output": {"responses": [{"identifier": "default", "format": {"type": "image/tiff"}}]},
            },
            "input": {"type": "tiling-grid", "id": 1, "resolution": 10.0},
            "output": {"type": "raster", "delivery": _in_store("s3://bucket/tiles"), "cogOutput": True},
            "description": "Colours of June",
        }
    },
    "BatchV2ProcessRequestUpdatePayload": {"description": {"description": "Colours of June"}},
    "Search": {
        "june": {
            "collections": [_TYPE],
            "bbox": [13.8, 44.7, 14.0, 44.9],
            "datetime": "2020-06-01T00:00:00Z/2020-06-30T23:59:59Z",
            "filter": "eo:cloud_cover < 20",
            "limit": 10,
        }
    },
    "BYOCCollection": {"mine": {"name": "Orthophotos", "s3Bucket": "bucket"}},
    "BYOCCollectionUpdate": {"mine": {"name": "Orthophotos 2020", "s3Bucket": "bucket"}},
    "BYOCTile": {"june": {"path": "2020/june/(BAND).tif", "sensingTime": "2020-06-01T10:00:00Z"}},
    "BYOCTileUpdate": {"june": {"sensingTime": "2020-06-02T10:00:00Z"}},
}
