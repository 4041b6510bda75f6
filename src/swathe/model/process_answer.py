"""What the Process API answers with: an image, or several files in one; and what it asks of the evalscript for that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from swathe.model.errors import RequestInvalid
from swathe.model.process_output import JPEG, JSON, PNG, TIFF, ZARR, Response

RESPONSES = "output->responses"
TAR, X_TAR, MIXED = "application/tar", "application/x-tar", "multipart/mixed"
BOUNDARY = "swathe-part-of-several"
OCTETS = "application/octet-stream"
_IMAGES = (TIFF, PNG, JPEG)
_CONTAINERS = (TAR, X_TAR, MIXED)


@dataclass(frozen=True)
class AnswerForm:
    """The files of an answer. With `container` they come as one body of that type, else there is one of `media_type`."""

    responses: tuple[Response, ...]
    container: str | None
    media_type: str


def choose_form(responses: Sequence[Response], accept: str | None) -> AnswerForm:
    """How to answer, by the request's responses and the header Accept.

    For a single response an image type in Accept wins over the format in the body; several come in a container, of the
    type that Accept names or else a tar. Whatever else Accept says, the body decides.

    Raises:
        RequestInvalid: a response is of a type that it cannot be of.
    """
    wanted = _accepted(accept)
    if len(responses) > 1:
        container = next((name for name in wanted if name in _CONTAINERS), TAR)
        return _checked(AnswerForm(tuple(responses), container, container))
    (response,) = responses
    for name in wanted:
        if name == "*/*":
            break
        if name in _CONTAINERS:
            return _checked(AnswerForm((response,), name, name))
        if name == OCTETS:
            return _checked(AnswerForm((response,), None, OCTETS))
        if name in _IMAGES and not response.is_userdata:
            chosen = response.model_copy(update={"format": response.format.model_copy(update={"type": name})})
            return _checked(AnswerForm((chosen,), None, name))
    return _checked(AnswerForm((response,), None, response.format.type))


def check_outputs(responses: Iterable[Response], outputs: Mapping[str, object]) -> None:
    """That the script has the outputs that are asked for.

    Raises:
        RequestInvalid: it lacks one.
    """
    for response in responses:
        if not response.is_userdata and response.identifier not in outputs:
            listed = ", ".join(outputs)
            raise RequestInvalid(
                f"'{response.identifier}' is no output of the evalscript; its setup() has {listed}", RESPONSES
            )


def check_types(responses: Iterable[Response]) -> None:
    """That images are of a type of images, and user data is JSON.

    Raises:
        RequestInvalid: with what would do.
    """
    for response in responses:
        kind, name = response.format.type, response.identifier
        if kind == ZARR:
            raise RequestInvalid(f"response '{name}' is {ZARR}, which only Batch Processing V2 makes", RESPONSES)
        if response.is_userdata and kind != JSON:
            raise RequestInvalid(f"response '{name}' must be {JSON}, not {kind}", RESPONSES)
        if kind == JSON and not response.is_userdata:
            raise RequestInvalid(f"response '{name}' is {JSON}, which only 'userdata' can be", RESPONSES)


def _checked(form: AnswerForm) -> AnswerForm:
    check_types(form.responses)
    return form


def _accepted(accept: str | None) -> list[str]:
    """The types of an Accept header, those it likes best first."""
    found: list[tuple[float, int, str]] = []
    for place, part in enumerate((accept or "").split(",")):
        name, *parameters = (piece.strip() for piece in part.lower().split(";"))
        weight = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                try:
                    weight = float(value)
                except ValueError:
                    weight = 0.0
        if name and weight > 0:
            found.append((-weight, place, "image/jpeg" if name == "image/jpg" else name))
    return [name for _, _, name in sorted(found)]
