"""`kill -9` between any two lines of the delivery's code: nothing half, nothing lost, and no lie in the store."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers import moto_server

WALK = Path(__file__).with_name("delivery_walk.py")
SHARES = 2


@pytest.fixture
def quick_folder() -> Iterator[Path]:
    """A folder in memory where there is such a thing: a killed process is no power failure, nothing waits for a disk."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="swathe-", dir=memory if os.access(memory, os.W_OK) else None))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def walk(kind: str, folder: Path, share: int, shares: int, *more: str) -> int:
    """Kills at each line of a share of them; how many there were."""
    state = folder / "state"
    state.mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(WALK.parents[2] / name) for name in ("src", "tests")),
    }
    command = [sys.executable, str(WALK), kind, str(state), str(share), str(shares), *more]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    *wrong, last = done.stdout.splitlines()
    assert not wrong, "\n".join(wrong) + done.stderr[-3000:]
    killed, places = map(int, re.findall(r"\d+", last))
    assert killed >= 0.9 * places  # a thread now and then comes by in another order
    return killed


@pytest.mark.slow
@pytest.mark.parametrize("share", range(SHARES))
def test_a_job_killed_at_any_line_is_done_again_to_the_same_results(quick_folder: Path, share: int) -> None:
    assert walk("folder", quick_folder, share, SHARES) > 150


@pytest.mark.slow
def test_a_command_killed_at_any_line_is_done_again_to_the_same_results(quick_folder: Path) -> None:
    assert walk("command", quick_folder, 0, 1) > 100


@pytest.mark.slow
def test_a_delivery_to_s3_killed_at_any_line_is_done_again_to_the_same_results(quick_folder: Path) -> None:
    with moto_server() as server:
        server.client().create_bucket(Bucket="out", CreateBucketConfiguration={"LocationConstraint": server.region})
        assert walk("s3", quick_folder, 0, 6, server.url, server.access_key, server.secret_access_key) > 30
