"""How far each feature of a job is, as the job store has it: waiting, done or failed."""

from __future__ import annotations

import threading
import time

import numpy as np
import numpy.typing as npt

from swathe.jobs import looking_store
from swathe.jobs.database import Database
from swathe.jobs.looking_shapes import Shapes
from swathe.jobs.looking_tiles import FAILED
from swathe.jobs.outcomes import DONE

FINISHED, PARTLY_FAILED = 1, 3
NAMES = ("waiting", "done", "failed", "partly failed")
# The store is not asked more often, nor for more than a tenth of the time.
_EVERY_S = 1.5
_SHARE = 10.0


class States:
    """The states (n) uint8 of a job's features, in the order of its `Shapes`. For any thread."""

    def __init__(self, database: Database, job_id: str, shapes: Shapes) -> None:
        self._database = database
        self._job_id = job_id
        self._shapes = shapes
        self._lock = threading.Lock()
        self._done: frozenset[int] = frozenset()
        self._failed = 0
        self._next_at = 0.0
        self._states = np.zeros(shapes.count, np.uint8)

    @property
    def done_units(self) -> frozenset[int]:
        """The units that were done when the store was last asked."""
        return self._done

    @property
    def stamp(self) -> str:
        """Another one means other states."""
        return f"{len(self._done)}-{self._failed}"

    def now(self) -> npt.NDArray[np.uint8]:
        """The states, a second or two old at most. Nobody changes the array that was given."""
        with self._lock:
            if time.monotonic() >= self._next_at:
                began = time.monotonic()
                self._refresh()
                ended = time.monotonic()
                self._next_at = ended + max(_EVERY_S, _SHARE * (ended - began))
            return self._states

    def _refresh(self) -> None:
        done = frozenset(
            index for index, state in looking_store.read_unit_states(self._database, self._job_id) if state == DONE
        )
        failed = looking_store.count_failed(self._database, self._job_id)
        if done == self._done and failed == self._failed:
            return
        states = self._states.copy() if done >= self._done else np.zeros_like(self._states)
        news = sorted(done - self._done if done >= self._done else done)
        for _, ids in looking_store.read_unit_features(self._database, self._job_id, news):
            self._set(states, np.frombuffer(ids, "<i8"), FINISHED)
        if failed:
            ids_failed = looking_store.read_failed_ids(self._database, self._job_id)
            self._set(states, np.array(ids_failed, np.int64), FAILED)
        self._states, self._done, self._failed = states, done, failed

    def _set(self, states: npt.NDArray[np.uint8], ids: npt.NDArray[np.int64], state: int) -> None:
        places = self._shapes.places(ids)
        states[places[places >= 0]] = state


def find_unit(database: Database, job_id: str, feature_id: int) -> int | None:
    """The unit of work that a feature is in, of those that are done; None where it is in none of them."""
    done = [index for index, state in looking_store.read_unit_states(database, job_id) if state == DONE]
    for index, ids in looking_store.read_unit_features(database, job_id, done):
        if (np.frombuffer(ids, "<i8") == feature_id).any():
            return index
    return None
