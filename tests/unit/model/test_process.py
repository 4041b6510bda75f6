"""Batch processing requests: what is taken, what it becomes, and what a wrong one is told."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest

from swathe.model.errors import RequestInvalid
from swathe.model.process import (
    BatchProcessRequest,
    GeoPackageInput,
    ProcessRequest,
    RasterOutput,
    TilingGridInput,
    ZarrOutput,
    read_batch_process,
)
from swathe.model.process_checks import band_names, check_chunks, check_script_outputs
from swathe.model.process_output import Response

S3 = {"s3": {"url": "s3://bucket/results", "accessKey": "a", "secretAccessKey": "b"}}
SQUARE = {"type": "Polygon", "coordinates": [[[14, 45], [15, 45], [15, 46], [14, 45]]]}


def raster(**changes: Any) -> dict[str, Any]:
    """The provider's first example: max NDVI over Corsica."""
    body = {
        "processRequest": {
            "input": {
                "bounds": {
                    "bbox": [8.44, 41.31, 9.66, 43.1],
                    "properties": {"crs": "http://www.opengis.net/def/crs/OGC/1.3/CRS84"},
                },
                "data": [
                    {
                        "dataFilter": {
                            "timeRange": {"from": "2019-04-01T00:00:00Z", "to": "2019-06-30T00:00:00Z"},
                            "maxCloudCoverage": 70.0,
                        },
                        "type": "sentinel-2-l2a",
                    }
                ],
            },
            "output": {"responses": [{"identifier": "default", "format": {"type": "image/tiff"}}]},
            "evalscript": "//VERSION=3",
        },
        "input": {"type": "tiling-grid", "id": 0, "resolution": 60.0},
        "output": {"type": "raster", "delivery": S3},
        "description": "Max NDVI over Corsica",
    }
    return changed(body, changes)


def zarr(**changes: Any) -> dict[str, Any]:
    """The provider's second example: three arrays."""
    body = raster()
    body["processRequest"]["output"]["responses"] = [
        {"identifier": name, "format": {"type": "zarr/array"}} for name in ("band08", "band04", "maxNDVI")
    ]
    body["input"] = {"type": "tiling-grid", "id": 6, "resolution": 100.0}
    body["output"] = {
        "type": "zarr",
        "delivery": {"s3": {**S3["s3"], "url": "s3://bucket/<requestId>"}},
        "group": {"zarr_format": 2},
        "arrayParameters": {"dtype": "<u2", "order": "C", "chunks": [1, 1000, 1000], "fill_value": 0},
        "arrayOverrides": {"maxNDVI": {"dtype": "<f4", "fill_value": "NaN"}},
    }
    return changed(body, changes)


