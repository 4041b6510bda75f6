"""The Process API: an image of an evalscript, answered at once."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from swathe.jobs.services import render_answer
from swathe.jobs.workshop import TooManyRequests
from swathe.model.process import ProcessRequest
from swathe.model.process_answer import BOUNDARY, MIXED, choose_form
from swathe.model.validation import explain_validation
from swathe.server.answers import ErrorAnswer
from swathe.server.auth import CurrentClient
from swathe.server.batch_jobs import ERRORS
from swathe.server.bodies import described_body, read_json_or_form
from swathe.server.computing import COST, busy_answer, charge, compute, file_answer

PATHS = ("/api/v1/process", "/process/v1")
_SCRIPT = ("evalscript",)
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_TYPES = ("image/png", "image/jpeg", "image/tiff", "application/tar", "application/x-tar", MIXED)

router = APIRouter(
    tags=["process"],
    responses={
        **{status: ERRORS[status] for status in (400, 401)},
        200: {
            "description": "The image, or several files",
            "content": {**dict.fromkeys((*_TYPES, "application/octet-stream"), _BINARY), "application/json": {}},
            "headers": {COST: {"description": "What it cost", "schema": {"type": "string"}}},
        },
        403: {"model": ErrorAnswer, "description": "Nothing left to spend"},
        429: {"model": ErrorAnswer, "description": "Too many requests"},
    },
)


@router.post("", response_class=Response, openapi_extra=described_body("ProcessRequest"))
async def process(request: Request, client: CurrentClient) -> Response:
    """An image, or several files as a tar."""
    body = await read_json_or_form(request, _SCRIPT)
    try:
        wanted = ProcessRequest.model_validate(body)
    except ValidationError as error:
        raise explain_validation(error) from None
    form = choose_form(wanted.output.responses, request.headers.get("accept"))
    folder = await run_in_threadpool(tempfile.TemporaryDirectory, prefix="swathe-process-")
    try:
        made = await compute(request, client, render_answer, wanted, form, Path(folder.name))
        await charge(request, client, made.cost_pu)
        media_type = f'{MIXED}; boundary="{BOUNDARY}"' if form.container == MIXED else form.media_type
        return file_answer(made.path, media_type, made.cost_pu)
    except TooManyRequests as error:
        return busy_answer(error)
    finally:
        await run_in_threadpool(folder.cleanup)
