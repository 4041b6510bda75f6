"""Files that have no final name yet, and what is left of them when a process is killed.

They lie in a hidden folder beside the finished ones. Whoever writes one has it locked; the kernel takes the lock back with
the process, so the next delivery can tell what is left from what is being written.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

# There only for as long as it holds something.
UNFINISHED = ".swathe-unfinished"
_MOST_SWEPT = 1_000


def sweep(folder: int) -> None:
    """Removes what killed processes left unfinished in an open folder.

    What is being written is locked by who writes it, and is left alone.
    """
    try:
        hidden = os.open(UNFINISHED, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:  # as a rule there is none
        return
    try:
        for name in os.listdir(hidden)[:_MOST_SWEPT]:
            _remove_if_dead(hidden, name)
    finally:
        os.close(hidden)
    with suppress(OSError):
        os.rmdir(UNFINISHED, dir_fd=folder)


def _remove_if_dead(hidden: int, name: str) -> None:
    with suppress(OSError):  # gone, or locked by one who lives
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=hidden)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(name, dir_fd=hidden)
        finally:
            os.close(descriptor)


def lock(descriptor: int) -> None:
    """Says that who writes this file lives; the kernel takes it back with the process."""
    with suppress(OSError):  # where files cannot be locked, none is taken for a dead process's
        fcntl.flock(descriptor, fcntl.LOCK_EX)
