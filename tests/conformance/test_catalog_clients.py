"""The Catalog API under the published client, `pystac-client` and the STAC project's validators, over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pystac
import pytest
import sentinelhub
from pystac_client import Client
from sentinelhub import BBox, DataCollection, Geometry, SentinelHubCatalog
from sentinelhub.api.catalog import get_available_timestamps

from builders import make_catalog
from serving import Serving

pytestmark = pytest.mark.xdist_group("http")

PATH = "/api/v1/catalog/1.0.0"
RADAR = {"sar:instrument_mode": "IW", "sar:polarizations": ["VV", "VH"], "sat:orbit_state": "ascending"}


def _item(name: str, when: str, west: float, **properties: Any) -> dict[str, Any]:
    ring = [[west, 20.0], [west + 1, 20.0], [west + 1, 21.0], [west, 21.0], [west, 20.0]]
    asset = {"href": f"s3://scenes/{name}/B04.tif", "type": "image/tiff; application=geotiff", "roles": ["data"]}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, 20.0, west + 1, 21.0],
        "properties": {"datetime": when, **properties},
        "assets": {"B04": asset},
        "links": [],
    }


OPTICAL = [
    _item(f"s2_{day:02}", f"2020-06-{day:02}T10:05:{day:02}Z", 20.0 + day % 3, **{"eo:cloud_cover": day * 3.0})
    for day in range(1, 29)
]
SOURCES = {
    "sentinel-2-l2a": OPTICAL,
    "sentinel-2-l1c": OPTICAL[:3],
    "sentinel-1-grd": [
        _item("S1A_IW_GRDH_1SDV_1", "2020-06-01T05:00:00Z", 20.0, **RADAR),
        _item("S1A_EW_GRDM_1SDH_2", "2020-06-02T05:00:00Z", 20.0, **RADAR | {"sar:instrument_mode": "EW"}),
    ],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("catalog")
    entries = [
        f'[[collections]]\ntype = "{name}"\nsource = "{make_catalog(folder / name, items)}"\n'
        for name, items in SOURCES.items()
    ]
    config = folder / "config.toml"
    config.write_text("".join(entries) + "[dask]\nworkers = 1\n")
    with Serving(folder / "home", config=config) as running:
        yield running


@pytest.fixture(scope="module")
def credentials(server: Serving) -> dict[str, str]:
    return server.client()


@pytest.fixture(scope="module")
def http(server: Serving, credentials: dict[str, str]) -> Iterator[httpx.Client]:
    session = server.session(credentials)
    yield session
    session.close()


@pytest.fixture
def config(server: Serving, credentials: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> sentinelhub.SHConfig:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    made = sentinelhub.SHConfig(use_defaults=True)
    made.sh_base_url, made.sh_token_url = server.url, f"{server.url}/oauth/token"
    made.sh_client_id, made.sh_client_secret = credentials["client_id"], credentials["client_secret"]
    return made


class TestPublishedClient:
    """The `sentinelhub` package, unchanged."""

    def test_info_and_conformance_need_no_token_and_links_are_the_servers(self, config: sentinelhub.SHConfig) -> None:
        config.sh_client_id = config.sh_client_secret = ""
        catalog = SentinelHubCatalog(config=config)
        info = catalog.get_info()
        assert all(link["href"].startswith(config.sh_base_url) for link in info["links"])
        assert "conformsTo" in catalog.get_conformance()

    def test_collections_and_features(self, config: sentinelhub.SHConfig) -> None:
        catalog = SentinelHubCatalog(config=config)
        assert [entry["id"] for entry in catalog.get_collections()] == list(SOURCES)
        assert catalog.get_collection(DataCollection.SENTINEL2_L1C)["id"] == "sentinel-2-l1c"
        feature = catalog.get_feature(DataCollection.SENTINEL2_L2A, "s2_07")
        assert feature["properties"]["datetime"] == "2020-06-07T10:05:07Z"

    @pytest.mark.parametrize("limit", [3, 7, 100])
    def test_a_search_gives_every_item_once_whatever_the_page(self, config: sentinelhub.SHConfig, limit: int) -> None:
        found = SentinelHubCatalog(config=config).search(
            DataCollection.SENTINEL2_L2A, time=("2020-06-01", "2020-06-28"), limit=limit
        )
        assert found.get_ids() == [f"s2_{day:02}" for day in range(28, 0, -1)]

    def test_searches_by_box_geometry_filter_and_fields(self, config: sentinelhub.SHConfig) -> None:
        catalog = SentinelHubCatalog(config=config)
        area = BBox((22.1, 20.2, 22.3, 20.4), sentinelhub.CRS.WGS84)
        where: dict[str, Any] = {"collection": DataCollection.SENTINEL2_L2A, "time": ("2020-06-01", "2020-06-10")}
        assert catalog.search(bbox=area, **where).get_ids() == ["s2_08", "s2_05", "s2_02"]
        geometry = Geometry(area.geometry, sentinelhub.CRS.WGS84).transform(sentinelhub.CRS.POP_WEB)
        assert catalog.search(geometry=geometry, **where).get_ids() == ["s2_08", "s2_05", "s2_02"]
        fields = {"include": ["id", "properties.eo:cloud_cover"], "exclude": ["geometry", "bbox", "assets", "links"]}
        (item,) = catalog.search(bbox=area, filter="eo:cloud_cover < 10", fields=fields, **where)
        assert (item["id"], item["properties"]["eo:cloud_cover"]) == ("s2_02", 6.0)
        assert not {"geometry", "bbox", "assets", "links"} & set(item)
        as_json = {"op": "between", "args": [{"property": "eo:cloud_cover"}, 14, 16]}
        assert catalog.search(filter=as_json, filter_lang="cql2-json", **where).get_ids() == ["s2_05"]
        assert catalog.search(DataCollection.SENTINEL2_L2A, ids=["s2_03", "s2_04"]).get_ids() == ["s2_04", "s2_03"]

    def test_radar_collections_bring_their_own_filters(self, config: sentinelhub.SHConfig) -> None:
        found = SentinelHubCatalog(config=config).search(
            DataCollection.SENTINEL1_IW_ASC, time=("2020-06-01", "2020-06-30")
        )
        assert found.get_ids() == ["S1A_IW_GRDH_1SDV_1"]

    def test_timestamps_geometries_and_dates(self, config: sentinelhub.SHConfig) -> None:
        area = BBox((22.1, 20.2, 22.3, 20.4), sentinelhub.CRS.WGS84)
        when = ("2020-06-01", "2020-06-10")
        name = f"CATALOG_{config.sh_base_url.rpartition(':')[2]}"
        here = DataCollection.SENTINEL2_L2A.define_from(name, service_url=config.sh_base_url)
        stamps = get_available_timestamps(area, when, here, config=config, maxcc=0.2)
        assert stamps == [datetime(2020, 6, day, 10, 5, day) for day in (2, 5)]
        catalog = SentinelHubCatalog(config=config)
        search = catalog.search(DataCollection.SENTINEL2_L2A, bbox=area, time=when)
        assert [geometry.bbox.lower_left for geometry in search.get_geometries()] == [(22.0, 20.0)] * 3
        dates = catalog.search(DataCollection.SENTINEL2_L2A, time=("2020-06-01", "2020-06-03"), distinct="date")
        assert list(dates) == ["2020-06-01", "2020-06-02", "2020-06-03"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pystac_client_searches_and_pages(server: Serving, http: httpx.Client, method: str) -> None:
    client = Client.open(server.url + PATH, headers={"Authorization": http.headers["Authorization"]})
    assert [collection.id for collection in client.get_collections()] == list(SOURCES)
    search = client.search(
        method=method,
        collections=["sentinel-2-l2a"],
        bbox=[20, 20, 20.5, 20.5],
        datetime="2020-06-01/2020-06-20",
        filter="eo:cloud_cover < 50",
        limit=2,
    )
    items = list(search.items())
    assert [item.id for item in items] == ["s2_15", "s2_12", "s2_09", "s2_06", "s2_03"]
    assert items[0].datetime == datetime(2020, 6, 15, 10, 5, 15, tzinfo=UTC)
    assert items[0].assets["B04"].href == "s3://scenes/s2_15/B04.tif"
    collection = client.get_collection("sentinel-2-l1c")
    assert sorted(item.id for item in collection.get_items()) == ["s2_01", "s2_02", "s2_03"]
    assert collection.get_item("s2_02").id == "s2_02"
    assert client.get_collection("sentinel-1-grd").get_queryables()["properties"]["s1:polarization"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pystac_client_filters_by_geometry_ids_and_expressions(
    server: Serving, http: httpx.Client, method: str
) -> None:
    client = Client.open(server.url + PATH, headers={"Authorization": http.headers["Authorization"]})
    where: dict[str, Any] = {"method": method, "collections": ["sentinel-2-l2a"]}
    triangle = {"type": "Polygon", "coordinates": [[[22.2, 20.2], [22.8, 20.2], [22.8, 20.8], [22.2, 20.2]]]}
    both = {
        "op": "and",
        "args": [
            {"op": "<", "args": [{"property": "eo:cloud_cover"}, 60]},
            {"op": ">=", "args": [{"property": "datetime"}, {"timestamp": "2020-06-05T00:00:00Z"}]},
        ],
    }
    text = "eo:cloud_cover < 60 AND datetime >= TIMESTAMP('2020-06-05T00:00:00Z')"
    names = [f"s2_{day:02}" for day in (17, 14, 11, 8, 5)]
    for expression in (both, text):
        search = client.search(intersects=triangle, filter=expression, limit=2, **where)
        assert [item.id for item in search.items()] == names
        assert [len(page.items) for page in search.pages()] == [2, 2, 1]
    assert [item.id for item in client.search(intersects=triangle, max_items=3, **where).items()] == [
        f"s2_{day:02}" for day in (26, 23, 20)
    ]
    assert [item.id for item in client.search(ids=["s2_03", "s2_20"], **where).items()] == ["s2_20", "s2_03"]
    assert list(client.search(ids=["s2_99"], **where).items()) == []
    asked = client.search(
        ids=["s2_03"], fields={"include": ["properties.eo:cloud_cover"], "exclude": ["assets", "links"]}, **where
    )
    (item,) = asked.items_as_dicts()
    assert item["properties"]["eo:cloud_cover"] == 9.0
    assert not {"assets", "links"} & set(item)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pystac_client_sorts(server: Serving, http: httpx.Client, method: str) -> None:
    client = Client.open(server.url + PATH, headers={"Authorization": http.headers["Authorization"]})
    assert client.conforms_to("SORT")
    where: dict[str, Any] = {"method": method, "bbox": [20, 20, 20.5, 20.5], "datetime": "2020-06-01/2020-06-12"}
    by_clouds = client.search(sortby=["-properties.eo:cloud_cover", "+id"], limit=2, **where)
    radar = ["S1A_EW_GRDM_1SDH_2", "S1A_IW_GRDH_1SDV_1"]
    assert [item.id for item in by_clouds.items()] == ["s2_12", "s2_09", "s2_06", "s2_03", "s2_03", *radar]
    assert {len(page.items) for page in by_clouds.pages()} == {1, 2}
    by_collection = client.search(sortby="+collection,-properties.datetime", limit=3, **where)
    assert [item.id for item in by_collection.items()] == [*radar, "s2_03", "s2_12", "s2_09", "s2_06", "s2_03"]


def test_what_is_sent_is_valid_stac(http: httpx.Client) -> None:
    """By the schemas that pystac carries with it, which are those of version 1.1 and without extensions."""
    checked = [http.get(f"{PATH}/collections/sentinel-2-l2a/items/s2_07").json(), http.get(PATH).json()]
    checked += http.get(f"{PATH}/collections").json()["collections"]
    for document in checked:
        pystac.validation.validate_dict({**document, "stac_version": "1.1.0", "stac_extensions": []})
    with pytest.raises(pystac.STACValidationError):
        pystac.validation.validate_dict({**checked[0], "stac_version": "1.1.0", "stac_extensions": [], "bbox": [1]})


@pytest.mark.slow
def test_the_stac_api_validator_finds_no_error(server: Serving, http: httpx.Client) -> None:
    """But for those of schemas that it would fetch and cannot where there is no internet."""
    token = http.headers["Authorization"]
    area = {"type": "Polygon", "coordinates": [[[20, 20], [23, 20], [23, 21], [20, 21], [20, 20]]]}
    program = Path(sys.executable).with_name("stac-api-validator")
    options = ["--root-url", server.url + PATH, "--collection", "sentinel-2-l2a", "--geometry", json.dumps(area)]
    options += ["--auth-bearer-token", token.split()[1], "-H", f"Authorization: {token}"]
    for name in ("core", "collections", "features", "item-search", "filter"):
        options += ["--conformance", name]
    done = subprocess.run([program, *options], capture_output=True, text=True)
    told = done.stdout.partition("Errors:")[2]
    assert told, done.stdout[-2000:] + done.stderr[-2000:]
    errors = [line for line in told.splitlines() if line.startswith("- ")]
    assert [
        line for line in errors if "schemas.stacspec.org" not in line and "stac-extensions.github.io" not in line
    ] == []
