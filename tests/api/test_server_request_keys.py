"""Through the server: filters that only some collections have choose scenes, what is not computed is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import rasterio
import sentinelhub
from fastapi.testclient import TestClient

from builders import make_catalog, make_request, make_scene
from engines import LEFT, TOP
from swathe.server.app import create_app
from swathe.settings import Settings

BBOX = [LEFT, TOP - 120, LEFT + 120, TOP]
UTM = {"crs": "http://www.opengis.net/def/crs/EPSG/0/32633"}
JUNE = {"from": "2020-06-01T00:00:00Z", "to": "2020-06-05T00:00:00Z"}
PARTIES = {
    "up": {"sat:orbit_state": "ascending", "sar:polarizations": ["VV", "VH"]},
    "down": {"sat:orbit_state": "descending", "sar:polarizations": ["VV", "VH"]},
    "single": {"sat:orbit_state": "ascending", "sar:polarizations": ["VV"]},
    "silent": {},
}


def script(band: str, unit: str) -> str:
    return f"""//VERSION=3
function setup() {{
  return {{input: [{{bands: ["{band}", "dataMask"], units: ["{unit}", "DN"]}}],
    output: [{{id: "default", bands: 1, sampleType: "FLOAT32"}}, {{id: "dataMask", bands: 1}}]}}
}}
function evaluatePixel(s) {{ return {{default: [s.{band}], dataMask: [s.dataMask]}} }}
"""


RADAR, HEIGHTS = script("VV", "LINEAR_POWER"), script("DEM", "METERS")


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("keys")
    items = []
    for day, (name, told) in enumerate(PARTIES.items(), 1):
        power = np.full((12, 12), day, np.float32)
        item = make_scene(folder / "radar", name, f"2020-06-0{day}T05:00:00Z", {"vv": power}, scale=None)
        item["properties"] |= {"sar:instrument_mode": "IW", **told}
        if name == "silent":
            item["properties"].pop("sar:instrument_mode")
        items.append(item)
    heights = make_scene(folder / "heights", "h", "2013-01-01T00:00:00Z", {"dem": np.full((12, 12), 42, np.float32)})
    for asset in heights["assets"].values():
        asset.pop("raster:scale")
    settings = Settings.model_validate(
        {
            "collections": [
                {
                    "type": "sentinel-1-grd",
                    "source": str(make_catalog(folder / "radar", items)),
                    "holds": {"backCoeff": "GAMMA0_TERRAIN", "orthorectify": True},
                },
                {
                    "type": "dem",
                    "source": str(make_catalog(folder / "heights", [heights])),
                    "holds": {"demInstance": "COPERNICUS_30"},
                },
            ],
            "services": {"processes": 1, "threads": 2},
        }
    )
    app = create_app(settings, folder / "home", runs_jobs=False)
    with TestClient(app, raise_server_exceptions=False) as http:
        client, _ = app.state.clients.create("me", project_id="mine")
        http.headers["Authorization"] = f"Bearer {app.state.tokens.issue(client)}"
        yield http


def statistics(http: TestClient, data: dict[str, Any], text: str = RADAR) -> httpx.Response:
    body = make_request(text, end="2020-06-05T00:00:00Z", data=[data])
    body["input"]["bounds"] = {"bbox": BBOX, "properties": UTM}
    return http.post("/api/v1/statistics", json=body)


def means(answer: httpx.Response) -> dict[str, float]:
    """The mean of each day that there is."""
    assert answer.status_code == 200, answer.text
    return {
        entry["interval"]["from"][8:10]: entry["outputs"]["default"]["bands"]["B0"]["stats"]["mean"]
        for entry in answer.json()["data"]
    }


def image(http: TestClient, data: dict[str, Any], text: str = RADAR) -> httpx.Response:
    body = {
        "input": {"bounds": {"bbox": BBOX, "properties": UTM}, "data": [data]},
        "output": {
            "width": 12,
            "height": 12,
            "responses": [{"identifier": "default", "format": {"type": "image/tiff"}}],
        },
        "evalscript": text,
    }
    return http.post("/api/v1/process", json=body)


def value(answer: httpx.Response) -> float:
    assert answer.status_code == 200, answer.text
    with rasterio.MemoryFile(answer.content) as memory, memory.open() as file:
        return float(file.read(1)[6, 6])


def test_filters_choose_the_scenes_of_statistics_and_images(http: TestClient) -> None:
    assert means(statistics(http, {"type": "S1GRD"})) == {"01": 1, "02": 2, "03": 3, "04": 4}
    assert means(statistics(http, {"type": "S1GRD", "dataFilter": {"orbitDirection": "DESCENDING"}})) == {"02": 2}
    assert means(statistics(http, {"type": "S1GRD", "dataFilter": {"polarization": "SV"}})) == {"03": 3, "04": 4}
    assert value(image(http, {"type": "S1GRD"})) == 4
    assert value(image(http, {"type": "S1GRD", "dataFilter": {"orbitDirection": "ASCENDING"}})) == 3
    both = {"orbitDirection": "ASCENDING", "polarization": "DV"}
    assert value(image(http, {"type": "S1GRD", "dataFilter": both})) == 1


def test_the_collections_of_the_published_client_mean_what_they_say(http: TestClient) -> None:
    data = sentinelhub.SentinelHubStatistical.input_data(sentinelhub.DataCollection.SENTINEL1_IW_ASC)
    assert set(data["dataFilter"]) == {"acquisitionMode", "polarization", "resolution", "orbitDirection"}
    assert means(statistics(http, dict(data))) == {"01": 1}
    held, other = (
        dict(sentinelhub.SentinelHubStatistical.input_data(collection))
        for collection in (sentinelhub.DataCollection.DEM_COPERNICUS_30, sentinelhub.DataCollection.DEM_MAPZEN)
    )
    assert value(image(http, held, HEIGHTS)) == 42
    assert "demInstance MAPZEN is not computed" in image(http, other, HEIGHTS).json()["error"]["message"]


def test_heights_do_not_obey_the_time_that_is_asked_for(http: TestClient) -> None:
    assert value(image(http, {"type": "DEM", "dataFilter": {"timeRange": JUNE}}, HEIGHTS)) == 42
    assert means(statistics(http, {"type": "DEM"}, HEIGHTS)) == {"01": 42, "02": 42, "03": 42, "04": 42}


@pytest.mark.parametrize(
    ("change", "place", "says"),
    [
        ({"processing": {"backCoeff": "SIGMA0_ELLIPSOID"}}, "processing->backCoeff", "its files hold GAMMA0_TERRAIN"),
        ({"processing": {"speckleFilter": {"type": "LEE"}}}, "processing->speckleFilter", "leave it out"),
        ({"dataFilter": {"orbitDirection": "UP"}}, "dataFilter->orbitDirection", "'ASCENDING' or 'DESCENDING'"),
        ({"processing": {"speckleFilter": {"type": "BOXCAR"}}}, "processing->speckleFilter->type", "'NONE' or 'LEE'"),
        ({"dataFilter": {"timeliness": "Fast24h"}}, "dataFilter->timeliness", "None of the 4 scenes"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_the_field_and_the_way_out(
    http: TestClient, change: dict[str, Any], place: str, says: str
) -> None:
    for answer in (statistics(http, {"type": "S1GRD", **change}), image(http, {"type": "S1GRD", **change})):
        assert answer.status_code == 400, answer.text
        error = answer.json()["error"]
        told = error["message"] + str(error.get("errors"))
        assert place in told, error
        assert says in told, error


def test_a_batch_request_for_other_numbers_is_refused_when_it_is_posted(http: TestClient) -> None:
    place = {"s3": {"url": "s3://bucket/in.gpkg"}}
    data = {"type": "S1GRD", "processing": {"backCoeff": "BETA0"}}
    body = make_request(RADAR, data=[data])
    body["input"]["features"], body["output"] = place, {"s3": {"url": "s3://bucket/out"}}
    answers = [http.post("/api/v1/statistics/batch", json=body)]
    v2 = {
        "processRequest": {
            "input": {"data": [data]},
            "output": {"responses": [{"identifier": "default", "format": {"type": "image/tiff"}}]},
            "evalscript": RADAR,
        },
        "input": {"type": "geopackage", "features": place},
        "output": {"type": "raster", "delivery": {"s3": {"url": "s3://bucket/out"}}},
    }
    answers.append(http.post("/api/v2/batch/process", json=v2))
    for answer in answers:
        assert answer.status_code == 400, answer.text
        assert "backCoeff BETA0 is not computed for collection 'sentinel-1-grd'" in answer.text


def test_keys_that_do_not_concern_the_collection_and_unknown_ones_are_left_aside(http: TestClient) -> None:
    data = {
        "type": "S1GRD",
        "dataFilter": {
            "tiers": "TIER_1",
            "demInstance": "MAPZEN",
            "previewMode": "TILE_PREVIEW",
            "orbitDirectoin": "UP",
        },
        "processing": {"egm": True, "view": "OBLIQUE", "orthorectify": False, "colour": "blue"},
    }
    assert len(means(statistics(http, data))) == 4


def test_a_saved_layer_shows_what_its_filter_chooses(http: TestClient) -> None:
    made = http.post("/api/v2/configuration/instances", json={"name": "radar"})
    assert made.status_code in (200, 201), made.text
    instance = made.json()["id"]
    looks = {"evalScript": script("VV", "LINEAR_POWER").replace("s.VV]", "s.VV / 4]").replace("FLOAT32", "AUTO")}

    def shown(name: str, **defaults: Any) -> Any:
        body = {
            "id": name,
            "collectionType": "S1GRD",
            "datasourceDefaults": {"time": "2020-06-01/2020-06-05", **defaults},
            "styles": [{"name": "default", **looks}],
        }
        saved = http.post(f"/api/v2/configuration/instances/{instance}/layers", json=body)
        assert saved.status_code in (200, 201), saved.text
        parameters = {"SERVICE": "WMS", "REQUEST": "GetMap", "VERSION": "1.3.0", "LAYERS": name, "CRS": "EPSG:32633"}
        parameters |= {"BBOX": ",".join(map(str, BBOX)), "WIDTH": "12", "HEIGHT": "12", "FORMAT": "image/tiff"}
        return http.get(f"/ogc/wms/{instance}", params=parameters)

    assert value(shown("all")) == 255
    assert value(shown("down", orbitDirection="DESCENDING", backCoeff=None)) == 128
    wrong = shown("wrong", orbitDirection="SIDEWAYS")
    assert wrong.status_code < 500
    assert "'ASCENDING' or 'DESCENDING'" in wrong.text.replace("&apos;", "'").replace("&#39;", "'").replace(
        "&#x27;", "'"
    )
