"""Deliveries to stores that fail: what passes is waited out, what does not is told at once; no object is half or missing."""

from __future__ import annotations

import io
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from servers import WatchedSite, free_port, watched_site
from swathe.model.errors import AccessDenied, ObjectNotFound, StorageError, StoreUnavailable
from swathe.settings import StorageSettings
from swathe.storage import ObjectStores, passing

Answer = Callable[[Any, "Bucket"], None]


class Bucket:
    """A bucket behind a server that may be told to misbehave for the first tries of each object."""

    def __init__(self, site: WatchedSite, *faults: Answer) -> None:
        self.site = site
        self.faults = faults
        self.objects: dict[str, bytes] = {}
        self.tries: Counter[str] = Counter()
        self.lock = threading.Lock()
        site.answer = self.answer

    def answer(self, handler: Any) -> bool:
        with self.lock:
            number = self.tries[handler.path]
            self.tries[handler.path] += 1
        # other objects begin with other faults
        order = (int(handler.path.rsplit("/", 1)[-1]) + number) % (len(self.faults) or 1)
        if number < len(self.faults):
            self.faults[order](handler, self)
        else:
            self.put(handler)
            handler._send(200, b"")
        return True

    def put(self, handler: Any) -> None:
        data = handler.rfile.read(int(handler.headers["content-length"]))
        with self.lock:
            self.objects[handler.path] = data


def says(status: int, code: str) -> Answer:
    def answer(handler: Any, bucket: Bucket) -> None:
        handler.rfile.read(int(handler.headers["content-length"]))
        handler._send(status, f"<Error><Code>{code}</Code></Error>".encode())

    return answer


def resets(handler: Any, bucket: Bucket) -> None:
    """Breaks the connection within the body."""
    handler.rfile.read(10)
    _break(handler)


def forgets_to_answer(handler: Any, bucket: Bucket) -> None:
    """Takes the object, and breaks the connection before saying so."""
    bucket.put(handler)
    _break(handler)


def falls_silent(handler: Any, bucket: Bucket) -> None:
    time.sleep(1.5)
    _break(handler)


def _break(handler: Any) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True
    handler.wfile = handler.rfile = io.BytesIO()


PASSING = (says(500, "InternalError"), says(503, "SlowDown"), says(429, "TooManyRequests"), resets, forgets_to_answer)


def stores_at(url: str, **settings: Any) -> ObjectStores:
    return ObjectStores(StorageSettings(endpoint_url=url, timeout_s=settings.pop("timeout_s", 5.0), **settings))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[WatchedSite]:
    with watched_site(tmp_path) as running:
        yield running


def items(count: int) -> list[tuple[str, bytes]]:
    return [(f"s3://out/{number}", b"%d " % number * 5_000) for number in range(count)]


def wanted(count: int) -> dict[str, bytes]:
    return {f"/out/{number}": data for number, (_, data) in enumerate(items(count))}


@pytest.mark.parametrize(("faults", "retries"), [(PASSING[:3], 0), (PASSING[2:], 0), (PASSING, 5)])
def test_what_passes_is_waited_out(site: WatchedSite, faults: tuple[Answer, ...], retries: int) -> None:
    """Without the store library's own retries and with them."""
    bucket = Bucket(site, *faults)
    assert stores_at(site.url, retries=retries).write_many(items(20), 20) == 20
    assert bucket.objects == wanted(20)
    assert set(bucket.tries.values()) == {len(faults) + 1}


def test_a_store_that_falls_silent_is_asked_again(site: WatchedSite) -> None:
    bucket = Bucket(site, falls_silent)
    stores_at(site.url, retries=0, timeout_s=0.7).write_many(items(3), 3)
    assert bucket.objects == wanted(3)


def test_a_long_object_outlives_a_store_that_fails(site: WatchedSite, tmp_path: Path) -> None:
    file = tmp_path / "long"
    file.write_bytes(b"0123456789" * 100_000)
    bucket = Bucket(site, says(503, "SlowDown"), resets)
    stores_at(site.url, retries=0).upload("s3://out/0", file)
    stores_at(site.url, retries=0).write("s3://out/1", file.read_bytes())
    assert bucket.objects == {"/out/0": file.read_bytes(), "/out/1": file.read_bytes()}


