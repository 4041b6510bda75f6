"""`swathe statistics`, started as a user does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from builders import make_catalog, make_request
from engines import World, box, value_script

SRC = Path(__file__).resolve().parents[2] / "src"


class Desk:
    """A folder with a configuration, a request and features, and the command run in it."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder, self.world = folder, world
        make_catalog(world.files, world.items)
        self.write("swathe.toml", '[[collections]]\ntype = "sentinel-2-l2a"\nsource = "scenes"\n')
        self.write("request.json", json.dumps(make_request(value_script())))

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def command(self, *more: str, output: str = "out", request: str = "request.json") -> list[str]:
        start = [sys.executable, "-m", "swathe.cli.main", "statistics", request, "--features", "parcels.gpkg"]
        return [*start, "--output", output, "--config", "swathe.toml", *more]

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("SWATHE_")}
        return kept | {"PYTHONPATH": str(SRC), "COLUMNS": "200"}

    def run(self, *more: str, output: str = "out", request: str = "request.json") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*more, output=output, request=request),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def refused(self, *more: str, code: int = 1, request: str = "request.json") -> str:
        """What the command says when it cannot do it: no traceback, no result, nothing on standard output."""
        done = self.run(*more, request=request)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        assert "Internal error" not in done.stderr
        assert done.stdout == ""
        assert list((self.folder / "out").glob("*")) == []
        return done.stderr

    def documents(self, output: str = "out") -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((self.folder / output).glob("*.json"))}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    world = World(tmp_path)
    world.scene("a", "2020-06-01", {"B04": np.arange(1, 145).reshape(12, 12)})
    world.scene("b", "2020-06-02", {"B04": 500})
    world.parcels(box(0, 0), box(4, 4), box(50, 50), identifiers=["x", "y", "z"])
    return Desk(tmp_path, world)


def test_results_and_a_summary(desk: Desk) -> None:
    done = desk.run()
    assert done.returncode == 0, done.stderr
    for said in ("features", "3 done, 0 failed", "scenes", "processing units", "0.01", "time", "out/<feature id>.json"):
        assert said in done.stdout
    assert sorted(desk.documents()) == ["1.json", "2.json", "3.json"]
    found = json.loads(desk.documents()["1.json"])
    assert (found["id"], found["identifier"]) == (1, "x")
    means = [entry["outputs"]["v"]["bands"]["B0"]["stats"]["mean"] for entry in found["response"]["data"]]
    assert means == [np.mean([1, 2, 13, 14]), 500.0]


def test_the_summary_as_json_alone_on_standard_output(desk: Desk) -> None:
    # a polygon that crosses itself
    import shapely

    bowtie = shapely.Polygon([(500_000, 5_100_000), (500_020, 5_099_980), (500_020, 5_100_000), (500_000, 5_099_980)])
    desk.world.parcels(box(0, 0), bowtie)
    done = desk.run("--json", "--workers", "1")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["features"], summary["done"], summary["failed"], summary["scenes"]) == (2, 1, 1, 2)
    assert summary["costPU"] == pytest.approx(0.01 / 3 * 2)
    assert list(summary["failures"]) == ["2"]
    assert "Self-intersection" in summary["failures"]["2"]
    assert summary["counters"]["blocks"] == 2
    assert json.loads(desk.documents()["2.json"])["response"] == {"data": None, "status": "FAILED"}


def test_a_job_of_which_everything_fails_ends_with_an_error(desk: Desk) -> None:
    desk.write("request.json", json.dumps(make_request(value_script(body="throw new Error('no way')"))))
    desk.world.parcels(box(0, 0), box(4, 4))
    done = desk.run()
    assert done.returncode == 1
    assert "no way" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_workers_do_not_change_a_byte(desk: Desk) -> None:
    shapes = [box(x, y, 1.5, 2.25) for y in range(0, 12, 2) for x in range(12)]
    desk.world.parcels(*shapes)
    calculations = {"default": {"statistics": {"default": {"percentiles": {"k": [5, 95]}}}}}
    desk.write("request.json", json.dumps(make_request(value_script(), calculations=calculations, resx=7, resy=7)))
    for workers, units in ((1, 1), (2, 1), (3, 3)):  # one thread, two threads, three processes
        done = desk.run("--workers", str(workers), "--json", output=f"out{workers}")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["units"] >= units
    assert len(desk.documents("out1")) == 72
    assert desk.documents("out1") == desk.documents("out2") == desk.documents("out3")


