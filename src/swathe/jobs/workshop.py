"""Child processes that each keep a warm engine, for requests that are answered at once.

V8 and GDAL run there and never in the server. A process is started when it is first needed and kept; one that does not
end its work in time is ended itself, and the next request gets a new one.
"""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from swathe.jobs.child import Child, ChildDied, ChildFailed, keep_interrupts_out
from swathe.jobs.process import begin_quickly, keep_freed_memory
from swathe.model.errors import LimitExceeded, SwatheError
from swathe.settings import CollectionSettings, Settings

if TYPE_CHECKING:
    from swathe.engine.compute import Engine

P = ParamSpec("P")
T = TypeVar("T")

# A process is asked to stop at the time limit and ended when it has not done so by then.
_GRACE_S = 10.0


class TooManyRequests(SwatheError):
    """As many requests are being computed and waiting as this deployment takes."""

    code = "RATE_LIMIT_EXCEEDED"


class TookTooLong(LimitExceeded):
    """A request was not done within the time that this deployment gives it."""


class ComputerLost(SwatheError):
    """The process that computed was ended from outside, most likely for want of memory."""


class Abandoned(SwatheError):
    """Nobody waits for the answer any more."""


class Deadline:
    """A moment after which work is to stop, or before it when nobody waits. Travels to another process of this machine."""

    def __init__(self, seconds: float, mark: Path | None = None) -> None:
        """`mark` is a file that is there once nobody waits."""
        self.seconds = seconds
        self.end = time.monotonic() + seconds
        self.mark = mark

    def __call__(self) -> bool:
        """Whether it is over."""
        return time.monotonic() > self.end or self.is_abandoned

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody waits."""
        return self.mark is not None and self.mark.exists()

    def error(self) -> SwatheError:
        """What to say then."""
        if self.is_abandoned:
            return Abandoned("Nobody waits for the answer any more")
        return TookTooLong(
            f"The request was not done within {self.seconds:g} s, which is what this deployment gives it;"
            " ask for a smaller area, fewer pixels or a shorter time, or use the batch services"
        )


class _Order:
    """A request on its way: its process is ended from elsewhere only while it works on this one."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._is_over = self._is_killed = False
        self._timers: list[threading.Timer] = []

    def begin(self, child: Child, seconds: float) -> None:
        """The work starts, and may take so long."""
        with self._lock:
            self._child = child
            self._kill_in(seconds)

    def abandon(self, grace_s: float) -> None:
        """Asks the work to stop, and ends its process if it has not done so by then."""
        with self._lock:
            if not self._is_over:
                self.mark.touch()
                self._kill_in(grace_s)

    def end(self) -> bool:
        """The work is over; whether its process can be used again."""
        with self._lock:
            self._is_over = True
            for timer in self._timers:
                timer.cancel()
            self.mark.unlink(missing_ok=True)
            return not self._is_killed

    def _kill_in(self, seconds: float) -> None:
        timer = threading.Timer(seconds, self._kill)
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def _kill(self) -> None:
        with self._lock:
            if not self._is_over and self._child is not None:
                self._is_killed = True
                self._child.kill()


