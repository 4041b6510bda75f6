"""How much faster two workers of a server are than one, of one thread each, in one run.

    python benchmarks/scaling.py                               # 20,000 parcels x 60 dates, 1 and 2 workers in turns
    python benchmarks/scaling.py --workers 1 2 4 --dates 12

Each run has a server of its own with an embedded Dask cluster; results go into a folder (`[storage] local_root`). Timed is
from START of an analysed request, its workers started before by a small request, until it is DONE: everything delivered,
the execution database and the geometry among it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from faults_parts.http import Http
from faults_parts.world import BUCKET, KEY, SECRET, answers, free_port
from main_job_parts.inputs import Inputs, make_inputs, part_of
from main_job_parts.jobs import Job
from main_job_parts.scenes import Storage

_POLL_S = 0.1


def main() -> int:
    options = _options()
    job = Job("scaling", Storage(options.size), options.parcels, options.dates, 1)
    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="swathe-scaling-")))
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        inputs = make_inputs(folder, job)
        small = part_of(inputs, folder, "scaling-small", 50, {})
        seconds: dict[int, list[float]] = {workers: [] for workers in options.workers}
        for _ in range(options.runs):
            for workers in options.workers:
                work = Path(tempfile.mkdtemp(prefix="world-", dir=options.outputs or folder)).resolve()
                try:
                    seconds[workers].append(_run(inputs, small, work, workers))
                finally:
                    shutil.rmtree(work, ignore_errors=True)
                print(f"{workers} workers: {seconds[workers][-1]:.2f} s", flush=True)
        least = min(options.workers)
        for workers in options.workers:
            middle = statistics.median(seconds[workers])
            ratio = statistics.median(seconds[least]) / middle
            print(f"{workers} workers: median {middle:.2f} s, {ratio:.2f} x as fast as {least}")
    return 0


def _run(inputs: Inputs, small: Inputs, work: Path, workers: int) -> float:
    bucket = work / "buckets" / BUCKET
    bucket.mkdir(parents=True)
    config = work / "swathe.toml"
    config.write_text(
        f'[storage]\nlocal_root = "{work / "buckets"}"\n[dask]\nworkers = {workers}\n{inputs.config.read_text()}'
    )
    port = free_port()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SWATHE_")}
    swathe = [sys.executable, "-m", "swathe"]
    place = ["--home", str(work / "home"), "--config", str(config)]
    with (work / "log").open("wb") as log:
        server = subprocess.Popen(
            [*swathe, "serve", *place, "--port", str(port)], env=environment, stdout=log, stderr=log
        )
    try:
        while not answers(port):
            time.sleep(_POLL_S)
        made = subprocess.run(
            [*swathe, "client", "create", "scaling", *place, "--json"], env=environment, check=True, capture_output=True
        )
        client = json.loads(made.stdout)
        http = Http(f"http://127.0.0.1:{port}", (client["client_id"], client["client_secret"]))
        _process(http, small, bucket, "small")
        return _process(http, inputs, bucket, "whole")
    finally:
        server.terminate()
        server.wait(30)


def _process(http: Http, inputs: Inputs, bucket: Path, name: str) -> float:
    """Seconds from START to DONE, after the analysis."""
    shutil.copyfile(inputs.features, bucket / f"{name}.gpkg")
    keys = {"accessKey": KEY, "secretAccessKey": SECRET}
    body: dict[str, Any] = inputs.job.request()
    body["input"]["features"] = {"s3": {"url": f"s3://{BUCKET}/{name}.gpkg", **keys}}
    body["output"] = {"s3": {"url": f"s3://{BUCKET}/{name}/<ID>.json", **keys}}
    path = f"/{http.ask('POST', '', body)['id']}"
    http.ask("POST", f"{path}/analyse")
    _wait(http, path, "ANALYSIS_DONE")
    started = time.perf_counter()
    http.ask("POST", f"{path}/start")
    _wait(http, path, "DONE")
    return time.perf_counter() - started


def _wait(http: Http, path: str, wanted: str) -> None:
    while (status := http.ask("GET", f"{path}/status"))["status"] != wanted:
        if status["status"] in ("FAILED", "STOPPED"):
            raise SystemExit(f"{status['status']}: {status.get('error')}")
        time.sleep(_POLL_S)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--workers", type=int, nargs="+", default=[1, 2])
    add("--parcels", type=int, default=20_000)
    add("--dates", type=int, default=60)
    add("--size", type=int, default=5490, help="pixels of 10 m along a side of the granule")
    add("--runs", type=int, default=3)
    add("--folder", type=Path, help="keeps the inputs (default: a temporary folder)")
    add("--outputs", type=Path, help="where everything else goes and is then deleted (default: in the inputs' folder)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
