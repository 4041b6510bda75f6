"""Each project sees its own and nothing of others', in every family of the API, with real tokens."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from swathe.jobs.keys import KeyPairs
from swathe.server.app import create_app
from swathe.settings import Settings

STATISTICS, PROCESS = "/api/v1/statistics/batch", "/batch/v2/process"
ASYNC, BYOC, CATALOG = "/async/v1/process", "/byoc/v1", "/catalog/v1"
MAPS, CONSOLE = "/configuration/v1/wms/instances", "/console/v1"
NOBODYS = str(uuid.UUID(int=1))


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    return create_app(Settings(), tmp_path_factory.mktemp("home"), runs_jobs=False)


@pytest.fixture(scope="module")
def server(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as server:
        yield server


class Member:
    """A client of a project."""

    def __init__(self, app: FastAPI, server: httpx.Client, project: str) -> None:
        self.project, self._server = project, server
        self.client, _ = app.state.clients.create("a member", project_id=project)
        self._headers = {"Authorization": f"Bearer {app.state.tokens.issue(self.client)}"}

    def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return self._server.request(method, path, json=body, headers=self._headers)


@pytest.fixture(scope="module")
def owner(app: FastAPI, server: TestClient) -> Member:
    return Member(app, server, str(uuid.uuid4()))


@pytest.fixture(scope="module")
def colleague(app: FastAPI, server: TestClient, owner: Member) -> Member:
    return Member(app, server, owner.project)


@pytest.fixture(scope="module")
def stranger(app: FastAPI, server: TestClient) -> Member:
    return Member(app, server, str(uuid.uuid4()))


@pytest.fixture(scope="module")
def things(app: FastAPI, owner: Member) -> dict[str, str]:
    """The owner's, by what they are called in paths."""
    store, made = app.state.store, {}
    for kind in ("statistics", "process", "async"):
        job = store.create(
            client_id=owner.client.id,
            project_id=owner.project,
            request={"input": {}},
            keys=KeyPairs(),
            description="found",
            kind=kind,
        )
        made[kind] = job.id
    collection = owner.ask("POST", f"{BYOC}/collections", {"name": "found", "s3Bucket": "flights"})
    made["collection"] = collection.json()["data"]["id"]
    place = f"{BYOC}/collections/{made['collection']}/tiles"
    made["tile"] = owner.ask("POST", place, {"path": "a/(BAND).tif"}).json()["data"]["id"]
    made["instance"] = owner.ask("POST", MAPS, {"name": "found"}).json()["id"]
    answer = owner.ask("POST", f"{MAPS}/{made['instance']}/layers", layer_of(made["collection"]))
    assert answer.status_code == 201, answer.text
    return made


def layer_of(collection: str) -> dict[str, Any]:
    return {"id": "L", "collectionType": f"byoc-{collection}", "styles": [{"evalScript": "//VERSION=3"}]}


# What a project's members may ask; `{…}` is the owner's thing of this name.
COLLECTION = f"{BYOC}/collections/{{collection}}"
SEEN = [
    f"{STATISTICS}/{{statistics}}",
    f"{STATISTICS}/{{statistics}}/status",
    f"{STATISTICS}/{{statistics}}/log",
    f"{PROCESS}/{{process}}",
    f"{PROCESS}/{{process}}/status",
    f"{PROCESS}/{{process}}/log",
    f"{ASYNC}/{{async}}",
    COLLECTION,
    f"{COLLECTION}/tiles",
    f"{COLLECTION}/tiles/{{tile}}",
    f"{CATALOG}/collections/byoc-{{collection}}",
    f"{CATALOG}/collections/byoc-{{collection}}/items",
    f"{CATALOG}/collections/byoc-{{collection}}/queryables",
    f"{MAPS}/{{instance}}",
    f"{MAPS}/{{instance}}/layers",
    f"{MAPS}/{{instance}}/layers/L",
    f"{CONSOLE}/jobs/{{statistics}}",
    f"{CONSOLE}/jobs/{{statistics}}/events",
    f"{CONSOLE}/jobs/{{process}}/errors",
]
DONE: list[tuple[str, str, Any]] = [
    *(("POST", f"{STATISTICS}/{{statistics}}/{action}", None) for action in ("analyse", "start", "stop")),
    *(("POST", f"{PROCESS}/{{process}}/{action}", None) for action in ("analyse", "start", "stop")),
    ("PUT", f"{PROCESS}/{{process}}", {"description": "taken"}),
    ("PUT", COLLECTION, {"name": "taken", "s3Bucket": "flights"}),
    ("DELETE", COLLECTION, None),
    ("POST", f"{COLLECTION}/tiles", {"path": "b/(BAND).tif"}),
    ("POST", f"{COLLECTION}/copyTiles?toCollection={NOBODYS}", None),
    ("PUT", f"{COLLECTION}/tiles/{{tile}}", {"sensingTime": "2020-01-01T00:00:00Z"}),
    ("POST", f"{COLLECTION}/tiles/{{tile}}/reingest", None),
    ("DELETE", f"{COLLECTION}/tiles/{{tile}}", None),
    ("PUT", f"{MAPS}/{{instance}}", {"name": "taken"}),
    ("DELETE", f"{MAPS}/{{instance}}", None),
    ("DELETE", f"{MAPS}/{{instance}}/layers/L", None),
    ("POST", f"{CONSOLE}/jobs/{{statistics}}/start", None),
]
LISTS = [STATISTICS, PROCESS, f"{BYOC}/collections", f"{CATALOG}/collections", MAPS, f"{CONSOLE}/jobs"]


