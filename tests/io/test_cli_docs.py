"""docs/cli.md: every command stands there, each of its lines is one that the command takes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from doc_pages import ROOT, find_blocks
from swathe.cli.init import NEXT
from swathe.cli.main import make_app

PAGE = ROOT / "docs/cli.md"
COMMAND = typer.main.get_command(make_app())


def lines() -> list[str]:
    return [line for block in find_blocks(PAGE) if block.language == "sh" for line in block.text.splitlines()]


def leaves(command: Any, *words: str) -> Iterator[tuple[str, ...]]:
    beneath = getattr(command, "commands", None)
    if not beneath:
        yield words
        return
    for name, one in beneath.items():
        yield from leaves(one, *words, name)


def parse(words: list[str]) -> tuple[str, ...]:
    """The names of the command that takes these words; what it does not take is an error."""
    command: Any = COMMAND
    names: list[str] = []
    while getattr(command, "commands", None):
        names.append(words[0])
        command, words = command.commands[words[0]], words[1:]
    command.make_context(names[-1], list(words))
    return tuple(names)


@pytest.mark.parametrize("line", [line for line in lines() if line.startswith("swathe")])
def test_the_command_takes_it(line: str) -> None:
    parse(shlex.split(line)[1:])


def test_every_command_is_there() -> None:
    shown = {parse(shlex.split(line)[1:]) for line in lines() if line.startswith("swathe")}
    assert shown == set(leaves(COMMAND))


def test_first_steps_are_those_that_init_prints_which_are_run_in_its_test() -> None:
    (first, *_) = [block.text for block in find_blocks(PAGE) if block.language == "sh"]
    assert first.splitlines() == ["swathe init first", "cd first", *NEXT[:2]]


def groups(command: Any, *words: str) -> Iterator[tuple[str, ...]]:
    if beneath := getattr(command, "commands", None):
        yield words
        for name, one in beneath.items():
            yield from groups(one, *words, name)


@pytest.mark.parametrize("words", list(groups(COMMAND)), ids=" ".join)
def test_help_tells_what_each_command_does_in_a_line_that_is_not_cut(words: tuple[str, ...]) -> None:
    """Eighty columns are what a terminal has at least."""
    shown = CliRunner().invoke(make_app(), [*words, "--help"], terminal_width=80)
    _, _, commands = shown.output.partition("Commands:\n")
    told = commands.splitlines()
    assert told
    for line in told:
        assert line.startswith("  "), line
        assert line.endswith("."), line
        assert not line.endswith("..."), line


@pytest.mark.parametrize("words", list(leaves(COMMAND)), ids=" ".join)
def test_help_calls_arguments_by_a_name_for_people(words: tuple[str, ...]) -> None:
    usage = CliRunner().invoke(make_app(), [*words, "--help"], terminal_width=80).output.splitlines()[0]
    arguments = usage.partition("[OPTIONS]")[2]
    assert "[[" not in arguments, usage
    assert arguments.replace(".json", "") == arguments.replace(".json", "").upper(), usage
