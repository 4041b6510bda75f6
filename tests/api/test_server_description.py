"""Our own OpenAPI description says something of everything, and the same thing of twins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from openapi_compare import METHODS
from swathe.server.app import create_app
from swathe.server.describe_answers import TAGS, answer_schemas
from swathe.server.describe_bodies import body_schemas
from swathe.server.describe_catalog import catalog_schemas
from swathe.settings import Settings


@pytest.fixture(scope="module")
def description(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return create_app(Settings(), tmp_path_factory.mktemp("home"), runs_jobs=False).openapi()


def operations(description: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, ways in description["paths"].items():
        yield from ((f"{method} {path}", ways[method]) for method in METHODS if method in ways)


def test_every_operation_has_a_summary_and_a_tag_that_is_explained(description: dict[str, Any]) -> None:
    for name, operation in operations(description):
        assert operation["summary"], name
        assert len(operation["tags"]) == 1, name
        assert operation["tags"][0] in TAGS, f"{name}: no test sends anything to what has no tag of these"
    assert {tag["name"] for tag in description["tags"]} == set(TAGS)


def test_what_is_read_is_described_and_what_may_go_wrong_is_told(description: dict[str, Any]) -> None:
    for name, operation in operations(description):
        statuses = set(operation["responses"])
        assert "422" not in statuses, name
        for content in operation.get("requestBody", {}).get("content", {}).values():
            assert "$ref" in content["schema"] or content["schema"]["properties"], name
        if "requestBody" in operation:
            assert {"400", "413"} <= statuses, name
        if "security" in operation:
            assert {"401", "429", "500", "503"} <= statuses, name


def test_twins_say_the_same_as_the_first_of_them(description: dict[str, Any]) -> None:
    seen = 0
    for name, operation in operations(description):
        if "x-same-as" in operation:
            seen += 1
            first = description["paths"][operation["x-same-as"]][name.split(" ")[0]]
            own = ("operationId", "x-same-as")
            assert {k: v for k, v in operation.items() if k not in own} == {
                k: v for k, v in first.items() if k not in own
            }
    assert seen > 30


def test_no_schema_takes_the_name_of_another() -> None:
    bodies, answers, catalog = body_schemas(), answer_schemas(), catalog_schemas()
    assert not bodies.keys() & (answers.keys() | catalog.keys())
    for name in answers.keys() & catalog.keys():
        assert answers[name] == catalog[name], name
