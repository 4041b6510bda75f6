from __future__ import annotations

import pickle

import pytest

from swathe.jobs.delivery import Delivery, ResultNames, escape_name
from swathe.model.common import S3Place
from swathe.model.errors import RequestInvalid
from swathe.settings import StorageSettings

JOB = "11111111-2222-3333-4444-555555555555"


@pytest.mark.parametrize(
    ("url", "result"),
    [
        ("s3://b/out", f"s3://b/out/{JOB}/7.json"),
        ("s3://b/out/", f"s3://b/out/{JOB}/7.json"),
        ("s3://b", f"s3://b/{JOB}/7.json"),
        ("s3://b/out/<ID>.json", "s3://b/out/7.json"),
        ("s3://b/<REQUEST_ID>/x/<IDENTIFIER>-<ID>.json", f"s3://b/{JOB}/x/SI 21-7.json"),
    ],
)
def test_names_of_results(url, result):
    assert ResultNames.from_url(url).url(JOB, 7, "SI 21") == result


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("s3://b/out/", "s3://b/out"),
        ("s3://b", "s3://b"),
        ("s3://b/x-<ID>.json", "s3://b"),
        ("s3://b/x/<ID>/y.json", "s3://b/x"),
    ],
)
def test_folder_is_what_all_results_share(url, folder):
    assert ResultNames.from_url(url).folder == folder


@pytest.mark.parametrize("url", ["s3://b/<REQUEST_ID>.json", "s3://b/<FEATURE>.json", "s3://<ID>/x"])
def test_template_must_tell_features_apart_and_hold_known_names(url):
    with pytest.raises(RequestInvalid) as error:
        ResultNames.from_url(url)
    assert error.value.parameter == "output->s3->url"


def test_feature_without_identifier_goes_by_its_id():
    assert ResultNames.from_url("s3://b/<IDENTIFIER>.json").url(JOB, 7, None) == "s3://b/7.json"


@pytest.mark.parametrize(
    ("identifier", "name"),
    [
        ("SI21.FOI.7059004001", "SI21.FOI.7059004001"),
        ("../../etc/passwd", "..%2F..%2Fetc%2Fpasswd"),
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("a\\b\nc", "a%5Cb%0Ac"),
        ("100%2F", "100%252F"),
        ("Übergröße", "Übergröße"),
    ],
)
def test_identifier_cannot_leave_its_folder(identifier, name):
    assert escape_name(identifier) == name


def test_long_identifiers_stay_apart_and_fit_a_file_name():
    names = {escape_name("ä" * 400 + letter) for letter in "abc"}
    assert len(names) == 3
    assert max(len(name.encode()) for name in names) < 255


def test_delivery_travels_and_shows_no_key():
    place = S3Place(url="s3://b/out", accessKey="AKIA1", secretAccessKey="very secret")
    delivery = Delivery(StorageSettings(), place, JOB)
    assert delivery.names.url(JOB, 1, None)
    again = pickle.loads(pickle.dumps(delivery))
    assert again.place.secret_access_key.get_secret_value() == "very secret"
    assert "secret" not in repr(delivery)
    assert "AKIA1" not in repr(delivery)
