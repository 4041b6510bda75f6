"""Batch Processing V2 jobs that read from and deliver to a real object store, with the keys that the request brings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from engines import World
from process_cases import ProcessJob, batch_body, write_areas
from rasters import LEFT, TOP
from servers import S3Server, moto_server
from swathe.model.errors import AccessDenied, RequestInvalid
from swathe.settings import StorageSettings

COUNT = 40
TEMPLATE = "s3://results/run/<tileName>/<outputId>.<format>"


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with moto_server() as server:
        for bucket in ("inputs", "results"):
            server.client().create_bucket(
                Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": server.region}
            )
        yield server


def keys_of(server: S3Server) -> dict[str, str]:
    return {"accessKey": server.access_key, "secretAccessKey": server.secret_access_key}


@pytest.fixture
def world(tmp_path: Path, server: S3Server) -> World:
    made = World(tmp_path)
    made.scene("a", "2020-06-03", {"B04": np.full((20, 400), 7, np.uint16)}, pixel=60.0)
    areas = {f"area {n}": shapely.box(LEFT + 600 * n, TOP - 600, LEFT + 600 * n + 600, TOP) for n in range(COUNT)}
    file = write_areas(tmp_path / "areas.gpkg", {"areas": (32633, areas, {})})
    server.client().upload_file(str(file), "inputs", "areas.gpkg")
    return made


def make_job(
    world: World, server: S3Server, job_id: str, *, keys: dict[str, str] | None = None, **output: Any
) -> ProcessJob:
    geopackage = {"type": "geopackage", "defaults": {"resolution": 60.0}}
    body = batch_body(
        input=geopackage, output=output, url=TEMPLATE, source_url="s3://inputs/areas.gpkg", keys=keys or keys_of(server)
    )
    storage = StorageSettings(endpoint_url=server.url, region=server.region, retries=0, patience_s=0)
    return ProcessJob(world.folder, world.settings(), body, job_id=job_id, storage=storage)


def objects(server: S3Server) -> dict[str, Any]:
    pages = server.client().get_paginator("list_objects_v2").paginate(Bucket="results", Prefix="run/")
    return {entry["Key"]: entry["LastModified"] for page in pages for entry in page.get("Contents", ())}


def test_images_go_to_the_users_bucket_and_are_found_there_again(world: World, server: S3Server) -> None:
    make_job(world, server, "first").run_all()
    names = {f"run/area {n}/{name}.tif" for n in range(COUNT) for name in ("red", "mask")}
    beside = {"run/execution-first.sqlite", "run/featureManifest-first.gpkg", "run/request-first.json"}
    assert set(objects(server)) == names | beside
    with pytest.raises(RequestInvalid, match="exists"):
        make_job(world, server, "second").analyse()
    server.client().delete_object(Bucket="results", Key="run/area 7/red.tif")
    server.client().delete_object(Bucket="results", Key="run/area 7/mask.tif")
    third = make_job(world, server, "third", skipExisting=True).run_all()
    assert third.plan is not None
    assert third.plan.features == 1
    assert names <= set(objects(server))


def test_a_place_that_may_not_be_written_to_is_told_before_the_work(world: World, server: S3Server) -> None:
    keys = {"accessKey": server.read_access_key, "secretAccessKey": server.read_secret_access_key}
    with pytest.raises(AccessDenied, match="s3://results/run"):
        make_job(world, server, "reader", keys=keys).analyse()
