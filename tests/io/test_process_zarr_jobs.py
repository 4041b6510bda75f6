"""Batch Processing V2 jobs with Zarr output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import xarray
from pyproj import Transformer

from engines import World
from process_cases import RED, ProcessJob, batch_body
from rasters import LEFT, TOP, process_request, render
from swathe.grids.raster_grid import RasterGrid
from swathe.grids.tiling import GRIDS, tiles_over
from swathe.jobs import prepare
from swathe.model.errors import RequestInvalid

LAEA = {"type": "tiling-grid", "id": 7, "resolution": 20}
RESPONSES = tuple({"identifier": name, "format": {"type": "zarr/array"}} for name in ("red", "mask"))
OUTPUT = {
    "type": "zarr",
    "group": {"zarr_format": 2},
    "arrayParameters": {"dtype": "<u2", "chunks": [1, 250, 500], "fill_value": 0},
    "arrayOverrides": {"mask": {"dtype": "|u1"}},
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    values = np.random.default_rng(2).integers(1, 3_000, (600, 600)).astype(np.uint16)
    made.scene("a", "2020-06-03", {"B04": values}, pixel=20.0)
    return made


def bbox() -> list[float]:
    change = Transformer.from_crs(32633, 4326, always_xy=True)
    box = shapely.box(LEFT + 4_000, TOP - 11_000, LEFT + 11_000, TOP - 1_000)
    return list(shapely.transform(box, lambda xy: np.stack(change.transform(xy[:, 0], xy[:, 1]), axis=1)).bounds)


def body(**parts: Any) -> dict[str, Any]:
    url = parts.pop("url", "s3://out/run/<requestId>")
    output = {**OUTPUT, **parts.pop("output", {})}
    return batch_body(bbox=bbox(), responses=RESPONSES, url=url, input=LAEA, output=output, **parts)


def open_group(job: ProcessJob) -> xarray.Dataset:
    return xarray.open_zarr(job.file("7f1d"), consolidated=True, mask_and_scale=False)


def test_tiles_side_by_side_are_one_group(world: World) -> None:
    job = ProcessJob(world.folder, world.settings(unit_cells=1_000_000), body()).run_all()
    tiles = [tile.grid for tile in tiles_over(GRIDS[7], shapely.box(*bbox()), 20.0)]
    assert job.plan is not None
    assert len(job.plan.units) == len(tiles) > 1
    west, north = min(tile.x0 for tile in tiles), max(tile.y0 for tile in tiles)
    with open_group(job) as group:
        assert group.red.dims == ("time", "y", "x")
        assert (group.red.dtype, group.mask.dtype) == (np.uint16, np.uint8)
        assert group.x.values[0] == west + 10
        assert group.y.values[0] == north - 10
        height, width = group.red.shape[1:]
        whole = RasterGrid(3035, west, north, 20.0, 20.0, width, height)
        want = render(world.settings(), process_request(RED), whole)
        assert 0.1 < want.mask.mean() < 0.9
        for name in ("red", "mask"):
            np.testing.assert_array_equal(group[name].values[0], want.arrays[name][0])
    assert {row[2] for row in job.execution("7f1d/execution-7f1d.sqlite")} == {"DONE"}


def test_an_analysis_that_is_done_again_finds_its_own_group(world: World) -> None:
    job = ProcessJob(world.folder, world.settings(), body())
    job.analyse()
    before = job.file("7f1d/.zmetadata").stat().st_mtime_ns
    job.run_all()
    assert job.file("7f1d/.zmetadata").stat().st_mtime_ns == before
    plan = job.plan
    assert plan is not None
    job.file("7f1d/red/0.1.1").unlink(missing_ok=True)
    job.folder.joinpath("features.gpkg").unlink()
    prepare.restore(job.preparation, plan.payload)
    assert job.run(0).result is not None


def test_a_place_that_is_taken_is_refused(world: World) -> None:
    first = ProcessJob(world.folder, world.settings(), body(url="s3://out/run"))
    first.analyse()
    with pytest.raises(RequestInvalid, match="empty folder"):
        ProcessJob(world.folder, world.settings(), body(url="s3://out/run"), job_id="other").analyse()


def test_chunks_must_divide_a_tile(world: World) -> None:
    output = {"arrayParameters": {"dtype": "<u2", "chunks": [1, 300, 500], "fill_value": 0}}
    with pytest.raises(RequestInvalid, match="chunks of 300 rows"):
        ProcessJob(world.folder, world.settings(), body(output=output)).analyse()


def test_a_fill_value_that_is_no_number_travels(world: World) -> None:
    script = RED.replace('"UINT16", nodataValue: 0', '"FLOAT32"')
    output = {"arrayParameters": {"dtype": "<f4", "chunks": [1, 500, 500], "fill_value": "NaN"}, "arrayOverrides": {}}
    job = ProcessJob(world.folder, world.settings(), body(script=script, output=output)).run_all(by_value=True)
    with open_group(job) as group:
        assert np.isnan(
            group.red.encoding["_FillValue"] if "_FillValue" in group.red.encoding else group.red.attrs["_FillValue"]
        )
