"""Batch Processing V2: one job renders an evalscript over the tiles of a grid or over the user's own features."""

# No `from __future__ import annotations` here: dataclass-json reads the annotations of the dataclass.
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

from dataclasses_json import CatchAll, LetterCase, Undefined, dataclass_json

from swathe.client.base import (
    BaseBatchClient,
    BaseBatchRequest,
    BatchRequestStatus,
    BatchUserAction,
    StoppedStatusReason,
)
from swathe.client.fields import datetime_field, enum_field, named_field
from swathe.client.types import Json, JsonDict, remove_undefined


def object_storage(
    url: str,
    access_key: str | None = None,
    secret_access_key: str | None = None,
    iam_role_arn: str | None = None,
    region: str | None = None,
) -> JsonDict:
    """The dictionary that Batch Processing V2 takes for an S3 path.

    Args:
        url: of a bucket, a folder, an object, or a template of objects, `s3://bucket/key`.
        access_key: the AWS access key that may read or write there.
        secret_access_key: the secret that goes with it.
        iam_role_arn: a role to take in place of keys; the hosted service's way.
        region: of the bucket; without it the deployment's own region is assumed.

    Raises:
        ValueError: neither a role nor a pair of keys is given, or both.
    """
    if (iam_role_arn is None) == (access_key is None or secret_access_key is None):
        raise ValueError("give either iam_role_arn, or access_key and secret_access_key")
    specification = {
        "url": url,
        "accessKey": access_key,
        "secretAccessKey": secret_access_key,
        "iamRoleARN": iam_role_arn,
        "region": region,
    }
    return {"s3": remove_undefined(specification)}


@dataclass_json(letter_case=LetterCase.CAMEL, undefined=Undefined.INCLUDE)  # type: ignore[call-overload]
@dataclass(repr=False)
class BatchProcessRequest(BaseBatchRequest):
    """A batch processing request as the service describes it.

    Fields that this class does not know are kept in `other_data` under their wire names.
    """

    request_id: str = field(metadata=named_field("id"))
    request: dict  # type: ignore[type-arg]  # dataclass-json would check the type arguments of every value
    domain_account_id: str
    status: BatchRequestStatus = field(metadata=enum_field(BatchRequestStatus))
    error: str | None = None
    user_action: BatchUserAction | None = field(metadata=enum_field(BatchUserAction), default=None)
    user_action_updated: dt.datetime | None = field(metadata=datetime_field(), default=None)
    created: dt.datetime | None = field(metadata=datetime_field(), default=None)
    completion_percentage: float = 0
    last_updated: dt.datetime | None = field(metadata=datetime_field(), default=None)
    cost_PU: float | None = field(metadata=named_field("costPU"), default=None)  # noqa: N815  the published name
    stopped_status_reason: StoppedStatusReason | None = field(metadata=enum_field(StoppedStatusReason), default=None)
    other_data: CatchAll = field(default_factory=dict)  # type: ignore[type-arg]

    _REPR_PARAM_NAMES = (
        "request_id",
        "created",
        "status",
        "completion_percentage",
        "user_action",
        "cost_PU",
        "error",
    )


BatchProcessRequestType = str | JsonDict | BatchProcessRequest


