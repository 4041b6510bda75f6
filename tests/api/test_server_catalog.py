"""The Catalog API: landing page, collections, items, searches, pages, filters, fields, errors; both paths."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import jsonschema
import pystac
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from builders import SHARED_DATA, make_catalog
from swathe.model.errors import Unauthorized
from swathe.server import auth, catalog
from swathe.server.catalog_shelf import Shelf
from swathe.server.errors import add_error_handlers
from swathe.settings import CollectionSettings, Settings

PATH = catalog.PATHS[0]
BOTH = pytest.mark.parametrize("path", catalog.PATHS)
OPENAPI = SHARED_DATA.parent / "reference" / "openapi" / "sentinel-hub-openapi.yaml"
BYOC = "byoc-7453e962-0ee5-4f74-8227-89759fbe9ba9"


def make_item(name: str, when: str, west: float, *, clouds: float | None = None, **more: Any) -> dict[str, Any]:
    """A STAC item of one degree square on the equator; `more` are properties, and `asset` an address."""
    ring = [[west, 0.0], [west + 1, 0.0], [west + 1, 1.0], [west, 1.0], [west, 0.0]]
    href = more.pop("asset", f"./{name}/B04.tif")
    properties = {"datetime": when, **({} if clouds is None else {"eo:cloud_cover": clouds}), **more}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, 0.0, west + 1, 1.0],
        "properties": properties,
        "assets": {"B04": {"href": href, "type": "image/tiff; application=geotiff", "roles": ["data"]}},
        "links": [],
    }


ITEMS = [
    make_item("A", "2020-06-01T10:00:00Z", 10.0, clouds=10, platform="sentinel-2a", asset="s3://scenes/A/B04.tif"),
    make_item("B", "2020-06-03T10:00:00.500Z", 10.0, clouds=20, asset="https://me:pw@data.example/B04.tif?sig=secret"),
    make_item("C", "2020-06-03T11:00:00Z", 11.5, clouds=30, gsd=10),
    make_item("D", "2020-06-05T10:00:00.123456Z", 179.5, clouds=90),
    make_item("E", "2020-06-07T10:00:00Z", 10.0),
]
ITEMS[3]["bbox"] = [179.5, 0.0, -179.5, 1.0]
RADAR = {"sar:instrument_mode": "IW", "sar:polarizations": ["VV", "VH"], "sat:orbit_state": "ascending"}


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> tuple[CollectionSettings, ...]:
    folder = tmp_path_factory.mktemp("catalogs")
    sources = {
        "sentinel-2-l2a": ITEMS,
        "S1GRD": [make_item("R", "2021-01-01T00:00:00Z", 10.0, **RADAR)],
        BYOC: [make_item("own", "2022-01-01T00:00:00Z", 10.0)],
    }
    entries = [
        CollectionSettings(type=name, source=str(make_catalog(folder / name, items))) for name, items in sources.items()
    ]
    entries.append(CollectionSettings(type="modis", source=str(folder / "gone")))
    return tuple(entries)


@pytest.fixture
def app(collections: tuple[CollectionSettings, ...]) -> FastAPI:
    made = FastAPI(docs_url=None)
    made.state.settings = Settings(collections=collections)
    made.state.shelf = Shelf(made.state.settings)
    for path in catalog.PATHS:
        made.include_router(catalog.router, prefix=path)
    add_error_handlers(made)
    return made


@pytest.fixture
def http(app: FastAPI) -> Iterator[httpx.Client]:
    app.dependency_overrides[auth.current_client] = lambda: SimpleNamespace(id="me", project_id="p")
    with TestClient(app, base_url="http://maps.example") as client:
        yield client


def ids(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/geo+json"
    return "".join(item["id"] for item in answer.json()["features"])


def search(http: httpx.Client, **body: Any) -> str:
    return ids(http.post(f"{PATH}/search", json={"collections": ["sentinel-2-l2a"], **body}))


@BOTH
def test_the_landing_page_and_conformance_are_open_and_links_are_absolute(app: FastAPI, path: str) -> None:
    def refuse() -> None:
        raise Unauthorized("no token")

    app.dependency_overrides[auth.current_client] = refuse
    with TestClient(app, base_url="http://maps.example") as http:
        page = http.get(path).json()
        assert all(link["href"].startswith(f"http://maps.example{path}") for link in page["links"])
        assert {link["rel"] for link in page["links"]} >= {"self", "root", "data", "conformance", "search", "child"}
        assert http.get(f"{path}/conformance").json() == {"conformsTo": page["conformsTo"]}
        for closed in ("/collections", "/collections/sentinel-2-l2a", "/search", "/queryables"):
            answer = http.get(path + closed)
            assert answer.status_code == 401
            assert answer.json() == {"code": "401", "description": "no token"}
            assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("headers", "base"),
    [
        ({"x-forwarded-proto": "https", "x-forwarded-host": "eo.example"}, "https://eo.example"),
        ({"x-forwarded-proto": "https, http", "x-forwarded-host": "eo.example:8443, inner"}, "https://eo.example:8443"),
        ({"x-forwarded-host": "eo.example", "x-forwarded-port": "8080"}, "http://eo.example:8080"),
        ({"x-forwarded-host": "eo.example", "x-forwarded-prefix": "/eo/"}, "http://eo.example/eo"),
        ({"host": "other.example:81"}, "http://other.example:81"),
        ({"x-forwarded-host": 'evil"/><script>', "x-forwarded-proto": "javascript"}, "http://maps.example"),
    ],
)
def test_links_start_with_the_address_that_the_client_used(http: httpx.Client, headers: Any, base: str) -> None:
    for link in http.get(PATH, headers=headers).json()["links"]:
        assert link["href"].startswith(base + PATH)


def test_links_start_with_the_configured_address(http: httpx.Client, app: FastAPI) -> None:
    known = app.state.settings
    server = known.server.model_copy(update={"public_url": "https://public.example/eo/"})
    app.state.settings = known.model_copy(update={"server": server})
    assert http.get(PATH).json()["links"][0]["href"] == f"https://public.example/eo{PATH}"


@BOTH
def test_collections_have_extents_bands_and_one_that_cannot_be_read_hides_no_other(
    http: httpx.Client, path: str
) -> None:
    found = {entry["id"]: entry for entry in http.get(f"{path}/collections").json()["collections"]}
    assert list(found) == ["sentinel-2-l2a", "sentinel-1-grd", BYOC, "modis"]
    sentinel = found["sentinel-2-l2a"]
    assert sentinel["extent"] == {
        "spatial": {"bbox": [[-180.0, 0.0, 180.0, 1.0]]},
        "temporal": {"interval": [["2020-06-01T10:00:00Z", "2020-06-07T10:00:00Z"]]},
    }
    assert {"name": "B8A"} in sentinel["summaries"]["eo:bands"]
    assert found[BYOC]["summaries"]["eo:bands"] == [{"name": "B04"}]
    assert found[BYOC]["summaries"]["raster:bands"] == [{"data_type": "float32"}]
    assert found["modis"]["extent"]["temporal"] == {"interval": [[None, None]]}
    single = http.get(f"{path}/collections/sentinel-1-grd").json()
    assert single == found["sentinel-1-grd"]
    assert pystac.Collection.from_dict(single).id == "sentinel-1-grd"
    assert http.get(f"{path}/collections/S2L2A").json()["id"] == "sentinel-2-l2a"


@BOTH
def test_an_item_has_its_properties_and_no_address_that_is_the_servers_own(http: httpx.Client, path: str) -> None:
    item = http.get(f"{path}/collections/sentinel-2-l2a/items/A").json()
    assert item["properties"] == {
        "datetime": "2020-06-01T10:00:00Z",
        "eo:cloud_cover": 10.0,
        "platform": "sentinel-2a",
    }
    assert item["assets"]["B04"]["href"] == "s3://scenes/A/B04.tif"
    assert item["bbox"] == [10.0, 0.0, 11.0, 1.0]
    here = f"http://maps.example{path}/collections/sentinel-2-l2a"
    assert {link["rel"]: link["href"] for link in item["links"]} == {
        "root": f"http://maps.example{path}",
        "self": f"{here}/items/A",
        "parent": here,
        "collection": here,
    }
    assert pystac.Item.from_dict(item).collection_id == "sentinel-2-l2a"
    other = http.get(f"{path}/collections/sentinel-2-l2a/items/B").json()
    assert other["assets"]["B04"]["href"] == "https://data.example/B04.tif"
    assert http.get(f"{path}/collections/sentinel-2-l2a/items/C").json()["assets"] == {}


def test_times_are_given_as_precisely_as_a_search_needs_them(http: httpx.Client) -> None:
    for name, when in (("B", "2020-06-03T10:00:00.500Z"), ("D", "2020-06-05T10:00:00.123456Z")):
        assert http.get(f"{PATH}/collections/sentinel-2-l2a/items/{name}").json()["properties"]["datetime"] == when
        assert search(http, datetime=when) == name


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({}, "EDCBA"),
        ({"datetime": "2020-06-03T00:00:00Z/2020-06-05T23:59:59Z"}, "DCB"),
        ({"datetime": "../2020-06-03T11:00:00Z"}, "CBA"),
        ({"datetime": "2020-06-03T11:00:00Z/.."}, "EDC"),
        ({"datetime": "2020-06-03T13:00:00+02:00"}, "C"),
        ({"datetime": "1980-01-01T00:00:00Z/1981-01-01T00:00:00Z"}, ""),
        ({"bbox": [10.2, 0.2, 10.4, 0.4]}, "EBA"),
        ({"bbox": [10.2, 0.2, -5, 11.6, 0.4, 5]}, "ECBA"),
        ({"bbox": [11.1, 0.2, 11.2, 0.4]}, ""),
        ({"bbox": [179.0, 0, -179.9, 1]}, "D"),
        ({"bbox": [-179.9, 0, -179.7, 1]}, "D"),
        ({"bbox": None, "intersects": {"type": "Point", "coordinates": [11.75, 0.5]}}, "C"),
        ({"intersects": {"type": "LineString", "coordinates": [[10.5, 0.5], [12, 0.5]]}}, "ECBA"),
        ({"ids": ["B", "E", "nothing"]}, "EB"),
        ({"ids": []}, ""),
        ({"filter": "eo:cloud_cover<=20 AND platform='sentinel-2a'", "filter-lang": "cql2-text"}, "A"),
        ({"filter": "eo:cloud_cover<=20"}, "BA"),
        ({"filter-lang": "cql2-text"}, "EDCBA"),
        ({"filter": "gsd = 10"}, "C"),
        ({"filter": "eo:cloud_cover IS NULL"}, "E"),
        ({"filter": "datetime > TIMESTAMP('2020-06-05T00:00:00Z')"}, "ED"),
        (
            {
                "filter": {"op": "and", "args": [{"op": "<", "args": [{"property": "eo:cloud_cover"}, 40]}]},
                "filter-lang": "cql2-json",
                "filter-crs": "http://www.opengis.net/def/crs/OGC/1.3/CRS84",
            },
            "CBA",
        ),
        ({"collections": ["S2L2A"], "query": {"ignored": 1}}, "EDCBA"),
    ],
)
def test_what_searches_find_newest_first(http: httpx.Client, body: dict[str, Any], found: str) -> None:
    assert search(http, **body) == found


def test_radar_is_found_by_what_the_client_filters_by(http: httpx.Client) -> None:
    wanted = (
        "sar:instrument_mode='IW' AND s1:polarization='DV' AND s1:resolution='HIGH' AND sat:orbit_state='ascending'"
    )
    assert search(http, collections=["sentinel-1-grd"], filter=wanted) == "R"
    assert search(http, collections=["sentinel-1-grd"], filter="s1:polarization='DH'") == ""


def test_a_query_says_what_a_body_says(http: httpx.Client) -> None:
    for query, body in (
        ({"bbox": "10.2,0.2,10.4,0.4", "limit": "2"}, {"bbox": [10.2, 0.2, 10.4, 0.4], "limit": 2}),
        ({"ids": "A,C"}, {"ids": ["A", "C"]}),
        ({"filter": "eo:cloud_cover<=20"}, {"filter": "eo:cloud_cover<=20"}),
        (
            {"filter": '{"op":"isNull","args":[{"property":"gsd"}]}', "filter-lang": "cql2-json"},
            {"filter": "gsd is null"},
        ),
        ({"intersects": '{"type":"Point","coordinates":[11.75,0.5]}'}, {"bbox": [11.7, 0.4, 11.8, 0.6]}),
        ({"datetime": "2020-06-03T10:00:00.5Z", "fields": "id,-links"}, {"datetime": "2020-06-03T10:00:00.5Z"}),
    ):
        found = ids(http.get(f"{PATH}/search", params={"collections": "sentinel-2-l2a", **query}))
        assert found == search(http, **body)
        assert found


def test_without_collections_all_are_searched(http: httpx.Client, app: FastAPI) -> None:
    readable = app.state.settings.model_copy(update={"collections": app.state.settings.collections[:3]})
    app.state.shelf = Shelf(readable)
    assert ids(http.post(f"{PATH}/search", json={"limit": 4})) == "ownRED"


def test_pages_are_full_follow_each_other_and_end(http: httpx.Client) -> None:
    body: dict[str, Any] = {"collections": ["sentinel-2-l2a"], "limit": 2}
    found, offsets = [], []
    while True:
        page = http.post(f"{PATH}/search", json=body).json()
        found.append("".join(item["id"] for item in page["features"]))
        assert page["context"]["returned"] == len(page["features"])
        assert page["context"]["limit"] == 2
        if "next" not in page["context"]:
            assert not [link for link in page["links"] if link["rel"] == "next"]
            break
        offsets.append(page["context"]["next"])
        following = next(link for link in page["links"] if link["rel"] == "next")
        assert (following["method"], following["merge"]) == ("POST", True)
        body |= following["body"]
    assert (found, offsets) == (["ED", "CB", "A"], [2, 4])
    assert search(http, limit=2, next=5) == search(http, limit=2, next=50_000) == ""
    assert search(http, limit=2, next=3) == "BA"


def test_pages_of_a_query_are_links_to_be_followed(http: httpx.Client) -> None:
    found: list[str] = []
    url = f"{PATH}/collections/sentinel-2-l2a/items?limit=2&filter=eo:cloud_cover%3C50"
    while url:
        page = http.get(url).json()
        found.append("".join(item["id"] for item in page["features"]))
        url = next((link["href"] for link in page["links"] if link["rel"] == "next"), "")
    assert found == ["CB", "A"]


def test_a_limit_above_the_most_is_the_most(http: httpx.Client) -> None:
    page = http.post(f"{PATH}/search", json={"collections": ["sentinel-2-l2a"], "limit": 10_000}).json()
    assert page["context"] == {"limit": 100, "returned": 5}
    assert http.post(f"{PATH}/search", json={"collections": ["sentinel-2-l2a"]}).json()["context"]["limit"] == 10


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("-datetime", "EDCBA"),
        ("+datetime", "ABCDE"),
        ("datetime", "ABCDE"),
        ("%2Bproperties.eo:cloud_cover", "ABCDE"),  # what has no value is last in both directions
        ("-properties.eo:cloud_cover", "DCBAE"),
        ("-id", "EDCBA"),
        ("collection,-gsd,id", "CABDE"),
        ("platform,-datetime,datetime", "AEDCB"),
        (" , ", "EDCBA"),
    ],
)
def test_items_are_sorted_as_asked_for_on_all_pages(http: httpx.Client, query: str, found: str) -> None:
    for path in ("/collections/sentinel-2-l2a/items?", "/search?collections=sentinel-2-l2a&"):
        url, pages = f"{PATH}{path}limit=2&sortby={query}", []
        while url:
            page = http.get(url)
            pages.append(ids(page))
            url = next((link["href"] for link in page.json()["links"] if link["rel"] == "next"), "")
        assert pages == [found[:2], found[2:4], found[4:]]
    names = [part.strip("+- ") for part in query.replace("%2B", "+").split(",") if part.strip()]
    ways = ["desc" if part.startswith("-") else "ASC" for part in query.split(",") if part.strip()]
    sortby = [{"field": name, "direction": way} for name, way in zip(names, ways, strict=True)]
    assert search(http, sortby=sortby, limit=2) + search(http, sortby=sortby, limit=5, next=2) == found


def test_distinct_dates_are_a_list_of_texts(http: httpx.Client) -> None:
    body = {"collections": ["sentinel-2-l2a"], "distinct": "date", "limit": 3}
    page = http.post(f"{PATH}/search", json=body).json()
    assert page["features"] == ["2020-06-01", "2020-06-03", "2020-06-05"]
    assert page["context"] == {"limit": 3, "returned": 3, "next": 3}
    assert http.post(f"{PATH}/search", json={**body, "next": 3}).json()["features"] == ["2020-06-07"]


@pytest.mark.parametrize(
    ("fields", "members", "properties"),
    [
        ({}, {"type", "stac_version", "id", "geometry", "bbox", "links", "assets", "properties"}, {"datetime"}),
        (
            {"include": ["properties.platform"], "exclude": ["geometry", "bbox", "assets", "links"]},
            {"type", "stac_version", "id", "properties"},
            {"datetime", "platform"},
        ),
        (
            {"include": ["properties", "geometry", "collection"], "exclude": ["properties.platform", "geometry"]},
            {"type", "stac_version", "id", "geometry", "bbox", "links", "assets", "properties", "collection"},
            {"datetime", "eo:cloud_cover"},
        ),
        (
            {"exclude": ["properties.datetime", "geometry"]},
            {"type", "stac_version", "stac_extensions", "id", "bbox", "links", "assets", "properties", "collection"},
            {"eo:cloud_cover", "platform"},
        ),
        ({"exclude": ["properties"], "include": ["platform", "none"]}, None, {"platform"}),
    ],
)
def test_fields_choose_members(http: httpx.Client, fields: Any, members: set[str] | None, properties: set[str]) -> None:
    body = {"collections": ["sentinel-2-l2a"], "ids": ["A"], "fields": fields}
    (item,) = http.post(f"{PATH}/search", json=body).json()["features"]
    if members is not None:
        assert set(item) == members
    assert set(item["properties"]) == properties


def test_queryables_are_a_schema(http: httpx.Client) -> None:
    for path in ("/queryables", "/collections/sentinel-1-grd/queryables"):
        answer = http.get(PATH + path)
        assert answer.headers["content-type"] == "application/schema+json"
        schema = answer.json()
        jsonschema.Draft201909Validator.check_schema(schema)
        assert schema["$id"] == f"http://maps.example{PATH}{path}"
    assert "s1:polarization" in schema["properties"]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"collections": ["nope"]}, "collections"),
    ({"collections": "sentinel-2-l2a"}, "collections"),
    ({"bbox": [1, 2, 3]}, "bbox"),
    ({"bbox": [1, 2, 3, "x"]}, "bbox"),
    ({"bbox": [1, 2, 3, 1]}, "bbox"),
    ({"bbox": [0, 0, 1, 1], "intersects": {"type": "Point", "coordinates": [1, 1]}}, "bbox"),
    ({"intersects": {"type": "Point", "coordinates": []}}, "intersects"),
    ({"intersects": {"type": "Circle"}}, "intersects"),
    ({"intersects": [1]}, "intersects"),
    (
        {"intersects": {"type": "Point", "coordinates": [1, 1], "crs": {"properties": {"name": "EPSG:3857"}}}},
        "intersects",
    ),
    ({"datetime": "2020-06-01"}, "datetime"),
    ({"datetime": "2020-13-01T00:00:00Z"}, "datetime"),
    ({"datetime": "../.."}, "datetime"),
    ({"datetime": "2020-06-02T00:00:00Z/2020-06-01T00:00:00Z"}, "datetime"),
    ({"datetime": 5}, "datetime"),
    ({"datetime": "0001-01-01T00:00:00+10:00"}, "datetime"),
    ({"limit": 0}, "limit"),
    ({"limit": "5"}, "limit"),
    ({"limit": True}, "limit"),
    ({"next": -1}, "next"),
    ({"next": "abc"}, "next"),
    ({"next": 10**30}, "next"),
    ({"ids": [1]}, "ids"),
    ({"ids": ["x"] * 2_000}, "ids"),
    ({"filter": "eo:cloud_cover <"}, "filter"),
    ({"filter": {"op": "="}, "filter-lang": "cql2-text"}, "filter"),
    ({"filter": "a=1", "filter-lang": "cql-json"}, "filter-lang"),
    ({"filter": "a=1", "filter-crs": "EPSG:3857"}, "filter-crs"),
    ({"fields": ["id"]}, "fields"),
    ({"fields": {"include": "id"}}, "fields"),
    ({"distinct": "id"}, "distinct"),
    ({"sortby": "-datetime"}, "sortby"),
    ({"sortby": ["datetime"]}, "sortby"),
    ({"sortby": [{"direction": "asc"}]}, "sortby->0->field"),
    ({"sortby": [{"field": "id", "direction": "up"}]}, "sortby->0->direction"),
    ({"sortby": [{"field": "geometry", "direction": "asc"}]}, "sortby: has 'geometry'"),
    ({"sortby": [{"field": "cloud_cover", "direction": "asc"}]}, "sortby: has 'cloud_cover'"),
    ({"sortby": [{"field": "id"}] * 11}, "sortby: has 11 fields; at most 10"),
    ({"sortby": [{"field": "id"}], "distinct": "date"}, "sortby"),
]


@pytest.mark.parametrize(("body", "member"), BAD, ids=[json.dumps(body)[:60] for body, _ in BAD])
def test_what_cannot_be_searched_is_a_bad_request_in_stacs_shape(http: httpx.Client, body: Any, member: str) -> None:
    answer = http.post(f"{PATH}/search", json={"collections": ["sentinel-2-l2a"], **body})
    assert answer.status_code == 400
    assert answer.json()["code"] == "400"
    assert answer.json()["description"].startswith(member)
    assert set(answer.json()) == {"code", "description"}


@pytest.mark.parametrize(
    "query",
    ["limit=many", "sortby=-geometry", "bbox=1,2", "intersects={", "filter={&filter-lang=cql2-json", "next=1.5"],
)
def test_a_wrong_query_is_a_bad_request(http: httpx.Client, query: str) -> None:
    answer = http.get(f"{PATH}/search?collections=sentinel-2-l2a&{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "400")


@pytest.mark.parametrize(
    "path",
    ["/collections/nope", "/collections/nope/items", "/collections/nope/queryables", "/collections/S2L2A/items/Z"],
)
def test_what_is_not_there_is_not_found(http: httpx.Client, path: str) -> None:
    answer = http.get(PATH + path)
    assert (answer.status_code, answer.json()["code"]) == (404, "404")


def test_a_body_that_is_no_object_is_refused_in_stacs_shape(http: httpx.Client) -> None:
    deep = "[" * 100_000
    for content, status in ((b"{", 400), (b"[]", 400), (f'{{"intersects": {deep}'.encode(), 400)):
        answer = http.post(f"{PATH}/search", content=content, headers={"content-type": "application/json"})
        assert (answer.status_code, set(answer.json())) == (status, {"code", "description"})
    answer = http.post(f"{PATH}/search", content=b"a=1", headers={"content-type": "text/plain"})
    assert answer.status_code == 415


def test_nested_geometries_are_bounded(http: httpx.Client) -> None:
    geometry: Any = {"type": "Point", "coordinates": [10.5, 0.5]}
    for _ in range(200):
        geometry = {"type": "GeometryCollection", "geometries": [geometry]}
    answer = http.post(f"{PATH}/search", json={"collections": ["sentinel-2-l2a"], "intersects": geometry})
    assert answer.status_code in (200, 400)


@pytest.mark.skipif(not OPENAPI.exists(), reason="the published description is not at hand")
def test_answers_are_as_the_published_description_has_them(http: httpx.Client) -> None:
    import yaml

    document = yaml.load(OPENAPI.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))

    def check(name: str, value: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema.Draft4Validator(schema).validate(value)

    check("CatalogCoreLandingPage", http.get(PATH).json())
    check("CatalogConformanceClasses", http.get(f"{PATH}/conformance").json())
    check("CatalogCollectionsCollections", http.get(f"{PATH}/collections").json())
    check("CatalogItem", http.get(f"{PATH}/collections/sentinel-2-l2a/items/A").json())
    page = http.get(f"{PATH}/search?collections=sentinel-2-l2a&limit=2").json()
    check("CatalogItemSearchItemCollectionItemCollection", page)
    check("CatalogItemSearchContextItemCollection", page)
    for answer in (http.get(f"{PATH}/search?collections=no"), http.get(f"{PATH}/collections/no")):
        check("CatalogException", answer.json())


def test_neither_gdal_nor_v8_is_loaded_for_it() -> None:
    modules = "swathe.server.catalog, swathe.server.catalog_shelf"
    code = f"import sys, {modules}; print([m for m in ('rasterio', 'py_mini_racer') if m in sys.modules])"
    source = str(Path(catalog.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": source, "PATH": "/bin"},
    )
    assert re.fullmatch(r"\[\]\n", done.stdout)
