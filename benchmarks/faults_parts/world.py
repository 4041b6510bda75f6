"""Everything a deployment consists of, each part a process: object store, database, Dask scheduler, workers, servers."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults_parts.proxy import Proxy
from faults_parts.supervised import Supervised, Supervisor

BUCKET = "results"
KEY, SECRET = "faults-key", "faults-secret-of-the-store"
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Shape:
    """How many of each; `database_url` is PostgreSQL's, None for SQLite in the one server's home."""

    servers: int = 1
    workers: int = 2
    database_url: str | None = None
    embedded: bool = False


class World:
    """A deployment in a folder. To be closed."""

    def __init__(self, folder: Path, shape: Shape, collections: str) -> None:
        self.folder = folder
        self.buckets = folder / "buckets"
        (self.buckets / BUCKET).mkdir(parents=True)
        self.supervisor = Supervisor()
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "RCLONE_", "SWATHE_"))}
        s3, scheduler = free_port(), free_port()
        ports = [free_port() for _ in range(shape.servers)]
        self.s3_url = f"http://127.0.0.1:{s3}"
        self.store = self._add("store", _rclone(s3, self.buckets), lambda: answers(s3))
        config = folder / "swathe.toml"
        dask = f'scheduler = "tcp://127.0.0.1:{scheduler}"' if not shape.embedded else f"workers = {shape.workers}"
        database = f'[database]\nurl = "{shape.database_url}"\n' if shape.database_url else ""
        config.write_text(
            f'[storage]\nendpoint_url = "{self.s3_url}"\nregion = "us-east-1"\n[dask]\n{dask}\n{database}{collections}'
        )
        config.chmod(0o600)
        self.victims = [self.store]
        swathe = [sys.executable, "-m", "swathe"]
        if not shape.embedded:
            command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--no-dashboard"]
            command += ["--port", str(scheduler)]
            self.victims.append(self._add("scheduler", command, lambda: answers(scheduler)))
            for number in range(shape.workers):
                command = [*swathe, "worker", f"tcp://127.0.0.1:{scheduler}", "--threads", "1"]
                command += ["--name", f"worker-{number}", "--local-directory", str(folder / "scratch")]
                self.victims.append(self._add(f"worker {number}", command, lambda: True))
        self.servers = []
        for number, port in enumerate(ports):
            home = folder / f"home-{number}"
            command = [*swathe, "serve", "--home", str(home), "--config", str(config), "--port", str(port)]
            self.servers.append(self._add(f"server {number}", command, lambda port=port: answers(port)))
        self.victims += self.servers
        port = Proxy(ports).port if shape.servers > 1 else ports[0]
        self.url = f"http://127.0.0.1:{port}"
        command = [*swathe, "client", "create", "faults", "--home", str(folder / "home-0"), "--config", str(config)]
        made = subprocess.run([*command, "--json"], check=True, capture_output=True, text=True, env=self._environment)
        client = json.loads(made.stdout)
        self.client = (str(client["client_id"]), str(client["client_secret"]))

    def _add(self, name: str, command: list[str], is_ready: Any) -> Supervised:
        log = self.folder / f"{name.replace(' ', '-')}.log"
        return self.supervisor.add(Supervised(name, command, log, self._environment), is_ready)

    def put(self, file: Path, key: str) -> str:
        """Lays a file into the bucket; its URL."""
        shutil.copyfile(file, self.buckets / BUCKET / key)
        return f"s3://{BUCKET}/{key}"

    def objects(self, folder: str) -> dict[str, Path]:
        """The files under a key, by what follows it; what rclone itself left half-written at its death is its own."""
        home = self.buckets / BUCKET / folder
        found = (path for path in home.rglob("*") if path.is_file() and not path.name.startswith(".rclone_temp_put_"))
        return {path.relative_to(home).as_posix(): path for path in found}

    def close(self) -> None:
        """Ends everything."""
        self.supervisor.close()


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Whether somebody listens."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _rclone(port: int, folder: Path) -> list[str]:
    program = shutil.which("rclone", path=str(BIN)) or "rclone"
    command = [program, "serve", "s3", "--auth-key", f"{KEY},{SECRET}", "--addr", f"127.0.0.1:{port}", "--config", ""]
    return [*command, "--vfs-cache-mode", "off", str(folder)]
