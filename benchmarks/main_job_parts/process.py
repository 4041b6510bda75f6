"""`swathe statistics` as a user runs it: a whole process with all its children, its time and its memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from main_job_parts.inputs import Inputs

_SAMPLE_S = 0.05


@dataclass(frozen=True)
class Run:
    """Wall and processor seconds of the process and all that it waited for; what it printed; peak memory if watched."""

    seconds: float
    cpu_seconds: float
    summary: dict[str, Any]
    peak_bytes: int = 0


def run_swathe(inputs: Inputs, output: Path, workers: int, *, watch_memory: bool = False) -> Run:
    """Runs the job to its end, into a new folder. Watching memory takes some of the machine: such a run is not timed.

    Raises:
        SystemExit: the job failed, or did not compute all features.
    """
    command = [sys.executable, "-m", "swathe", "statistics", str(inputs.request), "--features", str(inputs.features)]
    command += ["--output", str(output), "--config", str(inputs.config), "--workers", str(workers), "--json"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SWATHE_")}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err, env=environment)
        watch = TreeMemory(process.pid) if watch_memory else None
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        peak = watch.stop() if watch else 0
        out.seek(0)
        err.seek(0)
        text = out.read().decode()
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{err.read().decode()[-2000:]}")
    summary = json.loads(text.strip().splitlines()[-1])
    if summary["failed"]:
        raise SystemExit(f"{summary['failed']} features of {inputs.job.name} failed: {summary['failures']}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, summary, peak)


class TreeMemory:
    """Peak memory of a process and its descendants: the sum of proportional set sizes (PSS), every 50 ms.

    Pages that several processes share count once. Where PSS cannot be read, resident memory counts.
    """

    def __init__(self, pid: int) -> None:
        self._known = {pid}
        self._peak = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """The peak in bytes."""
        self._ended.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._ended.wait(_SAMPLE_S):
            self._find()
            self._peak = max(self._peak, sum(_memory(pid) for pid in self._known))

    def _find(self) -> None:
        """Adds new descendants; one whose parent has ended stays known."""
        parents: dict[int, int] = {}
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    after = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
                except OSError:
                    continue
                parents[int(name)] = int(after[1])
        self._known &= parents.keys()
        while new := {pid for pid, parent in parents.items() if parent in self._known} - self._known:
            self._known |= new


def _memory(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_bytes().splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
