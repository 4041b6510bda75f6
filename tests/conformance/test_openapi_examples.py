"""The example requests of the provider's description, and our own: what is published is taken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator
from py_mini_racer import MiniRacer

from openapi_compare import find_examples
from serving import make_inputs
from swathe.model.process import ProcessRequest
from swathe.server.app import create_app
from swathe.server.describe_bodies import BODIES
from swathe.server.describe_examples import EXAMPLES
from swathe.settings import Settings

# Together in one process, since they share what takes seconds to start.
pytestmark = pytest.mark.xdist_group("openapi")

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "reference" / "openapi" / "sentinel-hub-openapi.yaml"
CATALOG = "/catalog/v1/search"
# Values of theirs that are refused, and why.
REFUSED: dict[str, str] = {}
# What a script in the browser would send: `fetch` notes its arguments.
NOTE_FETCH = """
var sent = [];
function fetch(url, what) { sent.push({url: url, what: what}); return {then: function() { return this; }}; }
"""


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    if not PUBLISHED.exists():
        pytest.skip("the provider's description is not beside the checkout (it is not ours to distribute)")
    yaml = pytest.importorskip("yaml")
    found: dict[str, Any] = yaml.load(
        PUBLISHED.read_text("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    )
    return found


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("examples")
    catalog, _ = make_inputs(folder, parcels=1, dates=2, size=32)
    collections = [{"type": "sentinel-2-l2a", "source": str(catalog)}]
    app = create_app(Settings.model_validate({"collections": collections}), folder / "home", runs_jobs=False)
    with TestClient(app) as client:
        made, _ = app.state.clients.create("me")
        client.headers["Authorization"] = f"Bearer {app.state.tokens.issue(made)}"
        yield client


def problems(description: dict[str, Any], schema: dict[str, Any], value: Any) -> list[str]:
    whole = {**schema, "components": description["components"]}
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(whole).iter_errors(value)]


def test_every_example_in_a_published_body_fits_our_description(published: dict[str, Any], http: TestClient) -> None:
    ours = http.get("/openapi.json").json()
    examples = list(find_examples(published, ours))
    assert len(examples) > 20
    refused = {where for where, value, schema in examples if problems(ours, schema, value)}
    assert refused == set(REFUSED)


def test_the_published_search_is_answered(published: dict[str, Any], http: TestClient) -> None:
    operation = published["paths"][CATALOG]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    answer = http.post(CATALOG, json=example)
    assert answer.status_code == 200, answer.text
    assert answer.json()["type"] == "FeatureCollection"
    # Where and when there are scenes, and without a condition on clouds, which these do not tell.
    there = {"bbox": [-180, -90, 180, 90], "datetime": "2020-06-01T00:00:00Z/..", "filter": None}
    found = http.post(CATALOG, json={**example, **there})
    assert len(found.json()["features"]) == min(2, example.get("limit", 10)), found.text


def test_published_parameters_of_a_search_are_taken(published: dict[str, Any], http: TestClient) -> None:
    found = {}
    for parameter in published["paths"][CATALOG]["get"]["parameters"]:
        if "$ref" in parameter:
            parameter = published["components"]["parameters"][parameter["$ref"].rsplit("/", 1)[1]]
        example = parameter.get("example", parameter.get("schema", {}).get("example"))
        if example is not None:
            found[parameter["name"]] = ",".join(map(str, example)) if isinstance(example, list) else str(example)
    assert len(found) >= 6
    for name, value in found.items():
        answer = http.get(CATALOG, params={name: value})
        assert answer.status_code == 200, (name, value, answer.text)
    assert http.get(CATALOG, params=found).status_code == 200


def test_published_samples_of_the_process_api_are_taken(published: dict[str, Any], http: TestClient) -> None:
    samples = published["paths"]["/process/v1"]["post"]["x-codeSamples"]
    scripts = [sample["source"] for sample in samples if sample["lang"].lower() == "javascript"]
    assert scripts
    for script in scripts:
        context = MiniRacer()
        context.eval(NOTE_FETCH)
        context.eval(f"(function() {{ {script} }})()")
        sent = json.loads(context.eval("JSON.stringify(sent)"))
        assert sent[0]["what"]["method"] == "POST"
        body = json.loads(sent[0]["what"]["body"])
        ProcessRequest.model_validate(body)
        assert problems(http.get("/openapi.json").json(), {"$ref": "#/components/schemas/ProcessRequest"}, body) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_our_own_examples_fit_what_is_described_and_what_reads_them(name: str, http: TestClient) -> None:
    ours = http.get("/openapi.json").json()
    for example in EXAMPLES[name].values():
        assert problems(ours, {"$ref": f"#/components/schemas/{name}"}, example) == []
        if name in BODIES:
            BODIES[name].model_validate(example)
        else:
            assert http.post(CATALOG, json=example).status_code == 200
