"""The benchmark of the main job: its floor decodes what GDAL decodes, and its small run finds that results agree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("geopandas")
pytest.importorskip("pyarrow")
pytest.importorskip("exactextract")

import numpy as np
import rasterio
import shapely

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.parametrize("codec", ["deflate", "lzw", "zstd"])
@pytest.mark.parametrize("predictor", [1, 2])
def test_floor_decodes_each_needed_block_as_gdal_does(tmp_path: Path, codec: str, predictor: int) -> None:
    from main_job_parts.floor import decode_block, needed_blocks, run_floor
    from main_job_parts.scenes import Storage, make_scenes

    storage = Storage(size=300, blocks=128, codec=codec, predictor=predictor)
    (scene,) = make_scenes(tmp_path, storage, "a", 1, ("B04",))
    land = scene.granule.land
    # One parcel across the border between the second and the third column of blocks, in the last row.
    x, y = land.xmin + 2560, land.ymax - 2800
    needed = needed_blocks([scene], np.array([shapely.box(x - 50, y - 50, x + 50, y + 50)]))
    ((blocks, numbers),) = needed.files
    assert numbers.tolist() == [7, 8]
    assert run_floor(needed, 2) > 0
    with rasterio.open(scene.paths["B04"]) as file:
        assert file.block_shapes == [(128, 128)]
        whole = file.read(1)
    assert (decode_block(blocks, 7)[:44] == whole[256:, 128:256]).all()
    assert (decode_block(blocks, 8)[:44, :44] == whole[256:, 256:]).all()


def test_of_two_scenes_of_a_day_only_what_the_later_one_lacks_is_needed(tmp_path: Path) -> None:
    from main_job_parts.floor import needed_blocks
    from main_job_parts.scenes import Storage, make_scenes

    first, second = make_scenes(tmp_path, Storage(size=512, blocks=128), "ab", 1, ("B04",))
    both = second.granule.land.xmin + 1000, second.granule.land.ymin + 1000
    needed = needed_blocks([first, second], np.array([shapely.box(*both, both[0] + 90, both[1] + 90)]))
    assert [len(numbers) for _, numbers in needed.files] == [0, 1]


@pytest.mark.slow
def test_a_small_run_agrees_with_its_peers(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command = [sys.executable, str(BENCHMARKS / "main_job.py"), "--size", "1098", "--parcels", "500", "--dates", "3"]
    command += ["--runs", "1", "--folder", str(tmp_path / "inputs"), "--json", str(figures)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=dict(os.environ))
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(figures.read_text())
    agreement = {one["peer"]: one["agrees"] for one in found["agreement"]}
    assert {"labels", "windows", "exactextract-at-once"} <= agreement.keys()
    assert all(agreement.values())
    job = found["jobs"]["default"]
    assert (job["parcels"], job["dates"], job["needed_blocks"]) == (500, 3, 54)
    assert job["blocks_read"] >= 54
    assert {peer["peer"] for peer in found["peers"]} >= {"labels", "windows", "exactextract-at-once"}
    assert not list((tmp_path / "inputs").glob("outputs-*"))
