"""`swathe results` and the client on the requests of a server: found by id, by the home and over HTTP."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from builders import make_request
from serving import BATCH, Serving, make_inputs, wait_for, write_config
from swathe.cli.main import make_app
from swathe.client import SentinelHubBatchStatistical, SHConfig
from swathe.model.errors import SwatheError

pytestmark = pytest.mark.xdist_group("serve")


def swathe(*arguments: str) -> Any:
    done = CliRunner().invoke(make_app(), ["results", *arguments])
    if isinstance(done.exception, SwatheError):
        raise done.exception
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def test_requests_are_found_by_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    matplotlib.use("Agg")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "SWATHE_URL"):
        monkeypatch.delenv(name, raising=False)
    catalog, geopackage = make_inputs(tmp_path / "inputs", parcels=6)
    home = tmp_path / "home"
    (home / "buckets" / "in").mkdir(parents=True)
    (home / "buckets" / "in" / "parcels.gpkg").write_bytes(geopackage.read_bytes())
    config = write_config(tmp_path / "swathe.toml", catalog, workers=1)
    body = make_request()
    keys = {"accessKey": "AKIAHIDDEN", "secretAccessKey": "hidden-secret"}
    body["input"]["features"] = {"s3": {"url": "s3://in/parcels.gpkg", **keys}}
    body["output"] = {"s3": {"url": "s3://out/results", **keys}}
    with Serving(home, config=config) as server:
        client = server.client()
        with closing(server.session(client)) as http:
            job = http.post(BATCH, json=body).json()["id"]
            http.post(f"{BATCH}/{job}/start")
            assert wait_for(http, job)["status"] == "DONE"
        settings = SHConfig(
            use_defaults=True,
            sh_base_url=server.url,
            sh_client_id=client["client_id"],
            sh_client_secret=client["client_secret"],
        )
        over_http = (
            "--url",
            server.url,
            "--client-id",
            client["client_id"],
            "--client-secret",
            client["client_secret"],
        )
        by_http = swathe("table", job[:8], *over_http, "--buckets", str(home / "buckets"), "--json")
        with SentinelHubBatchStatistical(settings) as batch:
            results = batch.results(job, local_root=home / "buckets")
            frame = results.to_dataframe()
            assert frame["feature_id"].unique().tolist() == [1, 2, 3, 4, 5, 6]
            assert len(results.plot_map().collections) == 1
        with pytest.raises(SwatheError, match="There is no request ffffffff"):
            swathe("table", "ffffffff", *over_http)
    # Without the server, by what it keeps.
    told = json.loads(swathe("table", job[:8], "--home", str(home), "--json"))
    assert told == json.loads(by_http)
    assert told["featureCount"] == 6
    assert told["features"][0]["values"] == frame["mean"].tolist()[:3]
    assert swathe("export", job, "--home", str(home), "--config", str(config), "--output", str(tmp_path / "a.csv"))
    text = (tmp_path / "a.csv").read_text()
    assert len(text.splitlines()) == 1 + len(frame)
    assert "hidden" not in text + by_http
