"""The console's interface over HTTP: a real server, real jobs, tiles read by another's decoder."""

from __future__ import annotations

import gzip
import json
import subprocess
import time

import duckdb
import geopandas as gpd
import httpx
import mapbox_vector_tile
import numpy as np
import pytest
import shapely
from pyproj import Transformer

from builders import make_geopackage, make_request
from process_cases import RED, TIFFS, batch_body
from serving import BATCH, ENV, Serving, command, make_inputs, wait_for, write_config

pytestmark = pytest.mark.xdist_group("console")

V1 = "/console/v1"
SECRET = "hidden-secret-access-key"
KEYS = {"accessKey": "AKIAHIDDEN", "secretAccessKey": SECRET}
PERCENTILES = {"ndvi": {"statistics": {"default": {"percentiles": {"k": [25, 50]}}}}}
HALF = 20037508.342789244
COUNT = 24
BOWTIE = COUNT - 1  # the last but one
HOLED = COUNT  # the last: two parts, one with a hole


def parcels() -> list[shapely.Geometry]:
    """Squares in rows; one that crosses itself, one of two parts with a hole."""
    boxes = []
    for number in range(COUNT):
        x, y = 500_040 + 180 * (number % 6), 5_099_900 - 180 * (number // 6)
        boxes.append(shapely.box(x, y - 120, x + 120 + number, y))
    x, y = boxes[-2].bounds[:2]
    boxes[-2] = shapely.Polygon([(x, y), (x + 100, y + 100), (x + 100, y), (x, y + 100)])
    x, y, east, north = boxes[-1].bounds
    hole = shapely.box(x + 40, y + 40, x + 80, y + 80)
    boxes[-1] = shapely.MultiPolygon([shapely.difference(boxes[-1], hole), shapely.box(east + 20, y, east + 60, north)])
    return boxes


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("console")
    catalog, _ = make_inputs(folder / "inputs", parcels=1)
    buckets = folder / "buckets"
    names = [f"SI {number}/a" for number in range(COUNT - 1)] + [None]
    whole = [parcel for number, parcel in enumerate(parcels(), start=1) if number != BOWTIE]
    make_geopackage(buckets / "in" / "areas.gpkg", whole[:4], identifiers=[f"area {number}" for number in range(4)])
    make_geopackage(buckets / "in" / "parcels.gpkg", parcels(), identifiers=names)
    lines = [
        "[storage]",
        f'local_root = "{buckets}"',
        "[limits]",
        "unit_rows = 20",
        "[console]",
        'style_url = "/s.json"',
    ]
    with Serving(folder / "home", config=write_config(folder / "config.toml", catalog, *lines)) as server:
        server.buckets = buckets
        server.http = server.session(server.client("me"))
        yield server


@pytest.fixture(scope="module")
def job(server):
    """A job that is done."""
    body = make_request(calculations=PERCENTILES, of="P2D", end="2020-06-07T00:00:00Z")
    body["input"]["features"] = {"s3": {"url": "s3://in/parcels.gpkg", **KEYS}}
    body["output"] = {"s3": {"url": "s3://out/results", **KEYS}}
    body["description"] = "fields of the south"
    job_id = server.http.post(BATCH, json=body).json()["id"]
    assert server.http.post(f"{V1}/jobs/{job_id}/start").status_code == 204
    assert wait_for(server.http, job_id)["status"] == "DONE"
    return job_id


@pytest.fixture(scope="module")
def table(server, job):
    """The data set of its results, as DuckDB reads it."""
    files = server.buckets / f"out/results/{job}/statistics/part-*.parquet"
    return duckdb.sql(f"SELECT *, epoch_us(interval_from) AS at FROM read_parquet('{files}')").df()


def get(server, path: str, **query) -> httpx.Response:
    return server.http.get(f"{V1}{path}", params=query)


def tile_of(z: int, lon: float, lat: float) -> tuple[int, int, int]:
    """The tile that a place lies in, by the formulas of the OSM wiki."""
    x = int((lon + 180) / 360 * 2**z)
    y = int((1 - np.arcsinh(np.tan(np.radians(lat))) / np.pi) / 2 * 2**z)
    return z, x, y


def read_tile(server, job, place, **query) -> dict[int, dict]:
    """The features of a tile by id, coordinates in metres of Web Mercator."""
    z, x, y = place
    answer = get(server, f"/jobs/{job}/tiles/{z}/{x}/{y}.mvt", **query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-encoding"] == "gzip"
    side = 2 * HALF / 2**z

    def to_metres(px: float, py: float) -> tuple[float, float]:
        return -HALF + (x + px / 4096) * side, HALF - (y + py / 4096) * side

    layer = mapbox_vector_tile.decode(answer.content, default_options={"y_coord_down": True, "transformer": to_metres})[
        "features"
    ]
    assert layer["extent"] == 4096
    assert layer["version"] == 2
    found = {feature["id"]: feature for feature in layer["features"]}
    assert len(found) == len(layer["features"])
    assert all(feature["properties"]["id"] == key for key, feature in found.items())
    return found


@pytest.fixture(scope="module")
def truth(server):
    """The polygons in Web Mercator, read by GeoPandas."""
    frame = gpd.read_file(server.buckets / "in/parcels.gpkg", fid_as_index=True)
    return frame.to_crs(3857).geometry


def centre(truth) -> tuple[float, float]:
    box = truth.total_bounds
    to_degrees = Transformer.from_crs(3857, 4326, always_xy=True)
    return to_degrees.transform((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)


def test_list_line_and_page_of_a_job(server, job):
    page = get(server, "/jobs", kind="statistics", status="DONE", q="south").json()
    (line,) = [line for line in page["data"] if line["id"] == job]
    assert line["kind"] == "statistics"
    assert line["completionPercentage"] == 100
    assert (line["features"], line["featuresDone"], line["featuresFailed"]) == (COUNT, COUNT - 1, 1)
    assert line["secondsLeft"] is None
    assert "request" not in line
    assert get(server, f"/jobs/{job}/tiles/0/0/0.mvt").status_code == 200
    whole = get(server, f"/jobs/{job}").json()
    assert {key: whole[key] for key in line} == line
    assert whole["request"]["output"] == {"s3": {"url": "s3://out/results"}}
    assert whole["plan"]["features"] == COUNT
    assert whole["plan"]["units"] > 1
    assert whole["plan"]["estimatedPU"] > 0
    assert whole["events"][0]["message"] == "CREATED"
    assert "DONE" in whole["events"][-1]["message"]
    (ndvi,) = whole["outputs"]
    assert (ndvi["output"], ndvi["bands"]) == ("ndvi", ["value"])
    assert ndvi["statistics"] == ["mean", "stDev", "min", "max", "sampleCount", "noDataCount", "p25.0", "p50.0"]
    assert [interval["from"][:10] for interval in whole["intervals"]] == ["2020-06-01", "2020-06-03", "2020-06-05"]
    assert (whole["hasResults"], whole["mapReady"]) == (True, True)
    assert whole["output"] == f"s3://out/results/{job}"
    west, south, east, north = whole["bounds"]
    assert 15 < west < east < 15.03
    assert 46 < south < north < 46.07


def test_secrets_are_nowhere(server, job):
    paths = ["", "/events", "/errors", "/features", "/features/1", "/features/1/document", "/tiles/0/0/0.mvt"]
    for path in paths:
        answer = get(server, f"/jobs/{job}{path}")
        assert answer.status_code == 200
        assert SECRET not in answer.text
        assert "AKIAHIDDEN" not in answer.text


def test_pages_of_the_list_are_newest_first_and_complete(server, job):
    for number in range(3):
        body = make_request()
        body["input"]["features"] = {"s3": {"url": "s3://in/parcels.gpkg"}}
        body["output"] = {"s3": {"url": "s3://out/none"}}
        body["description"] = f"page {number}"
        assert server.http.post(BATCH, json=body).status_code == 201
    told, token = [], None
    while True:
        page = get(server, "/jobs", q="PAGE ", count=2, **({"viewtoken": token} if token else {})).json()
        assert len(page["data"]) <= 2
        told += [line["description"] for line in page["data"]]
        token = page["links"].get("nextToken")
        if token is None:
            break
    assert told == ["page 2", "page 1", "page 0"]


def test_polygons_of_a_tile_are_those_of_the_geopackage(server, job, truth):
    z = 13
    found = read_tile(server, job, tile_of(z, *centre(truth)))
    assert set(found) == set(truth.index)
    step = 2 * HALF / 2**z / 4096
    for key, feature in found.items():
        drawn = shapely.geometry.shape(feature["geometry"])
        if key == BOWTIE:
            continue  # its area is none
        # every corner may be half a step off
        assert shapely.hausdorff_distance(drawn, truth[key]) < 1.5 * step, key
        assert drawn.area == pytest.approx(truth[key].area, rel=0.05)
        assert feature["properties"]["s"] == 1
        assert feature["properties"]["name"] == (f"SI {key - 1}/a" if key < COUNT else "")
    assert found[BOWTIE]["properties"]["s"] == 2
    assert found[HOLED]["geometry"]["type"] == "MultiPolygon"
    assert sum(len(part) - 1 for part in found[HOLED]["geometry"]["coordinates"]) == 1


def test_far_away_features_are_points(server, job, truth):
    found = read_tile(server, job, (6, *tile_of(6, *centre(truth))[1:]))
    assert {feature["geometry"]["type"] for feature in found.values()} == {"Point"}
    # few enough not to be thinned
    assert set(found) == set(truth.index)
    for key, feature in found.items():
        point = shapely.geometry.shape(feature["geometry"])
        assert point.distance(truth[key].envelope.centroid) < 2 * HALF / 2**6 / 4096


def test_a_feature_that_fills_the_tile_is_cut_to_it(server, job, truth):
    inside = truth[1].representative_point()
    lon, lat = Transformer.from_crs(3857, 4326, always_xy=True).transform(inside.x, inside.y)
    place = tile_of(20, lon, lat)
    found = read_tile(server, job, place)
    drawn = shapely.geometry.shape(found[1]["geometry"])
    side = 2 * HALF / 2**20
    assert drawn.bounds[2] - drawn.bounds[0] < 1.1 * side
    west, north = -HALF + place[1] * side, HALF - place[2] * side
    tile = shapely.box(west, north - side, west + side, north)
    assert drawn.intersection(tile).area == pytest.approx(truth[1].intersection(tile).area, rel=1e-3)


def test_where_nothing_is_there_is_no_content(server, job):
    assert get(server, f"/jobs/{job}/tiles/14/0/0.mvt").status_code == 204


def test_tiles_are_told_apart_by_their_etag(server, job):
    path = f"/jobs/{job}/tiles/0/0/0.mvt"
    first = get(server, path)
    assert "private" in first.headers["cache-control"]
    again = server.http.get(f"{V1}{path}", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = get(
        server, path, by="value", output="ndvi", band="value", statistic="mean", interval="2020-06-01T00:00:00Z"
    )
    assert other.headers["etag"] != first.headers["etag"]
    plain = server.http.get(f"{V1}{path}", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == first.content
    assert gzip.decompress(gzip.compress(plain.content)) == first.content


@pytest.mark.parametrize(
    ("statistic", "column"),
    [("mean", "mean"), ("stDev", "st_dev"), ("sampleCount", "sample_count"), ("p50.0", "percentiles['50.0']")],
)
def test_values_of_a_tile_are_those_of_the_data_set(server, job, truth, table, statistic, column):
    start = "2020-06-03T00:00:00Z"
    query = {"output": "ndvi", "band": "value", "statistic": statistic}
    found = read_tile(server, job, tile_of(13, *centre(truth)), by="value", interval=start, **query)
    rows = table[table["at"] == 1591142400 * 1_000_000]
    expected = {
        row["id"]: row["percentiles"]["50.0"] if statistic == "p50.0" else row[column] for _, row in rows.iterrows()
    }
    assert len(expected) == COUNT - 1
    for key in truth.index:
        value = found[key]["properties"].get("v")
        if key == BOWTIE:
            assert value is None
        else:
            assert value == pytest.approx(expected[key], rel=1e-6), key


def test_range_of_values(server, job, table):
    answer = get(server, f"/jobs/{job}/range", output="ndvi", band="value", statistic="mean").json()
    means = table["mean"].dropna().astype(np.float32)
    assert answer["minimum"] == pytest.approx(means.min())
    assert answer["maximum"] == pytest.approx(means.max())
    assert (answer["p02"], answer["p98"]) == pytest.approx(tuple(np.percentile(means, [2, 98])))
    assert answer["counts"] == [COUNT - 1] * 3
    assert answer["covered"] == 1


def test_series_of_a_feature_are_its_document(server, job, truth):
    answer = get(server, f"/jobs/{job}/features/5").json()
    document = get(server, f"/jobs/{job}/features/5/document")
    assert document.content == (server.buckets / f"out/results/{job}/5.json").read_bytes()
    data = document.json()["response"]["data"]
    assert (answer["id"], answer["name"], answer["status"], answer["error"]) == (5, "SI 4/a", "done", None)
    assert answer["intervals"] == [entry["interval"] for entry in data]
    series = answer["series"]["ndvi"]["value"]
    stats = [entry["outputs"]["ndvi"]["bands"]["value"]["stats"] for entry in data]
    for name in ("mean", "stDev", "min", "max", "sampleCount", "noDataCount"):
        assert series[name] == [entry[name] for entry in stats]
    assert series["percentiles"]["p25.0"] == [entry["percentiles"]["25.0"] for entry in stats]
    drawn = shapely.geometry.shape(answer["geometry"])
    exact = gpd.GeoSeries([truth[5]], crs=3857).to_crs(4326)[0]
    assert shapely.hausdorff_distance(drawn, exact) < 3e-7
    assert drawn.exterior.is_ccw


def test_a_failed_feature_says_why(server, job):
    answer = get(server, f"/jobs/{job}/features/{BOWTIE}").json()
    assert answer["status"] == "failed"
    assert "not valid" in answer["error"]
    (reason,) = get(server, f"/jobs/{job}/errors").json()["data"]
    assert reason == {"reason": answer["error"], "count": 1, "features": [BOWTIE]}


def test_features_are_found_by_id_and_by_identifier(server, job):
    def find(text: str, **how) -> list[int]:
        return [line["id"] for line in get(server, f"/jobs/{job}/features", q=text, **how).json()["data"]]

    assert find("5") == [5]
    assert find("si 1/") == [2]
    assert find("SI 1") == [2, *range(11, 21)]
    assert find("SI 1", count=3) == [2, 11, 12]
    assert find("nobody") == []
    assert find("", count=2) == [1, 2]
    (line,) = get(server, f"/jobs/{job}/features", q="SI 3/").json()["data"]
    assert (line["name"], line["status"]) == ("SI 3/a", "done")
    assert 15 < line["bounds"][0] < line["bounds"][2] < 15.03


def test_log_after_a_number(server, job):
    lines = get(server, f"/jobs/{job}/events").json()["data"]
    assert get(server, f"/jobs/{job}/events", after=lines[-2]["number"]).json()["data"] == lines[-1:]


def test_others_see_nothing(server, job):
    other = server.session(server.client("other"))
    value = "?by=value&output=ndvi&band=value&interval=2020-06-01T00:00:00Z"
    for path in ("", "/events", "/errors", "/tiles/0/0/0.mvt", f"/tiles/0/0/0.mvt{value}", "/features", "/features/1"):
        assert other.get(f"{V1}/jobs/{job}{path}").status_code == 404, path
        assert httpx.get(f"{server.url}{V1}/jobs/{job}{path}").status_code == 401, path
    assert other.post(f"{V1}/jobs/{job}/stop").status_code == 404
    assert other.get(f"{V1}/jobs").json()["data"] == []
    assert other.get(f"{V1}/jobs", params={"project": "all"}).status_code == 403


def test_an_operator_may_see_all_projects(server, job):
    arguments = ("client", "create", "operator", "--scope", "admin", "--home", str(server.home), "--json")
    made = subprocess.run(command(*arguments), capture_output=True, text=True, check=True, env=ENV)
    operator = server.session(json.loads(made.stdout))
    assert operator.get(f"{V1}/jobs").json()["data"] == []
    everything = operator.get(f"{V1}/jobs", params={"project": "all"}).json()["data"]
    assert job in [line["id"] for line in everything]
    assert operator.get(f"{V1}/jobs/{job}").status_code == 404
    assert operator.get(f"{V1}/jobs/{job}/tiles/0/0/0.mvt", params={"project": "all"}).status_code == 200


@pytest.mark.parametrize(
    ("path", "query", "parameter"),
    [
        ("/tiles/99/0/0.mvt", {}, "z"),
        ("/tiles/3/-1/0.mvt", {}, "z"),
        ("/tiles/3/0/8.mvt", {}, "z"),
        ("/tiles/x/0/0.mvt", {}, "z"),
        (f"/tiles/3/{10**40}/0.mvt", {}, "z"),
        ("/tiles/0/0/0.mvt", {"by": "colour"}, "by"),
        ("/tiles/0/0/0.mvt", {"by": "value", "output": "ndvi", "band": "value"}, "interval"),
        ("/tiles/0/0/0.mvt", {"by": "value", "interval": "2020-06-01T00:00:00Z"}, "output"),
        ("/tiles/0/0/0.mvt", {"by": "value", "output": "ndvi", "band": "value", "interval": "soon"}, "interval"),
        ("/tiles/0/0/0.mvt", {"by": "value", "output": "ndvi", "band": "value", "interval": "2020-06-02"}, "interval"),
        ("/range", {"output": "no", "band": "value"}, "output"),
        ("/range", {"output": "ndvi", "band": "B9"}, "band"),
        ("/range", {"output": "ndvi", "band": "value", "statistic": "../../p"}, "statistic"),
        ("/range", {"output": "ndvi", "band": "value", "statistic": "p99.0"}, "statistic"),
        ("/features", {"count": 0}, "count"),
        ("/events", {"after": "x"}, "after"),
    ],
)
def test_what_cannot_be_is_refused_with_the_field(server, job, path, query, parameter):
    answer = get(server, f"/jobs/{job}{path}", **query)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["errors"]["parameter"] == parameter
    assert error["message"]


def test_what_is_not_there(server, job):
    for path in ("/features/99", "/features/x", f"/features/{10**30}", "/features/-1/document"):
        assert get(server, f"/jobs/{job}{path}").status_code == 404, path
    assert get(server, "/jobs/nothing").status_code == 404
    assert server.http.post(f"{V1}/jobs/{job}/eat").status_code == 404
    assert server.http.post(f"{V1}/jobs/{job}/stop").status_code == 400
    for query in ({"kind": "x"}, {"status": "x"}, {"viewtoken": "x"}, {"project": "mine"}):
        assert get(server, "/jobs", **query).status_code == 400, query


def test_a_job_that_is_not_analysed_has_a_page_and_no_map(server):
    body = make_request()
    body["input"]["features"] = {"s3": {"url": "s3://in/parcels.gpkg"}}
    body["output"] = {"s3": {"url": "s3://out/results"}}
    job_id = server.http.post(BATCH, json=body).json()["id"]
    page = get(server, f"/jobs/{job_id}").json()
    assert (page["plan"], page["outputs"], page["bounds"], page["hasResults"]) == (None, [], None, False)
    answer = get(server, f"/jobs/{job_id}/tiles/0/0/0.mvt")
    assert answer.status_code == 400
    assert "analyse" in answer.json()["error"]["message"]
    # analysed: features that wait, and no values yet
    assert server.http.post(f"{V1}/jobs/{job_id}/analyse").status_code == 204
    wait_for(server.http, job_id, "ANALYSIS_DONE")
    found = read_tile(server, job_id, (0, 0, 0))
    assert {feature["properties"]["s"] for feature in found.values()} == {0}
    refused = get(server, f"/jobs/{job_id}/range", output="ndvi", band="value")
    assert refused.status_code == 400
    waiting = get(server, f"/jobs/{job_id}/features/1").json()
    assert (waiting["status"], waiting["intervals"], waiting["series"]) == ("waiting", [], {})
    assert get(server, f"/jobs/{job_id}/features/1/document").status_code == 404


def test_images_of_a_processing_job_are_on_the_map(server, truth):
    areas = {"type": "geopackage", "defaults": {"resolution": 10.0}}
    place = {"source_url": "s3://in/areas.gpkg", "url": "s3://out/images"}
    body = batch_body(script=RED, responses=TIFFS, input=areas, **place)
    answer = server.http.post("/api/v2/batch/process", json=body)
    assert answer.status_code == 201, answer.text
    job_id = answer.json()["id"]
    server.http.post(f"{V1}/jobs/{job_id}/start")
    end = time.monotonic() + 180
    while (line := get(server, f"/jobs/{job_id}").json())["status"] not in ("DONE", "FAILED", "STOPPED"):
        assert time.monotonic() < end, line
        time.sleep(0.1)
    assert (line["status"], line["kind"], line["features"]) == ("DONE", "process", 4), line
    assert (line["outputs"], line["intervals"]) == ([], [])
    assert line["output"].startswith("s3://out/images")
    found = read_tile(server, job_id, tile_of(13, *centre(truth)))
    names = {feature["properties"]["name"]: shapely.geometry.shape(feature["geometry"]) for feature in found.values()}
    assert set(names) == {f"area {number}" for number in range(4)}
    step = 2 * HALF / 2**13 / 4096
    assert shapely.hausdorff_distance(names["area 1"], truth[2]) < 1.5 * step
    assert {feature["properties"]["s"] for feature in found.values()} == {1}
    refused = get(server, f"/jobs/{job_id}/range", output="red", band="value")
    assert refused.status_code == 400
    assert "images" in refused.json()["error"]["message"]
    one = get(server, f"/jobs/{job_id}/features/{next(iter(found))}").json()
    assert (one["status"], one["series"]) == ("done", {})


def test_what_the_deployment_has(server):
    made = server.http.post("/api/v1/byoc/collections", json={"name": "mine", "s3Bucket": "own"}).json()
    answer = get(server, "/deployment").json()
    assert answer["styleUrl"] == "/s.json"
    by_type = {entry["type"]: entry for entry in answer["collections"]}
    bands = {band["name"]: band["units"] for band in by_type["sentinel-2-l2a"]["bands"]}
    assert "REFLECTANCE" in bands["B04"]
    assert by_type[f"byoc-{made['data']['id']}"]["title"] == "mine"
    assert answer["limits"]["features"] == 700_000


def test_what_is_kept_is_made_again(server, job, truth):
    """The features of a job that is done come from what it delivered."""
    before = read_tile(server, job, tile_of(13, *centre(truth)))
    kept = server.home / "looking" / job
    assert (kept / "shapes" / "about.json").exists()
    assert not (server.home / "jobs" / job).exists()
    assert json.loads((kept / "shapes" / "about.json").read_text())["count"] == COUNT
    assert set(before) == set(truth.index)
