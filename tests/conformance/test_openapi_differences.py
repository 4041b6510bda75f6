"""Our own OpenAPI description beside the provider's: every difference is listed, with its reason."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from openapi_compare import find_differences
from swathe.server.app import create_app
from swathe.settings import Settings

# Together in one process, since they share what takes seconds to start.
pytestmark = pytest.mark.xdist_group("openapi")

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "reference" / "openapi" / "sentinel-hub-openapi.yaml"
LISTED = Path(__file__).with_name("openapi_differences.yaml")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return create_app(Settings(), tmp_path_factory.mktemp("home"), runs_jobs=False).openapi()


def to_expression(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")))


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the provider's description is not beside the checkout")
def test_every_difference_from_the_published_description_is_listed_with_its_reason(ours: dict[str, Any]) -> None:
    yaml = pytest.importorskip("yaml")
    published = yaml.load(PUBLISHED.read_text("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    differences = find_differences(published, ours)
    listed = yaml.safe_load(LISTED.read_text("utf-8"))
    assert all(len(entry["reason"]) > 20 for entry in listed)
    patterns = {pattern: to_expression(pattern) for entry in listed for pattern in entry["where"]}
    unlisted = [line for line in differences if not any(known.fullmatch(line) for known in patterns.values())]
    assert unlisted == [], "\n".join(["not listed:", *unlisted])
    stale = [pattern for pattern, known in patterns.items() if not any(map(known.fullmatch, differences))]
    assert stale == [], "\n".join(["listed, but no more:", *stale])


THEIRS: dict[str, Any] = {
    "paths": {
        "/a/{id}": {
            "parameters": [{"name": "id", "in": "path"}],
            "post": {
                "parameters": [{"name": "sort", "in": "query", "schema": {"enum": ["up", "down"]}}],
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Body"}}}},
                "responses": {
                    "200": {
                        "content": {
                            "application/json": {
                                "schema": {
                                    "type": "object",
                                    "required": ["x"],
                                    "properties": {"x": {"type": "number"}, "y": {"type": "string"}},
                                }
                            }
                        }
                    }
                },
            },
        },
        "/b": {"get": {"responses": {}}},
    },
    "components": {
        "schemas": {
            "Body": {
                "oneOf": [
                    {"type": "object", "required": ["a"], "properties": {"a": {"enum": ["p", "q"]}}},
                    {"type": "object", "properties": {"list": {"type": "array", "items": {"type": "number"}}}},
                ]
            }
        }
    },
}


def made_like(theirs: dict[str, Any]) -> dict[str, Any]:
    """The same service as we might describe it: other names in paths, and a twin."""
    post = {**theirs["paths"]["/a/{id}"]["post"]}
    paths = {"/v1/a/{key}": {"post": post}, "/a/{key}": {"post": {**post, "x-same-as": "/v1/a/{key}"}}}
    return {"paths": {**paths, "/b": theirs["paths"]["/b"]}, "components": theirs["components"]}


def test_the_same_service_in_other_words_has_no_differences() -> None:
    assert find_differences(THEIRS, made_like(THEIRS)) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: d["paths"].pop("/b"), "GET /b: theirs only"),
        (lambda d: d["paths"].update({"/c": {"get": {"responses": {}}}}), "GET /c: ours only"),
        (lambda d: post_of(d)["parameters"].clear(), "POST /a/{} parameter sort: theirs only"),
        (
            lambda d: post_of(d)["parameters"][0]["schema"]["enum"].remove("down"),
            "POST /a/{} parameter sort enum down: theirs only",
        ),
        (lambda d: body_of(d)[0]["properties"]["a"]["enum"].remove("q"), "POST /a/{} request a enum q: theirs only"),
        (lambda d: body_of(d)[0]["properties"].pop("a"), "POST /a/{} request a: theirs only"),
        (
            lambda d: body_of(d)[1]["properties"]["list"]["items"].update(type="integer"),
            "POST /a/{} request list[] type number: theirs only",
        ),
        (lambda d: body_of(d)[1].update(required=["a"]), "POST /a/{} request a required: ours only"),
        (lambda d: answer_of(d)["properties"].pop("y"), "POST /a/{} answer 200 y: theirs only"),
        (lambda d: answer_of(d).pop("required"), "POST /a/{} answer 200 x required: theirs only"),
        (
            lambda d: answer_of(d)["properties"]["x"].update(type=["number", "string"]),
            "POST /a/{} answer 200 x type string: ours only",
        ),
        (lambda d: post_of(d)["responses"].update({"404": {}}), "POST /a/{} answer 404: ours only"),
    ],
)
def test_what_differs_is_found(change: Any, expected: str) -> None:
    ours = made_like(copy.deepcopy(THEIRS))
    change(ours)
    assert find_differences(THEIRS, ours) == [expected]


def post_of(description: dict[str, Any]) -> dict[str, Any]:
    """Of both paths: they share all but the mark."""
    found: dict[str, Any] = description["paths"]["/a/{key}"]["post"]
    return found


def body_of(description: dict[str, Any]) -> list[dict[str, Any]]:
    alternatives: list[dict[str, Any]] = description["components"]["schemas"]["Body"]["oneOf"]
    return alternatives


def answer_of(description: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = post_of(description)["responses"]["200"]["content"]["application/json"]["schema"]
    return schema
