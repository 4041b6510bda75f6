"""S3 servers in processes of their own, for tests. Each is a context manager that ends what it started."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

_POLICY = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'
_READ_POLICY = (
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:Get*", "s3:List*"], "Resource": "*"}]}'
)


@dataclass(frozen=True)
class S3Server:
    """A running server, keys that may do everything, and (moto) keys that may only read."""

    url: str
    access_key: str
    secret_access_key: str
    region: str = "eu-central-1"
    read_access_key: str = ""
    read_secret_access_key: str = ""

    def client(self) -> Any:
        """A boto3 client with the server's keys."""
        return _boto3("s3", self.url, self.access_key, self.secret_access_key, self.region)


def _boto3(service: str, url: str, access_key: str, secret_access_key: str, region: str) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        service,
        endpoint_url=url,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_access_key,
        region_name=region,
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}, proxies={}),
    )


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def moto_server() -> Iterator[S3Server]:
    """`moto_server` with authentication on: signatures and policies are checked; ranged GETs answer 206.

    Making the user, its policy and its keys takes six calls that are not checked; every later one is.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "MOTO_"))}
    environment["INITIAL_NO_AUTH_ACTION_COUNT"] = "6"
    program = Path(sys.executable).with_name("moto_server")
    with _process([str(program), "-H", "127.0.0.1", "-p", str(port)], environment) as process:
        _wait_for(f"{url}/moto-api/data.json", process)
        iam = _boto3("iam", url, "unchecked", "unchecked", "us-east-1")
        keys = []
        for user, policy in (("writer", _POLICY), ("reader", _READ_POLICY)):
            iam.create_user(UserName=user)
            iam.put_user_policy(UserName=user, PolicyName="s3", PolicyDocument=policy)
            key = iam.create_access_key(UserName=user)["AccessKey"]
            keys += [key["AccessKeyId"], key["SecretAccessKey"]]
        yield S3Server(url, keys[0], keys[1], "eu-central-1", keys[2], keys[3])


@contextmanager
def rclone_server(folder: Path) -> Iterator[S3Server]:
    """`rclone serve s3` over a folder: a bucket is a folder in it, an object a file. Ranged GETs answer 200."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    access_key, secret = "rclone-key", "rclone-secret"
    program = shutil.which("rclone", path=str(Path(sys.executable).parent)) or "rclone"
    arguments = [program, "serve", "s3", "--auth-key", f"{access_key},{secret}", "--addr", f"127.0.0.1:{port}"]
    # No configuration file, and listings kept so briefly that what a test writes beside it is seen at once.
    # (Kept for no time at all, each folder's clean-up timer fires without pause and takes a whole core.)
    arguments += ["--config", "", "--dir-cache-time", "10ms", "--vfs-cache-mode", "off", str(folder)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "RCLONE_"))}
    with _process(arguments, environment) as process:
        _wait_for(url, process)
        yield S3Server(url, access_key, secret, "us-east-1")


@dataclass
class WatchedSite:
    """A web server over a folder that counts what is asked of it."""

    url: str
    requests: list[tuple[str, str, str]]
    """`(method, path, range header)` of each request so far."""
    answer: Any = None
    """A function `(handler) -> bool` that may answer instead, to play a broken server."""


@contextmanager
def watched_site(folder: Path) -> Iterator[WatchedSite]:
    """Serves the files of a folder over HTTP with ranges; `/bucket/key` is also a public bucket's object."""
    site = WatchedSite("", [])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            site.requests.append((self.command, self.path, self.headers.get("range", "")))
            if site.answer is not None and site.answer(self):
                return
            file = folder / self.path.lstrip("/").split("?")[0]
            if not file.is_file():
                self._send(404, b"<Error><Code>NoSuchKey</Code></Error>")
                return
            data = file.read_bytes()
            if wanted := self.headers.get("range"):
                first, last = wanted.removeprefix("bytes=").split("-")
                start, end = int(first), min(int(last) + 1, len(data)) if last else len(data)
                self._send(206, data[start:end], {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"})
            else:
                self._send(200, data)

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_PUT(self) -> None:
            self.do_GET()

        def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("ETag", '"0"')
            self.send_header("Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT")
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def _process(arguments: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], timeout_s: float = 120.0) -> None:
    """Until the server answers, whatever it answers."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode} before it answered")
        try:
            urlopen(Request(url), timeout=2).close()
            return
        except URLError as error:
            if not isinstance(error.reason, OSError):
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} does not answer")
