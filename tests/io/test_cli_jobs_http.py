"""`swathe jobs --url`: a client's jobs of both batch services, on a real server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import shapely
from typer.testing import CliRunner, Result

from builders import make_request
from process_cases import TIFFS, batch_body, write_areas
from serving import BATCH, Serving, make_inputs, write_config
from swathe.cli.main import make_app
from swathe.model.errors import NotFound, RequestInvalid, SettingsInvalid

pytestmark = pytest.mark.xdist_group("cli-jobs-http")
PROCESS = "/api/v2/batch/process"


@dataclass(frozen=True)
class Desk:
    """What a user has: a server's address and a client."""

    environment: dict[str, str]
    http: httpx.Client
    statistics: str
    process: str

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(make_app(), ["jobs", *words], env=self.environment)

    def ok(self, *words: str) -> str:
        done = self.run(*words)
        assert done.exit_code == 0, (done.output, done.exception)
        return done.output


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("jobs-http")
    catalog, parcels = make_inputs(folder, parcels=4, dates=1)
    buckets = folder / "home/buckets/in"
    buckets.mkdir(parents=True)
    shutil.copy(parcels, buckets / "parcels.gpkg")
    box = shapely.box(500_000, 5_099_400, 500_600, 5_100_000)
    write_areas(buckets / "areas.gpkg", {"areas": (32633, {"a": box}, {})})
    with Serving(folder / "home", config=write_config(folder / "swathe.toml", catalog, workers=1)) as server:
        keys = server.client()
        with closing(server.session(keys)) as http:
            place = {"accessKey": "a", "secretAccessKey": "b"}
            statistics = make_request() | {
                "description": "Fields of the north",
                "output": {"s3": {"url": "s3://in/results", **place}},
            }
            statistics["input"]["features"] = {"s3": {"url": "s3://in/parcels.gpkg", **place}}
            process = batch_body(
                input={"type": "geopackage", "defaults": {"resolution": 10.0}}, responses=TIFFS[:1], url="s3://in/run"
            )
            ids = [
                http.post(path, json=body).raise_for_status().json()["id"]
                for path, body in ((BATCH, statistics), (PROCESS, process))
            ]
            environment = {
                "SWATHE_URL": server.url,
                "SWATHE_CLIENT_ID": keys["client_id"],
                "SWATHE_CLIENT_SECRET": keys["client_secret"],
            }
            yield Desk(environment, http, *ids)


def test_both_kinds_are_listed_the_newest_first(desk: Desk) -> None:
    jobs = json.loads(desk.ok("list", "--json"))
    assert [(job["id"], job["kind"]) for job in jobs] == [(desk.process, "process"), (desk.statistics, "statistics")]
    head, *lines = desk.ok("list").splitlines()
    assert head.split()[:3] == ["id", "kind", "status"]
    assert [line.split()[:3] for line in lines] == [
        [desk.process[:8], "process", "CREATED"],
        [desk.statistics[:8], "statistics", "CREATED"],
    ]
    assert [job["id"] for job in json.loads(desk.ok("list", "--kind", "process", "--json"))] == [desk.process]
    assert "kind" not in desk.ok("list", "--kind", "statistics").splitlines()[0]
    with pytest.raises(SettingsInvalid, match="of the kinds statistics and process"):
        raise desk.run("list", "--kind", "async").exception or AssertionError


def test_a_process_job_is_shown_started_watched_and_its_log_read(desk: Desk) -> None:
    text = desk.ok("show", desk.process[:10])
    for said in (desk.process, "CREATED", "process", "s3://in/areas.gpkg", "s3://in/run"):
        assert said in text
    assert desk.ok("start", desk.process).startswith(f"{desk.process}  START: ")
    watched = desk.ok("watch", desk.process, "--interval", "0.2")
    assert watched.splitlines()[-1].startswith("DONE 100.0 %, 1 of 1 images done")
    done = json.loads(desk.ok("show", desk.process, "--json"))
    assert (done["kind"], done["status"], done["progress"]["featuresDone"]) == ("process", "DONE", 1)
    assert done["request"]["processRequest"]["output"]["responses"][0]["identifier"] == "red"
    assert "DONE" in desk.ok("logs", desk.process).splitlines()[-1]


def test_statistics_as_before(desk: Desk) -> None:
    assert "Fields of the north" in desk.ok("show", desk.statistics)
    assert desk.ok("analyse", desk.statistics).startswith(f"{desk.statistics}  ANALYSE: ")
    desk.ok("logs", desk.statistics)


def test_what_is_not_there(desk: Desk) -> None:
    for words, error, said in (
        (("show", "7b6f5a1e-0000-4000-8000-000000000001"), NotFound, "There is no request 7b6f5a1e"),
        (("stop", "7b6f5a1e-0000-4000-8000-000000000001"), NotFound, "There is no request 7b6f5a1e"),
        (("logs", "nothing"), NotFound, "There is no request nothing"),
        (("show", ""), RequestInvalid, "Several requests begin with ''"),
        (("list", "--url", "localhost:80"), SettingsInvalid, "--url is a server's address"),
    ):
        done = desk.run(*words)
        assert isinstance(done.exception, error), (done.output, done.exception)
        assert said in str(done.exception)


def test_a_wrong_secret_is_said(desk: Desk, tmp_path: Path) -> None:
    done = CliRunner().invoke(make_app(), ["jobs", "list"], env=desk.environment | {"SWATHE_CLIENT_SECRET": "wrong"})
    assert done.exit_code == 1
    assert "wrong" not in str(done.exception)
    assert "oauth/token" in str(done.exception)
