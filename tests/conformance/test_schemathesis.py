"""Requests that Schemathesis makes up from our own description, good and bad ones: never 5xx, answers as described.

Few examples with a fixed seed, since CI has little time. For a long hunt: `SWATHE_EXAMPLES=300 pytest …`, which takes
other ones each time.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from serving import ENV, Serving, command, make_inputs, write_config
from swathe.server.describe_answers import TAGS
from swathe.server.describe_examples import EXAMPLES

EXAMPLES_EACH = int(os.environ.get("SWATHE_EXAMPLES", "6"))
IS_HUNT = "SWATHE_EXAMPLES" in os.environ
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# Making up odd values for a whole body takes long at first; the server's slowness is not what is tested.
RUN = settings(
    max_examples=EXAMPLES_EACH,
    derandomize=not IS_HUNT,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink] if IS_HUNT else [Phase.generate],
    suppress_health_check=list(HealthCheck),
)
# Where the scenes are.
AREA = {
    "bbox": [500_000, 5_099_400, 500_600, 5_100_000],
    "properties": {"crs": "http://www.opengis.net/def/crs/EPSG/0/32633"},
}
SCRIPT = """//VERSION=3
function setup() { return {input: ["B04", "B08"], output: {bands: 3}}; }
function evaluatePixel(sample) { return [sample.B04, sample.B08, 0.5]; }
"""


def example(name: str) -> Any:
    return next(iter(EXAMPLES[name].values()))


def over_the_scenes(name: str) -> Any:
    """The example, where there is something to compute."""
    body = copy.deepcopy(example(name))
    body["input"]["bounds"] = AREA
    if "evalscript" in body:
        body["evalscript"] = SCRIPT
    return body


BYOC = "/api/v1/byoc/collections"
NEARLY: dict[tuple[str, str], Any] = {
    ("/api/v1/statistics", "StatisticalRequest"): over_the_scenes("StatisticalRequest"),
    ("/api/v1/process", "ProcessRequest"): over_the_scenes("ProcessRequest"),
    ("/api/v1/async/process", "AsyncProcessRequest"): over_the_scenes("AsyncProcessRequest"),
    ("/api/v1/statistics/batch", "BatchStatisticalRequest"): example("BatchStatisticalRequest"),
    ("/api/v2/batch/process", "BatchV2ProcessRequest"): example("BatchV2ProcessRequest"),
    ("/api/v1/catalog/1.0.0/search", "Search"): {**example("Search"), "fields": {"include": ["id"], "exclude": []}},
    (BYOC, "BYOCCollection"): {
        **example("BYOCCollection"),
        "noData": 0,
        "additionalData": {"bands": {"B1": {"source": "B1", "bandIndex": 1, "bitDepth": 16, "sampleFormat": "UINT"}}},
    },
    (BYOC + "/{collection_id}", "BYOCCollectionUpdate"): example("BYOCCollectionUpdate"),
    (BYOC + "/{collection_id}/tiles", "BYOCTile"): {
        **example("BYOCTile"),
        "coverGeometry": {"type": "Polygon", "coordinates": [[[14, 46], [15, 46], [15, 47], [14, 46]]]},
    },
    (BYOC + "/{collection_id}/tiles/{tile_id}", "BYOCTileUpdate"): {
        **example("BYOCTileUpdate"),
        "coverGeometry": {"type": "Polygon", "coordinates": [[[14, 46], [15, 46], [15, 47], [14, 46]]]},
    },
}
"""Bodies that are taken, by path and schema."""
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1, 10**30, 2**63, -(2**63) - 1, 1e308, -1e308, 1e-308, 5e-324, 3.7]),
    st.sampled_from(
        ["", " ", "\x00", "0", "NaN", "s3://", "s3://b/../x", "P1D", "9999-12-31T23:59:59Z", "😀", "../.."]
    ),
    st.text(max_size=8),
    st.sampled_from([[], {}, [[]], [None], {"": None}, [1e308, 1e308], [[0, 0], [1, 1]]]),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, dict[str, dict[str, str]]]]:
    """A server over a few scenes, and ids of what there is, by tag and by the name of the parameter."""
    folder = tmp_path_factory.mktemp("schemathesis")
    catalog, _ = make_inputs(folder, parcels=2, dates=2, size=64)
    with Serving(folder / "home", config=write_config(folder / "swathe.toml", catalog, workers=1)) as serving:
        made = command("client", "create", "me", "--home", str(serving.home), "--scope", "admin", "--json")
        client = json.loads(subprocess.run(made, capture_output=True, text=True, check=True, env=ENV).stdout)
        http = serving.session(client)
        yield http, make_things(http)


def make_things(http: httpx.Client) -> dict[str, dict[str, str]]:
    """One of each thing that has an id."""

    def make(path: str, body: str | dict[str, Any]) -> Any:
        answer = http.post(path, json=example(body) if isinstance(body, str) else body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    collection = make("/api/v1/byoc/collections", "BYOCCollection")["data"]["id"]
    tile = make(f"/api/v1/byoc/collections/{collection}/tiles", "BYOCTile")["data"]["id"]
    configuration = "/api/v2/configuration/instances"
    instance = make(configuration, {"name": "maps"})["id"]
    styles = [{"name": "default", "evalScript": SCRIPT}]
    layer = {"id": "L1", "styles": styles, "collectionType": "sentinel-2-l2a"}
    make(f"{configuration}/{instance}/layers", layer)
    items = http.get("/api/v1/catalog/1.0.0/search").json()["features"]
    return {
        "batch_statistical": {"request_id": make("/api/v1/statistics/batch", "BatchStatisticalRequest")["id"]},
        "batch_v2_process": {"request_id": make("/api/v2/batch/process", "BatchV2ProcessRequest")["id"]},
        "batch_v2_tiling_grid": {"grid_id": "1"},
        "layers": {"instance_id": instance, "layer_id": "L1"},
        "byoc": {"collection_id": collection, "tile_id": tile},
        "catalog": {"collection_id": items[0]["collection"], "item_id": items[0]["id"]},
    }


@pytest.mark.parametrize("tag", TAGS)
def test_nothing_makes_the_server_fail_and_answers_are_as_described(
    server: tuple[httpx.Client, dict[str, dict[str, str]]], tag: str
) -> None:
    http, things = server
    description = http.get("/openapi.json").json()
    known = things.get(tag, {})
    seen = 0
    for operation in operations_of(description, tag):
        seen += 1
        check(operation, GenerationMode.POSITIVE, http, {} if operation.method == "delete" else known)
        if operation.body or operation.query:  # a path takes any text, so there is no bad one
            check(operation, GenerationMode.NEGATIVE, http, {} if operation.method == "delete" else known)
    assert seen, f"there are no operations with the tag {tag}"


@pytest.mark.parametrize(("path", "name"), NEARLY)
def test_what_is_nearly_right_does_not_make_the_server_fail(
    server: tuple[httpx.Client, dict[str, dict[str, str]]], path: str, name: str
) -> None:
    http, things = server
    description = http.get("/openapi.json").json()
    schema = schemathesis.openapi.from_dict(description)
    good = NEARLY[path, name]
    method = "PUT" if "Update" in name else "POST"
    operation = schema[path][method]
    headers = {"Authorization": http.headers["Authorization"]}

    @RUN
    @given(body=spoilt(good))
    def run(body: Any) -> None:
        parts = {key: value for key, value in things["byoc"].items() if "{" + key in path}
        case = operation.Case(path_parameters=parts, body=body, media_type="application/json")
        answer = case.call(base_url=str(http.base_url), headers=headers, timeout=180)
        case.validate_response(answer, checks=CHECKS)

    run()


def places_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all members and elements."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield (*path, key)
        yield from places_of(member, (*path, key))


@st.composite
def spoilt(draw: st.DrawFn, good: Any) -> Any:
    """A good body of which one or two members are missing or odd."""
    body = copy.deepcopy(good)
    for _ in range(draw(st.integers(0, 2))):
        places = list(places_of(body))
        if places:
            *above, last = draw(st.sampled_from(places))
            holder = body
            for key in above:
                holder = holder[key]
            if draw(st.booleans()):
                holder[last] = copy.deepcopy(draw(ODD))
            else:
                holder.pop(last)
    return body


def operations_of(description: dict[str, Any], tag: str) -> Iterator[Any]:
    """The operations with this tag; of those on several paths the first one, since the others do the same."""
    schema = schemathesis.openapi.from_dict(description)
    for found in schema.get_all_operations():
        operation = found.ok()
        raw = operation.definition.raw
        if raw.get("tags") == [tag] and "x-same-as" not in raw:
            yield operation


def check(operation: Any, mode: GenerationMode, http: httpx.Client, known: dict[str, str]) -> None:
    """Sends what Schemathesis makes up, to things that there are and to such that there are not."""
    headers = {"Authorization": http.headers["Authorization"]}
    strategy = operation.as_strategy(generation_mode=mode)

    @RUN
    @given(case=strategy, is_known=st.booleans())
    def run(case: Any, is_known: bool) -> None:
        if is_known and known:
            case.path_parameters = {name: known.get(name, value) for name, value in case.path_parameters.items()}
        answer = case.call(base_url=str(http.base_url), headers=headers, timeout=180)
        case.validate_response(answer, checks=CHECKS)

    run()
