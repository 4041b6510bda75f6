"""Runs jobs and the floor in turns, and sums up."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from main_job_parts.floor import run_floor
from main_job_parts.inputs import Inputs
from main_job_parts.peer_runs import SHARE, PeerRun, is_installed, run_peer
from main_job_parts.process import Run, run_swathe
from main_job_parts.results import check_delivery


@dataclass(frozen=True)
class Seconds:
    """Wall and processor seconds."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Measured:
    """A job: its floors and its runs, pair by pair, and what a run was watched to use and to deliver."""

    name: str
    parcels: int
    dates: int
    workers: int
    limit: float | None
    needed_blocks: int
    stored_bytes: int
    decoded_bytes: int
    floors: tuple[Seconds, ...]
    runs: tuple[Seconds, ...]
    server_cpu: float
    blocks_read: int
    peak_bytes: int
    delivered: str

    @property
    def floor(self) -> float:
        """Median wall seconds of the floor."""
        return statistics.median(floor.wall for floor in self.floors)

    @property
    def seconds(self) -> float:
        """Median wall seconds of the job."""
        return statistics.median(run.wall for run in self.runs)

    @property
    def cpu(self) -> float:
        return statistics.median(run.cpu for run in self.runs)

    @property
    def floor_cpu(self) -> float:
        return statistics.median(floor.cpu for floor in self.floors)

    @property
    def ratio(self) -> float:
        """Of the medians."""
        return self.seconds / self.floor

    @property
    def pairwise(self) -> float:
        """Median of the ratios, each of a run to the floor just before it."""
        return statistics.median(run.wall / floor.wall for run, floor in zip(self.runs, self.floors, strict=True))


def time_floor(inputs: Inputs) -> Seconds:
    cpu = time.process_time()
    wall = run_floor(inputs.needed, inputs.job.workers)
    return Seconds(wall, time.process_time() - cpu)


def measure(
    jobs: Sequence[Inputs], outputs: Path, runs: int, server: Any, say: Callable[[str], None]
) -> list[Measured]:
    """Each job once for its memory, which warms all caches, then `runs` rounds of floor and job, job by job.

    Every run writes to a new folder below `outputs`; nothing is deleted between runs.
    """
    watched: list[tuple[Run, str]] = []
    for number, inputs in enumerate(jobs):
        say(f"{inputs.job.name}: memory")
        output = outputs / f"memory-{number}"
        run = run_swathe(inputs, output, inputs.job.workers, watch_memory=True)
        watched.append((run, check_delivery(output, len(inputs.parcels))))
        time_floor(inputs)
    floors: list[list[Seconds]] = [[] for _ in jobs]
    times: list[list[Seconds]] = [[] for _ in jobs]
    served = [0.0 for _ in jobs]
    for turn in range(runs):
        for number, inputs in enumerate(jobs):
            floors[number].append(time_floor(inputs))
            before = server.cpu_seconds() if server else 0.0
            run = run_swathe(inputs, outputs / f"run-{turn}-{number}", inputs.job.workers)
            served[number] += (server.cpu_seconds() - before if server else 0.0) / runs
            times[number].append(Seconds(run.seconds, run.cpu_seconds))
            say(f"{inputs.job.name}: floor {floors[number][-1].wall:.2f} s, Swathe {run.seconds:.2f} s")
    return [
        Measured(
            name=inputs.job.name,
            parcels=len(inputs.parcels),
            dates=inputs.job.dates,
            workers=inputs.job.workers,
            limit=inputs.job.limit,
            needed_blocks=inputs.needed.blocks,
            stored_bytes=inputs.needed.stored_bytes,
            decoded_bytes=inputs.needed.decoded_bytes,
            floors=tuple(floors[number]),
            runs=tuple(times[number]),
            server_cpu=served[number],
            blocks_read=int(watched[number][0].summary["counters"].get("blocks", 0)),
            peak_bytes=watched[number][0].peak_bytes,
            delivered=watched[number][1],
        )
        for number, inputs in enumerate(jobs)
    ]


def measure_peers(
    inputs: Inputs,
    measured: Measured,
    folder: Path,
    outputs: Path,
    most_parcels: int | None,
    say: Callable[[str], None],
) -> list[PeerRun]:
    """Each peer once, between runs of the floor and of the job itself; where the job ran only once, beside that run.

    `most_parcels` bounds what a peer gets.
    """

    def pair(number: int) -> tuple[float, float]:
        if len(measured.runs) == 1:
            return measured.floor, measured.seconds
        floor = time_floor(inputs).wall
        return floor, run_swathe(inputs, outputs / f"beside-peer-{number}", inputs.job.workers).seconds

    before = pair(0)
    peers = []
    for number, (name, (parcels, dates)) in enumerate(SHARE.items(), 1):
        if not is_installed(name):
            say(f"{name}: not installed, left out")
            continue
        _, run = run_peer(name, inputs, folder, min(parcels, most_parcels or parcels), dates)
        after = pair(number)
        floor, swathe = ((a + b) / 2 for a, b in zip(before, after, strict=True))
        peers.append(replace(run, floor=floor, swathe=swathe))
        say(f"{name}: {run.seconds:.2f} s; beside it floor {floor:.2f} s, Swathe {swathe:.2f} s")
        before = after
    return peers
