"""A server in a process of its own, started as users start it, and small real inputs for it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import shapely

from builders import make_catalog, make_geopackage, make_scene

SOURCE = Path(__file__).parents[1] / "src"
BATCH = "/api/v1/statistics/batch"


class Serving:
    """`swathe serve` on a free port; a context manager that kills what is left."""

    def __init__(self, home: Path, *, config: Path | None = None, options: tuple[str, ...] = ()) -> None:
        self.home = home
        self.log = home.parent / f"{home.name}-{time.monotonic_ns()}.log"
        arguments = ["serve", "--home", str(home), "--port", "0", *options]
        if config is not None:
            arguments += ["--config", str(config)]
        self._stderr = self.log.open("wb")
        self.process = subprocess.Popen(
            command(*arguments), stdout=subprocess.PIPE, stderr=self._stderr, text=True, start_new_session=True, env=ENV
        )
        line = self.process.stdout.readline()
        match = re.fullmatch(r"listening on (https?://127\.0\.0\.1:\d+)\n", line)
        assert match, (line, self.log.read_text())
        self.url = match.group(1)
        self.seen: dict[int, psutil.Process] = {}

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *_: object) -> None:
        self.remember()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self._stderr.close()
        for child in self.left():
            child.kill()

    def remember(self) -> None:
        """Notes the process tree, so that what outlives the server can be found."""
        if psutil.pid_exists(self.process.pid):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                self.seen.setdefault(child.pid, child)

    def left(self, within_s: float = 0.0) -> list[psutil.Process]:
        """Processes of the server that still run; waits up to `within_s` for them to end."""
        end = time.monotonic() + within_s
        while True:
            left = [child for child in self.seen.values() if _runs(child)]
            if not left or time.monotonic() > end:
                return left
            time.sleep(0.05)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """Sends a signal to the process group, as a terminal does: exit code and seconds until the end."""
        self.remember()
        started = time.monotonic()
        os.killpg(self.process.pid, number)
        code = self.process.wait(60)
        return code, time.monotonic() - started

    def kill(self) -> None:
        """SIGKILL to the server alone."""
        self.remember()
        self.process.kill()
        self.process.wait()

    def client(self, name: str = "me", *options: str) -> dict[str, str]:
        """A new client, made by the command line while the server runs."""
        made = subprocess.run(
            command("client", "create", name, "--home", str(self.home), "--json", *options),
            capture_output=True,
            text=True,
            check=True,
            env=ENV,
        )
        return json.loads(made.stdout)

    def session(self, credentials: Mapping[str, str], **how: Any) -> httpx.Client:
        """An HTTP client that carries a token."""
        http = httpx.Client(base_url=self.url, timeout=180, **how)
        token = http.post("/oauth/token", data={"grant_type": "client_credentials", **credentials}).json()
        http.headers["Authorization"] = f"Bearer {token['access_token']}"
        return http


ENV = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONUNBUFFERED": "1"}
ENV.pop("PYTHONDONTWRITEBYTECODE", None)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from swathe.cli.main import run; run()", *arguments]


def wait_for(http: httpx.Client, job_id: str, *statuses: str, seconds: float = 240) -> dict[str, Any]:
    """The status of a job when it has become one of `statuses`, or has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        status: dict[str, Any] = http.get(f"{BATCH}/{job_id}/status").json()
        if status["status"] in (statuses or ("DONE", "FAILED", "STOPPED")):
            return status
        time.sleep(0.05)
    raise AssertionError(f"still {status}")


def make_inputs(folder: Path, *, parcels: int = 30, dates: int = 3, size: int = 128) -> tuple[Path, Path]:
    """A catalog of small scenes and a GeoPackage of parcels over them."""
    rng = np.random.default_rng(7)
    items = [
        make_scene(
            folder / "scenes",
            f"S{number:02}",
            f"2020-06-{number * 2 + 1:02}T10:00:00Z",
            {band: rng.integers(1, 5000, (size, size)).astype("u2") for band in ("B04", "B08")},
        )
        for number in range(dates)
    ]
    corners = rng.uniform(20, size * 10 - 120, (parcels, 2))
    boxes = [shapely.box(500_000 + x, 5_100_000 - y - 80, 500_000 + x + 90, 5_100_000 - y) for x, y in corners]
    geopackage = make_geopackage(
        folder / "parcels.gpkg", boxes, identifiers=[f"SI {number}/a" for number in range(parcels)]
    )
    return make_catalog(folder / "scenes", items), geopackage


def write_config(path: Path, catalog: Path, *lines: str, workers: int = 2) -> Path:
    path.write_text(
        "\n".join(
            [
                "[[collections]]",
                'type = "sentinel-2-l2a"',
                f'source = "{catalog}"',
                "[dask]",
                f"workers = {workers}",
                *lines,
            ]
        )
    )
    return path


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
