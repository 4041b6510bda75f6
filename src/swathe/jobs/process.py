"""What makes a process that computes units begin, run and end quickly."""

from __future__ import annotations

import ctypes
import gc
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_MMAP_BYTES = 32 * 2**20
_TRIM_BYTES = 256 * 2**20
_NATIVE_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "GDAL_NUM_THREADS")
# numba asks for these when it is imported. They take as long to import as a tenth of the job of a whole granule may
# take, and serve a settings file in the working folder and foreign functions by cffi.
_NOT_FOR_NUMBA = ("yaml", "cffi")


def begin_quickly() -> None:
    """For a process that has nothing else to do, before it imports anything large.

    Libraries start no threads of their own, and the collector of garbage does not walk through modules while they are
    imported; `keep_freed_memory` lets it begin.
    """
    gc.disable()
    for name in _NATIVE_THREADS:
        os.environ.setdefault(name, "1")


def import_numba() -> None:
    """Imports numba without what is not needed of it."""
    absent = [name for name in _NOT_FOR_NUMBA if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        import numba.core.typing.cffi_utils  # noqa: F401
    except ImportError:  # another numba, or none; who needs it says so
        pass
    finally:
        for name in absent:
            del sys.modules[name]


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
    gc.enable()


def end_quickly(code: int) -> None:
    """Ends the process without taking the interpreter apart, once all work is done and all files are closed."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
