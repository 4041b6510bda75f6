"""The `swathe` command."""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import Annotated

import typer

from swathe import __version__
from swathe.cli.failures import say, tell

# Each has `register(app)`, which adds its commands.
_COMMANDS = (
    "swathe.cli.init",
    "swathe.cli.doctor",
    "swathe.cli.serve",
    "swathe.cli.clients",
    "swathe.cli.layers",
    "swathe.cli.statistics",
    "swathe.cli.process",
    "swathe.cli.evalscript",
    "swathe.cli.jobs",
    "swathe.cli.results",
    "swathe.cli.budget",
    "swathe.cli.worker",
)

_INTERRUPTED = 130
_wants_traceback = False


def make_app() -> typer.Typer:
    """The command with all that belongs to it."""
    app = typer.Typer(
        name="swathe",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help="Sentinel Hub's batch APIs, open and self-hosted.",
    )

    @app.callback()
    def options(
        version: Annotated[
            bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
        ] = False,
        debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
    ) -> None:
        global _wants_traceback
        _wants_traceback = debug

    for name in _COMMANDS:
        importlib.import_module(name).register(app)
    return app


def run() -> None:
    """Runs the command. What went wrong is a sentence on standard error: exit code 1, 2 for wrong usage, 130 for Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a letter is no error
    code: int
    try:
        make_app()()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if code == _INTERRUPTED:
            say("interrupted")
        _close_output()
        if "swathe.jobs.pool" in sys.modules:  # a job ran in this process and has closed what it had open
            from swathe.jobs.process import end_quickly

            end_quickly(code)
    except KeyboardInterrupt:
        say("interrupted")
        code = _INTERRUPTED
    except BrokenPipeError:
        code = 1
    except Exception as error:
        tell(error, with_traceback=_wants_traceback)
        code = 1
    _close_output()
    sys.exit(code)


def _close_output() -> None:
    """Writes out what is left; a reader that has gone away, as `head` does, is no error worth a word."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"swathe {__version__}")
        raise typer.Exit


if __name__ == "__main__":
    run()