@pytest.mark.parametrize(
    ("status", "code", "kind", "advice"),
    [
        (403, "AccessDenied", AccessDenied, "allow it in the bucket's policy, or use other keys"),
        (403, "SignatureDoesNotMatch", AccessDenied, "give the one that does"),
        (404, "NoSuchBucket", ObjectNotFound, "there is no bucket 'out'; make it first"),
        (400, "EntityTooLarge", StorageError, "the store answers EntityTooLarge"),
    ],
)
def test_what_does_not_pass_is_final_at_once(
    site: WatchedSite, status: int, code: str, kind: type[StorageError], advice: str, tmp_path: Path
) -> None:
    bucket = Bucket(site, *[says(status, code)] * 9)
    stores = stores_at(site.url)
    (tmp_path / "file").write_bytes(b"x")
    for number, write in enumerate(
        (
            lambda: stores.write("s3://out/0", b"x"),
            lambda: stores.write_many([("s3://out/1", b"x")]),
            lambda: stores.upload("s3://out/2", tmp_path / "file"),
        )
    ):
        with pytest.raises(kind, match=advice) as caught:
            write()
        assert not caught.value.retryable
        assert bucket.tries[f"/out/{number}"] == 1


def test_patience_ends(site: WatchedSite) -> None:
    bucket = Bucket(site, *[says(503, "SlowDown")] * 99)
    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match="SlowDown") as caught:
        stores_at(site.url, retries=0, patience_s=1.5).write("s3://out/0", b"x")
    assert caught.value.retryable
    assert 1.5 <= time.monotonic() - started < 10
    assert 3 <= bucket.tries["/out/0"] <= 8


def test_pauses_grow_and_differ() -> None:
    def gaps() -> list[float]:
        begun: list[float] = []

        def fail() -> None:
            begun.append(time.monotonic())
            raise StoreUnavailable("busy")

        with pytest.raises(StoreUnavailable):
            passing.retry(fail, 2.0)
        return [after - before for before, after in pairwise(begun)][:2]

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: gaps(), range(2))
    assert first[1] > first[0]
    assert second[1] > second[0]
    assert abs(first[0] - second[0]) > 1e-4


@contextmanager
def rclone(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    program = shutil.which("rclone", path=str(Path(sys.executable).parent)) or "rclone"
    arguments = [program, "serve", "s3", "--auth-key", "key,secret", "--addr", f"127.0.0.1:{port}", "--config", ""]
    process = subprocess.Popen(
        [*arguments, "--vfs-cache-mode", "off", str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_store_that_is_killed_and_comes_back_after_ten_seconds_has_every_object(tmp_path: Path) -> None:
    """Without the unit of work noticing: only a longer absence makes it a failure."""
    (tmp_path / "out").mkdir()
    port = free_port()
    many = [(f"s3://out/{number}.json", b"%06d" % number * 2_000) for number in range(600)]
    half_way, failures = threading.Event(), []

    def coming() -> Iterator[tuple[str, bytes]]:
        for number, item in enumerate(many):
            if number == 300:
                half_way.set()
            yield item

    settings = StorageSettings(
        endpoint_url=f"http://127.0.0.1:{port}", access_key="key", secret_access_key=SecretStr("secret")
    )

    def deliver() -> None:
        try:
            ObjectStores(settings).write_many(coming())
        except StorageError as error:
            failures.append(error)

    delivery = threading.Thread(target=deliver)
    with rclone(tmp_path, port) as first:
        delivery.start()
        assert half_way.wait(30)
        first.kill()
    time.sleep(10)
    assert delivery.is_alive()
    with rclone(tmp_path, port):
        delivery.join(60)
        assert not delivery.is_alive()
    assert not failures
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.json")} == {
        url.rsplit("/", 1)[-1]: data for url, data in many
    }
