"""Parts of a job's data set put aside for the console, while the keys that the request brought are still there.

They lie in `looking/<job id>/parts/` under their own names; an empty file stands for a unit that has no part. `about.json`
says why not all are there. Nobody can make them again: with the end of the job its keys are gone.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from swathe.jobs import looking_store
from swathe.jobs.database import Database
from swathe.jobs.delivery import TABLES, Delivery, part_index, part_name
from swathe.jobs.home import Home
from swathe.model.errors import LimitExceeded, ObjectNotFound, StorageError
from swathe.settings import ConsoleSettings, Settings

PARTS = "parts"
_ABOUT = "about.json"
_AT_ONCE = 4
# The end of a job waits for its last parts no longer; while it runs, other jobs' publications wait behind this one's.
_FINAL_S, _RUNNING_S = 120.0, 20.0
# What the folder of all jobs may hold, if no one job may hold half of it.
_MOST_BYTES = 8 * 2**30


@dataclass(frozen=True)
class KeepOrder:
    """Which parts are to be put aside: those of `units`, in `folder`; `most_s` is the time for it."""

    delivery: Delivery = field(repr=False)
    folder: Path
    units: tuple[int, ...]
    most_bytes: int
    most_s: float = _FINAL_S


def make_order(
    settings: Settings, kind: str, delivery: Any, folder: Path, units: Sequence[int], *, final: bool
) -> KeepOrder | None:
    """What is to be put aside of a job, whose folder of the console is `folder`.

    None where there is nothing to do: the console is off, the results are in folders, there is no data set, or the request
    brought no keys, so that the deployment's own are what its results are read with anyway.
    """
    console = settings.console
    if not (console.enabled and console.keep_bytes and settings.results.parquet and units) or kind != "statistics":
        return None
    if settings.storage.local_root is not None or delivery.place.access_key is None:
        return None
    most_s = _FINAL_S if final else _RUNNING_S
    return KeepOrder(delivery, folder / PARTS, tuple(units), console.keep_bytes, most_s)


def keep_parts(order: KeepOrder) -> int:
    """Copies the parts that are not there yet, and returns how many those were; 0 where the deployment may read them all.

    All or nothing as far as bytes go: of a data set that is longer than `most_bytes` none stay. What fails for another
    reason leaves what is there, to be gone on with.

    Raises:
        StorageError: a part cannot be read or kept, or the time was up.
        LimitExceeded: the data set is too long.
    """
    kept = KeptParts(order.folder)
    missing = [unit for unit in order.units if not (order.folder / part_name(unit)).exists()]
    if kept.is_given_up or not missing or _is_open(order):
        return 0
    order.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        _copy(order, missing)
    except LimitExceeded:
        problem = (
            f"the data set is longer than the {order.most_bytes} bytes that [console] keep_bytes has the server keep"
        )
        for unit in kept.units():
            (order.folder / part_name(unit)).unlink(missing_ok=True)
        kept.note(problem, given_up=True)
        raise LimitExceeded(problem) from None
    except StorageError as error:
        there = len(kept.units())
        kept.note(f"{there} of {len(order.units)} parts of the data set could be put aside: {error.message}")
        raise
    kept.note(None)
    return len(missing)


def _copy(order: KeepOrder, missing: Sequence[int]) -> None:
    from swathe.storage import ObjectStores, from_place

    stores = ObjectStores(order.delivery.storage)
    credentials = from_place(order.delivery.place, order.delivery.storage)
    taken = sum(file.stat().st_size for file in order.folder.iterdir() if part_index(file.name) is not None)
    until = time.monotonic() + order.most_s

    def copy(unit: int) -> int:
        path = order.folder / part_name(unit)
        try:
            stores.download(_url(order, unit), path, order.most_bytes - taken, credentials=credentials)
            return path.stat().st_size
        except ObjectNotFound:
            path.touch(mode=0o600)
            return 0
        except OSError as error:
            raise StorageError(f"{path.name} cannot be kept on this machine: {error.strerror}") from None

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for first in range(0, len(missing), _AT_ONCE):
            if time.monotonic() > until:
                raise StorageError(f"it took longer than {order.most_s:.0f} seconds")
            taken += sum(pool.map(copy, missing[first : first + _AT_ONCE]))
            if taken > order.most_bytes:
                raise LimitExceeded("too long")


def _is_open(order: KeepOrder) -> bool:
    """Whether the deployment can read the results without the request's keys."""
    from swathe.storage import ObjectStores, from_place

    storage = order.delivery.storage
    place = order.delivery.place.model_copy(update={"access_key": None, "secret_access_key": None})
    try:
        ObjectStores(storage).size(_url(order, order.units[0]), credentials=from_place(place, storage))
    except ObjectNotFound:
        return True  # who may not read is not told that
    except StorageError:
        return False
    return True


def _url(order: KeepOrder, unit: int) -> str:
    return f"{order.delivery.folder}/{TABLES}/{part_name(unit)}"


@dataclass(frozen=True)
class KeptParts:
    """What was put aside of a job, for any process."""

    folder: Path

    def units(self) -> frozenset[int]:
        """Whose parts are there."""
        try:
            found = {part_index(file.name) for file in self.folder.iterdir()}
        except OSError:
            return frozenset()
        return frozenset(unit for unit in found if unit is not None)

    def open(self, unit: int) -> BinaryIO | None:
        """A part as a file; None where it was not put aside.

        Raises:
            ObjectNotFound: the unit has none.
        """
        try:
            file = (self.folder / part_name(unit)).open("rb")
        except OSError:
            return None
        if file.seek(0, 2) == 0:
            file.close()
            raise ObjectNotFound(f"The unit {unit} has no part in the data set")
        file.seek(0)
        return file

    @property
    def problem(self) -> str | None:
        """Why not all parts are there, as a part of a sentence."""
        problem = self._about().get("problem")
        return problem if isinstance(problem, str) else None

    @property
    def is_given_up(self) -> bool:
        """Whether none is to be put aside any more."""
        return bool(self._about().get("givenUp"))

    def note(self, problem: str | None, *, given_up: bool = False) -> None:
        """Writes down why not all parts are there, or that they are."""
        about = self.folder / _ABOUT
        with suppress(OSError):
            if problem is None:
                about.unlink(missing_ok=True)
            else:
                about.write_text(json.dumps({"problem": problem, "givenUp": given_up}), "utf-8")

    def _about(self) -> dict[str, Any]:
        try:
            about = json.loads((self.folder / _ABOUT).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return about if isinstance(about, dict) else {}


def most_bytes(console: ConsoleSettings) -> int:
    """What the console may keep of all jobs together."""
    return max(_MOST_BYTES, 2 * console.keep_bytes)


def sweep(database: Database, home: Home, most: int) -> None:
    """Removes what is kept of jobs that are gone, then what was not looked at for longest while all is over `most` bytes."""
    kept: list[tuple[float, int, Path]] = []
    for job_id in home.looked_at():
        if not looking_store.exists(database, job_id):
            home.forget_looking(job_id)
            continue
        with suppress(OSError):
            for part in home.looking(job_id).iterdir():
                with suppress(OSError):
                    files = list(part.iterdir()) if part.is_dir() else [part]
                    kept.append((part.stat().st_mtime, sum(file.stat().st_size for file in files), part))
    total = sum(size for _, size, _ in kept)
    for _, size, part in sorted(kept):
        if total <= most:
            break
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)
        total -= size
