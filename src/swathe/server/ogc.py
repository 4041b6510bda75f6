"""Map services over saved layers: WMS, WMTS, and what of WCS and WFS the provider's Python client asks for.

The id of an instance in the address gives access to its layers; `[services] map_access` can ask for a token besides, or
switch the services off. A picture is computed as one of the Process API, by the same processes and under the same limits.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from swathe.jobs.pictures import Look, Stack, read_pixel, render_picture, render_stack
from swathe.jobs.request_area import make_grid
from swathe.model.errors import SwatheError
from swathe.model.layers import LayerBody, LayerStyle
from swathe.model.process import ProcessRequest
from swathe.model.time import TimeRange
from swathe.model.validation import explain_validation
from swathe.server import ogc_info, ogc_wfs, ogc_wms, ogc_wmts
from swathe.server.answers import JsonAnswer
from swathe.server.catalog_shelf import Shelf
from swathe.server.computing import COST, charge, compute, cost_text, file_answer
from swathe.server.ogc_errors import MapFault, Parameters, fault_answer, xml_answer
from swathe.server.ogc_query import (
    FORMATS,
    MapArea,
    MapFilter,
    MapForm,
    read_area,
    read_filter,
    read_form,
    read_version,
    to_process_request,
)
from swathe.server.ogc_visit import Visit, enter, find_style
from swathe.server.ogc_wms import ShownLayer

PATHS = ("/ogc",)
_KEPT_S = 60
_HASHED_BYTES = 2**20
_IMAGES: dict[str, Any] = {name: {"schema": {"type": "string", "format": "binary"}} for name in FORMATS}
_XML: dict[str, Any] = {"text/xml": {"schema": {"type": "string"}}}
_JSON: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
_COMMON = ("REQUEST", "SERVICE", "VERSION")
_SHOWN = ("TIME", "MAXCC", "PRIORITY", "UPSAMPLING", "DOWNSAMPLING", "FORMAT", "QUALITY", "TRANSPARENT", "BGCOLOR")
_PLACE = ("CRS", "BBOX", "WIDTH", "HEIGHT", "GEOMETRY")
_TILE = ("TILEMATRIXSET", "TILEMATRIX", "TILEROW", "TILECOL")
_PIXEL = ("I", "J", "FEATURE_COUNT")
_TEXTS: dict[str, Any] = {name: {"schema": {"type": "string"}} for name in (ogc_info.TEXT, ogc_info.HTML, ogc_info.GML)}
_GEOJSON: dict[str, Any] = {ogc_info.GEOJSON: {"schema": {"type": "object"}}}


def _taken(*names: str) -> dict[str, Any]:
    """What our own OpenAPI description says of an operation's parameters; letter case of the names does not matter."""
    return {"parameters": [{"name": name, "in": "query", "schema": {"type": "string"}} for name in names]}


router = APIRouter(
    tags=["layers"],
    responses={
        200: {
            "description": "A picture, the values of a pixel, or a description of the service",
            "content": {**_IMAGES, **_XML, **_JSON, **_GEOJSON, **_TEXTS},
        },
        304: {"description": "The picture is the one that the client has"},
        400: {"description": "A parameter is wrong", "content": _XML},
        401: {"description": "This deployment asks for a token, and there is none", "content": _XML},
        403: {"description": "The instance is of another project, or that has nothing left to spend", "content": _XML},
        404: {"description": "There is no such instance", "content": _XML},
        429: {"description": "Too many requests", "content": _XML},
        503: {"description": "A part that is needed does not answer at the moment", "content": _XML},
    },
)


@router.get(
    "/wms/{instance_id}",
    response_class=Response,
    openapi_extra=_taken(*_COMMON, "LAYERS", "STYLES", *_PLACE, *_SHOWN, "QUERY_LAYERS", "INFO_FORMAT", *_PIXEL),
)
async def wms(request: Request, instance_id: str) -> Response:
    """WMS 1.3.0 and 1.1.1: `REQUEST=GetCapabilities`, `GetMap` and `GetFeatureInfo`."""
    return await _answer(request, "wms", instance_id, _wms)