class Workshop:
    """Some processes with an engine each, and a queue of bounded length before them. For any thread."""

    def __init__(self, settings: Settings, name: str, *, processes: int, waiting: int, seconds: float) -> None:
        """`waiting` requests may wait; each may then take so many seconds. Nothing is started yet."""
        one = settings.dask.model_copy(update={"workers": 1, "scheduler": None})
        self._settings = settings.model_copy(update={"dask": one})
        self._name = name
        self._most = processes + waiting
        self._seconds = seconds
        self._lock = threading.Lock()
        self._count = 0
        self._idle: list[Child] = []
        self._busy: set[Child] = set()
        self._closed = False
        self._marks = tempfile.TemporaryDirectory(prefix="swathe-work-")
        self._numbers = itertools.count()
        self._orders: WeakKeyDictionary[Future[Any], _Order] = WeakKeyDictionary()
        self._threads = ThreadPoolExecutor(processes, name, initializer=keep_interrupts_out)

    def submit(
        self,
        collections: Sequence[CollectionSettings],
        function: Callable[Concatenate[Engine, Deadline, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Future[T]:
        """The future result of `function(engine, deadline, …)` in one of the processes.

        The engine knows `collections` besides the deployment's.

        The function is to raise `deadline.error()` when the deadline is over; where it does not, its process is ended.
        The future has an error of ours as the function raised it, `TookTooLong`, `Abandoned` or `ComputerLost`; anything
        else it raised is a RuntimeError with the text of its traceback.

        Raises:
            TooManyRequests: the queue is full.
        """
        with self._lock:
            if self._count >= self._most:
                raise TooManyRequests(
                    f"{self._count} requests are being computed or waiting, and this deployment takes at most {self._most}"
                    " at a time; try again in a moment"
                )
            self._count += 1
        order = _Order(Path(self._marks.name, str(next(self._numbers))))
        try:
            future: Future[T] = self._threads.submit(self._run, order, tuple(collections), function, args, kwargs)
        except RuntimeError:  # closed
            self._leave()
            raise TooManyRequests("The service is being shut down; try again in a moment") from None
        future.add_done_callback(lambda _: self._leave())
        with self._lock:
            self._orders[future] = order
        return future

    def abandon(self, future: Future[Any]) -> None:
        """Notes that nobody waits for a future any more: what has not begun never will, what is under way is stopped.

        Stopped within seconds; until then the future is not done, and what was handed to the function is in use.
        """
        if future.cancel():
            return
        with self._lock:
            order = self._orders.get(future)
        if order is not None:
            order.abandon(_GRACE_S)

    def close(self) -> None:
        """Ends the processes; what is under way fails."""
        with self._lock:
            self._closed = True
            busy = list(self._busy)
        for child in busy:
            child.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        while self._idle:
            self._idle.pop().close()
        self._marks.cleanup()

    def _leave(self) -> None:
        with self._lock:
            self._count -= 1

    def _run(
        self,
        order: _Order,
        collections: tuple[CollectionSettings, ...],
        function: Callable[..., T],
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> T:
        child = self._take()
        deadline = Deadline(self._seconds, order.mark)
        order.begin(child, self._seconds + _GRACE_S)
        try:
            result = child.call(_work, self._settings, collections, function, deadline, args, kwargs)
        except ChildDied as error:
            told = deadline.error() if deadline() else None
            order.end()
            self._drop(child)
            raise told or ComputerLost(f"The process that computed the request was lost: {error.message}") from None
        except ChildFailed as error:
            self._end(order, child)
            raise RuntimeError(error.message) from None
        except BaseException:
            self._end(order, child)
            raise
        self._end(order, child)
        return result

    def _end(self, order: _Order, child: Child) -> None:
        if order.end():
            self._put_back(child)
        else:  # it was ended in the moment in which it answered
            self._drop(child)

    def _take(self) -> Child:
        with self._lock:
            if self._closed:
                raise TooManyRequests("The service is being shut down; try again in a moment")
            while self._idle:
                child = self._idle.pop()
                if child.is_alive:  # not ended from outside meanwhile
                    self._busy.add(child)
                    return child
                child.close()
        child = Child(self._name)
        with self._lock:
            self._busy.add(child)
        return child

    def _put_back(self, child: Child) -> None:
        with self._lock:
            self._busy.discard(child)
            self._idle.append(child)

    def _drop(self, child: Child) -> None:
        with self._lock:
            self._busy.discard(child)
        child.close()


_engine: Engine | None = None


def _work(
    settings: Settings,
    collections: tuple[CollectionSettings, ...],
    function: Callable[..., T],
    deadline: Deadline,
    args: tuple[object, ...],
    kwargs: dict[str, object],
) -> T:
    """In the child: the function, with the engine that stays."""
    global _engine
    if _engine is None:
        begin_quickly()
        from swathe.engine.compute import Engine

        _engine = Engine(settings, lanes=settings.services.threads)
        _engine.start()
        keep_freed_memory()
    engine = _engine.with_collections(collections) if collections else _engine
    return function(engine, deadline, *args, **kwargs)
