"""The tables at the end, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from main_job_parts.agreement import Agreement
from main_job_parts.bars import Bar
from main_job_parts.measure import Measured
from main_job_parts.peer_runs import PeerRun


def show(
    machine: str,
    measured: Mapping[str, Measured],
    peers: Sequence[PeerRun],
    agreements: Sequence[Agreement],
    bars: Sequence[Bar],
) -> None:
    """Prints all of it."""
    console = Console(width=None if Console().is_terminal else 160)
    console.print(machine, highlight=False)
    console.print(_jobs(measured))
    for job in measured.values():
        rate = job.decoded_bytes / job.floor / job.workers / 1e6
        text = f"{job.name}: the floor decodes {rate:,.0f} MB/s per thread from {job.stored_bytes / 1e6:,.0f} MB stored"
        served = f"; server and proxy {job.server_cpu:.2f} s CPU" if job.server_cpu else ""
        console.print(f"{text}; delivered {job.delivered}{served}", highlight=False)
    if peers:
        console.print(_peers(peers))
    if agreements:
        console.print(_agreements(agreements))
    console.print(_bars(bars))


def write(path: Path, machine: str, measured: Any, peers: Any, agreements: Any, bars: Sequence[Bar]) -> None:
    """The same for programs."""
    jobs = {
        name: {**asdict(job), "ratio": job.ratio, "pairwise_ratio": job.pairwise, "seconds": job.seconds}
        for name, job in measured.items()
    }
    body = {
        "machine": machine,
        "jobs": jobs,
        "peers": [asdict(peer) for peer in peers],
        "agreement": [asdict(agreement) for agreement in agreements],
        "bars": [{**asdict(bar), "is_met": bar.is_met} for bar in bars],
    }
    path.write_text(json.dumps(body, indent=1))


def _jobs(measured: Mapping[str, Measured]) -> Table:
    table = Table(title="swathe statistics, medians; per s: parcels x dates a second", title_justify="left")
    table.add_column("job", no_wrap=True)
    heads = ("parcels", "dates", "workers", "floor s", "Swathe s", "x floor", "by pairs", "CPU s", "x floor's")
    for head in (*heads, "peak MiB", "blocks", "needed", "per s"):
        table.add_column(head, justify="right")
    for job in measured.values():
        table.add_row(
            job.name,
            f"{job.parcels:,}",
            f"{job.dates}",
            f"{job.workers}",
            f"{job.floor:.2f}",
            f"{job.seconds:.2f}",
            f"{job.ratio:.2f}",
            f"{job.pairwise:.2f}",
            f"{job.cpu:.2f}",
            f"{job.cpu / job.floor_cpu:.2f}",
            f"{job.peak_bytes / 2**20:,.0f}",
            f"{job.blocks_read:,}",
            f"{job.needed_blocks:,}",
            f"{job.parcels * job.dates / job.seconds:,.0f}",
        )
    return table


def _peers(peers: Sequence[PeerRun]) -> Table:
    table = Table(title="Peers, the default job", title_justify="left")
    table.add_column("peer")
    for head in ("seconds", "x floor", "x Swathe", "peak MiB", "run for"):
        table.add_column(head, justify="right")
    for peer in peers:
        share = f"{peer.parcels:,} x {peer.dates}, extrapolated" if peer.is_extrapolated else "all"
        table.add_row(
            peer.peer,
            f"{peer.seconds:.2f}",
            f"{peer.seconds / peer.floor:.1f}",
            f"{peer.seconds / peer.swathe:.1f}",
            f"{peer.peak_bytes / 2**20:,.0f}",
            share,
        )
    return table


def _agreements(agreements: Sequence[Agreement]) -> Table:
    table = Table(title="Agreement of counts and means", title_justify="left")
    table.add_column("with")
    for head in ("parcel-dates", "largest difference of counts", "of means", ""):
        table.add_column(head, justify="right")
    for one in agreements:
        verdict = "agrees" if one.agrees else "DISAGREES"
        table.add_row(
            one.peer, f"{one.compared:,}", f"{one.count_difference:.2g}", f"{one.mean_difference:.2g}", verdict
        )
    return table


def _bars(bars: Sequence[Bar]) -> Table:
    table = Table(title="Bars", title_justify="left")
    table.add_column("bar")
    for head in ("value", "wanted", ""):
        table.add_column(head, justify="right")
    for bar in bars:
        sign = ">=" if bar.is_least else "<="
        table.add_row(bar.name, f"{bar.value:.2f}", f"{sign} {bar.limit:g}", "met" if bar.is_met else "NOT MET")
    return table
