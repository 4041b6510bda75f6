"""A job that brought its own keys to S3 is looked at after its end, when the server has no key to the bucket any more."""

from __future__ import annotations

import io
import json
import re

import mapbox_vector_tile
import pyarrow as pa
import pytest
from pyarrow import parquet

from builders import make_request
from servers import moto_server
from serving import BATCH, Serving, make_inputs, wait_for, write_config

pytestmark = pytest.mark.xdist_group("console")

V1 = "/console/v1"
PERCENTILES = {"ndvi": {"statistics": {"default": {"percentiles": {"k": [25, 50]}}}}}
MEAN = {"output": "ndvi", "band": "value", "statistic": "mean"}


@pytest.fixture(scope="module")
def s3():
    with moto_server() as server:
        for bucket in ("inputs", "out"):
            server.client().create_bucket(
                Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": server.region}
            )
        yield server


@pytest.fixture(scope="module")
def server(s3, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    catalog, geopackage = make_inputs(folder / "inputs", parcels=12)
    s3.client().upload_file(str(geopackage), "inputs", "parcels.gpkg")
    lines = [
        "[storage]",
        f'endpoint_url = "{s3.url}"',
        f'region = "{s3.region}"',
        "patience_s = 0",
        "[limits]",
        "unit_rows = 12",
    ]
    with Serving(folder / "home", config=write_config(folder / "config.toml", catalog, *lines)) as server:
        server.http = server.session(server.client("me"))
        yield server


@pytest.fixture(scope="module")
def job(server, s3):
    keys = {"accessKey": s3.access_key, "secretAccessKey": s3.secret_access_key, "region": s3.region}
    body = make_request(calculations=PERCENTILES, of="P2D", end="2020-06-07T00:00:00Z")
    body["input"]["features"] = {"s3": {"url": "s3://inputs/parcels.gpkg", **keys}}
    body["output"] = {"s3": {"url": "s3://out/results", **keys}}
    job_id = server.http.post(BATCH, json=body).json()["id"]
    assert server.http.post(f"{BATCH}/{job_id}/start").status_code == 204
    assert wait_for(server.http, job_id)["status"] == "DONE"
    return job_id


@pytest.fixture(scope="module")
def table(s3, job) -> pa.Table:
    """The data set in the bucket."""
    found = s3.client().list_objects_v2(Bucket="out", Prefix=f"results/{job}/statistics/")["Contents"]
    assert len(found) > 1
    bodies = [s3.client().get_object(Bucket="out", Key=one["Key"])["Body"].read() for one in found]
    return pa.concat_tables(parquet.read_table(io.BytesIO(body)) for body in bodies)


def get(server, path: str, **query):
    return server.http.get(f"{V1}{path}", params=query)


def test_map_and_range_have_the_values_of_the_data_set(server, job, table):
    page = get(server, f"/jobs/{job}").json()
    assert "resultsError" not in page
    assert [entry["output"] for entry in page["outputs"]] == ["ndvi"]
    found = get(server, f"/jobs/{job}/range", **MEAN)
    assert found.status_code == 200, found.text
    means = [value for value in table.column("mean").to_pylist() if value is not None]
    assert found.json()["minimum"] == pytest.approx(min(means), rel=1e-6)
    assert found.json()["maximum"] == pytest.approx(max(means), rel=1e-6)
    assert found.json()["covered"] == 1
    first = page["intervals"][0]["from"]
    tile = get(server, f"/jobs/{job}/tiles/0/0/0.mvt", by="value", interval=first, **MEAN)
    assert tile.status_code == 200, tile.text
    drawn = {
        one["id"]: one["properties"].get("v") for one in mapbox_vector_tile.decode(tile.content)["features"]["features"]
    }
    at = [row for row in table.to_pylist() if row["interval_from"].day == 1]
    expected = {row["id"]: row["mean"] for row in at}
    assert drawn
    assert drawn == {key: pytest.approx(expected[key], rel=1e-6) for key in drawn}


def test_a_series_comes_from_the_rows_and_is_that_of_the_document(server, s3, job):
    listed = get(server, f"/jobs/{job}/features").json()["data"]
    assert len(listed) == 12
    for feature in (listed[0], listed[-1]):
        told = get(server, f"/jobs/{job}/features/{feature['id']}").json()
        assert "resultsError" not in told
        document = s3.client().get_object(Bucket="out", Key=f"results/{job}/{feature['id']}.json")["Body"].read()
        data = json.loads(document)["response"]["data"]
        assert told["intervals"] == [entry["interval"] for entry in data]
        stats = [entry["outputs"]["ndvi"]["bands"]["value"]["stats"] for entry in data]
        band = told["series"]["ndvi"]["value"]
        for name in ("mean", "stDev", "min", "max", "sampleCount", "noDataCount"):
            assert band[name] == [one[name] for one in stats]
        assert band["percentiles"] == {
            "p25.0": [one["percentiles"]["25.0"] for one in stats],
            "p50.0": [one["percentiles"]["50.0"] for one in stats],
        }


def test_a_document_is_told_to_lie_in_the_store(server, job):
    refusal = get(server, f"/jobs/{job}/features/1/document")
    assert 400 <= refusal.status_code < 500
    assert re.search(rf"lies in the store at s3://out/results/{job}/1\.json.* keys .* removed", refusal.text)


def test_the_keys_are_in_no_file_of_the_home(server, s3, job):
    files = [file for file in (server.home / "looking" / job).rglob("*") if file.is_file()]
    assert any(file.suffix == ".parquet" for file in files)
    for file in [*files, server.log]:
        assert s3.secret_access_key.encode() not in file.read_bytes()
        assert server.log == file or file.stat().st_mode & 0o077 == 0 or file.parent.stat().st_mode & 0o077 == 0
