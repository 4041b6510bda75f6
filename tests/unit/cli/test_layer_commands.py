"""`swathe layer …`: what operators type, and what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from swathe.cli.main import make_app
from swathe.model.errors import NotFound, RequestInvalid, SettingsInvalid


@pytest.fixture
def script(tmp_path: Path) -> Path:
    file = tmp_path / "ndvi.js"
    file.write_text("return [B08]", "utf-8")
    return file


def run(*arguments: str | Path) -> str:
    done = CliRunner().invoke(make_app(), [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_layer_is_made_listed_and_deleted(tmp_path: Path, script: Path) -> None:
    home = ("--home", tmp_path / "home")
    run("client", "create", "me", *home)
    create = ("layer", "create", "NDVI", *home, "--collection", "sentinel-2-l2a", "--evalscript", script)
    made = json.loads(run(*create, "--title", "Greenness", "--json"))
    name = made["instance_id"]
    assert (made["wms"], made["wmts"]) == (f"/ogc/wms/{name}", f"/ogc/wmts/{name}")
    run("layer", "create", "B", *home, "--collection", "x", "--evalscript", script, "--instance", name, "--maxcc", "20")
    (found,) = json.loads(run("layer", "list", *home, "--json"))
    assert [(layer["id"], layer["collection"]) for layer in found["layers"]] == [("NDVI", "sentinel-2-l2a"), ("B", "x")]
    assert found["name"] == "Greenness"
    assert "NDVI  sentinel-2-l2a  Greenness" in run("layer", "list", *home)
    run("layer", "delete", name, "NDVI", *home)
    run("layer", "delete", name, *home)
    assert run("layer", "list", *home) == "There is no layer; `swathe layer create` makes one.\n"
    with pytest.raises(NotFound, match="no instance"):
        run("layer", "delete", name, *home)


def test_the_project_must_be_clear(tmp_path: Path, script: Path) -> None:
    home = ("--home", tmp_path / "home")
    create = ("layer", "create", "NDVI", *home, "--collection", "c", "--evalscript", script)
    with pytest.raises(SettingsInvalid, match="There is no job store in"):
        run(*create)
    made = json.loads(run("client", "create", "gone", *home, "--json"))
    run("client", "delete", made["client_id"], *home)
    with pytest.raises(RequestInvalid, match="there is none yet"):
        run(*create)
    for name in ("one", "two"):
        run("client", "create", name, *home)
    with pytest.raises(RequestInvalid, match="there are 2"):
        run(*create)
    clients = json.loads(run("client", "list", *home, "--json"))
    project = clients[1]["project_id"]
    run(*create, "--project", project)
    assert [one["project_id"] for one in json.loads(run("layer", "list", *home, "--json"))] == [project]
    with pytest.raises(RequestInvalid, match="needs a UUID"):
        run(*create, "--project", "mine")


def test_what_cannot_be_used_is_said_before_anything_is_made(tmp_path: Path, script: Path) -> None:
    home = ("--home", tmp_path / "home")
    run("client", "create", "me", *home)
    with pytest.raises(RequestInvalid, match="cannot be read: No such file"):
        run("layer", "create", "A", *home, "--collection", "c", "--evalscript", tmp_path / "none.js")
    with pytest.raises(RequestInvalid, match="letters, digits"):
        run("layer", "create", "a b", *home, "--collection", "c", "--evalscript", script)
    with pytest.raises(RequestInvalid, match="is no time"):
        run("layer", "create", "A", *home, "--collection", "c", "--evalscript", script, "--time", "soon")
    assert run("layer", "list", *home) == "There is no layer; `swathe layer create` makes one.\n"
