"""How this process keeps the memory that it has freed."""

from __future__ import annotations

import ctypes
import gc
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_MMAP_BYTES = 32 * 2**20
_TRIM_BYTES = 256 * 2**20


def keep_freed_memory() -> None:
    """Makes a process that computes units use its memory again rather than give it back and ask for it anew.

    Columns and blocks of a few megabytes come and go by the thousand; the system would clear every page of each. Under
    glibc they are taken from one heap instead, whose size is that of the largest moment either way. Elsewhere nothing
    happens. What has been imported by now is no garbage and is not looked through again.
    """
    if sys.platform == "linux":
        try:
            mallopt = ctypes.CDLL(None).mallopt
        except (OSError, AttributeError):
            pass
        else:
            mallopt(_ARENA_MAX, 1)
            mallopt(_MMAP_THRESHOLD, _MMAP_BYTES)
            mallopt(_TRIM_THRESHOLD, _TRIM_BYTES)
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
