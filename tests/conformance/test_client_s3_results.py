"""Results read from a real S3 server in its own process, with authentication on."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import sentinelhub
from sentinelhub.aws import AwsBatchStatisticalResults

from swathe.client import SentinelHubBatchStatistical, SHConfig, s3_specification
from swathe.model.errors import AccessDenied, ObjectNotFound, StoreUnavailable

RID = "5e7a"
ALLOW_ALL = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]})
REQUEST = {
    "id": RID,
    "completionPercentage": 100,
    "status": "DONE",
    "request": {"output": {"s3": {"url": "s3://results/out"}}},
}


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """Endpoint and keys of a server whose bucket `results` holds 30 documents."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "3"}
    command = [sys.executable, "-m", "moto.server", "-p", str(port)]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        url = f"http://127.0.0.1:{port}"
        nobody = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
        iam = boto3.client("iam", endpoint_url=url, **nobody)
        iam.create_user(UserName="swathe")
        key = iam.create_access_key(UserName="swathe")["AccessKey"]
        iam.put_user_policy(UserName="swathe", PolicyName="all", PolicyDocument=ALLOW_ALL)
        keys = {"access_key": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]}
        bucket = boto3.client(
            "s3",
            endpoint_url=url,
            aws_access_key_id=keys["access_key"],
            aws_secret_access_key=keys["secret_access_key"],
            region_name="us-east-1",
        )
        bucket.create_bucket(Bucket="results")
        for number in range(30):
            document = {"id": number, "identifier": f"p {number}", "response": {"status": "OK", "data": []}}
            body = json.dumps(document).encode()
            bucket.put_object(Bucket="results", Key=f"out/{RID}/{number}.json", Body=body)
            bucket.put_object(Bucket="results", Key=f"templated/p {number}+é/{number}.json", Body=body)
        bucket.put_object(Bucket="results", Key=f"out/{RID}/manifest.json", Body=b'{"a": 1}')
        bucket.put_object(Bucket="results", Key=f"out/{RID}/sub/77.json", Body=b'{"id": 77, "error": {}}')
        yield {"url": url, **keys}
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture(autouse=True)
def _no_keys_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)


def client(**settings: Any) -> SentinelHubBatchStatistical:
    return SentinelHubBatchStatistical(SHConfig(use_defaults=True, **settings))


def ids(results: Any) -> list[int]:
    return sorted(one["id"] for one in results)


def test_keys_come_from_the_output_specification(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of somebody else")
    output = s3_specification("s3://results/out", s3["access_key"], s3["secret_access_key"])
    results = client().results(REQUEST, output=output, endpoint_url=s3["url"])
    assert ids(results) == list(range(30))
    assert ids(client().results(REQUEST, output=output, endpoint_url=s3["url"], feature_ids=[7, 8])) == [7, 8]


def test_keys_come_from_the_payload(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3["url"])
    output = s3_specification(
        "s3://results/templated/<IDENTIFIER>+é/<ID>.json", s3["access_key"], s3["secret_access_key"]
    )
    assert ids(client().results({**REQUEST, "request": {"output": output}})) == list(range(30))


def test_keys_come_from_the_config(s3: dict[str, str]) -> None:
    mine = client(aws_access_key_id=s3["access_key"], aws_secret_access_key=s3["secret_access_key"])
    assert len(ids(mine.results(REQUEST, endpoint_url=s3["url"]))) == 30


def test_keys_come_from_the_environment(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3["url"])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3["access_key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3["secret_access_key"])
    assert len(ids(client().results(REQUEST))) == 30


def test_the_published_reader_and_ours_read_the_same(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3["url"])
    config = sentinelhub.SHConfig(
        use_defaults=True, aws_access_key_id=s3["access_key"], aws_secret_access_key=s3["secret_access_key"]
    )
    request = sentinelhub.BatchStatisticalRequest.from_dict(REQUEST)
    theirs = AwsBatchStatisticalResults(request, feature_ids=[3, 5], config=config).get_data()
    mine = list(SentinelHubBatchStatistical(config).results(request, feature_ids=[3, 5]))
    assert theirs == mine


def test_wrong_keys_and_missing_documents_are_told(s3: dict[str, str]) -> None:
    wrong = s3_specification("s3://results/out", s3["access_key"], "wrong")
    with pytest.raises(AccessDenied, match="may not be read with these credentials") as caught:
        ids(client().results(REQUEST, output=wrong, endpoint_url=s3["url"]))
    assert "wrong" not in str(caught.value)
    right = s3_specification("s3://results/out", s3["access_key"], s3["secret_access_key"])
    with pytest.raises(ObjectNotFound, match=r"there is no s3://results/out/5e7a/404\.json"):
        ids(client().results(REQUEST, output=right, endpoint_url=s3["url"], feature_ids=[404]))
    for url, message in (
        ("s3://results/none", "there are no documents s3://results/none"),
        ("s3://none", "there is no s3://none"),
    ):
        request = {**REQUEST, "request": {"output": {"s3": {"url": url}}}}
        with pytest.raises(ObjectNotFound, match=message):
            ids(client().results(request, output=right, endpoint_url=s3["url"]))


def test_a_store_that_does_not_answer_is_told(s3: dict[str, str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    output = s3_specification("s3://results/out", "a", "b")
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        ids(client().results(REQUEST, output=output, endpoint_url=url))
