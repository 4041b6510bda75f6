"""What reading cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReadCounters:
    """Blocks decoded, bytes that came from files and stores, bytes they became, requests for them, time waited.

    `seconds` is the time the caller waited for blocks. A request is one range of a file, local or remote.
    """

    blocks: int = 0
    bytes_read: int = 0
    bytes_decoded: int = 0
    requests: int = 0
    seconds: float = 0.0

    def __add__(self, other: ReadCounters) -> ReadCounters:
        return ReadCounters(
            self.blocks + other.blocks,
            self.bytes_read + other.bytes_read,
            self.bytes_decoded + other.bytes_decoded,
            self.requests + other.requests,
            self.seconds + other.seconds,
        )
