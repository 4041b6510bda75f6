"""`swathe process` as a process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
import xarray
from pyproj import Transformer

from builders import make_catalog
from engines import World
from process_cases import TIFFS, batch_body, write_areas
from rasters import LEFT, TOP


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.scene("a", "2020-06-03", {"B04": np.arange(1, 10_001, dtype=np.uint16).reshape(100, 100)}, pixel=60.0)
    source = make_catalog(made.files, made.items)
    (tmp_path / "swathe.toml").write_text(f'[[collections]]\ntype = "sentinel-2-l2a"\nsource = "{source}"\n')
    boxes = {
        name: shapely.box(LEFT + 60 * at, TOP - 60 * 20, LEFT + 60 * (at + 20), TOP)
        for name, at in (("a", 0), ("b", 30))
    }
    write_areas(tmp_path / "areas.gpkg", {"areas": (32633, boxes, {})})
    return made


def swathe(world: World, body: dict[str, Any], *options: str) -> subprocess.CompletedProcess[str]:
    request = world.folder / "request.json"
    request.write_text(json.dumps(body))
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "swathe",
            "process",
            str(request),
            "--config",
            str(world.folder / "swathe.toml"),
            *options,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_images_in_a_folder(world: World) -> None:
    body = batch_body(input={"type": "geopackage", "defaults": {"resolution": 60.0}}, responses=TIFFS[:1])
    out = world.folder / "my results"
    options = ("--output", str(out), "--features", str(world.folder / "areas.gpkg"), "--workers", "1")
    done = swathe(world, body, *options, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["features"], told["done"], told["failed"]) == (2, 2, 0)
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert names == ["a/red.tif", "b/red.tif", "featureManifest-local.gpkg", "request-local.json"]
    with rasterio.open(out / "b/red.tif") as file:
        assert file.read(1)[0, :3].tolist() == [31, 32, 33]
    assert "hidden" not in (out / "request-local.json").read_text()
    again = swathe(world, body, *options)
    assert again.returncode == 1
    assert f"{out}/a/red.tif exists" in again.stderr


def test_names_of_the_request_are_kept(world: World) -> None:
    body = batch_body(
        input={"type": "geopackage", "defaults": {"resolution": 60.0}},
        url="s3://bucket/some/<requestId>/x/<tileName>-<outputId>.tif",
    )
    out = world.folder / "out"
    done = swathe(world, body, "--output", str(out), "--features", str(world.folder / "areas.gpkg"))
    assert done.returncode == 0, done.stderr
    assert "2 done, 0 failed" in done.stdout
    assert sorted(path.name for path in out.glob("*.tif")) == ["a-mask.tif", "a-red.tif", "b-mask.tif", "b-red.tif"]


def test_a_zarr_group_is_the_folder_itself(world: World) -> None:
    change = Transformer.from_crs(32633, 4326, always_xy=True)
    west, north = change.transform(LEFT + 600, TOP - 600)
    body = batch_body(
        bbox=(west, north - 0.01, west + 0.01, north),
        responses=({"identifier": "red", "format": {"type": "zarr/array"}},),
        input={"type": "tiling-grid", "id": 6, "resolution": 100},
        output={
            "type": "zarr",
            "group": {"zarr_format": 2},
            "arrayParameters": {"dtype": "<u2", "chunks": [1, 500, 500], "fill_value": 0},
        },
    )
    out = world.folder / "group"
    done = swathe(world, body, "--output", str(out), "--workers", "1")
    assert done.returncode == 0, done.stderr
    with xarray.open_zarr(out, consolidated=True, mask_and_scale=False) as group:
        assert group.red.shape == (1, 1000, 1000)
        assert group.red.values.max() > 9_000


def test_geopackage_input_needs_its_file(world: World) -> None:
    body = batch_body(input={"type": "geopackage", "defaults": {"resolution": 60.0}})
    done = swathe(world, body, "--output", str(world.folder / "out"))
    assert done.returncode == 1
    assert "--features" in done.stderr
