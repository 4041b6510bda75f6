"""What the pages say is true as far as a machine can tell: links lead somewhere, names and defaults are real.

Their code blocks are run by tests/docs.
"""

from __future__ import annotations

import ast
import operator
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
from pydantic import BaseModel

from swathe.cli.main import make_app
from swathe.settings import (
    BandSettings,
    CollectionSettings,
    LayerSettings,
    Settings,
    SourceBucketSettings,
)

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("**/*.md"))]
CONFIGURATION = ROOT / "docs/configuration.md"

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_COMMAND = re.compile(r"(?:^|[\s`])(swathe (?:serve|statistics|(?:client|layer) [a-z]+)[^`\n]*)")
_WHERE = {operator.mul: ast.Mult, operator.pow: ast.Pow}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    lost = []
    for link in _LINK.findall(_BLOCK.sub("", page.read_text("utf-8"))):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert not lost


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as they are made from them."""
    titles = re.findall(r"^#+ (.*)$", _BLOCK.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def settings_rows() -> dict[str, dict[str, list[str]]]:
    """Of the tables in configuration.md: section, then key, then the cells of its row."""
    rows: dict[str, dict[str, list[str]]] = {}
    section = ""
    for line in CONFIGURATION.read_text("utf-8").splitlines():
        if heading := re.match(r"#+ (.*)", line):
            section = heading[1].strip("[]")
        elif row := re.match(r"\| `(\w+)` \|", line):
            rows.setdefault(section, {})[row[1]] = [cell.strip() for cell in line.strip("|").split("|")]
    return rows


def sections() -> dict[str, type[BaseModel]]:
    found: dict[str, type[BaseModel]] = {"collections": CollectionSettings, "collections.bands.NAME": BandSettings}
    found["layers"] = LayerSettings
    found["storage.sources.NAME"] = SourceBucketSettings
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found[name] = field.annotation
    return found


@pytest.mark.parametrize("section", sections())
def test_configuration_names_every_setting_and_no_other(section: str) -> None:
    assert set(settings_rows()[section]) == set(sections()[section].model_fields)


def test_no_section_is_left_out() -> None:
    assert set(Settings.model_fields) <= set(sections())


@pytest.mark.parametrize("section", [name for name in sections() if not name.startswith(("collections", "layers"))])
def test_configuration_tells_the_defaults(section: str) -> None:
    told, real = {}, {}
    for key, field in sections()[section].model_fields.items():
        text = settings_rows()[section][key][2]
        if field.default_factory is not None:  # depends on the machine: told in words
            continue
        text = {"none": "None", "`true`": "True", "`false`": "False"}.get(text, text.strip("`"))
        told[key] = number(ast.parse(text, mode="eval").body)
        real[key] = field.default
    assert told == real


def number(node: ast.expr) -> Any:
    """The value of a literal, or of `4 * 2**30`."""
    if isinstance(node, ast.BinOp):
        function = next(how for how, kind in _WHERE.items() if isinstance(node.op, kind))
        return function(number(node.left), number(node.right))
    return ast.literal_eval(node)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_their_options_exist(page: Path) -> None:
    text = page.read_text("utf-8").replace("\\\n", " ")
    unknown = []
    for line in _COMMAND.findall(text):
        words = shlex.split(line.split(" #")[0].replace("'", " "), comments=False)
        command: Any = typer.main.get_command(make_app())
        for word in words[1 : 3 if words[1] in ("client", "layer") else 2]:
            command = getattr(command, "commands", {}).get(word)
            if command is None:
                unknown.append(line)
                break
        else:
            known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
            unknown += [f"{line}: {word}" for word in words if re.match(r"--\w", word) and word not in known]
    assert not unknown


def test_pages_that_readers_are_sent_to_are_there() -> None:
    names = {"quickstart", "coming-from-sentinel-hub", "statistics", "configuration", "architecture", "decisions"}
    assert names <= {page.stem for page in PAGES}


def test_decisions_are_numbered_without_gaps() -> None:
    text = (ROOT / "docs/decisions.md").read_text("utf-8")
    numbers = [int(number) for number in re.findall(r"^## (\d+)\. ", text, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert all(text.count(f"**{part}.**") == len(numbers) for part in ("Context", "Decision", "Why", "Consequence"))
