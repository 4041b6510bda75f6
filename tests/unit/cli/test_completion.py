"""What the tab key offers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from swathe.cli.main import make_app
from swathe.jobs.database import open_database
from swathe.jobs.home import Home
from swathe.jobs.keys import KeyPairs
from swathe.jobs.store import JobStore


def offered(words: str) -> list[str]:
    """What bash is told for a line that ends here."""
    told = {"_SWATHE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    return CliRunner().invoke(make_app(), [], env=told, prog_name="swathe").output.split()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_commands_options_and_words() -> None:
    assert offered("swathe eva") == ["evalscript"]
    assert offered("swathe statistics --feat") == ["--features"]
    assert offered("swathe jobs list --status P") == ["PROCESSING"]
    assert offered("swathe jobs logs --level w") == ["warning"]
    assert offered("swathe doctor --only c") == ["clock", "collections"]


def test_types_of_collections(tmp_path: Path) -> None:
    assert offered("swathe evalscript check --collection sentinel-2") == ["sentinel-2-l1c", "sentinel-2-l2a"]
    config = tmp_path / "swathe.toml"
    config.write_text('[[collections]]\ntype = "byoc-mine"\nsource = "x"\n')
    assert offered(f"swathe layer create --config {config} --collection by") == ["byoc-mine"]


def test_ids_of_a_home(home: Path) -> None:
    runner = CliRunner()
    made = json.loads(runner.invoke(make_app(), ["client", "create", "me", "--home", str(home), "--json"]).output)
    assert offered(f"swathe client secret --home {home} ") == [made["client_id"]]
    store = JobStore(open_database(Home(home).path, None))
    job = store.create(client_id="c", project_id="p", request={}, keys=KeyPairs(), description="Fields")
    assert offered(f"swathe jobs show --home {home} {job.id[:3]}") == [job.id]
    assert offered(f"swathe jobs show --home {home} zzz") == []


def test_what_cannot_be_had_is_silent(home: Path) -> None:
    for words in ("jobs show", "client delete", "jobs watch"):
        assert offered(f"swathe {words} --home {home} ") == []
    assert not home.exists()
    assert offered("swathe layer create --config nowhere.toml --collection by") == []
