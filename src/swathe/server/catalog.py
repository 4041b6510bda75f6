"""The Catalog API: a STAC API over the deployment's collections, on the path that clients use and on the newest one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from anyio import to_thread
from fastapi import APIRouter, Request
from starlette.responses import Response

from swathe.catalog.item_order import first_in_order
from swathe.catalog.item_search import find_dates, find_item, find_items, take_page
from swathe.catalog.items import Found, to_item, to_queryables
from swathe.jobs.records import Client
from swathe.model.errors import NotFound
from swathe.server.answers import JsonAnswer
from swathe.server.auth import CurrentClient
from swathe.server.bodies import described_body, read_json
from swathe.server.catalog_links import (
    GEOJSON,
    OPENAPI,
    SCHEMA,
    CatalogError,
    CatalogRoute,
    GeoJsonAnswer,
    OpenApiAnswer,
    SchemaAnswer,
    base_of,
    link,
)
from swathe.server.catalog_query import DEFAULT_LIMIT, Wanted, read_wanted, values_of_get
from swathe.server.catalog_shelf import Shelf, View

T = TypeVar("T")

PATHS = ("/api/v1/catalog/1.0.0", "/catalog/v1")
_STAC, _FEATURES = "https://api.stacspec.org/v1.0.0", "http://www.opengis.net/spec/ogcapi-features"
_CQL2, _QUERYABLES = "http://www.opengis.net/spec/cql2/1.0/conf", "http://www.opengis.net/def/rel/ogc/1.0/queryables"
CONFORMS_TO = (
    *(f"{_FEATURES}-1/1.0/conf/{name}" for name in ("core", "oas30", "geojson")),
    *(f"{_STAC}/{name}" for name in ("core", "collections", "ogcapi-features", "item-search")),
    *(
        f"{_STAC}/{api}#{name}"
        for api in ("ogcapi-features", "item-search")
        for name in ("fields", "context", "filter", "sort")
    ),
    *(f"{_FEATURES}-3/1.0/conf/{name}" for name in ("filter", "features-filter")),
    *(f"{_CQL2}/{name}" for name in ("cql2-text", "cql2-json", "basic-cql2", "advanced-comparison-operators")),
)
_SHOWN = ("bbox", "datetime", "limit", "next", "fields", "filter", "filter-lang", "sortby")
_TEXT, _COUNT = {"type": "string"}, {"type": "integer", "minimum": 0}
_LISTS = ("bbox", "collections", "ids", "sortby")
_SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    **dict.fromkeys(("collections", "ids", "intersects", "filter-crs", "distinct", *_SHOWN), _TEXT),
    **{name: {"type": "array", "items": _TEXT} for name in _LISTS},
    "bbox": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 6},
    "limit": {**_COUNT, "minimum": 1, "default": DEFAULT_LIMIT},
    "next": _COUNT,
    "filter-lang": {**_TEXT, "enum": ["cql2-text", "cql2-json"]},
    "distinct": {**_TEXT, "enum": ["date"]},
}
_PARAMETERS = {
    name: {
        **{"name": name, "in": "query", "required": False, "schema": told},
        **({"style": "form", "explode": False} if name in _LISTS else {}),
    }
    for name, told in _SCHEMAS.items()
}

router = APIRouter(
    tags=["catalog"],
    route_class=CatalogRoute,
    responses={
        400: {"model": CatalogError, "description": "Bad request"},
        401: {"model": CatalogError, "description": "Unauthorized"},
        404: {"model": CatalogError, "description": "Not found"},
        503: {"model": CatalogError, "description": "A catalog behind this one does not answer"},
    },
)


@router.get("")
async def landing_page(request: Request) -> Response:
    """Where everything is."""
    root = _root(request)
    shelf = _shelf(request)
    links = [
        link("root", root),
        link("self", root),
        link("data", f"{root}/collections"),
        link("conformance", f"{root}/conformance"),
        link("search", f"{root}/search", GEOJSON, method="GET"),
        link("search", f"{root}/search", GEOJSON, method="POST"),
        link(_QUERYABLES, f"{root}/queryables", SCHEMA),
        link("service-desc", f"{root}/api", OPENAPI),
        *(link("child", _of(root, name), title=shelf.title(name)) for name in shelf.names),
    ]
    if any(getattr(route, "path", None) == "/docs" for route in request.app.routes):
        links.append(link("service-doc", f"{base_of(request)}/docs", "text/html"))
    page = {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "swathe",
        "title": "Swathe",
        "description": "The scenes of this deployment",
        "conformsTo": CONFORMS_TO,
        "links": links,
    }
    return JsonAnswer(page)


@router.get("/conformance")
async def conformance() -> Response:
    """What this API conforms to."""
    return JsonAnswer({"conformsTo": CONFORMS_TO})


@router.get("/api", include_in_schema=False)
async def description(request: Request) -> Response:
    """Our own OpenAPI description, with the media type that STAC asks for."""
    return OpenApiAnswer(request.app.openapi())


@router.get("/queryables")
async def queryables(request: Request, client: CurrentClient) -> Response:
    """What filters may name in every collection."""
    return SchemaAnswer(to_queryables(None, "What filters may name", f"{_root(request)}/queryables"))


@router.get("/collections")
async def list_collections(request: Request, client: CurrentClient) -> Response:
    """All collections, and the project's own."""
    root, view = _root(request), _view(request, client)
    found = await _reading(request, lambda: [_collection(view, root, name) for name in view.names()])
    links = [link("root", root), link("self", f"{root}/collections"), link("parent", root)]
    return JsonAnswer({"collections": found, "links": links})


