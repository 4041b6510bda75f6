"""Child processes that each keep a warm engine, for requests that are answered at once.

V8 and GDAL run there and never in the server. A process is started when it is first needed and kept; one that does not
end its work in time is ended itself, and the next request gets a new one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

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


class Deadline:
    """A moment after which work is to stop. Travels to another process of this machine."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.end = time.monotonic() + seconds

    def __call__(self) -> bool:
        """Whether it is over."""
        return time.monotonic() > self.end

    def error(self) -> TookTooLong:
        """What to say then."""
        return TookTooLong(
            f"The request was not done within {self.seconds:g} s, which is what this deployment gives it;"
            " ask for a smaller area, fewer pixels or a shorter time, or use the batch services"
        )


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
        The future has an error of ours as the function raised it, `TookTooLong` or `ComputerLost`; anything else it raised
        is a RuntimeError with the text of its traceback.

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
        try:
            future: Future[T] = self._threads.submit(self._run, tuple(collections), function, args, kwargs)
        except RuntimeError:  # closed
            self._leave()
            raise TooManyRequests("The service is being shut down; try again in a moment") from None
        future.add_done_callback(lambda _: self._leave())
        return future

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

    def _leave(self) -> None:
        with self._lock:
            self._count -= 1

    def _run(
        self,
        collections: tuple[CollectionSettings, ...],
        function: Callable[..., T],
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> T:
        child = self._take()
        deadline = Deadline(self._seconds)
        timer = threading.Timer(self._seconds + _GRACE_S, child.kill)
        timer.daemon = True
        timer.start()
        try:
            result = child.call(_work, self._settings, collections, function, deadline, args, kwargs)
        except ChildDied as error:
            self._drop(child)
            if deadline():
                raise deadline.error() from None
            raise ComputerLost(f"The process that computed the request was lost: {error.message}") from None
        except ChildFailed as error:
            self._put_back(child)
            raise RuntimeError(error.message) from None
        except BaseException:
            self._put_back(child)
            raise
        finally:
            timer.cancel()
        self._put_back(child)
        return result

    def _take(self) -> Child:
        with self._lock:
            if self._closed:
                raise TooManyRequests("The service is being shut down; try again in a moment")
            child = self._idle.pop() if self._idle else None
            if child is not None:
                self._busy.add(child)
                return child
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
