"""The `swathe` command."""

from __future__ import annotations

import importlib
import sys
import traceback
from typing import Annotated

import typer

from swathe import __version__
from swathe.model.errors import SwatheError

# Each has `register(app)`, which adds its commands.
_COMMANDS = (
    "swathe.cli.serve",
    "swathe.cli.clients",
    "swathe.cli.statistics",
    "swathe.cli.process",
    "swathe.cli.evalscript",
    "swathe.cli.jobs",
    "swathe.cli.budget",
    "swathe.cli.worker",
)

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
        debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an internal error.")] = False,
    ) -> None:
        global _wants_traceback
        _wants_traceback = debug

    for name in _COMMANDS:
        importlib.import_module(name).register(app)
    return app


def run() -> None:
    """Runs the command. What went wrong is a sentence on standard error: exit code 1, 2 for wrong usage."""
    try:
        make_app()()
    except SystemExit as end:
        if "swathe.jobs.pool" in sys.modules:  # a job ran in this process and has closed what it had open
            from swathe.jobs.process import end_quickly

            end_quickly(end.code if isinstance(end.code, int) else 0 if end.code is None else 1)
        raise
    except SwatheError as error:
        _tell(error.message)
        sys.exit(1)
    except KeyboardInterrupt:
        _tell("Interrupted")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        if _wants_traceback:
            traceback.print_exc()
        else:
            kind = type(error).__name__
            _tell(f"Internal error ({kind}: {error}). Run `swathe --debug …` to see where, and please report it")
        sys.exit(1)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"swathe {__version__}")
        raise typer.Exit


def _tell(message: str) -> None:
    print(f"swathe: {message}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    run()
