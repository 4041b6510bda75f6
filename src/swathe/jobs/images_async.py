"""The Async Process API's work: an image computed and delivered, in a process of the workshop."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from swathe.engine.compute import Engine
from swathe.jobs.images_now import render_files
from swathe.jobs.request_area import make_grid
from swathe.jobs.workshop import Deadline
from swathe.model.errors import LimitExceeded, RequestInvalid
from swathe.model.process_answer import check_outputs
from swathe.model.process_async import ERROR_FILE, REFERENCE, AsyncProcessRequest
from swathe.model.process_output import ObjectPlace
from swathe.storage import Credentials, ObjectStores, from_place

_MOST_BYTES_A_CHARACTER = 4


def check(engine: Engine, request: AsyncProcessRequest, script: ObjectPlace | None) -> None:
    """Checks area, size, script and whether the place can be written to.

    Raises:
        SwatheError: what makes the request impossible.
    """
    request = _with_script(engine, request, script)
    make_grid(request.input.bounds, request.output, engine.settings.limits.async_image_px)
    planner = engine.process_planner(request)
    check_outputs(request.output.responses, {spec.id: spec for spec in planner.outputs})
    output = request.output
    _stores(engine).check_writable(output.folder, credentials=_keys(engine, output.delivery))


def deliver(
    engine: Engine, deadline: Deadline, request: AsyncProcessRequest, script: ObjectPlace | None, request_id: str
) -> float:
    """Computes the image and puts its files where they go; what it cost.

    Raises:
        SwatheError: there is no image, or it cannot be delivered.
    """
    request = _with_script(engine, request, script)
    output = request.output
    with tempfile.TemporaryDirectory(prefix="swathe-async-") as folder:
        most = engine.settings.limits.async_image_px
        files, raster = render_files(engine, deadline, request, output.responses, Path(folder), most)
        stores, credentials = _stores(engine), _keys(engine, output.delivery)
        for response in output.responses:
            stores.upload(output.address_of(request_id, response), files[response.identifier], credentials=credentials)
    return raster.cost_pu


def deliver_failure(engine: Engine, request: AsyncProcessRequest, request_id: str, message: str, code: str) -> None:
    """Puts the reason why there is no image where the image would have been.

    Raises:
        StorageError: the place does not take it.
    """
    body = {"error": {"status": 400, "reason": "Bad Request", "message": message, "code": code}}
    output = request.output
    _stores(engine).write(
        output.address(request_id, ERROR_FILE),
        json.dumps(body, indent=2).encode("ascii"),
        credentials=_keys(engine, output.delivery),
    )


def _with_script(engine: Engine, request: AsyncProcessRequest, script: ObjectPlace | None) -> AsyncProcessRequest:
    """The request with its script in place, which may lie in a store."""
    if script is None:
        return request
    stores, credentials, url = _stores(engine), _keys(engine, script), script.s3.url
    size, most = stores.size(url, credentials=credentials), engine.settings.limits.script_chars
    if size > most * _MOST_BYTES_A_CHARACTER:
        raise LimitExceeded(f"The evalscript has {size:,} bytes; at most {most:,} characters are allowed", REFERENCE)
    try:
        (content,) = stores.read_ranges(url, [(0, size)], credentials=credentials)
        text = bytes(content).decode("utf-8")
    except UnicodeDecodeError:
        raise RequestInvalid(f"The evalscript {url} is not in UTF-8", REFERENCE) from None
    return request.model_copy(update={"evalscript": text})


def _keys(engine: Engine, place: ObjectPlace) -> Credentials | None:
    return from_place(place.s3, engine.settings.storage)


def _stores(engine: Engine) -> ObjectStores:
    return ObjectStores(engine.settings.storage)
