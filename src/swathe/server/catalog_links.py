"""What the Catalog API's answers have in common: absolute links, media types, and errors in STAC's shape."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from swathe.jobs.database import DatabaseUnavailable
from swathe.model.errors import RequestInvalid, SourceError, SwatheError
from swathe.model.validation import to_request_invalid
from swathe.server import errors
from swathe.server.answers import JsonAnswer
from swathe.server.middleware import BodyTooLong

JSON, SCHEMA = "application/json", "application/schema+json"
GEOJSON, OPENAPI = "application/geo+json", "application/vnd.oai.openapi+json;version=3.0"
_HOST = re.compile(r"[A-Za-z0-9.-]+(?::\d{1,5})?|\[[0-9A-Fa-f:.]+\](?::\d{1,5})?", re.ASCII)
_PATH = re.compile(r"/[A-Za-z0-9._~/-]*", re.ASCII)


class CatalogError(BaseModel):
    """Every error of the Catalog API."""

    code: str
    description: str


class GeoJsonAnswer(JsonAnswer):
    """Items."""

    media_type = GEOJSON


class SchemaAnswer(JsonAnswer):
    """A JSON schema."""

    media_type = SCHEMA


class OpenApiAnswer(JsonAnswer):
    """Our own description."""

    media_type = OPENAPI


class CatalogRoute(APIRoute):
    """A route whose errors are `{"code": "400", "description": …}`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_with_errors(request: Request) -> Response:
            try:
                return await handle(request)
            except SwatheError as error:
                return answer_to(error)
            except RequestValidationError as error:
                problems = [{**problem, "loc": problem["loc"][1:]} for problem in error.errors()]
                return answer_to(to_request_invalid(problems))
            except DatabaseUnavailable as error:
                return _restated(errors.answer_to_outage(error))
            except (HTTPException, BodyTooLong):
                raise
            except Exception as error:
                return _restated(errors.answer_to_bug(f"{request.method} {request.url.path}", error))

        return handle_with_errors


def answer_to(error: SwatheError) -> JsonAnswer:
    """An error of ours in STAC's shape."""
    usual = errors.answer_to(error)
    status = 503 if isinstance(error, SourceError) and error.retryable else usual.status_code
    parameter = error.parameter if isinstance(error, RequestInvalid) else ""
    description = f"{parameter}: {error.message}" if parameter else error.message
    kept = {name: usual.headers[name] for name in ("WWW-Authenticate", "Retry-After") if name in usual.headers}
    return JsonAnswer({"code": str(status), "description": description}, status_code=status, headers=kept)


def _restated(usual: JsonAnswer) -> JsonAnswer:
    """An answer of the usual shape in STAC's."""
    said = json.loads(bytes(usual.body))["error"]
    kept = {name: usual.headers[name] for name in ("Retry-After",) if name in usual.headers}
    code = usual.status_code
    return JsonAnswer({"code": str(code), "description": said["message"]}, status_code=code, headers=kept)


def base_of(request: Request) -> str:
    """The address under which the client knows this server: the configured one, else what it or a proxy says."""
    public: str | None = request.app.state.settings.server.public_url
    if public:
        return public.rstrip("/")
    scheme, host = (_forwarded(request, f"x-forwarded-{name}") for name in ("proto", "host"))
    if _HOST.fullmatch(host) is None:
        host = request.url.netloc
    elif port := _forwarded(request, "x-forwarded-port"):
        usual = {"http": "80", "https": "443"}.get(scheme or request.url.scheme)
        host += f":{port}" if port.isdigit() and port != usual and not re.search(r":\d+$", host) else ""
    prefix = _forwarded(request, "x-forwarded-prefix")
    prefix = prefix if _PATH.fullmatch(prefix) is not None else request.scope.get("root_path", "")
    return f"{scheme if scheme in ('http', 'https') else request.url.scheme}://{host}{prefix}".rstrip("/")


def link(rel: str, href: str, media_type: str = JSON, **more: Any) -> dict[str, Any]:
    """A link."""
    return {"rel": rel, "href": href, "type": media_type, **more}


def _forwarded(request: Request, name: str) -> str:
    """The first value of a header that proxies add to."""
    return request.headers.get(name, "").split(",")[0].strip()
