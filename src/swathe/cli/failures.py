"""What went wrong, as a sentence with a way out, for whoever typed the command."""

from __future__ import annotations

import errno
import os
import sys
import traceback

from swathe.model.errors import SwatheError

_WAYS_OUT = {
    errno.ENOSPC: "make room there, or name another place",
    errno.EDQUOT: "your quota there is used up; make room, or name another place",
    errno.EFBIG: "the system's limit for files is in the way (ulimit -f); raise it, or name another place",
    errno.EACCES: "see whose it is and what it allows, or name another place",
    errno.EPERM: "see whose it is and what it allows, or name another place",
    errno.EROFS: "name a place that can be written to",
    errno.EMFILE: "too many files are open; raise ulimit -n, or give fewer --workers",
    errno.ENFILE: "the machine has too many files open; end what needs them, or give fewer --workers",
    errno.ENOMEM: "give fewer --workers, or more memory",
}


def sentence(error: BaseException) -> str | None:
    """What the user is told; None for what only a developer can mend."""
    if isinstance(error, SwatheError):
        if type(error).__name__ == "ServiceUnavailable":
            scheme = "; see whether it speaks http or https" if "[SSL" in error.message else ""
            return f"{error.message}; see that the server runs, and that --url is its address{scheme}"
        if type(error).__name__ in ("StoreUnavailable", "SourceUnavailable") and "does not answer" in error.message:
            return f"{error.message}; see that its address is right, and that this machine reaches it"
        return error.message
    if isinstance(error, MemoryError):
        return "There is not enough memory; give fewer --workers, or a smaller request"
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
        way = _WAYS_OUT.get(error.errno)
        if name or way:
            return f"{name + ': ' if name else ''}{error.strerror}{'; ' + way if way else ''}"
    if type(error).__module__ == "swathe.jobs.database":  # not imported here: the light install has no SQLAlchemy
        return f"{error}; see that the database runs and is the configured one"
    return None


def tell(error: BaseException, *, with_traceback: bool) -> None:
    """Prints it on standard error."""
    if with_traceback:
        traceback.print_exception(error)
    text = sentence(error)
    if text is None:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        where = "" if with_traceback else "run `swathe --debug …` to see where, and "
        text = f"Internal error ({what}); {where}please report it"
    say(text)


def say(message: str) -> None:
    """Prints a sentence on standard error, if there is still somebody to read it."""
    try:
        print(f"swathe: {message}", file=sys.stderr, flush=True)  # noqa: T201
    except OSError:
        return
