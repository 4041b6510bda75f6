"""The configuration API, and who may come to map services: bodies, other projects, tokens, the switch."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from swathe.server.app import create_app
from swathe.server.configuration import PATHS
from swathe.settings import Settings

INSTANCES, OLDER = PATHS
LAYER: dict[str, Any] = {
    "id": "NDVI",
    "title": "Greenness",
    "collectionType": "S2L2A",
    "datasetSourceId": 2,
    "datasourceDefaults": {"type": "S2L2A", "mosaickingOrder": "leastCC", "previewMode": "EXTENDED_PREVIEW"},
    "styles": [{"name": "default", "evalScript": "return [B04]"}],
}
ASK = {"REQUEST": "GetCapabilities"}


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., FastAPI]:
    home = tmp_path_factory.mktemp("layers") / "home"

    def app(**settings: Any) -> FastAPI:
        collections = [{"type": "sentinel-2-l2a", "source": str(home / "nowhere.json")}]
        layers = [{"name": "OWN", "collection": "sentinel-2-l2a", "evalscript": "return [B04]"}]
        told = {"collections": collections, "layers": layers, **settings}
        return create_app(Settings.model_validate(told), home, runs_jobs=False)

    return app


@pytest.fixture
def app(make: Callable[..., FastAPI]) -> FastAPI:
    return make()


@pytest.fixture
def http(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as http:
        http.headers.update(sign_in(app))
        yield http


def sign_in(app: FastAPI, project: str | None = None) -> dict[str, str]:
    client, _ = app.state.clients.create("me", project_id=project)
    return {"Authorization": f"Bearer {app.state.tokens.issue(client)}"}


def make_instance(http: TestClient, **more: Any) -> str:
    made = http.post(INSTANCES, json={"name": "mine", **more})
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def test_an_instance_from_its_making_to_its_end(http: TestClient) -> None:
    name = make_instance(http, description="first", additionalData={"showLogo": False, "imageQuality": 90})
    found = http.get(f"{INSTANCES}/{name}").json()
    assert (found["name"], found["description"], found["additionalData"]["imageQuality"]) == ("mine", "first", 90)
    assert found["@id"].endswith(f"{INSTANCES}/{name}")
    assert [one["id"] for one in http.get(OLDER).json()] == [name]
    assert http.put(f"{INSTANCES}/{name}", json={"name": "yours"}).json()["name"] == "yours"
    assert http.delete(f"{INSTANCES}/{name}").status_code == 204
    assert http.get(f"{INSTANCES}/{name}").status_code == 404
    assert http.get(INSTANCES).json() == []


def test_a_layer_from_its_making_to_its_end(http: TestClient) -> None:
    layers = f"{INSTANCES}/{make_instance(http)}/layers"
    made = http.post(layers, json=LAYER)
    assert made.status_code == 201, made.text
    assert made.json() == http.get(f"{layers}/NDVI").json() == http.get(layers).json()[0]
    found = made.json()
    assert {key: found[key] for key in LAYER} == LAYER  # with what we do not read
    assert (found["defaultStyleName"], found["orderHint"]) == ("default", 0)
    assert http.post(layers, json=LAYER).status_code == 409
    changed = http.put(f"{layers}/NDVI", json={**LAYER, "title": "other", "styles": [{"evalScript": "x"}]})
    assert (changed.status_code, changed.json()["title"]) == (200, "other")
    assert http.put(f"{layers}/nothing", json={**LAYER, "id": "nothing"}).status_code == 404
    assert http.delete(f"{layers}/NDVI").status_code == 204
    assert http.delete(f"{layers}/NDVI").status_code == 404


@pytest.mark.parametrize(
    ("change", "where", "told"),
    [
        ({"collectionType": None, "datasourceDefaults": {"type": "landsat"}}, "datasourceDefaults->type", "there are"),
        ({"collectionType": "mars", "datasourceDefaults": None}, "collectionType", "sentinel-2-l2a"),
        ({"styles": [{"name": "a", "evalScript": "x" * 500_001}]}, "styles->0->evalScript", "at most 500,000"),
        ({"id": "a/b"}, "id", "addresses"),
    ],
)
def test_a_layer_that_could_not_be_shown_is_refused(
    http: TestClient, change: dict[str, Any], where: str, told: str
) -> None:
    answer = http.post(f"{INSTANCES}/{make_instance(http)}/layers", json={**LAYER, **change})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["errors"]["parameter"]) == ("COMMON_BAD_PAYLOAD", where)
    assert told in error["message"]


def test_instances_are_a_projects_own_and_need_a_token(app: FastAPI, http: TestClient) -> None:
    name = make_instance(http)
    other = sign_in(app)
    assert http.get(INSTANCES, headers=other).json() == []
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/layers"), ("GET", "/layers/X")):
        assert http.request(method, f"{INSTANCES}/{name}{path}", headers=other).status_code == 404
    assert http.get(INSTANCES, headers={"Authorization": ""}).status_code == 401
    assert http.get(f"{INSTANCES}/none").status_code == 404


def test_layers_of_the_settings_are_looked_at_by_all_and_changed_by_none(http: TestClient) -> None:
    assert http.get(f"{INSTANCES}/public").json()["name"] == "public"
    (layer,) = http.get(f"{INSTANCES}/public/layers").json()
    assert http.get(f"{INSTANCES}/public/layers/{layer['id']}").json() == layer
    assert layer["styles"][0]["evalScript"].strip()
    assert http.get(f"{INSTANCES}/public/layers/none").status_code == 404
    for method, path in (("DELETE", ""), ("DELETE", f"/layers/{layer['id']}")):
        assert http.request(method, f"{INSTANCES}/public{path}").status_code == 404
    assert http.post(f"{INSTANCES}/public/layers", json=LAYER).status_code == 404


def test_the_id_of_an_instance_opens_its_layers_and_no_more(http: TestClient) -> None:
    name = make_instance(http)
    assert http.post(f"{INSTANCES}/{name}/layers", json=LAYER).status_code == 201
    del http.headers["Authorization"]
    assert "Greenness" in http.get(f"/ogc/wms/{name}", params=ASK).text
    assert "Greenness" in http.get(f"/ogc/wmts/{name}").text
    assert "OWN" in http.get("/ogc/wms/public").text
    missing = http.get(f"/ogc/wms/{uuid.uuid4()}", params=ASK)
    assert (missing.status_code, missing.headers["content-type"]) == (404, "text/xml; charset=utf-8")


def test_a_deployment_may_ask_for_a_token(make: Callable[..., FastAPI]) -> None:
    app = make(services={"map_access": "token"})
    project = str(uuid.uuid4())
    with TestClient(app, raise_server_exceptions=False) as http:
        mine = sign_in(app, project)
        name = http.post(INSTANCES, json={"name": "mine"}, headers=mine).json()["id"]
        refused = http.get(f"/ogc/wms/{name}", params=ASK)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert "ServiceException" in refused.text
        assert http.get(f"/ogc/wms/{name}", params=ASK, headers=mine).status_code == 200
        assert http.get(f"/ogc/wms/{name}", params=ASK, headers=sign_in(app, project)).status_code == 200
        assert http.get(f"/ogc/wms/{name}", params=ASK, headers=sign_in(app)).status_code == 404
        assert http.get("/ogc/wms/public", params=ASK, headers=sign_in(app)).status_code == 200
        assert http.get("/ogc/wms/public", params=ASK).status_code == 401


def test_a_deployment_may_switch_map_services_off(make: Callable[..., FastAPI]) -> None:
    with TestClient(make(services={"map_access": "off"}), raise_server_exceptions=False) as http:
        for service in ("wms", "wmts", "wcs", "wfs"):
            answer = http.get(f"/ogc/{service}/public", params=ASK)
            assert answer.status_code == 404
            assert "map_access" in answer.text


def test_an_instance_has_the_rate_limit_of_a_client(make: Callable[..., FastAPI]) -> None:
    with TestClient(make(rate_limits={"requests_per_minute": 2}), raise_server_exceptions=False) as http:
        statuses = [http.get("/ogc/wms/public", params=ASK).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        over = http.get("/ogc/wmts/public", params=ASK)
        assert (over.status_code, "ExceptionReport" in over.text) == (429, True)
        assert int(over.headers["Retry-After"]) > 1000
