"""Map services over saved layers: WMS, WMTS, and what of WCS and WFS the provider's Python client asks for.

The id of an instance in the address gives access to its layers; `[services] map_access` can ask for a token besides, or
switch the services off. A picture is computed as one of the Process API, by the same processes and under the same limits.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from anyio import to_thread
from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from swathe.jobs.layers import OPERATOR, Instance, Layers
from swathe.jobs.pictures import render_picture
from swathe.jobs.records import Client
from swathe.model.errors import NotFound, SwatheError
from swathe.model.layers import LayerBody, LayerStyle
from swathe.model.validation import explain_validation
from swathe.server import ogc_wfs, ogc_wms, ogc_wmts
from swathe.server.answers import JsonAnswer
from swathe.server.auth import current_client
from swathe.server.catalog_links import base_of
from swathe.server.catalog_shelf import Shelf
from swathe.server.computing import charge, compute, file_answer
from swathe.server.layer_extents import LayerExtents
from swathe.server.ogc_errors import MapFault, Parameters, fault_answer, xml_answer
from swathe.server.ogc_query import (
    FORMATS,
    MapArea,
    read_area,
    read_filter,
    read_form,
    read_version,
    to_process_request,
)
from swathe.server.ogc_wms import ShownLayer
from swathe.server.rates import count_request

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


def _taken(*names: str) -> dict[str, Any]:
    """What our own OpenAPI description says of an operation's parameters; letter case of the names does not matter."""
    return {"parameters": [{"name": name, "in": "query", "schema": {"type": "string"}} for name in names]}


router = APIRouter(
    tags=["layers"],
    responses={
        200: {"description": "A picture, or a description of the service", "content": {**_IMAGES, **_XML, **_JSON}},
        304: {"description": "The picture is the one that the client has"},
        400: {"description": "A parameter is wrong", "content": _XML},
        401: {"description": "This deployment asks for a token, and there is none", "content": _XML},
        403: {"description": "The instance is of another project, or that has nothing left to spend", "content": _XML},
        404: {"description": "There is no such instance", "content": _XML},
        429: {"description": "Too many requests", "content": _XML},
        503: {"description": "A part that is needed does not answer at the moment", "content": _XML},
    },
)


