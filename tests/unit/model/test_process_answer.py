"""Which files the Process API answers with, by the request and the header Accept."""

from __future__ import annotations

import pytest

from swathe.model.errors import RequestInvalid
from swathe.model.process_answer import AnswerForm, check_outputs, choose_form
from swathe.model.process_output import Response


def response(identifier: str = "default", kind: str = "image/tiff", **how: object) -> Response:
    return Response.model_validate({"identifier": identifier, "format": {"type": kind, **how}})


ONE = (response(),)
USERDATA = (response("userdata", "application/json"),)
TWO = (response("a", "image/png"), response("userdata", "application/json"))


def said(form: AnswerForm) -> tuple[str | None, str, list[str]]:
    return form.container, form.media_type, [one.format.type for one in form.responses]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "image/tiff"),
        ("", "image/tiff"),
        ("*/*", "image/tiff"),
        ("application/json, text/plain, */*", "image/tiff"),
        ("application/json", "image/tiff"),
        ("image/avif,image/webp,image/*,*/*;q=0.8", "image/tiff"),
        ("image/png", "image/png"),
        ("IMAGE/PNG;depth=8", "image/png"),
        ("image/jpg", "image/jpeg"),
        ("text/html, image/png;q=0.5, image/jpeg;q=0.9", "image/jpeg"),
        ("image/png;q=0, */*", "image/tiff"),
        ("*/*, image/png;q=0.5", "image/tiff"),
        ("image/png;q=nonsense", "image/tiff"),
        (";;,,", "image/tiff"),
    ],
)
def test_an_image_type_in_accept_wins_over_the_body(accept: str | None, kind: str) -> None:
    assert said(choose_form(ONE, accept)) == (None, kind, [kind])


def test_the_quality_stays_with_another_type() -> None:
    form = choose_form((response(kind="image/png", quality=31),), "image/jpeg")
    assert form.responses[0].format.quality == 31


@pytest.mark.parametrize("accept", [None, "*/*", "image/png", "application/json"])
def test_user_data_alone_is_json(accept: str | None) -> None:
    assert said(choose_form(USERDATA, accept)) == (None, "application/json", ["application/json"])


@pytest.mark.parametrize(
    ("accept", "container"),
    [
        (None, "application/tar"),
        ("*/*", "application/tar"),
        ("image/png", "application/tar"),
        ("application/x-tar", "application/x-tar"),
        ("application/tar", "application/tar"),
        ("multipart/mixed, application/tar;q=0.5", "multipart/mixed"),
    ],
)
def test_several_responses_come_in_the_container_asked_for(accept: str | None, container: str) -> None:
    assert said(choose_form(TWO, accept)) == (container, container, ["image/png", "application/json"])


def test_one_response_in_a_container_or_as_octets_where_asked_for() -> None:
    assert said(choose_form(ONE, "application/tar")) == ("application/tar", "application/tar", ["image/tiff"])
    assert said(choose_form(ONE, "application/octet-stream")) == (None, "application/octet-stream", ["image/tiff"])


@pytest.mark.parametrize(
    ("responses", "message"),
    [
        ((response("default", "application/json"),), "only 'userdata' can be"),
        ((response("userdata", "image/png"),), "must be application/json"),
        ((response("default", "zarr/array"),), "only Batch Processing V2"),
    ],
)
def test_a_type_that_a_response_cannot_be_of(responses: tuple[Response, ...], message: str) -> None:
    with pytest.raises(RequestInvalid, match=message) as caught:
        choose_form(responses, None)
    assert caught.value.parameter == "output->responses"


def test_an_output_that_the_script_lacks_is_named_with_those_it_has() -> None:
    check_outputs(TWO, {"a": 1})
    with pytest.raises(RequestInvalid, match="'default' is no output of the evalscript; its setup\\(\\) has a, b"):
        check_outputs(ONE, {"a": 1, "b": 1})
