"""The rules about what is reached for a request, or for a catalog from elsewhere."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from swathe.model.common import S3Place
from swathe.settings import Settings, StorageSettings, load_settings
from swathe.storage.doors import DoorClosed, check_bucket, host_of, is_listed, is_public, storage_of, with_hosts
from swathe.storage.urls import shown_url

KEYS = {"access_key": "A", "secret_access_key": SecretStr("S")}


@pytest.mark.parametrize(
    ("change", "open_without_keys", "open_with_keys"),
    [
        ({}, True, True),
        (KEYS, False, True),
        ({**KEYS, "buckets": ()}, False, True),
        ({**KEYS, "buckets": ("data",)}, True, True),
        ({**KEYS, "buckets": ("other", "da*")}, True, True),
        ({**KEYS, "buckets": ("Data", "dat", "ata")}, False, True),
        ({"buckets": ("other",)}, False, True),
        ({"local_root": "/b"}, True, True),
        ({"local_root": "/b", **KEYS}, True, True),
        ({"local_root": "/b", "buckets": ("data",)}, True, True),
        ({"local_root": "/b", "buckets": ("other",)}, False, False),
    ],
)
def test_the_deployments_word_opens_what_it_lists(
    change: dict[str, object], open_without_keys: bool, open_with_keys: bool
) -> None:
    settings = StorageSettings.model_validate(change)
    for has_keys, is_open in ((False, open_without_keys), (True, open_with_keys)):
        if is_open:
            check_bucket(settings, "data", has_keys=has_keys)
        else:
            with pytest.raises(DoorClosed, match=r"bucket 'data'.*storage\.buckets"):
                check_bucket(settings, "data", has_keys=has_keys)


def test_a_variable_lists_names_with_commas() -> None:
    environment = {"SWATHE_STORAGE_BUCKETS": "a, b-*,", "SWATHE_STORAGE_HOSTS": "tiles.lan"}
    storage = load_settings(environment=environment).storage
    assert (storage.buckets, storage.hosts) == (("a", "b-*"), ("tiles.lan",))
    assert load_settings(environment={"SWATHE_STORAGE_BUCKETS": ""}).storage.buckets == ()


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"]
)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.100.100.200", "0.0.0.0",
        "168.63.129.16", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fd00:ec2::254", "ff02::1",
        "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "no address",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


def test_hosts_are_those_that_are_listed_and_those_of_the_sources() -> None:
    sources = ["https://Stac.example.org:8443/v1", "/data/stac", "s3://scenes/stac", "http://[::1]/x", "http://[bad"]
    settings = with_hosts(StorageSettings(hosts=("*.lan",)), sources)
    for host in ("stac.example.org", "STAC.example.org.", "nas.lan", "::1"):
        assert is_listed(settings, host)
    for host in ("example.org", "lan", "stac.example.org.evil.net", "scenes"):
        assert not is_listed(settings, host)
    told = Settings.model_validate({"collections": [{"type": "byoc-a", "source": "https://one.example/c.json"}]})
    assert storage_of(told).hosts == ("one.example",)
    assert host_of("ftp://x/y") == ""


def test_queries_and_passwords_are_not_told() -> None:
    assert shown_url("https://me:pw@h.example:8/a/b.tif?sig=secret#x") == "https://h.example:8/a/b.tif"
    assert shown_url("s3://b/a?b@c") == "s3://b/a?b@c"


@pytest.mark.parametrize("region", ["x.evil.example/", "evil.example#", "a b", "eu-central-1\n", "@evil"])
def test_a_region_is_no_address(region: str) -> None:
    with pytest.raises(ValueError, match="name of a region"):
        S3Place(url="s3://b/k", access_key="A", secret_access_key=SecretStr("S"), region=region)
