"""Ingests tiles in the background: takes those that wait, has their files looked at in a child process, writes it down."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

from swathe.jobs.byoc import ByocCollection
from swathe.jobs.byoc_records import COVERS_DATA, ByocTile, Ingested
from swathe.jobs.byoc_tiles import ByocTiles
from swathe.jobs.child import Child, ChildDied, ChildFailed, keep_interrupts_out
from swathe.jobs.database import DatabaseFailed
from swathe.jobs.ingestion_files import TileOrder, Trouble, inspect
from swathe.settings import StorageSettings

LOG = logging.getLogger(__name__)

_LOOK_S, _TROUBLE_S = 2.0, 5.0
_LEASE_S = 600.0
_BATCH = 64
_PAUSES_S = (1.0, 4.0)
_Claimed = tuple[ByocTile, ByocCollection]


class Ingestor:
    """A thread that ingests until closed; its process ends when there is nothing to do. Several servers share the work."""

    def __init__(self, storage: StorageSettings, tiles: ByocTiles, owner: str) -> None:
        """`owner` is the server's name, the same after a restart."""
        self._storage = storage
        self._tiles = tiles
        self._owner = owner
        self._woken = threading.Event()
        self._closing = threading.Event()
        self._child: Child | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="ingestor", daemon=True)

    def start(self) -> None:
        """Begins, with what was under way when this server ended; what another left is begun again after a while."""
        self._thread.start()

    def wake(self) -> None:
        """Has it look for tiles now."""
        self._woken.set()

    def close(self) -> None:
        """Ends the thread and what is under way, which others may take at once."""
        self._closing.set()
        self._woken.set()
        with self._lock:
            if self._child is not None:
                self._child.kill()
        if self._thread.is_alive():
            self._thread.join(10)
        self._give_back()

    def _give_back(self) -> None:
        with suppress(SQLAlchemyError, DatabaseFailed):
            self._tiles.give_back(self._owner)

    def _work(self) -> None:
        keep_interrupts_out()
        self._give_back()
        while not self._closing.is_set():
            self._woken.clear()
            pause = _LOOK_S
            try:
                while not self._closing.is_set() and self._ingest():
                    pass
            except SQLAlchemyError as error:
                LOG.warning("the job store does not answer: %s; tiles wait", type(error).__name__)
                pause = _TROUBLE_S
            except Exception:
                LOG.exception("tiles cannot be ingested, a bug of ours")
                pause = _TROUBLE_S
            self._end_child()
            self._woken.wait(pause)

    def _ingest(self) -> bool:
        """Ingests some tiles; whether there were any."""
        claimed = self._tiles.claim(self._owner, now_s=time.time(), lease_s=_LEASE_S, limit=_BATCH)
        for pause in (*_PAUSES_S, None):
            again = []
            for (tile, collection), outcome in self._look(claimed):
                if isinstance(outcome, Trouble) and outcome.may_pass and pause is not None:
                    again.append((tile, collection))
                else:
                    self._finish(tile, outcome)
            if not again or pause is None or self._closing.wait(pause):
                break
            claimed = again
        return bool(claimed)

    def _finish(self, tile: ByocTile, outcome: Ingested | Trouble) -> None:
        if self._closing.is_set():
            return
        if isinstance(outcome, Trouble):
            LOG.info("tile %s of collection %s: %s", tile.id, tile.collection_id, outcome.cause)
        try:
            self._tiles.finish(tile, self._owner, outcome.cause if isinstance(outcome, Trouble) else outcome)
        except DatabaseFailed:
            LOG.exception("tile %s cannot be written down, a bug of ours", tile.id)

    def _look(self, claimed: list[_Claimed]) -> list[tuple[_Claimed, Ingested | Trouble]]:
        """What is found of each tile; those of a process that was ended are looked at one by one."""
        orders = [
            TileOrder(tile.path, tile.body.get("cover"), collection, COVERS_DATA in tile.body)
            for tile, collection in claimed
        ]
        try:
            return list(zip(claimed, self._call(orders), strict=True)) if claimed else []
        except ChildDied as error:
            self._end_child()
            if self._closing.is_set():
                return []
            if len(claimed) > 1:
                return [found for one in claimed for found in self._look([one])]
            return [(claimed[0], Trouble(f"The files could not be read: {error}"))]
        except ChildFailed as error:
            LOG.error("tiles cannot be looked at, a bug of ours\n%s", error)
            if len(claimed) > 1:
                return [found for one in claimed for found in self._look([one])]
            return [(claimed[0], Trouble("The ingestion failed with an internal error"))]

    def _call(self, orders: list[TileOrder]) -> list[Ingested | Trouble]:
        with self._lock:
            if self._closing.is_set():
                raise ChildDied("the server was stopped")
            child = self._child = self._child or Child("ingestor")
        return child.call(inspect, self._storage, orders)

    def _end_child(self) -> None:
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            child.close()
