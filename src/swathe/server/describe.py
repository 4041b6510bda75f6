"""Swathe's own OpenAPI description: what FastAPI knows of the routes, with what is read and answered beside it.

Bodies are read by hand, so that errors are the provider's; answers are written by hand, so that their JSON is. Both are
told here, the bodies by the models that check them. An operation that nobody told anything about is still described
with what all of them have in common: a summary, the errors and the token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from swathe.jobs import byoc_tiles, listing
from swathe.server.answers import ErrorAnswer
from swathe.server.auth import SCHEME
from swathe.server.catalog_links import CatalogError
from swathe.server.describe_answers import ANSWERS, FIELDS, TAGS, answer_schemas
from swathe.server.describe_bodies import body_schemas
from swathe.server.describe_catalog import CATALOG_ANSWERS, catalog_schemas
from swathe.server.describe_examples import EXAMPLES

DESCRIPTION = """Sentinel Hub's batch APIs and the services around them, open and self-hosted.

With a client's id and secret, get an access token from `/oauth/token` and send it as `Authorization: Bearer …`. Errors
are JSON with a `message` that names the field and the way out. Operations that are served on several paths, since
clients use older ones and newer ones, say so.

This description as a file: [openapi.json](openapi.json).
"""
_METHODS = ("get", "head", "post", "put", "patch", "delete")
_JSON = "application/json"
_SCHEMAS = "#/components/schemas/"
_CATALOG = "catalog"
_ANSWERS = {**ANSWERS, **CATALOG_ANSWERS}
_ERRORS: Mapping[str, str] = {
    "400": "The request is wrong; the message names the field and the way out",
    "401": "No access token, or one that is not valid (any more)",
    "403": "The client may not do this, or has nothing left to spend",
    "404": "There is no such thing, or it is not the project's",
    "409": "It is in use, or exists already",
    "413": "The body is longer than the deployment allows",
    "415": "The body is of a kind that is not read here",
    "429": "Too many requests; Retry-After says, in milliseconds, when to try again",
    "500": "A fault of the service; the message has an id that its log explains",
    "503": "A part that is needed does not answer at the moment; try again",
}
_ALWAYS, _WITH_BODY = ("500", "503"), ("400", "413")
_WITH_TOKEN, _WITH_BOTH = ("401", "403", "429"), ("415",)
# What is answered before the catalog's routes have a request is in the common shape there too.
_COMMON = ("413", "429", "500")
_PARAMETERS: Mapping[str, str] = {
    "viewtoken": "The page that is wanted: `links.nextToken` of the page before",
    "search": "A part of the description or name",
    "sort": "What to sort by, and `:asc` or `:desc`",
    "userid": "The client whose requests are wanted",
    "request_id": "The id that the request was given",
    "collection_id": "The id of the collection",
    "tile_id": "The id of the tile",
    "item_id": "The id of the item",
    "grid_id": "The number of the grid",
    "path": "The path of the tile that is wanted",
    "status": "The status of the tiles that are wanted",
    "toCollection": "The id of the collection to copy to",
    "ids": "Ids, with commas between them",
    "realm": "The realm of the issuer",
}


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI 3.1 description of the application; made once and kept."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            license_info={"name": "Apache 2.0", "identifier": "Apache-2.0"},
        )
        app.openapi_schema = _completed(made)
    return app.openapi_schema


def _completed(made: dict[str, Any]) -> dict[str, Any]:
    components = made.setdefault("components", {})
    schemas: dict[str, Any] = components.setdefault("schemas", {})
    schemas |= {**body_schemas(), **answer_schemas(), **catalog_schemas()}
    for (owner, field), kind in FIELDS.items():
        schemas[owner]["properties"][field] = {"$ref": _SCHEMAS + kind.__name__}
    for model in (ErrorAnswer, CatalogError):
        own = model.model_json_schema(ref_template=_SCHEMAS + "{model}")
        schemas |= own.pop("$defs", {})
        schemas[model.__name__] = own
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's shape, which is never sent
        schemas.pop(name, None)
    components["responses"] = {
        **{_name(status, False): _error(told, ErrorAnswer.__name__) for status, told in _ERRORS.items()},
        **{_name(status, True): _error(told, CatalogError.__name__) for status, told in _ERRORS.items()},
    }
    used, first = set(), dict[tuple[str, str, str], str]()
    for path, ways in made["paths"].items():
        for method in _METHODS:
            if method in ways:
                _complete(ways[method], path)
                used.update(ways[method].get("tags", ()))
                known = first.setdefault((method, *_key(ways[method], path)), path)
                if known != path:
                    ways[method]["x-same-as"] = known
    made["tags"] = [{"name": name, "description": told} for name, told in TAGS.items() if name in used]
    return made


def _complete(operation: dict[str, Any], path: str) -> None:
    if "tags" in operation:
        operation["tags"] = list(dict.fromkeys(operation["tags"]))
    told = operation.pop("description", "").strip()
    first, _, rest = told.partition("\n")
    if first:
        operation["summary"] = first.rstrip(".")
    if rest.strip():
        operation["description"] = rest.strip()
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in _PARAMETERS:
            parameter.setdefault("description", _PARAMETERS[parameter["name"]])
        if parameter["name"] == "sort":
            known = byoc_tiles if operation["tags"] == ["byoc"] else listing
            parameter["schema"] = {**parameter["schema"], "enum": list(known.SORTS)}
    for response in operation["responses"].values():
        for content in response.get("content", {}).values():
            content.get("schema", {}).pop("title", None)  # made of the path, and so another for each twin
    _add_answers(operation, path)
    _add_errors(operation)
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        examples = EXAMPLES.get(content["schema"].get("$ref", "").removeprefix(_SCHEMAS))
        if media_type == _JSON and examples is not None:
            content.setdefault("examples", {name: {"value": value} for name, value in examples.items()})


def _add_answers(operation: dict[str, Any], path: str) -> None:
    responses = operation["responses"]
    responses.pop("422", None)  # such errors are answered with 400
    for status, (description, media_type, schema) in _ANSWERS.get(_key(operation, path), {}).items():
        responses[status] = {
            "description": description,
            "content": {media_type: {"schema": {"$ref": _SCHEMAS + schema}}},
        }


def _key(operation: Mapping[str, Any], path: str) -> tuple[str, str]:
    """The tag and the name of an operation; they are the same on all of its paths."""
    suffix = "_" + "_".join(part.strip("{}.") for part in path.strip("/").split("/"))
    return operation.get("tags", [""])[0], operation["operationId"].removesuffix(suffix)


def _add_errors(operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    is_secured = any(SCHEME in needed for needed in operation.get("security", ()))
    has_body = "requestBody" in operation
    statuses = [*(_ALWAYS if is_secured or has_body else ()), *(_WITH_TOKEN if is_secured else ())]
    statuses += [*(_WITH_BODY if has_body else ()), *(_WITH_BOTH if is_secured and has_body else ())]
    in_catalog = operation.get("tags", [""])[0] == _CATALOG
    for status in statuses:
        responses.setdefault(status, {})
    if any(parameter["in"] == "query" for parameter in operation.get("parameters", ())):
        responses.setdefault("400", {})
    if any(parameter["in"] == "path" for parameter in operation.get("parameters", ())):
        responses.setdefault("404", {})
    own = (ErrorAnswer.__name__, CatalogError.__name__)
    for status in _ERRORS.keys() & responses.keys():
        content = responses[status].get("content", {})
        schema = content.get(_JSON, {}).get("schema", {})
        if content and _JSON not in content:  # what comes before the route answers in JSON
            common = {_JSON: {"schema": {"$ref": _SCHEMAS + ErrorAnswer.__name__}}}
            responses[status] = {**responses[status], "content": {**content, **common}}
        elif not schema or schema.get("$ref", "").removeprefix(_SCHEMAS) in own:
            responses[status] = {
                "$ref": f"#/components/responses/{_name(status, in_catalog and status not in _COMMON)}"
            }
    operation["responses"] = dict(sorted(responses.items()))


def _name(status: str, in_catalog: bool) -> str:
    return f"{'Catalog' if in_catalog else ''}Error{status}"


def _error(description: str, schema: str) -> dict[str, Any]:
    return {"description": description, "content": {_JSON: {"schema": {"$ref": _SCHEMAS + schema}}}}