@router.get(
    "/wmts/{instance_id}",
    response_class=Response,
    openapi_extra=_taken(*_COMMON, "LAYER", "STYLE", *_TILE, *_SHOWN, "INFOFORMAT", *_PIXEL),
)
async def wmts(request: Request, instance_id: str) -> Response:
    """WMTS 1.0.0: `REQUEST=GetCapabilities`, `GetTile` and `GetFeatureInfo`."""
    return await _answer(request, "wmts", instance_id, _wmts)


@router.get("/wmts/{instance_id}/1.0.0/WMTSCapabilities.xml", response_class=Response)
async def wmts_capabilities(request: Request, instance_id: str) -> Response:
    """The capabilities of WMTS at an address of their own."""
    return await _answer(request, "wmts", instance_id, _wmts_capabilities)


@router.get("/wmts/{instance_id}/tiles/{tile:path}", response_class=Response)
async def wmts_tile(request: Request, instance_id: str, tile: str) -> Response:
    """A tile: layer, style, time if any, matrix set, matrix, row and column, as the capabilities have it."""

    async def answer(visit: Visit) -> Response:
        parts = tile.split("/")
        name, dot, extension = parts[-1].rpartition(".")
        if len(parts) < 6 or not dot or extension not in ogc_wmts.EXTENSIONS:
            known = ", ".join(ogc_wmts.EXTENSIONS)
            raise MapFault(f"A tile is layer/style/matrix set/matrix/row/column with one of {known} behind it")
        names = ("LAYER", "STYLE", "TILEMATRIXSET", "TILEMATRIX", "TILEROW", "TILECOL")
        told = dict(zip(names, (*parts[:2], *parts[-4:-1], name), strict=True))
        told["FORMAT"] = ogc_wmts.EXTENSIONS[extension]
        if parts[2:-4]:
            told["TIME"] = "/".join(parts[2:-4])
        items = [*request.query_params.multi_items(), *told.items()]
        return await _wmts_picture(replace(visit, parameters=Parameters(items)))

    return await _answer(request, "wmts", instance_id, answer)


@router.get(
    "/wcs/{instance_id}",
    response_class=Response,
    openapi_extra=_taken(*_COMMON, "COVERAGE", *_PLACE, "RESX", "RESY", *_SHOWN),
)
async def wcs(request: Request, instance_id: str) -> Response:
    """Of WCS what the provider's Python client needs: `REQUEST=GetCoverage`, at a resolution or a size."""
    return await _answer(request, "wcs", instance_id, _wcs)


@router.get(
    "/wfs/{instance_id}",
    response_class=Response,
    openapi_extra=_taken(*_COMMON, "TYPENAMES", "SRSNAME", "BBOX", "TIME", "MAXCC", "MAXFEATURES", "FEATURE_OFFSET"),
)
async def wfs(request: Request, instance_id: str) -> Response:
    """Of WFS what the provider's Python client needs: `REQUEST=GetFeature`, the scenes under a box as GeoJSON."""
    return await _answer(request, "wfs", instance_id, _wfs)


async def _answer(
    request: Request, service: str, instance_id: str, work: Callable[[Visit], Awaitable[Response]]
) -> Response:
    parameters = Parameters(request.query_params.multi_items())
    try:
        return await work(await enter(request, instance_id, parameters))
    except ValidationError as error:
        return fault_answer(explain_validation(error), service, read_version(parameters))
    except SwatheError as error:
        return fault_answer(error, service, read_version(parameters))


async def _wms(visit: Visit) -> Response:
    name = visit.parameters.text("REQUEST") or "GetCapabilities"
    match name.lower():
        case "getcapabilities" | "capabilities":
            return await _wms_capabilities(visit)
        case "getmap" | "map":
            return await _wms_map(visit)
        case "getfeatureinfo" | "feature_info":
            return await _wms_info(visit)
    raise MapFault(
        f"REQUEST '{name[:80]}' is not offered; use GetCapabilities, GetMap or GetFeatureInfo",
        "REQUEST",
        "OperationNotSupported",
    )


