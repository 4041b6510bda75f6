"""Who comes to a map service, and to what: the instance of the address, its layers and their styles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from anyio import to_thread
from fastapi import Request
from starlette.concurrency import run_in_threadpool

from swathe.jobs.layers import OPERATOR, Instance, Layers
from swathe.jobs.records import Client
from swathe.model.errors import NotFound
from swathe.model.layers import LayerBody, LayerStyle
from swathe.server.auth import current_client
from swathe.server.catalog_links import base_of
from swathe.server.catalog_shelf import Shelf
from swathe.server.layer_extents import LayerExtents
from swathe.server.ogc_errors import MapFault, Parameters
from swathe.server.ogc_wms import MOST_LAYERS
from swathe.server.rates import count_request


@dataclass(frozen=True)
class Visit:
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

    def styled(self, told: str, parameter: str) -> list[tuple[LayerBody, LayerStyle]]:
        """The layers of a list with their styles, the lowest first; styles that are left out are the default ones.

        Raises:
            MapFault: one of them is not there, or there are too many.
        """
        names = [name.strip() for name in told.split(",")]
        styles = [name.strip() for name in self.parameters.text("STYLES", "STYLE").split(",")]
        if len(names) > MOST_LAYERS:
            raise MapFault(f"{parameter} has {len(names)} layers; at most {MOST_LAYERS} are drawn", parameter)
        if len(styles) > len(names):
            raise MapFault(
                f"STYLES has {len(styles)} names for {len(names)} layers; give one for each, or none", "STYLES"
            )
        styles += [""] * (len(names) - len(styles))
        found = [self.find(name, parameter) for name in names]
        return [(layer, find_style(layer, style, "STYLES")) for layer, style in zip(found, styles, strict=True)]

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


async def enter(request: Request, instance_id: str, parameters: Parameters) -> Visit:
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
    return Visit(request, client, instance, layers, parameters)


def find_style(layer: LayerBody, name: str, parameter: str) -> LayerStyle:
    """A style of a layer, the default one where none is named.

    Raises:
        MapFault: there is none.
    """
    found = layer.style(name)
    if found is None:
        known = ", ".join(style.name for style in layer.styles)
        raise MapFault(
            f"The layer '{layer.id}' has no style '{name[:100]}'; it has: {known}", parameter, "StyleNotDefined"
        )
    return found