class BatchProcessClient(BaseBatchClient[BatchProcessRequest]):
    """Creates, starts and watches batch processing jobs, and knows the tiling grids.

    Wherever a batch request is asked for, a request object, a raw payload or only an id will do.
    """

    _request_type = BatchProcessRequest
    _REQUESTS = "/process"
    s3_specification = staticmethod(object_storage)

    @staticmethod
    def _get_service_url(base_url: str) -> str:
        return f"{base_url}/api/v2/batch"

    def create(
        self,
        process_request: Any,
        input: JsonDict,
        output: JsonDict,
        instance_type: Literal["normal", "large"] = "normal",
        description: str | None = None,
        **kwargs: Any,
    ) -> BatchProcessRequest:
        """Creates a batch request; nothing runs before `start_analysis` or `start_job`.

        Args:
            process_request: payload of a Process API request, or the published client's `SentinelHubRequest`.
            input: made with `tiling_grid_input` or `geopackage_input`.
            output: made with `raster_output` or `zarr_output`.
            instance_type: of the hosted service's older deployments; others leave it aside.
            description: to know the request again by.
            kwargs: further fields of the payload.

        Raises:
            ValueError: `process_request` is neither.
        """
        payload = {
            "processRequest": _process_payload(process_request),
            "input": input,
            "output": output,
            "instanceType": instance_type,
            "description": description,
            **kwargs,
        }
        answer = self.session.request_dict("POST", self._requests_url, body=remove_undefined(payload))
        return self._parse_request(answer)

    @staticmethod
    def tiling_grid_input(
        grid_id: int, resolution: float, buffer_x: int | None = None, buffer_y: int | None = None, **kwargs: Any
    ) -> JsonDict:
        """The `input` of a request over the tiles of a grid.

        Args:
            grid_id: one of `iter_tiling_grids`.
            resolution: one that the grid offers, in its unit.
            buffer_x: pixels by which each tile grows on its left and on its right.
            buffer_y: pixels by which it grows above and below.
            kwargs: further fields.
        """
        return remove_undefined(
            {
                "type": "tiling-grid",
                "id": grid_id,
                "resolution": resolution,
                "bufferX": buffer_x,
                "bufferY": buffer_y,
                **kwargs,
            }
        )

    @staticmethod
    def geopackage_input(geopackage_specification: JsonDict) -> JsonDict:
        """The `input` of a request over the features of a GeoPackage, made with `s3_specification`."""
        return {"type": "geopackage", "features": geopackage_specification}

    @staticmethod
    def raster_output(
        delivery: JsonDict,
        *,
        overwrite: bool | None = None,
        skip_existing: bool | None = None,
        cog_output: bool | None = None,
        cog_parameters: JsonDict | None = None,
        create_collection: bool | None = None,
        collection_id: str | None = None,
        **kwargs: Any,
    ) -> JsonDict:
        """The `output` of a request that writes a file for each tile and output.

        Args:
            delivery: made with `s3_specification`: a folder, or a template with `<tileName>` and, for several outputs,
                `<outputId>`.
            overwrite: replace files that are there.
            skip_existing: leave tiles alone that are there whole.
            cog_output: write cloud-optimized GeoTIFFs.
            cog_parameters: how they are laid out.
            create_collection: put the results into a new BYOC collection.
            collection_id: put them into this one.
            kwargs: further fields.
        """
        return remove_undefined(
            {
                "type": "raster",
                "delivery": delivery,
                "overwrite": overwrite,
                "skipExisting": skip_existing,
                "cogOutput": cog_output,
                "cogParameters": cog_parameters,
                "createCollection": create_collection,
                "collectionId": collection_id,
                **kwargs,
            }
        )

    @staticmethod
    def zarr_output(
        delivery: JsonDict,
        *,
        group: JsonDict | None = None,
        array_parameters: JsonDict | None = None,
        array_overrides: JsonDict | None = None,
        **kwargs: Any,
    ) -> JsonDict:
        """The `output` of a request that writes one Zarr group.

        `array_parameters` travels as `arrayParameters`, the name in the service's description; the published client
        writes `arrayParameter`, which Swathe takes as well.

        Args:
            delivery: made with `s3_specification`; may hold `<requestId>`.
            group: `{"zarr_format": 2}` and what else concerns the group.
            array_parameters: dtype, order, chunks, fill_value, compressor of all arrays.
            array_overrides: the same for single arrays, by the identifiers of their responses.
            kwargs: further fields.
        """
        return remove_undefined(
            {
                "type": "zarr",
                "delivery": delivery,
                "group": group,
                "arrayParameters": array_parameters,
                "arrayOverrides": array_overrides,
                **kwargs,
            }
        )

    def iter_tiling_grids(self, **kwargs: Any) -> Iterator[JsonDict]:
        """The tiling grids that the service offers.

        Args:
            kwargs: fields of the query, such as `count`.
        """
        return self._iter_pages(f"{self.service_url}/tilinggrids", remove_undefined(kwargs))

    def get_tiling_grid(self, grid_id: int) -> JsonDict:
        """One tiling grid."""
        return self.session.request_dict("GET", f"{self.service_url}/tilinggrids/{quote(str(grid_id), safe='')}")

    def update_request(self, batch_request: BatchProcessRequestType, description: str) -> Json:
        """Gives a request that is not being processed another description; the service's answer as it is."""
        return self.session.request("PUT", self._get_processing_url(batch_request), body={"description": description})


def _process_payload(process_request: Any) -> JsonDict:
    """The payload in a Process API request: a dictionary, or the published client's object that holds one."""
    payload = process_request
    if not isinstance(payload, dict) and (downloads := getattr(payload, "download_list", None)):
        payload = getattr(downloads[0], "post_values", None)
    if not isinstance(payload, dict):
        given = type(process_request).__name__
        raise ValueError(f"process_request is a {given}; give a SentinelHubRequest or the dictionary of a payload")
    return payload