@router.get("/collections/{collection_id}")
async def get_collection(request: Request, client: CurrentClient, collection_id: str) -> Response:
    """One collection."""
    root, view = _root(request), _view(request, client)
    return JsonAnswer(await _reading(request, lambda: _collection(view, root, view.find(collection_id))))


@router.get("/collections/{collection_id}/queryables")
async def get_queryables(request: Request, client: CurrentClient, collection_id: str) -> Response:
    """What filters may name in one collection."""
    name = await _reading(request, lambda: _view(request, client).find(collection_id))
    title = _shelf(request).title(name)
    return SchemaAnswer(to_queryables(name, title, f"{_of(_root(request), name)}/queryables"))


@router.get("/collections/{collection_id}/items", openapi_extra={"parameters": [_PARAMETERS[name] for name in _SHOWN]})
async def list_items(request: Request, client: CurrentClient, collection_id: str) -> Response:
    """The items of one collection, newest first unless `sortby` says otherwise."""
    name = await _reading(request, lambda: _view(request, client).find(collection_id))
    values = {**values_of_get(request.query_params), "collections": [name]}
    return await _search(request, client, values, f"{_of(_root(request), name)}/items", inside=name)


@router.get("/collections/{collection_id}/items/{item_id}")
async def get_item(request: Request, client: CurrentClient, collection_id: str, item_id: str) -> Response:
    """One item."""
    view = _view(request, client)
    found = await _reading(request, lambda: find_item(view, view.find(collection_id), item_id))
    if found is None:
        raise NotFound(f"There is no item {item_id[:200]!r} in collection {collection_id[:80]}")
    return GeoJsonAnswer(_item(found, _root(request)))


@router.get("/search", openapi_extra={"parameters": list(_PARAMETERS.values())})
async def search_by_query(request: Request, client: CurrentClient) -> Response:
    """Items of one collection, of several, or of all."""
    return await _search(request, client, values_of_get(request.query_params), f"{_root(request)}/search")


@router.post("/search", openapi_extra=described_body("Search", form=False))
async def search_by_body(request: Request, client: CurrentClient) -> Response:
    """Items of one collection, of several, or of all."""
    return await _search(request, client, await read_json(request), f"{_root(request)}/search")


async def _search(
    request: Request, client: Client, values: Mapping[str, Any], here: str, *, inside: str | None = None
) -> Response:
    root = _root(request)
    wanted, features, more = await _reading(request, lambda: _page(_view(request, client), values, root))
    context: dict[str, Any] = {"limit": wanted.limit, "returned": len(features)}
    links = [link("root", root)]
    if request.method == "POST":
        links.append(link("self", here, GEOJSON, method="POST"))
    else:
        links.append(link("self", here + (f"?{request.url.query}" if request.url.query else ""), GEOJSON))
    if inside is not None:
        links += [link("parent", _of(root, inside)), link("collection", _of(root, inside))]
    if more:
        following = context["next"] = wanted.offset + wanted.limit
        if request.method == "POST":
            links.append(link("next", here, GEOJSON, method="POST", body={"next": following}, merge=True))
        else:
            query = urlencode({**request.query_params, "next": str(following)})
            links.append(link("next", f"{here}?{query}", GEOJSON))
    answer = {
        "type": "FeatureCollection",
        "features": features,
        "links": links,
        "context": context,
        "numberReturned": len(features),
    }
    return GeoJsonAnswer(answer)


def _page(view: View, values: Mapping[str, Any], root: str) -> tuple[Wanted, list[Any], bool]:
    """What is wanted, a page of it, and whether there is more. Reads."""
    wanted = read_wanted(values, view.find_to_search, view.names)
    if wanted.dates:
        days, more = take_page(find_dates(view, wanted.query), wanted.offset, wanted.limit)
        return wanted, [day.isoformat() for day in days], more
    every: Iterable[Found] = find_items(view, wanted.query)
    if wanted.order:
        every = first_in_order(iter(every), wanted.order, wanted.offset + wanted.limit + 1)
    found, more = take_page(every, wanted.offset, wanted.limit)
    items = [_item(one, root) for one in found]
    return wanted, (items if wanted.fields is None else [wanted.fields.apply(item) for item in items]), more


def _item(found: Found, root: str) -> dict[str, Any]:
    collection = _of(root, found.collection)
    links = [
        link("root", root),
        link("self", f"{collection}/items/{quote(found.scene.id, safe='')}", GEOJSON),
        link("parent", collection),
        link("collection", collection),
    ]
    return {**to_item(found), "links": links}


def _collection(view: View, root: str, name: str) -> dict[str, Any]:
    here = _of(root, name)
    links = [
        link("root", root),
        link("self", here),
        link("parent", root),
        link("items", f"{here}/items", GEOJSON),
        link(_QUERYABLES, f"{here}/queryables", SCHEMA),
    ]
    return {**view.describe(name), "links": links}


def _of(root: str, name: str) -> str:
    return f"{root}/collections/{quote(name, safe='')}"


def _root(request: Request) -> str:
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    return base_of(request) + next((known for known in PATHS if path.startswith(known)), PATHS[0])


def _shelf(request: Request) -> Shelf:
    shelf: Shelf = request.app.state.shelf
    return shelf


async def _reading(request: Request, read: Callable[[], T]) -> T:
    """What `read` returns. A few threads do this, so that a slow catalog does not take those of all other requests."""
    return await to_thread.run_sync(read, limiter=_shelf(request).readers)


def _view(request: Request, client: Client) -> View:
    return _shelf(request).of(client.project_id)