def changed(body: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The body with values put at places such as `output__delivery__s3__url`; `...` takes them away."""
    body = copy.deepcopy(body)
    for place, value in changes.items():
        *path, last = place.split("__")
        inner = body
        for name in path:
            inner = inner[name]
        if value is ...:
            inner.pop(last, None)
        else:
            inner[last] = value
    return body


def responses(*kinds: tuple[str, str]) -> dict[str, Any]:
    listed = [{"identifier": name, "format": {"type": kind}} for name, kind in kinds]
    return {"processRequest__output__responses": listed}


def refused(body: dict[str, Any]) -> RequestInvalid:
    with pytest.raises(RequestInvalid) as told:
        read_batch_process(body)
    return told.value


def test_the_raster_example_is_taken_with_the_documented_defaults() -> None:
    request = read_batch_process(raster())
    assert isinstance(request.input, TilingGridInput)
    assert (request.input.id, request.input.resolution, request.input.buffer_x, request.input.buffer_y) == (0, 60, 0, 0)
    assert isinstance(request.output, RasterOutput)
    out = request.output
    assert (out.overwrite, out.skip_existing, out.cog_output, out.create_collection) == (False, False, False, False)
    cog = out.cog_parameters
    assert (cog.blockxsize, cog.blockysize, cog.use_predictor, cog.resampling_algorithm) == (256, 256, True, "average")
    assert (cog.overview_levels, cog.overview_min_size, out.collection_id) == (None, None, None)
    assert request.process_request.input.bounds.to_epsg() == 4326
    assert request.description == "Max NDVI over Corsica"


def test_the_zarr_example_is_taken_and_its_arrays_are_laid_out() -> None:
    request = read_batch_process(zarr())
    assert isinstance(request.output, ZarrOutput)
    general, own = request.output.layout("band04"), request.output.layout("maxNDVI")
    assert (general.dtype, general.fill_value, general.chunks, general.order) == ("<u2", 0, (1, 1000, 1000), "C")
    assert general.compressor == {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0}
    assert own.dtype == "<f4"
    assert math.isnan(own.fill_value)
    assert own.chunks == (1, 1000, 1000)
    assert request.output.address("77") == "s3://bucket/77"
    assert request.output.group.coordinates.origin == "topLeft"


def test_the_geopackage_example_needs_no_area() -> None:
    request = read_batch_process(
        raster(
            input={"type": "geopackage", "features": S3, "defaults": {"width": 512, "height": 512}},
            processRequest__input__bounds=...,
        )
    )
    assert isinstance(request.input, GeoPackageInput)
    assert (request.input.defaults.width, request.input.defaults.resolution) == (512, None)
    assert request.process_request.input.bounds.is_empty


def test_what_clients_send_beside_the_description_is_taken() -> None:
    """Nulls, `instanceType`, sizes, `arrayParameter`, a CRS within the geometry, parameters of a media type."""
    assert read_batch_process(raster(instanceType="normal", output__group={"zarr_format": 2}, output__overwrite=None))
    old = zarr()
    old["output"]["arrayParameter"] = old["output"].pop("arrayParameters")
    assert read_batch_process(old).output.layout("band04").dtype == "<u2"  # type: ignore[union-attr]
    with_crs = {**SQUARE, "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}}
    request = read_batch_process(raster(processRequest__input__bounds={"geometry": with_crs}))
    assert request.process_request.input.bounds.to_epsg() == 32633
    assert request.process_request.input.bounds.polygons == SQUARE
    assert read_batch_process(raster(**responses(("default", "image/tiff;depth=32f"))))
    assert read_batch_process(raster(processRequest__output__width=512, processRequest__output__height=512))


def test_a_process_request_without_output_is_a_png() -> None:
    body = raster()["processRequest"]
    del body["output"]
    (response,) = ProcessRequest.model_validate(body).output.responses
    assert (response.identifier, response.format.type) == ("default", "image/png")


@pytest.mark.parametrize(
    ("changes", "parameter", "message"),
    [
        ({"input": ...}, "input", "is required"),
        ({"output": ...}, "output", "is required"),
        ({"processRequest": ...}, "processRequest", "is required"),
        ({"input": {"id": 0, "resolution": 60}}, "input->type", "input->type: is required"),
        ({"input__type": "tiles"}, "input->type", "must be one of 'tiling-grid' or 'geopackage'"),
        ({"output__type": "cog"}, "output->type", "must be one of 'raster' or 'zarr'"),
        ({"input__id": ...}, "input->id", "input->id: is required"),
        ({"input__resolution": 0}, "input->resolution", "must be greater than 0"),
        ({"input__bufferX": -1}, "input->bufferX", "must be greater than or equal to 0"),
        ({"input__bufferY": 40_000}, "input->bufferY", "must be less than or equal to 32767"),
        ({"processRequest__evalscript": ...}, "processRequest->evalscript", "is required"),
        ({"processRequest__input__data": []}, "processRequest->input->data", "at least 1 element"),
        ({"processRequest__input__bounds": {}}, "processRequest->input->bounds", "which says what tiles to process"),
        ({"processRequest__input__bounds__bbox": [1, 2, 3]}, "processRequest->input->bounds->bbox->3", "is required"),
        (
            {"processRequest__input__bounds": {"geometry": {"type": "Point", "coordinates": [1, 2]}}},
            "processRequest->input->bounds->geometry->type",
            "must be one of 'Polygon' or 'MultiPolygon'",
        ),
        ({"output__delivery": {}}, "output->delivery->s3", "is required"),
        ({"output__delivery": {"gs": {"url": "gs://a"}}}, "output->delivery", "gs is not supported"),
        ({"output__delivery__s3__url": "bucket"}, "output->delivery->s3->url", "must be an address like s3://"),
        ({"output__cogParameters": {"blockxsize": 100}}, "output->cogParameters->blockxsize", "a multiple of 16"),
        (
            {"output__cogParameters": {"overviewLevels": [2, 2]}},
            "output->cogParameters->overviewLevels",
            "growing numbers from 2 on",
        ),
        (
            {"output__cogParameters": {"resamplingAlgorithm": "best"}},
            "output->cogParameters->resamplingAlgorithm",
            "must be one of 'nearest', 'average'",
        ),
        (responses(("a", "image/tiff"), ("a", "image/png")), "processRequest->output->responses", "two responses"),
        (responses(("a/b", "image/tiff")), "processRequest->output->responses->0->identifier", "plain name"),
        (responses(("a", "image/gif")), "processRequest->output->responses->0->format->type", "must be one of"),
        (responses(("a", "zarr/array")), "processRequest->output->responses", "needs output.type 'zarr'"),
        (responses(("a", "application/json")), "processRequest->output->responses", "only 'userdata' can be"),
        (responses(("userdata", "image/tiff")), "processRequest->output->responses", "must be application/json"),
    ],
)
def test_a_wrong_raster_request_is_told_where_and_what(changes: dict[str, Any], parameter: str, message: str) -> None:
    error = refused(raster(**changes))
    assert error.parameter == parameter
    assert message in error.message


@pytest.mark.parametrize(
    ("changes", "parameter", "message"),
    [
        ({"output__cogOutput": True, **responses(("a", "image/png"))}, "output->cogOutput", "'a' is image/png"),
        ({"output__createCollection": True}, "output->cogOutput", "need cogOutput: true"),
        ({"output__collectionId": "5c0f"}, "output->cogOutput", "need cogOutput: true"),
    ],
)
def test_cog_and_collections_go_with_tiffs(changes: dict[str, Any], parameter: str, message: str) -> None:
    error = refused(raster(**changes))
    assert (error.parameter, message in error.message) == (parameter, True)


def test_overwrite_and_skip_existing_may_go_together() -> None:
    request = read_batch_process(raster(output__overwrite=True, output__skipExisting=True))
    assert isinstance(request.output, RasterOutput)
    assert (request.output.overwrite, request.output.skip_existing) == (True, True)


@pytest.mark.parametrize(
    ("url", "template", "root"),
    [
        ("s3://b/f/", "s3://b/f/<requestId>/<tileName>/<outputId>.<format>", "s3://b/f/<requestId>"),
        ("s3://b", "s3://b/<requestId>/<tileName>/<outputId>.<format>", "s3://b/<requestId>"),
        ("s3://b/f/x_<tileName>.tif", "s3://b/f/x_<tileName>.tif", "s3://b/f"),
        ("s3://b/<outputId>/<tileName>.<format>", "s3://b/<outputId>/<tileName>.<format>", "s3://b"),
    ],
)
def test_a_folder_gets_the_default_template(url: str, template: str, root: str) -> None:
    output = read_batch_process(raster(output__delivery__s3__url=url)).output
    assert isinstance(output, RasterOutput)
    assert (output.template, output.root) == (template, root)


def test_addresses_have_the_extension_of_their_format() -> None:
    output = read_batch_process(raster()).output
    assert isinstance(output, RasterOutput)
    for kind, extension in (("image/tiff", "tif"), ("image/png", "png"), ("image/jpeg", "jpg")):
        response = Response.model_validate({"identifier": "ndvi", "format": {"type": kind}})
        expected = f"s3://bucket/results/9ac2/33TWM_3_1/ndvi.{extension}"
        assert output.address("9ac2", "33TWM_3_1", response) == expected


@pytest.mark.parametrize(
    ("url", "kinds", "message"),
    [
        ("s3://b/<requestId>/x.tif", [("a", "image/tiff")], "must hold <tileName>"),
        ("s3://b/<tile>/x.tif", [("a", "image/tiff")], "<tile> is no placeholder of a raster delivery"),
        ("s3://b/<tileName>.tif", [("a", "image/tiff"), ("c", "image/tiff")], "must hold <outputId>"),
        ("s3://b/<tileName>.tif", [("a", "image/tiff"), ("userdata", "application/json")], "must hold <outputId>"),
        ("s3://b<tileName>/x", [("a", "image/tiff")], "not into the bucket's name"),
    ],
)
def test_templates_keep_files_apart(url: str, kinds: list[tuple[str, str]], message: str) -> None:
    error = refused(raster(output__delivery__s3__url=url, **responses(*kinds)))
    assert message in error.message
    assert error.parameter == "output->delivery->s3->url"


@pytest.mark.parametrize(
    ("changes", "parameter", "message"),
    [
        ({"input__id": 0}, "input->id", "not the UTM grid 0"),
        ({"input": {"type": "geopackage", "features": S3}}, "input->type", "not a GeoPackage"),
        ({"input__bufferX": 5}, "input->bufferX", "must not overlap"),
        ({"output__group": ...}, "output->group", "is required"),
        ({"output__group": {}}, "output->group->zarr_format", "is required"),
        ({"output__group__zarr_format": 3}, "output->group->zarr_format", "must be 2"),
        ({"output__group__coordinates": {"origin": "top"}}, "output->group->coordinates->origin", "must be one of"),
        (responses(("band04", "image/tiff")), "processRequest->output->responses", "every response must be zarr/array"),
        ({"output__arrayParameters__dtype": "<u4"}, "output->arrayParameters->dtype", "must be one of |u1, |i1, <u2"),
        ({"output__arrayParameters__order": "F"}, "output->arrayParameters->order", "must be one of 'C'"),
        ({"output__arrayParameters__chunks": [2, 10, 10]}, "output->arrayParameters->chunks", "1 for time"),
        ({"output__arrayParameters__chunks": [1, 10]}, "output->arrayParameters->chunks->2", "is required"),
        ({"output__arrayParameters__fill_value": "none"}, "output->arrayParameters->fill_value", '"NaN"'),
        ({"output__arrayParameters__fill_value": -1}, "output->arrayParameters", "fill_value -1.0 of array 'band08'"),
        ({"output__arrayParameters__fill_value": "NaN"}, "output->arrayParameters", "of array 'band08' is no <u2"),
        ({"output__arrayParameters__compressor": {"id": "rar"}}, "output->arrayParameters->compressor", "blosc, zlib"),
        ({"output__arrayParameters": {"dtype": "<u2"}}, "output->arrayParameters", "'band08' lacks chunks, fill_value"),
        ({"output__arrayOverrides": {"ndvi": {}}}, "output->arrayOverrides", "'ndvi' is no response's identifier"),
        ({"output__delivery__s3__url": "s3://b/<tileName>"}, "output->delivery->s3->url", "use <requestId>"),
    ],
)
def test_a_wrong_zarr_request_is_told_where_and_what(changes: dict[str, Any], parameter: str, message: str) -> None:
    error = refused(zarr(**changes))
    assert error.parameter == parameter
    assert message in error.message.replace("fill_value -1 ", "fill_value -1.0 ")


def test_array_parameters_may_all_stand_in_the_overrides_and_compression_may_be_off() -> None:
    full = {"dtype": "|u1", "chunks": [1, 500, 500], "fill_value": 255, "compressor": None}
    body = zarr(
        output__arrayParameters=...,
        output__arrayOverrides={"band04": {**full, "customAttributes": {"units": "DN"}}},
        **responses(("band04", "zarr/array")),
    )
    layout = read_batch_process(body).output.layout("band04")  # type: ignore[union-attr]
    assert (layout.dtype, layout.compressor, layout.custom_attributes) == ("|u1", None, {"units": "DN"})


@pytest.mark.parametrize(
    ("defaults", "message"),
    [
        ({"width": 10}, "width and height belong together"),
        ({"width": 10, "height": 10, "resolution": 5}, "not both"),
        ({"width": 3501, "height": 10}, "less than or equal to 3500"),
        ({"resolution": 0}, "must be greater than 0"),
    ],
)
def test_defaults_of_features_say_one_thing(defaults: dict[str, Any], message: str) -> None:
    error = refused(raster(input={"type": "geopackage", "features": S3, "defaults": defaults}))
    assert message in error.message
    assert error.parameter.startswith("input->defaults")


def test_the_scripts_outputs_must_be_as_the_request_has_them() -> None:
    request = read_batch_process(zarr())
    given = request.process_request.output.responses
    good = {"band08": (1, "UINT16"), "band04": (1, "UINT16"), "maxNDVI": (1, "FLOAT32")}
    check_script_outputs(request.output, given, good)
    for wrong, message in (
        ({"band08": (2, "UINT16")}, "'band08' has 2 bands"),
        ({"band04": (1, "FLOAT32")}, "cannot hold FLOAT32 as <u2; use one of <f4"),
        ({"maxNDVI": ...}, "'maxNDVI' is no output of the evalscript; its setup() has band08, band04"),
    ):
        outputs = {name: value for name, value in {**good, **wrong}.items() if value is not ...}
        with pytest.raises(RequestInvalid, match=message.replace("(", r"\(").replace(")", r"\)")):
            check_script_outputs(request.output, given, outputs)
    cog = read_batch_process(raster(output__cogOutput=True))
    with pytest.raises(RequestInvalid, match="INT8, which cogOutput does not support"):
        check_script_outputs(cog.output, cog.process_request.output.responses, {"default": (1, "INT8")})


def test_bands_of_a_collection_are_numbered_and_named_apart() -> None:
    one, two = (Response(identifier=name) for name in ("result", "result2"))
    assert band_names(one, 3) == ("result", "result2", "result3")
    made = read_batch_process(
        raster(
            output__cogOutput=True,
            output__createCollection=True,
            **responses(("result", "image/tiff"), ("result2", "image/tiff")),
        )
    )
    given = made.process_request.output.responses
    check_script_outputs(made.output, given, {"result": (1, "UINT8"), "result2": (1, "UINT8")})
    with pytest.raises(RequestInvalid, match="would both be called 'result2'"):
        check_script_outputs(made.output, (one, two), {"result": (3, "UINT8"), "result2": (1, "UINT8")})


def test_chunks_divide_a_tile() -> None:
    request = read_batch_process(zarr())
    assert isinstance(request.output, ZarrOutput)
    given = request.process_request.output.responses
    check_chunks(request.output, given, 1000, 2000)
    with pytest.raises(
        RequestInvalid, match="chunks of 1000 rows of array 'band08' do not divide tiles of 2500 evenly"
    ):
        check_chunks(request.output, given, 1000, 2500)


def test_no_secret_shows_in_a_request() -> None:
    assert "'b'" not in repr(read_batch_process(raster()))
    assert isinstance(read_batch_process(raster()), BatchProcessRequest)