@pytest.mark.parametrize("path", SEEN)
def test_what_members_see_is_not_there_for_others(
    things: dict[str, str], owner: Member, colleague: Member, stranger: Member, path: str
) -> None:
    path = path.format(**things)
    assert [member.ask("GET", path).status_code for member in (owner, colleague, stranger)] == [200, 200, 404]


@pytest.mark.parametrize(("method", "path", "body"), DONE)
def test_others_can_do_nothing_to_it(
    things: dict[str, str], owner: Member, stranger: Member, method: str, path: str, body: Any
) -> None:
    before = [owner.ask("GET", one.format(**things)).json() for one in SEEN]
    answer = stranger.ask(method, path.format(**things), body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "COMMON_NOT_FOUND")
    assert "nothing at" not in answer.text, "there is no such operation"
    assert [owner.ask("GET", one.format(**things)).json() for one in SEEN] == before


@pytest.mark.parametrize("path", LISTS)
def test_lists_have_the_projects_own_alone(
    things: dict[str, str], colleague: Member, stranger: Member, path: str
) -> None:
    mine, others = colleague.ask("GET", path), stranger.ask("GET", path)
    assert (mine.status_code, others.status_code) == (200, 200)
    assert any(name in mine.text for name in things.values())
    assert not any(name in others.text for name in things.values())
    for query in (f"search={things['process']}", f"userid={colleague.client.id}", "search=found"):
        found = stranger.ask("GET", f"{path}?{query}").json()
        shown = json.dumps({**found, "links": None} if isinstance(found, dict) else found)
        assert not any(name in shown for name in things.values()), query


def test_somebody_elses_collection_cannot_be_copied_to(things: dict[str, str], stranger: Member) -> None:
    own = stranger.ask("POST", f"{BYOC}/collections", {"name": "own", "s3Bucket": "flights"}).json()["data"]["id"]
    answer = stranger.ask("POST", f"{BYOC}/collections/{own}/copyTiles?toCollection={things['collection']}")
    assert answer.status_code == 404
    found = stranger.ask("GET", f"{BYOC}/global?ids={things['collection']},{own}").json()["data"]
    assert [one["id"] for one in found] == [own]


def _bodies(collection: str) -> dict[str, Any]:
    """Requests of all kinds over a collection."""
    script = "//VERSION=3\nfunction setup() { return {input: ['B1'], output: {bands: 1}} }"
    source = {"type": f"byoc-{collection}"}
    times = {"timeRange": {"from": "2020-06-01T00:00:00Z", "to": "2020-06-30T00:00:00Z"}}
    bounds = {"bbox": [13.0, 45.0, 13.01, 45.01]}
    place = {"s3": {"url": "s3://out/x", "accessKey": "a", "secretAccessKey": "b"}}
    aggregation = {**times, "aggregationInterval": {"of": "P1D"}, "evalscript": script}
    image = {
        "input": {"bounds": bounds, "data": [{**source, "dataFilter": times}]},
        "output": {"width": 8, "height": 8, "responses": [{"identifier": "default", "format": {"type": "image/tiff"}}]},
        "evalscript": script,
    }
    grid = {"type": "tiling-grid", "id": 0, "resolution": 60.0}
    return {
        STATISTICS: {
            "input": {"features": {"s3": {**place["s3"], "url": "s3://in/x.gpkg"}}, "data": [source]},
            "aggregation": {**aggregation, "resx": 10, "resy": 10},
            "output": place,
        },
        "/statistics/v1": {
            "input": {"bounds": bounds, "data": [source]},
            "aggregation": {**aggregation, "width": 8, "height": 8},
        },
        "/process/v1": image,
        ASYNC: {**image, "output": {**image["output"], "delivery": place}},
        PROCESS: {
            "processRequest": {**image, "output": {"responses": image["output"]["responses"]}},
            "input": grid,
            "output": {"type": "raster", "delivery": place},
        },
        f"{CATALOG}/search": {"collections": [source["type"]], "limit": 1},
    }


@pytest.mark.parametrize("path", list(_bodies("x")))
def test_somebody_elses_collection_is_no_data_of_a_request(things: dict[str, str], stranger: Member, path: str) -> None:
    """The answer is the same as for a collection that is not there."""
    theirs, nobodys = (stranger.ask("POST", path, _bodies(name)[path]) for name in (things["collection"], NOBODYS))
    assert theirs.status_code == nobodys.status_code == 400
    assert theirs.text == nobodys.text.replace(NOBODYS, things["collection"])
    assert things["collection"] in theirs.text


def test_somebody_elses_collection_is_no_layer(things: dict[str, str], stranger: Member) -> None:
    own = stranger.ask("POST", MAPS, {"name": "own"}).json()["id"]
    theirs, nobodys = (
        stranger.ask("POST", f"{MAPS}/{own}/layers", layer_of(name)) for name in (things["collection"], NOBODYS)
    )
    assert theirs.status_code == nobodys.status_code == 400
    assert theirs.text == nobodys.text.replace(NOBODYS, things["collection"])
    answer = stranger.ask("POST", f"{MAPS}/{things['instance']}/layers", layer_of(NOBODYS))
    assert answer.status_code in (400, 404)
    assert stranger.ask("GET", f"{MAPS}/{own}/layers").json() == []
