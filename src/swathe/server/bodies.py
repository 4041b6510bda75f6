"""Bodies of requests: JSON, and forms of several parts where a request and its evalscript come apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from swathe.model.errors import RequestInvalid
from swathe.server.errors import MediaTypeNotSupported

_JSON, _FORM = "application/json", "multipart/form-data"
_MOST_PARTS = 20
REQUEST, SCRIPT = "request", "evalscript"


def described_body(title: str, *, form: bool = True) -> dict[str, Any]:
    """What our own OpenAPI description says about a body that is read here: a schema of `describe_bodies`."""
    schema = {"$ref": f"#/components/schemas/{title}"}
    content: dict[str, Any] = {_JSON: {"schema": schema}}
    if form:
        parts = {REQUEST: schema, SCRIPT: {"type": "string", "description": "In place of the script in the request"}}
        content[_FORM] = {"schema": {"type": "object", "required": [REQUEST], "properties": parts}}
    return {"requestBody": {"required": True, "content": content}}


async def read_json(request: Request) -> dict[str, Any]:
    """The JSON object that the body is.

    Raises:
        MediaTypeNotSupported: it calls itself something else.
        RequestInvalid: it is none.
    """
    kind = _media_type(request)
    if not _is_json(kind):
        raise MediaTypeNotSupported(f"The body must be {_JSON}, not {kind[:64]}")
    return parse_object(await request.body(), "The body")


async def read_json_or_form(request: Request, script: Sequence[str]) -> dict[str, Any]:
    """The JSON object that the body is; of a form its part `request`, with the part `evalscript` put in at `script`.

    A part may be a field or a file. The script of its own part is used in place of one within the request.

    Raises:
        MediaTypeNotSupported: the body calls itself something else.
        RequestInvalid: it cannot be read, or a part is missing.
    """
    kind = _media_type(request)
    if kind != _FORM:
        if not _is_json(kind):
            raise MediaTypeNotSupported(f"The body must be {_JSON} or {_FORM}, not {kind[:64]}")
        return parse_object(await request.body(), "The body")
    try:
        form = await request.form(
            max_files=_MOST_PARTS,
            max_fields=_MOST_PARTS,
            max_part_size=request.app.state.settings.limits.request_bytes,
        )
    except HTTPException as error:
        raise RequestInvalid(f"The form cannot be read: {error.detail}") from None
    except ValueError:
        raise RequestInvalid("The form cannot be read; its parts must be set apart by the boundary") from None
    try:
        content = await _read_part(form, REQUEST)
        text = await _read_part(form, SCRIPT)
    finally:
        await form.close()
    if content is None:
        raise RequestInvalid("is required: the part with the request as JSON", REQUEST)
    body = parse_object(content, f"The part '{REQUEST}'")
    if text is not None:
        try:
            put_in(body, script, text.decode("utf-8"))
        except UnicodeDecodeError:
            raise RequestInvalid(f"The part '{SCRIPT}' is not in UTF-8", SCRIPT) from None
    return body


def parse_object(content: bytes, what: str) -> dict[str, Any]:
    """A JSON object; `what` it is goes into the errors.

    Raises:
        RequestInvalid: it is none.
    """
    try:
        value = json.loads(content, parse_constant=_refuse_constant)
        if isinstance(value, dict):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise RequestInvalid(f"{what} is nested too deeply") from None
    except UnicodeEncodeError:
        raise RequestInvalid(f"{what} has text that is no Unicode (an unpaired surrogate)") from None
    except UnicodeDecodeError:
        raise RequestInvalid(f"{what} is not in UTF-8") from None
    except ValueError as error:
        raise RequestInvalid(f"{what} is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise RequestInvalid(f"{what} must be a JSON object")
    return value


def put_in(body: dict[str, Any], path: Sequence[str], value: str) -> None:
    """Sets a member of an object within the body; where there is no such object, the body's own check will tell."""
    place: Any = body
    for name in path[:-1]:
        place = place.get(name) if isinstance(place, dict) else None
    if isinstance(place, dict):
        place[path[-1]] = value


async def _read_part(form: FormData, name: str) -> bytes | None:
    parts = form.getlist(name)
    if len(parts) > 1:
        raise RequestInvalid(f"comes {len(parts)} times; a part may come once", name)
    for part in parts:
        return await part.read() if isinstance(part, UploadFile) else part.encode("utf-8", "surrogatepass")
    return None


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", _JSON).split(";")[0].strip().lower()


def _is_json(kind: str) -> bool:
    return kind == _JSON or kind.endswith("+json")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")