def test_the_results_are_a_parquet_data_set_too(desk: Desk) -> None:
    parts = desk.folder / "out" / "statistics"
    assert desk.run("--no-parquet").returncode == 0
    assert not parts.exists()
    parts.mkdir()
    (parts / "part-00077.parquet").write_bytes(b"of an earlier job with more units")
    (parts / "mine.txt").write_bytes(b"")
    assert desk.run().returncode == 0
    assert sorted(path.name for path in parts.iterdir()) == ["mine.txt", "part-00000.parquet"]
    (parts / "mine.txt").unlink()
    rows = parquet.read_table(parts).to_pylist()
    documents = [json.loads(data) for data in desk.documents("out").values()]
    assert sorted({row["id"] for row in rows}) == sorted(document["id"] for document in documents)
    means = {
        (document["id"], output, band): found["stats"]["mean"]
        for document in documents
        for entry in document["response"]["data"]
        for output, bands in entry["outputs"].items()
        for band, found in bands["bands"].items()
    }
    assert {(row["id"], row["output"], row["band"]): row["mean"] for row in rows if row["output"]} == means


def test_a_profile_says_where_the_time_went(desk: Desk) -> None:
    for name in ("profile.html", "profile.json"):
        done = desk.run("--profile", name, output=f"out-{name}")
        assert done.returncode == 0, done.stderr
        for word in ("reading scenes", "running the evalscript", "taking statistics", "writing results", "share"):
            assert word in done.stdout
        assert name in done.stdout.replace("\n", "")
    page = (desk.folder / "profile.html").read_text()
    assert page.lstrip().startswith("<!DOCTYPE html>")
    frames = {frame["name"] for frame in json.loads((desk.folder / "profile.json").read_text())["shared"]["frames"]}
    assert {"run_unit", "analyse"} <= frames
    assert "must" not in desk.run("--profile", "profile.html", "--workers", "3", output="out3").stderr
    assert "ends in .html or .json" in " ".join(desk.refused("--profile", "profile.txt").split())


def test_the_summary_counts_reading_and_phases(desk: Desk) -> None:
    done = desk.run("--json")
    summary = json.loads(done.stdout)
    counters = summary["counters"]
    assert {"blocks", "requests", "bytes_read", "bytes_decoded"} <= set(counters)
    for phase in ("cells", "read", "script", "statistics", "deliver"):
        assert 0 < counters[f"{phase}_seconds"] < summary["workers"] * summary["seconds"]


def test_a_request_that_cannot_be_read(desk: Desk) -> None:
    desk.write("broken.json", "{not json")
    assert "broken.json is no JSON" in desk.refused(request="broken.json")
    assert "none.json cannot be read: No such file" in desk.refused(request="none.json")


def test_a_field_that_cannot_be_used_is_named(desk: Desk) -> None:
    desk.write("request.json", json.dumps(make_request(value_script(), resx=0, resy=10)))
    said = desk.refused()
    assert "request.json cannot be used: aggregation->resx: must be greater than 0" in " ".join(said.split())
    desk.write("request.json", json.dumps(make_request("function setup() {", resx=10, resy=10)))
    assert "evalscript" in desk.refused()


def test_a_configuration_that_cannot_be_used(desk: Desk) -> None:
    desk.write("swathe.toml", '[storage]\nendpoint = "http://localhost"\n')
    assert "storage.endpoint: is not a known key" in desk.refused()


def test_features_that_cannot_be_used(desk: Desk) -> None:
    desk.world.geopackage.write_text("hello")
    assert "no GeoPackage" in desk.refused("--workers", "1")
    desk.world.geopackage.unlink()
    said = desk.refused()
    assert "There is no file parcels.gpkg" in said
    assert "--features" in said


def test_an_address_is_no_folder(desk: Desk) -> None:
    done = desk.run(output="s3://bucket/results")
    assert done.returncode == 1
    assert "--output s3://bucket/results is an address" in done.stderr
    assert "--features s3://b/parcels.gpkg is an address" in desk.refused("--features", "s3://b/parcels.gpkg")
    assert not list(desk.folder.glob("s3*"))


