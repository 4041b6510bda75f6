"""The runner of a server by itself, as a process that can be killed: `process_runner.py HOME CONFIG`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from swathe.jobs.database import open_database
from swathe.jobs.home import Home
from swathe.jobs.runner.driver import JobRunner
from swathe.jobs.store import JobStore
from swathe.settings import load_settings


def main(home: Path, config: Path) -> None:
    place = Home(home)
    runner = JobRunner(load_settings(config), place, JobStore(open_database(place.path, None)))
    runner.start()
    while True:
        time.sleep(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
