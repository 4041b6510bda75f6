"""The main job over HTTP: published figures, bad input of every kind, delivery to a second kind of store."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import shapely

from builders import NDVI, SHARED_DATA, make_catalog, make_geopackage, make_request, make_scene
from servers import rclone_server
from serving import BATCH, Serving, wait_for, write_config
from swathe.client import SentinelHubBatchStatistical, SHConfig

pytestmark = pytest.mark.xdist_group("http")

MASK_ALONE = """//VERSION=3
function setup() { return {input: ["B04", "dataMask"], output: [{id: "a", bands: 1}, {id: "dataMask", bands: 1}]} }
function evaluatePixel(s) { return {a: [s.B04], dataMask: [s.dataMask]} }
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server with buckets in a folder, and coarse scenes over every published polygon (EPSG:32633)."""
    folder = tmp_path_factory.mktemp("http")
    values = np.full((1600, 1800), 1000, np.uint16)
    everywhere = {"B04": values, "B08": values + 1000}
    items = [
        make_scene(
            folder / "scenes",
            f"S{day}",
            f"2020-06-0{day}T10:00:00Z",
            everywhere,
            origin=(390_000, 5_180_000),
            pixel=150,
        )
        for day in (1, 3)
    ]
    buckets = folder / "buckets"
    (buckets / "in").mkdir(parents=True)
    config = write_config(
        folder / "config.toml",
        make_catalog(folder / "scenes", items),
        "[storage]",
        f'local_root = "{buckets}"',
        "[limits]",
        "script_evaluate_s = 0.5",
        "script_s_per_million_cells = 1.0",
        "script_setup_s = 1.0",
    )
    with Serving(folder / "home", config=config) as running:
        running.buckets = buckets
        running.http = running.session(running.client())
        yield running


def run(
    server: Serving, geopackage: Path | bytes | None, body: dict[str, Any]
) -> tuple[dict[str, Any], dict[int, Any]]:
    """Puts the features into the bucket, runs the job to its end: its status, its documents by feature."""
    target = server.buckets / "in" / "features.gpkg"
    target.unlink(missing_ok=True)
    if isinstance(geopackage, bytes):
        target.write_bytes(geopackage)
    elif geopackage is not None:
        shutil.copy(geopackage, target)
    body = json.loads(json.dumps(body))
    body["input"]["features"] = {"s3": {"url": "s3://in/features.gpkg"}}
    body["output"] = {"s3": {"url": "s3://out"}}
    made = server.http.post(BATCH, json=body)
    assert made.status_code == 201, made.text
    job = made.json()["id"]
    assert server.http.post(f"{BATCH}/{job}/start").status_code == 204
    status = wait_for(server.http, job, seconds=120)
    folder = server.buckets / "out" / job
    documents = (
        {int(file.stem): json.loads(file.read_bytes()) for file in folder.glob("*.json")} if folder.exists() else {}
    )
    return status, documents


def counts(document: dict[str, Any]) -> set[tuple[int, int]]:
    found = set()
    for entry in document["response"]["data"]:
        for output in entry["outputs"].values():
            for band in output["bands"].values():
                found.add((band["stats"]["sampleCount"], band["stats"]["noDataCount"]))
    return found


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="the provider's published figures are not beside the checkout")
def test_published_counts(server: Serving, tmp_path: Path) -> None:
    import geopandas as gpd

    cases = json.loads((SHARED_DATA / "provider/published-counts.json").read_text())
    for resolution in (10, 20):
        chosen = [case for case in cases if case["resx"] == resolution]
        shapes = []
        for case in chosen:
            if "geometry" in case:
                shapes.append(shapely.geometry.shape(case["geometry"]))
            elif "bbox" in case:
                shapes.append(shapely.box(*case["bbox"]))
            else:
                frame = gpd.read_file(SHARED_DATA / "provider" / case["geopackage"], fid_as_index=True)
                shapes.append(frame.to_crs(case["crs"]).geometry.loc[case["fid"]])
        geopackage = make_geopackage(tmp_path / f"published-{resolution}.gpkg", shapes)
        status, documents = run(server, geopackage, make_request(MASK_ALONE, resx=resolution, resy=resolution))
        assert status["status"] == "DONE"
        for key, case in enumerate(chosen, 1):
            assert counts(documents[key]) == {(case["sampleCount"], case["noDataCount"])}, case["name"]
            assert len(documents[key]["response"]["data"]) == 2


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="the provider's example GeoPackage is not beside the checkout")
def test_published_cost_of_a_hundred_parcels(server: Serving, tmp_path: Path) -> None:
    import geopandas as gpd

    frame = gpd.read_file(SHARED_DATA / "provider/geopackage-example.gpkg", fid_as_index=True).to_crs(32633)
    geopackage = make_geopackage(tmp_path / "hundred.gpkg", list(frame.geometry[:100]))
    status, _ = run(server, geopackage, make_request(NDVI))
    assert status["status"] == "DONE"
    # published for nine intervals; two have scenes here
    assert status["costPU"] == pytest.approx(6.027410152775339 / 9 * 2, rel=1e-6)


def test_worked_triangle_under_every_cover(server: Serving, tmp_path: Path) -> None:
    triangle = shapely.Polygon([(500_000, 5_000_020), (500_020, 5_000_020), (500_000, 5_000_000)])
    geopackage = make_geopackage(tmp_path / "triangle.gpkg", [triangle])
    for cover, inside in (("service", 3), ("centre", 3), ("all_touched", 3), ("coverage", 3)):
        _, documents = run(server, geopackage, make_request(MASK_ALONE, resx=10, resy=10, sampling={"cover": cover}))
        assert counts(documents[1]) == {(4, 4 - inside)}, cover
        if cover == "coverage":
            stats = documents[1]["response"]["data"][0]["outputs"]["a"]["bands"]["B0"]["stats"]
            assert stats["weightSum"] == 2.0
            assert documents[1]["sampling"] == {"grid": "feature", "cover": "coverage"}


def field(east: float = 500_000, size: float = 100) -> shapely.Polygon:
    return shapely.box(east, 5_000_000, east + size, 5_000_000 + size)


def bad_geopackages(folder: Path) -> Iterator[tuple[str, bytes | None, str]]:
    """Name, content, and what the job's error must say."""
    good = make_geopackage(folder / "good.gpkg", [field()]).read_bytes()
    yield "no GeoPackage", b"PK\x03\x04 this is a zip", "GeoPackage"
    yield "missing", None, "features.gpkg"
    yield "cut off", good[: len(good) // 3], "GeoPackage"
    with sqlite3.connect(folder / "plain.sqlite") as db:
        db.execute("CREATE TABLE t (a)")
    yield "SQLite but no GeoPackage", (folder / "plain.sqlite").read_bytes(), "gpkg_contents"
    yield "empty", make_geopackage(folder / "empty.gpkg", [field()]).read_bytes(), "empty"
    yield "points", make_geopackage(folder / "points.gpkg", [shapely.Point(0, 0)]).read_bytes(), "polygons"
    two = folder / "two.gpkg"
    make_geopackage(two, [field()], layer="a")
    make_geopackage(two, [shapely.box(15, 45, 15.1, 45.1)], epsg=4326, layer="b", ids=[7])
    yield "mixed CRS", two.read_bytes(), "one CRS"


def test_bad_geopackages_fail_the_job_with_the_reason(server: Serving, tmp_path: Path) -> None:
    for name, content, reason in bad_geopackages(tmp_path):
        if name == "empty" and content is not None:
            file = tmp_path / "none.gpkg"
            file.write_bytes(content)
            with sqlite3.connect(file) as db:
                db.execute("DROP TRIGGER IF EXISTS rtree_parcels_geom_delete")
                for (trigger,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                    db.execute(f'DROP TRIGGER "{trigger}"')
                db.execute("DELETE FROM parcels")
            content = file.read_bytes()
        status, documents = run(server, content, make_request())
        assert (status["status"], status["completionPercentage"]) == ("FAILED", 100), (name, status)
        assert reason in status["error"], (name, status["error"])
        assert documents == {}, name
    assert server.http.get("/health").status_code == 200


def test_bad_features_are_failed_documents_and_the_rest_is_done(server: Serving, tmp_path: Path) -> None:
    bowtie = shapely.Polygon([(0, 0), (100, 100), (100, 0), (0, 100)])
    huge = field(size=130_000)
    shapes = [field(), bowtie, None, huge, shapely.Polygon(), *(field(500_200 + 200 * k) for k in range(6))]
    geopackage = make_geopackage(tmp_path / "some.gpkg", shapes)
    status, documents = run(server, geopackage, make_request(MASK_ALONE, resx=10, resy=10))
    assert status["status"] == "DONE", status
    assert set(documents) == set(range(1, 12))
    for key, words in ((2, "Self-intersection"), (3, "NULL"), (4, "13,000 x 13,000 cells; at most 12,000"), (5, "")):
        assert documents[key]["response"] == {"data": None, "status": "FAILED"}, key
        assert words in documents[key]["error"]["message"], documents[key]
    assert all(documents[key]["response"]["status"] == "OK" for key in (1, 6, 7, 8, 9, 10, 11))


HEAD = 'function setup() { return {input: ["B04"], output: [{id: "a", bands: 1}, {id: "dataMask", bands: 1}]} }\n'


@pytest.mark.parametrize(
    ("script", "status", "words"),
    [
        ("function setup( {", "FAILED", "SyntaxError"),
        ("for (;;);", "FAILED", "did not end within"),
        ("function setup() { for (;;); }\nfunction evaluatePixel() {}", "FAILED", "did not end within"),
        ("function setup() { return 5 }\nfunction evaluatePixel() {}", "FAILED", "setup"),
        (HEAD.replace("B04", "B99") + "function evaluatePixel() {}", "FAILED", "B99"),
        (HEAD.replace("dataMask", "mask") + "function evaluatePixel() {}", "FAILED", "dataMask"),
        (HEAD + 'function evaluatePixel() { throw new Error("wrong tide") }', "STOPPED", "wrong tide"),
        (HEAD + "function evaluatePixel() { for (;;); }", "STOPPED", "did not end within"),
        (
            HEAD + "let a = []; function evaluatePixel() { for (;;) a.push(new Array(999).fill(0.5)) }",
            "STOPPED",
            "memory|did not end within",  # whichever limit is met first
        ),
        (HEAD + 'function evaluatePixel() { return {a: "north", dataMask: 1} }', "STOPPED", "north|string"),
    ],
)
def test_bad_scripts_end_the_job_with_the_reason(
    server: Serving, tmp_path: Path, script: str, status: str, words: str
) -> None:
    geopackage = make_geopackage(tmp_path / "f.gpkg", [field(), field(500_300)])
    ended, documents = run(server, geopackage, make_request(script, of="P1M", lastIntervalBehavior="EXTEND"))
    assert ended["status"] == status, ended
    assert any(word in ended["error"] for word in words.split("|")), ended
    if status == "STOPPED":
        assert ended["stoppedStatusReason"] == "UNHEALTHY"
        assert {document["response"]["status"] for document in documents.values()} == {"FAILED"}
    good, _ = run(server, geopackage, make_request(MASK_ALONE))
    assert good["status"] == "DONE"


def test_wrong_fields_are_named_when_the_request_is_made(server: Serving) -> None:
    def refused(body: dict[str, Any]) -> dict[str, Any]:
        body["input"]["features"] = {"s3": {"url": "s3://in/features.gpkg"}}
        body["output"] = {"s3": {"url": "s3://out"}}
        answer = server.http.post(BATCH, json=body)
        assert answer.status_code == 400, answer.text
        error = answer.json()["error"]
        assert error["status"] == 400
        assert error["code"] == "COMMON_BAD_PAYLOAD"
        return dict(error)

    zero = refused(make_request(resx=0, resy=10))
    assert zero["errors"]["parameter"] == "aggregation->resx"
    reversed_ = refused(make_request(start="2020-07-01T00:00:00Z", end="2020-06-01T00:00:00Z"))
    assert "swap" in reversed_["message"]
    many = refused(make_request(width=1_000_000, height=10))
    assert "1,000,000" in many["message"]
    assert "12,000" in many["message"]
    unknown = refused(make_request(data=[{"type": "sentinel-99"}]))
    assert "sentinel-2-l2a" in unknown["message"]


def test_published_client_makes_a_job_from_a_statistical_request_and_stops_it(
    server: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sentinelhub
    from sentinelhub.data_utils import statistical_to_dataframe

    import swathe.client

    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    made = server.client("published")
    config = sentinelhub.SHConfig(use_defaults=True)
    config.sh_client_id, config.sh_client_secret = made["client_id"], made["client_secret"]
    config.sh_base_url, config.sh_token_url = server.url, f"{server.url}/oauth/token"
    shutil.copy(
        make_geopackage(tmp_path / "f.gpkg", [field(500_000 + 200 * k) for k in range(4)], identifiers=list("abcd")),
        server.buckets / "in" / "published.gpkg",
    )
    statistical = sentinelhub.SentinelHubStatistical(
        aggregation=sentinelhub.SentinelHubStatistical.aggregation(
            evalscript=NDVI, time_interval=("2020-06-01", "2020-06-10"), aggregation_interval="P1D", resolution=(10, 10)
        ),
        input_data=[
            sentinelhub.SentinelHubStatistical.input_data(
                sentinelhub.DataCollection.SENTINEL2_L2A.define_from(f"S2 at {server.url}", service_url=server.url),
                maxcc=0.8,
            )
        ],
        bbox=sentinelhub.BBox((500_000, 5_000_000, 500_100, 5_000_100), crs=sentinelhub.CRS("32633")),
        calculations={"ndvi": {"statistics": {"default": {"percentiles": {"k": [33, 75, 90]}}}}},
        config=config,
    )
    batch = sentinelhub.SentinelHubBatchStatistical(config)
    place = batch.s3_specification(url="s3://in/published.gpkg", access_key="a", secret_access_key="b")
    output = batch.s3_specification(url="s3://out/published", access_key="a", secret_access_key="b")
    request = batch.create_from_request(statistical, place, output)
    batch.start_job(request)
    ours = swathe.client.SentinelHubBatchStatistical(config)
    done = ours.wait(request.request_id, progress=False, timeout=180)
    frame = ours.results(done, local_root=str(server.buckets)).to_dataframe()
    assert sorted(frame["identifier"].unique()) == list("abcd")
    assert set(frame["p33.0"]) == {np.float32((2000 - 1000) / 3000)}
    documents = [
        json.loads((server.buckets / "out/published" / done.request_id / f"{key}.json").read_bytes()) for key in (1, 2)
    ]
    published = statistical_to_dataframe([document["response"] for document in documents])
    assert set(published["ndvi_value_sampleCount"]) == {100}
    assert set(published["ndvi_value_percentiles_33.0"]) == {float(np.float32(1 / 3))}

    second = batch.create_from_request(statistical, place, output)
    http = server.session(made)
    batch.start_analysis(second)
    wait_for(http, second.request_id, "ANALYSIS_DONE")
    batch.stop_job(second)
    stopped = wait_for(http, second.request_id)
    assert (stopped["status"], stopped["stoppedStatusReason"]) == ("STOPPED", "USER_ACTION")
    folder = server.buckets / "out/published" / second.request_id
    assert not folder.exists()
    batch.start_job(second)
    assert wait_for(http, second.request_id, "DONE", "FAILED")["status"] == "DONE"
    assert len(list(folder.glob("*.json"))) == 4


def test_delivery_to_a_second_kind_of_store(tmp_path: Path) -> None:
    values = np.arange(1, 65 * 65 + 1, dtype=np.uint16).reshape(65, 65)
    items = [make_scene(tmp_path / "scenes", "S", "2020-06-01T10:00:00Z", {"B04": values, "B08": values[::-1].copy()})]
    (tmp_path / "store" / "bucket").mkdir(parents=True)
    make_geopackage(
        tmp_path / "store/bucket/parcels.gpkg",
        [shapely.box(500_000 + 50 * k, 5_099_700, 500_040 + 50 * k, 5_099_900) for k in range(10)],
    )
    with rclone_server(tmp_path / "store") as s3:
        config = write_config(
            tmp_path / "config.toml",
            make_catalog(tmp_path / "scenes", items),
            "[storage]",
            f'endpoint_url = "{s3.url}"',
            f'region = "{s3.region}"',
        )
        with Serving(tmp_path / "home", config=config) as server:
            made = server.client()
            client = SentinelHubBatchStatistical(
                SHConfig(
                    use_defaults=True,
                    sh_base_url=server.url,
                    sh_client_id=made["client_id"],
                    sh_client_secret=made["client_secret"],
                )
            )
            body = make_request()
            keys = {"access_key": s3.access_key, "secret_access_key": s3.secret_access_key}
            request = client.create(
                input_features=client.s3_specification("s3://bucket/parcels.gpkg", **keys),
                input_data=body["input"]["data"],
                aggregation=body["aggregation"],
                calculations=None,
                output=client.s3_specification("s3://bucket/results", **keys),
            )
            client.start_job(request)
            done = client.wait(request, progress=False, timeout=180)
            assert done.status.value == "DONE"
            folder = tmp_path / "store/bucket/results" / done.request_id
            assert sorted(int(file.stem) for file in folder.glob("*.json")) == list(range(1, 11))
            assert json.loads((folder / "10.json").read_bytes())["response"]["status"] == "OK"

            wrong = client.create(
                input_features=client.s3_specification("s3://bucket/parcels.gpkg", "nobody", "wrong-secret"),
                input_data=body["input"]["data"],
                aggregation=body["aggregation"],
                calculations=None,
                output=client.s3_specification("s3://bucket/results", **keys),
            )
            client.start_job(wrong)
            with pytest.raises(RuntimeError, match=r"s3://bucket/parcels\.gpkg"):
                client.wait(wrong, progress=False, timeout=180)
            assert "wrong-secret" not in httpx.get(f"{server.url}/openapi.json").text + server.log.read_text()