def test_wrong_usage_exits_with_two(desk: Desk) -> None:
    start = [sys.executable, "-m", "swathe.cli.main", "statistics", "request.json"]
    done = subprocess.run(start, cwd=desk.folder, env=desk.environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 2
    assert "--features" in done.stderr
    assert "Traceback" not in done.stderr


def processes_in(session: int) -> Iterator[int]:
    """Living processes of a session."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                yield int(entry.name)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes as Linux shows them")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_interrupting_ends_everything_and_leaves_no_half_file(desk: Desk, workers: str) -> None:
    # many features that take their time, each with a large document
    desk.world.parcels(*[box(x, y, 1, 1) for y in range(12) for x in range(12)] * 8)
    body = "for (let i = 0; i < 3e5; i++) { if (s.B04 == -i - 1) return null } return {v: [s.B04], dataMask: [1]}"
    calculations: dict[str, Any] = {"default": {"histograms": {"default": {"nBins": 500}}}}
    request = make_request(value_script(body=body), calculations=calculations, resx=3, resy=3)
    desk.write("request.json", json.dumps(request))
    desk.write("swathe.toml", (desk.folder / "swathe.toml").read_text() + "[limits]\nunit_cells = 400\n")
    started = subprocess.Popen(
        desk.command("--workers", workers),
        cwd=desk.folder,
        env=desk.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 180
        while not list((desk.folder / "out").glob("*.json")):
            assert started.poll() is None, started.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        # as a terminal does: to every process of the group
        os.killpg(started.pid, signal.SIGINT)
        _, err = started.communicate(timeout=120)
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGKILL)
            started.communicate()
    assert started.returncode == 130, err
    assert "Traceback" not in err
    for _ in range(100):
        if not list(processes_in(started.pid)):
            break
        time.sleep(0.05)
    assert list(processes_in(started.pid)) == []
    files = [path for path in (desk.folder / "out").rglob("*") if path.is_file()]
    assert 0 < len(files) < 1_152
    assert {path.suffix for path in files} <= {".json", ".parquet"}, files
    for path in files:
        if path.suffix == ".json":
            assert json.loads(path.read_bytes())["response"]["status"] == "OK"
        else:
            assert parquet.read_metadata(path).num_rows > 0


def test_dry_run_tells_the_plan_and_writes_nothing(desk: Desk) -> None:
    start = [sys.executable, "-m", "swathe.cli.main", "statistics", "request.json", "--features", "parcels.gpkg"]
    dry = [*start, "--config", "swathe.toml", "--dry-run"]
    done = subprocess.run(dry, cwd=desk.folder, env=desk.environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    for said in (
        "features",
        "3",
        "scenes",
        "blocks to read",
        "about 2,",
        "units",
        "at most 0.02",
        "Nothing was computed",
    ):
        assert said in done.stdout
    assert not (desk.folder / "out").exists()
    dry = [*dry, "--json", "--output", "out"]
    done = subprocess.run(dry, cwd=desk.folder, env=desk.environment, capture_output=True, text=True, timeout=180)
    plan = json.loads(done.stdout)
    assert (plan["features"], plan["scenes"], plan["blocks"], plan["units"]) == (3, 2, 2, 1)
    assert plan["estimatedPU"] == pytest.approx(0.01 / 3 * 2 * 3, abs=1e-4)
    assert plan["estimatedSeconds"] > 0
    assert not (desk.folder / "out").exists()
    assert json.loads(desk.run("--json").stdout)["counters"]["blocks"] == plan["blocks"]


def test_dry_run_refuses_what_the_job_would_refuse(desk: Desk) -> None:
    desk.write("request.json", json.dumps(make_request("//VERSION=3\nfunction setup() { return 1 }")))
    assert "evaluatePixel" in desk.refused("--dry-run")


def test_without_dry_run_an_output_is_needed(desk: Desk) -> None:
    start = [sys.executable, "-m", "swathe.cli.main", "statistics", "request.json", "--features", "parcels.gpkg"]
    done = subprocess.run(start, cwd=desk.folder, env=desk.environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 2
    assert "--output" in done.stderr
