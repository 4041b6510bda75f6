"""What the main job has to meet, and whether it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from main_job_parts.measure import Measured
from main_job_parts.peer_runs import PeerRun

_PEERS = {"exactextract-at-once": 4.0, "exactextract-by-date": 10.0, "windows": 24.0}
_MEMORY_GIB = 1.5
_BLOCKS = 1.15
_MARGINAL, _MARGINAL_DECODING = 1.5, 1.3
_LONLAT, _MORE_PARCELS, _REMOTE = 1.3, 2.0, 1.5


@dataclass(frozen=True)
class Bar:
    """A value that may be at most, or has to be at least, `limit`."""

    name: str
    value: float
    limit: float
    is_least: bool = False

    @property
    def is_met(self) -> bool:
        return self.value >= self.limit if self.is_least else self.value <= self.limit


def bars_of(measured: Mapping[str, Measured], peers: Sequence[PeerRun]) -> list[Bar]:
    """The bars that can be told from what was measured, by the jobs' names."""
    jobs = list(measured.values())
    bars = [Bar(f"{job.name}: times the floor", job.ratio, job.limit) for job in jobs if job.limit is not None]
    most = max(jobs, key=lambda job: job.blocks_read / job.needed_blocks)
    largest = max(jobs, key=lambda job: job.peak_bytes)
    bars.append(Bar(f"blocks read / needed, most: {most.name}", most.blocks_read / most.needed_blocks, _BLOCKS))
    bars.append(Bar(f"GiB of the process tree, most: {largest.name}", largest.peak_bytes / 2**30, _MEMORY_GIB))
    for fewer, more, limit in (
        ("default", "more dates", _MARGINAL),
        ("one interval", "one interval, more dates", _MARGINAL_DECODING),
    ):
        if fewer in measured and more in measured:
            a, b = measured[fewer], measured[more]
            name = f"{more}: {b.dates} dates less {a.dates}, times the floor's"
            bars.append(Bar(name, (b.seconds - a.seconds) / (b.floor - a.floor), limit))
    for name, limit in (("lonlat", _LONLAT), ("ten times the parcels", _MORE_PARCELS), ("s3", _REMOTE)):
        if name in measured and "default" in measured:
            value = measured[name].seconds / measured["default"].seconds
            bars.append(Bar(f"{name}: times the default job", value, limit))
    for peer in peers:
        if peer.peer in _PEERS:
            bars.append(Bar(f"{peer.peer}: times Swathe", peer.seconds / peer.swathe, _PEERS[peer.peer], is_least=True))
    return bars
