"""`swathe init`: what it writes is true, whole, and runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticUndefined, to_jsonable_python
from typer.testing import CliRunner

from serving import ENV, SOURCE
from swathe.cli.init import CONFIG, NEXT, make_config_only, make_files
from swathe.cli.main import make_app
from swathe.model.errors import Conflict, SettingsInvalid
from swathe.settings import (
    BandSettings,
    CollectionSettings,
    LayerSettings,
    Section,
    Settings,
    SourceBucketSettings,
    load_settings,
)

NESTED: dict[str, type[Section]] = {
    "collections": CollectionSettings,
    "collections.bands.red": BandSettings,
    "storage.sources.some-archive": SourceBucketSettings,
    "layers": LayerSettings,
}
# What stands in the file as a table of its own.
TABLES = {("collections", "bands"), ("storage", "sources")}


def run(*arguments: str | Path) -> str:
    done = CliRunner().invoke(make_app(), ["init", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def sections() -> dict[str, type[Section]]:
    plain = {name: field.annotation for name, field in Settings.model_fields.items() if name not in NESTED}
    return {**plain, **NESTED}  # type: ignore[dict-item]


def lines() -> Iterator[tuple[str, str, str, bool]]:
    """Section, key, line without its `#`, and whether it is an example rather than what holds by default."""
    section = ""
    for line in make_files()[CONFIG].decode().splitlines():
        if match := re.match(r"#?\[\[?([\w.-]+)\]", line):
            section = match.group(1)
        elif match := re.match(r"#?((\w+) = .*)", line):
            yield section, match.group(2), match.group(1), "# such as" in line or not line.startswith("#")


def test_the_configuration_has_every_key_once_and_no_other() -> None:
    wanted = {(name, key) for name, section in sections().items() for key in section.model_fields} - TABLES
    found = [(section, key) for section, key, _, _ in lines()]
    assert sorted(found) == sorted(wanted)


def not_said(default: Any) -> bool:
    """Whether a default is empty: no value, nothing in a collection, no field of a model."""
    return not any(dict(default).values()) if isinstance(default, BaseModel) else not default


@pytest.mark.parametrize(
    ("section", "key", "line", "is_example"), [pytest.param(*x, id=f"{x[0]}.{x[1]}") for x in lines()]
)
def test_each_line_is_a_value_that_may_stand_there_and_the_default_unless_it_says(
    section: str, key: str, line: str, is_example: bool
) -> None:
    value = tomllib.loads(line)[key]
    field = sections()[section].model_fields[key]
    TypeAdapter(field.annotation).validate_python(value)
    default = field.get_default(call_default_factory=True)
    depends_on_machine = field.default_factory is not None and section in ("dask", "services")
    if is_example:
        assert default in (None, PydanticUndefined) or depends_on_machine or not_said(default)
    elif key in ("nodata_is_nan", "mask", "unit"):
        assert default is None  # the definition's; what holds without one is said
    elif not depends_on_machine:
        assert to_jsonable_python(value) == to_jsonable_python(default)


def test_both_configurations_can_be_read(tmp_path: Path) -> None:
    run(tmp_path)
    (entry,) = load_settings(tmp_path / CONFIG).collections
    assert (entry.type, Path(entry.source)) == ("byoc-landsat", tmp_path / "scenes")
    (tmp_path / "own.toml").write_bytes(make_config_only()[CONFIG])
    assert load_settings(tmp_path / "own.toml", environment={}) == Settings()


def test_from_nothing_to_a_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the picture needs matplotlib")
    told = run(tmp_path / "a b")
    assert f"cd '{tmp_path}/a b'" in told
    folder = tmp_path / "a b"
    for command in NEXT[:2]:
        assert f"  {command}\n" in told
        words = command.split()
        assert words[0] == "swathe"
        done = subprocess.run(
            [sys.executable, "-m", "swathe", *words[1:]],
            cwd=folder,
            env=ENV,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
    assert (folder / "ndvi.png").read_bytes().startswith(b"\x89PNG")
    series: dict[str, Any] = {}
    for interval in json.loads((folder / "results/1.json").read_bytes())["response"]["data"]:
        band = interval["outputs"]["ndvi"]["bands"]["NDVI"]["stats"]
        series[interval["interval"]["from"][:10]] = band
    assert len(series) == 22
    assert series["2011-07-25"]["mean"] == pytest.approx(0.9075, abs=1e-4)  # green in July
    assert series["2011-10-13"]["mean"] == pytest.approx(0.6961, abs=1e-4)  # brown in October
    assert series["2011-07-17"]["noDataCount"] == series["2011-07-17"]["sampleCount"]  # a cloudy day


def test_nothing_is_replaced_without_force(tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text("mine")
    with pytest.raises(Conflict, match=r"has swathe\.toml already; name another folder, or replace with --force"):
        run(tmp_path)
    assert os.listdir(tmp_path) == [CONFIG]
    run(tmp_path, "--force", "--config-only")
    assert (tmp_path / CONFIG).read_text() != "mine"
    assert os.listdir(tmp_path) == [CONFIG]


def test_nothing_is_left_half_written(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "scenes").write_text("a file where the folder should be")
    with pytest.raises(SettingsInvalid, match="cannot be written to: "):
        run(folder, "--force")
    assert os.listdir(folder) == ["scenes"]
    with pytest.raises(SettingsInvalid, match="Not a directory; name another folder"):
        run(folder / "scenes" / "below")
    run(tmp_path / "deep" / "er")
    assert (tmp_path / "deep/er/scenes/items.geojson").is_file()


def test_as_json(tmp_path: Path) -> None:
    told = json.loads(run(tmp_path, "--json"))
    assert sorted(told["files"]) == sorted(os.listdir(tmp_path))
    assert told["next"] == list(NEXT)


def test_the_example_is_in_the_package() -> None:
    folder = SOURCE / "swathe/cli/example"
    assert sorted(path.name for path in folder.iterdir()) == ["example.zip", "ndvi.js", "swathe.toml"]
    assert "readme.txt" in " ".join(make_files()).lower()
