"""The same calls against two independent S3 servers, and against servers that fail."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from servers import S3Server, free_port, moto_server, rclone_server, watched_site
from swathe.model.errors import AccessDenied, LimitExceeded, ObjectNotFound, StorageError, StoreUnavailable
from swathe.settings import StorageSettings
from swathe.storage import Credentials, ObjectStores


@pytest.fixture(scope="module", params=["moto", "rclone"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    start = moto_server() if request.param == "moto" else rclone_server(tmp_path_factory.mktemp("rclone"))
    with start as running:
        client = running.client()
        client.create_bucket(Bucket="data", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        yield running


@pytest.fixture(autouse=True)
def _a_machine_with_keys_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of which may ever be used."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AMBIENT",
        "AWS_SECRET_ACCESS_KEY": "AMBIENT",
        "AWS_SESSION_TOKEN": "AMBIENT-TOKEN",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "AWS_REGION": "ambient-1",
        "AWS_SKIP_SIGNATURE": "true",
    }.items():
        monkeypatch.setenv(name, value)


def _settings(server: S3Server) -> StorageSettings:
    return StorageSettings(
        endpoint_url=server.url,
        region=server.region,
        access_key=server.access_key,
        secret_access_key=SecretStr(server.secret_access_key),
    )


@pytest.fixture
def stores(server: S3Server) -> ObjectStores:
    return ObjectStores(_settings(server))


def test_what_is_written_is_read_back_by_us_and_by_others(stores: ObjectStores, server: S3Server) -> None:
    key = "a/b c+ä%20#.txt"
    stores.write(f"s3://data/{key}", b"hello")
    assert stores.read(f"s3://data/{key}") == b"hello"
    assert stores.size(f"s3://data/{key}") == 5
    assert server.client().get_object(Bucket="data", Key=key)["Body"].read() == b"hello"
    assert f"s3://data/{key}" in list(stores.list_keys("s3://data/a"))
    stores.delete(f"s3://data/{key}")
    assert not stores.exists(f"s3://data/{key}")


def test_many_objects_and_a_large_one(stores: ObjectStores, tmp_path: Path) -> None:
    assert stores.write_many((f"s3://data/many/{n}", bytes([n])) for n in range(100)) == 100
    assert len(list(stores.list_keys("s3://data/many/"))) == 100
    assert stores.read("s3://data/many/77") == b"M"
    large = bytes(range(256)) * 60_000
    stores.write("s3://data/large", large)
    with pytest.raises(LimitExceeded, match=r"15360000 bytes.* 100 "):
        stores.download("s3://data/large", tmp_path / "got", 100)
    stores.download("s3://data/large", tmp_path / "got", len(large))
    assert (tmp_path / "got").read_bytes() == large
    assert [path.name for path in tmp_path.iterdir()] == ["got"]


def test_missing_objects_and_buckets_are_told_apart(stores: ObjectStores, tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFound, match="there is no such object"):
        stores.read("s3://data/none")
    for use in (
        lambda: stores.read("s3://nowhere/x"),
        lambda: stores.write("s3://nowhere/x", b""),
        lambda: stores.write_many([("s3://nowhere/x", b"")]),
        lambda: stores.check_writable("s3://nowhere/out"),
        lambda: list(stores.list_keys("s3://nowhere/out")),
        lambda: stores.download("s3://nowhere/x", tmp_path / "x", 10),
    ):
        with pytest.raises(ObjectNotFound, match="there is no bucket 'nowhere'"):
            use()


def test_wrong_keys_are_denied_with_the_reason_and_without_the_keys(stores: ObjectStores, server: S3Server) -> None:
    stores.write("s3://data/x", b"x")
    wrong_secret = Credentials(server.access_key, "wrong-secret", server.region)
    unknown = Credentials("AKIAUNKNOWNUNKNOWN01", "wrong-secret", server.region)
    for keys, reason in ((wrong_secret, "does not belong to the access key"), (unknown, "not known there")):
        for use in (
            lambda keys=keys: stores.read("s3://data/x", credentials=keys),
            lambda keys=keys: stores.write("s3://data/y", b"", credentials=keys),
            lambda keys=keys: stores.check_writable("s3://data/out", credentials=keys),
            lambda keys=keys: stores.write_many([("s3://data/y", b"")], credentials=keys),
        ):
            with pytest.raises(AccessDenied, match=reason) as caught:
                use()
            assert not caught.value.retryable
            assert keys.access_key not in caught.value.message
            assert "wrong-secret" not in caught.value.message
        with pytest.raises(AccessDenied):
            stores.size("s3://data/x", credentials=keys)


def test_a_requests_own_keys_come_before_the_deployments(server: S3Server) -> None:
    broken = _settings(server).model_copy(update={"secret_access_key": SecretStr("wrong")})
    stores = ObjectStores(broken)
    own = Credentials(server.access_key, server.secret_access_key, server.region)
    stores.write("s3://data/own", b"x", credentials=own)
    assert stores.read("s3://data/own", credentials=own) == b"x"
    with pytest.raises(AccessDenied):
        stores.read("s3://data/own")


def test_checking_for_writing_leaves_nothing(stores: ObjectStores) -> None:
    stores.check_writable("s3://data/checked/")
    assert list(stores.list_keys("s3://data/checked")) == []


def test_ranges_are_read_where_the_server_has_them(stores: ObjectStores, server: S3Server) -> None:
    stores.write("s3://data/ten", b"0123456789")
    if server.access_key == "rclone-key":  # it answers 200
        with pytest.raises(StorageError, match="does not answer requests for parts") as caught:
            stores.read_ranges("s3://data/ten", [(2, 3)])
        assert not caught.value.retryable
    else:
        assert stores.read_ranges("s3://data/ten", [(2, 3), (0, 1), (8, 100), (4, 0)]) == [b"234", b"0", b"89", b""]


def test_keys_that_may_only_read_cannot_deliver(stores: ObjectStores, server: S3Server) -> None:
    if not server.read_access_key:
        pytest.skip("this server knows one pair of keys")
    stores.write("s3://data/x", b"x")
    keys = Credentials(server.read_access_key, server.read_secret_access_key, server.region)
    assert stores.read("s3://data/x", credentials=keys) == b"x"
    with pytest.raises(AccessDenied, match="the keys do not allow it"):
        stores.check_writable("s3://data/out", credentials=keys)


def test_a_server_that_is_down_may_be_tried_again() -> None:
    stores = ObjectStores(StorageSettings(endpoint_url=f"http://127.0.0.1:{free_port()}", retries=1, timeout_s=2))
    with pytest.raises(StoreUnavailable, match="does not answer") as caught:
        stores.read("s3://data/x")
    assert caught.value.retryable


def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        stores = ObjectStores(
            StorageSettings(endpoint_url=f"http://127.0.0.1:{silent.getsockname()[1]}", retries=1, timeout_s=0.5)
        )
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match="did not answer in time"):
            stores.read("s3://data/x")
        assert time.monotonic() - started < 5


def test_a_moment_of_illness_is_waited_out_and_a_longer_one_reported(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/x").write_bytes(b"x")
    with watched_site(tmp_path) as site:
        ill = threading.Event()

        def answer(handler: Any) -> bool:
            if len(site.requests) > 1 and not ill.is_set():
                return False
            handler._send(503, b"<Error><Code>SlowDown</Code></Error>")
            return True

        site.answer = answer
        stores = ObjectStores(StorageSettings(endpoint_url=site.url, retries=2, timeout_s=5))
        assert stores.read("s3://data/x") == b"x"
        assert len(site.requests) == 2
        ill.set()
        with pytest.raises(StoreUnavailable, match="busy or ill"):
            stores.read("s3://data/x")


def test_without_any_keys_requests_are_unsigned_and_never_borrow_the_machines(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/x").write_bytes(b"x")
    headers: list[dict[str, str]] = []
    with watched_site(tmp_path) as site:

        def look(handler: Any) -> bool:
            headers.append({name.lower(): value for name, value in handler.headers.items()})
            return False

        site.answer = look
        assert ObjectStores(StorageSettings(endpoint_url=site.url)).read("s3://data/x") == b"x"
        own = Credentials("OWN", "SECRET", "eu-west-1")
        assert ObjectStores(StorageSettings(endpoint_url=site.url)).read("s3://data/x", credentials=own) == b"x"
    unsigned, signed = headers
    assert "authorization" not in unsigned
    assert "Credential=OWN/" in signed["authorization"]
    assert "/eu-west-1/" in signed["authorization"]
    for sent in headers:
        assert "AMBIENT" not in str(sent)
        assert "x-amz-security-token" not in sent
