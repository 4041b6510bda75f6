"""The request of the Async Process API: an image that is delivered to an object store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from swathe.model.errors import RequestInvalid
from swathe.model.process import ProcessOutput, ProcessRequest
from swathe.model.process_answer import check_types
from swathe.model.process_output import EXTENSIONS, ObjectPlace, Response
from swathe.model.validation import explain_validation

URL = "output->delivery->s3->url"
REFERENCE = "evalscriptReference"
ERROR_FILE = "error.json"
_KNOWN = ("REQUEST_ID", "OUTPUT")
_PLACEHOLDER = re.compile(r"<([^<>]*)>")


class AsyncOutput(ProcessOutput):
    """As in the Process API, and where the files go."""

    delivery: ObjectPlace

    def address(self, request_id: str, name: str) -> str:
        """Where a file goes; `name` must be safe."""
        url = self.delivery.s3.url
        template = url if _PLACEHOLDER.search(url) else f"{url.rstrip('/')}/<REQUEST_ID>/<OUTPUT>"
        return template.replace("<REQUEST_ID>", request_id).replace("<OUTPUT>", name)

    def address_of(self, request_id: str, response: Response) -> str:
        """Where a response goes."""
        return self.address(request_id, f"{response.identifier}.{EXTENSIONS[response.format.type]}")

    @property
    def folder(self) -> str:
        """The folder before the first placeholder."""
        url = self.delivery.s3.url
        return url.split("<", 1)[0].rsplit("/", 1)[0] if "<" in url else url.rstrip("/")


class AsyncProcessRequest(ProcessRequest):
    """The body of `POST /api/v1/async/process`, its script in place."""

    output: AsyncOutput


def read_async_process(body: Mapping[str, Any]) -> tuple[AsyncProcessRequest, ObjectPlace | None]:
    """A request from its JSON, and where its script is if it is not in it; then it stands for an empty one.

    Raises:
        RequestInvalid: names the first field that is wrong.
    """
    place = None
    if body.get("evalscript") is None and body.get(REFERENCE) is not None:
        try:
            place = ObjectPlace.model_validate(body[REFERENCE])
        except ValidationError as error:
            found = explain_validation(error)
            where = f"{REFERENCE}->{found.parameter}" if found.parameter else REFERENCE
            raise RequestInvalid(f"{REFERENCE}: {found.message}", where) from None
        body = {**body, "evalscript": "//VERSION=3"}
    try:
        request = AsyncProcessRequest.model_validate(body)
    except ValidationError as error:
        raise explain_validation(error) from None
    _check_names(request.output.delivery.s3.url)
    check_types(request.output.responses)
    return request, place


def _check_names(url: str) -> None:
    names = _PLACEHOLDER.findall(url)
    unknown = next((name for name in names if name not in _KNOWN), None)
    if unknown is not None:
        raise RequestInvalid(
            f"<{unknown}> is no placeholder here; use {' and '.join(f'<{name}>' for name in _KNOWN)}", URL
        )
    if names and "OUTPUT" not in names:
        raise RequestInvalid("a template must hold <OUTPUT>, or all files would have the same name", URL)
    if "<" in url.split("://", 1)[-1].split("/", 1)[0]:
        raise RequestInvalid("placeholders belong into the key, not into the bucket's name", URL)
