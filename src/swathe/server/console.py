"""The console's pages at `/`: a page of plain modules and its files, with nothing from elsewhere.

All that the pages show comes from the public APIs and `console_api`, with a token; the pages themselves need none.
"""

from __future__ import annotations

import html
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from swathe.jobs.clients import ClientStore
from swathe.server.auth import CurrentClient
from swathe.server.tokens import TokenIssuer

FOLDER = Path(__file__).parent / "static" / "console"
# The map's style sheet has small pictures in it; pictures of a basemap come as blobs.
_POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self' data: blob:{images};"
    " connect-src 'self'{hosts}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class _Files(StaticFiles):
    """Files that a browser asks for again, so that a new version is whole at once."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        answer.headers.update(_HEADERS)
        return answer


def add_console_pages(app: FastAPI, *, style_url: str | None) -> None:
    """Adds the page at `/` and its files; neither needs a token. `style_url` is that of the basemap, if there is one."""
    headers = {**_HEADERS, "Content-Security-Policy": policy_for(style_url or "")}

    @app.get("/", include_in_schema=False)
    async def console(request: Request) -> HTMLResponse:
        text = (FOLDER / "index.html").read_text("utf-8")
        return HTMLResponse(text.replace("{base}", html.escape(_base(request))), headers=headers)

    @app.post("/console/v1/sign-out", include_in_schema=False, status_code=204)
    async def sign_out(request: Request, _client: CurrentClient) -> Response:
        """Has the token of this very request refused from now on: `/oauth/revoke` wants the secret, which is not kept."""
        tokens: TokenIssuer = request.app.state.tokens
        clients: ClientStore = request.app.state.clients
        claims = tokens.check(request.headers["authorization"].partition(" ")[2].strip())
        if claims.id:
            await run_in_threadpool(clients.revoke, claims.id, claims.expires)
        return Response(status_code=204)

    app.mount("/console/files", _Files(directory=FOLDER), name="console_files")


def policy_for(style_url: str) -> str:
    """What the pages may load. A basemap from elsewhere opens them to its own origin and to https, since its style
    names further places; scripts are the server's own in any case."""
    parts = urlsplit(style_url)
    origin = f" {parts.scheme}://{parts.netloc} https:" if parts.scheme in ("http", "https") and parts.netloc else ""
    if any(character in origin for character in ";,\r\n"):
        origin = " https:"
    return _POLICY.format(images=origin, hosts=origin)


def _base(request: Request) -> str:
    """The path before all of ours, as behind a proxy that serves Swathe below a path of its own."""
    public: str | None = request.app.state.settings.server.public_url
    path: str = urlsplit(public).path if public else request.scope.get("root_path", "")
    return path.rstrip("/")
