"""`swathe jobs` and `swathe budget` on a job store, with no server."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from swathe.cli.main import make_app
from swathe.jobs.database import open_database
from swathe.jobs.home import Home
from swathe.jobs.keys import KeyPairs
from swathe.jobs.records import PlannedJob, PlannedUnit, UnitResult
from swathe.jobs.states import Event, Status
from swathe.jobs.store import JobStore
from swathe.model.errors import SwatheError

PROJECT = "7b6f5a1e-0000-4000-8000-000000000001"
REPORT = {"features": 4, "scenes": 12, "units": 2, "blocks": 1200, "bytesToRead": 2.5e9, "estimatedSeconds": 200}


class Desk:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.store = JobStore(open_database(Home(home).path, None))
        self.app = make_app()

    def run(self, *arguments: str, group: str = "jobs") -> Result:
        return CliRunner().invoke(self.app, [group, *arguments, "--home", str(self.home)])

    def ok(self, *arguments: str, group: str = "jobs") -> str:
        done = self.run(*arguments, group=group)
        assert done.exit_code == 0, (done.output, done.exception)
        return done.output

    def refused(self, *arguments: str, group: str = "jobs") -> str:
        done = self.run(*arguments, group=group)
        assert isinstance(done.exception, SwatheError), (done.output, done.exception)
        return done.exception.message

    def job(self, *, description: str | None = None, analysed: bool = True, report: Any = REPORT) -> str:
        request = {
            "input": {"features": {"s3": {"url": "s3://in/parcels.gpkg"}}},
            "output": {"s3": {"url": "s3://out/results"}},
        }
        if description is not None:
            request["description"] = description
        job = self.store.create(
            client_id="c", project_id=PROJECT, request=request, keys=KeyPairs(), description=description
        )
        if analysed:
            self.store.apply(job.id, Event.START)
            ids = b"".join(number.to_bytes(8, "little") for number in range(2))
            units = tuple(PlannedUnit(number, ids, 100) for number in range(2))
            self.store.save_analysis(job.id, PlannedJob(4, 12, 0.5, b"x", units, notes=("mind this",), report=report))
        return job.id

    def status(self, job_id: str) -> Status:
        return self.store.get(job_id).state.status


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "home")


def test_list_shows_the_newest_first(desk: Desk) -> None:
    first = desk.job(description="Fields of the north")
    second = desk.job(analysed=False)
    desk.store.record_unit(first, UnitResult(0, 1, 1, 0.25, failures={1: "no"}))
    head, *lines = desk.ok("list").splitlines()
    assert head.split() == ["id", "status", "progress", "features", "PU", "created", "description"]
    assert [line.split()[:2] for line in lines] == [[second[:8], "CREATED"], [first[:8], "PROCESSING"]]
    for said in ("50.0 %", "2/4 (1 failed)", "0.2", "Fields of the north"):
        assert said in lines[1]


def test_list_as_json_by_status_search_and_limit(desk: Desk) -> None:
    ids = [desk.job(analysed=number % 2 == 0, description=f"number {number}") for number in range(4)]
    found = json.loads(desk.ok("list", "--json"))
    assert [job["id"] for job in found] == ids[::-1]
    assert [job["id"] for job in json.loads(desk.ok("list", "--json", "--status", "created"))] == [ids[3], ids[1]]
    assert [job["id"] for job in json.loads(desk.ok("list", "--json", "--search", "number 2"))] == [ids[2]]
    assert [job["id"] for job in json.loads(desk.ok("list", "--json", "--limit", "2"))] == [ids[3], ids[2]]
    assert "and more" in desk.ok("list", "--limit", "2")
    assert desk.ok("list", "--search", "nowhere") == "There is no such job.\n"
    unknown = desk.run("list", "--status", "done", "--status", "finished")
    assert unknown.exit_code == 2
    assert "--status is one of CREATED," in unknown.output


def test_show_tells_plan_progress_and_notes(desk: Desk) -> None:
    job_id = desk.job(description="Fields")
    desk.store.record_unit(job_id, UnitResult(0, 2, 0, 0.25))
    text = desk.ok("show", job_id[:6])
    for said in (
        *(job_id, "PROCESSING", "Fields", "50.0 %", "left", "2 of 4 features done", "0.25 PU", PROJECT),
        *("s3://in/parcels.gpkg", "s3://out/results", "about 1,200, 2.5 GB in files", "about 3 min 20 s", "mind this"),
    ):
        assert said in text
    assert json.loads(desk.ok("show", job_id, "--json"))["plan"] == REPORT


def test_a_description_is_no_markup(desk: Desk) -> None:
    job_id = desk.job(description="[red]not red[/] [link=http://x]")
    assert "[red]not red[/]" in desk.ok("show", job_id)
    assert "[red]not red[/]" in desk.ok("list")


def test_ids_must_be_known_and_unique(desk: Desk) -> None:
    job_id = desk.job()
    other = desk.job()
    assert desk.refused("show", "ffff-nothing") == "There is no request ffff-nothing"
    assert "Several requests begin with ''" in desk.refused("show", "")
    assert job_id != other


def test_start_and_stop(desk: Desk) -> None:
    first, second = desk.job(analysed=False), desk.job(analysed=False)
    assert desk.ok("analyse", first) == f"{first}  ANALYSE: ANALYSING\n"
    assert desk.ok("start", second) == f"{second}  START: ANALYSING\n"
    stopped = json.loads(desk.ok("stop", first, second, "--json"))
    assert [(job["id"], job["userAction"]) for job in stopped] == [(first, "STOP"), (second, "STOP")]


def test_nothing_is_started_when_one_of_the_ids_is_wrong(desk: Desk) -> None:
    job_id = desk.job(analysed=False)
    assert desk.refused("start", job_id, "nothing") == "There is no request nothing"
    assert desk.status(job_id) is Status.CREATED


def test_an_action_that_does_not_fit_says_what_is_possible(desk: Desk) -> None:
    assert "possible now: ANALYSE or START" in desk.refused("stop", desk.job(analysed=False))


def test_logs(desk: Desk) -> None:
    job_id = desk.job()
    desk.store.log(job_id, "the worker was lost", level="warning", unit=1)
    text = desk.ok("logs", job_id)
    assert "CREATED" in text
    assert "warning unit 1: the worker was lost" in text
    lines = [json.loads(line) for line in desk.ok("logs", job_id, "--json", "--level", "warning").splitlines()]
    assert [(line["job"], line["unit"], line["message"]) for line in lines] == [(job_id, 1, "the worker was lost")]
    assert desk.run("logs", job_id, "--level", "loud").exit_code == 2


def test_follow_goes_on_until_the_job_ends(desk: Desk) -> None:
    job_id = desk.job()
    later(lambda: [desk.store.log(job_id, "halfway"), finish(desk, job_id)])
    text = desk.ok("logs", job_id, "--follow", "--interval", "0.1")
    assert "halfway" in text
    assert "DONE" in text.splitlines()[-1]


def test_watch_ends_with_the_job(desk: Desk) -> None:
    job_id = desk.job()
    later(lambda: finish(desk, job_id))
    text = desk.ok("watch", job_id, "--interval", "0.1")
    assert text.splitlines()[0].startswith("PROCESSING 0.0 %, 0 of 4 features done, 3 min")
    assert text.splitlines()[-1] == "DONE 100.0 %, 4 of 4 features done, 0.5 PU"


def test_watch_as_json(desk: Desk) -> None:
    job_id = desk.job()
    later(lambda: finish(desk, job_id))
    lines = [json.loads(line) for line in desk.ok("watch", job_id, "--interval", "0.1", "--json").splitlines()]
    assert lines[0]["estimatedSecondsLeft"] > 0
    assert (lines[-1]["status"], lines[-1]["completionPercentage"]) == ("DONE", 100)
    percents = [line["completionPercentage"] for line in lines]
    assert percents == sorted(percents)


def test_exit_codes_of_watch(desk: Desk) -> None:
    failed, stopped, going = desk.job(), desk.job(), desk.job()
    desk.store.apply(failed, Event.FAILED, error="The bucket is gone")
    desk.store.apply(stopped, Event.UNHEALTHY, error="8 of 10 features failed")
    done = desk.run("watch", failed)
    assert (done.exit_code, "The bucket is gone" in done.output) == (3, True)
    done = desk.run("watch", stopped, "--json")
    assert (done.exit_code, json.loads(done.output)["stoppedStatusReason"]) == (4, "UNHEALTHY")
    assert desk.run("watch", going, "--timeout", "0.2", "--interval", "0.1").exit_code == 5


def test_where_there_is_no_job_store(desk: Desk, tmp_path: Path) -> None:
    desk.home = tmp_path / "elsewhere"
    assert "There is no job store in" in desk.refused("list")
    assert not desk.home.exists()
    done = CliRunner().invoke(desk.app, ["jobs", "list"], env={"SWATHE_URL": None})
    assert "Give --home or --config of a server, or --url" in str(done.exception)
    done = CliRunner().invoke(desk.app, ["jobs", "list", "--url", "http://127.0.0.1:9"], env={"SWATHE_CLIENT_ID": None})
    assert "--client-id" in str(done.exception)


def test_budgets(desk: Desk) -> None:
    show = desk.ok("show", PROJECT, group="budget")
    assert show == f"{PROJECT}  spent 0.00 PU of no limit\n"
    desk.store.record_unit(desk.job(), UnitResult(0, 2, 0, 0.25))
    assert desk.ok("set", PROJECT, "1.5", group="budget") == f"{PROJECT}  spent 0.25 PU of 1.50 PU, 1.25 left\n"
    found = json.loads(desk.ok("show", PROJECT, "--json", group="budget"))
    assert found == {"projectId": PROJECT, "limitPU": 1.5, "spentPU": 0.25}
    desk.ok("remove", PROJECT, group="budget")
    assert desk.store.budget(PROJECT).limit_pu is None
    assert "is a UUID" in desk.refused("set", "me", "1", group="budget")


def finish(desk: Desk, job_id: str) -> None:
    for unit in range(2):
        desk.store.record_unit(job_id, UnitResult(unit, 2, 0, 0.25))
        time.sleep(0.2)
    desk.store.settle(job_id)


def later(action: Any) -> None:
    threading.Timer(0.4, action).start()
