from __future__ import annotations

import stat
import subprocess
import sys
import time

import pytest

from swathe.jobs.home import Home
from swathe.model.errors import SettingsInvalid

HOLD = "import sys,time; from pathlib import Path; from swathe.jobs.home import Home\n"
HOLD += "home = Home(Path(sys.argv[1])); home.lock(); print('held', flush=True); time.sleep(60)"


def test_home_is_made_for_its_owner_alone(tmp_path):
    home = Home(tmp_path / "a" / "b")
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    assert home.server_id == Home(home.path).server_id


def test_two_servers_on_one_home_are_refused_and_a_killed_one_leaves_no_lock(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(SettingsInvalid, match=f"process {holder.pid}"):
            Home(tmp_path).lock()
        holder.kill()
        holder.wait()
    time.sleep(0.05)
    home = Home(tmp_path)
    home.lock()
    home.unlock()


def test_home_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(SettingsInvalid, match="cannot be made"):
        Home(tmp_path / "file" / "home")