@dataclass(frozen=True)
class _Visit:
    """A request to one of the services: who pays for it, the instance, its layers and the parameters."""

    request: Request
    client: Client
    instance: Instance
    layers: tuple[LayerBody, ...]
    parameters: Parameters

    def find(self, name: str, parameter: str) -> LayerBody:
        """A layer by its id.

        Raises:
            MapFault: there is none.
        """
        found = next((layer for layer in self.layers if layer.id == name), None)
        if found is None:
            known = ", ".join(layer.id for layer in self.layers[:50]) or "none yet"
            raise MapFault(f"There is no layer '{name[:100]}'; there are: {known}", parameter, "LayerNotDefined")
        return found

    @property
    def extents(self) -> LayerExtents:
        extents: LayerExtents = self.request.app.state.layer_extents
        return extents

    @property
    def title(self) -> str:
        """What the service is called."""
        return self.instance.body.name

    def address(self, service: str) -> str:
        """Where a service of this instance is."""
        return f"{base_of(self.request)}/ogc/{service}/{quote(self.instance.id, safe='')}"

    async def read(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What a function returns that reads catalogs, in one of the few threads for that."""
        shelf: Shelf = self.request.app.state.shelf
        return await to_thread.run_sync(lambda: function(*args, **kwargs), limiter=shelf.readers)


@router.get(
    "/wms/{instance_id}", response_class=Response, openapi_extra=_taken(*_COMMON, "LAYERS", "STYLES", *_PLACE, *_SHOWN)
)
async def wms(request: Request, instance_id: str) -> Response:
    """WMS 1.3.0 and 1.1.1: `REQUEST=GetCapabilities` and `GetMap`."""
    return await _answer(request, "wms", instance_id, _wms)


@router.get(
    "/wmts/{instance_id}", response_class=Response, openapi_extra=_taken(*_COMMON, "LAYER", "STYLE", *_TILE, *_SHOWN)
)
async def wmts(request: Request, instance_id: str) -> Response:
    """WMTS 1.0.0: `REQUEST=GetCapabilities` and `GetTile`."""
    return await _answer(request, "wmts", instance_id, _wmts)


@router.get("/wmts/{instance_id}/1.0.0/WMTSCapabilities.xml", response_class=Response)
async def wmts_capabilities(request: Request, instance_id: str) -> Response:
    """The capabilities of WMTS at an address of their own."""
    return await _answer(request, "wmts", instance_id, _wmts_capabilities)


@router.get("/wmts/{instance_id}/tiles/{tile:path}", response_class=Response)
async def wmts_tile(request: Request, instance_id: str, tile: str) -> Response:
    """A tile: layer, style, time if any, matrix set, matrix, row and column, as the capabilities have it."""

    async def answer(visit: _Visit) -> Response:
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
    request: Request, service: str, instance_id: str, work: Callable[[_Visit], Awaitable[Response]]
) -> Response:
    parameters = Parameters(request.query_params.multi_items())
    try:
        return await work(await _enter(request, instance_id, parameters))
    except ValidationError as error:
        return fault_answer(explain_validation(error), service, read_version(parameters))
    except SwatheError as error:
        return fault_answer(error, service, read_version(parameters))


async def _enter(request: Request, instance_id: str, parameters: Parameters) -> _Visit:
    """Who comes, and to what.

    Raises:
        NotFound: there is no such instance, or the services are off.
        Unauthorized, NotAllowed: a token is asked for and there is none, or one of another project.
    """
    access = request.app.state.settings.services.map_access
    if access == "off":
        raise NotFound("Map services are switched off here: [services] map_access of the configuration")
    client = None
    if access == "token":
        client = await current_client(request, request.headers.get("authorization"))
    store: Layers = request.app.state.layers
    instance, layers = await run_in_threadpool(store.open, instance_id)
    if client is None:
        client = Client(instance.id, instance.body.name, instance.project_id, instance.created)
        count_request(request, client.id)
    elif instance.project_id not in (OPERATOR, client.project_id):
        raise NotFound(f"There is no instance {instance_id[:64]}")
    return _Visit(request, client, instance, layers, parameters)


async def _wms(visit: _Visit) -> Response:
    name = visit.parameters.text("REQUEST") or "GetCapabilities"
    match name.lower():
        case "getcapabilities" | "capabilities":
            return await _wms_capabilities(visit)
        case "getmap" | "map":
            return await _wms_map(visit)
    raise MapFault(
        f"REQUEST '{name[:80]}' is not offered; use GetCapabilities or GetMap", "REQUEST", "OperationNotSupported"
    )


async def _wms_capabilities(visit: _Visit) -> Response:
    shown = await visit.read(_shown, visit)
    if "json" in visit.parameters.text("FORMAT").lower():
        return JsonAnswer(ogc_wms.json_capabilities(visit.title, shown))
    version = read_version(visit.parameters)
    most_px = visit.request.app.state.settings.limits.image_px
    root = ogc_wms.capabilities(version, visit.address("wms"), visit.title, shown, most_px)
    return xml_answer(root, media_type="text/xml" if version == "1.3.0" else "application/vnd.ogc.wms_xml")


async def _wms_map(visit: _Visit) -> Response:
    version = read_version(visit.parameters)
    names = visit.parameters.needed("LAYERS", "LAYER").split(",")
    if len(names) > 1:
        raise MapFault("LAYERS must be one layer; this service does not lay them over one another", "LAYERS")
    layer = visit.find(names[0].strip(), "LAYERS")
    style = _style(layer, visit.parameters.text("STYLES", "STYLE").split(",")[0], "STYLES")
    return await _picture(visit, layer, style, read_area(visit.parameters, northing_first=version == "1.3.0"))


async def _wmts(visit: _Visit) -> Response:
    name = visit.parameters.text("REQUEST") or "GetCapabilities"
    match name.lower():
        case "getcapabilities":
            return await _wmts_capabilities(visit)
        case "gettile":
            return await _wmts_picture(visit)
    raise MapFault(
        f"REQUEST '{name[:80]}' is not offered; use GetCapabilities or GetTile", "REQUEST", "OperationNotSupported"
    )


async def _wmts_capabilities(visit: _Visit) -> Response:
    shown = await visit.read(_shown, visit)
    return xml_answer(ogc_wmts.capabilities(visit.address("wmts"), visit.title, shown))


async def _wmts_picture(visit: _Visit) -> Response:
    parameters = visit.parameters
    layer = visit.find(parameters.needed("LAYER", "LAYERS"), "LAYER")
    style = _style(layer, parameters.text("STYLE", "STYLES"), "STYLE")
    matrices = ogc_wmts.find_matrix_set(parameters.needed("TILEMATRIXSET"))
    level, row, column = (
        ogc_wmts.read_level(parameters.needed(name), name) for name in ("TILEMATRIX", "TILEROW", "TILECOL")
    )
    area = matrices.area(level, row, column)
    # WMTS knows no TRANSPARENT, and tiles lie over other maps
    see_through = None if parameters.text("TRANSPARENT") else True
    return await _picture(visit, layer, style, area, see_through=see_through)


async def _wcs(visit: _Visit) -> Response:
    name = visit.parameters.needed("REQUEST")
    if name.lower() != "getcoverage":
        raise MapFault(f"REQUEST '{name[:80]}' is not offered; use GetCoverage", "REQUEST", "OperationNotSupported")
    layer = visit.find(visit.parameters.needed("COVERAGE", "IDENTIFIER", "COVERAGEID"), "COVERAGE")
    style = _style(layer, visit.parameters.text("STYLES", "STYLE"), "STYLES")
    return await _picture(visit, layer, style, read_area(visit.parameters))


async def _wfs(visit: _Visit) -> Response:
    name = visit.parameters.needed("REQUEST")
    if name.lower() != "getfeature":
        raise MapFault(f"REQUEST '{name[:80]}' is not offered; use GetFeature", "REQUEST", "OperationNotSupported")
    shelf: Shelf = visit.request.app.state.shelf
    view = shelf.of(visit.client.project_id)
    wanted = ogc_wfs.read_scenes_query(visit.parameters, visit.layers, view)
    return JsonAnswer(await visit.read(ogc_wfs.find_scenes, wanted, view))


async def _picture(
    visit: _Visit, layer: LayerBody, style: LayerStyle, area: MapArea, *, see_through: bool | None = None
) -> Response:
    which = read_filter(visit.parameters)
    form = read_form(visit.parameters, transparent=see_through)
    span = which.span
    if span is None:
        span = await visit.read(visit.extents.default_span, layer, visit.client.project_id, newest=which.is_newest)
    wanted = to_process_request(layer, style, area, which, form, span)
    folder = await run_in_threadpool(tempfile.TemporaryDirectory, prefix="swathe-map-")
    try:
        made = await compute(visit.request, visit.client, render_picture, wanted, form.look, Path(folder.name))
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


def _style(layer: LayerBody, name: str, parameter: str) -> LayerStyle:
    found = layer.style(name)
    if found is None:
        known = ", ".join(style.name for style in layer.styles)
        raise MapFault(
            f"The layer '{layer.id}' has no style '{name[:100]}'; it has: {known}", parameter, "StyleNotDefined"
        )
    return found


def _shown(visit: _Visit) -> list[ShownLayer]:
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