async def _wms_capabilities(visit: Visit) -> Response:
    shown = await visit.read(_shown, visit)
    if "json" in visit.parameters.text("FORMAT").lower():
        return JsonAnswer(ogc_wms.json_capabilities(visit.title, shown))
    version = read_version(visit.parameters)
    most_px = visit.request.app.state.settings.limits.image_px
    root = ogc_wms.capabilities(version, visit.address("wms"), visit.title, shown, most_px)
    return xml_answer(root, media_type="text/xml" if version == "1.3.0" else "application/vnd.ogc.wms_xml")


async def _wms_map(visit: Visit) -> Response:
    shown = visit.styled(visit.parameters.needed("LAYERS", "LAYER"), "LAYERS")
    area = read_area(visit.parameters, northing_first=read_version(visit.parameters) == "1.3.0")
    return await _picture(visit, shown, area)


async def _wms_info(visit: Visit) -> Response:
    parameters = visit.parameters
    told = parameters.needed("QUERY_LAYERS")
    styled = visit.styled(parameters.text("LAYERS") or told, "LAYERS")
    drawn = {layer.id: (layer, style) for layer, style in styled}
    asked = dict.fromkeys(name.strip() for name in told.split(","))
    for name in asked:
        if visit.find(name, "QUERY_LAYERS").id not in drawn:
            raise MapFault(f"QUERY_LAYERS has '{name}', which LAYERS has not", "QUERY_LAYERS")
    area = read_area(parameters, northing_first=read_version(parameters) == "1.3.0")
    return await _info(visit, [drawn[name] for name in asked], area)


async def _wmts(visit: Visit) -> Response:
    name = visit.parameters.text("REQUEST") or "GetCapabilities"
    match name.lower():
        case "getcapabilities":
            return await _wmts_capabilities(visit)
        case "gettile":
            return await _wmts_picture(visit)
        case "getfeatureinfo":
            return await _info(visit, *_tile(visit))
    raise MapFault(
        f"REQUEST '{name[:80]}' is not offered; use GetCapabilities, GetTile or GetFeatureInfo",
        "REQUEST",
        "OperationNotSupported",
    )


async def _wmts_capabilities(visit: Visit) -> Response:
    shown = await visit.read(_shown, visit)
    return xml_answer(ogc_wmts.capabilities(visit.address("wmts"), visit.title, shown))


async def _wmts_picture(visit: Visit) -> Response:
    shown, area = _tile(visit)
    # WMTS knows no TRANSPARENT, and tiles lie over other maps
    see_through = None if visit.parameters.text("TRANSPARENT") else True
    return await _picture(visit, shown, area, see_through=see_through)


def _tile(visit: Visit) -> tuple[list[tuple[LayerBody, LayerStyle]], MapArea]:
    """The layer of a tile, and its place."""
    parameters = visit.parameters
    layer = visit.find(parameters.needed("LAYER", "LAYERS"), "LAYER")
    style = find_style(layer, parameters.text("STYLE", "STYLES"), "STYLE")
    matrices = ogc_wmts.find_matrix_set(parameters.needed("TILEMATRIXSET"))
    level, row, column = (
        ogc_wmts.read_level(parameters.needed(name), name) for name in ("TILEMATRIX", "TILEROW", "TILECOL")
    )
    return [(layer, style)], matrices.area(level, row, column)


async def _wcs(visit: Visit) -> Response:
    name = visit.parameters.needed("REQUEST")
    if name.lower() != "getcoverage":
        raise MapFault(f"REQUEST '{name[:80]}' is not offered; use GetCoverage", "REQUEST", "OperationNotSupported")
    layer = visit.find(visit.parameters.needed("COVERAGE", "IDENTIFIER", "COVERAGEID"), "COVERAGE")
    style = find_style(layer, visit.parameters.text("STYLES", "STYLE"), "STYLES")
    return await _picture(visit, [(layer, style)], read_area(visit.parameters))


