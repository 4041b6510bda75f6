"""Addresses of objects: what is taken, what is refused, and the file a mapped bucket keeps an object in."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from pydantic import SecretStr

from swathe.model.common import S3Place
from swathe.model.errors import AccessDenied, StorageError
from swathe.settings import StorageSettings
from swathe.storage import Credentials, ObjectStores, from_place
from swathe.storage.failures import explain
from swathe.storage.urls import ObjectUrl, parse_object_url, to_file


def test_an_address_is_a_bucket_and_a_key_of_plain_text() -> None:
    assert parse_object_url("s3://bucket/a/b c%20é#?.json") == ObjectUrl("bucket", "a/b c%20é#?.json")


@pytest.mark.parametrize(("url", "key"), [("s3://bucket/run/", "run"), ("s3://bucket/run", "run"), ("s3://bucket", "")])
def test_a_folder_is_the_same_with_and_without_its_slash(url: str, key: str) -> None:
    assert parse_object_url(url, folder=True) == ObjectUrl("bucket", key)


@pytest.mark.parametrize(
    "url",
    [
        "bucket/key",
        "http://bucket/key",
        "file:///etc/passwd",
        "S3://bucket/key",
        "s3:///key",
        "s3://../etc/passwd",
        "s3://./key",
        "s3://b..c/key",
        "s3://bu cket/key",
        "s3://bucket",
        "s3://bucket/",
        "s3://bucket/a/../b",
        "s3://bucket/..",
        "s3://bucket/./a",
        "s3://bucket//a",
        "s3://bucket/a/",
        "s3://bucket/a\0b",
        "s3://bucket/a\nb",
        "s3://bucket/\ud800",
        "s3://bucket/" + "k" * 1025,
    ],
)
def test_an_address_that_could_mean_two_things_is_refused(url: str) -> None:
    with pytest.raises(StorageError) as caught:
        parse_object_url(url)
    caught.value.message.encode()


def test_a_link_out_of_the_mapped_folder_is_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "bucket").mkdir(parents=True)
    (root / "bucket" / "out").symlink_to(tmp_path)
    (root / "bucket" / "in").symlink_to(root / "bucket" / "real")
    with pytest.raises(AccessDenied, match="leads out"):
        to_file(root, ObjectUrl("bucket", "out/secret"))
    assert to_file(root, ObjectUrl("bucket", "in/x")) == (root / "bucket" / "real" / "x").resolve()


def test_a_secret_never_shows() -> None:
    keys = Credentials("AKIA", "very-secret", "eu-central-1")
    stores = ObjectStores(StorageSettings(access_key="AKIA", secret_access_key=SecretStr("very-secret")))
    for text in (repr(keys), str(keys), repr(stores), repr(stores.settings)):
        assert "very-secret" not in text


def test_a_place_without_keys_means_the_deployments_own() -> None:
    settings = StorageSettings()
    assert from_place(S3Place(url="s3://b/k"), settings) is None
    place = S3Place(url="s3://b/k", access_key="A", secret_access_key=SecretStr("S"), region="us-east-1")
    assert from_place(place, settings) == Credentials("A", "S", "us-east-1")


def test_stores_travel_as_their_settings() -> None:
    stores = ObjectStores(
        StorageSettings(endpoint_url="http://127.0.0.1:1", access_key="A", secret_access_key=SecretStr("S"))
    )
    assert pickle.loads(pickle.dumps(stores)).settings == stores.settings


def test_what_a_store_answers_is_named_by_its_code_only() -> None:
    answer = (
        "status code: 403 Forbidden: <Error><Code>InvalidAccessKeyId</Code><AWSAccessKeyId>AKIASECRET</AWSAccessKeyId>"
    )
    error = explain(PermissionError(answer), "s3://b/k", "read")
    assert isinstance(error, AccessDenied)
    assert error.message == (
        "s3://b/k cannot be read: the access key is not known there; check it and the endpoint (InvalidAccessKeyId)"
    )


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_busy_store_may_be_tried_again(status: int) -> None:
    assert explain(RuntimeError(f"Server returned non-2xx status code: {status} x"), "s3://b/k", "read").retryable


def test_an_outage_is_an_outage_whatever_the_object_is_called() -> None:
    refused = "Error performing GET http://h/data/orange.tif in 1ms - HTTP error: error sending request kind: Connect"
    error = explain(RuntimeError(refused), "s3://data/orange.tif", "read")
    assert error.retryable
    assert error.message == "s3://data/orange.tif cannot be read now: the store does not answer"
    late = explain(RuntimeError("HttpError { kind: Timeout, source: TimedOut }"), "s3://data/x", "read")
    assert late.message == "s3://data/x cannot be read now: the store did not answer in time"
