"""`swathe client …` on a job store of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from swathe.cli.main import make_app
from swathe.jobs.clients import ClientStore
from swathe.jobs.database import open_database
from swathe.model.errors import NotFound, RequestInvalid, SettingsInvalid


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def call(home: Path, *words: str) -> str:
    """What a command prints."""
    return CliRunner().invoke(make_app(), ["client", *words, "--home", str(home)], catch_exceptions=False).output


def test_operator_is_made_and_listed_with_its_scope(home: Path) -> None:
    shown = call(home, "create", "console", "--scope", "admin")
    assert "scopes         admin\n" in shown
    assert "scopes" not in call(home, "create", "plain")
    assert [line.split("  ")[-1] for line in call(home, "list").splitlines()] == ["[admin]", "plain"]
    rows = json.loads(call(home, "list", "--json"))
    assert [(row["name"], row["scopes"]) for row in rows] == [("console", ["admin"]), ("plain", [])]


def test_new_secret_is_shown_and_works(home: Path) -> None:
    made = json.loads(call(home, "create", "me", "--json"))
    new = json.loads(call(home, "secret", made["client_id"], "--json"))
    assert new["client_id"] == made["client_id"]
    database = open_database(home)
    clients = ClientStore(database)
    assert clients.check_secret(made["client_id"], made["client_secret"]) is None
    assert clients.check_secret(made["client_id"], new["client_secret"]) is not None
    database.close()
    assert f"client id      {made['client_id']}\n" in call(home, "secret", made["client_id"])


def test_what_is_not_there_is_a_sentence(home: Path) -> None:
    with pytest.raises(SettingsInvalid, match="There is no job store in"):
        call(home, "list")
    assert not home.exists()
    call(home, "create", "me")
    with pytest.raises(NotFound, match="no client nobody"):
        call(home, "secret", "nobody")
    with pytest.raises(RequestInvalid, match="no scope 'root'; possible are admin"):
        call(home, "create", "me", "--scope", "root")
