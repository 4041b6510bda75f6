"""Values of a job's results from a bucket with keys of its own, as they come."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import shapely
from pyarrow import parquet

from servers import moto_server
from swathe.jobs.delivery import Delivery
from swathe.jobs.looking_build import Batch, build
from swathe.jobs.looking_columns import Measure, Values, find_bands
from swathe.jobs.looking_results import Results, read_series
from swathe.jobs.looking_shapes import open_shapes
from swathe.model.common import S3Place
from swathe.model.errors import AccessDenied, ObjectNotFound
from swathe.settings import StorageSettings
from swathe.storage import ObjectStores

MEAN = Measure("ndvi", "value", "mean")
STARTS = np.array([1_590_969_600_000_000, 1_591_056_000_000_000], np.int64)


@pytest.fixture(scope="module")
def s3():
    with moto_server() as server:
        server.client().create_bucket(Bucket="out", CreateBucketConfiguration={"LocationConstraint": server.region})
        yield server


def results_of(s3, *, keys: bool = True, ended: bool = False) -> Results:
    own = {"accessKey": s3.access_key, "secretAccessKey": s3.secret_access_key} if keys else {}
    place = S3Place.model_validate({"url": "s3://out/run", "region": s3.region, **own})
    storage = StorageSettings(
        endpoint_url=s3.url,
        region=s3.region,
        access_key="AKIADEPLOYMENT",
        secret_access_key="unknown to the store",
        buckets=("out",),
        patience_s=0,
        retries=0,
    )
    return Results(Delivery(storage, place, "7f1d"), ObjectStores(storage), ended)


def put_part(s3, unit: int, rows: list[tuple]) -> None:
    """A part of rows (id, interval, output, band, mean, p50)."""
    columns = list(zip(*rows, strict=True))
    texts = {name: pa.array(columns[at]).dictionary_encode() for name, at in (("output", 2), ("band", 3))}
    table = pa.table(
        {
            "id": pa.array(columns[0], pa.int64()),
            "interval_from": pa.array([None if at is None else int(STARTS[at]) for at in columns[1]], pa.int64()).cast(
                pa.timestamp("us", "UTC")
            ),
            **texts,
            "mean": pa.array(columns[4], pa.float64()),
            "percentiles": pa.array([{"50.0": value} for value in columns[5]], pa.struct([("50.0", pa.float64())])),
        }
    )
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, row_group_size=2)
    s3.client().put_object(
        Bucket="out", Key=f"run/7f1d/statistics/part-{unit:05}.parquet", Body=sink.getvalue().to_pybytes()
    )


@pytest.fixture
def shapes(tmp_path):
    boxes = np.empty(4, object)
    boxes[:] = [shapely.box(x, 0, x + 1, 1) for x in (30, 10, 20, 0)]
    build([Batch(np.array([1, 2, 3, 4]), [None] * 4, boxes, 4326)], tmp_path / "shapes")
    return open_shapes(tmp_path / "shapes")


def by_id(shapes, values: Values, interval: int) -> list[float]:
    return values.at(interval)[shapes.places(np.array([1, 2, 3, 4]))].tolist()


def test_values_come_with_the_parts_and_outlive_the_process(s3, shapes, tmp_path):
    put_part(
        s3,
        0,
        [
            (1, 0, "ndvi", "value", 0.5, 0.4),
            (1, 0, "ndvi", "other", 9.0, 9.0),
            (1, 1, "ndvi", "value", 0.75, 0.7),
            (2, 0, "b", "value", 8.0, 8.0),
            (2, 0, "ndvi", "value", None, None),
            (2, None, None, None, None, None),
            (77, 0, "ndvi", "value", 7.0, 7.0),
        ],
    )
    results = results_of(s3)
    values = Values(tmp_path, MEAN, shapes, STARTS)
    assert values.range() is None
    assert values.lacks({0})
    values.fill({0}, results.part)
    assert by_id(shapes, values, 0) == pytest.approx([0.5, np.nan, np.nan, np.nan], nan_ok=True)
    assert by_id(shapes, values, 1) == pytest.approx([0.75, np.nan, np.nan, np.nan], nan_ok=True)
    put_part(s3, 3, [(4, 1, "ndvi", "value", -1.0, -2.0), (3, 0, "ndvi", "value", 0.25, 0.2)])
    # another look, later: what is there is not read again
    later = Values(tmp_path, MEAN, shapes, STARTS)
    assert later.units == 1
    s3.client().delete_object(Bucket="out", Key="run/7f1d/statistics/part-00000.parquet")
    later.fill({0, 3}, results.part)
    assert by_id(shapes, later, 0) == pytest.approx([0.5, np.nan, 0.25, np.nan], nan_ok=True)
    assert by_id(shapes, later, 1) == pytest.approx([0.75, np.nan, np.nan, -1.0], nan_ok=True)
    found = later.range()
    assert (found.minimum, found.maximum) == (-1.0, 0.75)
    median = Values(tmp_path, Measure("ndvi", "value", "p50.0"), shapes, STARTS)
    median.fill({3}, results.part)
    assert by_id(shapes, median, 1) == pytest.approx([np.nan, np.nan, np.nan, -2.0], nan_ok=True)
    assert find_bands(results.open_parts([3, 9])) == {"ndvi": ["value"]}


def test_keys_that_are_gone_are_told_with_the_way_out(s3):
    put_part(s3, 5, [(1, 0, "ndvi", "value", 0.5, 0.4)])
    with pytest.raises(AccessDenied, match=r"were removed .*\[storage\] access_key"):
        results_of(s3, keys=False, ended=True).document(1, "")
    with pytest.raises(AccessDenied) as refusal, results_of(s3, keys=False).part(5):
        pass
    assert "removed" not in str(refusal.value)
    with pytest.raises(ObjectNotFound):
        results_of(s3).document(1, "")


def test_series_of_odd_documents():
    entry = {"from": "2020-06-01T00:00:00Z", "to": "2020-06-02T00:00:00Z"}
    stats = {"min": "NaN", "mean": 1, "sampleCount": 4, "percentiles": {"50.0": "NaN"}}
    told = read_series(
        {
            "response": {
                "data": [
                    {"interval": entry, "error": {"type": "EXECUTION_ERROR", "message": "x is not defined"}},
                    {"interval": entry, "outputs": {"a": {"bands": {"B0": {"stats": stats}}}}},
                ]
            }
        }
    )
    assert told["errors"] == ["EXECUTION_ERROR: x is not defined", None]
    band = told["series"]["a"]["B0"]
    assert (band["mean"], band["min"], band["stDev"]) == ([None, 1], [None, None], [None, None])
    assert band["percentiles"] == {"p50.0": [None, None]}
    for nothing in ({}, {"response": None}, {"response": {"data": None, "status": "FAILED"}}):
        assert read_series(nothing) == {"intervals": [], "errors": [], "series": {}}
