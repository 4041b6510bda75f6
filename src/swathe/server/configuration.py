"""The configuration API: instances and their layers, on the path that clients use and on the one that older ones do."""

from __future__ import annotations

import uuid
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from swathe.jobs.layers import Instance, Layers
from swathe.jobs.records import Client
from swathe.model.errors import LimitExceeded, NotFound, RequestInvalid
from swathe.model.layers import LayerBody, read_instance, read_layer
from swathe.model.time import format_time
from swathe.server.answers import ErrorAnswer, JsonAnswer
from swathe.server.auth import CurrentClient
from swathe.server.batch_jobs import ERRORS
from swathe.server.bodies import read_json
from swathe.server.catalog_links import base_of
from swathe.server.catalog_shelf import Shelf

PATHS = ("/api/v2/configuration/instances", "/configuration/v1/wms/instances")
_TEXT: dict[str, Any] = {"type": "string"}
_STYLE: dict[str, Any] = {
    "type": "object",
    "required": ["evalScript"],
    "properties": {"name": _TEXT, "description": _TEXT, "evalScript": {**_TEXT, "minLength": 1}},
}
_LAYER: dict[str, Any] = {
    "type": "object",
    "required": ["id", "styles"],
    "properties": {
        "id": {**_TEXT, "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]*$", "maxLength": 100},
        "title": _TEXT,
        "description": _TEXT,
        "collectionType": _TEXT,
        "datasourceDefaults": {"type": "object"},
        "defaultStyleName": _TEXT,
        "orderHint": {"type": "integer"},
        "styles": {"type": "array", "minItems": 1, "items": _STYLE},
    },
}
_INSTANCE: dict[str, Any] = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {**_TEXT, "minLength": 1}, "description": _TEXT, "additionalData": {"type": "object"}},
}
_TAKEN: dict[int | str, dict[str, Any]] = {409: {"model": ErrorAnswer, "description": "There is one of this id"}}

router = APIRouter(tags=["layers"], responses=ERRORS)


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


@router.get("")
async def list_instances(request: Request, client: CurrentClient) -> Response:
    """The project's instances."""
    found = await run_in_threadpool(_store(request).instances, client.project_id)
    return JsonAnswer([_instance(request, one) for one in found])


@router.post("", status_code=201, openapi_extra=_body(_INSTANCE))
async def create_instance(request: Request, client: CurrentClient) -> Response:
    """Makes an instance, a list of layers; its id is what map services are reached by."""
    body = read_instance(await read_json(request))
    made = await run_in_threadpool(_store(request).create, client.project_id, body)
    return JsonAnswer(_instance(request, made), status_code=201)


@router.get("/{instance_id}")
async def get_instance(request: Request, client: CurrentClient, instance_id: str) -> Response:
    """One instance."""
    found = await run_in_threadpool(_store(request).get, _readable(request, instance_id), project_id=client.project_id)
    return JsonAnswer(_instance(request, found))


@router.put("/{instance_id}", openapi_extra=_body(_INSTANCE))
async def update_instance(request: Request, client: CurrentClient, instance_id: str) -> Response:
    """Changes an instance; its layers stay."""
    body = read_instance(await read_json(request))
    changed = await run_in_threadpool(_store(request).update, _id(instance_id), client.project_id, body)
    return JsonAnswer(_instance(request, changed))


@router.delete("/{instance_id}", status_code=204)
async def delete_instance(request: Request, client: CurrentClient, instance_id: str) -> Response:
    """Deletes an instance and its layers."""
    await run_in_threadpool(_store(request).delete, _id(instance_id), client.project_id)
    return Response(status_code=204)


@router.get("/{instance_id}/layers")
async def list_layers(request: Request, client: CurrentClient, instance_id: str) -> Response:
    """The layers of an instance."""
    name = _readable(request, instance_id)
    found = await run_in_threadpool(_store(request).list_layers, name, client.project_id)
    return JsonAnswer([_layer(request, name, layer) for layer in found])


