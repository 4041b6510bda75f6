"""Bytes of blocks fetched from stores before they are asked for: side by side, in order, within a budget."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from swathe.rasters.codecs import Buffer
from swathe.rasters.layouts import Layout
from swathe.rasters.plain import Batch, Block, PlainTiff, plan_batches
from swathe.rasters.tiff import TiffBroken

_CONNECTIONS = 16

Fetch = Callable[[str, Batch], Sequence[Buffer]]


@dataclass(frozen=True)
class Want:
    """Blocks of some bands (from 1) of a level of a file."""

    href: str
    bands: tuple[int, ...]
    level: int
    blocks: frozenset[Block]

    def overlaps(self, other: Want) -> bool:
        """Whether some blocks of both are the same."""
        same = (self.href, self.bands, self.level) == (other.href, other.bands, other.level)
        return same and not self.blocks.isdisjoint(other.blocks)

    def is_in(self, layout: PlainTiff) -> bool:
        """Whether the raster has all that."""
        info = layout.info
        if not 0 <= self.level <= len(info.overviews) or not all(1 <= band <= info.band_count for band in self.bands):
            return False
        rows, columns = info.block_counts(self.level)
        return all(0 <= row < rows and 0 <= column < columns for row, column in self.blocks)


@dataclass(eq=False)
class _UnderWay:
    """A batch that is being fetched, or is here."""

    batch: Batch
    future: Future[Sequence[Buffer]] = field(default_factory=Future)
    is_over: bool = False
    is_dropped: bool = False


@dataclass(eq=False)
class _Order:
    """What is to be fetched of a file. `layout` is None until it is known, `waiting` until the order's turn comes."""

    want: Want
    layout: PlainTiff | None = None
    waiting: deque[Batch] | None = None
    started: deque[_UnderWay] = field(default_factory=deque)
    is_gone: bool = False

    def plan(self) -> None:
        if self.layout is not None and self.waiting is None:
            image = self.layout.levels[self.want.level]
            self.waiting = deque(plan_batches(image, sorted(self.want.blocks), self.want.bands))


