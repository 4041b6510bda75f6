"""`swathe doctor`: with real stores, databases and schedulers, well and ill."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, text
from typer.testing import CliRunner

from databases import KINDS, Place, new_place
from servers import S3Server, free_port, moto_server
from serving import ENV, SOURCE
from swathe import __version__
from swathe.cli.doctor import checks_for, machine, places, services
from swathe.cli.doctor.findings import Check, Finding, Patient
from swathe.cli.doctor.running import run_checks
from swathe.cli.init import init
from swathe.cli.main import make_app
from swathe.jobs.database import open_database
from swathe.jobs.home import Home
from swathe.settings import Settings, load_settings

SECRET = "wJalrXUtnFEMI-hidden"
pytestmark = pytest.mark.xdist_group("doctor")


def patient(
    home: Path | None = None, *, write: bool = False, buckets: tuple[str, ...] = (), **sections: Any
) -> Patient:
    return Patient(Settings.model_validate(sections), home, write, buckets)


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


def doctor(*arguments: str | Path) -> tuple[int, dict[str, Any], str]:
    words = [sys.executable, "-m", "swathe", "doctor", *map(str, arguments), "--json"]
    done = subprocess.run(words, env=ENV, capture_output=True, text=True, timeout=120)
    return done.returncode, json.loads(done.stdout), done.stdout + done.stderr


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with moto_server() as server:
        for bucket in ("scenes", "results"):
            server.client().create_bucket(
                Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": server.region}
            )
        yield server


def stored(server: S3Server, **changes: Any) -> dict[str, Any]:
    keys = {"access_key": server.access_key, "secret_access_key": server.secret_access_key}
    return {"endpoint_url": server.url, "region": server.region, **keys, **changes}


def test_all_is_well_with_the_example(tmp_path: Path) -> None:
    init(tmp_path)
    code, told, _ = doctor("--config", tmp_path / "swathe.toml", "--home", tmp_path / "home")
    assert code == (1 if told["problems"] else 0)
    by_name = {finding["check"]: finding for finding in told["findings"]}
    # of what does not depend on this machine's disk, memory and ports
    for name in ("packages", "gdal", "proj", "rasters", "v8", "home", "storage", "database", "collection byoc-landsat"):
        assert by_name[name]["level"] == "ok", by_name[name]
    assert "22 scenes; bands red, nir, fmask; a block of" in by_name["collection byoc-landsat"]["text"]
    assert not (tmp_path / "home").exists()  # it only looks


def test_what_is_wrong_is_said_with_a_way_out_and_without_secrets(tmp_path: Path) -> None:
    config = tmp_path / "swathe.toml"
    config.write_text(
        f"""