@router.post("/{instance_id}/layers", status_code=201, responses=_TAKEN, openapi_extra=_body(_LAYER))
async def create_layer(request: Request, client: CurrentClient, instance_id: str) -> Response:
    """Makes a layer. Its collection must be there; its scripts are run when it is looked at."""
    name = _id(instance_id)
    layer = read_layer(await read_json(request))
    await run_in_threadpool(_check, request, client, layer)
    await run_in_threadpool(_store(request).add_layer, name, client.project_id, layer)
    return JsonAnswer(_layer(request, name, layer), status_code=201)


@router.get("/{instance_id}/layers/{layer_id}")
async def get_layer(request: Request, client: CurrentClient, instance_id: str, layer_id: str) -> Response:
    """One layer."""
    name = _readable(request, instance_id)
    found = await run_in_threadpool(_store(request).get_layer, name, layer_id, client.project_id)
    return JsonAnswer(_layer(request, name, found))


@router.put("/{instance_id}/layers/{layer_id}", responses=_TAKEN, openapi_extra=_body(_LAYER))
async def update_layer(request: Request, client: CurrentClient, instance_id: str, layer_id: str) -> Response:
    """Puts another layer in a layer's place."""
    name = _id(instance_id)
    body = await read_json(request)
    layer = read_layer({"id": layer_id, **body})
    await run_in_threadpool(_check, request, client, layer)
    await run_in_threadpool(_store(request).change_layer, name, layer_id, client.project_id, layer)
    return JsonAnswer(_layer(request, name, layer))


@router.delete("/{instance_id}/layers/{layer_id}", status_code=204)
async def delete_layer(request: Request, client: CurrentClient, instance_id: str, layer_id: str) -> Response:
    """Deletes a layer."""
    await run_in_threadpool(_store(request).delete_layer, _id(instance_id), layer_id, client.project_id)
    return Response(status_code=204)


def _check(request: Request, client: Client, layer: LayerBody) -> None:
    """That the deployment or the project has the collection, and that the scripts are not too long.

    Raises:
        RequestInvalid: what is to be mended.
    """
    most = request.app.state.settings.limits.script_chars
    for number, style in enumerate(layer.styles):
        if len(style.eval_script) > most:
            raise LimitExceeded(
                f"The evalscript has {len(style.eval_script):,} characters; at most {most:,} are allowed",
                f"styles->{number}->evalScript",
            )
    shelf: Shelf = request.app.state.shelf
    try:
        shelf.of(client.project_id).find(layer.collection)
    except NotFound as error:
        told = layer.datasource_defaults.type
        raise RequestInvalid(error.message, "datasourceDefaults->type" if told else "collectionType") from None


def _instance(request: Request, instance: Instance) -> dict[str, Any]:
    told = instance.body.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return {
        **told,
        "@id": f"{_here(request)}/{instance.id}",
        "id": instance.id,
        "domainAccountId": instance.project_id,
        "created": format_time(instance.created),
    }


def _layer(request: Request, instance_id: str, layer: LayerBody) -> dict[str, Any]:
    told = layer.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return {
        "title": layer.id,
        "description": "",
        "collectionType": layer.collection,
        **told,
        "@id": f"{_here(request)}/{instance_id}/layers/{layer.id}",
        "instanceId": instance_id,
        "orderHint": layer.order_hint,
        "defaultStyleName": layer.style_name,
        "datasourceDefaults": {"type": layer.collection, **told.get("datasourceDefaults", {})},
    }


def _here(request: Request) -> str:
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    return base_of(request) + next((known for known in PATHS if path.startswith(known)), PATHS[0])


def _readable(request: Request, text: str) -> str:
    """The id of an instance that is only looked at: the operator's, which stand in the settings, have names."""
    return text if _store(request).is_of_settings(text) else _id(text)


def _id(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise NotFound(f"There is no instance {text[:64]!r}; ids are UUIDs") from None


def _store(request: Request) -> Layers:
    store: Layers = request.app.state.layers
    return store