async def _wfs(visit: Visit) -> Response:
    name = visit.parameters.needed("REQUEST")
    if name.lower() != "getfeature":
        raise MapFault(f"REQUEST '{name[:80]}' is not offered; use GetFeature", "REQUEST", "OperationNotSupported")
    shelf: Shelf = visit.request.app.state.shelf
    view = shelf.of(visit.client.project_id)
    wanted = ogc_wfs.read_scenes_query(visit.parameters, visit.layers, view)
    return JsonAnswer(await visit.read(ogc_wfs.find_scenes, wanted, view))


async def _picture(
    visit: Visit, shown: Sequence[tuple[LayerBody, LayerStyle]], area: MapArea, *, see_through: bool | None = None
) -> Response:
    """A picture of layers, the lowest first."""
    which = read_filter(visit.parameters)
    form = read_form(visit.parameters, transparent=see_through)
    wanted = [(await _request(visit, layer, style, area, which, form))[0] for layer, style in shown]
    folder = await run_in_threadpool(tempfile.TemporaryDirectory, prefix="swathe-map-")
    try:
        place = Path(folder.name)
        if len(wanted) == 1:
            made = await compute(visit.request, visit.client, render_picture, wanted[0], form.look, place)
        else:
            stack = Stack.of(wanted, [layer.id for layer, _ in shown])
            made = await compute(visit.request, visit.client, render_stack, stack, form.look, place)
        await charge(visit.request, visit.client, made.cost_pu)
        tag = await run_in_threadpool(_tag, made.path)
        headers = {"ETag": tag, "Cache-Control": f"private, max-age={_KEPT_S}"}
        if tag in visit.request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        answer = file_answer(made.path, form.media_type, made.cost_pu)
        answer.headers.update(headers)
        return answer
    finally:
        with suppress(OSError):
            await run_in_threadpool(folder.cleanup)


async def _info(visit: Visit, shown: Sequence[tuple[LayerBody, LayerStyle]], area: MapArea) -> Response:
    """The values of layers at a pixel of a map."""
    query = ogc_info.read_pixel_query(visit.parameters)
    which, form = read_filter(visit.parameters), MapForm(FORMATS[0], 90, Look())
    found, cost_pu = [], 0.0
    for layer, style in shown:
        wanted, span = await _request(visit, layer, style, area, which, form)
        grid, _ = make_grid(wanted.input.bounds, wanted.output, visit.request.app.state.settings.limits.image_px)
        ogc_info.check_pixel(query, grid)
        where = query.column, query.row, query.most_scenes
        pixel = await compute(visit.request, visit.client, read_pixel, wanted, *where)
        await charge(visit.request, visit.client, pixel.cost_pu)
        cost_pu += pixel.cost_pu
        found.append(ogc_info.PixelOfLayer(layer, style, ogc_wms.time_text(span), pixel))
    answer = ogc_info.info_answer(query, grid, found)
    answer.headers.update({COST: cost_text(cost_pu), "Cache-Control": f"private, max-age={_KEPT_S}"})
    return answer


async def _request(
    visit: Visit, layer: LayerBody, style: LayerStyle, area: MapArea, which: MapFilter, form: MapForm
) -> tuple[ProcessRequest, TimeRange]:
    """What the Process API would be asked for a layer, and the time that is meant."""
    span = which.span
    if span is None:
        span = await visit.read(visit.extents.default_span, layer, visit.client.project_id, newest=which.is_newest)
    return to_process_request(layer, style, area, which, form, span), span


def _shown(visit: Visit) -> list[ShownLayer]:
    project, extents = visit.client.project_id, visit.extents
    return [
        ShownLayer(layer, extents.of(layer.collection, project), extents.default_span(layer, project))
        for layer in visit.layers
    ]


def _tag(path: Path) -> str:
    """The ETag of a picture: what is in it."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_HASHED_BYTES):
            found.update(piece)
    return f'"{found.hexdigest()[:32]}"'
