"""`python -m swathe` is `swathe`."""

from swathe.cli.main import run

if __name__ == "__main__":
    run()
