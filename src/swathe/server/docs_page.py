"""The page at `/docs`: our own OpenAPI description to read and to try, with nothing from elsewhere."""

from __future__ import annotations

import html
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parent / "static" / "docs"
# The viewer sets styles on its elements and has small pictures in its style sheet.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def add_docs_page(app: FastAPI) -> None:
    """Adds the page and its files to the application; neither needs a token."""

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        text = (FOLDER / "index.html").read_text("utf-8")
        return HTMLResponse(text.replace("{base}", html.escape(_base(request))), headers=_HEADERS)

    app.mount("/docs/files", StaticFiles(directory=FOLDER), name="docs_files")


def _base(request: Request) -> str:
    """The path before all of ours, as behind a proxy that serves Swathe below a path of its own."""
    public: str | None = request.app.state.settings.server.public_url
    path: str = urlsplit(public).path if public else request.scope.get("root_path", "")
    return path.rstrip("/")