class ReadAhead:
    """Fetches batches of bytes in the order of the orders and holds at most `budget_bytes` of them.

    What somebody waits for goes first, and gets one batch at a time even where others have used up the budget. May be
    used by several threads at once.
    """

    def __init__(self, fetch: Fetch, budget_bytes: int) -> None:
        self._fetch = fetch
        self._budget_bytes = budget_bytes
        self._lock = threading.Lock()
        self._orders: dict[Want, _Order] = {}
        self._queue: deque[_Order] = deque()  # those with something to begin, and some that are gone
        self._claimed: list[_Order] = []
        self._running = 0
        self._held_bytes = 0
        self._pool: ThreadPoolExecutor | None = None

    @property
    def held_bytes(self) -> int:
        """Bytes that are under way, or here and not yet used."""
        return self._held_bytes

    def order(self, want: Want, layout: Future[Layout]) -> None:
        """Has blocks fetched once the layout is known. What is ordered already, or cannot be, is left aside."""
        order = _Order(want)
        with self._lock:
            if self._orders.setdefault(want, order) is not order:
                return
            self._queue.append(order)
        layout.add_done_callback(lambda known: self._on_layout(order, known))

    def take(self, want: Want, layout: PlainTiff) -> Iterator[tuple[Batch, Sequence[Buffer]]]:
        """The batches of the wanted blocks, with what their requests answered: those ordered before, and the rest.

        Other blocks that were ordered together with these are dropped. A batch's bytes leave the budget when the next
        batch is asked for.

        Raises:
            StorageError: they cannot be fetched.
            TiffBroken: as `plan_batches`.
        """
        order = self._claim(want, layout)
        try:
            while first := self._first(order):
                yield first.batch, first.future.result()
                with self._lock:
                    self._release(order.started.popleft())
        finally:
            with self._lock:
                self._claimed.remove(order)
                self._release_all(order)
                self._start_more()

    def forget(self) -> None:
        """Drops all orders that nobody has asked for yet."""
        with self._lock:
            for order in list(self._orders.values()):
                self._drop(order)
                self._release_all(order)

    def close(self) -> None:
        """Drops the orders and ends the threads once the requests under way are answered."""
        self.forget()
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()

    def _on_layout(self, order: _Order, known: Future[Layout]) -> None:
        layout = None if known.cancelled() or known.exception() else known.result()
        with self._lock:
            if order.is_gone:
                return
            if isinstance(layout, PlainTiff) and order.want.is_in(layout):
                order.layout = layout
            else:  # nothing to fetch this way, or nothing at all: who reads the blocks is told why
                self._drop(order)
            self._start_more()

    def _claim(self, want: Want, layout: PlainTiff) -> _Order:
        """An order of the wanted blocks alone, with those batches that are under way already."""
        claimed = _Order(want, layout)
        left = set(want.blocks)
        with self._lock:
            same = self._orders.get(want)
            for order in [same] if same else [o for o in self._orders.values() if o.want.overlaps(want)]:
                self._drop(order)
                for one in order.started:
                    parts = tuple(part for part in one.batch.parts if part.block in left)
                    if parts:
                        one.batch = replace(one.batch, parts=parts)
                        left.difference_update([part.block for part in parts])
                        claimed.started.append(one)
                    else:
                        self._release(one)
            claimed.want = replace(want, blocks=frozenset(left))
            try:
                claimed.plan()
            except TiffBroken:
                self._release_all(claimed)
                raise
            self._claimed.append(claimed)
        return claimed

    def _first(self, order: _Order) -> _UnderWay | None:
        """The order's next batch, begun if need be; None where it has no more."""
        with self._lock:
            if not order.started and order.waiting:
                self._start(order)
            self._start_more()
            return order.started[0] if order.started else None

    # With the lock held

    def _start_more(self) -> None:
        for order in self._claimed:
            self._start_some(order)
        while self._queue:
            order = self._queue[0]
            if not order.is_gone:
                if order.layout is None:
                    return
                try:
                    order.plan()
                except TiffBroken:  # who reads the blocks is told
                    self._drop(order)
                if not order.is_gone and not self._start_some(order):
                    return
            self._queue.popleft()

    def _start_some(self, order: _Order) -> bool:
        """Begins what there is room for; False where something is left."""
        while order.waiting:
            free = self._budget_bytes - self._held_bytes
            if self._running >= _CONNECTIONS or (self._held_bytes and order.waiting[0].size_bytes > free):
                return False
            self._start(order)
        return True

    def _start(self, order: _Order) -> None:
        if order.waiting is None:
            return
        one = _UnderWay(order.waiting.popleft())
        order.started.append(one)
        self._running += 1
        self._held_bytes += one.batch.size_bytes
        if self._pool is None:
            self._pool = ThreadPoolExecutor(2 * _CONNECTIONS, thread_name_prefix="swathe-fetch")
        self._pool.submit(self._run, order.want.href, one)

    def _drop(self, order: _Order) -> None:
        order.is_gone = True
        del self._orders[order.want]

    def _release_all(self, order: _Order) -> None:
        while order.started:
            self._release(order.started.popleft())

    def _release(self, one: _UnderWay) -> None:
        """Takes a batch out of the budget: at once where it is here, else when its request is answered."""
        if one.is_over:
            self._held_bytes -= one.batch.size_bytes
        else:
            one.is_dropped = True

    # In a thread of the pool

    def _run(self, href: str, one: _UnderWay) -> None:
        data: Sequence[Buffer] = ()
        failure: BaseException | None = None
        if not one.is_dropped:
            try:
                data = self._fetch(href, one.batch)
            except BaseException as error:
                failure = error
        with self._lock:
            one.is_over = True
            self._running -= 1
            if one.is_dropped:
                self._held_bytes -= one.batch.size_bytes
            self._start_more()
        if failure is None:
            one.future.set_result(data)
        else:
            one.future.set_exception(failure)
