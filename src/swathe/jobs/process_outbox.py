"""Finished images on their way to the bucket, while the next are computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from swathe.model.process_output import Response

if TYPE_CHECKING:
    from swathe.jobs.process_delivery import ProcessDelivery

# Of tiles that wait.
_DELIVERED_AT_ONCE, _WAITING_TILES, _WAITING_BYTES = 4, 16, 256 * 2**20

File = tuple[str, Response, Path]
"""The tile's identifier, what the file is of it, and where it lies here."""


class Outbox:
    """Delivers the files of tiles side by side, while the next are made. As a context it waits for all of them."""

    def __init__(self, delivering: Callable[[], AbstractContextManager[ProcessDelivery]]) -> None:
        """`delivering` gives the job's delivery, to any thread; see `UnitRun`."""
        self._delivering = delivering
        self._pool = ThreadPoolExecutor(_DELIVERED_AT_ONCE, "swathe-outbox")
        self._waiting: deque[tuple[int, Future[None]]] = deque()
        self._bytes = 0
        self.has_failed = False

    def __enter__(self) -> Outbox:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            while kind is None and self._waiting:
                self._take()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def put(self, files: Sequence[File]) -> None:
        """Has the files of a tile delivered, and then removed here.

        Raises:
            StorageError: the place did not take those of an earlier one.
        """
        size = sum(path.stat().st_size for _, _, path in files)
        while self._waiting and (len(self._waiting) >= _WAITING_TILES or self._bytes + size > _WAITING_BYTES):
            self._take()
        self._bytes += size
        self._waiting.append((size, self._pool.submit(self._deliver, files)))
        while self._waiting and self._waiting[0][1].done():
            self._take()

    def _take(self) -> None:
        size, delivered = self._waiting.popleft()
        self._bytes -= size
        try:
            delivered.result()
        except BaseException:
            self.has_failed = True
            raise

    def _deliver(self, files: Sequence[File]) -> None:
        with self._delivering() as delivery:
            for identifier, response, path in files:
                delivery.put(delivery.address(identifier, response), path)
        for _, _, path in files:
            path.unlink(missing_ok=True)
