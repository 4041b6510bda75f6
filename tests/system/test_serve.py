"""`swathe serve` and `swathe client` as users run them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from contextlib import closing
from pathlib import Path

import boto3
import pytest

from builders import make_request
from servers import moto_server
from serving import BATCH, ENV, Serving, command, make_inputs, wait_for, write_config
from swathe.cli.serve import _listen

# Together in one process, since they share what takes seconds to start.
pytestmark = pytest.mark.xdist_group("serve")

SECRET = "hidden-secret-access-key"
ENDLESS = """
function setup() { return {input: ["B04", "dataMask"], output: [{id: "a", bands: 1}, {id: "dataMask", bands: 1}]} }
function evaluatePixel(s) { for (;;) {} }
"""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def local(tmp_path_factory, inputs):
    """A server with buckets in a folder, shared by the tests that do it no harm."""
    folder = tmp_path_factory.mktemp("local")
    catalog, geopackage = inputs
    buckets = folder / "buckets"
    (buckets / "in").mkdir(parents=True)
    (buckets / "in" / "parcels.gpkg").write_bytes(geopackage.read_bytes())
    config = write_config(folder / "config.toml", catalog, "[storage]", f'local_root = "{buckets}"')
    with Serving(folder / "home", config=config) as server:
        server.buckets = buckets
        yield server


def make_job(**change):
    keys = {"accessKey": "AKIAHIDDEN", "secretAccessKey": SECRET}
    body = make_request(**change)
    body["input"]["features"] = {"s3": {"url": "s3://in/parcels.gpkg", **keys}}
    body["output"] = {"s3": {"url": "s3://out/results", **keys}}
    return body


def read_documents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("*.json")}


def test_whole_flow_with_the_published_package(local, monkeypatch):
    sentinelhub = pytest.importorskip("sentinelhub")
    from sentinelhub.api.batch.utils import monitor_batch_statistical_job

    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setattr("sentinelhub.api.batch.utils._MIN_STAT_SLEEP_TIME", 0)
    monkeypatch.setattr("sentinelhub.api.batch.utils._MIN_ANALYSIS_SLEEP_TIME", 0)
    credentials = local.client("published")
    config = sentinelhub.SHConfig(use_defaults=True)
    config.sh_client_id, config.sh_client_secret = credentials["client_id"], credentials["client_secret"]
    config.sh_base_url, config.sh_token_url = local.url, f"{local.url}/oauth/token"
    batch = sentinelhub.SentinelHubBatchStatistical(config)
    place = batch.s3_specification("s3://in/parcels.gpkg", "AKIAHIDDEN", SECRET)
    output = batch.s3_specification("s3://out/results", "AKIAHIDDEN", SECRET)
    body = make_request()
    request = batch.create(
        input_features=place,
        input_data=body["input"]["data"],
        aggregation=body["aggregation"],
        calculations=None,
        output=output,
    )
    assert request.status.value == "CREATED"
    assert batch.get_status(request)["completionPercentage"] == 0
    batch.start_analysis(request)
    while batch.get_request(request).status.value == "ANALYSING":
        time.sleep(0.1)
    assert batch.get_request(request).status.value == "ANALYSIS_DONE"
    batch.start_job(request)
    final = monitor_batch_statistical_job(request, config, sleep_time=0.2, analysis_sleep_time=0.2)
    assert final["status"] == "DONE", final
    request = batch.get_request(request)
    assert request.request["output"] == {"s3": {"url": "s3://out/results"}}
    assert request.cost_pu > 0
    documents = read_documents(local.buckets / "out/results" / request.request_id)
    assert set(documents) == {f"{number}.json" for number in range(1, 31)}
    document = json.loads(documents["1.json"])
    assert (document["id"], document["identifier"], document["response"]["status"]) == (1, "SI 0/a", "OK")
    assert len(document["response"]["data"]) == 3
    with pytest.raises(sentinelhub.exceptions.DownloadFailedException, match="STOP is not possible"):
        batch.stop_job(request)


def test_results_from_s3_with_the_published_package(tmp_path, inputs, monkeypatch):
    sentinelhub = pytest.importorskip("sentinelhub")
    catalog, geopackage = inputs
    with moto_server() as s3:
        s3.client().create_bucket(Bucket="data", CreateBucketConfiguration={"LocationConstraint": s3.region})
        s3.client().put_object(Bucket="data", Key="in/parcels.gpkg", Body=geopackage.read_bytes())
        lines = ("[storage]", f'endpoint_url = "{s3.url}"', f'region = "{s3.region}"')
        config_file = write_config(tmp_path / "config.toml", catalog, *lines)
        with Serving(tmp_path / "home", config=config_file) as server:
            monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.url)
            monkeypatch.setenv("AWS_DEFAULT_REGION", s3.region)
            credentials = server.client()
            config = sentinelhub.SHConfig(use_defaults=True)
            config.sh_client_id, config.sh_client_secret = credentials.values()
            config.sh_base_url, config.sh_token_url = server.url, f"{server.url}/oauth/token"
            config.aws_access_key_id, config.aws_secret_access_key = s3.access_key, s3.secret_access_key
            batch = sentinelhub.SentinelHubBatchStatistical(config)
            body = make_request()
            keys = (s3.access_key, s3.secret_access_key)
            request = batch.create(
                input_features=batch.s3_specification("s3://data/in/parcels.gpkg", *keys),
                input_data=body["input"]["data"],
                aggregation=body["aggregation"],
                calculations=None,
                output=batch.s3_specification("s3://data/out", *keys),
            )
            batch.start_job(request)
            http = server.session(credentials)
            assert wait_for(http, request.request_id)["status"] == "DONE"
            monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
            from sentinelhub.aws import AwsBatchStatisticalResults

            results = AwsBatchStatisticalResults(batch.get_request(request), config=config).get_data()
            assert sorted(result["id"] for result in results) == list(range(1, 31))
            refused = make_job()
            refused["input"]["features"]["s3"]["url"] = "s3://data/in/parcels.gpkg"
            job_id = http.post(BATCH, json=refused).json()["id"]
            http.post(f"{BATCH}/{job_id}/start")
            status = wait_for(http, job_id)
            assert (status["status"], status["completionPercentage"]) == ("FAILED", 100)
            assert "s3://" in status["error"]
            for text in (server.log.read_text(), json.dumps(status)):
                assert SECRET not in text
                assert s3.secret_access_key not in text


def test_killed_server_goes_on_with_the_same_documents_and_leaves_no_process(tmp_path, inputs):
    catalog, geopackage = inputs
    runs = {}
    for name in ("undisturbed", "killed"):
        home, buckets = tmp_path / name / "home", tmp_path / name / "buckets"
        (buckets / "in").mkdir(parents=True)
        (buckets / "in" / "parcels.gpkg").write_bytes(geopackage.read_bytes())
        lines = ("[limits]", "unit_rows = 6", "[storage]", f'local_root = "{buckets}"')
        config = write_config(tmp_path / name / "config.toml", catalog, *lines)
        with Serving(home, config=config) as server:
            credentials = server.client()
            http = server.session(credentials)
            job_id = http.post(BATCH, json=make_job()).json()["id"]
            http.post(f"{BATCH}/{job_id}/start")
            if name == "killed":
                folder = buckets / "out/results" / job_id
                while not read_documents(folder):
                    time.sleep(0.01)
                server.kill()
                assert server.left(within_s=5) == []
                assert len(read_documents(folder)) < 30
                with Serving(home, config=config) as again:
                    status = wait_for(again.session(credentials), job_id)
            else:
                status = wait_for(http, job_id)
            assert status["status"] == "DONE", status
        runs[name] = read_documents(buckets / "out/results" / job_id)
        assert not list((buckets / "out").rglob("*.part*"))
    assert len(runs["killed"]) == 30
    assert runs["killed"] == runs["undisturbed"]


def test_ctrl_c_ends_the_server_cleanly_with_its_workers(tmp_path, inputs):
    catalog, geopackage = inputs
    (tmp_path / "home/buckets/in").mkdir(parents=True)
    (tmp_path / "home/buckets/in/parcels.gpkg").write_bytes(geopackage.read_bytes())
    with Serving(tmp_path / "home", config=write_config(tmp_path / "config.toml", catalog)) as server:
        http = server.session(server.client())
        job_id = http.post(BATCH, json=make_job(script=ENDLESS)).json()["id"]
        http.post(f"{BATCH}/{job_id}/start")
        wait_for(http, job_id, "PROCESSING")
        time.sleep(0.5)
        code, seconds = server.end(signal.SIGINT)
        assert code == 0, server.log.read_text()
        assert seconds < 30
        assert server.left(within_s=20) == []
        assert "Traceback" not in server.log.read_text()


def test_sigterm_ends_an_idle_server_cleanly(tmp_path):
    with Serving(tmp_path / "home") as server:
        code, seconds = server.end(signal.SIGTERM)
        assert (code, server.left(within_s=20)) == (0, [])
        assert seconds < 30
        assert "Traceback" not in server.log.read_text()


def test_stop_ends_an_endless_script_soon(local):
    http = local.session(local.client("stopper"))
    job_id = http.post(BATCH, json=make_job(script=ENDLESS)).json()["id"]
    http.post(f"{BATCH}/{job_id}/start")
    wait_for(http, job_id, "PROCESSING")
    time.sleep(1)
    asked = time.monotonic()
    assert http.post(f"{BATCH}/{job_id}/stop").status_code == 204
    status = wait_for(http, job_id, "STOPPED")
    assert time.monotonic() - asked < 20
    assert status["stoppedStatusReason"] == "USER_ACTION"


def test_server_process_holds_neither_v8_nor_gdal_nor_numba(local):
    maps = Path(f"/proc/{local.process.pid}/maps").read_text()
    for library in ("libgdal", "rasterio", "llvmlite", "numba", "mini_racer"):
        assert library not in maps


def test_every_secret_stays_out_of_the_log(local):
    assert SECRET not in local.log.read_text()


def test_second_server_on_a_home_is_refused(local):
    second = subprocess.run(
        command("serve", "--home", str(local.home), "--port", "0"), capture_output=True, text=True, env=ENV, timeout=180
    )
    assert second.returncode == 1
    assert "Another server" in second.stderr
    assert "Traceback" not in second.stderr
    assert second.stdout == ""


def test_answers_do_not_wait_for_acknowledgements():
    """Head and body of an answer are two writes; the second is not to wait until the client has confirmed the first."""
    with closing(_listen("127.0.0.1", 0)) as listener, closing(socket.create_connection(listener.getsockname())):
        connection, _ = listener.accept()
        with closing(connection):
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_port_in_use_is_a_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        arguments = ("serve", "--home", str(tmp_path / "home"), "--port", str(taken.getsockname()[1]))
        second = subprocess.run(command(*arguments), capture_output=True, text=True, env=ENV, timeout=180)
    assert second.returncode == 1
    assert "choose another with --host and --port" in second.stderr
    assert "Traceback" not in second.stderr


def test_clients_are_made_listed_and_deleted_while_the_server_runs(local):
    credentials = local.client("temporary")
    http = local.session(credentials)
    assert http.get(BATCH).status_code == 200
    run = lambda *a: subprocess.run(  # noqa: E731
        command("client", *a, "--home", str(local.home)), capture_output=True, text=True, env=ENV
    )
    assert f"{credentials['client_id']}" in run("list").stdout
    assert run("delete", credentials["client_id"]).returncode == 0
    assert http.get(BATCH).status_code == 401
    gone = run("delete", credentials["client_id"])
    assert (gone.returncode, gone.stderr) == (1, f"swathe: There is no client {credentials['client_id']}\n")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("serve",), 2, "--home"),
        (("serve", "--home", "x", "--port", "99999"), 2, "65535"),
        (("nonsense",), 2, "nonsense"),
        (("serve", "--home", "/dev/null/x"), 1, "cannot be made"),
        (("serve", "--home", "x", "--config", "absent.toml"), 1, "absent.toml cannot be read"),
        (("client", "create", "me", "--home", "x", "--project", "y"), 1, "--project needs a UUID"),
        (("--version",), 0, ""),
    ],
)
def test_wrong_usage_is_a_sentence_and_a_code(tmp_path, arguments, code, text):
    ran = subprocess.run(command(*arguments), capture_output=True, text=True, env=ENV, cwd=tmp_path, timeout=180)
    assert ran.returncode == code, ran.stderr
    assert text in ran.stderr
    assert "Traceback" not in ran.stderr


def test_light_install_names_what_to_install(tmp_path):
    code = "import sys; sys.modules['sqlalchemy'] = None; sys.modules['uvicorn'] = None\n"
    code += "from swathe.cli.main import run; run()"
    arguments = [command()[0], "-c", code]
    for rest in (["serve", "--home", "x"], ["client", "list", "--home", "x"]):
        ran = subprocess.run([*arguments, *rest], capture_output=True, text=True, env=ENV, cwd=tmp_path)
        assert (ran.returncode, 'pip install "swathe[server]"' in ran.stderr) == (1, True), ran.stderr
    ran = subprocess.run([*arguments, "--help"], capture_output=True, text=True, env=ENV)
    assert ran.returncode == 0
    assert "serve" in ran.stdout


def test_https_when_a_certificate_is_configured(tmp_path, inputs):
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256())
    (tmp_path / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "key.pem").write_bytes(key.private_bytes(*pem))
    files = (f'tls_certificate = "{tmp_path}/cert.pem"', f'tls_key = "{tmp_path}/key.pem"')
    config = write_config(tmp_path / "config.toml", inputs[0], "[server]", *files)
    with Serving(tmp_path / "home", config=config) as server:
        assert server.url.startswith("https://")
        http = server.session(server.client(), verify=False)
        assert http.get(BATCH).status_code == 200
    assert os.stat(tmp_path / "home").st_mode & 0o077 == 0
