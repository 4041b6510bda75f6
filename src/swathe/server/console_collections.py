"""The collections that a client's requests may name, with their bands, as a form offers them."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from swathe.jobs.byoc import ByocCollections
from swathe.jobs.records import Client
from swathe.model.errors import SwatheError
from swathe.server.catalog_shelf import Shelf

_MOST_OWN = 100


def list_collections(request: Request, client: Client) -> list[dict[str, Any]]:
    """The deployment's collections and the project's own. One that cannot be read now has no bands. Reads the store."""
    shelf: Shelf = request.app.state.shelf
    own: ByocCollections = request.app.state.byoc_collections
    listed: list[dict[str, Any]] = []
    for name in shelf.names:
        bands: list[dict[str, Any]] = []
        title = shelf.title(name)
        try:
            collection = shelf.catalog.collection(name)
            title = collection.title or title
            bands = [{"name": band.name, "units": list(band.units)} for band in collection.bands.values()]
        except SwatheError:  # one source that is away must not hide the others
            pass
        listed.append({"type": name, "title": title, "bands": bands})
    for found in own.page(client.project_id, count=_MOST_OWN).collections:
        listed.append(
            {
                "type": f"byoc-{found.id}",
                "title": found.name,
                "bands": [{"name": name, "units": ["DN"]} for name in found.bands],
            }
        )
    return listed
