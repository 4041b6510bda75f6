"""What reading cost."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class ReadCounters:
    """Blocks decoded, bytes that came from files and stores, bytes they became, requests for them, time waited.

    A block counts each time it is decoded. A request is one range of a file, local or remote. `seconds` is the time
    the caller waited for layouts and blocks in all; `fetch_seconds` what it waited for bytes alone, and
    `decode_seconds` the time spent on unpacking, by all threads together. What GDAL reads counts as decoding.
    """

    blocks: int = 0
    bytes_read: int = 0
    bytes_decoded: int = 0
    requests: int = 0
    seconds: float = 0.0
    fetch_seconds: float = 0.0
    decode_seconds: float = 0.0

    def __add__(self, other: ReadCounters) -> ReadCounters:
        return ReadCounters(
            self.blocks + other.blocks,
            self.bytes_read + other.bytes_read,
            self.bytes_decoded + other.bytes_decoded,
            self.requests + other.requests,
            self.seconds + other.seconds,
            self.fetch_seconds + other.fetch_seconds,
            self.decode_seconds + other.decode_seconds,
        )


class Tally:
    """Counters that grow. May be used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted = ReadCounters()

    def add(self, counted: ReadCounters) -> None:
        """Adds what was counted elsewhere."""
        with self._lock:
            self._counted += counted

    def counted(self) -> ReadCounters:
        """The counts so far."""
        return self._counted

    def restart(self) -> ReadCounters:
        """The counts so far; counting begins anew."""
        with self._lock:
            counted, self._counted = self._counted, ReadCounters()
        return counted