[server]
host = "0.0.0.0"
tls_certificate = "nowhere.pem"
tls_key = "nowhere.key"
[storage]
endpoint_url = "http://127.0.0.1:9"
access_key = "AKIA"
secret_access_key = "{SECRET}"
buckets = ["results", "any-*"]
[database]
url = "postgresql://me:{SECRET}@127.0.0.1:1/swathe"
[dask]
scheduler = "tcp://127.0.0.1:9"
[[collections]]
type = "byoc-gone"
source = "nowhere"
[[collections]]
type = "byoc-web"
source = "http://user:{SECRET}@127.0.0.1:9/stac?token={SECRET}"
"""
    )
    skipped = {"python", "gdal", "v8", "memory", "home", "clock", "port"}
    names = {"storage", "database", "scheduler", "tls", "buckets", "collections"}
    assert not skipped & names
    code, told, output = doctor("--config", config, "--write", *(part for name in names for part in ("--only", name)))
    assert code == 1
    assert SECRET not in output
    assert [finding["level"] for finding in told["findings"]] == ["problem"] * 7
    assert all(finding["remedy"] for finding in told["findings"])
    texts = {finding["check"]: finding["text"] for finding in told["findings"]}
    assert texts["storage"] == "http://127.0.0.1:9 does not answer: Connection refused"
    assert texts["bucket"] == "s3://results/ cannot be listed now: the store does not answer"
    assert "Connection refused" in texts["database"]
    assert texts["scheduler"] == "tcp://127.0.0.1:9 does not answer: Connection refused"
    assert texts["tls"] == f"{tmp_path}/nowhere.pem is not there"
    assert "there is no such file or folder" in texts["collection byoc-gone"]


def test_least_versions_are_those_that_are_installed_with() -> None:
    told = tomllib.loads((SOURCE.parent / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    least = dict(line.split(">=") for line in told["server"])
    assert {name: least[name] for name in machine.LEAST} == machine.LEAST


def test_words_that_are_none_are_wrong_usage() -> None:
    for words, said in (
        (["--only", "weather"], "weather is none of python, memory"),
        (["--bucket", "x"], "x is no s3://"),
    ):
        done = CliRunner().invoke(make_app(), ["doctor", *words])
        assert done.exit_code == 2
        assert said in done.output


def test_a_store_with_keys(s3: S3Server) -> None:
    sick = patient(storage=stored(s3), buckets=("s3://results/run",), write=True)
    assert only(places.check_storage(sick)).text == f"{s3.url} answers; with an access key"
    found = places.check_bucket(sick, "s3://results/run")
    assert [finding.level for finding in found] == ["ok", "ok"]
    assert found[1].text == "s3://results/run: a probe was put, read and removed"
    assert "Contents" not in s3.client().list_objects_v2(Bucket="results")
    assert only(places.check_clock(sick)) == Finding("clock", "ok", "agrees with 127.0.0.1")


@pytest.mark.parametrize(
    ("changes", "bucket", "said"),
    [
        ({}, "s3://missing", "there is no bucket 'missing'"),
        ({"access_key": "AKIANOBODY"}, "s3://results", "the access key is not known there"),
        ({"secret_access_key": SECRET}, "s3://results", "does not belong to the access key"),
    ],
)
def test_a_store_that_refuses(s3: S3Server, changes: dict[str, str], bucket: str, said: str) -> None:
    found = only(places.check_bucket(patient(storage=stored(s3, **changes), write=True), bucket))
    assert found.level == "problem"
    assert said in found.text
    assert SECRET not in repr(found)


def test_keys_that_may_only_read(s3: S3Server) -> None:
    keys = {"access_key": s3.read_access_key, "secret_access_key": s3.read_secret_access_key}
    listed, put = places.check_bucket(patient(storage=stored(s3, **keys), write=True), "s3://results")
    assert (listed.level, put.level) == ("ok", "problem")
    assert "a probe cannot be put: " in put.text
    assert put.remedy == "allow these keys to put, get and delete objects there"


def test_a_bucket_without_a_store_to_look_in() -> None:
    found = only(places.check_bucket(patient(), "s3://results"))
    assert (found.level, found.text) == ("problem", "s3://results: no store is configured")
    assert "--home" in found.remedy


def test_buckets_to_look_at() -> None:
    storage = {"buckets": ["results", "any-*"], "sources": {"archive": {}}, "access_key": "a", "secret_access_key": "b"}
    collections = [{"type": "byoc-a", "source": source} for source in ("s3://scenes/a", "s3://scenes/b", "/data")]
    found = places.buckets_of(patient(storage=storage, collections=collections, buckets=("s3://mine/x",)))
    assert found == ["s3://mine/x", "s3://results", "s3://scenes", "s3://archive"]


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with new_place(request.param, tmp_path) as made:
        yield made


def database_of(place: Place) -> Finding:
    sections = {} if place.url is None else {"database": {"url": place.url}}
    return only(services.check_database(patient(place.home, **sections)))


def test_a_database(place: Place) -> None:
    first = database_of(place)
    assert first.level == ("ok" if place.url is None else "warning")
    assert ("is not there yet" if place.url is None else "is empty") in first.text
    database = open_database(place.home, place.url)
    well = database_of(place)
    assert well.level == "ok", well
    assert "answers and takes changes, revision" in well.text
    with database.write() as connection:
        assert "swathe_doctor_probe" not in inspect(connection).get_table_names()
        connection.execute(text("UPDATE schema_version SET version = 4711"))
    newer = database_of(place)
    assert (newer.level, "was made by a newer Swathe (revision schema 4711)" in newer.text) == ("problem", True)
    database.close()


def test_a_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert machine.check_home(patient(home))[0].text == f"{home} is not there yet; `swathe serve` makes it"
    server = Home(home)
    server.lock()
    assert "serves from it" in machine.check_home(patient(home))[0].text
    server.unlock()
    assert machine.check_home(patient(home))[0].text == f"{home}; no server runs on it now"
    home.chmod(0o755)
    assert machine.check_home(patient(home))[0].remedy == f"chmod 700 {home}"
    (tmp_path / "file").write_text("")
    assert machine.check_home(patient(tmp_path / "file"))[0].level == "problem"


def test_a_port_that_is_taken(s3: S3Server) -> None:
    port = free_port()
    free = only(machine.check_port(patient(server={"port": port})))
    assert free == Finding("port", "ok", f"127.0.0.1:{port} is free")
    port = int(s3.url.rsplit(":", 1)[1])
    found = only(machine.check_port(patient(server={"port": port})))
    assert (found.level, found.text) == ("problem", f"127.0.0.1:{port} is taken by another program")


def test_certificates(tmp_path: Path) -> None:
    for days, level, said in (
        (-1, "problem", "expired on"),
        (10, "warning", "expires on"),
        (400, "ok", "is good until"),
    ):
        certificate, key = make_certificate(tmp_path, f"c{days}", days)
        found = only(machine.check_tls(patient(server={"tls_certificate": certificate, "tls_key": key})))
        assert (found.level, said in found.text) == (level, True), found
    other = make_certificate(tmp_path, "other", 400)[1]
    found = only(machine.check_tls(patient(server={"tls_certificate": certificate, "tls_key": other})))
    assert (found.level, "cannot be used" in found.text) == ("problem", True)
    assert machine.check_tls(patient()) == []
    assert only(machine.check_tls(patient(server={"host": "0.0.0.0"}))).level == "warning"


def test_workers_that_do_not_fit() -> None:
    assert machine.check_memory(patient(dask={"workers": 1, "memory_limit": "64MiB"}))[0].level == "ok"
    found = machine.check_memory(patient(dask={"workers": 4096, "memory_limit": "64GiB"}))
    assert [finding.level for finding in found] == ["warning", "warning"]
    assert only(machine.check_memory(patient(dask={"memory_limit": "much"}))).level == "problem"


def test_a_scheduler() -> None:
    from distributed import LocalCluster

    assert only(services.check_scheduler(patient())).level == "ok"
    assert only(services.check_scheduler(patient(dask={"scheduler": "10.0.0.5"}))).level == "problem"
    how = {"protocol": "tcp://", "host": "127.0.0.1", "processes": False, "dashboard_address": None}
    with LocalCluster(n_workers=0, **how) as cluster:
        sick = patient(dask={"scheduler": cluster.scheduler_address})
        idle = only(services.check_scheduler(sick))
        assert (idle.level, idle.remedy) == ("warning", f"swathe worker {cluster.scheduler_address}")
        cluster.scale(1)
        cluster.wait_for_workers(1, timeout=180)
        assert only(services.check_scheduler(sick)).text.endswith(f"answers with 1 worker of Swathe {__version__}")


def test_a_check_that_hangs_is_ended(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"postgresql://me@127.0.0.1:{silent.getsockname()[1]}/x"
        sick = patient(tmp_path, database={"url": url})
        found = only(next(run_checks([Check("database", services.check_database, 1.5)], sick)))
    assert (found.check, found.level) == ("database", "problem")
    assert found.text == "did not answer within 2 s"


def test_every_collection_and_bucket_is_looked_at_by_itself(tmp_path: Path) -> None:
    init(tmp_path)
    names = [
        check.name for check in checks_for(Patient(load_settings(tmp_path / "swathe.toml")), {"collections", "tls"})
    ]
    assert names == ["tls", "collection byoc-landsat"]


def make_certificate(folder: Path, name: str, days: int) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "swathe.example.org")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=days, hours=1))
        .sign(key, hashes.SHA256())
    )
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption()))
    return files
