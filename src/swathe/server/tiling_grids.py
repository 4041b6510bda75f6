"""The tiling grids of Batch Processing V2, on the path that clients use and on that of the newest description."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from swathe.grids.tiling import GRIDS, Unit, find_grid
from swathe.model.errors import NotFound, RequestInvalid
from swathe.server.answers import ErrorAnswer, JsonAnswer, Links
from swathe.server.auth import CurrentClient

PATHS = ("/api/v2/batch/tilinggrids", "/batch/v2/tilinggrids")
MAX_COUNT = 100


class GridProperties(BaseModel):
    """Sizes and resolutions, in units of the grid."""

    tileWidth: float  # noqa: N815  wire names
    tileHeight: float  # noqa: N815
    resolutions: list[float]
    unit: Unit


class GridAnswer(BaseModel):
    """One tiling grid."""

    id: int
    name: str
    properties: GridProperties


class GridListAnswer(BaseModel):
    """A page of tiling grids."""

    data: list[GridAnswer]
    links: Links


router = APIRouter(
    tags=["batch_v2_tiling_grid"],
    responses={
        400: {"model": ErrorAnswer, "description": "Bad request"},
        401: {"model": ErrorAnswer, "description": "Unauthorized"},
        404: {"model": ErrorAnswer, "description": "Not found"},
    },
)


@router.get("", response_model=GridListAnswer)
async def list_grids(
    request: Request,
    client: CurrentClient,
    count: Annotated[int, Query(ge=1, description=f"At most this many; {MAX_COUNT} at most")] = MAX_COUNT,
    viewtoken: str | None = None,
) -> Response:
    """The grids, page by page."""
    first = _first(viewtoken)
    found = list(GRIDS.values())
    last = first + min(count, MAX_COUNT)
    base = (request.app.state.settings.server.public_url or str(request.base_url)).rstrip("/")
    here = base + request.url.path
    links = {"@id": here + (f"?{request.url.query}" if request.url.query else "")}
    if viewtoken:
        links["currentToken"] = viewtoken
    if last < len(found):
        links["nextToken"] = str(last)
        links["next"] = f"{here}?{urlencode({**request.query_params, 'viewtoken': str(last)})}"
    return JsonAnswer({"data": [grid.to_wire() for grid in found[first:last]], "links": links})


@router.get("/{grid_id}", response_model=GridAnswer)
async def get_grid(client: CurrentClient, grid_id: str) -> Response:
    """One grid, as it is."""
    if not (grid_id.isascii() and grid_id.isdigit() and len(grid_id) < 19):
        raise NotFound(f"There is no tiling grid {grid_id[:64]!r}; ids are numbers: {', '.join(map(str, GRIDS))}")
    return JsonAnswer(find_grid(int(grid_id)).to_wire())


def _first(viewtoken: str | None) -> int:
    if not viewtoken:
        return 0
    if not (viewtoken.isascii() and viewtoken.isdigit() and len(viewtoken) < 10):
        raise RequestInvalid(
            "viewtoken is none of this list; take it from links.nextToken of the page before", "viewtoken"
        )
    return int(viewtoken)
